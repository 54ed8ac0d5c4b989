"""A SQLite file that may be lost at any time: everything in it can be made anew from something else.

That is what makes it simple. Any error that it gives is answered by throwing it away, and where its file
cannot be written, a temporary one does the same for as long as the process lives: a copy of the file, if that
can be read at least. SQLite keeps a temporary database in memory until its cache is full, and then where
temporary files go, so memory is bounded there, too.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from intentusnet.errors import StoreRefused
from intentusnet.log.files import lock_file, unlock_file

#: Another process that takes in much may hold the write lock for a while (seconds).
_LOCKED_S: Final = 60.0
_CACHE_KIB: Final = 32 * 1024

#: What a damaged database raises: its messages quote bytes of it, which may be no text.
_FAULTS: Final = (sqlite3.Error, UnicodeDecodeError)

_T = TypeVar("_T")


class DerivedDatabase:
    """One connection, shared by the threads of one process; mutable.

    Args:
        path: the file.
        application: marks the file as one of this kind (``PRAGMA application_id``).
        version: of schema and content; a file of another one is thrown away.
        schema: makes the tables.
        fill: brings the content up to date; called with every database that was just opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        application: int,
        version: int,
        schema: str,
        fill: Callable[[sqlite3.Connection], object],
    ) -> None:
        self._path = path
        self._marks = (application, version)
        self._schema = schema
        self._fill = fill
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        _ALL.add(self)

    def use(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Does something with the database: with the file, with a new one, or with a temporary one.

        Args:
            work: may be called again, with another database, if it raises a ``sqlite3.Error``.

        Raises:
            StoreRefused: there is no room for any of them.
        """
        with self._lock:
            for source in (self._file, self._new_file, self._copy):
                try:
                    return work(source())
                except _FAULTS:
                    self.close()
            try:
                return work(self._temporary())
            except _FAULTS as fault:
                self.close()
                raise self._refused(fault) from fault

    def renew(self) -> None:
        """Throws the content away and makes it anew.

        The file is replaced, not emptied, so that nobody who is reading it sees it incomplete.

        Raises:
            StoreRefused: there is no room for it.
        """
        with self._lock:
            self.close()
            try:
                self._new_file()
            except _FAULTS:
                self.close()
                try:
                    self._temporary()
                except _FAULTS as fault:
                    self.close()
                    raise self._refused(fault) from fault

    def close(self) -> None:
        """Gives back the file; the next use opens it again."""
        with self._lock:
            if self._db is not None:
                self._finish.detach()
                self._db.close()
            self._db = None

    def after_fork(self) -> None:
        """Starts afresh in a child process, where the lock may be held by a thread that does not exist."""
        self._lock = threading.RLock()
        if self._db is not None:
            # SQLite's own rule: a connection is neither used nor closed on the other side of a fork.
            self._finish.detach()
            _NEVER_CLOSED.append(self._db)
        self._db = None

    def _file(self) -> sqlite3.Connection:
        """The connection; a new one if there is none, or if its file is no longer the one of that name."""
        if self._db is not None and self._opened not in (None, _which(self._path)):
            self.close()
        return self._db or self._filled(self._connect_locked(remove=False))

    def _new_file(self) -> sqlite3.Connection:
        return self._filled(self._connect_locked(remove=True))

    def _copy(self) -> sqlite3.Connection:
        """A temporary database with what the file has: of use where the directory cannot be written to."""
        db = _connect("")
        try:
            with closing(_open_to_read(self._path)) as file:
                file.backup(db)
            self._check(db)
        except BaseException:
            db.close()
            raise
        self._opened = None
        return self._filled(db)

    def _temporary(self) -> sqlite3.Connection:
        db = _connect("")
        self._make(db)
        self._opened = None
        return self._filled(db)

    def _filled(self, db: sqlite3.Connection) -> sqlite3.Connection:
        self._db = db
        # For a store that nobody closes: Python 3.13 warns of a connection that is left to the collector.
        self._finish = weakref.finalize(self, db.close)
        self._fill(db)
        return db

    def _connect_locked(self, *, remove: bool) -> sqlite3.Connection:
        try:
            with self._locked():
                return self._connect_file(remove=remove)
        except OSError as fault:
            raise sqlite3.OperationalError(str(fault)) from fault

    def _connect_file(self, *, remove: bool) -> sqlite3.Connection:
        if remove:
            for suffix in ("", "-wal", "-shm", "-journal"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        db = _connect(str(self._path))
        try:
            db.execute("PRAGMA journal_mode = WAL")
            if not db.execute("SELECT 1 FROM sqlite_schema").fetchone():
                self._make(db)
            self._check(db)
            self._opened = _which(self._path)
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Deleting a database that another process is about to open would mix the files of two: so opening and
        # deleting exclude each other. Whoever has the deleted one open keeps it until the next use.
        fd = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock_file(fd)
            yield
        finally:
            unlock_file(fd)
            os.close(fd)

    def _make(self, db: sqlite3.Connection) -> None:
        application, version = self._marks
        with transaction(db):
            db.execute(f"PRAGMA application_id = {application}")
            db.execute(f"PRAGMA user_version = {version}")
            for statement in self._schema.split(";"):
                db.execute(statement)

    def _check(self, db: sqlite3.Connection) -> None:
        """An error if the database is not of this kind and version."""
        if self._marks_of(db) != self._marks:
            raise sqlite3.DatabaseError("a database of another kind or version")

    def _refused(self, fault: Exception) -> StoreRefused:
        return StoreRefused(
            "there is no room for what is needed to find executions",
            where=str(self._path),
            got=str(fault),
            hint="Free some space there, or where temporary files go (TMPDIR).",
        )

    def _marks_of(self, db: sqlite3.Connection) -> tuple[int, int]:
        return tuple(
            db.execute(f"PRAGMA {mark}").fetchone()[0] for mark in ("application_id", "user_version")
        )


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All that happens inside, or nothing; other processes wait with theirs."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _connect(name: str) -> sqlite3.Connection:
    db = sqlite3.connect(name, timeout=_LOCKED_S, isolation_level=None, check_same_thread=False)
    try:
        # A loss of power may take back what was written last, but not mix what is old with what is new.
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except BaseException:
        db.close()
        raise
    return db


def _open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, to a file whose directory may not be writable."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    db = sqlite3.connect(uri, uri=True, timeout=_LOCKED_S)
    try:
        db.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        db.close()
        # Without a log beside it, nobody has it open, and it lacks nothing.
        if Path(f"{path}-wal").exists():
            raise
        db = sqlite3.connect(uri + "&immutable=1", uri=True)
    return db


def _which(path: Path) -> tuple[int, int] | None:
    """Which file has that name."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_ALL: weakref.WeakSet[DerivedDatabase] = weakref.WeakSet()
_NEVER_CLOSED: Final[list[sqlite3.Connection]] = []


def _after_fork() -> None:
    for database in list(_ALL):
        database.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
