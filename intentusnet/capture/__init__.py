"""Capture: what agents ask of the world without their context is recorded all the same, and replayed.

`capture` says what; ``hooks`` is how a library is caught, ``catalog`` lists what can be, ``http`` is what
all HTTP clients share, ``redaction`` is what is not written down.

The package can be called, as ``intentusnet.capture(...)``: what is named like that is both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from intentusnet.capture.hooks import Capture, Hook, prepare
from intentusnet.capture.redaction import Redaction
from intentusnet.errors import ConfigurationError

__all__ = ["Capture", "Redaction", "capture", "capture_of"]


def capture(*names: str, headers: Iterable[str] = (), redaction: Redaction | None = None) -> Capture:
    """What agents do without their context and is recorded all the same: a setting, and a context manager.

    ``IntentusRuntime(capture=capture("httpx"))`` is for all of its agents, ``with capture("httpx"):`` for
    those that are called, or replayed, within.

    Args:
        names: what is captured, as "httpx" or "requests"; none for all that can be and is installed.
        headers: names of request headers that tell requests apart, beside those that always do.
        redaction: what is not written down, beside what never is.

    Raises:
        ConfigurationError: there is no such name, or what it stands for is not installed.
    """
    # Runtimes that capture nothing start without what the hooks have to import.
    from intentusnet.capture.catalog import HOOKS

    hooks = [_named(name, HOOKS) for name in names] or [hook for hook in HOOKS.values() if hook.default]
    prepare(hook for hook in hooks if hook.is_installed)
    return Capture(
        frozenset(hook.name for hook in hooks),
        frozenset(name.lower() for name in headers),
        Redaction() if redaction is None else redaction,
    )


def capture_of(setting: Capture | Iterable[str] | bool) -> Capture | None:
    """A runtime's setting: nothing, everything, names, or what `capture` returned.

    Raises:
        ConfigurationError: as `capture`.
    """
    if isinstance(setting, Capture):
        return setting
    if isinstance(setting, bool):
        return capture() if setting else None
    if isinstance(setting, str):
        return capture(setting)
    names = tuple(setting)
    return capture(*names) if names else None


def _named(name: str, known: Mapping[str, Hook]) -> Hook:
    hook = known.get(name)
    if hook is None:
        raise ConfigurationError(
            "there is nothing of that name to capture", expected=" or ".join(known), got=repr(name)
        )
    if not hook.is_installed:
        raise ConfigurationError(
            f"{name} is to be captured and is not installed",
            hint=f"install it with: pip install 'intentusnet[{hook.extra}]'" if hook.extra else "",
        )
    return hook


class _CallablePackage(ModuleType):
    """The package itself, which Python binds to the name that the function has in the package above."""

    def __call__(self, *names: str, **settings: Any) -> Capture:
        return capture(*names, **settings)


sys.modules[__name__].__class__ = _CallablePackage
