"""`ContinuedSession`: answers from a record as far as it goes, then goes on live.

What `ResumeSession` and `ForkSession` have in common. Questions are matched as by a replay: within their
scope by kind, name and arguments, in the order of the record; the n-th of equal ones from threads that an
agent started itself gets the n-th answer. Where a replay notes a difference and goes on, this stops: the code
is another than the one that made the record, so what it would do next is nobody's wish. A scope goes on live
only when all that it has on record, and all below it, has been asked again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from intentusnet import values
from intentusnet.errors import ContinuationDiverged, ReplayHalted
from intentusnet.record import RecordedQuestion
from intentusnet.replay.differences import ABSENT, encoded_differences
from intentusnet.replay.divergence import Divergence, DivergenceKind, label, misfitting, told
from intentusnet.replay.live import LiveSession
from intentusnet.transcript import (
    ABSENT_ANSWERS,
    ADMISSION,
    ROOT_SCOPE,
    TELLING_KINDS,
    Answer,
    Question,
    Ticket,
    attempt_scope,
)

_TOLD: Final = Answer(ok=True, data=b"null")
_Key = tuple[str, str, bytes]


class _Rest:
    """What is on record of one scope and has not been asked again; mutable."""

    def __init__(self) -> None:
        self.ordered: deque[RecordedQuestion] = deque()
        self.unordered: dict[_Key, deque[RecordedQuestion]] = {}
        self.notes: dict[_Key, int] = {}
        self.ordinals: set[int] = set()

    def add(self, question: RecordedQuestion) -> None:
        self.ordinals.add(question.ordinal)
        if question.kind in TELLING_KINDS:
            self.notes[_key(question)] = self.notes.get(_key(question), 0) + 1
        elif question.unordered:
            self.unordered.setdefault(_key(question), deque()).append(question)
        else:
            self.ordered.append(question)

    def was_noted(self, question: Question) -> bool:
        """Whether that note is on record; each one on record is found once."""
        left = self.notes.get(_key(question), 0)
        self.notes[_key(question)] = max(0, left - 1)
        return left > 0

    def left(self) -> list[RecordedQuestion]:
        """What should have been asked by now, when the scope has ended."""
        return [*self.ordered, *(question for equal in self.unordered.values() for question in equal)]

    def free(self, question: Question) -> Question:
        """A question that is not on record, at a place that is free: threads do not take turns as before."""
        ordinal = question.ordinal
        while ordinal in self.ordinals:
            ordinal += 1
        self.ordinals.add(ordinal)
        return question._replace(ordinal=ordinal)


class ContinuedSession:
    """Answers from a record as far as it goes, then goes on live.

    Args:
        live: asks the world, and writes.
        questions: what is on record of the scopes of agents, in the order of their scopes.
        root: what is on record of the execution itself: calls of agents, and who won a race.
        verdicts: what is on record of admissions.
    """

    def __init__(
        self,
        live: LiveSession,
        questions: Iterable[RecordedQuestion],
        root: Iterable[RecordedQuestion],
        verdicts: Iterable[RecordedQuestion],
    ) -> None:
        self.execution_id = live.execution_id
        self._live = live
        self._lock = threading.Lock()
        self._root = {question.ordinal: question for question in root}
        self._verdicts = {(verdict.scope, verdict.ordinal): verdict for verdict in verdicts}
        self._scopes: dict[str, _Rest] = {}
        self.diverged: ContinuationDiverged | None = None
        for question in sorted(questions, key=lambda question: (question.scope, question.ordinal)):
            self._scopes.setdefault(question.scope, _Rest()).add(question)
        #: Scopes with something on record that has its place, and has not been asked again.
        self._behind = {scope for scope, rest in self._scopes.items() if rest.ordered}

    @property
    def attempts(self) -> tuple[tuple[str, Answer], ...]:
        """Each agent that was called and its answer, in the order of the plan."""
        return self._live.attempts

    @property
    def usage(self) -> dict[str, float]:
        """See `Recorder.usage`."""
        return self._live.usage

    def begin(self, question: Question) -> Ticket:
        """See `Session.begin`.

        Raises:
            ReplayHalted: it is not what was asked here when the record was made.
            BranchCancelled: another attempt has won the race.
            StoreWriteFailed: the question could not be written; it must not be asked.
        """
        if question.kind == ADMISSION:
            return self._live.begin(question)
        if question.scope == ROOT_SCOPE:
            recorded = self._root.get(question.ordinal)
            return self._live.begin(question) if recorded is None else self.answer(question, recorded)
        with self._lock:
            if self.diverged is not None:
                raise ReplayHalted(label(question))
            rest = self._scopes.setdefault(question.scope, _Rest())
            if question.kind in TELLING_KINDS and rest.was_noted(question):
                return Ticket(question, _TOLD)
            if question.kind in ABSENT_ANSWERS and self._is_lacking(question, rest):
                return Ticket(question, Answer(ok=True, data=ABSENT_ANSWERS[question.kind]))
            recorded = None if question.kind in TELLING_KINDS else self._find(question, rest)
            if recorded is None:
                question = rest.free(question)
        if recorded is None:
            return self._live.begin(question)
        placed = question._replace(ordinal=recorded.ordinal, unordered=recorded.unordered)
        return self.answer(placed, recorded)

    def answer(self, question: Question, recorded: RecordedQuestion) -> Ticket:
        """Answers a question that is on record."""
        raise NotImplementedError

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        """See `Session.end`.

        Raises:
            ReplayHalted: an agent has ended without asking what it did ask.
        """
        # What was cut off may not have come to what it did ask.
        if ticket.question.kind == "agent" and not answer.refused:
            self._check_end(attempt_scope(ticket.question.ordinal))
        return self._live.end(ticket, answer)

    def recalls(self, question: Question) -> Answer | None:
        """See `RoutedSession.recalls`."""
        if question.kind != ADMISSION:
            called = self._root.get(question.ordinal)
            return None if called is None else called.answer
        verdict = self._verdicts.get((question.scope, question.ordinal))
        return None if verdict is None or verdict.name != question.name else self.recalled(verdict)

    def recalled(self, verdict: RecordedQuestion) -> Answer | None:
        """The answer of a verdict on record, which holds."""
        return verdict.answer

    def refuse(self, question: Question, answer: Answer) -> Answer:
        """See `RoutedSession.refuse`."""
        recorded = self._root.get(question.ordinal)
        if recorded is None or recorded.answer is None:
            return self._live.refuse(question, answer)
        told = self.answer(question, recorded).answer
        assert told is not None
        return told

    @property
    def waits(self) -> bool:
        """See `Session.waits`."""
        return self._live.waits

    def is_acting(self, attempt: int) -> bool:
        """See `Session.is_acting`."""
        return self._live.is_acting(attempt)

    def cancel(self, attempt: int, name: str, answer: Answer) -> Answer:
        """See `Session.cancel`."""
        return self._live.cancel(attempt, name, answer)

    def misfit(self, ticket: Ticket, fault: Exception) -> BaseException:
        """See `Session.misfit`."""
        if ticket.answer is None:
            return fault
        with self._lock:
            return self._halt(misfitting(ticket.question, ticket.answer, fault))

    def fail(self, failure: Exception) -> None:
        """See `Session.fail`."""
        self._live.fail(failure)

    def close(self, outcome: Any) -> str:
        """See `LiveSession.close`."""
        return self._live.close(outcome)

    def abandon(self, fault: BaseException) -> None:
        """See `LiveSession.abandon`."""
        self._live.abandon(fault)

    def _is_lacking(self, question: Question, rest: _Rest) -> bool:
        """Whether the record lacks a question that it need not have, and goes on behind it."""
        if question.unordered:
            found = bool(rest.unordered.get(_key(question)))
        else:
            found = bool(rest.ordered) and _key(rest.ordered[0]) == _key(question)
        goes_on = rest.ordered or any(rest.unordered.values()) or self._behind_below(question.scope)
        return not found and bool(goes_on)

    def _behind_below(self, scope: str) -> list[str]:
        """The branches of a scope, at any depth, that have not asked again what they have on record."""
        return sorted(branch for branch in self._behind if branch.startswith(f"{scope}/"))

    def _find(self, question: Question, rest: _Rest) -> RecordedQuestion | None:
        if question.unordered:
            # What the other threads have on record may be asked later, so nothing can be missing yet.
            equal = rest.unordered.get(_key(question))
            return equal.popleft() if equal else None
        due = rest.ordered[0] if rest.ordered else None
        if due is not None and _key(due) != _key(question):
            raise self._halt(*_other(due, question))
        if due is None or due.answer is None:
            # The world is about to be asked. Branches that are on record have ended before that.
            below = self._behind_below(question.scope)
            if below:
                raise self._halt(*(_missing(self._scopes[scope].ordered[0]) for scope in below))
        if due is not None:
            rest.ordered.popleft()
            if not rest.ordered:
                self._behind.discard(question.scope)
        return due

    def _check_end(self, attempt: str) -> None:
        with self._lock:
            left = [
                question
                for scope, rest in sorted(self._scopes.items())
                if scope == attempt or scope.startswith(f"{attempt}/")
                for question in rest.left()
            ]
            if left and self.diverged is None:
                raise self._halt(*(_missing(question) for question in left))

    def _halt(self, *divergences: Divergence) -> ReplayHalted:
        first = divergences[0]
        self.diverged = ContinuationDiverged(
            "the execution cannot go on from its record: the code asks other questions than it did",
            where=f"{first.scope}{first.pointer and f', {first.pointer}'}",
            expected=_shown(first.expected),
            got=_shown(first.actual),
            hint="Nothing more was asked. Run the code that made the record, or fork the execution.",
        )
        self.diverged.divergences = divergences
        self._live.fail(self.diverged)
        return ReplayHalted(first.question)


def _key(question: Question | RecordedQuestion) -> _Key:
    return question.kind, question.name, question.arguments


def _other(due: RecordedQuestion, asked: Question) -> list[Divergence]:
    if (due.kind, due.name) != (asked.kind, asked.name):
        kind = DivergenceKind.UNEXPECTED
        return [Divergence(kind, asked.scope, label(asked), "", told(due), told(asked))]
    places = encoded_differences(due.arguments, asked.arguments)
    return [Divergence(DivergenceKind.ARGUMENTS, asked.scope, label(asked), *place) for place in places]


def _missing(question: RecordedQuestion) -> Divergence:
    return Divergence(DivergenceKind.MISSING, question.scope, label(question), "", told(question), ABSENT)


def _shown(tree: Any) -> str:
    return "nothing" if tree is ABSENT else values.dumps(tree).decode()
