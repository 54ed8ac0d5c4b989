"""Hooks: their order, guards that fail closed, and observers that harm nothing."""

# Over 400 lines: every promise about hooks that needs no record, side by side.

import asyncio
import gc
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.runtimes import fails, gives, replays, runtime_of
from hypothesis import given
from hypothesis import strategies as st

from intentusnet import (
    AgentResponse,
    Context,
    Event,
    Hook,
    HookWarning,
    IntentEnvelope,
    IntentusRuntime,
    MemoryExecutionStore,
    Refused,
)
from intentusnet.errors import ConfigurationError, StoreWriteFailed

pytestmark = pytest.mark.filterwarnings("default::intentusnet.HookWarning")


class Unshowable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Guard:
    """Says nothing, or raises that."""

    def __init__(self, name: str, fault: BaseException | None = None, told: list[Any] | None = None) -> None:
        self.name = name
        self.fault = fault
        self.told = told if told is not None else []

    def before(self, envelope: IntentEnvelope) -> None:
        self.told.append(("before", self.name))
        if self.fault is not None:
            raise self.fault


class Everything(Guard):
    """A guard that is told of everything else, too."""

    def after(self, envelope: IntentEnvelope, response: AgentResponse) -> None:
        self.told.append(("after", self.name))

    def on_error(self, envelope: IntentEnvelope, error: AgentResponse | BaseException) -> None:
        self.told.append(("on_error", self.name))

    def on_event(self, event: Event) -> None:
        self.told.append((event.kind, self.name))


class Watching:
    """Keeps the events that it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)


def routed(*hooks: object, fault: str | None = None, **options: Any) -> tuple[IntentusRuntime, AgentResponse]:
    """One execution with these hooks, whose agent answers 1, or fails."""
    runtime = runtime_of(hooks=hooks, **options)
    runtime.agent("agent", handles="x")(gives(1) if fault is None else fails(fault))
    return runtime, runtime.route("x", {"amount": 1})


def code_of(response: AgentResponse) -> str | None:
    return None if response.error is None else response.error.code.value


# --- order ---

GUARDS = st.lists(
    st.tuples(st.sampled_from(["guard", "observer", "both"]), st.sampled_from(["pass", "refuse", "raise"])),
    max_size=6,
)


@given(GUARDS, st.booleans())
def test_hooks_are_called_in_their_order(drawn: list[tuple[str, str]], succeeds: bool) -> None:
    """Guards as registered until one refuses, events as registered, and the last hook hears the end first."""
    told: list[Any] = []
    faults = {"pass": None, "refuse": Refused("no"), "raise": ValueError("broken")}
    kinds = {"guard": Guard, "observer": Everything, "both": Everything}
    hooks = []
    for number, (kind, how) in enumerate(drawn):
        hook = kinds[kind](str(number), faults[how], told)
        if kind == "observer":
            hook.before = None  # type: ignore[assignment]  # it has none
        hooks.append(hook)
    called: list[int] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HookWarning)
        runtime = runtime_of(hooks=hooks)

        @runtime.agent("agent", handles="x")
        def agent() -> None:
            called.append(1)
            if not succeeds:
                raise ValueError

        response = runtime.route("x")

    names = [str(number) for number in range(len(drawn))]
    guards = [name for name in names if drawn[int(name)][0] != "observer"]
    watching = [name for name in names if drawn[int(name)][0] != "guard"]
    no = next((name for name in guards if drawn[int(name)][1] != "pass"), None)
    asked = guards if no is None else guards[: guards.index(no) + 1]
    attempt = [] if no is not None else ["began", "ended"]
    last = "after" if succeeds and no is None else "on_error"
    expected = [("opened", name) for name in watching]
    expected += [("before", name) for name in asked]
    expected += [(kind, name) for kind in [*attempt, "closed"] for name in watching]
    expected += [(last, name) for name in reversed(watching)]
    assert told == expected
    assert called == ([1] if no is None else [])
    assert response.ok is (succeeds and no is None)
    replays(runtime, response)


# --- guards ---

FAULTS: list[BaseException] = [
    ValueError("broken"),
    SystemExit(3),
    GeneratorExit("g"),
    StopIteration(5),
    RecursionError("deep"),
    MemoryError(),
    Unshowable(),
    ExceptionGroup("several", [ValueError(1)]),
    asyncio.CancelledError(),
    Refused("no", code="NO_SUCH_CODE"),
    Refused("no", code="IN_DOUBT"),
]


def test_a_refusal_is_an_answer() -> None:
    """Its code, message and details are the response's, nobody is called, and it is on record."""
    guard = Guard("door", Refused("not you", code="UNAUTHORIZED", details={"who": ("ann", 1)}))
    runtime, response = routed(guard)
    assert response.status == "error" and response.agent is None and response.attempts == ()
    assert response.error is not None
    assert (response.error.code, response.error.message) == ("UNAUTHORIZED", "not you")
    assert response.error.details == {"guard": "door", "who": ("ann", 1)}
    assert runtime.store is not None
    assert runtime.store.get(response.execution_id).response == response
    replays(runtime, response)


