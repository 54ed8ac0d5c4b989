"""Task groups of asynchronous agents: asyncio makes a group of whatever unwinds one, or one of its tasks."""

import asyncio
from typing import Any

import pytest

from intentusnet import AgentFailure, AsyncContext, IntentusRuntime, ManualClock, Verdict
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


def grouped(faults: list[BaseException], depth: int) -> BaseException:
    """The faults in a group, or the only one in groups of that depth."""
    fault = faults[0] if len(faults) == 1 else BaseExceptionGroup("several", faults)
    for _ in range(depth):
        fault = BaseExceptionGroup("one", [fault])
    return fault


@pytest.mark.parametrize("awaiting", [True, False])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_failure_alone_in_its_groups_is_told_as_it_is(awaiting: bool, depth: int) -> None:
    """Code, message and details are those of the failure, whoever has put it into groups."""
    runtime = runtime_of()
    failure = AgentFailure("busy", code="RATE_LIMIT", details={"retry_after": 3})

    async def in_tasks(depth: int) -> None:
        if depth == 0:
            raise failure
        async with asyncio.TaskGroup() as group:
            group.create_task(in_tasks(depth - 1))

    async def agent() -> None:
        await in_tasks(depth)

    def plain() -> None:
        raise grouped([failure], depth)

    runtime.agent("agent", handles="x", side_effect="read_only")(agent if awaiting else plain)
    response = asyncio.run(runtime.route_async("x"))
    error = response.error
    assert error is not None
    assert (error.code, error.message, error.details) == ("RATE_LIMIT", "busy", {"retry_after": 3})
    assert asyncio.run(runtime.replay_async(response.execution_id)).verdict is Verdict.MATCH


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize(
    "faults",
    [
        [AgentFailure("busy", code="RATE_LIMIT"), AgentFailure("busy", code="RATE_LIMIT")],
        [AgentFailure("busy", code="RATE_LIMIT"), LookupError("other")],
        [LookupError("alone")],
    ],
)
def test_nobody_speaks_for_others_of_a_group(faults: list[BaseException], depth: int) -> None:
    """Several exceptions, or one that is no failure on purpose, are an error of the agent."""
    runtime = runtime_of()

    @runtime.agent("agent", handles="x", side_effect="read_only")
    def agent() -> None:
        raise grouped(faults, depth)

    response = runtime.route("x")
    assert response.error is not None
    assert response.error.code == "AGENT_ERROR"
    assert response.error.type == type(grouped(faults, depth)).__qualname__
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH
