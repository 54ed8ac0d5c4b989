"""`Ledger`: what has been used up of late, in the sums that policies compare.

A budget's window slides in steps of a 64th of its length: usage is added up by the step in which it was told,
and steps that have left the window are taken off. So a sum costs the same however much there is in it, and
has everything that lies in the window, and nothing that lies more than two steps before it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Final, NamedTuple

from intentusnet.policy.rules import Budget
from intentusnet.sums import Number, as_number

#: Steps in which a window slides.
STEPS: Final = 64
#: Sums that a ledger keeps: each has a few hundred bytes, and a few thousand at most.
MOST_SUMS: Final = 65_536
#: A full ledger looks for sums that have run out at most that often, in microseconds.
_LOOKS_EVERY: Final = 1_000_000


class Whose(NamedTuple):
    """What executions have to have in common with a request, by the scopes of budgets."""

    caller: str
    tenant: str | None
    intent: str

    def of(self, scope: str) -> str | None:
        """What it is in one scope; None if it has not been stated."""
        found: str | None = getattr(self, scope)
        return found


def step_of(budget: Budget, at_us: int) -> int:
    """The step of a budget's window that a point in time lies in."""
    return at_us // -(-budget.window_us // STEPS)


class _Sum:
    """The sum of one window; mutable, guarded by its ledger's lock.

    It never slides back: what is told late is added where it belongs, or nowhere if that has left the window.

    Args:
        lost: the last step of which something may be missing, because there was no room for this sum; None
            if nothing is.
    """

    __slots__ = ("lost", "newest", "steps", "total")

    def __init__(self, lost: int | None) -> None:
        self.lost = lost
        self.newest = 0
        self.steps: dict[int, Fraction] = {}
        self.total = Fraction()

    def slide(self, step: int) -> None:
        """Takes off what leaves the window when it ends with that step."""
        if step <= self.newest:
            return
        self.newest = step
        for old in [old for old in self.steps if old < step - STEPS]:
            self.total -= self.steps.pop(old)

    def add(self, step: int, count: Number) -> None:
        """Adds what was told in that step."""
        self.slide(step)
        if step >= self.newest - STEPS:
            self.steps[step] = self.steps.get(step, Fraction()) + Fraction(count)
            self.total += Fraction(count)


class Ledger:
    """Sums of usage by budget and by whose it is; mutable, for any number of threads.

    Args:
        budgets: what is added up.
        most: so many sums are kept. Of whoever comes when there are as many, nothing is known until the
            window has passed.
    """

    def __init__(self, budgets: Iterable[Budget], most: int = MOST_SUMS) -> None:
        self._budgets = tuple(budgets)
        self._most = most
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, str], _Sum] = {}
        self._looked_us = -_LOOKS_EVERY
        #: The last step in which something was told of a budget for which there was no room.
        self._lost: dict[str, int] = {}

    def add(self, at_us: int, whose: Whose, usage: Mapping[str, Number]) -> None:
        """Adds what an execution used up.

        Args:
            at_us: when it ended, in microseconds since 1970-01-01 UTC.
            whose: what it was asked for, and by whom.
            usage: finite numbers by name, as of `ExecutionRecord.usage`.
        """
        with self._lock:
            for budget in self._budgets:
                key = whose.of(budget.scope)
                if key is None or budget.usage not in usage:
                    continue
                step = step_of(budget, at_us)
                found = self._sums.get((budget.name, key)) or self._made(budget, key, at_us)
                if found is None:
                    self._lost[budget.name] = max(step, self._lost.get(budget.name, 0))
                else:
                    found.add(step, usage[budget.usage])

    def sums(self, at_us: int, whose: Whose) -> dict[str, Number | None]:
        """The sums that a request is held against, by the names of their budgets.

        Args:
            at_us: the end of all windows, in microseconds since 1970-01-01 UTC.
            whose: what is asked for, and by whom. None are the sums of a tenant that was not stated, and
                those of which nothing is known because the ledger was full.
        """
        with self._lock:
            return {
                budget.name: self._sum_of(budget, at_us, whose.of(budget.scope)) for budget in self._budgets
            }

    def _sum_of(self, budget: Budget, at_us: int, key: str | None) -> Number | None:
        if key is None:
            return None
        step = step_of(budget, at_us)
        found = self._sums.get((budget.name, key))
        lost = self._lost.get(budget.name) if found is None else found.lost
        if lost is not None and lost >= step - STEPS:
            return None
        if found is None:
            return 0
        found.slide(step)
        return as_number(found.total)

    def _made(self, budget: Budget, key: str, at_us: int) -> _Sum | None:
        if len(self._sums) >= self._most:
            self._drop_empty(at_us)
            if len(self._sums) >= self._most:
                return None
        return self._sums.setdefault((budget.name, key), _Sum(self._lost.get(budget.name)))

    def _drop_empty(self, at_us: int) -> None:
        if at_us - self._looked_us < _LOOKS_EVERY:
            return
        self._looked_us = at_us
        steps = {budget.name: step_of(budget, at_us) for budget in self._budgets}
        for name, key in list(self._sums):
            found = self._sums[name, key]
            found.slide(steps[name])
            if not found.steps:
                del self._sums[name, key]
