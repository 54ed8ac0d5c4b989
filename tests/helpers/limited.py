"""Agents behind limits, and what their records say of it."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from intentusnet import (
    AgentFailure,
    AgentResponse,
    IntentusRuntime,
    Limits,
    ManualClock,
    MemoryExecutionStore,
    values,
)
from intentusnet.record import ExecutionRecord

READS: dict[str, Any] = {"side_effect": "read_only"}


def limited(limits: Limits | None = None, **options: Any) -> IntentusRuntime:
    """A runtime on a clock that stands still."""
    return IntentusRuntime(
        **{"store": MemoryExecutionStore(), "clock": ManualClock(), "limits": limits, **options}
    )


def record_of(runtime: IntentusRuntime, response: AgentResponse) -> ExecutionRecord:
    assert runtime.store is not None
    return runtime.store.get(response.execution_id)


def verdicts(runtime: IntentusRuntime, response: AgentResponse) -> dict[str, Any]:
    """What is on record of admissions, by scope and name."""
    return {
        f"{q.scope} {q.name}": values.untag(values.parse(q.answer.data))
        for q in record_of(runtime, response).questions
        if q.kind == "admission" and q.answer is not None
    }


class Flaky:
    """Agents by name that end as their scripts say: None is a success, text the code of a failure.

    A script is taken up anew by each execution, so that a replay meets the same agent.
    """

    def __init__(self, runtime: IntentusRuntime, **scripts: Iterable[str | None]) -> None:
        self.runtime = runtime
        self.scripts = {name: list(script) for name, script in scripts.items()}
        self.called: list[str] = []
        self._lock = threading.Lock()

    def add(self, name: str, rank: int = 0, **traits: Any) -> None:
        self.runtime.agent(name, handles="x", rank=rank, **traits)(lambda ctx: self._act(name, ctx))

    def _act(self, name: str, ctx: Any) -> Any:
        # By the scope, and not by counting: that is what a replay is told, too.
        attempt = int(ctx._root.path.partition(":")[2])
        with self._lock:
            self.called.append(name)
        script = self.scripts[name]
        routing = ctx.envelope.routing
        steps = 1 if routing.target or routing.strategy == "direct" else len(self.scripts)
        code = script[min(attempt // (steps + 1), len(script) - 1)]
        if code is not None:
            raise AgentFailure(f"{name} fails", code=code)
        return name


def queued(runtime: IntentusRuntime, name: str) -> int:
    """How many calls wait for a place at an agent."""
    gates = runtime._engine.gates
    queue = gates.gate(runtime.registry.get(name)).queue
    return 0 if queue is None else len(queue.state.waiting)


def until(condition: Callable[[], bool]) -> None:
    """Looks until it is so: nothing tells when somebody has come to wait."""
    for _ in range(10_000):
        if condition():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it never came to be so")