def test_without_a_code_a_refusal_is_a_denial() -> None:
    """POLICY_DENIAL, as if a policy had denied it."""
    assert code_of(routed(Guard("door", Refused("no")))[1]) == "POLICY_DENIAL"


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_guard_that_fails_lets_nobody_be_called(fault: BaseException, asynchronous: bool) -> None:
    """Whatever it raises; the record names guard and exception, and nothing of what that says."""
    called: list[int] = []
    runtime = runtime_of(hooks=[Guard("door", fault), Guard("behind", None, called)])
    runtime.agent("agent", handles="x")(lambda: called.append(1))
    with pytest.warns(HookWarning, match="`before` of hook 'door' has raised"):
        response = asyncio.run(runtime.route_async("x")) if asynchronous else runtime.route("x")
    assert called == []
    assert response.error is not None
    assert response.error.code == "POLICY_DENIAL"
    assert response.error.message == "guard 'door' has failed, so nobody was called"
    assert (response.error.type, response.error.details) == (type(fault).__name__, {"guard": "door"})
    replays(runtime, response)


def test_a_guard_that_overflows_the_stack_lets_nobody_be_called() -> None:
    """A real one, as deep as the interpreter goes."""

    class Deep(Hook):
        def before(self, envelope: IntentEnvelope) -> None:
            self.before(envelope)

    with pytest.warns(HookWarning):
        runtime, response = routed(Deep())
    assert response.error is not None and response.error.type == "RecursionError"
    replays(runtime, response)


def test_ctrl_c_in_a_guard_is_the_users() -> None:
    """It interrupts the execution, which has called nobody, and can be resumed."""
    told: list[Any] = []
    guard = Guard("door", KeyboardInterrupt(), told)
    runtime = runtime_of(hooks=[guard])
    runtime.agent("agent", handles="x", side_effect="irreversible")(lambda: told.append("agent"))
    with pytest.raises(KeyboardInterrupt):
        runtime.route("x")
    assert told == [("before", "door")]
    (found,) = runtime.recover()
    guard.fault = None
    response = runtime.resume(found.execution_id)
    assert told == [("before", "door"), ("before", "door"), "agent"]
    replays(runtime, response)


@pytest.mark.parametrize("said", [True, False, 0, "no", ()], ids=repr)
def test_only_nothing_means_yes(said: object) -> None:
    """A guard that returns anything has failed: nobody need guess what it meant."""

    class Says:
        def before(self, envelope: IntentEnvelope) -> object:
            return said

    with pytest.warns(HookWarning, match="it returns None, or raises Refused"):
        assert code_of(routed(Says())[1]) == "POLICY_DENIAL"


def test_a_guard_whose_coroutine_nobody_awaits_has_failed() -> None:
    """A plain function that returns a coroutine is awaited where somebody can, and is no yes elsewhere."""
    told: list[int] = []

    async def later() -> None:
        told.append(1)

    class Hidden:
        def before(self, envelope: IntentEnvelope) -> Any:
            return later()

    runtime = runtime_of(hooks=[Hidden()])
    runtime.agent("agent", handles="x")(gives(1))
    with pytest.warns(HookWarning):
        assert code_of(runtime.route("x")) == "POLICY_DENIAL"
    assert told == []
    assert asyncio.run(runtime.route_async("x")).ok and told == [1]


def test_a_guard_gets_a_copy_of_the_payload() -> None:
    """What it does to that reaches neither the agent, nor the next guard, nor the caller."""
    seen: list[Any] = []

    class Mutates:
        def __init__(self, name: str) -> None:
            self.name = name

        def before(self, envelope: IntentEnvelope) -> None:
            seen.append(dict(envelope.payload))
            envelope.payload["amount"] = 0

    runtime = runtime_of(hooks=[Mutates("a"), Mutates("b")])
    runtime.agent("agent", handles="x")(lambda payload: payload)
    payload = {"amount": 1}
    assert runtime.route("x", payload).payload == {"amount": 1} == payload
    assert seen == [{"amount": 1}, {"amount": 1}]


