"""Asynchronous callers and agents: the same core and the same record as for those that wait in threads."""

# Over 400 lines: every promise to asynchronous callers and agents, side by side.

import asyncio
import threading
import time
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest
from helpers import async_programs, programs
from hypothesis import given, settings
from hypothesis import strategies as st

from intentusnet import (
    AgentFailure,
    AgentResponse,
    AsyncContext,
    Context,
    FileExecutionStore,
    IntentusRuntime,
    ManualClock,
    ReplayWarning,
    diff_records,
    effect,
)
from intentusnet.errors import ConfigurationError, InvalidAgent
from tests.helpers.runtimes import runtime_of


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """In a loop of its own, in which nothing is left over and nothing was slow to give way."""

    async def alone() -> Any:
        result = await coroutine
        left = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*left, return_exceptions=True)
        return result

    return asyncio.run(alone(), debug=False)


async def matches(runtime: IntentusRuntime, response: AgentResponse) -> None:
    report = await runtime.replay_async(response.execution_id)
    assert report.verdict == "match", (report.reason, report.divergences)


@given(st.randoms(use_true_random=False))
@settings(max_examples=120)
def test_sync_and_async_leave_the_same_record(rnd: Random) -> None:
    """A random program has one fingerprint and no difference, whoever calls and whatever its agents are."""
    program = async_programs.awaitable(programs.draw(rnd))
    if program.races:
        return
    ways = {"none": lambda n: False, "all": lambda n: True, "every other": lambda n: n % 2 == 0}
    runs = {"sync": programs.run(program, programs.World(fixed=True))}
    for name, asynchronous in ways.items():
        runs[name] = run(async_programs.run(program, programs.World(fixed=True), asynchronous))
    records = {name: runtime.store.get(response.execution_id) for name, (runtime, response) in runs.items()}
    for name, record in records.items():
        assert diff_records(records["sync"], record) == (), name
        assert record.fingerprint == records["sync"].fingerprint, name


@given(st.randoms(use_true_random=False))
@settings(max_examples=80)
def test_every_async_execution_replays_to_match(rnd: Random) -> None:
    """Races included; the world is not met again, and records can be replayed by either sort of agent."""
    program = async_programs.awaitable(programs.draw(rnd))
    world = programs.World()

    async def both() -> None:
        runtime, _ = await async_programs.run(program, world, lambda n: True)
        assert runtime.store is not None
        assert runtime.store.verify().ok
        plain = programs.runtime_of(program, world)
        calls = world.calls
        for row in runtime.store.list().rows:
            record = runtime.store.get(row.execution_id)
            with programs.replaying():
                for other in (runtime, plain):
                    report = await other.replay_async(record)
                    assert report.verdict == "match", (report.reason, report.divergences)
        assert world.calls == calls

    run(both())


def test_many_executions_go_on_at_once_in_one_loop(tmp_path: Any) -> None:
    """Each waits for the others in its agent; all are on disk, and none has another's answers."""
    with IntentusRuntime(store=tmp_path / "store") as runtime:
        arrived = asyncio.Barrier(40)  # a replay must not come to it

        @effect(side_effect="reversible")
        async def meet(number: int) -> int:
            await arrived.wait()
            return number

        @runtime.agent("meeting", handles="meet")
        async def meeting(payload: int, ctx: AsyncContext) -> int:
            return await ctx.effect("meet", meet, payload)

        async def routed() -> None:
            responses = await asyncio.gather(*(runtime.route_async("meet", n) for n in range(40)))
            assert [response.payload for response in responses] == list(range(40))
            for response in responses:
                await matches(runtime, response)

        run(routed())
        assert runtime.store is not None
        assert runtime.store.verify().ok


def test_a_plain_agent_does_not_hold_up_the_loop() -> None:
    """It runs in a thread, so what it waits for may come from the loop."""
    runtime = runtime_of()
    told = threading.Event()

    @runtime.agent("waiting", handles="x", side_effect="read_only")
    def waiting(ctx: Context) -> bool:
        return ctx.effect("wait", told.wait, 30)

    async def routed() -> None:
        routing = asyncio.ensure_future(runtime.route_async("x"))
        while not [thread for thread in threading.enumerate() if thread.name == "intentusnet-agent"]:
            await asyncio.sleep(0)
        told.set()
        response = await routing
        assert response.payload is True
        await matches(runtime, response)

    run(routed())


