"""Retries: how long to wait, and when not to call again."""

import itertools
import os
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import settings as searching
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from intentusnet import values
from intentusnet.agents import AgentDefinition, Capability
from intentusnet.limits import Retry, RetryBudget
from intentusnet.response import ErrorCode, ErrorInfo
from intentusnet.routing.limits.retry import (
    Failure,
    RetryState,
    RetryVerdict,
    full_budget,
    jitter,
    pay_in,
    retry_after,
    spend,
    step,
)

SECOND = 10**9
TRANSPORT = Failure(ErrorCode.TRANSPORT_ERROR, repeatable=True, clean=True)
LONG = 2**62

failures = st.builds(
    Failure, st.sampled_from(ErrorCode), st.booleans(), st.booleans(), st.integers(0, 40 * SECOND)
)
durations = st.integers(1, 10**6)
settings = st.builds(
    lambda attempts, base, more, within: Retry(
        attempts=attempts, base=base / SECOND, cap=(base + more) / SECOND, within=within and within / SECOND
    ),
    st.integers(1, 8),
    durations,
    st.integers(0, 10**6),
    st.none() | durations,
)


def decide(
    state: RetryState, now: int, failure: Failure, retry: Retry, deadline: int | None = None
) -> tuple[RetryState, RetryVerdict]:
    return step(state, now, failure, settings=retry, execution_id="e", scope="attempt:0", deadline=deadline)


# --- the delay ---


@pytest.mark.parametrize(
    ("arguments", "drawn"),
    [
        (("0190f3a0-0000-7000-8000-000000000000", "attempt:0", 1, 100_000_000), 24_071_279),
        (("0190f3a0-0000-7000-8000-000000000000", "attempt:0", 2, 200_000_000), 106_411_525),
        (("0190f3a0-0000-7000-8000-000000000000", "attempt:1/gather:0.2", 1, 100_000_000), 12_235_518),
        (("\ud800é", "", 1, 2**80), 1_114_016_013_796_176_808_506_738),
    ],
)
def test_the_jitter_is_pinned(arguments: tuple[str, str, int, int], drawn: int) -> None:
    """What was drawn is drawn on every machine, and by every later version (numbers from sha256sum)."""
    assert jitter(*arguments) == drawn


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_the_jitter_does_not_depend_on_the_hash_seed(seed: str) -> None:
    """Another process with another PYTHONHASHSEED draws the same."""
    script = (
        "from intentusnet.routing.limits.retry import jitter\n"
        "print([jitter(f'e{n}', 'attempt:0', n, 10**9) for n in range(50)])"
    )
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == str([jitter(f"e{n}", "attempt:0", n, 10**9) for n in range(50)])


@given(st.text(), st.text(), st.integers(0, 2000), st.integers(0, 2**70))
@example("", "", 0, 0)
def test_the_jitter_stays_within_its_bounds(execution: str, scope: str, attempt: int, longest: int) -> None:
    """It is an integer from 0 to the longest delay, and the same each time."""
    drawn = jitter(execution, scope, attempt, longest)
    assert type(drawn) is int and 0 <= drawn <= longest
    assert jitter(execution, scope, attempt, longest) == drawn


def test_the_jitter_is_spread_evenly() -> None:
    """16,000 draws fall evenly into 16 classes, the ends included (chi-square, 15 degrees, p = 0.001)."""
    draws = [jitter(f"execution {n}", "attempt:0", 1, 15) for n in range(16_000)]
    counts = [draws.count(value) for value in range(16)]
    assert sum((count - 1000) ** 2 / 1000 for count in counts) < 37.7


@given(st.text(max_size=5), st.text(max_size=5), st.integers(0, 99), st.text(max_size=5), st.text(max_size=5))
def test_no_two_places_share_a_draw(a: str, b: str, attempt: int, c: str, d: str) -> None:
    """Execution, scope and attempt do not run into one another: other places, other draws."""
    places = {
        (a, b, attempt),
        (c, d, attempt),
        (a, b, attempt + 1),
        (a + b, "", attempt),
        ("", a + b, attempt),
    }
    assert len({jitter(*place, 2**200) for place in places}) == len(places)


