"""One batch at the end of the log: locked, chained, written, and cut back if that fails.

A batch takes a thread lock, then the lock between processes, looks whether another process wrote (and reads
what it wrote), formats its lines, and writes them with one call. The sync comes after, outside both locks: an
append that does not wait for the disk does not wait for those that do, and one sync serves every line written
before it.

What fails is cut back: nothing of a failed append stays in the log. A failed *sync* is different, because the
kernel may have dropped the bytes: the log is poisoned, nothing is retried, and everyone is told "unknown".
"""

from __future__ import annotations

import errno
import os
import weakref
from contextlib import suppress
from functools import partial
from pathlib import Path

from intentusnet.errors import IntentusError, StorePoisoned, StoreWriteFailed
from intentusnet.ids import Clock
from intentusnet.log.backlog import AsyncBound, Backlog
from intentusnet.log.entry import Draft, format_line, genesis
from intentusnet.log.files import Files, lock_file, must_sync, poisoned, unlock_file, write_all
from intentusnet.log.groups import Request
from intentusnet.log.head import End, Head, Tail
from intentusnet.log.recovery import REPAIR_MARK, recover_tail
from intentusnet.log.segment import LOG_DIR, create_segment, segment_name

_HINTS = {
    errno.ENOSPC: "No space is left on the device: free some and append again.",
    errno.EDQUOT: "The disk quota is used up: free some space and append again.",
    errno.EFBIG: "A file may not grow so large here: raise the limit and append again.",
    errno.EACCES: "This user may not write there: check the owner and mode of the store's files.",
    errno.EPERM: "This user may not write there: check the owner and mode of the store's files.",
    errno.EROFS: "The file system is read-only.",
    errno.EIO: "The device reports an error: check the disk.",
    errno.EMFILE: "This process has too many open files: raise the limit and append again.",
}


