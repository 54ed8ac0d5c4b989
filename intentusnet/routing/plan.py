"""The plan: the ordered candidates with each one's policy decision, and who of them is called.

A pure function of envelope, registry and policy, and of the numbers of the budgets that the policy compares,
which are part of the plan; nothing else may decide who is called, so that a record's
plan can be made again and compared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple

from intentusnet import values
from intentusnet.agents import Agent
from intentusnet.catalog import Catalog
from intentusnet.envelope import IntentEnvelope, IntentRef, RoutingStrategy
from intentusnet.errors import InvalidAgent
from intentusnet.fingerprint import compared_plan
from intentusnet.policy.compile import NO_POLICY
from intentusnet.policy.decide import AgentFacts, Decision, EnvelopeFacts
from intentusnet.policy.engine import Policy
from intentusnet.policy.facts import Budgets, agent_facts, facts_of
from intentusnet.record import implied_steps
from intentusnet.registry import Registry
from intentusnet.response import ErrorCode, ErrorInfo
from intentusnet.transcript import ROOT_SCOPE, Question, turn_of

#: Plans are kept for that many lists of candidates, with what was decided about each.
_KEPT: Final = 256
#: Longer ones that a policy has decided about are not kept: they may differ from request to request.
_FEW: Final = 64
#: Without a policy the decision is the same for every envelope and agent.
_UNRULED: Final = NO_POLICY.decide(EnvelopeFacts(intent=""), AgentFacts(name=""))


# A tuple, because one is made for every agent that is decided about.
class Candidate(NamedTuple):
    """An agent that handles the intent, and what the policy says of calling it."""

    agent: Agent
    decision: Decision

    def tree(self) -> dict[str, Any]:
        """The candidate as it stands in the log."""
        definition, decision = self.agent.definition, self.decision
        return {
            "agent": definition.name,
            "allowed": decision.allowed,
            "cause": decision.cause,
            "idempotent": definition.idempotent,
            "remote": definition.remote,
            "rule": decision.rule,
            "side_effect": definition.side_effect,
            "version": definition.version,
        }


@dataclass(frozen=True)
class Plan:
    """Who may be called, and who is.

    Attributes:
        strategy: how the steps are called.
        candidates: every agent that handles the intent, allowed or not, in order.
        steps: the agents that are called, in order; attempt k calls step k, and retries as `turn_of` says.
        race: whether the first success decides a parallel execution.
        refusal: why nobody is called.
        is_given: whether the refusal came before the plan, which cannot find it again: it is on record.
        budget: the numbers that the policy decided on, by their names; None if it compares none.
        gated: the router asks whether a call may be made, and made again; see `transcript`.
    """

    strategy: RoutingStrategy
    candidates: tuple[Candidate, ...]
    steps: tuple[Agent, ...]
    race: bool = False
    refusal: ErrorInfo | None = None
    budget: Budgets | None = None
    gated: bool = False
    is_given: bool = False

    def agent(self, attempt: int) -> Agent:
        """The agent that an attempt calls."""
        steps = self.steps
        return steps[attempt] if attempt < len(steps) else steps[turn_of(attempt, len(steps))[0]]

    def tree(self) -> dict[str, Any]:
        """The plan as it stands in the log."""
        told: dict[str, Any] = {} if self.budget is None else {"budget": values.tree(dict(self.budget))}
        if self.gated:
            told["gated"] = True
        if self.is_given and self.refusal is not None:
            told["refused"] = self.refusal.tree()
        return {
            "candidates": [candidate.tree() for candidate in self.candidates],
            "steps": [agent.name for agent in self.steps],
            "strategy": self.strategy.value,
            **told,
        }

    @cached_property
    def able(self) -> tuple[Agent, ...]:
        """The agents that handle the intent, allowed or not, in order."""
        return tuple([candidate.agent for candidate in self.candidates])

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """The questions that the first calls of its steps are."""
        return tuple([question_of(agent, attempt) for attempt, agent in enumerate(self.steps)])

    @cached_property
    def encoded(self) -> bytes:
        """The plan's bytes as they stand in the log."""
        return values.dumps(self.tree())

    @cached_property
    def compared(self) -> bytes:
        """The bytes of what `compared_plan` leaves of it."""
        return values.dumps(compared_plan(self.tree()))

    @cached_property
    def announced(self) -> int:
        """How many attempts the `opened` entry announces, so that they need no `asked` entry."""
        return len(implied_steps(self.tree()))

    @cached_property
    def behind_gates(self) -> Plan:
        """The same plan, where limits and guards come first; see `gated`."""
        return replace(self, gated=True)

    @cached_property
    def limited(self) -> bool:
        """Whether one of the agents has limits of its own."""
        return any(agent.definition.limits is not None for agent in self.steps)

    @cached_property
    def awaited(self) -> tuple[Agent, ...]:
        """The agents that are asynchronous."""
        return tuple([agent for agent in self.steps if agent.is_async])

    @cached_property
    def apart(self) -> tuple[Agent, ...]:
        """The agents that run in processes of their own."""
        return tuple([agent for agent in self.steps if agent.definition.isolation == "process"])

    @cached_property
    def acting(self) -> tuple[int, ...]:
        """The attempts whose agents are not read-only."""
        side_effects = (agent.definition.side_effect for agent in self.steps)
        return tuple(attempt for attempt, kind in enumerate(side_effects) if kind != "read_only")


def question_of(agent: Agent, attempt: int) -> Question:
    """The question that the call of an agent is."""
    told = agent.definition
    return Question(
        ROOT_SCOPE, attempt, "agent", told.name, side_effect=told.side_effect, idempotent=told.idempotent
    )


