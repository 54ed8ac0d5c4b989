"""Rates: never more than rate and burst, for any key, in any stretch of time, whatever is forgotten."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from intentusnet import values
from intentusnet.limits import Rate
from intentusnet.response import ErrorCode
from intentusnet.routing.limits.bucket import Buckets, Rates, RateVerdict, step

NS = 10**9


def rate(count: int, period: int, burst: int | None = None, keys: int = 10_000) -> Rate:
    """A rate per caller, its period in nanoseconds."""
    return Rate(per="caller", count=count, seconds=period / NS, burst=burst, keys=keys)


class Tokens:
    """Buckets as they are imagined: a number of tokens that grows with time; nothing is ever forgotten."""

    def __init__(self, settings: Rate) -> None:
        self.settings = settings
        self.flow = Fraction(settings.count, settings.period_ns)
        self.buckets: dict[str, tuple[Fraction, int]] = {}

    def wait(self, key: str, now: int) -> int:
        tokens, at = self.buckets.get(key, (Fraction(self.settings.capacity), now))
        tokens = min(Fraction(self.settings.capacity), tokens + (now - at) * self.flow)
        self.buckets[key] = (tokens, now)
        return -((tokens - 1) // self.flow) if tokens < 1 else 0

    def take(self, key: str, now: int) -> int:
        wait = self.wait(key, now)
        if not wait:
            tokens, at = self.buckets[key]
            self.buckets[key] = (tokens - 1, at)
        return wait


def asked(rates: Rates, now: int, caller: str) -> RateVerdict:
    return rates.step(now, agent="a", caller=caller, tenant=None)


rates = st.builds(
    rate,
    st.integers(1, 7),
    st.integers(1, 60),
    st.none() | st.integers(1, 6),
    st.integers(1, 4),
)
#: How time moves, back included, and who calls.
calls = st.lists(st.tuples(st.integers(-20, 30), st.sampled_from("abcdef")), max_size=80)


@given(rates, calls)
def test_no_key_gets_more_than_rate_and_burst(settings: Rate, calls: list[tuple[int, str]]) -> None:
    """In any stretch of w nanoseconds, burst + w * count // period calls at most: forgotten or not."""
    limiter, now, latest = Rates([settings]), 0, 0
    admitted: dict[str, list[int]] = {}
    for by, key in calls:
        now = max(0, now + by)
        latest = max(latest, now)
        if asked(limiter, now, key).admitted:
            admitted.setdefault(key, []).append(latest)
    for times in admitted.values():
        for first, start in enumerate(times):
            for last, end in enumerate(times[first:], first):
                width = end - start
                assert last - first + 1 <= settings.capacity + width * settings.count // settings.period_ns


@given(rates, calls)
def test_nobody_gains_from_being_forgotten(settings: Rate, calls: list[tuple[int, str]]) -> None:
    """What goes through would also if nothing was forgotten; and no more is remembered than allowed."""
    buckets, model, now = Buckets(settings), Tokens(settings), 0
    for by, key in calls:
        now += abs(by)
        if buckets.take(key, now) == 0:
            assert model.take(key, now) == 0
        assert len(buckets) == len(buckets._order) <= settings.keys