@given(settings, st.integers(0, 7))
def test_the_longest_delay_doubles_up_to_the_cap(retry: Retry, retries: int) -> None:
    """Full jitter: before retry n, no more than min(cap, base * 2**n), and drawn from all of it."""
    retry = retry.model_copy(update={"attempts": 1000, "within": None})
    _, verdict = decide(RetryState(0, calls=retries + 1), 0, TRANSPORT, retry)
    longest = min(retry.cap_ns, retry.base_ns * 2**retries)
    assert verdict == RetryVerdict(again=True, delay=jitter("e", "attempt:0", retries + 1, longest))


def test_the_thousandth_retry_has_a_delay_like_any() -> None:
    """The doubling does not run away."""
    retry = Retry(attempts=1000, base=1e-9, cap=366 * 86_400)
    _, verdict = decide(RetryState(0, calls=999), 0, TRANSPORT, retry)
    assert verdict.again and 0 <= verdict.delay <= retry.cap_ns


def test_retry_after_is_waited_for_and_spread() -> None:
    """Nobody comes back before the time that was told, nor all at that time."""
    told = Failure(ErrorCode.RATE_LIMIT, repeatable=False, clean=True, retry_after=7 * SECOND)
    _, verdict = decide(RetryState(0), 0, told, Retry())
    assert verdict.delay == 7 * SECOND + jitter("e", "attempt:0", 1, SECOND // 10)


def test_a_retry_after_beyond_the_cap_is_not_waited_for() -> None:
    """Exactly the cap is, a nanosecond more is not."""
    for told, again in ((20 * SECOND, True), (20 * SECOND + 1, False)):
        failure = Failure(ErrorCode.RATE_LIMIT, repeatable=True, clean=True, retry_after=told)
        _, verdict = decide(RetryState(0), 0, failure, Retry())
        assert verdict.again is again
        assert verdict.reason == (None if again else "retry_after")


@pytest.mark.parametrize(
    ("details", "told"),
    [
        ({"retry_after": 2.5}, 2_500_000_000),
        ({"retry_after": 3}, 3_000_000_000),
        ({}, 0),
        ({"retry_after": -1}, 0),
        ({"retry_after": "soon"}, 0),
        ({"retry_after": True}, 0),
        ({"retry_after": float("nan")}, 0),
        ({"retry_after": float("inf")}, 0),
        ({"retry_after": None}, 0),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_nothing(details: dict[str, object], told: int) -> None:
    """Whatever an agent puts there, an integer comes out."""
    assert retry_after(details) == told


# --- whether at all ---


@given(
    failures,
    settings,
    durations,
    st.none() | st.integers(0, 3 * 10**6),
    st.integers(1, 9),
    st.integers(0, 100),
)
def test_what_is_retried_may_be(
    failure: Failure, retry: Retry, now: int, deadline: int | None, calls: int, began: int
) -> None:
    """Each rule holds, whatever the others say; and what no rule forbids is retried."""
    state, verdict = decide(RetryState(began, calls=calls), now, failure, retry, deadline)
    begins = max(now, began) + failure.retry_after
    begins += jitter("e", "attempt:0", calls, min(retry.cap_ns, retry.base_ns * 2 ** (calls - 1)))
    allowed = {
        "code": failure.code in retry.on,
        "unsafe": failure.repeatable or (failure.clean and failure.code != "AGENT_TIMEOUT"),
        "attempts": calls < retry.attempts,
        "retry_after": failure.retry_after <= retry.cap_ns,
        "within": retry.within_ns is None or begins - began <= retry.within_ns,
        "deadline": deadline is None or begins < deadline,
    }
    assert verdict.again == all(allowed.values())
    assert verdict.reason == next((reason for reason, holds in allowed.items() if not holds), None)
    assert state.calls == calls + verdict.again
    assert type(verdict.delay) is int and (verdict.again or verdict.delay == 0)


def test_nothing_follows_what_may_have_happened() -> None:
    """An agent that acts and was cut off is not called again, whatever the code; one that only reads is."""
    codes = tuple(code for code in ErrorCode if code in {*Retry().on, "AGENT_ERROR", "PROTOCOL_ERROR"})
    for code, repeatable in itertools.product(codes, (False, True)):
        failure = Failure(code, repeatable=repeatable, clean=False)
        assert decide(RetryState(0), 0, failure, Retry(on=codes))[1].again is repeatable


def test_a_timeout_is_retried_only_where_calling_twice_does_no_harm() -> None:
    """Also if somebody calls it clean."""
    for repeatable in (False, True):
        failure = Failure(ErrorCode.AGENT_TIMEOUT, repeatable=repeatable, clean=True)
        assert decide(RetryState(0), 0, failure, Retry())[1].again is repeatable


@pytest.mark.parametrize("code", ErrorCode)
def test_the_defaults_retry_what_may_pass(code: ErrorCode) -> None:
    """Four codes by default, and no exception of the agent's own."""
    passing = {"TRANSPORT_ERROR", "AGENT_UNAVAILABLE", "RATE_LIMIT", "AGENT_TIMEOUT"}
    assert decide(RetryState(0), 0, Failure(code, True, True), Retry())[1].again is (code in passing)


def test_a_delay_that_would_reach_the_deadline_is_not_slept() -> None:
    """It has to leave at least a nanosecond."""
    _, verdict = decide(RetryState(0), 0, TRANSPORT, Retry())
    assert decide(RetryState(0), 0, TRANSPORT, Retry(), deadline=verdict.delay)[1].reason == "deadline"
    assert decide(RetryState(0), 0, TRANSPORT, Retry(), deadline=verdict.delay + 1)[1] == verdict


def test_a_retry_begins_within_the_time_for_all_calls() -> None:
    """Exactly at its end it still may, a nanosecond later it may not."""
    delay = jitter("e", "attempt:0", 1, SECOND // 10)
    for early, reason in ((0, None), (1, "within")):
        retry = Retry(within=(delay + 7 - early) / SECOND)
        assert decide(RetryState(100), 107, TRANSPORT, retry)[1].reason == reason


@given(settings, st.lists(st.tuples(st.integers(0, LONG), st.integers(0, 10**6)), max_size=10))
def test_no_more_calls_than_were_asked_for(retry: Retry, ends: list[tuple[int, int]]) -> None:
    """Whatever the clock says, going back included, the calls are bounded and the same each time."""
    runs = []
    for _ in range(2):
        state, verdicts = RetryState(5), []
        for now, _ in ends:
            state, verdict = decide(state, now, TRANSPORT, retry)
            verdicts.append(verdict)
        runs.append((state, verdicts))
        assert state.calls <= retry.attempts
        assert sum(verdict.again for verdict in verdicts) == state.calls - 1
    assert runs[0] == runs[1]


def test_time_that_goes_back_gives_no_time_back() -> None:
    """A reading below the highest counts as the highest."""
    retry = Retry(attempts=10, base=1e-9, cap=1e-9, within=1e-7)
    state, verdict = decide(RetryState(0), 200, TRANSPORT, retry)
    assert verdict.reason == "within"
    assert decide(state, 0, TRANSPORT, retry)[1].reason == "within"


@pytest.mark.parametrize(
    ("side_effect", "idempotent", "repeatable"),
    [
        ("read_only", False, True),
        ("reversible", False, False),
        ("reversible", True, True),
        ("irreversible", False, False),
        ("irreversible", True, True),
    ],
)
def test_what_may_be_repeated_is_what_the_agent_declares(
    side_effect: str, idempotent: bool, repeatable: bool
) -> None:
    """Read-only or idempotent; and retry_after is what the error says."""
    agent = AgentDefinition.model_validate(
        {
            "name": "a",
            "capabilities": (Capability(intent="x"),),
            "side_effect": side_effect,
            "idempotent": idempotent,
        }
    )
    error = ErrorInfo(code=ErrorCode.RATE_LIMIT, message="slow down", details={"retry_after": 0.25})
    for clean in (False, True):
        failure = Failure.of(error, agent, clean=clean)
        assert failure == Failure(ErrorCode.RATE_LIMIT, repeatable, clean, 250_000_000)


@given(st.builds(RetryVerdict, st.booleans(), st.integers(0, 2**60), st.none() | st.text(max_size=5)))
def test_a_verdict_can_be_recorded(verdict: RetryVerdict) -> None:
    """What is read back from its bytes is the verdict."""
    assert RetryVerdict.from_tree(values.parse(values.dumps(verdict.tree()))) == verdict


# --- the budget ---


@given(
    st.sampled_from([0.001, 0.1, 0.2, 0.3, 1.0]),
    st.integers(1, 5),
    st.lists(st.booleans(), max_size=200),
)
def test_retries_are_a_part_of_the_calls(ratio: float, reserve: int, calls: list[bool]) -> None:
    """In any stretch of time, no more retries than the reserve and the ratio of the first calls in it."""
    settings = RetryBudget(ratio=ratio, reserve=reserve)
    budget, model = full_budget(settings), Fraction(reserve)
    exact = Fraction(str(ratio))
    granted: list[int] = []
    for retries in calls:
        if not retries:
            budget, model = pay_in(budget, settings), min(Fraction(reserve), model + exact)
            granted.append(0)
            continue
        budget, verdict = spend(budget, RetryVerdict(again=True, delay=5))
        assert verdict == (RetryVerdict(True, 5) if model >= 1 else RetryVerdict(False, 0, "budget"))
        model -= verdict.again
        granted.append(int(verdict.again))
        assert budget == model and 0 <= budget <= reserve
    for start in range(0, len(calls), 7):
        stretch = calls[start:]
        assert sum(granted[start:]) <= reserve + exact * stretch.count(False)


def test_a_verdict_against_a_retry_costs_nothing() -> None:
    """Only what is done is paid for."""
    against = RetryVerdict(again=False, reason="code")
    assert spend(Fraction(3), against) == (Fraction(3), against)


class Model(RuleBasedStateMachine):
    """Several executions with one budget, beside the times at which their calls began and ended."""

    @initialize(retry=settings, reserve=st.integers(1, 4), ratio=st.sampled_from([0.1, 0.3, 1.0]))
    def begin(self, retry: Retry, reserve: int, ratio: float) -> None:
        self.settings, self.shared = retry, RetryBudget(reserve=reserve, ratio=ratio)
        self.budget, self.ratio = full_budget(self.shared), Fraction(str(ratio))
        self.now = self.first = self.retries = 0
        self.running: dict[str, RetryState] = {}
        self.began: dict[str, list[int]] = {}

    @rule(by=st.integers(0, 10**5))
    def time_passes(self, by: int) -> None:
        self.now += by

    @rule()
    def an_execution_begins(self) -> None:
        name = f"execution {self.first}"
        self.first += 1
        self.budget = pay_in(self.budget, self.shared)
        self.running[name], self.began[name] = RetryState(self.now), [self.now]

    @precondition(lambda self: self.running)
    @rule(
        data=st.data(), failure=failures, lasts=st.integers(0, 10**5), left=st.none() | st.integers(0, 10**6)
    )
    def a_call_fails(self, data: st.DataObject, failure: Failure, lasts: int, left: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        times, ended = self.began[name], self.began[name][-1] + lasts
        deadline = None if left is None else ended + left
        failure = failure._replace(retry_after=failure.retry_after % (2 * self.settings.cap_ns))
        state, verdict = step(
            self.running[name],
            ended,
            failure,
            settings=self.settings,
            execution_id=name,
            scope="",
            deadline=deadline,
        )
        self.budget, verdict = spend(self.budget, verdict)
        if not verdict.again:
            del self.running[name]
            return
        self.running[name] = state
        self.retries += 1
        times.append(ended + verdict.delay)
        longest = min(self.settings.cap_ns, self.settings.base_ns * 2 ** (len(times) - 2))
        assert failure.retry_after <= verdict.delay <= failure.retry_after + longest
        assert deadline is None or times[-1] < deadline
        assert failure.code in self.settings.on and (failure.clean or failure.repeatable)

    @invariant()
    def all_bounds_hold(self) -> None:
        if not hasattr(self, "budget"):
            return
        assert self.retries <= self.shared.reserve + self.ratio * self.first
        for times in self.began.values():
            assert len(times) <= self.settings.attempts
            within = self.settings.within_ns
            assert within is None or times[-1] - times[0] <= within


TestAgainstTheModel = Model.TestCase
TestAgainstTheModel.settings = searching(max_examples=100, stateful_step_count=40)
