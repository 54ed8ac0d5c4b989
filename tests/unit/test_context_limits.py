"""Deadlines, cancellation and what was used up: what an agent is held to, and what it says of itself."""

import math
import threading
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from helpers.recordings import recorded, run, value
from hypothesis import given
from hypothesis import strategies as st

from intentusnet import Context, IntentusRuntime, ManualClock, MemoryExecutionStore, Verdict
from intentusnet.errors import BranchCancelled, DeadlineExceeded, InvalidInput

# --- deadline and check ---


def late_runtime(agent: Any, side_effect: str = "read_only", **options: Any) -> tuple[Any, ManualClock]:
    clock = ManualClock()
    runtime = IntentusRuntime(store=MemoryExecutionStore(), clock=clock, **options)
    runtime.agent("a", handles="x", side_effect=side_effect)(agent)
    return runtime, clock


def test_the_deadline_is_the_envelopes() -> None:
    """An agent, and a child of its, see when the envelope's time is over; None if it has no end."""

    def agent(ctx: Context) -> Any:
        return ctx.deadline

    assert value(agent) is None
    told = value(agent, clock=ManualClock(1_000_000), route={"timeout": 5})
    assert told == datetime.fromtimestamp(6, UTC)


def test_a_check_that_passes_leaves_nothing_on_record() -> None:
    """Before the deadline, or without one, `check` returns, and the record is that of an agent without it."""

    def checking(times: int) -> Any:
        def agent(ctx: Context) -> Any:
            for _ in range(times):
                ctx.check()
            return ctx.effect("f", lambda: 1)

        return agent

    fingerprints = set()
    for times in (0, 3):
        for route in ({}, {"timeout": 60}):
            response, record = recorded(checking(times), route=route)
            assert [q.kind for q in record.questions] == ["agent", "effect"]
            fingerprints.add(response.fingerprint)
    assert len(fingerprints) == 1


@pytest.mark.parametrize(
    ("side_effect", "code"), [("read_only", "AGENT_TIMEOUT"), ("reversible", "IN_DOUBT")]
)
def test_a_check_behind_the_deadline_ends_the_agent(side_effect: str, code: str) -> None:
    """No `except Exception` keeps it going; the attempt failed, or is in doubt if its body may have acted."""
    done: list[int] = []

    def agent(ctx: Context) -> None:
        for number in range(5):
            try:
                ctx.check()
            except Exception:  # noqa: BLE001 - what agents do
                continue
            ctx.effect("work", done.append, number)
            clock.advance(2)

    runtime, clock = late_runtime(agent, side_effect)
    response = runtime.route("x", timeout=5)
    assert response.error is not None and response.error.code == code and done == [0, 1, 2]
    assert "deadline" in response.error.message
    record = runtime.store.get(response.execution_id)
    assert [q.kind for q in record.questions if q.kind == "check"] == ["check"]


@pytest.mark.parametrize("late", [False, True])
def test_a_replay_goes_by_the_record_and_not_by_the_clock(late: bool) -> None:
    """What passed then passes on replay long after the deadline, and what failed fails at the same check."""
    takes = 2 if late else 0

    def agent(ctx: Context) -> int:
        done = 0
        try:
            for _ in range(5):
                ctx.check()
                ctx.effect("work", clock.advance, takes)
                done += 1
        except DeadlineExceeded as fault:
            ctx.log(str(fault))
        return done

    runtime, clock = late_runtime(agent)
    response = runtime.route("x", timeout=5)
    assert response.payload == (3 if late else 5)
    for moved in (-100, 200):  # before the deadline, and after it
        clock.advance(moved)
        report = runtime.replay(response.execution_id)
        assert report.verdict is Verdict.MATCH, report


def test_a_replay_notices_that_a_check_was_taken_out() -> None:
    """A check that had ended the agent, and is not made any more, is missing."""
    checks = True

    def agent(ctx: Context) -> None:
        if checks:
            ctx.check()

    runtime, clock = late_runtime(lambda ctx: (clock.advance(6), agent(ctx)))
    record = runtime.store.get(runtime.route("x", timeout=5).execution_id)
    checks = False
    kinds = [divergence.kind.value for divergence in runtime.replay(record).divergences]
    assert kinds[0] == "missing"


