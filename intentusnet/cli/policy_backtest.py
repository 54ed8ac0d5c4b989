"""`policy backtest`: what would another policy have decided about what is on record?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.filters import filter_options, query_of

if TYPE_CHECKING:
    from intentusnet.cli.output import Output
    from intentusnet.policy.trial import BacktestReport, ChangeGroup
    from intentusnet.record import ExecutionRecord

_WORDS: Final = {
    "newly_allowed": "newly allowed",
    "newly_denied": "newly denied",
    "undecided": "cannot be decided",
    "redecided": "decided by another rule or cause",
    "now_answered": "of the executions would be answered instead of denied",
    "now_denied": "of the executions would be denied",
    "rerouted": "of the executions would go to other agents",
}


@click.command("backtest")
@click.argument("new")
@click.argument("records", nargs=-1, metavar="[PATH]...")
@click.option("--against", metavar="FILE", help="An old policy, instead of the decisions on record.")
@filter_options
@click.option("--allow-widening", is_flag=True, help="What is newly allowed is no reason to exit with 1.")
@click.option("--allow-narrowing", is_flag=True, help="Nor is what is newly denied.")
@click.option("--allow-undecided", is_flag=True, help="Nor is what cannot be decided.")
@click.option("--examples", type=click.IntRange(0, 1000), default=5, metavar="K", help="[default: 5]")
@click.option(
    "-j", "--jobs", type=click.IntRange(1), metavar="N", help="Processes for a large store.  [default: all]"
)
@shared_options("store", "app")
@pass_invocation
def command(
    invocation: Invocation,
    /,
    new: str,
    records: tuple[str, ...],
    against: str | None,
    allow_widening: bool,
    allow_narrowing: bool,
    allow_undecided: bool,
    examples: int,
    jobs: int | None,
    **asked: Any,
) -> int:
    """Decide what is on record by the policy file NEW, and tell what changes; nothing is called.

    The executions are those of the store that the filters choose, or those of portable records: files, or
    directories of them. Ends with 1 if something would be newly allowed, newly denied, or cannot be decided.
    """
    from intentusnet.log.workers import processors
    from intentusnet.policy.backtest import backtest

    if records and any(value is not None for value in asked.values()):
        raise click.UsageError("The filters choose among the executions of the store.")
    out = invocation.output
    policy, old = _policy(new), None if against is None else _policy(against)
    with out.progress("backtest") as advance:
        if records:
            report = backtest(_records(records), policy, against=old, examples=examples)
        else:
            with invocation.open_store() as store:
                report = backtest(
                    store,
                    policy,
                    against=old,
                    query=query_of(**asked),
                    examples=examples,
                    jobs=jobs or processors(),
                    progress=lambda done: advance(done, 0),
                )
    refused = (
        (report.widens and not allow_widening)
        or (report.narrows and not allow_narrowing)
        or (report.changes["undecided"] > 0 and not allow_undecided)
    )
    if out.table:
        _print(out, report)
    else:
        out.json(_tree(report, ok=not refused))
    if not report.executions:
        out.note("No execution fits.")
    return 1 if refused else 0


def _policy(file: str) -> Any:
    from intentusnet.policy import compile_policy, load_policy

    return compile_policy(load_policy(file))


def _records(paths: tuple[str, ...]) -> Iterator[ExecutionRecord]:
    from intentusnet.replay.recordfiles import portable_files
    from intentusnet.stores.portable import load_record

    files = [file for path in paths for file in portable_files(Path(path))]
    return (load_record(file) for file in files)


def _tree(report: BacktestReport, *, ok: bool) -> dict[str, Any]:
    return {
        "ok": ok,
        "new": report.new,
        "against": report.against,
        "executions": report.executions,
        "decisions": report.decisions,
        "changes": report.changes,
        "outcomes": report.outcomes,
        "groups": [_group(group) for group in report.groups],
    }


def _group(group: ChangeGroup) -> dict[str, Any]:
    change = group.change
    return {
        "kind": change.kind,
        "intent": change.intent,
        "agent": change.agent,
        "rule": change.rule,
        "cause": change.cause,
        "old_rule": change.old_rule,
        "count": group.count,
        "examples": list(group.examples),
    }


def _print(out: Output, report: BacktestReport) -> None:
    from intentusnet.cli.output import listing, styled, text

    against = "the decisions on record" if report.against is None else f"policy {report.against[:12]}"
    out.print(
        f"{report.executions:,} executions, {report.decisions:,} decisions; policy {str(report.new)[:12]}"
        f" against {against}"
    )
    told = [
        *report.changes.items(),
        *((kind, n) for kind, n in report.outcomes.items() if kind != "undecided"),
    ]
    for kind, count in told:
        if count:
            out.print(f"{count:>10,}  {_WORDS[kind]}")
    if not any(count for _, count in told):
        out.print("Nothing would be decided otherwise.")
        return
    table = listing(
        "Change", "Count", "Intent", "Agent", "Rule", "Before", "Cause", "Example", right=("Count",)
    )
    for group in report.groups:
        change = group.change
        table.add_row(
            styled(_WORDS[change.kind], {"newly_allowed": "red", "newly_denied": "yellow"}.get(change.kind)),
            f"{group.count:,}",
            text(change.intent),
            text(change.agent),
            text(change.rule or "the default"),
            text(change.old_rule or "the default"),
            text(change.cause),
            group.examples[0][-8:] if group.examples else "",
        )
    out.print("", table)
