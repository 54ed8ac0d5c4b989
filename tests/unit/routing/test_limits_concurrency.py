"""Bounded concurrency: who runs, who waits, who is sent away, and in which order."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from intentusnet import values
from intentusnet.limits import Concurrency
from intentusnet.response import ErrorCode
from intentusnet.routing.limits.concurrency import (
    Changed,
    ConcurrencyState,
    ConcurrencyVerdict,
    enter,
    idle,
    leave,
)

NS = 10**9
#: A call is taken to last 100 nanoseconds.
TWO = Concurrency(limit=2, queue=3, typical=100 / NS)


def busy(
    *priorities: int, settings: Concurrency = TWO, deadlines: Iterable[int | None] = ()
) -> ConcurrencyState:
    """All places are taken, by tickets 1 and 2, and calls of these priorities wait."""
    state, ends = idle(settings), iter(deadlines)
    for _ in range(settings.limit):
        state, verdict, _ = enter(state, 0, settings=settings)
        assert verdict == ConcurrencyVerdict("admitted")
    for priority in priorities:
        state, verdict, _ = enter(state, 0, settings=settings, priority=priority, deadline=next(ends, None))
        assert verdict.decision == "queued"
    return state


def served(state: ConcurrencyState, settings: Concurrency = TWO) -> list[int]:
    """The tickets of those who wait, in the order in which places come to them."""
    order: list[int] = []
    while state.waiting:
        state, changed = leave(state, state.now, state.running[0].ticket, settings=settings)
        order.extend(changed.granted)
    return order


def test_as_many_run_as_may() -> None:
    """Then calls wait; when the queue is full they are refused, and told when to come back."""
    state = busy(0, 0, 0)
    state, verdict, _ = enter(state, 0, settings=TWO, priority=99)
    assert verdict == ConcurrencyVerdict("refused", retry_after=50)
    assert (len(state.running), len(state.waiting), state.issued) == (2, 3, 5)


def test_without_a_queue_nobody_waits() -> None:
    """The call beyond the limit is refused at once."""
    alone = Concurrency(limit=1)
    _, verdict, _ = enter(busy(settings=alone), 0, settings=alone)
    assert verdict == ConcurrencyVerdict("refused", retry_after=NS)


def test_higher_priorities_come_first_then_earlier_ones() -> None:
    """Places are told, and come, in that order."""
    state, places = busy(), []
    wide = Concurrency(limit=2, queue=10, typical=100 / NS)
    for priority in (0, 5, 0, -3, 5, 9):
        state, verdict, _ = enter(state, 0, settings=wide, priority=priority)
        places.append((verdict.place, verdict.estimate))
    assert places == [(1, 50), (1, 50), (3, 150), (4, 200), (2, 100), (1, 50)]
    assert served(state, wide) == [8, 4, 7, 3, 5, 6]


@given(st.lists(st.integers(-3, 3), max_size=12), st.integers(1, 4))
def test_the_order_is_by_priority_then_arrival(priorities: list[int], limit: int) -> None:
    """For any priorities; and the place that each was told was right when it was told."""
    wide = Concurrency(limit=limit, queue=12)
    state = busy(settings=wide)
    for number, priority in enumerate(priorities):
        state, verdict, _ = enter(state, 0, settings=wide, priority=priority)
        assert verdict.place == 1 + sum(other >= priority for other in priorities[:number])
    arrived = enumerate(priorities, limit + 1)
    assert served(state, wide) == [t for t, _ in sorted(arrived, key=lambda call: (-call[1], call[0]))]


def test_a_call_that_leaves_twice_frees_one_place() -> None:
    """The second time changes nothing, and neither does an unknown ticket."""
    state, changed = leave(busy(0, 0), 10, 1, settings=TWO)
    assert changed.granted == (3,)
    for ticket in (1, 99):
        again, changed = leave(state, 10, ticket, settings=TWO)
        assert (again, changed) == (state, Changed())


def test_a_waiter_may_go_away() -> None:
    """Its ticket leaves, the others move up, and no duration is learnt."""
    state = busy(0, 0, 0)
    after, changed = leave(state, 50, 4, settings=TWO)
    assert changed == Changed()
    assert [waiter.ticket for waiter in after.waiting] == [3, 5]
    assert after.running == state.running and after.average == state.average


def test_who_was_granted_a_place_and_does_not_want_it_hands_it_on() -> None:
    """A cancellation that crosses the grant frees the place."""
    state, _ = leave(busy(0, 0), 10, 1, settings=TWO)
    state, changed = leave(state, 10, 3, settings=TWO)
    assert changed.granted == (4,) and len(state.running) == 2


def test_who_has_reached_its_deadline_no_longer_waits() -> None:
    """The next step tells of it, whichever that is, and it is never served; a nanosecond before, it waits."""
    state = busy(9, 0, deadlines=(100, None))
    _, changed = leave(state, 99, 1, settings=TWO)
    assert changed == Changed(granted=(3,))
    _, changed = leave(state, 100, 1, settings=TWO)
    assert changed == Changed(granted=(4,), expired=(3,))
    after, verdict, changed = enter(state, 100, settings=TWO)
    assert (verdict.place, changed) == (2, Changed(expired=(3,)))
    assert served(after) == [4, 5]


def test_nobody_begins_to_wait_after_its_deadline() -> None:
    """Where there is a place it may run; where there is none it is refused."""
    assert enter(idle(TWO), 5, settings=TWO, deadline=5)[1].decision == "admitted"
    assert enter(busy(), 5, settings=TWO, deadline=5)[1].decision == "refused"
    assert enter(busy(), 5, settings=TWO, deadline=6)[1].decision == "queued"


def test_the_estimate_follows_the_durations() -> None:
    """An eighth of each new duration; in the end it is what calls take, to the nanosecond."""
    state, one = idle(TWO), Concurrency(limit=1, queue=1, typical=100 / NS)
    state, _, _ = enter(state, 0, settings=one)
    state, _ = leave(state, 500, state.issued, settings=one)
    assert state.average // 8 == 100 + (500 - 100) // 8
    for duration in (500, 13):
        for _ in range(200):
            state, _, _ = enter(state, state.now, settings=one)
            state, _ = leave(state, state.now + duration, state.issued, settings=one)
        assert state.average // 8 == duration
    state, _, _ = enter(state, state.now, settings=one)
    assert enter(state, state.now, settings=one)[1].estimate == 13


def test_a_refused_call_is_never_told_to_come_back_at_once() -> None:
    """Also where calls take no time at all."""
    one = Concurrency(limit=1, typical=1 / NS)
    state = busy(settings=one)._replace(average=0)
    assert enter(state, 0, settings=one)[1].retry_after == 1


def test_time_that_goes_back_makes_no_duration_negative() -> None:
    """A reading below the highest counts as the highest."""
    state, _, _ = enter(idle(TWO), 1000, settings=TWO)
    state, _ = leave(state, 10, 1, settings=TWO)
    assert state.now == 1000 and state.average == 7 * 100


@given(
    st.builds(
        ConcurrencyVerdict,
        st.sampled_from(["admitted", "queued", "refused"]),
        st.integers(0, 10_000),
        st.integers(0, 2**60),
        st.integers(0, 2**60),
    )
)
def test_a_verdict_can_be_recorded(verdict: ConcurrencyVerdict) -> None:
    """What is read back from its bytes is the verdict."""
    assert ConcurrencyVerdict.from_tree(values.parse(values.dumps(verdict.tree()))) == verdict


def test_a_refusal_says_when_to_come_back() -> None:
    """It is RATE_LIMIT, with the seconds to wait."""
    error = ConcurrencyVerdict("refused", retry_after=1_500_000_000).error()
    assert (error.code, error.details) == (ErrorCode.RATE_LIMIT, {"retry_after": 1.5})


class Model(RuleBasedStateMachine):
    """Beside the steps, lists that are searched anew each time; and each call ends in one way, once."""

    @initialize(limit=st.integers(1, 3), queue=st.integers(0, 4))
    def begin(self, limit: int, queue: int) -> None:
        self.settings = Concurrency(limit=limit, queue=queue, typical=64 / NS)
        self.state = idle(self.settings)
        self.now = 0
        self.running: set[int] = set()
        self.waiting: dict[int, tuple[int, int | None]] = {}
        self.ends: dict[str, set[int]] = {"left": set(), "gone": set(), "expired": set()}
        self.refused = self.asked = 0

    def noted(self, changed: Changed) -> None:
        late = {ticket for ticket, (_, end) in self.waiting.items() if end is not None and end <= self.now}
        assert set(changed.expired) == late and len(changed.expired) == len(late)
        for ticket in late:
            del self.waiting[ticket]
        self.ends["expired"] |= late
        expected = []
        while self.waiting and len(self.running) < self.settings.limit:
            first = min(self.waiting, key=lambda ticket: (-self.waiting[ticket][0], ticket))
            del self.waiting[first]
            self.running.add(first)
            expected.append(first)
        assert list(changed.granted) == expected

    @rule(by=st.integers(0, 20))
    def time_passes(self, by: int) -> None:
        self.now += by

    @rule(priority=st.integers(-2, 2), within=st.none() | st.integers(0, 60), back=st.integers(0, 9))
    def a_call_comes(self, priority: int, within: int | None, back: int) -> None:
        deadline = None if within is None else self.now + within
        shown = max(0, self.now - back) if self.state.now == self.now else self.now
        arguments = {"settings": self.settings, "priority": priority, "deadline": deadline}
        result = enter(self.state, shown, **arguments)
        assert result == enter(self.state, shown, **arguments)
        self.state, verdict, changed = result
        free = len(self.running) < self.settings.limit
        self.noted(changed)
        self.asked += 1
        if free:
            assert verdict == ConcurrencyVerdict("admitted")
            self.running.add(self.state.issued)
        elif len(self.waiting) >= self.settings.queue or within == 0:
            assert verdict.decision == "refused" and verdict.retry_after > 0
            self.refused += 1
        else:
            ahead = sum(other >= priority for other, _ in self.waiting.values())
            assert (verdict.decision, verdict.place) == ("queued", ahead + 1)
            self.waiting[self.state.issued] = (priority, deadline)
        assert all(type(number) is int for number in verdict[1:])

    @rule(data=st.data())
    def a_call_leaves(self, data: st.DataObject) -> None:
        ticket = data.draw(st.integers(0, self.state.issued + 1))
        self.state, changed = leave(self.state, self.now, ticket, settings=self.settings)
        if ticket in self.running:
            self.running.remove(ticket)
            self.ends["left"].add(ticket)
        elif self.waiting.pop(ticket, None) is not None:
            self.ends["gone"].add(ticket)
        self.noted(changed)

    @invariant()
    def the_steps_know_what_the_lists_know(self) -> None:
        if not hasattr(self, "state"):
            return
        assert {call.ticket for call in self.state.running} == self.running
        assert {waiter.ticket for waiter in self.state.waiting} == set(self.waiting)
        assert len(self.state.running) == len(self.running) <= self.settings.limit
        assert len(self.state.waiting) == len(self.waiting) <= self.settings.queue
        assert not self.waiting or len(self.running) == self.settings.limit

    @invariant()
    def nobody_is_lost(self) -> None:
        if hasattr(self, "state"):
            there = len(self.running) + len(self.waiting)
            assert self.asked == there + self.refused + sum(map(len, self.ends.values()))


TestAgainstTheModel = Model.TestCase
TestAgainstTheModel.settings = settings(max_examples=200, stateful_step_count=40)
