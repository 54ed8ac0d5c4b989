"""The circuit breaker: when it opens, what goes through while it is, and what closes it."""

from dataclasses import dataclass, field
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from intentusnet import values
from intentusnet.limits import Breaker
from intentusnet.response import ErrorCode
from intentusnet.routing.limits.breaker import (
    BreakerState,
    BreakerVerdict,
    Result,
    admit,
    result_of,
    settle,
)

NS = 10**9
#: In nanoseconds: open for 10, then 20, then 40, then 50; leases of 7.
QUICK = Breaker(failures=2, open_for=10 / NS, open_cap=50 / NS, lease=7 / NS)


def opened(breaker: Breaker = QUICK, now: int = 0) -> BreakerState:
    """A breaker that enough failures in a row have opened at that time."""
    state = BreakerState()
    for _ in range(breaker.failures or breaker.window):
        state, verdict = admit(state, now, settings=breaker)
        assert verdict == BreakerVerdict(admitted=True)
        state = settle(state, now, state.generation, "failure", settings=breaker)
    assert state.phase == "open"
    return state


def after(results: list[Result], breaker: Breaker) -> str:
    """The phase that calls which end so, one after another, lead to."""
    state = BreakerState()
    for result in results:
        state = settle(state, 0, state.generation, result, settings=breaker)
    return state.phase


# --- closed ---


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    """A success in between begins the row anew; what is neutral does not."""
    breaker = Breaker(failures=3)
    assert after(["failure", "failure"], breaker) == "closed"
    assert after(["failure", "failure", "failure"], breaker) == "open"
    assert after(["failure", "failure", "success", "failure", "failure"], breaker) == "closed"
    assert after(["failure", "failure", "neutral", "failure"], breaker) == "open"


def test_it_opens_when_too_large_a_part_has_failed() -> None:
    """Exactly the rate opens it; fewer calls than the minimum are no rate."""
    breaker = Breaker(failures=None, failure_rate=0.5, window=10, minimum=4)
    assert after(["failure"] * 3, breaker) == "closed"
    assert after(["success", "success", "failure", "failure"], breaker) == "open"
    assert after(["success", "success", "success", "failure"], breaker) == "closed"
    assert after(["success", "success", "neutral", "failure"], breaker) == "closed"


def test_without_a_minimum_the_window_has_to_be_full() -> None:
    """No rate is told of fewer calls than the window holds."""
    breaker = Breaker(failures=None, failure_rate=0.1, window=10)
    assert after(["failure"] * 9, breaker) == "closed"
    assert after(["failure"] * 10, breaker) == "open"


def test_only_the_last_calls_count() -> None:
    """What has left the window is forgotten."""
    breaker = Breaker(failures=None, failure_rate=0.5, window=4, minimum=4)
    assert after(["failure"] + ["success"] * 4 + ["failure"], breaker) == "closed"
    assert after(["failure"] + ["success"] * 3 + ["failure"], breaker) == "closed"
    assert after(["failure"] + ["success"] * 4 + ["failure", "failure"], breaker) == "open"


def test_the_rate_is_the_one_that_is_written() -> None:
    """Three of ten reach 0.3, though no float is 0.3."""
    breaker = Breaker(failures=None, failure_rate=0.3, window=10)
    assert after(["success"] * 7 + ["failure"] * 3, breaker) == "open"
    assert after(["success"] * 8 + ["failure"] * 2, breaker) == "closed"


@given(st.lists(st.sampled_from(["success", "failure", "neutral"]), max_size=60), st.data())
def test_it_opens_when_the_specification_says(results: list[Result], data: st.DataObject) -> None:
    """Closed, it is what a list of all results says it should be."""
    window = data.draw(st.integers(1, 12))
    rate = data.draw(st.sampled_from([None, 0.1, 0.3, 0.5, 1.0]))
    breaker = Breaker(
        failures=data.draw(st.integers(1, 6) if rate is None else st.none() | st.integers(1, 6)),
        failure_rate=rate,
        window=window,
        minimum=data.draw(st.none() | st.integers(1, window)),
    )
    state, counted, expected = BreakerState(), [], "closed"
    for result in results:
        state = settle(state, 0, state.generation, result, settings=breaker)
        if result == "neutral":
            continue
        counted.append(result == "failure")
        row = len(counted) - 1 - max((n for n, failed in enumerate(counted) if not failed), default=-1)
        last = counted[-window:]
        if result == "failure" and (
            (breaker.failures is not None and row >= breaker.failures)
            or (
                rate is not None
                and len(last) >= (breaker.minimum or window)
                and Fraction(sum(last), len(last)) >= Fraction(str(rate))
            )
        ):
            expected = "open"
            break
        assert state.results < 2**window and state.calls <= window
    assert state.phase == expected


