"""The circuit breaker: an agent that keeps failing is left alone for a while, then tried with one call.

*Closed*: every call goes through, and results are counted. After too many failures it *opens*: no call goes
through, for a time that doubles with each opening that no success came between. Then it is *half open*: one
call, the *probe*, goes through. Its success closes the breaker, its failure opens it again. The probe has a
lease: if it has brought no result by the end of it, it has failed then.

Each opening and each closing begins a new *generation*. A call belongs to the generation in which it went
through, and its result counts in no other: what comes late of calls from before an opening neither closes the
breaker nor keeps it open, and a probe that has lost its lease decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, Self

from intentusnet import values
from intentusnet.limits import SECOND, Breaker
from intentusnet.response import ErrorCode, ErrorInfo

Phase = Literal["closed", "open", "half_open"]

#: How a call ended, for the agent's health; "neutral" says nothing of it.
Result = Literal["success", "failure", "neutral"]

#: 2**64 nanoseconds are longer than any cap.
_DOUBLINGS: Final = 64


class BreakerState(NamedTuple):
    """What is known of one agent.

    Attributes:
        phase: open is also what is due to be half open, until somebody asks.
        generation: to be kept by whoever goes through, and handed back with the result.
        failures: so many in a row, closed.
        results: the last ones of this generation, closed: a bit each, 1 for a failure, the latest the lowest.
        calls: how many bits these are.
        openings: how many since it was closed.
        until: open: when a probe is due; half open: when the probe's lease ends.
        now: the latest point in time that was seen.
    """

    phase: Phase = "closed"
    generation: int = 0
    failures: int = 0
    results: int = 0
    calls: int = 0
    openings: int = 0
    until: int = 0
    now: int = 0


class BreakerVerdict(NamedTuple):
    """Whether a call goes through.

    Attributes:
        admitted: it does.
        probe: it is the one that decides.
        retry_after: in how many nanoseconds to ask again, if it does not.
    """

    admitted: bool
    probe: bool = False
    retry_after: int = 0

    def tree(self) -> dict[str, Any]:
        """The verdict as a raw tree."""
        return dict(values.tree(self._asdict()))

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The verdict that `tree` wrote."""
        return cls(**values.untag(tree))

    def error(self) -> ErrorInfo:
        """What a caller that does not go through is told."""
        return ErrorInfo(
            code=ErrorCode.AGENT_UNAVAILABLE,
            message="the agent has failed too often and is left alone for a while",
            details={"retry_after": self.retry_after / SECOND},
        )


def result_of(code: ErrorCode | None, settings: Breaker) -> Result:
    """What an outcome says of the agent's health.

    Args:
        code: of the failure; None for a success.
        settings: which failures count. The others are neutral.
    """
    if code is None:
        return "success"
    return "failure" if code in settings.counts else "neutral"


def admit(state: BreakerState, now: int, *, settings: Breaker) -> tuple[BreakerState, BreakerVerdict]:
    """Decides whether a call goes through; if so, it belongs to the generation of the state returned.

    Args:
        state: of the agent.
        now: nanoseconds.
        settings: the limits.
    """
    state = _at(state, now, settings)
    if state.phase == "closed":
        return state, BreakerVerdict(admitted=True)
    if state.now < state.until:
        return state, BreakerVerdict(admitted=False, retry_after=state.until - state.now)
    probing = state._replace(phase="half_open", until=state.now + settings.lease_ns)
    return probing, BreakerVerdict(admitted=True, probe=True)


def settle(
    state: BreakerState, now: int, generation: int, result: Result, *, settings: Breaker
) -> BreakerState:
    """Takes note of how a call that went through has ended.

    Args:
        state: of the agent.
        now: nanoseconds.
        generation: the one that the call belongs to.
        result: see `result_of`.
        settings: the limits.
    """
    state = _at(state, now, settings)
    if generation != state.generation:
        return state
    if state.phase == "half_open":
        return _probed(state, result, settings)
    return state if result == "neutral" else _counted(state, result, settings)


def _at(state: BreakerState, now: int, settings: Breaker) -> BreakerState:
    """The state at that time: a lease that has ended by then has been a failure."""
    state = state._replace(now=max(now, state.now))
    if state.phase == "half_open" and state.now >= state.until:
        return _opened(state, state.until, settings)
    return state


def _opened(state: BreakerState, at: int, settings: Breaker) -> BreakerState:
    duration = min(settings.open_cap_ns, settings.open_for_ns << min(state.openings, _DOUBLINGS))
    return BreakerState(
        phase="open",
        generation=state.generation + 1,
        openings=state.openings + 1,
        until=at + duration,
        now=state.now,
    )


def _probed(state: BreakerState, result: Result, settings: Breaker) -> BreakerState:
    if result == "failure":
        return _opened(state, state.now, settings)
    if result == "success":
        return BreakerState(generation=state.generation + 1, now=state.now)
    # Nothing was learnt: the next call is the probe.
    return state._replace(phase="open", generation=state.generation + 1, until=state.now)


def _counted(state: BreakerState, result: Result, settings: Breaker) -> BreakerState:
    failed = result == "failure"
    state = state._replace(
        failures=state.failures + 1 if failed else 0,
        results=(state.results << 1 | failed) & ((1 << settings.window) - 1),
        calls=min(state.calls + 1, settings.window),
    )
    return _opened(state, state.now, settings) if failed and _too_many(state, settings) else state


def _too_many(state: BreakerState, settings: Breaker) -> bool:
    if settings.failures is not None and state.failures >= settings.failures:
        return True
    rate = settings.exact_rate
    if rate is None or state.calls < settings.fewest:
        return False
    return state.results.bit_count() * rate.denominator >= state.calls * rate.numerator
