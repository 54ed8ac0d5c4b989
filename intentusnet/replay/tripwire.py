"""The tripwire: stops sockets, subprocesses and file writes while a replay runs agent code.

An audit hook (PEP 578) cannot be taken out again, so one is put in at the first replay and does nothing
unless the context says that a replay runs; threads and tasks that carry the agent's context are watched like
the agent itself. What acts through other events (``shutil.copyfile``, ``http.client.connect``,
``tempfile.mkstemp``, ``webbrowser.open``) is stopped at those. Three things of the standard library raise no
event and are watched where they happen: traffic on connections that were open before the replay, processes
that multiprocessing spawns, and the end of the process.

Not stopped, because it changes nothing outside of the process: reading files, the null device, byte code of
imports, databases in memory or opened read-only, descriptors that are open already (stdout among them).

What escapes: C code that raises no audit event (database drivers, native HTTP clients, ``os.mkfifo``),
native functions that were looked up before the replay or are not known by name to act, and workers of a pool
that were started before it. Against the network of all these stands replay/isolation.py.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import re
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from intentusnet.scopes import entered

#: Told of the event and its arguments; returns what is raised in the code that caused it.
OnTouch = Callable[[str, tuple[Any, ...]], BaseException]

_watching: contextvars.ContextVar[OnTouch | None] = contextvars.ContextVar(
    "intentusnet_tripwire", default=None
)
_installed = False
_install_lock = threading.Lock()

_FORBIDDEN: Final = frozenset(
    {
        "_winapi.CreateJunction", "_winapi.CreateProcess", "_winapi.TerminateProcess",
        "os.chflags", "os.chmod", "os.chown", "os.exec", "os.fork", "os.forkpty", "os.kill", "os.killpg",
        "os.lchflags", "os.link", "os.mkdir", "os.posix_spawn", "os.putenv", "os.remove", "os.removexattr",
        "os.rename", "os.rmdir", "os.setxattr", "os.spawn", "os.startfile", "os.startfile/2", "os.symlink",
        "os.system", "os.truncate", "os.unsetenv", "os.utime", "pty.spawn", "resource.prlimit",
        "shutil.move", "shutil.rmtree", "signal.pthread_kill",
        "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname",
        "socket.getnameinfo", "socket.sendmsg", "socket.sendto", "socket.sethostname",
        "sqlite3.enable_load_extension", "sqlite3.load_extension", "subprocess.Popen", "sys.remote_exec",
        "syslog.openlog", "syslog.syslog",
        "winreg.ConnectRegistry", "winreg.CreateKey", "winreg.DeleteKey", "winreg.DeleteValue",
        "winreg.LoadKey", "winreg.SaveKey", "winreg.SetValue",
        # Raised by this module.
        "_posixsubprocess.fork_exec", "os._exit", "os.abort", "socket.recv", "socket.send",
    }
)  # fmt: skip
#: These act or not, depending on their arguments.
_JUDGED: Final = frozenset({"ctypes.dlsym", "ctypes.dlsym/handle", "open", "sqlite3.connect"})
#: ctypes tells which function is looked up, and never which one is called or with what. So `open` passes.
_NATIVE: Final = frozenset(
    {
        "bind", "chmod", "chown", "clone", "connect", "creat", "execl", "execle", "execlp", "execv",
        "execve", "execvp", "execvpe", "fork", "kill", "killpg", "link", "linkat", "mkdir", "mkdirat",
        "mkfifo", "mknod", "popen", "posix_spawn", "posix_spawnp", "remove", "rename", "renameat",
        "renameat2", "rmdir", "send", "sendmmsg", "sendmsg", "sendto", "symlink", "symlinkat", "syscall",
        "system", "truncate", "unlink", "unlinkat", "vfork",
    }
)  # fmt: skip
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: What an import leaves behind is the interpreter's doing, not the agent's.
_BYTECODE: Final = re.compile(r"(\.pyc(\.\d+)?|[\\/]__pycache__)$")
_READ_ONLY: Final = re.compile(r"[?&](mode=(ro|memory)|immutable=1)(&|$)")
_IMPORT: Final = "<frozen importlib._bootstrap>"


# By hand, because one is made for every agent that a replay calls, and a generator takes thrice as long.
class _Watched:
    __slots__ = ("_on_touch", "_token")

    _token: contextvars.Token[OnTouch | None]

    def __init__(self, on_touch: OnTouch) -> None:
        self._on_touch = on_touch

    def __enter__(self) -> None:
        self._token = entered(_watching, self._on_touch)

    def __exit__(self, *_: object) -> None:
        _watching.reset(self._token)


def watched(on_touch: OnTouch) -> contextlib.AbstractContextManager[None]:
    """While it lasts, code in this context that touches the world is unwound by what `on_touch` returns."""
    _install()
    return _Watched(on_touch)


def _install() -> None:
    global _installed  # noqa: PLW0603 - an audit hook is the interpreter's, and is put in once
    encrypted = _encrypted()
    if _installed and (encrypted is None or _is_watched(encrypted)):
        return
    with _install_lock:
        if not _installed:
            sys.addaudithook(_hook)
            _watch_connections(socket.socket, sending=("send", "sendall"), receiving=("recv", "recv_into"))
            _watch_spawning()
            _watch_ends()
            _installed = True
        # Encrypted connections send and receive by other functions, which most programs never load.
        if encrypted is not None and not _is_watched(encrypted):
            _watch_connections(encrypted, sending=("send", "write"), receiving=("recv", "recv_into", "read"))


def _encrypted() -> type[Any] | None:
    """The class of encrypted sockets; None where it is not loaded, or is being loaded at this moment."""
    return getattr(sys.modules.get("ssl"), "SSLSocket", None)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event not in _FORBIDDEN and event not in _JUDGED:
        return
    on_touch = _watching.get()
    if on_touch is None or _is_harmless(event, args):
        return
    token = entered(_watching, None)
    try:
        fault = on_touch(event, args)
    finally:
        _watching.reset(token)
    raise fault


def _is_harmless(event: str, args: tuple[Any, ...]) -> bool:
    if event == "sqlite3.connect":
        return _is_kept_as_it_is(args[0])
    if event.startswith("ctypes."):
        return args[1] not in _NATIVE
    if event in ("os.putenv", "os.unsetenv"):
        return _is_importing()
    path = args[0] if args else None
    if event == "open":
        flags = args[2] if isinstance(args[2], int) else 0
        return isinstance(path, int) or not flags & _WRITING or _is_scratch(path)
    return event in ("os.rename", "os.mkdir") and _is_scratch(path)


def _is_scratch(path: Any) -> bool:
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    return text == os.devnull or _BYTECODE.search(text) is not None


def _is_kept_as_it_is(database: Any) -> bool:
    text = os.fsdecode(database) if isinstance(database, str | bytes | os.PathLike) else ""
    if not text.startswith("file:"):
        return text in ("", ":memory:")
    return text.startswith("file::memory:") or _READ_ONLY.search(text) is not None


def _is_importing() -> bool:
    """Whether a module is being loaded: some set variables for the libraries that they load."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT:
            return True
        frame = frame.f_back
    return False


