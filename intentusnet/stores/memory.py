"""`MemoryExecutionStore`: the lines of a log in a list, for tests and for runs that nobody wants to keep.

The lines are the very ones that a file would hold, chain and commits included, and are read with the same
checks.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from intentusnet.errors import StoreWriteFailed
from intentusnet.ids import SYSTEM_CLOCK, Clock
from intentusnet.log.durability import Durability
from intentusnet.log.entry import Draft, Entry, check_line, format_line, genesis
from intentusnet.log.executions import check_execution, read_entry
from intentusnet.log.following import Follower, Line, ts_of
from intentusnet.log.verify import Part, Progress, VerifyReport, verify_parts
from intentusnet.record import ExecutionRecord, fold
from intentusnet.references import BlobRef
from intentusnet.stores.base import EVERYTHING, Openings, Page, Query, Row
from intentusnet.stores.custody import MemoryCustody
from intentusnet.stores.finding import has_text, matches, not_found, page_of, resolve, summarise

_NAME = "memory"
#: Nothing in memory is ever on disk.
_DURABLE = -1


class MemoryExecutionStore:
    """A store that ends with the process; mutable, for any number of threads.

    Args:
        clock: what the lines' ``ts`` are taken from.
        store_id: 32 lowercase hex digits; drawn if None.

    Raises:
        InvalidInput: the store id is malformed.
    """

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK, store_id: str | None = None) -> None:
        self._store_id = secrets.token_hex(16) if store_id is None else store_id
        self._chain = genesis(self._store_id)
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._blobs: dict[BlobRef, bytes] = {}
        self._seqs: dict[str, list[int]] = {}
        self._holders: dict[str, str] = {}
        self._looked_at = 0
        self._closed = False
        self.custody = MemoryCustody()

    @property
    def store_id(self) -> str:
        """32 hex digits that no other store has."""
        return self._store_id

    @property
    def durability(self) -> Durability:
        """Always "async": nobody but this process has the entries."""
        return "async"

    def append(self, drafts: Sequence[Draft], *, durability: Durability | None = None) -> range:
        """Appends entries; there is no disk, so that the durability makes no difference.

        Raises:
            StoreWriteFailed: the store is closed.
        """
        with self._lock:
            if self._closed:
                raise StoreWriteFailed("the store is closed", where=_NAME)
            first, ts = len(self._lines), self._clock.time_us()
            for seq, draft in enumerate(drafts, first):
                self._blobs.update((blob.ref, blob.data) for blob in draft.blobs)
                line, self._chain = format_line(draft, seq, ts, _DURABLE, self._chain)
                self._lines.append(line)
                if draft.execution:
                    self._seqs.setdefault(draft.execution, []).append(seq)
            return range(first, len(self._lines))

    def sync(self) -> None:
        """Does nothing: there is no disk."""

    def get(self, execution_id: str) -> ExecutionRecord:
        """One execution by its full id."""
        return fold(self.entries(execution_id), self._blobs.__getitem__)

    def get_many(self, execution_ids: Sequence[str]) -> list[ExecutionRecord]:
        """Several executions by their full ids, in that order."""
        return [self.get(execution_id) for execution_id in execution_ids]

    def entries(self, execution_id: str) -> tuple[Entry, ...]:
        """One execution's entries in the order of the log."""
        entries = self._read(execution_id)
        if not entries:
            raise not_found(execution_id, _NAME)
        check_execution(entries)
        return entries

    def resolve(self, reference: str) -> str:
        """The full id that a reference means."""
        return resolve(reference, self, where=_NAME)

    def has(self, execution_id: str) -> bool:
        """Whether there is an execution of exactly that id."""
        return execution_id in self._seqs

    def fitting(self, fragment: str, limit: int) -> list[str]:
        """The ids that begin or end with the fragment, newest first, at most so many."""
        ids = [name for name in self._opened() if name.startswith(fragment) or name.endswith(fragment)]
        return ids[::-1][:limit]

    def nth_last(self, back: int) -> str | None:
        """The id of the execution opened last (0), of the one before it (1), and so on."""
        ids = self._opened()
        return ids[-1 - back] if back < len(ids) else None

    def list(self, query: Query = EVERYTHING) -> Page:
        """The executions that a query asks for."""
        return page_of(query, self._found(query))

    def holder(self, key: str) -> str | None:
        """The execution opened last of those that may hold an idempotency key."""
        with self._lock:
            # Here, and not when they are appended: most stores are never asked.
            for line in self._lines[self._looked_at :]:
                entry = read_entry(line[:-1])
                found = summarise(entry, None).key if entry.kind == "opened" else None
                if found is not None:
                    self._holders[found] = entry.execution
            self._looked_at = len(self._lines)
            return self._holders.get(key)

    def openings(self, query: Query = EVERYTHING) -> Openings:
        """The first entries of the executions that a query asks for."""
        page = self.list(query)
        return Openings(tuple(self._read(row.execution_id)[0] for row in page.rows), page.cursor)

    def follow(self, since_us: int) -> Follower:
        """Reads the log as it grows, from its beginning."""
        return _Follower(self._lines, genesis(self._store_id))

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """Checks all lines."""
        lines = self._lines[:]
        part = Part(_NAME, 0, lambda: lines)
        return verify_parts(self._store_id, [part], progress=progress, total=sum(map(len, lines)))

    def close(self) -> None:
        """Refuses later appends; what was appended can still be read."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Whole copies, because other threads go on appending while someone iterates.
    def _opened(self) -> Sequence[str]:
        with self._lock:
            return tuple(self._seqs)

    def _read(self, execution_id: str) -> tuple[Entry, ...]:
        with self._lock:
            lines = [self._lines[seq] for seq in self._seqs.get(execution_id, ())]
        return tuple(read_entry(line[:-1]) for line in lines)

    def _found(self, query: Query) -> Iterator[tuple[int, Row]]:
        position, opened = query.position, self._opened()
        for execution_id in opened if query.oldest_first else reversed(opened):
            seq = self._seqs[execution_id][0]
            if position is not None and (seq <= position if query.oldest_first else seq >= position):
                continue
            entries = self._read(execution_id)
            closed = entries[-1] if entries[-1].kind == "closed" else None
            summary = summarise(entries[0], closed)
            if matches(query, summary) and has_text(query, entries, self._blobs.__getitem__):
                yield seq, summary.row


class _Follower:
    """Follows a list of lines that grows at its end; see `Follower`."""

    def __init__(self, lines: Sequence[bytes], chain: bytes) -> None:
        self._lines = lines
        self._chain = chain
        self._seq = 0

    def has_more(self) -> bool:
        return self._seq < len(self._lines)

    def lines(self) -> Iterator[Line]:
        while self.has_more():
            line = self._lines[self._seq][:-1]
            kind, execution, _, _, chain, body = check_line(line, self._seq, self._chain)
            yield Line(kind, execution, ts_of(line), body)
            self._seq, self._chain = self._seq + 1, chain
