"""The calls that change a store, its lock, and what a crash must not take back.

Everything that changes a store goes through :class:`Files`, one method for one system call, so that a test
can make a call fail and a crash simulation can see the order in which bytes, sizes and names reached the
disk. Reading needs no seam and no lock.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from intentusnet.errors import StorePoisoned

if sys.platform == "win32":
    import portalocker
else:
    import fcntl

LOCK_FILE = "lock"

_NOT_SYNCED = (errno.EACCES, errno.EPERM, errno.EINVAL, errno.EROFS, errno.ENOTSUP)
_FLAGS = getattr(os, "O_BINARY", 0)
# Without F_FULLFSYNC, macOS leaves the bytes in the drive's own cache.
_FULL_SYNC: int | None = getattr(sys.modules.get("fcntl"), "F_FULLFSYNC", None)


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
    _flock, _SHARED, _EXCLUSIVE, _UNLOCK = fcntl.flock, fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN

    def lock_file(fd: int, *, shared: bool = False) -> None:
        """Waits until nobody holds the lock of this file, or only shared ones, and takes it."""
        _flock(fd, _SHARED if shared else _EXCLUSIVE)

    def unlock_file(fd: int) -> None:
        """Gives the lock back; harmless if it is not held."""
        _flock(fd, _UNLOCK)


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


def sync_names(directory: Path, files: Files = FILES) -> None:
    """Makes sure that a crash takes back no name in a store's directory, nor the directory's own.

    Whoever made them may have been killed before he came to sync them. The names above were synced before
    there was a store.

    Raises:
        StorePoisoned: a name cannot be synced.
    """
    must_sync(partial(files.fsync_dir, directory), directory)
    sync_name(directory, files)


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
    with suppress(FileExistsError):
        files.mkdir(path)
    # Also if it was there: whoever made it may have been killed before he synced it.
    must_sync(partial(files.fsync_dir, path.parent), path.parent)
