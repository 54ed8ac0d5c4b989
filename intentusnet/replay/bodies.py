"""The bodies of entries that tell what was asked and answered, and which of their values are kept apart."""

from __future__ import annotations

from typing import Any

from intentusnet import values
from intentusnet.references import BOUND, Blob
from intentusnet.routing.strategies import Outcome
from intentusnet.transcript import Answer, Question


def kept(data: bytes, blobs: list[Blob]) -> bytes:
    """What stands in a body for an encoded value: itself, or a reference if it is large.

    Args:
        data: the value's bytes.
        blobs: where to put it in the second case.
    """
    if len(data) > BOUND:
        blob = Blob.of(data)
        blobs.append(blob)
        return blob.ref.node()
    return data


def _fragment(data: bytes, blobs: list[Blob]) -> values.Fragment:
    return values.Fragment(kept(data, blobs))


def kept_outcome(outcome: Outcome, blobs: list[Blob]) -> Any:
    """The same for an outcome's data; that of an error is taken part by part, because lists show its code."""
    if outcome.ok:
        return _fragment(outcome.data, blobs)
    return {name: _fragment(values.dumps(part), blobs) for name, part in values.parse(outcome.data).items()}


def asked_body(question: Question) -> tuple[bytes, list[Blob]]:
    """The body of an `asked` entry, and the values that it refers to."""
    blobs: list[Blob] = []
    told: dict[str, Any] = {
        "arguments": _fragment(question.arguments, blobs),
        "idempotent": question.idempotent,
        "kind": question.kind,
        "name": question.name,
        "question": question.ordinal,
        "scope": question.scope,
        "side_effect": question.side_effect,
    }
    if question.unordered:
        told["unordered"] = True
    return values.dumps(told), blobs


def answered_body(question: Question, answer: Answer, *, self_contained: bool) -> tuple[bytes, list[Blob]]:
    """The body of an `answered` entry, and the values that it refers to.

    Args:
        question: what was asked.
        answer: what came back.
        self_contained: whether no `asked` entry has said what the question was.
    """
    told: dict[str, Any] = {"question": question.ordinal, "scope": question.scope}
    blobs: list[Blob] = []
    if self_contained:
        told |= {
            "arguments": _fragment(question.arguments, blobs),
            "kind": question.kind,
            "name": question.name,
        }
        if question.unordered:
            told["unordered"] = True
    told["value" if answer.ok else "error"] = _fragment(answer.data, blobs)
    if answer.child is not None:
        told["child"] = answer.child
    if answer.refused:
        told["refused"] = True
    return values.dumps(told), blobs