def test_what_a_guard_says_is_without_secrets() -> None:
    """A key in a refusal is left out of the response and the record, as in what agents raise."""
    key = "sk-" + "a1B2" * 12
    runtime, response = routed(Guard("door", Refused("no", details={"api_key": key})))
    assert runtime.store is not None
    assert key not in str(response)
    assert key.encode() not in runtime.store.get(response.execution_id).to_jsonl()


def test_what_a_guard_says_must_be_recordable() -> None:
    """Details that cannot be written down are replaced by the reason, and the refusal stands."""
    _, response = routed(Guard("door", Refused("no", details={"object": object()})))
    assert response.error is not None and response.error.code == "POLICY_DENIAL"
    assert list(response.error.details) == ["guard", "unrecordable"]


def test_where_nobody_would_be_called_no_guard_is_asked() -> None:
    """Neither without an agent nor after a policy's denial."""
    told: list[Any] = []
    runtime = runtime_of(hooks=[Guard("door", None, told)], policy={"default": "deny"})
    runtime.agent("agent", handles="x")(gives(1))
    assert [code_of(runtime.route(intent)) for intent in "xy"] == ["POLICY_DENIAL", "CAPABILITY_NOT_FOUND"]
    assert told == []


def test_guards_are_asked_for_children_too() -> None:
    """Each execution has a door of its own; a child that is refused is its parent's answer."""
    seen: list[str] = []

    class Door:
        def before(self, envelope: IntentEnvelope) -> None:
            seen.append(envelope.intent.name)
            if envelope.intent.name == "inner":
                raise Refused("not inside")

    runtime = runtime_of(hooks=[Door()])
    runtime.agent("inner", handles="inner")(gives(1))

    @runtime.agent("outer", handles="outer")
    def outer(ctx: Context) -> Any:
        error = ctx.route("inner").error
        return error and error.message

    response = runtime.route("outer")
    assert (response.payload, seen) == ("not inside", ["outer", "inner"])
    assert runtime.replay(response.execution_id, nested=True).verdict == "match"
    assert seen == ["outer", "inner"]


# --- observers ---


class Broken:
    """An observer that raises whatever it is told."""

    def __init__(self, fault: BaseException) -> None:
        self.fault = fault

    def after(self, envelope: IntentEnvelope, response: AgentResponse) -> None:
        raise self.fault

    def on_error(self, envelope: IntentEnvelope, error: AgentResponse | BaseException) -> None:
        raise self.fault

    def on_event(self, event: Event) -> None:
        raise self.fault


@pytest.mark.parametrize("fault", [None, "no"])
@pytest.mark.parametrize("raised", [ValueError("broken"), Unshowable(), Refused("no")], ids=repr)
def test_an_observer_that_raises_is_reported_and_harms_nothing(raised: Exception, fault: str | None) -> None:
    """Response and fingerprint are those without it, the others are called, and each failure is a warning."""
    told: list[Any] = []
    with pytest.warns(HookWarning) as warned:
        runtime, response = routed(Broken(raised), Everything("other", None, told), fault=fault)
    plain = routed(Guard("other"), fault=fault)[1]
    assert response.fingerprint == plain.fingerprint
    assert [kind for kind, _ in told] == [
        *("opened", "before", "began", "ended", "closed"),
        "after" if fault is None else "on_error",
    ]
    methods = ["on_event"] * 4 + ["after" if fault is None else "on_error"]
    assert [str(one.message).split("`")[1] for one in warned] == methods
    replays(runtime, response)


def test_the_warning_names_the_line_that_raised() -> None:
    """So Python's filters can tell hooks apart by module, and show each line once."""

    class OnlyAfter:
        name = "broken"

        def after(self, envelope: IntentEnvelope, response: AgentResponse) -> None:
            raise ValueError(7)

    with pytest.warns(HookWarning, match=r"`after` of hook 'broken' has raised ValueError: 7") as warned:
        routed(OnlyAfter())
    (one,) = warned
    line = Path(__file__).read_text().splitlines()[one.lineno - 1]
    assert one.filename == __file__ and line.strip() == "raise ValueError(7)"