@pytest.mark.parametrize("code", [None, *ErrorCode])
def test_what_counts_as_a_failure(code: ErrorCode | None) -> None:
    """The agent's own failures do; what says something of the request or the caller is neutral."""
    failures = {
        "AGENT_ERROR",
        "AGENT_TIMEOUT",
        "AGENT_UNAVAILABLE",
        "IN_DOUBT",
        "INTERNAL_AGENT_ERROR",
        "PROTOCOL_ERROR",
        "TRANSPORT_ERROR",
    }
    expected = "success" if code is None else "failure" if code in failures else "neutral"
    assert result_of(code, Breaker()) == expected
    assert result_of(ErrorCode.RATE_LIMIT, Breaker(counts=(ErrorCode.RATE_LIMIT,))) == "failure"


# --- open and half open ---


def test_nothing_goes_through_until_the_time_is_over() -> None:
    """Then one call does, the probe; the others are told when to ask again."""
    state = opened(now=100)
    for now, wait in ((100, 10), (109, 1)):
        state, verdict = admit(state, now, settings=QUICK)
        assert verdict == BreakerVerdict(admitted=False, retry_after=wait)
    state, verdict = admit(state, 110, settings=QUICK)
    assert verdict == BreakerVerdict(admitted=True, probe=True)
    state, verdict = admit(state, 112, settings=QUICK)
    assert verdict == BreakerVerdict(admitted=False, retry_after=5)


def test_a_probe_that_succeeds_closes_it() -> None:
    """All goes through again, and what had been counted is forgotten."""
    state, _ = admit(opened(), 10, settings=QUICK)
    state = settle(state, 11, state.generation, "success", settings=QUICK)
    assert state == BreakerState(generation=state.generation, now=11)
    state = settle(state, 12, state.generation, "failure", settings=QUICK)
    assert admit(state, 12, settings=QUICK)[1].admitted
    state = settle(state, 12, state.generation, "failure", settings=QUICK)
    assert state.phase == "open" and state.until == 22


def test_each_probe_that_fails_opens_it_for_longer() -> None:
    """Twice as long each time, up to the cap."""
    state, durations = opened(), []
    for _ in range(5):
        at = state.until
        state, verdict = admit(state, at, settings=QUICK)
        assert verdict.probe
        state = settle(state, at, state.generation, "failure", settings=QUICK)
        durations.append(state.until - at)
    assert durations == [20, 40, 50, 50, 50]


def test_it_does_not_grow_without_end() -> None:
    """After a thousand openings the time is still the cap."""
    state = opened()._replace(openings=1000)
    state, _ = admit(state, state.until, settings=QUICK)
    state = settle(state, state.now, state.generation, "failure", settings=QUICK)
    assert state.until - state.now == 50


def test_a_probe_that_never_returns_jams_nothing() -> None:
    """At the end of its lease it has failed, at that time, whoever asks when."""
    state, _ = admit(opened(), 10, settings=QUICK)
    assert state.until == 17
    state, verdict = admit(state, 16, settings=QUICK)
    assert verdict == BreakerVerdict(admitted=False, retry_after=1)
    early, verdict = admit(state, 17, settings=QUICK)
    assert verdict == BreakerVerdict(admitted=False, retry_after=20)
    late, verdict = admit(state, 36, settings=QUICK)
    assert verdict == BreakerVerdict(admitted=False, retry_after=1)
    assert early._replace(now=36) == late
    _, verdict = admit(state, 37, settings=QUICK)
    assert verdict == BreakerVerdict(admitted=True, probe=True)


@pytest.mark.parametrize("result", ["success", "failure", "neutral"])
def test_a_probe_that_has_lost_its_lease_decides_nothing(result: Result) -> None:
    """Whether or not somebody has asked in between."""
    state, _ = admit(opened(), 10, settings=QUICK)
    unasked = settle(state, 20, state.generation, result, settings=QUICK)
    asked, _ = admit(state, 18, settings=QUICK)
    assert settle(asked, 20, state.generation, result, settings=QUICK) == unasked
    assert (unasked.phase, unasked.until, unasked.openings) == ("open", 37, 2)


@pytest.mark.parametrize("result", ["success", "failure", "neutral"])
def test_a_late_result_changes_nothing(result: Result) -> None:
    """A call from before an opening neither closes it, nor ends a probe, nor counts after a closing."""
    old = BreakerState().generation
    waiting = opened()
    probing, _ = admit(waiting, 10, settings=QUICK)
    closed = settle(probing, 10, probing.generation, "success", settings=QUICK)
    for state in (waiting, probing, closed):
        assert settle(state, 10, old, result, settings=QUICK) == state._replace(now=10)
    assert settle(closed, 10, probing.generation, result, settings=QUICK) == closed


def test_a_neutral_probe_hands_the_turn_on() -> None:
    """It has shown nothing, so the next call is the probe, and the time does not grow."""
    first, _ = admit(opened(), 10, settings=QUICK)
    state = settle(first, 12, first.generation, "neutral", settings=QUICK)
    state, verdict = admit(state, 12, settings=QUICK)
    assert verdict == BreakerVerdict(admitted=True, probe=True)
    assert settle(state, 12, first.generation, "success", settings=QUICK) == state
    state = settle(state, 12, state.generation, "failure", settings=QUICK)
    assert state.until - state.now == 20


