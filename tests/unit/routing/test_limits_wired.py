"""Limits in a runtime: what is refused, what is on record of it, and that a replay needs none of them."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.limited import Flaky, limited, queued, record_of, until, verdicts
from helpers.runtimes import fails, gives, replays, runtime_of

from intentusnet import (
    Breaker,
    Concurrency,
    Context,
    FileExecutionStore,
    IntentusRuntime,
    Limits,
    ManualClock,
    MemoryExecutionStore,
    Rate,
    Retry,
    RetryBudget,
    RoutingStrategy,
    SeededIds,
    Verdict,
)
from intentusnet.errors import ConfigurationError, InvalidAgent

ONCE = Limits(rate=(Rate(per="agent", count=1),))


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = MemoryExecutionStore() if request.param == "memory" else FileExecutionStore(tmp_path / "s")
    yield made
    made.close()


def test_without_limits_nothing_is_asked() -> None:
    """No question, no word in the plan: such a record is as it was before there were limits."""
    runtime = runtime_of()
    runtime.agent("a", handles="x")(gives(1))
    record = record_of(runtime, runtime.route("x"))
    assert [q.kind for q in record.questions] == ["agent"]
    assert "gated" not in record.plan_tree and "limits" not in record.environment


def test_nothing_is_asked_before_an_agent_that_has_no_limits() -> None:
    """Though another one of the plan has."""
    runtime = limited()
    runtime.agent("a", handles="x", rank=0, limits=ONCE)(fails())
    runtime.agent("b", handles="x", rank=1)(gives("b"))
    response = runtime.route("x", strategy="fallback")
    assert response.payload == "b" and list(verdicts(runtime, response)) == ["admission:0 limits"]
    replays(runtime, response)


def test_a_call_beyond_the_rate_is_refused(store: Any) -> None:
    """RATE_LIMIT, with the time after which to come back, and on record; the agent is not called."""
    runtime = limited(store=store)
    called: list[int] = []
    runtime.agent("a", handles="x", limits=ONCE)(lambda: called.append(1))
    assert runtime.route("x").ok
    refused = runtime.route("x")
    assert refused.error is not None and len(called) == 1
    assert (refused.error.code, refused.error.details) == ("RATE_LIMIT", {"per": "agent", "retry_after": 1.0})
    assert verdicts(runtime, refused)["admission:0 limits"]["admitted"] is False
    assert runtime.store.get(refused.execution_id).response == refused
    replays(runtime, refused)
    assert runtime.store.verify().ok


@pytest.mark.parametrize("strategy", list(RoutingStrategy))
def test_each_strategy_takes_a_refusal_for_a_failure(strategy: RoutingStrategy, store: Any) -> None:
    """The next agent is called, or the others decide; and each such record matches."""
    runtime = limited(store=store)
    runtime.agent("a", handles="x", rank=0, limits=ONCE)(gives("a"))
    runtime.agent("b", handles="x", rank=1)(gives("b"))
    runtime.route("x", target="a")
    response = runtime.route("x", strategy=strategy)
    told = [(attempt.agent, attempt.status) for attempt in response.attempts]
    if strategy is RoutingStrategy.DIRECT:
        assert told == [("a", "error")]
    else:
        assert told == [("a", "error"), ("b", "success")] and response.ok
    replays(runtime, response)


def test_rates_of_runtime_and_agent_need_a_token_each() -> None:
    """A refused call takes none: neither the agent's nor the tenant's."""
    runtime = limited(Limits(rate=(Rate(per="tenant", count=2),)))
    runtime.agent("a", handles="x", limits=ONCE)(gives("a"))
    runtime.agent("b", handles="y")(gives("b"))
    assert runtime.route("x", tenant="t").ok
    refused = runtime.route("x", tenant="t").error
    assert refused is not None and refused.details["per"] == "agent"
    assert runtime.route("y", tenant="t").ok  # the second of two
    refused = runtime.route("y", tenant="t").error
    assert refused is not None and refused.details["per"] == "tenant"
    assert runtime.route("y", tenant="u").ok


def test_a_breaker_opens_and_its_probe_closes_it() -> None:
    """AGENT_UNAVAILABLE while it is open; then one call goes through, and decides."""
    clock, works = ManualClock(), [False]
    runtime = limited(Limits(breaker=Breaker(failures=2, open_for=10)), clock=clock)

    def agent() -> str:
        if not works[0]:
            raise OSError("down")
        return "up"

    runtime.agent("a", handles="x")(agent)
    codes = [runtime.route("x").error for _ in range(3)]
    assert [error.code for error in codes if error is not None] == ["AGENT_ERROR"] * 2 + ["AGENT_UNAVAILABLE"]
    assert codes[2] is not None and codes[2].details == {"retry_after": 10.0}
    clock.advance(10)
    works[0] = True
    probe = runtime.route("x")
    assert probe.payload == "up" and verdicts(runtime, probe)["admission:0 limits"]["breaker"]["probe"]
    assert runtime.route("x").ok


def test_an_agents_own_settings_stand_for_the_runtimes() -> None:
    """Retries and breakers of the runtime are for agents that have none of their own."""
    runtime = limited(Limits(retry=Retry(attempts=2, on=("AGENT_ERROR",)), breaker=Breaker(failures=1)))
    runtime.agent(
        "own", handles="x", limits=Limits(retry=Retry(attempts=4, on=("AGENT_ERROR",)), breaker=Breaker())
    )(fails())
    runtime.agent("none", handles="y", limits=Limits(breaker=Breaker(failures=9)))(fails())
    assert len(runtime.route("x").attempts) == 4
    assert len(runtime.route("y").attempts) == 2


def test_a_breakers_refusal_gives_the_place_back_and_no_token() -> None:
    """Rate, then place, then breaker: what the last refuses has paid, and stands in nobody's way."""
    runtime = limited()
    limits = Limits(
        rate=(Rate(per="agent", count=3),), concurrency=Concurrency(limit=1), breaker=Breaker(failures=1)
    )
    runtime.agent("a", handles="x", limits=limits)(fails())
    codes = [runtime.route("x").error for _ in range(4)]
    assert [error.code for error in codes if error is not None] == [
        "AGENT_ERROR",
        "AGENT_UNAVAILABLE",
        "AGENT_UNAVAILABLE",
        "RATE_LIMIT",
    ]


