"""`UnrecordedSession`: asks the world and writes nothing; and what it shares with the one that does."""

from __future__ import annotations

import threading

from intentusnet import values
from intentusnet.asker import point_in_time
from intentusnet.errors import BranchCancelled, ExecutionCancelled
from intentusnet.ids import Clock
from intentusnet.record import usage_of
from intentusnet.response import ErrorCode, ErrorInfo
from intentusnet.routing.plan import Plan
from intentusnet.routing.request import Request
from intentusnet.routing.strategies import Outcome
from intentusnet.transcript import (
    ACTING_KINDS,
    ADMISSION,
    RETRY,
    ROOT_SCOPE,
    Answer,
    Door,
    Question,
    Ticket,
    attempt_of,
    attempt_scope,
    retry_of,
    turn_of,
)


class Attempts:
    """The agents' answers by attempt, and which were cancelled; mutable, guarded by the session's lock.

    Args:
        plan: who is called.
    """

    def __init__(self, plan: Plan) -> None:
        self.answers: dict[int, tuple[str, Answer]] = {}
        self.cancelled: set[int] = set()
        self._steps = len(plan.steps)
        self._gated = plan.gated
        self._begun: set[int] = set()
        self._repeated: set[int] = set()
        self._acting: set[tuple[str, int]] = set()

    def ordered(self) -> tuple[tuple[str, Answer], ...]:
        """Each call of an agent and its answer, in the order of the plan; retries follow what they repeat."""
        numbers = sorted(self.answers, key=self._turn) if self._gated else sorted(self.answers)
        return tuple(map(self.answers.__getitem__, numbers))

    def _turn(self, attempt: int) -> tuple[int, int]:
        return turn_of(attempt, self._steps)

    def is_cancelled(self, question: Question) -> bool:
        """Whether the attempt was cancelled that asks this."""
        number = question.ordinal if question.scope == ROOT_SCOPE else attempt_of(question.scope)
        return number in self.cancelled

    def told(self, question: Question, answer: Answer) -> None:
        """Takes note of a verdict: an attempt that is to be repeated has not come to its end."""
        attempt = attempt_of(question.scope)
        if question.name == RETRY and attempt is not None and values.parse(answer.data)["again"]:
            self._repeated.add(attempt)

    def due(self, attempt: int) -> int:
        """The attempt that an attempt has come to, by being repeated."""
        while attempt in self._repeated:
            attempt = retry_of(attempt, self._steps)
        return attempt

    def begins(self, question: Question) -> None:
        """Takes note of a question that the world is about to be asked, if that may act."""
        if self._gated and question.kind == "agent":
            self._begun.add(question.ordinal)
        if question.side_effect != "read_only" or question.kind == "route":
            self._acting.add((question.scope, question.ordinal))

    def ends(self, question: Question) -> None:
        """Takes note of its answer."""
        self._acting.discard((question.scope, question.ordinal))

    def is_acting(self, attempt: int) -> bool:
        """See `Session.is_acting`."""
        scope = attempt_scope(attempt)
        return any(path.partition("/")[0] == scope for path, _ in tuple(self._acting))

    def cut_off(self, attempt: int, answer: Answer) -> Answer:
        """Takes note that an attempt was cut off.

        Returns:
            The answer that stands for it: in doubt if it has begun to act since that was made; cancelled if
                the agent was not even called.
        """
        self.cancelled.add(attempt)
        if self._gated and attempt not in self._begun:
            code = ErrorCode.CANCELLED
        elif self.is_acting(attempt):
            code = ErrorCode.IN_DOUBT
        else:
            return answer
        error = values.parse(answer.data)
        return answer._replace(data=values.dumps({**error, "code": code.value}))