def test_time_that_goes_back_gives_no_time_back() -> None:
    """A reading below the highest counts as the highest: no wait is longer than it was."""
    state, verdict = admit(opened(now=100), 105, settings=QUICK)
    assert verdict.retry_after == 5
    state, verdict = admit(state, 3, settings=QUICK)
    assert verdict.retry_after == 5 and state.now == 105


@given(st.builds(BreakerVerdict, st.booleans(), st.booleans(), st.integers(0, 2**60)))
def test_a_verdict_can_be_recorded(verdict: BreakerVerdict) -> None:
    """What is read back from its bytes is the verdict."""
    assert BreakerVerdict.from_tree(values.parse(values.dumps(verdict.tree()))) == verdict


def test_a_refusal_says_when_to_come_back() -> None:
    """It is AGENT_UNAVAILABLE, with the seconds to wait."""
    error = BreakerVerdict(admitted=False, retry_after=2_500_000_000).error()
    assert (error.code, error.details) == (ErrorCode.AGENT_UNAVAILABLE, {"retry_after": 2.5})


# --- against a model ---


@dataclass(eq=False)
class Era:
    """A stretch in which the breaker was in one phase, with one probe if any."""

    phase: str
    ends: int = 0
    results: list[bool] = field(default_factory=list)


class Model(RuleBasedStateMachine):
    """Beside the breaker, one that keeps eras as objects and lists of results, and never computes ahead."""

    @initialize(
        failures=st.integers(1, 3),
        open_for=st.integers(1, 9),
        more=st.integers(0, 40),
        lease=st.integers(1, 9),
    )
    def begin(self, failures: int, open_for: int, more: int, lease: int) -> None:
        self.settings = Breaker(
            failures=failures, open_for=open_for / NS, open_cap=(open_for + more) / NS, lease=lease / NS
        )
        self.cap, self.open_for, self.lease = open_for + more, open_for, lease
        self.state = BreakerState()
        self.now = 0
        self.era = Era("closed")
        self.openings = 0
        self.calls: list[tuple[int, Era]] = []
        self.probes: list[list[int]] = []

    def open(self, at: int) -> None:
        self.era = Era("open", at + min(self.cap, self.open_for * 2**self.openings))
        self.openings += 1

    @rule(by=st.integers(0, 12))
    def time_passes(self, by: int) -> None:
        self.now += by
        if self.era.phase == "half_open" and self.now >= self.era.ends:
            self.probes[-1][1] = self.era.ends
            self.open(self.era.ends)

    @rule(back=st.integers(0, 5))
    def somebody_asks(self, back: int) -> None:
        shown = max(0, self.now - back) if self.state.now == self.now else self.now
        self.state, verdict = admit(self.state, shown, settings=self.settings)
        again = admit(self.state, shown, settings=self.settings)
        assert again == admit(self.state, shown, settings=self.settings)
        if self.era.phase == "closed":
            assert verdict == BreakerVerdict(admitted=True)
        elif self.era.phase == "open" and self.now >= self.era.ends:
            assert verdict == BreakerVerdict(admitted=True, probe=True)
            self.era = Era("half_open", self.now + self.lease)
            self.probes.append([self.now, self.now + self.lease])
        else:
            assert verdict == BreakerVerdict(admitted=False, retry_after=self.era.ends - self.now)
            assert verdict.retry_after > 0
        if verdict.admitted:
            self.calls.append((self.state.generation, self.era))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), result=st.sampled_from(["success", "failure", "neutral"]))
    def a_call_ends(self, data: st.DataObject, result: Result) -> None:
        generation, era = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self.state = settle(self.state, self.now, generation, result, settings=self.settings)
        if era is not self.era:
            return
        if era.phase == "half_open":
            self.probes[-1][1] = self.now
            if result == "success":
                self.era, self.openings = Era("closed"), 0
            elif result == "failure":
                self.open(self.now)
            else:
                self.era = Era("open", self.now)
        elif result != "neutral":
            era.results.append(result == "failure")
            if all(era.results[-self.settings.failures :]) and len(era.results) >= self.settings.failures:
                self.open(self.now)

    @invariant()
    def no_two_probes_at_once(self) -> None:
        for one, other in (
            zip(self.probes[:-1], self.probes[1:], strict=True) if hasattr(self, "probes") else ()
        ):
            assert one[1] <= other[0]

    @invariant()
    def all_are_integers(self) -> None:
        if hasattr(self, "state"):
            assert all(type(part) in (int, str) for part in self.state)


TestAgainstTheModel = Model.TestCase
TestAgainstTheModel.settings = settings(max_examples=200, stateful_step_count=40)
