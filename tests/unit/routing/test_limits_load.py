"""The states of limits under many threads: totals are exact, and nobody is let through beyond a limit."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from helpers.load import check, load, replayed
from helpers.turns import short_turns

from intentusnet import Breaker, Caller, Concurrency, ErrorCode, Limits, ManualClock, Rate, Verdict
from intentusnet.agents import Agent, define_agent
from intentusnet.envelope import IntentEnvelope
from intentusnet.routing.control import Control
from intentusnet.routing.limits.gates import Arrival, Gates
from intentusnet.routing.limits.passage import Passage

THREADS = 16


@pytest.fixture(autouse=True)
def often() -> Iterator[None]:
    """Threads take turns so often that they come between each other's steps."""
    with short_turns():
        yield


def gated(limits: Limits) -> tuple[Gates, Agent]:
    return Gates(None, ManualClock()), define_agent("a", lambda: None, handles="x", limits=limits)


def passes(gates: Gates, agent: Agent, inside: Callable[[], Any] = lambda: None, **settled: Any) -> bool:
    """One call: whether it was admitted."""
    envelope = IntentEnvelope(id="1", intent="x", payload=None, caller=Caller(name="c"))
    passage = Passage(gates, Arrival(envelope, Control()), agent.name)
    for wait in passage.enter_gate(agent):
        wait.control.wait(wait.seconds)
    admitted = bool(passage.verdict["admitted"])
    if admitted:
        inside()
    passage.settle(**{"code": None, "counts": True, **settled})
    return admitted


def at_once(call: Callable[[], bool], each: int = 50) -> Counter[bool]:
    """What so many threads got that call so often."""
    told: list[bool] = []
    start = threading.Barrier(THREADS)

    def run() -> None:
        start.wait(20)
        told.extend([call() for _ in range(each)])

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(told)


def test_tokens_are_counted_exactly() -> None:
    """As many as the bucket holds, whoever comes: no two calls get the same one."""
    gates, agent = gated(Limits(rate=(Rate(per="agent", count=333), Rate(per="caller", count=400))))
    assert at_once(lambda: passes(gates, agent)) == Counter({True: 333, False: THREADS * 50 - 333})


@pytest.mark.parametrize("queue", [0, 3, THREADS])
def test_no_more_are_inside_than_may_be(queue: int) -> None:
    """Who is admitted is inside with no more than the limit; who is not was told so; and all leave."""
    gates, agent = gated(Limits(concurrency=Concurrency(limit=3, queue=queue)))
    inside, most, lock = [0], [0], threading.Lock()

    def visit() -> None:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        threading.Event().wait(0)
        with lock:
            inside[0] -= 1

    told = at_once(lambda: passes(gates, agent, visit))
    assert told.total() == THREADS * 50 and 0 < most[0] <= 3
    if queue == THREADS:
        assert told == Counter({True: THREADS * 50})
    state = gates.gate(agent).queue
    assert state is not None and state.state.running == state.state.waiting == () and not state.waiting


def test_there_is_one_probe() -> None:
    """Of all that come when the breaker is half open, one goes through; its success closes it for all."""
    gates, agent = gated(Limits(breaker=Breaker(failures=1, open_for=1)))
    assert passes(gates, agent, code=ErrorCode.AGENT_ERROR)
    assert at_once(lambda: passes(gates, agent)) == Counter({False: THREADS * 50})
    clock = gates.clock
    assert isinstance(clock, ManualClock)
    clock.advance(1)
    probing, let = threading.Event(), threading.Event()

    def probes() -> None:
        probing.set()
        assert let.wait(20)

    probe = threading.Thread(target=passes, args=(gates, agent, probes))
    probe.start()
    assert probing.wait(20)
    assert at_once(lambda: passes(gates, agent)) == Counter({False: THREADS * 50})
    let.set()
    probe.join()
    assert at_once(lambda: passes(gates, agent)) == Counter({True: THREADS * 50})


def test_a_passage_is_settled_once() -> None:
    """However often it is said, a call counts once and gives back one place."""
    gates, agent = gated(Limits(breaker=Breaker(failures=2), concurrency=Concurrency(limit=2)))
    envelope = IntentEnvelope(id="1", intent="x", payload=None, caller=Caller(name="c"))
    first, second = (Passage(gates, Arrival(envelope, Control()), "a") for _ in range(2))
    for passage in (first, second):
        assert list(passage.enter_gate(agent)) == []
    for _ in range(3):
        first.settle(ErrorCode.AGENT_ERROR, counts=True)
        first.leave()
    gate = gates.gate(agent)
    assert gate.breaker.failures == 1 and gate.breaker.phase == "closed"
    assert gate.queue is not None and len(gate.queue.state.running) == 1


def test_who_leaves_wakes_the_next() -> None:
    """At once: it need not find out by itself. Of those whose time is up, too, nobody waits on."""
    gates, agent = gated(Limits(concurrency=Concurrency(limit=1, queue=2)))
    soon = datetime.fromtimestamp(gates.clock.time_us() / 1_000_000, UTC) + timedelta(seconds=1)
    waits, passages = [], []
    for deadline in (None, soon, None):
        envelope = IntentEnvelope(
            id="1", intent="x", payload=None, caller=Caller(name="c"), deadline=deadline
        )
        passages.append(Passage(gates, Arrival(envelope, Control()), "a"))
        waits.append(passages[-1].enter_gate(agent))
    assert list(waits[0]) == []
    second, third = (next(wait).control for wait in waits[1:])
    assert isinstance(gates.clock, ManualClock)
    gates.clock.advance(1)
    passages[0].leave()
    assert second.reason is not None and third.reason is not None
    assert list(waits[1]) == list(waits[2]) == []
    assert [passage.verdict["admitted"] for passage in passages] == [True, False, True]


def test_states_go_with_their_agents() -> None:
    """Whoever registers and removes agents for ever does not fill the memory."""
    gates = Gates(None, ManualClock())
    for _ in range(100):
        agent = define_agent("a", lambda: None, handles="x", limits=Limits(breaker=Breaker()))
        assert passes(gates, agent)
        del agent
    assert len(gates._gates) <= 1


def test_all_limits_at_once() -> None:
    """64 threads, half of them with event loops: totals are exact, and all executions replay to a match."""
    done = load(64, 4)
    check(done, 64, 4)
    assert set(replayed(done)) == {Verdict.MATCH}
