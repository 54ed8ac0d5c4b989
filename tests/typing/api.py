"""What users write, checked by mypy in strict mode and run by nobody: the types of the public API."""

from __future__ import annotations

import datetime
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, assert_type

from pydantic import BaseModel

from intentusnet import (
    AgentFailure,
    AgentResponse,
    Caller,
    Capability,
    Context,
    Difference,
    Divergence,
    ErrorCode,
    ErrorInfo,
    Event,
    ExecutionClosed,
    ExecutionRecord,
    ExecutionStore,
    FileExecutionStore,
    Hook,
    IntentEnvelope,
    IntentRef,
    IntentusRuntime,
    ManualClock,
    MemoryExecutionStore,
    Page,
    Query,
    Refused,
    ReplayReport,
    RoutingOptions,
    RoutingStrategy,
    Row,
    SeededIds,
    Verdict,
    diff_records,
    effect,
)


class Ticket(BaseModel):
    text: str


@dataclass
class Label:
    name: str
    at: datetime.datetime


runtime = IntentusRuntime(store="records", policy="policy.toml")
IntentusRuntime(store=FileExecutionStore("records", durability="disk"), policy={"default": "allow"})
IntentusRuntime(
    store=MemoryExecutionStore(), clock=ManualClock(), ids=SeededIds(1), environ={}, write_ahead="effects"
)


@effect(side_effect="irreversible", idempotent=True)
def pay(amount: int, *, key: str) -> str:
    return f"{amount} {key}"


@effect
def ask_model(prompt: str) -> dict[str, float]:
    return {prompt: 0.5}


class Pay(Protocol):
    def __call__(self, amount: int, *, key: str) -> str: ...


still_pays: Pay = pay
assert_type(ask_model("x"), dict[str, float])


@runtime.agent("triage", handles="ticket.classify", version="1.2", side_effect="read_only")
def triage(ticket: Ticket, ctx: Context) -> Label:
    assert_type(ctx.effect("pay", pay, 5, key=ctx.idempotency_key), str)
    assert_type(ctx.effect("model", ask_model, ticket.text), dict[str, float])
    assert_type(ctx.effect("length", len, ticket.text), int)
    assert_type(ctx.now(), datetime.datetime)
    assert_type(ctx.monotonic(), float)
    assert_type(ctx.uuid(), uuid.UUID)
    assert_type(ctx.random, random.Random)
    assert_type(ctx.env("A"), str | None)
    assert_type(ctx.env("A", "default"), str)
    assert_type(ctx.envelope, IntentEnvelope)
    assert_type(ctx.route("other", {"a": 1}, strategy="fallback"), AgentResponse)
    assert_type(ctx.gather(lambda: 1, lambda: 2), list[int])
    assert_type(ctx.execution_id, str)
    ctx.sleep(0.5)
    ctx.log("note", found=ticket.text)
    if not ticket.text:
        raise AgentFailure("empty", code=ErrorCode.VALIDATION_ERROR, details={"field": "text"})
    return Label(name=ticket.text, at=ctx.now())


still_a_function: Callable[[Ticket, Context], Label] = triage


@runtime.agent(
    "object",
    handles=["a.*@>=1", Capability(intent="b")],
    rank=1,
    remote=True,
    idempotent=True,
    description="d",
)
class Handler:
    def handle(self, payload: dict[str, Any]) -> int:
        return len(payload)


assert_type(Handler().handle({}), int)

response = runtime.route(
    "ticket.classify",
    Ticket(text="…"),
    strategy=RoutingStrategy.FALLBACK,
    caller="ann",
    roles=["r"],
    tenant="t",
    tags=("t",),
    timeout=2,
    idempotency_key="k",
    durability="os",
    in_flight="refuse",
)
assert_type(response, AgentResponse)
assert_type(response.ok, bool)
assert_type(response.from_record, bool)
assert_type(response.error, ErrorInfo | None)

envelope = IntentEnvelope(
    intent=IntentRef(name="x"),
    caller=Caller(name="ann"),
    routing=RoutingOptions(strategy=RoutingStrategy.DIRECT),
)
assert_type(runtime.router.route_intent(envelope), AgentResponse)
assert_type(runtime.envelope("x", {"a": 1}), IntentEnvelope)

store: ExecutionStore = MemoryExecutionStore()
assert_type(store.list(Query(status="error")), Page)
assert_type(store.list().rows, tuple[Row, ...])
record = store.get(store.resolve("@last"))
assert_type(record, ExecutionRecord)
assert_type(record.response, AgentResponse)
report = runtime.replay(record)
assert_type(report, ReplayReport)
assert_type(report.divergences, tuple[Divergence, ...])
assert_type(diff_records(record, record), tuple[Difference, ...])
if report.verdict is Verdict.MATCH:
    assert_type(report.taken, tuple[str, ...])

with runtime.configure(store=store) as other:
    assert_type(other, IntentusRuntime)


class Guarding(Hook):
    name = "guard"

    def before(self, envelope: IntentEnvelope) -> None:
        raise Refused("no", code=ErrorCode.UNAUTHORIZED, details={"intent": envelope.intent.name})

    async def after(self, envelope: IntentEnvelope, response: AgentResponse) -> None:
        assert_type(response.ok, bool)

    def on_event(self, event: Event) -> None:
        if isinstance(event, ExecutionClosed):
            assert_type(event.took_us, int)
            assert_type(event.code, str | None)


IntentusRuntime(hooks=[Guarding()])