@given(rates, calls)
def test_a_full_bucket_is_forgotten_without_loss(settings: Rate, calls: list[tuple[int, str]]) -> None:
    """If each bucket is full again before it gives its place up, nothing differs from remembering all."""
    buckets, model, now = Buckets(settings), Tokens(settings), 0
    refill = -(-settings.capacity * settings.period_ns // settings.count)
    for by, key in calls:
        now += refill if key not in buckets._arrivals else abs(by)
        assert buckets.take(key, now) == model.take(key, now)


@given(
    st.builds(rate, st.integers(1, 7), st.integers(1, 60), st.none() | st.integers(1, 6)),
    calls,
)
def test_a_verdict_is_that_of_a_bucket_of_tokens(settings: Rate, calls: list[tuple[int, str]]) -> None:
    """Calls go through, and waits are told, exactly as tokens that flow in say; and twice the same."""
    limiter, again, model, now, latest = Rates([settings]), Rates([settings]), Tokens(settings), 0, 0
    for by, key in calls:
        now = max(0, now + by)
        latest = max(latest, now)
        wait = model.take(key, latest)
        verdict = asked(limiter, now, key)
        assert verdict == RateVerdict(wait == 0, wait, "caller" if wait else None)
        assert type(verdict.retry_after) is int
        assert asked(again, now, key) == verdict


@given(rates, calls, st.sampled_from("abcdef"))
def test_the_wait_is_exact(settings: Rate, calls: list[tuple[int, str]], key: str) -> None:
    """Who comes back after it goes through; a nanosecond before, not yet."""
    buckets, now = Buckets(settings), 0
    for by, caller in calls:
        now += abs(by)
        buckets.take(caller, now)
    wait = buckets.wait(key, now)
    if wait:
        assert buckets.wait(key, now + wait - 1) == 1
    assert buckets.take(key, now + wait) == 0


def test_there_is_no_drift() -> None:
    """Three calls in ten nanoseconds are 30,000 in 100,000, though a third of ten is no integer."""
    settings, arrival, through = rate(3, 10, burst=2), 0, 0
    for now in range(100_001):
        for _ in range(3):
            arrival, wait = step(arrival, now, settings=settings)
            through += wait == 0
    assert through == 2 + 30_000


def test_the_fullest_bucket_is_forgotten() -> None:
    """Not the one that was used longest ago, if it was used more; and the new key goes on where that was."""
    buckets = Buckets(rate(1, 100, burst=3, keys=2))
    for _ in range(3):
        assert buckets.take("heavy", 0) == 0
    assert buckets.take("light", 0) == 0
    assert buckets.take("new", 0) == 0  # in the bucket of light, which has two tokens left
    assert buckets.take("new", 0) == 0
    assert buckets.take("new", 0) == 100
    assert buckets.take("heavy", 99) == 1


def test_a_refused_call_takes_no_place() -> None:
    """Made-up names that are refused push nobody out."""
    buckets = Buckets(rate(1, 100, burst=1, keys=1))
    assert buckets.take("a", 0) == 0
    assert [buckets.take(f"made up {n}", 99) for n in range(3)] == [1, 1, 1]
    assert buckets.take("a", 99) == 1 and list(buckets._arrivals) == ["a"]


@given(rates, st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1)), max_size=80))
def test_made_up_names_do_not_get_around_the_rate(settings: Rate, calls: list[tuple[int, int]]) -> None:
    """All keys together get no more than the places: a new name for each call is no way around."""
    buckets, now, through = Buckets(settings), 0, 0
    for number, (by, shared) in enumerate(calls):
        now += by
        through += buckets.take("shared" if shared else f"made up {number}", now) == 0
    assert through <= settings.keys * (settings.capacity + now * settings.count // settings.period_ns)


def test_a_call_takes_from_every_bucket_or_none() -> None:
    """What one rate refuses costs no token of the others, and the longest wait is told."""
    limiter = Rates(
        [
            Rate(per="agent", count=10, seconds=1),
            Rate(per="caller", count=1, seconds=1),
            Rate(per="caller", count=1, seconds=60),
            Rate(per="tenant", count=10, seconds=1),
        ]
    )
    assert limiter.step(0, agent="a", caller="c", tenant="t").admitted
    for _ in range(20):
        refused = limiter.step(0, agent="a", caller="c", tenant="t")
        assert refused == RateVerdict(admitted=False, retry_after=60 * NS, per="caller")
    others = [limiter.step(0, agent="a", caller=f"c{n}", tenant="t").admitted for n in range(10)]
    assert others == [True] * 9 + [False]


@pytest.mark.parametrize("per", ["agent", "caller", "tenant"])
def test_each_key_has_its_own_bucket(per: str) -> None:
    """Another agent, caller or tenant is not held up; another one of the other two is."""
    limiter = Rates([Rate.model_validate({"per": per, "count": 1})])
    names = {"agent": "a", "caller": "a", "tenant": "a"}
    assert limiter.step(0, **names).admitted
    for other in names:
        assert limiter.step(0, **{**names, other: "b"}).admitted is (other == per)


def test_all_callers_without_a_tenant_share_a_bucket() -> None:
    """No tenant is a tenant of its own."""
    limiter = Rates([Rate(per="tenant", count=1)])
    assert limiter.step(0, agent="a", caller="b", tenant=None).admitted
    assert not limiter.step(0, agent="a", caller="c", tenant=None).admitted
    assert limiter.step(0, agent="a", caller="c", tenant="None").admitted


def test_without_rates_everything_goes_through() -> None:
    """No rate, no limit."""
    assert asked(Rates([]), 0, "a") == RateVerdict(admitted=True)


def test_a_refused_reading_counts_as_time_too() -> None:
    """A reading below the highest counts as the highest, whatever became of the call that made it."""
    limiter = Rates([rate(1, 100, burst=1)])
    assert asked(limiter, 10, "a").admitted
    assert asked(limiter, 60, "a").retry_after == 50
    assert asked(limiter, 10, "a").retry_after == 50


@given(
    st.builds(RateVerdict, st.booleans(), st.integers(0, 2**60), st.sampled_from([None, "agent", "tenant"]))
)
def test_a_verdict_can_be_recorded(verdict: RateVerdict) -> None:
    """What is read back from its bytes is the verdict."""
    assert RateVerdict.from_tree(values.parse(values.dumps(verdict.tree()))) == verdict


def test_a_refusal_says_when_to_come_back() -> None:
    """It is RATE_LIMIT, with the seconds to wait and whose rate it is."""
    error = RateVerdict(admitted=False, retry_after=250_000_000, per="tenant").error()
    assert (error.code, error.details) == (ErrorCode.RATE_LIMIT, {"per": "tenant", "retry_after": 0.25})
    assert "tenant" in error.message


class Model(RuleBasedStateMachine):
    """Two rates beside two sets of imagined buckets, with places for all keys."""

    @initialize(
        first=st.builds(rate, st.integers(1, 5), st.integers(1, 40), st.integers(1, 4)),
        count=st.integers(1, 9),
        period=st.integers(1, 80),
    )
    def begin(self, first: Rate, count: int, period: int) -> None:
        second = Rate(per="tenant", count=count, seconds=period / NS)
        self.limiter = Rates([first, second])
        self.callers, self.tenants = Tokens(first), Tokens(second)
        self.now = 0
        self.verdicts = {True: 0, False: 0}

    @rule(by=st.integers(0, 50))
    def time_passes(self, by: int) -> None:
        self.now += by

    @rule(caller=st.sampled_from("abc"), tenant=st.sampled_from(["x", "y", None]))
    def somebody_calls(self, caller: str, tenant: str | None) -> None:
        verdict = self.limiter.step(self.now, agent="any", caller=caller, tenant=tenant)
        waits = {
            "caller": self.callers.wait(caller, self.now),
            "tenant": self.tenants.wait(str(tenant), self.now),
        }
        assert verdict.retry_after == max(waits.values())
        assert verdict.admitted is (max(waits.values()) == 0)
        if verdict.admitted:
            self.callers.take(caller, self.now)
            self.tenants.take(str(tenant), self.now)
        else:
            assert verdict.per is not None and waits[verdict.per] == verdict.retry_after

    @invariant()
    def few_are_remembered(self) -> None:
        if hasattr(self, "limiter"):
            assert [len(buckets) <= 3 for buckets in self.limiter._buckets] == [True, True]


TestAgainstTheModel = Model.TestCase
TestAgainstTheModel.settings = settings(max_examples=150, stateful_step_count=40)