class Appender:
    """The end of one log, as this process writes to it; mutable, for many threads.

    Args:
        directory: the store's directory, which exists.
        store_id: 32 lowercase hex digits.
        clock: what the lines' ``ts`` are taken from.
        max_entries: lines of a full segment; the same in every process that writes to the store.
        max_bytes: a segment is full, too, with the line that makes it that long.
        bound: of what `async` appends may lose.
        files: the calls that change the store.

    Attributes:
        head: what is open, and how far it is on disk.
        backlog: what was handed over and is not written yet.
        sealed: how many segments this process has sealed.

    Raises:
        InvalidInput: the store id is malformed.
    """

    def __init__(
        self,
        directory: Path,
        store_id: str,
        *,
        clock: Clock,
        max_entries: int,
        max_bytes: int,
        bound: AsyncBound,
        files: Files,
    ) -> None:
        genesis(store_id)
        self._store_id = store_id
        self._directory = directory
        self._log = directory / LOG_DIR
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._files = files
        self._begun = -1
        self.head = Head(directory, files)
        self.backlog = Backlog(bound, self.to_disk)
        self.sealed = 0
        _ALL.add(self)

    def write(self, group: list[Request]) -> None:
        """Writes the backlog, and what a group asks for, as one batch; requests learn their seqs or error.

        Args:
            group: the first request is the caller's own; an empty one writes the backlog alone.

        Raises:
            StoreWriteFailed: nothing of it is in the log; what was handed over stays in the backlog.
            StorePoisoned: a sync failed, now or earlier.
            IntegrityBroken: the end of the log is damaged; nothing was changed.
        """
        head = self.head
        with head.write_lock:
            taken = self.backlog.take()
            if not group and not taken:
                return
            try:
                head.open_lock()
                try:
                    lock_file(head.lock_fd)  # here, so that an interrupt right after it gives it back
                    self._write(self._end(), taken, group)
                finally:
                    unlock_file(head.lock_fd)
            except BaseException as cause:
                self.backlog.give_back()
                error = explained(cause, self._directory)
                if isinstance(error, StorePoisoned):
                    head.poison(error)
                end = -1 if head.here is None else head.here[3]
                for request in group[1:]:
                    # An interrupt may have come when all was done.
                    if request.last >= end:
                        request.error = _copy(error)
                if isinstance(cause, OSError):
                    raise error from cause
                raise

    def to_disk(self) -> None:
        """Returns when everything handed over or written here is on disk; raises what `write` does."""
        self.write([])
        self.head.sync()

    def roll(self) -> bool:
        """Seals the last segment and begins the next one; False if there is no line in it.

        Raises:
            StoreWriteFailed: the next segment could not be created; the last one goes on.
            StorePoisoned: a sync failed, now or earlier.
            IntegrityBroken: the end of the log is damaged; nothing was changed.
        """
        self.write([])
        head = self.head
        with head.write_lock:
            try:
                head.open_lock()
                try:
                    lock_file(head.lock_fd)
                    end = self._end()
                    tail = Tail(*end[1:])
                    if tail.seq == tail.first:
                        return False
                    new = self._next_segment(end[0], tail)
                    head.publish((new, tail.seq, 0, tail.seq, tail.chain), tail.seq - 1, tail)
                    self.sealed += 1
                    return True
                finally:
                    unlock_file(head.lock_fd)
            except OSError as cause:
                raise explained(cause, self._directory) from cause
            except StorePoisoned as error:
                head.poison(error)
                raise

    def close(self) -> None:
        """Takes everything to disk, notes how far the log is, and closes the files; later calls do nothing.

        Raises:
            StoreWriteFailed: what was handed over could not be written, and is lost.
            StorePoisoned: a sync failed, now or earlier.
        """
        self.backlog.stop()
        try:
            self.write([])
        finally:
            self.head.close()

    def after_fork(self) -> None:
        """Starts afresh in a child: the parent's locks may be held by threads that do not exist here."""
        self.head.after_fork()
        self.backlog.after_fork()

    def _end(self) -> End:
        """The end of the log, as it is now: read again if another process has written."""
        head = self.head
        begun = os.lseek(head.lock_fd, 0, os.SEEK_END)
        here = head.here
        # Another process may also have gone on to the next segment without a line more in this one.
        if here is not None and begun == self._begun and os.lseek(here[0], 0, os.SEEK_END) == here[2]:
            return here
        if here is not None and begun > self._begun:
            os.lseek(head.lock_fd, self._begun, os.SEEK_SET)
            if REPAIR_MARK in os.read(head.lock_fd, begun - self._begun):
                raise poisoned(self._log, "the log was repaired, and is another one, while it was open here")
        if not self._log.exists():
            # Else a crash could leave a log and no store.json, if its maker was killed before he synced it.
            must_sync(partial(self._files.fsync_dir, self._directory), self._directory)
            with suppress(FileExistsError):
                # Its name is synced when the note is opened, for there is none yet.
                self._files.mkdir(self._log)
        tail, durable = recover_tail(
            self._directory,
            self._store_id,
            clock=self._clock,
            files=self._files,
            known=here and Tail(*here[1:]),
            durable=head.durable,
        )
        head.open_note()
        fd = here[0] if here is not None and here[1] == tail.first else self._open_segment(tail.first)
        end = (fd, *tail)
        head.publish(end, durable)
        self._begun = begun
        return end

    def _open_segment(self, first: int) -> int:
        """Opens the segment that the log ends with, or creates the first one."""
        try:
            fd = self._files.open(self._log / segment_name(first), os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            return create_segment(self._log, first, self._files)
        try:
            # Whoever began it may have been killed before he synced its name.
            must_sync(partial(self._files.fsync_dir, self._log), self._log)
        except BaseException:
            self._files.close(fd)
            raise
        return fd

    def _write(self, start: End, taken: list[Draft], group: list[Request]) -> None:
        """Writes the drafts at the end, over as many segments as they take."""
        head = self.head
        fd, first, offset, seq, chain = start
        last = seq + len(taken) - 1
        for request in group:
            request.last = last = last + len(request.drafts)
        alone = len(group) == 1 and not taken
        drafts = group[0].drafts if alone else [*taken, *(draft for one in group for draft in one.drafts)]
        durable, ts = head.durable, None
        sealed: Tail | None = None
        made: dict[int, int] = {}
        lines: list[bytes] = []
        try:
            for draft in drafts:
                if seq - first >= self._max_entries or offset >= self._max_bytes:
                    if lines:
                        write_all(self._files, fd, b"".join(lines))
                    sealed, durable, lines = Tail(first, offset, seq, chain), seq - 1, []
                    fd = self._next_segment(fd, sealed)
                    made[fd] = first = seq
                    offset = 0
                if ts is None and draft.ts is None:
                    ts = self._clock.time_us()
                line, chain = format_line(draft, seq, ts, durable, chain)
                lines.append(line)
                offset += len(line)
                seq += 1
            write_all(self._files, fd, b"".join(lines))
            # Not before: a batch that could still be cut back must not be noted as being on disk.
            head.publish((fd, first, offset, seq, chain), sealed.seq - 1 if sealed else -1, sealed)
            if taken:
                self.backlog.written(start[3] + len(taken) - 1)
        except StorePoisoned:
            raise
        except BaseException:
            if head.here is start:
                self._cut_back(start[0], Tail(*start[1:]), made)
            raise
        finally:
            for spare in made:
                if head.here is None or spare != head.here[0]:
                    self._files.close(spare)
        self.sealed += len(made)

    def _next_segment(self, fd: int, tail: Tail) -> int:
        """Begins a segment, which says that all before it are on disk."""
        must_sync(partial(self._files.fdatasync, fd), self._log / segment_name(tail.first))
        # The lock file has a byte for every segment begun: that is how other processes notice it.
        self._begun += self._files.pwrite(self.head.lock_fd, b"\n", self._begun)
        return create_segment(self._log, tail.seq, self._files)

    def _cut_back(self, fd: int, tail: Tail, made: dict[int, int]) -> None:
        """Takes a failed batch out of the log, newest segment first, so that a crash leaves no gap."""
        try:
            for first in reversed(made.values()):
                self._files.unlink(self._log / segment_name(first))
                # One by one: names may go in any order until then, and one gone before a later one is a gap.
                self._files.fsync_dir(self._log)
            self._files.truncate(fd, tail.offset)
            # Else a crash could bring back what was reported as not being in the log.
            self._files.fsync(fd)
        except OSError as error:
            raise poisoned(self._log / segment_name(tail.first), str(error)) from error


def explained(cause: BaseException, directory: Path) -> IntentusError:
    """What those are told whose append failed for this cause."""
    if isinstance(cause, IntentusError):
        return cause
    if isinstance(cause, OSError):
        return StoreWriteFailed(
            "an append failed; nothing of it is in the log",
            where=str(cause.filename or directory),
            got=str(cause),
            hint=_HINTS.get(cause.errno or 0, "Append again when the cause is gone."),
        )
    return StoreWriteFailed(
        "an append was interrupted; nothing of it is in the log", where=str(directory), got=repr(cause)
    )


def _copy(error: IntentusError) -> IntentusError:
    """An error of the same content: one instance must not be raised in several threads."""
    return type(error)(
        error.message, where=error.where, expected=error.expected, got=error.got, hint=error.hint
    )


_ALL: weakref.WeakSet[Appender] = weakref.WeakSet()


def _after_fork() -> None:
    for appender in list(_ALL):
        appender.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
