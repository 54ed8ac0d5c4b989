"""``index.sqlite``: where the lines of each execution lie, and what executions are looked for by.

It is derived from the log, and nothing is believed because it stands here: whoever reads through it checks
the lines that it points to. So it may be deleted at any time, and one that is damaged, foreign or ahead of
the log is made anew. The worst that a wrong one can do is to leave something out; the verifier does not use
it.

Finding scans one table of small rows, all numbers, from the newest on until the page is full. Even the whole
table is scanned soon, whatever filters are combined (a million rows are some 30 MB), and every append is
spared the upkeep of an index for each column. What the tables are is told in ``intake``.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

from intentusnet.errors import IntegrityBroken
from intentusnet.log.entry import genesis, parse_line
from intentusnet.log.head import Tail, read_note
from intentusnet.log.segment import LOG_DIR, Segment, line_ending_at, list_segments, segment_at
from intentusnet.stores.derived import DerivedDatabase, transaction
from intentusnet.stores.intake import SCHEMA, VERSION, Intake, Place, packed
from intentusnet.stores.selecting import Found, Wanted, place_of, select

INDEX_FILE: Final = "index.sqlite"

_APPLICATION: Final = int.from_bytes(b"Intn", "big")
#: Lines that are taken in with one transaction: others who want to write wait for one of them at most.
_BATCH: Final = 20_000
#: Executions that are found with one statement, so that none is under way while their lines are read.
_FOUND_AT_ONCE: Final = 200
#: No line has that seq.
_BEHIND_ALL: Final = 2**63 - 1
#: The first and the last id that there may be: what a part of an id lacks is filled in from them.
_LOWEST: Final = "00000000-0000-0000-0000-000000000000"
_HIGHEST: Final = _LOWEST.replace("0", "f")
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_T = TypeVar("_T")


class Index:
    """The index of one store.

    Args:
        directory: the store's.
        store_id: 32 lowercase hex digits.
    """

    def __init__(self, directory: Path, store_id: str) -> None:
        self._directory = directory
        self._log = directory / LOG_DIR
        self._store_id = store_id
        self._database = DerivedDatabase(
            directory / INDEX_FILE,
            application=_APPLICATION,
            version=VERSION,
            schema=SCHEMA,
            fill=lambda db: _checked(self._catch_up, db),
        )

    def close(self) -> None:
        """Gives back the file; the next use opens it again."""
        self._database.close()

    def refresh(self) -> IntegrityBroken | None:
        """Takes in what was appended since the last time.

        Returns:
            What is wrong with the log, if it does not check; what lies before that place is in the index.
        """
        return self._ask(self._catch_up)

    def rebuild(self) -> None:
        """Forgets everything and checks the log from its beginning."""
        self._database.renew()

    def opened(self, execution_id: str) -> int | None:
        """The seq at which the execution of exactly that id was opened; None if there is none."""
        if not _ID.fullmatch(execution_id):
            return None
        found = self._rows("SELECT seq FROM ids WHERE execution = ?", packed(execution_id))
        return found[0][0] if found else None

    def has(self, execution_id: str) -> bool:
        """Whether there is an execution of exactly that id."""
        return self.opened(execution_id) is not None

    def places(self, execution_id: str) -> list[Place]:
        """Where the entries of an execution lie, in the order of the log; nothing if there is none."""
        opened = self.opened(execution_id)
        return [] if opened is None else self.entries(opened, opened)

    def entries(self, opened: int, start: int) -> list[Place]:
        """Where the entries of one execution lie.

        Args:
            opened: the seq at which it was opened.
            start: the seq from which on its entries are wanted.
        """
        sql = """SELECT seq, segment, offset, length, digest FROM entries
                 WHERE execution = ? AND seq >= ? ORDER BY seq"""
        return self._ask(lambda db: [place_of(row) for row in db.execute(sql, (opened, start))])

    def fitting(self, fragment: str, limit: int) -> list[str]:
        """The ids that begin or end with the fragment, newest first, at most so many.

        Args:
            fragment: at least four characters.
            limit: how many.
        """
        rest = len(_LOWEST) - len(fragment)
        if rest <= 0:
            return []
        found: list[Any] = []
        first, last = fragment + _LOWEST[-rest:], fragment + _HIGHEST[-rest:]
        if _ID.fullmatch(first):
            sql = "SELECT seq, execution FROM ids WHERE execution BETWEEN ? AND ? ORDER BY seq DESC LIMIT ?"
            found += self._rows(sql, packed(first), packed(last), limit)
        if _ID.fullmatch(_LOWEST[:rest] + fragment):
            digits = fragment.replace("-", "").upper()
            sql = """SELECT seq, execution FROM ids
                     WHERE substr(execution, -2) = ? AND substr(hex(execution), -?) = ?
                     ORDER BY seq DESC LIMIT ?"""
            found += self._rows(sql, bytes.fromhex(digits[-4:]), len(digits), digits, limit)
        return [str(UUID(bytes=name)) for _, name in sorted(set(found), reverse=True)[:limit]]

    def holder(self, key: str) -> Place | None:
        """The first line of the execution opened last that may hold the key of that digest."""
        sql = "SELECT seq FROM keys WHERE digest = ? ORDER BY seq DESC LIMIT 1"
        newest = self._rows(sql, bytes.fromhex(key))
        return next(iter(self.entries(newest[0][0], newest[0][0])), None) if newest else None

    def nth_last(self, back: int) -> Place | None:
        """The first line of the execution opened last (0), of the one before it (1), and so on."""
        newest = self._rows("SELECT seq FROM executions ORDER BY seq DESC LIMIT 1 OFFSET ?", back)
        return next(iter(self.entries(newest[0][0], newest[0][0])), None) if newest else None

    def find(self, wanted: Wanted, position: int | None) -> Iterator[Found]:
        """The executions that are wanted, in the order asked for.

        Args:
            wanted: which.
            position: the seq of opening behind which they begin; None for all.
        """
        if position is None:
            position = _before_all(wanted)
        while True:
            found = self._ask(partial(select, wanted=wanted, position=position, limit=_FOUND_AT_ONCE))
            yield from found
            if len(found) < _FOUND_AT_ONCE:
                return
            position = found[-1].opened.seq

    def first(self, wanted: Wanted, position: int | None) -> Found | None:
        """The first one that `find` gives, if there is one."""
        if position is None:
            position = _before_all(wanted)
        found = self._ask(lambda db: select(db, wanted, position, 1))
        return found[0] if found else None

    def lies(self, execution_id: str, seq: int, segment: int, offset: int) -> bool:
        """Whether that line of that execution begins there; where the store's own lie is not known."""
        if not execution_id:
            return True
        sql = """SELECT 1 FROM entries WHERE execution = (SELECT seq FROM ids WHERE execution = ?)
                 AND seq = ? AND segment = ? AND offset = ?"""
        return bool(self._rows(sql, packed(execution_id), seq, segment, offset))

    def open_at(self, first: int, end: int) -> list[int]:
        """The executions opened from one seq on, and before another, that have entries from that one on."""
        sql = "SELECT seq FROM executions WHERE seq >= ? AND seq < ? AND (closed IS NULL OR closed >= ?)"
        return [row[0] for row in self._rows(sql, first, end, end)]

    def known_bytes(self, place: Place) -> int:
        """How many bytes of its segment, from a place on, are in the index; no limit if all are."""
        ((first, offset),) = self._rows("SELECT first, offset FROM tail")
        return offset - place.offset if place.segment == first else _BEHIND_ALL

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        return self._ask(lambda db: db.execute(sql, values).fetchall())

    def _ask(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return self._database.use(lambda db: _checked(work, db))

    def _catch_up(self, db: sqlite3.Connection) -> IntegrityBroken | None:
        # Read before the log: whoever appends meanwhile can only make the log longer than the note claims.
        note = read_note(self._directory)
        try:
            segments = list_segments(self._log)
        except IntegrityBroken as stray:
            return stray
        fault: IntegrityBroken | None = None
        begun = tail = self._tail(db)
        while fault is None and _goes_on(segments, tail):
            with transaction(db):
                # Looked at again: another process may have taken in the same.
                start = self._tail(db)
                intake = Intake(db, segments, start)
                fault = intake.take(_BATCH)
                tail = intake.tail
                if tail.seq > start.seq:
                    db.execute("REPLACE INTO tail VALUES (1, ?, ?, ?, ?, ?)", (self._store_id, *tail))
                if intake.outsider:
                    _believe(db, tail.seq, first=begun.seq == 0)
            if tail == start:
                break
        if fault is None and note is not None and note.seq >= tail.seq:
            return IntegrityBroken(
                "acknowledged entries are gone",
                where=str(self._log),
                expected=f"entries up to seq {note.seq}, which were on disk",
                got=f"{tail.seq} entries",
                hint="`intentusnet verify` says more; `intentusnet repair` keeps what is good.",
            )
        return fault

    def _tail(self, db: sqlite3.Connection) -> Tail:
        """Where the index ends; an error of the database if its log is not the one that is here."""
        row = db.execute("SELECT store, first, offset, seq, chain FROM tail").fetchone()
        if row is None:
            return Tail(0, 0, 0, genesis(self._store_id))
        tail = Tail(*row[1:])
        try:
            found = line_ending_at(segment_at(self._log, tail.first), tail.offset)
            last = None if found is None else parse_line(found[1])
        except (IntegrityBroken, FileNotFoundError, OverflowError):
            last = None
        if row[0] != self._store_id or last is None or (last.seq, last.chain) != (tail.seq - 1, tail.chain):
            raise sqlite3.DatabaseError(
                "the index was made from another log, or from one that went on otherwise"
            )
        return tail


def _goes_on(segments: Sequence[Segment], tail: Tail) -> bool:
    """Whether the log has anything behind that place; damage is something, too."""
    try:
        return any(
            segment.size() > (tail.offset if segment.first == tail.first else 0)
            for segment in segments
            if segment.first >= tail.first
        )
    except IntegrityBroken:
        return True


def _before_all(wanted: Wanted) -> int:
    return -1 if wanted.query.oldest_first else _BEHIND_ALL


def _believe(db: sqlite3.Connection, seq: int, *, first: bool) -> None:
    """Notes that the line of that seq stands outside of its execution; an error if that is not sure.

    A line that does not check is wrong, whatever the index says. That an execution was not opened, or was
    closed before, may be the index's own mistake: it is believed if the index was just made from nothing.
    """
    if first:
        db.execute("INSERT OR IGNORE INTO outsiders VALUES (?)", (seq,))
    elif not db.execute("SELECT 1 FROM outsiders WHERE seq = ?", (seq,)).fetchone():
        raise sqlite3.DatabaseError("the executions in the index and those in the log differ")


def _checked(work: Callable[[sqlite3.Connection], _T], db: sqlite3.Connection) -> _T:
    try:
        return work(db)
    except (TypeError, ValueError, OverflowError) as fault:
        # In a damaged database not even the types are what they were.
        raise sqlite3.DatabaseError(f"the index holds what was not put there: {fault}") from fault
