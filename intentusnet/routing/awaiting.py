"""The asynchronous driver: makes the attempts that the core asks for, each in a task.

The core, the questions and the record are those of the driver in ``drivers``; only who waits is another. A
task that is cancelled while it drives an execution cancels the execution: it is driven to its end, which is
on record, and then the task is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from typing import Any, TypeVar

from intentusnet import values
from intentusnet.errors import BranchCancelled
from intentusnet.ids import SYSTEM_CLOCK
from intentusnet.routing.attempts import Call, Called, Limited, agent_question, calls, execution
from intentusnet.routing.control import LOOK_EVERY, Control
from intentusnet.routing.drivers import SIGNALS, Command, OffLoop, Result, lost, race_question
from intentusnet.routing.limits.gates import Holding
from intentusnet.routing.limits.passage import Wait
from intentusnet.routing.plan import Plan
from intentusnet.routing.strategies import Attempts, Ended, Finished, Outcome, route
from intentusnet.transcript import Answer, RoutedSession

T = TypeVar("T")

#: Calls the agent of attempt k, which that stops and which has taken places there, and says how it ended.
InvokeAsync = Callable[[int, Control, Holding], Awaitable[Answer]]
#: Makes the calls of a step, which that stops.
MakeAsync = Callable[[int, Control], Coroutine[Any, Any, Ended]]


async def drive_async(
    plan: Plan,
    session: RoutedSession,
    invoke: InvokeAsync,
    control: Control,
    off_loop: OffLoop,
    limited: Limited | None = None,
) -> Outcome:
    """Runs the core of a plan to its end.

    Args:
        plan: who is called.
        session: where answers come from.
        invoke: calls the agent of an attempt; asked only if the session has no answer.
        control: stops the execution; the task that runs this stops it, too, by being cancelled.
        off_loop: calls what may wait for a disk.
        limited: the limits of now, where the plan is gated; None if nothing of them is to be asked.
    """

    async def called(command: Call | Wait) -> Called | None:
        if isinstance(command, Wait):
            await _wait(command, control)
            return None
        question, stops = agent_question(plan, command.attempt), command.control
        if session.waits and question.side_effect != "read_only":
            ticket = await finished(off_loop(lambda: session.begin(question)), stops)
        else:
            ticket = session.begin(question)
        if ticket.answer is not None:
            return Called(ticket.answer, made=False)
        return Called(session.end(ticket, await invoke(*command)), made=True)

    async def make(step: int, stops: Control) -> Ended:
        if plan.gated:
            return await _run(calls(plan, step, session, limited, stops), called)
        made = await called(Call(step, stops))
        assert made is not None
        return Ended(step, made.answer)

    async def perform(command: Attempts | Wait) -> Finished | None:
        if isinstance(command, Wait):
            await _wait(command, control)
            return None
        return await _made(command, plan, session, make, control)

    if plan.gated:
        return await _run(execution(plan, session, limited), perform)
    return await _run(route(plan), perform)


async def _run(core: Generator[Command, Result, T], perform: Callable[[Command], Awaitable[Any]]) -> T:
    """Runs a core to its end. If something unwinds it, it gives back what it holds."""
    try:
        command = next(core)
        while True:
            command = core.send(await perform(command))
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        core.close()


async def _wait(command: Wait, control: Control) -> None:
    """Waits as it is told, and keeps no loop waiting; a task that is cancelled cancels its execution."""
    if command.clock is not SYSTEM_CLOCK:
        command.clock.sleep(command.seconds)
        await asyncio.sleep(0)
        return
    loop = asyncio.get_running_loop()
    woken, end = loop.create_future(), loop.time() + command.seconds

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any longer
            loop.call_soon_threadsafe(woken.cancel)

    with command.control.wakes(wake):
        while not woken.done() and loop.time() < end:
            try:
                await asyncio.wait((woken,), timeout=min(end - loop.time(), LOOK_EVERY))
            except asyncio.CancelledError:
                control.cancel_by_task()
            command.control.check()
    woken.cancel()


async def _made(
    command: Attempts, plan: Plan, session: RoutedSession, make: MakeAsync, control: Control
) -> Finished:
    if command.race:
        return await _race(command.steps, plan, session, make, control)
    if len(command.steps) == 1:
        return Finished((await make(command.steps[0], control),))
    return Finished(await _all(command.steps, make, control))


async def _all(steps: Sequence[int], make: MakeAsync, control: Control) -> list[Ended]:
    tasks = [asyncio.ensure_future(make(step, control)) for step in steps]
    for task in tasks:
        await _ended((task,), control)
    return _results(tasks)


async def _race(
    steps: Sequence[int], plan: Plan, session: RoutedSession, make: MakeAsync, control: Control
) -> Finished:
    """All at once until one succeeds; see ``drivers``."""
    ticket = session.begin(race_question(plan))
    if ticket.answer is not None:
        return Finished(await _all(steps, make, control), values.decode(ticket.answer.data))
    runners = {step: Control(control) for step in steps}

    async def one(step: int) -> tuple[int, Ended]:
        return step, await make(step, runners[step])

    waiting = {asyncio.ensure_future(one(step)) for step in steps}
    for task in waiting:
        task.add_done_callback(retrieve)
    ends: dict[int, Ended] = {}
    winner = None
    while winner is None and waiting:
        done = await _ended(waiting, control)
        waiting -= done
        for step, end in sorted(task.result() for task in done):
            ends[step] = end
            if end.answer.ok and winner is None:
                winner = step
    for step in steps:
        if step not in ends:
            ends[step] = lost(plan, session, step)
            runners[step].cancel("another agent has won the race")
    session.end(ticket, Answer(ok=True, data=values.dumps(winner)))
    return Finished([ends[step] for step in steps], winner)


async def finished(future: asyncio.Future[T], control: Control) -> T:
    """What something comes to that is to be waited for even if the task that waits is cancelled.

    Then the execution is cancelled instead, which brings it to its end.

    Args:
        future: no task, because a loop that is about to be closed cancels all tasks, whoever waits for them.
        control: of the execution.
    """
    await _ended((future,), control)
    return future.result()


async def _ended(waiting: Iterable[asyncio.Future[T]], control: Control) -> set[asyncio.Future[T]]:
    """Those that have ended, when one of them has; see `finished`."""
    waiting = set(waiting)
    while not any(future.done() for future in waiting):
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            control.cancel_by_task()
    return {future for future in waiting if future.done()}


def in_thread(function: Callable[[], T]) -> asyncio.Future[T]:
    """Calls a function in a thread of its own, with a copy of the context.

    Not in a pool: agents wait for their children, and a pool that is full of those who wait makes none.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Any] = loop.create_future()

    def settle(result: T | None, fault: BaseException | None) -> None:
        if ended.cancelled():
            return
        if fault is None:
            ended.set_result(result)
        else:
            ended.set_exception(fault)

    def run() -> None:
        try:
            told: tuple[T | None, BaseException | None] = function(), None
        except BaseException as fault:  # noqa: BLE001 - handed to whoever awaits it
            told = None, fault
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits any longer
            loop.call_soon_threadsafe(settle, *told)

    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(run,), name="intentusnet-agent", daemon=True
    )
    thread.start()
    return ended


