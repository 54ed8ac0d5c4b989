"""Files that people write, policies and expected decisions: TOML or JSON, read into plain data.

Both give the same data for the same content: numbers with a point are exact, as `Decimal`, and what one of
the formats would let pass silently (a repeated key, a number that is none) is a fault.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path

from intentusnet.errors import InvalidPolicy
from intentusnet.policy.rules import show

_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class PolicyFaults(InvalidPolicy):
    """Everything that is wrong with a policy: the first fault in its own fields, all of them in ``faults``.

    Args:
        faults: at least one, in the order of the file.
    """

    def __init__(self, faults: Iterable[InvalidPolicy]) -> None:
        self.faults = tuple(faults)
        first, more = self.faults[0], len(self.faults) - 1
        message = first.message
        if more:
            message += f" (and {more} more {'fault' if more == 1 else 'faults'})"
        super().__init__(message, where=first.where, expected=first.expected, got=first.got, hint=first.hint)


def read_document(path: str | os.PathLike[str], what: str = "policy file") -> object:
    """The content of a file: JSON if its name ends in ``.json`` or its text begins with ``{``, else TOML.

    Args:
        path: the file.
        what: what it is, for errors.

    Raises:
        PolicyFaults: the file cannot be read, or is neither; ``where`` begins with its name.
    """
    name = os.fspath(path)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fault(name, f"the {what} is not UTF-8", got=f"a stray byte at offset {error.start}") from error
    except (OSError, ValueError) as error:
        message = f"the {what} cannot be read: {getattr(error, 'strerror', None) or error}"
        raise _fault(name, message, hint="Check the path and the permissions.") from error
    as_json = name.lower().endswith(".json") or (
        not name.lower().endswith(".toml") and text.lstrip().startswith("{")
    )
    return _read_json(text, name) if as_json else _read_toml(text, name)


def _fault(where: str, message: str, **parts: str) -> PolicyFaults:
    return PolicyFaults([InvalidPolicy(message, where=where, **parts)])


def _read_toml(text: str, name: str) -> object:
    try:
        return tomllib.loads(text, parse_float=_decimal)
    except (ValueError, RecursionError) as error:
        message = str(error)
        place = _TOML_PLACE.search(message)
        if place is None:
            raise _fault(name, f"not valid TOML: {message}") from error
        lines = text.split("\n")
        line, column = place.groups() if place[1] else (len(lines), len(lines[-1]) + 1)
        message = message[: place.start()]
        raise _fault(f"{name}:{line}:{column}", f"not valid TOML: {message}") from error


def _read_json(text: str, name: str) -> object:
    try:
        return json.loads(
            text, parse_float=_decimal, parse_constant=_no_constant, object_pairs_hook=_no_repetition
        )
    except json.JSONDecodeError as error:
        raise _fault(f"{name}:{error.lineno}:{error.colno}", f"not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise _fault(name, f"not valid JSON: {error}") from error


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"the number {text} is out of range") from error


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _no_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {show(twice)} appears twice in one object")
    return table
