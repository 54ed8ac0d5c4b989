"""The bytes of plain values: what stands in a record where a payload, a question or an answer is written.

The encoded form is JSON: UTF-8, sorted keys, no spaces. It is a function of the value alone, never of
insertion order, hash seed, machine or locale. A plain JSON value stands for itself. Everything else is a
*tag*, an object with exactly one key, which begins with ``$``::

    {"$float":"nan"}                            "inf", "-inf"
    {"$int":"9007199254740992"}                 beyond ±(2**53 - 1); over 1024 bits in hexadecimal, "0x…"
    {"$str":"<base64>"}                         UTF-8 with the lone surrogates that are in it
    {"$bytes":"<base64>"}
    {"$tuple":[…]}
    {"$set":[…]}  {"$frozenset":[…]}            sorted by the bytes of the elements
    {"$dict":[[key,value],…]}                   where a key is no str, begins with $ or has a lone surrogate;
                                                sorted by the bytes of the keys
    {"$decimal":"1.50"}  {"$uuid":"…"}
    {"$timedelta":[days,seconds,microseconds]}
    {"$date":"2024-02-29"}
    {"$datetime":"2024-02-29T12:00:00+01:00"}   and {"$time":"12:00:00"}; where ISO 8601 does not say it all:
    {"$datetime":{"at":"2024-02-29T12:00:00","fold":1,"zone":"Europe/Paris"}}
                                                or "offset":[0,3600,0] with "name":"CET", which a
                                                datetime.timezone may have, or "by":"pydantic", who parsed it
    {"$object":["module.Name",{field:…}]}       in arguments only, see :func:`encode_arguments`

A value is written so that an equal value of the same type is read back, or it is refused with the place where
it stands. Subclasses, enums and objects are refused: to read them takes a declared type (codecs.py). Each
value has one spelling; another one is refused on reading. All NaNs are one value, since sign and payload of a
computed NaN differ between processors. No pickle, and nothing that a record names is ever imported.

No more than ``MAX_DEPTH`` levels of JSON may be nested (a tuple takes two, a ``$dict`` three), because orjson
writes no more than 254 and a value stands inside the body of an entry.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import partial
from math import isfinite
from operator import itemgetter
from typing import Any, Final

import orjson

from intentusnet.errors import InvalidInput, PayloadTooLarge, UnrecordableValue
from intentusnet.naming import class_name
from intentusnet.refusals import (
    RECORDED,
    Hidden,
    Place,
    advice,
    describe,
    is_named_tuple,
    locate,
    refuse,
    refuse_depth,
    steps_to,
)
from intentusnet.tags import BY_TAG, SCALARS, is_text

Fragment = orjson.Fragment

MAX_DEPTH: Final = 200
MAX_PLAIN_INT: Final = 2**53 - 1  # RFC 8259, section 6: what every reader of JSON agrees on
_PARSE_DEPTH: Final = 250  # MAX_DEPTH and the body of an entry around it, within what orjson can write again

_PASS: Final = (
    orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
)
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER | _PASS


def encode(value: Any) -> bytes:
    """The bytes of a plain value.

    Raises:
        UnrecordableValue: it, or something in it, could not be read back as an equal value of its type.
    """
    return _encode(value, objects=False)


def decode(data: bytes) -> Any:
    """The value whose bytes these are: the inverse of :func:`encode`.

    Raises:
        InvalidInput: no JSON, an unknown tag, or a tag spelt as :func:`encode` never spells it.
    """
    node = _load(data, MAX_DEPTH)
    return untag(node) if may_hold_tags(data) else node


def parse(data: bytes) -> Any:
    """The raw tree of the bytes: JSON, with its tags left as they are.

    For bytes that this package wrote: of other JSON, an integer over 64 bits would become a float.

    Raises:
        InvalidInput: no JSON, or nested too deep.
    """
    return _load(data, _PARSE_DEPTH)


def untag(node: Any) -> Any:
    """The value of a raw tree, so that ``decode(data)`` is ``untag(parse(data))``.

    Raises:
        InvalidInput: as :func:`decode`.
    """
    return _untag(node, None, 0)


def tree(value: Any) -> Any:
    """The raw tree of a value, so that ``encode(value)`` is ``dumps(tree(value))``; nothing in it is shared.

    Raises:
        UnrecordableValue: as :func:`encode`.
    """
    try:
        return _tree(value, None, 0, objects=False)
    except RuntimeError as error:
        raise _unsettled(error) from error


def dumps(node: Any) -> bytes:
    """The bytes of a raw tree, in which a :class:`Fragment` may stand for bytes that are encoded already.

    Raises:
        InvalidInput: something in the tree is no JSON.
    """
    try:
        return orjson.dumps(node, option=_OPTIONS)
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"a raw tree holds something that is no JSON: {error}") from error


def digest(data: bytes) -> str:
    """The SHA-256 of the bytes, as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def may_hold_tags(data: bytes) -> bool:
    """Whether there can be tags in the bytes; False is certain."""
    # encode never spells the dollar sign as an escape, but other writers of JSON may. With `in`, Python would
    # first try to take the text for an index, which takes twice as long.
    return data.find(b'"$') >= 0 or data.find(b'"\\u0024') >= 0


