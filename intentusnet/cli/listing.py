"""`list`: which executions there are."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import click

from intentusnet.cli.app import Invocation, Words, pass_invocation, shared_options
from intentusnet.cli.output import Output, listing, moment, span, styled, text
from intentusnet.errors import InvalidInput
from intentusnet.ids import SYSTEM_CLOCK
from intentusnet.stores.base import MAX_LIMIT, STATUSES, Query, Row
from intentusnet.stores.file import FileExecutionStore

_RELATIVE: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
#: A terminal of that many columns has room for whole ids, the date and the strategy.
_WIDE: Final = 118
#: Elsewhere that many of an id's last characters are shown: they find it as well as the whole.
_SHORT: Final = 8


class Moment(click.ParamType[int]):
    """A point in time, as microseconds: ISO 8601 (UTC unless it says otherwise), or how long ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads it."""
        ago = _RELATIVE.fullmatch(value)
        if ago is not None:
            return max(0, SYSTEM_CLOCK.time_us() - int(ago[1]) * _SECONDS[ago[2]] * 1_000_000)
        try:
            at = datetime.fromisoformat(value)
            at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
            since_1970 = at - datetime(1970, 1, 1, tzinfo=UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no point in time. Expected ISO 8601, such as 2026-01-31T12:00, "
                "or how long ago: 90s, 15m, 2h, 3d, 1w.",
                param,
                ctx,
            )
        if since_1970.days < 0:
            self.fail(f"{value!r} is before 1970.", param, ctx)
        return (since_1970.days * 86_400 + since_1970.seconds) * 1_000_000 + since_1970.microseconds


@click.command("list")
@click.option("--status", type=Words(STATUSES), help="How it ended.")
@click.option("--intent", metavar="GLOB", help="The intent's name, as in 'ticket.*'.")
@click.option("--agent", metavar="NAME", help="Whose answer it was.")
@click.option("--caller", metavar="NAME", help="Who asked.")
@click.option("--tag", metavar="TAG", help="A label of the request.")
@click.option("--error-code", metavar="CODE", help="The error it ended with, such as POLICY_DENIAL.")
@click.option("--since", type=Moment(), help="Opened then or later: ISO 8601 (UTC), or how long ago: 2h, 3d.")
@click.option("--until", type=Moment(), help="Opened before that.")
@click.option(
    "--text",
    "sought",
    metavar="TEXT",
    help="Stands in anything that was recorded: request, questions, answers, outcome. Reads the whole log.",
)
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=50, metavar="N", help="[default: 50]")
@click.option("--cursor", metavar="CURSOR", help="Goes on where an earlier list ended.")
@click.option("--oldest-first", is_flag=True, help="In the order of opening.")
@shared_options("store", "app")
@pass_invocation
def command(
    invocation: Invocation, /, since: int | None, until: int | None, sought: str | None, **asked: Any
) -> None:
    """List executions, newest first.

    If there are more than fit, the cursor of the next page is told on stderr. Of a damaged log, what ended
    before the damage is listed, and then the damage is the error.
    """
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is later than --until.")
    query = _query(since_us=since, until_us=until, text=sought, despite_damage=True, **asked)
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


def _query(**asked: Any) -> Query:
    try:
        return Query(**asked)
    except InvalidInput as fault:
        fault.where = "--" + fault.where.replace("_", "-")
        raise


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
