"""Waiting for a place: who is served, what ends a wait, and that every place is given back."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from helpers import process_agents
from helpers.limited import limited, queued, until, verdicts
from helpers.runtimes import gives, replays

from intentusnet import (
    Breaker,
    Concurrency,
    Context,
    IntentusRuntime,
    Limits,
    ManualClock,
    MemoryExecutionStore,
)
from intentusnet.ids import SYSTEM_CLOCK

ONE = Limits(concurrency=Concurrency(limit=1, queue=8))


class Held:
    """An agent of which one call runs until it is let go, so that others wait; its calls by payload."""

    def __init__(self, runtime: IntentusRuntime, *, asynchronous: bool = False, **traits: Any) -> None:
        self.runtime = runtime
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.called: list[Any] = []
        self.pool = ThreadPoolExecutor(16)
        runtime.agent("a", handles="x", limits=ONE, **traits)(self._awaited if asynchronous else self._act)

    def _act(self, payload: Any) -> Any:
        self.called.append(payload)
        if payload == "holds":
            self.begun.set()
            assert self.go_on.wait(20)
        return payload

    async def _awaited(self, payload: Any) -> Any:
        while payload == "holds" and not self.go_on.is_set():
            self.begun.set()
            await asyncio.sleep(0.001)
        self.called.append(payload)
        return payload

    def waits(self, payload: Any, **options: Any) -> Any:
        """Routes in a thread of its own, and returns when that waits."""
        before = queued(self.runtime, "a")
        future = self.pool.submit(self.runtime.route, "x", payload, **options)
        until(lambda: queued(self.runtime, "a") == before + 1)
        return future

    @contextmanager
    def holding(self) -> Iterator[Any]:
        """While it lasts, the place is taken; at the end, all must have been given back."""
        first = self.pool.submit(self.runtime.route, "x", "holds", target="a")
        assert self.begun.wait(20)
        try:
            yield first
        finally:
            self.go_on.set()
            first.result(20)
            self.pool.shutdown()
        state = self.runtime._engine.gates.gate(self.runtime.registry.get("a")).queue.state
        assert state.running == () and state.waiting == ()
        assert self.runtime.route("x", "after", target="a").ok


def system(**options: Any) -> IntentusRuntime:
    return IntentusRuntime(**{"store": MemoryExecutionStore(), **options})


def test_the_higher_priority_is_served_first_then_who_came_first() -> None:
    """Whatever the order in which they came."""
    held = Held(system())
    with held.holding():
        waiting = [held.waits(name, priority=rank) for name, rank in (("b", 0), ("c", 5), ("d", 0), ("e", 5))]
    for future in waiting:
        response = future.result(20)
        assert response.ok
        replays(held.runtime, response)
    assert held.called[1:5] == ["c", "e", "b", "d"]


@pytest.mark.parametrize("clock", [SYSTEM_CLOCK, ManualClock()])
def test_the_deadline_ends_a_wait(clock: Any) -> None:
    """AGENT_TIMEOUT, with the place that it had; the agent is not called, and the place stays free."""
    held = Held(system(clock=clock))
    with held.holding():
        future = held.waits("late", timeout=0.2)
        if isinstance(clock, ManualClock):
            clock.advance(0.2)
        response = future.result(20)
    assert response.error is not None and response.error.code == "AGENT_TIMEOUT"
    assert response.error.details["place"] == 1
    assert "late" not in held.called
    replays(held.runtime, response)


def test_a_cancellation_by_id_ends_a_wait() -> None:
    """CANCELLED, and on record; whoever waits behind is served."""
    held = Held(system())
    with held.holding():
        future, behind = held.waits("gone"), held.waits("behind")
        for execution_id in list(held.runtime._engine._running):
            if held.runtime.store.get(execution_id).envelope.payload == "gone":
                assert held.runtime.cancel(execution_id)
        response = future.result(20)
    assert response.error is not None and response.error.code == "CANCELLED"
    told = verdicts(held.runtime, response)["admission:0 limits"]
    assert told["concurrency"]["place"] == 1 and told["error"]["code"] == "CANCELLED"
    assert behind.result(20).ok and "gone" not in held.called
    replays(held.runtime, response)


def test_a_cancelled_task_ends_its_wait() -> None:
    """The execution is driven to its end, on record, and then the task is cancelled."""
    held = Held(system())

    async def main() -> None:
        task = asyncio.ensure_future(held.runtime.route_async("x", "gone"))
        while queued(held.runtime, "a") == 0:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with held.holding():
        asyncio.run(main())
        record = held.runtime.store.get(held.runtime.store.resolve("@last"))
        assert record.response.error is not None and record.response.error.code == "CANCELLED"
    assert "gone" not in held.called
    replays(held.runtime, record.response)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_threads_and_event_loops_stand_in_one_queue(asynchronous: bool) -> None:
    """Each is woken when its turn comes, and a loop goes on while it waits."""
    held = Held(system(), asynchronous=asynchronous)

    async def main() -> list[Any]:
        tasks = [asyncio.ensure_future(held.runtime.route_async("x", "holds"))]
        while not held.begun.is_set():
            await asyncio.sleep(0.001)
        for number in range(4):
            tasks.append(asyncio.ensure_future(held.runtime.route_async("x", number)))
            while queued(held.runtime, "a") <= number:
                await asyncio.sleep(0.001)
        held.go_on.set()
        return await asyncio.gather(*tasks)

    responses = asyncio.run(main())
    assert [response.payload for response in responses] == ["holds", 0, 1, 2, 3]
    assert [name for name in held.called if name != "holds"] == [0, 1, 2, 3]
    for response in responses:
        if asynchronous:
            asyncio.run(_replays_async(held.runtime, response))
        else:
            replays(held.runtime, response)
    held.pool.shutdown()


async def _replays_async(runtime: IntentusRuntime, response: Any) -> None:
    report = await runtime.replay_async(response.execution_id)
    assert report.verdict == "match", report


def test_a_cancellation_says_nothing_of_health() -> None:
    """The loser of a race opens no breaker; who hangs until its time is up does."""
    runtime, go_on = system(), threading.Event()
    limits = Limits(breaker=Breaker(failures=1), concurrency=Concurrency(limit=5))

    @runtime.agent("a", handles="x", isolation="thread", timeout=20, rank=0, limits=limits)
    def agent(payload: str) -> str:
        if payload == "hangs":
            assert go_on.wait(20)
        return payload

    @runtime.agent("b", handles="x", rank=1)
    def other(ctx: Context) -> str:
        store: Any = runtime.store
        until(lambda: "a" in [q.name for q in store.get(ctx.execution_id).questions])
        return "won"

    response = runtime.route("x", "hangs", strategy="parallel", prefer="first")
    assert [a.error.code for a in response.attempts if a.error is not None] == ["IN_DOUBT"]
    until(lambda: runtime._engine.gates.gate(runtime.registry.get("a")).queue.state.running == ())
    assert runtime.route("x", "again", target="a").ok
    hung = runtime.route("x", "hangs", target="a", timeout=0.05)
    assert hung.error is not None and hung.error.code == "IN_DOUBT"
    refused = runtime.route("x", "again", target="a")
    assert refused.error is not None and refused.error.code == "AGENT_UNAVAILABLE"
    go_on.set()


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_whatever_unwinds_a_call_gives_its_place_back(fault: type[BaseException]) -> None:
    """An agent's own exception, the end of the process, Ctrl-C: the next call has the place."""
    runtime = limited()
    faults: list[type[BaseException]] = [fault]

    @runtime.agent("a", handles="x", limits=Limits(concurrency=Concurrency(limit=1)))
    def agent() -> str:
        if faults:
            raise faults.pop()
        return "done"

    try:
        runtime.route("x")
    except KeyboardInterrupt:
        assert fault is KeyboardInterrupt
    assert runtime.route("x").payload == "done"


