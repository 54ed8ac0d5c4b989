"""Commands: what is asked of the world when a process is started, in words that are recorded and compared.

Secrets of a command are the values of variables and options that are named as such, what the redaction finds,
and what the agent has met before. None is written down, nor where the process repeats it.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Final, NamedTuple

from intentusnet import values
from intentusnet.base_context import BaseContext
from intentusnet.capture import secret_names
from intentusnet.capture.hooks import settings_of
from intentusnet.capture.known import known_to, remember
from intentusnet.capture.redaction import PLACEHOLDER, Redaction, worth_looking_for
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
#: An argument that is an option with its value, spaces and all.
_WHOLE_OPTION: Final = re.compile(r"^--?([A-Za-z][A-Za-z0-9_-]+)=(.+)$", re.DOTALL)
#: In an argument, and in a command for the shell: an option with its value,
_OPTION: Final = re.compile(
    r"(?:^|(?<=\s))--?([A-Za-z][A-Za-z0-9_-]+)(?:=|\s+)(\"[^\"]*\"|'[^']*'|[^\s\"';|&-][^\s\"';|&]*)"
)
#: a variable that is set,
_SET: Final = re.compile(r"(?:^|(?<=[\s;&|(]))([A-Za-z_][A-Za-z0-9_]*)=(\"[^\"]*\"|'[^']*'|[^\s\"';|&)]+)")
#: and the name and password that curl is given. References to variables are no secrets.
_USER: Final = re.compile(r"(?:^|(?<=\s))(?:-u|--user|--proxy-user)[= ]*(\"[^\"]+\"|'[^']+'|[^\s\"':]*:\S+)")
_USER_OPTIONS: Final = frozenset({"-u", "--user", "--proxy-user"})
_REFERENCE: Final = re.compile(r"^[\"']?\$")
#: A variable in a listing of them, as of ``env`` and in files.
_LISTED: Final = re.compile(
    r"^(?:export )?([A-Z][A-Z0-9_]*)=([^\s$(<{\"'][^\s]*|\"[^\"$\n]+\"|'[^'\n]+')[ \t\r]*$", re.MULTILINE
)
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


class Secrets:
    """What is not written down of a process: mutable, since more of it is found on the way.

    Args:
        context: of the agent that starts it.
    """

    def __init__(self, context: BaseContext) -> None:
        settings = settings_of(context)
        self.redaction = Redaction() if settings is None else settings.redaction
        self._context = context
        self._own: list[str] = []

    def written(self, value: Any) -> Any:
        """What goes to the process or comes from it, as it is written down."""
        known = [*self._own, *known_to(self._context)]
        return self.redaction.value(self._listed(value), known)

    def argument(self, value: str | bytes, name: str, before: str | None = None) -> str | bytes:
        """An argument, or a command for the shell, as it is written down.

        Args:
            value: what it is.
            name: of the program.
            before: the argument before it; None for a command for the shell.
        """
        is_one, before = before is not None, before or ""
        text = os.fsdecode(value)
        option = before.lstrip("-")
        if text and before.startswith("-") and not text.startswith("-") and self._is_secret_option(option):
            self._keep(text)
            text = PLACEHOLDER
        if name == "curl":
            text = self._user(text, before)
        if is_one:
            text = self._without(_WHOLE_OPTION, text, self._is_secret_option)
        text = self._without(_OPTION, text, self._is_secret_option)
        text = self._without(_SET, text, secret_names.is_secret_variable)
        text = str(self.written(text))
        return text if isinstance(value, str) else os.fsencode(text)

    def variable(self, name: str, value: str) -> str:
        """The value of a variable as it is written down."""
        if secret_names.is_secret_variable(name) or (self.redaction.is_secret_key(name) and name != "PWD"):
            self._keep(value)
            return PLACEHOLDER
        return str(self.written(value))

    def _listed(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._without(_LISTED, value, secret_names.is_secret_variable)
        if isinstance(value, bytes):
            # In this encoding all bytes are text, and names of variables are what they are.
            return self._listed(value.decode("latin-1")).encode("latin-1")
        if isinstance(value, dict):
            return {key: self._listed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._listed(item) for item in value]
        return value

    def _is_secret_option(self, name: str) -> bool:
        return self.redaction.is_secret_key(name) or secret_names.normal(name) == "token"

    def _user(self, text: str, before: str) -> str:
        if before in _USER_OPTIONS and ":" in text:
            self._keep(text)
            return PLACEHOLDER
        for match in _USER.finditer(text):
            self._keep(match[1])
        return _USER.sub(lambda match: match[0].replace(match[1], PLACEHOLDER), text)

    def _without(self, pattern: re.Pattern[str], text: str, is_secret: Callable[[str], bool]) -> str:
        def told(match: re.Match[str]) -> str:
            if not is_secret(match[1]) or _REFERENCE.match(match[2]):
                return match[0]
            self._keep(match[2])
            return match[0][: match.start(2) - match.start()] + PLACEHOLDER

        return pattern.sub(told, text)

    def _keep(self, secret: str) -> None:
        found = worth_looking_for([secret.strip("\"'"), *secret.strip("\"'").split(":", 1)])
        self._own += [one for one in found if one not in self._own]
        remember(self._context, found)


class Command(NamedTuple):
    """A process that is to be started.

    Attributes:
        name: the program, without its directory.
        tree: program and arguments, directory, environment, streams: as they are recorded.
        call: the arguments of `subprocess.Popen`, by name.
        secrets: what is not written down.
    """

    name: str
    tree: dict[str, Any]
    call: dict[str, Any]
    secrets: Secrets

    @property
    def is_text(self) -> bool:
        """Whether its streams are of text."""
        return bool(self.tree["text"])

    def arguments(self, **more: Any) -> bytes:
        """The arguments of the question whether to start it.

        Args:
            more: what else it is handed, as its input.
        """
        told = {name: self.secrets.written(_frozen(value)) for name, value in more.items()}
        return values.encode_arguments((), {**self.tree, **told})

    def arguments_of(self, *args: Any) -> bytes:
        """The arguments of a question that is put to the running process."""
        return values.encode_arguments(tuple(self.secrets.written(_frozen(arg)) for arg in args), {})


def _frozen(value: Any) -> Any:
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


def command_of(context: BaseContext, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Command:
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
    secrets = Secrets(context)
    given, shell = call["args"], bool(call.get("shell"))
    argv = _plain(given) if isinstance(given, str | bytes | os.PathLike) else [_plain(one) for one in given]
    name = _name(argv, shell=shell)
    if isinstance(argv, list) and argv and argv[0] == sys.executable:
        # Where this interpreter lies is another place on each machine.
        argv[0] = name = "python"
    env = None if call.get("env") is None else _changes(call["env"], secrets)
    tree = {
        "args": _arguments(argv, name, secrets),
        "cwd": None if call.get("cwd") is None else secrets.written(_plain(call["cwd"])),
        "env": env,
        "shell": shell,
        "text": any(call.get(option) for option in _TEXT),
        **{stream: _STREAMS[call.get(stream)] for stream in ("stdin", "stdout", "stderr")},
        **{option: call[option] for option in _COMPARED if call.get(option) not in (None, -1)},
    }
    return Command(name, tree, call, secrets)


def _arguments(argv: str | bytes | list[str | bytes], name: str, secrets: Secrets) -> Any:
    if not isinstance(argv, list):
        return secrets.argument(argv, name)
    before = ["", *(os.fsdecode(one) for one in argv)]
    return [secrets.argument(one, name, option) for one, option in zip(argv, before, strict=False)]


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
        text = _program(text)
    name = PurePath(text).name or "process"
    return name if is_text(name) else ascii(name)


def _program(command: str) -> str:
    """The first word of a command for the shell that does not set a variable."""
    words = shlex.shlex(command, posix=True)
    words.whitespace_split, words.commenters = True, ""
    try:
        return next((word for word in words if not _ASSIGNMENT.match(word)), "")
    except ValueError:  # a quote that does not end is the shell's to complain of
        return ""


def _changes(env: Mapping[Any, Any], secrets: Secrets) -> dict[str, Any]:
    """Only what differs from this process's own variables, which are other ones on each machine."""
    given = {os.fsdecode(name): os.fsdecode(value) for name, value in env.items()}
    changed = {name: value for name, value in given.items() if os.environ.get(name) != value}
    return {
        "inherits": all(name in given for name in os.environ),
        "set": {name: secrets.variable(name, value) for name, value in changed.items()},
    }
