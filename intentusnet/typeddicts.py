"""Typed dicts of ``typing``, made over into ones that pydantic takes.

Before Python 3.12 a `typing.TypedDict` does not tell which of its keys a base class declared optional, so
pydantic refuses all of them in favour of ``typing_extensions``. Agents are annotated with what the standard
library has, so the same keys and types are told to pydantic in the form that it takes.
"""

from __future__ import annotations

import functools
import operator
import sys
import types
import typing
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin

import typing_extensions


def accepted(annotation: Any) -> Any:
    """The annotation, with every `typing.TypedDict` in it replaced by an equal one that pydantic takes."""
    if sys.version_info >= (3, 12):
        return annotation
    if _is_refused(annotation):
        return _made_over(annotation)
    origin, args = get_origin(annotation), get_args(annotation)
    made = [accepted(argument) for argument in args]
    if all(new is old for new, old in zip(made, args, strict=True)):
        return annotation
    if origin is Annotated:
        return Annotated[(made[0], *annotation.__metadata__)]
    if origin is Union or origin is types.UnionType:
        return functools.reduce(operator.or_, made)
    return (
        types.GenericAlias(origin, tuple(made))
        if isinstance(origin, type)
        else annotation.copy_with(tuple(made))
    )


def _is_refused(annotation: Any) -> bool:
    return typing.is_typeddict(annotation) and type(annotation).__module__ == "typing"


@functools.lru_cache(maxsize=256)
def _made_over(kind: Any) -> Any:
    fields = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        # With postponed annotations, the class itself has not seen what stands around the type.
        told = get_origin(hint) if get_origin(hint) in (Required, NotRequired) else None
        needed = name in kind.__required_keys__ if told is None else told is Required
        form: Any = Required if needed else NotRequired
        fields[name] = form[accepted(hint if told is None else get_args(hint)[0])]
    make: Any = typing_extensions.TypedDict
    made: Any = make(kind.__name__, fields)
    made.__module__, made.__qualname__, made.__doc__ = kind.__module__, kind.__qualname__, kind.__doc__
    config = getattr(kind, "__pydantic_config__", None)
    if config is not None:
        made.__pydantic_config__ = config
    return made
