"""What of the lines behind a damage stays, so that every execution reads as what it was, or as cut.

Behind a loss nobody knows whose entries were lost. Therefore:

- an execution whose ``closed`` fits what is there (count, digest of the commits) is whole, and stays;
- one without an end stays if nothing was lost since its ``opened``: a crash ended it, and no damage;
- any other keeps what stands before the first loss that may be its own, and is *cut*: what happened behind
  that is unknown, so it must not be taken for one that a crash ended, and is named in the log;
- one that has lost its ``opened`` is lost as a whole, and so is one without an end in lines that nothing
  proves to be of this log.

Nothing is invented: an entry that stays has the kind, execution, ts, salt and body of a line that was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from intentusnet.errors import IntegrityBroken
from intentusnet.log.damage import Damage, key_of
from intentusnet.log.entry import Entry
from intentusnet.log.executions import Executions
from intentusnet.log.strands import FOREIGN, PROVEN, Found, Gap, Rest


@dataclass(frozen=True, slots=True)
class Salvage:
    """What stays of what stands behind the first bad place.

    Attributes:
        rest: what stands there.
        limits: of these executions only so many of the entries there stay.
        entries: how many stay.
        size: how many bytes their lines were.
        cut: executions that begin and have no end, because of the damage or before it.
        lost: executions of which there were entries and are none.
        unproven: executions that stay, with an entry whose ts, kind and execution the chain cannot prove.
    """

    rest: Rest
    limits: dict[str, int]
    entries: int
    size: int
    cut: tuple[str, ...]
    lost: tuple[str, ...]
    unproven: tuple[str, ...]

    def kept(self) -> Iterator[Entry]:
        """The entries that stay, in order."""
        return (found.entry for found in _kept(self.rest, self.limits))


def salvage(damage: Damage) -> Salvage:
    """Decides what stays; goes through the rest of the log a few times. Uses up ``damage.executions``."""
    rest = Rest(damage)
    sorting = _Sorting(damage)
    for found in rest.stream():
        sorting.take(found)
    sorting.end()
    entries, size = 0, 0
    unproven: dict[str, None] = {}
    for entry, known in _kept(rest, sorting.limits):
        entries += 1
        size += len(entry.line) + 1
        if known != PROVEN:
            unproven[entry.execution] = None
    return Salvage(
        rest, sorting.limits, entries, size, tuple(sorting.cut), tuple(sorting.lost), tuple(unproven)
    )


def _kept(rest: Rest, limits: dict[str, int]) -> Iterator[Found]:
    taken: dict[str, int] = {}
    for found in rest.stream():
        if isinstance(found, Gap):
            continue
        execution = found.entry.execution
        if not _may_stand_alone(found):
            continue
        if execution in limits:
            count = taken.get(execution, 0)
            if count == limits[execution]:
                continue
            taken[execution] = count + 1
        yield found


def _may_stand_alone(found: Found) -> bool:
    """Whether an entry of the store itself is one: nothing else can show that it is of this store."""
    return bool(found.entry.execution) or (found.entry.kind == "recovery" and found.known == PROVEN)


class _Sorting:
    """Follows the executions over the damage; mutable.

    Attributes:
        limits, cut, lost: as of `Salvage`.
    """

    def __init__(self, damage: Damage) -> None:
        self.limits: dict[str, int] = {}
        self.cut: list[str] = []
        self.lost: dict[str, None] = {}
        self._executions: Executions = damage.executions
        self._opened = damage.opened
        #: Of each execution that is open: how many of its entries stand behind the first bad place.
        self._count = dict.fromkeys(damage.executions.interrupted(), 0)
        self._old = set(self._count)
        #: How many there were at the first loss that may be its own.
        self._whole: dict[str, int] = {}
        self._foreign: set[str] = set()

    def take(self, found: Found | Gap) -> None:
        if isinstance(found, Found):
            if _may_stand_alone(found):
                self._take_entry(found)
        elif not found.execution:
            for execution, count in self._count.items():
                self._whole.setdefault(execution, count)
        elif found.execution in self._count:
            self._whole.setdefault(found.execution, self._count[found.execution])
        else:
            self._lose(found.execution)

    def _take_entry(self, found: Found) -> None:
        kind, execution = found.entry.kind, found.entry.execution
        try:
            self._executions.take(kind.encode(), execution.encode(), found.entry.commit, found.entry.body)
        except IntegrityBroken:
            count = self._count.get(execution, 0)
            self.limits.setdefault(execution, min(count, self._whole.get(execution, count)))
            self._lose(execution)
            return
        if kind == "opened":
            self._opened.add(key_of(execution.encode()))
            self._count[execution] = 0
            self.lost.pop(execution, None)
        if kind == "closed":
            if execution in self.limits:
                self._settle(execution)
            del self._count[execution]
            self._whole.pop(execution, None)
        elif execution:
            self._count[execution] += 1
            if found.known == FOREIGN:
                self._foreign.add(execution)

    def _lose(self, execution: str) -> None:
        """Notes an execution of which there is an entry that cannot stay."""
        if execution and key_of(execution.encode()) not in self._opened:
            self.lost[execution] = None

    def end(self) -> None:
        """Decides about the executions that are still open."""
        for execution in self._count:
            known = self._whole.get(execution)
            if known is not None:
                self.limits[execution] = min(known, self.limits.get(execution, known))
            if execution in self._foreign and execution not in self._old:
                self.limits[execution] = 0
            if execution in self.limits:
                self._settle(execution)

    def _settle(self, execution: str) -> None:
        """Notes what becomes of an execution that does not stay as it is."""
        if self.limits[execution] > 0 or execution in self._old:
            self.cut.append(execution)
        else:
            self.lost[execution] = None
