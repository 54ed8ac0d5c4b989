"""`recover`: what was interrupted, and what becomes of it."""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from typing import Any, Final

import click

from intentusnet.cli.app import Invocation, Words, pass_invocation, shared_options
from intentusnet.cli.output import Output, listing, moment, styled, text
from intentusnet.cli.payload import read_payload, untagged
from intentusnet.errors import ContinuationDiverged, InDoubt, StillRunning
from intentusnet.replay.interrupted import Interrupted, RecoveryRule
from intentusnet.replay.recovering import waited_for
from intentusnet.runtime import IntentusRuntime

_COLORS: Final = {"resume": "green", "ask_again": "green", "wait": "yellow", "in_doubt": "red"}


@click.command("recover")
@click.argument("reference", metavar="[ID]", required=False)
@click.option("--all", "everything", is_flag=True, help="Resume all that may be resumed.")
@click.option(
    "--resolve", type=Words(("happened", "did-not-happen")), help="Say what became of a question in doubt."
)
@click.option("--question", metavar="SCOPE:NUMBER", help="Which one, if several are in doubt.")
@click.option("--answer", metavar="JSON", help="What it answered, if it happened.  [default: null]")
@click.option("--by", metavar="NAME", help="Who says so.  [default: the user's name]")
@shared_options("store", "app", "policy")
@pass_invocation
def command(
    invocation: Invocation,
    /,
    reference: str | None,
    *,
    everything: bool,
    resolve: str | None,
    question: str | None,
    answer: str | None,
    by: str | None,
) -> int:
    """List interrupted executions and what may be done; resume, or say what happened.

    Executions that a live process runs are not interrupted. With --resolve a person's word is written into
    the record; nothing is run. Then `resume` goes on.
    """
    if everything and (reference is not None or resolve is not None):
        raise click.UsageError("--all goes without ID and --resolve.")
    if resolve is not None and reference is None:
        raise click.UsageError("--resolve needs the ID of an execution.")
    if resolve is None and (question is not None or answer is not None or by is not None):
        raise click.UsageError("--question, --answer and --by mean something with --resolve only.")
    if answer is not None and resolve != "happened":
        raise click.UsageError("What did not happen has no answer.")
    if everything:
        with invocation.runtime() as runtime, invocation.foreign_code():
            rows = [_resumed(found, runtime) for found in runtime.recover()]
        return _print(invocation.output, rows)
    with IntentusRuntime(store=invocation.open_store()) as runtime:
        assert runtime.store is not None  # the one just opened
        if reference is None:
            return _print(invocation.output, [_row(found) for found in runtime.recover()])
        execution_id = runtime.store.resolve(reference)
        if resolve is None:
            named = [found for found in runtime.recover() if found.execution_id == execution_id]
            return _print(invocation.output, map(_row, named))
        given = None if answer is None else untagged(read_payload(answer, "answer"), "answer")
        happened = resolve == "happened"
        found = runtime.resolve(execution_id, happened, by=by or _user(), question=question, answer=given)
        return _print(invocation.output, [_row(found)])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container whose user has only a number
        raise click.UsageError("This user has no name: say who says so with --by.") from None


def _resumed(found: Interrupted, runtime: IntentusRuntime) -> dict[str, Any]:
    """Resumes an execution if it may be; one that has been resumed with another one meanwhile is as good."""
    if found.rule is RecoveryRule.IN_DOUBT:
        return _row(found)
    try:
        resume = waited_for(runtime, runtime.resume, runtime.resume_async)
        return {**_row(found), "status": resume(found.execution_id).status}
    except (ContinuationDiverged, InDoubt, StillRunning) as fault:
        return {**_row(found), "error": fault.as_dict()}


def _row(found: Interrupted) -> dict[str, Any]:
    return {**found.as_dict(), "status": None, "error": None}


def _print(out: Output, rows: Iterable[dict[str, Any]]) -> int:
    rows = list(rows)
    if out.table:
        _print_table(out, rows)
    else:
        out.rows(rows)
    if any(row["rule"] == RecoveryRule.IN_DOUBT and row["status"] is None for row in rows):
        return InDoubt.exit_code
    return 1 if any(row["error"] for row in rows) else 0


def _print_table(out: Output, rows: list[dict[str, Any]]) -> None:
    if not rows:
        out.note("Nothing is interrupted.")
        return
    table = listing("Execution", "Opened", "Intent", "Rule", "Why")
    table.columns[0].no_wrap = True
    for row in rows:
        told = row["error"]["message"] if row["error"] else row["why"]
        rule = styled(row["status"]) if row["status"] else styled(row["rule"], _COLORS[row["rule"]])
        table.add_row(row["execution_id"], moment(row["ts"]), text(row["intent"]), rule, text(told))
    out.print(table)
    if any(row["rule"] == RecoveryRule.IN_DOUBT for row in rows):
        out.note("In doubt: find out, then `recover ID --resolve happened|did-not-happen`, then `resume ID`.")
