"""The clock: readings of the time by agents' own code, and how long they sleep.

All of the calendar is one question, ``clock time_ns``: nanoseconds since 1970 in UTC, of which
``time.time``, ``datetime.now``, ``date.today``, ``time.localtime`` and the like are made, live and on
replay. ``monotonic``, ``perf_counter``, ``process_time`` and ``thread_time`` are questions of their own.
Sleeping is one too, and a replay does not sleep.

Only calls that stand in the user's own code count (`functions.is_own_code`): what event loops, loggers and
HTTP clients read for themselves depends on timing, and would make every replay another one. When a library
sleeps, as those do that try again, the record has a note of it and a replay does not wait.

A patch cannot reach ``datetime.now``, which is a method of a class written in C, nor functions bound as
default arguments. With time-machine installed (the extra ``clock``) all of these are reached, because it
redirects the C functions themselves; live and on replay alike, so that both see one clock. Without it
``datetime.now`` and ``utcnow`` are not recorded, and a replay that depends on one is found to differ.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import time
import uuid
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any, Final

from intentusnet import values
from intentusnet.asker import current
from intentusnet.base_context import BaseContext
from intentusnet.capture.functions import ask, is_own_code, replace, responsible
from intentusnet.capture.hooks import Hook, active
from intentusnet.scopes import covered
from intentusnet.transcript import Answer

NAME: Final = "clock"

#: Clocks of which only differences mean anything; each has a sister that counts nanoseconds.
_STOPWATCHES: Final = ("monotonic", "perf_counter", "process_time", "thread_time")
_PER_SECOND: Final = 1_000_000_000
_NOTHING: Final = Answer(ok=True, data=b"null")

_original_sleep = time.sleep


def _asker(frame: FrameType) -> BaseContext | None:
    """The context through which the code of a frame asks, if it does."""
    context = active(NAME)
    if context is None or not is_own_code(frame.f_code.co_filename) or responsible(frame) is None:
        return None
    return context


def _install(module: ModuleType) -> None:
    readings = {f"{name}{unit}": _reading(f"{name}{unit}") for name in _STOPWATCHES for unit in ("", "_ns")}
    if importlib.util.find_spec("time_machine") is None:
        readings |= _patched_calendar()
    else:
        _redirect_calendar()
    replace(module, {**readings, "sleep": _sleeping})


def _reading(name: str) -> Callable[[], Any]:
    original: Callable[[], Any] = getattr(time, name)

    @functools.wraps(original)
    def read() -> Any:
        context = None if current.get() is None else _asker(sys._getframe(1))
        return original() if context is None else ask(context, "clock", name, original)

    return read


def _patched_calendar() -> dict[str, Callable[[], Any]]:
    original_time, original_ns = time.time, time.time_ns

    @functools.wraps(original_time)
    def seconds() -> float:
        context = None if current.get() is None else _asker(sys._getframe(1))
        if context is None:
            return original_time()
        told: int = ask(context, "clock", "time_ns", original_ns)
        return told / _PER_SECOND

    return {"time": seconds, "time_ns": _reading("time_ns")}


def _redirect_calendar() -> None:
    """Makes time-machine, which asks its traveller for the time, ask one that has not gone anywhere."""
    import time_machine

    original_ns: Callable[[], int] = time_machine.escape_hatch.time.time_ns
    # It makes uuid1 slower while it travels, and here it always does.
    generators = {name: getattr(uuid, name) for name in ("_generate_time_safe", "_UuidCreate")}
    traveller = time_machine.travel(time.time(), tick=True).start()
    for name, generator in generators.items():
        setattr(uuid, name, generator)

    def time_ns() -> int:
        context = None if current.get() is None else _asker(sys._getframe(1))
        if context is None:
            return original_ns()
        told: int = ask(context, "clock", "time_ns", original_ns)
        return told

    traveller.time_ns = time_ns  # type: ignore[method-assign]  # the one method that its clocks are made of


@functools.wraps(_original_sleep)
def _sleeping(seconds: Any, /) -> None:
    context = active(NAME)
    frame = sys._getframe(1)
    if context is None or responsible(frame) is None:
        _original_sleep(seconds)
    elif is_own_code(frame.f_code.co_filename):
        ask(context, "sleep", "sleep", lambda: _original_sleep(seconds), seconds)
    else:
        _note_sleep(context, seconds)


def _note_sleep(context: BaseContext, seconds: Any) -> None:
    ticket = context.begin("log", "sleep", values.encode_arguments((seconds,), {}))
    if ticket.answer is None:
        with covered(ticket.question):
            _original_sleep(seconds)
        context.end(ticket, _NOTHING)


HOOKS: Final = (Hook(NAME, "time", _install),)
