"""Garbage collections: what they call is no code of the agent in whose midst they come.

When one comes is chance, so what its callbacks and finalizers read must not be asked for, or no replay would
be like its recording. Nor may they set variables of the context, as whoever asks does: CPython's collections
come while such variables are set, and it does not survive that they are set twice at once.
"""

from __future__ import annotations

import gc
from threading import get_ident
from typing import Any

_thread: int | None = None


def watch() -> None:
    """From now on tells whether garbage is collected; a process does so once."""
    if _begins not in gc.callbacks:
        gc.callbacks.insert(0, _begins)
        gc.callbacks.append(_ends)


def is_collected() -> bool:
    """Whether this thread collects garbage at this moment, so that a collection has called whoever asks."""
    return _thread is not None and _thread == get_ident()


def _begins(phase: str, info: dict[str, Any]) -> None:
    global _thread  # noqa: PLW0603 - a process has one collector
    if phase == "start":
        _thread = get_ident()
        # Whoever was added since is called before it, too.
        if gc.callbacks[-1] is not _ends:
            gc.callbacks.remove(_ends)
            gc.callbacks.append(_ends)


def _ends(phase: str, info: dict[str, Any]) -> None:
    global _thread  # noqa: PLW0603 - a process has one collector
    if phase == "stop":
        _thread = None
