"""The end of a log as one process holds it open, and the note of how far the log is known to be on disk.

The head note ``head.json`` is a hint that is never wrong: it is written after a sync, with one write of one
sector, and is not synced itself, so after any crash it is there and true, or older and true, or unreadable.
It tells acknowledged lines that are gone from a torn tail, and gives the next opener a place to start.

:class:`Head` is the one place that syncs. Processes share syncs through the lock of the note's file and the
note itself: whoever finds its lines on disk already need not sync.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from pathlib import Path
from typing import NamedTuple

from intentusnet.errors import StorePoisoned, StoreWriteFailed
from intentusnet.log.files import LOCK_FILE, Files, lock_file, poisoned, sync_names, unlock_file
from intentusnet.log.groups import Groups
from intentusnet.log.segment import LOG_DIR, segment_first, segment_name

HEAD_FILE = "head.json"
SECTOR_BYTES = 512
_NOTE = re.compile(
    rb'\{"chain":"([0-9a-f]{64})","offset":([1-9][0-9]{0,18}),'
    rb'"segment":"([0-9]{20}\.jsonl)","seq":(0|[1-9][0-9]{0,18})\} *\n'
)


class Tail(NamedTuple):
    """Where the log ends: first seq of the last segment, its length in bytes, next seq, last chain value."""

    first: int
    offset: int
    seq: int
    chain: bytes


End = tuple[int, int, int, int, bytes]
"""The last segment, open for appending, and what :class:`Tail` says; plain, for every append makes one."""


# A tuple, because one is made for every sync.
class HeadNote(NamedTuple):
    """What is on disk: the line of this seq and chain (hex) ends at this offset of this segment (a name)."""

    chain: str
    offset: int
    segment: str
    seq: int

    def encode(self) -> bytes:
        """The note as the whole of its file: JSON, spaces, a newline, :data:`SECTOR_BYTES` in all."""
        parts = (self.chain.encode(), self.offset, self.segment.encode(), self.seq)
        return (b'{"chain":"%b","offset":%d,"segment":"%b","seq":%d}' % parts).ljust(SECTOR_BYTES - 1) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> HeadNote | None:
        """The note of a file's bytes; None if they are no note."""
        match = _NOTE.fullmatch(data)
        if match is None or len(data) != SECTOR_BYTES:
            return None
        chain, offset, segment, seq = match.groups()
        note = cls(chain.decode(), int(offset), segment.decode(), int(seq))
        return note if note.first <= note.seq else None

    @property
    def first(self) -> int:
        """The first seq of the note's segment."""
        first = segment_first(self.segment)
        assert first is not None
        return first


def read_note(directory: Path) -> HeadNote | None:
    """The head note of a store directory; None if there is none, or none that can be read.

    Takes no lock: two equal readings in a row are not a mixture of two notes.
    """
    try:
        with (directory / HEAD_FILE).open("rb", buffering=0) as file:
            before, data = None, file.read(SECTOR_BYTES + 1)
            while data != before:
                file.seek(0)
                before, data = data, file.read(SECTOR_BYTES + 1)
    except OSError:
        return None
    return HeadNote.decode(data)


