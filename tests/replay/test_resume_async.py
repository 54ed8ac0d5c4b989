"""Interrupted executions that asynchronous callers bring to their end, and forks that they make."""

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.breaking import READS, World, broken_off
from helpers.interruptions import ACTS, Processes, acts, app
from helpers.runtimes import runtime_of

from intentusnet import (
    AsyncContext,
    Context,
    FileExecutionStore,
    IntentusRuntime,
    MemoryExecutionStore,
    effect,
)
from intentusnet.errors import ConfigurationError, ContinuationDiverged, InDoubt, InvalidInput
from intentusnet.replay.recovering import waited_for

STORES = ["memory", "file"]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryExecutionStore()
        return
    with FileExecutionStore(tmp_path / "store") as opened:
        yield opened


def asks(store: Any, world: World, *names: Any, awaiting: bool = True, **traits: Any) -> IntentusRuntime:
    """A runtime with one agent that has these effects, one after the other."""
    runtime, act = runtime_of(store=store), world.act(**traits)

    def plain(ctx: Context) -> list[Any]:
        return [ctx.effect("act", act, name) for name in names]

    async def agent(ctx: AsyncContext) -> list[Any]:
        return [await ctx.effect("act", act, name) for name in names]

    runtime.agent("agent", handles="x", side_effect="read_only")(agent if awaiting else plain)
    return runtime


def interrupted(store: Any, world: World, *names: Any, **traits: Any) -> tuple[IntentusRuntime, str]:
    """A plain agent that breaks off at 2; its asynchronous double, and the execution's id.

    What Ctrl-C leaves of an event loop depends on where it was; where asynchronous agents are killed at every
    point is in test_resume_killed.py.
    """
    world.breaks.add(2)
    broken_off(asks(store, world, *names, awaiting=False, **traits))
    world.breaks.clear()
    runtime = asks(store, world, *names, **traits)
    [found] = asyncio.run(runtime.recover_async())
    return runtime, found.execution_id


def matches(runtime: IntentusRuntime, execution_id: str) -> None:
    report = asyncio.run(runtime.replay_async(execution_id, nested=True))
    assert report.verdict == "match", (report.reason, report.divergences)
    assert runtime.store is not None and runtime.store.verify().ok


def test_asynchronous_agents_go_on(store: Any) -> None:
    """What was answered before the break is not done again, and the end is that of a run without a break."""
    world = World()
    runtime, broken = interrupted(store, world, 1, 2, 3, **READS)
    response = asyncio.run(runtime.resume_async(broken))
    assert (response.execution_id, response.payload, world.done) == (broken, [[1], [2], [3]], [1, 2, 3])
    whole = asyncio.run(runtime.configure(store=MemoryExecutionStore()).route_async("x"))
    assert response.fingerprint == whole.fingerprint
    assert asyncio.run(runtime.resume_async(broken)) == response
    matches(runtime, broken)


def test_plain_callers_are_refused_and_leave_it_as_it_was(store: Any) -> None:
    """`resume` and `fork` await nobody: they say so, and the execution can still go on."""
    runtime, broken = interrupted(store, World(), 1, 2, **READS)
    before = store.entries(broken)
    for refused in (runtime.resume, lambda one: runtime.fork(one, "attempt:0:0", [5])):
        with pytest.raises(ConfigurationError, match="asynchronous"):
            refused(broken)
    assert store.entries(broken) == before
    assert len(store.list().rows) == 1
    assert asyncio.run(runtime.resume_async(broken)).payload == [[1], [2]]


def test_what_is_in_doubt_waits_for_a_person(store: Any) -> None:
    """Asynchronous callers are refused what plain ones are refused, and go on after the person's word."""
    world = World()
    runtime, broken = interrupted(store, world, 1, 2, side_effect="irreversible")
    with pytest.raises(InDoubt, match="effect act at attempt:0:1"):
        asyncio.run(runtime.resume_async(broken))
    assert world.done == [1]
    runtime.resolve(broken, True, by="ada", answer=["two"])
    assert asyncio.run(runtime.resume_async(broken)).payload == [[1], ["two"]]
    matches(runtime, broken)


def test_other_code_does_not_go_on(store: Any) -> None:
    """An asynchronous agent that asks something else than it did stops, and the execution stays as it was."""
    runtime, broken = interrupted(store, World(), 1, 2, **READS)
    before = store.entries(broken)
    changed = asks(store, World(), 5, 2, **READS)
    with pytest.raises(ContinuationDiverged):
        asyncio.run(changed.resume_async(broken))
    assert store.entries(broken) == before
    assert asyncio.run(runtime.resume_async(broken)).ok


def test_to_cancel_the_task_is_to_cancel_what_is_resumed(store: Any) -> None:
    """Its end is on record before the task is cancelled, and replays."""
    _, broken = interrupted(store, World(), 1, 2, **READS)
    runtime, asked = runtime_of(store=store), asyncio.Event()

    @effect(side_effect="read_only")
    async def waits(number: int) -> Any:
        asked.set()
        await asyncio.Event().wait()

    @runtime.agent("agent", handles="x", side_effect="read_only")
    async def agent(ctx: AsyncContext) -> None:
        for number in (1, 2):
            await ctx.effect("act", waits, number)

    async def cancelled() -> None:
        task = asyncio.ensure_future(runtime.resume_async(broken))
        await asyncio.wait([task, asyncio.ensure_future(asked.wait())], return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    outcome = store.get(broken).response
    assert outcome.error is not None and outcome.error.code == "CANCELLED"
    matches(runtime, broken)


def test_what_is_cancelled_before_it_goes_on_stays_interrupted(store: Any) -> None:
    """Whoever loses patience while the record is read has done nothing to it."""
    runtime, broken = interrupted(store, World(), 1, 2, **READS)
    before = store.entries(broken)

    async def cancelled() -> None:
        task = asyncio.ensure_future(runtime.resume_async(broken))
        await asyncio.sleep(0)  # it reads the record, in a thread
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert store.entries(broken) == before
    assert asyncio.run(runtime.resume_async(broken)).payload == [[1], [2]]


@pytest.mark.parametrize("awaiting", [True, False])
def test_what_is_cancelled_is_not_asked_again(store: Any, awaiting: bool) -> None:
    """A resumption that is cancelled before it comes to what has no answer does not ask that."""
    world = World()
    _, broken = interrupted(store, world, 1, 2, **READS)
    runtime, act = runtime_of(store=store), world.act(**READS)

    async def agent(ctx: AsyncContext) -> list[Any]:
        assert runtime.cancel(broken)
        return [await ctx.effect("act", act, name) for name in (1, 2)]

    def plain(ctx: Context) -> list[Any]:
        assert runtime.cancel(broken)
        return [ctx.effect("act", act, name) for name in (1, 2)]

    runtime.agent("agent", handles="x", side_effect="read_only")(agent if awaiting else plain)
    response = waited_for(runtime, runtime.resume, runtime.resume_async)(broken)
    assert response.error is not None and response.error.code == "CANCELLED"
    assert world.done == [1]
    matches(runtime, broken)


# --- forks ---


def test_a_fork_gets_another_answer(store: Any) -> None:
    """The past is kept, the answer is the chosen one, and the rest is asked of the world."""
    world = World()
    runtime = asks(store, world, 1, 2, 3)
    first = asyncio.run(runtime.route_async("x"))
    forked = asyncio.run(runtime.fork_async(first.execution_id, "attempt:0:1", ["other"]))
    assert forked.payload == [[1], ["other"], [3]]
    assert world.done == [1, 2, 3, 3]
    link = store.get(forked.execution_id).forked_from
    assert link is not None and (link.execution, link.question) == (first.execution_id, 1)
    matches(runtime, forked.execution_id)
    with pytest.raises(InvalidInput):
        asyncio.run(runtime.fork_async(first.execution_id, "nonsense", 1))


def test_sync_and_async_forks_are_the_same() -> None:
    """The same agent, plain and asynchronous: forks of one record have one fingerprint."""
    store = MemoryExecutionStore()
    plain, awaiting = asks(store, World(), 1, 2, awaiting=False), asks(store, World(), 1, 2)
    first = plain.route("x").execution_id
    forks = plain.fork(first, "attempt:0:0", 9), asyncio.run(awaiting.fork_async(first, "attempt:0:0", 9))
    assert forks[0].payload == forks[1].payload == [9, [2]]
    assert forks[0].fingerprint == forks[1].fingerprint


# --- what sync and async write ---


def told(store: Any) -> list[str]:
    """All that stands in a store's entries, but for ids, times and the order in which branches took turns."""
    lines = []
    for row in store.list().rows:
        for entry in store.entries(row.execution_id):
            body = json.loads(entry.body)
            for unlike in ("runner", "digest", "environment"):
                body.pop(unlike, None)
            text = f"{entry.kind} {json.dumps(body, sort_keys=True)}"
            lines.append(re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text))
    return sorted(lines)


def test_sync_and_async_resumptions_write_the_same(tmp_path: Path) -> None:
    """A run that was killed, at any of several points, has one record, whoever brings it to its end."""
    compared = 0
    with Processes.started() as processes:
        for at in range(8, 60, 4):
            place = tmp_path / str(at)
            place.mkdir()
            processes.run("route", place=str(place), kind="idempotent", intent="outer", at=at, awaiting="all")
            records = []
            for awaiting in ("none", "all", "outer", "inner"):
                copy = tmp_path / f"{at}-{awaiting}"
                shutil.copytree(place, copy)
                with app(copy, "idempotent", awaiting=awaiting) as runtime:
                    assert runtime.store is not None
                    found = runtime.recover()
                    for one in found:
                        waited_for(runtime, runtime.resume, runtime.resume_async)(one.execution_id)
                    compared += len(found)
                    records.append(told(runtime.store))
                    assert not found or set(acts(copy)) == set(ACTS)
            assert all(record == records[0] for record in records)
    assert compared > 20
