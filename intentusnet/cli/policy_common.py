"""What the policy commands share: which policy is meant, which candidates, and how faults are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intentusnet.cli.app import Invocation, did_you_mean

if TYPE_CHECKING:
    from intentusnet.cli.output import Output
    from intentusnet.envelope import IntentEnvelope
    from intentusnet.policy import AgentFacts, EnvelopeFacts, Policy, RuleTrace
    from intentusnet.routing.plan import Plan
    from intentusnet.runtime import IntentusRuntime

NEEDS_AGENT = "depends on the agent"


def app_runtime(invocation: Invocation) -> IntentusRuntime | None:
    """The app's runtime as the app made it, or None if no app is set."""
    from intentusnet.cli.settings import load_app

    if invocation.settings.app.value is None:
        return None
    with invocation.foreign_code():
        return load_app(invocation.settings)


def policy_in_force(invocation: Invocation, runtime: IntentusRuntime | None) -> Policy:
    """The policy of the setting, or else the app's own; a warning says if there is none."""
    from intentusnet.cli.settings import configured_policy
    from intentusnet.policy import NO_POLICY

    if invocation.settings.policy.value is not None:
        return configured_policy(invocation.settings)
    policy = NO_POLICY if runtime is None else runtime.policy
    if policy.digest is None:
        invocation.output.warn("No policy is set: everything is allowed.")
    return policy


def candidates_of(
    runtime: IntentusRuntime | None, envelope: IntentEnvelope, name: str | None
) -> tuple[list[AgentFacts | None], str | None]:
    """For whom is decided, and why for nobody. Without an app an agent is a name; None is one not known."""
    from intentusnet.errors import InvalidInput
    from intentusnet.policy import AgentFacts
    from intentusnet.policy.facts import agent_facts

    if runtime is None:
        return [None if name is None else AgentFacts(name)], None
    if name is None:
        plan: Plan = runtime.plan(envelope)
        refusal = plan.refusal.message if plan.refusal is not None and not plan.candidates else None
        return [agent_facts(candidate.agent) for candidate in plan.candidates], refusal
    agent = runtime.registry.get(name)
    if agent is None:
        names = [known.name for known in runtime.registry.agents()]
        raise InvalidInput(
            f"no agent is named {name!r}",
            where="--agent",
            expected=", ".join(names),
            hint=did_you_mean(name, names).strip(),
        )
    return [agent_facts(agent)], None


def decided(policy: Policy, facts: EnvelopeFacts, agent: AgentFacts | None) -> dict[str, Any]:
    """The decision as JSON; without an agent, ``allowed`` is None if it depends on which one it is."""
    from intentusnet.policy import AgentFacts, CompiledPolicy
    from intentusnet.policy import explain as explained

    if agent is None and isinstance(policy, CompiledPolicy):
        traces = [trace for trace in explained(policy, facts, None) if trace.verdict != "not matched"]
        if any(map(_is_open, traces)) and not any(trace.verdict == "applied" for trace in traces):
            denied = any(trace.effect == "deny" and not _is_open(trace) for trace in traces)
            return {"allowed": False if denied else None, "rule": None, "cause": NEEDS_AGENT}
    # Where no condition on agents can matter, any agent stands for all of them.
    decision = policy.stage(facts).decide(agent or AgentFacts(""))
    return {"allowed": decision.allowed, "rule": decision.rule, "cause": decision.cause}


def _is_open(trace: RuleTrace) -> bool:
    return any(condition.why == NEEDS_AGENT for condition in trace.conditions)


def print_faults(out: Output, faults: list[dict[str, str]]) -> None:
    """Faults of a file below each other."""
    from intentusnet.cli.output import fields, styled

    for fault in faults:
        out.print(styled(fault["message"], "red"))
        out.print(fields((part, text) for part, text in fault.items() if part != "message" and text))
