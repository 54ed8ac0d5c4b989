"""What stops an agent that takes too long, or whose execution is cancelled: what each isolation promises."""

# Over 400 lines: every promise of timeouts and cancellation, side by side.

# Over 400 lines: one table of promises, which a page names one by one.

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from intentusnet import (
    AgentFailure,
    Context,
    IntentusRuntime,
    ManualClock,
    MemoryExecutionStore,
    RoutingStrategy,
    effect,
)
from intentusnet.errors import ConfigurationError, InvalidAgent
from tests.helpers.runtimes import replays, runtime_of


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What agents wait for that hang; they end with the test."""
    event = threading.Event()
    yield event
    event.set()


def hanging(clock: ManualClock, release: threading.Event) -> Callable[[], str]:
    """An agent in which the time runs out, and which then hangs."""

    def agent() -> str:
        clock.advance(60)
        release.wait(30)
        return "late"

    return agent


@pytest.mark.parametrize(
    ("side_effect", "code"),
    [("read_only", "AGENT_TIMEOUT"), ("reversible", "IN_DOUBT"), ("irreversible", "IN_DOUBT")],
)
def test_a_thread_is_left_behind_when_its_time_is_up(
    release: threading.Event, side_effect: Any, code: str
) -> None:
    """The caller gets its answer, the record matches on replay, and the thread is reported until it ends."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)
    agent = hanging(clock, release)
    runtime.agent("slow", handles="x", timeout=5, isolation="thread", side_effect=side_effect)(agent)
    response = runtime.route("x")
    assert response.error is not None
    assert response.error.code == code
    assert "its time was up" in response.error.message
    assert response.error.details == {"isolation": "thread", "timeout": 5.0}
    (left,) = runtime.abandoned
    assert (left.execution_id, left.agent) == (response.execution_id, "slow")
    replays(runtime, response)
    release.set()
    assert isinstance(left.body, threading.Thread)
    left.body.join(30)
    assert runtime.abandoned == ()


def test_what_a_thread_asks_that_was_left_behind_unwinds_it(release: threading.Event) -> None:
    """It does nothing more through its context, whatever it catches, and nothing of it is on record."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)
    did: list[str] = []
    ended = threading.Event()

    @runtime.agent("slow", handles="x", timeout=5, isolation="thread")
    def slow(ctx: Context) -> None:
        try:
            clock.advance(60)
            release.wait(30)
            try:
                ctx.effect("act", did.append, "acted")
            except Exception:  # noqa: BLE001 - an agent that catches what it can
                did.append("caught")
            ctx.log("still here")
        finally:
            ended.set()

    response = runtime.route("x")
    release.set()
    assert ended.wait(30)
    assert did == []
    assert runtime.store is not None
    assert [q.kind for q in runtime.store.get(response.execution_id).questions] == ["agent"]


def test_an_agent_in_a_thread_that_is_in_time_is_like_any_other() -> None:
    """Answers, errors and questions are the same, and so is the record."""
    runtime = runtime_of()

    @runtime.agent("quick", handles="x", timeout=60, isolation="thread", side_effect="read_only")
    def quick(payload: int, ctx: Context) -> int:
        if payload < 0:
            raise AgentFailure("negative", code="VALIDATION_ERROR")
        return sum(ctx.gather(*[lambda n=n: ctx.effect("n", int, n) for n in range(payload)]))

    for payload, answer in ((3, 3), (-1, None)):
        response = runtime.route("x", payload)
        assert response.payload == answer
        replays(runtime, response)
    inline = runtime_of()
    inline.agent("quick", handles="x", side_effect="read_only")(quick)
    assert inline.route("x", 3).fingerprint == runtime.route("x", 3).fingerprint


def test_no_more_threads_are_left_behind_than_may_be(release: threading.Event) -> None:
    """When the cap is reached, such agents are not called, others are, and fallback goes on with those."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock, max_abandoned=2)
    runtime.agent("slow", handles="x", timeout=5, isolation="thread", side_effect="read_only")(
        hanging(clock, release)
    )
    runtime.agent("plain", handles="x", rank=1, side_effect="read_only")(lambda: "plain")
    for _ in range(2):
        assert runtime.route("x", strategy="fallback").payload == "plain"
    response = runtime.route("x")
    assert response.error is not None
    assert response.error.code == "AGENT_UNAVAILABLE"
    assert response.error.details == {"abandoned": ["slow"], "max": 2}
    replays(runtime, response)
    assert runtime.route("x", strategy="fallback").payload == "plain"