def test_filters_of_warnings_decide_how_often_it_is_shown() -> None:
    """Once for each place by default; not at all if its module is ignored."""
    runtime = runtime_of(hooks=[Broken(ValueError("broken"))])
    runtime.agent("agent", handles="x")(gives(1))

    def shown(action: str, **options: Any) -> int:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("ignore")
            warnings.filterwarnings(action, category=HookWarning, **options)  # type: ignore[arg-type]  # one of them
            runtime.route("x")
            runtime.route("x")
        return len(warned)

    assert (shown("always"), shown("default"), shown("ignore")) == (10, 2, 0)
    assert shown("always", module="another") == 0


@pytest.mark.parametrize("how", ["error", "broken"])
def test_no_warning_breaks_an_execution(how: str) -> None:
    """Where warnings are errors it is shown all the same; and whoever shows warnings may be broken."""

    def cannot(*_: Any, **__: Any) -> None:
        raise OSError("no terminal")

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("error" if how == "error" else "always")
        if how == "broken":
            warnings.showwarning = cannot
        runtime, response = routed(Broken(ValueError("broken")), Guard("g"))
    assert response.ok
    assert len(shown) == (5 if how == "error" else 0)
    replays(runtime, response)


def test_ctrl_c_in_an_observer_is_the_users() -> None:
    """At the end the execution is on record; before that it is interrupted, and can be resumed."""
    for method in ("after", "on_event"):
        hook = Guard("g")

        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        setattr(hook, method, interrupted)
        runtime = runtime_of(hooks=[hook])
        runtime.agent("agent", handles="x")(gives(1))
        with pytest.raises(KeyboardInterrupt):
            runtime.route("x")
        assert len(runtime.recover()) == (0 if method == "after" else 1)


def test_observers_see_copies() -> None:
    """What they do to payloads, answers and errors reaches no other observer, no caller and no record."""
    seen: list[Any] = []

    class Mutates:
        def after(self, envelope: IntentEnvelope, response: AgentResponse) -> None:
            seen.append((dict(envelope.payload), list(response.payload)))
            envelope.payload.clear()
            response.payload.append("spoilt")

        def on_error(self, envelope: IntentEnvelope, error: Any) -> None:
            seen.append(dict(error.error.details))
            error.error.details.clear()
            error.attempts[0].error.details.clear()

    runtime = runtime_of(hooks=[Mutates(), Mutates()])
    runtime.agent("good", handles="good")(lambda payload: [payload["amount"]])
    runtime.agent("bad", handles="bad")(fails(details={"a": 1}))
    for intent in ("good", "bad"):
        response = runtime.route(intent, {"amount": 1})
        assert response.payload == ([1] if intent == "good" else None)
        assert response.error is None or response.error.details == {"a": 1}
        assert response.error is None or response.attempts[0].error == response.error
        replays(runtime, response)
    assert seen == [({"amount": 1}, [1])] * 2 + [{"a": 1}] * 2


def test_observers_of_the_end_find_it_on_record() -> None:
    """In `after`, `on_error` and the last event the record is complete, and can be replayed."""
    found: list[Any] = []
    runtime: IntentusRuntime

    class Reads:
        def check(self, execution_id: str) -> None:
            assert runtime.store is not None
            found.append(runtime.store.get(execution_id).status)
            found.append(runtime.replay(execution_id).verdict)

        def after(self, envelope: IntentEnvelope, response: AgentResponse) -> None:
            self.check(response.execution_id)

        def on_error(self, envelope: IntentEnvelope, error: Any) -> None:
            self.check(error.execution_id)

        def on_event(self, event: Event) -> None:
            if event.kind == "closed":
                self.check(event.execution_id)

    for answers in (gives(1), fails()):
        runtime = runtime_of(hooks=[Reads()])
        runtime.agent("agent", handles="x")(answers)
        runtime.route("x")
    assert found == ["success", "match"] * 2 + ["error", "match"] * 2


