"""`Isolation`: what can stop the body of an agent that takes too long, or whose execution is cancelled.

``inline``: nothing but the questions that it asks itself. ``thread``: its thread is left behind, and what it
asks from then on unwinds it. ``process``: its process is killed. An asynchronous agent is cancelled. What was
cut off is in doubt, unless agent and open questions are read-only; docs/timeouts.md says it all.
"""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from intentusnet.agents import Agent
from intentusnet.errors import ExecutionCancelled
from intentusnet.ids import Clock
from intentusnet.response import ErrorCode, ErrorInfo
from intentusnet.routing.control import NEVER, TASK_CANCELLED, Control
from intentusnet.routing.observing import Observed
from intentusnet.routing.request import Request
from intentusnet.stores.custody import LOOK_EVERY
from intentusnet.transcript import Answer, Session

if TYPE_CHECKING:
    from asyncio import Future, Task

#: Bodies that may be left behind, unless the runtime is told another number.
DEFAULT_MAX_ABANDONED: Final = 16


class Abandoned(NamedTuple):
    """A body that was left behind, because its time was up or its execution cancelled, and still runs.

    Attributes:
        execution_id, agent: whose it is.
        body: the thread, or the task, that it runs in.
    """

    execution_id: str
    agent: str
    body: threading.Thread | Task[Answer]

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        if isinstance(self.body, threading.Thread):
            return self.body.is_alive()
        return not (self.body.done() or self.body.get_loop().is_closed())


# A plain class, because one is made for every call of an agent: a tuple takes longer.
@dataclass(slots=True)
class Call:
    """One call of an agent.

    Attributes:
        agent: who is called.
        attempt: the number of the attempt, which is given up if the call is cut off.
        request: with the deadline, and what cancels it.
        session: of the attempt.
    """

    agent: Agent
    attempt: int
    request: Request
    session: Session

    def cut_off(self, why: str, *, timeout: bool) -> Answer:
        """Gives the attempt up: what its body asks from now on unwinds it.

        Args:
            why: for people.
            timeout: whether its time was up; otherwise it was cancelled.
        """
        definition = self.agent.definition
        return self.given_up(
            ErrorCode.AGENT_TIMEOUT if timeout else ErrorCode.CANCELLED,
            f"agent {definition.name!r} was cut off: {why}",
            {"isolation": definition.isolation, "timeout": definition.timeout},
        )

    def given_up(self, code: ErrorCode, message: str, details: dict[str, Any]) -> Answer:
        """Gives the attempt up whose body was stopped, or is lost.

        Args:
            code: what it is if it was harmless; otherwise it is in doubt.
            message, details: of the error.
        """
        definition = self.agent.definition
        harmless = definition.side_effect == "read_only" and not self.session.is_acting(self.attempt)
        error = ErrorInfo(code=code if harmless else ErrorCode.IN_DOUBT, message=message, details=details)
        return self.session.cancel(
            self.attempt, definition.name, Answer(ok=False, data=error.encode(), refused=True)
        )

    @property
    def control(self) -> Control:
        """What cancels the execution."""
        return self.request.control or NEVER


def until_us(agent: Agent, request: Request, clock: Clock) -> int | None:
    """When the time of a call is up that begins now, in microseconds since 1970-01-01 UTC; None for never."""
    given, timeout = request.deadline_us, agent.definition.timeout
    if timeout is None:
        return given
    own = clock.time_us() + round(timeout * 1_000_000)
    return own if given is None else min(own, given)


def pause(until: int | None, clock: Clock) -> float:
    """Seconds to wait for the body of an agent before looking whether it is to be stopped."""
    if until is None:
        return LOOK_EVERY
    return min(max(until - clock.time_us(), 0) / 1_000_000, LOOK_EVERY)


