"""A tool's state as plain data, and back.

A tool is an object that changes with each call; a record holds values. In between stands this form: nothing
but what the store writes without loss, and the whole of what the tool knows. Three things would be lost in a
plain copy of the attributes:

- the order of a dict: values are written with sorted keys, but ``ls`` lists files in the order of their
  making. A dict whose keys are not in order stands as ``("pairs", (key, value), …)``;
- identity: a directory knows its parent, and a copied one shares its files with the original. Such objects
  stand in a table of their own and are referred to as ``("object", number)``;
- what a set iterates by: it stands sorted, as ``("set", …)``.

The random generator is no state: draws are asked of the world (`world.World.draw`).
"""

from __future__ import annotations

import datetime as dates
from collections.abc import Mapping
from typing import Any, Final

#: Attributes that are not state: the generator, and the same sentence in every instance.
_NOT_STATE: Final = frozenset({"_random", "_api_description"})
_PLAIN: Final = (str, int, float, bool, type(None), dates.datetime)

State = dict[str, Any]


def dehydrate(tool: object) -> State:
    """The state of a tool as plain data.

    Raises:
        TypeError: an attribute holds what this form has no place for.
    """
    table: list[Any] = []
    known: dict[int, int] = {}

    def plain(value: Any) -> Any:
        if type(value) in _PLAIN:
            return value
        if type(value) is list:
            return [plain(item) for item in value]
        if type(value) is set:
            return ("set", *sorted(value))
        if type(value) is dict:
            return mapping(value)
        if type(value).__module__ != type(tool).__module__:
            raise TypeError(
                f"{type(tool).__name__} holds a {type(value).__name__}, which this form has no place for"
            )
        return reference(value)

    def mapping(value: Mapping[Any, Any]) -> Any:
        keys = list(value)
        if all(type(key) is str for key in keys) and keys == sorted(keys):
            return {key: plain(value[key]) for key in keys}
        return ("pairs", *((key, plain(value[key])) for key in keys))

    def reference(value: object) -> Any:
        number = known.get(id(value))
        if number is None:
            number = known[id(value)] = len(table)
            table.append(None)
            table[number] = {"class": type(value).__name__, "fields": fields(value)}
        return ("object", number)

    def fields(value: object) -> dict[str, Any]:
        return {name: plain(held) for name, held in sorted(vars(value).items()) if name not in _NOT_STATE}

    state: State = {"fields": fields(tool)}
    return {**state, "objects": table} if table else state


def hydrate(kind: type, state: State, classes: Mapping[str, Any]) -> Any:
    """A tool with a state that `dehydrate` gave.

    Args:
        kind: the tool's class, which is made without arguments.
        state: what it shall know.
        classes: by name, the classes of the objects that the state may hold.
    """
    table = [object.__new__(classes[entry["class"]]) for entry in state.get("objects", ())]

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(item) for item in value]
        if isinstance(value, dict):
            return {key: whole(held) for key, held in value.items()}
        if not isinstance(value, tuple):
            return value
        form, *content = value
        if form == "object":
            return table[content[0]]
        if form == "set":
            return set(content)
        return {key: whole(held) for key, held in content}

    for made, entry in zip(table, state.get("objects", ()), strict=True):
        vars(made).update({name: whole(held) for name, held in entry["fields"].items()})
    tool = kind()
    vars(tool).update({name: whole(held) for name, held in state["fields"].items()})
    return tool


def differs(before: State, after: State) -> bool:
    """Whether two states are not the same, in values, types and order: ``1`` is not ``True``, nor ``1.0``."""
    return repr(before) != repr(after)
