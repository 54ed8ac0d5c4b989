"""Events: what observers are told while executions run, and in which order, however they run."""

# Over 400 lines: every kind of event, under every strategy and isolation, side by side.

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from helpers import async_programs, process_agents, programs
from helpers.runtimes import ORDERS, fails, gives, replays, runtime_of
from hypothesis import given, settings
from hypothesis import strategies as st

from intentusnet import (
    AgentFailure,
    AsyncContext,
    AttemptCutOff,
    AttemptEnded,
    AttemptLeftBehind,
    AttemptQueued,
    AttemptRetried,
    Concurrency,
    Context,
    Event,
    ExecutionClosed,
    ExecutionInterrupted,
    ExecutionOpened,
    FileExecutionStore,
    IntentusRuntime,
    Limits,
    ManualClock,
    MemoryExecutionStore,
    Rate,
    Refused,
    Retry,
)
from intentusnet.errors import ContinuationDiverged

READS: dict[str, Any] = {"side_effect": "read_only"}


class Watching:
    """Keeps the events that it is told, with the threads in which it was."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.threads: list[str] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self.threads.append(threading.current_thread().name)

    def told(self) -> list[str]:
        """The events in their order, each as its kind, with the number of its attempt."""
        events = sorted(self.events, key=lambda event: event.number)
        assert [event.number for event in events] == list(range(len(events)))
        return [" ".join([event.kind, *_attempt(event)]) for event in events]

    def one(self, kind: type[Any]) -> Any:
        (event,) = (event for event in self.events if isinstance(event, kind))
        return event


def _attempt(event: Event) -> Iterator[str]:
    if hasattr(event, "attempt"):
        yield str(event.attempt)


def watched(**options: Any) -> tuple[IntentusRuntime, Watching]:
    watching = Watching()
    return runtime_of(hooks=[watching], **options), watching


# --- strategies ---


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("direct", ["opened", "began 0", "ended 0", "closed"]),
        ("fallback", ["opened", "began 0", "ended 0", "began 1", "ended 1", "closed"]),
    ],
)
def test_attempts_in_turn_are_told_in_turn(strategy: str, expected: list[str]) -> None:
    """The second is told of when the first has failed."""
    runtime, watching = watched()
    runtime.agent("bad", handles="x", rank=0)(fails("full", code="AGENT_UNAVAILABLE"))
    runtime.agent("good", handles="x", rank=1)(gives(1))
    response = runtime.route("x", strategy=strategy)
    assert watching.told() == expected
    first = watching.events[2]
    assert isinstance(first, AttemptEnded)
    assert (first.agent, first.ok, first.code, first.message) == ("bad", False, "AGENT_UNAVAILABLE", "full")
    assert first.called and first.took_us is not None and first.took_us >= 0
    closed = watching.one(ExecutionClosed)
    assert (closed.status, closed.agent, closed.fingerprint) == (
        response.status,
        response.agent,
        response.fingerprint,
    )
    replays(runtime, response)


@pytest.mark.parametrize("strategy", ["parallel", "broadcast"])
@pytest.mark.parametrize("order", ORDERS)
def test_concurrent_attempts_are_numbered_as_they_happen(strategy: str, order: tuple[int, ...]) -> None:
    """Each begins before it ends, all between the first event and the last, whatever order they end in."""
    runtime, watching = watched()
    turns = [threading.Event() for _ in range(4)]
    turns[0].set()

    def agent_of(number: int) -> Any:
        def agent() -> int:
            turn = order.index(number)
            assert turns[turn].wait(10)
            return number

        return agent

    class Turns:
        def on_event(self, event: Event) -> None:
            if isinstance(event, AttemptEnded):
                turns[order.index(event.attempt) + 1].set()

    runtime = runtime_of(hooks=[watching, Turns()])
    for number in range(3):
        runtime.agent(f"agent{number}", handles="x", rank=number)(agent_of(number))
    response = runtime.route("x", strategy=strategy)
    told = watching.told()
    assert (told[0], told[-1]) == ("opened", "closed")
    assert [one for one in told if one.startswith("ended")] == [f"ended {number}" for number in order]
    assert all(told.index(f"began {number}") < told.index(f"ended {number}") for number in range(3))
    replays(runtime, response)


def test_a_race_tells_who_was_cut_off() -> None:
    """The loser's end is told once, before the execution is closed, and never again when it comes in late."""
    runtime, watching = watched()
    begun, go = threading.Event(), threading.Event()

    @runtime.agent("slow", handles="x", rank=0, **READS)
    def slow() -> None:
        begun.set()
        go.wait(10)

    @runtime.agent("fast", handles="x", rank=1, **READS)
    def fast() -> int:
        assert begun.wait(10)
        return 1

    response = runtime.route("x", strategy="parallel", prefer="first")
    go.set()
    for thread in threading.enumerate():
        if thread.name.startswith("intentusnet-branch"):
            thread.join()
    told = watching.told()
    assert sorted(told[1:3]) == ["began 0", "began 1"]
    assert told[3:] == ["ended 1", "cut_off 0", "closed"]
    cut = watching.one(AttemptCutOff)
    assert (cut.agent, cut.code) == ("slow", "CANCELLED") and "won the race" in cut.message
    replays(runtime, response)


