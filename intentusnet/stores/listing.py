"""The page that a query gives, made from checked lines, of a log that may be damaged.

A list that is short of something without saying so would mislead. So damage is an error, unless the query
asks for what there is despite it; then the page has what can be told for certain, and names the damage.
"""

from __future__ import annotations

from dataclasses import replace

from intentusnet.errors import IntegrityBroken
from intentusnet.references import BlobRef
from intentusnet.stores.base import Page, Query
from intentusnet.stores.finding import Load, page_of
from intentusnet.stores.index import Index
from intentusnet.stores.reading import Lines, rows
from intentusnet.stores.searching import search
from intentusnet.stores.selecting import Wanted


def page(query: Query, index: Index, lines: Lines, load: Load, damage: IntegrityBroken | None) -> Page:
    """What the query asks for.

    Args:
        query: says what.
        index: where to look.
        lines: what to look at.
        load: gives the bytes of a value that is kept apart.
        damage: of the log, up to which the index goes.

    Raises:
        Doubt: a line is not what the index says.
        IntegrityBroken: the log, or a value that was searched, is damaged, and the query does not go on
            despite that; or a body is not of the recorded format.
    """
    if damage is not None and not query.despite_damage:
        raise damage
    # Whether an execution ended may stand behind the damage.
    wanted = Wanted(query, ended=damage is not None)
    if not query.text:
        return replace(page_of(query, rows(query, index.find(wanted, query.position), lines)), damage=damage)
    damaged = [] if damage is None else [damage]

    def load_or_note(ref: BlobRef) -> bytes:
        try:
            return load(ref)
        except IntegrityBroken as fault:
            if not query.despite_damage:
                raise
            damaged.append(fault)
            return b""

    found = page_of(query, rows(query, search(wanted, index, lines, load_or_note), lines))
    return replace(found, damage=damaged[0] if damaged else None)
