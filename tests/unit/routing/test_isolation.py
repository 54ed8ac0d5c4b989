"""Whatever an agent does, an answer comes out."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from intentusnet import (
    AgentFailure,
    AgentResponse,
    IntentusRuntime,
    MemoryExecutionStore,
    RoutingStrategy,
    Verdict,
)
from intentusnet.errors import ControlSignal

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


class Custom(BaseException):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


class Bare(AgentFailure):
    def __init__(self) -> None:
        pass


class Loud(AgentFailure):
    code = ["not", "a", "code"]  # type: ignore[assignment]  # noqa: RUF012 - what somebody may do


def recurse() -> Any:
    return recurse()


def raises(make: Callable[[], BaseException]) -> Callable[[], Any]:
    def agent() -> Any:
        raise make()

    return agent


@pytest.mark.parametrize("strategy", list(RoutingStrategy))
@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        (raises(lambda: ValueError("x")), "ValueError"),
        (raises(lambda: SystemExit(1)), "SystemExit"),
        (raises(GeneratorExit), "GeneratorExit"),
        (raises(lambda: StopIteration(1)), "StopIteration"),
        (raises(StopAsyncIteration), "StopAsyncIteration"),
        (raises(lambda: Custom("x")), "Custom"),
        (raises(MemoryError), "MemoryError"),
        (raises(lambda: BaseExceptionGroup("g", [Custom()])), "BaseExceptionGroup"),
        (raises(lambda: ValueError("\ud800")), "ValueError"),
        (raises(Unprintable), "Unprintable"),
        (raises(Bare), "Bare"),
        (raises(lambda: AgentFailure("m", code="no such code")), "AgentFailure"),
        (raises(lambda: AgentFailure("m", details={1: 2})), "AgentFailure"),  # type: ignore[dict-item]  # likewise
        (raises(lambda: AgentFailure("m", details={"a": object()})), "AgentFailure"),
        (recurse, "RecursionError"),
    ],
)
def test_no_exception_of_an_agent_escapes(
    agent: Callable[[], Any], kind: str, strategy: RoutingStrategy
) -> None:
    """Whatever an agent raises is an AGENT_ERROR with its class, and replays to the same."""
    runtime = runtime_of()
    runtime.agent("a", handles="x", rank=0)(agent)
    runtime.agent("b", handles="x", rank=1)(agent)
    response = runtime.route("x", strategy=strategy)
    assert response.error is not None
    assert (response.error.code, response.error.type) == ("AGENT_ERROR", kind)
    replays(runtime, response)


def test_an_agent_may_fail_with_a_code_and_details() -> None:
    """AgentFailure brings code and details."""
    runtime = runtime_of()
    runtime.agent("a", handles="x")(fails("slow down", code="RATE_LIMIT", details={"after": (1, 2)}))
    error = runtime.route("x").error
    assert error is not None
    assert (error.code, error.message, error.details) == ("RATE_LIMIT", "slow down", {"after": (1, 2)})


def test_control_signals_are_no_exceptions() -> None:
    """An agent's `except Exception` cannot swallow what must unwind it."""
    assert not issubclass(ControlSignal, Exception)


def test_a_payload_that_does_not_fit_is_refused_at_the_door() -> None:
    """The agent is not called; the error names path, expectation and value, and fallback goes on."""
    runtime, called = runtime_of(), []

    @runtime.agent("typed", handles="x", rank=0)
    def typed(payload: dict[str, int]) -> None:
        called.append(payload)

    runtime.agent("any", handles="x", rank=1)(lambda payload: "any")
    response = runtime.route("x", {"a": "text"}, strategy="fallback")
    assert response.payload == "any" and not called
    error = response.attempts[0].error
    assert error is not None and error.code == "VALIDATION_ERROR" and "/a" in error.message
    replays(runtime, response)
