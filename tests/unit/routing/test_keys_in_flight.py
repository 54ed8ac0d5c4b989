"""Requests whose idempotency key is that of an execution under way, or of one that was interrupted."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.processes import PATIENCE_S, Background
from helpers.runtimes import replays
from helpers.shops import Routes, Shop, count, same

from intentusnet import AgentResponse, AsyncBound, ErrorCode, FileExecutionStore, IntentusRuntime
from intentusnet.errors import InvalidInput
from intentusnet.idempotency import key_digest


@pytest.mark.parametrize("threads", [2, 16])
def test_threads_with_one_key_share_one_call(shop: Shop, threads: int) -> None:
    """They begin at once; one of them is executed, and all have its response."""
    at_once = threading.Barrier(threads)

    def request() -> AgentResponse:
        at_once.wait(PATIENCE_S)
        return shop.runtime.route("slow", 5, idempotency_key="k")

    with ThreadPoolExecutor(threads) as pool:
        asked = [pool.submit(request) for _ in range(threads)]
        assert shop.begun.wait(PATIENCE_S)
        shop.go.set()
        responses = [one.result(PATIENCE_S) for one in asked]
    assert shop.calls == [5]
    assert sorted(one.from_record for one in responses) == [False] + [True] * (threads - 1)
    assert all(same(responses[0], one) for one in responses)
    assert count(shop) == 1


def test_tasks_with_one_key_share_one_call(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than there are threads that wait for disks, and none waits in the thread of the loop."""
    wait, pauses = threading.Event.wait, list[float]()

    def noted(event: threading.Event, timeout: float | None = None) -> bool:
        if timeout is not None and threading.current_thread() is threading.main_thread():
            pauses.append(timeout)
        return wait(event, timeout)

    monkeypatch.setattr(threading.Event, "wait", noted)

    async def all_at_once() -> list[AgentResponse]:
        route = shop.runtime.route_async
        tasks = [asyncio.ensure_future(route("slow", 5, idempotency_key="k")) for _ in range(100)]
        while not shop.begun.is_set():
            await asyncio.sleep(0)
        # Somebody else is served while they wait.
        assert (await route("pay", 1)).ok
        shop.go.set()
        return await asyncio.gather(*tasks)

    responses = asyncio.run(all_at_once())
    assert pauses == []
    assert shop.calls == [5, 1]
    assert sum(not one.from_record for one in responses) == 1
    assert all(same(responses[0], one) for one in responses)


@pytest.fixture
def holder(shop: Shop) -> Iterator[Background]:
    """An execution with key "k" that is under way until `shop.go` is set."""
    running = Background(lambda: shop.runtime.route("slow", 5, idempotency_key="k"))
    assert shop.begun.wait(PATIENCE_S)
    yield running
    shop.go.set()
    running.result()


def test_in_flight_is_refused_if_so_chosen(shop: Shop, holder: Background) -> None:
    """By the call or for the runtime: at once, by an error that names what is in flight, and replays."""
    refuses = shop.runtime.route("slow", 5, idempotency_key="k", in_flight="refuse")
    other = IntentusRuntime(store=shop.runtime.store, in_flight="refuse")
    for runtime, told in (
        (shop.runtime, refuses),
        (other, other.configure().route("slow", 5, idempotency_key="k")),
        (other, asyncio.run(other.route_async("slow", 5, idempotency_key="k"))),
    ):
        assert told.error is not None and told.error.code is ErrorCode.AGENT_UNAVAILABLE
        held = told.error.details["execution_id"]
        assert (told.error.details["idempotency_key"], held in told.error.message) == ("k", True)
        replays(runtime, told)
    shop.go.set()
    assert holder.result().execution_id == held
    assert shop.runtime.route("slow", 5, idempotency_key="k", in_flight="refuse").execution_id == held
    assert shop.calls == [5]


def test_the_call_overrides_the_runtime(shop: Shop, holder: Background) -> None:
    """A runtime that refuses waits where it is told to."""
    other = IntentusRuntime(store=shop.runtime.store, in_flight="refuse")
    waiting = Background(lambda: other.route("slow", 5, idempotency_key="k", in_flight="wait"))
    shop.go.set()
    assert same(holder.result(), waiting.result())


def test_another_request_does_not_wait(shop: Shop, holder: Background) -> None:
    """It is an error now, whatever comes of the one under way."""
    other = shop.runtime.route("slow", 6, idempotency_key="k")
    assert other.error is not None and other.error.code is ErrorCode.VALIDATION_ERROR


def test_who_waits_does_so_until_his_deadline(shop: Shop, holder: Background, route: Routes) -> None:
    """Then he is told who was under way; nobody is called."""
    more: dict[str, Any] = {"timeout": 0.02}
    if route.__name__ == "by_envelope":
        more = {"deadline": datetime.now(UTC) + timedelta(seconds=0.02)}
    late = route("slow", 5, idempotency_key="k", **more)
    assert late.error is not None and late.error.code is ErrorCode.AGENT_TIMEOUT
    assert shop.calls == [5]
    replays(shop.runtime, late)
    shop.go.set()
    assert late.error.details["execution_id"] == holder.result().execution_id
    assert route("slow", 5, idempotency_key="k", **more).from_record


