"""Places that a replay does not compare: JSON pointers for each intent.

A rule is a glob over intent names, such as ``ticket.*``, with places. A place is a JSON pointer (RFC 6901)
into what is compared: ``/payload/at``. A part ``*`` stands for any one key or index, and a pointer covers
all that lies below it. Before it may stand the kind of divergence that it is meant for:
``arguments:/kwargs/now``; without one it holds for every kind that has pointers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Any, Final, NamedTuple

from intentusnet import values
from intentusnet.errors import InvalidInput

#: Kinds of divergences with places inside of a value. The others are about whole questions, and those are
#: never ignored.
POINTED_KINDS: Final = ("arguments", "environment", "outcome", "plan", "policy", "response")

_ANY: Final = "*"
_WRITTEN: Final = re.compile(
    rf"((?P<kind>{'|'.join(POINTED_KINDS)}):)?(?P<pointer>(/([^/~]|~[01])*)+)", re.DOTALL
)
#: Stands for an ignored item of a list, so that those behind it keep their places.
_HIDDEN: Final = {"$ignored": True}


class _Place(NamedTuple):
    kind: str | None
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ignored:
    """The places that are not compared in the executions of one intent."""

    places: tuple[_Place, ...] = ()

    def covers(self, kind: str, pointer: str) -> bool:
        """Whether a place lies at, or below, one that is not compared."""
        if not self.places or kind not in POINTED_KINDS:
            return False
        parts = _parts(pointer)
        return any(
            place.kind in (None, kind) and len(place.parts) <= len(parts) and _fits(place.parts, parts)
            for place in self.places
        )

    def masked(self, arguments: bytes) -> bytes:
        """Encoded arguments without what is not compared: equal for questions that differ only in that."""
        patterns = [place.parts for place in self.places if place.kind in (None, "arguments")]
        return values.dumps(_without(values.parse(arguments), patterns)) if patterns else arguments


#: Everything is compared.
NOTHING: Final = Ignored()


@dataclass(frozen=True, slots=True)
class Ignore:
    """Which places are not compared, by intent; made by `parse_ignore`."""

    rules: tuple[tuple[re.Pattern[str], tuple[_Place, ...]], ...] = ()

    def of(self, intent: str) -> Ignored:
        """What is not compared in an execution of that intent: the places of every rule that fits it."""
        if not self.rules:
            return NOTHING
        places = tuple(place for glob, listed in self.rules if glob.match(intent) for place in listed)
        return Ignored(places) if places else NOTHING


#: No rule for any intent.
NO_RULES: Final = Ignore()


def parse_ignore(rules: object, where: str = "ignore") -> Ignore:
    """Reads ``{"ticket.*": ["arguments:/kwargs/now", "/payload/at"]}``.

    Args:
        rules: a mapping of globs over intent names to lists of places, from whatever file it was read.
        where: where they stand, for messages.

    Raises:
        InvalidInput: a glob or a place makes no sense.
    """
    if not isinstance(rules, Mapping):
        raise InvalidInput(
            "the places to ignore must stand under their intents",
            where=where,
            expected='{"ticket.*": ["response:/payload/at"]}',
            got=repr(rules),
        )
    read = []
    for glob, listed in rules.items():
        at = f"{where}[{glob!r}]"
        if not isinstance(glob, str) or not glob:
            raise InvalidInput("an intent must be named", where=at, expected="a glob", got=repr(glob))
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            raise InvalidInput(
                "places must be a list", where=at, expected='["/payload/at"]', got=repr(listed)
            )
        places = tuple(_place(text, f"{at}[{number}]") for number, text in enumerate(listed))
        read.append((re.compile(translate(glob)), places))
    return Ignore(tuple(read))


def _place(text: object, where: str) -> _Place:
    if not isinstance(text, str):
        raise InvalidInput("a place must be text", where=where, expected="'/payload/at'", got=repr(text))
    read = _WRITTEN.fullmatch(text)
    if read is None or read["pointer"] == "/":
        raise InvalidInput(
            "a place to ignore cannot be read",
            where=where,
            expected=f"a JSON pointer, alone or after one of {', '.join(POINTED_KINDS)} and a colon",
            got=repr(text),
            hint="'response:/payload/at', '/payload/items/*/price'; in a key, ~ is written ~0 and / is ~1",
        )
    return _Place(read["kind"], _parts(read["pointer"]))


def _parts(pointer: str) -> tuple[str, ...]:
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def _fits(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    return all(wanted in (_ANY, part) for wanted, part in zip(pattern, parts, strict=False))


def _without(tree: Any, patterns: Sequence[tuple[str, ...]]) -> Any:
    if isinstance(tree, dict):
        return {
            key: _without(item, below)
            for key, item in tree.items()
            if () not in (below := _below(patterns, key))
        }
    if isinstance(tree, list):
        items = []
        for index, item in enumerate(tree):
            below = _below(patterns, str(index))
            items.append(_HIDDEN if () in below else _without(item, below))
        while items and items[-1] is _HIDDEN:
            items.pop()
        return items
    return tree


def _below(patterns: Sequence[tuple[str, ...]], part: str) -> list[tuple[str, ...]]:
    return [pattern[1:] for pattern in patterns if pattern and pattern[0] in (_ANY, part)]
