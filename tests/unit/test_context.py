"""What an agent asks through: the world as questions, and children as executions of their own."""

import enum
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from helpers.recordings import recorded, run, value

from intentusnet import (
    Caller,
    Context,
    IntentusRuntime,
    ManualClock,
    MemoryExecutionStore,
)
from intentusnet.errors import (
    ConfigurationError,
    InvalidEnvelope,
    InvalidInput,
)

# --- what is asked ---


def test_the_world_is_what_the_runtime_is_given() -> None:
    """Clock, ids, environment and random stream come from the runtime, and are told as values."""

    def agent(ctx: Context) -> Any:
        return [
            ctx.now(),
            ctx.monotonic(),
            ctx.uuid(),
            ctx.env("A"),
            ctx.env("B"),
            ctx.env("B", "b"),
            ctx.random.random(),
            ctx.execution_id,
            ctx.sleep(2),
            ctx.now(),
        ]

    start = 1_700_000_000_000_000
    told = value(agent, clock=ManualClock(start), environ={"A": "a"})
    assert told[0] == datetime.fromtimestamp(start / 1e6, UTC)
    assert type(told[1]) is float and type(told[2]) is uuid.UUID
    assert told[3:6] == ["a", None, "b"] and 0 <= told[6] < 1
    assert (told[9] - told[0]).total_seconds() == 2


def test_the_envelope_is_the_agents_own_copy() -> None:
    """What an agent does to its payload or envelope changes neither the record nor another agent's."""

    def agent(payload: Any, ctx: Context) -> Any:
        payload["a"].append(1)
        ctx.envelope.payload["a"].append(2)
        return [payload, ctx.envelope.payload, ctx.envelope.caller.name, ctx.envelope.intent.name]

    payload: dict[str, Any] = {"a": []}
    response, record = recorded(agent, payload, route={"caller": "ann"})
    assert response.payload == [{"a": [1]}, {"a": [2]}, "ann", "x"]
    assert payload == {"a": []} == record.envelope.payload


def test_each_scope_has_a_random_stream_of_its_own() -> None:
    """The stream goes on within a scope, is another one in each branch, and repeats on replay."""

    def agent(ctx: Context) -> Any:
        first = ctx.random.getrandbits(64)
        branches = ctx.gather(lambda: ctx.random.getrandbits(64), lambda: ctx.random.getrandbits(64))
        return [first, *branches, ctx.random.getrandbits(64)]

    response, record = recorded(agent)
    assert len(set(response.payload)) == 4
    assert [q.scope for q in record.questions if q.kind == "random"].count("attempt:0") == 1


def test_the_idempotency_key_is_the_requests_and_the_scopes() -> None:
    """Running the same point of the same request again gives the same key; another scope has another."""

    def agent(ctx: Context) -> Any:
        return [ctx.idempotency_key, ctx.idempotency_key, *ctx.gather(lambda: ctx.idempotency_key)]

    keys = run(agent, route={"idempotency_key": "order-7"}).payload
    assert keys == ["order-7/attempt:0", "order-7/attempt:0", "order-7/attempt:0/gather:0.0"]
    response = run(agent)
    assert response.payload[0] == f"{response.execution_id}/attempt:0"


@pytest.mark.parametrize("seconds", [-1, float("nan"), 1e300, "1"])
def test_a_question_that_the_world_refuses_is_answered_by_its_exception(seconds: Any) -> None:
    """An impossible sleep raises the same live and on replay."""

    def agent(ctx: Context) -> Any:
        try:
            ctx.sleep(seconds)
        except (ValueError, OverflowError, TypeError) as fault:
            return [type(fault).__name__, str(fault)]

    assert value(agent)[0] in ("ValueError", "OverflowError", "TypeError")