def make_plan(
    envelope: IntentEnvelope,
    registry: Registry,
    policy: Policy,
    *,
    depth: int = 0,
    max_depth: int,
    budget: Budgets | None = None,
) -> Plan:
    """Decides who may handle the intent and who is called.

    Args:
        envelope: the request.
        registry: the agents.
        policy: the compiled policy.
        depth: how many executions this one is nested in.
        max_depth: how many it may be nested in.
        budget: sums of usage by the names of the policy's budgets; None, or nothing, is unknown.
    """
    options = envelope.routing
    if depth > max_depth:
        return Plan(options.strategy, (), (), refusal=_too_deep(depth, max_depth))
    intent, catalog = envelope.intent, registry.catalog
    agents = catalog.candidates(intent.name, intent.version)
    missing = None
    if options.target is not None or options.fallback:
        agents, missing = _listed(envelope, catalog, agents)
    elif not agents:
        missing = _nobody(envelope)
    if missing is not None:
        return Plan(options.strategy, (), (), refusal=missing)
    if policy is NO_POLICY:
        return _unruled(agents, options.strategy, options.prefer)
    stage = policy.stage(facts_of(envelope, budget))
    candidates = tuple([Candidate(agent, stage.decide(agent_facts(agent))) for agent in agents])
    plan = _plan(candidates, options.strategy, options.prefer)
    return replace(plan, budget=budget) if policy.budgets else plan


def refused_plan(envelope: IntentEnvelope, refusal: ErrorInfo) -> Plan:
    """The plan of a request that is refused before anybody has decided about it."""
    return Plan(envelope.routing.strategy, (), (), refusal=refusal, is_given=True)


def recorded_refusal(plan: Mapping[str, Any]) -> ErrorInfo | None:
    """Why a recorded request was refused before there was a plan; None if it was not."""
    return ErrorInfo.from_tree(plan["refused"]) if "refused" in plan else None


# Without a policy, not even the candidates need be made again.
@lru_cache(maxsize=_KEPT)
def _unruled(agents: tuple[Agent, ...], strategy: RoutingStrategy, prefer: str) -> Plan:
    return _plan(tuple(Candidate(agent, _UNRULED) for agent in agents), strategy, prefer)


def _plan(candidates: tuple[Candidate, ...], strategy: RoutingStrategy, prefer: str) -> Plan:
    allowed = tuple([candidate.agent for candidate in candidates if candidate.decision.allowed])
    if not allowed:
        return Plan(strategy, candidates, (), refusal=_denied(candidates))
    if strategy is RoutingStrategy.DIRECT:
        allowed = allowed[:1]
    race = strategy is RoutingStrategy.PARALLEL and prefer == "first" and len(allowed) > 1
    made = _kept if len(candidates) <= _FEW else Plan
    return made(strategy, candidates, allowed, race)


# The same plans come again and again: what they are asked for is worked out once, and kept with them.
_kept = lru_cache(maxsize=_KEPT)(Plan)


def _listed(
    envelope: IntentEnvelope, catalog: Catalog, found: tuple[Agent, ...]
) -> tuple[tuple[Agent, ...], ErrorInfo | None]:
    """The agents that an envelope names, in its order; or why it cannot have them."""
    intent, options = envelope.intent, envelope.routing
    listed = options.fallback if options.target is None else (options.target,)
    able = {agent.name: agent for agent in found}
    steps: dict[Agent, None] = {}
    for name in listed:
        agent = able.get(name) or _in_range(name, catalog, intent)
        if agent is None:
            return (), _unable(name, catalog, envelope, tuple(able))
        steps[agent] = None
    return tuple(steps), None


def _in_range(reference: str, catalog: Catalog, intent: IntentRef) -> Agent | None:
    """The agent that is meant by ``name@versions``; None if there is none, or the range cannot be read."""
    with contextlib.suppress(InvalidAgent):
        return catalog.find(reference, intent.name, intent.version)
    return None


def _nobody(envelope: IntentEnvelope) -> ErrorInfo:
    intent = envelope.intent
    return ErrorInfo(
        code=ErrorCode.CAPABILITY_NOT_FOUND,
        message=f"no agent handles intent {intent.name!r} in version {intent.version}",
        details={"intent": intent.name, "version": intent.version},
    )


def _unable(name: str, catalog: Catalog, envelope: IntentEnvelope, able: tuple[str, ...]) -> ErrorInfo:
    known = catalog.get(name) is not None or catalog.get(name.rpartition("@")[0]) is not None
    why = f"does not handle intent {envelope.intent.name!r}" if known else "is not registered"
    return ErrorInfo(
        code=ErrorCode.CAPABILITY_NOT_FOUND,
        message=f"agent {name!r} {why}",
        details={"agent": name, "able": list(able), "intent": envelope.intent.name},
    )


def _denied(candidates: tuple[Candidate, ...]) -> ErrorInfo:
    decision = candidates[0].decision
    by = "the policy's default" if decision.rule is None else f"rule {decision.rule!r}"
    reason = "" if decision.reason.startswith("denied by ") else f": {decision.reason}"
    return ErrorInfo(
        code=ErrorCode.POLICY_DENIAL,
        message=f"denied by {by} ({decision.cause}){reason}",
        details={
            "denied": [
                {"agent": c.agent.name, "cause": c.decision.cause, "rule": c.decision.rule}
                for c in candidates
            ]
        },
    )


def _too_deep(depth: int, max_depth: int) -> ErrorInfo:
    return ErrorInfo(
        code=ErrorCode.ROUTING_ERROR,
        message=f"executions are nested more than {max_depth} deep:"
        " an agent routes to itself, directly or by others",
        details={"depth": depth, "max_depth": max_depth},
    )