def refused(request: Request, question: Question, clock: Clock) -> Answer | None:
    """The answer to the call of an agent that may not be made any more; None if it may.

    Raises:
        ExecutionCancelled: it is another question, and the execution was cancelled.
    """
    control = request.control
    reason = None if control is None else control.check()
    if reason is not None:
        if question.kind == ADMISSION:
            return None
        if question.kind != "agent":
            raise ExecutionCancelled(reason)
        error = ErrorInfo(
            code=ErrorCode.CANCELLED,
            message=f"agent {question.name!r} was not called: the execution was cancelled: {reason}",
        )
        return Answer(ok=False, data=error.encode(), refused=True)
    if question.kind != "agent":
        return None
    deadline_us = request.deadline_us
    if deadline_us is None or clock.time_us() < deadline_us:
        return None
    error = ErrorInfo(
        code=ErrorCode.AGENT_TIMEOUT,
        message=f"agent {question.name!r} was not called: the envelope's deadline had passed",
        details={"deadline": point_in_time(deadline_us).isoformat()},
    )
    return Answer(ok=False, data=error.encode(), refused=True)


def stop_if_cancelled(request: Request) -> None:
    """What has been waited for may be all that an agent wanted, so a cancellation is told when it ends, too.

    Raises:
        ExecutionCancelled: the execution was cancelled.
    """
    reason = None if request.control is None else request.control.reason
    if reason is not None:
        raise ExecutionCancelled(reason)


class UnrecordedSession:
    """Asks the world and writes nothing: for a runtime without a store."""

    def __init__(self, execution_id: str, request: Request, plan: Plan, clock: Clock) -> None:
        self.execution_id = execution_id
        self._request = request
        self._clock = clock
        self._lock = threading.Lock()
        self._attempts = Attempts(plan)
        self._usage: list[Question] = []

    @property
    def attempts(self) -> tuple[tuple[str, Answer], ...]:
        """Each agent that was called and its answer, in the order of the plan."""
        return self._attempts.ordered()

    @property
    def usage(self) -> dict[str, float]:
        """See `Recorder.usage`."""
        return usage_of(self._usage)

    def begin(self, question: Question) -> Ticket:
        """See `Session.begin`.

        Raises:
            BranchCancelled: another attempt has won the race, or this one's time was up.
            ExecutionCancelled: the execution was cancelled.
        """
        attempts = self._attempts
        if attempts.cancelled:
            self._check(question)
        answer = refused(self._request, question, self._clock)
        if answer is not None:
            return Ticket(question, self.end(Ticket(question), answer))
        with self._lock:
            if attempts.cancelled:
                self._check(question)
            attempts.begins(question)
        return Ticket(question)

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        """See `Session.end`."""
        question, attempts = ticket.question, self._attempts
        kind = question.kind
        with self._lock:
            if kind == "agent":
                return attempts.answers.setdefault(question.ordinal, (question.name, answer))[1]
            if attempts.cancelled:
                self._check(question)
            attempts.ends(question)
            if kind == ADMISSION:
                attempts.told(question, answer)
            if kind == "usage":
                self._usage.append(question)
        if kind in ACTING_KINDS:
            stop_if_cancelled(self._request)
        return answer

    @property
    def waits(self) -> bool:
        """See `Session.waits`."""
        return False

    def is_acting(self, attempt: int) -> bool:
        """See `Session.is_acting`."""
        return self._attempts.is_acting(attempt)

    def cancel(self, attempt: int, name: str, answer: Answer) -> Answer:
        """See `Session.cancel`."""
        with self._lock:
            attempt = self._attempts.due(attempt)
            if attempt not in self._attempts.answers:
                self._attempts.answers[attempt] = (name, self._attempts.cut_off(attempt, answer))
            self._attempts.cancelled.add(attempt)
            return self._attempts.answers[attempt][1]

    def recalls(self, question: Question) -> None:
        """See `RoutedSession.recalls`. Nothing is on record."""

    def door(self) -> Door:
        """See `RoutedSession.door`. Nothing is on record."""
        return Door()

    def refuse(self, question: Question, answer: Answer) -> Answer:
        """See `RoutedSession.refuse`."""
        return self.end(Ticket(question), answer)

    def misfit(self, ticket: Ticket, fault: Exception) -> BaseException:
        """See `Session.misfit`. What has just been asked was written by the same type."""
        return fault

    def fail(self, failure: Exception) -> None:
        """See `Session.fail`. Only a store can fail an execution, and there is none."""

    def close(self, outcome: Outcome) -> None:
        """Ends the execution."""

    def abandon(self, fault: BaseException) -> None:
        """Ends the execution without an outcome."""

    def _check(self, question: Question) -> None:
        if self._attempts.is_cancelled(question):
            raise BranchCancelled(question.scope)