def test_notes_are_in_the_record_and_in_no_fingerprint() -> None:
    """A note is recorded with its fields; another note makes no other fingerprint."""

    def noting(number: int) -> Callable[[Context], int]:
        def agent(ctx: Context) -> int:
            for index in range(number):
                ctx.log("note", index=index)
            return ctx.effect("f", lambda: 1)

        return agent

    one, other = recorded(noting(0)), recorded(noting(2))
    assert [q.name for q in other[1].questions if q.kind == "log"] == ["note", "note"]
    assert one[0].fingerprint == other[0].fingerprint


@pytest.mark.parametrize("name", [5, None, "\ud800", b"x"])
def test_a_question_needs_a_name_of_text(name: Any) -> None:
    """A name that cannot be written is refused before anything is called, and the execution is sound."""
    called = []

    def agent(ctx: Context) -> Any:
        with pytest.raises(InvalidInput, match="must be text"):
            ctx.effect(name, called.append, 1)
        return ctx.effect("g", lambda: 2)

    assert value(agent) == 2 and not called


def test_a_name_may_be_a_member_of_a_text_enum() -> None:
    """A subclass of str names as the text that it is."""

    class Name(enum.StrEnum):
        F = "f"

    _, record = recorded(lambda ctx: ctx.effect(Name.F, lambda: 1))
    assert type(record.questions[1].name) is str and record.questions[1].name == "f"


# --- children ---


def test_a_child_inherits_what_it_is_not_told_otherwise() -> None:
    """Caller, tags, priority, deadline and trace are the parent's; the child is linked both ways."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    seen = []

    @runtime.agent("child", handles="child")
    def child(payload: Any, ctx: Context) -> None:
        e = ctx.envelope
        seen.append(
            (e.caller.name, e.tags, e.priority, e.deadline is not None, e.traceparent, e.idempotency_key)
        )

    @runtime.agent("agent", handles="x")
    def agent(ctx: Context) -> None:
        ctx.route("child")
        ctx.route(
            "child@1.0",
            {"a": 1},
            caller=Caller(name="bob"),
            tags=["u"],
            priority=9,
            idempotency_key="k",
            strategy="fallback",
            fallback=["child"],
        )

    response = runtime.route("x", caller="ann", tags=["t"], priority=3, timeout=60, traceparent="00-1")
    assert response.ok, response.error
    assert seen == [("ann", ("t",), 3, True, "00-1", None), ("bob", ("u",), 9, True, "00-1", "k")]
    record = runtime.store.get(response.execution_id)
    children = [runtime.store.get(name) for name in record.children]
    # With a deadline, a look at the time comes before each, and takes a number.
    assert [c.parent.question for c in children if c.parent] == [1, 3]
    assert [c.envelope.id for c in children] == [f"{record.envelope.id}/attempt:0/{n}" for n in (1, 3)]


@pytest.mark.parametrize(
    "arguments",
    [
        {"intent": ""},
        {"intent": 5},
        {"strategy": "best"},
        {"tags": "one"},
        {"fallback": "one"},
        {"priority": "x"},
    ],
)
def test_a_child_that_makes_no_sense_is_refused_before_it_is_asked(arguments: dict[str, Any]) -> None:
    """A malformed child request raises InvalidEnvelope in the agent, and leaves no question."""

    def agent(ctx: Context) -> Any:
        with pytest.raises(InvalidEnvelope):
            ctx.route(**{"intent": "child", **arguments})

    _, record = recorded(agent)
    assert len(record.questions) == 1


def test_nesting_has_an_end() -> None:
    """An agent that routes to itself is stopped at the runtime's depth, and told so."""
    runtime = IntentusRuntime(store=MemoryExecutionStore(), max_depth=3)

    @runtime.agent("a", handles="x")
    def a(ctx: Context) -> Any:
        response = ctx.route("x")
        return [response.payload if response.ok else response.error.message]

    ((((message,),),),) = runtime.route("x").payload
    assert "nested more than 3 deep" in message
    with pytest.raises(ConfigurationError):
        IntentusRuntime(max_depth=-1)
