"""``index.sqlite``: where the lines of each execution lie, and what executions are looked for by.

It is derived from the log, and nothing is believed because it stands here: whoever reads through it checks
the lines that it points to. So it may be deleted at any time, and one that is damaged, foreign or ahead of
the log is made anew. The worst that a wrong one can do is to leave something out; the verifier does not use
it.

Finding scans one table of small rows, all numbers, from the newest on until the page is full. Even the whole
table is scanned soon, whatever filters are combined (a million rows are some 25 MB), and every append is
spared the upkeep of an index for each column.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from intentusnet.errors import IntegrityBroken
from intentusnet.log.entry import Entry, check_line, genesis, parse_line
from intentusnet.log.head import Tail, read_note
from intentusnet.log.segment import (
    LOG_DIR,
    Segment,
    iter_lines,
    line_ending_at,
    list_segments,
    segment_at,
)
from intentusnet.stores.base import STATUSES, Query
from intentusnet.stores.derived import DerivedDatabase, transaction
from intentusnet.stores.finding import ending_of, summarise

INDEX_FILE: Final = "index.sqlite"

_APPLICATION: Final = int.from_bytes(b"Intn", "big")
#: Goes up with every change of the schema, or of what stands in a column.
_VERSION: Final = 1
_SCHEMA: Final = """
    CREATE TABLE tail (
        one INTEGER PRIMARY KEY, store TEXT, first INTEGER, offset INTEGER, seq INTEGER, chain BLOB
    );
    CREATE TABLE names (id INTEGER PRIMARY KEY, kind TEXT, name TEXT, UNIQUE (kind, name));
    CREATE TABLE ids (execution TEXT PRIMARY KEY, seq INTEGER) WITHOUT ROWID;
    CREATE TABLE executions (
        seq INTEGER PRIMARY KEY, ts INTEGER, status INTEGER, intent INTEGER, caller INTEGER, agent INTEGER,
        error_code INTEGER, closed INTEGER
    );
    CREATE TABLE tags (tag INTEGER, seq INTEGER, PRIMARY KEY (tag, seq)) WITHOUT ROWID;
    CREATE TABLE entries (
        execution INTEGER, seq INTEGER, segment INTEGER, offset INTEGER, length INTEGER,
        PRIMARY KEY (execution, seq)
    ) WITHOUT ROWID