def test_who_finds_the_key_locked_waits_until_his_deadline(shop: Shop) -> None:
    """Where somebody has locked the key, and nothing is on record yet."""
    assert shop.runtime.store is not None
    with shop.runtime.store.custody.claim(key_digest(None, "anonymous", "k")):
        for choice in ("wait", "refuse"):
            late = shop.runtime.route("pay", 5, idempotency_key="k", timeout=0.02, in_flight=choice)
            assert late.error is not None and late.error.code is ErrorCode.AGENT_TIMEOUT
    assert shop.calls == []
    assert shop.runtime.route("pay", 5, idempotency_key="k").ok


@pytest.mark.parametrize("turns", [1, 10_000], ids=["while it looks", "between two looks"])
def test_a_task_that_waits_can_be_cancelled(shop: Shop, holder: Background, turns: int) -> None:
    """Nothing has begun for it, so nothing is on record; the execution that it waited for goes on."""

    async def cancelled() -> None:
        task = asyncio.ensure_future(shop.runtime.route_async("slow", 5, idempotency_key="k"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE_S)

    asyncio.run(cancelled())
    assert count(shop) == 1
    shop.go.set()
    assert holder.result().ok


def test_an_execution_that_was_interrupted_is_in_doubt(shop: Shop, route: Routes) -> None:
    """Whoever asks again is told so, until somebody says what happened, and has it resumed."""
    with pytest.raises(KeyboardInterrupt):
        shop.runtime.route("breaks", 5, idempotency_key="k")
    told = route("breaks", 5, idempotency_key="k")
    assert told.error is not None and told.error.code is ErrorCode.IN_DOUBT
    (broken,) = shop.runtime.recover()
    assert told.error.details == {"execution_id": broken.execution_id, "idempotency_key": "k"}
    assert "intentusnet recover" in told.error.message
    replays(shop.runtime, told)
    assert shop.runtime.store is not None
    with shop.runtime.store.custody.claim(broken.execution_id):  # as somebody has who resumes it
        resuming = shop.runtime.route("breaks", 5, idempotency_key="k", in_flight="refuse")
        assert resuming.error is not None and resuming.error.code is ErrorCode.AGENT_UNAVAILABLE
    shop.runtime.resolve(broken.execution_id, True, by="ada", answer={"paid": 5})
    ended = shop.runtime.resume(broken.execution_id)
    again = route("breaks", 5, idempotency_key="k")
    assert same(ended, again) and again.from_record and again.payload == {"paid": 5}
    assert shop.calls == [5]


def test_what_ends_between_two_looks_is_not_in_doubt(shop: Shop, holder: Background) -> None:
    """It was open at the first look, and nobody ran it at the second, because it had ended."""
    assert shop.runtime.store is not None
    custody = shop.runtime.store.custody
    is_running = custody.is_running

    def ends_first(execution_id: str, runner: str | None) -> bool:
        shop.go.set()
        holder.result()
        return is_running(execution_id, runner)

    custody.is_running = ends_first  # type: ignore[method-assign] - the moment cannot be met otherwise
    response = shop.runtime.route("slow", 5, idempotency_key="k")
    assert response.from_record and same(response, holder.result())


def test_who_has_the_lock_looks_again(shop: Shop) -> None:
    """Between the first look and the lock, somebody else may have begun, and even ended."""
    assert shop.runtime.store is not None
    custody = shop.runtime.store.custody
    claim = custody.claim

    def late(name: str) -> Any:
        custody.claim = claim  # type: ignore[method-assign] - as it was
        assert not shop.runtime.route("pay", 5, idempotency_key="k").from_record
        return claim(name)

    custody.claim = late  # type: ignore[method-assign] - the moment cannot be met otherwise
    assert shop.runtime.route("pay", 5, idempotency_key="k").from_record
    assert shop.calls == [5]


def test_who_has_begun_is_seen_whatever_the_durability(tmp_path: Path) -> None:
    """By other processes, which have another object of the store: what is not written yet they cannot see."""
    never = AsyncBound(entries=10_000, milliseconds=3_600_000)
    with (
        IntentusRuntime(store=FileExecutionStore(tmp_path, "async", async_bound=never)) as one,
        IntentusRuntime(store=FileExecutionStore(tmp_path)) as other,
    ):
        shops = Shop(one), Shop(other)
        running = Background(lambda: one.route("slow", 5, idempotency_key="k"))
        assert shops[0].begun.wait(PATIENCE_S)
        refused = other.route("slow", 5, idempotency_key="k", in_flight="refuse")
        assert refused.error is not None and refused.error.code is ErrorCode.AGENT_UNAVAILABLE
        shops[0].go.set()
        assert refused.error.details["execution_id"] == running.result().execution_id
        assert shops[1].calls == []


def test_a_choice_that_there_is_not_is_refused(shop: Shop) -> None:
    """For the runtime and for a call, before anything is done."""
    with pytest.raises(InvalidInput, match="in_flight"):
        IntentusRuntime(in_flight="never")  # type: ignore[arg-type] - that is what is refused
    for call in (shop.runtime.route, lambda *a, **o: asyncio.run(shop.runtime.route_async(*a, **o))):
        with pytest.raises(InvalidInput, match="'never'"):
            call("pay", idempotency_key="k", in_flight="never")
    assert count(shop) == 0
