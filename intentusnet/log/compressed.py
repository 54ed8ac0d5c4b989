"""The compressed form of a sealed segment: ``<first seq>.jsonl.zst``.

It is Zstandard's *seekable format* (version 0.1.0, ``contrib/seekable_format`` of the zstd sources): frames
that can be decompressed each on its own, and a table of them at the end, in a frame that decompressors skip.
So ``zstd -dc`` gives the segment's lines byte for byte, and one line costs the decompression of one frame.
The file, in bytes, all numbers little-endian::

    data frames    any number   each with at most 1 MiB of lines, and zstd's own checksum of them
    digest frame   u32          0x184D2A5D, a skippable frame
                   u32          32, its length
                   32 bytes     SHA-256 of every other byte of the file, in order
    seek table     u32          0x184D2A5E, a skippable frame
                   u32          its length: 8 × number of frames + 9
                   u32 u32      compressed and uncompressed size, for each frame before the table;
                                the last one is the digest frame: 40 and 0
                   u32          the number of those frames
                   u8           0: the table has no checksums
                   u32          0x8F92EAB1

A frame ends with a line as soon as it has 128 KiB; only a line that makes it longer than 1 MiB is cut, so
that no reader needs more memory than that for any file. Zstandard has bits that no decompressor minds; the
digest minds all of them. It is for those who check everything (`check`): whoever reads one line checks that
line's own commit.
"""

from __future__ import annotations

import io
import os
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, Final

from intentusnet.errors import IntegrityBroken, StoreWriteFailed
from intentusnet.log.zstd import compress, decompress

FRAME_BYTES: Final = 128 << 10
MAX_FRAME_BYTES: Final = 1 << 20
#: 128 GiB of lines. The table of a file with more frames is not even read.
MAX_FRAMES: Final = 1 << 20

_SKIPPABLE: Final = Struct("<II")
_FOOTER: Final = Struct("<IBI")
_ENTRY_BYTES: Final = 8
_DIGEST_MAGIC: Final = 0x184D2A5D
_TABLE_MAGIC: Final = 0x184D2A5E
_SEEKABLE_MAGIC: Final = 0x8F92EAB1
_DIGEST_BYTES: Final = 32
_DIGEST_FRAME_BYTES: Final = _SKIPPABLE.size + _DIGEST_BYTES
_READ_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class _Table:
    """Where each data frame begins in the file, with the end of the last one; where its lines end."""

    starts: array[int]
    ends: array[int]
    digest_at: int
    digest: bytes

    @property
    def size(self) -> int:
        return self.ends[-1] if self.ends else 0


def encode(lines: Iterable[bytes]) -> Iterator[bytes]:
    """A compressed segment in pieces that are to be written one after the other; holds a frame in memory.

    Args:
        lines: the lines of the segment, each with its newline.

    Raises:
        StoreWriteFailed: there are more than :data:`MAX_FRAMES` frames.
    """
    hashed, sizes = sha256(), array("I")
    for data in _frames_of(lines):
        if len(sizes) >= 2 * (MAX_FRAMES - 1):
            raise StoreWriteFailed(
                "a segment is too large to be compressed",
                expected=f"{MAX_FRAMES - 1} frames of {FRAME_BYTES} bytes at most",
                got="more",
                hint="Let the store seal its segments earlier.",
            )
        frame = compress(data)
        hashed.update(frame)
        sizes.extend((len(frame), len(data)))
        yield frame
    sizes.extend((_DIGEST_FRAME_BYTES, 0))
    count = len(sizes) // 2
    if sys.byteorder == "big":
        sizes.byteswap()
    before = _SKIPPABLE.pack(_DIGEST_MAGIC, _DIGEST_BYTES)
    table = _SKIPPABLE.pack(_TABLE_MAGIC, count * _ENTRY_BYTES + _FOOTER.size) + sizes.tobytes()
    table += _FOOTER.pack(count, 0, _SEEKABLE_MAGIC)
    hashed.update(before + table)
    yield before + hashed.digest() + table


