"""`ReplaySession`: answers from a record, and checks that the question is the same.

Nothing here touches the world: a question that is not on record is a divergence, and unwinds its asker.
Questions are matched within their scope by kind, name and arguments; the n-th of equal ones gets the n-th
answer, so concurrent identical calls match too. The order within a scope is compared, except among questions
that came from threads which the agent started itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from intentusnet import values
from intentusnet.errors import ReplayHalted
from intentusnet.record import ExecutionRecord, RecordedQuestion
from intentusnet.replay.comparing import compare_scope
from intentusnet.replay.differences import ABSENT, places
from intentusnet.replay.divergence import (
    Divergence,
    DivergenceKind,
    Divergences,
    label,
    misfitting,
    told,
)
from intentusnet.replay.sources import asking_line, definition_line
from intentusnet.replay.strictness import AGENTS_AGAIN, Depth, Reach
from intentusnet.replay.tapes import Tape
from intentusnet.routing.guarding import by_guards
from intentusnet.routing.plan import Plan
from intentusnet.transcript import (
    ABSENT_ANSWERS,
    ADMISSION,
    ROOT_SCOPE,
    TELLING_KINDS,
    Answer,
    Door,
    Question,
    Ticket,
    attempt_of,
    attempt_scope,
)

_TOLD: Final = Answer(ok=True, data=b"null")


class ReplaySession:
    """Answers from a record.

    Args:
        record: what is replayed.
        plan: who is called now; its steps are those of the record.
        divergences: where differences are noted.
        reach: what is taken from the record, and what is asked of the world again.
        redacted: takes the secrets out of arguments, as it was perhaps not yet done when they were recorded.

    Attributes:
        is_live: the world is asked again.
        taken: agents whose outcome was taken from the record.
        asked: how many questions the world was asked again.
    """

    def __init__(
        self,
        record: ExecutionRecord,
        plan: Plan,
        divergences: Divergences,
        reach: Reach = AGENTS_AGAIN,
        redacted: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self.execution_id = record.execution_id
        self.is_live = reach.depth is Depth.LIVE
        self.taken: list[str] = []
        self.asked = 0
        self._plan = plan
        self._divergences = divergences
        self._reach = reach
        self._redacted = redacted
        self._lock = threading.Lock()
        self._root: dict[int, RecordedQuestion] = {}
        self._made: set[int] = set()
        self._ends: dict[str, int] = {}
        self._tapes: dict[str, Tape] = {}
        self._verdicts: dict[tuple[str, int], RecordedQuestion] = {}
        self._again: dict[tuple[str, int], Answer] = {}
        for question in record.questions:
            if question.scope == ROOT_SCOPE:
                self._root[question.ordinal] = question
            elif question.kind == ADMISSION:
                self._verdicts[question.scope, question.ordinal] = question
            elif question.kind not in TELLING_KINDS:
                self._tape(question.scope).add(question)

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
            answer = self._match(question)
            if not (self.is_live and self._reach.asks(question)):
                return Ticket(question, answer)
            self.asked += 1
            self._again[question.scope, question.ordinal] = answer
            return Ticket(question)

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        """Compares what an agent, or the world that was asked again, answered with what is on record."""
        question = ticket.question
        if question.kind != "agent":
            recorded = self._again.pop((question.scope, question.ordinal))
            self._compare(question, question.scope, recorded, answer)
            return answer
        # What the attempt did not ask is noted before what it answered, which may well follow from it.
        scope = attempt_scope(question.ordinal)
        self._ends[scope] = self._divergences.place()
        attempted = self._root[question.ordinal].answer
        if attempted is not None:
            self._compare(question, scope, attempted, answer)
        return answer

    def misfit(self, ticket: Ticket, fault: Exception) -> BaseException:
        """See `Session.misfit`. It is a divergence, and nothing more is answered in that scope."""
        question, answer = ticket.question, ticket.answer
        if answer is None or not self._divergences.compares(DivergenceKind.OUTCOME):
            return fault
        with self._lock:
            self._divergences.note(misfitting(question, answer, fault, asking_line()))
            self._tape(question.scope).halted = True
        return ReplayHalted(label(question))

    @property
    def waits(self) -> bool:
        """See `Session.waits`."""
        return False

    def is_acting(self, attempt: int) -> bool:
        """See `Session.is_acting`. Nothing of a replay is ever cut off."""
        return False

    def cancel(self, attempt: int, name: str, answer: Answer) -> Answer:
        """See `Session.cancel`. A replayed race is decided by the record, so nobody is cancelled."""
        return answer

    def recalls(self, question: Question) -> Answer | None:
        """See `RoutedSession.recalls`. Verdicts are the world's, and are not compared."""
        if question.kind == ADMISSION:
            recorded = self._verdicts.get((question.scope, question.ordinal))
        else:
            recorded = self._root.get(question.ordinal)
        return None if recorded is None or recorded.name != question.name else recorded.answer

    def door(self) -> Door:
        """See `RoutedSession.door`. Whatever guards are there now, none of them is asked."""
        return Door(by_guards(self._verdicts.values()), is_passed=True)

    def refuse(self, question: Question, answer: Answer) -> Answer:
        """See `RoutedSession.refuse`. What follows from a verdict on record is compared."""
        ticket = self.begin(question)
        if ticket.answer is None:
            return self.end(ticket, answer)
        self._compare(question, attempt_scope(question.ordinal), ticket.answer, answer)
        return ticket.answer

    def fail(self, failure: Exception) -> None:
        """See `Session.fail`. Nothing is asked of a store, so none can fail."""

    def halt(self, scope: str, what: str, detail: Any) -> ReplayHalted:
        """Notes that code in a scope tried to touch the world; returns what unwinds it."""
        with self._lock:
            self._divergences.note(
                Divergence(DivergenceKind.UNEXPECTED, scope, what, "", ABSENT, detail, asking_line())
            )
            self._tape(scope).halted = True
        return ReplayHalted(what)

    def finish(self, *, halted: bool) -> None:
        """Notes what is on record and was never asked, and what was asked otherwise than on record.

        Args:
            halted: the execution did not come to its end, so what would have followed is not missed.
        """
        with self._lock:
            for scope, tape in sorted(self._tapes.items()):
                if not tape.is_as_recorded:
                    attempt = scope.partition("/")[0]
                    defined, ends = self._defined(attempt), self._ends.get(attempt)
                    compare_scope(scope, tape, self._divergences, ends=ends, defined=defined)
            if halted or len(self._made) == len(self._root):
                return
            for ordinal in sorted(self._root.keys() - self._made):
                question, scope = self._root[ordinal], attempt_scope(ordinal)
                self._divergences.note(
                    Divergence(
                        DivergenceKind.MISSING,
                        scope,
                        label(question),
                        "",
                        told(question),
                        ABSENT,
                        self._defined(scope),
                    )
                )

    def _tape(self, scope: str) -> Tape:
        tape = self._tapes.get(scope)
        if tape is None:
            tape = self._tapes[scope] = Tape(self._divergences.ignored_places.masked, self._redacted)
        return tape

    def _defined(self, attempt: str) -> str:
        number = attempt_of(attempt)
        if number is None or (number >= len(self._plan.steps) and not self._plan.gated):
            return ""
        return definition_line(self._plan.agent(number))

    def _compare(self, question: Question, scope: str, recorded: Answer, answer: Answer) -> None:
        if recorded.data == answer.data and recorded.ok == answer.ok:
            return
        source = self._defined(scope) if question.kind == "agent" else asking_line()
        with self._lock:
            self._divergences.note_all(
                DivergenceKind.OUTCOME,
                scope,
                label(question),
                places(_shown(recorded), _shown(answer)),
                source=source,
            )

    def _begin_root(self, question: Question) -> Ticket:
        recorded = self._root.get(question.ordinal)
        if recorded is None or recorded.kind != question.kind or recorded.name != question.name:
            scope = attempt_scope(question.ordinal) if question.kind == "agent" else ROOT_SCOPE
            self._divergences.note(
                Divergence(
                    DivergenceKind.UNEXPECTED,
                    scope,
                    label(question),
                    "",
                    ABSENT if recorded is None else label(recorded),
                    label(question),
                    self._defined(scope),
                    "" if recorded is None else label(recorded),
                )
            )
            raise ReplayHalted(label(question))
        self._made.add(question.ordinal)
        answer = recorded.answer
        if answer is None:
            raise self._unanswered(question, self._defined(attempt_scope(question.ordinal)))
        if question.kind != "agent":
            return Ticket(question, answer)
        definition = self._plan.agent(question.ordinal).definition
        if answer.refused or self._reach.takes(definition):
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
        tape = self._tape(question.scope)
        if tape.halted:
            raise ReplayHalted(f"scope {question.scope} has left its record")
        if question.kind in ABSENT_ANSWERS and tape.lacks(question):
            return Answer(ok=True, data=ABSENT_ANSWERS[question.kind])
        recorded = tape.due(question)
        if recorded is None:
            recorded = tape.stray(question, self._divergences.place(), asking_line())
        if recorded is None:
            tape.halted = True
            raise ReplayHalted(label(question))
        if recorded.answer is None:
            if recorded.unordered and question.unordered:
                # The answer came after the agent's, which had not waited for its thread. None counts.
                raise ReplayHalted(label(question))
            tape.halted = True
            raise self._unanswered(question, asking_line())
        return recorded.answer

    def _unanswered(self, question: Question, source: str) -> ReplayHalted:
        self._divergences.note(
            Divergence(
                DivergenceKind.MISSING,
                question.scope,
                label(question),
                "/answer",
                ABSENT,
                told(question),
                source,
            )
        )
        return ReplayHalted(f"no answer to {label(question)} is on record")


def _shown(answer: Answer) -> dict[str, Any]:
    tree = values.parse(answer.data)
    return {
        "error": None if answer.ok else tree,
        "payload": tree if answer.ok else None,
        "status": "success" if answer.ok else "error",
    }
