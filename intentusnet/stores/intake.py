"""Taking the lines of a log into the tables of its index. Every line is checked at its place first.

What the tables hold, and why they are so:

- ``executions``, a row for each, all numbers, is what finding scans. It stands for itself: no append has to
  pay for the upkeep of an index for each column. ``tags`` there is a mask of bits, one for each tag (several
  tags may share one): it rules out most executions without a look at the table of the tags.
- ``ids`` finds an execution by its id, or by the beginning of it; ``endings`` by the last characters.
- ``keys`` finds the executions that may hold an idempotency key by its digest.
- ``entries`` has the place of every line, and its digest.
- ``tail`` is where the index ends, and the chain there: by it an index of another log is known. A line in
  ``outsiders`` belongs to no execution: it is damage of the log that only the whole of it shows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from itertools import islice
from typing import Any, Final, NamedTuple

from intentusnet.errors import IntegrityBroken
from intentusnet.log.entry import Entry
from intentusnet.log.following import checked_lines, located, ts_of
from intentusnet.log.head import Tail
from intentusnet.log.segment import Segment
from intentusnet.stores.base import STATUSES
from intentusnet.stores.finding import ending_of, summarise

#: Goes up with every change of the schema, or of what stands in a column.
VERSION: Final = 4
SCHEMA: Final = """
    CREATE TABLE tail (
        one INTEGER PRIMARY KEY, store TEXT, first INTEGER, offset INTEGER, seq INTEGER, chain BLOB
    );
    CREATE TABLE outsiders (seq INTEGER PRIMARY KEY);
    CREATE TABLE names (id INTEGER PRIMARY KEY, kind TEXT, name TEXT, UNIQUE (kind, name));
    CREATE TABLE ids (execution BLOB PRIMARY KEY, seq INTEGER) WITHOUT ROWID;
    CREATE INDEX endings ON ids (substr(execution, -2));
    CREATE TABLE executions (
        seq INTEGER PRIMARY KEY, ts INTEGER, status INTEGER, intent INTEGER, caller INTEGER, agent INTEGER,
        error_code INTEGER, closed INTEGER, tags INTEGER
    );
    CREATE INDEX unended ON executions (seq) WHERE closed IS NULL;
    CREATE TABLE tags (tag INTEGER, seq INTEGER, PRIMARY KEY (tag, seq)) WITHOUT ROWID;
    CREATE TABLE keys (digest BLOB, seq INTEGER, PRIMARY KEY (digest, seq)) WITHOUT ROWID;
    CREATE TABLE entries (
        execution INTEGER, seq INTEGER, segment INTEGER, offset INTEGER, length INTEGER, digest INTEGER,
        PRIMARY KEY (execution, seq)
    ) WITHOUT ROWID
