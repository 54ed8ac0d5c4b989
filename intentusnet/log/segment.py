"""The segments of a log: their names, reading lines from them, and beginning a new one.

A segment is ``log/<first seq, 20 digits>.jsonl``; the names sort as the numbers do. Once another one has
been begun it may be ``.jsonl.zst`` instead (``compressed``), which only :class:`Segment` needs to know: what
it opens are lines, and offsets are those of the lines.

Reading takes no lock: a reader sees complete lines up to wherever the log ends at that moment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from intentusnet.errors import IntegrityBroken
from intentusnet.log import compressed
from intentusnet.log.files import FILES, Files, must_sync

LOG_DIR = "log"
QUARANTINE_DIR = "quarantine"
MAX_ENTRIES = 65_536
MAX_BYTES = 256 << 20
"""A segment is full at so many lines, or so many bytes."""

COMPRESSED = ".zst"
"""What the name of a compressed segment has more."""
UNFINISHED = ".new"
"""What that name has more until the file is whole."""

_NAME = re.compile(r"([0-9]{20})\.jsonl")
_FILE = re.compile(r"([0-9]{20})\.jsonl(\.zst(\.new)?)?")
_T = TypeVar("_T")
_READ_BYTES = 1 << 18
_TAIL_BYTES = 1 << 13


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the log, compressed or not; raises OSError where it cannot be read.

    Whoever reads a log takes no lock, so a segment may be compressed between being listed and being opened:
    the file that is gone then lies there under its other name.
    """

    first: int
    path: Path

    @property
    def compressed(self) -> bool:
        """Whether the file is the compressed one."""
        return self.path.suffix == COMPRESSED

    def open(self, buffering: int = _READ_BYTES) -> BinaryIO:
        """The segment's lines, to be read and sought in.

        Args:
            buffering: how many bytes are read ahead, if it is not compressed.

        Raises:
            IntegrityBroken: it is compressed and damaged; reading it may raise that, too.
        """
        return self._either(partial(_open, buffering=buffering))

    def size(self) -> int:
        """How many bytes its lines are.

        Raises:
            IntegrityBroken: it is compressed and damaged.
        """
        return self._either(_size)

    def stored_size(self) -> int:
        """How many bytes its file is."""
        return self._either(_stored_size)

    def check(self) -> None:
        """Checks what its lines cannot tell: every byte of the file, if it is compressed.

        Raises:
            IntegrityBroken: a byte is not the one that was written.
        """
        self._either(_check)

    def _either(self, use: Callable[[Path], _T]) -> _T:
        try:
            return use(self.path)
        except FileNotFoundError:
            name = segment_name(self.first)
            with suppress(FileNotFoundError):
                return use(self.path.with_name(name if self.compressed else name + COMPRESSED))
            raise


def _open(path: Path, buffering: int) -> BinaryIO:
    if path.suffix == COMPRESSED:
        return compressed.open_compressed(path)
    return path.open("rb", buffering=buffering)


def _size(path: Path) -> int:
    return compressed.lines_size(path) if path.suffix == COMPRESSED else path.stat().st_size


def _stored_size(path: Path) -> int:
    return path.stat().st_size


def _check(path: Path) -> None:
    if path.suffix == COMPRESSED:
        compressed.check(path)
    else:
        path.stat()


def segment_name(first: int) -> str:
    """The file name of the segment whose first line has that seq."""
    return f"{first:020d}.jsonl"


def segment_first(name: str) -> int | None:
    """The first seq of the segment of that file name; None if it is no segment's name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def list_segments(log: Path) -> tuple[Segment, ...]:
    """The segments of a log directory in order; none if there is no such directory.

    Of a segment that lies there in both forms, because a compression is under way or was cut off, it is the
    one that is not compressed.

    Raises:
        IntegrityBroken: a file in the directory is no segment.
    """
    try:
        # A listing that is read while a name is replaced by another one may have neither.
        before, names = None, set(os.listdir(log))
        while names != before:
            before, names = names, set(os.listdir(log))
    except FileNotFoundError:
        return ()
    found: dict[int, Segment] = {}
    for name in sorted(names, reverse=True):
        match = _FILE.fullmatch(name)
        if match is None:
            raise IntegrityBroken(
                "a file in the log directory is not a segment",
                where=str(log / name),
                expected="names like " + segment_name(0),
                hint="Move it elsewhere.",
            )
        # The shorter name comes later, and takes the place of the longer one.
        if match[3] is None:
            found[int(match[1])] = Segment(int(match[1]), log / name)
    return tuple(found[first] for first in sorted(found))


def segment_at(log: Path, first: int) -> Segment:
    """The segment of a log directory whose first line has that seq, whether it is there or not."""
    return Segment(first, log / segment_name(first))


def iter_lines(segment: Segment, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """The complete lines of a segment from an offset on, each with its own offset and without its newline.

    Bytes after the last newline are not yielded. Holds one line in memory, whatever the segment's size.

    Args:
        segment: whose lines.
        offset: where a line begins, in bytes.
    """
    with segment.open() as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield offset, line[:-1]
            offset += len(line)


def line_ending_at(segment: Segment, end: int) -> tuple[int, bytes] | None:
    """The line whose newline is the last byte before ``end``, with its offset; None if there is none."""
    with segment.open(_TAIL_BYTES) as file:
        start, data, step = end, b"", _TAIL_BYTES // 2
        while start > 0:
            step = min(start, step * 2)
            start -= step
            file.seek(start)
            data = file.read(step) + data
            if len(data) < end - start or not data.endswith(b"\n"):
                return None
            newline = data.rfind(b"\n", 0, len(data) - 1)
            if newline >= 0:
                return start + newline + 1, data[newline + 1 : -1]
        return (0, data[:-1]) if data else None


def create_segment(log: Path, first: int, files: Files = FILES) -> int:
    """Creates an empty segment that a crash cannot take back, and returns it open for appending.

    The file itself is synced with its first lines: until then there is nothing in it to be lost.

    Raises:
        OSError: it exists already, or cannot be created.
        StorePoisoned: its name cannot be synced.
    """
    path = log / segment_name(first)
    fd = files.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
    try:
        must_sync(partial(files.fsync_dir, log), log)
    except BaseException:
        files.close(fd)
        raise
    return fd
