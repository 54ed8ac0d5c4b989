"""Where in the agent's code something comes from: the line that asks, and the line that defines an agent."""

from __future__ import annotations

import contextlib
import functools
import inspect
import linecache
import os
import re
import sys
import sysconfig
from pathlib import Path
from types import FrameType
from typing import Any, Final

from intentusnet import agents
from intentusnet.agents import Agent
from intentusnet.routing import bodies

_PACKAGE: Final = os.path.join(os.path.dirname(os.path.abspath(agents.__file__)), "")
_STDLIB: Final = tuple(os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib"))
_INSTALLED: Final = re.compile(r"[\\/](site|dist)-packages[\\/]")
#: Beyond a frame of these lies who called the agent, not the agent.
_CALLERS: Final = frozenset({agents.__name__, bodies.__name__})
_DEFINES: Final = re.compile(r"\s*(async\s+)?def\s")


def asking_line() -> str:
    """The innermost line of the running agent's own code, as ``file:line``.

    Frames of this package and of the standard library are never the agent's; those of installed packages
    are if there is no other: a library that asks is called by the agent somewhere.
    """
    installed = ""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") not in _CALLERS:
        file = frame.f_code.co_filename
        if not file.startswith((_PACKAGE, "<frozen ")):
            if _INSTALLED.search(file):
                installed = installed or _told(file, frame.f_lineno)
            elif not file.startswith(_STDLIB):
                return _told(file, frame.f_lineno)
        frame = frame.f_back
    return installed


def definition_line(agent: Agent) -> str:
    """Where an agent's function is defined, as ``file:line``; "" if it is not written in Python."""
    code = getattr(_function(agent.handler), "__code__", None)
    if code is None:
        return ""
    line = code.co_firstlineno
    # A function begins at its first decorator.
    if linecache.getline(code.co_filename, line).lstrip().startswith("@"):
        line = next(
            (at for at in range(line, line + 100) if _DEFINES.match(linecache.getline(code.co_filename, at))),
            line,
        )
    return _told(code.co_filename, line)


def _function(handler: Any) -> Any:
    target = inspect.unwrap(handler)
    while isinstance(target, functools.partial):
        target = inspect.unwrap(target.func)
    target = getattr(target, "__func__", target)
    return target if inspect.isroutine(target) else type(target).__call__


def _told(file: str, line: int) -> str:
    """Relative to the working directory if it lies below it."""
    path = Path(file)
    with contextlib.suppress(ValueError, OSError):  # it lies elsewhere, or the directory is gone
        path = path.relative_to(Path.cwd())
    return f"{path.as_posix()}:{line}"
