"""The files of a log: segment names, reading lines from them, the calls that change them, and the lock.

A segment is ``log/<first seq, 20 digits>.jsonl``; the names sort as the numbers do. Once another one has
been begun it may be ``.jsonl.zst`` instead (``compressed``), which only :class:`Segment` needs to know: what
it opens are lines, and offsets are those of the lines.

Everything that changes a store goes through :class:`Files`, one method for one system call, so that a test
can make a call fail and a crash simulation can see the order in which bytes, sizes and names reached the
disk. Reading needs no seam and no lock: a reader sees complete lines up to wherever the log ends at that
moment.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from intentusnet.errors import IntegrityBroken, StorePoisoned
from intentusnet.log import compressed

if sys.platform == "win32":
    import portalocker
else:
    import fcntl

LOG_DIR = "log"
QUARANTINE_DIR = "quarantine"
LOCK_FILE = "lock"
MAX_ENTRIES = 65_536
MAX_BYTES = 256 << 20
"""A segment is full at so many lines, or so many bytes."""

COMPRESSED = ".zst"
"""What the name of a compressed segment has more."""
UNFINISHED = ".new"
"""What that name has more until the file is whole."""

_NOT_SYNCED = (errno.EACCES, errno.EPERM, errno.EINVAL, errno.EROFS, errno.ENOTSUP)
_NAME = re.compile(r"([0-9]{20})\.jsonl")
_FILE = re.compile(r"([0-9]{20})\.jsonl(\.zst(\.new)?)?")
_T = TypeVar("_T")
_READ_BYTES = 1 << 18
_FLAGS = getattr(os, "O_BINARY", 0)
# Without F_FULLFSYNC, macOS leaves the bytes in the drive's own cache.
_FULL_SYNC: int | None = getattr(sys.modules.get("fcntl"), "F_FULLFSYNC", None)


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

    def open(self) -> BinaryIO:
        """The segment's lines, to be read and sought in.

        Raises:
            IntegrityBroken: it is compressed and damaged; reading it may raise that, too.
        """
        return self._either(_open)

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


def _open(path: Path) -> BinaryIO:
    if path.suffix == COMPRESSED:
        return compressed.open_compressed(path)
    return path.open("rb", buffering=_READ_BYTES)


def _size(path: Path) -> int:
    return compressed.lines_size(path) if path.suffix == COMPRESSED else path.stat().st_size


def _stored_size(path: Path) -> int:
    return path.stat().st_size


def _check(path: Path) -> None:
    if path.suffix == COMPRESSED:
        compressed.check(path)
    else:
        path.stat()


class Files:
    """The system calls that change a store; errors are the ``OSError`` of the call."""

    def open(self, path: Path | str, flags: int) -> int:
        """Opens or creates a file; the umask decides who else may read it."""
        return os.open(path, flags | _FLAGS, 0o666)

    def close(self, fd: int) -> None:
        """Gives the descriptor back."""
        os.close(fd)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Writes at the file's end (it is open for appending) and returns how many bytes were taken."""
        return os.write(fd, data)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Writes at an offset and returns how many bytes were taken."""
        if sys.platform == "win32":
            os.lseek(fd, offset, os.SEEK_SET)
            return os.write(fd, data)
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        """Makes the file that many bytes long."""
        os.ftruncate(fd, size)

    def fdatasync(self, fd: int) -> None:
        """Returns when the file's bytes, and its size, are on disk."""
        if sys.platform == "linux":
            os.fdatasync(fd)
        else:
            self.fsync(fd)

    def fsync(self, fd: int) -> None:
        """Returns when the file's bytes and attributes are on disk."""
        if _FULL_SYNC is None:
            os.fsync(fd)
        else:
            fcntl.fcntl(fd, _FULL_SYNC)

    def mkdir(self, path: Path) -> None:
        """Creates one directory; its parent must exist."""
        os.mkdir(path)

    def rename(self, old: Path, new: Path) -> None:
        """Gives a file another name, in place of the file that had it."""
        os.replace(old, new)

    def unlink(self, path: Path) -> None:
        """Removes a file's name."""
        os.unlink(path)

    def fsync_dir(self, path: Path) -> None:
        """Returns when the names in the directory are on disk (Windows has no such call, and needs none)."""
        if sys.platform != "win32":
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


