"""What ``async`` appends have handed over: a bounded queue, and the thread that takes it to disk.

The queue is written by whoever writes next, in the order in which entries were handed over, so that an append
of another durability never overtakes them. When nobody does, the thread does it: a write and a sync begin at
most ``milliseconds`` after an entry was handed over. When ``entries`` of them are not on disk yet, the next
append is one that waits for the disk, so that no more can be lost.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from intentusnet.errors import IntentusError, InvalidInput, StorePoisoned
from intentusnet.log.entry import Draft


@dataclass(frozen=True, slots=True)
class AsyncBound:
    """What ``async`` durability may lose when the process or the machine dies.

    Args:
        entries: so many entries at most are not on disk.
        milliseconds: the sync of an entry begins so long after it was handed over, at the latest.

    Raises:
        InvalidInput: an argument is not a positive integer.
    """

    entries: int = 1000
    milliseconds: int = 50

    def __post_init__(self) -> None:
        for name, bound in (("entries", self.entries), ("milliseconds", self.milliseconds)):
            if type(bound) is not int or bound < 1:
                raise InvalidInput(
                    "not a bound of what may be lost",
                    where=f"async_bound.{name}",
                    expected="1 or more",
                    got=repr(bound),
                )


class Backlog:
    """Entries that were handed over and are not written yet; mutable, for many threads.

    Args:
        bound: of the entries that are not on disk.
        to_disk: takes everything to disk; called by the backlog's own thread.
    """

    def __init__(self, bound: AsyncBound, to_disk: Callable[[], None]) -> None:
        self._bound = bound
        self._to_disk = to_disk
        self._begin()

    def _begin(self) -> None:
        self._mutex = threading.Lock()
        self._drafts: list[Draft] = []
        self._taken: list[Draft] = []
        self._accepted = self._written = self._on_disk = 0
        self._written_seq = -1
        self._due = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def offer(self, drafts: Sequence[Draft], durable: int) -> bool:
        """Takes the drafts over, unless that would be more than may be lost.

        Args:
            drafts: the entries, in order.
            durable: the highest seq that is known to be on disk.
        """
        with self._mutex:
            if durable >= self._written_seq:
                self._on_disk = self._written
            if self._accepted + len(drafts) - self._on_disk > self._bound.entries:
                return False
            if self._thread is None and not self._start():
                return False
            self._drafts.extend(drafts)
            self._accepted += len(drafts)
        if not self._due.is_set():
            self._due.set()
        return True

    def take(self) -> list[Draft]:
        """What is to be written now, by one thread at a time; then comes `written`, or `give_back`."""
        if self._drafts:
            with self._mutex:
                self._taken, self._drafts = self._drafts, []
        return self._taken

    def written(self, seq: int) -> None:
        """Notes that what was taken has been written, the last entry of it with that seq."""
        with self._mutex:
            self._written += len(self._taken)
            self._written_seq = seq
            self._taken = []

    def give_back(self) -> None:
        """Puts what was taken, and has not been written, in front of what has come meanwhile."""
        with self._mutex:
            self._drafts[:0] = self._taken
            self._taken = []

    def stop(self) -> None:
        """Ends the thread; what is still queued stays so."""
        self._stopped.set()
        self._due.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def after_fork(self) -> None:
        """Starts afresh in a child: what is queued here is the parent's to write."""
        self._begin()

    def _start(self) -> bool:
        """Starts the thread; False at the end of the interpreter, when none can be started any more."""
        thread = threading.Thread(target=self._run, name="intentusnet-async-log", daemon=True)
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._thread = thread
        return self._thread is not None

    def _run(self) -> None:
        due, stopped = self._due, self._stopped
        while due.wait() and not stopped.wait(self._bound.milliseconds / 1000):
            due.clear()
            # Else a stop that came just before would be cleared away with what was due.
            if stopped.is_set():
                return
            try:
                self._to_disk()
            except StorePoisoned:
                return
            except IntentusError:
                # What could not be written is in the queue again. Whoever appends when it is full, syncs or
                # closes meets the same error, and is there to be told.
                due.set()