def _is_watched(kind: type) -> bool:
    return hasattr(vars(kind).get("send"), "__wrapped__")


def _watch_connections(kind: type, *, sending: tuple[str, ...], receiving: tuple[str, ...]) -> None:
    """Sending on a connection raises no event, so one that was opened before the replay needs this."""
    for event, names in (("socket.send", sending), ("socket.recv", receiving)):
        for name in names:
            setattr(kind, name, _watching_traffic(event, getattr(kind, name)))


def _watching_traffic(event: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def watching(connection: Any, *args: Any, **kwargs: Any) -> Any:
        if _watching.get() is not None and not _is_own_pair(connection):
            _hook(event, (connection,))
        return function(connection, *args, **kwargs)

    return watching


def _is_own_pair(connection: Any) -> bool:
    """Whether both ends have no name, as the pair by which an event loop wakes itself."""
    if connection.family != getattr(socket, "AF_UNIX", None):
        return False
    with contextlib.suppress(OSError):
        return not connection.getsockname() and not connection.getpeername()
    return False


def _watch_ends() -> None:
    """An agent that ends the process would take the report along, with an exit code that may be 0."""
    for name in ("_exit", "abort"):
        setattr(os, name, _watching_end(f"os.{name}", getattr(os, name)))


def _watching_end(event: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def watching(*args: Any) -> Any:
        _hook(event, args)
        return function(*args)

    return watching


def _watch_spawning() -> None:
    try:
        import _posixsubprocess
    except ImportError:  # Windows raises events for all of it
        return
    fork_exec = _posixsubprocess.fork_exec

    @functools.wraps(fork_exec)
    def watching(*args: Any) -> int:
        _hook("_posixsubprocess.fork_exec", args[:1])
        return fork_exec(*args)

    _posixsubprocess.fork_exec = watching
