"""`policy check`: is the file sound, can each rule decide something, and does a rule speak of each intent?"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.policy_common import app_runtime, print_faults

if TYPE_CHECKING:
    from intentusnet.cli.output import Output
    from intentusnet.policy import PolicySource
    from intentusnet.runtime import IntentusRuntime


@click.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Exit with 1 if there are findings.")
@click.option("--seen", is_flag=True, help="Look for rules on the intents of the store's executions, too.")
@shared_options("store", "app", "policy")
@pass_invocation
def command(invocation: Invocation, file: Path | None, strict: bool, seen: bool) -> int:
    """Read the policy FILE, name every fault in it, and every rule that can never decide anything.

    Also named are rules that let more through than they seem to. Without FILE it is the policy in force. With
    an app, also name the intents that no rule speaks of, and fields that agents take under other names.
    """
    from intentusnet.cli.envelopes import fault_tree
    from intentusnet.policy import PolicyFaults, compile_policy
    from intentusnet.policy import check as findings_of
    from intentusnet.policy.findings import uncovered
    from intentusnet.policy.loopholes import loopholes, other_names

    out = invocation.output
    runtime = app_runtime(invocation)
    try:
        source = _source(invocation, file, runtime)
    except PolicyFaults as faults:
        tree: dict[str, Any] = {"ok": False, "digest": None, "rules": None, "findings": []}
        tree["faults"] = [fault_tree(fault) for fault in faults.faults]
        _print(out, tree, faults.where)
        return faults.exit_code
    intents = _intents(invocation, runtime, seen=seen)
    agents = () if runtime is None else runtime.registry.agents()
    found = findings_of(source), loopholes(source), other_names(source, agents), uncovered(source, intents)
    findings = tuple(chain.from_iterable(found))
    tree = {
        "ok": True,
        "digest": compile_policy(source).digest,
        "rules": len(source.rules),
        "findings": [{"rule": f.rule, "code": f.code, "message": f.message} for f in findings],
        "faults": [],
    }
    _print(out, tree, source.where)
    return 1 if strict and findings else 0


def _source(invocation: Invocation, file: Path | None, runtime: IntentusRuntime | None) -> PolicySource:
    """The rules that are asked for: of the file, of the setting, or the app's own."""
    from intentusnet.errors import ConfigurationError
    from intentusnet.policy import CompiledPolicy, load_policy

    chosen = invocation.settings.policy.value if file is None else str(file)
    if chosen is not None:
        return load_policy(chosen)
    if runtime is None or runtime.policy.digest is None:
        raise ConfigurationError(
            "no policy is set",
            hint="Name a FILE; or set --policy, INTENTUSNET_POLICY, or `policy` in [tool.intentusnet].",
        )
    policy: object = runtime.policy
    if not isinstance(policy, CompiledPolicy):
        raise ConfigurationError("the app's policy is one of another engine, and has no rules to look at")
    return policy.source


def _intents(invocation: Invocation, runtime: IntentusRuntime | None, *, seen: bool) -> list[str]:
    """The intents that there are: those that the app's agents handle, and those on record if asked for."""
    import orjson

    from intentusnet.stores.base import MAX_LIMIT, Query

    agents = () if runtime is None else runtime.registry.agents()
    names = {capability.intent for agent in agents for capability in agent.definition.capabilities}
    if seen:
        with invocation.open_store() as store:
            cursor: str | None = ""
            while cursor is not None:
                page = store.openings(Query(limit=MAX_LIMIT, oldest_first=True, cursor=cursor or None))
                names.update(orjson.loads(entry.body)["envelope"]["intent"]["name"] for entry in page.entries)
                cursor = page.cursor
    return sorted(names)


def _print(out: Output, tree: dict[str, Any], where: str) -> None:
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
