"""How large values may be: payloads at the door, and what agents and effects answer.

A payload may come from strangers, so one that is too large is no exception but an execution that ends with
PAYLOAD_TOO_LARGE. Its record has the payload's size and digest in place of the payload. Size is that of the
encoded value; depth is told in levels of JSON, in which a tuple takes two and a dict with other keys than
text three.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from intentusnet import values
from intentusnet.errors import ConfigurationError, InvalidInput, PayloadTooLarge, UnrecordableValue
from intentusnet.refusals import describe
from intentusnet.response import ErrorCode, ErrorInfo, message_of

DEFAULT_MAX_PAYLOAD_BYTES: Final = 16 * 1024 * 1024
#: So deep any value can be recorded, whatever it consists of: no container takes more than three levels.
DEFAULT_MAX_PAYLOAD_DEPTH: Final = 64

_CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset})
#: Beyond these, the depth of what is refused anyhow is not counted any more.
_MOST_LEVELS: Final = 1_000_000
_MOST_ITEMS: Final = 5_000_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a value may be.

    Attributes:
        max_bytes: of its encoded form.
        max_depth: levels of JSON.

    Raises:
        ConfigurationError: a limit makes no sense.
    """

    max_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES
    max_depth: int = DEFAULT_MAX_PAYLOAD_DEPTH

    def __post_init__(self) -> None:
        if type(self.max_bytes) is not int or self.max_bytes < 1:
            raise ConfigurationError(
                "max_payload_bytes makes no sense", expected="1 or more", got=describe(self.max_bytes)
            )
        if type(self.max_depth) is not int or not 1 <= self.max_depth <= values.MAX_DEPTH:
            raise ConfigurationError(
                "max_payload_depth makes no sense",
                expected=f"1 to {values.MAX_DEPTH}, which is what a record can hold",
                got=describe(self.max_depth),
            )

    def excess(self, data: bytes) -> dict[str, int] | None:
        """By how much encoded data is too large: ``{"bytes" or "depth", "limit"}``; None if it is not."""
        if len(data) > self.max_bytes:
            return {"bytes": len(data), "limit": self.max_bytes}
        # So many levels take so many brackets: most data is too short to be looked at any closer.
        if len(data) <= 2 * self.max_depth or data.count(b"[") + data.count(b"{") <= self.max_depth:
            return None
        depth = _levels(data)
        return {"depth": depth, "limit": self.max_depth} if depth > self.max_depth else None


def _levels(data: bytes) -> int:
    """How many levels of JSON encoded data has: so often what is innermost can be taken away."""
    brackets, levels = _STRING.sub(b"", data).translate(_SQUARE, _NO_BRACKETS), 0
    while brackets and levels < values.MAX_DEPTH:
        brackets, levels = brackets.replace(b"[]", b""), levels + 1
    return levels


_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))

DEFAULT_SIZES: Final = Sizes()


def admitted(payload: Any, sizes: Sizes) -> tuple[bytes, ErrorInfo | None]:
    """Encodes a payload that has come to the door, or refuses it as too large.

    Returns:
        Its bytes, or what stands for them in the record if it is refused; and why it is.

    Raises:
        UnrecordableValue: it is no data.
    """
    try:
        data = written(values.encode, payload)
    except PayloadTooLarge as fault:
        told = {"depth": depth_of(payload)}
        error = refusal_of("the payload", {**told, "limit": sizes.max_depth})
        if told["depth"] <= sizes.max_depth:  # its levels take more of JSON's, or the stack is full
            error = error.model_copy(update={"message": f"the payload cannot be recorded: {fault.message}"})
        return values.dumps(told), error
    excess = sizes.excess(data)
    if excess is None:
        return data, None
    stands = {"bytes": len(data), "sha256": values.digest(data)}
    return values.dumps(stands), refusal_of("the payload", {**excess, **stands})


def refusal_of(what: str, excess: Mapping[str, Any]) -> ErrorInfo:
    """The error that tells by how much something is too large."""
    return ErrorInfo(
        code=ErrorCode.PAYLOAD_TOO_LARGE,
        message=f"{what} is {too_large(excess)}",
        details=dict(excess),
    )


def too_large(excess: Mapping[str, Any]) -> str:
    """By how much, in words."""
    if "depth" in excess:
        return f"nested too deep: {excess['depth']} levels, and no more than {excess['limit']} are taken"
    return f"too large: {excess['bytes']} bytes, and no more than {excess['limit']} are taken"


def written(write: Callable[[Any], bytes], value: Any) -> bytes:
    """The bytes of a value, whatever code of its own it brings with it.

    Raises:
        UnrecordableValue: it cannot be recorded, or looking at it has raised something.
    """
    try:
        return write(value)
    except InvalidInput:
        raise
    except Exception as fault:
        raise UnrecordableValue(
            f"the value cannot be looked at: {type(fault).__name__}: {message_of(fault)}",
            got=describe(value),
            hint="Hand over plain data",
        ) from fault


def depth_of(value: Any) -> int:
    """How many containers are nested in each other; of what has a million levels or more, so many.

    Any value will do: this is no recursion, and what is shared within a level is counted once.
    """
    boxes, depth, items = [value] if type(value) in _CONTAINERS else [], 0, 0
    while boxes and depth < _MOST_LEVELS and items < _MOST_ITEMS:
        depth += 1
        insides = [[*box, *box.values()] if type(box) is dict else box for box in boxes]
        found = {id(item): item for inside in insides for item in inside if type(item) in _CONTAINERS}
        boxes = list(found.values())
        items += sum(map(len, insides))
    return depth