def test_where_nobody_is_called_there_is_a_beginning_and_an_end() -> None:
    """With the error's code."""
    runtime, watching = watched()
    runtime.route("nobody")
    assert watching.told() == ["opened", "closed"]
    assert watching.one(ExecutionClosed).code == "CAPABILITY_NOT_FOUND"


def test_an_agent_that_was_not_called_has_no_beginning() -> None:
    """The router's own answer is told as that: here, the deadline had passed."""
    clock = ManualClock(step_us=1_000)
    runtime, watching = watched(clock=clock)
    runtime.agent("agent", handles="x")(gives(1))
    response = runtime.route("x", timeout=0.000001)
    assert watching.told() == ["opened", "ended 0", "closed"]
    ended = watching.one(AttemptEnded)
    assert (ended.called, ended.took_us, ended.code) == (False, None, "AGENT_TIMEOUT")
    replays(runtime, response)


# --- isolation ---


def test_a_thread_that_is_left_behind_is_told() -> None:
    """First that it was cut off, then that it still runs."""
    runtime, watching = watched()
    go = threading.Event()

    @runtime.agent("slow", handles="x", isolation="thread", timeout=0.05, **READS)
    def slow() -> None:
        go.wait(10)

    response = runtime.route("x")
    assert [one.agent for one in runtime.abandoned] == ["slow"]
    go.set()
    assert watching.told() == ["opened", "began 0", "cut_off 0", "left_behind 0", "closed"]
    assert watching.one(AttemptCutOff).code == "AGENT_TIMEOUT"
    assert watching.one(AttemptLeftBehind).agent == "slow"
    replays(runtime, response)


def test_a_process_is_told_of_as_any_other() -> None:
    """The events of a worker's call are its parent's; one that is killed was cut off."""
    watching = Watching()
    with runtime_of(hooks=[watching]) as runtime:
        runtime.agent("echo", handles="echo", isolation="process", **READS)(process_agents.echo)
        runtime.agent("dies", handles="dies", isolation="process", **READS)(process_agents.aborts)
        for intent in ("echo", "dies"):
            response = runtime.route(intent, 1)
            replays(runtime, response)
    by = defaultdict(list)
    for event in watching.events:
        by[event.intent].append(event.kind)
    assert by == {
        "echo": ["opened", "began", "ended", "closed"],
        "dies": ["opened", "began", "cut_off", "closed"],
    }


def test_an_async_agent_that_is_cut_off_is_told() -> None:
    """In the loop in which it was called."""
    runtime, watching = watched()

    @runtime.agent("slow", handles="x", timeout=0.05, **READS)
    async def slow() -> None:
        await asyncio.Event().wait()

    response = asyncio.run(runtime.route_async("x"))
    assert watching.told() == ["opened", "began 0", "cut_off 0", "left_behind 0", "closed"]
    assert set(watching.threads) == {threading.main_thread().name}
    replays_async(runtime, response.execution_id)


def replays_async(runtime: IntentusRuntime, execution_id: str) -> None:
    report = asyncio.run(runtime.replay_async(execution_id))
    assert report.verdict == "match", report


# --- nesting, going on, breaking off ---


