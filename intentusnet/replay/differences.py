"""Where two raw trees differ: one JSON pointer (RFC 6901) for each place."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from intentusnet import values

#: Stands where one of the two trees has nothing. No recorded value can look like it.
ABSENT: Final = {"$absent": True}

#: Of two trees that differ everywhere, that many places are told.
MOST_PLACES: Final = 100

Place = tuple[str, Any, Any]


def differences(expected: Any, actual: Any) -> tuple[Place, ...]:
    """Each place in which the trees differ, as (pointer, expected, actual), at most `MOST_PLACES`."""
    return tuple(islice(places(expected, actual), MOST_PLACES))


def encoded_differences(expected: bytes, actual: bytes) -> tuple[Place, ...]:
    """`differences` of encoded values; equal bytes are not even parsed."""
    return () if expected == actual else differences(values.parse(expected), values.parse(actual))


def places(expected: Any, actual: Any) -> Iterator[Place]:
    """`differences`, one by one, however many there are."""
    # Most trees that are compared are equal, and bytes tell that, types included, in no time.
    return iter(()) if values.dumps(expected) == values.dumps(actual) else _walk("", expected, actual)


def encoded_places(expected: bytes, actual: bytes) -> Iterator[Place]:
    """`places` of encoded values; equal bytes are not even parsed."""
    return iter(()) if expected == actual else places(values.parse(expected), values.parse(actual))


def _walk(pointer: str, expected: Any, actual: Any) -> Iterator[Place]:
    if expected is ABSENT or actual is ABSENT:
        if expected is not actual:
            yield pointer, expected, actual
    elif isinstance(expected, dict) and isinstance(actual, dict):
        for key in sorted(expected.keys() | actual.keys()):
            yield from _walk(f"{pointer}/{_escaped(key)}", expected.get(key, ABSENT), actual.get(key, ABSENT))
    elif isinstance(expected, list) and isinstance(actual, list):
        for index in range(max(len(expected), len(actual))):
            yield from _walk(f"{pointer}/{index}", _at(expected, index), _at(actual, index))
    elif type(expected) is not type(actual) or expected != actual or _is_signed_zero(expected, actual):
        yield pointer, expected, actual


def _is_signed_zero(expected: Any, actual: Any) -> bool:
    """Whether one is 0.0 and the other -0.0: equal to Python, and other bytes in a record."""
    return type(expected) is float and repr(expected) != repr(actual)


def _at(items: list[Any], index: int) -> Any:
    return items[index] if index < len(items) else ABSENT


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
