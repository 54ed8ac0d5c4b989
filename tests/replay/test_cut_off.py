"""Who can be cancelled, and when: nothing is under way that is not, and what was cut off may have acted."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from intentusnet import Context, IntentusRuntime, ManualClock, MemoryExecutionStore, effect
from intentusnet.errors import StoreWriteFailed
from tests.helpers.runtimes import replays, runtime_of


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What agents wait for that hang; they end with the test."""
    event = threading.Event()
    yield event
    event.set()


def test_what_begins_to_act_while_it_is_cut_off_is_in_doubt(release: threading.Event) -> None:
    """The effect is being written down when the time is up: it is not called, and nothing follows it."""
    clock = ManualClock()
    acted: list[str] = []
    ended = threading.Event()

    class Slow(MemoryExecutionStore):
        def sync(self) -> None:
            if threading.current_thread().name.startswith("intentusnet-agent"):
                clock.advance(60)
                release.wait(30)

    runtime = runtime_of(store=Slow(), clock=clock)
    runtime.agent("next", handles="x", rank=1)(lambda: "called all the same")

    @effect(side_effect="irreversible")
    def act() -> None:
        acted.append("acted")

    @runtime.agent("reading", handles="x", timeout=5, isolation="thread", side_effect="read_only")
    def reading(ctx: Context) -> None:
        try:
            ctx.effect("act", act)
        finally:
            ended.set()

    response = runtime.route("x", strategy="fallback")
    release.set()
    assert ended.wait(30)
    assert response.error is not None
    assert (response.error.code, len(response.attempts), acted) == ("IN_DOUBT", 1, [])
    replays(runtime, response)


def test_an_execution_that_cannot_be_opened_is_not_under_way() -> None:
    """Nothing of it is kept."""

    class Full(MemoryExecutionStore):
        def append(self, *args: Any, **options: Any) -> Any:
            raise StoreWriteFailed("the disk is full")

    runtime = runtime_of(store=Full())
    runtime.agent("a", handles="x")(lambda: 1)
    for route in (runtime.route, lambda intent: asyncio.run(runtime.route_async(intent))):
        with pytest.raises(StoreWriteFailed):
            route("x")
    assert runtime._engine._running == {}


@pytest.mark.parametrize("elsewhere", [True, False])
def test_an_execution_that_is_resumed_can_be_cancelled(tmp_path: Path, elsewhere: bool) -> None:
    """By its id, here and from elsewhere; what was wished before it was interrupted does not count."""
    path = tmp_path / "store"
    stopping: list[Callable[[str], None]] = []

    def runtime_on() -> IntentusRuntime:
        runtime = IntentusRuntime(store=path)

        @runtime.agent("a", handles="x", side_effect="read_only")
        def agent(ctx: Context) -> str:
            ctx.effect("first", int)
            for stop in stopping:
                stop(ctx.execution_id)
            for _ in range(200 if stopping else 0):
                ctx.sleep(0.01)
            return ctx.effect("second", str, "done")

        return runtime

    ids: list[str] = []
    told: list[object] = []
    with runtime_on() as runtime:

        def interrupt(execution_id: str) -> None:
            ids.append(execution_id)
            raise KeyboardInterrupt

        stopping.append(interrupt)
        with pytest.raises(KeyboardInterrupt):
            runtime.route("x")
    with runtime_on() as runtime, runtime_on() as other:
        canceller = other if elsewhere else runtime

        def stop(execution_id: str) -> None:
            assert runtime.store is not None
            told.append(runtime.store.custody.wants_stopped(execution_id))
            told.append(canceller.cancel(execution_id, "now"))

        stopping[:] = [stop]
        assert other.store is not None
        other.store.custody.ask_to_stop(ids[0], "before")  # and whoever ran it was killed
        response = runtime.resume(ids[0])
        assert response.error is not None
        assert (response.error.code, response.error.message.endswith(": now")) == ("CANCELLED", True)
        assert told == [None, True]
        assert runtime.replay(ids[0]).verdict == "match"


def test_what_is_cut_off_while_it_is_resumed_need_not_ask_all_again(
    tmp_path: Path, release: threading.Event
) -> None:
    """It hangs before it has asked what is on record: the record gets its end, and replays."""
    ids: list[str] = []

    def runtime_on(interrupting: bool) -> IntentusRuntime:
        runtime = IntentusRuntime(store=tmp_path / "store")

        @runtime.agent("a", handles="x", isolation="thread", side_effect="read_only")
        def agent(ctx: Context) -> None:
            if not interrupting:
                runtime.cancel(ctx.execution_id)
                release.wait(30)
            ids.append(ctx.execution_id)
            ctx.effect("asked", int)
            raise KeyboardInterrupt

        return runtime

    with runtime_on(interrupting=True) as runtime, pytest.raises(KeyboardInterrupt):
        runtime.route("x")
    with runtime_on(interrupting=False) as runtime:
        response = runtime.resume(ids[0])
        assert response.error is not None
        assert response.error.code == "CANCELLED"
        assert runtime.replay(ids[0]).verdict == "match"
