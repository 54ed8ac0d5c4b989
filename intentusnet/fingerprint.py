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
    return {
        "caller": tree["caller"],
        "intent": tree["intent"],
        "payload": tree["payload"],
        "priority": tree["priority"],
        "routing": tree["routing"],
        "tags": tree["tags"],
    }


def compared_plan(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a plan that decides who is called: versions belong to the environment.

    Nor do the numbers of budgets: they are as the clock was, and what they came to is in the decisions.
    """
    return {
        "candidates": [
            {
                "agent": candidate["agent"],
                "allowed": candidate["allowed"],
                "cause": candidate["cause"],
                "rule": candidate["rule"],
            }
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
    told: list[list[Any]] = []
    # By scope and ordinal, which no two of them share.
    for scope, _, kind, name, arguments, _, _, unordered, answer in sorted(questions):
        if kind in TELLING_KINDS:
            continue
        if not told or told[-1][0] != scope:
            told.append([scope, [], []])
        row: list[Any] = [kind, name, values.Fragment(arguments), None, None]
        if answer is not None:
            row[3], row[4] = answer.ok, values.Fragment(answer.data)
        told[-1][1 + unordered].append(row)
    for rows in told:
        if rows[2]:
            rows[2] = [values.Fragment(row) for row in sorted(map(values.dumps, rows[2]))]
    content = b",".join((envelope, plan, values.dumps(told), outcome))
    return values.digest(b"".join((FINGERPRINT_DOMAIN, b"[", content, b"]")))
