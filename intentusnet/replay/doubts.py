"""What stands in the way of a resumption: questions in doubt, and executions that still run."""

from __future__ import annotations

from typing import Final, NoReturn

from intentusnet.errors import InDoubt, InvalidInput, StillRunning
from intentusnet.replay.interrupted import Interrupted, Pending, RecoveryRule

#: No question has a number of more digits; Python refuses to read those of more than 4,300.
_MOST_DIGITS: Final = 18


def parse_place(text: str) -> tuple[str, int]:
    """Scope and number of a question that is written ``SCOPE:NUMBER``.

    Raises:
        InvalidInput: it is not written so.
    """
    scope, colon, number = text.rpartition(":")
    if not colon or not number.isascii() or not number.isdigit() or len(number) > _MOST_DIGITS:
        raise InvalidInput(
            "not the place of a question", expected="SCOPE:NUMBER, such as attempt:0:3", got=repr(text)
        )
    return scope, int(number)


def refuse(found: Interrupted) -> NoReturn:
    """Refuses to resume an execution.

    Raises:
        StillRunning: one that it asked for still runs.
        InDoubt: whether something happened is unknown.
    """
    if found.rule is RecoveryRule.WAIT:
        raise StillRunning(
            "an execution that this one asked for is still running",
            where=found.execution_id,
            got=found.why,
            hint="Wait for its end. When the process that runs it has ended, both can be resumed.",
        )
    named = next((q for q in found.pending if q.rule is found.rule and q.kind != "route"), None)
    hint = "`intentusnet show` prints what it had done."
    if named is not None:
        hint = (
            "Find out, and say so: `intentusnet recover "
            f"{named.execution_id} --resolve happened|did-not-happen`."
        )
    raise InDoubt(
        "the execution is in doubt, and is not resumed", where=found.execution_id, got=found.why, hint=hint
    )


def doubted(found: Interrupted, place: str | None) -> Pending:
    """The question that is meant, of those that are in doubt.

    Raises:
        InDoubt: it is not a question that is in doubt.
        InvalidInput: none is meant, or several are.
    """
    doubts = [q for q in found.pending if q.rule is RecoveryRule.IN_DOUBT and q.kind != "route"]
    if found.rule is RecoveryRule.IN_DOUBT and not doubts:
        refuse(found)
    own = [q for q in doubts if q.execution_id == found.execution_id]
    wanted = own if place is None else [q for q in own if (q.scope, q.question) == parse_place(place)]
    if len(wanted) == 1:
        return wanted[0]
    told = ", ".join(
        f"{q.scope}:{q.question} ({q.kind} {q.name})"
        + ("" if q.execution_id == found.execution_id else f" of execution {q.execution_id}")
        for q in doubts
    )
    raise InvalidInput(
        "no such question is in doubt" if place is not None or not own else "several questions are in doubt",
        where=found.execution_id,
        expected=told or "nothing is in doubt",
        got=place or "",
        hint="Name one of them." if told else "",
    )