def test_on_error_is_told_what_route_raises() -> None:
    """An execution without an end has no response: observers are given the exception."""
    told: list[Any] = []

    class Failing(MemoryExecutionStore):
        def append(self, drafts: Any, *, durability: Any = None) -> Any:
            if any(draft.kind == "closed" for draft in drafts):
                raise StoreWriteFailed("the disk is full")
            return super().append(drafts, durability=durability)

    class Told:
        def on_error(self, envelope: IntentEnvelope, error: Any) -> None:
            told.append(error)

        def on_event(self, event: Event) -> None:
            told.append(event.kind)

    runtime = runtime_of(hooks=[Told()], store=Failing())
    runtime.agent("agent", handles="x")(gives(1))
    with pytest.raises(StoreWriteFailed) as raised:
        runtime.route("x")
    assert told == ["opened", "began", "ended", "interrupted", raised.value]


@pytest.mark.parametrize("strategy", ["direct", "parallel"])
def test_a_hook_may_route_itself(strategy: str) -> None:
    """From each of its methods, in whatever thread it is called: no lock of ours is held."""
    runtime: IntentusRuntime
    done: list[str] = []

    class Routes:
        def again(self, envelope: Any) -> None:
            if not isinstance(envelope, IntentEnvelope) or envelope.intent.name == "x":
                done.append(runtime.route("inner").status)

        def before(self, envelope: IntentEnvelope) -> None:
            self.again(envelope)

        def after(self, envelope: IntentEnvelope, response: AgentResponse) -> None:
            self.again(envelope)

        def on_event(self, event: Event) -> None:
            if event.intent == "x":
                self.again(None)

    runtime = runtime_of(hooks=[Routes()])
    for number in range(2):
        runtime.agent(f"agent{number}", handles="x", rank=number)(gives(number))
    runtime.agent("inner", handles="inner")(gives(1))
    response = runtime.route("x", strategy=strategy)
    assert response.ok
    assert done == ["success"] * (6 if strategy == "direct" else 8)
    replays(runtime, response)


def test_hooks_of_children_are_not_part_of_their_parents() -> None:
    """What a hook does while an agent waits for a child is not captured as that agent's, and it replays."""

    class Timed:
        def before(self, envelope: IntentEnvelope) -> None:
            time.time()

        def on_event(self, event: Event) -> None:
            time.time()

        def after(self, envelope: IntentEnvelope, response: AgentResponse) -> None:
            time.time()

    runtime = runtime_of(hooks=[Timed()], capture=True)
    runtime.agent("inner", handles="inner")(gives(1))
    runtime.agent("outer", handles="outer")(_asks_inner)
    response = runtime.route("outer")
    assert runtime.store is not None
    kinds = [question.kind for question in runtime.store.get(response.execution_id).questions]
    assert kinds == ["admission", "agent", "route"]
    replays(runtime, response)


def _asks_inner(ctx: Context) -> Any:
    return ctx.route("inner").payload


# --- asynchronous hooks ---


class Later:
    """A hook of coroutine functions."""

    def __init__(self, fault: BaseException | None = None) -> None:
        self.told: list[str] = []
        self.fault = fault

    async def before(self, envelope: IntentEnvelope) -> None:
        await asyncio.sleep(0)
        self.told.append("before")
        if self.fault is not None:
            raise self.fault

    async def after(self, envelope: IntentEnvelope, response: AgentResponse) -> None:
        await asyncio.sleep(0)
        self.told.append("after")

    async def on_error(self, envelope: IntentEnvelope, error: AgentResponse | BaseException) -> None:
        await asyncio.sleep(0)
        self.told.append("on_error")
        raise ValueError("broken")


def test_coroutine_functions_are_awaited() -> None:
    """By `route_async`; and plain hooks are called there as well."""
    told: list[Any] = []
    hook = Later()
    runtime = runtime_of(hooks=[hook, Everything("plain", None, told)])
    runtime.agent("agent", handles="x")(gives(1))
    response = asyncio.run(runtime.route_async("x"))
    assert hook.told == ["before", "after"]
    assert [kind for kind, _ in told] == ["opened", "before", "began", "ended", "closed", "after"]
    replays(runtime, response)
    assert runtime.awaits and not runtime_of(hooks=[Guard("g")]).awaits


def test_coroutine_functions_are_refused_where_nobody_awaits_them() -> None:
    """`route` names the method, before anything is called or recorded."""
    runtime = runtime_of(hooks=[Later()])
    runtime.agent("agent", handles="x")(gives(1))
    with pytest.raises(ConfigurationError, match="`before` of hook 'Later' is a coroutine function"):
        runtime.route("x")
    assert runtime.store is not None and runtime.store.list().rows == ()


