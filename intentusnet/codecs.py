"""The bytes of values of a declared type: what an agent or effect takes and returns by its annotations.

values.py writes plain values; a declared type says how more than those are written and read back: pydantic
models, dataclasses, typed dicts, named tuples, enums, unions of them, and whatever else pydantic knows.
Pydantic dumps the value to plain data (its fields by their names, enums by value) and validates that on the
way back.

A codec trusts neither direction: what it has written it reads at once and compares, type by type, and a value
that would come back otherwise is refused with the place where it stands. Three things are no part of a value
here: the order of a dict, which fields of a model were set rather than left at their defaults, and whether an
equal int stood where a float is declared.

Decoding is also the door at which payloads are checked. A type's own pydantic configuration rules there.
Types without one are strict: no bool passes for an int and no text for a number, but JSON may say in its own
way what it has no type for (a datetime as text, a tuple as an array), and defaults may be left out.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cached_property, lru_cache, partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Annotated, Any, Final, ForwardRef, Never, NewType, NoReturn, get_args, get_origin

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from pydantic_core import to_jsonable_python

from intentusnet import values
from intentusnet.errors import InvalidAgent, InvalidInput, UnrecordableValue
from intentusnet.misfits import refusal
from intentusnet.refusals import NO_SECRETS, RECORDED, describe, pointer, without_addresses
from intentusnet.sameness import conversion, difference
from intentusnet.typeddicts import accepted


class Codec:
    """Values of one declared type; this class itself takes whatever plain value it is given.

    Attributes:
        annotation: the declared type.
        name: the declared type, as errors name it.
    """

    def __init__(self, annotation: Any = Any) -> None:
        self.annotation = annotation
        self.name = annotation.__qualname__ if isinstance(annotation, type) else repr(annotation)

    def __repr__(self) -> str:
        return f"codec_for({self.name})"

    def encode(self, value: Any) -> bytes:
        """The bytes of a value of this type.

        Raises:
            UnrecordableValue: it is not of this type, or reading would not give an equal value of its type.
        """
        return values.encode(value)

    def decode(self, data: bytes) -> Any:
        """The value of this type that the bytes say.

        Raises:
            InvalidInput: the bytes do not say one; with the place in them.
        """
        return values.decode(data)

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of what :meth:`decode` takes; one that allows everything where there is none."""
        return {}


PLAIN: Final = Codec()
_PLAIN: Final = (Any, object, inspect.Parameter.empty, NoReturn, Never)


def codec_for(annotation: Any) -> Codec:
    """The codec of a declared type; the same one for the same annotation.

    Args:
        annotation: a type, with its forward references resolved (``typing.get_type_hints``, extras included);
            Any, object, a missing one (``inspect.Parameter.empty``), and Never, of which there is no value,
            give :data:`PLAIN`.

    Raises:
        InvalidAgent: pydantic cannot handle the type.
    """
    if any(annotation is plain for plain in _PLAIN):
        return PLAIN
    try:
        # Unions are equal in any order, but their order decides between members that fit alike.
        return _known(annotation, repr(annotation))
    except TypeError:  # not hashable, as a Literal or an Annotated can be
        return _build(annotation)


@lru_cache(maxsize=1024)
def _known(annotation: Any, _: str) -> Codec:
    return _build(annotation)


def _build(annotation: Any) -> Codec:
    if annotation is None:
        annotation = type(None)
    form = (get_origin(annotation) or annotation, *get_args(annotation))
    for shape, kinds in _BUILTINS:
        # By identity: 1 and True are as equal as a type and whatever claims to be.
        if len(form) == len(shape) and all(a is b for a, b in zip(form, shape, strict=True)):
            return _Builtin(annotation, kinds, text_keys=str in form[1:])
    return _Declared(annotation)


_TEXT: Final = frozenset({str})
_NOTHING: Final = type(None)
_BUILTINS: Final[tuple[tuple[tuple[Any, ...], tuple[type, ...]], ...]] = (
    ((str,), (str,)),
    ((int,), (int,)),
    ((float,), (float, int)),  # PEP 484: where a float is declared an int will do, and it stays one
    ((bool,), (bool,)),
    ((_NOTHING,), (_NOTHING,)),
    ((list,), (list,)),
    ((list, Any), (list,)),
    ((list, object), (list,)),
    ((dict,), (dict,)),
    ((dict, str, Any), (dict,)),
    ((dict, str, object), (dict,)),
)


