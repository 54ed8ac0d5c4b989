"""The calls that change a store, the lock, and what a crash must not take back."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.logs import Traced

from intentusnet.errors import StorePoisoned
from intentusnet.log.files import FILES, Files, lock_file, make_dir, must_sync, unlock_file, write_all


def test_a_directory_is_made_and_its_name_is_synced(tmp_path: Path) -> None:
    """Its name is synced also if it was there: whoever made it may not have come that far."""
    files = Traced()
    make_dir(tmp_path / "log", files)
    make_dir(tmp_path / "log", files)
    assert files.calls == [f"fsync_dir {tmp_path.name}"] * 2
    assert (tmp_path / "log").is_dir()


def test_a_short_write_is_gone_on_with(tmp_path: Path) -> None:
    """Every byte is written, whatever the system takes at a time; taking nothing is an error."""

    class Sipping(Files):
        def __init__(self) -> None:
            self.left = 100

        def write(self, fd: int, data: bytes | memoryview) -> int:
            take = min(3, len(data), self.left)
            self.left -= take
            return super().write(fd, data[:take])

    fd = FILES.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        write_all(Sipping(), fd, bytes(range(50)))
        assert (tmp_path / "file").read_bytes() == bytes(range(50))
        with pytest.raises(OSError, match="took 100 of 120 bytes"):
            write_all(Sipping(), fd, bytes(120))
    finally:
        FILES.close(fd)


def test_a_failed_sync_is_called_what_it_is() -> None:
    """must_sync turns the system's error into one that says that the outcome is unknown."""

    def fail() -> None:
        raise OSError(errno.EIO, "gone")

    with pytest.raises(StorePoisoned, match="gone"):
        must_sync(fail, "somewhere")


def test_the_calls_do_what_they_say(tmp_path: Path) -> None:
    """Positioned writes, cutting, syncing and removing act on the real file."""
    path = tmp_path / "file"
    fd = FILES.open(path, os.O_RDWR | os.O_CREAT)
    assert FILES.pwrite(fd, b"abcdef", 2) == 6
    FILES.truncate(fd, 5)
    FILES.fdatasync(fd)
    FILES.fsync(fd)
    FILES.fsync_dir(tmp_path)
    FILES.close(fd)
    assert path.read_bytes() == b"\0\0abc"
    FILES.unlink(path)
    assert not path.exists()


TRY_LOCK = """
import fcntl, sys
with open(sys.argv[1]) as file:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("held")
    else:
        print("free")
"""


def test_the_lock_keeps_other_processes_out(tmp_path: Path) -> None:
    """Between lock and unlock no other process gets it, and unlocking twice does no harm."""

    def seen_from_outside() -> str:
        command = [sys.executable, "-c", TRY_LOCK, str(tmp_path / "lock")]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()

    fd = FILES.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    lock_file(fd)
    assert seen_from_outside() == "held"
    unlock_file(fd)
    unlock_file(fd)
    assert seen_from_outside() == "free"
    FILES.close(fd)