def encode_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
    """The bytes of a call's arguments: ``{"args":[…],"kwargs":{…}}``.

    Arguments are compared and never handed back, so pydantic models, dataclasses, enums and named tuples may
    stand among them, as ``{"$object":["module.QualName",{field:…}]}``. :func:`parse` reads them.

    Raises:
        UnrecordableValue: an argument is no data, as a client, a function or an open file.
    """
    return _encode({"args": list(args), "kwargs": dict(kwargs)}, objects=True)


# Writing: one walk decides whether orjson alone is lossless, another builds the tags where it is not.

_ATOMS: Final = frozenset({str, int, bool, type(None)})


def _encode(value: Any, objects: bool) -> bytes:
    try:
        if _is_plain(value, MAX_DEPTH):
            try:
                data = orjson.dumps(value, option=_OPTIONS)
            except orjson.JSONEncodeError:
                pass  # at keys that are no str, lone surrogates and integers over 53 bits orjson looks itself
            else:
                if data.find(b'"$') < 0:  # as in `may_hold_tags`
                    return data
        return dumps(_tree(value, None, 0, objects))
    except RuntimeError as error:
        raise _unsettled(error) from error


def _is_plain(value: Any, room: int) -> bool:
    kind = type(value)
    items: Iterable[Any]
    if kind is dict:
        items = value.values()
    elif kind is list:
        items = value
    else:
        return kind in _ATOMS or (kind is float and isfinite(value))
    if room == 0:
        return False
    for item in items:  # noqa: SIM110 - all() with a generator costs more than the walk itself
        # Most items are atoms, and not to call for those halves the cost again.
        if type(item) not in _ATOMS and not _is_plain(item, room - 1):
            return False
    return True


def _unsettled(error: RuntimeError) -> UnrecordableValue:
    """Python's complaint about a dict that changes while it is walked, or about a stack that is full."""
    return (PayloadTooLarge if isinstance(error, RecursionError) else UnrecordableValue)(
        f"the value cannot be walked to its end: {error}",
        hint="Hand over a copy that no other thread changes, from a stack with room left",
    )


def _tree(value: Any, at: Place | None, depth: int, objects: bool) -> Any:
    kind = type(value)
    if (
        value is None
        or kind is bool
        or (kind is str and is_text(value))
        or (kind is int and -MAX_PLAIN_INT <= value <= MAX_PLAIN_INT)
        or (kind is float and isfinite(value))
    ):
        return value
    if (scalar := SCALARS.get(kind)) is not None:
        _enter(value, at, depth + scalar.levels)
        return {scalar.tag: scalar.write(value, at)}
    if kind is list:
        _enter(value, at, depth + 1)
        return [_tree(item, (at, value, index), depth + 1, objects) for index, item in enumerate(value)]
    if kind is dict:
        return _dict_tree(value, at, depth, objects)
    if kind is tuple:
        _enter(value, at, depth + 2)
        items = [_tree(item, (at, value, index), depth + 2, objects) for index, item in enumerate(value)]
        return {"$tuple": items}
    if kind is set or kind is frozenset:
        _enter(value, at, depth + 2)
        inside = (at, value, Hidden.ELEMENT)
        elements = [_tree(item, inside, depth + 2, objects) for item in value]
        return {f"${kind.__name__}": sorted(elements, key=dumps)}
    if objects and (fields := _fields(value)) is not None:
        _enter(value, at, depth + 3)
        return {"$object": [class_name(kind), _tree(fields, (at, value, Hidden.FIELDS), depth + 2, objects)]}
    expected, hint = advice(kind, objects)
    refuse(value, at, expected=expected, hint=hint)


def _dict_tree(value: dict[Any, Any], at: Place | None, depth: int, objects: bool) -> Any:
    if all(map(_is_plain_key, value)):
        _enter(value, at, depth + 1)
        return {key: _tree(item, (at, value, key), depth + 1, objects) for key, item in value.items()}
    _enter(value, at, depth + 3)
    ranked = []
    for key, item in value.items():
        key_tree = _tree(key, (at, value, Hidden.DICT_KEY), depth + 3, objects)
        ranked.append((dumps(key_tree), [key_tree, _tree(item, (at, value, key), depth + 3, objects)]))
    if len({rank for rank, _ in ranked}) < len(ranked):
        # Of NaN keys a dict can have several, and only what they lead to can put those in order.
        ranked.sort(key=lambda entry: dumps(entry[1][1]))
    ranked.sort(key=itemgetter(0))
    return {"$dict": [pair for _, pair in ranked]}


def _is_plain_key(key: object) -> bool:
    return type(key) is str and not key.startswith("$") and is_text(key)


