"""Records by their names: what is sent to whoever replays them, and how it is found there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from intentusnet.errors import IntentusError, RecordNotFound
from intentusnet.record import ExecutionRecord
from intentusnet.replay.recordfiles import files_by_id
from intentusnet.stores.base import MAX_LIMIT, ExecutionStore, Query, Row
from intentusnet.stores.portable import load_record


class Load(Protocol):
    """A record by its name; small, and can be sent to another process."""

    @property
    def name(self) -> str:
        """What the record is called in reports."""
        ...

    def load(self, store: ExecutionStore | None) -> ExecutionRecord:
        """The record, its bytes checked.

        Args:
            store: of the runtime that replays it.

        Raises:
            IntentusError: it cannot be read, or is not what was written.
        """
        ...

    def child(self, execution_id: str, store: ExecutionStore | None) -> ExecutionRecord:
        """The record of an execution that this one asked for, its bytes checked.

        Raises:
            RecordNotFound: it is not where this one is.
            IntentusError: it is not what was written.
        """
        ...

    def is_below_another(self, record: ExecutionRecord, store: ExecutionStore | None) -> bool:
        """Whether the record is replayed below another one anyway."""
        ...


@dataclass(frozen=True, slots=True)
class RecordFile:
    """A portable record in a file.

    Attributes:
        name: the file.
        beside: directories below which the records of executions lie that it asked for.
    """

    name: str
    beside: tuple[str, ...] = ()

    def load(self, store: ExecutionStore | None) -> ExecutionRecord:
        """See `Load.load`."""
        return load_record(self.name)

    def child(self, execution_id: str, store: ExecutionStore | None) -> ExecutionRecord:
        """See `Load.child`."""
        path = files_by_id(self.beside).get(execution_id)
        if path is None:
            raise RecordNotFound("no file holds the execution", where=execution_id)
        return load_record(path)

    def is_below_another(self, record: ExecutionRecord, store: ExecutionStore | None) -> bool:
        """Never: whoever names a file wants to hear of it."""
        return False


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """An execution of the store.

    Attributes:
        name: its full id.
        outermost: it is left out if the store has the execution that asked for it.
    """

    name: str
    outermost: bool = False

    def load(self, store: ExecutionStore | None) -> ExecutionRecord:
        """See `Load.load`."""
        if store is None:
            raise RecordNotFound("there is no store to find the execution in", where=self.name)
        return store.get(self.name)

    def child(self, execution_id: str, store: ExecutionStore | None) -> ExecutionRecord:
        """See `Load.child`."""
        return StoredRecord(execution_id).load(store)

    def is_below_another(self, record: ExecutionRecord, store: ExecutionStore | None) -> bool:
        """See `Load.is_below_another`; a parent that was interrupted may know nothing of it."""
        if not self.outermost or record.parent is None or store is None:
            return False
        with suppress(IntentusError):
            return record.execution_id in store.get(record.parent.execution).children
        return False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for the records that cannot be told, because the log that has them is damaged.

    Attributes:
        name: of the log.
        fault: what is wrong with it.
    """

    name: str
    fault: IntentusError

    def load(self, store: ExecutionStore | None) -> ExecutionRecord:
        """Raises what is wrong."""
        raise self.fault

    def child(self, execution_id: str, store: ExecutionStore | None) -> ExecutionRecord:
        """Raises what is wrong."""
        raise self.fault

    def is_below_another(self, record: ExecutionRecord, store: ExecutionStore | None) -> bool:
        """Never."""
        return False


def every(store: ExecutionStore, query: Query) -> Iterator[Row]:
    """All executions that a query asks for, oldest first, a page at a time.

    Raises:
        IntegrityBroken: the log is damaged; with `Query.despite_damage`, after what can be told of it.
    """
    cursor: str | None = None
    while True:
        page = store.list(replace(query, limit=MAX_LIMIT, cursor=cursor, oldest_first=True))
        yield from page.rows
        if page.cursor is None:
            break
        cursor = page.cursor
    if page.damage is not None:
        raise page.damage
