"""Where the log ends, and what to do when its last bytes are not a line.

A crash leaves a log whose last lines may be cut, zeroed or garbage: lines that nobody was told are on disk.
They are a *torn tail*: copied to ``quarantine/``, replaced by a ``recovery`` entry that says so, and appends
go on. The same damage in a line that was known to be on disk is something else, and no crash can do it: the
log is refused as it is, for a person to look at.

Which of the two it is follows from the highest seq known to be on disk: from the head note, from the
``durable`` of any line that still can be read, and from the start of the last segment, because a segment is
begun only when the one before is on disk. The recovery entry is written *over* the torn bytes and the rest is
cut off after that, so at no moment could a crash leave neither the torn bytes nor a word of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson

from intentusnet.errors import IntegrityBroken
from intentusnet.ids import Clock
from intentusnet.log.entry import Draft, Entry, check_line, format_line, genesis, parse_line
from intentusnet.log.files import FILES, Files, make_dir, must_sync, write_all
from intentusnet.log.head import HEAD_FILE, HeadNote, Tail, read_note
from intentusnet.log.segment import (
    LOG_DIR,
    QUARANTINE_DIR,
    Segment,
    iter_lines,
    line_ending_at,
    list_segments,
    segment_name,
)

REPAIR_FILE = "repair.json"
REPAIR_MARK = b"r"
"""A repair that is not finished; and what it leaves in the lock file (``mending``)."""

_COPY_BYTES = 1 << 20
#: So many bytes before the noted line are checked whenever a log is opened for writing: damage is mostly met
#: near the end, and this much takes some milliseconds. What lies before is for ``verify``.
LOOKED_BACK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Scan:
    """What was read up to the end of the log, or to the first bad place, which is where ``tail`` is then."""

    tail: Tail
    segment: Segment | None
    durable: int
    noted: HeadNote | None
    broken: IntegrityBroken | None


def recover_tail(
    directory: Path,
    store_id: str,
    *,
    clock: Clock,
    files: Files = FILES,
    known: Tail | None = None,
    durable: int = -1,
) -> tuple[Tail, int]:
    """The end of the log, made whole if it is torn; the lock between processes must be held.

    Args:
        directory: the store.
        store_id: 32 lowercase hex digits.
        clock: the time of a recovery entry.
        files: the calls that change the store.
        known: an earlier end of this log that the caller trusts; else the head note tells where to start.
        durable: the highest seq that the caller knows to be on disk.

    Returns:
        The end, and the highest seq now known to be on disk.

    Raises:
        IntegrityBroken: something that was on disk is damaged or gone; nothing was changed.
        OSError: the log could not be read, or the torn bytes not be put aside.
        StorePoisoned: a sync failed.
    """
    if (directory / REPAIR_FILE).exists():
        what = "a repair of the log was begun and not finished"
        raise _refused(directory, what, f"no {REPAIR_FILE}", "one")
    note = read_note(directory)
    segments = list_segments(directory / LOG_DIR)
    if segments and segments[-1].compressed:
        # Only what another segment follows is compressed, so that one is gone, if only its name.
        what = "the last segment is gone"
        raise _refused(segments[-1].path, what, "a segment after one that is compressed", "none")
    start = known or _start(directory, segments, store_id, note)
    if known is None and start.seq > 0:
        _check_owner(segments[0], store_id)
    scan = _scan(directory, segments, start, note)
    seq = scan.tail.seq
    # A segment is begun only when the one before is on disk.
    durable = max(durable, scan.durable, segments[-1].first - 1 if segments else -1, note.seq if note else -1)
    if scan.broken is not None and scan.segment is not None:
        durable = max(durable, _highest_durable(scan.segment, scan.tail.offset))
        if seq <= durable or scan.segment is not segments[-1]:
            raise scan.broken
    elif seq <= durable:
        what = "lines that were on disk are gone"
        raise _refused(directory, what, f"seq {durable}", f"an end before seq {seq}")
    if known is None and scan.noted != note:
        what = "the log is not the one that its head note was written for"
        raise _refused(directory / HEAD_FILE, what, str(note), str(scan.noted))
    if known is None and segments:
        noted = note is not None and note.first == scan.tail.first
        _write_again(segments[-1], note.offset if note is not None and noted else 0, scan.tail.offset, files)
    if scan.broken is None or scan.segment is None:
        return scan.tail, durable
    return _put_aside(directory, scan.segment, scan.tail, durable, clock, files)


def _start(directory: Path, segments: Sequence[Segment], store_id: str, note: HeadNote | None) -> Tail:
    """Where to start reading: a little before the noted line, else at the noted segment, or the last one."""
    index = len(segments) - 1
    if note is not None:
        index = next((at for at, segment in enumerate(segments) if segment.first == note.first), index)
        if index >= 0 and segments[index].first == note.first:
            noted = _entry_ending_at(segments[index], note.offset)
            if noted is not None and (noted[1].seq, noted[1].chain.hex()) == (note.seq, note.chain):
                end = min(noted[0], _line_end(segments[index], note.offset - LOOKED_BACK))
                before = _entry_ending_at(segments[index], end)
                if before is not None:
                    return Tail(note.first, end, before[1].seq + 1, before[1].chain)
    if index <= 0:
        return Tail(0, 0, 0, genesis(store_id))
    first, previous = segments[index].first, segments[index - 1]
    last = _entry_ending_at(previous, previous.size())
    if last is None or last[1].seq != first - 1:
        what = "a segment does not end where the next one begins"
        raise _refused(previous.path, what, f"seq {first - 1}", f"seq {last[1].seq}" if last else "no line")
    return Tail(first, 0, first, last[1].chain)


def _line_end(segment: Segment, offset: int) -> int:
    """The end of the line around that offset; 0 if it lies before the first."""
    if offset <= 0:
        return 0
    with segment.open() as file:
        file.seek(offset)
        return offset + len(file.readline())


def _check_owner(segment: Segment, store_id: str) -> None:
    """Refuses a log that begins as the log of another store does: the lines read later would not show it."""
    line = next((line for _, line in iter_lines(segment)), b"")
    try:
        check_line(line, 0, genesis(store_id))
    except IntegrityBroken as fault:
        raise _refused(segment.path, fault.message, fault.expected, fault.got) from None


def _entry_ending_at(segment: Segment, end: int) -> tuple[int, Entry] | None:
    found = line_ending_at(segment, end)
    try:
        return None if found is None else (found[0], parse_line(found[1]))
    except IntegrityBroken:
        return None


def _scan(directory: Path, segments: Sequence[Segment], start: Tail, note: HeadNote | None) -> _Scan:
    """Checks every line from the start to the end of the log, or to the first that is bad."""
    tail, durable, noted = start, -1, None
    rest = [segment for segment in segments if segment.first >= start.first]
    if not rest and start.seq > 0:
        raise _refused(directory / LOG_DIR, "a segment is gone", segment_name(start.first), "no such file")
    for segment in rest:
        if segment.first != tail.first:
            if segment.first != tail.seq:
                what = "a segment does not begin where the one before ends"
                raise _refused(segment.path, what, f"seq {tail.seq}", f"seq {segment.first}")
            tail = Tail(tail.seq, 0, tail.seq, tail.chain)
        first, offset, seq, chain = tail
        broken: IntegrityBroken | None = None
        for at, line in iter_lines(segment, offset):
            try:
                _, _, claim, _, chain_here, _ = check_line(line, seq, chain)
            except IntegrityBroken as error:
                broken = _refused(segment.path, error.message, error.expected, error.got)
                break
            durable, chain, offset = max(durable, claim), chain_here, at + len(line) + 1
            if note is not None and seq == note.seq:
                noted = HeadNote(chain.hex(), offset, segment_name(segment.first), seq)
            seq += 1
        tail = Tail(first, offset, seq, chain)
        size = segment.size()
        if size < offset:
            what = "lines that were written are gone"
            raise _refused(segment.path, what, f"{offset} bytes at least", f"{size} bytes")
        if broken is None and size > offset:
            broken = _refused(segment.path, "the last line is not complete", "a newline", "end of file")
        if broken is not None:
            broken.where += f", line {seq - first + 1} (seq {seq}, offset {offset})"
            return _Scan(tail, segment, durable, noted, broken)
    return _Scan(tail, None, durable, noted, None)


def _highest_durable(segment: Segment, offset: int) -> int:
    """What the lines from a bad place on, as far as they can be read, say was on disk before them."""
    highest = -1
    for _, line in iter_lines(segment, offset):
        try:
            highest = max(highest, parse_line(line).durable)
        except IntegrityBroken:
            continue
    return highest


def _write_again(segment: Segment, start: int, end: int, files: Files) -> None:
    """Writes the lines that are not known to be on disk over themselves.

    After a sync that failed, the system may show bytes that it will never write: they are on their way to the
    disk only when they are written once more.
    """
    if start >= end:
        return
    fd = files.open(segment.path, os.O_RDWR)
    try:
        with segment.open() as lines:
            lines.seek(start)
            while start < end:
                chunk = lines.read(min(_COPY_BYTES, end - start))
                taken = files.pwrite(fd, chunk, start)
                if not chunk or taken != len(chunk):
                    raise OSError(f"{segment.path} took {taken} of {len(chunk)} bytes")
                start += taken
    finally:
        files.close(fd)


def _put_aside(
    directory: Path, segment: Segment, tail: Tail, durable: int, clock: Clock, files: Files
) -> tuple[Tail, int]:
    """Copies the torn bytes to the quarantine and puts a recovery entry in their place."""
    digest, size = hashlib.sha256(), 0
    with segment.path.open("rb") as torn:
        torn.seek(tail.offset)
        while chunk := torn.read(_COPY_BYTES):
            digest.update(chunk)
            size += len(chunk)
    name = f"{tail.seq}-{digest.hexdigest()[:16]}.torn"
    _copy(segment.path, tail.offset, directory / QUARANTINE_DIR / name, files)
    body = {
        "after": tail.seq - 1,
        "bytes": size,
        "file": f"{QUARANTINE_DIR}/{name}",
        "sha256": digest.hexdigest(),
    }
    draft = Draft.make("recovery", "", orjson.dumps(body))
    line, chain = format_line(draft, tail.seq, clock.time_us(), durable, tail.chain)
    # A descriptor of its own: one that is open for appending would write at the end, whatever the offset.
    fd = files.open(segment.path, os.O_RDWR)
    try:
        taken = files.pwrite(fd, line, tail.offset)
        if taken != len(line):
            raise OSError(f"{segment.path} took {taken} of {len(line)} bytes")
        files.truncate(fd, tail.offset + len(line))
        must_sync(partial(files.fsync, fd), segment.path)
    finally:
        files.close(fd)
    return Tail(tail.first, tail.offset + len(line), tail.seq + 1, chain), tail.seq


def _copy(source: Path, offset: int, target: Path, files: Files) -> None:
    """Copies a file from an offset on, so that a crash cannot take the copy back."""
    make_dir(target.parent, files)
    fd = files.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        with source.open("rb") as torn:
            torn.seek(offset)
            while chunk := torn.read(_COPY_BYTES):
                write_all(files, fd, chunk)
        must_sync(partial(files.fsync, fd), target)
    finally:
        files.close(fd)
    must_sync(partial(files.fsync_dir, target.parent), target.parent)


def _refused(where: Path, message: str, expected: str, got: str) -> IntegrityBroken:
    return IntegrityBroken(
        message,
        where=str(where),
        expected=expected,
        got=got,
        hint="Nothing was changed. `intentusnet verify` says more; `intentusnet repair` keeps the original,"
        " and makes a log of what is good.",
    )