FILES = Files()


if sys.platform == "win32":

    def lock_file(fd: int, *, shared: bool = False) -> None:
        """Waits until nobody holds the lock of this file, or only shared ones, and takes it."""
        flags = portalocker.LockFlags
        portalocker.lock(fd, flags.SHARED if shared else flags.EXCLUSIVE)

    def unlock_file(fd: int) -> None:
        """Gives the lock back; harmless if it is not held."""
        portalocker.unlock(fd)

else:
    # Straight to the system call: every append makes two, and portalocker's checks cost more than they do.
    def lock_file(fd: int, *, shared: bool = False) -> None:
        """Waits until nobody holds the lock of this file, or only shared ones, and takes it."""
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)

    def unlock_file(fd: int) -> None:
        """Gives the lock back; harmless if it is not held."""
        fcntl.flock(fd, fcntl.LOCK_UN)


def must_sync(sync: Callable[[], None], what: Path | str) -> None:
    """Makes a sync that is never retried: the kernel may drop what it failed to write and forget that it did.

    Raises:
        StorePoisoned: the sync failed.
    """
    try:
        sync()
    except OSError as error:
        raise poisoned(what, str(error)) from error


def poisoned(what: Path | str, cause: str) -> StorePoisoned:
    """The error of a store that no longer knows what is on disk."""
    return StorePoisoned(
        "whether earlier appends reached the disk is unknown",
        where=str(what),
        got=cause,
        hint="Check the disk, open the store again and run `intentusnet verify`.",
    )


def write_all(files: Files, fd: int, data: bytes) -> None:
    """Writes every byte, going on after a short write.

    Raises:
        OSError: the call failed, or took nothing; some of the bytes may be in the file.
    """
    done = files.write(fd, data)
    while done < len(data):
        taken = files.write(fd, memoryview(data)[done:])
        if taken <= 0:
            raise OSError(f"the file took {done} of {len(data)} bytes")
        done += taken


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
    with segment.open() as file:
        start, data, step = end, b"", 4096
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

    Raises:
        OSError: it exists already, or cannot be created.
        StorePoisoned: it, or its name, cannot be synced.
    """
    path = log / segment_name(first)
    fd = files.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
    try:
        must_sync(partial(files.fsync, fd), path)
        must_sync(partial(files.fsync_dir, log), log)
    except BaseException:
        files.close(fd)
        raise
    return fd


def sync_names(log: Path, files: Files = FILES) -> None:
    """Makes sure that a crash takes back no name in a log and its store, nor the store's own.

    Whoever made them may have been killed before he came to sync them. The names above were synced before
    there was a store.

    Raises:
        StorePoisoned: a name cannot be synced.
    """
    for directory in (log, log.parent):
        must_sync(partial(files.fsync_dir, directory), directory)
    sync_name(log.parent, files)


def sync_name(directory: Path, files: Files = FILES) -> None:
    """Makes sure that a crash does not take back the name of a directory.

    Raises:
        StorePoisoned: it cannot be synced.
    """
    above = directory.absolute().parent
    try:
        files.fsync_dir(above)
    except OSError as error:
        # Not this user's to open, or of a file system whose names need no sync.
        if error.errno not in _NOT_SYNCED:
            raise poisoned(above, str(error)) from error


def make_dir(path: Path, files: Files = FILES) -> None:
    """Creates a directory, if it is not there, that a crash cannot take back.

    Raises:
        OSError: it cannot be created.
        StorePoisoned: its name cannot be synced.
    """
    try:
        files.mkdir(path)
    except FileExistsError:
        return
    must_sync(partial(files.fsync_dir, path.parent), path.parent)