def test_the_envelopes_deadline_cuts_off_too(release: threading.Event) -> None:
    """An agent without a timeout of its own is cut off at the deadline."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)
    runtime.agent("slow", handles="x", isolation="thread", side_effect="read_only")(hanging(clock, release))
    response = runtime.route("x", timeout=10)
    assert response.error is not None
    assert response.error.code == "AGENT_TIMEOUT"
    replays(runtime, response)


def test_an_inline_agent_is_stopped_by_its_own_questions_only() -> None:
    """Nothing is asked of the world when its time is up; an agent that asks nothing is heard out."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)
    acted: list[int] = []

    @runtime.agent("asking", handles="asking", timeout=5, side_effect="read_only")
    def asking(ctx: Context) -> None:
        try:
            for n in range(10):
                clock.advance(2)
                ctx.effect("act", acted.append, n)
        except Exception:  # noqa: BLE001 - an agent that catches what it can
            acted.append(-1)

    @runtime.agent("silent", handles="silent", timeout=5)
    def silent() -> str:
        clock.advance(60)
        return "heard out"

    response = runtime.route("asking")
    assert response.error is not None
    assert response.error.code == "AGENT_TIMEOUT"
    assert acted == [0, 1]
    replays(runtime, response)
    assert acted == [0, 1]
    response = runtime.route("silent")
    assert response.payload == "heard out"
    replays(runtime, response)


@pytest.mark.parametrize("call", ["effect", "sleep", "route", "check"])
def test_what_may_act_is_not_asked_when_the_time_is_up(call: str) -> None:
    """Effects, children and sleeping are refused like a check, and that is on record."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)
    runtime.agent("child", handles="child")(lambda: "called")

    @runtime.agent("late", handles="x", timeout=5, side_effect="read_only")
    def late(ctx: Context) -> None:
        clock.advance(6)
        calls: dict[str, Callable[[], object]] = {
            "effect": lambda: ctx.effect("e", int),
            "sleep": lambda: ctx.sleep(1),
            "route": lambda: ctx.route("child"),
            "check": ctx.check,
        }
        calls[call]()

    response = runtime.route("x")
    assert response.error is not None
    assert response.error.code == "AGENT_TIMEOUT"
    replays(runtime, response)
    assert runtime.store is not None
    assert len(runtime.store.list().rows) == 1


def test_an_agent_sleeps_no_longer_than_it_may_take() -> None:
    """It wakes when its time is up, and learns that it is."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)

    @runtime.agent("sleepy", handles="x", timeout=5, side_effect="read_only")
    def sleepy(ctx: Context) -> None:
        ctx.sleep(3600)

    began = clock.time_us()
    response = runtime.route("x")
    assert clock.time_us() - began == 5_000_000
    assert response.error is not None
    assert response.error.code == "AGENT_TIMEOUT"
    replays(runtime, response)


def test_a_deadline_that_an_agent_sees_is_on_record() -> None:
    """With a timeout of its own it is a point in time that a replay cannot know."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)

    @runtime.agent("telling", handles="x", timeout=5)
    def telling(ctx: Context) -> object:
        return ctx.deadline

    response = runtime.route("x", timeout=60)
    clock.advance(1000)
    replays(runtime, response)
    assert (response.payload.timestamp()) == 1_700_000_005


def test_a_child_inherits_what_is_left() -> None:
    """Its deadline is its parent's: the smaller of timeout and envelope, whatever it asks for itself."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)
    seen: list[Any] = []

    @runtime.agent("child", handles="child", timeout=100)
    def child(ctx: Context) -> None:
        seen.append(ctx.envelope.deadline)

    @runtime.agent("parent", handles="parent", timeout=5)
    def parent(ctx: Context) -> None:
        clock.advance(2)
        ctx.route("child")

    runtime.route("parent", timeout=60)
    runtime.route("parent", timeout=3)
    assert [deadline.timestamp() for deadline in seen] == [1_700_000_005, 1_700_000_005]


