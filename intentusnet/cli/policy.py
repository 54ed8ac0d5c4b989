"""`policy check` and `policy explain`: is the file sound, and what would it decide?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intentusnet.cli.app import Invocation, did_you_mean, pass_invocation, shared_options

if TYPE_CHECKING:
    from intentusnet.cli.output import Output
    from intentusnet.envelope import IntentEnvelope
    from intentusnet.policy import (
        AgentFacts,
        CompiledPolicy,
        Decision,
        EnvelopeFacts,
        PolicySource,
        RuleTrace,
    )
    from intentusnet.routing.plan import Plan
    from intentusnet.runtime import IntentusRuntime

_NEEDS_AGENT = "depends on the agent"


@click.group("policy")
def command() -> None:
    """Check a policy, and explain its decisions."""


@command.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Exit with 1 if there are findings.")
@shared_options("app", "policy")
@pass_invocation
def check(invocation: Invocation, file: Path | None, strict: bool) -> int:
    """Read the policy FILE, name every fault in it, and every rule that can never decide anything.

    Without FILE it is the policy in force.
    """
    from intentusnet.cli.envelopes import fault_tree
    from intentusnet.policy import PolicyFaults, compile_policy
    from intentusnet.policy import check as findings_of

    out = invocation.output
    try:
        source = _source(invocation, file)
    except PolicyFaults as faults:
        tree: dict[str, Any] = {"ok": False, "digest": None, "rules": None, "findings": []}
        tree["faults"] = [fault_tree(fault) for fault in faults.faults]
        _print_check(out, tree, faults.where)
        return faults.exit_code
    findings = findings_of(source)
    tree = {
        "ok": True,
        "digest": compile_policy(source).digest,
        "rules": len(source.rules),
        "findings": [{"rule": f.rule, "code": f.code, "message": f.message} for f in findings],
        "faults": [],
    }
    _print_check(out, tree, source.where)
    return 1 if strict and findings else 0


@command.command("explain")
@click.argument("envelope")
@click.option("--agent", metavar="NAME", help="Decide for this agent; without an app, for one so named.")
@shared_options("app", "policy")
@pass_invocation
def explain(invocation: Invocation, envelope: str, agent: str | None) -> int:
    """Say what the policy decides about ENVELOPE (JSON, @file, or -), rule by rule; nothing is called.

    With an app, for each agent that handles the intent; without one, as far as no agent has to be known.
    """
    from intentusnet.cli.envelopes import envelope_of
    from intentusnet.cli.payload import read_payload
    from intentusnet.routing.plan import facts_of

    request = envelope_of(read_payload(envelope, "envelope"))
    runtime = _runtime(invocation)
    policy = _in_force(invocation, runtime)
    facts = facts_of(request)
    candidates, refusal = _candidates(runtime, request, agent)
    if refusal is not None:
        invocation.output.warn(refusal)
    decisions: list[dict[str, Any]] = []
    rules: list[dict[str, Any]] = []
    for candidate in candidates:
        traces = _traces(policy, facts, candidate)
        name = None if candidate is None else candidate.name
        decisions.append({"agent": name, **_decided(policy, facts, candidate, traces)})
        rules += [{"agent": name, **_rule_tree(trace)} for trace in traces]
    tree = {"decisions": decisions, "rules": rules}
    if invocation.output.table:
        _print_explanation(invocation.output, tree)
    else:
        invocation.output.json(tree)
    if not decisions:
        return 3
    return 1 if all(decision["allowed"] is False for decision in decisions) else 0


def _source(invocation: Invocation, file: Path | None) -> PolicySource:
    """The rules that are asked for: of the file, of the setting, or the app's own."""
    from intentusnet.errors import ConfigurationError
    from intentusnet.policy import load_policy

    chosen = invocation.settings.policy.value if file is None else str(file)
    if chosen is not None:
        return load_policy(chosen)
    runtime = _runtime(invocation)
    if runtime is None or runtime.policy.digest is None:
        raise ConfigurationError(
            "no policy is set",
            hint="Name a FILE; or set --policy, INTENTUSNET_POLICY, or `policy` in [tool.intentusnet].",
        )
    return runtime.policy.source


def _runtime(invocation: Invocation) -> IntentusRuntime | None:
    """The app's runtime as the app made it, or None if no app is set."""
    from intentusnet.cli.settings import load_app

    if invocation.settings.app.value is None:
        return None
    with invocation.foreign_code():
        return load_app(invocation.settings)


