"""What a program did to its files, call by call, and what it told its callers in between.

:class:`Recording` is the file layer of one process: it makes the real calls, in a real directory, and writes
each into the :class:`Trace` of that directory, which several processes may share. A process can be stopped at
any call: nothing of what it does after that happens, as if it had been killed.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crash.simdisk import Disk, Tree
from crash.sites import in_stack

from intentusnet.log.files import Files


class Killed(BaseException):
    """The process ends here."""


@dataclass(frozen=True)
class Call:
    """One call that has taken effect: its name, for :func:`perform`, and its arguments."""

    name: str
    arguments: tuple[object, ...]

    def __str__(self) -> str:
        shown = (f"{len(a)} bytes" if isinstance(a, bytes) else repr(a) for a in self.arguments)
        return f"{self.name}({', '.join(shown)})"


@dataclass(frozen=True)
class Crashed:
    """The machine came back with that on disk."""

    tree: Tree

    def __str__(self) -> str:
        return "the machine crashed"


class Trace:
    """Everything that happened in a directory: calls, and notes of what was promised; mutable.

    Args:
        root: an existing directory, whose content is on disk.

    Attributes:
        start: what was there at the beginning.
        events: calls and notes, in order.
        since: crashes before that event are another trace's.
        disk: what the calls have done.
        syncs: how often each sync was asked for, by name.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.start = tree_of(root)
        self.events: list[object] = []
        self.since = 0
        self.disk = Disk(self.start)
        self.syncs: Counter[str] = Counter()
        self.lock = threading.RLock()

    def do(self, name: str, *arguments: object) -> None:
        """Notes a call; the lock must be held from before its effect on."""
        call = Call(name, arguments)
        perform(self.disk, call, len(self.events))
        self.events.append(call)

    def note(self, what: object) -> None:
        """Notes what is known from now on."""
        with self.lock:
            self.events.append(what)

    def crash(self, tree: Tree) -> None:
        """The machine stops, and comes back with that on disk; no process may be running."""
        shutil.rmtree(self.root)
        write_tree(self.root, tree)
        self.disk = Disk(tree)
        self.events.append(Crashed(tree))


def perform(disk: Disk, call: Call, time: int) -> None:
    """What a call does to a disk at that time."""
    match call.name, call.arguments:
        case "create", (int(directory), str(name), data):
            disk.directories[directory].change(time, None, name, disk.add(data))
        case "rename", (int(directory), gone, come, int(number)):
            disk.directories[directory].change(time, gone, come, number)
        case "write", (int(number), int(offset), bytes(data)):
            disk.files[number].write(time, offset, data)
        case "truncate", (int(number), int(size)):
            disk.files[number].truncate(time, size)
        case "sync", (int(number), int(began)):
            disk.files[number].sync(began)
        case "drop", (int(number),):
            disk.files[number].drop()
        case "sync_dir", (int(directory), int(began)):
            disk.directories[directory].sync(began)
        case _:
            raise AssertionError(call)


