"""`verify`: is it what was written?"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.output import Output, fields, styled
from intentusnet.errors import IntegrityBroken
from intentusnet.log.identity import STORE_FILE
from intentusnet.log.verify import VerifyReport, verify_path

_MOST_NAMED: Final = 5


@click.command("verify")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@shared_options("store", "app")
@pass_invocation
def command(invocation: Invocation, path: Path | None) -> int:
    """Check that a log or a record is what was written.

    PATH is a store, its log, a portable record (.jsonl), or a directory of those; the store if left out.
    Nothing is changed, and no lock is taken.
    """
    out = invocation.output
    with out.progress("verify", "bytes") as progress:
        if path is not None:
            report = verify_path(path, progress)
        else:
            with invocation.open_store() as store:
                report = store.verify(progress)
    if out.table:
        _print(out, report)
    else:
        out.json(report.as_dict())
    if report.ok and report.head is None and report.entries:
        out.note("Portable records: whole and unchanged. Position and chain are the store's to prove.")
    if report.ok and report.interrupted:
        named = ", ".join(report.interrupted[:_MOST_NAMED])
        more = len(report.interrupted) - _MOST_NAMED
        out.note(f"Without an end on record: {named}" + (f" and {more} more" if more > 0 else ""))
    if not report.ok and (path is None or (path / STORE_FILE).exists()):
        out.note(
            "Put back a copy, or look at what can be saved: intentusnet repair --dry-run"
            + (f" --store {shlex.quote(str(path))}" if path is not None else "")
        )
    return 0 if report.ok else IntegrityBroken.exit_code


def _print(out: Output, report: VerifyReport) -> None:
    head = styled("ok" if report.ok else "broken")
    head.append(f"  {_many(report.entries, 'entry', 'entries')} of ")
    head.append(f"{_many(report.executions, 'execution', 'executions')} check")
    head.append("" if report.ok else ", then:")
    out.print(head)
    pairs: list[tuple[str, object]] = []
    bad = report.first_bad
    if bad is not None:
        pairs += [
            ("what", styled(bad.reason, "bold")),
            ("where", f"{bad.segment}, line {bad.line}, byte {bad.offset}"),
            ("seq", "unknown" if bad.seq is None else str(bad.seq)),
            ("expected", bad.expected),
            ("actual", bad.actual),
        ]
    if report.head is not None:
        pairs.append(("head" if report.ok else "last good", report.head))
    if report.root is not None:
        pairs.append(("tree", report.root))
    out.print(fields((name, value) for name, value in pairs if value))


def _many(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