@pytest.mark.parametrize("parent_waits", [True, False])
@pytest.mark.parametrize("child_waits", [True, False])
def test_agents_ask_for_each_other_in_any_mixture(parent_waits: bool, child_waits: bool) -> None:
    """Plain agents ask for asynchronous ones in the same loop, and the other way round."""
    runtime = runtime_of()
    loops: set[object] = set()

    async def child_async(payload: int, ctx: AsyncContext) -> int:
        loops.add(asyncio.get_running_loop())
        return payload + await ctx.effect("one", int, 1)

    def child(payload: int, ctx: Context) -> int:
        return payload + ctx.effect("one", int, 1)

    async def parent_async(payload: int, ctx: AsyncContext) -> Any:
        loops.add(asyncio.get_running_loop())
        return (await ctx.route("child", payload)).payload

    def parent(payload: int, ctx: Context) -> Any:
        return ctx.route("child", payload).payload

    runtime.agent("child", handles="child")(child_async if child_waits else child)
    runtime.agent("parent", handles="parent")(parent_async if parent_waits else parent)

    async def routed() -> None:
        response = await runtime.route_async("parent", 1)
        assert response.payload == 2
        assert loops <= {asyncio.get_running_loop()}
        assert runtime.store is not None
        for row in runtime.store.list().rows:
            assert (await runtime.replay_async(row.execution_id)).verdict == "match"

    run(routed())


def test_an_async_agent_is_not_called_where_nobody_awaits_it() -> None:
    """No loop is made for it: routing and replaying say what to await instead, and nothing is recorded."""
    runtime = runtime_of()

    @runtime.agent("asynchronous", handles="x")
    async def asynchronous() -> int:
        return 1

    with pytest.raises(ConfigurationError, match="route_async"):
        runtime.route("x")
    assert runtime.store is not None
    assert runtime.store.list().rows == ()
    response = run(runtime.route_async("x"))
    assert response.payload == 1
    with pytest.raises(ConfigurationError, match="replay_async"):
        runtime.replay(response.execution_id)
    assert runtime.replay(response.execution_id, depth="routing").verdict == "match"


def test_context_calls_are_typed_and_lossless() -> None:
    """What an effect returns comes back as it says, live and on replay, from coroutine functions too."""
    runtime = runtime_of()

    async def pair() -> tuple[int, ...]:
        return (1, 2)

    @runtime.agent("a", handles="x")
    async def agent(ctx: AsyncContext) -> list[Any]:
        told = await ctx.effect("pair", pair)
        assert told == (1, 2)
        try:
            await ctx.effect("raising", _raising)
        except KeyError as fault:
            return [told, str(fault)]
        raise AssertionError

    response = run(runtime.route_async("x"))
    assert response.payload == [(1, 2), "'k'"]
    run(matches(runtime, response))


async def _raising() -> None:
    raise KeyError("k")


def test_a_behaviour_that_changed_is_found() -> None:
    """An argument, a step more or less, the answer: as with plain agents, at the same places."""
    changes = {
        "none": (lambda ctx: ctx.effect("e", int, 1), lambda told: told, None),
        "argument": (lambda ctx: ctx.effect("e", int, 2), lambda told: told, "arguments"),
        "name": (lambda ctx: ctx.effect("f", int, 1), lambda told: told, "unexpected"),
        "missing": (lambda ctx: asyncio.sleep(0, 1), lambda told: told, "missing"),
        "answer": (lambda ctx: ctx.effect("e", int, 1), lambda told: told + 1, "outcome"),
    }
    runtimes = {}
    for name, (ask, answer, _) in changes.items():
        runtimes[name] = runtime = runtime_of()

        @runtime.agent("a", handles="x")
        async def agent(_: None, ctx: AsyncContext, *, ask: Any = ask, answer: Any = answer) -> int:
            return answer(await ask(ctx))  # type: ignore[no-any-return]  # ints

    response = run(runtimes["none"].route_async("x"))
    store = runtimes["none"].store
    assert store is not None
    record = store.get(response.execution_id)
    for name, (_, _, kind) in changes.items():
        report = run(runtimes[name].replay_async(record))
        found = report.divergences[0].kind.value if report.divergences else None
        assert found == kind, name