class _Builtin(Codec):
    """Types whose values are plain: there is nothing to convert, and the exact class is all to check."""

    def __init__(self, annotation: Any, kinds: tuple[type, ...], text_keys: bool) -> None:
        super().__init__(annotation)
        self._kinds = kinds
        self._text_keys = text_keys

    def encode(self, value: Any) -> bytes:
        data = values.encode(value)
        self._check(value, UnrecordableValue)
        return data

    def decode(self, data: bytes) -> Any:
        value = values.decode(data)
        self._check(value, InvalidInput)
        return value

    def schema(self) -> dict[str, Any]:
        return _schema(_adapter(self.annotation))

    def _check(self, value: Any, error: type[InvalidInput]) -> None:
        if type(value) not in self._kinds or (self._text_keys and not _TEXT.issuperset(map(type, value))):
            raise error(
                "the value is not of the declared type",
                expected=self.name,
                got=describe(value),
                hint="Nothing is converted here: hand over that type, or declare the other one",
            )


class _Declared(Codec):
    """Types that pydantic writes and reads."""

    def __init__(self, annotation: Any) -> None:
        super().__init__(annotation)
        self._adapter = _adapter(annotation)

    def encode(self, value: Any) -> bytes:
        data = self._write(value)
        try:
            back = self.decode(data)
        except InvalidInput as error:
            raise UnrecordableValue(
                f"a value of the declared type {self.name} would not be read back",
                where=error.where,
                expected=error.expected,
                got=error.got,
                hint=_HINT,
            ).told_of(error) from error
        # PEP 484: where a float is declared an int will do, inside of other types too.
        if (lost := difference(value, back, (), widens=True)) is not None:
            keys, had, has = lost
            raise UnrecordableValue(
                f"a value of the declared type {self.name} would be read back as another one",
                where=pointer(*keys),
                expected=describe(had),
                got=describe(has),
                hint=NO_SECRETS if hasattr(type(had), "get_secret_value") else _HINT,
            )
        return data

    def decode(self, data: bytes) -> Any:
        value = values.decode(data)
        try:
            return self._read(value, data)
        except ValidationError as error:
            raise self._misfit(value, error) from error
        except InvalidInput:
            raise
        except Exception as error:  # the type's own validators may raise anything
            raise InvalidInput(
                f"the declared type {self.name} failed in its validation: "
                f"{type(error).__name__}: {without_addresses(str(error))}",
                got=describe(value),
            ) from error

    def schema(self) -> dict[str, Any]:
        return _schema(self._adapter)

    def _write(self, value: Any) -> bytes:
        try:
            plain = self._adapter.dump_python(
                value, mode="python", by_alias=False, exclude_computed_fields=True, warnings="error"
            )
        except Exception as error:
            raise self._told(value, error) from error
        try:
            return values.encode(plain)
        except UnrecordableValue:
            return values.encode(_lowered(plain, values.MAX_DEPTH))

    def _read(self, value: Any, data: bytes) -> Any:
        # Fields are written by their names, while payloads come by their aliases.
        try:
            return self._adapter.validate_python(value, by_alias=True, by_name=True)
        except ValidationError:
            # A strict type wants datetimes, tuples, enums and dataclasses as such, but not from JSON.
            if not values.may_hold_tags(data):
                return self._adapter.validate_json(data, by_alias=True, by_name=True)
        # Tags are no JSON to pydantic. Without them it is lenient, so what it made of the data is looked at.
        lenient = self._adapter.validate_python(value, strict=False, by_alias=True, by_name=True)
        converted = conversion(values.parse(data), values.parse(self._write(lenient)), ())
        if converted is not None:
            keys, given, made = converted
            raise InvalidInput(
                f"the value does not fit the declared type {self.name}",
                where=pointer(*keys),
                expected=describe(made),
                got=describe(given),
            )
        return lenient

    def _misfit(self, value: Any, error: ValidationError) -> InvalidInput:
        return refusal(self.name, value, error, self._adapter.validate_python, secret=self._holds_secrets)

    @cached_property
    def _holds_secrets(self) -> bool:
        return "pydantic.types.Secret" in repr(self._adapter.core_schema)

    def _told(self, value: Any, error: Exception) -> UnrecordableValue:
        """What is wrong with a value that pydantic does not write: each place of it, if that can be told."""
        fault = self._found(value)
        if fault is None:
            fault = InvalidInput(f": {_plainly(error)}", expected=self.name, got=describe(value))
        else:
            fault.message = f", in {fault.total} places" if fault.total > 1 else ""
        return UnrecordableValue(
            f"the value is not of the declared type {self.name}{fault.message}",
            where=fault.where,
            expected=fault.expected,
            got=fault.got,
            hint=_HINT,
        ).told_of(fault)

    def _found(self, value: Any) -> InvalidInput | None:
        """Where a value is not of the type: by itself, or, as objects are not looked into, by its fields."""
        try:
            self._adapter.validate_python(value, strict=True)
            plain = self._adapter.dump_python(
                value, mode="python", by_alias=False, exclude_computed_fields=True, warnings=False
            )
            self.decode(values.encode(_lowered(plain, values.MAX_DEPTH)))
        except ValidationError as error:
            return self._misfit(value, error)
        except InvalidInput as fault:
            return fault if fault.misfits else None
        except Exception:  # noqa: BLE001 - the type's own code, and the value's; what it said first is told
            return None
        return None


