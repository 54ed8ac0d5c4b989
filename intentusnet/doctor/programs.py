"""How a command that a person types becomes a Python program, to be run in a process that is looked at."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from intentusnet.errors import InvalidInput

_PYTHON: Final = re.compile(r"python(3(\.\d+)?)?(\.exe)?")
#: Options of Python with a value of their own.
_WITH_VALUE: Final = frozenset({"-X", "-W", "--check-hash-based-pycs"})
_EXAMPLE: Final = "python app.py, python -m package, or a command written in Python such as pytest"
#: Installers begin scripts of theirs so where the path of Python is too long for a first line.
_LONG_PATH: Final = re.compile(rb"#!/bin/sh\n'''exec' \"?(?P<python>[^\"\n]+?)\"? \"\$0\"")


@dataclass(frozen=True, slots=True)
class Program:
    """A Python program.

    Attributes:
        interpreter: Python and its options.
        target: the file, or the name of the module.
        module: whether it is a module.
        arguments: the program's own.
    """

    interpreter: tuple[str, ...]
    target: str
    module: bool
    arguments: tuple[str, ...]


def program_of(command: Sequence[str]) -> Program:
    """The program that a command starts.

    Args:
        command: as typed, with at least one word.

    Raises:
        InvalidInput: there is no such command, or it is none that is written in Python.
    """
    first = command[0]
    if _PYTHON.fullmatch(Path(first).name):
        # Without a path, it is the one that has this package; an environment need not be activated.
        found = sys.executable if Path(first).name == first else shutil.which(first)
        if found is None:
            raise _missing(first)
        return _of_python(found, command)
    if first.endswith(".py") and Path(first).is_file():
        return Program((sys.executable,), first, False, tuple(command[1:]))
    # As above: first the commands that were installed with this package.
    path = shutil.which(first, path=os.path.dirname(sys.executable)) or shutil.which(first)
    if path is None:
        raise _missing(first)
    python = _interpreter(Path(path))
    if python is None:
        raise InvalidInput("the command is not written in Python", expected=_EXAMPLE, got=shlex.join(command))
    return Program((python,), path, False, tuple(command[1:]))


def _of_python(python: str, command: Sequence[str]) -> Program:
    options, rest = [python], list(command[1:])
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "-c", "-m"):
        options.append(rest.pop(0))
        if options[-1] in _WITH_VALUE and rest:
            options.append(rest.pop(0))
    if rest[:1] == ["-m"] and len(rest) > 1:
        return Program(tuple(options), rest[1], True, tuple(rest[2:]))
    if not rest or rest[0].startswith("-"):
        raise InvalidInput(
            "there is no file or module to run",
            expected=_EXAMPLE,
            got=shlex.join(command),
            hint="Put the code into a file: findings are told by its lines." if "-c" in rest else "",
        )
    if not Path(rest[0]).exists():
        raise _missing(rest[0])
    return Program(tuple(options), rest[0], False, tuple(rest[1:]))


def _interpreter(script: Path) -> str | None:
    """The Python that runs a script; None if another program does."""
    with script.open("rb") as file:
        beginning = file.read(1024)
    if found := _LONG_PATH.match(beginning):
        return os.fsdecode(found["python"])
    if not beginning.startswith(b"#!"):
        return None
    words = os.fsdecode(beginning[2:].partition(b"\n")[0]).split()
    if words and Path(words[0]).name == "env":
        words = [shutil.which(word) or word for word in words[1:] if not word.startswith("-")]
    return words[0] if words and _PYTHON.fullmatch(Path(words[0]).name) else None


def _missing(name: str) -> InvalidInput:
    return InvalidInput("there is no such command or file", expected=_EXAMPLE, got=name)
