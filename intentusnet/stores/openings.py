"""First entries of executions, by the thousand: what policies are tried on.

Who wants to know how executions were decided needs their first lines, and all of those; the rows of a list
take the last ones, too. So only where the query asks how an execution ended is that looked up.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from intentusnet.errors import IntegrityBroken
from intentusnet.log.entry import Entry
from intentusnet.stores.base import Openings, Query
from intentusnet.stores.finding import Load, matches, summarise
from intentusnet.stores.index import Index
from intentusnet.stores.reading import Doubt, Lines, rows
from intentusnet.stores.searching import search
from intentusnet.stores.selecting import Found, Wanted


def openings(
    query: Query, index: Index, lines: Lines, damage: IntegrityBroken | None, load: Load
) -> Openings:
    """A page of the first entries of the executions that a query asks for.

    Args:
        query: says which.
        index: where to look.
        lines: what to look at.
        damage: of the log, up to which the index goes.
        load: gives the bytes of a value that is kept apart.

    Raises:
        Doubt: a line is not what the index says.
        IntegrityBroken: the log is damaged.
    """
    if damage is not None:
        raise damage
    ending = (query.status, query.agent, query.error_code) != (None, None, None)
    wanted = Wanted(query, closings=ending or query.text is not None)
    found = search(wanted, index, lines, load) if query.text else index.find(wanted, query.position)
    entries = tuple(islice(_read(query, ending, found, lines), query.limit))
    # Whether there are more is not looked up: that would cost as much as some hundred of them.
    return Openings(entries, query.cursor_after(entries[-1].seq) if len(entries) == query.limit else None)


def _read(query: Query, ending: bool, found: Iterator[Found], lines: Lines) -> Iterator[Entry]:
    chooses = query.chooses
    for one in found:
        opened = lines.read(one.opened)
        # An index that names the wrong ones is found out by what their lines say.
        if ending:
            _ = list(rows(query, [one], lines))
        elif chooses and not matches(query, summarise(opened, None)):
            where = f"execution {opened.execution}"
            raise Doubt(IntegrityBroken("an execution is not as it was found", where=where))
        yield opened