def test_asynchronous_hooks_fail_as_plain_ones_do() -> None:
    """A guard closed, an observer reported."""
    hook = Later(ValueError("broken"))
    runtime = runtime_of(hooks=[hook])
    runtime.agent("agent", handles="x")(gives(1))
    with pytest.warns(HookWarning) as warned:
        response = asyncio.run(runtime.route_async("x"))
    assert (code_of(response), hook.told) == ("POLICY_DENIAL", ["before", "on_error"])
    assert len(warned) == 2
    replays(runtime, response)


def test_a_child_that_a_plain_agent_asks_for_has_its_hooks_awaited() -> None:
    """In the loop of whoever awaits the parent."""
    hook = Later()
    runtime = runtime_of(hooks=[hook])
    runtime.agent("inner", handles="inner")(gives(1))
    runtime.agent("outer", handles="outer")(_asks_inner)
    response = asyncio.run(runtime.route_async("outer"))
    assert response.ok
    assert hook.told == ["before", "before", "after", "after"]
    replays(runtime, response)


@pytest.mark.parametrize("how", ["task", "id", "before"])
def test_an_execution_is_cancelled_while_a_guard_is_asked(how: str) -> None:
    """By its task or by its id: nobody is called, and the end is on record with the code CANCELLED."""
    called: list[str] = []
    asked = asyncio.Event()

    class Waits:
        async def before(self, envelope: IntentEnvelope) -> None:
            called.append("guard")
            asked.set()
            await asyncio.Event().wait()

    runtime = runtime_of(hooks=[Waits()])
    runtime.agent("agent", handles="x")(lambda: called.append("agent"))

    async def cancelled() -> None:
        task = asyncio.ensure_future(runtime.route_async("x"))
        await (asyncio.sleep(0) if how == "before" else asked.wait())
        if how == "id":
            assert runtime.store is not None
            (row,) = runtime.store.list().rows
            runtime.cancel(row.execution_id)
            assert code_of(await task) == "CANCELLED"
        else:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancelled())
    assert called == ([] if how == "before" else ["guard"])
    assert runtime.store is not None
    (row,) = runtime.store.list().rows
    response = runtime.store.get(row.execution_id).response
    assert code_of(response) == "CANCELLED"
    replays(runtime, response)


def test_a_coroutine_that_exits_is_no_yes() -> None:
    """SystemExit out of a task would end the loop; out of a guard it is a refusal."""
    runtime = runtime_of(hooks=[Later(SystemExit(3))])
    runtime.agent("agent", handles="x")(gives(1))
    with pytest.warns(HookWarning):
        assert code_of(asyncio.run(runtime.route_async("x"))) == "POLICY_DENIAL"


# --- what is a hook ---


class Named:
    def __init__(self, name: object) -> None:
        self.name = name

    def before(self, envelope: IntentEnvelope) -> None: ...


class Shapes:
    def before(self) -> None: ...


class Generates:
    def on_event(self, event: Event) -> Iterator[None]:
        yield


class NotCallable:
    after = 3


class EventsLater:
    async def on_event(self, event: Event) -> None: ...


NO_HOOKS: list[tuple[Any, str]] = [
    (object(), "hooks[0]"),
    (Hook(), "hooks[0]"),
    (Watching, "hooks[0]"),
    (Shapes(), "hooks[0].before"),
    (Generates(), "hooks[0].on_event"),
    (NotCallable(), "hooks[0].after"),
    (EventsLater(), "hooks[0].on_event"),
    (Named(""), "hooks[0].name"),
    (Named(7), "hooks[0].name"),
    (Named("\ud800"), "hooks[0].name"),
]


@pytest.mark.parametrize(("hook", "where"), NO_HOOKS, ids=lambda value: type(value).__name__)
def test_what_is_no_hook_is_refused(hook: Any, where: str) -> None:
    """At construction, with the place, what is expected and what was found."""
    with pytest.raises(ConfigurationError) as raised:
        IntentusRuntime(hooks=[hook])
    assert raised.value.where == where
    assert raised.value.expected and (raised.value.got or raised.value.hint)


@pytest.mark.parametrize("hooks", [None, 3, "hooks", Watching()], ids=lambda value: type(value).__name__)
def test_hooks_are_a_list(hooks: Any) -> None:
    """A single hook, or nothing, is told apart from a list of them."""
    with pytest.raises(ConfigurationError, match="hooks are given as a list"):
        IntentusRuntime(hooks=hooks)


