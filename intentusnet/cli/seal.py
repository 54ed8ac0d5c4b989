"""`seal`: end the log's last segment, and compress those that are ended."""

from __future__ import annotations

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.output import fields
from intentusnet.errors import ConfigurationError
from intentusnet.stores.file import FileExecutionStore


@click.command("seal")
@click.option("--compress", is_flag=True, help="Compress every sealed segment with zstd.")
@shared_options("store", "app")
@pass_invocation
def command(invocation: Invocation, compress: bool) -> None:
    """Seal the log's last segment, and compress what is sealed.

    A segment is sealed by itself when it is full. What is sealed is never written to again, and can be copied
    away. Compressed segments are read as before; `zstd -dc` prints their lines.
    """
    out = invocation.output
    with invocation.open_store() as store:
        if not isinstance(store, FileExecutionStore):
            raise ConfigurationError(
                "the store has no segments", got=type(store).__name__, hint="Name a directory with --store."
            )
        with out.progress("compress", "bytes") as progress:
            report = store.seal(compress=compress, progress=progress)
    if not out.table:
        out.json(report.as_dict())
        return
    pairs = [("sealed", report.sealed or "nothing: there is no line in the last segment")]
    if compress:
        pairs.append(("compressed", ", ".join(report.compressed) or "nothing that was not already"))
    pairs.append(("log", f"{report.bytes_before:,} bytes before, {report.bytes_after:,} now"))
    out.print(fields(pairs))
