"""`Pool`: keeps worker processes warm, and ends them; `Worker` is one of them, seen from its parent.

Workers are forked by multiprocessing's fork server, which has neither this process's threads nor its memory.
Each leads a session and group of processes of its own, which is killed as a whole.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import socket
import threading
import weakref
from collections.abc import Callable, Iterable
from multiprocessing import connection, get_context, process
from multiprocessing.process import BaseProcess
from typing import Any, Final

from intentusnet.errors import ConfigurationError
from intentusnet.stores.custody import LOOK_EVERY
from intentusnet.workers.wire import CHUNK, Frames, Message
from intentusnet.workers.worker import is_importing, serve

#: So many idle workers are kept; those beyond them end when their call has.
KEPT: Final = 8
#: Seconds that a process may take to end that has nothing to do, or was killed.
_ENDS_WITHIN: Final = 5.0

_starting = threading.Lock()
#: The program ends, and with it each thread but the main one, wherever it is.
_ends = False


class NoWorker(Exception):
    """There is no worker for a call: there are as many as may be, or the pool is closed."""


class Worker:
    """A worker process, seen from its parent; mutable. One thread reads; many may write.

    Attributes:
        is_ready: whether it has said so.
        defined: the agents that it has imported: what it was told of each, by its key.
    """

    def __init__(self) -> None:
        context = get_context("forkserver")
        theirs, self._lifeline = context.Pipe(duplex=False)
        self._socket, other = socket.socketpair()
        given: list[Any] = [other, theirs, *_streams()]
        self._process: BaseProcess = context.Process(
            target=serve, args=tuple(given), name="intentusnet-worker"
        )
        try:
            with _starting:
                if _ends and threading.current_thread() is not threading.main_thread():
                    raise OSError("the program ends")
                self._process.start()
                # Ours to look after: multiprocessing would wait for it at the end of the program, and ask how
                # it is, in forked processes, too, which can be answered only once.
                getattr(process, "_children", set()).discard(self._process)
        except BaseException:
            self.close()
            raise
        finally:
            for end in given:
                end.close()
        self.is_ready = False
        self.defined: dict[str, bytes] = {}
        self._socket.setblocking(False)
        self._frames = Frames()
        self._sending = threading.Lock()
        self._news = select.poll()
        self._news.register(self._socket, select.POLLIN)
        self._news.register(self._process.sentinel, select.POLLIN)
        self._death = select.poll()
        self._death.register(self._process.sentinel, select.POLLIN)
        self._room = select.poll()
        self._room.register(self._socket, select.POLLOUT)

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether its process has not ended."""
        return not self._death.poll(0)

    def send(self, message: bytes, look: Callable[[], None]) -> None:
        """Tells it something.

        Args:
            message: the bytes.
            look: called now and then while it does not read; raises if that is not to be waited for.

        Raises:
            OSError: it has ended.
        """
        while not self._sending.acquire(timeout=LOOK_EVERY):
            look()
        try:
            rest = memoryview(message)
            while rest:
                try:
                    rest = rest[self._socket.send(rest) :]
                except BlockingIOError:
                    look()
                    # It may have ended and left its end of the connection to a process of its own.
                    if not self._room.poll(LOOK_EVERY * 1000) and not self.is_alive:
                        raise BrokenPipeError from None
        finally:
            self._sending.release()

    def wait(self, seconds: float) -> bool:
        """Waits for a message, or for its end: whether there is any of them."""
        return bool(self._news.poll(seconds * 1000))

    def read(self) -> list[Message]:
        """The messages that have come.

        Raises:
            EOFError: it has ended, and all that it has said was read.
            ValueError: it says what makes no sense.
        """
        messages: list[Message] = []
        ended = not self.is_alive
        with contextlib.suppress(BlockingIOError):
            try:
                while data := self._socket.recv(CHUNK):
                    messages += self._frames.feed(data)
                    if messages and not ended:
                        return messages
                ended = True
            except ConnectionResetError:
                ended = True
        if ended and not messages:
            raise EOFError
        return messages

    def kill(self) -> None:
        """Kills it, and what its agents have started in its group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # it leads no group yet, or has ended
            self._process.kill()

    def exit_code(self) -> int | None:
        """What it ended with, -9 for SIGKILL, as soon as it has; None if it takes too long."""
        self._death.poll(_ENDS_WITHIN * 1000)
        return self._process.exitcode

    def dismiss(self) -> None:
        """Tells it that nothing more will be asked of it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def end(self) -> None:
        """Lets it end that has nothing to do; if it does not, it is killed."""
        self.dismiss()
        if self.exit_code() is None:
            self.kill()
            self.exit_code()
        self.close()

    def close(self) -> None:
        """Gives back what it holds here; if it is alive, that ends it."""
        self._socket.close()
        self._lifeline.close()