def test_guards_have_names_of_their_own() -> None:
    """Records tell who has said what; observers need no name."""
    with pytest.raises(ConfigurationError, match="two guards are called 'a'"):
        IntentusRuntime(hooks=[Guard("a"), Guard("a")])
    IntentusRuntime(hooks=[Guard("a"), Guard("b"), Watching(), Watching()])


def test_hooks_are_those_that_were_given() -> None:
    """Neither the list nor the hook's methods can be changed under the runtime's feet."""
    hook = Guard("door", Refused("no"))
    hooks: list[object] = [hook]
    runtime = runtime_of(hooks=hooks)
    runtime.agent("agent", handles="x")(gives(1))
    hooks.clear()
    hook.before = lambda envelope: None  # type: ignore[method-assign]  # that is what must not go
    assert code_of(runtime.route("x")) == "POLICY_DENIAL"


def test_another_policy_or_store_keeps_the_hooks() -> None:
    """`configure` changes what it is told to change."""
    runtime = runtime_of(hooks=[Guard("door", Refused("no"))])
    runtime.agent("agent", handles="x")(gives(1))
    other = runtime.configure(policy={"default": "allow"}, store=MemoryExecutionStore())
    assert code_of(other.route("x")) == "POLICY_DENIAL"


def test_functions_and_partials_can_be_methods() -> None:
    """A hook is any object; what its methods are made of does not matter."""
    told: list[str] = []

    def say(word: str, *_: object) -> None:
        told.append(word)

    class Made:
        before = staticmethod(partial(say, "before"))
        after = staticmethod(partial(say, "after"))

    assert routed(Made())[1].ok
    assert told == ["before", "after"]


# --- no hooks ---


@contextmanager
def profiled() -> Iterator[list[str]]:
    """The files of the functions that are called meanwhile, in this thread and in those that it starts."""
    files: list[str] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            files.append(frame.f_code.co_filename)

    gc.disable()  # callbacks of it may call functions of ours
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        gc.enable()


@pytest.mark.parametrize("strategy", ["direct", "fallback", "parallel", "broadcast"])
def test_without_hooks_nothing_of_them_is_called(strategy: str) -> None:
    """Not one function of theirs; in one thread, no more calls than without the word, whatever the time."""
    counts = []
    for options in ({}, {"hooks": ()}, {"hooks": [Guard("g")]}):
        # Not recorded, because the log fetches salts now and then.
        runtime = runtime_of(store=None, **options)
        runtime.agent("agent", handles="x", side_effect="read_only")(gives(1))
        for _ in range(3):
            runtime.route("x", strategy=strategy)
        with profiled() as files:
            runtime.route("x", strategy=strategy)
        ours = [Path(file).name for file in files if "intentusnet" in file]
        of_hooks = [
            file
            for file in ours
            if file in ("hook.py", "hooks.py", "events.py", "observing.py", "guarding.py")
        ]
        assert bool(of_hooks) is ("hooks" in options and bool(options["hooks"]))
        counts.append(len(ours))
    if strategy in ("direct", "fallback"):
        assert counts[0] == counts[1] < counts[2]


def test_many_threads_share_hooks() -> None:
    """Each execution is told of in its own order, and none is lost."""
    watching = Watching()
    runtime = runtime_of(hooks=[watching, Guard("g")])
    runtime.agent("agent", handles="x")(gives(1))
    threads = [threading.Thread(target=lambda: [runtime.route("x") for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by: dict[str, list[tuple[int, str]]] = {}
    for event in watching.events:
        by.setdefault(event.execution_id, []).append((event.number, event.kind))
    assert len(by) == 160
    assert all(told == list(enumerate(["opened", "began", "ended", "closed"])) for told in by.values())


def test_the_types_of_callables_are_those_of_the_base_class() -> None:
    """`Hook` does nothing of itself: a subclass has what it overrides."""

    class Nothing(Hook):
        def on_event(self, event: Event) -> None:
            told.append(event.kind)

    told: list[str] = []
    checks: list[Callable[..., Any]] = [Hook().before, Hook().after, Hook().on_error, Hook().on_event]
    assert [
        check(*[None] * len(args)) for check, args in zip(checks, ("e", "er", "er", "e"), strict=True)
    ] == [None] * 4
    runtime, response = routed(Nothing())
    assert told == ["opened", "began", "ended", "closed"]
    assert runtime.store is not None
    assert [q.kind for q in runtime.store.get(response.execution_id).questions] == ["agent"]
