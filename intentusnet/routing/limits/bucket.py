"""Rates: a token bucket for each agent, caller or tenant, as the generic cell rate algorithm (GCRA) keeps it.

A bucket of `burst` tokens into which `count` flow in `period` nanoseconds is one number, its *theoretical
arrival time*: when it will be full again if nobody takes a token (ITU-T I.371, "virtual scheduling"). A call
puts it off by ``period / count``, and goes through if that leaves it at most ``burst * period / count`` ahead
of now. The number is kept times `count`, so that nothing is ever rounded, and there is no drift. In any
stretch of w nanoseconds, no more than ``burst + w * count // period`` calls of a key go through.

State is bounded. When there are as many buckets as may be, a new key takes over the fullest one, the one with
the lowest number, as it is; the key that it belonged to is forgotten. If it is full, nothing is lost by that.
Else nobody gains by it: numbers only grow, and the bucket that is taken over has the lowest of all, so there
is never again a lower one. A key that was forgotten will find one with at least the number that it left, and
a higher number lets through no call that a lower one would refuse. And a bucket lets through no more than the
rate and the burst, whomever it belongs to: so all keys together, however many are made up, get no more than
`keys` times that.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from intentusnet import values
from intentusnet.limits import SECOND, Rate
from intentusnet.response import ErrorCode, ErrorInfo


class RateVerdict(NamedTuple):
    """Whether a call goes through.

    Attributes:
        admitted: it does, and has taken a token of each bucket.
        retry_after: in how many nanoseconds there will be a token in each, if nobody else takes it.
        per: which bucket that takes the longest for; None if the call goes through.
    """

    admitted: bool
    retry_after: int = 0
    per: str | None = None

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
            code=ErrorCode.RATE_LIMIT,
            message=f"the rate for this {self.per} is used up",
            details={"per": self.per, "retry_after": self.retry_after / SECOND},
        )


def step(arrival: int, now: int, *, settings: Rate) -> tuple[int, int]:
    """Takes a token from a bucket, if there is one.

    Args:
        arrival: the bucket's theoretical arrival time, in nanoseconds times `settings.count`.
        now: nanoseconds.
        settings: the limits.

    Returns:
        The bucket's next arrival time, and 0; or, if there is no token, the old one and in how many
        nanoseconds there is.
    """
    scaled = now * settings.count
    following = max(arrival, scaled) + settings.period_ns
    ahead = following - scaled - settings.capacity * settings.period_ns
    if ahead > 0:
        return arrival, -(-ahead // settings.count)
    return following, 0


class Buckets:
    """The buckets of one rate: state, of `settings.keys` entries at most. Not for several threads at once.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: Rate) -> None:
        self.settings = settings
        self._arrivals: dict[str, int] = {}
        # Each key once, by an arrival time that it has had: it has only grown since.
        self._order: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._arrivals)

    def wait(self, key: str, now: int) -> int:
        """In how many nanoseconds there is a token for the key; 0 if there is one. Changes nothing."""
        return step(self._arrival(key), now, settings=self.settings)[1]

    def take(self, key: str, now: int) -> int:
        """Takes a token for the key if there is one.

        Returns:
            0, or in how many nanoseconds there is one.
        """
        arrival, wait = step(self._arrival(key), now, settings=self.settings)
        if wait:
            return wait
        if key not in self._arrivals:
            if len(self) == self.settings.keys:  # then the first in order is the one taken over
                _, forgotten = heapq.heapreplace(self._order, (arrival, key))
                del self._arrivals[forgotten]
            else:
                heapq.heappush(self._order, (arrival, key))
        self._arrivals[key] = arrival
        return 0

    def _arrival(self, key: str) -> int:
        """Of the bucket that the key has, or takes over: of two that are equally full, by its key."""
        if key in self._arrivals:
            return self._arrivals[key]
        return self._fullest() if len(self) == self.settings.keys else 0

    def _fullest(self) -> int:
        # Each entry that is out of date was made so by a call, and is looked at once for it.
        while (arrival := self._arrivals[self._order[0][1]]) != self._order[0][0]:
            heapq.heapreplace(self._order, (arrival, self._order[0][1]))
        return arrival


class Rates:
    """The buckets of several rates, of which a call needs a token each. Not for several threads at once.

    Args:
        settings: the limits.
        shared: others, whose buckets a call needs a token of, too.
    """

    def __init__(self, settings: Sequence[Rate], shared: Rates | None = None) -> None:
        others = () if shared is None else shared._buckets
        self._buckets: list[Buckets] = [*others, *(Buckets(rate) for rate in settings)]
        self._now = 0

    def step(self, now: int, *, agent: str, caller: str, tenant: str | None) -> RateVerdict:
        """Takes a token from each bucket of the call, or none at all.

        Args:
            now: nanoseconds.
            agent, caller, tenant: whose buckets.
        """
        self._now = max(now, self._now)
        keys = {"agent": agent, "caller": caller, "tenant": tenant or ""}  # no tenant's name is empty
        asked = [(buckets, buckets.settings.per) for buckets in self._buckets]
        waits = [(buckets.wait(keys[per], self._now), per) for buckets, per in asked]
        longest, slowest = max(waits, key=lambda wait: wait[0], default=(0, None))
        if longest:
            return RateVerdict(admitted=False, retry_after=longest, per=slowest)
        for buckets, per in asked:
            buckets.take(keys[per], self._now)
        return RateVerdict(admitted=True)
