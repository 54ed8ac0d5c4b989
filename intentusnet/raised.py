"""Exceptions of effects as values: captured when the world raises, raised again when a record answers.

What an agent can tell apart by ``except SomeError as e: ... str(e) ... e.args ... e.code`` must be the same
in both cases, as far as arguments and attributes can be recorded. Nothing that a record names is imported,
and no constructor runs but those of Python's own exceptions: the class is looked up among the modules that
are loaded already, and must be an exception.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from intentusnet import values
from intentusnet.errors import AgentFailure, ControlSignal, UnrecordableValue
from intentusnet.naming import class_name, loaded_class
from intentusnet.response import message_of, unrecordable
from intentusnet.transcript import Answer

#: These unwind an execution; none is ever an answer.
_SIGNALS: Final = (ControlSignal, KeyboardInterrupt)

#: What Python's own exceptions know beside their arguments, and do not keep in their ``__dict__``.
_OWN_ATTRIBUTES: Final = ("filename", "filename2", "name", "path")
_WITH_OWN: Final = (OSError, ImportError, NameError, AttributeError)


class EffectError(Exception):
    """Stands for a recorded exception whose class is not loaded where the record is replayed."""


def capture(fault: BaseException) -> Answer:
    """The exception as an answer: class, message, and arguments and attributes where they can be recorded."""
    return captured(fault)[1]


def captured(fault: BaseException) -> tuple[BaseException, Answer]:
    """The exception as an answer, and what is to be raised for it.

    Returns:
        The exception itself; or, where it cannot be looked at, what a replay will raise in its place.
    """
    try:
        return fault, Answer(ok=False, data=values.dumps(_tree(fault)))
    except Exception:  # noqa: BLE001 - properties of its own may raise anything, and groups be nested too deep
        name = type(fault).__name__.encode("utf-8", "backslashreplace").decode()
        data = values.dumps({"args": None, "message": values.tree(message_of(fault)), "type": name})
        return revive(data), Answer(ok=False, data=data)


def _tree(fault: BaseException) -> dict[str, Any]:
    kind = type(fault)
    tree: dict[str, Any] = {
        "message": values.tree(message_of(fault)),
        "type": class_name(kind),
    }
    args: tuple[Any, ...] = fault.args
    if isinstance(fault, BaseExceptionGroup):
        args = (fault.message,)
        tree["exceptions"] = [_tree(inner) for inner in fault.exceptions]
    try:
        tree["args"] = values.tree(list(args))
    except UnrecordableValue:
        tree["args"] = None
    if attributes := _attributes(fault):
        tree["attributes"] = attributes
    return tree


def _attributes(fault: BaseException) -> dict[str, Any]:
    found = dict(vars(fault))
    if isinstance(fault, _WITH_OWN):
        own = {name: getattr(fault, name, None) for name in _OWN_ATTRIBUTES}
        found |= {name: value for name, value in own.items() if value is not None}
    trees = {}
    for name, value in found.items():
        if name.isidentifier():
            try:
                trees[name] = values.tree(value)
            except UnrecordableValue as why:
                if isinstance(fault, AgentFailure) and name == "details":
                    trees[name] = unrecordable(why)  # as its error will say
    return trees


def revive(data: bytes) -> BaseException:
    """The exception that `capture` wrote: same class, message, arguments and attributes."""
    return _revived(values.parse(data))


def _revived(tree: Mapping[str, Any]) -> BaseException:
    message = values.untag(tree["message"])
    kind = _loaded(tree["type"])
    fault = None if kind is None else _instance(kind, tree, message)
    if kind is not None and fault is not None and message_of(fault) != message:
        shown = type(kind.__name__, (kind,), {"__str__": lambda _: message, "__module__": kind.__module__})
        shown.__qualname__ = kind.__qualname__
        fault = _instance(shown, tree, message)
    return EffectError(f"{tree['type']}: {message}") if fault is None else fault


def _instance(kind: type[BaseException], tree: Mapping[str, Any], message: str) -> BaseException | None:
    args = [message] if tree["args"] is None else values.untag(tree["args"])
    given = [*args, [_revived(inner) for inner in tree["exceptions"]]] if "exceptions" in tree else args
    builtin = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    try:
        fault: BaseException = builtin.__new__(kind, *given)
    except TypeError:
        return None
    # With other arguments than Python's own exception takes, it stays as it was made.
    with contextlib.suppress(Exception):
        initialise: Callable[..., None] = vars(builtin).get("__init__", BaseException.__init__)
        initialise(fault, *given)
    if "exceptions" not in tree:
        fault.args = tuple(args)
    for name, value in tree.get("attributes", {}).items():
        _set(fault, name, values.untag(value))
    return fault


def _set(fault: BaseException, name: str, value: Any) -> None:
    if name in _OWN_ATTRIBUTES and isinstance(fault, _WITH_OWN):
        with contextlib.suppress(AttributeError):
            object.__setattr__(fault, name, value)
            return
    vars(fault)[name] = value


def _loaded(name: str) -> type[BaseException] | None:
    found = loaded_class(name)
    if found is None or not issubclass(found, BaseException) or issubclass(found, _SIGNALS):
        return None
    return found