def test_a_call_that_is_cut_off_gives_its_place_back() -> None:
    """Once: its thread may go on, and end, without giving back another one's."""
    runtime, go_on = system(), threading.Event()

    limits = Limits(concurrency=Concurrency(limit=1))

    @runtime.agent("a", handles="x", isolation="thread", timeout=0.05, side_effect="read_only", limits=limits)
    def agent(payload: str) -> str:
        if payload == "hangs":
            assert go_on.wait(20)
        return payload

    hung = runtime.route("x", "hangs")
    assert hung.error is not None and hung.error.code == "AGENT_TIMEOUT"
    assert runtime.route("x", "next").ok
    go_on.set()
    assert runtime.route("x", "again").ok
    replays(runtime, hung)


def test_the_loser_of_a_race_leaves_the_queue() -> None:
    """It was never called: CANCELLED, whatever the agent does, and the record matches."""
    held = Held(system(), side_effect="irreversible", rank=0)
    held.runtime.agent("fast", handles="x", rank=1)(gives("won"))
    with held.holding():
        response = held.runtime.route("x", "loses", strategy="parallel", prefer="first")
        until(lambda: queued(held.runtime, "a") == 0)
    assert response.payload == "won" and "loses" not in held.called
    assert [a.error.code for a in response.attempts if a.error is not None] == ["CANCELLED"]
    replays(held.runtime, response)


