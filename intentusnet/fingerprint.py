"""The fingerprint of an execution: what of a record it covers, and how it is made of that.

It covers what was asked for, decided, asked, answered, and how it ended. Timestamps, ids and durations are no
part of it, nor is the order in which concurrent scopes took turns: the same run has the same fingerprint on
every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from intentusnet import values
from intentusnet.record import RecordedQuestion
from intentusnet.transcript import TELLING_KINDS

FINGERPRINT_DOMAIN: Final = b"intentusnet-fingerprint-v1\n"


def compared_envelope(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an envelope that says what is asked for: ids, trace and points in time are left out."""
    return {name: tree[name] for name in ("caller", "intent", "payload", "priority", "routing", "tags")}


def compared_plan(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a plan that decides who is called: versions belong to the environment.

    Nor do the numbers of budgets: they are as the clock was, and what they came to is in the decisions.
    """
    return {
        "candidates": [
            {name: candidate[name] for name in ("agent", "allowed", "cause", "rule")}
            for candidate in tree["candidates"]
        ],
        "steps": tree["steps"],
        "strategy": tree["strategy"],
    }


def fingerprint_of(
    envelope: Mapping[str, Any],
    plan: Mapping[str, Any],
    questions: Iterable[RecordedQuestion],
    outcome: Mapping[str, Any],
) -> str:
    """The fingerprint of a record's content.

    Args:
        envelope: the envelope's raw tree.
        plan: the plan's raw tree.
        questions: every question with its answer, in any order of scopes.
        outcome: the raw tree of `RecordedOutcome`.
    """
    compared = values.dumps(compared_envelope(envelope)), values.dumps(compared_plan(plan))
    return fingerprint(*compared, questions, values.dumps(outcome))


def fingerprint(envelope: bytes, plan: bytes, questions: Iterable[RecordedQuestion], outcome: bytes) -> str:
    """SHA-256 (hex) of the stable content.

    Args:
        envelope: what `compared_envelope` leaves of the envelope, encoded.
        plan: what `compared_plan` leaves of the plan, encoded.
        questions: every question with its answer, in any order of scopes.
        outcome: the outcome, encoded.
    """
    scopes: dict[str, tuple[list[tuple[int, Any]], list[bytes]]] = {}
    for question in questions:
        if question.kind in TELLING_KINDS:
            continue
        ordered, unordered = scopes.setdefault(question.scope, ([], []))
        answer = question.answer
        row = [
            question.kind,
            question.name,
            values.Fragment(question.arguments),
            None if answer is None else answer.ok,
            None if answer is None else values.Fragment(answer.data),
        ]
        if question.unordered:
            unordered.append(values.dumps(row))
        else:
            ordered.append((question.ordinal, row))
    told = [
        [
            scope,
            [row for _, row in sorted(ordered, key=_ordinal)],
            [values.Fragment(row) for row in sorted(unordered)],
        ]
        for scope, (ordered, unordered) in sorted(scopes.items())
    ]
    return values.digest(
        b"%b[%b,%b,%b,%b]" % (FINGERPRINT_DOMAIN, envelope, plan, values.dumps(told), outcome)
    )


def _ordinal(row: tuple[int, Any]) -> int:
    return row[0]
