"""Hooks: how what a library asks of the world becomes a question, without a change to the code that uses it.

A hook patches functions or methods of a library once in a process, when it is first asked for and as soon as
the library's module is loaded. From then on each call passes through the patch, which asks `active`: None
means that nobody records here (no agent runs, an effect runs, or this hook was not asked for), and the patch
calls what it has replaced. Classes are patched, never instances, so that clients made earlier work.

To write one, give a module of this package a tuple ``HOOKS`` and add it in ``catalog.py``::

    def _install(module: ModuleType) -> None:
        original = module.Thing.send

        @functools.wraps(original)
        def send(self, message):
            context = active("thing")
            if context is None:
                return original(self, message)
            arguments = values.encode_arguments((message,), {})
            ticket = context.begin("thing", "send", arguments, "reversible")    # on record before it is done
            answer = ticket.answer
            if answer is None:
                with covered(ticket.question):                                  # nothing in it is recorded
                    answer = ... original(self, message) ...
                answer = context.end(ticket, answer)                            # live only
            return ... of answer.data, whether it was asked or recorded ...

        module.Thing.send = send

    HOOKS = (Hook("thing", "thing", _install, extra="thing"),)

A signal (`ControlSignal`, ``KeyboardInterrupt``) that comes out of ``original`` is no answer: let it pass.
"""

from __future__ import annotations

import contextvars
import functools
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, TracebackType
from typing import Any, Final, Self

from intentusnet import garbage
from intentusnet.asker import World
from intentusnet.base_context import BaseContext, capturing
from intentusnet.capture.redaction import Redaction

#: Patches a module that has just been loaded. Called once in a process.
Install = Callable[[ModuleType], None]


@dataclass(frozen=True, slots=True)
class Hook:
    """What can be captured.

    Attributes:
        name: what it is asked for by.
        module: patched as soon as it is loaded.
        install: patches it.
        library: the top-level module that must be installed; that of `module` unless given.
        extra: the extra of this package that brings the library; "" for the standard library.
        default: it is among those that are meant by "everything".
    """

    name: str
    module: str
    install: Install
    library: str = ""
    extra: str = ""
    default: bool = True

    @property
    def is_installed(self) -> bool:
        """Whether the library can be imported."""
        library = self.library or self.module.partition(".")[0]
        return sys.modules.get(library) is not None or importlib.util.find_spec(library) is not None


@dataclass(frozen=True, slots=True)
class Capture:
    """What is captured, and how it is written down: a setting of the runtime, and a context manager.

    Within ``with``, what the agents do that are called there is captured, beside what their runtime captures.

    Attributes:
        names: of the hooks that are on.
        headers: names of request headers that tell requests apart, beside those that always do.
        redaction: what is not written down.
    """

    names: frozenset[str]
    headers: frozenset[str] = frozenset()
    redaction: Redaction = field(default_factory=Redaction)

    def __or__(self, other: Capture) -> Capture:
        return _merged(self, other)

    def tree(self) -> dict[str, Any]:
        """What it is, as a raw tree: the same for equal ones."""
        redaction = self.redaction
        return {
            "headers": sorted(self.headers),
            "names": sorted(self.names),
            "redaction": {
                "headers": sorted(redaction.headers),
                "keys": sorted(redaction.keys),
                "patterns": list(redaction.patterns),
            },
        }

    def __enter__(self) -> Self:
        _within.set((*_within.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        _within.set(_within.get()[:-1])


_within: contextvars.ContextVar[tuple[Capture, ...]] = contextvars.ContextVar(
    "intentusnet_capture", default=()
)


@functools.lru_cache(maxsize=256)
def _merged(one: Capture, other: Capture) -> Capture:
    return Capture(one.names | other.names, one.headers | other.headers, one.redaction | other.redaction)


def active(*names: str) -> BaseContext | None:
    """The context that asks for the running code, if one of these hooks is on for it."""
    context = capturing()
    if context is None:
        return None
    settings = settings_of(context)
    if settings is None or settings.names.isdisjoint(names):
        return None if _stand_in is None else _stand_in(context, names)
    return context


def settings_of(context: BaseContext | World) -> Capture | None:
    """What is captured for a context: what its runtime was told, and the ``with`` blocks around the call."""
    return effective(context.capture)


def effective(capture: object) -> Capture | None:
    """What is captured where a runtime was told this: that, and what the ``with`` blocks around say."""
    settings = capture if isinstance(capture, Capture) else None
    for inner in _within.get():
        settings = inner if settings is None else settings | inner
    return settings


class Onlooker(BaseContext):
    """Stands in for a context that records nothing of a hook, and sees what code reads by itself."""

    def look(self, kind: str, name: str, world: Callable[[], Any]) -> Any:
        """What the world says.

        Args:
            kind, name: what is asked, as of `BaseContext.begin`.
            world: asks it.
        """
        raise NotImplementedError


_stand_in: Callable[[BaseContext, tuple[str, ...]], Onlooker | None] | None = None


def look_on(stand_in: Callable[[BaseContext, tuple[str, ...]], Onlooker | None]) -> None:
    """From now on hooks tell an onlooker what nobody records; for processes that look for just that.

    Args:
        stand_in: gives the onlooker of a context for hooks of these names; None if they are not looked at.
    """
    global _stand_in  # noqa: PLW0603 - hooks are a process's, and so is who looks on
    _stand_in = stand_in


# Patching: at once if the module is loaded, otherwise as soon as it is.

_lock = threading.RLock()
_waiting: dict[str, list[Install]] = {}
_installed: set[tuple[str, Install]] = set()


def prepare(hooks: Iterable[Hook]) -> None:
    """Installs hooks, each once in a process; those whose module is not loaded yet, when it is."""
    garbage.watch()
    with _lock:
        for hook in hooks:
            if (hook.module, hook.install) in _installed:
                continue
            _installed.add((hook.module, hook.install))
            module = sys.modules.get(hook.module)
            if module is not None:
                hook.install(module)
                continue
            if _FINDER not in sys.meta_path:
                sys.meta_path.insert(0, _FINDER)
            _waiting.setdefault(hook.module, []).append(hook.install)


class _PatchingFinder(MetaPathFinder):
    """Finds modules as the finders behind it do, and patches those that are waited for."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _waiting:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _PatchingLoader(spec.loader)
                return spec
        return None


class _PatchingLoader(Loader):
    """Loads a module, and patches it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None:
            # What asks the module for its loader (importlib.resources does) is to see the real one.
            spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        with _lock:
            for install in _waiting.pop(module.__name__, ()):
                install(module)


_FINDER: Final = _PatchingFinder()