def test_the_limit_on_executions_has_a_queue_of_its_own() -> None:
    """Who waits there has called nobody, and a deadline ends that wait, too."""
    runtime = system(limits=Limits(concurrency=Concurrency(limit=1, queue=4)))
    begun, go_on = threading.Event(), threading.Event()

    @runtime.agent("a", handles="x")
    def agent(payload: int) -> int:
        begun.set()
        assert go_on.wait(20)
        return payload

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(runtime.route, "x", 1)
        assert begun.wait(20)
        late = runtime.route("x", 2, timeout=0.1)
        second = pool.submit(runtime.route, "x", 3)
        until(lambda: len(runtime._engine.gates.whole(0).state.waiting) == 1)
        go_on.set()
        assert (first.result(20).payload, second.result(20).payload) == (1, 3)
    assert late.error is not None and late.error.code == "AGENT_TIMEOUT" and late.attempts == ()
    assert verdicts(runtime, second.result())["admission limits"]["concurrency"]["place"] == 1
    for response in (first.result(), late, second.result()):
        replays(runtime, response)


@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
def test_every_isolation_is_limited_alike(isolation: str) -> None:
    """A child of a call in its own process knows what that holds, too."""
    runtime, limits = system(), Limits(concurrency=Concurrency(limit=1))
    runtime.agent("a", handles="double", isolation=isolation, limits=limits)(process_agents.doubles)
    runtime.agent("p", handles="asks", isolation=isolation, limits=limits)(process_agents.asks_itself)
    with runtime:
        assert [runtime.route("double", number).payload for number in range(3)] == [0, 2, 4]
        response = runtime.route("asks", 2)
        assert response.payload == 0, response.error
        replays(runtime, response)


def test_a_deadline_that_has_passed_takes_no_token() -> None:
    """Nobody is called then, so nothing is used up."""
    clock = ManualClock()
    runtime = limited(clock=clock)
    runtime.agent("a", handles="x", limits=ONE)(gives(1))
    envelope = runtime.envelope("x")
    past = datetime.fromtimestamp(clock.time_us() / 1_000_000, UTC) - timedelta(seconds=1)
    response = runtime.router.route_intent(envelope.model_copy(update={"deadline": past}))
    assert response.error is not None and response.error.code == "AGENT_TIMEOUT"
    assert verdicts(runtime, response) == {}
    replays(runtime, response)
