"""`FileExecutionStore`: a directory with a log, and an index to find executions in it.

Making one touches nothing on disk: the directory comes into being with the first append, and until then the
store reads as empty. Every line that is returned was checked when it was read, template and commit; what the
index says about it is only where to look.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from intentusnet.errors import IntegrityBroken, StorePoisoned, StoreWriteFailed
from intentusnet.ids import SYSTEM_CLOCK, Clock
from intentusnet.log.backlog import AsyncBound
from intentusnet.log.durability import Durability, check_durability
from intentusnet.log.entry import Draft, Entry
from intentusnet.log.files import FILES, Files, poisoned
from intentusnet.log.following import Follower, LogFollower
from intentusnet.log.identity import STORE_FILE, Identity, create_identity, find_identity, read_identity
from intentusnet.log.sealing import Compression, SealReport, seal_log
from intentusnet.log.segment import LOG_DIR
from intentusnet.log.tiles import LogTree
from intentusnet.log.verify import Progress, VerifyReport, verify_store
from intentusnet.log.writer import LogWriter
from intentusnet.record import ExecutionRecord, fold
from intentusnet.stores.base import EVERYTHING, Openings, Page, Query, StoreSettings
from intentusnet.stores.blobs import Blobs, Collected
from intentusnet.stores.custody import FileCustody
from intentusnet.stores.finding import not_found, resolve
from intentusnet.stores.index import Index
from intentusnet.stores.listing import page
from intentusnet.stores.openings import openings
from intentusnet.stores.reading import Doubt, Known, Lines, entries_of, holder, no_store, unreadable

_T = TypeVar("_T")


class FileExecutionStore:
    """A store in a directory; mutable, for any number of threads, beside any number of processes.

    Args:
        path: the directory.
        durability: how durable an entry is when an append returns: "disk", "os" or "async".
        async_bound: what "async" may lose; a thousand entries, or those of 50 milliseconds, if None.
        clock: what the lines' ``ts`` are taken from.
        create: whether the first append may make the store.
        settings: of a store that is made; one that is there has its own.
        files: the calls that change the store.

    Raises:
        InvalidInput: there is no such durability.
    """

    def __init__(
        self,
        path: Path | str,
        durability: Durability = "disk",
        *,
        async_bound: AsyncBound | None = None,
        clock: Clock = SYSTEM_CLOCK,
        create: bool = True,
        settings: StoreSettings | None = None,
        files: Files = FILES,
    ) -> None:
        check_durability(durability)
        self._path = Path(path)
        self._durability = durability
        self._async_bound = async_bound
        self._clock = clock
        self._create = create
        self._settings = settings or StoreSettings()
        self._files = files
        self._lock = threading.Lock()
        self._writer: LogWriter | None = None
        self._compression: Compression | None = None
        self._index: Index | None = None
        self._blobs = Blobs(self._path, files)
        self._identity: Identity | None = None
        self._unmade: tuple[str, str] | None = None
        self._closed = False
        self.custody = FileCustody(self._path, self._open_writer)
        _ALL.add(self)

    @property
    def path(self) -> Path:
        """The directory."""
        return self._path

    @property
    def exists(self) -> bool:
        """Whether the store has come into being.

        Raises:
            StoreRefused: something else lies there.
        """
        return self._found() is not None

    @property
    def store_id(self) -> str:
        """32 hex digits that no other store has.

        Raises:
            StoreRefused: the store has not come into being.
        """
        return (self._found() or read_identity(self._path)).store_id

    @property
    def settings(self) -> StoreSettings:
        """What the store was told when it was made; before that, what it would be told."""
        identity = self._found()
        if identity is None:
            return self._settings
        return StoreSettings.from_tree(identity.settings, where=str(self._path / STORE_FILE))

    @property
    def durability(self) -> Durability:
        """How durable an entry is when an append returns that is not told otherwise."""
        return self._durability

    def append(self, drafts: Sequence[Draft], *, durability: Durability | None = None) -> range:
        """Appends entries, all or none, one directly after the other.

        Args:
            drafts: what to append.
            durability: how durable they are when this returns; None for the store's own.

        Returns:
            Their seqs; with "async" none if they are not known yet.

        Raises:
            StoreRefused: there is no store, and it cannot be made or must not be.
            StoreWriteFailed: nothing of it is in the log.
            StorePoisoned: whether it is in the log is unknown.
            IntegrityBroken: the end of the log is damaged; nothing was changed.
        """
        if not drafts:
            return range(0)
        writer, durability = self._writer or self._open_writer(), durability or self._durability
        for draft in drafts:
            if draft.blobs:
                with self._blobs.kept(drafts):
                    # The lines must be there when the blobs are let go.
                    return writer.append(drafts, durability="os" if durability == "async" else durability)
        return writer.append(drafts, durability=durability)

    def sync(self) -> None:
        """Returns when everything that was appended through this object is on disk.

        Raises:
            StorePoisoned: whether it is there is unknown.
        """
        writer = self._writer
        if writer is not None:
            writer.sync()

    def get(self, execution_id: str) -> ExecutionRecord:
        """One execution by its full id."""
        return fold(self.entries(execution_id), self._blobs.read)

    def get_many(self, execution_ids: Sequence[str]) -> list[ExecutionRecord]:
        """Several executions by their full ids, in that order."""
        return [fold(entries, self._blobs.read) for entries in self._entries(execution_ids)]

    def entries(self, execution_id: str) -> tuple[Entry, ...]:
        """One execution's entries in the order of the log."""
        return self._entries((execution_id,))[0]

    def _entries(self, execution_ids: Sequence[str]) -> list[tuple[Entry, ...]]:
        def read(index: Index, lines: Lines, damage: IntegrityBroken | None) -> list[tuple[Entry, ...]]:
            return [entries_of(one, index, lines, damage, str(self._path)) for one in execution_ids]

        found = self._read(read)
        if found is None and execution_ids:
            raise not_found(execution_ids[0], str(self._path), _NO_STORE)
        return found or []

    def resolve(self, reference: str) -> str:
        """The full id that a reference means."""

        def read(index: Index, lines: Lines, damage: IntegrityBroken | None) -> str:
            if damage is not None and not index.has(reference):
                damage.hint = f"What else it may mean lies behind the damage: give a full id. {damage.hint}"
                raise damage
            return resolve(reference, Known(index, lines), where=str(self._path))

        found = self._read(read)
        if found is None:
            raise not_found(reference, str(self._path), _NO_STORE)
        return found

    def list(self, query: Query = EVERYTHING) -> Page:
        """The executions that a query asks for."""

        def read(index: Index, lines: Lines, damage: IntegrityBroken | None) -> Page:
            return page(query, index, lines, self._blobs.read, damage)

        return self._read(read) or Page((), None)

    def holder(self, key: str) -> str | None:
        """The execution opened last of those that may hold an idempotency key."""
        return self._read(lambda index, lines, damage: holder(key, index, lines, damage))

    def openings(self, query: Query = EVERYTHING) -> Openings:
        """The first entries of the executions that a query asks for."""
        load = self._blobs.read
        return self._read(lambda index, lines, bad: openings(query, index, lines, bad, load)) or Openings()

    def follow(self, since_us: int) -> Follower:
        """Reads the log as it grows, each line checked."""
        return LogFollower(self._path / LOG_DIR, self._found, self._flush, since_us)

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """Checks the whole log and changes nothing.

        Raises:
            StoreRefused: there is no store.
        """
        if self._writer is not None:
            self._writer.flush()
        return verify_store(self._path, progress)

    def tree(self) -> LogTree:
        """The Merkle tree over the log's lines as they are now: roots, inclusion and consistency proofs.

        Raises:
            StoreRefused: there is no store, or it cannot be read.
            IntegrityBroken: the log is damaged.
        """
        if self._writer is not None:
            self._writer.flush()
        try:
            return LogTree.open(self._path, self.store_id, self._files)
        except OSError as fault:
            raise unreadable(self._path, fault) from fault

    def seal(self, *, compress: bool = False, progress: Progress | None = None) -> SealReport:
        """Seals the log's last segment, if there is a line in it; compresses all sealed ones if asked.

        Raises:
            StoreRefused: there is no store.
            StoreWriteFailed: something could not be written; the log is as good as before.
            StorePoisoned: a sync failed.
            IntegrityBroken: the end of the log, or a line that was to be compressed, is damaged.
        """
        if self._found() is None:
            read_identity(self._path)
        roll = (self._writer or self._open_writer()).roll
        return seal_log(self._path, roll, compress=compress, files=self._files, progress=progress)

    def collect(self, *, dry_run: bool = False, progress: Progress | None = None) -> Collected:
        """Removes the blobs that no entry refers to, and files that were never finished.

        Args:
            dry_run: only count them.
            progress: called now and then with the number of bytes of the log that were read, and of all.

        Raises:
            StoreRefused: there is no store, or it cannot be read.
            IntegrityBroken: the log is damaged; nothing was removed.
            StoreWriteFailed: something could not be removed.
        """
        return self._blobs.collect(dry_run=dry_run, progress=progress)

    def close(self) -> None:
        """Gives back files and locks, and refuses later appends; what was appended can still be read.

        A compression that is under way is brought to its end first.

        Raises:
            StorePoisoned: the last sync failed.
        """
        with self._lock:
            self._closed = True
            writer, self._writer = self._writer, None
            if self._index is not None:
                self._index.close()
        try:
            if writer is not None:
                writer.close()
        finally:
            self.custody.close()
            if self._compression is not None:
                self._compression.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def after_fork(self) -> None:
        """Starts afresh in a child process, where the lock may be held by a thread that does not exist."""
        self._lock = threading.Lock()
        self.custody.after_fork()

    def _found(self) -> Identity | None:
        """The store's identity, once there is a store; it never changes."""
        if self._identity is None:
            self._identity = find_identity(self._path)
        return self._identity

    def _flush(self) -> None:
        """Whoever has recorded something finds it. If it cannot be written, the next append will say so."""
        writer = self._writer
        if writer is not None:
            with contextlib.suppress(StoreWriteFailed):
                writer.flush()

    def _open_writer(self) -> LogWriter:
        with self._lock:
            if self._closed:
                raise StoreWriteFailed(
                    "the store is closed", where=str(self._path), hint="Open the store again."
                )
            if self._writer is None:
                if self._found() is None or self._unmade is not None:
                    self._identity = self._made()
                settings = self.settings
                if settings.compress:
                    self._compression = Compression(self._path, self._files)
                self._writer = LogWriter(
                    self._path,
                    self.store_id,
                    clock=self._clock,
                    max_entries=settings.segment_entries,
                    max_bytes=settings.segment_bytes,
                    bound=self._async_bound,
                    on_sealed=self._compression.start if self._compression else None,
                    files=self._files,
                )
            return self._writer

    def _made(self) -> Identity:
        if not self._create:
            raise no_store(self._path)
        if self._unmade is not None:
            raise poisoned(*self._unmade)
        identity = Identity(secrets.token_hex(16), self._clock.time_us(), self._settings.tree())
        try:
            return create_identity(self._path, identity, self._files)
        except StorePoisoned as fault:
            self._unmade = (fault.where, fault.got)
            raise

    def _read(self, read: Callable[[Index, Lines, IntegrityBroken | None], _T]) -> _T | None:
        """Reads by the index; None if there is no store.

        A line that is not what the index says shows that one of them is wrong. So the index is made anew,
        which checks the log from its beginning: then the second reading finds the right line, or the damage
        is known.
        """
        identity = self._found()
        if identity is None:
            return None
        self._flush()
        with self._lock:
            if self._index is None:
                self._index = Index(self._path, identity.store_id)
            index = self._index
        try:
            damage = index.refresh()
            try:
                with Lines(self._path / LOG_DIR) as lines:
                    return read(index, lines, damage)
            except Doubt:
                index.rebuild()
                damage = index.refresh()
            try:
                with Lines(self._path / LOG_DIR) as lines:
                    return read(index, lines, damage)
            except Doubt as doubt:
                raise doubt.fault from None
        except OSError as fault:
            raise unreadable(self._path, fault) from fault
        finally:
            if self._closed:
                index.close()


_NO_STORE: Final = "There is no store yet: it comes into being when something is recorded."
_ALL: weakref.WeakSet[FileExecutionStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_ALL):
        store.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