"""
_INTERRUPTED: Final = STATUSES.index("interrupted")
#: Lines that are taken in with one transaction: others who want to write wait for one of them at most.
_BATCH: Final = 20_000
#: Executions that are found with one statement, so that none is under way while their lines are read.
_FOUND_AT_ONCE: Final = 200
_MAX_INTEGER: Final = 2**63 - 1
_LAST_CHARACTER: Final = "\U0010ffff"


class Place(NamedTuple):
    """Where a line lies: its seq, the first seq of its segment, offset and length there (with newline)."""

    seq: int
    segment: int
    offset: int
    length: int


class Found(NamedTuple):
    """An execution that may fit: where its first and last lines lie."""

    opened: Place
    closed: Place | None


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
            version=_VERSION,
            schema=_SCHEMA,
            fill=self._catch_up,
        )

    def close(self) -> None:
        """Gives back the file; the next use opens it again."""
        self._database.close()

    def refresh(self) -> IntegrityBroken | None:
        """Takes in what was appended since the last time.

        Returns:
            What is wrong with the log, if it does not check; what lies before that place is in the index.
        """
        return self._database.use(self._catch_up)

    def rebuild(self) -> None:
        """Forgets everything and checks the log from its beginning."""
        self._database.renew()

    def places(self, execution_id: str) -> list[Place]:
        """Where the entries of an execution lie, in the order of the log; nothing if there is none."""
        sql = """SELECT seq, segment, offset, length FROM entries
                 WHERE execution = (SELECT seq FROM ids WHERE execution = ?) ORDER BY seq"""
        return [Place(*row) for row in self._rows(sql, execution_id)]

    def has(self, execution_id: str) -> bool:
        """Whether there is an execution of exactly that id."""
        return bool(self._rows("SELECT 1 FROM ids WHERE execution = ?", execution_id))

    def fitting(self, fragment: str, limit: int) -> list[str]:
        """The ids that begin or end with the fragment, newest first, at most so many."""
        sql = """SELECT execution FROM ids WHERE execution >= ? AND execution < ? OR substr(execution, -?) = ?
                 ORDER BY seq DESC LIMIT ?"""
        end = fragment + _LAST_CHARACTER
        return [row[0] for row in self._rows(sql, fragment, end, len(fragment), fragment, limit)]

    def nth_last(self, back: int) -> Place | None:
        """The first line of the execution opened last (0), of the one before it (1), and so on."""
        newest = self._rows("SELECT seq FROM executions ORDER BY seq DESC LIMIT 1 OFFSET ?", back)
        if not newest:
            return None
        sql = "SELECT seq, segment, offset, length FROM entries WHERE execution = ? AND seq = execution"
        return next((Place(*row) for row in self._rows(sql, newest[0][0])), None)

    def find(self, query: Query) -> Iterator[Found]:
        """The executions that fit, their text aside, in the order asked for."""
        position = query.position
        while True:
            rows = self._select(query, position)
            for row in rows:
                yield Found(Place(*row[:4]), None if row[4] is None else Place(*row[4:]))
            if len(rows) < _FOUND_AT_ONCE:
                return
            position = rows[-1][0]

    def _select(self, query: Query, position: int | None) -> list[Any]:
        source, seq = "executions AS e", "e.seq"
        if query.tag is not None:
            # A tag's executions are few, mostly. CROSS JOIN makes SQLite go through them, in their order.
            source, seq = "tags AS t CROSS JOIN executions AS e ON e.seq = t.seq", "t.seq"
        conditions: list[str] = []
        values: list[Any] = []
        for column in ("tag", "caller", "agent", "error_code"):
            name = getattr(query, column)
            if name is not None:
                conditions.append(f"{column} = (SELECT id FROM names WHERE kind = ? AND name = ?)")
                values += [column, name]
        if query.intent is not None:
            intents = self._rows("SELECT id, name FROM names WHERE kind = 'intent'")
            conditions.append("intent IN (SELECT value FROM json_each(?))")
            values.append(orjson.dumps([key for key, name in intents if query.wants_intent(name)]).decode())
        for condition, value in (
            ("status = ?", None if query.status is None else STATUSES.index(query.status)),
            ("ts >= ?", query.since_us),
            ("ts < ?", query.until_us),
            (f"{seq} {'>' if query.oldest_first else '<'} ?", position),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        sql = f"""
            SELECT o.seq, o.segment, o.offset, o.length, c.seq, c.segment, c.offset, c.length
            FROM {source}
            CROSS JOIN entries AS o ON o.execution = e.seq AND o.seq = e.seq
            LEFT JOIN entries AS c ON c.execution = e.seq AND c.seq = e.closed
            WHERE {" AND ".join(conditions or ["1"])}
            ORDER BY {seq} {"ASC" if query.oldest_first else "DESC"} LIMIT {_FOUND_AT_ONCE}
        """
        return self._rows(sql, *values)

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        return self._database.use(lambda db: db.execute(sql, values).fetchall())

    def _catch_up(self, db: sqlite3.Connection) -> IntegrityBroken | None:
        # Read before the log: whoever appends meanwhile can only make the log longer than the note claims.
        note = read_note(self._directory)
        try:
            segments = list_segments(self._log)
        except IntegrityBroken as stray:
            return stray
        fault: IntegrityBroken | None = None
        tail = self._tail(db)
        while fault is None and _goes_on(segments, tail):
            with transaction(db):
                # Looked at again: another process may have taken in the same.
                start = self._tail(db)
                intake = _Intake(db, segments, start)
                fault = intake.take(_BATCH)
                tail = intake.tail
                if tail.seq > start.seq:
                    db.execute("REPLACE INTO tail VALUES (1, ?, ?, ?, ?, ?)", (self._store_id, *tail))
            if tail == start:
                break
        if fault is None and note is not None and note.seq >= tail.seq:
            return IntegrityBroken(
                "acknowledged entries are gone",
                where=str(self._log),
                expected=f"entries up to seq {note.seq}, which were on disk",
                got=f"{tail.seq} entries",
                hint="`intentusnet verify` says more.",
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
        except (IntegrityBroken, FileNotFoundError):
            last = None
        if row[0] != self._store_id or last is None or (last.seq, last.chain) != (tail.seq - 1, tail.chain):
            raise sqlite3.DatabaseError(
                "the index was made from another log, or from one that went on otherwise"
            )
        return tail


def _goes_on(segments: Sequence[Segment], tail: Tail) -> bool:
    """Whether the log has anything behind that place."""
    return any(
        segment.size() > (tail.offset if segment.first == tail.first else 0)
        for segment in segments
        if segment.first >= tail.first
    )


class _Intake:
    """Takes lines of the log into the tables, inside one transaction; mutable.

    Every line is checked at its place first: template, commit and chain.

    Args:
        db: where to.
        segments: the log.
        tail: where the tables end.
    """

    def __init__(self, db: sqlite3.Connection, segments: Sequence[Segment], tail: Tail) -> None:
        self.tail = tail
        self._db = db
        self._segments = [segment for segment in segments if segment.first >= tail.first]
        self._left = 0
        self._names: dict[tuple[str, str], int] = {}
        self._executions: dict[str, tuple[int, bool] | None] = {}
        self._entries: list[tuple[int, int, int, int, int]] = []

    def take(self, limit: int) -> IntegrityBroken | None:
        """Takes in the next lines, at most so many.

        Returns:
            What is wrong with the line at which it had to stop.
        """
        self._left = limit
        fault: IntegrityBroken | None = None
        try:
            for segment in self._segments:
                self._take_segment(segment)
        except IntegrityBroken as broken:
            fault = broken
            fault.where = f"{self._log_name()}, seq {self.tail.seq}, offset {self.tail.offset}"
            fault.hint = "`intentusnet verify` says more."
        self._db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", self._entries)
        return fault

    def _take_segment(self, segment: Segment) -> None:
        if self._left == 0:
            return
        if segment.first not in (self.tail.first, self.tail.seq):
            raise IntegrityBroken(
                "lines between two segments are missing, or there twice",
                expected=f"a segment that begins with seq {self.tail.seq}",
                got=segment.path.name,
            )
        end = self.tail.offset if segment.first == self.tail.first else 0
        for offset, line in iter_lines(segment, end):
            chain = check_line(line, self.tail.seq, self.tail.chain)[4]
            place = Place(self.tail.seq, segment.first, offset, len(line) + 1)
            self._take_entry(parse_line(line), place)
            end = offset + len(line) + 1
            self.tail = Tail(segment.first, end, self.tail.seq + 1, chain)
            self._left -= 1
            if self._left == 0:
                return
        # Behind the last segment's last line, another writer may be in the middle of the next one.
        if segment is not self._segments[-1] and segment.size() > end:
            raise IntegrityBroken("a line has no end", expected="a newline", got="the end of the segment")

    def _take_entry(self, entry: Entry, place: Place) -> None:
        if entry.execution == "":
            return
        known = self._execution(entry.execution)
        if (entry.kind == "opened") is not (known is None) or (known is not None and known[1]):
            raise IntegrityBroken(
                "an entry stands outside of its execution",
                expected="`opened` once and first, `closed` last",
                got=f"`{entry.kind}` of {entry.execution}",
            )
        opened = entry.seq if known is None else known[0]
        if entry.kind == "opened":
            self._take_opened(entry)
        elif entry.kind == "closed":
            ending = ending_of(entry)
            sql = "UPDATE executions SET status = ?, agent = ?, error_code = ?, closed = ? WHERE seq = ?"
            agent, code = self._name("agent", ending.agent), self._name("error_code", ending.error_code)
            self._db.execute(sql, (STATUSES.index(ending.status), agent, code, entry.seq, opened))
        self._executions[entry.execution] = (opened, entry.kind == "closed")
        self._entries.append((opened, *place))

    def _take_opened(self, entry: Entry) -> None:
        summary = summarise(entry, None)
        self._db.execute("INSERT INTO ids VALUES (?, ?)", (entry.execution, entry.seq))
        self._db.execute(
            "INSERT INTO executions VALUES (?, ?, ?, ?, ?, NULL, NULL, NULL)",
            (
                entry.seq,
                max(-_MAX_INTEGER, min(entry.ts, _MAX_INTEGER)),
                _INTERRUPTED,
                self._name("intent", summary.row.intent),
                self._name("caller", summary.caller),
            ),
        )
        for tag in set(summary.tags):
            self._db.execute("INSERT INTO tags VALUES (?, ?)", (self._name("tag", tag), entry.seq))

    def _execution(self, execution: str) -> tuple[int, bool] | None:
        """Where the execution was opened, and whether it is closed."""
        if execution not in self._executions:
            sql = "SELECT seq, closed IS NOT NULL FROM ids JOIN executions USING (seq) WHERE execution = ?"
            row = self._db.execute(sql, (execution,)).fetchone()
            self._executions[execution] = None if row is None else (row[0], bool(row[1]))
        return self._executions[execution]

    def _name(self, kind: str, name: str | None) -> int | None:
        """The number that stands for a name."""
        if name is None:
            return None
        key = (kind, name)
        if key not in self._names:
            self._db.execute("INSERT OR IGNORE INTO names (kind, name) VALUES (?, ?)", key)
            sql = "SELECT id FROM names WHERE kind = ? AND name = ?"
            self._names[key] = self._db.execute(sql, key).fetchone()[0]
        return self._names[key]

    def _log_name(self) -> str:
        return str(segment_at(self._segments[0].path.parent, self.tail.first).path)
