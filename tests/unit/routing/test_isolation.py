"""Whatever an agent does, an answer comes out."""

from collections.abc import Callable
from typing import Any

import pytest
from helpers.runtimes import fails, replays, runtime_of

from intentusnet import (
    AgentFailure,
    RoutingStrategy,
)
from intentusnet.errors import ControlSignal


class Custom(BaseException):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


class Bare(AgentFailure):
    def __init__(self) -> None:
        pass


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
