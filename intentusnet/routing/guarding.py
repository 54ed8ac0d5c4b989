"""Guards: who may let an execution call anybody, and what is on record of that.

Each guard is a question of the router's own (see ``transcript``), about the execution as a whole. Its verdict
is on record before anybody is called, and holds: whoever goes on with an execution asks only those who have
not said anything yet, and a replay asks nobody.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any, Final

from intentusnet import values
from intentusnet.record import RecordedQuestion
from intentusnet.routing.control import NEVER, Control
from intentusnet.transcript import (
    ADMISSION,
    FIRST_GUARD,
    GUARD,
    Answer,
    Question,
    RoutedSession,
    guard_question,
)

PASSED: Final = Answer(ok=True, data=values.dumps({"admitted": True}))

#: Yields the place of each guard that is to be asked, and is sent its verdict; returns the error of the first
#: refusal, encoded, or None.
Asking = Generator[int, Answer, bytes | None]


def refused(error: bytes) -> Answer:
    """The verdict of a guard that lets nobody be called, around its encoded error."""
    return Answer(ok=True, data=values.dumps({"admitted": False, "error": values.Fragment(error)}))


def ask_guards(session: RoutedSession, guards: Sequence[str], control: Control = NEVER) -> Asking:
    """Asks the guards of these names, in their order, as far as no verdict of theirs is on record.

    Nobody is asked about an execution that is cancelled: it calls nobody anyway.
    """
    door = session.door()
    refusal = next(filter(None, (_refusal(answer) for _, answer in door.verdicts)), None)
    if refusal is not None or door.is_passed:
        return refusal
    known = {question.name for question, _ in door.verdicts}
    place = 1 + max((question.ordinal for question, _ in door.verdicts), default=FIRST_GUARD - 1)
    for number, guard in enumerate(guards):
        question = guard_question(guard, place)
        if question.name in known:
            continue
        if control.check() is not None:
            return None
        place += 1
        refusal = _refusal(session.end(session.begin(question), (yield number)))
        if refusal is not None:
            return refusal
    return None


def refusal_on_record(session: RoutedSession) -> bytes | None:
    """The encoded error of the guard that has refused; None if none has. Nobody is asked."""
    try:
        next(ask_guards(session, ()))
    except StopIteration as stop:
        refusal: bytes | None = stop.value
        return refusal
    raise AssertionError("there is nobody to ask")


def by_guards(verdicts: Iterable[RecordedQuestion]) -> list[tuple[Question, Answer]]:
    """Those of guards, in the order of asking."""
    own = [q for q in verdicts if q.scope == ADMISSION and q.name.startswith(GUARD)]
    own.sort(key=lambda question: question.ordinal)
    return [(Question(*verdict[:-1]), verdict.answer) for verdict in own if verdict.answer is not None]


def _refusal(answer: Answer) -> bytes | None:
    """The encoded error of a verdict that is a refusal; None if it is none."""
    verdict: dict[str, Any] = values.parse(answer.data)
    return None if verdict["admitted"] else values.dumps(verdict["error"])
