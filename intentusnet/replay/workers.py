"""Worker processes that end with whoever started them.

Each has the reading end of a pipe whose writing end the starting process alone holds. When that closes it, or
dies of whatever, the pipe breaks, and the worker ends at once, even in the middle of an agent's body and with
threads that would keep it for ever. The pool's own queue does not tell: each worker holds both ends of it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Final

from intentusnet.replay.isolation import without_network

#: So long may a worker take to end by itself: for what it does at exit, such as flushing.
_GRACE_S: Final = 2.0


class WorkerProcesses(ProcessPoolExecutor):
    """Processes that are started when they are needed, and share nothing with this one.

    Args:
        jobs: how many.
        offline: they have no network where the kernel allows it; see isolation.py.
    """

    def __init__(self, jobs: int, *, offline: bool = True) -> None:
        context = multiprocessing.get_context("spawn")
        breaks, self._line = context.Pipe(duplex=False)
        super().__init__(jobs, context, initializer=_begin_worker, initargs=(offline, breaks))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the workers: those that have not ended by themselves after two seconds, by breaking the line.

        Args:
            wait: returns when they have ended; without it, the line breaks at once.
            cancel_futures: gives up what has not begun.
        """
        late = threading.Timer(_GRACE_S, self._line.close)
        late.daemon = True
        if wait:
            late.start()
        super().shutdown(wait=wait, cancel_futures=cancel_futures)
        late.cancel()
        self._line.close()


# What follows runs in workers.


def _begin_worker(offline: bool, line: Connection) -> None:
    if offline:
        without_network()  # as long as there is one thread
    # Ctrl-C reaches all processes of a terminal: the one that started these says so, and they just end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()


def _end_with(line: Connection) -> None:
    line.poll(None)  # nothing is ever sent: it is ready when it is broken
    os._exit(1)