@pytest.mark.parametrize(("kind", "code"), [("reversible", "IN_DOUBT"), ("read_only", "AGENT_TIMEOUT")])
def test_an_open_effect_makes_a_harmless_agent_doubtful(
    release: threading.Event, kind: Any, code: str
) -> None:
    """An agent that only reads, cut off while an effect is under way that may act, is in doubt."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)
    runtime.agent("plain", handles="x", rank=1)(lambda: "called")

    @effect(side_effect=kind)
    def act() -> None:
        clock.advance(60)
        release.wait(30)

    @runtime.agent("asking", handles="x", timeout=5, isolation="thread", side_effect="read_only")
    def asking(ctx: Context) -> None:
        ctx.effect("e", act)

    response = runtime.route("x", strategy="fallback")
    assert response.attempts[0].error is not None
    assert response.attempts[0].error.code == code
    assert response.payload == ("called" if code == "AGENT_TIMEOUT" else None)
    replays(runtime, response)


@pytest.mark.parametrize("strategy", list(RoutingStrategy))
@pytest.mark.parametrize("side_effect", ["read_only", "reversible"])
def test_each_strategy_goes_on_as_it_should(
    release: threading.Event, strategy: RoutingStrategy, side_effect: Any
) -> None:
    """After a timeout a fallback goes on, after a doubt it does not; those beside it are not disturbed."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)
    runtime.agent("slow", handles="x", timeout=5, isolation="thread", side_effect=side_effect)(
        hanging(clock, release)
    )
    runtime.agent("quick", handles="x", rank=1, side_effect="read_only")(lambda: "quick")
    response = runtime.route("x", strategy=strategy)
    code = "AGENT_TIMEOUT" if side_effect == "read_only" else "IN_DOUBT"
    assert response.attempts[0].error is not None
    assert response.attempts[0].error.code == code
    goes_on = strategy in ("parallel", "broadcast") or (strategy == "fallback" and side_effect == "read_only")
    assert (len(response.attempts) == 2) is goes_on
    assert response.ok is goes_on
    replays(runtime, response)


