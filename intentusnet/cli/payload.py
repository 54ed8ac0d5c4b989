"""JSON that is handed over on the command line: text, ``@file``, or ``-`` for stdin.

Stricter than `json.loads`: what would be changed or lost without a word is refused with its place.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

from intentusnet.cli import jsontext
from intentusnet.errors import InvalidInput

#: Of the line with the fault that many characters are shown, to both sides.
_AROUND: Final = 30


def read_payload(argument: str, what: str = "payload") -> Any:
    """The JSON that an argument means, with tags of the record format as they are; see `untagged`.

    Args:
        argument: JSON, ``@`` and a file's name, or ``-``.
        what: names it in errors, such as "payload".

    Raises:
        InvalidInput: the file cannot be read, it is no JSON, or JSON of which something would be lost.
    """
    return parse_json(*_source(argument, what))


def untagged(tree: Any, where: str) -> Any:
    """The value of JSON in which tags stand for what they stand for in records: ``{"$decimal": "1.50"}``.

    Raises:
        InvalidInput: a key begins with ``$`` and is no tag, or a malformed one.
    """
    from intentusnet import values

    try:
        return values.untag(tree)
    except InvalidInput as fault:
        fault.where = where + fault.where
        fault.hint = 'Keys that begin with $ are tags. For a plain one write {"$dict": [["$key", value]]}.'
        raise


def parse_json(data: bytes, where: str) -> Any:
    """The plain value that JSON bytes mean; raises what `read_payload` raises.

    Args:
        data: UTF-8; a byte order mark before it, as some editors write, is left out.
        where: names them in errors.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise InvalidInput(
            "this is not UTF-8", where=f"{where}, byte {fault.start}", expected="JSON in UTF-8"
        ) from fault
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float)
    except json.JSONDecodeError as fault:
        _refuse(f"this is no JSON: {fault.msg[:1].lower()}{fault.msg[1:]}", text, fault.pos, where)
    except RecursionError as fault:
        raise InvalidInput("this JSON is nested too deep", where=where) from fault
    except ValueError:  # of ours, or Python's own about digits
        value = None
    else:
        if not jsontext.may_hold_halves(text):
            return value
    loss = jsontext.first_loss(text)
    if loss is not None:
        place = f" ({loss.path})" if loss.path else ""
        _refuse(loss.message, text, loss.at, where, place, loss.expected, loss.got, loss.hint)
    return value


def _source(argument: str, what: str) -> tuple[bytes, str]:
    if argument == "-":
        return sys.stdin.buffer.read(), f"{what} (stdin)"
    if not argument.startswith("@"):
        return argument.encode("utf-8", "surrogateescape"), what
    name = argument[1:]
    try:
        return Path(name).read_bytes(), name
    except (OSError, ValueError) as fault:
        raise InvalidInput(
            f"the {what} cannot be read",
            where=name or "@",
            got=getattr(fault, "strerror", None) or str(fault),
            hint="" if name else "Put the file's name behind the @.",
        ) from fault


# What these refuse is looked for in the text, because none of them is told where it is.


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice")
    return made


def _constant(name: str) -> NoReturn:
    raise ValueError(name)


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(digits)
    return number


def _refuse(
    message: str,
    text: str,
    at: int,
    where: str,
    place: str = "",
    expected: str = "",
    got: str = "",
    hint: str = "",
) -> NoReturn:
    line = text.count("\n", 0, at) + 1
    begin = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    before, after = text[max(begin, at - _AROUND) : at], text[at : min(end, at + _AROUND)]
    shown = f"{'…' if begin < at - _AROUND else ''}{before}⟶{after}{'…' if at + _AROUND < end else ''}"
    raise InvalidInput(
        message,
        where=f"{where}, line {line}, column {at - begin + 1}{place}",
        expected=expected,
        got=got or (shown if text.strip() else "nothing"),
        hint=hint or ('Quote JSON for the shell: \'{"key": "value"}\'.' if where == "payload" else ""),
    )
