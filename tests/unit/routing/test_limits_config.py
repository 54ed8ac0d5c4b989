"""Settings of the limits: checked when they are made, exact in what they mean."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.errors import ConfigurationError
from intentusnet.limits import (
    LONGEST,
    NEVER_COUNTED,
    NEVER_RETRIED,
    Breaker,
    Concurrency,
    Limits,
    Rate,
    Retry,
    RetryBudget,
    nanoseconds,
)
from intentusnet.response import ErrorCode


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (0.1, 100_000_000),
        (0.3, 300_000_000),
        (2, 2_000_000_000),
        (1e-9, 1),
        (1.000000001, 1_000_000_001),
        (0.0000000025, 2),  # halves go to the even one
        (timedelta(days=1, seconds=2, microseconds=3), 86_402_000_003_000),
    ],
)
def test_a_duration_means_what_is_written(written: float | timedelta, meant: int) -> None:
    """Seconds become nanoseconds by their decimal form, not by the nearest binary number."""
    assert nanoseconds(written) == meant
    assert type(nanoseconds(written)) is int


@given(st.integers(min_value=0, max_value=2**50))
def test_nanoseconds_survive_as_seconds(told: int) -> None:
    """A refusal's retry_after, given in seconds, is read back to the nanosecond: up to 13 days."""
    assert nanoseconds(told / 1_000_000_000) == told


def test_two_ways_of_writing_a_duration_are_equal_settings() -> None:
    """A timedelta, an integer and a float that mean the same make the same settings."""
    same = [Retry(base=1), Retry(base=1.0), Retry(base=timedelta(seconds=1))]
    assert len(set(same)) == 1 and {retry.base_ns for retry in same} == {1_000_000_000}


def test_a_changed_copy_means_what_it_says() -> None:
    """Nothing that was asked of the first one is left in the copy."""
    retry, breaker = Retry(), Breaker(failure_rate=0.5)
    assert retry.base_ns == 100_000_000 and breaker.exact_rate is not None
    assert retry.model_copy(update={"base": 0.2}).base_ns == 200_000_000
    assert breaker.model_copy(update={"failure_rate": None}).exact_rate is None


def test_all_is_off_unless_asked_for() -> None:
    """Limits without settings limit nothing."""
    assert Limits().model_dump() == {"retry": None, "breaker": None, "rate": (), "concurrency": None}


def test_the_settings_of_every_limit_stand_together() -> None:
    """What a user writes is taken as it stands, in integers."""
    limits = Limits(
        retry=Retry(
            attempts=4, base=0.05, cap=timedelta(seconds=2), within=10, budget=RetryBudget(ratio=0.1)
        ),
        breaker=Breaker(failures=None, failure_rate=0.3, open_for=5, open_cap=60, lease=1.5),
        rate=(Rate(per="tenant", count=100, seconds=1, burst=20), Rate(per="caller", count=7)),
        concurrency=Concurrency(limit=10, queue=100, typical=0.25),
    )
    retry, breaker, (rate, other), concurrency = limits.retry, limits.breaker, limits.rate, limits.concurrency
    assert retry and breaker and concurrency and retry.budget
    assert (retry.base_ns, retry.cap_ns, retry.within_ns) == (50_000_000, 2_000_000_000, 10_000_000_000)
    assert (retry.budget.exact_ratio.numerator, retry.budget.exact_ratio.denominator) == (1, 10)
    assert (breaker.open_for_ns, breaker.open_cap_ns, breaker.lease_ns) == (
        5 * 10**9,
        60 * 10**9,
        1_500_000_000,
    )
    assert breaker.exact_rate is not None
    assert (breaker.exact_rate.numerator, breaker.exact_rate.denominator) == (3, 10)
    assert (rate.capacity, rate.period_ns, other.capacity, other.period_ns) == (20, 10**9, 7, 10**9)
    assert concurrency.typical_ns == 250_000_000


