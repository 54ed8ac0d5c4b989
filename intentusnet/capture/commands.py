"""Commands: what is asked of the world when a process is started, in words that are recorded and compared."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final, NamedTuple

from intentusnet import values
from intentusnet.capture.hooks import settings_of
from intentusnet.capture.redaction import PLACEHOLDER, Redaction
from intentusnet.context import Context
from intentusnet.errors import UnrecordableValue
from intentusnet.refusals import describe
from intentusnet.tags import is_text

_SIGNATURE: Final = inspect.signature(subprocess.Popen)

_STREAMS: Final = {
    None: None,
    subprocess.PIPE: "pipe",
    subprocess.DEVNULL: "null",
    subprocess.STDOUT: "stdout",
}
_TEXT: Final = ("text", "encoding", "errors", "universal_newlines")
#: Recorded where they are given; all else is how it is done, and does not change what is done.
_COMPARED: Final = ("executable", "extra_groups", "group", "umask", "user")
#: How variables are named whose values are secrets.
_SECRET: Final = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|DSN)$", re.IGNORECASE)


class Command(NamedTuple):
    """A process that is to be started.

    Attributes:
        name: the program, without its directory.
        tree: program and arguments, directory, environment, streams: as they are recorded.
        call: the arguments of `subprocess.Popen`, by name.
        redaction: what is not written down.
    """

    name: str
    tree: dict[str, Any]
    call: dict[str, Any]
    redaction: Redaction

    @property
    def is_text(self) -> bool:
        """Whether its streams are of text."""
        return bool(self.tree["text"])

    def arguments(self, **more: Any) -> bytes:
        """The arguments of the question whether to start it.

        Args:
            more: what else it is handed, as its input.
        """
        told = {name: written(value, self.redaction) for name, value in more.items()}
        return values.encode_arguments((), {**self.tree, **told})

    def arguments_of(self, *args: Any) -> bytes:
        """The arguments of a question that is put to the running process."""
        return values.encode_arguments(tuple(written(arg, self.redaction) for arg in args), {})


def written(value: Any, redaction: Redaction) -> Any:
    """What goes to a process, as it is written down."""
    if isinstance(value, list):
        return [written(item, redaction) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        try:
            return redaction.text(data.decode()).encode()
        except UnicodeDecodeError:
            return data
    return redaction.value(value)


def command_of(context: Context, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Command:
    """The command of a call of `subprocess.Popen`.

    Args:
        context: of the agent that calls.
        args, kwargs: of the call.

    Raises:
        UnrecordableValue: it has a part that a replay could not stand in for.
        TypeError: Popen takes no such arguments.
    """
    call = _SIGNATURE.bind(*args, **kwargs).arguments
    _refuse_unknown_parts(call)
    settings = settings_of(context)
    redaction = Redaction() if settings is None else settings.redaction
    given, shell = call["args"], bool(call.get("shell"))
    argv = _plain(given) if isinstance(given, str | bytes | os.PathLike) else [_plain(one) for one in given]
    name = _name(argv, shell=shell)
    if isinstance(argv, list) and argv and argv[0] == sys.executable:
        # Where this interpreter lies is another place on each machine.
        argv[0] = name = "python"
    tree = {
        "args": [written(one, redaction) for one in argv]
        if isinstance(argv, list)
        else written(argv, redaction),
        "cwd": None if call.get("cwd") is None else _plain(call["cwd"]),
        "env": None if call.get("env") is None else _changes(call["env"], redaction),
        "shell": shell,
        "text": any(call.get(option) for option in _TEXT),
        **{stream: _STREAMS[call.get(stream)] for stream in ("stdin", "stdout", "stderr")},
        **{option: call[option] for option in _COMPARED if call.get(option) not in (None, -1)},
    }
    return Command(name, tree, call, redaction)


def _refuse_unknown_parts(call: Mapping[str, Any]) -> None:
    for stream in ("stdin", "stdout", "stderr"):
        given = call.get(stream)
        if not (given is None or (isinstance(given, int) and given in _STREAMS)):
            raise UnrecordableValue(
                "a process that reads or writes a file or a pipe of someone else cannot be recorded",
                where=stream,
                expected="PIPE, DEVNULL, STDOUT or nothing",
                got=describe(given),
                hint="hand over its input, take its output from it, or start it in an effect",
            )
    for option in ("preexec_fn", "pass_fds", "startupinfo"):
        if call.get(option):
            raise UnrecordableValue(
                "a process that is started like this cannot be recorded",
                where=option,
                expected="nothing",
                got=describe(call[option]),
                hint="start it in an effect",
            )


def _plain(value: Any) -> str | bytes:
    return os.fspath(value)  # type: ignore[no-any-return]  # text or bytes is all that it gives


def _name(argv: str | bytes | list[str | bytes], *, shell: bool) -> str:
    first = argv if not isinstance(argv, list) else argv[0] if argv else ""
    text = os.fsdecode(first)
    if shell:
        text = next(iter(text.split()), "")
    name = PurePath(text).name or "process"
    return name if is_text(name) else ascii(name)


def _changes(env: Mapping[Any, Any], redaction: Redaction) -> dict[str, Any]:
    """Only what differs from this process's own variables, which are other ones on each machine."""
    given = {os.fsdecode(name): os.fsdecode(value) for name, value in env.items()}
    changed = {name: value for name, value in given.items() if os.environ.get(name) != value}
    return {
        "inherits": all(name in given for name in os.environ),
        "set": {
            name: PLACEHOLDER
            if _SECRET.search(name) or redaction.is_secret_key(name)
            else redaction.text(value)
            for name, value in changed.items()
        },
    }
