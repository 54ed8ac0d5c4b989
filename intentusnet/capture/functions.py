"""Functions of the standard library: who calls them, how they are put in another's place, how they are asked.

A function is replaced where its module names it, and where another module has bound it by ``from time import
sleep``. What is bound in another way is not reached: default arguments, attributes of classes and objects,
``functools.partial``. An agent that uses such a one records nothing, and its replay is found to differ where
the value matters.

A call counts by the code that is responsible for it, which is the nearest that is not said to be internal.
The recorder's own code and modules that are being loaded never count: a module is loaded once in a process,
and what it asks meanwhile would be on the record of whichever execution came first.
"""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Final

from intentusnet import raised, values
from intentusnet.base_context import BaseContext
from intentusnet.capture.hooks import Onlooker, active
from intentusnet.scopes import covered
from intentusnet.transcript import NO_ARGUMENTS, Answer

_PACKAGE: Final = f"{Path(__file__).parents[1]}{os.sep}"
_STANDARD: Final = f"{sysconfig.get_path('stdlib')}{os.sep}"
#: What calls others' code for its own sake, and not for an agent's.
_RECORDER: Final = tuple(
    f"intentusnet.{name}" for name in ("ids", "log", "replay", "runtime", "stores", "transcript")
)
_INSTALLED: Final = ("site-packages", "dist-packages")

#: Whether this thread is asking already: what the recorder itself does meanwhile is no question of an agent.
_asking = threading.local()


def ask(context: BaseContext, kind: str, name: str, world: Callable[[], Any], *args: Any) -> Any:
    """Puts a question that acts on nothing: see `put`.

    Args:
        context, kind, name, world: see `put`.
        args: the arguments: recordable values.

    Raises:
        UnrecordableValue: an argument, or what the world said, cannot be recorded.
        Exception: whatever `world` raises, live and on replay.
    """
    if isinstance(context, Onlooker):
        return context.look(kind, name, world)
    if getattr(_asking, "now", False):
        return world()
    _asking.now = True
    try:
        return put(context, kind, name, values.encode_arguments(args, {}) if args else NO_ARGUMENTS, world)
    finally:
        _asking.now = False


def put(
    context: BaseContext,
    kind: str,
    name: str,
    arguments: bytes,
    world: Callable[[], Any],
    side_effect: str = "read_only",
    redacted: Callable[[Any], Any] | None = None,
) -> Any:
    """Puts a question to the context's session, and to the world if there is no answer yet.

    Args:
        context: of the agent whose code runs.
        kind, name: what is asked.
        arguments: encoded by ``values``.
        world: asked live; nothing in it is recorded.
        side_effect: what asking may do to the world.
        redacted: what is written down of a value, and of what tells of an error. The live agent gets all.

    Raises:
        UnrecordableValue: what the world said cannot be recorded.
        Exception: whatever `world` raises, live and on replay.
    """
    ticket = context.begin(kind, name, arguments, side_effect)
    if ticket.answer is not None:
        return value_of(ticket.answer)
    with covered(ticket.question):
        try:
            told = Told(world(), redacted)
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is the answer
            told = Told.of_fault(fault, redacted)
    return told.counts(context.end(ticket, told.answer))


class Told:
    """What the world said: as the agent gets it, and as it is written down.

    Args:
        value: recordable.
        redacted: what is written down of it; all unless given.

    Raises:
        UnrecordableValue: it cannot be recorded.
    """

    def __init__(self, value: Any, redacted: Callable[[Any], Any] | None) -> None:
        self._fault: Exception | None = None
        self._data = values.encode(value)
        self.answer = Answer(ok=True, data=_written(self._data, redacted))

    @classmethod
    def of_fault(cls, fault: Exception, redacted: Callable[[Any], Any] | None) -> Told:
        """What was raised."""
        told = cls(None, None)
        told._fault = fault
        told.answer = Answer(ok=False, data=_written(raised.capture(fault).data, redacted))
        return told

    def counts(self, answer: Answer) -> Any:
        """The agent's value, if the answer that counts is this one; otherwise that of the other.

        Raises:
            Exception: that was raised.
        """
        if self._fault is not None:
            raise self._fault
        return values.decode(self._data) if answer is self.answer else value_of(answer)


def _written(data: bytes, redacted: Callable[[Any], Any] | None) -> bytes:
    return data if redacted is None else values.encode(redacted(values.decode(data)))


def value_of(answer: Answer) -> Any:
    """The value of a recorded answer.

    Raises:
        Exception: that the answer holds.
    """
    if not answer.ok:
        raise raised.revive(answer.data)
    return values.decode(answer.data)


def responsible(frame: FrameType | None, internal: frozenset[str] = frozenset()) -> FrameType | None:
    """The frame of the code that is responsible for a call.

    Args:
        frame: the nearest caller.
        internal: names of top-level modules that call on behalf of their own callers.

    Returns:
        None if the recorder is, or a module that is being loaded.
    """
    while frame is not None and _module_of(frame).partition(".")[0] in internal:
        frame = frame.f_back
    found, inside = frame, False
    while frame is not None:
        filename = frame.f_code.co_filename
        if filename == "<frozen importlib._bootstrap>":
            return None
        if not inside and filename.startswith(_PACKAGE):
            # The first of the package's frames tells who has called: the recorder may have called code of
            # the user's own, such as a clock or a store.
            if frame is found or _module_of(frame).startswith(_RECORDER):
                return None
            inside = True
        frame = frame.f_back
    return found


def asker_of(
    frame: FrameType, name: str, internal: frozenset[str], private: frozenset[str]
) -> BaseContext | None:
    """The context through which the caller of a patched function asks, if it does.

    Args:
        frame: of the patched function's caller.
        name: of the hook.
        internal: see `responsible`.
        private: names of top-level packages that ask for themselves alone, and not for an agent.
    """
    context = active(name)
    if context is None:
        return None
    found = responsible(frame, internal)
    return None if found is None or _module_of(found).partition(".")[0] in private else context


@functools.lru_cache(maxsize=4096)
def is_own_code(filename: str) -> bool:
    """Whether a source file is the user's own, and not the standard library's or an installed package's.

    Args:
        filename: as code objects have it.
    """
    if filename.startswith("<frozen") or any(f"{folder}/" in filename for folder in _INSTALLED):
        return False
    return not filename.startswith((_STANDARD, _PACKAGE))


def replace(module: ModuleType, replacements: Mapping[str, Callable[..., Any]]) -> None:
    """Puts functions in the place of a module's own, also where other modules have bound them.

    Args:
        module: whose functions are replaced.
        replacements: by name.
    """
    # By identity, because bound methods compare by value. All are held until the end, so none has another's.
    originals = {name: getattr(module, name) for name in replacements}
    bound = {id(originals[name]): function for name, function in replacements.items()}
    for name, function in replacements.items():
        setattr(module, name, function)
    for other in list(sys.modules.values()):
        if _may_have_bound(other):
            for name, value in list(vars(other).items()):
                if id(value) in bound:
                    setattr(other, name, bound[id(value)])


def _may_have_bound(module: object) -> bool:
    if not isinstance(module, ModuleType):
        return False
    filename = getattr(module, "__file__", None) or ""
    name = module.__name__.partition(".")[0]
    return name not in sys.stdlib_module_names and not filename.startswith(_PACKAGE)


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
