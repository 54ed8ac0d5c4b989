"""Retries under every strategy: what is repeated, what is not, and what follows; awaited or not."""

import asyncio
import threading
from typing import Any, NamedTuple

import pytest
from helpers.limited import Flaky, limited, record_of, until, verdicts
from helpers.runtimes import gives, replays
from hypothesis import given
from hypothesis import strategies as st

from intentusnet import (
    AgentFailure,
    AgentResponse,
    Breaker,
    Concurrency,
    Context,
    IntentusRuntime,
    Limits,
    ManualClock,
    MemoryExecutionStore,
    Rate,
    Retry,
    RoutingStrategy,
    SeededIds,
)

RACE: dict[str, Any] = {"strategy": "parallel", "prefer": "first"}
#: After which codes an agent is called again: whoever raises says that nothing happened, but for a timeout.
AGAIN: dict[str, dict[str, bool]] = {
    "TRANSPORT_ERROR": {"read_only": True, "idempotent": True, "reversible": True, "irreversible": True},
    "AGENT_TIMEOUT": {"read_only": True, "idempotent": True, "reversible": False, "irreversible": False},
    "AGENT_ERROR": {"read_only": False, "idempotent": False, "reversible": False, "irreversible": False},
    "IN_DOUBT": {"read_only": False, "idempotent": False, "reversible": False, "irreversible": False},
}


@pytest.mark.parametrize("strategy", [*RoutingStrategy, "race"])
@pytest.mark.parametrize("kind", ["read_only", "idempotent", "reversible", "irreversible"])
@pytest.mark.parametrize("code", list(AGAIN))
def test_what_is_repeated_and_what_follows(strategy: Any, kind: str, code: str) -> None:
    """As the table says, under every strategy; and each record replays to a match."""
    runtime = limited(Limits(retry=Retry(attempts=3)))
    traits: dict[str, Any] = {"idempotent": True} if kind == "idempotent" else {"side_effect": kind}
    flaky = Flaky(runtime, a=[code, None], b=["PROTOCOL_ERROR"])
    flaky.add("a", rank=0, **traits)
    flaky.add("b", rank=1, **traits)
    options = RACE if strategy == "race" else {"strategy": strategy}
    response = runtime.route("x", **options)
    again = AGAIN[code][kind]
    assert response.ok is again
    expected = {"a": 1 + again, "b": 1}
    if strategy is RoutingStrategy.DIRECT or (
        strategy is RoutingStrategy.FALLBACK and (again or code == "IN_DOUBT")
    ):
        expected["b"] = 0
    called = dict.fromkeys(expected, 0)
    for name in flaky.called:
        called[name] += 1
    if strategy != "race":
        assert called == expected
    assert sum(attempt.agent == "a" for attempt in response.attempts) == expected["a"]
    assert record_of(runtime, response).attempts == response.attempts
    replays(runtime, response)
    told = verdicts(runtime, response)
    if code == "IN_DOUBT":
        assert "admission:0 retry" not in told
    elif not again:
        assert told["admission:0 retry"]["reason"] == ("code" if code == "AGENT_ERROR" else "unsafe")


