"""Whether something came back as it was: a value by its types all the way down, a raw tree by what it says.

Python's own equality will not do: it takes True for 1 and 1 for 1.0, finds no NaN equal to itself, and asks
classes that may have defined it in their own way.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel

from intentusnet import values
from intentusnet.errors import UnrecordableValue
from intentusnet.tags import SCALARS

_ATOMS: Final = frozenset({str, int, bool, type(None)})

# The keys that lead to a difference, and what stands there on either side.
Difference = tuple[tuple[Any, ...], Any, Any]


def difference(one: Any, other: Any, keys: tuple[Any, ...], *, widens: bool = False) -> Difference | None:
    """Where and in what two values differ, in type or value; None if they do not. NaN is no difference.

    Args:
        one, other: the values.
        keys: what leads to them.
        widens: an int that has become an equal float is no difference.
    """
    if type(one) is not type(other):
        widened = widens and type(one) is int and type(other) is float and one == other
        return None if widened else (keys, one, other)
    if one is other:
        return None
    parts = None if type(one) in SCALARS else _parts(one)
    if parts is None:
        return None if _is_equal(one, other) else (keys, one, other)
    others = _parts(other) or {}
    # NaN keys are never found again.
    if len(parts) != len(others) or not all(key in others for key in parts):
        return None if _has_same_bytes(one, other) else (keys, one, other)
    if isinstance(one, dict | set | frozenset) and (lost := _key_difference(parts, others, keys)) is not None:
        return lost
    for key, item in parts.items():
        other_item = others[key]
        # Most items are atoms, and not to call for those halves the cost.
        if type(item) in _ATOMS and type(other_item) is type(item) and item == other_item:
            continue
        if (lost := difference(item, other_item, (*keys, key), widens=widens)) is not None:
            return lost
    if isinstance(one, OrderedDict) and list(one) != list(other):
        return keys, one, other
    return None


def _key_difference(ones: dict[Any, Any], others: dict[Any, Any], keys: tuple[Any, ...]) -> Difference | None:
    if set(map(type, ones)) | set(map(type, others)) <= {str}:
        return None
    own = {key: key for key in others}
    return next((lost for key in ones if (lost := difference(key, own[key], keys)) is not None), None)


def conversion(given: Any, made: Any, keys: tuple[Any, ...]) -> Difference | None:
    """Where and how one raw tree says something else than another; keys of only one of them say nothing."""
    if isinstance(given, dict) and isinstance(made, dict):
        shared: Iterable[Any] = [key for key in given if key in made]
    elif isinstance(given, list) and isinstance(made, list) and len(given) == len(made):
        shared = range(len(given))
    else:
        # A float may be declared where JSON says an integer.
        same = given == made and (type(given) is type(made) or (type(given) is int and type(made) is float))
        return None if same else (keys, given, made)
    for key in shared:
        if (converted := conversion(given[key], made[key], (*keys, key))) is not None:
            return converted
    return None


def _parts(value: Any) -> dict[Any, Any] | None:
    """What a container or object consists of, by the key under which it stands there; None for all others."""
    if type(value) is dict:
        return value
    if hasattr(type(value), "__pydantic_fields__") and isinstance(value, BaseModel):
        names = [name for name in type(value).__pydantic_fields__ if hasattr(value, name)]
        fields = {name: getattr(value, name) for name in names}
        return fields | (value.__pydantic_extra__ or {}) | (value.__pydantic_private__ or {})
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if hasattr(value, f.name)}
    if isinstance(value, dict):
        return value
    if isinstance(value, list | tuple | deque):
        return dict(enumerate(value))
    if isinstance(value, set | frozenset):
        return dict.fromkeys(value)
    return None


def _is_equal(one: Any, other: Any) -> bool:
    kind = type(one)
    if kind is str or kind is int or kind is bytes:
        return bool(one == other)
    if kind is float and one == other != 0:
        return True
    if (
        kind in SCALARS
    ):  # zeros have signs, NaNs are the same, Decimals have exponents, times have folds and zones
        return _has_same_bytes(one, other)
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - somebody else's __eq__: what cannot be shown to be equal is not
        return False


def _has_same_bytes(one: Any, other: Any) -> bool:
    try:
        return values.encode(one) == values.encode(other)
    except UnrecordableValue:
        return False
