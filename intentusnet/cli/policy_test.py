"""`policy test`: does the policy decide what is expected of it?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.policy_common import (
    app_runtime,
    candidates_of,
    decided,
    policy_in_force,
    print_faults,
)

if TYPE_CHECKING:
    from intentusnet.cli.expected import Case
    from intentusnet.cli.output import Output
    from intentusnet.policy import AgentFacts, Policy
    from intentusnet.runtime import IntentusRuntime


@click.command("test")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@shared_options("app", "policy")
@pass_invocation
def command(invocation: Invocation, files: tuple[Path, ...]) -> int:
    """Check that the policy decides what FILEs of expected decisions say; nothing is called.

    With an app, a case that names no agent is about every agent that handles its intent; without one, it is
    about any. Ends with 1 if a case fails, with 2 if a file is malformed.
    """
    from intentusnet.cli.envelopes import fault_tree
    from intentusnet.cli.expected import load_cases
    from intentusnet.policy import PolicyFaults

    out = invocation.output
    cases: list[Case] = []
    faults = []
    for file in files:
        try:
            cases += load_cases(file)
        except PolicyFaults as found:
            faults += [fault_tree(fault) for fault in found.faults]
    tree: dict[str, Any] = {"ok": False, "passed": None, "failed": [], "faults": faults}
    if faults:
        print_faults(out, faults) if out.table else out.json(tree)
        return PolicyFaults.exit_code
    runtime = app_runtime(invocation)
    policy = policy_in_force(invocation, runtime)
    failed = [fault for case in cases if (fault := _failed(case, policy, runtime)) is not None]
    tree |= {"ok": not failed, "passed": len(cases) - len(failed), "failed": failed}
    if out.table:
        _print(out, tree)
    else:
        out.json(tree)
    return 1 if failed else 0


def _failed(case: Case, policy: Policy, runtime: IntentusRuntime | None) -> dict[str, Any] | None:
    """What is decided otherwise than expected; None if nothing is."""
    from intentusnet.cli.expected import BY_DEFAULT
    from intentusnet.errors import InvalidInput
    from intentusnet.policy.facts import facts_of

    facts = facts_of(case.envelope, case.budget)
    expected = {"allowed": case.allowed, "rule": case.rule, "cause": case.cause}
    told = {"file": case.file, "case": case.number, "name": case.name, "intent": case.envelope.intent.name}
    try:
        candidates, refusal = candidates_of(runtime, case.envelope, case.agent)
    except InvalidInput as fault:
        candidates, refusal = [], fault.message
    decisions = []
    for candidate in candidates:
        agent = _supposed(candidate, case)
        decision = {"agent": None if agent is None else agent.name or None, **decided(policy, facts, agent)}
        rule = decision["rule"] or BY_DEFAULT
        if (
            decision["allowed"] is not case.allowed
            or case.rule not in (None, rule)
            or case.cause not in (None, decision["cause"])
        ):
            decisions.append(decision)
    if candidates and not decisions:
        return None
    return {**told, "expected": expected, "decisions": decisions, "reason": refusal or "decided otherwise"}


def _supposed(candidate: AgentFacts | None, case: Case) -> AgentFacts | None:
    from intentusnet.policy import AgentFacts

    if case.side_effect is None:
        return candidate
    return (candidate or AgentFacts(""))._replace(side_effect=case.side_effect)


def _print(out: Output, tree: dict[str, Any]) -> None:
    from intentusnet.cli.output import fields, styled, text

    for case in tree["failed"]:
        line = styled("failed", "red")
        line.append(f"  {text(case['file'])}, case {case['case']}")
        line.append(f"  {text(case['name'] or case['intent'])}", style="bold")
        out.print(line)
        pairs: list[tuple[str, object]] = [("expected", _told(case["expected"]))]
        pairs += [(decision["agent"] or "any agent", _told(decision)) for decision in case["decisions"]]
        if not case["decisions"]:
            pairs.append(("but", case["reason"]))
        out.print(fields(pairs), "")
    failed = len(tree["failed"])
    out.print(f"{tree['passed']} passed, {failed} failed")


def _told(decision: dict[str, Any]) -> str:
    word = {True: "allowed", False: "denied", None: "depends"}[decision["allowed"]]
    by = "" if decision["rule"] is None else f" by rule {decision['rule']}"
    return word + by + (f" ({decision['cause']})" if decision["cause"] else "")
