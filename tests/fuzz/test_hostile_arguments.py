"""Whatever the arguments of a call are: a response, or an error that names the argument."""

import asyncio
import contextlib
import inspect
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from helpers.hostile import HALF, VALUES

from intentusnet import Caller, Context, IntentEnvelope, IntentusRuntime, MemoryExecutionStore, Verdict
from intentusnet.errors import InvalidEnvelope, InvalidInput

#: Pydantic cannot but tell Python of properties that raise where it asks for none of their errors.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ARGUMENTS = [
    name for name in inspect.signature(IntentusRuntime.route).parameters if name not in ("self", "payload")
]

#: Who lists what has no end has none here, either; and what leaves the program when it is shown does so.
NAMES = [name for name in VALUES if name not in ("endless", "leaving", "leaving inside")]


def routing() -> IntentusRuntime:
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="*")(lambda payload: payload)
    return runtime


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_whatever_an_argument_is_it_makes_sense_or_is_refused(argument: str) -> None:
    """Each argument of `route` may be any object: the end is a record that replays, or InvalidInput."""
    runtime, routed = routing(), []

    async def main() -> None:
        for name in NAMES:
            with contextlib.suppress(InvalidInput):
                routed.append(runtime.route(**{"intent": "x", argument: VALUES[name]()}))
            with contextlib.suppress(InvalidInput):
                routed.append(await runtime.route_async(**{"intent": "x", argument: VALUES[name]()}))

    asyncio.run(main())
    for response in routed:
        assert runtime.replay(response.execution_id).verdict is Verdict.MATCH
    assert runtime.store is not None and runtime.store.verify().ok


@pytest.mark.parametrize(
    "argument", [name for name in ARGUMENTS if name in inspect.signature(Context.route).parameters]
)
def test_whatever_a_child_is_asked_with_the_agent_is_told(argument: str) -> None:
    """The same for child intents, within an agent, which may catch it."""
    runtime = routing()

    def outer(name: str, ctx: Context) -> str:
        try:
            return ctx.route(**{"intent": "x", argument: VALUES[name]()}).status
        except InvalidInput as fault:
            return type(fault).__name__

    runtime.agent("outer", handles="outer")(outer)
    for name in NAMES:
        response = runtime.route("outer", name, target="outer")
        assert response.ok, (name, response.error)
        assert runtime.replay(response.execution_id).verdict is Verdict.MATCH, name


@pytest.mark.parametrize(
    "fields",
    [
        {"intent": HALF},
        {"intent": f"x@{HALF}"},
        {"caller": HALF},
        {"caller": Caller(name="a", roles=("b",)), "tags": (HALF,)},
        {"traceparent": HALF},
        {"traceparent": "0" * 100_000},
        {"idempotency_key": HALF},
        {"priority": 10**400},
        {"priority": -(2**63)},
        {"deadline": datetime.max.replace(tzinfo=timezone(timedelta(hours=-23)))},
        {"deadline": datetime.min.replace(tzinfo=timezone(timedelta(hours=23)))},
        {"deadline": datetime.min.replace(tzinfo=UTC)},
        {"routing": {"target": HALF}},
        {"id": HALF},
    ],
    ids=ascii,
)
def test_an_envelope_is_refused_when_it_is_made_or_can_be_routed(fields: dict[str, Any]) -> None:
    """No envelope that can be made makes the router raise; what cannot be written down cannot be made."""
    runtime = routing()
    try:
        envelope = IntentEnvelope(**{"intent": "x", **fields})
    except ValueError:
        return
    response = runtime.router.route_intent(envelope)
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH


def test_every_argument_that_makes_no_sense_is_told() -> None:
    """Several arguments that make no sense come as one error, with each in its place."""
    arguments: dict[str, Any] = {"intent": "", "priority": "high", "tags": ("",), "traceparent": "x" * 513}
    with pytest.raises(InvalidEnvelope) as refusal:
        routing().route(**arguments)
    fault = refusal.value
    assert {misfit["path"] for misfit in fault.misfits} == {
        "/intent/name", "/tags/0", "/priority", "/traceparent",
    }  # fmt: skip
    assert fault.total == 4 and "3 more" in str(fault)