def test_the_limit_on_executions_counts_the_outermost() -> None:
    """A parent that waits for its child does not keep it out; a second outermost one is refused."""
    runtime = limited(Limits(concurrency=Concurrency(limit=1)))
    refused: list[Any] = []

    @runtime.agent("parent", handles="p")
    def parent(ctx: Context) -> Any:
        if not refused:
            refused.append(runtime.route("c"))
        return ctx.route("c").payload

    runtime.agent("child", handles="c")(gives("done"))
    response = runtime.route("p")
    assert response.payload == "done"
    assert verdicts(runtime, response)["admission limits"]["concurrency"]["decision"] == "admitted"
    (outermost,) = refused
    assert outermost.error.code == "RATE_LIMIT" and outermost.attempts == () and outermost.agent is None
    assert "retry_after" in outermost.error.details
    replays(runtime, outermost)
    replays(runtime, response)
    assert runtime.route("c").ok  # the place was given back


@pytest.mark.parametrize("between", [False, True])
def test_an_agent_that_asks_itself_goes_through(between: bool) -> None:
    """Also by way of another: it holds the place that it would wait for. The verdict says so."""
    runtime = limited()

    @runtime.agent("a", handles="x", limits=Limits(concurrency=Concurrency(limit=1, queue=5)))
    def a(payload: int, ctx: Context) -> Any:
        return payload if payload == 0 else ctx.route("y" if between else "x", payload - 1).payload

    @runtime.agent("b", handles="y")
    def b(payload: int, ctx: Context) -> Any:
        return ctx.route("x", payload).payload

    response = runtime.route("x", 3)
    assert response.payload == 0
    record = record_of(runtime, response)
    (child,) = record.children
    assert runtime.store is not None
    child = runtime.store.get(child).children[0] if between else child
    inner = runtime.store.get(child).response
    assert verdicts(runtime, inner)["admission:0 limits"]["concurrency"] == {"decision": "nested"}
    report = runtime.replay(response.execution_id, nested=True)
    assert report.verdict is Verdict.MATCH
    assert runtime.route("x", 0).ok


