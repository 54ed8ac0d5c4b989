"""`UnrecordedSession`: asks the world and writes nothing; and what it shares with the one that does."""

from __future__ import annotations

import threading

from intentusnet.errors import BranchCancelled
from intentusnet.ids import Clock
from intentusnet.response import ErrorCode, ErrorInfo
from intentusnet.routing.router import Request
from intentusnet.routing.strategies import Outcome
from intentusnet.transcript import Answer, Question, Ticket, attempt_scope


class Attempts:
    """The agents' answers by attempt, and which were cancelled; mutable, guarded by the session's lock."""

    def __init__(self) -> None:
        self.answers: dict[int, tuple[str, Answer]] = {}
        self.cancelled: set[str] = set()

    def ordered(self) -> tuple[tuple[str, Answer], ...]:
        """Each agent that was called and its answer, in the order of the plan."""
        return tuple(self.answers[number] for number in sorted(self.answers))

    def is_cancelled(self, question: Question) -> bool:
        """Whether the attempt was cancelled that asks this."""
        path = question.scope or attempt_scope(question.ordinal)
        return path.partition("/")[0] in self.cancelled


def refused_by_deadline(request: Request, question: Question, clock: Clock) -> Answer | None:
    """The answer to the call of an agent for which it is too late; None if it is not."""
    deadline = request.envelope.deadline
    if question.kind != "agent" or deadline is None or clock.time_us() < deadline.timestamp() * 1_000_000:
        return None
    error = ErrorInfo(
        code=ErrorCode.AGENT_TIMEOUT,
        message=f"agent {question.name!r} was not called: the envelope's deadline had passed",
        details={"deadline": deadline.isoformat()},
    )
    return Answer(ok=False, data=error.encode(), refused=True)


class UnrecordedSession:
    """Asks the world and writes nothing: for a runtime without a store."""

    def __init__(self, execution_id: str, request: Request, clock: Clock) -> None:
        self.execution_id = execution_id
        self._request = request
        self._clock = clock
        self._lock = threading.Lock()
        self._attempts = Attempts()

    @property
    def attempts(self) -> tuple[tuple[str, Answer], ...]:
        """Each agent that was called and its answer, in the order of the plan."""
        return self._attempts.ordered()

    def begin(self, question: Question) -> Ticket:
        """See `Session.begin`."""
        if self._attempts.cancelled and self._attempts.is_cancelled(question):
            raise BranchCancelled(question.scope)
        refused = refused_by_deadline(self._request, question, self._clock)
        if refused is None:
            return Ticket(question)
        return Ticket(question, self.end(Ticket(question), refused))

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        """See `Session.end`."""
        question = ticket.question
        if question.kind == "agent":
            with self._lock:
                return self._attempts.answers.setdefault(question.ordinal, (question.name, answer))[1]
        return answer

    def cancel(self, attempt: int, name: str, answer: Answer) -> Answer:
        """See `Session.cancel`."""
        with self._lock:
            self._attempts.cancelled.add(attempt_scope(attempt))
            return self._attempts.answers.setdefault(attempt, (name, answer))[1]

    def misfit(self, ticket: Ticket, fault: Exception) -> BaseException:
        """See `Session.misfit`. What has just been asked was written by the same type."""
        return fault

    def fail(self, failure: Exception) -> None:
        """See `Session.fail`. Only a store can fail an execution, and there is none."""

    def close(self, outcome: Outcome) -> None:
        """Ends the execution."""

    def abandon(self, fault: BaseException) -> None:
        """Ends the execution without an outcome."""
