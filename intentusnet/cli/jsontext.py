"""JSON text, walked token by token: where what `json.loads` would change or lose without a word stands.

It is walked when something is wrong with it, or may be; there is no recursion, however deep it is nested.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from intentusnet.refusals import pointer
from intentusnet.tags import is_text

#: Digits that an integer may have; to read more takes time that grows with their square.
MOST_DIGITS: Final = 4300

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')
#: The escape of one half of a pair, without the other half beside it; behind a backslash it may be none.
_HALF: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
#: Stands for the keys of what has none.
_NONE: Final[set[str]] = set()
_CONSTANTS: Final = ("NaN", "Infinity", "-Infinity")


class Loss(NamedTuple):
    """Something in JSON text that would be changed or lost.

    Attributes:
        message, expected, got, hint: as of an error.
        at: the offset in the text.
        path: JSON pointer to the value that it is, or is in.
    """

    message: str
    at: int
    path: str
    expected: str = ""
    got: str = ""
    hint: str = ""


def may_hold_halves(text: str) -> bool:
    """Whether there can be half a surrogate pair in it; False is certain."""
    return _HALF.search(text) is not None


def first_loss(text: str) -> Loss | None:
    """The first thing in JSON text that would be changed or lost; None if there is none.

    Args:
        text: what `json.loads` takes, constants and all.
    """
    for at, token, is_key, seen, keys in _tokens(text):
        if token[0] == '"':
            said = json.loads(token)
            if not is_text(said):
                return Loss(
                    "a text holds one half of a surrogate pair",
                    at,
                    pointer(*keys),
                    "Unicode text",
                    json.dumps(said)[:80],
                    'To hand it over all the same, write {"$str": "<base64 of its bytes>"}.',
                )
            if is_key and said in seen:
                hint = "One of the two values would be lost."
                return Loss(
                    "a key stands twice in one object", at, pointer(*keys), "each key once", token[:80], hint
                )
            if is_key:
                seen.add(said)
        elif (loss := _of_number(token, at, pointer(*keys))) is not None:
            return loss
    return None


def _of_number(token: str, at: int, path: str) -> Loss | None:
    if token in _CONSTANTS:
        hint = "JSON has no such number: hand over null or a text, and agree on it with the agent."
        return Loss(f"{token} is no JSON", at, path, hint=hint)
    if token in ("true", "false", "null"):
        return None
    if token.lstrip("-").isdigit():
        digits = len(token.lstrip("-"))
        if digits > MOST_DIGITS:
            return Loss(
                "a number has too many digits", at, path, f"at most {MOST_DIGITS} digits", f"{digits} digits"
            )
        return None
    try:
        number = float(token)
    except ValueError:  # it begins with one of the constants, at which nobody has read on
        return Loss("this is no JSON", at, path, "a value", repr(token[:80]))
    if abs(number) == float("inf"):
        return Loss("a number is too large", at, path, "at most 1.8e308", token[:80])
    return None


def _tokens(text: str) -> Iterator[tuple[int, str, bool, set[str], list[Any]]]:
    """Each string and literal: its offset, itself, whether it is a key, the keys before it, and its path.

    The path and the set of keys are those of the walk itself: they change as it goes on.
    """
    path: list[Any] = []
    seen: list[set[str]] = []  # for each container around: the keys of an object, or none, for an array
    wants_key = False
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in "{[":
            seen.append(set() if token == "{" else _NONE)
            path.append("" if token == "{" else 0)
            wants_key = token == "{"
        elif token in "}]":
            seen.pop()
            path.pop()
            wants_key = False
        elif token == ",":
            wants_key = seen[-1] is not _NONE
            if not wants_key:
                path[-1] += 1
        elif token == ":":
            wants_key = False
        else:
            if wants_key:
                path[-1] = json.loads(token)
            yield match.start(), token, wants_key, seen[-1] if wants_key else _NONE, path