def _streams() -> list[connection.Connection]:
    """Copies of stdout and stderr, as multiprocessing hands on descriptors; none if they are closed."""
    copies: list[connection.Connection] = []
    with contextlib.suppress(OSError):
        for number in (1, 2):
            copies.append(connection.Connection(os.dup(number), readable=False))
    return copies


class Pool:
    """Worker processes; mutable, for many threads.

    Args:
        limit: so many may be there at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._start()
        _pools.add(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._making = 0
        self.is_closed = False
        # Where nobody closes the runtime, its workers end with it.
        self._end = weakref.finalize(self, _kill, self._all)
        self._end.atexit = False

    def take(self) -> Worker:
        """A worker for one call: the one that was used last, or a new one, which may not be ready yet.

        Raises:
            NoWorker: there are as many as may be, or the pool is closed.
            ConfigurationError: this is a worker itself that imports a module.
        """
        if is_importing():
            raise ConfigurationError(
                "a module calls agents while it is imported that run in processes of their own",
                hint='put what it does into `if __name__ == "__main__":`',
            )
        with self._lock:
            if self.is_closed:
                raise NoWorker("the runtime is closed")
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive:
                    return worker
                self._forget(worker)
            if len(self._all) + self._making >= self._limit:
                raise NoWorker(f"all {self._limit} workers are busy")
            self._making += 1
        return self._made()

    def give_back(self, worker: Worker) -> None:
        """Takes back a worker whose call is over."""
        with self._lock:
            if not self.is_closed and len(self._idle) < KEPT:
                self._idle.append(worker)
                return
            self._all.discard(worker)
        # Whoever has had its answer is not to wait for the end of a process.
        threading.Thread(target=worker.end, name="intentusnet-ending", daemon=True).start()

    def lost(self, worker: Worker, warm: Callable[[Worker], bool] | None = None) -> None:
        """Takes note that a worker has ended, or was killed, and makes another one if none is left.

        Args:
            worker: the one that is gone.
            warm: makes the other one ready, in a thread of its own, and returns whether it is.
        """
        with self._lock:
            self._forget(worker)
            if self.is_closed or warm is None or self._idle or len(self._all) + self._making >= self._limit:
                return
            self._making += 1
        threading.Thread(target=self._replace, args=(warm,), name="intentusnet-warm", daemon=True).start()

    def close(self) -> None:
        """Ends all workers; calls that are under way lose theirs."""
        with self._lock:
            self.is_closed = True
            idle, busy = self._idle, self._all.difference(self._idle)
            self._idle = []
            self._all.clear()
        for worker in busy:
            worker.kill()  # whoever waits for it notices
        for worker in idle:
            worker.dismiss()
        for worker in idle:
            worker.end()

    def after_fork(self) -> None:
        """Starts afresh in a child: the parent's workers are the parent's."""
        for worker in self._all:
            worker.close()
        self._end.detach()
        self._start()

    def _made(self) -> Worker:
        try:
            worker = Worker()
        except BaseException as fault:
            with self._lock:
                self._making -= 1
            # The second is what multiprocessing says where its daemons want to start processes.
            if isinstance(fault, OSError | AssertionError):
                raise NoWorker(f"no process could be started: {fault}") from fault
            raise
        with self._lock:
            self._making -= 1
            if not self.is_closed:
                self._all.add(worker)
                return worker
        worker.kill()
        worker.end()
        raise NoWorker("the runtime is closed")

    def _replace(self, warm: Callable[[Worker], bool]) -> None:
        with contextlib.suppress(NoWorker):
            worker = self._made()
            if warm(worker):
                self.give_back(worker)
            else:
                worker.kill()
                self.lost(worker)

    def _forget(self, worker: Worker) -> None:
        self._all.discard(worker)
        worker.close()


def _kill(workers: Iterable[Worker]) -> None:
    for worker in tuple(workers):
        with contextlib.suppress(OSError):
            worker.kill()
            worker.close()


#: For the moment at which all of them have to be found.
_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_fork() -> None:
    global _starting  # noqa: PLW0603 - somebody may have held it when the process was forked
    _starting = threading.Lock()
    for pool in tuple(_pools):
        pool.after_fork()


def _at_exit() -> None:
    """Lets no thread that ends with the program leave the fork server with half of a request.

    The fork server would end with a traceback.
    """
    global _ends  # noqa: PLW0603 - a program ends once
    taken = _starting.acquire(timeout=_ENDS_WITHIN)
    _ends = True
    if taken:
        _starting.release()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
