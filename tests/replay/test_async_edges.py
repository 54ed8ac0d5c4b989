"""Where event loops, tasks and cut-offs meet: whatever ends first, the record has an end, and replays."""

import asyncio
import gc
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intentusnet import (
    AsyncContext,
    Context,
    IntentusRuntime,
)
from intentusnet.errors import ConfigurationError
from tests.helpers.runtimes import runtime_of


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What agents wait for that hang; they end with the test."""
    event = threading.Event()
    yield event
    event.set()


def verdicts(runtime: IntentusRuntime) -> dict[str, tuple[str, str | None]]:
    """Of each execution, by intent: its status and code; all of them replay to a match."""
    assert runtime.store is not None
    rows = runtime.store.list().rows
    for row in rows:
        report = asyncio.run(runtime.replay_async(row.execution_id))
        assert report.verdict == "match", (row.intent, report.reason, report.divergences)
    return {row.intent: (row.status, row.error_code) for row in rows}


# --- tasks and loops that end ---


@pytest.mark.parametrize("strategy", ["direct", "fallback", "parallel", "broadcast", "race"])
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("side_effect", ["read_only", "irreversible"])
def test_a_loop_that_ends_leaves_no_record_without_an_end(
    release: threading.Event, strategy: str, waits: bool, side_effect: Any
) -> None:
    """`asyncio.run` cancels all tasks that are left, and not only the one that drives the execution."""
    runtime = runtime_of()
    began = threading.Semaphore(0)

    def plain(ctx: Context) -> None:
        began.release()
        while True:
            ctx.sleep(0.01)

    async def awaiting() -> None:
        began.release()
        await asyncio.Event().wait()

    for name in ("one", "two"):
        options: dict[str, Any] = {"handles": "x", "side_effect": side_effect}
        runtime.agent(name, **options)(awaiting if waits else plain)
    racing = strategy == "race"
    how: dict[str, Any] = {"strategy": "parallel", "prefer": "first"} if racing else {"strategy": strategy}

    async def leaving() -> None:
        routing = asyncio.ensure_future(runtime.route_async("x", **how))
        for _ in range(1 if strategy in ("direct", "fallback") else 2):
            while not began.acquire(blocking=False):
                await asyncio.sleep(0)
        assert not routing.done()

    asyncio.run(leaving())
    code = "CANCELLED" if side_effect == "read_only" else "IN_DOUBT"
    assert verdicts(runtime) == {"x": ("error", code)}


def test_a_plain_parents_asynchronous_child_is_cancelled_with_it() -> None:
    """The parent gets no exception of the loop's, and both records have their ends."""
    runtime = runtime_of()
    began = asyncio.Event()

    @runtime.agent("child", handles="child", side_effect="read_only")
    async def child() -> None:
        began.set()
        await asyncio.Event().wait()

    @runtime.agent("parent", handles="parent", side_effect="read_only")
    def parent(ctx: Context) -> None:
        ctx.route("child")

    async def routed() -> None:
        task = asyncio.ensure_future(runtime.route_async("parent"))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(routed())
    assert verdicts(runtime) == {"parent": ("error", "CANCELLED"), "child": ("error", "CANCELLED")}


def test_whoever_cancels_by_id_cancels_no_task() -> None:
    """Whatever the reason says, its caller gets a response; a task that is cancelled, too, is cancelled."""
    runtime = runtime_of()
    ids: list[str] = []

    @runtime.agent("waiting", handles="x", side_effect="read_only")
    async def waiting(ctx: AsyncContext) -> None:
        ids.append(ctx.execution_id)
        await asyncio.Event().wait()

    async def routed(*, task_too: bool) -> Any:
        ids.clear()
        task = asyncio.ensure_future(runtime.route_async("x"))
        while not ids:
            await asyncio.sleep(0)
        assert runtime.cancel(ids[-1], "its task was cancelled")
        assert runtime.cancel(ids[-1], "and again")
        if task_too:
            task.cancel()
        return await task

    assert asyncio.run(routed(task_too=False)).error.code == "CANCELLED"
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(routed(task_too=True))
    assert verdicts(runtime) == {"x": ("error", "CANCELLED")}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # coroutines that never end
