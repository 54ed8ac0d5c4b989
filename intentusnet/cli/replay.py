"""`replay`: executions run again from their own answers, and compared."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.output import Output, fields, styled, text, value_at
from intentusnet.cli.records import is_path, portable_files
from intentusnet.errors import IntegrityBroken, NotReplayable, RecordNotFound
from intentusnet.record import ExecutionRecord
from intentusnet.replay.divergence import Divergence, DivergenceKind, ReplayReport, Verdict
from intentusnet.stores.base import MAX_LIMIT, ExecutionStore, Query
from intentusnet.stores.portable import load_record

#: So many divergences of a record are told on a terminal unless -v is given: most follow from the first.
_MOST: Final = 5
#: Of more records than that, only those are told on a terminal that do not match, unless -v is given.
_EACH_TOLD: Final = 20
_BROKEN: Final = "broken"

_MEANING: Final = {
    DivergenceKind.MISSING: "on record, and not asked",
    DivergenceKind.UNEXPECTED: "asked, and not on record",
    DivergenceKind.REORDERED: "asked at another place",
    DivergenceKind.ARGUMENTS: "asked with other arguments",
    DivergenceKind.OUTCOME: "the agent answered differently",
    DivergenceKind.PLAN: "other candidates, or in another order",
    DivergenceKind.POLICY: "the policy decides differently",
    DivergenceKind.RESPONSE: "it ends differently",
}

Load = Callable[[], ExecutionRecord]


@click.command("replay")
@click.argument("references", nargs=-1, metavar="[ID|PATH]...")
@click.option("--all", "everything", is_flag=True, help="Every execution of the store, oldest first.")
@shared_options("store", "app", "policy")
@pass_invocation
def command(invocation: Invocation, references: tuple[str, ...], everything: bool) -> int:
    """Run executions again from their record and compare everything.

    Executions are named by id, by files with portable records, or by directories of those. Agents run with
    the recorded answers and touch nothing. Ends with 0 if all match, 1 if one diverged, 11 if one cannot be
    replayed, 13 if a file is broken.
    """
    if everything and references:
        raise click.UsageError("--all and names of executions exclude each other.")
    if not everything and not references:
        raise click.UsageError("Name executions or files, or use --all.")
    out = invocation.output
    verdicts: Counter[str] = Counter()
    with invocation.runtime() as runtime, out.progress("replay") as advance:
        assert runtime.store is not None
        if everything:
            loads, total = _every(runtime.store), 0
        else:
            named = [load for reference in references for load in _loads(reference, runtime.store)]
            loads, total = iter(named), len(named)
        each = bool(out.verbosity) or 0 < total <= _EACH_TOLD
        for load in loads:
            try:
                record = load()
            except IntegrityBroken as fault:
                out.error(fault)
                verdicts[_BROKEN] += 1
            else:
                with invocation.foreign_code():
                    report = runtime.replay(record)
                verdicts[report.verdict.value] += 1
                _tell(out, record, report, each=each)
            advance(verdicts.total(), total)
    if not verdicts:
        raise RecordNotFound(
            "there is nothing to replay", where="the store", hint="`intentusnet route` records."
        )
    _summarise(out, verdicts)
    if verdicts[_BROKEN]:
        return IntegrityBroken.exit_code
    if verdicts[Verdict.NOT_REPLAYABLE.value]:
        return NotReplayable.exit_code
    return 1 if verdicts[Verdict.DIVERGED.value] else 0


def _every(store: ExecutionStore) -> Iterator[Load]:
    cursor = None
    for _ in itertools.count():
        page = store.list(Query(limit=MAX_LIMIT, cursor=cursor, oldest_first=True))
        for row in page.rows:
            yield partial(store.get, row.execution_id)
        cursor = page.cursor
        if cursor is None:
            return


def _loads(reference: str, store: ExecutionStore) -> list[Load]:
    """What a reference names, found before anything is run."""
    if is_path(reference):
        return [partial(load_record, path) for path in portable_files(Path(reference))]
    return [partial(store.get, store.resolve(reference))]


def _tell(out: Output, record: ExecutionRecord, report: ReplayReport, *, each: bool) -> None:
    if not out.table:
        out.json(report.as_dict())
        return
    if report.verdict is Verdict.MATCH and not each:
        return
    head = styled(report.verdict.value)
    head.append(f"  {record.execution_id}  ")
    head.append(text(record.intent), style="bold")
    out.print(head)
    if report.reason:
        out.print(f"  {text(report.reason)}")
    if report.taken:
        names = ", ".join(dict.fromkeys(report.taken))
        out.print(f"  taken from the record, not run again: {text(names)}")
    told = report.divergences if out.verbosity else report.divergences[:_MOST]
    for number, divergence in enumerate(told, 1):
        _print_divergence(out, number, divergence)
    if len(told) < len(report.divergences):
        out.print(f"  … and {len(report.divergences) - len(told)} more: -v tells them all")
    if out.verbosity and report.guards:
        out.print(f"  guarded by {', '.join(report.guards)}")


def _print_divergence(out: Output, number: int, divergence: Divergence) -> None:
    title = styled(f"  {number}. {divergence.kind.value}", "bold")
    title.append(f": {_MEANING[divergence.kind]}")
    pairs: list[tuple[str, object]] = [("scope", divergence.scope or "the execution itself")]
    if divergence.question:
        pairs.append(("question", divergence.question))
    pairs += [
        ("pointer", divergence.pointer or "the whole value"),
        ("expected", value_at(divergence.expected)),
        ("actual", value_at(divergence.actual)),
    ]
    out.print(title, fields((f"   {name}", value) for name, value in pairs))


def _summarise(out: Output, verdicts: Counter[str]) -> None:
    order = (*(verdict.value for verdict in Verdict), _BROKEN)
    told = [f"{verdicts[verdict]:,} {verdict.replace('_', ' ')}" for verdict in order if verdicts[verdict]]
    out.note(f"{verdicts.total():,} replayed: {', '.join(told)}")
