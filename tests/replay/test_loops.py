"""Which event loops asynchronous callers and agents may have: those of asyncio, whoever has made them."""

import asyncio
import importlib.util
import sys
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest
from helpers import async_programs, programs
from helpers.runtimes import runtime_of
from hypothesis import given, settings
from hypothesis import strategies as st

from intentusnet import AsyncContext, Context, IntentusRuntime, ManualClock, diff_records, effect
from intentusnet.errors import ConfigurationError


def eager_loop() -> asyncio.AbstractEventLoop:
    """A loop whose tasks begin when they are made, not in the loop's next turn."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]  # Python 3.12 has it
    return loop


def uv_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    made: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return made


@pytest.fixture(
    params=[
        asyncio.new_event_loop,
        pytest.param(
            eager_loop,
            marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks start eagerly from 3.12 on"),
        ),
        pytest.param(
            uv_loop,
            marks=pytest.mark.skipif(
                importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed"
            ),
        ),
    ],
    ids=["asyncio", "eager", "uvloop"],
    scope="module",
)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine in a loop of that kind, until nothing is left over."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        async def alone() -> Any:
            result = await coroutine
            left = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*left, return_exceptions=True)
            return result

        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(alone())

    return run


async def matches(runtime: IntentusRuntime, execution_id: str) -> None:
    report = await runtime.replay_async(execution_id, nested=True)
    assert report.verdict == "match", (report.reason, report.divergences)


@given(rnd=st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_each_loop_leaves_the_same_record(run: Any, rnd: Random) -> None:
    """A random program has one fingerprint and no difference, in whatever loop, and it replays there."""
    program = async_programs.awaitable(programs.draw(rnd))
    world = programs.World(fixed=True)
    runtime, response = run(async_programs.run(program, world, lambda number: number % 3 > 0))
    run(matches(runtime, response.execution_id))
    if program.races:
        return
    plain, same = programs.run(program, programs.World(fixed=True))
    records = plain.store.get(same.execution_id), runtime.store.get(response.execution_id)
    assert diff_records(*records) == ()
    assert records[0].fingerprint == records[1].fingerprint


@pytest.mark.parametrize("strategy", ["direct", "fallback", "parallel", "broadcast"])
def test_a_late_agent_is_cut_off(run: Any, strategy: str) -> None:
    """Its task is cancelled, and the others go on, in each loop."""
    clock = ManualClock()
    runtime, ended = runtime_of(clock=clock), list[str]()

    @runtime.agent("late", handles="x", timeout=5, side_effect="read_only")
    async def late(ctx: AsyncContext) -> None:
        clock.advance(60)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("late")

    runtime.agent("plain", handles="x", rank=1, side_effect="read_only")(lambda: "answered")
    response = run(runtime.route_async("x", strategy=strategy))
    assert response.attempts[0].error is not None
    assert response.attempts[0].error.code == "AGENT_TIMEOUT"
    assert response.ok is (strategy != "direct")
    assert ended == ["late"]
    run(matches(runtime, response.execution_id))


def test_to_cancel_the_task_is_to_cancel_the_execution(run: Any) -> None:
    """Its end, and those of its children, are on record before the task is cancelled."""
    runtime = runtime_of()

    async def main() -> None:
        asked = asyncio.Event()

        @effect(side_effect="read_only")
        async def waits() -> None:
            asked.set()
            await asyncio.Event().wait()

        @runtime.agent("child", handles="child", side_effect="read_only")
        async def child(ctx: AsyncContext) -> None:
            await ctx.effect("waits", waits)

        @runtime.agent("plain", handles="plain", side_effect="read_only")
        def plain(ctx: Context) -> Any:
            return ctx.route("child").payload

        @runtime.agent("parent", handles="x", side_effect="read_only")
        async def parent(ctx: AsyncContext) -> Any:
            return await ctx.gather(ctx.route("plain"), ctx.route("nobody"))

        task = asyncio.ensure_future(runtime.route_async("x"))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert runtime.store is not None
    rows = runtime.store.list().rows
    assert len(rows) == 4
    assert runtime.recover() == ()
    for row in rows:
        run(matches(runtime, row.execution_id))


def test_agents_resume_and_are_forked(run: Any) -> None:
    """What a plain agent has left goes on in each loop, and can be forked there."""
    store = runtime_of().store
    breaks = ["now"]

    def act(number: int) -> int:
        if number and breaks:
            raise KeyboardInterrupt
        return number

    read = effect(side_effect="read_only")(act)
    plain, awaiting = runtime_of(store=store), runtime_of(store=store)
    plain.agent("a", handles="x", side_effect="read_only")(
        lambda ctx: [ctx.effect("act", read, number) for number in range(3)]
    )

    @awaiting.agent("a", handles="x", side_effect="read_only")
    async def agent(ctx: AsyncContext) -> list[int]:
        return [await ctx.effect("act", read, number) for number in range(3)]

    with pytest.raises(KeyboardInterrupt):
        plain.route("x")
    breaks.clear()
    [broken] = run(awaiting.recover_async())
    assert run(awaiting.resume_async(broken.execution_id)).payload == [0, 1, 2]
    forked = run(awaiting.fork_async(broken.execution_id, "attempt:0:1", 7))
    assert forked.payload == [0, 7, 2]
    for execution_id in (broken.execution_id, forked.execution_id):
        run(matches(awaiting, execution_id))


def test_anyio_is_a_way_to_run_asyncio() -> None:
    """Its cancel scopes cancel the task again and again, until that has ended: the end is on record."""
    anyio = pytest.importorskip("anyio")
    runtime, started = runtime_of(), list[str]()

    @runtime.agent("a", handles="x", side_effect="read_only")
    async def agent(ctx: AsyncContext) -> None:
        started.append(ctx.execution_id)
        await asyncio.Event().wait()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(runtime.route_async, "x")
            while not started:
                await anyio.sleep(0)
            group.cancel_scope.cancel()

    anyio.run(main)
    assert runtime.store is not None
    error = runtime.store.get(started[0]).response.error
    assert error is not None and error.code == "CANCELLED"
    asyncio.run(matches(runtime, started[0]))


def test_elsewhere_nothing_is_done() -> None:
    """Where no loop of asyncio runs, as under trio, each asynchronous method says so."""
    runtime = runtime_of()
    runtime.agent("a", handles="x")(lambda: 1)
    one = runtime.route("x").execution_id
    calls: list[Coroutine[Any, Any, Any]] = [
        runtime.route_async("x"),
        runtime.router.route_intent_async(runtime.envelope("x")),
        runtime.replay_async(one),
        runtime.recover_async(),
        runtime.resume_async(one),
        runtime.fork_async(one, ":0", 2),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError, match="asyncio"):
            call.send(None)
    assert runtime.store is not None
    assert len(runtime.store.list().rows) == 1