async def concurrently(
    calls: Sequence[Callable[[], Coroutine[Any, Any, T]]], limit: int | None = None
) -> list[T]:
    """Runs the calls at once, each in a task of its own with a copy of the caller's context.

    Args:
        calls: what is called.
        limit: so many at once; without it all of them.

    Returns:
        Their results, in the order of the calls.

    Raises:
        BaseException: of the calls that raised, the first in the order of the calls, when all have ended; a
            signal before any other, because nobody may swallow it.
    """
    turn = asyncio.Semaphore(len(calls) or 1 if limit is None else limit)
    over = False

    async def run(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        nonlocal over
        async with turn:
            if over:
                raise BranchCancelled("a branch before it was cancelled")
            try:
                return await call()
            except (BranchCancelled, KeyboardInterrupt):
                over = True  # nobody waits for the rest
                raise
            except SystemExit as fault:
                # Out of a task it would end the loop. It is the agent's, whose answer it becomes.
                raise _Exiting(fault) from None

    tasks = [asyncio.ensure_future(run(call)) for call in calls]
    try:
        if tasks:
            await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
            task.add_done_callback(retrieve)
        raise
    return _results(tasks)


def _results(tasks: Sequence[asyncio.Task[T]]) -> list[T]:
    faults = [task.exception() if not task.cancelled() else asyncio.CancelledError() for task in tasks]
    raised = [fault.fault if isinstance(fault, _Exiting) else fault for fault in faults if fault is not None]
    for fault in sorted(raised, key=lambda fault: not isinstance(fault, SIGNALS)):
        raise fault
    return [task.result() for task in tasks]


class _Exiting(Exception):
    """Carries the SystemExit of a branch to whoever has asked for the branches."""

    def __init__(self, fault: SystemExit) -> None:
        super().__init__(fault)
        self.fault = fault


def retrieve(task: asyncio.Future[Any]) -> None:
    """Nobody waits for what a task that was cut off comes to, and asyncio is not to complain of that."""
    if not task.cancelled():
        task.exception()
