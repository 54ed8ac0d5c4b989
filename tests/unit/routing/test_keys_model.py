"""Any requests with few keys, held against a dict; and any value, held against what comes back."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from helpers.programs import VALUES
from helpers.shops import Shop
from hypothesis import given
from hypothesis import strategies as st

from intentusnet import FileExecutionStore, IntentEnvelope, IntentusRuntime, MemoryExecutionStore, values
from intentusnet.stores.base import ExecutionStore

POLICY = {
    "default": "allow",
    "rules": [{"id": "no", "effect": "deny", "intent": "denied"}],
}

REQUESTS = st.fixed_dictionaries(
    {
        "intent": st.sampled_from(["pay", "fails", "denied", "nobody"]),
        "payload": st.sampled_from([1, 2]),
        "caller": st.sampled_from(["ann", "bob"]),
        "idempotency_key": st.sampled_from([None, "k", "l"]),
    }
)
STEPS = st.lists(
    st.tuples(REQUESTS, st.sampled_from(["sync", "async", "envelope"]), st.booleans()), max_size=8
)


@contextmanager
def in_memory() -> Iterator[Callable[[], ExecutionStore]]:
    store = MemoryExecutionStore()
    yield lambda: store


@contextmanager
def in_files() -> Iterator[Callable[[], ExecutionStore]]:
    with TemporaryDirectory() as directory:
        yield lambda: FileExecutionStore(directory, "os")


def asked(runtime: IntentusRuntime, request: dict[str, Any], way: str) -> Any:
    if way == "async":
        return asyncio.run(runtime.route_async(**request))
    if way == "envelope":
        return runtime.router.route_intent(IntentEnvelope(**request))
    return runtime.route(**request)


@pytest.mark.parametrize("kind", [in_memory, in_files])
@given(STEPS)
def test_requests_are_answered_as_by_a_dict(kind: Any, steps: list[Any]) -> None:
    """Same key, same request: the first response. Same key, another one: an error. Otherwise: executed.

    Whoever calls nobody binds no key. After some requests the store is opened anew, as by another process.
    """
    model: dict[tuple[str, str], tuple[dict[str, Any], Any]] = {}
    calls = 0
    with kind() as opened:
        shop = Shop(IntentusRuntime(store=opened(), policy=POLICY))
        for request, way, anew in steps:
            if anew and kind is in_files:
                shop.runtime.close()
                shop.runtime = shop.runtime.configure(store=opened())
            before, own = len(shop.calls), (request["caller"], request["idempotency_key"])
            response = asked(shop.runtime, request, way)
            called = len(shop.calls) - before
            calls += called
            if own in model and model[own][0] == request:
                first = model[own][1]
                assert response == first.model_copy(update={"from_record": True})
                assert called == 0
            elif own in model:
                assert response.error.code == "VALIDATION_ERROR" and not response.from_record
                assert response.error.details["execution_id"] == model[own][1].execution_id
                assert called == 0
            else:
                binds = request["intent"] in ("pay", "fails")
                assert (called, response.from_record) == (int(binds), False)
                if binds and request["idempotency_key"] is not None:
                    model[own] = request, response
        assert shop.runtime.store is not None
        assert len(shop.runtime.store.list().rows) >= calls
        for row in shop.runtime.store.list().rows:
            assert shop.runtime.replay(row.execution_id).verdict == "match"
        shop.runtime.close()


TREES = st.recursive(
    st.sampled_from(VALUES) | st.integers() | st.text() | st.binary() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3) | st.tuples(inner)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", [in_memory, in_files])
@given(value=TREES, size=st.sampled_from([0, 40_000]))
def test_the_payload_on_record_is_the_payload(kind: Any, value: Any, size: int) -> None:
    """Whatever can be recorded comes back as an equal value of the same types, large ones too."""
    with kind() as opened, IntentusRuntime(store=opened()) as runtime:
        runtime.agent("echo", handles="x")(lambda payload: payload)
        first, again = (runtime.route("x", [value, "x" * size], idempotency_key="k") for _ in range(2))
        assert again.from_record
        # By their bytes, which tell types apart: NaN is equal to nothing.
        assert values.encode(again.payload) == values.encode(first.payload)
        assert again.model_dump(exclude={"payload", "from_record"}) == first.model_dump(
            exclude={"payload", "from_record"}
        )
