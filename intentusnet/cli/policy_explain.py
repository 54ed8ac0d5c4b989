"""`policy explain`: what does the policy decide about a request, and which of its rules say so?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.policy_common import app_runtime, candidates_of, decided, policy_in_force

if TYPE_CHECKING:
    from intentusnet.cli.output import Output
    from intentusnet.policy import AgentFacts, EnvelopeFacts, RuleTrace
    from intentusnet.runtime import IntentusRuntime


@click.command("explain")
@click.argument("envelope", required=False)
@click.option(
    "--record", metavar="ID|PATH", help="Explain a recorded execution: its envelope and candidates."
)
@click.option("--agent", metavar="NAME", help="Decide for this agent; without an app, for one so named.")
@shared_options("store", "app", "policy")
@pass_invocation
def command(invocation: Invocation, envelope: str | None, record: str | None, agent: str | None) -> int:
    """Say what the policy decides about ENVELOPE (JSON, @file, or -), rule by rule; nothing is called.

    With an app, for each agent that handles the intent; without one, as far as no agent has to be known. Of a
    recorded execution the decisions on record are told beside those of the policy.
    """
    if (envelope is None) is (record is None):
        raise click.UsageError("Give an ENVELOPE, or name a recorded execution by --record.")
    runtime = app_runtime(invocation)
    policy = policy_in_force(invocation, runtime)
    if record is not None:
        facts, candidates, recorded = _recorded(invocation, record, agent)
    else:
        assert envelope is not None
        facts, candidates, recorded = _asked(invocation, runtime, envelope, agent)
    decisions: list[dict[str, Any]] = []
    rules: list[dict[str, Any]] = []
    for candidate, before in zip(candidates, recorded, strict=True):
        name = None if candidate is None else candidate.name
        decisions.append({"agent": name, **decided(policy, facts, candidate), **before})
        rules += [{"agent": name, **_rule_tree(trace)} for trace in _traces(policy, facts, candidate)]
    tree = {"decisions": decisions, "rules": rules}
    if invocation.output.table:
        _print(invocation.output, tree)
    else:
        invocation.output.json(tree)
    if not decisions:
        return 3
    return 1 if all(decision["allowed"] is False for decision in decisions) else 0


def _asked(
    invocation: Invocation, runtime: IntentusRuntime | None, envelope: str, agent: str | None
) -> tuple[EnvelopeFacts, list[AgentFacts | None], list[dict[str, Any]]]:
    """Facts and candidates of a request that is written down."""
    from intentusnet.cli.envelopes import envelope_of
    from intentusnet.cli.payload import read_payload
    from intentusnet.policy.facts import facts_of

    request = envelope_of(read_payload(envelope, "envelope"))
    candidates, refusal = candidates_of(runtime, request, agent)
    if refusal is not None:
        invocation.output.warn(refusal)
    return facts_of(request), candidates, [{} for _ in candidates]


def _recorded(
    invocation: Invocation, reference: str, agent: str | None
) -> tuple[EnvelopeFacts, list[AgentFacts | None], list[dict[str, Any]]]:
    """Facts, candidates and decisions of an execution on record."""
    from intentusnet.cli.records import load_record
    from intentusnet.errors import InvalidInput
    from intentusnet.policy.facts import recorded_candidate, recorded_facts

    record = load_record(reference, invocation)
    plan = record.plan_tree
    chosen = [candidate for candidate in plan["candidates"] if agent in (None, candidate["agent"])]
    if agent is not None and not chosen:
        names = ", ".join(candidate["agent"] for candidate in plan["candidates"])
        raise InvalidInput(f"no candidate on record is named {agent!r}", where="--agent", expected=names)
    if not chosen:
        invocation.output.warn("No candidates are on record: no agent handled the intent.")
    before = [
        {"recorded": {key: candidate[key] for key in ("allowed", "rule", "cause")}} for candidate in chosen
    ]
    return recorded_facts(record.envelope_tree, plan), [recorded_candidate(one) for one in chosen], before


def _traces(policy: object, facts: EnvelopeFacts, agent: AgentFacts | None) -> tuple[RuleTrace, ...]:
    """What each rule came to; of another engine's policy nothing is known but the decision."""
    from intentusnet.policy import CompiledPolicy
    from intentusnet.policy import explain as explained

    return explained(policy, facts, agent) if isinstance(policy, CompiledPolicy) else ()


def _rule_tree(trace: RuleTrace) -> dict[str, Any]:
    conditions = [{"condition": c.condition, "verdict": c.verdict, "why": c.why} for c in trace.conditions]
    return {"rule": trace.rule, "effect": trace.effect, "verdict": trace.verdict, "conditions": conditions}


def _print(out: Output, tree: dict[str, Any]) -> None:
    from intentusnet.cli.output import fields, styled, text

    told = {True: "allowed", False: "denied", None: "depends"}
    for decision in tree["decisions"]:
        line = styled(told[decision["allowed"]])
        line.append(f"  {text(decision['agent'] or 'any agent')}", style="bold")
        line.append(f"  {_by(decision)}")
        out.print(line)
        if "recorded" in decision:
            before = decision["recorded"]
            out.print(f"on record: {told[before['allowed']]} {_by(before)}")
        out.print("")
        for rule in tree["rules"]:
            if rule["agent"] == decision["agent"]:
                verdict = styled(f"{rule['verdict']:<11}", "bold" if rule["verdict"] == "applied" else "dim")
                verdict.append(f"  {rule['effect']} rule {text(rule['rule'])}")
                out.print(verdict)
                always = [("true", "it has no conditions")]
                conditions = [(c["verdict"], f"{c['condition']}: {c['why']}") for c in rule["conditions"]]
                out.print(fields((f"           {verdict}", why) for verdict, why in conditions or always), "")


def _by(decision: dict[str, Any]) -> str:
    from intentusnet.cli.output import text

    by = "the default" if decision["rule"] is None else f"rule {text(decision['rule'])}"
    return f"by {by} ({text(decision['cause'])})"
