"""The sync driver: makes the attempts that the core asks for, inline or in threads."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import queue
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from intentusnet import values
from intentusnet.errors import BranchCancelled, ControlSignal
from intentusnet.response import ErrorCode, ErrorInfo
from intentusnet.routing.control import NEVER, Control
from intentusnet.routing.plan import Plan
from intentusnet.routing.strategies import Attempts, Finished, Outcome, route
from intentusnet.transcript import ROOT_SCOPE, Answer, Question, Session, ask

T = TypeVar("T")

#: These unwind whoever meets them.
SIGNALS: Final = (ControlSignal, KeyboardInterrupt)


class OffLoop(Protocol):
    """Calls a function outside of an event loop's thread, for one that may wait for a disk."""

    def __call__(self, function: Callable[[], T]) -> Awaitable[T]: ...


#: Calls the agent of attempt k, which that stops, and says how it ended.
Invoke = Callable[[int, Control], Answer]


def drive(plan: Plan, session: Session, invoke: Invoke, control: Control = NEVER) -> Outcome:
    """Runs the core of a plan to its end.

    Args:
        plan: who is called.
        session: where answers come from.
        invoke: calls the agent of an attempt; asked only if the session has no answer.
        control: stops the execution.
    """
    core = route(plan)
    try:
        command = next(core)
        while True:
            command = core.send(_perform(command, plan, session, invoke, control))
    except StopIteration as stop:
        outcome: Outcome = stop.value
        return outcome


def _perform(command: Attempts, plan: Plan, session: Session, invoke: Invoke, control: Control) -> Finished:
    def attempt(number: int, stops: Control = control) -> Answer:
        return ask(session, agent_question(plan, number), lambda: invoke(number, stops))

    if command.race:
        return _race(command.numbers, plan, session, attempt, control)
    if len(command.numbers) == 1:
        return Finished((attempt(command.numbers[0]),))
    return Finished(concurrently([_bound(attempt, number) for number in command.numbers]))


def agent_question(plan: Plan, number: int) -> Question:
    """The question that the call of an agent is."""
    definition = plan.steps[number].definition
    return Question(
        ROOT_SCOPE,
        number,
        "agent",
        definition.name,
        side_effect=definition.side_effect,
        idempotent=definition.idempotent,
    )


def race_question(plan: Plan) -> Question:
    """The question of who wins a race."""
    return Question(ROOT_SCOPE, len(plan.steps), "race", plan.strategy.value)


def _bound(attempt: Callable[[int], Answer], number: int) -> Callable[[], Answer]:
    return lambda: attempt(number)


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


def _race(
    numbers: Sequence[int],
    plan: Plan,
    session: Session,
    attempt: Callable[[int, Control], Answer],
    control: Control,
) -> Finished:
    """All at once until one succeeds; which one is a question like any other, so a replay is told.

    The losers are not waited for: they are stopped as their isolation allows, and whatever they ask from then
    on unwinds them.
    """
    ticket = session.begin(race_question(plan))
    if ticket.answer is not None:
        winner = values.decode(ticket.answer.data)
        calls = [functools.partial(attempt, number, control) for number in numbers]
        return Finished(concurrently(calls), winner)
    runners = {number: Control(control) for number in numbers}
    ended: queue.SimpleQueue[tuple[int, Answer | BaseException]] = queue.SimpleQueue()

    def run(number: int, _: None) -> None:
        try:
            ended.put((number, attempt(number, runners[number])))
        except BaseException as fault:  # noqa: BLE001 - handed to the caller's thread below
            ended.put((number, fault))

    for number in numbers:
        _start(run, number, None)
    answers: dict[int, Answer] = {}
    winner = None
    while winner is None and len(answers) < len(numbers):
        number, result = ended.get()
        if isinstance(result, BaseException):
            raise result
        answers[number] = result
        if result.ok:
            winner = number
    for number in numbers:
        if number not in answers:
            answers[number] = lost(plan, session, number)
            runners[number].cancel("another agent has won the race")
    session.end(ticket, Answer(ok=True, data=values.dumps(winner)))
    return Finished([answers[number] for number in numbers], winner)


def lost(plan: Plan, session: Session, number: int) -> Answer:
    """Gives up an attempt that another one has won against."""
    definition = plan.steps[number].definition
    harmless = definition.side_effect == "read_only" and not session.is_acting(number)
    error = ErrorInfo(
        code=ErrorCode.CANCELLED if harmless else ErrorCode.IN_DOUBT,
        message="another agent won the race while this one was running",
    )
    return session.cancel(number, definition.name, Answer(ok=False, data=error.encode(), refused=True))
