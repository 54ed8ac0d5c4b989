"""What an agent asks through: scopes, typed answers, exceptions as they were, and what cannot be recorded."""

import enum
import functools
import importlib
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from intentusnet import (
    AgentFailure,
    AgentResponse,
    Caller,
    Context,
    ExecutionRecord,
    IntentusRuntime,
    ManualClock,
    MemoryExecutionStore,
    Verdict,
    effect,
)
from intentusnet.errors import ConfigurationError, IntentusError, InvalidEnvelope, InvalidInput, UnrecordableValue

ROOT = Path(__file__).parents[2]


def run(agent: Callable[..., Any], payload: Any = None, *, replays: bool = True, **options: Any) -> AgentResponse:
    """Routes to one agent; the record has to replay to match unless told otherwise."""
    return recorded(agent, payload, replays=replays, **options)[0]


def recorded(
    agent: Callable[..., Any], payload: Any = None, *, replays: bool = True, route: Any = None, **options: Any
) -> tuple[AgentResponse, ExecutionRecord]:
    runtime = IntentusRuntime(store=MemoryExecutionStore(), **options)
    runtime.agent("agent", handles="x")(agent)
    runtime.agent("child", handles="child")(lambda payload: {"child": payload})
    response = runtime.route("x", payload, **(route or {}))
    record = runtime.store.get(response.execution_id)
    if replays:
        report = runtime.replay(record)
        assert report.verdict is Verdict.MATCH, report
    return response, record


def value(agent: Callable[..., Any], **options: Any) -> Any:
    response = run(agent, **options)
    assert response.ok, response.error
    return response.payload


# --- what is asked ---


def test_the_world_is_what_the_runtime_is_given() -> None:
    """Clock, ids, environment and random stream come from the runtime, and are told as values."""

    def agent(ctx: Context) -> Any:
        return [
            ctx.now(), ctx.monotonic(), ctx.uuid(), ctx.env("A"), ctx.env("B"), ctx.env("B", "b"), ctx.random.random(),
            ctx.execution_id, ctx.sleep(2), ctx.now(),
        ]  # fmt: skip

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


# --- effects ---


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
        (functools.wraps(a_point)(lambda *args: a_point(*args)), (5,), Point),
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
    """What an effect keeps of its result, and changes later, the agent does not see: neither live nor on replay."""
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
    assert error.details["where"] == "/a/0" and "0x" not in error.message


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
            told = [ctx.now().year, ctx.env("A"), len(str(ctx.uuid())), ctx.random.random() < 1, ctx.monotonic() > 0]
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
    runtime.agent("agent", handles="x")(lambda ctx: ctx.effect("outer", lambda: ctx.route("child").execution_id))
    response = runtime.route("x")
    child = runtime.store.get(response.payload)
    assert [q.name for q in child.questions] == ["child", "own"]
    assert child.parent is not None and (child.parent.scope, child.parent.question) == ("attempt:0", 0)
    assert child.parent.execution == response.execution_id and child.depth == 1


# --- children ---