def test_children_have_events_of_their_own() -> None:
    """With the question that they answer, and how deep they are nested."""
    runtime, watching = watched()
    runtime.agent("inner", handles="inner", **READS)(gives(1))

    @runtime.agent("outer", handles="outer", **READS)
    def outer(ctx: Context) -> Any:
        return ctx.route("inner").payload

    response = runtime.route("outer", caller="ann", tenant="acme")
    kinds = [(event.intent, event.kind) for event in watching.events]
    assert kinds == [
        *(("outer", "opened"), ("outer", "began")),
        *(("inner", kind) for kind in ("opened", "began", "ended", "closed")),
        *(("outer", "ended"), ("outer", "closed")),
    ]
    parent, child = (event for event in watching.events if isinstance(event, ExecutionOpened))
    assert (parent.caller, parent.tenant, parent.depth, parent.parent) == ("ann", "acme", 0, None)
    assert (child.caller, child.depth, child.steps) == ("ann", 1, ("inner",))
    assert child.parent is not None
    assert (child.parent.execution, child.parent.scope) == (response.execution_id, "attempt:0")


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_what_goes_on_is_told_of_again(kind: str, tmp_path: Path) -> None:
    """Interrupted, resumed and forked executions; what is on record is not called, and told as that."""
    watching = Watching()
    store = MemoryExecutionStore() if kind == "memory" else FileExecutionStore(tmp_path / "store")
    runtime = IntentusRuntime(store=store, hooks=[watching])
    breaks = [True]
    runtime.agent("bad", handles="x", rank=0, **READS)(fails())

    @runtime.agent("good", handles="x", rank=1, **READS)
    def good(ctx: Context) -> Any:
        told = ctx.effect("one", gives(1))
        if breaks:
            raise KeyboardInterrupt
        return told

    with pytest.raises(KeyboardInterrupt):
        runtime.route("x", strategy="fallback")
    assert watching.told() == ["opened", "began 0", "ended 0", "began 1", "interrupted"]
    interrupted = watching.one(ExecutionInterrupted)
    assert (interrupted.type, watching.one(ExecutionOpened).origin) == ("KeyboardInterrupt", "route")
    breaks.clear()
    watching.events.clear()
    response = runtime.resume(interrupted.execution_id)
    assert watching.told() == ["opened", "ended 0", "began 1", "ended 1", "closed"]
    assert watching.one(ExecutionOpened).origin == "resume"
    ended = [event for event in watching.events if isinstance(event, AttemptEnded)]
    assert [event.called for event in ended] == [False, True]
    watching.events.clear()
    forked = runtime.fork(response.execution_id, "attempt:1:0", 2)
    assert watching.told() == ["opened", "ended 0", "began 1", "ended 1", "closed"]
    assert watching.one(ExecutionOpened).origin == "fork" and forked.payload == 2
    watching.events.clear()
    replays(runtime, response)
    replays(runtime, forked)
    assert watching.events == []
    runtime.close()


def test_an_execution_that_cannot_go_on_is_told_of_as_its_caller_is() -> None:
    """Resumed with other code, it has no end: observers get the error that `resume` raises."""
    told: list[Any] = []

    class Told(Watching):
        def on_error(self, envelope: Any, error: Any) -> None:
            told.append(error)

    watching = Told()
    runtime = runtime_of(hooks=[watching])
    names = ["one"]

    @runtime.agent("agent", handles="x", **READS)
    def agent(ctx: Context) -> None:
        ctx.effect(names[0], gives(1))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runtime.route("x")
    names[0] = "another"
    with pytest.raises(ContinuationDiverged) as raised:
        runtime.resume(watching.events[0].execution_id)
    assert told[1:] == [raised.value]
    assert watching.events[-1].tree()["type"] == "ContinuationDiverged"


# --- sync and async ---


@given(st.randoms(use_true_random=False))
@settings(max_examples=80)
def test_sync_and_async_tell_the_same(rnd: Random) -> None:
    """A random program's executions have the same events, whoever calls and whatever its agents are."""
    program = async_programs.awaitable(programs.draw(rnd))
    if program.races:
        return
    told = []
    for asynchronous in (None, lambda number: False, lambda number: True):
        watching, world = Watching(), programs.World(fixed=True)
        if asynchronous is None:
            programs.run(program, world, hooks=[watching])
        else:
            asyncio.run(async_programs.run(program, world, asynchronous, hooks=[watching]))
        told.append(_by_execution(watching.events))
    assert told[0] == told[1] == told[2]


def _by_execution(events: list[Event]) -> list[Any]:
    """What each execution told, whatever its id; of attempts that went on at once, each by itself."""
    executions: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event.number):
        executions[event.execution_id].append(event)
    told = []
    for own in executions.values():
        assert isinstance(own[0], ExecutionOpened) and isinstance(own[-1], ExecutionClosed)
        attempts: dict[str, list[str]] = defaultdict(list)
        for event in own:
            attempts[str(next(_attempt(event), ""))].append(_content(event))
        told.append(sorted(attempts.items()))
    return sorted(told)