def _plainly(error: Exception) -> str:
    """What pydantic says of a value that it does not write, without what that value is."""
    said = re.sub(r"input_value=.*, (?=input_type=)", "", str(error))
    text = without_addresses(" ".join(said.split()))
    return text if len(text) <= _MOST_SAID else text[:_MOST_SAID] + "…"


_MOST_SAID: Final = 500
_HINT: Final = "Hand over exactly the declared types; the validation of a type has to undo its serialisation"


class _QuietSchema(GenerateJsonSchema):
    """Schemas are told to people and models; what they leave out is no reason for a warning."""

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Says nothing."""


def _schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    try:
        return adapter.json_schema(mode="validation", schema_generator=_QuietSchema)
    except PydanticInvalidForJsonSchema:
        return {}


_STRICT: Final = ConfigDict(strict=True)
_wrapped: Final[Callable[[str, Any], Any]] = NewType


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        if isinstance(annotation, str | ForwardRef):
            raise TypeError("a forward reference that has not been resolved")
        if isinstance(annotation, FunctionType | BuiltinFunctionType | MethodType | partial):
            raise TypeError("a function, which pydantic would call")
        annotation = accepted(annotation)
        try:
            adapter = TypeAdapter[Any](annotation, config=_STRICT)
        except PydanticUserError as error:
            if error.code != "type-adapter-config-unused":
                raise
            adapter = TypeAdapter[Any](annotation)
            bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
            if not hasattr(bare, "__pydantic_config__") and not hasattr(bare, "__pydantic_fields__"):
                # Pydantic takes a configuration for dataclasses and typed dicts inside another type only.
                adapter = TypeAdapter[Any](_wrapped("inner", annotation), config=_STRICT)
        if not adapter.pydantic_complete:
            adapter.rebuild(force=True, raise_errors=True)
    except Exception as error:
        raise InvalidAgent(
            f"values of the declared type {annotation!r} cannot be written and read",
            expected="a type that pydantic can handle",
            got=str(error).partition("\n")[0],
            hint="Declare a pydantic model, a dataclass, a typed dict or plain types",
        ) from error
    return adapter


def _lowered(value: Any, room: int) -> Any:
    """As plain data what pydantic left as it was: enums by value, the rest as pydantic says it in JSON."""
    kind = type(value)
    if isinstance(value, Enum):
        return _lowered(value.value, room)
    if room == 0 or isinstance(value, Iterator):  # to look into an iterator would use it up
        return value
    if kind is dict:
        return {_lowered(key, room - 1): _lowered(item, room - 1) for key, item in value.items()}
    if kind in (list, tuple, set, frozenset):
        return kind(_lowered(item, room - 1) for item in value)
    if kind in RECORDED:
        return value
    try:
        return to_jsonable_python(value)
    except Exception:  # noqa: BLE001 - somebody else's serialiser; values.py refuses what is left as it is
        return value