"""

_INTERRUPTED: Final = STATUSES.index("interrupted")
_MAX_INTEGER: Final = 2**63 - 1
#: The bits of a mask of tags: as many as SQLite keeps in four bytes.
_MASK_BITS: Final = 31


class Place(NamedTuple):
    """Where a line lies: its seq, the first seq of its segment, offset and length there (with newline).

    ``digest`` is `digest_of` the line, as it was when all of it was checked: a line alone cannot show that
    what only the chain covers, such as its time, is still what it was.
    """

    seq: int
    segment: int
    offset: int
    length: int
    digest: int


def digest_of(line: bytes) -> int:
    """63 bits of the SHA-256 of a line, given without its newline: as many as SQLite keeps of a number."""
    return int.from_bytes(sha256(line).digest()[:8]) >> 1


def packed(execution_id: str) -> bytes:
    """The bytes that an id spells."""
    return bytes.fromhex(execution_id.replace("-", ""))


def mask_of(tag: int) -> int:
    """The bit that stands for the tag of that number."""
    return 1 << tag % _MASK_BITS


class _Execution:
    """An execution of which lines are being taken in; mutable."""

    __slots__ = ("agent", "closed", "error_code", "opened", "status")

    def __init__(self, opened: int, closed: int | None) -> None:
        self.opened = opened
        self.closed = closed
        self.status = _INTERRUPTED
        self.agent: int | None = None
        self.error_code: int | None = None


class Intake:
    """Takes lines of the log into the tables, inside one transaction; mutable.

    Args:
        db: where to.
        segments: the log.
        tail: where the tables end.

    Attributes:
        tail: where they end now.
        outsider: whether it had to stop at a line because of what the tables say about its execution.
    """

    def __init__(self, db: sqlite3.Connection, segments: Sequence[Segment], tail: Tail) -> None:
        self.tail = tail
        self.outsider = False
        self._db = db
        self._segments = [segment for segment in segments if segment.first >= tail.first]
        self._names: dict[tuple[str, str], int] = {}
        self._known: dict[str, _Execution | None] = {}
        self._opened: list[tuple[_Execution, tuple[Any, ...]]] = []
        self._ended: list[_Execution] = []
        self._ids: list[tuple[bytes, int]] = []
        self._tags: list[tuple[int, int]] = []
        self._keys: list[tuple[bytes, int]] = []
        self._entries: list[tuple[int, int, int, int, int, int]] = []

    def take(self, limit: int) -> IntegrityBroken | None:
        """Takes in the next lines, at most so many; they are held in memory meanwhile.

        Returns:
            What is wrong with the line at which it had to stop.
        """
        fault: IntegrityBroken | None = None
        try:
            for at, offset, line, told, tail in islice(checked_lines(self._segments, self.tail), limit):
                kind, execution, durable, commit, chain, body = told
                if execution:
                    # Not parsed again: that would cost as much as the check.
                    name, seq = execution.decode(), self.tail.seq
                    entry = Entry(
                        seq, ts_of(line), kind.decode(), name, durable, commit, chain, b"", body, line
                    )
                    try:
                        self._take_entry(entry, Place(seq, at.first, offset, len(line) + 1, digest_of(line)))
                    except IntegrityBroken as outside:
                        raise located(outside, at, self.tail) from None
                self.tail = tail
        except IntegrityBroken as broken:
            fault = broken
        self._write()
        return fault

    def _write(self) -> None:
        many = self._db.executemany
        many("INSERT INTO ids VALUES (?, ?)", self._ids)
        many("INSERT INTO tags VALUES (?, ?)", self._tags)
        many("INSERT INTO keys VALUES (?, ?)", self._keys)
        many("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", self._entries)
        many(
            "INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (seq, ts, it.status, intent, caller, it.agent, it.error_code, it.closed, mask)
                for it, (seq, ts, intent, caller, mask) in self._opened
            ],
        )
        many(
            "UPDATE executions SET status = ?, agent = ?, error_code = ?, closed = ? WHERE seq = ?",
            [(it.status, it.agent, it.error_code, it.closed, it.opened) for it in self._ended],
        )

    def _take_entry(self, entry: Entry, place: Place) -> None:
        known = self._execution(entry.execution)
        if (entry.kind == "opened") is not (known is None) or (
            known is not None and known.closed is not None
        ):
            self.outsider = True
            raise IntegrityBroken(
                "an entry stands outside of its execution",
                expected="`opened` once and first, `closed` last",
                got=f"`{entry.kind}` of {entry.execution}",
            )
        if known is None:
            known = self._take_opened(entry)
        elif entry.kind == "closed":
            self._take_closed(entry, known)
        self._entries.append((known.opened, *place))

    def _take_opened(self, entry: Entry) -> _Execution:
        summary = summarise(entry, None)
        tags = [self._name("tag", tag) for tag in set(summary.tags)]
        mask = 0
        for tag in tags:
            mask |= mask_of(tag)
        row = (
            entry.seq,
            max(-_MAX_INTEGER, min(entry.ts, _MAX_INTEGER)),
            self._name("intent", summary.row.intent),
            self._name("caller", summary.caller),
            mask,
        )
        execution = self._known[entry.execution] = _Execution(entry.seq, None)
        self._opened.append((execution, row))
        self._ids.append((packed(entry.execution), entry.seq))
        self._tags += [(tag, entry.seq) for tag in tags]
        if summary.key is not None:
            self._keys.append((bytes.fromhex(summary.key), entry.seq))
        return execution

    def _take_closed(self, entry: Entry, execution: _Execution) -> None:
        ending = ending_of(entry)
        execution.status = STATUSES.index(ending.status)
        execution.agent = None if ending.agent is None else self._name("agent", ending.agent)
        execution.error_code = (
            None if ending.error_code is None else self._name("error_code", ending.error_code)
        )
        execution.closed = entry.seq
        if not self._opened or execution.opened < self._opened[0][0].opened:
            self._ended.append(execution)

    def _execution(self, name: str) -> _Execution | None:
        """What is known of the execution; None if it has not been opened."""
        if name not in self._known:
            sql = "SELECT seq, closed FROM ids JOIN executions USING (seq) WHERE execution = ?"
            row = self._db.execute(sql, (packed(name),)).fetchone()
            self._known[name] = row and _Execution(*row)
        return self._known[name]

    def _name(self, kind: str, name: str) -> int:
        """The number that stands for a name."""
        key = (kind, name)
        if key not in self._names:
            self._db.execute("INSERT OR IGNORE INTO names (kind, name) VALUES (?, ?)", key)
            sql = "SELECT id FROM names WHERE kind = ? AND name = ?"
            self._names[key] = self._db.execute(sql, key).fetchone()[0]
        return self._names[key]