def test_a_child_inherits_what_it_is_not_told_otherwise() -> None:
    """Caller, tags, priority, deadline and trace are the parent's; the child is linked both ways."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    seen = []

    @runtime.agent("child", handles="child")
    def child(payload: Any, ctx: Context) -> None:
        e = ctx.envelope
        seen.append((e.caller.name, e.tags, e.priority, e.deadline is not None, e.traceparent, e.idempotency_key))

    @runtime.agent("agent", handles="x")
    def agent(ctx: Context) -> None:
        ctx.route("child")
        ctx.route(
            "child@1.0", a_model(), caller=Caller(name="bob"), tags=["u"], priority=9, idempotency_key="k",
            strategy="fallback", fallback=["child"],
        )  # fmt: skip

    response = runtime.route("x", caller="ann", tags=["t"], priority=3, timeout=60, traceparent="00-1")
    assert response.ok, response.error
    assert seen == [("ann", ("t",), 3, True, "00-1", None), ("bob", ("u",), 9, True, "00-1", "k")]
    record = runtime.store.get(response.execution_id)
    children = [runtime.store.get(name) for name in record.children]
    assert [c.parent.question for c in children if c.parent] == [0, 1]
    assert [c.envelope.id for c in children] == [f"{record.envelope.id}/attempt:0/{n}" for n in (0, 1)]


@pytest.mark.parametrize(
    "arguments",
    [{"intent": ""}, {"intent": 5}, {"strategy": "best"}, {"tags": "one"}, {"fallback": "one"}, {"priority": "x"}],
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


# --- gather ---


def test_gather_keeps_the_order_of_its_calls() -> None:
    """Results stand in the order of the calls, whichever ends first."""
    gates = [threading.Event() for _ in range(3)]

    def agent(ctx: Context) -> Any:
        def branch(number: int) -> int:
            if number < 2:
                assert gates[number + 1].wait(10)
            gates[number].set()
            return number

        return ctx.gather(*(functools.partial(branch, n) for n in range(3)))

    assert value(agent) == [0, 1, 2]


def test_gather_hands_the_context_to_those_who_want_it() -> None:
    """A call with a parameter gets the context; one without, or of which nobody knows, does not."""

    def agent(ctx: Context) -> Any:
        return ctx.gather(
            lambda c: c is ctx, lambda: "none", lambda c=5: c, dict, int, lambda *args: len(args), *[]
        )  # fmt: skip

    assert value(agent) == [True, "none", 5, {}, 0, 0]
    assert value(lambda ctx: ctx.gather()) == []


def test_gather_raises_the_first_exception_when_all_have_ended() -> None:
    """Of several exceptions the first in the order of the calls is raised, and all calls are heard."""
    ended = []

    def agent(ctx: Context) -> Any:
        def fails(number: int) -> None:
            ctx.effect("f", ended.append, number)
            raise ValueError(number)

        try:
            ctx.gather(lambda: 1, lambda: fails(1), lambda: fails(2))
        except ValueError as fault:
            return fault.args

    assert value(agent) == (1,)
    assert sorted(ended) == [1, 2]


def test_no_exception_hides_a_signal() -> None:
    """Ctrl-C in a later branch is not swallowed for the sake of an earlier branch's exception."""

    def agent(ctx: Context) -> Any:
        def fails() -> None:
            raise ValueError

        def stops() -> None:
            raise KeyboardInterrupt

        try:
            ctx.gather(fails, stops)
        except Exception:
            return "swallowed"

    with pytest.raises(KeyboardInterrupt):
        run(agent)


def test_scopes_say_where_a_question_was_asked() -> None:
    """Scopes are paths of attempt, gather and branch, given before a thread starts."""

    def agent(ctx: Context) -> Any:
        def nested(number: int) -> Any:
            ctx.effect("f", int, number)
            return ctx.gather(lambda: ctx.effect("g", int, number), lambda: ctx.effect("g", int, number))

        return [ctx.gather(lambda: nested(0), lambda: nested(1)), ctx.gather(lambda: ctx.effect("h", int, 2))]

    _, record = recorded(agent)
    scopes = sorted((q.scope, q.name) for q in record.questions if q.kind == "effect")
    inner = [(f"attempt:0/gather:0.{b}/gather:0.{i}", "g") for b in (0, 1) for i in (0, 1)]
    outer = [(f"attempt:0/gather:0.{b}", "f") for b in (0, 1)]
    assert scopes == sorted([*inner, *outer, ("attempt:0/gather:1.0", "h")])


