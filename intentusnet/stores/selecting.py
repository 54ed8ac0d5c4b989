"""From a query to a statement: which rows of the index a query wants.

One table of small rows is scanned, in the order asked for, until there are enough. Two filters lead straight
to what fits, because so few do: a tag that is rare, and not having ended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import orjson

from intentusnet.stores.base import STATUSES, Query
from intentusnet.stores.intake import Place, mask_of

#: A tag of so few executions leads to them; of more, it is looked up for those that the other filters leave.
FEW: Final = 20_000


class Found(NamedTuple):
    """An execution that may fit: where its first and last lines lie."""

    opened: Place
    closed: Place | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which executions are wanted.

    Args:
        query: says which, its text and cursor aside.
        among: if given, only those that were opened at one of these seqs.
        ended: whether those that have not ended are left out.
        closings: whether it is wanted where their last lines lie, too, which costs a look-up for each.
    """

    query: Query
    among: Sequence[int] | None = None
    ended: bool = False
    closings: bool = True


def select(db: sqlite3.Connection, wanted: Wanted, position: int, limit: int) -> list[Found]:
    """The next executions that are wanted, in the order that the query asks for.

    Args:
        db: the index.
        wanted: which.
        position: the seq of opening behind which they begin.
        limit: how many at most.

    Raises:
        sqlite3.DatabaseError: the index is damaged.
    """
    where = _Where()
    if not where.add(db, wanted.query):
        return []
    if wanted.ended:
        where.conditions.append("e.closed IS NOT NULL")
    if wanted.among is not None:
        where.require(f"{where.seq} IN (SELECT value FROM json_each(?))", _json(wanted.among))
    oldest_first = wanted.query.oldest_first
    where.require(f"{where.seq} {'>' if oldest_first else '<'} ?", position)
    closing, closings = "NULL", ""
    if wanted.closings:
        closing = "c.seq, c.segment, c.offset, c.length, c.digest"
        closings = "LEFT JOIN entries AS c ON c.execution = e.seq AND c.seq = e.closed"
    sql = f"""
        SELECT o.seq, o.segment, o.offset, o.length, o.digest, {closing}
        FROM {where.source}
        CROSS JOIN entries AS o ON o.execution = e.seq AND o.seq = e.seq
        {closings}
        WHERE {" AND ".join(where.conditions)}
        ORDER BY {where.seq} {"ASC" if oldest_first else "DESC"} LIMIT {limit}
    """
    found = [
        Found(place_of(row[:5]), None if row[5] is None else place_of(row[5:]))
        for row in db.execute(sql, where.values)
    ]
    seqs = [position, *(one.opened.seq for one in found)]
    if not all(before < after if oldest_first else before > after for before, after in pairwise(seqs)):
        # Whoever goes on behind the last one would go on for ever.
        raise sqlite3.DatabaseError("the executions are out of order")
    return found


def place_of(row: Sequence[Any]) -> Place:
    """The place that stands in a row: seq, segment, offset, length and digest.

    Raises:
        sqlite3.DatabaseError: it is none.
    """
    if set(map(type, row)) != {int} or min(row) < 0:
        raise sqlite3.DatabaseError(f"not a place: {row!r}")
    return Place(*row)


class _Where:
    """What a statement scans, and under which conditions; mutable."""

    def __init__(self) -> None:
        self.source, self.seq = "executions AS e", "e.seq"
        self.conditions: list[str] = []
        self.values: list[Any] = []

    def require(self, condition: str, *values: Any) -> None:
        self.conditions.append(condition)
        self.values += values

    def add(self, db: sqlite3.Connection, query: Query) -> bool:
        """Adds the filters of a query; whether anything can fit them."""
        for column in ("caller", "agent", "error_code"):
            name = getattr(query, column)
            if name is not None:
                number = _number(db, column, name)
                if number is None:
                    return False
                self.require(f"e.{column} = ?", number)
        if query.intent is not None:
            names = db.execute("SELECT id, name FROM names WHERE kind = 'intent'")
            intents = [number for number, name in names if query.wants_intent(name)]
            if not intents:
                return False
            self.require("e.intent IN (SELECT value FROM json_each(?))", _json(intents))
        if query.status == "interrupted":
            self.conditions.append("e.closed IS NULL")
        elif query.status is not None:
            self.require("e.status = ?", STATUSES.index(query.status))
        if query.since_us is not None:
            self.require("e.ts >= ?", query.since_us)
        if query.until_us is not None:
            self.require("e.ts < ?", query.until_us)
        return query.tag is None or self._add_tag(db, query.tag)

    def _add_tag(self, db: sqlite3.Connection, name: str) -> bool:
        tag = _number(db, "tag", name)
        if tag is None:
            return False
        counted = "SELECT count(*) FROM (SELECT 1 FROM tags WHERE tag = ? LIMIT ?)"
        if db.execute(counted, (tag, FEW)).fetchone()[0] < FEW:
            # CROSS JOIN makes SQLite go through the tag's executions, in their order.
            self.source, self.seq = "tags AS t CROSS JOIN executions AS e ON e.seq = t.seq", "t.seq"
            self.require("t.tag = ?", tag)
        else:
            self.require("e.tags & ?", mask_of(tag))
            self.require("EXISTS (SELECT 1 FROM tags WHERE tag = ? AND seq = e.seq)", tag)
        return True


def _number(db: sqlite3.Connection, kind: str, name: str) -> int | None:
    """The number that stands for a name; None if no execution has it."""
    try:
        row = db.execute("SELECT id FROM names WHERE kind = ? AND name = ?", (kind, name)).fetchone()
    except UnicodeEncodeError:
        return None
    return None if row is None else row[0]


def _json(numbers: Sequence[int]) -> str:
    return orjson.dumps(numbers).decode()