class Head:
    """What one process holds open of a log; mutable, shared by a writer and its finalizer.

    Args:
        directory: the store.
        files: the calls that change it.

    Attributes:
        synced: the appends that wait for the disk.
        unsynced: the appends that do not.
        write_lock: held by whoever uses ``lock_fd`` or changes ``here``.
        lock_fd: the file whose lock keeps other processes from writing; -1 if it is not open.
        here: the end of the log; None if it is not open.
        durable: the highest seq known to be on disk, -1 for none; only ever raised.
    """

    def __init__(self, directory: Path, files: Files) -> None:
        self.directory = directory
        self.files = files
        self.synced, self.unsynced = Groups(), Groups()
        self.write_lock = threading.Lock()
        self.lock_fd = -1
        self.here: End | None = None
        self.durable = -1
        self._sync_lock = threading.Lock()
        self._note_fd = -1
        # The note as it was last seen here, and its seq: most often it is what is read next.
        self._noted = (b"", -1)
        self._closed = False
        self._poison: tuple[str, str] | None = None

    def open_lock(self) -> None:
        """Opens the lock, if it is not open. The write lock must be held.

        Raises:
            OSError: it cannot be opened.
            StorePoisoned: a sync failed earlier.
            StoreWriteFailed: the log is closed.
        """
        self.check()
        if self.lock_fd < 0:
            self.lock_fd = self.files.open(self.directory / LOCK_FILE, os.O_RDWR | os.O_CREAT)

    def open_note(self) -> None:
        """Opens the note, if it is not open. The write lock must be held.

        Raises:
            OSError: it cannot be opened.
            StorePoisoned: its name cannot be synced.
        """
        if self._note_fd < 0:
            noted = read_note(self.directory)
            self._note_fd = self.files.open(self.directory / HEAD_FILE, os.O_RDWR | os.O_CREAT)
            # Whoever wrote the note has synced the other names.
            if noted is None:
                sync_names(self.directory, self.files)

    def check(self) -> None:
        """Raises StorePoisoned after a failed sync, StoreWriteFailed after a close."""
        if self._poison is not None:
            raise poisoned(*self._poison)
        if self._closed:
            raise StoreWriteFailed(
                "the log is closed", where=str(self.directory), hint="Open the store again."
            )

    def poison(self, error: StorePoisoned) -> None:
        """Lets every later append and every waiter fail."""
        self._poison = (error.where, error.got)

    def publish(self, end: End, durable: int, note: Tail | None = None) -> None:
        """Makes this the end of the log; the write lock and the lock between processes must be held.

        Args:
            end: the end of the log.
            durable: a seq up to which the log has become known to be on disk; -1 for none.
            note: an end up to which the caller has synced, to be noted.
        """
        before = self.here
        if note is None and before is not None and before[0] == end[0]:
            self.here = end
            # Not worth waiting for whoever is syncing: what is not learnt here will be learnt from the note.
            if durable > self.durable and self._sync_lock.acquire(blocking=False):
                self.durable = max(self.durable, durable)
                self._sync_lock.release()
            return
        # Nobody may be syncing the old descriptor while it is closed.
        with self._sync_lock:
            self.here = end
            self.durable = max(self.durable, durable)
            if before is not None and before[0] != end[0]:
                self.files.close(before[0])
            if note is not None:
                lock_file(self._note_fd)
                try:
                    self._write_note(*note)
                finally:
                    unlock_file(self._note_fd)

    def sync_to(self, seq: int) -> None:
        """Returns when the line of that seq, which this process has written, is on disk.

        Raises:
            StorePoisoned: a sync failed, this one or an earlier one.
        """
        if seq <= self.durable:
            return
        with self._sync_lock:
            if seq <= self.durable:
                return
            if self._poison is not None:
                raise poisoned(*self._poison)
            assert self.here is not None
            fd, first, offset, after, chain = self.here
            try:
                lock_file(self._note_fd)
                try:
                    # Another process may have synced this one's lines together with its own.
                    noted = self._noted_seq()
                    if noted >= seq:
                        self.durable = noted
                        return
                    if os.fstat(fd).st_nlink == 0:
                        raise OSError("a segment was removed, or replaced by another file, while it was open")
                    self.files.fdatasync(fd)
                    self.durable = after - 1
                    self._write_note(first, offset, after, chain)
                finally:
                    unlock_file(self._note_fd)
            except OSError as error:
                failure = poisoned(self.directory / LOG_DIR, str(error))
                self.poison(failure)
                raise failure from error

    def sync(self) -> None:
        """Returns when everything that this process has written is on disk.

        Raises:
            StorePoisoned: the sync failed, or an earlier one had.
        """
        here = self.here
        if self._poison is not None:
            raise poisoned(*self._poison)
        if here is not None:
            self.sync_to(here[3] - 1)

    def close(self) -> None:
        """Syncs, writes the note and closes the files; later calls do nothing.

        Raises:
            StorePoisoned: the sync failed, or an earlier one had.
        """
        with self.write_lock:
            if self._closed:
                return
            self._closed = True
            try:
                self.sync()
            finally:
                with self._sync_lock:
                    self._forget()

    def after_fork(self) -> None:
        """Starts afresh in a child: the parent's locks may be held by threads that do not exist here.

        Closing a descriptor of the parent's takes no lock from it; using one would share the lock with it.
        """
        self.write_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self.synced, self.unsynced = Groups(), Groups()
        self._forget()

    def _forget(self) -> None:
        """Closes the files without a sync."""
        open_now = [self.lock_fd, self._note_fd, *(self.here[:1] if self.here else ())]
        self.lock_fd = self._note_fd = -1
        self.here = None
        for fd in open_now:
            if fd >= 0:
                self.files.close(fd)

    def _noted_seq(self) -> int:
        """The seq of the note that somebody wrote last, -1 if there is none; its lock must be held."""
        os.lseek(self._note_fd, 0, os.SEEK_SET)
        data = os.read(self._note_fd, SECTOR_BYTES + 1)
        if data != self._noted[0]:
            note = HeadNote.decode(data)
            self._noted = (data, -1 if note is None else note.seq)
        return self._noted[1]

    def _write_note(self, first: int, offset: int, seq: int, chain: bytes) -> None:
        note = HeadNote(chain.hex(), offset, segment_name(first), seq - 1).encode()
        done = 0
        # The lines are on disk, which is what was asked for; without a newer note the older one stays true.
        with contextlib.suppress(OSError):
            done = self.files.pwrite(self._note_fd, note, 0)
            if done < len(note):
                done += self.files.pwrite(self._note_fd, note[done:], done)
        if done == len(note):
            self._noted = (note, seq - 1)
        elif done > 0:
            # A part of this one before a part of the older one could be read as a note that is false.
            with contextlib.suppress(OSError):
                self.files.truncate(self._note_fd, 0)
