"""`diff`: what differs between two executions."""

from __future__ import annotations

import itertools
from typing import Any, Final

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.output import Output, styled, text, value_at
from intentusnet.cli.records import load_record
from intentusnet.replay.diff import Difference, Section, diff_records

#: So many differences are told on a terminal unless -v is given.
_MOST: Final = 20


@click.command("diff")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@shared_options("store", "app")
@pass_invocation
def command(invocation: Invocation, a: str, b: str) -> int:
    """Show what differs between two executions.

    A and B are ids, or files with portable records. What the recorder adds (ids, times, durations) is no part
    of the comparison. Ends with 0 if they are equal, with 1 if not.
    """
    left, right = load_record(a, invocation), load_record(b, invocation)
    found = diff_records(left, right)
    out = invocation.output
    if out.table:
        _print(out, left.execution_id, right.execution_id, found)
    else:
        out.json(
            {
                "a": left.execution_id,
                "b": right.execution_id,
                "equal": not found,
                "differences": [difference.as_dict() for difference in found],
            }
        )
    return 1 if found else 0


def _print(out: Output, a: str, b: str, found: tuple[Difference, ...]) -> None:
    head = styled("differs" if found else "equal")
    head.append(f"  in {len(found)} {'place' if len(found) == 1 else 'places'}" if found else "")
    out.print(head)
    out.print(styled(f"  - a  {a}", "red"), styled(f"  + b  {b}", "green"))
    told = found if out.verbosity else found[:_MOST]
    for (section, scope, question), places in itertools.groupby(told, _part):
        head = styled(section.value, "bold")
        named = question + (f" in {scope}" if scope else "")
        head.append(f"  {text(named)}" if named else "")
        out.print("", head)
        for place in places:
            out.print(f"  {text(place.pointer or 'the whole value')}", _sides(place))
    if len(told) < len(found):
        out.print("", f"… and {len(found) - len(told)} more: -v tells them all")


def _part(difference: Difference) -> tuple[Section, str, str]:
    return difference.section, difference.scope, difference.question


def _sides(place: Difference) -> Any:
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for sign, style, tree in (("-", "red", place.a), ("+", "green", place.b)):
        shown = value_at(tree)
        shown.stylize(style)
        grid.add_row(styled(f"    {sign}", style), shown)
    return grid
