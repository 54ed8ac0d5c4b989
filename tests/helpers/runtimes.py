"""Runtimes with a store of their own, and agents that do no more than they have to."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

from intentusnet import AgentFailure, AgentResponse, IntentusRuntime, MemoryExecutionStore, Verdict

#: Every order in which `three` agents can end.
ORDERS = list(itertools.permutations(range(3)))


def runtime_of(**options: Any) -> IntentusRuntime:
    return IntentusRuntime(**{"store": MemoryExecutionStore(), **options})


def fails(message: str = "no", **options: Any) -> Callable[[], None]:
    def agent() -> None:
        raise AgentFailure(message, **options)

    return agent


def gives(value: Any) -> Callable[[], Any]:
    return lambda: value


def three(
    order: tuple[int, ...] | None = None, failing: tuple[int, ...] = (), **options: Any
) -> tuple[IntentusRuntime, list[int]]:
    """Agents 0, 1 and 2, in the order of rank; with an order, agents end in it."""
    runtime, ended = runtime_of(), []
    turns = [threading.Event() for _ in range(4)]
    turns[0].set()

    def agent_of(number: int) -> Callable[[], Any]:
        def agent() -> Any:
            if order is not None:
                turn = order.index(number)
                assert turns[turn].wait(10)
                turns[turn + 1].set()
            ended.append(number)
            if number in failing:
                raise AgentFailure(f"no {number}")
            return number

        return agent

    for number in range(3):
        runtime.agent(f"agent{number}", handles="x", rank=number, **options)(agent_of(number))
    return runtime, ended


def replays(runtime: IntentusRuntime, response: AgentResponse) -> None:
    report = runtime.replay(response.execution_id)
    assert report.verdict is Verdict.MATCH, report
