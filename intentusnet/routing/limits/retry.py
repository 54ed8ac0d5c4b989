"""Retries: exponential backoff with full jitter, for failures that may be followed by another call.

The delay before a retry lies anywhere between 0 and ``min(cap, base * 2**n)``, where n retries came before:
"full jitter", which spreads callers that failed together further than any other kind (Brooker, "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015). What is drawn is no chance but SHA-256 of execution, scope
and attempt: the same on every machine, and again when the execution is resumed.

A retry repeats what the agent does to the world. So there is none after something in doubt, and none of an
agent that is neither read-only nor idempotent, unless it said that it did nothing by raising cleanly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final, NamedTuple, Self

from intentusnet import values
from intentusnet.agents import AgentDefinition
from intentusnet.limits import Retry, RetryBudget, nanoseconds
from intentusnet.response import ErrorCode, ErrorInfo

_JITTER: Final = b"intentusnet-jitter-v1"

#: 2**64 nanoseconds are longer than any cap.
_DOUBLINGS: Final = 64


class Failure(NamedTuple):
    """What a retry depends on of a call that failed.

    Attributes:
        code: what kind of failure it was.
        repeatable: calling again does no harm, whatever happened: the agent is read-only or idempotent.
        clean: it did not happen: the agent raised, or was never called. Not so if it was cut off.
        retry_after: what the failure says of when to come back, in nanoseconds.
    """

    code: ErrorCode
    repeatable: bool
    clean: bool
    retry_after: int = 0

    @classmethod
    def of(cls, error: ErrorInfo, agent: AgentDefinition, *, clean: bool) -> Self:
        """The failure that an error of this agent is; `clean` as above."""
        repeatable = agent.side_effect == "read_only" or agent.idempotent
        return cls(error.code, repeatable, clean, retry_after(error.details))


def retry_after(details: Mapping[str, Any]) -> int:
    """``details["retry_after"]``, a number of seconds, in nanoseconds; 0 if it is none, or below 0."""
    try:
        return max(0, nanoseconds(details.get("retry_after", 0)))
    except ValueError:
        return 0


class RetryState(NamedTuple):
    """What is known of the calls of one agent in one execution.

    Attributes:
        began: when the first call began.
        calls: how many were made.
        now: the latest point in time that was seen.
    """

    began: int
    calls: int = 1
    now: int = 0


class RetryVerdict(NamedTuple):
    """Whether the agent is called again.

    Attributes:
        again: it is, after `delay`.
        delay: how long to wait first, in nanoseconds.
        reason: why it is not: ``code``, ``unsafe``, ``attempts``, ``retry_after``, ``within``, ``deadline``
            or ``budget``.
    """

    again: bool
    delay: int = 0
    reason: str | None = None

    def tree(self) -> dict[str, Any]:
        """The verdict as a raw tree."""
        return dict(values.tree(self._asdict()))

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The verdict that `tree` wrote."""
        return cls(**values.untag(tree))


def step(
    state: RetryState,
    now: int,
    failure: Failure,
    *,
    settings: Retry,
    execution_id: str,
    scope: str,
    deadline: int | None = None,
) -> tuple[RetryState, RetryVerdict]:
    """Decides what follows a call that has failed.

    Args:
        state: of the calls so far, that one included.
        now: nanoseconds.
        failure: how it failed.
        settings: the limits.
        execution_id, scope: where the agent was called.
        deadline: no retry begins at or after this point in time.
    """
    state = state._replace(now=max(now, state.began, state.now))
    reason = _objection(failure, state, settings)
    if reason is not None:
        return state, RetryVerdict(again=False, reason=reason)
    longest = _longest_delay(settings, state.calls - 1)
    delay = failure.retry_after + jitter(execution_id, scope, state.calls, longest)
    begins = state.now + delay
    if settings.within_ns is not None and begins > state.began + settings.within_ns:
        return state, RetryVerdict(again=False, reason="within")
    if deadline is not None and begins >= deadline:
        return state, RetryVerdict(again=False, reason="deadline")
    return state._replace(calls=state.calls + 1), RetryVerdict(again=True, delay=delay)


def _objection(failure: Failure, state: RetryState, settings: Retry) -> str | None:
    if failure.code not in settings.on:
        return "code"
    # What timed out was cut off, whatever is said of it.
    clean = failure.clean and failure.code is not ErrorCode.AGENT_TIMEOUT
    if not (failure.repeatable or clean):
        return "unsafe"
    if state.calls >= settings.attempts:
        return "attempts"
    return "retry_after" if failure.retry_after > settings.cap_ns else None


def _longest_delay(settings: Retry, retries: int) -> int:
    return min(settings.cap_ns, settings.base_ns << min(retries, _DOUBLINGS))


def jitter(execution_id: str, scope: str, attempt: int, longest: int) -> int:
    """A number from 0 to `longest`, both included, that looks drawn at random and is not.

    It is ``SHA-256(…) * (longest + 1) // 2**256``, the hash as a big-endian number, of the netstrings of
    ``intentusnet-jitter-v1``, the execution's id, the scope and the attempt in decimal, one after another. No
    number is likelier than another by more than ``longest`` in 2**256.
    """
    parts = (
        _JITTER,
        *(text.encode("utf-8", "surrogatepass") for text in (execution_id, scope, str(attempt))),
    )
    told = b"".join(b"%d:%b," % (len(part), part) for part in parts)
    return int.from_bytes(hashlib.sha256(told).digest(), "big") * (longest + 1) >> 256


def full_budget(settings: RetryBudget) -> Fraction:
    """What a budget holds at the start, in retries."""
    return Fraction(settings.reserve)


def pay_in(budget: Fraction, settings: RetryBudget) -> Fraction:
    """The budget after a first call."""
    return min(full_budget(settings), budget + settings.exact_ratio)


def spend(budget: Fraction, verdict: RetryVerdict) -> tuple[Fraction, RetryVerdict]:
    """Pays for a retry, or refuses it for lack of budget; a verdict against one costs nothing."""
    if not verdict.again:
        return budget, verdict
    if budget < 1:
        return budget, RetryVerdict(again=False, reason="budget")
    return budget - 1, verdict
