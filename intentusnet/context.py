"""`Context`: what an agent asks through, and how an agent is called with one.

`BaseContext` has what never waits; here is what does, for agents that are plain functions. `AsyncContext` is
the same for those that are coroutine functions.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

from intentusnet import carrying, raised
from intentusnet.agents import Agent
from intentusnet.asker import World, current
from intentusnet.base_context import (
    BaseContext,
    capturing,
    check_limit,
    child_answer,
    child_response,
    context_for,
    plain,
    takes_argument,
    without_secrets,
)
from intentusnet.effects import answer_of
from intentusnet.envelope import Caller, IntentRef, RoutingStrategy
from intentusnet.errors import ControlSignal, InvalidInput
from intentusnet.response import AgentResponse
from intentusnet.routing.bodies import call_inline
from intentusnet.routing.request import Request
from intentusnet.scopes import covered, entered, inside_effect
from intentusnet.transcript import Answer, Session, Ticket

__all__ = ["Context", "World", "call_agent", "capturing", "covered", "plain"]

T = TypeVar("T")
Item = TypeVar("Item")


class Context(BaseContext):
    """What an agent may ask of the world."""

    def effect(self, name: str, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Calls a function that meets the world; a replay answers from the record and does not call it.

        Args:
            name: names the effect in the record.
            function: what is called. A return annotation is the type of the answer.
            args, kwargs: its arguments: recorded and compared, so they must be data.

        Raises:
            UnrecordableValue: an argument, or what the function returned, cannot be recorded;
                `PayloadTooLarge` if what it returned is larger than the runtime allows.
            DeadlineExceeded: the agent's time is up: nothing was called.
            Exception: whatever the function raises, live and on replay.
        """
        if inside_effect.get() is not None:
            return function(*args, **kwargs)
        question, codec = self._effect(name, function, args, kwargs)
        ticket = self._session.begin(question)
        answer = ticket.answer
        if answer is None:
            fault: BaseException | None = None
            try:
                with covered(question):
                    answer = answer_of(name, codec, function(*args, **kwargs), self._world.sizes)
            except (ControlSignal, KeyboardInterrupt):
                raise
            except BaseException as raised_by_it:  # noqa: BLE001 - whatever it is, it is the answer
                fault, answer = raised.captured(raised_by_it)
            answer = self._session.end(ticket, answer)
            if fault is not None:
                raise fault
        if not answer.ok:
            raise raised.revive(answer.data)
        try:
            return typing.cast("T", codec.decode(answer.data))
        except InvalidInput as misfit:
            raise self._session.misfit(ticket, misfit) from None

    def sleep(self, seconds: float) -> None:
        """Waits; a replay does not.

        Raises:
            DeadlineExceeded: the agent's time is up before the end.
        """
        self._check_time()
        self._plain("sleep", "sleep", lambda: self._wait(seconds), (seconds,))
        self._check_time()

    def route(
        self,
        intent: str | IntentRef,
        payload: Any = None,
        *,
        strategy: RoutingStrategy | str = RoutingStrategy.DIRECT,
        target: str | None = None,
        fallback: tuple[str, ...] | list[str] = (),
        prefer: Literal["rank", "first"] = "rank",
        caller: Caller | str | None = None,
        tags: tuple[str, ...] | list[str] | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> AgentResponse:
        """Routes a child intent: an execution of its own, linked both ways.

        Caller, tags, priority and trace are this envelope's unless told otherwise. Its deadline is this
        agent's.

        Args:
            intent: name, or ``name@version``.
            payload: any recordable value.
            strategy, target, fallback, prefer: see `RoutingOptions`.
            caller, tags, priority, idempotency_key: see `IntentEnvelope`.

        Raises:
            InvalidEnvelope: an argument makes no sense.
            UnrecordableValue: the payload cannot be recorded.
            DeadlineExceeded: the agent's time is up: nobody was called.
        """
        options = {
            "strategy": strategy,
            "target": target,
            "fallback": fallback,
            "prefer": prefer,
            "caller": caller,
            "tags": tags,
            "priority": priority,
            "idempotency_key": idempotency_key,
        }
        child = self._child(intent, payload, options)
        covered_by_effect = inside_effect.get() is not None
        ticket = Ticket(child.question) if covered_by_effect else self._session.begin(child.question)
        answer = ticket.answer
        if answer is None:
            try:
                answer = child_answer(self._world.route(self._child_request(child, ticket.resumes)))
            except Exception as failure:
                # Agents' exceptions never come here, so it is the store's: not for this agent to swallow.
                self._session.fail(failure)
                raise
            if not covered_by_effect:
                answer = self._session.end(ticket, answer)
        return child_response(answer)

    def gather(self, *calls: Callable[..., T]) -> list[T]:
        """Runs the calls at once, each in a thread and a scope of its own.

        Args:
            calls: functions without parameters, or with one, which is handed this context.

        Returns:
            Their results, in the order of the calls.

        Raises:
            Exception: of the calls that raised, the first in the order of the calls, when all have ended.
        """
        given = [functools.partial(call, self) if takes_argument(call) else call for call in calls]
        return self._branches(given, None)

    def map(
        self, function: Callable[[Item], T], items: Iterable[Item], *, limit: int | None = None
    ) -> list[T]:
        """Calls the function with each item, several at once, each in a scope of its own.

        Args:
            function: what is called. No call may wait for another one.
            items: what it is called with.
            limit: so many at once, at least 1; 32 unless given.

        Returns:
            The results, in the order of the items.

        Raises:
            InvalidInput: the limit makes no sense.
            Exception: of the calls that raised, the first in the order of the items, when all have ended.
        """
        calls = [functools.partial(function, item) for item in items]
        return self._branches(calls, check_limit(limit))


def call_agent(agent: Agent, attempt: int, request: Request, session: Session, world: World) -> Answer:
    """Calls the agent of an attempt with a context of its own."""
    carrying.install()
    context = context_for(Context, agent, attempt, request, session, world)
    # An agent that an effect calls asks for itself.
    inside = None if inside_effect.get() is None else entered(inside_effect, None)
    asker = entered(current, context)
    try:
        return without_secrets(call_inline(agent, request.payload, context, world.sizes), world)
    finally:
        context.close()
        current.reset(asker)
        if inside is not None:
            inside_effect.reset(inside)
