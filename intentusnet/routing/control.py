"""`Control`: whether an execution may go on, for whoever wants to stop it and for whoever waits for it.

An execution that is nested in another one has a control of its own, which stops with that one's.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from intentusnet.stores.custody import LOOK_EVERY

#: Why an execution is stopped whose task was.
TASK_CANCELLED: Final = "its task was cancelled"


class Control:
    """Stops one execution, and those that it asks for; mutable, for many threads.

    Args:
        parent: of the execution that asked for this one.
    """

    __slots__ = ("_by_task", "_lock", "_look", "_parent", "_reason", "_wake")

    def __init__(self, parent: Control | None = None) -> None:
        self._parent = parent
        self._look: Callable[[], str | None] | None = None
        self._reason: str | None = None
        self._by_task = False
        self._wake: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def reason(self) -> str | None:
        """Why the execution is to stop; None if it may go on."""
        return self._reason if self._parent is None else self._reason or self._parent.reason

    @property
    def is_task_cancelled(self) -> bool:
        """Whether the task was cancelled that drives this very execution."""
        return self._by_task

    def looks(self, look: Callable[[], str | None]) -> None:
        """From now on asks whether another process wants it stopped: why, or None. To ask must be cheap."""
        self._look = look

    def cancel(self, reason: str) -> None:
        """Stops it: what it asks from now on is refused, and who waits for it is woken."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
            wake, self._wake = self._wake, []
        for call in wake:
            call()

    def cancel_by_task(self) -> None:
        """Stops it, because the task was cancelled that drives it."""
        self._by_task = True
        self.cancel(TASK_CANCELLED)

    def check(self) -> str | None:
        """Why the execution is to stop, other processes' wishes included."""
        if self._look is not None and self._reason is None:
            wanted = self._look()
            if wanted is not None:
                self.cancel(wanted)
        return self.reason if self._parent is None else self._reason or self._parent.check()

    def wait(self, seconds: float) -> str | None:
        """Waits, but no longer than until it is stopped: then why.

        Raises:
            ValueError: nobody can wait so long, as `time.sleep` says, too.
        """
        if not 0 <= seconds <= threading.TIMEOUT_MAX:
            raise ValueError(f"nobody can sleep {seconds} seconds")
        woken = threading.Event()
        with self.wakes(woken.set):
            end = time.monotonic() + seconds
            while not woken.wait(min(max(end - time.monotonic(), 0), LOOK_EVERY)):
                self.check()
                if time.monotonic() >= end:
                    break
        return self.reason

    @contextlib.contextmanager
    def wakes(self, call: Callable[[], None]) -> Iterator[None]:
        """Has something called if it is stopped while this lasts, at once if it is already."""
        above = contextlib.nullcontext() if self._parent is None else self._parent.wakes(call)
        with above:
            with self._lock:
                stopped = self._reason is not None
                if not stopped:
                    self._wake.append(call)
            if stopped:
                call()
            try:
                yield
            finally:
                with self._lock, contextlib.suppress(ValueError):  # it was called
                    self._wake.remove(call)


#: For executions that nobody can stop.
NEVER: Final = Control()
