"""`ForkSession`: what if that question had had another answer?

A new execution with a record of its own. The attempt in which the question was asked is run again: it gets
the answers on record to everything before the question, in the order of the log, then the answer that was
chosen, and from there on it asks the world. Other attempts are not run again where they have an answer on
record that does not hang on the question: those that came before it, and those beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from intentusnet.agents import Agent
from intentusnet.errors import InvalidInput, RecordNotFound
from intentusnet.record import ExecutionRecord, RecordedQuestion
from intentusnet.replay.continuing import ContinuedSession
from intentusnet.replay.divergence import label
from intentusnet.replay.live import LiveSession
from intentusnet.transcript import ROOT_SCOPE, TELLING_KINDS, Answer, Question, Ticket, attempt_scope


class Fork:
    """A record up to a question, and the answer that it is given instead.

    Args:
        record: what is on record.
        scope, ordinal: which question.
        answer: what it is answered now.

    Raises:
        RecordNotFound: no such question is on record.
    """

    def __init__(self, record: ExecutionRecord, scope: str, ordinal: int, answer: Answer) -> None:
        at = [(q.scope, q.ordinal) for q in record.questions if q.kind not in TELLING_KINDS]
        if (scope, ordinal) not in at:
            raise RecordNotFound(
                "there is no such question on record",
                where=record.execution_id,
                got=f"{scope}:{ordinal}",
                hint="`intentusnet show` lists them, by scope and number.",
            )
        self.record = record
        self.chosen = next(q for q in record.questions if (q.scope, q.ordinal) == (scope, ordinal))
        self._answer = answer
        self._attempt = scope.partition("/")[0] or attempt_scope(ordinal)

    def check(self, steps: Sequence[Agent]) -> None:
        """Refuses to run an agent again that must not be.

        Raises:
            InvalidInput: it is irreversible or remote, so no replay runs it.
        """
        if self.chosen.scope == ROOT_SCOPE:
            return
        definition = steps[int(self._attempt.removeprefix("attempt:"))].definition
        if definition.remote or definition.side_effect == "irreversible":
            raise InvalidInput(
                "the agent that asked this is not run again: it is irreversible or remote",
                where=f"agent {definition.name}",
                got=label(self.chosen),
                hint=f"Give the agent another answer as a whole: {self._attempt.replace('attempt', '')}.",
            )

    def scopes(self) -> list[RecordedQuestion]:
        """What the attempt asked until then and was told, and the question with its new answer."""
        if self.chosen.scope == ROOT_SCOPE:
            return []
        before = self.record.questions[: self.record.questions.index(self.chosen)]
        kept = [
            question
            for question in before
            if question.scope.partition("/")[0] == self._attempt
            and question.answer is not None
            and question.kind not in TELLING_KINDS
        ]
        return [*kept, self.chosen._replace(answer=self._answer)]

    def root(self) -> list[RecordedQuestion]:
        """The answers of agents that stay as they are, none of which is called."""
        sequential = self.record.strategy in ("direct", "fallback")
        kept = []
        for question in self.record.questions:
            if question.scope != ROOT_SCOPE:
                continue
            if question is self.chosen:
                kept.append(question._replace(answer=self._answer))
            elif question.kind == "agent" and question.answer is not None:
                number = int(self._attempt.removeprefix("attempt:"))
                own = question.ordinal == number and self.chosen.kind != "race"
                if not own and not (sequential and question.ordinal > number):
                    kept.append(question)
        return kept


class ForkSession(ContinuedSession):
    """Runs a fork.

    Args:
        live: of the new execution.
        fork: what is kept, and what is changed.
    """

    def __init__(self, live: LiveSession, fork: Fork) -> None:
        super().__init__(live, fork.scopes(), fork.root())

    def answer(self, question: Question, recorded: RecordedQuestion) -> Ticket:
        """Gives the answer on record, or the chosen one, and writes it into the new record."""
        answer = recorded.answer
        assert answer is not None
        if question.kind == "agent":
            # Its own questions are not in the new record, so a replay must not run it either.
            return Ticket(question, self._live.end(Ticket(question), answer._replace(refused=True)))
        self._live.tell(question, answer)
        return Ticket(question, answer)
