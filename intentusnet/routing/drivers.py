"""The sync driver: makes the attempts that the core asks for, inline or in threads."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from intentusnet import values
from intentusnet.errors import BranchCancelled, ControlSignal
from intentusnet.ids import SYSTEM_CLOCK
from intentusnet.response import ErrorCode, ErrorInfo
from intentusnet.routing.attempts import Call, Called, Limited, agent_question, calls, execution
from intentusnet.routing.control import NEVER, Control
from intentusnet.routing.limits.gates import Holding
from intentusnet.routing.limits.passage import Wait
from intentusnet.routing.plan import Plan
from intentusnet.routing.strategies import Attempts, Ended, Finished, Outcome, route
from intentusnet.transcript import ROOT_SCOPE, Answer, Question, RoutedSession

if TYPE_CHECKING:
    from asyncio import Future

T = TypeVar("T")
Command = TypeVar("Command")
Result = TypeVar("Result")

#: These unwind whoever meets them.
SIGNALS: Final = (ControlSignal, KeyboardInterrupt)


class OffLoop(Protocol):
    """Calls a function outside of an event loop's thread, for one that may wait for a disk."""

    def __call__(self, function: Callable[[], T]) -> Future[T]: ...


#: Calls the agent of attempt k, which that stops and which has taken places there, and says how it ended.
Invoke = Callable[[int, Control, Holding], Answer]
#: Makes the calls of a step, which that stops.
Make = Callable[[int, Control], Ended]


def drive(
    plan: Plan,
    session: RoutedSession,
    invoke: Invoke,
    control: Control = NEVER,
    limited: Limited | None = None,
) -> Outcome:
    """Runs the core of a plan to its end.

    Args:
        plan: who is called.
        session: where answers come from.
        invoke: calls the agent of an attempt; asked only if the session has no answer.
        control: stops the execution.
        limited: the limits of now, where the plan is gated; None if nothing of them is to be asked.
    """

    def make(step: int, stops: Control) -> Ended:
        if plan.gated:
            perform = functools.partial(_called, plan, session, invoke)
            return _run(calls(plan, step, session, limited, stops), perform)
        ticket = session.begin(agent_question(plan, step))
        if ticket.answer is not None:
            return Ended(step, ticket.answer)
        return Ended(step, session.end(ticket, invoke(step, stops, ())))

    def perform(command: Attempts | Wait) -> Finished | None:
        if isinstance(command, Wait):
            _wait(command)
            return None
        steps = command.steps
        if command.race:
            return _race(steps, plan, session, make, control)
        if len(steps) == 1:
            return Finished((make(steps[0], control),))
        return Finished(concurrently([functools.partial(make, step, control) for step in steps]))

    if plan.gated:
        return _run(execution(plan, session, limited), perform)
    return _run(route(plan), perform)


def _run(core: Generator[Command, Result, T], perform: Callable[[Command], Any]) -> T:
    """Runs a core to its end. If something unwinds it, it gives back what it holds."""
    try:
        command = next(core)
        while True:
            command = core.send(perform(command))
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        core.close()


def _called(plan: Plan, session: RoutedSession, invoke: Invoke, command: Call | Wait) -> Called | None:
    if isinstance(command, Wait):
        _wait(command)
        return None
    ticket = session.begin(agent_question(plan, command.attempt))
    if ticket.answer is not None:
        return Called(ticket.answer, made=False)
    answer = invoke(*command)
    return Called(session.end(ticket, answer), made=True)


def _wait(command: Wait) -> None:
    if command.clock is SYSTEM_CLOCK:
        command.control.wait(command.seconds)
    else:
        command.clock.sleep(command.seconds)


def race_question(plan: Plan) -> Question:
    """The question of who wins a race."""
    return Question(ROOT_SCOPE, len(plan.steps), "race", plan.strategy.value)


def concurrently(calls: Sequence[Callable[[], T]], limit: int | None = None) -> list[T]:
    """Runs the calls at once, each with its own copy of the caller's context.

    Args:
        calls: what is called.
        limit: so many at once; without it all of them, each in a thread of its own.

    Returns:
        Their results, in the order of the calls.

    Raises:
        BaseException: of the calls that raised, the first in the order of the calls, when all have ended; a
            signal before any other, because nobody may swallow it.
    """
    results: dict[int, T] = {}
    faults: dict[int, BaseException] = {}
    width = len(calls) if limit is None else min(limit, len(calls))
    waiting = deque(range(width, len(calls)))
    context = contextvars.copy_context()

    def run(number: int) -> None:
        try:
            results[number] = context.copy().run(calls[number])
        except BaseException as fault:  # noqa: BLE001 - handed to the caller's thread below
            faults[number] = fault
            if isinstance(fault, (BranchCancelled, KeyboardInterrupt)):
                waiting.clear()  # nobody waits for the rest

    def work(number: int, _: None) -> None:
        run(number)
        while waiting:
            with contextlib.suppress(IndexError):  # another thread was faster
                run(waiting.popleft())

    try:
        threads = [_start(work, number, None) for number in range(width)]
        for thread in threads:
            thread.join()
    except BaseException:
        waiting.clear()
        raise
    if faults:
        raise faults[min(faults, key=lambda number: (not isinstance(faults[number], SIGNALS), number))]
    return [results[number] for number in range(len(calls))]


def _start(run: Callable[[int, T], None], number: int, argument: T) -> threading.Thread:
    context = contextvars.copy_context()
    thread = threading.Thread(
        target=context.run, args=(run, number, argument), name=f"intentusnet-branch-{number}", daemon=True
    )
    thread.start()
    return thread


def _race(steps: Sequence[int], plan: Plan, session: RoutedSession, make: Make, control: Control) -> Finished:
    """All at once until one succeeds; which one is a question like any other, so a replay is told.

    The losers are not waited for: they are stopped as their isolation allows, and whatever they ask from then
    on unwinds them.
    """
    ticket = session.begin(race_question(plan))
    if ticket.answer is not None:
        winner = values.decode(ticket.answer.data)
        runs = [functools.partial(make, step, control) for step in steps]
        return Finished(concurrently(runs), winner)
    runners = {step: Control(control) for step in steps}
    ended: queue.SimpleQueue[tuple[int, Ended | BaseException]] = queue.SimpleQueue()

    def run(step: int, _: None) -> None:
        try:
            ended.put((step, make(step, runners[step])))
        except BaseException as fault:  # noqa: BLE001 - handed to the caller's thread below
            ended.put((step, fault))

    for step in steps:
        _start(run, step, None)
    ends: dict[int, Ended] = {}
    winner = None
    while winner is None and len(ends) < len(steps):
        step, result = ended.get()
        if isinstance(result, BaseException):
            raise result
        ends[step] = result
        if result.answer.ok:
            winner = step
    for step in steps:
        if step not in ends:
            ends[step] = lost(plan, session, step)
            runners[step].cancel("another agent has won the race")
    session.end(ticket, Answer(ok=True, data=values.dumps(winner)))
    return Finished([ends[step] for step in steps], winner)


def lost(plan: Plan, session: RoutedSession, step: int) -> Ended:
    """Gives up the calls of a step that another one has won against."""
    definition = plan.steps[step].definition
    harmless = definition.side_effect == "read_only" and not session.is_acting(step)
    error = ErrorInfo(
        code=ErrorCode.CANCELLED if harmless else ErrorCode.IN_DOUBT,
        message="another agent won the race while this one was running",
    )
    answer = Answer(ok=False, data=error.encode(), refused=True)
    return Ended(step, session.cancel(step, definition.name, answer))