class Recording(Files):
    """The calls of one process, made and written down; for any number of threads.

    Args:
        trace: what to write them into.
        skip: names the sync that this process does not make, though it says that it has.
        die_at: the process ends at that call, counted from 1, before it has an effect.

    Attributes:
        calls: how many calls were made.
        faults: what the next calls of a method do instead of succeeding: raise, or take only so many bytes.
        on_sync: called by the sync of a file between its beginning and its end.
        open_now: the descriptors that are open.
        memory: what the process holds on to until its end, so that nothing is closed before.
    """

    def __init__(self, trace: Trace, *, skip: str | None = None, die_at: int = 0) -> None:
        self.trace = trace
        self.skip = skip
        self.die_at = die_at
        self.dead = False
        self.calls = 0
        self.faults: dict[str, list[OSError | int | None]] = {}
        self.on_sync: Callable[[], None] = lambda: None
        self.open_now: dict[int, _Descriptor] = {}
        self.memory: list[object] = []

    def end(self) -> None:
        """Ends the process: what it had open is closed, and nothing more is done."""
        self.dead = True
        self.memory.clear()
        if self.open_now:
            gc.collect()
        for fd in list(self.open_now):
            self.close(fd)

    def _path(self, path: Path | str) -> str:
        found = Path(path).relative_to(self.trace.root).as_posix()
        return "" if found == "." else found

    def _begin(self, method: str) -> int | None:
        """Every call begins here; returns how many bytes it may take, if that was limited."""
        if self.dead:
            raise OSError("the process has ended")
        self.calls += 1
        if self.calls == self.die_at:
            self.dead = True
            raise Killed
        fault = self.faults[method].pop(0) if self.faults.get(method) else None
        if isinstance(fault, OSError):
            raise fault
        return fault

    def open(self, path: Path | str, flags: int) -> int:
        with self.trace.lock:
            self._begin("open")
            fd = super().open(path, flags)
            name = self._path(path)
            number = self.trace.disk.find(name)
            if number is None:
                above, _, last = name.rpartition("/")
                self.trace.do("create", self.trace.disk.find(above), last, b"")
                number = self.trace.disk.find(name)
            elif flags & os.O_TRUNC:
                self.trace.do("truncate", number, 0)
            self.open_now[fd] = _Descriptor(number, bool(flags & os.O_APPEND))
            return fd

    def close(self, fd: int) -> None:
        with self.trace.lock:
            # After its end the process has nothing open, and the number may be another's.
            if fd in self.open_now or not self.dead:
                del self.open_now[fd]
                super().close(fd)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        with self.trace.lock:
            data = data[: self._begin("write")]
            taken = super().write(fd, data)
            at = self.open_now[fd]
            offset = len(self.trace.disk.files[at.number].data) if at.appends else at.position
            self.trace.do("write", at.number, offset, bytes(data[:taken]))
            at.position = offset + taken
            return taken

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        with self.trace.lock:
            data = data[: self._begin("pwrite")]
            taken = super().pwrite(fd, data, offset)
            self.trace.do("write", self.open_now[fd].number, offset, bytes(data[:taken]))
            return taken

    def truncate(self, fd: int, size: int) -> None:
        with self.trace.lock:
            self._begin("truncate")
            super().truncate(fd, size)
            self.trace.do("truncate", self.open_now[fd].number, size)

    def fdatasync(self, fd: int) -> None:
        self._sync(fd, "fdatasync")

    def fsync(self, fd: int) -> None:
        self._sync(fd, "fsync")

    def _sync(self, fd: int, how: str) -> None:
        site = in_stack(sys._getframe(2), how)
        with self.trace.lock:
            self._begin_sync(fd, how)
            began = len(self.trace.events)
            self.trace.syncs[site] += 1
        self.on_sync()
        with self.trace.lock:
            if site != self.skip:
                self.trace.do("sync", self.open_now[fd].number, began)

    def _begin_sync(self, fd: int, how: str) -> None:
        try:
            self._begin(how)
        except OSError:
            if not self.dead:
                self.trace.do("drop", self.open_now[fd].number)
            raise

    def mkdir(self, path: Path) -> None:
        with self.trace.lock:
            self._begin("mkdir")
            super().mkdir(path)
            above, _, name = self._path(path).rpartition("/")
            self.trace.do("create", self.trace.disk.find(above), name, None)

    def unlink(self, path: Path) -> None:
        with self.trace.lock:
            self._begin("unlink")
            super().unlink(path)
            above, _, name = self._path(path).rpartition("/")
            number = self.trace.disk.find(self._path(path))
            self.trace.do("rename", self.trace.disk.find(above), name, None, number)

    def rename(self, old: Path, new: Path) -> None:
        with self.trace.lock:
            self._begin("rename")
            disk = self.trace.disk
            (above, _, name), (to, _, new_name) = (self._path(p).rpartition("/") for p in (old, new))
            number = disk.find(self._path(old))
            super().rename(old, new)
            if above == to:
                self.trace.do("rename", disk.find(above), name, new_name, number)
            else:
                # POSIX does not say that the disk learns of both directories at once.
                self.trace.do("rename", disk.find(to), None, new_name, number)
                self.trace.do("rename", disk.find(above), name, None, number)

    def fsync_dir(self, path: Path) -> None:
        site = in_stack(sys._getframe(1), "fsync_dir")
        with self.trace.lock:
            self._begin("fsync_dir")
            self.trace.syncs[site] += 1
            # What lies above the root is on disk.
            if site != self.skip and Path(path).is_relative_to(self.trace.root):
                self.trace.do("sync_dir", self.trace.disk.find(self._path(path)), len(self.trace.events))


@dataclass
class _Descriptor:
    number: int
    appends: bool
    position: int = 0


def write_tree(root: Path, tree: Tree) -> None:
    """Makes a directory with those files and directories in it."""
    root.mkdir()
    for path, data in sorted(tree.items()):
        if data is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(data)


def tree_of(root: Path) -> Tree:
    """The files and directories below a directory."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }
