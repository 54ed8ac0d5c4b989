"""Envelopes as people write them: JSON with the fields of `IntentEnvelope`, read with every fault named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from intentusnet.errors import InvalidEnvelope, InvalidInput

if TYPE_CHECKING:
    from pydantic import BaseModel

    from intentusnet.envelope import IntentEnvelope

_PARTS: Final = ("message", "where", "expected", "got", "hint")


class EnvelopeFaults(InvalidEnvelope):
    """Everything that is wrong with an envelope: the first fault in its own fields, all in ``faults``.

    Args:
        faults: at least one.
    """

    def __init__(self, faults: list[InvalidInput]) -> None:
        self.faults = tuple(faults)
        first, more = self.faults[0], len(self.faults) - 1
        message = first.message + (f" (and {more} more)" if more else "")
        super().__init__(message, where=first.where, expected=first.expected, got=first.got, hint=first.hint)


def envelope_of(tree: object) -> IntentEnvelope:
    """The envelope that parsed JSON says; in its payload, tags mean what they mean in records.

    Raises:
        EnvelopeFaults: it is none; ``where`` is a JSON pointer.
    """
    from pydantic import ValidationError

    from intentusnet.cli.payload import untagged
    from intentusnet.envelope import IntentEnvelope

    if not isinstance(tree, Mapping):
        raise EnvelopeFaults([_no_envelope(tree)])
    try:
        return IntentEnvelope.model_validate({**tree, "payload": untagged(tree.get("payload"), "/payload")})
    except ValidationError as fault:
        raise EnvelopeFaults([_translated(detail) for detail in fault.errors(include_url=False)]) from fault
    except InvalidInput as fault:
        raise EnvelopeFaults([fault]) from fault


def fault_tree(fault: InvalidInput) -> dict[str, str]:
    """A fault as the command line prints it in lists: all parts, empty where there is nothing to say."""
    return {part: getattr(fault, part) for part in _PARTS}


def _no_envelope(tree: object) -> InvalidEnvelope:
    return InvalidEnvelope(
        "an envelope is a JSON object",
        expected='{"intent": "name", "payload": …}',
        got="null" if tree is None else type(tree).__name__,
    )


def _translated(detail: Any) -> InvalidEnvelope:
    """A fault of pydantic's as one of ours."""
    from intentusnet.cli.app import did_you_mean
    from intentusnet.refusals import describe, pointer

    place = detail["loc"]
    where = pointer(*(str(step) for step in place))
    if detail["type"] == "missing":
        return InvalidEnvelope("a field is missing", where=where, expected=f"a value for {place[-1]!r}")
    if detail["type"] == "extra_forbidden":
        known = _fields(place[:-1])
        hint = did_you_mean(str(place[-1]), known).strip()
        return InvalidEnvelope(
            f"there is no field {place[-1]!r}", where=where, expected=", ".join(known), hint=hint
        )
    message = detail["msg"].removeprefix("Value error, ")
    return InvalidEnvelope(message[:1].lower() + message[1:], where=where, got=describe(detail["input"]))


def _fields(place: tuple[object, ...]) -> list[str]:
    """The fields that there are at a place of an envelope."""
    from intentusnet.envelope import Caller, IntentEnvelope, IntentRef, RoutingOptions

    models: dict[object, type[BaseModel]] = {"intent": IntentRef, "caller": Caller, "routing": RoutingOptions}
    return list((models[place[0]] if place else IntentEnvelope).model_fields)