def _in_force(invocation: Invocation, runtime: IntentusRuntime | None) -> CompiledPolicy:
    from intentusnet.cli.settings import configured_policy
    from intentusnet.policy import NO_POLICY

    if invocation.settings.policy.value is not None:
        return configured_policy(invocation.settings)
    policy = NO_POLICY if runtime is None else runtime.policy
    if policy.digest is None:
        invocation.output.warn("No policy is set: everything is allowed.")
    return policy


def _candidates(
    runtime: IntentusRuntime | None, envelope: IntentEnvelope, name: str | None
) -> tuple[list[AgentFacts | None], str | None]:
    """For whom is decided, and why for nobody. Without an app an agent is a name; None is one not known."""
    from intentusnet.errors import InvalidInput
    from intentusnet.policy import AgentFacts
    from intentusnet.routing.plan import agent_facts

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


def _traces(policy: CompiledPolicy, facts: EnvelopeFacts, agent: AgentFacts | None) -> tuple[RuleTrace, ...]:
    from intentusnet.policy import explain as explained

    return explained(policy, facts, agent)


def _decided(
    policy: CompiledPolicy, facts: EnvelopeFacts, agent: AgentFacts | None, traces: tuple[RuleTrace, ...]
) -> dict[str, Any]:
    if agent is not None:
        return _decision_tree(policy.decide(facts, agent))
    open_rules = [trace for trace in traces if trace.verdict != "not matched" and _is_open(trace)]
    if open_rules and not any(trace.verdict == "applied" for trace in traces):
        applying = [trace for trace in traces if trace.verdict != "not matched" and not _is_open(trace)]
        denied = any(trace.effect == "deny" for trace in applying)
        return {"allowed": False if denied else None, "rule": None, "cause": _NEEDS_AGENT}
    # No condition on agents can matter here, so any agent stands for all of them.
    from intentusnet.policy import AgentFacts

    return _decision_tree(policy.decide(facts, AgentFacts("")))


def _is_open(trace: RuleTrace) -> bool:
    return any(condition.why == _NEEDS_AGENT for condition in trace.conditions)


def _decision_tree(decision: Decision) -> dict[str, Any]:
    return {"allowed": decision.allowed, "rule": decision.rule, "cause": decision.cause}


def _rule_tree(trace: RuleTrace) -> dict[str, Any]:
    conditions = [{"condition": c.condition, "verdict": c.verdict, "why": c.why} for c in trace.conditions]
    return {"rule": trace.rule, "effect": trace.effect, "verdict": trace.verdict, "conditions": conditions}


def _print_check(out: Output, tree: dict[str, Any], where: str) -> None:
    from intentusnet.cli.output import listing, styled, text

    if not out.table:
        out.json(tree)
        return
    if tree["faults"]:
        print_faults(out, tree["faults"])
        return
    table = listing("Rule", "Finding", "Why")
    for finding in tree["findings"]:
        cells = finding["rule"] or "the policy", finding["code"], finding["message"]
        table.add_row(text(cells[0]), styled(cells[1], "yellow"), text(cells[2]))
    count = len(tree["findings"])
    found = "nothing suspicious" if not count else f"{count} {'finding' if count == 1 else 'findings'}"
    out.print(f"{text(where) or 'the policy of the app'}: {tree['rules']} rules, {found}")
    out.print(f"digest {tree['digest']}")
    if count:
        out.print("", table)


def print_faults(out: Output, faults: list[dict[str, str]]) -> None:
    """Faults of a file below each other."""
    from intentusnet.cli.output import fields, styled

    for fault in faults:
        out.print(styled(fault["message"], "red"))
        out.print(fields((part, text) for part, text in fault.items() if part != "message" and text))


def _print_explanation(out: Output, tree: dict[str, Any]) -> None:
    from intentusnet.cli.output import fields, styled, text

    told = {True: "allowed", False: "denied", None: "depends"}
    for decision in tree["decisions"]:
        line = styled(told[decision["allowed"]])
        line.append(f"  {text(decision['agent'] or 'any agent')}", style="bold")
        by = "the default" if decision["rule"] is None else f"rule {text(decision['rule'])}"
        line.append(f"  by {by} ({text(decision['cause'])})")
        out.print(line, "")
        for rule in tree["rules"]:
            if rule["agent"] == decision["agent"]:
                verdict = styled(f"{rule['verdict']:<11}", "bold" if rule["verdict"] == "applied" else "dim")
                verdict.append(f"  {rule['effect']} rule {text(rule['rule'])}")
                out.print(verdict)
                always = [("true", "it has no conditions")]
                conditions = [(c["verdict"], f"{c['condition']}: {c['why']}") for c in rule["conditions"]]
                out.print(fields((f"           {verdict}", why) for verdict, why in conditions or always), "")
