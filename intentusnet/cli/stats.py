"""`stats`: how many executions there are, how they ended, and what they used up."""

from __future__ import annotations

from typing import Any, Final

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.filters import filter_options, query_of
from intentusnet.cli.output import Output, listing, text
from intentusnet.stores.base import STATUSES
from intentusnet.stores.totals import BYS, Total, Totals, totals

#: A table has that many lines of each kind; json has all.
_MOST: Final = 20


@click.command("stats")
@filter_options
@click.option("--usage", is_flag=True, help="Adds up what agents said they used; reads whole records.")
@shared_options("store", "app")
@pass_invocation
def command(invocation: Invocation, /, usage: bool, **asked: Any) -> None:
    """Sum up executions by intent, agent, caller, tenant and status.

    The filters choose among the executions of the store. An execution counts for the agent whose answer it
    was; one that another asked for counts for itself.
    """
    query, out = query_of(**asked), invocation.output
    with invocation.open_store() as store:
        found = totals(store, query, usage=usage)
    if not out.table:
        out.json(_tree(found))
    elif found.all.executions:
        _print(out, found)
    if not found.all.executions:
        out.note("No execution fits.")


def _tree(found: Totals) -> dict[str, Any]:
    groups = {by: [{"name": name, **_total(total)} for name, total in found.by[by]] for by in BYS}
    return {**_total(found.all), **{by: groups[by] for by in BYS}}


def _total(total: Total) -> dict[str, Any]:
    return {"executions": total.executions, **total.statuses, "usage": total.usage}


def _print(out: Output, found: Totals) -> None:
    used = sorted(found.all.usage or ())
    columns = ["Executions", *(status.capitalize() for status in STATUSES), *used]
    table = listing("By", "Name", *columns, right=columns)
    table.add_row("all", "", *_cells(found.all, used))
    for by in BYS[:-1]:  # how many ended how is in each row
        for name, total in found.by[by][:_MOST]:
            table.add_row(by, text("-" if name is None else name), *_cells(total, used))
        left = len(found.by[by]) - _MOST
        if left > 0:
            table.add_row(by, f"{left:,} more", *("" for _ in columns))
    out.print(table)


def _cells(total: Total, used: list[str]) -> list[str]:
    counts = (total.executions, *total.statuses.values())
    amounts = (total.usage or {}).get
    return [*(f"{count:,}" for count in counts), *(f"{amounts(name, 0):,}" for name in used)]
