"""Effects: what a function that meets the world says of itself, and how its result becomes an answer."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, ParamSpec, TypeVar, overload

from intentusnet.agents import SideEffect
from intentusnet.codecs import PLAIN, Codec, codec_for
from intentusnet.errors import ConfigurationError, PayloadTooLarge, UnrecordableValue
from intentusnet.refusals import describe
from intentusnet.sizes import Sizes, too_large, written
from intentusnet.transcript import Answer

T = TypeVar("T")
P = ParamSpec("P")

_EFFECT_ATTRIBUTE: Final = "__intentus_effect__"


@dataclass(frozen=True, slots=True)
class EffectTraits:
    """What an effect's function says of itself by `effect`."""

    side_effect: SideEffect = "reversible"
    idempotent: bool = False


_DEFAULT_TRAITS: Final = EffectTraits()


@overload
def effect(function: Callable[P, T], /) -> Callable[P, T]: ...
@overload
def effect(
    *, side_effect: SideEffect = "reversible", idempotent: bool = False
) -> Callable[[Callable[P, T]], Callable[P, T]]: ...
def effect(
    function: Callable[P, T] | None = None,
    /,
    *,
    side_effect: SideEffect = "reversible",
    idempotent: bool = False,
) -> Callable[P, T] | Callable[[Callable[P, T]], Callable[P, T]]:
    """Says of a function that is called through `Context.effect` what it does to the world.

    Args:
        function: the function, where the decorator is used without arguments.
        side_effect: "read_only", "reversible" or "irreversible".
        idempotent: calling it twice with the same arguments does no more than calling it once.

    Raises:
        ConfigurationError: there is no such side effect.
    """
    if side_effect not in typing.get_args(SideEffect):
        raise ConfigurationError(
            "there is no such side effect",
            expected=" or ".join(typing.get_args(SideEffect)),
            got=repr(side_effect),
        )

    def mark(marked: Callable[P, T]) -> Callable[P, T]:
        setattr(marked, _EFFECT_ATTRIBUTE, EffectTraits(side_effect, idempotent))
        return marked

    return mark if function is None else mark(function)


def traits_of(function: Any) -> EffectTraits:
    """What the function says of itself; a partial one says what its function says."""
    while isinstance(function, functools.partial) and not hasattr(function, _EFFECT_ATTRIBUTE):
        function = function.func
    return typing.cast("EffectTraits", getattr(function, _EFFECT_ATTRIBUTE, _DEFAULT_TRAITS))


def answer_of(name: str, codec: Codec, value: Any, sizes: Sizes) -> Answer:
    """What an effect's function returned, as an answer.

    Raises:
        PayloadTooLarge: it is larger than the runtime allows.
        UnrecordableValue: it cannot be recorded.
    """
    try:
        data = written(codec.encode, value)
    except UnrecordableValue as fault:
        raise type(fault)(
            f"what effect {name!r} returned cannot be recorded: {fault.message}",
            where=fault.where,
            expected=fault.expected,
            got=fault.got,
            hint=fault.hint or "return plain data, or annotate the function's return type",
        ).told_of(fault) from fault
    excess = sizes.excess(data)
    if excess is not None:
        raise PayloadTooLarge(
            f"what effect {name!r} returned is {too_large(excess)}",
            got=describe(value),
            hint="let the effect return what the agent needs of it, or allow more: max_payload_bytes and"
            " max_payload_depth of the runtime",
        )
    return Answer(ok=True, data=data)


def result_codec(function: Any) -> Codec:
    """The codec of what the function says that it returns: by its annotation, or as a class of models.

    Methods, partial and wrapped functions, and objects with ``__call__`` say what their function says. Names
    that only a type checker imports are no matter, unless the return annotation itself uses them.
    """
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type):
        return _codec_of_class(function)
    owner = getattr(function, "__self__", None)
    target = getattr(function, "__func__", function)
    if not _says(target):
        owner, target = target, getattr(type(target), "__call__", None)  # noqa: B004 - what it is counts
    return _codec_of(target, owner if isinstance(owner, type) else type(owner)) if _says(target) else PLAIN


def _says(function: Any) -> bool:
    annotations = getattr(function, "__annotations__", None)
    return isinstance(annotations, dict) and "return" in annotations


def _codec_of_class(kind: type) -> Codec:
    fields = hasattr(kind, "__pydantic_fields__") or hasattr(kind, "__dataclass_fields__")
    return codec_for(kind) if fields else PLAIN


@functools.lru_cache(maxsize=4096)
def _codec_of(function: Any, owner: type) -> Codec:
    said = SimpleNamespace(__annotations__={"return": function.__annotations__["return"]})
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        hint = typing.get_type_hints(said, names, include_extras=True)["return"]
    except (TypeError, NameError, AttributeError):
        return PLAIN
    return codec_for(owner if hint is typing.Self else hint)