REFUSED: list[tuple[type, dict[str, Any], str, str, str]] = [
    (Retry, {"attempts": 0}, "Retry.attempts", "greater than or equal to 1", "int 0"),
    (Retry, {"attempts": True}, "Retry.attempts", "a valid integer", "bool True"),
    (Retry, {"attempts": "3"}, "Retry.attempts", "a valid integer", "str '3'"),
    (Retry, {"base": -1}, "Retry.base", "1 nanosecond to 366 days", "int -1"),
    (Retry, {"base": 0}, "Retry.base", "1 nanosecond to 366 days", "int 0"),
    (Retry, {"base": 1e-10}, "Retry.base", "1 nanosecond to 366 days", "float 1e-10"),
    (Retry, {"base": True}, "Retry.base", "a number of seconds or a timedelta", "bool True"),
    (Retry, {"base": "1"}, "Retry.base", "a number of seconds or a timedelta", "str '1'"),
    (Retry, {"base": float("nan")}, "Retry.base", "a finite number", "float nan"),
    (Retry, {"cap": float("inf")}, "Retry.cap", "a finite number", "float inf"),
    (Retry, {"cap": 10**400}, "Retry.cap", "1 nanosecond to 366 days", "int 1000"),
    (Retry, {"base": 30}, "Retry.cap", "at least base, which is 30.0", "float 20.0"),
    (Retry, {"attempt": 3}, "Retry.attempt", "attempts, base, cap, within, on, budget", "int 3"),
    (Retry, {"on": "RATE_LIMIT"}, "Retry.on", "a valid tuple", "str 'RATE_LIMIT'"),
    (Retry, {"on": ("OOPS",)}, "Retry.on[0]", "'VALIDATION_ERROR'", "str 'OOPS'"),
    (RetryBudget, {"ratio": 0}, "RetryBudget.ratio", "greater than 0", "int 0"),
    (RetryBudget, {"ratio": 1.5}, "RetryBudget.ratio", "less than or equal to 1", "float 1.5"),
    (RetryBudget, {"reserve": 0}, "RetryBudget.reserve", "greater than or equal to 1", "int 0"),
    (Breaker, {"failures": None}, "Breaker.failure_rate", "a rate, since failures is None", "None"),
    (Breaker, {"failure_rate": 0.0}, "Breaker.failure_rate", "greater than 0", "float 0.0"),
    (Breaker, {"window": 5, "minimum": 6}, "Breaker.minimum", "at most window, which is 5", "int 6"),
    (Breaker, {"open_for": 601}, "Breaker.open_cap", "at least open_for, which is 601.0", "float 600.0"),
    (Rate, {"per": "agent"}, "Rate.count", "a value", "nothing"),
    (Rate, {"per": "role", "count": 1}, "Rate.per", "'agent', 'caller' or 'tenant'", "str 'role'"),
    (Rate, {"per": "agent", "count": 1, "keys": 0}, "Rate.keys", "greater than or equal to 1", "int 0"),
    (Concurrency, {"limit": 1, "queue": -1}, "Concurrency.queue", "greater than or equal to 0", "int -1"),
    (Limits, {"rate": (Rate(per="agent", count=1), 5)}, "Limits.rate[1]", "instance of Rate", "int 5"),
    (Limits, {"rate": Rate(per="agent", count=1)}, "Limits.rate", "a tuple, such as", "Rate"),
    (Limits, {"rate": ({"per": "agent", "count": 0},)}, "Rate.count", "greater than or equal to 1", "int 0"),
]


@pytest.mark.parametrize(("kind", "settings", "where", "expected", "got"), REFUSED)
def test_a_setting_that_makes_no_sense_is_named(
    kind: type, settings: dict[str, Any], where: str, expected: str, got: str
) -> None:
    """The error says where it stands, what would have been right, and what was found."""
    with pytest.raises(ConfigurationError) as fault:
        kind(**settings)
    assert fault.value.where == where
    assert expected in fault.value.expected
    assert got in fault.value.got


def test_all_faults_are_counted() -> None:
    """The first fault is told, and how many others there are."""
    with pytest.raises(ConfigurationError, match=r"\(and 2 more\); at Rate.per"):
        Rate(per="role", count=0, seconds=-1)  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("code", sorted(NEVER_RETRIED))
def test_what_must_not_be_repeated_cannot_be_asked_for(code: ErrorCode) -> None:
    """No setting makes a retry follow something in doubt, denied, cancelled or invalid."""
    with pytest.raises(ConfigurationError, match=f"none of .*; {code} is"):
        Retry(on=(code,))


@pytest.mark.parametrize("code", sorted(NEVER_COUNTED))
def test_what_says_nothing_of_health_cannot_be_counted(code: ErrorCode) -> None:
    """No setting makes a request's own fault open a breaker."""
    with pytest.raises(ConfigurationError, match=f"none of .*; {code} is"):
        Breaker(counts=(code,))


def test_the_codes_that_the_page_names_are_never_repeated_or_counted() -> None:
    """Neither list lacks what it exists for."""
    assert {"IN_DOUBT", "POLICY_DENIAL", "CANCELLED", "VALIDATION_ERROR"} <= NEVER_RETRIED
    assert {"POLICY_DENIAL", "CANCELLED", "VALIDATION_ERROR"} <= NEVER_COUNTED
    assert "IN_DOUBT" in Breaker().counts and "AGENT_ERROR" not in Retry().on


def test_codes_are_a_set() -> None:
    """Order and repetition of codes make no other settings."""
    one = Retry(on=(ErrorCode.TRANSPORT_ERROR, ErrorCode.AGENT_ERROR, ErrorCode.TRANSPORT_ERROR))
    assert one == Retry(on=(ErrorCode.AGENT_ERROR, ErrorCode.TRANSPORT_ERROR))


def test_settings_do_not_change() -> None:
    """Whoever holds settings holds them as they were made."""
    with pytest.raises(ValueError, match="frozen"):
        Retry().attempts = 5  # type: ignore[misc]  # the point of the test


def test_the_longest_duration_is_a_year() -> None:
    """366 days are taken, a nanosecond more is not."""
    assert nanoseconds(Retry(cap=timedelta(days=366)).cap) == LONGEST
    with pytest.raises(ConfigurationError):
        Retry(cap=timedelta(days=366, microseconds=1))
