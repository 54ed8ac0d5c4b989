"""`ResumeSession`: an interrupted execution goes on where it ended, in the same record.

What has an answer on record gets it. What was asked and not answered is asked again, if that may be done at
all, which `interrupted` decides beforehand. Then everything is asked of the world, and written, as if nothing
had happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from intentusnet.record import ExecutionRecord, RecordedQuestion
from intentusnet.replay.continuing import ContinuedSession
from intentusnet.replay.divergence import Divergence, DivergenceKind, label
from intentusnet.replay.live import LiveSession
from intentusnet.transcript import ADMISSION, RECOVERY_SCOPE, ROOT_SCOPE, Answer, Question, Ticket


class _Declared(NamedTuple):
    """What is declared of an agent or effect."""

    side_effect: str
    idempotent: bool

    @property
    def may_be_repeated(self) -> bool:
        return self.side_effect == "read_only" or self.idempotent


class ResumeSession(ContinuedSession):
    """Goes on with an interrupted execution.

    Args:
        live: has begun from the record.
        record: what is on record.
        children: the executions that were begun to answer questions that have no answer, by their scopes and
            numbers.
    """

    def __init__(
        self, live: LiveSession, record: ExecutionRecord, children: Mapping[tuple[str, int], str]
    ) -> None:
        asked = [q for q in record.questions if q.scope not in (ROOT_SCOPE, RECOVERY_SCOPE)]
        super().__init__(
            live,
            [question for question in asked if question.kind != ADMISSION],
            (q for q in record.questions if q.scope == ROOT_SCOPE),
            [question for question in asked if question.kind == ADMISSION],
        )
        self._children = children
        self._declared = {
            candidate["agent"]: _Declared(candidate["side_effect"], candidate["idempotent"])
            for candidate in record.plan_tree["candidates"]
        }
        live.tell(recovery_note(record, "resumed"), Answer(ok=True, data=b"null"))

    def answer(self, question: Question, recorded: RecordedQuestion) -> Ticket:
        """Gives the answer on record, or notes that the question is asked again."""
        if recorded.answer is not None:
            return Ticket(question, recorded.answer)
        then = self._declared.get(recorded.name) if recorded.kind == "agent" else None
        before = _Declared(recorded.side_effect, recorded.idempotent) if then is None else then
        now = _Declared(question.side_effect, question.idempotent)
        if before.may_be_repeated and not now.may_be_repeated:
            with self._lock:
                raise self._halt(_declared_otherwise(question, before, now))
        resumes = self._children.get((recorded.scope, recorded.ordinal))
        ticket = self._live.ask_again(question)
        ticket.resumes = resumes
        return ticket


def _declared_otherwise(question: Question, before: _Declared, now: _Declared) -> Divergence:
    kind, told = DivergenceKind.UNEXPECTED, (before._asdict(), now._asdict())
    return Divergence(kind, question.scope, label(question), "", *told)


def recovery_note(record: ExecutionRecord, name: str, arguments: bytes | None = None) -> Question:
    """The next note about an execution, to be written into its record."""
    number = sum(question.scope == RECOVERY_SCOPE for question in record.questions)
    question = Question(RECOVERY_SCOPE, number, "log", name)
    return question if arguments is None else question._replace(arguments=arguments)
