"""Processes that agents start with asyncio: the same questions as those of process.py, awaited.

``asyncio.create_subprocess_exec`` and ``create_subprocess_shell`` give an object that stands in for
asyncio's own, live and on replay. What is started by a loop's ``subprocess_exec`` with a protocol is
refused, since its callbacks come when timing says.
"""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Final

from intentusnet import raised
from intentusnet.base_context import BaseContext
from intentusnet.capture.commands import Command, command_of
from intentusnet.capture.functions import Told, put, replace, value_of
from intentusnet.errors import NotReplayable
from intentusnet.scopes import covered

#: The context that asks for running code, if it does.
Asker = Callable[[], BaseContext | None]

_Process = asyncio.subprocess.Process
_PIPE: Final = asyncio.subprocess.PIPE


def install(asker: Asker) -> None:
    """Patches asyncio: called once in a process."""
    shell, program = asyncio.create_subprocess_shell, asyncio.create_subprocess_exec

    @functools.wraps(shell)
    async def create_subprocess_shell(cmd: Any, *args: Any, **kwargs: Any) -> Any:
        context = asker()
        if context is None:
            return await shell(cmd, *args, **kwargs)
        return await _started(context, functools.partial(shell, cmd, *args), cmd, {**kwargs, "shell": True})

    @functools.wraps(program)
    async def create_subprocess_exec(*args: Any, **kwargs: Any) -> Any:
        context = asker()
        if context is None:
            return await program(*args, **kwargs)
        return await _started(context, functools.partial(program, *args), list(args), kwargs)

    replacements: dict[str, Callable[..., Any]] = {
        "create_subprocess_exec": create_subprocess_exec,
        "create_subprocess_shell": create_subprocess_shell,
    }
    replace(asyncio.subprocess, replacements)
    for name, function in replacements.items():
        setattr(asyncio, name, function)


async def _started(
    context: BaseContext, start: Callable[..., Awaitable[_Process]], args: Any, kwargs: dict[str, Any]
) -> CapturedProcess:
    settings = {name: value for name, value in kwargs.items() if name not in ("limit", "shell")}
    command = command_of(context, (args,), {**settings, "shell": kwargs.get("shell", False)})
    child = _Child(context, command)

    async def world() -> int:
        process = await start(**{name: value for name, value in kwargs.items() if name != "shell"})
        child.process = process
        return process.pid

    arguments = command.arguments()
    pid = await _put(
        context, "process", command.name, arguments, world, "reversible", command.secrets.written
    )
    return CapturedProcess(child, pid)


