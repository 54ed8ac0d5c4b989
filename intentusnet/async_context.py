"""`AsyncContext`: what an agent asks through that is a coroutine function, and how it is called with one.

The same questions as through `Context`, answered by the same sessions; only that what waits is awaited. On
replay each answer that the world would have been waited for gives other tasks their turn, as it did live.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Literal, TypeVar, overload

from intentusnet import carrying, raised, values
from intentusnet.agents import Agent
from intentusnet.asker import World, branch, current
from intentusnet.base_context import (
    BaseContext,
    check_limit,
    child_answer,
    child_response,
    context_for,
    takes_argument,
    without_secrets,
)
from intentusnet.effects import answer_of
from intentusnet.envelope import Caller, IntentRef, RoutingStrategy
from intentusnet.errors import ControlSignal, InvalidInput
from intentusnet.ids import SYSTEM_CLOCK
from intentusnet.response import AgentResponse
from intentusnet.routing.awaiting import concurrently
from intentusnet.routing.bodies import call_awaiting, is_cancellation
from intentusnet.routing.request import Request
from intentusnet.scopes import covered, entered, inside_effect
from intentusnet.transcript import Answer, Question, Session, Ticket

T = TypeVar("T")
Item = TypeVar("Item")

#: These are nobody's answer.
_PASSING = (ControlSignal, KeyboardInterrupt)


class AsyncContext(BaseContext):
    """What an asynchronous agent may ask of the world."""

    @overload
    async def effect(
        self, name: str, function: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any
    ) -> T: ...
    @overload
    async def effect(self, name: str, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T: ...
    async def effect(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Calls a function that meets the world; a replay answers from the record and does not call it.

        Args:
            name: names the effect in the record.
            function: what is called, and awaited if that gives an awaitable. A plain function keeps the event
                loop from all else while it runs: wrap it in ``asyncio.to_thread``. A return annotation is the
                type of the answer.
            args, kwargs: its arguments: recorded and compared, so they must be data.

        Raises:
            UnrecordableValue: an argument, or what the function returned, cannot be recorded;
                `PayloadTooLarge` if what it returned is larger than the runtime allows.
            DeadlineExceeded: the agent's time is up: nothing was called.
            Exception: whatever the function raises, live and on replay.
        """
        if inside_effect.get() is not None:
            return await _awaited(function(*args, **kwargs))
        question, codec = self._effect(name, function, args, kwargs)
        ticket = await self._begin(question)
        answer = ticket.answer
        if answer is None:
            fault: BaseException | None = None
            try:
                with covered(question):
                    value = await _awaited(function(*args, **kwargs))
                    answer = answer_of(name, codec, value, self._world.sizes)
            except _PASSING:
                raise
            except BaseException as raised_by_it:
                if is_cancellation(raised_by_it):
                    raise
                fault, answer = raised.captured(raised_by_it)
            answer = self._session.end(ticket, answer)
            if fault is not None:
                raise fault
        else:
            await asyncio.sleep(0)
        if not answer.ok:
            raise raised.revive(answer.data)
        try:
            return codec.decode(answer.data)
        except InvalidInput as misfit:
            raise self._session.misfit(ticket, misfit) from None

    async def sleep(self, seconds: float) -> None:
        """Waits; a replay does not.

        Raises:
            DeadlineExceeded: the agent's time is up before the end.
        """
        if inside_effect.get() is not None:
            await self._pause(seconds)
            return
        self._check_time()
        question = self._question("sleep", "sleep", values.encode_arguments((seconds,), {}))
        ticket = self._session.begin(question)
        answer = ticket.answer
        if answer is None:
            try:
                await self._pause(seconds)
                slept = Answer(ok=True, data=values.encode(None))
            except Exception as fault:  # noqa: BLE001 - whatever it is, it is the answer
                slept = raised.capture(fault)
            answer = self._session.end(ticket, slept)
        else:
            await asyncio.sleep(0)
        if not answer.ok:
            raise raised.revive(answer.data)
        self._check_time()

    async def route(
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
        """Routes a child intent: an execution of its own, linked both ways; see `Context.route`."""
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
        ticket = Ticket(child.question) if covered_by_effect else await self._begin(child.question)
        answer = ticket.answer
        if answer is None:
            try:
                answer = child_answer(
                    await self._world.route_async(self._child_request(child, ticket.resumes))
                )
            except Exception as failure:
                # Agents' exceptions never come here, so it is the store's: not for this agent to swallow.
                self._session.fail(failure)
                raise
            if not covered_by_effect:
                answer = self._session.end(ticket, answer)
        else:
            await asyncio.sleep(0)
        return child_response(answer)

    async def gather(self, *calls: Awaitable[T] | Callable[..., Awaitable[T]]) -> list[T]:
        """Runs the calls at once, each in a task and a scope of its own.

        Args:
            calls: coroutines, such as ``ctx.effect(…)``; or functions that give one, without parameters or
                with one, which is handed this context.

        Returns:
            Their results, in the order of the calls.

        Raises:
            Exception: of the calls that raised, the first in the order of the calls, when all have ended.
        """
        return await self._branched([self._given(call) for call in calls], None)

    async def map(
        self, function: Callable[[Item], Awaitable[T]], items: Iterable[Item], *, limit: int | None = None
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
        return await self._branched(calls, check_limit(limit))

    def _given(self, call: Awaitable[T] | Callable[..., Awaitable[T]]) -> Callable[[], Awaitable[T]]:
        if inspect.isawaitable(call):
            awaitable = call
            return lambda: awaitable
        return functools.partial(call, self) if takes_argument(call) else call

    async def _branched(self, calls: Sequence[Callable[[], Awaitable[T]]], limit: int | None) -> list[T]:
        scope_of = self._branch_scopes()

        def bound(index: int, call: Callable[[], Awaitable[T]]) -> Callable[[], Coroutine[Any, Any, T]]:
            async def run() -> T:
                token = entered(branch, (self, scope_of(index)))
                try:
                    return await call()
                finally:
                    branch.reset(token)

            return run

        return await concurrently([bound(index, call) for index, call in enumerate(calls)], limit)

    async def _begin(self, question: Question) -> Ticket:
        """Takes note of a question, outside of the event loop's thread where that may wait for a disk."""
        if self._session.waits and question.side_effect != "read_only":
            return await self._world.off_loop(functools.partial(self._session.begin, question))
        return self._session.begin(question)

    async def _pause(self, seconds: float) -> None:
        # An execution that is cancelled, or whose time is up, has its tasks cancelled, this one too.
        if self._world.clock is SYSTEM_CLOCK:
            await asyncio.sleep(self._bounded(seconds))
        else:
            self._world.clock.sleep(self._bounded(seconds))
            await asyncio.sleep(0)


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def call_agent_awaiting(
    agent: Agent, attempt: int, request: Request, session: Session, world: World
) -> Answer:
    """Calls the agent of an attempt with a context of its own, and awaits it."""
    carrying.install()
    context = context_for(AsyncContext, agent, attempt, request, session, world)
    inside, asker = entered(inside_effect, None), entered(current, context)
    try:
        return without_secrets(await call_awaiting(agent, request.payload, context, world.sizes), world)
    finally:
        context.close()
        current.reset(asker)
        inside_effect.reset(inside)
