"""Where a log stops being what was written, found without trusting anything in its directory.

`verify` says that something is wrong and stops there, and the writer refuses the whole. Whoever repairs needs
what lies between: the files as they are, strays and leftovers included, and everything that is known at the
first bad line, so that it can be decided what behind it may stay. Nothing here takes a lock or changes
anything.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from binascii import unhexlify
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from intentusnet.errors import IntegrityBroken, StoreRefused
from intentusnet.log.compressed import MAX_FRAME_BYTES, check
from intentusnet.log.entry import check_line, genesis, parse_line
from intentusnet.log.executions import Executions
from intentusnet.log.head import HEAD_FILE, HeadNote, read_note
from intentusnet.log.segment import LOG_DIR, segment_name

_FILE: Final = re.compile(r"([0-9]{20})\.jsonl(\.zst(\.new)?)?")
_FRAME_MAGIC: Final = bytes.fromhex("28b52ffd")
#: What zstd makes of MAX_FRAME_BYTES that it cannot compress is smaller than that.
_MOST_COMPRESSED: Final = MAX_FRAME_BYTES + (MAX_FRAME_BYTES >> 7)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the log, in whatever state it is.

    Attributes:
        name: the file's.
        first: the seq that its first line has, going by the name.
        path: where it lies.
    """

    name: str
    first: int
    path: Path

    @property
    def compressed(self) -> bool:
        """Whether its lines are in frames."""
        return self.name.endswith(".zst")

    def lines(self, offset: int = 0) -> Iterator[tuple[int, bytes]]:
        """What stands between the newlines, each with its own offset; the last may lack its newline.

        Of a compressed file, only what can be decompressed: offsets count what was.
        """
        if self.compressed:
            yield from self._decompressed(offset)
            return
        with self.path.open("rb") as file:
            file.seek(offset)
            for raw in file:
                yield offset, raw
                offset += len(raw)

    def _decompressed(self, offset: int) -> Iterator[tuple[int, bytes]]:
        at, rest = 0, b""
        for data in _readable_frames(self.path.read_bytes()):
            if data is None:
                pieces = [rest] if rest else []
                rest = b""
            else:
                *pieces, rest = (rest + data).splitlines(keepends=True) if b"\n" in data else [rest + data]
                if rest.endswith(b"\n"):
                    pieces, rest = [*pieces, rest], b""
            for raw in pieces:
                if at >= offset:
                    yield at, raw
                at += len(raw)
        if rest and at >= offset:
            yield at, rest


@dataclass(slots=True)
class Damage:
    """A log up to the first bad place, and what is wrong there; mutable while the log is read.

    Attributes:
        store_id: 32 lowercase hex digits.
        sources: the files of the log, in order.
        twins: compressed files of segments that are there uncompressed, too; nobody reads them.
        strays: names of other files in its directory.
        note: the head note, if there is one that can be read and that the log does not contradict.
        seq: the number that the first bad line should have; the number of entries if every line checks.
        chain: the chain value before it.
        at: its place: which of the sources (their number if every line checks), and the offset there.
        line: which line of that file it is, from 1.
        fault: what is wrong; None if everything checks.
        torn: nobody was told that the bad bytes are on disk: opening for writing puts them aside.
        frames: sources whose lines check but whose frames are not as they were written.
        executions: the executions until there.
        opened: the ids of all of them, 16 bytes each.
    """

    store_id: str
    sources: list[Source]
    twins: list[Source]
    strays: tuple[str, ...]
    note: HeadNote | None
    chain: bytes
    seq: int = 0
    at: tuple[int, int] = (0, 0)
    line: int = 1
    fault: IntegrityBroken | None = None
    torn: bool = False
    frames: list[int] = field(default_factory=list)
    executions: Executions = field(default_factory=Executions)
    opened: set[bytes] = field(default_factory=set)


def survey(directory: Path, store_id: str) -> Damage:
    """Reads a log up to its first bad place.

    Memory grows with the number of executions: about 250 bytes for each.

    Raises:
        StoreRefused: a file of the log cannot be read at all.
    """
    # Read before the log: whoever appends meanwhile can only make the log longer than the note claims.
    note = read_note(directory)
    log = directory / LOG_DIR
    try:
        names = sorted(os.listdir(log)) if log.exists() else []
        sources, twins, strays = _sorted_out(log, names)
        return walk(Damage(store_id, sources, twins, strays, note, genesis(store_id)))
    except OSError as error:
        raise StoreRefused(
            "the log cannot be read", where=str(error.filename or directory), got=error.strerror or str(error)
        ) from error


def walk(damage: Damage) -> Damage:
    """Reads the sources up to the first bad place, and notes what is wrong there.

    Args:
        damage: as it is before the first line.
    """
    _Walk(damage).run()
    return damage


def _sorted_out(log: Path, names: list[str]) -> tuple[list[Source], list[Source], tuple[str, ...]]:
    sources: list[Source] = []
    twins: list[Source] = []
    for name in names:
        match = _FILE.fullmatch(name)
        if match is not None and match[3] is None:
            source = Source(name, int(match[1]), log / name)
            (twins if sources and sources[-1].first == source.first else sources).append(source)
    return sources, twins, tuple(name for name in names if not _FILE.fullmatch(name))


