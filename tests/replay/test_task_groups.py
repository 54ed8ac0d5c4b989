"""Task groups of asynchronous agents: asyncio makes a group of whatever unwinds one, or one of its tasks."""

import asyncio
from typing import Any

import pytest

from intentusnet import AsyncContext, IntentusRuntime, ManualClock, Verdict
from tests.helpers.runtimes import runtime_of


@pytest.mark.parametrize(
    ("what", "side_effect", "code"),
    [
        ("time", "read_only", "AGENT_TIMEOUT"),
        ("time", "reversible", "IN_DOUBT"),
        ("cancelled", "read_only", "CANCELLED"),
        ("cancelled", "reversible", "IN_DOUBT"),
    ],
)
@pytest.mark.parametrize("groups", [0, 1, 2])
def test_a_task_group_does_not_hide_what_cuts_it_off(
    what: str, side_effect: Any, code: str, groups: int
) -> None:
    """What unwinds an agent comes out of its task groups as a group, and is the answer that it always is."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)

    async def asks(ctx: AsyncContext, groups: int) -> None:
        if groups:
            async with asyncio.TaskGroup():
                return await asks(ctx, groups - 1)
        await ctx.effect("act", int, 1)

    @runtime.agent("grouping", handles="x", timeout=5, side_effect=side_effect)
    async def grouping(ctx: AsyncContext) -> None:
        if what == "time":
            clock.advance(60)
        else:
            runtime.cancel(ctx.execution_id)
        await asks(ctx, groups)

    runtime.agent("next", handles="x", rank=1, side_effect="read_only")(lambda: "called all the same")
    response = asyncio.run(runtime.route_async("x", strategy="fallback"))
    assert response.attempts[0].error is not None
    assert response.attempts[0].error.code == code
    assert response.ok is (code == "AGENT_TIMEOUT")
    report = asyncio.run(runtime.replay_async(response.execution_id))
    assert report.verdict is Verdict.MATCH, report


def test_a_task_group_does_not_hide_where_a_replay_left_its_record() -> None:
    """A task that asks what is not on record unwinds its agent: nothing else is said to have changed."""

    def asking(tasks: int) -> IntentusRuntime:
        runtime = runtime_of()

        @runtime.agent("grouping", handles="x")
        async def grouping(ctx: AsyncContext) -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(tasks):
                    group.create_task(ctx.effect("act", int, number))

        return runtime

    then, now = asking(2), asking(3)
    response = asyncio.run(then.route_async("x"))
    assert then.store is not None
    report = asyncio.run(now.replay_async(then.store.get(response.execution_id)))
    assert [divergence.kind for divergence in report.divergences] == ["unexpected"]
