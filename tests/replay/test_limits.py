"""Replays of what limits have refused, delayed and repeated: they need none of them, and take no time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.limited import READS, Flaky, limited, record_of, verdicts
from helpers.runtimes import gives, replays

from intentusnet import (
    Breaker,
    FileExecutionStore,
    IntentusRuntime,
    Limits,
    ManualClock,
    MemoryExecutionStore,
    Rate,
    Retry,
    SeededIds,
    Verdict,
    load_record,
)

ONCE = Limits(rate=(Rate(per="agent", count=1),))


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = MemoryExecutionStore() if request.param == "memory" else FileExecutionStore(tmp_path / "s")
    yield made
    made.close()


@pytest.mark.parametrize("now", ["as it was", "without limits", "with others"])
def test_a_replay_takes_the_verdicts_from_the_record(now: str, store: Any) -> None:
    """Refused stays refused, and what was repeated is repeated, whatever the limits are now."""
    policies = {"as it was": Limits(rate=(Rate(per="agent", count=3),), retry=Retry(on=("AGENT_ERROR",)))}
    recorded, replayed = limited(store=store), limited(store=store)
    other = {"with others": Limits(retry=Retry(attempts=1), breaker=Breaker())}
    for runtime, limits in ((recorded, policies["as it was"]), (replayed, {**policies, **other}.get(now))):
        flaky = Flaky(runtime, a=["AGENT_ERROR", "AGENT_ERROR", None])
        flaky.add("a", limits=limits)
    first, second = recorded.route("x"), recorded.route("x")
    assert first.ok and len(first.attempts) == 3 and not second.ok
    for response in (first, second):
        replays(replayed, response)
    # Nor has the replay used anything up.
    if now == "as it was":
        assert replayed.route("x").ok


@pytest.mark.parametrize("strategy", ["direct", "fallback", "parallel", "broadcast"])
def test_every_depth_and_strictness_takes_them(strategy: str) -> None:
    """Whether agents are run, taken from the record, or asked of the world; and without any agents, too."""
    runtime = limited()
    flaky = Flaky(runtime, a=["AGENT_ERROR"], b=["AGENT_ERROR", None])
    limits = Limits(retry=Retry(on=("AGENT_ERROR",)), rate=(Rate(per="agent", count=2),))
    flaky.add("a", rank=0, limits=limits, **READS)
    flaky.add("b", rank=1, limits=limits, **READS)
    response = runtime.route("x", strategy=strategy)
    assert len(response.attempts) > len(record_of(runtime, response).plan_tree["steps"])
    for options in ({"depth": "routing"}, {"depth": "live"}, {"strictness": "strict"}):
        assert runtime.replay(response.execution_id, **options).verdict is Verdict.MATCH
    nobody = IntentusRuntime(store=runtime.store)
    assert nobody.replay(response.execution_id, depth="routing").verdict is Verdict.MATCH


def test_a_record_without_limits_is_replayed_with_them() -> None:
    """What was not asked then is not asked now."""
    store = MemoryExecutionStore()
    before, after = limited(store=store), limited(store=store)
    before.agent("a", handles="x")(gives(1))
    after.agent("a", handles="x", limits=ONCE)(gives(1))
    responses = [before.route("x") for _ in range(3)]
    for response in responses:
        replays(after, response)
    assert after.route("x").ok and not after.route("x").ok


def test_a_changed_limit_is_a_changed_environment() -> None:
    """And nothing else: only a strict replay tells it."""
    store = MemoryExecutionStore()
    before, after = limited(store=store), limited(Limits(breaker=Breaker()), store=store)
    for runtime in (before, after):
        runtime.agent("a", handles="x", limits=ONCE)(gives(1))
    response = before.route("x")
    replays(after, response)
    strict = after.replay(response.execution_id, strictness="strict")
    assert [(d.kind, d.pointer) for d in strict.divergences] == [("environment", "/limits")]
    assert before.replay(response.execution_id, strictness="strict").verdict is Verdict.MATCH


def test_retries_are_skipped_without_waiting_by_a_replay() -> None:
    """The clock of the replay stands as it stood."""
    clock = ManualClock()
    runtime = limited(Limits(retry=Retry(on=("AGENT_ERROR",), base=5, cap=5)), clock=clock)
    Flaky(runtime, a=["AGENT_ERROR", None]).add("a")
    began = clock.time_us()
    response = runtime.route("x")
    waited = clock.time_us() - began
    delay = verdicts(runtime, response)["admission:0 retry"]["delay"]
    assert waited == round(delay / 1000) > 0
    replays(runtime, response)
    assert clock.time_us() - began == waited


@pytest.mark.parametrize("side_effect", ["read_only", "reversible"])
def test_records_that_are_written_at_their_close_have_their_verdicts(side_effect: Any, store: Any) -> None:
    """With ``write_ahead="effects"``, too; and it makes no other record."""
    told = []
    for write_ahead in ("effects", "calls"):
        runtime = limited(store=store, write_ahead=write_ahead, ids=SeededIds(len(told)))
        flaky = Flaky(runtime, a=["AGENT_ERROR", None])
        flaky.add("a", limits=Limits(retry=Retry(on=("AGENT_ERROR",), base=1e-9)), side_effect=side_effect)
        response = runtime.route("x")
        assert response.ok and len(response.attempts) == 2
        replays(runtime, response)
        told.append([(q.scope, q.name, q.kind) for q in record_of(runtime, response).questions])
    assert told[0] == told[1]


def test_a_portable_record_carries_its_verdicts(tmp_path: Path) -> None:
    """Another runtime, with another store and no limits, replays it."""
    runtime, elsewhere = limited(), limited()
    for one, limits in ((runtime, Limits(retry=Retry(on=("AGENT_ERROR",)))), (elsewhere, None)):
        Flaky(one, a=["AGENT_ERROR", None]).add("a", limits=limits, **READS)
    file = tmp_path / "record.jsonl"
    file.write_bytes(record_of(runtime, runtime.route("x")).to_jsonl())
    assert elsewhere.replay(load_record(file)).verdict is Verdict.MATCH
