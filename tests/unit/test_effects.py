"""Effects: typed answers, what cannot be recorded, and what a function says of itself."""

import enum
import functools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from helpers.recordings import recorded, run, value
from pydantic import BaseModel

from intentusnet import (
    Context,
    IntentusRuntime,
    MemoryExecutionStore,
    effect,
)
from intentusnet.errors import (
    ConfigurationError,
    UnrecordableValue,
)


class Model(BaseModel):
    name: str
    at: datetime


@dataclass
class Point:
    x: int
    y: float


class Colour(enum.Enum):
    RED = 1


def a_model() -> Model:
    return Model(name="n", at=datetime(2026, 1, 1, tzinfo=UTC))


def a_point(x: int = 1) -> Point:
    return Point(x, 2.0)


def a_colour() -> Colour:
    return Colour.RED


def a_list() -> list[Point]:
    return [Point(1, 2.0)]


class Client:
    def point(self, x: int) -> Point:
        return Point(x, 0.5)


@pytest.mark.parametrize(
    ("function", "args", "kind"),
    [
        (a_model, (), Model),
        (a_point, (), Point),
        (a_colour, (), Colour),
        (functools.partial(a_point, 3), (), Point),
        (Client().point, (4,), Point),
        (functools.wraps(a_point)(lambda *args: Point(*args, 2.0)), (5,), Point),
    ],
)
def test_typed_answers_come_back_typed(function: Any, args: Any, kind: type) -> None:
    """By the function's annotation, an answer is the same value of the same type live and on replay."""
    seen = []

    def agent(ctx: Context) -> None:
        seen.append(ctx.effect("f", function, *args))

    run(agent)
    live, replayed = seen
    assert type(live) is type(replayed) is kind and live == replayed == function(*args)


def test_typed_answers_in_containers_come_back_typed() -> None:
    """A list of dataclasses is one again."""
    seen = []
    run(lambda ctx: seen.append(ctx.effect("f", a_list)))
    assert seen == [[Point(1, 2.0)]] * 2


def broken_hint() -> "Nowhere":  # type: ignore[name-defined]  # noqa: F821 - that is what is tested
    return 1


def test_an_annotation_that_cannot_be_read_is_none() -> None:
    """A hint that names nothing is left out of account, and so is a function that has no signature."""
    assert value(lambda ctx: [ctx.effect("f", broken_hint), ctx.effect("g", max, 1, 2)]) == [1, 2]


def test_an_agent_gets_the_recorded_value_and_not_the_functions_own() -> None:
    """What an effect keeps of its result, and changes later, the agent sees neither live nor on replay."""
    kept: list[int] = []

    def give() -> list[int]:
        return kept

    def agent(ctx: Context) -> Any:
        told = ctx.effect("f", give)
        kept.append(1)
        return told

    assert value(agent) == []


@pytest.mark.parametrize(
    ("call", "where"),
    [
        (lambda ctx: ctx.effect("f", lambda *_: 1, 1, [object()]), "/args/1/0"),
        (lambda ctx: ctx.effect("f", lambda **_: 1, deep={"a": {"b": lambda: 1}}), "/kwargs/deep/a/b"),
        (lambda ctx: ctx.effect("f", lambda: {"a": [1, object()]}), "/a/1"),
        (lambda ctx: ctx.effect("f", a_wrong_point), ""),
        (lambda ctx: ctx.route("child", {"a": object()}), "/a"),
        (lambda ctx: ctx.log("note", thing=object()), "/kwargs/thing"),
    ],
)
def test_what_cannot_be_recorded_is_named_by_its_path(call: Any, where: str) -> None:
    """An argument or a result that cannot be written down raises, with its pointer, live and on replay."""

    def agent(ctx: Context) -> Any:
        try:
            call(ctx)
        except UnrecordableValue as fault:
            return [fault.where, str(fault)]
        return "nothing was raised"

    assert value(agent)[0] == where


def a_wrong_point() -> Point:
    return (1, 2)  # type: ignore[return-value]  # that is what is tested


def test_what_an_agent_returns_is_named_by_its_path() -> None:
    """An unrecordable answer of an agent is an error of the agent's, with the pointer and no address."""
    error = run(lambda: {"a": [object()]}).error
    assert error is not None and error.code == "INTERNAL_AGENT_ERROR"
    assert error.details["faults"][0]["path"] == "/a/0" and "0x" not in error.message


def test_effects_say_what_they_do_to_the_world() -> None:
    """The traits of the function stand in the record, also of a partial one and of a method."""

    @effect(side_effect="irreversible", idempotent=True)
    def pay(amount: int) -> int:
        return amount

    @effect
    def plain() -> None: ...

    def agent(ctx: Context) -> None:
        ctx.effect("a", pay, 1)
        ctx.effect("b", functools.partial(pay, 1))
        ctx.effect("c", plain)
        ctx.effect("d", lambda: None)

    _, record = recorded(agent)
    traits = {q.name: (q.side_effect, q.idempotent) for q in record.questions if q.kind == "effect"}
    assert traits["a"] == traits["b"] == ("irreversible", True)
    assert traits["c"] == traits["d"] == ("reversible", False)
    with pytest.raises(ConfigurationError, match="no such side effect"):
        effect(side_effect="readonly")  # type: ignore[call-overload]  # that is what is tested


def test_inside_an_effect_nothing_is_recorded() -> None:
    """What an effect's function asks through the context is part of its one answer, and takes no number."""

    def agent(ctx: Context) -> Any:
        def inside() -> Any:
            ctx.sleep(0)
            ctx.log("x")
            told = [
                ctx.now().year,
                ctx.env("A"),
                len(str(ctx.uuid())),
                ctx.random.random() < 1,
                ctx.monotonic() > 0,
            ]
            told += ctx.gather(lambda: ctx.effect("inner", lambda: 1), lambda c: c.idempotency_key)
            return [*told, ctx.route("child", 1).payload]

        return [ctx.effect("outer", inside), ctx.gather(lambda: ctx.effect("after", lambda: 2))]

    response, record = recorded(agent, environ={"A": "a"})
    assert response.payload[0][1:6] == ["a", 36, True, True, 1] and response.payload[1] == [2]
    assert [(q.scope, q.ordinal, q.name) for q in record.questions[1:]] == [
        ("attempt:0", 0, "outer"), ("attempt:0/gather:0.0", 0, "after"),
    ]  # fmt: skip


def test_an_agent_called_inside_an_effect_records_its_own_effects() -> None:
    """A child of an effect is an execution like any other, linked to the effect that asked for it."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("child", handles="child")(lambda ctx: ctx.effect("own", lambda: 1))
    runtime.agent("agent", handles="x")(
        lambda ctx: ctx.effect("outer", lambda: ctx.route("child").execution_id)
    )
    response = runtime.route("x")
    child = runtime.store.get(response.payload)
    assert [q.name for q in child.questions] == ["child", "own"]
    assert child.parent is not None and (child.parent.scope, child.parent.question) == ("attempt:0", 0)
    assert child.parent.execution == response.execution_id and child.depth == 1
