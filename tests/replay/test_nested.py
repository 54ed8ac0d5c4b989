"""Nested executions are replayed from records of their own."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from intentusnet import AsyncContext, Context, ExecutionRecord, IntentusRuntime, MemoryExecutionStore, Verdict
from intentusnet.errors import ConfigurationError

Handler = Callable[..., Any]


def recorded(runtime: IntentusRuntime, intent: str) -> ExecutionRecord:
    assert runtime.store is not None
    return runtime.store.get(runtime.route(intent).execution_id)


def family(leaf: Handler, middle: Any = None) -> IntentusRuntime:
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("top", handles="top")(
        lambda ctx: [ctx.route("middle").payload, ctx.route("leaf", 1).payload]
    )
    runtime.agent("middle", handles="middle")(middle or (lambda ctx: ctx.route("leaf", 2).payload))
    runtime.agent("leaf", handles="leaf")(leaf)
    return runtime


def test_children_are_replayed_from_their_own_records() -> None:
    """Each below its parent; one that diverges makes the verdict of all above it."""
    then = family(lambda payload: payload)
    record = recorded(then, "top")
    report = then.replay(record, nested=True)
    assert report.verdict is Verdict.MATCH
    assert [child.execution_id for child in report.children] == list(record.children)
    assert [len(child.children) for child in report.children] == [1, 0]
    assert then.replay(record).children == ()
    now = family(lambda payload: payload + (payload == 2)).configure(store=then.store)
    assert now.replay(record).verdict is Verdict.MATCH
    report = now.replay(record, nested=True)
    middle, leaf = report.children
    assert (report.verdict, report.divergences) == (Verdict.DIVERGED, ())
    assert (middle.verdict, middle.divergences, leaf.verdict) == (Verdict.DIVERGED, (), Verdict.MATCH)
    assert [d.pointer for d in middle.children[0].divergences] == ["/payload", "/payload"]
    assert report.as_dict()["children"][0]["children"][0]["verdict"] == "diverged"


def test_asynchronous_children_are_awaited() -> None:
    """Below their parents as plain ones are, whichever of them are asynchronous; each runs again once."""
    runs: list[int] = []

    def mixed(factor: int) -> IntentusRuntime:
        runtime = IntentusRuntime(store=MemoryExecutionStore())

        @runtime.agent("top", handles="top")
        async def top(ctx: AsyncContext) -> list[Any]:
            asked = await ctx.gather(ctx.route("middle"), ctx.route("leaf", 1))
            return [response.payload for response in asked]

        @runtime.agent("middle", handles="middle")
        def middle(ctx: Context) -> Any:
            return ctx.route("leaf", 2).payload

        @runtime.agent("leaf", handles="leaf")
        async def leaf(payload: int, ctx: AsyncContext) -> int:
            await ctx.sleep(0)
            runs.append(payload)
            return payload * factor if payload == 2 else payload

        return runtime

    async def nested() -> None:
        then = mixed(1)
        assert then.store is not None
        response = await then.route_async("top")
        record = then.store.get(response.execution_id)
        runs.clear()
        report = await then.replay_async(record, nested=True)
        assert report.verdict is Verdict.MATCH
        assert [child.execution_id for child in report.children] == list(record.children)
        assert sorted(len(child.children) for child in report.children) == [0, 1]
        assert sorted(runs) == [1, 2]
        assert (await then.replay_async(record)).children == ()
        with pytest.raises(ConfigurationError, match="replay_async"):
            then.replay(record, nested=True)

        now = mixed(10).configure(store=then.store)
        assert (await now.replay_async(record)).verdict is Verdict.MATCH
        report = await now.replay_async(record, nested=True)
        assert (report.verdict, report.divergences) == (Verdict.DIVERGED, ())
        below = {child.verdict: child for child in report.children}
        assert set(below) == {Verdict.MATCH, Verdict.DIVERGED}
        (child,) = below[Verdict.DIVERGED].children
        assert [d.pointer for d in child.divergences] == ["/payload", "/payload"]

    asyncio.run(nested())


def test_children_that_are_not_in_the_store_are_left_out() -> None:
    """A record by itself is replayed by itself."""
    then = family(lambda payload: payload)
    record = recorded(then, "top")
    other = then.configure(store=MemoryExecutionStore())
    for runtime in (other, IntentusRuntime()):
        assert runtime.replay(record, nested=True).children == ()


def test_a_record_that_names_itself_as_its_child_ends() -> None:
    """A forged record does not keep a replay forever."""
    then = family(lambda payload: payload)
    record = recorded(then, "middle")
    questions = tuple(
        q if q.answer is None or q.answer.child is None
        else q._replace(answer=q.answer._replace(child=record.execution_id))
        for q in record.questions
    )  # fmt: skip
    forged = replace(record, questions=questions)
    assert forged.children == (record.execution_id,)
    assert then.replay(forged, nested=True).children == ()
