"""The tripwire: stops sockets, subprocesses and file writes while a replay runs agent code.

An audit hook (PEP 578) cannot be taken out again, so one is put in at the first replay and does nothing
unless the thread's context says that a replay runs. C code that raises no audit event escapes it, and so do
threads that an agent starts without a copy of its context.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

#: Told of the event and its arguments; returns what is raised in the code that caused it.
OnTouch = Callable[[str, tuple[Any, ...]], BaseException]

_watching: contextvars.ContextVar[OnTouch | None] = contextvars.ContextVar(
    "intentusnet_tripwire", default=None
)
_installed = False
_install_lock = threading.Lock()

_FORBIDDEN: Final = frozenset(
    {
        "os.chmod", "os.chown", "os.exec", "os.fork", "os.forkpty", "os.kill", "os.killpg", "os.link",
        "os.mkdir", "os.posix_spawn", "os.putenv", "os.remove", "os.rename", "os.rmdir", "os.spawn",
        "os.startfile", "os.symlink", "os.system", "os.truncate", "os.unsetenv", "os.utime", "pty.spawn",
        "shutil.move", "shutil.rmtree", "socket.bind", "socket.connect", "socket.getaddrinfo",
        "socket.gethostbyaddr", "socket.gethostbyname", "socket.sendmsg", "socket.sendto", "subprocess.Popen",
    }
)  # fmt: skip
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: What an import leaves behind is the interpreter's doing, not the agent's.
_BYTECODE: Final = re.compile(r"(\.pyc(\.\d+)?|[\\/]__pycache__)$")


@contextlib.contextmanager
def watched(on_touch: OnTouch) -> Iterator[None]:
    """While it lasts, code in this context that touches the world is unwound by what `on_touch` returns."""
    _install()
    token = _watching.set(on_touch)
    try:
        yield
    finally:
        _watching.reset(token)


def _install() -> None:
    global _installed  # noqa: PLW0603 - an audit hook is the interpreter's, and is put in once
    with _install_lock:
        if not _installed:
            sys.addaudithook(_hook)
            _installed = True


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event not in _FORBIDDEN and event not in ("open", "sqlite3.connect"):
        return
    on_touch = _watching.get()
    if on_touch is None or _is_harmless(event, args):
        return
    token = _watching.set(None)
    try:
        fault = on_touch(event, args)
    finally:
        _watching.reset(token)
    raise fault


def _is_harmless(event: str, args: tuple[Any, ...]) -> bool:
    if event == "sqlite3.connect":
        return args[0] in (":memory:", b":memory:", "")
    path = args[0] if args else None
    if event == "open":
        flags = args[2] if isinstance(args[2], int) else 0
        return isinstance(path, int) or not flags & _WRITING or _is_scratch(path)
    return event in ("os.rename", "os.mkdir") and _is_scratch(path)


def _is_scratch(path: Any) -> bool:
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    return text == os.devnull or _BYTECODE.search(text) is not None
