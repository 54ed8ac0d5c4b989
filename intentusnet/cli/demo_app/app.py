"""A small support desk: seven agents behind one router, everything on record in `.intentusnet`.

An agent meets the world through its context alone: `ctx.effect` for a model or a payment, `ctx.route` for
another agent. So every execution can be run again from its record, without a model or a second payment:

    intentusnet route ticket.handle '{"text": "You charged me twice", "amount": 40}'
    intentusnet replay @last
"""

import json
import random
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, Field

from intentusnet import AgentFailure, Context, IntentusRuntime, RoutingStrategy, effect

HERE = Path(__file__).parent

runtime = IntentusRuntime(store=HERE / ".intentusnet", policy=HERE / "policy.toml")


class Ticket(BaseModel):
    """What a customer wrote, and the euros that it is about."""

    text: str = Field(min_length=1)
    customer: str = "ada"
    amount: int = Field(default=0, ge=0)


class Label(BaseModel):
    """What a ticket is."""

    topic: Literal["refund", "question"]
    confidence: float
    urgent: bool = False


class Refund(BaseModel):
    """Euros for a customer."""

    customer: str
    amount: int = Field(gt=0)


# --- the world: what stands in for it here is never the same twice, as the world is ---


@effect(side_effect="read_only")
def ask_model(prompt: str) -> dict[str, Any]:
    """Stands in for a language model."""
    topic = "refund" if "charged" in prompt or "money back" in prompt else "question"
    greeting = random.choice(["Hello", "Good day", "Dear customer"])
    return {"topic": topic, "greeting": greeting, "confidence": round(random.uniform(0.7, 0.99), 3)}


@effect(side_effect="read_only")
def ask_large_model(prompt: str) -> str:
    """Stands in for a better model on a bad day."""
    raise TimeoutError("no answer from the large model within 30 s")


@effect(side_effect="irreversible", idempotent=True)
def pay(customer: str, amount: int, key: str) -> str:
    """Stands in for a payment provider: its book is ledger.jsonl, which no replay writes to."""
    payment = {"payment": uuid4().hex[:8], "customer": customer, "amount": amount, "key": key}
    with (HERE / "ledger.jsonl").open("a") as ledger:
        ledger.write(json.dumps(payment) + "\n")
    return str(payment["payment"])


# --- the agents ---


@runtime.agent("triage", handles="ticket.classify", version="1.0", side_effect="read_only")
def triage(ticket: Ticket, ctx: Context) -> Label:
    """Tells refunds from questions."""
    answer = ctx.effect("model", ask_model, f"Is this a refund or a question? {ticket.text}")
    return Label(topic=answer["topic"], confidence=answer["confidence"])


@runtime.agent("refunds", handles="refund.issue", side_effect="read_only")
def refunds(refund: Refund, ctx: Context) -> dict[str, Any]:
    """Pays money back; policy.toml says how much."""
    payment = ctx.effect("payment", pay, refund.customer, refund.amount, ctx.idempotency_key)
    return {"payment": payment, "amount": refund.amount, "at": ctx.now().isoformat(timespec="seconds")}


@runtime.agent("manual", handles="knowledge.search", side_effect="read_only")
def manual(ticket: Ticket) -> list[str]:
    """Searches the manual."""
    pages = {"password": "page 12: passwords", "invoice": "page 30: invoices", "charged": "page 31: payments"}
    return [page for word, page in pages.items() if word in ticket.text.lower()]


@runtime.agent("past-tickets", handles="knowledge.search", rank=1, side_effect="read_only")
def past_tickets(ticket: Ticket, ctx: Context) -> list[str]:
    """Searches what others have asked."""
    words = sorted(set(ticket.text.lower().split()))
    return [f"ticket {ctx.random.randrange(1000, 9999)} is about {word!r}" for word in words if len(word) > 7]


@runtime.agent("writer-large", handles="reply.draft", rank=0, side_effect="read_only")
def writer_large(ticket: Ticket, ctx: Context) -> str:
    """Writes the better replies, when its model is there."""
    try:
        return ctx.effect("large-model", ask_large_model, ticket.text)
    except TimeoutError as fault:
        raise AgentFailure(str(fault), code="AGENT_UNAVAILABLE") from fault


@runtime.agent("writer-small", handles="reply.draft", rank=1, side_effect="read_only")
def writer_small(ticket: Ticket, ctx: Context) -> str:
    """Writes a reply in any case."""
    answer = ctx.effect("model", ask_model, f"Draft a reply to: {ticket.text}")
    return f"{answer['greeting']}, thank you for your message. We are looking into it."


@runtime.agent("desk", handles="ticket.handle", side_effect="read_only")
def desk(ticket: Ticket, ctx: Context) -> dict[str, Any]:
    """Handles a ticket from beginning to end by routing to the others."""
    label = ctx.route("ticket.classify", ticket)
    found = ctx.route("knowledge.search", ticket, strategy=RoutingStrategy.BROADCAST)
    reply = ctx.route("reply.draft", ticket, strategy=RoutingStrategy.FALLBACK)
    handled = {
        "topic": label.payload["topic"],
        "sources": [source for outcome in found.payload for source in outcome["payload"]],
        "reply": reply.payload,
        "written_by": reply.agent,
    }
    if label.payload["topic"] == "refund":
        refund = ctx.route("refund.issue", {"customer": ticket.customer, "amount": ticket.amount})
        handled["refund"] = refund.payload if refund.error is None else refund.error.message
    return handled


if __name__ == "__main__":
    response = runtime.route("ticket.handle", {"text": "You charged me twice", "amount": 40})
    print(response.model_dump_json(indent=2))