def _frames_of(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, put together into as much as goes into a frame each."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= FRAME_BYTES:
            data = held[0] if len(held) == 1 else b"".join(held)
            for start in range(0, size, MAX_FRAME_BYTES):
                yield data[start : start + MAX_FRAME_BYTES]
            held, size = [], 0
    if held:
        yield b"".join(held)


def open_compressed(path: Path) -> BinaryIO:
    """The lines of a compressed segment, to be read and sought in; offsets are those of the lines.

    Reading raises IntegrityBroken where a frame is damaged.

    Raises:
        IntegrityBroken: the table of the frames is not what was written.
        OSError: the file cannot be opened or read.
    """
    file = path.open("rb", buffering=0)
    try:
        return io.BufferedReader(_Lines(file, _read_table(file, path), path), FRAME_BYTES)
    except BaseException:
        file.close()
        raise


def lines_size(path: Path) -> int:
    """How many bytes the lines of a compressed segment are; raises what `open_compressed` does."""
    with path.open("rb", buffering=0) as file:
        return _read_table(file, path).size


def check(path: Path) -> None:
    """Checks every byte of a compressed segment against its digest; decompresses nothing.

    Raises:
        IntegrityBroken: a byte is not the one that was written.
        OSError: the file cannot be opened or read.
    """
    hashed = sha256()
    with path.open("rb", buffering=0) as file:
        table = _read_table(file, path)
        skipped = range(table.digest_at, table.digest_at + _DIGEST_BYTES)
        file.seek(0)
        at = 0
        while True:
            end = skipped.start if at < skipped.start else sys.maxsize
            chunk = file.read(min(_READ_BYTES, end - at))
            if not chunk:
                break
            hashed.update(chunk)
            at += len(chunk)
            if at == skipped.start:
                at = file.seek(skipped.stop)
    if hashed.digest() != table.digest:
        what = "a compressed segment is not the one that was written"
        raise _broken(path, what, f"SHA-256 {table.digest.hex()}", hashed.hexdigest())


def _read_table(file: io.FileIO, path: Path) -> _Table:
    """Reads the end of the file, and checks that its frames fill the file."""
    size = os.fstat(file.fileno()).st_size
    count, descriptor, magic = _FOOTER.unpack(_read_at(file, size - _FOOTER.size, _FOOTER.size, path))
    if magic != _SEEKABLE_MAGIC or descriptor != 0 or not 1 <= count <= MAX_FRAMES:
        raise _no_table(path, f"0x{magic:08X} after a descriptor of {descriptor} and {count} frames")
    length = count * _ENTRY_BYTES + _FOOTER.size
    table_at = size - length - _SKIPPABLE.size
    data = _read_at(file, table_at, length + _SKIPPABLE.size, path)
    if _SKIPPABLE.unpack_from(data) != (_TABLE_MAGIC, length):
        raise _no_table(path, "a table of another length")
    sizes = array("I", data[_SKIPPABLE.size : -_FOOTER.size])
    if sys.byteorder == "big":
        sizes.byteswap()
    packed, unpacked = sizes[0:-2:2], sizes[1:-2:2]
    # Twice as much is more than what cannot be compressed ever takes.
    largest = max(packed, default=1) // 2, max(unpacked, default=1)
    if (
        sizes[-2:].tolist() != [_DIGEST_FRAME_BYTES, 0]
        or min(unpacked, default=1) < 1
        or max(largest) > MAX_FRAME_BYTES
    ):
        raise _no_table(path, "frames of impossible sizes")
    starts = array("Q", accumulate(packed, initial=0))
    if starts[-1] != table_at - _DIGEST_FRAME_BYTES:
        raise _no_table(path, f"frames of {starts[-1] + _DIGEST_FRAME_BYTES} bytes in {table_at} bytes")
    digest_frame = _read_at(file, starts[-1], _DIGEST_FRAME_BYTES, path)
    if _SKIPPABLE.unpack_from(digest_frame) != (_DIGEST_MAGIC, _DIGEST_BYTES):
        raise _no_table(path, "no digest before it")
    digest_at = starts[-1] + _SKIPPABLE.size
    return _Table(starts, array("Q", accumulate(unpacked)), digest_at, digest_frame[_SKIPPABLE.size :])


class _Lines(io.RawIOBase):
    """The uncompressed bytes of a file; mutable: its position, and the last frame that was decompressed.

    Args:
        file: belongs to this object from now on.
        table: the file's.
        path: the file's, to be named in errors.
    """

    def __init__(self, file: io.FileIO, table: _Table, path: Path) -> None:
        super().__init__()
        self._file = file
        self._table = table
        self._path = path
        self._position = 0
        self._held = -1
        self._data = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._table.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Reads to the end of a frame at most."""
        if self._position >= self._table.size:
            return 0
        number = bisect_right(self._table.ends, self._position)
        if number != self._held:
            self._data, self._held = self._frame(number), number
        end = self._table.ends[number]
        at = len(self._data) - (end - self._position)
        taken = min(len(buffer), end - self._position)
        buffer[:taken] = self._data[at : at + taken]
        self._position += taken
        return taken

    def close(self) -> None:
        self._file.close()
        super().close()

    def _frame(self, number: int) -> bytes:
        table = self._table
        start, end = table.starts[number], table.starts[number + 1]
        size = table.ends[number] - (table.ends[number - 1] if number else 0)
        try:
            return decompress(_read_at(self._file, start, end - start, self._path), size)
        except IntegrityBroken as fault:
            fault.where = f"{self._path}, frame {number + 1}, byte {start}"
            raise


def _read_at(file: io.FileIO, offset: int, size: int, path: Path) -> bytes:
    """So many bytes from there."""
    parts: list[bytes] = []
    if offset >= 0:
        file.seek(offset)
        while size > 0 and (part := file.read(size)):
            parts.append(part)
            size -= len(part)
    if offset < 0 or size > 0:
        raise _no_table(path, "a file that is too short")
    return b"".join(parts)


def _no_table(path: Path, got: str) -> IntegrityBroken:
    what = "a compressed segment is damaged, or cut"
    return _broken(path, what, "a table of its frames at its end, as it was written", got)


def _broken(path: Path, what: str, expected: str, got: str) -> IntegrityBroken:
    hint = "`intentusnet verify` says more; `intentusnet repair` keeps what is good."
    return IntegrityBroken(what, where=str(path), expected=expected, got=got, hint=hint)