def _content(event: Event) -> str:
    tree = event.tree()
    for varying in ("execution_id", "number", "ts", "took_us", "fingerprint", "parent"):
        tree.pop(varying, None)
    return str(tree)


def test_events_are_data_for_json() -> None:
    """Every kind of event is frozen, and its tree is plain values with its kind in it."""
    runtime, watching = watched()
    runtime.agent("agent", handles="x")(fails())
    runtime.route("x")
    for event in watching.events:
        with contextlib.suppress(AttributeError):
            event.intent = "another"  # type: ignore[misc]  # that is what must not go
        assert event.intent == "x"
        assert event.tree()["event"] == event.kind
        assert event.ts > 0


def test_async_agents_are_told_of_in_their_loop() -> None:
    """Observers of coroutines run in the thread that awaits them, and plain agents' in their own."""
    runtime, watching = watched()

    @runtime.agent("waits", handles="x", **READS)
    async def waits(ctx: AsyncContext) -> Any:
        return (await ctx.route("plain")).payload

    runtime.agent("plain", handles="plain", **READS)(gives(1))
    assert asyncio.run(runtime.route_async("x")).payload == 1
    where = {
        (event.intent, event.kind): name
        for event, name in zip(watching.events, watching.threads, strict=True)
    }
    main = threading.main_thread().name
    assert {name for (intent, _), name in where.items() if intent == "x"} == {main}
    assert where["plain", "began"] == "intentusnet-agent" and where["plain", "closed"] == main


# --- limits ---


def test_a_retry_is_told_with_its_delay() -> None:
    """Each call is an attempt of its own; between two stands that one repeats the other."""
    runtime, watching = watched(clock=ManualClock(), limits=Limits(retry=Retry(attempts=3, base=0.1)))
    failures = [1, 2]

    @runtime.agent("flaky", handles="x", **READS)
    def flaky(ctx: Context) -> int:
        if ctx.effect("look", lambda: failures.pop() if failures else 0):
            raise AgentFailure("full", code="AGENT_UNAVAILABLE")
        return 1

    response = runtime.route("x")
    assert response.ok
    assert watching.told() == [
        *("opened", "began 0", "ended 0", "retried 0"),
        *("began 2", "ended 2", "retried 2"),
        *("began 4", "ended 4", "closed"),
    ]
    retried = [event for event in watching.events if isinstance(event, AttemptRetried)]
    assert [(event.agent, event.again) for event in retried] == [("flaky", 2), ("flaky", 4)]
    assert all(0 <= event.delay_us <= 100_000 * 2**number for number, event in enumerate(retried))
    replays(runtime, response)


def test_who_has_to_wait_is_told_while_it_waits() -> None:
    """With its place and an estimate, before it has got the place."""
    told = threading.Event()

    class Queue(Watching):
        def on_event(self, event: Event) -> None:
            super().on_event(event)
            if isinstance(event, AttemptQueued):
                told.set()

    queue = Queue()
    runtime = runtime_of(hooks=[queue])

    @runtime.agent("slow", handles="x", limits=Limits(concurrency=Concurrency(limit=1, queue=1)), **READS)
    def slow(ctx: Context) -> Any:
        return ctx.effect("wait", told.wait, 10)

    responses: list[Any] = []
    threads = [threading.Thread(target=lambda: responses.append(runtime.route("x"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (event,) = (event for event in queue.events if isinstance(event, AttemptQueued))
    assert (event.agent, event.place) == ("slow", 1) and event.estimate_us >= 0
    own = sorted(one.kind for one in queue.events if one.execution_id == event.execution_id)
    assert own == ["began", "closed", "ended", "opened", "queued"]
    for response in responses:
        assert response.payload is True
        replays(runtime, response)


def test_guards_come_before_limits() -> None:
    """Who is not let in takes no place, and pays for nothing."""

    class Door:
        def before(self, envelope: Any) -> None:
            if envelope.caller.name == "eve":
                raise Refused("not you")

    runtime = runtime_of(
        clock=ManualClock(), hooks=[Door()], limits=Limits(rate=(Rate(per="tenant", count=1, seconds=60),))
    )
    runtime.agent("agent", handles="x", **READS)(gives(1))
    codes = []
    for caller in ("eve", "eve", "ann", "ann", "eve"):
        response = runtime.route("x", caller=caller, tenant="acme")
        codes.append(response.error and response.error.code.value)
        replays(runtime, response)
    assert codes == ["POLICY_DENIAL", "POLICY_DENIAL", None, "RATE_LIMIT", "POLICY_DENIAL"]
