"""The witness: notes what agents' code reads by itself, where nobody records it, and changes nothing of it.

Clock and chance are seen by the hooks of capture, which hand what is not captured to an onlooker. Variables
of the environment are seen where ``os.environ`` is read, files and directories by an audit hook.
``datetime.now``, which the clock's hook reaches with time-machine only, is seen by a profile function where
that is not installed.

Only what stands in the user's own code is noted, and of chance also what libraries draw for it. Nothing is
inside an effect, whose answer is on record. Every place is told as the line of the agent that reads.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Collection
from datetime import date, datetime
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Final, cast

from intentusnet.asker import current
from intentusnet.base_context import BaseContext, capturing
from intentusnet.capture import chance, clock
from intentusnet.capture.catalog import HOOKS
from intentusnet.capture.functions import is_own_code, responsible
from intentusnet.capture.hooks import Onlooker, look_on, prepare
from intentusnet.doctor.sightings import Key, Reading
from intentusnet.replay.sources import asking_line
from intentusnet.transcript import Answer, Question, Ticket

_LOOKED_AT: Final = frozenset({chance.NAME, clock.NAME})
_STANDARD: Final = os.path.join(sysconfig.get_path("stdlib"), "")
_PACKAGE: Final = os.path.join(str(Path(__file__).parents[1]), "")
_ENVIRONMENT: Final = frozenset({"os", "_collections_abc", "collections.abc"})
#: These read files for themselves: modules, sources for tracebacks, data of time zones.
_FOR_THEMSELVES: Final = frozenset(
    {"gettext", "importlib", "inspect", "linecache", "locale", "logging", "tempfile", "tokenize", "traceback",
     "warnings", "zoneinfo"}
)  # fmt: skip
_DIRECTORY: Final = frozenset({"os.listdir", "os.scandir"})
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CALENDAR: Final = frozenset({datetime.now, datetime.utcnow, datetime.today, date.today})
_NAMES: Final = {"time_ns": "the time", "urandom": "os.urandom()", "seed": "random.Random()"}
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
#: Of so many readings of one line in one execution the values are kept.
_MOST: Final = 1000


class Witness:
    """Keeps what was read, by execution; mutable."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, dict[Key, list[str]]] = {}
        self._noting = threading.local()

    def install(self) -> None:
        """Begins to look on, for as long as the process lives."""
        look_on(self._stand_in)
        prepare(HOOKS[name] for name in sorted(_LOOKED_AT))
        _watch_environment(self)
        sys.addaudithook(functools.partial(_on_event, self))
        if importlib.util.find_spec("time_machine") is None:
            profile = functools.partial(_on_call, self)
            sys.setprofile(profile)
            threading.setprofile(profile)

    def take(self) -> dict[str, list[Reading]]:
        """What was seen since the last time, by execution."""
        with self._lock:
            seen, self._seen = self._seen, {}
        return {
            execution: [Reading(key, tuple(values)) for key, values in found.items()]
            for execution, found in seen.items()
        }

    def note(self, context: BaseContext, kind: str, what: str, value: object) -> None:
        """Takes note of a reading by the code that runs.

        Args:
            context: of the agent.
            kind: what sort of thing was read: a key of ``judging.FIXES``.
            what: told to people.
            value: what was read; only its hash is kept.
        """
        if getattr(self._noting, "now", False):
            return
        self._noting.now = True
        try:
            source = asking_line()
            if source:
                with self._lock:
                    values = self._seen.setdefault(context.execution_id, {}).setdefault(
                        Key(source, kind, what), []
                    )
                    if len(values) < _MOST:
                        values.append(_hashed(value))
        finally:
            self._noting.now = False

    def _stand_in(self, context: BaseContext, names: tuple[str, ...]) -> Onlooker | None:
        return None if _LOOKED_AT.isdisjoint(names) else _Onlooker(context, self)


class _Onlooker(Onlooker):
    """Hands on what the world says, and has it noted."""

    def __init__(self, context: BaseContext, witness: Witness) -> None:
        self._context = context
        self._witness = witness

    def look(self, kind: str, name: str, world: Callable[[], Any]) -> Any:
        value = world()
        if kind == "clock":
            timer = name.startswith(("monotonic", "perf_counter"))
            told = f"time.{name}()" if timer else _NAMES[name]
            self._witness.note(self._context, "timer" if timer else "time", told, value)
        elif kind in ("random", "uuid"):
            drawn = _drawn(name)
            self._witness.note(self._context, "uuid" if drawn.startswith("uuid.") else "chance", drawn, value)
        return value

    def random_stream(self, name: str) -> Random:
        # The hook takes one method of it by name, and calls that.
        return cast("Random", _ModuleStream(self._context, self._witness))

    def begin(
        self,
        kind: str,
        name: str,
        arguments: bytes = b"",
        side_effect: str = "read_only",
        idempotent: bool = False,
    ) -> Ticket:
        return Ticket(Question("", 0, kind, name))

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        return answer