class Isolation:
    """Runs the bodies of agents, each as isolated as its definition asks; mutable, for many threads.

    Args:
        clock: what deadlines are held against.
        max_abandoned: so many bodies may be left behind. As long as they run, agents that may have to be left
            behind, too, are not called.

    Attributes:
        in_process: calls an agent in a process of its own. Set by the engine.
    """

    in_process: Callable[[Call], Answer]

    def __init__(self, clock: Clock, max_abandoned: int = DEFAULT_MAX_ABANDONED) -> None:
        self._clock = clock
        self._max_abandoned = max_abandoned
        self._lock = threading.Lock()
        self._abandoned: list[Abandoned] = []

    @property
    def abandoned(self) -> tuple[Abandoned, ...]:
        """The bodies that were left behind and have not ended yet."""
        with self._lock:
            self._abandoned = [one for one in self._abandoned if one.is_running]
            return tuple(self._abandoned)

    def after_fork(self) -> None:
        """Starts afresh in a child process, which has none of its parent's threads."""
        self._lock = threading.Lock()
        self._abandoned = []

    def call(self, call: Call, body: Callable[[Call], Answer]) -> Answer:
        """Runs the body of an agent.

        Args:
            call: whose it is.
            body: calls the agent in this process.

        Returns:
            What it answered, or that it was cut off.
        """
        _tell_began(call)
        try:
            match call.agent.definition.isolation:
                case "thread":
                    return self._in_thread(call, body)
                case "process":
                    return self.in_process(call)
                case _:
                    return body(call)
        except ExecutionCancelled as cancelled:
            return call.cut_off(f"the execution was cancelled: {cancelled}", timeout=False)

    def _in_thread(self, call: Call, body: Callable[[Call], Answer]) -> Answer:
        if len(self.abandoned) >= self._max_abandoned:
            return self._crowded(call)
        # What comes first counts: the body's end, or None, which wakes whoever waits for it.
        ended: queue.SimpleQueue[Answer | BaseException | None] = queue.SimpleQueue()

        def run() -> None:
            try:
                ended.put(body(call))
            except BaseException as fault:  # noqa: BLE001 - handed to the caller's thread below
                ended.put(fault)

        until = until_us(call.agent, call.request, self._clock)
        thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(run,),
            name=f"intentusnet-agent-{call.agent.name}",
            daemon=True,
        )
        with call.control.wakes(lambda: ended.put(None)):
            thread.start()
            result = self._wait(ended, until, call.control)
        if isinstance(result, BaseException):
            raise result
        if result is None:
            self._leave(Abandoned(call.session.execution_id, call.agent.name, thread))
            answer = self._given_up(call)
            _tell_left(call)
            return answer
        return result

    def _wait(
        self, ended: queue.SimpleQueue[Answer | BaseException | None], until: int | None, control: Control
    ) -> Answer | BaseException | None:
        """What a body came to; None if it is not waited for any longer."""
        while True:
            with contextlib.suppress(queue.Empty):
                return ended.get(timeout=pause(until, self._clock))
            control.check()
            if until is not None and self._clock.time_us() >= until:
                return None

    async def call_awaiting(self, call: Call, body: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Runs the body of an asynchronous agent in a task of its own; see `call`.

        To cancel the task that awaits this is to cancel the execution.
        """
        import asyncio

        from intentusnet.routing.awaiting import retrieve

        if len(self.abandoned) >= self._max_abandoned:
            return self._crowded(call)
        _tell_began(call)
        loop = asyncio.get_running_loop()
        until = until_us(call.agent, call.request, self._clock)
        task = loop.create_task(body())
        stopped = loop.create_future()

        def stop() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any longer
                loop.call_soon_threadsafe(_set, stopped)

        with call.control.wakes(stop):
            while not (task.done() or stopped.done()):
                try:
                    await asyncio.wait(
                        (task, stopped),
                        timeout=pause(until, self._clock),
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                except asyncio.CancelledError:
                    call.control.cancel_by_task()
                    break
                call.control.check()
                if until is not None and self._clock.time_us() >= until:
                    break
        stopped.cancel()
        if task.done() and task.cancelled():  # by its loop, which is about to be closed, or by the agent
            call.control.cancel(TASK_CANCELLED)
        elif task.done():
            try:
                return task.result()
            except ExecutionCancelled as cancelled:
                return call.cut_off(f"the execution was cancelled: {cancelled}", timeout=False)
        answer = self._given_up(call)
        task.cancel()
        task.add_done_callback(retrieve)
        self._leave(Abandoned(call.session.execution_id, call.agent.name, task))
        _tell_left(call)
        return answer

    def _leave(self, abandoned: Abandoned) -> None:
        with self._lock:
            self._abandoned.append(abandoned)

    def _given_up(self, call: Call) -> Answer:
        reason = call.control.reason
        if reason is not None:
            return call.cut_off(f"the execution was cancelled: {reason}", timeout=False)
        return call.cut_off("its time was up", timeout=True)

    def _crowded(self, call: Call) -> Answer:
        running = self.abandoned
        error = ErrorInfo(
            code=ErrorCode.AGENT_UNAVAILABLE,
            message=f"agent {call.agent.name!r} was not called: {len(running)} that were cut off still run",
            details={"abandoned": sorted({one.agent for one in running}), "max": self._max_abandoned},
        )
        return Answer(ok=False, data=error.encode(), refused=True)


def _tell_began(call: Call) -> None:
    if isinstance(call.session, Observed):
        call.session.began(call.attempt, call.agent.name)


def _tell_left(call: Call) -> None:
    if isinstance(call.session, Observed):
        call.session.left_behind(call.attempt, call.agent.name)


def _set(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