def test_native_code_in_a_thread_holds_up_its_caller() -> None:
    """The interpreter's lock is everybody's: the caller is told when native code gives it up, not before."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)
    began: list[float] = []

    @runtime.agent("native", handles="x", timeout=5, isolation="thread", side_effect="read_only")
    def native() -> str:
        sleeping = ctypes.PyDLL(None).usleep
        began.append(time.monotonic())
        clock.advance(60)
        sleeping(200_000)  # microseconds
        return "late"

    before = sys.getswitchinterval()
    sys.setswitchinterval(10)  # nobody takes the lock between the two lines either
    try:
        response = runtime.route("x")
        ended = time.monotonic()
    finally:
        sys.setswitchinterval(before)
    assert ended - began[0] >= 0.2
    replays(runtime, response)


# --- cancellation ---


def test_a_running_execution_is_cancelled_by_its_id(release: threading.Event) -> None:
    """From another thread: a thread is left behind at once, and the record says why."""
    runtime = runtime_of()
    began = threading.Event()

    @runtime.agent("slow", handles="x", isolation="thread", side_effect="read_only")
    def slow(ctx: Context) -> None:
        ids.append(ctx.execution_id)
        began.set()
        release.wait(30)

    runtime.agent("next", handles="x", rank=1)(lambda: "called all the same")
    ids: list[str] = []
    responses: list[Any] = []
    thread = threading.Thread(target=lambda: responses.append(runtime.route("x", strategy="fallback")))
    thread.start()
    assert began.wait(30)
    assert runtime.cancel(ids[0], "the user has gone") is True
    thread.join(30)
    (response,) = responses
    assert response.error.code == "CANCELLED"
    assert "the user has gone" in response.error.message
    assert [attempt.agent for attempt in response.attempts] == ["slow"]
    replays(runtime, response)
    assert runtime.cancel(ids[0]) is False


@pytest.mark.parametrize(("side_effect", "code"), [("read_only", "CANCELLED"), ("reversible", "IN_DOUBT")])
def test_an_inline_execution_is_cancelled_at_its_next_question(side_effect: Any, code: str) -> None:
    """It is unwound there, whatever it catches; what acts is in doubt."""
    runtime = runtime_of()

    @runtime.agent("asking", handles="x", side_effect=side_effect)
    def asking(ctx: Context) -> str:
        runtime.cancel(ctx.execution_id)
        try:
            ctx.now()
        except Exception:  # noqa: BLE001 - an agent that catches what it can
            return "caught"
        return "not stopped"

    response = runtime.route("x")
    assert response.error is not None
    assert response.error.code == code
    replays(runtime, response)


@pytest.mark.parametrize("cancelled", ["parent", "child"])
def test_cancelling_a_parent_cancels_its_children(release: threading.Event, cancelled: str) -> None:
    """Whatever is under way below it ends, each with its own record; a child alone can be cancelled, too."""
    runtime = runtime_of()
    ids: dict[str, str] = {}
    began = threading.Event()

    @runtime.agent("child", handles="child", isolation="thread", side_effect="read_only")
    def child(ctx: Context) -> None:
        ids["child"] = ctx.execution_id
        began.set()
        release.wait(30)

    @runtime.agent("parent", handles="parent", side_effect="read_only")
    def parent(ctx: Context) -> str:
        ids["parent"] = ctx.execution_id
        error = ctx.route("child").error
        return "no error" if error is None else str(error.code)

    responses: list[Any] = []
    thread = threading.Thread(target=lambda: responses.append(runtime.route("parent")))
    thread.start()
    assert began.wait(30)
    assert runtime.cancel(ids[cancelled])
    thread.join(30)
    assert runtime.store is not None
    ended = runtime.store.get(ids["child"]).response
    assert ended.error is not None
    assert ended.error.code == "CANCELLED"
    (response,) = responses
    # The child's answer is its parent's to use, unless the parent is cancelled itself.
    assert (response.payload if cancelled == "child" else response.error.code) == "CANCELLED"
    for one in ids.values():
        assert runtime.replay(one).verdict == "match"


def test_a_sleeping_agent_wakes_when_it_is_cancelled() -> None:
    """Nobody waits for the end of a long sleep."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    began = threading.Event()
    ids: list[str] = []

    @runtime.agent("sleepy", handles="x", side_effect="read_only")
    def sleepy(ctx: Context) -> None:
        ids.append(ctx.execution_id)
        began.set()
        ctx.sleep(3600)

    responses: list[Any] = []
    thread = threading.Thread(target=lambda: responses.append(runtime.route("x")))
    thread.start()
    assert began.wait(30)
    runtime.cancel(ids[0])
    thread.join(30)
    assert responses[0].error.code == "CANCELLED"
    replays(runtime, responses[0])


# --- what makes no sense ---


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "soon"])
def test_a_timeout_that_makes_no_sense_is_refused(timeout: Any) -> None:
    """When the agent is registered, with its name."""
    with pytest.raises(InvalidAgent, match="timeout"):
        runtime_of().agent("a", handles="x", timeout=timeout)(lambda: 1)


def test_an_isolation_that_makes_no_sense_is_refused() -> None:
    """Unknown ones, and a cap that is none."""
    with pytest.raises(InvalidAgent, match="isolation"):
        runtime_of().agent("a", handles="x", isolation="container")(lambda: 1)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ConfigurationError, match="max_abandoned"):
        runtime_of(max_abandoned=-1)


def test_time_does_not_matter_where_there_is_no_limit() -> None:
    """An agent without timeout and deadline asks no clock."""
    clock = ManualClock(step_us=1_000_000)
    runtime = IntentusRuntime(clock=clock)

    @runtime.agent("plain", handles="x")
    def plain(ctx: Context) -> object:
        return [ctx.deadline, ctx.effect("e", int)]

    before = clock.time_us()
    assert runtime.route("x").payload == [None, 0]
    assert clock.time_us() - before == 1_000_000
