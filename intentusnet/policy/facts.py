"""From a request and its candidates to the facts that policies decide on: as it is routed, and from a record.

Both give the same facts, so that a policy comes to the same decisions about a record as it would have then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intentusnet import values
from intentusnet.agents import Agent
from intentusnet.envelope import IntentEnvelope
from intentusnet.policy.decide import AgentFacts, EnvelopeFacts
from intentusnet.sums import Number

#: Sums of usage, by the names of their budgets; None where nothing can be known.
Budgets = Mapping[str, Number | None]


def facts_of(envelope: IntentEnvelope, budget: Budgets | None = None) -> EnvelopeFacts:
    """What policies may know of an envelope.

    Args:
        envelope: the request.
        budget: sums of usage, by the names of their budgets.
    """
    return EnvelopeFacts(
        intent=envelope.intent.name,
        version=envelope.intent.version,
        payload=envelope.payload,
        caller=envelope.caller.name,
        roles=envelope.caller.roles,
        tenant=envelope.caller.tenant,
        tags=envelope.tags,
        budget=budget,
    )


def agent_facts(agent: Agent) -> AgentFacts:
    """What policies may know of an agent."""
    definition = agent.definition
    return AgentFacts(definition.name, definition.version, definition.side_effect)


def recorded_facts(
    envelope: Mapping[str, Any], plan: Mapping[str, Any], *, payload: bool = True
) -> EnvelopeFacts:
    """What policies may know of a recorded envelope.

    Args:
        envelope, plan: raw trees, as in an `ExecutionRecord`. The plan has the budgets that were compared.
        payload: whether the payload is wanted; without it, it is None.

    Raises:
        InvalidInput: payload or budgets are not of the recorded format.
    """
    caller, intent = envelope["caller"], envelope["intent"]
    return EnvelopeFacts(
        intent=intent["name"],
        version=intent["version"],
        payload=values.untag(envelope["payload"]) if payload else None,
        caller=caller["name"],
        roles=tuple(caller["roles"]),
        tenant=caller["tenant"],
        tags=tuple(envelope["tags"]),
        budget=recorded_budget(plan),
    )


def recorded_budget(plan: Mapping[str, Any]) -> Budgets | None:
    """The numbers that a recorded plan was made with; None if no policy compared any.

    Args:
        plan: a raw tree, as in an `ExecutionRecord`.

    Raises:
        InvalidInput: they are not of the recorded format.
    """
    budget = plan.get("budget")
    return None if budget is None else values.untag(budget)


def recorded_candidate(candidate: Mapping[str, Any]) -> AgentFacts:
    """What policies may know of a recorded candidate."""
    return AgentFacts(candidate["agent"], candidate["version"], candidate["side_effect"])
