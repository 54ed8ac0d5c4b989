"""`Observed`: a session whose execution is told of while it runs, in events.

Where somebody observes, it stands before the session of an execution that asks the world; replays have none.
It changes nothing of what is asked and answered, and holds no lock while an observer is called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from intentusnet import values
from intentusnet.errors import ReplayHalted
from intentusnet.events import (
    AttemptBegan,
    AttemptCutOff,
    AttemptEnded,
    AttemptLeftBehind,
    AttemptQueued,
    AttemptRetried,
    Event,
    ExecutionClosed,
    ExecutionInterrupted,
    ExecutionOpened,
    Origin,
)
from intentusnet.ids import Clock
from intentusnet.response import AgentResponse, message_of
from intentusnet.routing.hands import Recorder
from intentusnet.routing.plan import Plan
from intentusnet.routing.request import Request
from intentusnet.routing.strategies import Outcome
from intentusnet.transcript import ADMISSION, RETRY, Answer, Door, Question, Ticket, attempt_of, retry_of

Kind = TypeVar("Kind", bound=Event)


class Observers(Protocol):
    """Who is told. What they raise they keep to themselves, unless it ends a program."""

    def tell(self, event: Event) -> None:
        """Tells of an event."""
        ...

    def ended(self, request: Request, response: Callable[[], AgentResponse]) -> None:
        """Tells how an execution has ended, with a response of its own for each observer."""
        ...

    async def ended_async(self, request: Request, response: Callable[[], AgentResponse]) -> None:
        """The same for asynchronous callers."""
        ...

    def failed(self, request: Request, fault: BaseException) -> None:
        """Tells that an execution has ended without an outcome."""
        ...

    async def failed_async(self, request: Request, fault: BaseException) -> None:
        """The same for asynchronous callers."""
        ...


class Observed:
    """Tells of an execution what its session is asked, and answered; mutable, for many threads.

    Args:
        session: the execution's.
        request: what is routed.
        plan: who is called.
        clock: when things happen.
        observers: who is told.
    """

    def __init__(
        self, session: Recorder, request: Request, plan: Plan, clock: Clock, observers: Observers
    ) -> None:
        self.execution_id = session.execution_id
        self._session = session
        self._request = request
        self._plan = plan
        self._clock = clock
        self._observers = observers
        self._lock = threading.Lock()
        self._number = 0
        self._opened = clock.monotonic()
        self._began: dict[int, float] = {}
        self._over: set[int] = set()
        self._repeated: dict[int, int] = {}

    def opened(self, origin: Origin) -> None:
        """The execution has begun."""
        request, plan = self._request, self._plan
        envelope = request.envelope
        self._happened(
            ExecutionOpened,
            version=envelope.intent.version,
            caller=envelope.caller.name,
            tenant=envelope.caller.tenant,
            strategy=plan.strategy.value,
            steps=tuple(agent.name for agent in plan.steps),
            depth=request.depth,
            parent=request.parent,
            origin=origin,
        )

    def began(self, attempt: int, agent: str) -> None:
        """An agent is about to be called."""
        with self._lock:
            if attempt in self._over:
                return  # another one has won the race meanwhile
            self._began[attempt] = self._clock.monotonic()
            place = self._place()
        self._happened(AttemptBegan, place, attempt=attempt, agent=agent)

    def queued(self, agent: str | None, place: int, estimate: int) -> None:
        """A call, or the execution, has to wait; the estimate is in nanoseconds."""
        self._happened(AttemptQueued, agent=agent, place=place, estimate_us=estimate // 1000)

    def left_behind(self, attempt: int, agent: str) -> None:
        """The body of an agent still runs that was cut off."""
        self._happened(AttemptLeftBehind, attempt=attempt, agent=agent)

    def closed(self, response: Callable[[], AgentResponse]) -> None:
        """The execution has its end. The response is made for each observer anew."""
        self._closed(response())
        self._observers.ended(self._request, response)

    async def closed_async(self, response: Callable[[], AgentResponse]) -> None:
        """The same for asynchronous callers."""
        self._closed(response())
        await self._observers.ended_async(self._request, response)

    def interrupted(self, fault: BaseException) -> None:
        """The execution ends without an outcome."""
        raised = self._raised(fault)
        self._interrupted(raised)
        self._observers.failed(self._request, raised)

    async def interrupted_async(self, fault: BaseException) -> None:
        """The same for asynchronous callers."""
        raised = self._raised(fault)
        self._interrupted(raised)
        await self._observers.failed_async(self._request, raised)

    # What follows is the session's.

    def begin(self, question: Question) -> Ticket:
        """See `Session.begin`."""
        ticket = self._session.begin(question)
        if question.kind == "agent" and ticket.answer is not None:
            self._ended(question.ordinal, question.name, ticket.answer)
        return ticket

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        """See `Session.end`."""
        question, told = ticket.question, self._session.end(ticket, answer)
        if question.kind == ADMISSION:
            self._admitted(question, told)
        elif question.kind == "agent":
            # Another answer than the attempt's own counts where it was cut off before that came.
            self._ended(question.ordinal, question.name, told, cut_off=told is not answer)
        return told

    def refuse(self, question: Question, answer: Answer) -> Answer:
        """See `RoutedSession.refuse`."""
        told = self._session.refuse(question, answer)
        self._ended(question.ordinal, question.name, told)
        return told

    def recalls(self, question: Question) -> Answer | None:
        """See `RoutedSession.recalls`."""
        return self._session.recalls(question)

    def door(self) -> Door:
        """See `RoutedSession.door`."""
        return self._session.door()

    def cancel(self, attempt: int, name: str, answer: Answer) -> Answer:
        """See `Session.cancel`."""
        told = self._session.cancel(attempt, name, answer)
        while attempt in self._repeated:
            attempt = self._repeated[attempt]
        self._ended(attempt, name, told, cut_off=told.refused)
        return told

    def close(self, outcome: Outcome) -> str | None:
        """See `Recorder.close`."""
        return self._session.close(outcome)

    def abandon(self, fault: BaseException) -> None:
        """See `Recorder.abandon`."""
        self._session.abandon(fault)

    def misfit(self, ticket: Ticket, fault: Exception) -> BaseException:
        """See `Session.misfit`."""
        return self._session.misfit(ticket, fault)

    def fail(self, failure: Exception) -> None:
        """See `Session.fail`."""
        self._session.fail(failure)

    def is_acting(self, attempt: int) -> bool:
        """See `Session.is_acting`."""
        return self._session.is_acting(attempt)

    @property
    def waits(self) -> bool:
        """See `Session.waits`."""
        return self._session.waits

    @property
    def usage(self) -> Mapping[str, float]:
        """See `Recorder.usage`."""
        return self._session.usage

    @property
    def attempts(self) -> tuple[tuple[str, Answer], ...]:
        """See `Recorder.attempts`."""
        return self._session.attempts

    def _raised(self, fault: BaseException) -> BaseException:
        """What the caller is raised: a signal stands for what a session that goes on has found."""
        found = getattr(self._session, "diverged", None) if isinstance(fault, ReplayHalted) else None
        return found if isinstance(found, Exception) else fault

    def _closed(self, response: AgentResponse) -> None:
        error = response.error
        self._happened(
            ExecutionClosed,
            status=response.status,
            agent=response.agent,
            code=None if error is None else error.code.value,
            message=None if error is None else error.message,
            fingerprint=response.fingerprint,
            took_us=self._since(self._opened),
        )

    def _interrupted(self, fault: BaseException) -> None:
        self._happened(
            ExecutionInterrupted,
            type=type(fault).__qualname__,
            message=message_of(fault),
            took_us=self._since(self._opened),
        )

    def _admitted(self, question: Question, told: Answer) -> None:
        verdict, attempt = values.parse(told.data), attempt_of(question.scope)
        if question.name != RETRY or attempt is None or not verdict["again"]:
            return
        again = self._repeated[attempt] = retry_of(attempt, len(self._plan.steps))
        self._happened(
            AttemptRetried,
            attempt=attempt,
            agent=self._plan.agent(attempt).name,
            again=again,
            delay_us=values.untag(verdict["delay"]) // 1000,
        )

    def _ended(self, attempt: int, agent: str, answer: Answer, *, cut_off: bool = False) -> None:
        with self._lock:
            if attempt in self._over:
                return
            self._over.add(attempt)
            began = self._began.pop(attempt, None)
            place = self._place()
        took_us = None if began is None else self._since(began)
        code, message = (None, None) if answer.ok else _error(answer.data)
        if cut_off and code is not None and message is not None:
            self._happened(
                AttemptCutOff,
                place,
                attempt=attempt,
                agent=agent,
                code=code,
                message=message,
                took_us=took_us,
            )
            return
        self._happened(
            AttemptEnded,
            place,
            attempt=attempt,
            agent=agent,
            ok=answer.ok,
            code=code,
            message=message,
            called=began is not None,
            took_us=took_us,
        )

    def _happened(self, kind: type[Kind], place: tuple[int, int] | None = None, /, **fields: Any) -> None:
        if place is None:
            with self._lock:
                place = self._place()
        number, ts = place
        intent = self._request.envelope.intent.name
        self._observers.tell(
            kind(execution_id=self.execution_id, number=number, ts=ts, intent=intent, **fields)
        )

    def _place(self) -> tuple[int, int]:
        """The number of the next event, and its time: under the lock, so that both tell the same order."""
        number, self._number = self._number, self._number + 1
        return number, self._clock.time_us()

    def _since(self, before: float) -> int:
        return round((self._clock.monotonic() - before) * 1_000_000)


def _error(data: bytes) -> tuple[str, str]:
    tree = values.parse(data)
    return tree["code"], values.untag(tree["message"])