class Losing:
    """A race in which one agent has failed, and is to be repeated much later, when the other one wins."""

    def __init__(self, side_effect: str) -> None:
        self.runtime = IntentusRuntime(store=MemoryExecutionStore())
        retry = Limits(retry=Retry(base=3600, cap=3600, attempts=9))
        self.runtime.agent("slow", handles="x", rank=0, side_effect=side_effect, limits=retry)(self._slow)
        self.runtime.agent("fast", handles="x", rank=1)(self._fast)

    def _slow(self) -> None:
        raise AgentFailure("not now", code="TRANSPORT_ERROR")

    def _fast(self, ctx: Context) -> str:
        store = self.runtime.store
        assert store is not None
        until(lambda: any(q.name == "retry" for q in store.get(ctx.execution_id).questions))
        return "won"


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("side_effect", ["read_only", "irreversible"])
def test_a_loser_that_waits_to_be_repeated_is_cancelled(side_effect: str, asynchronous: bool) -> None:
    """Nobody waits for it, it is not in doubt, because it was not called again; and the record matches."""
    race = Losing(side_effect)
    if asynchronous:
        response = asyncio.run(race.runtime.route_async("x", **RACE))
    else:
        response = race.runtime.route("x", **RACE)
    assert response.payload == "won"
    codes = [(a.agent, None if a.error is None else a.error.code.value) for a in response.attempts]
    assert codes == [("slow", "TRANSPORT_ERROR"), ("slow", "CANCELLED"), ("fast", None)]
    replays(race.runtime, response)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_cancellation_ends_the_wait_for_a_retry(asynchronous: bool) -> None:
    """At once; the next call is answered CANCELLED, and nothing follows it."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    limits = Limits(retry=Retry(base=3600, cap=3600))
    begun = threading.Event()

    @runtime.agent("a", handles="x", rank=0, limits=limits)
    def agent() -> None:
        begun.set()
        raise AgentFailure("not now", code="TRANSPORT_ERROR")

    runtime.agent("b", handles="x", rank=1)(gives("never"))
    store: Any = runtime.store

    def cancels() -> None:
        assert begun.wait(20)
        (execution_id,) = runtime._engine._running
        until(lambda: any(q.name == "retry" for q in store.get(execution_id).questions))
        runtime.cancel(execution_id)

    thread = threading.Thread(target=cancels)
    thread.start()
    if asynchronous:
        response = asyncio.run(runtime.route_async("x", strategy="fallback"))
    else:
        response = runtime.route("x", strategy="fallback")
    thread.join()
    assert [a.error.code for a in response.attempts if a.error] == ["TRANSPORT_ERROR", "CANCELLED"]
    replays(runtime, response)


# --- the same, whoever waits ---


class Script(NamedTuple):
    """Agents by name with their scripts, their limits, and requests; all that an execution depends on."""

    agents: list[tuple[list[str | None], Limits | None]]
    common: Limits | None
    requests: list[tuple[str, str, float]]


CODES = st.sampled_from([None, "AGENT_ERROR", "TRANSPORT_ERROR", "AGENT_TIMEOUT", "IN_DOUBT", "RATE_LIMIT"])
RETRIES = st.builds(Retry, attempts=st.integers(1, 4), base=st.sampled_from([0.1, 1.0]))
BREAKERS = st.builds(Breaker, failures=st.integers(1, 3), open_for=st.sampled_from([1.0, 10.0]))
RATES = st.builds(Rate, per=st.sampled_from(["agent", "caller", "tenant"]), count=st.integers(1, 4))
#: Concurrent branches take turns as they like, so only what each has for itself is the same in each run.
ALONE = st.builds(Limits, retry=RETRIES)
ALL = st.builds(
    Limits,
    retry=st.none() | RETRIES,
    breaker=st.none() | BREAKERS,
    rate=st.lists(RATES, max_size=2).map(tuple),
    concurrency=st.none() | st.builds(Concurrency, limit=st.integers(1, 2)),
)


@st.composite
def scripts(draw: Any) -> Script:
    concurrent = draw(st.booleans())
    limits = st.none() | (ALONE if concurrent else ALL)
    agents = draw(
        st.lists(st.tuples(st.lists(CODES, min_size=1, max_size=4), limits), min_size=1, max_size=3)
    )
    strategies = st.sampled_from(["parallel", "broadcast"] if concurrent else ["direct", "fallback"])
    requests = st.tuples(strategies, st.sampled_from(["c", "d"]), st.sampled_from([0.0, 0.5, 20.0]))
    return Script(agents, draw(limits), draw(st.lists(requests, min_size=1, max_size=4)))


def prepared(script: Script) -> tuple[IntentusRuntime, ManualClock]:
    clock = ManualClock()
    runtime = limited(script.common, clock=clock, ids=SeededIds(7))
    flaky = Flaky(runtime, **{f"a{n}": codes for n, (codes, _) in enumerate(script.agents)})
    for number, (_, limits) in enumerate(script.agents):
        flaky.add(f"a{number}", rank=number, limits=limits)
    return runtime, clock


def told(response: AgentResponse) -> Any:
    return response.fingerprint, response.tree(), response.execution_id


@given(scripts())
def test_threads_and_tasks_make_the_same_records(script: Script) -> None:
    """The same verdicts, waits and answers: one fingerprint, whoever drives; and each replays to a match."""
    (sync, clock), (other, other_clock) = prepared(script), prepared(script)
    responses = []
    for strategy, caller, pause in script.requests:
        responses.append(sync.route("x", strategy=strategy, caller=caller))
        clock.advance(pause)

    async def main() -> list[AgentResponse]:
        made = []
        for strategy, caller, pause in script.requests:
            made.append(await other.route_async("x", strategy=strategy, caller=caller))
            other_clock.advance(pause)
        return made

    awaited = asyncio.run(main())
    assert list(map(told, responses)) == list(map(told, awaited))
    for runtime, made in ((sync, responses), (other, awaited)):
        for response in made:
            replays(runtime, response)
            assert record_of(runtime, response).attempts == response.attempts
