"""`list`: which executions there are."""

from __future__ import annotations

from typing import Any, Final

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.filters import filter_options, query_of
from intentusnet.cli.output import Output, listing, moment, span, styled, text
from intentusnet.stores.base import MAX_LIMIT, Row
from intentusnet.stores.file import FileExecutionStore

#: A terminal of that many columns has room for whole ids, the date and the strategy.
_WIDE: Final = 118
#: Elsewhere that many of an id's last characters are shown: they find it as well as the whole.
_SHORT: Final = 8


@click.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=50, metavar="N", help="[default: 50]")
@click.option("--cursor", metavar="CURSOR", help="Goes on where an earlier list ended.")
@click.option("--oldest-first", is_flag=True, help="In the order of opening.")
@shared_options("store", "app")
@pass_invocation
def command(invocation: Invocation, /, **asked: Any) -> None:
    """List executions, newest first.

    If there are more than fit, the cursor of the next page is told on stderr. Of a damaged log, what ended
    before the damage is listed, and then the damage is the error.
    """
    query = query_of(despite_damage=True, **asked)
    out = invocation.output
    with invocation.open_store() as store:
        page = store.list(query)
        if not out.table:
            out.rows(row.as_dict() for row in page.rows)
        elif page.rows:
            _print(out, page.rows)
        if not page.rows and page.damage is None:
            if isinstance(store, FileExecutionStore) and not store.exists:
                out.note(f"There is no store at {store.path} yet.")
            else:
                out.note("No execution fits.")
    if page.cursor is not None:
        out.note(f"There are more: --cursor {page.cursor}")
    if page.damage is not None:
        raise page.damage


def _print(out: Output, rows: tuple[Row, ...]) -> None:
    wide = out.console.width >= _WIDE
    columns = ["ID", "Opened (UTC)", "Intent", "Status", "Agent", "Took"]
    if wide:
        columns.insert(3, "Strategy")
    table = listing(*columns, right=("Took",))
    # Where there is no room for all, names are cut: `show` has them whole, and a code is no use in part.
    for column in table.columns:
        column.no_wrap = column.header not in ("Intent", "Agent")
        column.overflow = "ellipsis"
    for row in rows:
        intent = row.intent if row.version == "1.0" else f"{row.intent}@{row.version}"
        opened = moment(row.ts).rstrip("Z")
        cells: list[Any] = [
            row.execution_id if wide else row.execution_id[-_SHORT:],
            opened if wide else opened[5:],
            text(intent),
            styled(row.status) if row.error_code is None else styled(row.error_code, "red"),
            text("-" if row.agent is None else row.agent),
            span(row.duration_us),
        ]
        if wide:
            cells.insert(3, text(row.strategy))
        table.add_row(*cells)
    out.print(table)
