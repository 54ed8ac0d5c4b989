"""The processes that check segments for a verification, seen from the verifier.

They only spare it work: of a segment that no worker answers for, because none could be started, or it was
killed, or it found something, the answer is None, and the verifier goes along its lines itself.

Each worker has a thread here that talks to it, so that all of them are busy while the verifier takes their
answers in order.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Final, Self

from intentusnet.log.verify_worker import HELLO, decode, message, read_message, send
from intentusnet.log.walk import Checked

_MODULE: Final = "intentusnet.log.verify_worker"
_PYTHON: Final = re.compile("python|pypy", re.IGNORECASE)
# How many segments each worker may be ahead of the verifier, which holds what is known of them.
_AHEAD: Final = 2
# With more, the verifier, which takes what they answer, is the slowest of all.
_MOST: Final = 8


def processors() -> int:
    """How many processors this process may use, and can use here."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), _MOST)
    return min(os.cpu_count() or 1, _MOST)


class Workers:
    """Worker processes, and what they have answered so far; mutable. A context, at whose end they are gone.

    Args:
        requests: one for each segment, in the order in which the answers will be asked for.
        count: how many processes.
        progress: told how many bytes of the segments that were not asked for yet are checked.
    """

    def __init__(
        self, requests: Sequence[dict[str, Any]], count: int, progress: Callable[[int], None]
    ) -> None:
        self._progress = progress
        self._requests = enumerate(requests)
        self._lock = threading.Lock()
        self._permits = threading.Semaphore(count * _AHEAD)
        self._closed = False
        # Index and message from a worker; no message: its thread is at its end.
        self._news: SimpleQueue[tuple[int, dict[str, Any] | None]] = SimpleQueue()
        self._answers: dict[int, Checked | None] = {}
        self._done: dict[int, int] = {}
        self._processes = list(_started(count))
        self._threads = [
            threading.Thread(target=self._serve, args=(process,), daemon=True) for process in self._processes
        ]
        self._alive = len(self._threads)
        for thread in self._threads:
            thread.start()

    def answer(self, index: int) -> Checked | None:
        """What is known of the segment of that index; waits for it."""
        while index not in self._answers and self._alive:
            self._take(*self._news.get())
        self._done.pop(index, None)
        self._permits.release()
        return self._answers.pop(index, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        for process in self._processes:
            process.kill()
            self._permits.release()
        for thread in self._threads:
            thread.join()

    def _take(self, index: int, news: dict[str, Any] | None) -> None:
        if news is None:
            self._alive -= 1
        elif "done" in news:
            self._done[index] = news["done"]
            self._progress(sum(self._done.values()))
        else:
            checked = news["checked"]
            self._answers[index] = None if checked is None else decode(checked)

    def _serve(self, process: subprocess.Popen[bytes]) -> None:
        """Talks to one worker until there is nothing more to ask, or nobody to ask."""
        assert process.stdin is not None
        assert process.stdout is not None
        index = -1
        try:
            believed = process.stdout.read(len(HELLO)) == HELLO
            while believed and (asked := self._next()) is not None:
                index, request = asked
                send(process.stdin, message(request))
                answer = {"done": 0}
                while "done" in answer:
                    answer = read_message(process.stdout)
                    self._news.put((index, answer))
                index = -1
        except (EOFError, OSError):
            if index >= 0:
                self._news.put((index, {"checked": None}))
        finally:
            self._news.put((index, None))
            process.kill()
            with suppress(OSError):
                process.stdin.close()
            process.stdout.close()
            process.wait()

    def _next(self) -> tuple[int, dict[str, Any]] | None:
        self._permits.acquire()
        with self._lock:
            return None if self._closed else next(self._requests, None)


def _started(count: int) -> Iterator[subprocess.Popen[bytes]]:
    # Where Python is part of another program, that is what would be started.
    if getattr(sys, "frozen", False) or not _PYTHON.match(Path(sys.executable or "").name):
        return
    with suppress(OSError):
        for _ in range(count):
            yield subprocess.Popen(
                # -P: nothing that lies where the caller is may stand in for a module.
                [sys.executable, "-P", "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
