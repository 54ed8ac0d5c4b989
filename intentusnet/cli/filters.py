"""Filters: which executions of a store a command is about. `list`, `replay` and `records pick` share them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from intentusnet.cli.app import Words
from intentusnet.errors import InvalidInput
from intentusnet.ids import SYSTEM_CLOCK
from intentusnet.stores.base import STATUSES, Query

F = TypeVar("F", bound=Callable[..., Any])

_RELATIVE: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


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


_FILTERS: Final = (
    click.option("--status", type=Words(STATUSES), help="How it ended."),
    click.option("--intent", metavar="GLOB", help="The intent's name, as in 'ticket.*'."),
    click.option("--agent", metavar="NAME", help="Whose answer it was."),
    click.option("--caller", metavar="NAME", help="Who asked."),
    click.option("--tag", metavar="TAG", help="A label of the request."),
    click.option("--error-code", metavar="CODE", help="The error it ended with, such as POLICY_DENIAL."),
    click.option(
        "--since", type=Moment(), help="Opened then or later: ISO 8601 (UTC), or how long ago: 2h, 3d."
    ),
    click.option("--until", type=Moment(), help="Opened before that."),
    click.option(
        "--text",
        "sought",
        metavar="TEXT",
        help=(
            "Stands in anything that was recorded: request, questions, answers, outcome. Reads the whole log."
        ),
    ),
)


def filter_options(function: F) -> F:
    """Adds the options that say which executions are meant, where the decorator stands among the others."""
    for option in reversed(_FILTERS):
        function = option(function)
    return function


def query_of(
    *, since: int | None = None, until: int | None = None, sought: str | None = None, **asked: Any
) -> Query:
    """The query that the options mean.

    Raises:
        InvalidInput: an option makes no sense.
    """
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is later than --until.")
    try:
        return Query(since_us=since, until_us=until, text=sought, **asked)
    except InvalidInput as fault:
        fault.where = "--" + fault.where.replace("_", "-")
        raise