def _enter(value: object, at: Place | None, depth: int) -> None:
    if depth > MAX_DEPTH:
        refuse_depth(value, at, MAX_DEPTH)


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of an object that is data, or None where it is none."""
    kind = type(value)
    if issubclass(kind, Enum):
        # A member goes by its name, as its value need not be data; odd combinations of flags have no name.
        return {"value": value.value} if value.name is None else {"name": value.name}
    if is_named_tuple(kind):
        return dict(zip(kind._fields, value, strict=True))
    if issubclass(kind, RECORDED):
        return None  # its fields are not all that there is to it
    if dataclasses.is_dataclass(kind):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(kind) if hasattr(value, f.name)}
    if hasattr(kind, "get_secret_value"):
        return {}  # a pydantic secret: what it holds is not to be written down, and not to be compared
    # The mark of a pydantic model: the bytes of plain values need no pydantic.
    if isinstance(names := getattr(kind, "__pydantic_fields__", None), dict):
        extra = value.__pydantic_extra__ or {}
        return {name: getattr(value, name) for name in names if hasattr(value, name)} | extra
    return None


# Reading


def _load(data: bytes, limit: int) -> Any:
    try:
        node = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"these bytes are no JSON: {error}", got=describe(data)) from error
    # So many levels take so many brackets: most data is too short to be looked at any closer.
    if len(data) > 2 * limit and data.count(b"[") + data.count(b"{") > limit and _is_deeper(node, limit):
        raise InvalidInput(
            "this JSON is nested too deep", expected=f"no more than {limit} levels", got=describe(data)
        )
    return node


def _is_deeper(node: Any, limit: int) -> bool:
    boxes = [node] if type(node) in _BOXES else []
    while boxes and limit:
        insides = (box.values() if type(box) is dict else box for box in boxes)
        boxes = [item for inside in insides for item in inside if type(item) in _BOXES]
        limit -= 1
    return bool(boxes)


_BOXES: Final = frozenset({dict, list})


def _untag(node: Any, at: Place | None, depth: int) -> Any:
    kind = type(node)
    if kind not in _BOXES:
        return node
    if depth == MAX_DEPTH:
        raise _malformed("this JSON is nested too deep", at, node, f"no more than {MAX_DEPTH} levels")
    if kind is list:
        return [
            _untag(item, (at, node, index), depth + 1) if type(item) in _BOXES else item
            for index, item in enumerate(node)
        ]
    value = {}
    for key, item in node.items():
        if key.startswith("$"):
            return _untag_tag(key, item, node, at, depth)
        value[key] = _untag(item, (at, node, key), depth + 1) if type(item) in _BOXES else item
    return value


def _untag_tag(tag: str, body: Any, node: dict[str, Any], at: Place | None, depth: int) -> Any:
    if len(node) != 1:
        raise _malformed("a tag has other keys beside it", at, node, f"{tag} alone")
    if (scalar := BY_TAG.get(tag)) is not None:
        try:
            value = scalar.read(body)
            same = dumps(_tree(value, None, 0, objects=False)) == dumps(node)
        except Exception as error:  # whatever a malformed body leads a constructor to
            raise _malformed(f"the body of a tag is malformed: {error}", at, node) from error
        if not same:
            raise _malformed("a tag is spelt as it is never written", at, node, describe(value))
        return value
    if (build := _BUILDERS.get(tag)) is None:
        raise _malformed("this tag cannot be read back", at, node, ", ".join([*BY_TAG, *_BUILDERS]))
    if type(body) is not list:
        raise _malformed("the body of a tag is malformed", at, node, "a list")
    items = _untag(body, (at, node, tag), depth + 1)
    try:
        return build(items, body)
    except (TypeError, ValueError) as error:
        raise _malformed(f"the body of a tag is malformed: {error}", at, node) from error


def _build_set(kind: Callable[[list[Any]], Any], items: list[Any], body: list[Any]) -> Any:
    _check_order(body)
    value = kind(items)
    if len(value) != len(items):
        raise ValueError("an element stands there twice")
    return value


def _build_dict(items: list[Any], body: list[Any]) -> dict[Any, Any]:
    _check_order([key for key, _ in body])
    value = dict(items)
    if len(value) != len(items):
        raise ValueError("a key stands there twice")
    if all(map(_is_plain_key, value)):
        raise ValueError("no key needs this tag")
    return value


def _check_order(body: list[Any]) -> None:
    encoded = [dumps(item) for item in body]
    if encoded != sorted(encoded):
        raise ValueError("it is not in order")


_BUILDERS: Final[dict[str, Callable[[list[Any], list[Any]], Any]]] = {
    "$tuple": lambda items, body: tuple(items),
    "$set": partial(_build_set, set),
    "$frozenset": partial(_build_set, frozenset),
    "$dict": _build_dict,
}


def _malformed(message: str, at: Place | None, node: object, expected: str = "") -> InvalidInput:
    where, _ = locate(steps_to(at))
    return InvalidInput(
        message,
        where=where,
        expected=expected,
        got=describe(node),
        hint="These bytes were not written by this package, or were changed since",
    )
