"""Processes that agents start by `subprocess` and by ``os``; those by asyncio are in process_async.py.

`subprocess.run`, and what is made of it, is one question of kind ``process``, named by the program; its
answer is the return code and what the process wrote. A ``Popen`` is a question for the start and one for
each thing that is asked of it later: ``communicate``, ``wait``, ``poll``, a signal, each piece that is read
from a pipe or written to one. On replay no process is started, and the same object stands in for it.

A start may act, so it is on record before it is done; so does what is written and signalled. What a replay
could not stand in for is refused when it is recorded: files handed over as streams, functions run in the
child, descriptors of pipes. Neither reached nor stopped live: ``os.fork``, ``os.exec``, ``os.spawn``,
``os.posix_spawn``, ``pty``, multiprocessing. A replay stops them all.
"""

from __future__ import annotations

import functools
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import IO, Any, Final, cast

from intentusnet.base_context import BaseContext, capturing
from intentusnet.capture.commands import Command, command_of
from intentusnet.capture.functions import asker_of, put, replace
from intentusnet.capture.hooks import Hook, active
from intentusnet.errors import NotReplayable, UnrecordableValue

NAME: Final = "process"

#: These call on behalf of others.
_INTERNAL: Final = frozenset({"os", "subprocess"})
#: What these start is asked once in a process, whoever comes first.
_PRIVATE: Final = frozenset({"ctypes", "distro", "multiprocessing", "platform", "uuid"})
_CHILD: Final = "_intentusnet_child"

Popen = subprocess.Popen[Any]
_original_init = subprocess.Popen.__init__
_original_communicate = subprocess.Popen.communicate
_original_wait = subprocess.Popen.wait
_original_poll = subprocess.Popen.poll
_original_send_signal = subprocess.Popen.send_signal


def _asker() -> BaseContext | None:
    """The context through which the caller of a patched function asks, if it does."""
    return asker_of(sys._getframe(2), NAME, _INTERNAL, _PRIVATE)


# --- one question for all of it ---


def _capturing_run(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(
        *popenargs: Any,
        input: Any = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **kwargs: Any,
    ) -> Any:
        context = _asker()
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} if capture_output else {}
        options = {"input": input, "capture_output": capture_output, "timeout": timeout, **kwargs}
        if context is None:
            return original(*popenargs, check=check, **options)
        command = command_of(context, popenargs, {**piped, **kwargs})

        def world() -> dict[str, Any]:
            done = original(*popenargs, **options)
            return {"returncode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

        arguments = command.arguments(input=input)
        told = put(context, "process", command.name, arguments, world, "reversible", command.secrets.written)
        done = subprocess.CompletedProcess(command.call["args"], **told)
        if check:
            done.check_returncode()
        return done

    return run


def _capturing_system(original: Callable[[Any], int]) -> Callable[[Any], int]:
    @functools.wraps(original)
    def system(command: Any) -> int:
        context = _asker()
        if context is None:
            return original(command)
        asked = command_of(context, (command,), {"shell": True})
        told: int = put(
            context, "process", asked.name, asked.arguments(), lambda: original(command), "reversible"
        )
        return told

    return system


# --- a process that is asked piece by piece ---


class _Child:
    """What is behind a captured `subprocess.Popen`.

    Args:
        popen: the object that the agent has.
        command: what it was started with.
    """

    def __init__(self, popen: Popen, command: Command) -> None:
        self.popen = popen
        self.command = command
        self.is_live = False
        self.real: dict[str, IO[Any] | None] = {}
        self.shown: dict[str, IO[Any] | None] = {}

    def start(self, context: BaseContext) -> None:
        popen, call = self.popen, self.command.call

        def world() -> int:
            _original_init(popen, **call)
            self.is_live = True
            return popen.pid

        command = self.command
        arguments = command.arguments()
        pid = put(context, "process", command.name, arguments, world, "reversible", command.secrets.written)
        popen.args, popen.pid, popen.returncode = call["args"], pid, None
        encoding, errors = call.get("encoding"), call.get("errors")
        is_text = call.get("text") or call.get("universal_newlines") or encoding or errors
        size = call.get("pipesize", -1)
        vars(popen).update(encoding=encoding, errors=errors, text_mode=is_text, pipesize=size)
        streams = ("stdin", "stdout", "stderr")
        self.real = {name: getattr(popen, name) if self.is_live else None for name in streams}
        self.shown = {name: self._stream(name) for name in streams}
        self.show(self.shown)

    def ask(
        self, context: BaseContext, what: str, world: Callable[[], Any], *args: Any, acts: bool = False
    ) -> Any:
        def live() -> Any:
            if not self.is_live:
                raise NotReplayable(
                    f"process {self.command.name!r} was started before the execution was interrupted, "
                    "and is gone"
                )
            return world()

        name, arguments = f"{self.command.name}.{what}", self.command.arguments_of(*args)
        side_effect = "reversible" if acts else "read_only"
        return put(context, "process", name, arguments, live, side_effect, self.command.secrets.written)

    def show(self, streams: dict[str, IO[Any] | None]) -> None:
        """Makes these the streams of the agent's object."""
        for name, stream in streams.items():
            setattr(self.popen, name, stream)

    def _stream(self, name: str) -> IO[Any] | None:
        call = self.command.call
        if call.get(name) != subprocess.PIPE:
            return None
        raw = _Pipe(self, name)
        size = call.get("bufsize", -1)
        if size == 0:
            stream: Any = raw
        elif name == "stdin":
            stream = io.BufferedWriter(raw, io.DEFAULT_BUFFER_SIZE if size in (-1, 1) else size)
        else:
            stream = io.BufferedReader(raw, io.DEFAULT_BUFFER_SIZE if size in (-1, 1) else size)
        if self.command.is_text:
            stream = io.TextIOWrapper(
                stream,
                encoding=call.get("encoding"),
                errors=call.get("errors"),
                line_buffering=name == "stdin" and size == 1,
                write_through=name == "stdin",
            )
        return cast("IO[Any]", stream)


class _Pipe(io.RawIOBase):
    """One end of a pipe to a process: each piece is a question."""

    def __init__(self, child: _Child, name: str) -> None:
        self._child = child
        self._name = name
        self._rest = b""

    def readable(self) -> bool:
        return self._name != "stdin"

    def writable(self) -> bool:
        return self._name == "stdin"

    def readinto(self, buffer: Any, /) -> int:
        size = len(buffer)
        data: bytes = self._rest or self._ask("read", lambda: os.read(self._descriptor(), size), size)
        # A recorded piece without its secrets may be longer than it was.
        data, self._rest = data[:size], data[size:]
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any, /) -> int:
        piece = bytes(data)

        def world() -> int | None:
            count = os.write(self._descriptor(), piece)
            return None if count == len(piece) else count

        # All of it is no number: with another key in it, a replay writes more, or less.
        written: int | None = self._ask("write", world, piece)
        return len(piece) if written is None else written

    def fileno(self) -> int:
        raise io.UnsupportedOperation(
            f"the {self._name} of a recorded process has no descriptor: read or write it, "
            "or start the process in an effect"
        )

    def close(self) -> None:
        real = self._child.real.get(self._name)
        if real is not None and not real.closed:
            real.close()
        super().close()

    def _ask(self, what: str, world: Callable[[], Any], argument: Any) -> Any:
        context = capturing()
        if context is None:
            return world()
        return self._child.ask(context, f"{self._name}.{what}", world, argument, acts=what == "write")

    def _descriptor(self) -> int:
        real = self._child.real[self._name]
        assert real is not None
        return real.fileno()


