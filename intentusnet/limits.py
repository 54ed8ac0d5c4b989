"""The limits as a user writes them: frozen settings, checked when they are made.

Durations are written in seconds, as a number or a ``timedelta``, and kept as the number that was written.
What the steps of ``routing.limits`` use are integers: whole nanoseconds (``…_ns``) and exact fractions, both
of what is written and not of the nearest binary number.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ValidationInfo

from intentusnet.errors import ConfigurationError
from intentusnet.refusals import describe
from intentusnet.response import ErrorCode

SECOND: Final = 1_000_000_000

#: Longer ones are slips, such as milliseconds written for seconds.
LONGEST: Final = 366 * 86_400 * SECOND

#: A repetition would be answered the same, or must not be made at all.
NEVER_RETRIED: Final = frozenset(
    {
        ErrorCode.CANCELLED,
        ErrorCode.CAPABILITY_NOT_FOUND,
        ErrorCode.IN_DOUBT,
        ErrorCode.PAYLOAD_TOO_LARGE,
        ErrorCode.POLICY_DENIAL,
        ErrorCode.VALIDATION_ERROR,
        ErrorCode.WORKFLOW_ABORTED,
    }
)

#: They say something of the request or of the router, and nothing of the agent's health.
NEVER_COUNTED: Final = frozenset(
    {
        ErrorCode.CANCELLED,
        ErrorCode.CAPABILITY_NOT_FOUND,
        ErrorCode.PAYLOAD_TOO_LARGE,
        ErrorCode.POLICY_DENIAL,
        ErrorCode.ROUTING_ERROR,
        ErrorCode.VALIDATION_ERROR,
        ErrorCode.WORKFLOW_ABORTED,
    }
)


def nanoseconds(seconds: object) -> int:
    """Seconds (int, float or timedelta) as whole nanoseconds, the nearest to what is written: 0.1 is 10**8.

    Raises:
        ValueError: it is none of these, or not finite.
    """
    if isinstance(seconds, timedelta):
        return (seconds.days * 86_400 + seconds.seconds) * SECOND + seconds.microseconds * 1000
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ValueError("a number of seconds or a timedelta")
    return round(_written(seconds) * SECOND)


def _written(number: float) -> Fraction:
    """The number as its shortest decimal form says it, which is what somebody wrote."""
    try:
        return Fraction(int(number) if isinstance(number, int) else repr(float(number)))
    except ValueError:
        raise ValueError("a finite number") from None


def _seconds(value: object) -> float:
    if not 0 < nanoseconds(value) <= LONGEST:
        raise ValueError("a duration of 1 nanosecond to 366 days, in seconds or as a timedelta")
    return value.total_seconds() if isinstance(value, timedelta) else float(value)  # type: ignore[arg-type]  # a number, says nanoseconds


def _sorted(codes: Iterable[ErrorCode]) -> tuple[ErrorCode, ...]:
    return tuple(sorted(set(codes)))


# Settings are few and asked for at each step; what was checked is hashable.
_known_nanoseconds = lru_cache(maxsize=1024)(nanoseconds)
_known_fraction = lru_cache(maxsize=1024)(_written)

Seconds = Annotated[float | timedelta, PlainValidator(_seconds)]
Codes = Annotated[tuple[ErrorCode, ...], AfterValidator(_sorted)]
Share = Annotated[float, Field(strict=True, gt=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as fault:
            raise _refused(type(self), fault) from fault


def _refused(kind: type[BaseModel], fault: ValidationError) -> ConfigurationError:
    first, *others = fault.errors(include_url=False)
    more = f" (and {len(others)} more)" if others else ""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return ConfigurationError(
        f"a setting of the limits makes no sense{more}",
        where=kind.__name__ + path,
        expected=_expectation(kind, first),
        got="nothing" if first["type"] == "missing" else describe(first["input"]),
    )


def _expectation(kind: type[BaseModel], error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return f"one of {', '.join(kind.model_fields)}"
    if error["type"] == "missing":
        return "a value"
    return error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")


class RetryBudget(_Settings):
    """How many retries all executions together may make, so that a failing agent is not stormed.

    Args:
        ratio: what each first call pays in, as a part of a retry: 0.2 lets a fifth of the calls be repeated.
        reserve: how many retries can be saved up, and are there at the start.
    """

    ratio: Share = 0.2
    reserve: Count = 10

    @property
    def exact_ratio(self) -> Fraction:
        """The ratio as it is written."""
        return _known_fraction(self.ratio)


class Retry(_Settings):
    """Calling an agent again after it has failed.

    Args:
        attempts: how many calls are made at most, the first one included.
        base: the longest delay before the first retry, in seconds; it doubles with each further one.
        cap: the longest that it grows to, and the longest ``retry_after`` that is waited for.
        within: a retry begins no later than this after the first call began; None for any time.
        on: the codes of failures that are followed by a retry.
        budget: a bound on the retries of all executions together.

    Raises:
        ConfigurationError: a value makes no sense.
    """

    attempts: Annotated[int, Field(strict=True, ge=1, le=1000)] = 3
    base: Seconds = 0.1
    cap: Seconds = 20.0
    within: Seconds | None = None
    on: Codes = (
        ErrorCode.AGENT_TIMEOUT,
        ErrorCode.AGENT_UNAVAILABLE,
        ErrorCode.RATE_LIMIT,
        ErrorCode.TRANSPORT_ERROR,
    )
    budget: RetryBudget | None = None

    @field_validator("cap")
    @classmethod
    def _no_less_than_base(cls, cap: float, info: ValidationInfo) -> float:
        if cap < info.data.get("base", cap):
            raise ValueError(f"at least base, which is {info.data['base']}")
        return cap

    @field_validator("on")
    @classmethod
    def _may_be_retried(cls, codes: tuple[ErrorCode, ...]) -> tuple[ErrorCode, ...]:
        return _without(NEVER_RETRIED, codes)

    @property
    def base_ns(self) -> int:
        """`base` in nanoseconds."""
        return _known_nanoseconds(self.base)

    @property
    def cap_ns(self) -> int:
        """`cap` in nanoseconds."""
        return _known_nanoseconds(self.cap)

    @property
    def within_ns(self) -> int | None:
        """`within` in nanoseconds."""
        return None if self.within is None else _known_nanoseconds(self.within)


class Breaker(_Settings):
    """Not calling an agent for a while after it has failed too often.

    Args:
        failures: opens after that many in a row; None for any number.
        failure_rate: opens when so large a part of the last calls has failed; None for any.
        window: how many last calls those are.
        minimum: no rate of fewer calls than these says anything; None for a full window.
        open_for: how long it stays open the first time, in seconds; twice as long each time that the probe
            fails.
        open_cap: the longest that this grows to.
        lease: a probe without a result for so long has failed.
        counts: the codes of failures that count.

    Raises:
        ConfigurationError: a value makes no sense.
    """

    failures: Count | None = 5
    failure_rate: Share | None = None
    window: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 20
    minimum: Count | None = None
    open_for: Seconds = 30.0
    open_cap: Seconds = 600.0
    lease: Seconds = 60.0
    counts: Codes = (
        ErrorCode.AGENT_ERROR,
        ErrorCode.AGENT_TIMEOUT,
        ErrorCode.AGENT_UNAVAILABLE,
        ErrorCode.IN_DOUBT,
        ErrorCode.INTERNAL_AGENT_ERROR,
        ErrorCode.PROTOCOL_ERROR,
        ErrorCode.TRANSPORT_ERROR,
    )

    @field_validator("failure_rate")
    @classmethod
    def _opens_for_something(cls, rate: float | None, info: ValidationInfo) -> float | None:
        if rate is None and info.data.get("failures", 0) is None:
            raise ValueError("a rate, since failures is None")
        return rate

    @field_validator("minimum")
    @classmethod
    def _fits_into_the_window(cls, minimum: int | None, info: ValidationInfo) -> int | None:
        if minimum is not None and minimum > info.data.get("window", minimum):
            raise ValueError(f"at most window, which is {info.data['window']}")
        return minimum

    @field_validator("open_cap")
    @classmethod
    def _no_less_than_open_for(cls, cap: float, info: ValidationInfo) -> float:
        if cap < info.data.get("open_for", cap):
            raise ValueError(f"at least open_for, which is {info.data['open_for']}")
        return cap

    @field_validator("counts")
    @classmethod
    def _may_count(cls, codes: tuple[ErrorCode, ...]) -> tuple[ErrorCode, ...]:
        return _without(NEVER_COUNTED, codes)

    @property
    def fewest(self) -> int:
        """How many calls a rate takes to be one."""
        return self.window if self.minimum is None else self.minimum

    @property
    def exact_rate(self) -> Fraction | None:
        """`failure_rate` as it is written."""
        return None if self.failure_rate is None else _known_fraction(self.failure_rate)

    @property
    def open_for_ns(self) -> int:
        """`open_for` in nanoseconds."""
        return _known_nanoseconds(self.open_for)

    @property
    def open_cap_ns(self) -> int:
        """`open_cap` in nanoseconds."""
        return _known_nanoseconds(self.open_cap)

    @property
    def lease_ns(self) -> int:
        """`lease` in nanoseconds."""
        return _known_nanoseconds(self.lease)


class Rate(_Settings):
    """No more than so many calls in so much time: a token bucket for each agent, caller or tenant.

    Args:
        per: what has a bucket of its own; all callers without a tenant share one.
        count: how many tokens flow into a bucket in `seconds`; a call takes one.
        seconds: the time that `count` is for.
        burst: how many tokens a bucket holds; None for `count`.
        keys: how many buckets are remembered at once.

    Raises:
        ConfigurationError: a value makes no sense.
    """

    per: Literal["agent", "caller", "tenant"]
    count: Count
    seconds: Seconds = 1.0
    burst: Count | None = None
    keys: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 10_000

    @property
    def period_ns(self) -> int:
        """`seconds` in nanoseconds."""
        return _known_nanoseconds(self.seconds)

    @property
    def capacity(self) -> int:
        """How many tokens a bucket holds."""
        return self.count if self.burst is None else self.burst


class Concurrency(_Settings):
    """No more than so many calls at once; further ones wait in a bounded queue.

    Args:
        limit: how many calls run at once.
        queue: how many wait; 0 for none.
        typical: how long a call is taken to last, in seconds, before any was measured.

    Raises:
        ConfigurationError: a value makes no sense.
    """

    limit: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    queue: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 0
    typical: Seconds = 1.0

    @property
    def typical_ns(self) -> int:
        """`typical` in nanoseconds."""
        return _known_nanoseconds(self.typical)


class Limits(_Settings):
    """All limits of an agent, or of a runtime; what is left out is off.

    Args:
        retry: whether, and when, a call that has failed is repeated; a runtime's is for agents without one.
        breaker: leaves an agent alone that keeps failing; a runtime's is for agents without one.
        rate: how often calls are made; a call needs a token of each, the runtime's and the agent's.
        concurrency: how many calls of the agent run at once; of a runtime, how many executions that no other
            one has asked for.

    Raises:
        ConfigurationError: a value makes no sense.
    """

    retry: Retry | None = None
    breaker: Breaker | None = None
    rate: tuple[Rate, ...] = ()
    concurrency: Concurrency | None = None

    @field_validator("rate", mode="before")
    @classmethod
    def _several(cls, rates: object) -> object:
        if isinstance(rates, Rate):  # pydantic would take it for the tuple of its fields
            raise ValueError("a tuple, such as rate=(Rate(...),)")
        return rates


def _without(forbidden: frozenset[ErrorCode], codes: tuple[ErrorCode, ...]) -> tuple[ErrorCode, ...]:
    if refused := [code for code in codes if code in forbidden]:
        raise ValueError(f"none of {', '.join(sorted(forbidden))}; {', '.join(refused)} is")
    return codes