class _Walk:
    """Checks line after line, and stops at the first that is bad; mutable."""

    def __init__(self, damage: Damage) -> None:
        self.damage = damage
        self._durable = -1
        self._note_fault: IntegrityBroken | None = None

    def run(self) -> None:
        damage = self.damage
        for number, source in enumerate(damage.sources):
            if source.first > damage.seq and damage.frames[-1:] == [number - 1]:
                damage.fault = IntegrityBroken(
                    "lines of a compressed segment cannot be decompressed",
                    expected=f"lines up to seq {source.first - 1}",
                    got=f"lines up to seq {damage.seq - 1}" if damage.line > 1 else "none",
                )
                return
            damage.at, damage.line = (number, 0), 1
            if source.first != damage.seq:
                damage.fault = IntegrityBroken(
                    "lines between two segments are missing, or there twice",
                    expected=f"a segment that begins with seq {damage.seq}",
                    got=source.name,
                )
                return
            for at, raw in source.lines():
                fault = self._torn_or_bad(raw) or self._misplaced()
                if fault is not None:
                    damage.fault = fault
                    return
                self._compare(source, at + len(raw))
                damage.at, damage.line = (number, at + len(raw)), damage.line + 1
                damage.seq += 1
            if source.compressed and not _is_whole(source.path):
                damage.frames.append(number)
        damage.at, damage.line = (len(damage.sources), 0), 1
        damage.fault = self._around()

    def _torn_or_bad(self, raw: bytes) -> IntegrityBroken | None:
        """What is wrong with the next line as a line; whether a crash may have left it is known then, too."""
        damage = self.damage
        try:
            if not raw.endswith(b"\n"):
                got = f"{len(raw)} bytes without one"
                raise IntegrityBroken("a line has no end", expected="a newline", got=got)
            self._line = check_line(raw[:-1], damage.seq, damage.chain)
        except IntegrityBroken as fault:
            number, offset = damage.at
            if number == len(damage.sources) - 1 and not damage.strays and self._note_fault is None:
                source = damage.sources[number]
                noted = damage.note.seq if damage.note else -1
                durable = max(self._durable, source.first - 1, noted, _claimed(source, offset))
                damage.torn = damage.seq > durable
            return fault
        return None

    def _misplaced(self) -> IntegrityBroken | None:
        """What is wrong with the line among those of its execution."""
        damage = self.damage
        kind, execution, durable, commit, chain, body = self._line
        try:
            damage.executions.take(kind, execution, commit, body)
        except IntegrityBroken as fault:
            return fault
        if kind == b"opened":
            damage.opened.add(key_of(execution))
        damage.chain = chain
        self._durable = max(self._durable, durable)
        return None

    def _compare(self, source: Source, end: int) -> None:
        """Compares the line that was just checked with the head note, if the note tells of it."""
        note, damage = self.damage.note, self.damage
        if note is None or note.seq != damage.seq:
            return
        if (note.first, note.offset, note.chain) != (source.first, end, damage.chain.hex()):
            damage.note = None
            self._note_fault = IntegrityBroken(
                "the head note tells of another line with this seq, or of another place",
                where=HEAD_FILE,
                expected=f"{source.name} up to byte {end}, chain {damage.chain.hex()}",
                got=f"{note.segment} up to byte {note.offset}, chain {note.chain}",
            )

    def _around(self) -> IntegrityBroken | None:
        """What is wrong though every line checks."""
        damage = self.damage
        if damage.note is not None and damage.note.seq >= damage.seq:
            return IntegrityBroken(
                "acknowledged entries are gone",
                expected=f"entries up to seq {damage.note.seq}, which were on disk",
                got=f"{damage.seq} entries",
            )
        if damage.sources and damage.sources[-1].compressed:
            return IntegrityBroken(
                "the last segment is gone",
                where=damage.sources[-1].name,
                expected="a segment after one that is compressed",
                got="none",
            )
        if damage.strays:
            return IntegrityBroken(
                "a file in the log directory is not a segment",
                where=damage.strays[0],
                expected="names like " + segment_name(0),
                got=", ".join(damage.strays[:3]),
            )
        if damage.frames:
            return IntegrityBroken(
                "a compressed segment is not the one that was written, though its lines are",
                where=damage.sources[damage.frames[0]].name,
            )
        return self._note_fault


def key_of(execution: bytes) -> bytes:
    """The 16 bytes that the id of an execution spells."""
    return unhexlify(execution.replace(b"-", b""))


def _is_whole(path: Path) -> bool:
    try:
        check(path)
    except IntegrityBroken:
        return False
    return True


def _claimed(source: Source, offset: int) -> int:
    """What the lines from an offset on, as far as they can be read, say was on disk before them."""
    highest = -1
    for _, raw in source.lines(offset):
        try:
            highest = max(highest, parse_line(raw.removesuffix(b"\n")).durable)
        except IntegrityBroken:
            continue
    return highest


def _readable_frames(data: bytes) -> Iterator[bytes | None]:
    """What the frames hold that can still be decompressed; None stands for anything else before the next one.

    The table of the frames is not needed, because it may be what is damaged.
    """
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    at = data.find(_FRAME_MAGIC)
    if at > 0:
        yield None
    while at >= 0:
        decompressor, held = zstd.ZstdDecompressor(), b""
        piece = memoryview(data)[at : at + _MOST_COMPRESSED]
        with contextlib.suppress(zstd.ZstdError):
            held = decompressor.decompress(piece, max_length=MAX_FRAME_BYTES + 1)
        whole = bool(held) and decompressor.eof
        end = at + len(piece) - len(decompressor.unused_data) if whole else at + 1
        yield held if whole else None
        at = data.find(_FRAME_MAGIC, end)
        if whole and at > end:
            yield None
