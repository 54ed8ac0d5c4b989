"""Totals: how many executions there are, how they ended and what they used up, by what they have in common.

A store is gone through page by page, so that memory grows with the number of names, not with that of
executions. What they used up stands in their entries, so that it costs several times as much to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final, Literal, TypeAlias, get_args

from intentusnet.stores.base import EVERYTHING, MAX_LIMIT, STATUSES, ExecutionStore, Query, Row
from intentusnet.stores.finding import summarise
from intentusnet.sums import Number, as_number

By: TypeAlias = Literal["intent", "agent", "caller", "tenant", "status"]

BYS: Final[tuple[By, ...]] = get_args(By)
#: Records that are in memory at once.
_AT_ONCE: Final = 100

_Names: TypeAlias = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Total:
    """Executions that have something in common.

    Attributes:
        executions: how many.
        statuses: how many with each status.
        usage: what they used up (`Context.usage`), by name; None if nobody asked.
    """

    executions: int
    statuses: dict[str, int]
    usage: dict[str, Number] | None


@dataclass(frozen=True, slots=True)
class Totals:
    """All executions, and by what they have in common: name (None for none) and total, largest first."""

    all: Total
    by: dict[By, tuple[tuple[str | None, Total], ...]]


@dataclass(slots=True)
class _Count:
    """A total that is being counted; mutable."""

    statuses: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    usage: dict[str, Fraction] = field(default_factory=dict)

    def take(self, status: str, usage: dict[str, Number]) -> None:
        self.statuses[status] += 1
        for name, count in usage.items():
            self.usage[name] = self.usage.get(name, Fraction()) + Fraction(count)

    def total(self, with_usage: bool) -> Total:
        usage = {name: as_number(self.usage[name]) for name in sorted(self.usage)} if with_usage else None
        return Total(sum(self.statuses.values()), self.statuses, usage)


def totals(store: ExecutionStore, query: Query = EVERYTHING, *, usage: bool = False) -> Totals:
    """Counts executions, and adds up what they used up.

    Args:
        store: where they are.
        query: which; all its pages are taken.
        usage: whether what they used up is wanted, exactly. Children count for themselves.

    Raises:
        IntegrityBroken: the log is damaged, or a line of it is not what was written.
    """
    everything = _Count()
    groups: dict[By, dict[str | None, _Count]] = {by: {} for by in BYS}
    for row, names, used in _executions(store, query, usage=usage):
        everything.take(row.status, used)
        for by, name in zip(BYS, names, strict=True):
            groups[by].setdefault(name, _Count()).take(row.status, used)
    return Totals(everything.total(usage), {by: _ranked(groups[by], usage) for by in BYS})


def _executions(
    store: ExecutionStore, query: Query, *, usage: bool
) -> Iterator[tuple[Row, _Names, dict[str, Number]]]:
    """Each execution with its names in the order of `BYS`, and what it used up."""
    query = replace(query, limit=MAX_LIMIT, cursor=None, oldest_first=False, despite_damage=False)
    while True:
        page = store.openings(query)
        # Between two looks executions may end: one that is in both is counted, with what the second one says.
        rows = {row.execution_id: row for row in store.list(query).rows}
        found = [
            (rows[entry.execution], summarise(entry, None))
            for entry in page.entries
            if entry.execution in rows
        ]
        for first in range(0, len(found), _AT_ONCE):
            some = found[first : first + _AT_ONCE]
            used: list[dict[str, Number]] = [{} for _ in some]
            if usage:
                used = [record.usage for record in store.get_many([row.execution_id for row, _ in some])]
            for (row, summary), count in zip(some, used, strict=True):
                yield row, (row.intent, row.agent, summary.caller, summary.tenant, row.status), count
        if page.cursor is None:
            return
        query = replace(query, cursor=page.cursor)


def _ranked(groups: dict[str | None, _Count], usage: bool) -> tuple[tuple[str | None, Total], ...]:
    ranked = sorted(groups, key=lambda name: (-sum(groups[name].statuses.values()), name is None, name or ""))
    return tuple((name, groups[name].total(usage)) for name in ranked)
