"""What pydantic finds wrong with a value, told by place: where, what would fit there, and what is there.

Pydantic tells each fault of each member of a union, under a location that also names those members; here
there is one misfit for each place in the value itself, with all that would have been right there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from intentusnet.errors import InvalidInput
from intentusnet.refusals import describe, pointer, type_name

#: So many places are told; how many there are beyond them is told as a number.
MOST_TOLD: Final = 20
#: To tell so many faults takes seconds and gigabytes, so they are looked for in the beginning of the value.
_MOST_AT_ONCE: Final = 10_000
_BEGINNING: Final = 1_000


def refusal(
    name: str, value: Any, error: ValidationError, validate: Callable[[Any], Any], *, secret: bool
) -> InvalidInput:
    """What pydantic has found, as one error that tells every place.

    Args:
        name: the declared type, as errors name it.
        value: what was validated: plain data.
        error: why it was refused.
        validate: validates another value against the same type.
        secret: there are secrets in the type, so values are not shown.
    """
    count = error.error_count()
    if count > _MOST_AT_ONCE:
        error, value = _begun(value, validate) or error, _beginning(value)
    if error.error_count() > _MOST_AT_ONCE:
        places = [{"path": "", "expected": name, "got": describe(value)}]
    else:
        found, places = _places(value, error, secret)
        count = found if count <= _MOST_AT_ONCE else count
    first, more = places[0], f", in {count} places" if count > 1 else ""
    fault = InvalidInput(
        f"the value does not fit the declared type {name}{more}",
        where=first["path"],
        expected=first["expected"],
        got=first["got"],
    )
    fault.misfits, fault.total = tuple(places), count
    return fault


def _begun(value: Any, validate: Callable[[Any], Any]) -> ValidationError | None:
    """What is wrong with the beginning of a value, in which all lists are cut short; None if nothing is."""
    try:
        validate(_beginning(value))
    except ValidationError as error:
        return error
    except Exception:  # noqa: BLE001 - a type's own validators may raise anything
        return None
    return None


def _beginning(value: Any) -> Any:
    if type(value) is list:
        return [_beginning(item) for item in value[:_BEGINNING]]
    if type(value) is dict:
        return {key: _beginning(item) for key, item in list(value.items())[:_BEGINNING]}
    return value


def _places(value: Any, error: ValidationError, secret: bool) -> tuple[int, list[dict[str, str]]]:
    """How many places are wrong, and the first of them."""
    found: dict[str, tuple[dict[str, None], Any]] = {}
    for fault in error.errors(include_url=False):
        path, expected, got = _told(value, fault)
        found.setdefault(path, ({}, got))[0][expected] = None
    first = list(found.items())[:MOST_TOLD]
    return len(found), [
        {"path": path, "expected": " or ".join(list(expected)[:MOST_TOLD]), "got": _shown(got, secret)}
        for path, (expected, got) in first
    ]


class _Nothing:
    """Stands where a value is missing."""


def _told(value: Any, fault: Mapping[str, Any]) -> tuple[str, str, Any]:
    kind, ctx = fault["type"], fault.get("ctx", {})
    if kind.startswith("missing"):
        return locate(value, fault["loc"], missing=True), "a value, which is required", _Nothing
    path = locate(value, fault["loc"], missing=False)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        # A discriminator is told as text, in quotes, unless it is a function of the user's.
        key = str(ctx.get("discriminator", "")).strip("'")
        if kind == "union_tag_invalid":
            return path + pointer(key), f"one of {ctx['expected_tags']}", ctx["tag"]
        return path + pointer(key), "a value, which is required", _Nothing
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return path, "no such field", fault["input"]
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return path, message[:1000], fault["input"]


def _shown(got: Any, secret: bool) -> str:
    if got is _Nothing:
        return "nothing"
    return f"{type_name(type(got)).removeprefix('builtins.')}, not shown" if secret else describe(got)


def locate(value: Any, loc: tuple[int | str, ...], *, missing: bool) -> str:
    """The pointer into the value that a pydantic location means: it also names union members and the like."""
    keys: list[int | str] = []
    for key in loc:
        parts = dict(enumerate(value)) if isinstance(value, list | tuple) else value
        if isinstance(parts, dict) and key in parts:
            value = parts[key]
            keys.append(key)
    return pointer(*keys, *(loc[-1:] if missing else ()))
