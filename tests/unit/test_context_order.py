"""Whose questions have an order: those of the strand of an agent, and of no thread or task that it starts."""

import asyncio
import functools
import threading
from typing import Any

import pytest
from helpers.recordings import recorded

from intentusnet import (
    Context,
    IntentusRuntime,
    ManualClock,
    MemoryExecutionStore,
    Verdict,
)


def test_threads_of_an_agents_own_have_no_order() -> None:
    """Questions from threads that the agent starts are marked, and match in any order."""
    order = [0, 1, 2]

    def agent(ctx: Context) -> Any:
        told: dict[int, str] = {}
        turns = [threading.Event() for _ in range(4)]
        turns[0].set()

        def ask(turn: int, number: int) -> None:
            assert turns[turn].wait(10)
            ctx.now()
            told[number] = ctx.effect("f", lambda n: f"answer {n}", number)
            turns[turn + 1].set()

        threads = [threading.Thread(target=ask, args=(turn, number)) for turn, number in enumerate(order)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [told[number] for number in range(3)]

    runtime = IntentusRuntime(store=MemoryExecutionStore(), clock=ManualClock())
    runtime.agent("a", handles="x")(agent)
    one = runtime.route("x")
    order[:] = [2, 0, 1]
    assert runtime.replay(one.execution_id).verdict is Verdict.MATCH
    assert runtime.route("x").fingerprint == one.fingerprint
    record = runtime.store.get(one.execution_id)
    assert all(q.unordered for q in record.questions if q.kind == "effect")


def test_the_agents_own_thread_and_others_are_not_mixed_up() -> None:
    """Of equal questions from the agent and from a thread of its own, each gets its own answer again."""
    numbers = iter(range(100))
    main_first = False

    def agent(ctx: Context) -> Any:
        def ask() -> None:
            told.append(("thread", ctx.effect("f", lambda: next(numbers))))

        told: list[Any] = []
        thread = threading.Thread(target=ask)
        if main_first:
            told.append(("main", ctx.effect("f", lambda: next(numbers))))
        thread.start()
        thread.join()
        if not main_first:
            told.append(("main", ctx.effect("f", lambda: next(numbers))))
        return sorted(told)

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    response = runtime.route("x")
    main_first = True
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH


def test_tasks_of_asyncio_have_no_order() -> None:
    """Questions from tasks match in whatever order the loop lets them ask; the fingerprint is the same."""
    order = [0, 1, 2]

    async def main(ctx: Context) -> list[str]:
        turns = [asyncio.Event() for _ in range(4)]
        turns[order[0]].set()

        async def ask(number: int) -> str:
            await turns[number].wait()
            ctx.now()
            told = ctx.effect("f", lambda n: f"answer {n}", number)
            following = order.index(number) + 1
            turns[order[following] if following < 3 else 3].set()
            return told

        return list(await asyncio.gather(*(ask(number) for number in range(3))))

    runtime = IntentusRuntime(store=MemoryExecutionStore(), clock=ManualClock())
    runtime.agent("a", handles="x")(lambda ctx: asyncio.run(main(ctx)))
    one = runtime.route("x")
    assert one.payload == ["answer 0", "answer 1", "answer 2"]
    order[:] = [2, 0, 1]
    assert runtime.replay(one.execution_id).verdict is Verdict.MATCH
    assert runtime.route("x").fingerprint == one.fingerprint
    record = runtime.store.get(one.execution_id)
    assert all(q.unordered for q in record.questions if q.kind == "effect")


def by_run(main: Any) -> Any:
    return asyncio.run(main)


def by_loop(main: Any) -> Any:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


def by_runner(main: Any) -> Any:
    with asyncio.Runner() as runner:
        return runner.run(main)


@pytest.mark.parametrize("drive", [by_run, by_loop, by_runner])
def test_the_task_that_an_agent_waits_for_keeps_its_order(drive: Any) -> None:
    """What the main task of a loop asks has its place, before, between and after what other tasks ask."""
    swapped = False

    async def main(ctx: Context) -> None:
        async def other() -> None:
            ctx.effect("other", lambda: None)

        names = ["b", "a"] if swapped else ["a", "b"]
        ctx.effect(names[0], lambda: None)
        await asyncio.gather(other(), other())
        ctx.effect(names[1], lambda: None)

    def agent(ctx: Context) -> None:
        ctx.effect("before", lambda: None)
        drive(main(ctx))
        ctx.effect("after", lambda: None)

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    record = runtime.store.get(runtime.route("x").execution_id)
    asked = [(q.name, q.unordered) for q in record.questions if q.kind == "effect"]
    assert [name for name, unordered in asked if not unordered] == ["before", "a", "b", "after"]
    assert [name for name, unordered in asked if unordered] == ["other", "other"]
    swapped = True
    found = runtime.replay(record)
    assert {divergence.kind.value for divergence in found.divergences} == {"reordered"}


def test_each_branch_has_a_loop_and_an_order_of_its_own() -> None:
    """Loops in branches of a gather: each main task has the order of its branch."""

    async def main(ctx: Context, number: int) -> int:
        await asyncio.sleep(0)
        return ctx.effect("f", int, number)

    def agent(ctx: Context) -> Any:
        return ctx.map(lambda number: asyncio.run(main(ctx, number)), range(3))

    response, record = recorded(agent)
    assert response.payload == [0, 1, 2]
    asked = {(q.scope, q.unordered) for q in record.questions if q.kind == "effect"}
    assert asked == {(f"attempt:0/gather:0.{number}", False) for number in range(3)}


def test_a_loop_in_a_thread_of_the_agents_own_has_no_order() -> None:
    """The main task of a loop that runs in a thread which the agent started is that thread's, unordered."""

    async def main(ctx: Context) -> None:
        ctx.effect("f", lambda: 1)

    def agent(ctx: Context) -> None:
        thread = threading.Thread(target=lambda: asyncio.run(main(ctx)))
        thread.start()
        thread.join()

    _, record = recorded(agent)
    assert [q.unordered for q in record.questions if q.kind == "effect"] == [True]


def test_branches_of_an_own_thread_have_no_numbers_of_their_own() -> None:
    """A gather in a thread that the agent started takes no number, which only timing could tell."""
    first = 0

    def agent(ctx: Context) -> Any:
        turns = [threading.Event(), threading.Event()]
        turns[first].set()
        told: dict[int, Any] = {}

        def ask(number: int) -> None:
            assert turns[number].wait(10)
            calls = [functools.partial(ctx.effect, name, str, number) for name in "fg"]
            told[number] = ctx.gather(*calls)
            turns[1 - number].set()

        threads = [threading.Thread(target=ask, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [told[0], told[1], ctx.gather(lambda: ctx.effect("h", str, 2))]

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    one = runtime.route("x")
    assert one.payload == [["0", "0"], ["1", "1"], ["2"]]
    first = 1
    assert runtime.replay(one.execution_id).verdict is Verdict.MATCH
    assert runtime.route("x").fingerprint == one.fingerprint
    record = runtime.store.get(one.execution_id)
    assert {q.scope for q in record.questions if q.name == "h"} == {"attempt:0/gather:0.0"}