async def _put(
    context: BaseContext,
    kind: str,
    name: str,
    arguments: bytes,
    world: Callable[[], Awaitable[Any]],
    side_effect: str,
    redacted: Callable[[Any], Any],
) -> Any:
    """As `put`, for a world that is awaited.

    Who was cancelled while waiting waits on replay, too, until whatever cancelled it does so again.
    """
    ticket = context.begin(kind, name, arguments, side_effect)
    if ticket.answer is not None:
        answer = ticket.answer
        if not answer.ok and isinstance(raised.revive(answer.data), asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        return value_of(answer)
    with covered(ticket.question):
        try:
            told = Told(await world(), redacted)
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is the answer
            told = Told.of_fault(fault, redacted)
        except asyncio.CancelledError as cancelled:
            context.end(ticket, raised.capture(cancelled))
            raise
    return told.counts(context.end(ticket, told.answer))


class _Child:
    """What is behind a captured process of asyncio."""

    def __init__(self, context: BaseContext, command: Command) -> None:
        self.command = command
        self.process: _Process | None = None
        self._context = context

    async def ask(
        self, what: str, *args: Any, live: Callable[[], Awaitable[Any]] | None = None, acts: bool = False
    ) -> Any:
        """Asks the process for what an attribute of asyncio's object gives, unless told how to ask."""

        async def world() -> Any:
            process = self._running()
            return await (_attribute(process, what)(*args) if live is None else live())

        return await _put(*self._question(what, args), world, *self._traits(acts))

    def tell(self, what: str, *args: Any) -> None:
        """Calls an attribute of asyncio's object that acts and gives nothing."""

        def world() -> None:
            _attribute(self._running(), what)(*args)

        put(*self._question(what, args), world, *self._traits(True))

    def _question(self, what: str, args: tuple[Any, ...]) -> tuple[BaseContext, str, str, bytes]:
        return self._context, "process", f"{self.command.name}.{what}", self.command.arguments_of(*args)

    def _traits(self, acts: bool) -> tuple[str, Callable[[Any], Any]]:
        return "reversible" if acts else "read_only", self.command.secrets.written

    def _running(self) -> _Process:
        if self.process is None:
            raise NotReplayable(
                f"process {self.command.name!r} was started before the execution was interrupted, and is gone"
            )
        return self.process


def _attribute(process: _Process, path: str) -> Callable[..., Any]:
    found: Callable[..., Any] = operator.attrgetter(path)(process)
    return found


class CapturedProcess:
    """What an agent has for an `asyncio.subprocess.Process`.

    Attributes:
        pid: of the process that was started when the execution was recorded.
        returncode: None as long as nobody has waited for the end.
        stdin, stdout, stderr: where they are pipes.
    """

    def __init__(self, child: _Child, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._child = child
        call = child.command.call
        self.stdin = _Writer(child) if call.get("stdin") == _PIPE else None
        self.stdout = _Reader(child, "stdout") if call.get("stdout") == _PIPE else None
        self.stderr = _Reader(child, "stderr") if call.get("stderr") == _PIPE else None

    async def communicate(self, input: bytes | None = None) -> tuple[bytes | None, bytes | None]:
        """See `asyncio.subprocess.Process.communicate`."""
        child = self._child

        async def live() -> dict[str, Any]:
            process = child.process
            assert process is not None
            out, err = await process.communicate(input)
            return {"returncode": process.returncode, "stdout": out, "stderr": err}

        told = SimpleNamespace(**await child.ask("communicate", input, live=live, acts=input is not None))
        self.returncode = told.returncode
        return told.stdout, told.stderr

    async def wait(self) -> int:
        """See `asyncio.subprocess.Process.wait`."""
        if self.returncode is None:
            self.returncode = await self._child.ask("wait")
        return self.returncode

    def send_signal(self, signal: int) -> None:
        """See `asyncio.subprocess.Process.send_signal`."""
        self._child.tell("send_signal", int(signal))

    def terminate(self) -> None:
        """See `asyncio.subprocess.Process.terminate`."""
        self._child.tell("terminate")

    def kill(self) -> None:
        """See `asyncio.subprocess.Process.kill`."""
        self._child.tell("kill")


class _Reader:
    """What an agent has for the `asyncio.StreamReader` of a process: each piece is a question."""

    def __init__(self, child: _Child, name: str) -> None:
        self._child = child
        self._name = name
        self._ended = False

    async def read(self, n: int = -1) -> bytes:
        piece = await self._ask("read", n)
        self._ended = self._ended or (n != 0 and not piece) or n < 0
        return piece

    async def readline(self) -> bytes:
        line = await self._ask("readline")
        self._ended = self._ended or not line.endswith(b"\n")
        return line

    async def readexactly(self, n: int) -> bytes:
        return await self._ask("readexactly", n)

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        return await self._ask("readuntil", separator)

    def at_eof(self) -> bool:
        return self._ended

    def __aiter__(self) -> _Reader:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def _ask(self, what: str, *args: Any) -> bytes:
        told: bytes = await self._child.ask(f"{self._name}.{what}", *args)
        return told


class _Writer:
    """What an agent has for the `asyncio.StreamWriter` of a process: each piece is a question."""

    def __init__(self, child: _Child) -> None:
        self._child = child
        self._closing = False

    def write(self, data: bytes) -> None:
        self._tell("write", data)

    def writelines(self, data: list[bytes]) -> None:
        self.write(b"".join(data))

    async def drain(self) -> None:
        await self._child.ask("stdin.drain")

    def close(self) -> None:
        self._closing = True
        self._tell("close")

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._tell("write_eof")

    async def wait_closed(self) -> None:
        await self._child.ask("stdin.wait_closed")

    def _tell(self, what: str, *args: Any) -> None:
        self._child.tell(f"stdin.{what}", *args)
