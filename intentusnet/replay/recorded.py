"""`ReplaySession`: answers from a record, and checks that the question is the same.

Nothing here touches the world: a question that is not on record is a divergence, and unwinds its asker.
Questions are matched within their scope by kind, name and arguments; the n-th of equal ones gets the n-th
answer, so concurrent identical calls match too. The order within a scope is compared, except among questions
that came from threads which the agent started itself.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Final

from intentusnet import values
from intentusnet.errors import ReplayHalted
from intentusnet.record import ExecutionRecord, RecordedQuestion
from intentusnet.replay.differences import ABSENT, differences, encoded_differences
from intentusnet.replay.divergence import Divergence, DivergenceKind, Divergences, label
from intentusnet.routing.plan import Plan
from intentusnet.transcript import (
    ROOT_SCOPE,
    TELLING_KINDS,
    Answer,
    Question,
    Ticket,
    attempt_scope,
)

_TOLD: Final = Answer(ok=True, data=b"null")


@dataclass(slots=True)
class _Tape:
    """The recorded questions of one scope, and which of them have been asked."""

    questions: list[RecordedQuestion] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    head: int = 0
    #: By the place on the tape that was passed over: when, and for the sake of which question.
    skipped: dict[int, tuple[int, str]] = field(default_factory=dict)
    halted: bool = False

    def use(self, index: int) -> None:
        self.used.add(index)
        while self.head in self.used:
            self.head += 1

    def find(self, question: Question) -> int | None:
        """The first unused equal question, if possible one that was asked by the same sort of thread."""
        other = None
        for index in range(self.head, len(self.questions)):
            recorded = self.questions[index]
            if (
                index not in self.used
                and recorded.arguments == question.arguments
                and recorded.name == question.name
                and recorded.kind == question.kind
            ):
                if recorded.unordered == question.unordered:
                    return index
                other = index if other is None else other
        return other

    def nearest(self, question: Question) -> int | None:
        """The first unused question of the same kind and name: most likely the one that was meant."""
        for index in range(self.head, len(self.questions)):
            recorded = self.questions[index]
            if index not in self.used and recorded.name == question.name and recorded.kind == question.kind:
                return index
        return None


class ReplaySession:
    """Answers from a record.

    Args:
        record: what is replayed.
        plan: who is called now; its steps are those of the record.
        divergences: where differences are noted.
    """

    def __init__(self, record: ExecutionRecord, plan: Plan, divergences: Divergences) -> None:
        self.execution_id = record.execution_id
        self.taken: list[str] = []
        self._plan = plan
        self._divergences = divergences
        self._lock = threading.Lock()
        self._root: dict[int, RecordedQuestion] = {}
        self._made: set[int] = set()
        self._ends: dict[str, int] = {}
        self._tapes: dict[str, _Tape] = {}
        for question in record.questions:
            if question.scope == ROOT_SCOPE:
                self._root[question.ordinal] = question
            elif question.kind not in TELLING_KINDS:
                self._tapes.setdefault(question.scope, _Tape()).questions.append(question)

    def begin(self, question: Question) -> Ticket:
        """See `Session.begin`.

        Raises:
            ReplayHalted: it is not on record.
        """
        if question.kind in TELLING_KINDS:
            return Ticket(question, _TOLD)
        with self._lock:
            if question.scope == ROOT_SCOPE:
                return self._begin_root(question)
            return Ticket(question, self._match(question))

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        """Compares what an agent answered with what it had answered; all else was on record already."""
        question = ticket.question
        # What the attempt did not ask is noted before what it answered, which may well follow from it.
        self._ends[attempt_scope(question.ordinal)] = self._divergences.place()
        recorded = self._root[question.ordinal].answer
        if recorded is not None and (recorded.ok, recorded.data) != (answer.ok, answer.data):
            with self._lock:
                self._divergences.note_all(
                    DivergenceKind.OUTCOME,
                    attempt_scope(question.ordinal),
                    label(question),
                    differences(_shown(recorded), _shown(answer)),
                )
        return answer

    def cancel(self, attempt: int, name: str, answer: Answer) -> Answer:
        """See `Session.cancel`. A replayed race is decided by the record, so nobody is cancelled."""
        return answer

    def fail(self, failure: Exception) -> None:
        """See `Session.fail`. Nothing is asked of a store, so none can fail."""

    def halt(self, scope: str, what: str, detail: Any) -> ReplayHalted:
        """Notes that code in a scope tried to touch the world; returns what unwinds it."""
        with self._lock:
            self._divergences.note(Divergence(DivergenceKind.UNEXPECTED, scope, what, "", ABSENT, detail))
            self._tapes.setdefault(scope, _Tape()).halted = True
        return ReplayHalted(what)

    def finish(self, *, halted: bool) -> None:
        """Notes what is on record and was never asked, and what was asked out of order.

        Args:
            halted: the execution did not come to its end, so what would have followed is not missed.
        """
        for scope, tape in sorted(self._tapes.items()):
            self._finish_scope(scope, tape)
        if halted:
            return
        for ordinal, question in sorted(self._root.items()):
            if ordinal not in self._made:
                self._missing(attempt_scope(ordinal), question, None)

    def _begin_root(self, question: Question) -> Ticket:
        recorded = self._root.get(question.ordinal)
        if recorded is None or (recorded.kind, recorded.name) != (question.kind, question.name):
            self._divergences.note(
                Divergence(
                    DivergenceKind.UNEXPECTED,
                    attempt_scope(question.ordinal) if question.kind == "agent" else ROOT_SCOPE,
                    label(question),
                    "",
                    ABSENT if recorded is None else label(recorded),
                    label(question),
                )
            )
            raise ReplayHalted(label(question))
        self._made.add(question.ordinal)
        answer = recorded.answer
        if answer is None:
            raise self._unanswered(question)
        if question.kind != "agent":
            return Ticket(question, answer)
        definition = self._plan.steps[question.ordinal].definition
        if answer.refused or definition.remote or definition.side_effect == "irreversible":
            if not answer.refused:
                self.taken.append(definition.name)
            self._take(attempt_scope(question.ordinal))
            return Ticket(question, answer)
        return Ticket(question)

    def _take(self, attempt: str) -> None:
        """What an attempt asked is not asked again if its outcome is taken from the record."""
        for scope, tape in self._tapes.items():
            if scope == attempt or scope.startswith(f"{attempt}/"):
                tape.halted = True

    def _match(self, question: Question) -> Answer:
        tape = self._tapes.setdefault(question.scope, _Tape())
        if tape.halted:
            raise ReplayHalted(f"scope {question.scope} has left its record")
        index = tape.find(question)
        if index is None:
            index = tape.nearest(question)
            if index is None:
                raise self._unexpected(tape, question)
            recorded = tape.questions[index]
            self._divergences.note_all(
                DivergenceKind.ARGUMENTS,
                question.scope,
                label(question),
                encoded_differences(recorded.arguments, question.arguments),
            )
        recorded = tape.questions[index]
        if index != tape.head and not (question.unordered or recorded.unordered):
            self._skip(tape, index, question)
        tape.use(index)
        if recorded.answer is None:
            tape.halted = True
            raise self._unanswered(question)
        return recorded.answer

    def _unanswered(self, question: Question) -> ReplayHalted:
        self._divergences.note(
            Divergence(
                DivergenceKind.MISSING, question.scope, label(question), "/answer", ABSENT, _told(question)
            )
        )
        return ReplayHalted(f"no answer to {label(question)} is on record")

    def _skip(self, tape: _Tape, index: int, question: Question) -> None:
        for passed in range(tape.head, index):
            if (
                passed not in tape.used
                and passed not in tape.skipped
                and not tape.questions[passed].unordered
            ):
                tape.skipped[passed] = (self._divergences.place(), label(question))

    def _unexpected(self, tape: _Tape, question: Question) -> ReplayHalted:
        tape.halted = True
        due = tape.questions[tape.head] if tape.head < len(tape.questions) else None
        self._divergences.note(
            Divergence(
                DivergenceKind.UNEXPECTED,
                question.scope,
                label(question),
                "",
                ABSENT if due is None else _told(due),
                _told(question),
            )
        )
        return ReplayHalted(label(question))

    def _finish_scope(self, scope: str, tape: _Tape) -> None:
        for index, question in enumerate(tape.questions):
            place, instead = tape.skipped.get(index, (None, ""))
            if index in tape.used:
                if place is not None:
                    self._divergences.note(
                        Divergence(
                            DivergenceKind.REORDERED, scope, label(question), "", label(question), instead
                        ),
                        place,
                    )
            elif not tape.halted or place is not None:
                self._missing(
                    scope, question, self._ends.get(scope.partition("/")[0]) if place is None else place
                )

    def _missing(self, scope: str, question: RecordedQuestion, place: int | None) -> None:
        self._divergences.note(
            Divergence(DivergenceKind.MISSING, scope, label(question), "", _told(question), ABSENT), place
        )


def _shown(answer: Answer) -> dict[str, Any]:
    tree = values.parse(answer.data)
    return {
        "error": None if answer.ok else tree,
        "payload": tree if answer.ok else None,
        "status": "success" if answer.ok else "error",
    }


def _told(question: Question | RecordedQuestion) -> dict[str, Any]:
    return {"arguments": values.parse(question.arguments), "kind": question.kind, "name": question.name}