class _ModuleStream:
    """The functions of the module ``random`` as they are without the hook, and what they draw noted."""

    def __init__(self, context: BaseContext, witness: Witness) -> None:
        self._context = context
        self._witness = witness

    def __getattr__(self, name: str) -> Callable[..., Any]:
        import random

        original: Callable[..., Any] = getattr(random, name).__wrapped__

        def drawn(*args: Any, **kwargs: Any) -> Any:
            value = original(*args, **kwargs)
            if name not in ("seed", "setstate"):
                # What is shuffled is its argument.
                told = args if name == "shuffle" else value
                self._witness.note(self._context, "chance", f"random.{name}()", told)
            return value

        return drawn


def _drawn(name: str) -> str:
    """The function of ``random``, ``secrets`` or ``uuid`` that the code in question has called."""
    frame: FrameType | None = sys._getframe(1)
    told = ""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module in ("random", "secrets", "uuid"):
            told = f"{module}.{frame.f_code.co_name}()"
        elif not frame.f_code.co_filename.startswith(_PACKAGE):
            break
        frame = frame.f_back
    if told and "._" not in told:
        return told
    return _NAMES.get(name, f"uuid.{name}()" if name.startswith("uuid") else "random.SystemRandom()")


def _hashed(value: object) -> str:
    told = value if isinstance(value, bytes) else _ADDRESS.sub("", repr(value)).encode(errors="replace")
    return hashlib.sha256(told).hexdigest()[:16]


def _watch_environment(witness: Witness) -> None:
    kind = type(os.environ)
    original = kind.__getitem__

    @functools.wraps(original)
    def read(self: Any, key: Any) -> Any:
        context = None if current.get() is None or self is not os.environ else capturing()
        if context is None or not _is_asked_by_own_code(sys._getframe(1), _ENVIRONMENT):
            return original(self, key)
        value = None
        try:
            value = original(self, key)
            return value
        finally:
            witness.note(context, "environment", f"the variable {key}", value)

    kind.__getitem__ = read  # type: ignore[method-assign]  # the variables are read nowhere else


def _is_asked_by_own_code(frame: FrameType | None, internal: Collection[object]) -> bool:
    while frame is not None and frame.f_globals.get("__name__") in internal:
        frame = frame.f_back
    return frame is not None and is_own_code(frame.f_code.co_filename) and responsible(frame) is not None


def _on_event(witness: Witness, event: str, args: tuple[Any, ...]) -> None:
    """What the audit hook is told: a file that is opened, or a directory that is listed."""
    if (event != "open" and event not in _DIRECTORY) or current.get() is None:
        return
    context = None if getattr(witness._noting, "now", False) else capturing()
    path = args[0] if args else None
    if context is None or isinstance(path, int):
        return
    if event == "open" and isinstance(args[2], int) and args[2] & _WRITING:
        return
    if not _is_read_by_own_code(sys._getframe(1)):
        return
    witness._noting.now = True
    try:
        state = _state_of(event, path)
    finally:
        witness._noting.now = False
    kind = "file" if event == "open" else "directory"
    told = os.fsdecode(path or ".")
    witness.note(context, kind, f"the {kind} {Path(told).name or told}", state)


def _is_read_by_own_code(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename.startswith((_STANDARD, "<frozen ", __file__)):
        if _top_level(frame) in _FOR_THEMSELVES:
            return False
        frame = frame.f_back
    return frame is not None and is_own_code(frame.f_code.co_filename) and responsible(frame) is not None


def _top_level(frame: FrameType) -> str:
    """The top-level module that the code of a frame belongs to."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _state_of(event: str, path: Any) -> object:
    """Something that is another if the content is: of a directory its names in the order they come in."""
    try:
        if event in _DIRECTORY:
            return os.listdir(path)
        found = os.stat(path)
    except OSError as fault:
        return fault.errno
    return found.st_size, found.st_mtime_ns


def _on_call(witness: Witness, frame: FrameType, event: str, function: Any) -> None:
    """What the profile function is told: of interest are readings of the calendar by functions in C."""
    if event != "c_call" or current.get() is None or not _reads_calendar(function):
        return
    if is_own_code(frame.f_code.co_filename):
        context = capturing()
        if context is not None and responsible(frame) is not None:
            # The value is not known here; the time is another at each reading.
            witness.note(context, "time", "the time", time.perf_counter_ns())


def _reads_calendar(function: Any) -> bool:
    try:
        return function in _CALENDAR
    except TypeError:  # a bound method of something that has no hash
        return False