# --- time, and cancellation ---


@pytest.mark.parametrize(
    ("side_effect", "code"), [("read_only", "AGENT_TIMEOUT"), ("reversible", "IN_DOUBT")]
)
def test_an_async_agent_is_cancelled_when_its_time_is_up(side_effect: Any, code: str) -> None:
    """It is unwound in its loop, its caller gets the answer at once, and the record matches on replay."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)
    unwound: list[str] = []

    @runtime.agent("slow", handles="x", timeout=5, side_effect=side_effect)
    async def slow() -> None:
        clock.advance(60)
        try:
            await asyncio.Event().wait()
        finally:
            unwound.append("unwound")

    async def routed() -> None:
        response = await runtime.route_async("x")
        assert response.error is not None
        assert response.error.code == code
        await asyncio.sleep(0)
        assert unwound == ["unwound"]
        assert runtime.abandoned == ()
        await matches(runtime, response)

    run(routed())


def test_an_agent_that_will_not_be_cancelled_is_left_behind() -> None:
    """It is reported until it ends, and what it asks from then on unwinds it."""
    clock = ManualClock()
    runtime = runtime_of(clock=clock)
    did: list[str] = []
    release = asyncio.Event()

    @runtime.agent("stubborn", handles="x", timeout=5)
    async def stubborn(ctx: AsyncContext) -> None:
        clock.advance(60)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await release.wait()
        did.append("went on")
        await ctx.effect("act", did.append, "acted")

    async def routed() -> None:
        response = await runtime.route_async("x")
        assert response.error is not None
        assert response.error.code == "IN_DOUBT"
        assert [left.agent for left in runtime.abandoned] == ["stubborn"]
        release.set()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
        assert runtime.abandoned == ()
        assert did == ["went on"]

    run(routed())


@pytest.mark.parametrize(("side_effect", "code"), [("read_only", "CANCELLED"), ("reversible", "IN_DOUBT")])
def test_to_cancel_the_task_is_to_cancel_the_execution(side_effect: Any, code: str) -> None:
    """The task is cancelled when the record has its end; children end with it, and no agent follows."""
    runtime = runtime_of()
    began = asyncio.Event()

    @runtime.agent("child", handles="child", side_effect=side_effect)
    async def child() -> None:
        began.set()
        await asyncio.Event().wait()

    @runtime.agent("parent", handles="parent", side_effect=side_effect)
    async def parent(ctx: AsyncContext) -> None:
        await ctx.route("child")

    runtime.agent("next", handles="parent", rank=1)(lambda: "called all the same")

    async def routed() -> None:
        task = asyncio.ensure_future(runtime.route_async("parent", strategy="fallback"))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
        assert runtime.store is not None
        rows = {row.intent: row for row in runtime.store.list().rows}
        assert {intent: row.status for intent, row in rows.items()} == {"parent": "error", "child": "error"}
        assert rows["child"].error_code == code
        # A child that is in doubt makes its parent's answer one, too.
        assert rows["parent"].error_code == "IN_DOUBT"
        for row in rows.values():
            assert (await runtime.replay_async(row.execution_id)).verdict == "match"

    run(routed())


def test_a_timeout_of_asyncio_cancels_too() -> None:
    """Whoever waits with a limit of his own gets his TimeoutError, and the record its end."""
    runtime = runtime_of()

    @runtime.agent("slow", handles="x", side_effect="read_only")
    async def slow() -> None:
        await asyncio.Event().wait()

    async def routed() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await runtime.route_async("x")
        assert runtime.store is not None
        (row,) = runtime.store.list().rows
        assert row.error_code == "CANCELLED"
        await matches(runtime, run_id(row))

    def run_id(row: Any) -> Any:
        return AgentResponse(execution_id=row.execution_id, status="error")

    run(routed())


def test_a_race_is_won_by_the_first_and_the_others_are_cancelled() -> None:
    """They are unwound, not waited for; who won is on record."""
    runtime = runtime_of()
    unwound: list[str] = []

    @runtime.agent("slow", handles="x", side_effect="read_only")
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            unwound.append("slow")

    @runtime.agent("quick", handles="x", rank=1, side_effect="read_only")
    async def quick(ctx: AsyncContext) -> str:
        await ctx.sleep(0)
        return "quick"

    async def routed() -> None:
        response = await runtime.route_async("x", strategy="parallel", prefer="first")
        assert (response.payload, response.agent) == ("quick", "quick")
        assert [attempt.error and attempt.error.code for attempt in response.attempts] == ["CANCELLED", None]
        await asyncio.sleep(0)
        assert unwound == ["slow"]
        await matches(runtime, response)

    run(routed())


def test_branches_end_before_their_gather_does() -> None:
    """The first fault in the order of the calls is raised when all have ended; a limit is kept."""
    runtime = runtime_of()
    running: list[int] = []
    most: list[int] = []

    @runtime.agent("a", handles="x")
    async def agent(ctx: AsyncContext) -> Any:
        async def one(number: int) -> int:
            running.append(number)
            most.append(len(running))
            await asyncio.sleep(0)
            running.remove(number)
            if number % 2:
                raise AgentFailure(f"no {number}")
            return number

        most.clear()
        assert await ctx.map(one, [0, 2, 4, 6], limit=2) == [0, 2, 4, 6]
        assert max(most) == 2
        try:
            await ctx.gather(one(2), one(3), lambda: one(1))
        except AgentFailure as fault:
            assert running == []
            return str(fault)
        raise AssertionError

    response = run(runtime.route_async("x"))
    assert response.payload == "no 3"
    run(matches(runtime, response))


def test_verify_replay_awaits_async_agents() -> None:
    """A runtime that verifies its records warns of an asynchronous agent that does not replay."""
    runtime = runtime_of(verify_replay=True)

    @runtime.agent("hidden", handles="hidden", side_effect="read_only")
    async def hidden() -> int:
        return time.monotonic_ns()

    @runtime.agent("open", handles="open", side_effect="read_only")
    async def opened(ctx: AsyncContext) -> object:
        return ctx.now()

    run(runtime.route_async("open"))
    with pytest.warns(ReplayWarning):
        run(runtime.route_async("hidden"))


def test_what_waits_for_a_disk_does_not_hold_up_the_loop(tmp_path: Any) -> None:
    """Opening, acting and closing are done in threads: the loop goes on while the disk is slow."""
    from intentusnet.log.files import Files

    class Slow(Files):
        turns = 0

        def fdatasync(self, fd: int) -> None:
            seen = self.turns
            for _ in range(1000):  # until the loop has had its turn, which it has if this is not its thread
                if self.turns > seen:
                    break
                time.sleep(0.001)
            else:
                raise AssertionError("the loop was held up")
            super().fdatasync(fd)

    files = Slow()

    async def ticking() -> None:
        while True:
            files.turns += 1
            await asyncio.sleep(0)

    async def routed() -> None:
        with FileExecutionStore(tmp_path / "store", files=files) as store:
            runtime = IntentusRuntime(store=store)

            @runtime.agent("a", handles="x")
            async def agent(ctx: AsyncContext) -> int:
                return await ctx.effect("e", int, 1)

            ticks = asyncio.ensure_future(ticking())
            response = await runtime.route_async("x")
            ticks.cancel()
            assert response.payload == 1

    run(routed())


def test_an_async_agent_cannot_be_isolated_otherwise() -> None:
    """It runs in its caller's loop, so neither a thread nor a process can be left behind or killed."""
    for isolation in ("thread", "process"):
        with pytest.raises(InvalidAgent, match="asynchronous"):
            runtime_of().agent("a", handles="x", isolation=isolation)(_raising)  # type: ignore[arg-type]  # both are known
