"""A log to be tampered with, and what must be said of each change to it.

The victim has three segments: two sealed ones, and an open one whose last lines nobody was told are on disk.
In it executions lie inside and across each other and the segments, and one has no end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Literal

import pytest
from helpers import executions as made
from helpers.logs import Unsynced, files_of

from intentusnet.errors import IntegrityBroken, RecordNotFound
from intentusnet.ids import ManualClock
from intentusnet.log.entry import Draft, Entry, parse_line
from intentusnet.log.head import HEAD_FILE, HeadNote
from intentusnet.log.verify import Part, VerifyReport, verify_parts
from intentusnet.stores.base import Query, Row, StoreSettings
from intentusnet.stores.file import FileExecutionStore
from intentusnet.stores.index import INDEX_FILE

PER_SEGMENT = 9
#: All lines but the last three are on disk: the head note says so.
ACKNOWLEDGED = 23
SECTOR = 512
#: The execution that is appended to see whether a store can still be written to.
NEXT = made.id_of(77)

#: What a verification says: all is as it was written; something that was on disk is not; or a crash may have
#: left this.
Verdict = Literal["fine", "broken", "torn"]


@dataclass(frozen=True)
class Finding:
    """A verdict, and the place that it names: the index of the segment and the line in it, from 1."""

    verdict: Verdict
    segment: int = -1
    line: int = 0


FINE = Finding("fine")


def workload(first: int = 1) -> list[Draft]:
    """Seven executions in 26 entries, numbered from there on; the sixth has no end."""
    one, two, three, four, five, six, seven = (
        made.execution(first + number, questions=questions, close=number != 5, payload={"text": "x" * 100})
        for number, questions in enumerate((1, 2, 1, 1, 1, 1, 0))
    )
    across = [two[0], three[0], *two[1:3], *three[1:], *two[3:]]
    return [*one, *across, *four, *five, *six[:2], *seven]


@dataclass(frozen=True)
class Victim:
    """The files of a store as a killed machine leaves them, and what was written.

    Attributes:
        files: every file's bytes by its path, the index aside.
        index: the bytes of an index that has everything in it.
        segments: the lines of each segment, newlines included.
        rows: of every execution, by its id.
    """

    store_id: str
    files: dict[str, bytes]
    index: bytes
    names: tuple[str, ...]
    segments: tuple[tuple[bytes, ...], ...]
    rows: dict[str, Row]

    @classmethod
    def make(cls, directory: Path) -> Victim:
        """Writes it, in a directory of its own."""
        drafts, clock = workload(), ManualClock(step_us=7)
        settings = StoreSettings(segment_entries=PER_SEGMENT)
        with FileExecutionStore(directory, clock=clock, settings=settings) as store:
            store.append(drafts[:ACKNOWLEDGED])
            store.append(drafts[ACKNOWLEDGED:], durability="os")
            files = files_of(directory)
            rows = {row.execution_id: row for row in store.list(Query(limit=50)).rows}
            store_id = store.store_id
        index = (directory / INDEX_FILE).read_bytes()
        names = tuple(sorted(name for name in files if name.startswith("log/")))
        segments = tuple(tuple(files[name].splitlines(keepends=True)) for name in names)
        assert [len(lines) for lines in segments] == [PER_SEGMENT, PER_SEGMENT, 8]
        return cls(store_id, files, index, names, segments, rows)

    @property
    def data(self) -> list[bytes]:
        """The bytes of each segment."""
        return [b"".join(lines) for lines in self.segments]

    @property
    def lines(self) -> list[bytes]:
        return list(chain(*self.segments))

    @property
    def note(self) -> HeadNote:
        note = HeadNote.decode(self.files[HEAD_FILE])
        assert note is not None and note.seq == ACKNOWLEDGED - 1
        return note

    def entries(self, execution: str) -> list[Entry]:
        """What was written of an execution."""
        return [entry for line in self.lines if (entry := parse_line(line[:-1])).execution == execution]

    def first(self, segment: int) -> int:
        """The seq of a segment's first line."""
        return segment * PER_SEGMENT

    def put(self, directory: Path, segments: Sequence[bytes], *, index: bool = False) -> Path:
        """Writes the store with these segments, and no others, with or without the old index."""
        changed = self.files | dict(zip(self.names, segments, strict=True))
        for name, data in changed.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(data)
        begun = [path for path in directory.glob("log/*") if f"log/{path.name}" not in changed]
        for path in (*directory.glob("index.*"), *begun):
            path.unlink()
        if index:
            (directory / INDEX_FILE).write_bytes(self.index)
        return directory

    def with_segment(self, segment: int, data: bytes) -> list[bytes]:
        """The segments with one of them changed."""
        return [data if at == segment else own for at, own in enumerate(self.data)]

    def expected(self, segment: int, data: bytes) -> Finding:
        """What must be said when the segment has become this and nothing else has changed.

        The first line that differs is named, or the place where a line is missing. What nobody was told is on
        disk may be torn, or gone.
        """
        own = self.data[segment]
        same = len(common_prefix(own, data))
        ends = list(accumulate(map(len, self.segments[segment])))
        number = sum(end <= same for end in ends) + 1
        seq, last = self.first(segment) + number - 1, segment == len(self.segments) - 1
        if data == own:
            return FINE
        if same == len(data) and same in (0, *ends):
            if not last:
                return Finding("broken", segment + 1, 1)
            return FINE if seq >= ACKNOWLEDGED else Finding("broken", segment, number)
        return Finding("torn" if last and seq >= ACKNOWLEDGED else "broken", segment, number)

    def found(self, segments: Sequence[bytes], note: HeadNote | None) -> Finding:
        """What the verifier says of these bytes."""
        parts = [
            Part(name.partition("/")[2], self.first(at), partial(bytes.splitlines, data, True))
            for at, (name, data) in enumerate(zip(self.names, segments, strict=True))
        ]
        return self.finding(verify_parts(self.store_id, parts, note=note))

    def finding(self, report: VerifyReport) -> Finding:
        """What a report says, in short."""
        bad = report.first_bad
        assert report.ok is (bad is None)
        if bad is None:
            return FINE
        torn = "torn end of a write" in bad.reason
        return Finding("torn" if torn else "broken", self.names.index(f"log/{bad.segment}"), bad.line)


def common_prefix(one: bytes, two: bytes) -> bytes:
    """What both begin with."""
    return os.path.commonprefix([one, two])  # noqa: RUF071 - bytes, not paths: byte by byte is what is meant


def sectors(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The bytes with one sector zeroed, for every sector, and where it begins."""
    for start in range(0, len(data), SECTOR):
        size = min(SECTOR, len(data) - start)
        yield start, data[:start] + bytes(size) + data[start + size :]


def line_changes(lines: Sequence[bytes], foreign: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """A segment with a line removed, duplicated, swapped with a neighbour, or taken from elsewhere."""
    for at, line in enumerate(lines):
        before, after = lines[:at], lines[at + 1 :]
        yield f"line {at + 1} removed", b"".join([*before, *after])
        yield f"line {at + 1} there twice", b"".join([*before, line, line, *after])
        yield f"line {at + 1} empty", b"".join([*before, b"\n", *after])
        yield f"line {at + 1} from another store", b"".join([*before, foreign[at], *after])
        yield f"from line {at + 1} on from another store", b"".join([*before, *foreign[at:]])
        for other in range(at):
            swapped = list(lines)
            swapped[at], swapped[other] = lines[other], line
            yield f"lines {other + 1} and {at + 1} swapped", b"".join(swapped)


def what_is_read(path: Path, victim: Victim, gone: int | None = None) -> dict[str, list[Entry]]:
    """Reads all executions in every way: each is as it was written, or refused; returns those that are read.

    Args:
        path: the store.
        victim: what was written.
        gone: from that seq on, lines may be missing without a word: nobody was told that they are on disk.
    """
    read: dict[str, list[Entry]] = {}
    with FileExecutionStore(path, create=False, files=Unsynced()) as store:
        # Lists come first: reading a damaged execution shows the damage to everyone who reads after that.
        for query in (Query(), Query(oldest_first=True, intent="ticket.*"), Query(status="success")):
            try:
                rows = store.list(query).rows
            except IntegrityBroken:
                continue
            for row in (row for row in rows if row.execution_id != NEXT):
                written = victim.rows.get(row.execution_id)
                assert written, f"{row} was never written"
                lost = gone is not None and any(e.seq >= gone for e in victim.entries(row.execution_id))
                assert lost or row == written, f"{row} is listed otherwise than it was written"
        for execution in victim.rows:
            whole = victim.entries(execution)
            left = [entry for entry in whole if gone is None or entry.seq < gone]
            try:
                entries = list(store.entries(execution))
                assert store.get(execution).execution_id == execution
            except IntegrityBroken:
                continue
            except RecordNotFound:
                assert not left, f"{execution} is said not to exist"
                continue
            assert entries in (whole, left), f"{execution} is read otherwise than it was written"
            read[execution] = entries
    return read


def split(lines: Sequence[bytes]) -> list[bytes]:
    """Lines as the bytes of three segments."""
    starts = (0, PER_SEGMENT, 2 * PER_SEGMENT)
    ends = (PER_SEGMENT, 2 * PER_SEGMENT, len(lines))
    return [b"".join(lines[start:end]) for start, end in zip(starts, ends, strict=True)]


def put_lines(victim: Victim, directory: Path, lines: Sequence[bytes]) -> Path:
    """The store with these lines for its log, in as many segments as they take."""
    victim.put(directory, split(lines))
    for name in victim.names:
        if not (directory / name).stat().st_size:
            (directory / name).unlink()
    return directory


def place_of(seq: int) -> tuple[int, int]:
    return (min(seq // PER_SEGMENT, 2), seq - min(seq // PER_SEGMENT, 2) * PER_SEGMENT + 1)


def opened(path: Path) -> range | None:
    """The seqs of an append to a store that is opened for it; None if it is refused, and refused again."""
    with FileExecutionStore(path, create=False, files=Unsynced()) as store:
        try:
            return store.append([made.opened(NEXT)])
        except IntegrityBroken:
            with pytest.raises(IntegrityBroken, match="verify"):
                store.append([made.opened(NEXT)])
            return None
