"""Meeting other processes without guessing how long they take: by FIFOs, and by waiting for their end."""

import contextlib
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Seconds after which a test fails that would otherwise hang.
PATIENCE_S = 60.0


class Fifo:
    """What a process says that opens and writes `path`."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self) -> str:
        """The next line, waited for."""
        text = b""
        while not text.endswith(b"\n"):
            assert wait_for(self._fd), "nobody has said anything"
            with contextlib.suppress(BlockingIOError):
                text += os.read(self._fd, 4096)
        return text.decode().strip()

    def close(self) -> None:
        os.close(self._fd)


def wait_for(fd: int) -> bool:
    """Waits until there is something to read."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(PATIENCE_S * 1000))


def has_ended(pid: int) -> bool:
    """Waits until a process has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return wait_for(fd)
    finally:
        os.close(fd)


class Background:
    """Calls a function in a thread of its own."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._result: Any = None
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            self._result = function()
        except BaseException as fault:  # noqa: BLE001 - raised in the test's thread
            self._fault = fault

    def result(self) -> Any:
        """What the function returned, waited for."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "it hangs"
        if self._fault is not None:
            raise self._fault
        return self._result
