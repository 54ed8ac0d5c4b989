"""`repair`: a log of what is good, in place of one that is damaged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.output import Output, fields, styled
from intentusnet.errors import StoreRefused
from intentusnet.log.repair import RepairPlan, RepairReport, plan_repair, repair_store
from intentusnet.stores.file import FileExecutionStore

_MOST_NAMED: Final = 5


@click.command("repair")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@shared_options("store", "app")
@pass_invocation
def command(invocation: Invocation, dry_run: bool, yes: bool) -> int:
    """Make a log of what is good of a damaged one, and keep the original.

    Everything from the first bad place on is copied to quarantine/ in the store. What can be proven of it is
    appended again; executions that have lost entries are named here, and in the log. What a crash leaves at
    the end of a log is no damage, and needs no repair.
    """
    out = invocation.output
    with invocation.open_store() as store:
        if not isinstance(store, FileExecutionStore):
            raise StoreRefused("only a store in a directory can be repaired", got=type(store).__name__)
        path = store.path
    plan = plan_repair(path)
    if dry_run or not plan.needed:
        _print(out, path, RepairReport(plan, False, None))
        return 1 if plan.needed else 0
    if not yes:
        _ask(out, path, plan)
    _print(out, path, repair_store(path))
    return 0


def _ask(out: Output, path: Path, plan: RepairPlan) -> None:
    """Returns if a person says yes."""
    if not (sys.stdin.isatty() and out.stderr.isatty()):
        raise click.UsageError(
            "The log is damaged, and nobody is there to be asked. "
            "--dry-run says what would be done, --yes does it."
        )
    assert plan.first_bad is not None
    out.warn(f"{plan.first_bad.reason}: {plan.first_bad.segment}, line {plan.first_bad.line}")
    out.warn(
        f"{plan.kept_entries:,} entries stay as they are, {plan.salvaged_entries:,} are appended again, "
        f"{plan.lost_entries:,} are lost; {len(plan.cut_executions):,} executions are left without an end, "
        f"{len(plan.lost_executions):,} are lost."
    )
    click.confirm(f"Repair {path}?", abort=True, err=True)


def _print(out: Output, path: Path, report: RepairReport) -> None:
    if not out.table:
        out.json(report.as_dict())
        return
    plan, bad = report.plan, report.plan.first_bad
    if bad is None:
        out.print(styled("ok"), f"{plan.kept_entries:,} entries, nothing to repair")
        if plan.torn:
            out.note("Unfinished bytes at the end, as a crash leaves them: the next append puts them aside.")
    else:
        out.print(styled("repaired" if report.repaired else "damaged", "bold"))
        out.print(
            fields(
                (name, value)
                for name, value in (
                    ("what", bad.reason),
                    ("where", f"{bad.segment}, line {bad.line}, byte {bad.offset}"),
                    ("kept", f"{plan.kept_entries:,} entries as they are"),
                    ("salvaged", f"{plan.salvaged_entries:,} entries, appended again"),
                    ("lost", f"{plan.lost_entries:,} entries, {plan.lost_bytes:,} bytes"),
                    ("original", str(path / report.quarantine) if report.quarantine else ""),
                )
                if value
            )
        )
    for executions, what in (
        (plan.cut_executions, "Without an end, and what they did is unknown"),
        (plan.lost_executions, "Lost"),
        (plan.unproven_executions, "Kept, though time, kind and id of an entry are not proven"),
        (plan.damaged_executions, "They refer to a value whose blob is missing or damaged"),
    ):
        if executions:
            more = len(executions) - _MOST_NAMED
            named = ", ".join(executions[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
            out.warn(f"{what}: {named}")
