"""Logs to write to, read back and break."""

import errno
import os
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from intentusnet.ids import ManualClock
from intentusnet.log.entry import Draft, Entry, check_line, genesis, parse_line
from intentusnet.log.files import FILES, Files
from intentusnet.log.segment import (
    LOG_DIR,
    MAX_ENTRIES,
    Segment,
    iter_lines,
    list_segments,
    segment_at,
    segment_name,
)
from intentusnet.log.writer import LogWriter

STORE = "00112233445566778899aabbccddeeff"
EXECUTION = "0197a3c4-5b60-7e21-9d3f-2c1b0a998877"
FIRST = Path(LOG_DIR) / segment_name(0)


class Faulty(Files):
    """Notes calls by name, and makes those fail, or wait, that a test tells it to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.open_now: set[int] = set()
        self.faults: dict[str, list[BaseException | int | None]] = {}
        self.hold: dict[str, threading.Event] = {}
        self.reached: dict[str, threading.Event] = {}

    def _call(self, name: str) -> int | None:
        self.calls.append(name)
        if name in self.hold:
            self.reached[name].set()
            assert self.hold[name].wait(30)
        fault = self.faults[name].pop(0) if self.faults.get(name) else None
        if isinstance(fault, BaseException):
            raise fault
        return fault

    def stop_at(self, name: str) -> tuple[threading.Event, threading.Event]:
        """Lets calls of that name wait: an event for "somebody is there", and one that lets them go on."""
        self.reached[name], self.hold[name] = threading.Event(), threading.Event()
        return self.reached[name], self.hold[name]

    def open(self, path: Path | str, flags: int) -> int:
        self._call(f"create {Path(path).suffix}" if flags & os.O_EXCL else "open")
        fd = super().open(path, flags)
        self.open_now.add(fd)
        return fd

    def close(self, fd: int) -> None:
        self.open_now.remove(fd)
        super().close(fd)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        short = self._call("write")
        return super().write(fd, data if short is None else data[:short])

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        self._call("pwrite")
        return super().pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        self._call("truncate")
        super().truncate(fd, size)

    def fdatasync(self, fd: int) -> None:
        self._call("fdatasync")
        super().fdatasync(fd)

    def fsync(self, fd: int) -> None:
        self._call("fsync")
        super().fsync(fd)

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        super().unlink(path)


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def broken() -> OSError:
    return OSError(errno.EIO, "Input/output error")


def writer(directory: Path, files: Files = FILES, *, max_entries: int = MAX_ENTRIES) -> LogWriter:
    clock = ManualClock(step_us=1)
    return LogWriter(directory, STORE, clock=clock, max_entries=max_entries, files=files)


def drafts(count: int, text: str = "") -> list[Draft]:
    return [Draft.make("opened", EXECUTION, b'{"n":"%b%d"}' % (text.encode(), n)) for n in range(count)]


def log_of(directory: Path, max_entries: int | None = MAX_ENTRIES) -> list[Entry]:
    """Every line of the log, checked: template, seqs, commits, one chain, full segments but the last."""
    entries: list[Entry] = []
    chain = genesis(STORE)
    segments = list_segments(directory / LOG_DIR)
    for segment in segments:
        assert segment.first == len(entries)
        for _, line in iter_lines(segment):
            chain = check_line(line, len(entries), chain)[4]
            entries.append(parse_line(line))
        with segment.open() as file:
            assert file.read()[-1:] in (b"\n", b"")
    assert max_entries is None or all(b.first - a.first == max_entries for a, b in pairwise(segments))
    return entries


def first_of(directory: Path) -> Segment:
    return segment_at(directory / LOG_DIR, 0)


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def until(condition: Callable[[], bool]) -> None:
    """Gives the other threads their time until they have got there."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never happened"


def in_threads(count: int, work: Callable[[int], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


class Unsynced(Files):
    """Syncs nothing, for tests of many stores whose machine is not switched off."""

    def fsync(self, fd: int) -> None: ...

    def fdatasync(self, fd: int) -> None: ...

    def fsync_dir(self, path: Path) -> None: ...


class FailsAt(Files):
    """Lets the n-th call that changes something fail, before or after it has taken effect."""

    def __init__(self, at: int, late: bool) -> None:
        self.left = at
        self.late = late

    def _fail(self) -> bool:
        self.left -= 1
        return self.left == 0

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if self._fail():
            if self.late:
                super().write(fd, data[: len(data) // 2])
            raise OSError(errno.EIO, "write")
        return super().write(fd, data)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        if self._fail():
            return super().pwrite(fd, data[: len(data) // 2], offset) if self.late else 0
        return super().pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        failed = self._fail()
        if self.late or not failed:
            super().truncate(fd, size)
        if failed:
            raise OSError(errno.EIO, "truncate")

    def fsync(self, fd: int) -> None:
        if self._fail():
            raise OSError(errno.EIO, "fsync")
        super().fsync(fd)

    def fsync_dir(self, path: Path) -> None:
        if self._fail():
            raise OSError(errno.EIO, "fsync_dir")
        super().fsync_dir(path)

    def mkdir(self, path: Path) -> None:
        if self._fail():
            raise OSError(errno.EIO, "mkdir")
        super().mkdir(path)


class Traced(Files):
    """Notes the calls that were made, by name."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def open(self, path: Path | str, flags: int) -> int:
        self.calls.append(f"open {Path(path).name}")
        return super().open(path, flags)

    def fsync(self, fd: int) -> None:
        self.calls.append("fsync")
        super().fsync(fd)

    def fsync_dir(self, path: Path) -> None:
        self.calls.append(f"fsync_dir {path.name}")
        super().fsync_dir(path)
