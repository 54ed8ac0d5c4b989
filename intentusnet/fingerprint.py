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
    rows: list[tuple[str, bool, int | bytes, bytes]] = []
    for scope, ordinal, kind, name, arguments, _, _, unordered, answer in questions:
        if kind in TELLING_KINDS:
            continue
        ok, data = (None, None) if answer is None else (answer.ok, values.Fragment(answer.data))
        row = values.dumps([kind, name, values.Fragment(arguments), ok, data])
        # What has no order is sorted by its bytes.
        rows.append((scope, unordered, row if unordered else ordinal, row))
    rows.sort()
    scopes: dict[str, tuple[list[bytes], list[bytes]]] = {}
    for scope, unordered, _, row in rows:
        scopes.setdefault(scope, ([], []))[unordered].append(row)
    # A scope holds nothing that JSON would escape.
    told = [
        b'["%b",[%b],[%b]]' % (scope.encode(), b",".join(ordered), b",".join(rest))
        for scope, (ordered, rest) in scopes.items()
    ]
    return values.digest(
        b"".join(
            (FINGERPRINT_DOMAIN, b"[", envelope, b",", plan, b",[", b",".join(told), b"],", outcome, b"]")
        )
    )