def test_in_branches_each_scope_counts_its_own_checks() -> None:
    """Items of a map that find the deadline behind them fail again on replay, and the others do not."""

    def agent(ctx: Context) -> Any:
        def item(number: int) -> str:
            try:
                ctx.check()
                if number == 3:
                    ctx.effect("slow", clock.advance, 10)
                ctx.check()
            except DeadlineExceeded:
                return "late"
            return "in time"

        return ctx.map(item, range(6), limit=1)

    runtime, clock = late_runtime(agent)
    response = runtime.route("x", timeout=5)
    assert response.payload == ["in time"] * 3 + ["late"] * 3
    clock.advance(-100)
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH


def test_inside_an_effect_a_check_is_part_of_its_answer() -> None:
    """An effect that gives up because of the deadline has failed with it, live and on replay."""

    def agent(ctx: Context) -> Any:
        def slow() -> None:
            ctx.check()
            clock.advance(10)
            ctx.check()

        try:
            ctx.effect("slow", slow)
        except DeadlineExceeded as fault:
            return str(fault)

    runtime, clock = late_runtime(agent)
    response = runtime.route("x", timeout=5)
    assert response.ok and "deadline" in response.payload
    record = runtime.store.get(response.execution_id)
    assert [q.kind for q in record.questions] == ["agent", "effect"]
    assert runtime.replay(record).verdict is Verdict.MATCH


@pytest.mark.parametrize("store", [None, MemoryExecutionStore])
@pytest.mark.parametrize("inside", [False, True])
def test_a_check_unwinds_the_loser_of_a_race(inside: bool, store: Any) -> None:
    """When another agent has won, the next check does not return, in an effect neither."""
    ready, over, unwound = threading.Event(), threading.Event(), threading.Event()
    runtime = IntentusRuntime(store=store and store())

    @runtime.agent("loser", handles="x")
    def loser(ctx: Context) -> None:
        def wait() -> None:
            ready.set()
            assert over.wait(10)
            ctx.check()

        try:
            ctx.effect("f", wait) if inside else wait()
        except BranchCancelled:
            unwound.set()
            raise

    @runtime.agent("winner", handles="x", rank=1)
    def winner() -> str:
        assert ready.wait(10)
        return "won"

    response = runtime.route("x", strategy="parallel", prefer="first")
    over.set()
    assert response.payload == "won" and unwound.wait(10)


# --- usage ---

NUMBERS = st.integers(-(2**70), 2**70) | st.floats(-1e100, 1e100)
COUNTS = st.lists(st.dictionaries(st.sampled_from(["tokens", "cost", "calls"]), NUMBERS), max_size=5)


@given(COUNTS)
def test_usage_is_summed_by_name(told: list[dict[str, Any]]) -> None:
    """The record has the sums over all scopes: ints exactly, and floats rounded once."""

    def agent(ctx: Context) -> None:
        for counts in told[:2]:
            ctx.usage(**counts)
        ctx.map(lambda counts: ctx.usage(**counts), told[2:])

    _, record = recorded(agent)
    names = {name for counts in told for name in counts}
    assert set(record.usage) == names
    for name in names:
        counts = [one[name] for one in told if name in one]
        exact = math.fsum(counts) if any(type(count) is float for count in counts) else sum(counts)
        assert record.usage[name] == exact and type(record.usage[name]) is type(exact)


def test_usage_is_not_compared() -> None:
    """Other counts make no other fingerprint, and a replay that counts otherwise is a match."""
    tokens = 1

    def agent(ctx: Context) -> Any:
        for _ in range(tokens):
            ctx.usage(tokens=tokens)

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    one = runtime.route("x")
    tokens = 2
    other = runtime.route("x")
    assert one.fingerprint == other.fingerprint
    assert runtime.replay(one.execution_id).verdict is Verdict.MATCH
    assert [runtime.store.get(r.execution_id).usage for r in (one, other)] == [{"tokens": 1}, {"tokens": 4}]


@pytest.mark.parametrize("count", [True, "1", None, math.nan, math.inf, Decimal(1), [1]])
def test_usage_is_told_in_numbers(count: Any) -> None:
    """Anything that is no finite int or float is refused by its name, and nothing is recorded."""

    def agent(ctx: Context) -> None:
        with pytest.raises(InvalidInput, match="tokens"):
            ctx.usage(cost=1, tokens=count)

    _, record = recorded(agent)
    assert record.usage == {}


def test_inside_an_effect_usage_is_not_recorded() -> None:
    """What an effect tells is part of its answer, which a replay does not run."""
    _, record = recorded(lambda ctx: ctx.effect("f", lambda: ctx.usage(tokens=1)))
    assert record.usage == {}


def test_nothing_used_is_nothing_on_record() -> None:
    """A record without `usage` has no sums."""
    assert recorded(lambda: 1)[1].usage == {} and run(lambda: 1).ok