def test_who_waited_has_its_place_and_estimate_on_record() -> None:
    """And how long it has waited; it is called when the one before it has ended."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    begun, go_on = threading.Event(), threading.Event()

    @runtime.agent("a", handles="x", limits=Limits(concurrency=Concurrency(limit=1, queue=1, typical=7)))
    def a(payload: int) -> int:
        begun.set()
        assert go_on.wait(10)
        return payload

    responses: dict[int, Any] = {}
    first = threading.Thread(target=lambda: responses.update({1: runtime.route("x", 1)}))
    second = threading.Thread(target=lambda: responses.update({2: runtime.route("x", 2)}))
    first.start()
    assert begun.wait(10)
    second.start()
    until(lambda: queued(runtime, "a") == 1)
    full = runtime.route("x", 3)
    assert full.error is not None and full.error.code == "RATE_LIMIT"
    assert full.error.details["retry_after"] == 7
    go_on.set()
    first.join()
    second.join()
    assert [responses[number].payload for number in (1, 2)] == [1, 2]
    told = verdicts(runtime, responses[2])["admission:0 limits"]["concurrency"]
    assert (told["decision"], told["place"], told["estimate"]) == ("queued", 1, 7_000_000_000)
    assert told["waited"] > 0
    for response in (*responses.values(), full):
        replays(runtime, response)


def test_a_budget_is_shared_by_the_agents_that_have_the_runtimes_retries() -> None:
    """All their executions together repeat no more than it allows."""
    runtime = limited(Limits(retry=Retry(on=("AGENT_ERROR",), budget=RetryBudget(ratio=0.25, reserve=2))))
    for name in ("a", "b"):
        runtime.agent(name, handles=name)(fails())
    # Two are saved up; each first call pays a quarter, and the budget holds no more than two.
    made = [len(runtime.route(name).attempts) for name in "abababab"]
    assert sum(made) == 8 + 2 + 1
    told = verdicts(runtime, runtime.route("a"))
    assert told["admission:0 retry"]["again"]
    assert told["admission:2 retry"] == {"again": False, "delay": 0, "reason": "budget"}


def test_the_response_lists_each_call_in_order_of_time() -> None:
    """Retries stand behind what they repeat, before the next agent; in the record as in the response."""
    runtime = limited(Limits(retry=Retry(on=("AGENT_ERROR",), attempts=3)))
    flaky = Flaky(runtime, a=["AGENT_ERROR"], b=["AGENT_ERROR", None])
    flaky.add("a", rank=0)
    flaky.add("b", rank=1)
    response = runtime.route("x", strategy="fallback")
    assert [(a.agent, a.status) for a in response.attempts] == [("a", "error")] * 3 + [
        ("b", "error"),
        ("b", "success"),
    ]
    assert flaky.called == ["a", "a", "a", "b", "b"]
    record = record_of(runtime, response)
    assert record.attempts == response.attempts and record.outcome is not None and record.outcome.attempt == 4
    replays(runtime, response)


def test_a_delay_may_be_of_many_days() -> None:
    """Its nanoseconds are more than JSON's readers take for a number, and come back all the same."""
    days = timedelta(days=365)
    # The delay is a hash of the execution's id, which is the same each time.
    runtime = limited(Limits(retry=Retry(on=("AGENT_ERROR",), base=days, cap=days)), ids=SeededIds())
    Flaky(runtime, a=["AGENT_ERROR", "AGENT_ERROR", "AGENT_ERROR"]).add("a")
    response = runtime.route("x")
    delays = [told["delay"] for told in verdicts(runtime, response).values() if told.get("again")]
    assert len(delays) == 2 and max(delays) > 2**53
    replays(runtime, response)


def test_no_retry_begins_at_the_deadline_or_after_it() -> None:
    """Such a delay is not even begun."""
    clock = ManualClock()
    runtime = limited(Limits(retry=Retry(on=("AGENT_ERROR",), base=100, cap=100)), clock=clock)
    runtime.agent("a", handles="x")(fails())
    response = runtime.route("x", timeout=0.001)
    assert verdicts(runtime, response)["admission:0 retry"]["reason"] == "deadline"
    assert len(response.attempts) == 1 and clock.time_us() == ManualClock().time_us()


def test_settings_are_refused_where_they_are_made() -> None:
    """They are checked once, and an agent's are part of its definition."""
    runtime = limited()
    runtime.agent("a", handles="x", limits=Limits(retry=Retry(within=timedelta(minutes=1))))(gives(1))
    definition = runtime.registry.get("a").definition
    with pytest.raises(ConfigurationError, match="expected Limits"):
        IntentusRuntime(limits={"retry": {}})
    with pytest.raises(InvalidAgent, match="limits"):
        runtime.agent("b", handles="x", limits=7)(gives(1))
    assert definition.limits is not None and definition.limits.retry is not None
    assert type(definition).model_validate_json(definition.model_dump_json()) == definition


def test_without_a_store_limits_hold_all_the_same() -> None:
    """What is not recorded is limited, and repeated, like what is."""
    runtime = limited(store=None)
    flaky = Flaky(runtime, a=["AGENT_ERROR", None])
    flaky.add("a", limits=Limits(retry=Retry(on=("AGENT_ERROR",)), rate=(Rate(per="agent", count=3),)))
    assert len(runtime.route("x").attempts) == 2
    assert [a.error.code for a in runtime.route("x").attempts if a.error] == ["AGENT_ERROR", "RATE_LIMIT"]
    assert flaky.called == ["a"] * 3
