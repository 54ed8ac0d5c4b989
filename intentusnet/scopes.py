"""Scopes while an execution runs: how far each one has come, and whose code is running in it.

A scope belongs to the strand (a thread, and in it perhaps a task of asyncio) that it was made in. Only that
strand's questions have an order that tells something: those of other threads and tasks come when timing says.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections.abc import Iterator
from itertools import count
from random import Random
from threading import Lock, get_ident
from typing import Any, Final, TypeVar

from intentusnet.transcript import Question

T = TypeVar("T")


def running_task() -> Any:
    """The task of asyncio in which this code runs; None where there is none."""
    events = sys.modules.get("asyncio.events")
    # Not `current_task` at once: it raises where no loop runs, which takes ten times as long.
    if events is None or events._get_running_loop() is None:
        return None
    return sys.modules["asyncio"].current_task()


class Scope:
    """The state of one scope: mutable, and made by the strand that it belongs to.

    Attributes:
        path: see `transcript`.
        thread, task: the strand that the scope belongs to.
        questions, gathers, checks: how many of each it has had.
        streams: its random streams by name; None is the one without a name.
        patches: which patches it has asked for, and what it was told.
        lock: held while a stream or a patch is asked for, so that each is asked for once.
    """

    __slots__ = ("checks", "gathers", "lock", "patches", "path", "questions", "streams", "task", "thread")

    # By hand: one is made for every call of an agent, and the fields of a dataclass take thrice as long.
    def __init__(self, path: str) -> None:
        self.path = path
        self.thread = get_ident()
        self.task = running_task()
        self.questions = count()
        self.gathers = count()
        self.checks = count()
        self.streams: dict[str | None, Random] = {}
        self.patches: dict[str, bool] = {}
        self.lock = Lock()

    def is_own(self) -> bool:
        """Whether the code that runs is the scope's own strand."""
        return self.thread == get_ident() and self.task is running_task()


#: The effect whose function runs: what it asks is part of that one answer, and not recorded again. A replay
#: does not run it, so it must not take any number of its scope either.
inside_effect: contextvars.ContextVar[Question | None] = contextvars.ContextVar(
    "intentusnet_inside_effect", default=None
)


_NOTHING: Final = object()


def entered(variable: contextvars.ContextVar[T], value: T) -> contextvars.Token[T]:
    """Sets a variable of the context, to be reset later.

    Where it has had no value, resetting it takes it out, and CPython is left with a dangling pointer if it is
    read meanwhile: by what a garbage collection calls, such as a callback that asks for the patched time. So
    it is first given the value that it has by default.
    """
    if variable.get(_NOTHING) is _NOTHING:
        variable.set(variable.get())
    return variable.set(value)


@contextlib.contextmanager
def covered(question: Question) -> Iterator[None]:
    """While it lasts, what running code asks of the world is part of the answer to that question."""
    token = entered(inside_effect, question)
    try:
        yield
    finally:
        inside_effect.reset(token)
