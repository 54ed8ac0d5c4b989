"""`Custody`: who has an execution in hand, so that nobody takes one for interrupted that still runs.

Whoever records executions into a directory holds, for as long as the store is open, the lock of a file of
its own, ``runners/<runner>``, and each ``opened`` entry names that runner. The kernel gives the lock back
when the process ends, however it ends, so nothing has to be timed, and no process id is compared that may
be another's by now. An execution that is resumed is claimed by the lock of ``runners/<execution>`` in the
same way. These files hold nothing and are never synced: after a crash of the machine nobody holds a lock.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import portalocker

from intentusnet.errors import StillRunning, StoreWriteFailed
from intentusnet.log.repair import cut_executions

RUNNERS_DIR: Final = "runners"
#: What the name of a file ends with that asks whoever runs an execution to cancel it.
_STOP: Final = ".stop"
#: Seconds after which nobody hears it any more: whoever runs an execution looks many times a second.
_UNHEARD: Final = 3600


class Custody(Protocol):
    """What a store knows of executions that have no end on record."""

    def begin(self, execution_id: str) -> str:
        """Takes an execution in hand that is about to be opened.

        Returns:
            The runner's id, for the `opened` entry.

        Raises:
            StoreRefused: there is no store, and it cannot be made.
            StoreWriteFailed: the runner's lock cannot be taken.
        """
        ...

    def end(self, execution_id: str) -> None:
        """Lets go of an execution: closed, or given up."""
        ...

    def is_running(self, execution_id: str, runner: str | None) -> bool:
        """Whether somebody runs an execution that was opened by that runner, or resumes it."""
        ...

    def claim(self, execution_id: str) -> contextlib.AbstractContextManager[None]:
        """Takes an interrupted execution in hand for as long as the context lasts.

        Raises:
            StillRunning: somebody else has it.
        """
        ...

    def ask_to_stop(self, execution_id: str, reason: str) -> None:
        """Asks whoever runs an execution to cancel it; `stopped` takes that back.

        Raises:
            StoreWriteFailed: it cannot be said.
        """
        ...

    def wants_stopped(self, execution_id: str) -> str | None:
        """Why somebody wants an execution cancelled; None if nobody does."""
        ...

    def stopped(self, execution_id: str) -> None:
        """Takes note that an execution was cancelled, or had ended."""
        ...

    def cut(self) -> frozenset[str]:
        """Executions that a repair has left without an end, though they may have had one."""
        ...


class MemoryCustody:
    """For a store that ends with its process; mutable."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._unwanted: dict[str, str] = {}

    def begin(self, execution_id: str) -> str:
        """See `Custody.begin`."""
        self._running.add(execution_id)
        return ""

    def ask_to_stop(self, execution_id: str, reason: str) -> None:
        """See `Custody.ask_to_stop`."""
        self._unwanted[execution_id] = reason

    def wants_stopped(self, execution_id: str) -> str | None:
        """See `Custody.wants_stopped`."""
        return self._unwanted.get(execution_id)

    def stopped(self, execution_id: str) -> None:
        """See `Custody.stopped`."""
        self._unwanted.pop(execution_id, None)

    def end(self, execution_id: str) -> None:
        """See `Custody.end`."""
        self._running.discard(execution_id)

    def is_running(self, execution_id: str, runner: str | None) -> bool:
        """See `Custody.is_running`."""
        return execution_id in self._running

    @contextlib.contextmanager
    def claim(self, execution_id: str) -> Iterator[None]:
        """See `Custody.claim`."""
        with self._lock:
            if execution_id in self._running:
                raise still_running(execution_id)
            self._running.add(execution_id)
        try:
            yield
        finally:
            self._running.discard(execution_id)

    def cut(self) -> frozenset[str]:
        """See `Custody.cut`. Nothing in memory is ever repaired."""
        return frozenset()


