"""`ForkSession`: what if that question had had another answer?

A new execution with a record of its own. The attempt in which the question was asked is run again: it gets
the answers on record to everything before the question, in the order of the log, then the answer that was
chosen, and from there on it asks the world. Other attempts are not run again where they have an answer on
record that does not hang on the question: those that came before it, and those beside it.
"""

from __future__ import annotations

from typing import Any, Final

from intentusnet import values
from intentusnet.context import plain
from intentusnet.errors import InvalidInput, RecordNotFound
from intentusnet.record import ExecutionRecord, RecordedQuestion
from intentusnet.refusals import describe
from intentusnet.replay.continuing import ContinuedSession
from intentusnet.replay.divergence import label
from intentusnet.replay.live import LiveSession
from intentusnet.response import AgentResponse
from intentusnet.routing.plan import Plan
from intentusnet.transcript import (
    ADMISSION,
    LIMITS,
    ROOT_SCOPE,
    TELLING_KINDS,
    Answer,
    Door,
    Question,
    Ticket,
    attempt_of,
    turn_of,
)

#: Nobody answers what is only told; and a verdict is changed by answering the call that it is about.
_NOT_CHOSEN: Final = TELLING_KINDS | {ADMISSION}


class Fork:
    """A record up to a question, and the answer that it is given instead.

    Args:
        record: what is on record.
        scope, ordinal: which question.
        answer: what it is answered now: a recordable value; to a child intent, the child's payload.

    Raises:
        RecordNotFound: no such question is on record.
        InvalidInput: nothing could give that answer to it.
        UnrecordableValue: the answer cannot be recorded.
    """

    def __init__(self, record: ExecutionRecord, scope: str, ordinal: int, answer: Any) -> None:
        at = [(q.scope, q.ordinal) for q in record.questions if q.kind not in _NOT_CHOSEN]
        if (scope, ordinal) not in at:
            raise RecordNotFound(
                "there is no such question on record",
                where=record.execution_id,
                got=f"{scope}:{ordinal}",
                hint="`intentusnet show` lists them, by scope and number.",
            )
        self.record = record
        self.chosen = next(q for q in record.questions if (q.scope, q.ordinal) == (scope, ordinal))
        self._answer = self._chosen_answer(answer)
        attempt = attempt_of(scope)
        self._attempt = ordinal if attempt is None else attempt

    def check(self, plan: Plan) -> None:
        """Refuses to run an agent again that must not be.

        Raises:
            InvalidInput: it is irreversible or remote, so no replay runs it.
        """
        if self.chosen.scope == ROOT_SCOPE:
            return
        definition = plan.agent(self._attempt).definition
        if definition.remote or definition.side_effect == "irreversible":
            raise InvalidInput(
                "the agent that asked this is not run again: it is irreversible or remote",
                where=f"agent {definition.name}",
                got=label(self.chosen),
                hint=f"Give the agent another answer as a whole: :{self._attempt}.",
            )

    def _chosen_answer(self, given: Any) -> Answer:
        value, recorded = plain(given), self.chosen.answer
        data = values.encode(value)
        if self.chosen.kind == "route":
            response = AgentResponse(execution_id="", status="success", payload=values.decode(data))
            return Answer(ok=True, data=values.dumps(response.tree()))
        if recorded is not None and recorded.ok and not self._could_be(value, values.decode(recorded.data)):
            raise InvalidInput(
                "nothing could give that answer to the question",
                where=label(self.chosen),
                expected=f"a value like {describe(values.decode(recorded.data))}",
                got=describe(value),
            )
        return Answer(ok=True, data=data)

    def _could_be(self, value: Any, recorded: Any) -> bool:
        kind = self.chosen.kind
        if kind in ("agent", "effect"):
            return True
        if kind == "env":
            return value is None or type(value) is str
        if kind == "race":
            return type(value) is int and 0 <= value < len(self.record.plan_tree["steps"])
        return type(value) is type(recorded)

    def scopes(self) -> list[RecordedQuestion]:
        """What the attempt asked until then and was told, and the question with its new answer."""
        if self.chosen.scope == ROOT_SCOPE:
            return []
        before = self.record.questions[: self.record.questions.index(self.chosen)]
        kept = [
            question
            for question in before
            if attempt_of(question.scope) == self._attempt
            and question.answer is not None
            and question.kind not in _NOT_CHOSEN
        ]
        return [*kept, self.chosen._replace(answer=self._answer)]

    def root(self) -> list[RecordedQuestion]:
        """The answers of agents that stay as they are, none of which is called."""
        kept = []
        for question in self.record.questions:
            if question.scope != ROOT_SCOPE:
                continue
            if question is self.chosen:
                kept.append(question._replace(answer=self._answer))
            elif question.kind == "agent" and question.answer is not None and self._stays(question.ordinal):
                kept.append(question)
        return kept

    def _stays(self, attempt: int) -> bool:
        """Whether an attempt is not that of the question, and did not come about by how that one ended."""
        steps = len(self.record.plan_tree["steps"])
        own, other = turn_of(self._attempt, steps), turn_of(attempt, steps)
        beside = self.record.strategy not in ("direct", "fallback") and other[0] != own[0]
        return self.chosen.kind == "race" or beside or other < own

    def verdicts(self) -> list[RecordedQuestion]:
        """What the limits said of the calls that stay as they are, and of the one in which it was asked."""
        kept = []
        for question in self.record.questions:
            if question.kind == ADMISSION:
                attempt = attempt_of(question.scope)
                own = attempt == self._attempt and question.name == LIMITS
                stays = attempt is None or self._stays(attempt)
                if stays or (own and self.chosen.scope != ROOT_SCOPE):
                    kept.append(question)
        return kept


class ForkSession(ContinuedSession):
    """Runs a fork.

    Args:
        live: of the new execution.
        fork: what is kept, and what is changed.
    """

    def __init__(self, live: LiveSession, fork: Fork) -> None:
        super().__init__(live, fork.scopes(), fork.root(), fork.verdicts())

    def recalled(self, verdict: RecordedQuestion) -> Answer | None:
        """The answer of a verdict, written into the new record."""
        if verdict.answer is not None:
            self._live.tell(Question(*verdict[:-1]), verdict.answer)
        return verdict.answer

    def door(self) -> Door:
        """See `RoutedSession.door`. It is another execution, with a door of its own; what was said holds."""
        verdicts = super().door().verdicts
        for question, answer in verdicts:
            self._live.tell(question, answer)
        return Door(verdicts)

    def answer(self, question: Question, recorded: RecordedQuestion) -> Ticket:
        """Gives the answer on record, or the chosen one, and writes it into the new record."""
        answer = recorded.answer
        assert answer is not None
        if question.kind == "agent":
            # Its own questions are not in the new record, so a replay must not run it either.
            return Ticket(question, self._live.end(Ticket(question), answer._replace(refused=True)))
        self._live.tell(question, answer)
        return Ticket(question, answer)
