"""`records pick`: a small corpus from a large log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.filters import filter_options, query_of
from intentusnet.cli.output import Output, listing, styled, text
from intentusnet.errors import ConfigurationError, RecordNotFound
from intentusnet.replay.loads import every
from intentusnet.replay.picking import Exemplar, Picked, Picking
from intentusnet.stores.base import ExecutionStore, Query
from intentusnet.stores.portable import save_record


@click.group("records")
def command() -> None:
    """Keep portable records: files with the lines of one execution."""


@command.command("pick")
@click.option(
    "--to",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Where the files go; it is made if need be.",
)
@click.option("--max", "most", type=click.IntRange(1), metavar="N", help="At most so many, of the commonest.")
@filter_options
@shared_options("store", "app")
@pass_invocation
def pick(invocation: Invocation, /, directory: Path, most: int | None, **asked: Any) -> None:
    """Pick one execution for each class of them, and keep it as a portable record.

    A class is intent, agent, strategy, outcome, and which questions were asked. Which of its executions is
    picked is decided by a hash. Files that are there stay: a class that has one is not picked anew.
    """
    out = invocation.output
    query = query_of(**asked)
    with invocation.open_store() as store:
        picked = _picked(store, query, out, most)
        if not picked.exemplars:
            raise RecordNotFound("there is nothing to pick", where="the store")
        written = _kept(picked, store, directory)
    _tell(out, directory, picked, written)


def _picked(store: ExecutionStore, query: Query, out: Output, most: int | None) -> Picked:
    picking = Picking()
    ids: Iterator[str] = (row.execution_id for row in every(store, query))
    total = 0
    if out.shows_progress:  # then they are counted first, and held
        held = list(ids)
        ids, total = iter(held), len(held)
    with out.progress("read") as advance:
        for done, execution_id in enumerate(ids, 1):
            picking.take(store.get(execution_id))
            advance(done, total)
    return picking.picked(most)


def _kept(picked: Picked, store: ExecutionStore, directory: Path) -> set[str]:
    """Writes the files that are not there, and returns the keys of their classes."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigurationError(
            "the directory cannot be made", where=str(directory), got=fault.strerror or str(fault)
        ) from fault
    written = set()
    for exemplar in picked.exemplars:
        path = directory / exemplar.file_name
        if not path.exists():
            save_record(store.get(exemplar.execution_id), path)
            written.add(exemplar.key)
    return written


def _tell(out: Output, directory: Path, picked: Picked, written: set[str]) -> None:
    chosen = sum(exemplar.executions for exemplar in picked.exemplars)
    if out.table:
        _print(out, picked.exemplars, written)
    else:
        rows = [
            {
                "file": str(directory / exemplar.file_name),
                "written": exemplar.key in written,
                "execution_id": exemplar.execution_id,
                "intent": exemplar.intent,
                "agent": exemplar.agent,
                "strategy": exemplar.strategy,
                "status": exemplar.status,
                "error_code": exemplar.error_code,
                "executions": exemplar.executions,
            }
            for exemplar in picked.exemplars
        ]
        out.rows(rows)
    out.note(
        f"{len(picked.exemplars):,} of {picked.classes:,} classes, "
        f"which stand for {chosen:,} of {picked.executions:,} executions"
    )
    if picked.interrupted:
        out.note(f"{picked.interrupted:,} have no end on record, and belong to no class.")


def _print(out: Output, exemplars: tuple[Exemplar, ...], written: set[str]) -> None:
    table = listing("File", "Agent", "Outcome", "Executions", "", right=("Executions",))
    for exemplar in exemplars:
        ended = styled(exemplar.status) if exemplar.error_code is None else styled(exemplar.error_code, "red")
        table.add_row(
            text(exemplar.file_name),
            text(exemplar.agent or "-"),
            ended,
            f"{exemplar.executions:,}",
            "new" if exemplar.key in written else "was there",
        )
    out.print(table)
