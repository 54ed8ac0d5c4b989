"""One agent, routed to, recorded and replayed."""

from collections.abc import Callable
from typing import Any

from intentusnet import AgentResponse, ExecutionRecord, IntentusRuntime, MemoryExecutionStore, Verdict


def run(
    agent: Callable[..., Any], payload: Any = None, *, replays: bool = True, **options: Any
) -> AgentResponse:
    """Routes to one agent; the record has to replay to match unless told otherwise."""
    return recorded(agent, payload, replays=replays, **options)[0]


def recorded(
    agent: Callable[..., Any], payload: Any = None, *, replays: bool = True, route: Any = None, **options: Any
) -> tuple[AgentResponse, ExecutionRecord]:
    runtime = IntentusRuntime(store=MemoryExecutionStore(), **options)
    runtime.agent("agent", handles="x")(agent)
    runtime.agent("child", handles="child")(lambda payload: {"child": payload})
    response = runtime.route("x", payload, **(route or {}))
    record = runtime.store.get(response.execution_id)
    if replays:
        report = runtime.replay(record)
        assert report.verdict is Verdict.MATCH, report
    return response, record


def value(agent: Callable[..., Any], **options: Any) -> Any:
    response = run(agent, **options)
    assert response.ok, response.error
    return response.payload