def _captured(popen: Popen) -> tuple[_Child, BaseContext] | None:
    """What is behind an object, and who asks; None for a process that was not captured, or is not now."""
    child: _Child | None = popen.__dict__.get(_CHILD)
    context = None if child is None else capturing()
    return None if child is None or context is None else (child, context)


@functools.wraps(_original_init)
def _init(self: Popen, *args: Any, **kwargs: Any) -> None:
    context = _asker()
    if context is None:
        _original_init(self, *args, **kwargs)
        return
    if sys._getframe(1).f_globals.get("__name__", "").startswith("asyncio."):
        raise UnrecordableValue(
            "a process that a loop starts for a protocol cannot be recorded: its callbacks come at any time",
            expected="asyncio.create_subprocess_exec or create_subprocess_shell",
            hint="use these, or start it in an effect",
        )
    child = _Child(self, command_of(context, args, kwargs))
    self.__dict__[_CHILD] = child
    self._waitpid_lock = threading.Lock()  # type: ignore[attr-defined]  # __exit__ and __del__ look at these
    self._input, self._communication_started = None, False  # type: ignore[attr-defined]  # likewise
    child.start(context)


@functools.wraps(_original_communicate)
def _communicate(self: Popen, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
    captured = _captured(self)
    if captured is None:
        return _original_communicate(self, input, timeout)
    child, context = captured
    if self.stdin is not None and not self.stdin.closed:
        self.stdin.flush()

    def world() -> dict[str, Any]:
        child.show(child.real)
        try:
            out, err = _original_communicate(self, input, timeout)
        finally:
            child.show(child.shown)
        return {"returncode": self.returncode, "stdout": out, "stderr": err}

    told = child.ask(context, "communicate", world, input, acts=input is not None)
    self.returncode = told["returncode"]
    for stream in child.shown.values():
        if stream is not None:
            stream.close()
    return told["stdout"], told["stderr"]


@functools.wraps(_original_wait)
def _wait(self: Popen, timeout: float | None = None) -> int:
    captured = _captured(self)
    if captured is None:
        return _original_wait(self, timeout)
    if self.returncode is None:
        child, context = captured
        self.returncode = child.ask(context, "wait", lambda: _original_wait(self, timeout))
    return self.returncode


@functools.wraps(_original_poll)
def _poll(self: Popen) -> int | None:
    captured = _captured(self)
    if captured is None:
        return _original_poll(self)
    if self.returncode is None:
        child, context = captured
        self.returncode = child.ask(context, "poll", lambda: _original_poll(self))
    return self.returncode


@functools.wraps(_original_send_signal)
def _send_signal(self: Popen, sig: int) -> None:
    captured = _captured(self)
    if captured is None:
        _original_send_signal(self, sig)
    elif self.returncode is None:
        child, context = captured
        child.ask(context, "signal", lambda: _original_send_signal(self, sig), int(sig), acts=True)


def _install(module: ModuleType) -> None:
    # Methods of the class, so that it does not matter how the class was bound, or derived from.
    for name, method in {
        "__init__": _init,
        "communicate": _communicate,
        "poll": _poll,
        "send_signal": _send_signal,
        "wait": _wait,
    }.items():
        setattr(subprocess.Popen, name, method)
    replace(subprocess, {"run": _capturing_run(subprocess.run)})
    replace(os, {"system": _capturing_system(os.system)})
    from intentusnet.capture import process_async  # most programs do not load asyncio

    process_async.install(lambda: active(NAME))


HOOKS: Final = (Hook(NAME, "subprocess", _install),)
