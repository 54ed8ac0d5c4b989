"""Agents that count their calls, for tests of requests with idempotency keys."""

import threading
from collections.abc import Callable
from typing import Any

from helpers.processes import PATIENCE_S

from intentusnet import AgentFailure, AgentResponse, IntentusRuntime

Routes = Callable[..., AgentResponse]


class Shop:
    """Agents that count their calls, and one that waits to be let go."""

    def __init__(self, runtime: IntentusRuntime) -> None:
        self.runtime = runtime
        self.calls: list[Any] = []
        self.begun = threading.Event()
        self.go = threading.Event()

        @runtime.agent("pay", handles="pay")
        def pay(payload: Any) -> Any:
            self.calls.append(payload)
            return {"paid": payload, "how": ("cash", b"x")}

        @runtime.agent("slow", handles="slow", side_effect="read_only")
        def slow(payload: Any) -> Any:
            self.calls.append(payload)
            self.begun.set()
            assert self.go.wait(PATIENCE_S)
            return payload

        @runtime.agent("fails", handles="fails")
        def fails(payload: Any) -> Any:
            self.calls.append(payload)
            raise AgentFailure("no", details={"why": (1,)})

        @runtime.agent("breaks", handles="breaks")
        def breaks(payload: Any) -> Any:
            self.calls.append(payload)
            raise KeyboardInterrupt


def count(shop: Shop) -> int:
    assert shop.runtime.store is not None
    return len(shop.runtime.store.list().rows)


def same(one: AgentResponse, other: AgentResponse) -> bool:
    """Whether they are equal but for where they come from."""
    return one == other.model_copy(update={"from_record": one.from_record})
