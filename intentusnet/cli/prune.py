"""`prune`: remove what nothing needs."""

from __future__ import annotations

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.output import fields
from intentusnet.errors import ConfigurationError
from intentusnet.stores.file import FileExecutionStore


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@shared_options("store", "app")
@pass_invocation
def command(invocation: Invocation, dry_run: bool) -> None:
    """Remove what nothing needs: blobs that no entry names, and what a crash left behind.

    Large values lie in files of their own, which are written before the entry that names them. Where that
    entry was never written, they are of no use. Nothing is removed if the log is damaged.
    """
    out = invocation.output
    with invocation.open_store() as store:
        if not isinstance(store, FileExecutionStore):
            raise ConfigurationError(
                "the store has no files", got=type(store).__name__, hint="Name a directory with --store."
            )
        with out.progress("read", "bytes") as progress:
            collected = store.collect(dry_run=dry_run, progress=progress)
    if not out.table:
        out.json({"dry_run": dry_run, **collected.as_dict()})
        return
    pairs = [
        ("blobs", f"{collected.blobs:,} that no entry names"),
        ("unfinished", f"{collected.unfinished:,} files that a crash left behind"),
        ("bytes", f"{collected.bytes:,} {'would be freed' if dry_run else 'freed'}"),
    ]
    out.print(fields(pairs))
