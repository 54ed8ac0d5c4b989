"""Children that go on with those that had asked for them: who stops them, and what time they have."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.breaking import READS, World
from helpers.process_agents import routes
from helpers.runtimes import runtime_of

from intentusnet import (
    AsyncContext,
    Context,
    FileExecutionStore,
    IntentusRuntime,
    ManualClock,
    MemoryExecutionStore,
    effect,
)
from intentusnet.replay.recovering import waited_for
from intentusnet.stores.base import Query


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryExecutionStore()
        return
    with FileExecutionStore(tmp_path / "store") as opened:
        yield opened


def matches(runtime: IntentusRuntime, execution_id: str) -> None:
    report = asyncio.run(runtime.replay_async(execution_id, nested=True))
    assert report.verdict == "match", (report.reason, report.divergences)
    assert runtime.store is not None and runtime.store.verify().ok


def nested(runtime: IntentusRuntime, awaiting: str, child: Callable[[], Any], **options: Any) -> None:
    """An agent that asks for a child, which has two effects; which of them are asynchronous is said."""
    act = effect(side_effect="read_only")(child)

    def plain_parent(ctx: Context) -> Any:
        response = ctx.route("child")
        return [response.status, response.payload]

    async def parent(ctx: AsyncContext) -> Any:
        response = await ctx.route("child")
        return [response.status, response.payload]

    def plain_child(ctx: Context) -> Any:
        return [ctx.effect("act", act), ctx.effect("act", act)]

    async def awaiting_child(ctx: AsyncContext) -> Any:
        return [await ctx.effect("act", act), await ctx.effect("act", act)]

    one = parent if awaiting in ("all", "parent") else plain_parent
    other = awaiting_child if awaiting in ("all", "child") else plain_child
    isolation = {} if awaiting in ("all", "parent") else {"isolation": options.pop("isolation", "inline")}
    runtime.agent("parent", handles="x", side_effect="read_only", **isolation, **options)(one)
    runtime.agent("child", handles="child", side_effect="read_only")(other)


def broken_nested(store: Any, clock: Any = None, **options: Any) -> str:
    """The id of a plain parent whose child has broken off in its first effect."""
    runtime = runtime_of(store=store, **({} if clock is None else {"clock": clock}))

    def child() -> None:
        raise KeyboardInterrupt

    nested(runtime, "none", child, **options)
    with pytest.raises(KeyboardInterrupt):
        runtime.route("x")
    [parent] = [one.execution_id for one in runtime.recover() if one.intent == "x"]
    return parent


WAYS = ["none", "all", "parent", "child"]


@pytest.mark.parametrize("awaiting", WAYS)
def test_to_cancel_a_resumed_parent_is_to_cancel_its_child(store: Any, awaiting: str) -> None:
    """A child that goes on with its parent stops with it: it asks nothing more."""
    parent, calls = broken_nested(store), list[str]()
    runtime = runtime_of(store=store)

    def child() -> str:
        calls.append("called")
        assert runtime.cancel(parent, "enough")
        return "answered"

    nested(runtime, awaiting, child)
    response = waited_for(runtime, runtime.resume, runtime.resume_async)(parent)
    assert len(calls) == 1
    # An asynchronous agent is cut off at once, while its child is still on the way to its end.
    assert response.error is not None
    assert response.error.code == ("IN_DOUBT" if awaiting in ("all", "parent") else "CANCELLED")
    [below] = [row.execution_id for row in store.list().rows if row.intent == "child"]
    ended = store.get(below).response.error
    assert ended is not None and ended.code == "CANCELLED"
    assert runtime.recover() == ()
    for one in (parent, below):
        matches(runtime, one)


@pytest.mark.parametrize("awaiting", WAYS)
def test_a_resumed_child_has_what_is_left_to_its_parent(store: Any, awaiting: str) -> None:
    """The parent's time begins anew when it is resumed, and its child's with it, which ends no later."""
    clock, calls = ManualClock(), list[str]()
    parent = broken_nested(store, clock=clock, timeout=10)
    clock.advance(3600)

    def child() -> str:
        calls.append("called")
        clock.advance(2 if len(calls) == 1 else 20)
        return "answered"

    runtime = runtime_of(store=store, clock=clock)
    nested(runtime, awaiting, child, timeout=10)
    response = waited_for(runtime, runtime.resume, runtime.resume_async)(parent)
    # It had time for both of its effects, and none afterwards.
    assert len(calls) == 2
    if response.error is not None:
        # An asynchronous agent may be cut off at once, while its child is still on the way to its end.
        cut_off = awaiting in ("all", "parent") and response.error.code == "IN_DOUBT"
        assert cut_off or response.error.code == "AGENT_TIMEOUT"
    assert runtime.recover() == ()
    matches(runtime, parent)


def test_a_resumed_child_is_late_when_its_parent_is(store: Any) -> None:
    """What is left to the parent is all that a child has that goes on with it."""
    clock, calls = ManualClock(), list[str]()
    parent = broken_nested(store, clock=clock, timeout=10)

    def child() -> str:
        calls.append("called")
        clock.advance(20)
        return "answered"

    runtime = runtime_of(store=store, clock=clock)
    nested(runtime, "none", child, timeout=10)
    assert runtime.resume(parent).payload == ["error", None]
    assert len(calls) == 1
    [below] = [row.execution_id for row in store.list().rows if row.intent == "child"]
    error = store.get(below).response.error
    assert error is not None and error.code == "AGENT_TIMEOUT"
    matches(runtime, below)


def test_a_resumed_child_has_no_limit_when_its_parent_has_none(store: Any) -> None:
    """The deadline on record does not count when the parent is given as much time as it likes."""
    clock = ManualClock()
    parent = broken_nested(store, clock=clock, timeout=10)

    def child() -> str:
        clock.advance(3600)
        return "answered"

    runtime = runtime_of(store=store, clock=clock)
    nested(runtime, "none", child)
    assert runtime.resume(parent).payload == ["success", ["answered", "answered"]]
    matches(runtime, parent)


def test_a_parent_in_a_process_goes_on_with_its_child(store: Any) -> None:
    """The child that it had asked for is brought to its end, and no other one is begun."""
    world = World(1)
    with runtime_of(store=store) as runtime:
        act = world.act(**READS)
        runtime.agent("parent", handles="x", side_effect="read_only", isolation="process")(routes)
        runtime.agent("child", handles="child", side_effect="read_only")(
            lambda ctx: ctx.effect("act", act, 1)
        )
        with pytest.raises(KeyboardInterrupt):
            runtime.route("x", ["child"])
        [parent] = [one.execution_id for one in runtime.recover() if one.intent == "x"]
        world.breaks.clear()
        assert runtime.resume(parent).payload == [1]
        assert len(store.list().rows) == 2
        assert store.get(parent).children == (store.list(Query(intent="child")).rows[0].execution_id,)
        matches(runtime, parent)
