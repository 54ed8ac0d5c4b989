"""Carries an agent's context into the threads and tasks that it starts itself.

In a thread that an agent starts, its context asks for the branch that the thread was started from, hooks see
what it does, and a replay watches over it: the thread runs in a copy of the context (PEP 567) of whoever
started it, as Python 3.14 can do by itself. Tasks of asyncio get such a copy from Python; but of all tasks of
a loop, the one that the agent's own strand waits for carries that strand on, and its questions have an order.

`Thread.start`, `ThreadPoolExecutor` and `run_until_complete` are patched once, when the first agent is
called, and do what they always did where no agent's code runs. What starts threads in another way
(``_thread``, C code) is not followed, and neither are the workers of a ``multiprocessing.pool.ThreadPool``
that was made elsewhere. Loops that are none of asyncio's own (uvloop) are followed, but nobody's questions
have an order in them.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

from intentusnet.asker import current, current_scope
from intentusnet.errors import ControlSignal

_installed = False
_lock = threading.Lock()


def install() -> None:
    """Patches Python's thread, pool and loop classes; only the first call does anything."""
    global _installed  # noqa: PLW0603 - the classes are the interpreter's, and are patched once
    if _installed:
        return
    with _lock:
        if not _installed:
            # Both are imported here: no command line starts slower for them, and no agent runs before them.
            from asyncio import BaseEventLoop
            from concurrent.futures import ThreadPoolExecutor

            if not getattr(sys.flags, "thread_inherit_context", False):
                _patch(threading.Thread, "start", _start)
            _patch(ThreadPoolExecutor, "__init__", _make_pool)
            _patch(ThreadPoolExecutor, "submit", _submit)
            _patch(BaseEventLoop, "run_until_complete", _run_until_complete)
            _installed = True


def _patch(owner: type, name: str, replacement: Callable[..., Any]) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def patched(*args: Any, **kwargs: Any) -> Any:
        if current.get() is None:
            return original(*args, **kwargs)
        return replacement(original, *args, **kwargs)

    setattr(owner, name, patched)


def _start(original: Callable[..., None], thread: threading.Thread) -> None:
    if thread.ident is not None or getattr(thread, "_context", None) is not None:
        return original(thread)  # it has been started already, or (from Python 3.14 on) has a context
    run, context = thread.run, contextvars.copy_context()

    def carried() -> None:
        vars(thread).pop("run", None)
        # A signal has unwound the thread; nobody is above it to be told.
        with contextlib.suppress(ControlSignal):
            context.run(run)

    vars(thread)["run"] = carried
    try:
        return original(thread)
    except BaseException:
        vars(thread)["run"] = run  # it has not started, and belongs to nobody yet
        raise


def _make_pool(
    original: Callable[..., None],
    pool: Any,
    max_workers: int | None = None,
    thread_name_prefix: str = "",
    initializer: Callable[..., object] | None = None,
    *args: Any,
    **kwargs: Any,
) -> None:
    if callable(initializer):
        context, initialise = contextvars.copy_context(), initializer
        # Each worker with a copy of its own: a context can be entered by one thread at a time.
        initializer = lambda *given: context.copy().run(initialise, *given)  # noqa: E731 - typed by its target
    original(pool, max_workers, thread_name_prefix, initializer, *args, **kwargs)


def _submit(original: Callable[..., Any], pool: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
    # Workers outlive the call that started them, and serve others: so they are started in no context at all,
    # and each task brings its own.
    run = contextvars.copy_context().run
    return contextvars.Context().run(original, pool, run, function, *args, **kwargs)


def _run_until_complete(original: Callable[..., Any], loop: Any, future: Any) -> Any:
    import asyncio

    scope = current_scope()
    if scope is None or not scope.is_own() or loop.is_running():
        return original(loop, future)
    main = asyncio.ensure_future(future, loop=loop)
    before, scope.task = scope.task, main
    try:
        return original(loop, main)
    finally:
        scope.task = before