def test_a_loop_that_was_closed_does_not_disturb() -> None:
    """What it left behind is not counted any more, and can be cancelled."""
    runtime = runtime_of(max_abandoned=2)
    ids: list[str] = []

    @runtime.agent("stuck", handles="x")
    async def stuck(ctx: AsyncContext) -> None:
        ids.append(ctx.execution_id)
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    loop = asyncio.new_event_loop()
    task = loop.create_task(runtime.route_async("x"))

    async def until_begun() -> None:
        while not ids:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))

    loop.run_until_complete(until_begun())
    assert len(runtime.abandoned) == 1
    hanging = loop.create_task(runtime.route_async("x"))

    async def until_hanging() -> None:
        while len(ids) < 2:
            await asyncio.sleep(0)

    loop.run_until_complete(until_hanging())
    loop.call_exception_handler = lambda context: None  # type: ignore[method-assign]  # it has lost tasks
    loop.close()
    assert runtime.abandoned == ()
    assert [runtime.cancel(execution_id) for execution_id in ids] == [False, True]
    del hanging
    gc.collect()


def test_one_runtime_serves_several_loops(tmp_path: Path) -> None:
    """Each in a thread of its own; every execution has its own answers."""
    with IntentusRuntime(store=tmp_path / "store") as runtime:

        @runtime.agent("child", handles="child")
        async def child(payload: int, ctx: AsyncContext) -> int:
            return await ctx.effect("n", int, payload)

        @runtime.agent("parent", handles="parent")
        def parent(payload: int, ctx: Context) -> Any:
            return ctx.route("child", payload).payload

        async def many(first: int) -> list[Any]:
            routed = [runtime.route_async("parent", n) for n in range(first, first + 10)]
            return [response.payload for response in await asyncio.gather(*routed)]

        results: dict[int, list[Any]] = {}
        threads = [
            threading.Thread(target=lambda n=n: results.update({n: asyncio.run(many(n * 10))}))  # type: ignore[misc]  # n is bound
            for n in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {n: list(range(n * 10, n * 10 + 10)) for n in range(3)}
        assert set(verdicts(runtime).values()) == {("success", None)}


def test_an_agent_in_the_loop_does_not_wait_for_the_loop() -> None:
    """It routes without awaiting: an asynchronous agent below it is refused, and nothing hangs."""
    runtime = runtime_of()
    faults: list[str] = []

    @runtime.agent("last", handles="last")
    async def last() -> None:
        """Never called."""

    @runtime.agent("plain", handles="plain")
    def plain(ctx: Context) -> None:
        ctx.route("last")

    @runtime.agent("blocking", handles="blocking")
    async def blocking() -> None:
        try:
            runtime.route("plain")
        except ConfigurationError as fault:
            faults.append(str(fault))

    @runtime.agent("first", handles="first")
    def first(ctx: Context) -> None:
        ctx.route("blocking")

    assert asyncio.run(runtime.route_async("first")).ok
    assert len(faults) == 1
    assert "nobody awaits it" in faults[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(tmp_path: Path) -> None:
    """The parent's pool is not the child's, which would wait for it for ever."""
    with IntentusRuntime(store=tmp_path / "store") as runtime:

        @runtime.agent("a", handles="x")
        async def agent(payload: int, ctx: AsyncContext) -> int:
            return await ctx.effect("n", int, payload)

        assert asyncio.run(runtime.route_async("x", 1)).payload == 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            code = 1
            try:
                routing = asyncio.wait_for(runtime.route_async("x", 2), 30)
                code = 0 if asyncio.run(routing).payload == 2 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- what agents raise of their own accord ---


async def _cancelled() -> None:
    raise asyncio.CancelledError("mine")


@pytest.mark.parametrize("where", ["agent", "effect", "caught", "gathered"])
def test_a_cancellation_of_the_agents_own_is_an_answer(where: str) -> None:
    """Nobody has cancelled anything, so it is an exception like any other, and is the same on replay."""
    runtime = runtime_of()

    @runtime.agent("a", handles="x", side_effect="read_only")
    async def agent(ctx: AsyncContext) -> str:
        if where == "agent":
            raise asyncio.CancelledError("mine")
        if where == "gathered":
            await ctx.gather(lambda: ctx.effect("e", _cancelled))
        try:
            await ctx.effect("e", _cancelled)
        except asyncio.CancelledError:
            if where == "effect":
                raise
        return "went on"

    response = asyncio.run(runtime.route_async("x"))
    assert response.ok is (where == "caught")
    assert response.error is None or response.error.type == "CancelledError"
    verdicts(runtime)


def test_a_branch_that_exits_does_not_end_the_loop() -> None:
    """SystemExit is the agent's answer, in a branch too, as with plain agents."""
    runtime = runtime_of()

    async def exiting() -> None:
        raise SystemExit(3)

    @runtime.agent("a", handles="x")
    async def agent(ctx: AsyncContext) -> None:
        await ctx.gather(exiting)

    response = asyncio.run(runtime.route_async("x"))
    assert response.error is not None
    assert (response.error.code, response.error.type) == ("AGENT_ERROR", "SystemExit")
    verdicts(runtime)


@pytest.mark.parametrize("seconds", ["soon", float("nan"), -1])
def test_a_sleep_that_makes_no_sense_is_the_same_on_replay(seconds: Any) -> None:
    """What it raises is on record."""
    runtime = runtime_of()

    @runtime.agent("a", handles="x")
    async def agent(ctx: AsyncContext) -> str:
        try:
            await ctx.sleep(seconds)
        except (TypeError, ValueError) as fault:
            return str(fault)
        return "slept"

    asyncio.run(runtime.route_async("x"))
    verdicts(runtime)


@pytest.mark.parametrize("side_effect", ["read_only", "irreversible"])
def test_a_cancellation_is_told_out_of_a_task_group(side_effect: Any) -> None:
    """A group of exceptions that holds the signal is the signal; one that does not is the agent's answer."""
    runtime = runtime_of()

    async def one(ctx: AsyncContext) -> None:
        runtime.cancel(ctx.execution_id)
        await ctx.effect("e", int)

    async def failing() -> None:
        raise KeyError("own")

    @runtime.agent("grouped", handles="x", side_effect=side_effect)
    async def grouped(payload: bool, ctx: AsyncContext) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(one(ctx) if payload else failing())

    code = "CANCELLED" if side_effect == "read_only" else "IN_DOUBT"
    assert asyncio.run(runtime.route_async("x", True)).error.code == code
    own = asyncio.run(runtime.route_async("x", False)).error
    assert (own.code, own.type) == ("AGENT_ERROR", "ExceptionGroup")
    verdicts(runtime)


def test_a_replay_that_halts_in_a_task_group_is_told_once() -> None:
    """What is not on record unwinds the agent, and makes no answer of it that is another divergence."""
    runtimes = {}
    for name in ("recorded", "asked"):
        runtimes[name] = runtime = runtime_of()

        @runtime.agent("grouped", handles="x")
        async def grouped(_: None, ctx: AsyncContext, *, name: str = name) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.effect(name, int))

    response = asyncio.run(runtimes["recorded"].route_async("x"))
    store = runtimes["recorded"].store
    assert store is not None
    report = asyncio.run(runtimes["asked"].replay_async(store.get(response.execution_id)))
    assert report.verdict == "diverged"
    assert "outcome" not in {divergence.kind.value for divergence in report.divergences}
