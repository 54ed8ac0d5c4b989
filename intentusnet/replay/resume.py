"""`ResumeSession`: an interrupted execution goes on where it ended, in the same record.

What has an answer on record gets it. What was asked and not answered is asked again, if that may be done at
all, which `interrupted` decides beforehand. Then everything is asked of the world, and written, as if nothing
had happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from intentusnet import values
from intentusnet.record import ExecutionRecord, RecordedQuestion
from intentusnet.replay.continuing import ContinuedSession
from intentusnet.replay.live import LiveSession
from intentusnet.response import AgentResponse
from intentusnet.transcript import ROOT_SCOPE, Answer, Question, Ticket

#: The scope of notes about the execution that no code of its own has written: who resumed it, who said what.
RECOVERY_SCOPE: Final = "recovery"

#: The response of the execution that was to answer a question; None if there is none.
AnswerOfChild = Callable[[RecordedQuestion], AgentResponse | None]


class ResumeSession(ContinuedSession):
    """Goes on with an interrupted execution.

    Args:
        live: has begun from the record.
        record: what is on record.
        child: finds the execution that was to answer a question, and brings it to its end.
    """

    def __init__(self, live: LiveSession, record: ExecutionRecord, child: AnswerOfChild) -> None:
        scopes = [q for q in record.questions if q.scope not in (ROOT_SCOPE, RECOVERY_SCOPE)]
        super().__init__(live, scopes, (q for q in record.questions if q.scope == ROOT_SCOPE))
        self._child = child
        live.tell(recovery_note(record, "resumed"), Answer(ok=True, data=b"null"))

    def answer(self, question: Question, recorded: RecordedQuestion) -> Ticket:
        """Gives the answer on record, or notes that the question is asked again."""
        if recorded.answer is not None:
            return Ticket(question, recorded.answer)
        if question.kind == "route":
            try:
                response = self._child(recorded)
            except Exception as failure:
                # It is not the agent's, so that the agent must not swallow it.
                self.fail(failure)
                raise
            if response is not None:
                data = values.dumps(response.tree())
                told = self._live.end(Ticket(question), Answer(True, data, child=response.execution_id))
                return Ticket(question, told)
        return self._live.ask_again(question)


def recovery_note(record: ExecutionRecord, name: str, arguments: bytes | None = None) -> Question:
    """The next note about an execution, to be written into its record."""
    number = sum(question.scope == RECOVERY_SCOPE for question in record.questions)
    question = Question(RECOVERY_SCOPE, number, "log", name)
    return question if arguments is None else question._replace(arguments=arguments)
