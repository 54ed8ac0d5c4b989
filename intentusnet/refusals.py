"""What a refusal says: where in a value something stands, what it is, and what to do instead.

A walk over a value passes a :data:`Place` down, a link to the step before, which costs next to nothing; only
an error makes a pointer of it. All of it depends on the value alone, never on addresses or the process,
because an error may be recorded and compared like anything else.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from os import PathLike
from typing import Any, Final, NoReturn
from uuid import UUID

from intentusnet.errors import PayloadTooLarge, UnrecordableValue

# The place of the container (None at the root), the container, and the key in it that was followed.
Place = tuple[Any, object, object]


class Hidden(Enum):
    """Steps that a JSON pointer cannot take, with what they lead to: the pointer ends at the container."""

    DICT_KEY = "a key of the dict"
    ELEMENT = "an element of the set"
    FIELDS = ""  # from an object to the dict of its fields, which the next step names


def pointer(*keys: object) -> str:
    """The JSON pointer (RFC 6901) to where these keys lead; a key that is no str appears as its repr."""
    texts = (str(key) if isinstance(key, str) else repr(key) for key in keys)
    return _printable("".join("/" + text.replace("~", "~0").replace("/", "~1") for text in texts))


def describe(value: object) -> str:
    """Type name and short repr of any object: one line, 80 characters at most, without memory addresses."""
    name = "a value"
    try:
        name = type_name(type(value)).removeprefix("builtins.")
        # The repr of a set also depends on the hash seed.
        if isinstance(value, set | frozenset) or (isinstance(value, _SIZED) and len(value) > 50):
            text = f"of length {len(value)}"
        else:
            text = without_addresses(str.__str__(repr(value)))
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - somebody else's __repr__, on the way to an error that matters more
        text = "whose repr fails"
    return _cut(_printable(" ".join(f"{_cut(name, 50)} {text}".split())), 80)


def without_addresses(text: str) -> str:
    """The text without the memory addresses of default reprs, which differ from run to run."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def type_name(kind: type) -> str:
    """Module and qualified name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def steps_to(place: Place | None) -> list[tuple[object, object]]:
    """The containers and the keys followed in them, from the root on."""
    steps = []
    while place is not None:
        place, container, key = place
        steps.append((container, key))
    return steps[::-1]


def locate(steps: list[tuple[object, object]]) -> tuple[str, str]:
    """The pointer, and what it is there that is meant, in words."""
    keys: list[object] = []
    for _, key in steps:
        if not isinstance(key, Hidden):
            keys.append(key)
        elif key is not Hidden.FIELDS:
            return pointer(*keys), key.value
    return pointer(*keys), "the value" if keys else "the value itself"


def refuse(value: object, place: Place | None, *, expected: str, hint: str) -> NoReturn:
    """Raises UnrecordableValue for what stands at the place."""
    where, what = locate(steps_to(place))
    raise UnrecordableValue(
        f"{what} cannot be written down unchanged",
        where=where,
        expected=expected,
        got=describe(value),
        hint=hint,
    )


def refuse_depth(container: object, place: Place | None, limit: int) -> NoReturn:
    """Raises UnrecordableValue for a container that contains itself or is nested in too many others."""
    steps = steps_to(place)
    seen: set[int] = set()
    for length, (outer, _) in enumerate([*steps, (container, None)]):
        if id(outer) in seen:
            where, what = locate(steps[:length])
            raise UnrecordableValue(
                f"{what} contains itself",
                where=where,
                got=describe(outer),
                hint="Hand over a value without cycles",
            )
        seen.add(id(outer))
    where, what = locate(steps)
    raise PayloadTooLarge(
        f"{what} is nested too deep",
        where=where,
        expected=f"no more than {limit} levels of JSON",
        got=describe(container),
        hint="Flatten it, or hand over its parts",
    )


def is_named_tuple(kind: type) -> bool:
    """Whether the class is one that ``typing.NamedTuple`` or ``collections.namedtuple`` made."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


#: What to do about a secret where a value has to come back.
NO_SECRETS: Final = (
    "A secret is not written down, so a replay could not come back with it:"
    " let the effect's function use it, and return what it led to"
)

_CONVERSIONS: Final[tuple[tuple[tuple[type, ...], str], ...]] = (
    ((bytearray, memoryview), "bytes(...)"),
    ((PathLike,), "os.fspath(...)"),
    ((Mapping,), "dict(...)"),
)


def advice(kind: type, objects: bool) -> tuple[str, str]:
    """What would have been right instead of a value of this class, and what to do about it."""
    declare = "declare its class as the type that the agent or effect takes or returns"
    if issubclass(kind, Enum):
        return "a plain value", f"Hand over its .value, or {declare}"
    if dataclasses.is_dataclass(kind) or hasattr(kind, "__pydantic_fields__"):
        return "a plain value", f"Hand over a dict of its fields, or {declare}"
    for base in RECORDED:
        if issubclass(kind, base):
            convert = (
                f"with {base.__name__}(...)" if base.__module__ == "builtins" else f"to {type_name(base)}"
            )
            return (
                f"exactly {type_name(base).removeprefix('builtins.')}",
                f"Convert it {convert}, or {declare}",
            )
    for bases, convert in _CONVERSIONS:
        if issubclass(kind, bases):
            return "a plain value", f"Convert it with {convert}"
    if hasattr(kind, "get_secret_value"):
        return "no secret", NO_SECRETS
    if objects:
        bind = "Bind it to the function instead (a bound method, a closure, functools.partial)"
        return "data", f"{bind}: arguments are recorded and compared"
    if issubclass(kind, Iterable):
        return "a plain value", "Convert it with list(...)"
    if kind.__name__ == "UUID":
        return "exactly uuid.UUID", "Convert it with uuid.UUID(str(...))"
    return "a plain value", f"Hand over plain data, or {declare}"


# The classes whose exact instances are recorded, a subclass before its base.
RECORDED: Final[tuple[type, ...]] = (
    *(str, int, float, bytes, list, tuple, dict, set, frozenset),
    *(datetime, date, time, timedelta, Decimal, UUID),
)

_SIZED: Final = (str, bytes, bytearray, list, tuple, dict)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
