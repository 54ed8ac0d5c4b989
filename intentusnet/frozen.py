"""Frozen models out of fields that are known to be right, so that nothing has to be checked again.

What users hand over goes through pydantic. What is made for every execution, out of parts that have been
checked or are this package's own, does not: to check those takes longer than to make the model.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)

# What a model consists of, past the `__setattr__` with which a frozen one refuses.
_set_fields, _set_given, _set_extra, _set_private = (
    BaseModel.__dict__[name].__set__
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)
_new: Final = object.__new__


def made(model: type[Model], fields: dict[str, Any]) -> Model:
    """A model of all its fields, as pydantic would make it.

    Args:
        model: a class without private attributes, and without code of its own that makes or checks.
        fields: each of its fields, in their order, as pydantic would leave it.
    """
    new = _new(model)
    _set_fields(new, fields)
    _set_given(new, set(fields))
    _set_extra(new, None)
    _set_private(new, None)
    return new


def changed(model: Model, **fields: Any) -> Model:
    """The same with other fields, known to be right, too."""
    return made(type(model), {**vars(model), **fields})