class FileCustody:
    """For a store in a directory; mutable.

    Args:
        directory: the store.
        make: makes the store if it is not there.
    """

    def __init__(self, directory: Path, make: Callable[[], object]) -> None:
        self._store = directory
        self._directory = directory / RUNNERS_DIR
        self._stops = os.path.join(self._directory, "")
        self._make = make
        self._lock = threading.Lock()
        self._start()

    def begin(self, execution_id: str) -> str:
        """See `Custody.begin`."""
        runner = self._runner or self._begin()
        self._running.add(execution_id)
        return runner

    def end(self, execution_id: str) -> None:
        """See `Custody.end`."""
        self._running.discard(execution_id)

    def is_running(self, execution_id: str, runner: str | None) -> bool:
        """See `Custody.is_running`."""
        if runner is not None and runner == self._runner:
            return execution_id in self._running or self._is_locked(execution_id)
        return (runner is not None and self._is_locked(runner)) or self._is_locked(execution_id)

    @contextlib.contextmanager
    def claim(self, execution_id: str) -> Iterator[None]:
        """See `Custody.claim`."""
        self._make()
        fd = self._locked(execution_id)
        if fd is None:
            raise still_running(execution_id)
        self._claimed.add(fd)
        try:
            yield
        finally:
            if fd in self._claimed:
                self._claimed.remove(fd)
                self._give_back(execution_id, fd)

    def ask_to_stop(self, execution_id: str, reason: str) -> None:
        """See `Custody.ask_to_stop`."""
        path = self._directory / f"{execution_id}{_STOP}"
        # Under its name all at once, so that nobody reads half of a reason.
        making = path.with_suffix(f".{secrets.token_hex(4)}-new")
        try:
            self._directory.mkdir(exist_ok=True)
            making.write_text(reason, "utf-8", "replace")
            making.replace(path)
        except OSError as fault:
            making.unlink(missing_ok=True)
            raise StoreWriteFailed(
                "the execution cannot be asked to stop", where=str(path), got=fault.strerror or str(fault)
            ) from fault

    def wants_stopped(self, execution_id: str) -> str | None:
        """See `Custody.wants_stopped`."""
        try:
            with open(f"{self._stops}{execution_id}{_STOP}", encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return None

    def stopped(self, execution_id: str) -> None:
        """See `Custody.stopped`."""
        with contextlib.suppress(OSError):
            os.unlink(f"{self._stops}{execution_id}{_STOP}")

    def cut(self) -> frozenset[str]:
        """See `Custody.cut`.

        Raises:
            IntegrityBroken: the log is damaged.
        """
        return cut_executions(self._store)

    def close(self) -> None:
        """Lets go of everything: what this process has not closed is interrupted from now on."""
        with self._lock:
            for fd in self._held:
                self._give_back(self._runner, fd)
            self._start()

    def after_fork(self) -> None:
        """Starts afresh in a child: what the parent runs is the parent's, and so is its lock.

        Closing the descriptor takes no lock from the parent. Keeping it would keep the lock when the parent
        is killed.
        """
        for fd in (*self._claimed, *self._held):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._running: set[str] = set()
        self._claimed: set[int] = set()
        # The runner's id, and the descriptor that holds its lock; empty until something is recorded.
        self._runner = ""
        self._held: tuple[int, ...] = ()

    def _begin(self) -> str:
        self._make()
        with self._lock:
            if not self._runner:
                self._remove_dead()
                runner, fd = "", None
                # Only those who tidy up can have the lock of a file of that name, and give it back at once.
                while fd is None:
                    runner = secrets.token_hex(16)
                    fd = self._locked(runner)
                self._runner, self._held = runner, (fd,)
            return self._runner

    def _locked(self, name: str) -> int | None:
        """Takes the lock of that name; None if somebody else has it."""
        path = self._directory / name
        try:
            self._directory.mkdir(exist_ok=True)
            while True:
                fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
                taken = _take(fd, portalocker.LockFlags.EXCLUSIVE)
                # Whoever had it before may have removed the name meanwhile: then it is made anew.
                if taken and _is_named(path, fd):
                    return fd
                # Those who only ask whether it is locked hold it for a moment, and share it.
                only_asked = taken or _take(fd, portalocker.LockFlags.SHARED)
                os.close(fd)
                if not only_asked:
                    return None
        except OSError as fault:
            raise StoreWriteFailed(
                "the lock that shows who runs an execution cannot be taken",
                where=str(path),
                got=fault.strerror or str(fault),
            ) from fault

    def _give_back(self, name: str, fd: int) -> None:
        # Under the lock, so that nobody else's file of that name is removed.
        with contextlib.suppress(OSError):
            os.unlink(self._directory / name)
        with contextlib.suppress(OSError):
            os.close(fd)

    def _is_locked(self, name: str) -> bool:
        try:
            fd = os.open(self._directory / name, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two who ask at once do not take each other for the runner.
            return not _take(fd, portalocker.LockFlags.SHARED)
        finally:
            os.close(fd)

    def _remove_dead(self) -> None:
        """Removes the files of runners that were killed; an execution's is removed by who resumes it.

        Also those that asked for a stop and came too late, when the execution was about to end.
        """
        with contextlib.suppress(OSError):
            for path in list(self._directory.iterdir()):
                if path.name.endswith(_STOP) and time.time() - path.stat().st_mtime > _UNHEARD:
                    path.unlink()
                if "-" in path.name:
                    continue
                fd = os.open(path, os.O_RDWR)
                if _take(fd, portalocker.LockFlags.EXCLUSIVE) and _is_named(path, fd):
                    self._give_back(path.name, fd)
                else:
                    os.close(fd)


def _take(fd: int, flags: portalocker.LockFlags) -> bool:
    try:
        portalocker.lock(fd, flags | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.LockException:
        return False
    return True


def _is_named(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def still_running(execution_id: str) -> StillRunning:
    """The error of an execution that somebody has in hand."""
    return StillRunning(
        "the execution is still running",
        where=execution_id,
        hint="Wait for its end. When the process that runs it has ended, it can be resumed.",
    )
