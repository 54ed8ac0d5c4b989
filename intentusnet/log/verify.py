"""The verifier: is the log what was written, from its first line to its last?

It stands apart from the writer and shares nothing with it but the format of a line: it takes no lock, writes
nothing, repairs nothing, and reads a log from beginning to end, so that an auditor can run it on a copy, on a
read-only medium, or beside a process that writes. Memory does not grow with the log, only with the number of
executions that are open at the same time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

from intentusnet.errors import IntegrityBroken, StoreRefused
from intentusnet.log.entry import Entry, check_line, genesis, parse_line
from intentusnet.log.executions import Executions, check_follows, read_entry
from intentusnet.log.head import HeadNote, read_note
from intentusnet.log.identity import STORE_FILE, read_identity
from intentusnet.log.segment import LOG_DIR, Segment, list_segments

#: Told how many bytes have been checked, and how many there are.
Progress = Callable[[int, int], None]

_LINES_PER_PROGRESS: Final = 4096
_NEWLINE: Final = 10
# A line that a writer is in the middle of writing is whole within microseconds; one that is still not whole
# after the last of these pauses (seconds) is not being written.
_SETTLING_S: Final = (0.0, 0.002, 0.02)


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
    """

    ok: bool
    entries: int
    executions: int
    head: str | None
    first_bad: FirstBad | None
    interrupted: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as the command line prints it."""
        return {
            "ok": self.ok,
            "entries": self.entries,
            "executions": self.executions,
            "head": self.head,
            "first_bad": None if self.first_bad is None else self.first_bad.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class Part:
    """One file's worth of lines.

    Attributes:
        name: names the file in reports.
        first: the seq that its first line has, going by the name.
        lines: yields what it holds, newlines included; can be called again.
    """

    name: str
    first: int
    lines: Callable[[], Iterable[bytes]]


def verify_path(path: Path, progress: Progress | None = None) -> VerifyReport:
    """Verifies what lies there: a store, its log or a segment, a portable record, or a directory of those.

    Raises:
        StoreRefused: nothing of the kind lies there.
    """
    if (path / STORE_FILE).exists():
        return verify_store(path, progress)
    for log in (path, path.parent):
        if log.name == LOG_DIR and (log.parent / STORE_FILE).exists():
            return verify_store(log.parent, progress)
    try:
        records = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
        if not records:
            raise StoreRefused(
                "there is nothing to verify",
                where=str(path),
                expected=f"a directory with a {STORE_FILE}, or with portable records (*.jsonl)",
            )
        return _together(records, progress)
    except OSError as fault:
        raise StoreRefused(
            "there is nothing to verify that can be read", where=str(path), got=fault.strerror or str(fault)
        ) from fault


def verify_store(directory: Path, progress: Progress | None = None) -> VerifyReport:
    """Verifies the log of a store directory, without changing anything in it.

    Args:
        directory: where its ``store.json`` lies.
        progress: called now and then with the number of bytes checked and the number of all.

    Raises:
        StoreRefused: it is no store, or one of another format version.
    """
    identity = read_identity(directory)
    # The note is read before the log: whoever appends meanwhile can only make the log longer than it claims.
    note = read_note(directory)
    try:
        segments = list_segments(directory / LOG_DIR)
        total = sum(segment.size() for segment in segments)
        parts = [Part(segment.path.name, segment.first, partial(_raw_lines, segment)) for segment in segments]
        return verify_parts(identity.store_id, parts, note=note, progress=progress, total=total)
    except IntegrityBroken as fault:
        stray = FirstBad(None, Path(fault.where).name, 1, 0, fault.message, fault.expected, fault.where)
        return VerifyReport(False, 0, 0, None, stray, ())
    except OSError as fault:
        raise StoreRefused(
            "the log cannot be read", where=str(fault.filename or directory), got=fault.strerror or str(fault)
        ) from fault


def verify_parts(
    store_id: str,
    parts: Sequence[Part],
    *,
    note: HeadNote | None = None,
    progress: Progress | None = None,
    total: int = 0,
) -> VerifyReport:
    """Verifies a log that lies in parts, wherever they come from.

    Args:
        store_id: 32 lowercase hex digits.
        parts: the whole log, in order.
        note: what is claimed to be on disk.
        progress: called with the bytes checked and ``total``.
        total: the size of all parts in bytes.
    """
    walk = _Walk(store_id, parts, note, progress, total)
    bad = walk.first_bad()
    if walk.executions.suspects:
        walk = _Walk(store_id, parts, note, None, total, walk.executions.suspects)
        bad = walk.first_bad()
    return walk.report(bad)


class _Walk:
    """One pass over a log; mutable: what it carries from line to line, and where it is."""

    def __init__(
        self,
        store_id: str,
        parts: Sequence[Part],
        note: HeadNote | None,
        progress: Progress | None,
        total: int,
        watched: Collection[bytes] = (),
    ) -> None:
        self.parts = parts
        self.note = note
        self.progress = progress
        self.total = total
        self.done = 0
        self.seq = 0
        self.durable = -1
        self.chain = genesis(store_id)
        self.executions = Executions(watched)

    def report(self, bad: FirstBad | None) -> VerifyReport:
        return VerifyReport(
            ok=bad is None,
            entries=self.seq,
            executions=self.executions.opened,
            head=self.chain.hex() if self.seq else None,
            first_bad=bad,
            interrupted=self.executions.interrupted(),
        )

    def first_bad(self) -> FirstBad | None:
        for part in self.parts:
            bad = self._part(part)
            if bad is not None:
                return bad
            if self.progress is not None:
                self.progress(self.done, self.total)
        if self.note is None or self.note.seq < self.seq:
            return None
        gone = IntegrityBroken(
            "acknowledged entries are gone",
            expected=f"entries up to seq {self.note.seq}, which were on disk",
            got=f"{self.seq} entries",
        )
        last = self.parts[-1] if self.parts else Part(self.note.segment, 0, tuple)
        size = sum(len(raw) for raw in last.lines())
        return self._bad(last.name, self.seq - last.first + 1, size, gone)

    def _part(self, part: Part) -> FirstBad | None:
        if part.first != self.seq:
            gap = IntegrityBroken(
                "lines between two segments are missing, or there twice",
                expected=f"a segment that begins with seq {self.seq}",
                got=f"one that begins with seq {part.first}",
            )
            return self._bad(part.name, 1, 0, gap)
        offset, noted = 0, -1 if self.note is None else self.note.seq
        for number, raw in enumerate(part.lines(), 1):
            try:
                if raw[-1] != _NEWLINE:
                    raise _cut(raw)
                kind, execution, durable, commit, chain, body = check_line(raw[:-1], self.seq, self.chain)
            except IntegrityBroken as fault:
                return self._bad(part.name, number, offset, fault, self._whether_torn(part, offset))
            try:
                # All bodies are parsed, though the commit covers their bytes. It costs about an eighth of the
                # time, and that every line is JSON, whoever wrote it, is what other readers rely on.
                self.executions.take(kind, execution, commit, body)
                if self.seq == noted:
                    self._compare_note(part.name, offset + len(raw), chain)
            except IntegrityBroken as fault:
                return self._bad(part.name, number, offset, fault)
            offset += len(raw)
            self.chain = chain
            self.seq += 1
            if durable > self.durable:
                self.durable = durable
            if self.progress is not None and not self.seq % _LINES_PER_PROGRESS:
                self.progress(self.done + offset, self.total)
        self.done += offset
        return None

    def _bad(self, name: str, line: int, offset: int, fault: IntegrityBroken, more: str = "") -> FirstBad:
        return FirstBad(self.seq, name, line, offset, fault.message + more, fault.expected, fault.got)

    def _compare_note(self, name: str, end: int, chain: bytes) -> None:
        assert self.note is not None
        expected = (self.note.segment, self.note.offset, self.note.chain)
        if (name, end, chain.hex()) != expected:
            raise IntegrityBroken(
                "acknowledged entries were replaced: the head note tells of another line with this seq",
                expected="{} up to byte {}, chain {}".format(*expected),
                got=f"{name} up to byte {end}, chain {chain.hex()}",
            )

    def _whether_torn(self, part: Part, offset: int) -> str:
        """What is to be said about a bad line that a crash may have left."""
        # A segment is begun only when the one before is on disk, and every line tells what was when it was
        # written: only what lies behind all of that can be something that nobody was told is on disk.
        durable = max(self.durable, self.parts[-1].first - 1, -1 if self.note is None else self.note.seq)
        at = 0
        for raw in part.lines():
            at += len(raw)
            if at > offset:
                with contextlib.suppress(IntegrityBroken):
                    durable = max(durable, parse_line(raw[:-1]).durable)
        if durable >= self.seq:
            return f"; it was on disk: entries up to seq {durable} were acknowledged"
        return (
            "; it may be the torn end of a write that nobody was told is on disk:"
            " opening the store for writing puts such bytes into quarantine"
        )


def verify_portable(data: bytes, name: str) -> VerifyReport:
    """Verifies the lines of one execution, as they are kept outside of a store.

    Template, commits, order, completeness and the closing digest are checked, and the chain from a line to
    the next where both are neighbours in the log. Where in a log they stand is for the store to prove.

    Args:
        data: the lines, each with its newline.
        name: names them in the report.
    """
    executions, offset, good = Executions(), 0, 0
    before: Entry | None = None
    try:
        for raw in BytesIO(data) if data else [b""]:
            if not raw.endswith(b"\n"):
                raise _cut(raw)
            entry = read_entry(raw[:-1])
            check_follows(before, entry)
            executions.take(entry.kind.encode(), entry.execution.encode(), entry.commit, entry.body)
            before = entry
            good += 1
            offset += len(raw)
        if executions.interrupted():
            raise IntegrityBroken(
                "the record has no end", expected="a `closed` entry", got="the end of the file"
            )
    except IntegrityBroken as fault:
        seq = None if before is None else before.seq
        bad = FirstBad(seq, name, good + 1, offset, fault.message, fault.expected, fault.got)
        return VerifyReport(False, good, executions.opened, None, bad, executions.interrupted())
    return VerifyReport(True, good, executions.opened, None, None, ())


def _together(records: Sequence[Path], progress: Progress | None) -> VerifyReport:
    """The reports of several portable records as one."""
    sizes = [path.stat().st_size for path in records]
    reports: list[VerifyReport] = []
    for at, path in enumerate(records, 1):
        reports.append(verify_portable(path.read_bytes(), str(path)))
        if progress is not None:
            progress(sum(sizes[:at]), sum(sizes))
    return VerifyReport(
        ok=all(report.ok for report in reports),
        entries=sum(report.entries for report in reports),
        executions=sum(report.executions for report in reports),
        head=None,
        first_bad=next((report.first_bad for report in reports if not report.ok), None),
        interrupted=tuple(name for report in reports for name in report.interrupted),
    )


def _cut(raw: bytes) -> IntegrityBroken:
    return IntegrityBroken("a line has no end", expected="a newline", got=f"{len(raw)} bytes without one")


def _raw_lines(segment: Segment) -> Iterator[bytes]:
    with segment.open() as file:
        for raw in file:
            yield raw if raw[-1] == _NEWLINE else _settled(file, raw)


def _settled(file: BinaryIO, raw: bytes) -> bytes:
    """The file's last line, which a writer may be in the middle of writing."""
    for pause in _SETTLING_S:
        time.sleep(pause)
        raw += file.readline()
        if raw.endswith(b"\n"):
            break
    return raw
