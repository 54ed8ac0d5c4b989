"""What a verification reports: everything checks, or the first place that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Told how many bytes have been checked, and how many there are.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FirstBad:
    """The first place that is not as it was written.

    Attributes:
        seq: the number of the entry that should stand there; None if that cannot be known.
        segment: the file.
        line: its line, from 1.
        offset: where that line begins, in bytes.
        reason: what is wrong, one sentence.
        expected: what would have been right.
        actual: what was found.
    """

    seq: int | None
    segment: str
    line: int
    offset: int
    reason: str
    expected: str
    actual: str

    def as_dict(self) -> dict[str, Any]:
        """The place as the command line prints it."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found, up to the first bad place or to the end.

    Attributes:
        ok: everything checks.
        entries: how many entries check.
        executions: how many executions they begin.
        head: chain value (hex) of the last good entry; None where there is none, or no chain to check.
        first_bad: the first place that does not check.
        interrupted: executions without an end, in the order in which they were opened; nothing bad in itself.
        root: the root (hex) of the Merkle tree over the good entries; None where ``head`` is.
    """

    ok: bool
    entries: int
    executions: int
    head: str | None
    first_bad: FirstBad | None
    interrupted: tuple[str, ...]
    root: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The report as the command line prints it."""
        return {
            "ok": self.ok,
            "entries": self.entries,
            "executions": self.executions,
            "head": self.head,
            "first_bad": None if self.first_bad is None else self.first_bad.as_dict(),
        }