def test_threads_of_an_agents_own_have_no_order() -> None:
    """Questions from threads that the agent starts are marked, and match in any order."""
    order = [0, 1, 2]

    def agent(ctx: Context) -> Any:
        told: dict[int, str] = {}
        turns = [threading.Event() for _ in range(4)]
        turns[0].set()

        def ask(turn: int, number: int) -> None:
            assert turns[turn].wait(10)
            told[number] = ctx.effect("f", lambda n: f"answer {n}", number)
            turns[turn + 1].set()

        threads = [threading.Thread(target=ask, args=(turn, number)) for turn, number in enumerate(order)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [told[number] for number in range(3)]

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    one = runtime.route("x")
    order[:] = [2, 0, 1]
    assert runtime.replay(one.execution_id).verdict is Verdict.MATCH
    assert runtime.route("x").fingerprint == one.fingerprint
    record = runtime.store.get(one.execution_id)
    assert all(q.unordered for q in record.questions if q.kind == "effect")


def test_the_agents_own_thread_and_others_are_not_mixed_up() -> None:
    """Of equal questions from the agent and from a thread of its own, each gets its own answer again."""
    numbers = iter(range(100))
    main_first = False

    def agent(ctx: Context) -> Any:
        def ask() -> None:
            told.append(("thread", ctx.effect("f", lambda: next(numbers))))

        told: list[Any] = []
        thread = threading.Thread(target=ask)
        if main_first:
            told.append(("main", ctx.effect("f", lambda: next(numbers))))
        thread.start()
        thread.join()
        if not main_first:
            told.append(("main", ctx.effect("f", lambda: next(numbers))))
        return sorted(told)

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    response = runtime.route("x")
    main_first = True
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH


# --- exceptions ---


class Coded(Exception):
    def __init__(self, number: int, *, extra: str = "") -> None:
        super().__init__(f"<{number}>")
        self.number = number
        self.extra = extra

    def __str__(self) -> str:
        return f"number {self.number}{self.extra}"


class Silent(Exception):
    """Its message is in no argument."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def __str__(self) -> str:
        return f"handle {type(self.handle).__name__} is closed"


class Picky(Exception):
    def __new__(cls, *, needed: int) -> "Picky":
        return super().__new__(cls)

    def __init__(self, *, needed: int) -> None:
        super().__init__("picky")


class Frozen(Exception):
    @property
    def number(self) -> int:
        return 5


class Outer:
    class Inner(LookupError):
        pass


class Base(BaseException):
    pass


RAISED: list[Callable[[], BaseException]] = [
    lambda: ValueError("a", 1, (2, {3})),
    lambda: ValueError(object()),
    lambda: KeyError("k"),
    lambda: Coded(7, extra="!"),
    lambda: Silent(object()),
    lambda: Picky(needed=1),
    lambda: Frozen("x"),
    lambda: Outer.Inner("deep"),
    lambda: Base("b"),
    lambda: SystemExit(3),
    lambda: StopIteration("value"),
    lambda: GeneratorExit(),
    lambda: FileNotFoundError(2, "gone", "a", None, "b"),
    lambda: OSError("only text"),
    lambda: ImportError("no", name="m", path="p"),
    lambda: NameError("no", name="n"),
    lambda: UnicodeEncodeError("ascii", "ä", 0, 1, "why"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"),
    lambda: SyntaxError("bad", ("f", 1, 2, "text", 1, 3)),
    lambda: ExceptionGroup("some", [ValueError(1), Coded(2)]),
    lambda: BaseExceptionGroup("all", [Base("b"), KeyError(1)]),
    lambda: AgentFailure("later", code="RATE_LIMIT", details={"s": 5}),
    lambda: InvalidInput("bad", where="/a", hint="do"),
    lambda: TimeoutError(),
    lambda: RecursionError("deep"),
    lambda: AssertionError(),
]
ATTRIBUTES = (
    "args", "number", "extra", "code", "value", "details", "where", "hint", "errno", "strerror", "filename", "filename2",
    "name", "path", "start", "end", "reason", "encoding", "lineno", "offset", "text", "msg", "message", "__notes__",
)  # fmt: skip


def told_of(fault: BaseException) -> list[Any]:
    """What an agent can tell of an exception."""
    told = [type(fault).__name__, type(fault).__qualname__, type(fault).__module__, str(fault)]
    shown = {name: found for name in ATTRIBUTES if (found := getattr(fault, name, None)) is not None}
    if isinstance(fault, BaseExceptionGroup):
        shown.pop("args")
        shown["exceptions"] = [told_of(inner) for inner in fault.exceptions]
    elif "object" in str(fault):  # its argument is no data: the message, without the address, stands for it
        shown.pop("args")
        told.pop()
    return [*told, [base.__name__ for base in type(fault).__mro__ if base in (*BASES, Coded, Base)], shown]


BASES = (ValueError, LookupError, OSError, Exception, SystemExit, BaseExceptionGroup, IntentusError)


@pytest.mark.parametrize("make", RAISED, ids=lambda make: type(make()).__name__)
def test_exceptions_of_effects_are_the_same_on_replay(make: Callable[[], BaseException]) -> None:
    """Class, bases, message, arguments and attributes: an agent cannot tell a replay by an exception."""

    def fails() -> None:
        fault = make()
        fault.add_note("a note")
        raise fault

    def agent(ctx: Context) -> Any:
        try:
            ctx.effect("f", fails)
        except BaseException as fault:
            return told_of(fault)

    assert value(agent)


@pytest.mark.parametrize("make", RAISED, ids=lambda make: type(make()).__name__)
def test_exceptions_of_effects_that_nobody_catches_are_the_same_on_replay(make: Callable[[], BaseException]) -> None:
    """An agent that lets an effect's exception through fails in the same way on replay."""

    def fails() -> None:
        raise make()

    error = run(lambda ctx: ctx.effect("f", fails)).error
    assert error is not None and error.code in ("AGENT_ERROR", "RATE_LIMIT")


def test_an_exception_whose_class_is_gone_is_named() -> None:
    """A class that is defined nowhere that can be looked up becomes an EffectError on replay, which shows."""

    class Local(Exception):
        pass

    def fails() -> None:
        raise Local("x")

    def agent(ctx: Context) -> Any:
        try:
            ctx.effect("f", fails)
        except Exception as fault:
            return type(fault).__name__

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    report = runtime.replay(runtime.route("x").execution_id)
    assert [d.actual for d in report.divergences][:1] == ["EffectError"]


def test_nothing_that_a_record_names_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of a module that is not loaded stays unloaded."""
    (tmp_path / "trap_module.py").write_text("class Trap(Exception): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    trap = importlib.import_module("trap_module").Trap

    def fails() -> None:
        raise trap("x")

    def agent(ctx: Context) -> Any:
        try:
            ctx.effect("f", fails)
        except Exception:
            return "failed"

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    response = runtime.route("x")
    del sys.modules["trap_module"]
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH
    assert "trap_module" not in sys.modules


APP = '''
from intentusnet import FileExecutionStore, IntentusRuntime

class Refused(Exception):
    def __init__(self, number):
        self.number = number

runtime = IntentusRuntime(store={store!r})

def fails():
    raise Refused(7)

@runtime.agent("a", handles="x")
def a(ctx):
    try:
        ctx.effect("f", fails)
    except Refused as fault:
        return [type(fault).__qualname__, fault.number, fault.args]

if __name__ == "__main__":
    print(runtime.route("x").execution_id)
'''


def test_a_record_made_by_a_script_is_replayed_from_its_module(tmp_path: Path) -> None:
    """What `python app.py` recorded, exceptions of __main__ included, replays to match by `import app`."""
    (tmp_path / "app.py").write_text(APP.format(store=str(tmp_path / "records")))

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    replay = "import app, sys; print(app.runtime.replay(sys.argv[1]).verdict)"
    for script in (["app.py"], ["-m", "app"]):
        recorded_by = python(*script)
        assert python("-c", replay, recorded_by) == "match"
    assert python("-c", "import app; print(app.runtime.route('x').ok and app.runtime.replay('@last').verdict)") == "match"
    from_import = python("-c", "import app; print(app.runtime.route('x').execution_id)")
    again = "import runpy, sys; names = runpy.run_path('app.py', run_name='app')"
    assert python("-c", f"{again}; print(names['runtime'].store.get({from_import!r}).status)") == "success"
