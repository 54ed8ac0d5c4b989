"""Bounded concurrency: so many calls at once, and a bounded queue of those that wait.

Who waits is ordered by priority, the higher first, then by arrival. Nobody who waits is sent away for one who
comes later, and nobody gains priority by waiting: as long as calls of a higher priority keep coming, the
others wait until their deadline. A full queue refuses whoever comes, whatever its priority.

How long a call lasts is estimated as TCP estimates a round trip (RFC 6298, section 2): each duration counts
for an eighth. The average is kept times eight, so that nothing gets lost in rounding.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self

from intentusnet import values
from intentusnet.limits import SECOND, Concurrency
from intentusnet.response import ErrorCode, ErrorInfo


class Running(NamedTuple):
    """A call that has its place: its ticket, and since when."""

    ticket: int
    since: int


class Waiting(NamedTuple):
    """A call that waits: a lower rank is served first, then a lower ticket.

    Attributes:
        rank: its priority, negated.
        ticket: names it.
        deadline: it waits until then; None for as long as it takes.
    """

    rank: int
    ticket: int
    deadline: int | None


class ConcurrencyState(NamedTuple):
    """Who runs, and who waits. Nobody waits while there is a place.

    Attributes:
        running: in the order in which they began.
        waiting: in the order in which they are served.
        issued: the last ticket that was given out.
        average: of the durations of calls, in nanoseconds times eight.
        now: the latest point in time that was seen.
    """

    running: tuple[Running, ...]
    waiting: tuple[Waiting, ...]
    issued: int
    average: int
    now: int


class ConcurrencyVerdict(NamedTuple):
    """What becomes of a call.

    Attributes:
        decision: it is "admitted", has to wait ("queued"), or is "refused".
        place: how many have to be served until it is, itself included; 0 if it did not wait.
        estimate: how long that may take, in nanoseconds.
        retry_after: in how many nanoseconds to come back, if it was refused.
    """

    decision: Literal["admitted", "queued", "refused"]
    place: int = 0
    estimate: int = 0
    retry_after: int = 0

    def tree(self) -> dict[str, Any]:
        """The verdict as a raw tree."""
        return dict(values.tree(self._asdict()))

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The verdict that `tree` wrote."""
        return cls(**values.untag(tree))

    def error(self) -> ErrorInfo:
        """What a caller that is refused is told."""
        return ErrorInfo(
            code=ErrorCode.RATE_LIMIT,
            message="as many calls as may run and wait at once are there already",
            details={"retry_after": self.retry_after / SECOND},
        )


class Changed(NamedTuple):
    """Whom a step concerned beside the one that took it, by ticket.

    Attributes:
        granted: they waited and may run now, in the order in which they were served.
        expired: they waited until their deadline, and no longer do.
    """

    granted: tuple[int, ...] = ()
    expired: tuple[int, ...] = ()


def idle(settings: Concurrency) -> ConcurrencyState:
    """The state at the start: nobody runs, nobody waits."""
    return ConcurrencyState((), (), 0, settings.typical_ns * 8, 0)


def enter(
    state: ConcurrencyState,
    now: int,
    *,
    settings: Concurrency,
    priority: int = 0,
    deadline: int | None = None,
) -> tuple[ConcurrencyState, ConcurrencyVerdict, Changed]:
    """A call comes. Unless it is refused, its ticket is `issued` of the state returned.

    Args:
        state: the state.
        now: nanoseconds.
        settings: the limits.
        priority: higher is served first.
        deadline: it waits until then.
    """
    state, expired = _without_expired(state, now)
    changed = Changed(expired=expired)
    ticket = state.issued + 1
    if len(state.running) < settings.limit:
        running = (*state.running, Running(ticket, state.now))
        return state._replace(running=running, issued=ticket), ConcurrencyVerdict("admitted"), changed
    late = deadline is not None and deadline <= state.now
    if late or len(state.waiting) >= settings.queue:
        return (
            state,
            ConcurrencyVerdict("refused", retry_after=max(1, _estimate(state, 1, settings))),
            changed,
        )
    # Tickets grow, so it comes to stand behind all of its priority, and deadlines are never compared.
    index = bisect_right(state.waiting, (-priority, ticket), key=lambda waiter: waiter[:2])
    waiting = (*state.waiting[:index], Waiting(-priority, ticket, deadline), *state.waiting[index:])
    verdict = ConcurrencyVerdict("queued", place=index + 1, estimate=_estimate(state, index + 1, settings))
    return state._replace(waiting=waiting, issued=ticket), verdict, changed


def leave(
    state: ConcurrencyState, now: int, ticket: int, *, settings: Concurrency
) -> tuple[ConcurrencyState, Changed]:
    """A call has ended, or no longer waits; one that is not there (any more) changes nothing.

    Args:
        state: the state.
        now: nanoseconds.
        ticket: whose.
        settings: the limits.
    """
    if any(waiter.ticket == ticket for waiter in state.waiting):
        state = state._replace(waiting=tuple([w for w in state.waiting if w.ticket != ticket]))
    state, expired = _without_expired(state, now)
    ended = [call for call in state.running if call.ticket == ticket]
    for call in ended:
        average = state.average + (state.now - call.since) - state.average // 8
        running = tuple([other for other in state.running if other != call])
        state = state._replace(running=running, average=average)
    free = max(0, settings.limit - len(state.running))
    granted = tuple([waiter.ticket for waiter in state.waiting[:free]])
    running = (*state.running, *(Running(other, state.now) for other in granted))
    return state._replace(running=running, waiting=state.waiting[free:]), Changed(granted, expired)


def _without_expired(state: ConcurrencyState, now: int) -> tuple[ConcurrencyState, tuple[int, ...]]:
    now = max(now, state.now)
    expired = tuple([w.ticket for w in state.waiting if w.deadline is not None and w.deadline <= now])
    if expired:
        kept = tuple([w for w in state.waiting if w.deadline is None or w.deadline > now])
        state = state._replace(waiting=kept)
    return state._replace(now=now), expired


def _estimate(state: ConcurrencyState, place: int, settings: Concurrency) -> int:
    """How long until so many have been served, if each place takes as long as calls do on average."""
    return state.average // 8 * place // settings.limit
