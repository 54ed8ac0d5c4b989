"""Reading lines of a log by the places that an index names, and checking them against what it said of them.

A line that is not what the index says is a *doubt*: the index or the log is wrong, and whoever asked has to
find out which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from intentusnet.errors import IntegrityBroken
from intentusnet.log.entry import Entry
from intentusnet.log.executions import check_execution, read_entry
from intentusnet.log.segment import segment_at
from intentusnet.stores.base import Query, Row
from intentusnet.stores.finding import has_text, matches, summarise
from intentusnet.stores.index import Index, Place


class Doubt(Exception):
    """A line is not what the index says."""

    def __init__(self, fault: IntegrityBroken) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Lines(ExitStack):
    """Reads lines by their places; mutable: holds the segments open that it has read from.

    Args:
        log: the directory of the segments.
    """

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log = log
        self._open: dict[int, BinaryIO] = {}

    def read(self, place: Place) -> Entry:
        """The entry that lies there.

        Raises:
            Doubt: no such entry lies there, or not as it was written.
        """
        segment = segment_at(self._log, place.segment)
        try:
            if place.segment not in self._open:
                self._open[place.segment] = self.enter_context(segment.open())
            file = self._open[place.segment]
            file.seek(place.offset)
            data = file.read(place.length)
            entry = read_entry(data[:-1])
            if entry.seq == place.seq and data.endswith(b"\n"):
                return entry
            fault = IntegrityBroken(
                "another line lies there", expected=f"seq {place.seq}", got=f"seq {entry.seq}"
            )
        except FileNotFoundError:
            fault = IntegrityBroken("a segment is gone")
        except IntegrityBroken as broken:
            fault = broken
        fault.where = f"{segment.path}, seq {place.seq}, offset {place.offset}"
        raise Doubt(fault)

    def check(self, execution_id: str, entries: Sequence[Entry]) -> None:
        """Checks that these are all the entries of that execution.

        Raises:
            Doubt: they are not.
        """
        try:
            if entries[0].execution != execution_id:
                raise IntegrityBroken(
                    "the entries are of another execution", expected=execution_id, got=entries[0].execution
                )
            check_execution(entries)
        except IntegrityBroken as fault:
            raise Doubt(fault) from None


class Known:
    """What has to be known of a store's executions to resolve a reference."""

    def __init__(self, index: Index, lines: Lines) -> None:
        self._lines = lines
        self._index = index
        self.has = index.has
        self.fitting = index.fitting

    def nth_last(self, back: int) -> str | None:
        place = self._index.nth_last(back)
        return None if place is None else self._lines.read(place).execution


def rows(query: Query, index: Index, lines: Lines) -> Iterator[tuple[int, Row]]:
    """What a query finds: the seq at which each execution was opened, and its row, made from its lines.

    Raises:
        Doubt: a line is not what the index says.
        IntegrityBroken: a body is not of the recorded format.
    """
    for found in index.find(query):
        opened = lines.read(found.opened)
        closed = None if found.closed is None else lines.read(found.closed)
        if closed is not None and closed.execution != opened.execution:
            raise Doubt(
                IntegrityBroken(
                    "an execution ends with the line of another",
                    where=f"seq {closed.seq}",
                    expected=opened.execution,
                    got=closed.execution,
                )
            )
        summary = summarise(opened, closed)
        if not matches(query, summary):
            raise Doubt(
                IntegrityBroken("an execution is not as it was found", where=f"execution {opened.execution}")
            )
        if has_text(query, opened, closed):
            yield opened.seq, summary.row
