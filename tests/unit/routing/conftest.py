"""What the tests of idempotency keys share: a shop on each kind of store, and each way to ask it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.shops import Routes, Shop

from intentusnet import (
    AgentResponse,
    FileExecutionStore,
    IntentEnvelope,
    IntentusRuntime,
    MemoryExecutionStore,
)
from intentusnet.stores.base import ExecutionStore


@pytest.fixture(params=["memory", "file", "file-async"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ExecutionStore]:
    made: ExecutionStore = MemoryExecutionStore()
    if request.param != "memory":
        made = FileExecutionStore(tmp_path, "async" if request.param == "file-async" else "os")
    with made as store:
        yield store


@pytest.fixture
def shop(store: ExecutionStore) -> Iterator[Shop]:
    with IntentusRuntime(store=store) as runtime:
        yield Shop(runtime)


@pytest.fixture(params=["sync", "async", "envelope"])
def route(request: pytest.FixtureRequest, shop: Shop) -> Routes:
    """Each way in which a request comes to a runtime."""

    def by_envelope(intent: str, payload: Any, idempotency_key: str, **more: Any) -> AgentResponse:
        envelope = IntentEnvelope(intent=intent, payload=payload, idempotency_key=idempotency_key, **more)
        return shop.runtime.router.route_intent(envelope)

    def awaited(*args: Any, **more: Any) -> AgentResponse:
        return asyncio.run(shop.runtime.route_async(*args, **more))

    return {"sync": shop.runtime.route, "async": awaited, "envelope": by_envelope}[request.param]
