"""Threads that take turns so often that they come between each other's steps."""

import contextlib
import sys
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def short_turns() -> Iterator[None]:
    """While it lasts, threads change as often as they can.

    None of those that begin meanwhile is traced: CPython 3.11 ends a thread that sets a trace function while
    another one does, as each does for coverage, and here they would come between.
    """
    interval, trace = sys.getswitchinterval(), threading.gettrace()
    threading.settrace(None)  # type: ignore[arg-type]  # it takes None, as what it was
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        threading.settrace(trace)  # type: ignore[arg-type]  # None where nobody traces
