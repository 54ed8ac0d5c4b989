"""Reading lines of a log by the places that an index names, and checking them against what it said of them.

A line that is not what the index says is a *doubt*: the index or the log is wrong, and whoever asked has to
find out which.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

from intentusnet.errors import IntegrityBroken, StoreRefused
from intentusnet.log.entry import Entry
from intentusnet.log.executions import check_execution, read_entry
from intentusnet.log.identity import STORE_FILE
from intentusnet.log.segment import segment_at
from intentusnet.stores.base import Query, Row
from intentusnet.stores.finding import matches, not_found, summarise
from intentusnet.stores.index import Index
from intentusnet.stores.intake import Place, digest_of
from intentusnet.stores.selecting import Found


class Doubt(Exception):
    """A line is not what the index says."""

    def __init__(self, fault: IntegrityBroken) -> None:
        super().__init__(str(fault))
        self.fault = fault


#: Blocks that are held, and their bytes: those of a compressed segment are not worth decompressing twice.
_MOST_BLOCKS: Final = 64
_BLOCK_BYTES: Final = 1 << 14
#: Segments that are held open.
_MOST_FILES: Final = 8


class Lines(ExitStack):
    """Reads lines by their places; mutable: holds what it has read last, a few files and a MiB of lines.

    Args:
        log: the directory of the segments.
    """

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log = log
        self._files: OrderedDict[int, BinaryIO] = OrderedDict()
        self._blocks: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self.callback(self._close_files)

    def read(self, place: Place) -> Entry:
        """The entry that lies there.

        Raises:
            Doubt: no such entry lies there, or not as it was written.
        """
        data = self._bytes_of(place)
        try:
            entry = read_entry(data[:-1])
            if entry.seq != place.seq or not data.endswith(b"\n"):
                raise IntegrityBroken(
                    "another line lies there", expected=f"seq {place.seq}", got=f"seq {entry.seq}"
                )
            if digest_of(entry.line) != place.digest:
                raise IntegrityBroken("the line is not the one that was checked when it was indexed")
        except IntegrityBroken as fault:
            fault.where = (
                f"{segment_at(self._log, place.segment).path}, seq {place.seq}, offset {place.offset}"
            )
            raise Doubt(fault) from None
        return entry

    def bytes_at(self, segment: int, offset: int, size: int) -> bytes:
        """Bytes of the lines of a segment, as many as there are up to that size.

        Raises:
            Doubt: they cannot be read.
        """
        try:
            file = self._file(segment)
            file.seek(offset)
            # However many are asked for, memory is taken for those that are there.
            if size > _BLOCK_BYTES:
                size = min(size, max(0, segment_at(self._log, segment).size() - offset))
            return file.read(size)
        except FileNotFoundError:
            fault = IntegrityBroken("a segment is gone")
        except IntegrityBroken as broken:
            fault = broken
        fault.where = f"{segment_at(self._log, segment).path}, offset {offset}"
        raise Doubt(fault)

    def _bytes_of(self, place: Place) -> bytes:
        """The bytes of a line, by way of a block: the next line wanted mostly lies in the same one."""
        segment, offset, length = place.segment, place.offset, place.length
        number, start = divmod(offset, _BLOCK_BYTES)
        if length > _BLOCK_BYTES:
            return self.bytes_at(segment, offset, length)
        data = self._block(segment, number)
        if start + length > len(data):
            data += self._block(segment, number + 1)
        return data[start : start + length]

    def _block(self, segment: int, number: int) -> bytes:
        key = (segment, number)
        if key in self._blocks:
            self._blocks.move_to_end(key)
        else:
            if len(self._blocks) == _MOST_BLOCKS:
                self._blocks.popitem(last=False)
            self._blocks[key] = self.bytes_at(segment, number * _BLOCK_BYTES, _BLOCK_BYTES)
        return self._blocks[key]

    def _file(self, segment: int) -> BinaryIO:
        if segment in self._files:
            self._files.move_to_end(segment)
        else:
            if len(self._files) == _MOST_FILES:
                self._files.popitem(last=False)[1].close()
            # A file reads as much as its buffer holds, whatever it is asked for.
            self._files[segment] = segment_at(self._log, segment).open(_BLOCK_BYTES)
        return self._files[segment]

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()

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


def entries_of(
    execution_id: str, index: Index, lines: Lines, damage: IntegrityBroken | None, where: str
) -> tuple[Entry, ...]:
    """All entries of an execution, checked, in the order of the log.

    Args:
        damage: where the log stops being what was written, if it does.
        where: the store, for errors.

    Raises:
        RecordNotFound: there is no such execution.
        IntegrityBroken: what is missing of it may lie behind the damage.
        Doubt: a line is not what the index says.
    """
    entries = tuple(lines.read(place) for place in index.places(execution_id))
    # What is missing, the rest of an open execution too, may lie behind the place that is damaged.
    if damage is not None and (not entries or entries[-1].kind != "closed"):
        raise damage
    if not entries:
        raise not_found(execution_id, where)
    lines.check(execution_id, entries)
    return entries


def no_store(path: Path) -> StoreRefused:
    """The error of a store that is not there, and must not be made."""
    return StoreRefused(
        "there is no store",
        where=str(path),
        expected=f"a directory with a {STORE_FILE}",
        hint="Check the path, or allow it to be made (create=True).",
    )


def unreadable(path: Path, fault: OSError) -> StoreRefused:
    """The error of a store of which something cannot be read."""
    where, got = str(fault.filename or path), fault.strerror or str(fault)
    return StoreRefused("the store cannot be read", where=where, got=got)


def checked(line: bytes) -> Entry:
    """The entry of a line, given without its newline.

    Raises:
        Doubt: the line is not as it was written.
    """
    try:
        return read_entry(line)
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


def rows(query: Query, found: Iterable[Found], lines: Lines) -> Iterator[tuple[int, Row]]:
    """The seq at which each execution was opened that was found, and its row, made from its lines.

    Raises:
        Doubt: a line is not what the index says.
        IntegrityBroken: a body is not of the recorded format.
    """
    for opened_at, closed_at in found:
        opened = lines.read(opened_at)
        closed = None if closed_at is None else lines.read(closed_at)
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
        yield opened.seq, summary.row


def holder(key: str, index: Index, lines: Lines, damage: IntegrityBroken | None) -> str | None:
    """The execution opened last of those that may hold the idempotency key of that digest.

    Raises:
        IntegrityBroken: there may be one behind the damage.
        Doubt: the execution that the index names is none of them.
    """
    if damage is not None:
        raise damage
    place = index.holder(key)
    if place is None:
        return None
    opened = lines.read(place)
    if opened.kind != "opened" or summarise(opened, None).key != key:
        where = f"execution {opened.execution}"
        raise Doubt(IntegrityBroken("an execution has not the key by which it was found", where=where))
    return opened.execution
