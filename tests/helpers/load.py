"""Many threads and event loops against all limits at once; the clock stands still, so that totals are exact.

``PYTHONPATH=tests python tests/helpers/load.py [THREADS] [EACH]`` runs it at length: 64 threads with 1,000
executions each.
"""

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from helpers.turns import short_turns

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
    Verdict,
)

#: Intents of one round of each caller.
INTENTS = ("counted", "crowded", "failing", "parent")
PLACES = 4
EXECUTIONS = 24
FAILURES = 5


class Load(NamedTuple):
    """What came of it.

    Attributes:
        runtime: with all records.
        responses: by intent.
        most: so many calls of the crowded agent were there at once, and executions.
        called: how often each agent was called.
    """

    runtime: IntentusRuntime
    responses: dict[str, list[AgentResponse]]
    most: tuple[int, int]
    called: Counter[str]


class _Inside:
    """How many are inside at once, at most; without any limit of its own."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


def load(threads: int, rounds: int) -> Load:
    """Lets each of so many threads route each intent so often, half of them in event loops."""
    limits = Limits(concurrency=Concurrency(limit=EXECUTIONS, queue=threads))
    runtime = IntentusRuntime(store=MemoryExecutionStore(), clock=ManualClock(), limits=limits)
    crowd, executions, called = _Inside(), _Inside(), Counter[str]()
    lock = threading.Lock()

    def calls(name: str) -> None:
        with lock:
            called[name] += 1

    halves = Rate(per="caller", count=max(1, rounds // 2))

    @runtime.agent("counted", handles="counted", limits=Limits(rate=(halves,)), side_effect="read_only")
    def counted() -> str:
        with executions:
            calls("counted")
        return "counted"

    places = Concurrency(limit=PLACES, queue=threads)

    @runtime.agent("crowded", handles="crowded", limits=Limits(concurrency=places))
    def crowded(ctx: Context) -> Any:
        with crowd:
            calls("crowded")
            ctx.effect("pause", time.sleep, 0)
        return "crowded"

    breaker = Limits(
        breaker=Breaker(failures=FAILURES), retry=Retry(attempts=2, on=("TRANSPORT_ERROR",), base=1e-9)
    )

    @runtime.agent("failing", handles="failing", limits=breaker, side_effect="read_only")
    def failing() -> None:
        calls("failing")
        raise AgentFailure("no", code="TRANSPORT_ERROR")

    @runtime.agent("parent", handles="parent")
    def parent(ctx: Context) -> Any:
        with executions:
            return ctx.route("crowded").payload

    responses: dict[str, list[AgentResponse]] = {intent: [] for intent in INTENTS}
    start = threading.Barrier(threads)

    def routes(number: int) -> None:
        start.wait(60)
        for _ in range(rounds):
            for intent in INTENTS:
                responses[intent].append(runtime.route(intent, caller=f"caller {number}"))

    async def routes_async(number: int) -> None:
        for _ in range(rounds):
            for intent in INTENTS:
                responses[intent].append(await runtime.route_async(intent, caller=f"caller {number}"))

    def loops(number: int) -> None:
        start.wait(60)
        asyncio.run(routes_async(number))

    workers = [
        threading.Thread(target=loops if number % 2 else routes, args=(number,)) for number in range(threads)
    ]
    with short_turns():
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    made = Counter(called)
    return Load(runtime, responses, (crowd.most, executions.most), made)


def check(done: Load, threads: int, rounds: int) -> None:
    """Totals are exact, nobody was let through beyond a limit, and all have ended."""
    executions = threads * rounds
    assert {intent: len(told) for intent, told in done.responses.items()} == dict.fromkeys(
        INTENTS, executions
    )
    codes = {intent: Counter(_codes(told)) for intent, told in done.responses.items()}
    admitted = threads * max(1, rounds // 2)
    assert codes["counted"] == Counter({"ok": admitted, "RATE_LIMIT": executions - admitted})
    assert done.called["counted"] == admitted
    assert codes["crowded"] == codes["parent"] == Counter({"ok": executions})
    assert done.called["crowded"] == 2 * executions
    assert done.most[0] <= PLACES and done.most[1] <= EXECUTIONS
    # Those that were under way when the breaker opened are no more than there were threads.
    assert FAILURES <= done.called["failing"] < FAILURES + threads
    attempts = [a for response in done.responses["failing"] for a in response.attempts]
    failed = Counter(a.error.code.value for a in attempts if a.error is not None)
    assert failed["TRANSPORT_ERROR"] == done.called["failing"]
    assert failed.total() == len(attempts) >= executions
    gates = done.runtime._engine.gates
    queues = [gates.whole(0), gates.gate(done.runtime.registry.get("crowded")).queue]
    assert all(queue.state.running == queue.state.waiting == () and not queue.waiting for queue in queues)


def replayed(done: Load) -> Counter[Verdict]:
    """The verdicts of all their replays, children included."""
    store = done.runtime.store
    assert store is not None
    told: Counter[Verdict] = Counter()
    for response in (response for made in done.responses.values() for response in made):
        told[done.runtime.replay(response.execution_id, nested=True).verdict] += 1
    return told


def _codes(responses: Iterable[AgentResponse]) -> Iterable[str]:
    return (response.error.code.value if response.error else "ok" for response in responses)


if __name__ == "__main__":
    size = [int(word) for word in sys.argv[1:]] or [64, 1000]
    began = time.monotonic()
    result = load(size[0], size[1] // len(INTENTS))
    print(
        f"{sum(map(len, result.responses.values()))} executions, {time.monotonic() - began:.0f} s",
        result.most,
    )
    check(result, size[0], size[1] // len(INTENTS))
    print(result.called, replayed(result), f"{time.monotonic() - began:.0f} s")
