"""How lines get into the log: many threads, many processes, one chain.

Appends that come in together are one batch (``groups``). It takes a thread lock, then the lock between
processes, looks whether another process wrote (and reads what it wrote), formats its lines, and writes them
with one call. The sync comes after, outside both locks: an append that does not wait for the disk does not
wait for those that do, and one sync serves every line that was written before it.

What fails is cut back: nothing of a failed append stays in the log. A failed *sync* is different, because the
kernel may have dropped the bytes: the writer is poisoned, nothing is retried, and everyone is told "unknown".
"""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from intentusnet.errors import IntentusError, StorePoisoned, StoreWriteFailed
from intentusnet.ids import Clock
from intentusnet.log.durability import Durability
from intentusnet.log.entry import Draft, format_line, genesis
from intentusnet.log.groups import Request
from intentusnet.log.head import Head, Tail
from intentusnet.log.recovery import recover_tail
from intentusnet.log.segment import (
    FILES,
    LOG_DIR,
    MAX_BYTES,
    MAX_ENTRIES,
    Files,
    create_segment,
    lock_file,
    make_dir,
    must_sync,
    poisoned,
    segment_name,
    unlock_file,
    write_all,
)

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


class LogWriter:
    """Appends to the log of one store. Files are opened, and a torn tail recovered, at the first append.

    Args:
        directory: the store's directory, which exists.
        store_id: 32 lowercase hex digits.
        clock: what the lines' ``ts`` are taken from.
        max_entries: lines of a full segment; the same in every process that writes to the store.
        max_bytes: a segment of that many bytes is full, too; only a batch's last line may lie beyond.
        files: the calls that change the store.

    Raises:
        InvalidInput: the store id is malformed.
    """

    def __init__(
        self,
        directory: Path,
        store_id: str,
        *,
        clock: Clock,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
        files: Files = FILES,
    ) -> None:
        self._store_id = store_id
        genesis(store_id)
        self._directory = directory
        self._log = directory / LOG_DIR
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._files = files
        self._begun = -1
        self._head = Head(directory, files)
        self._finish = weakref.finalize(self, _close_quietly, self._head)

    @property
    def durable(self) -> int:
        """The highest seq that this writer knows to be on disk; -1 for none."""
        return self._head.durable

    def append(self, drafts: Sequence[Draft], *, durability: Durability) -> range:
        """Writes the drafts as consecutive lines and returns their seqs.

        Args:
            drafts: the entries, in order; all of them get into the log, or none.
            durability: how durable they are when this returns.

        Raises:
            StoreWriteFailed: nothing of it is in the log; later appends may work.
            StorePoisoned: a sync failed, now or earlier; whether this is in the log is unknown.
            IntegrityBroken: the end of the log is damaged; nothing was changed.
        """
        if not drafts:
            return range(0)
        sync = durability == "disk"
        request = Request(drafts)
        groups = self._head.synced if sync else self._head.unsynced
        group = groups.join(request)
        if group:
            try:
                self._append_group(group)
                if sync:
                    self._head.sync_to(group[-1].last)
            finally:
                groups.leave(group)
        elif request.error is not None:
            raise request.error
        if sync:
            # Whoever was led finds it done, or finds out that it failed.
            self._head.sync_to(request.last)
        return range(request.last + 1 - len(drafts), request.last + 1)

    def sync(self) -> None:
        """Returns when everything that this writer has appended is on disk.

        Raises:
            StorePoisoned: a sync failed, now or earlier.
        """
        self._head.sync()

    def close(self) -> None:
        """Syncs, notes how far the log is on disk, and closes the files; later appends are refused.

        Raises:
            StorePoisoned: a sync failed, now or earlier.
        """
        self._finish.detach()
        self._head.close()

    def _append_group(self, group: list[Request]) -> None:
        """Writes what a group asks for as one batch, and lets each request know its seqs or its error."""
        head = self._head
        with head.write_lock:
            try:
                head.check()
                head.open_lock()
                lock_file(head.lock_fd)
                try:
                    self._write(*self._end(), group)
                finally:
                    unlock_file(head.lock_fd)
            except BaseException as cause:
                error = _explained(cause, self._directory)
                if isinstance(error, StorePoisoned):
                    head.poison(error)
                end = -1 if head.here is None else head.here[1].seq
                for request in group[1:]:
                    # An interrupt may have come when all was done.
                    if request.last >= end:
                        request.error = _copy(error)
                if isinstance(cause, OSError):
                    raise error from cause
                raise

    def _end(self) -> tuple[int, Tail]:
        """The end of the log, as it is now: read again if another process has written."""
        head = self._head
        begun = os.lseek(head.lock_fd, 0, os.SEEK_END)
        here = head.here
        # Another process may also have gone on to the next segment without a line more in this one.
        if here is not None and begun == self._begun and os.lseek(here[0], 0, os.SEEK_END) == here[1].offset:
            return here
        make_dir(self._log, self._files)
        tail, durable = recover_tail(
            self._directory,
            self._store_id,
            clock=self._clock,
            files=self._files,
            known=here and here[1],
            durable=head.durable,
        )
        head.open_note()
        fd = here[0] if here is not None and here[1].first == tail.first else self._open_segment(tail.first)
        head.publish(fd, tail, durable=durable)
        self._begun = begun
        return fd, tail

    def _open_segment(self, first: int) -> int:
        try:
            return self._files.open(self._log / segment_name(first), os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            return create_segment(self._log, first, self._files)

    def _write(self, fd: int, tail: Tail, group: list[Request]) -> None:
        """Writes the group's drafts at the end, over as many segments as they take."""
        head, start_fd, start = self._head, fd, tail
        drafts = group[0].drafts if len(group) == 1 else [draft for r in group for draft in r.drafts]
        last = tail.seq - 1
        for request in group:
            request.last = last = last + len(request.drafts)
        durable, ts = head.durable, self._clock.time_us()
        sealed: Tail | None = None
        made: dict[int, int] = {}
        try:
            while drafts:
                room = self._max_entries - (tail.seq - tail.first)
                if room <= 0 or tail.offset >= self._max_bytes:
                    sealed, durable = tail, tail.seq - 1
                    fd = self._next_segment(fd, tail)
                    made[fd] = tail.seq
                    tail, room = Tail(tail.seq, 0, tail.seq, tail.chain), self._max_entries
                part, drafts = (drafts, ()) if len(drafts) <= room else (drafts[:room], drafts[room:])
                data, tail = _format(part, tail, ts, durable)
                write_all(self._files, fd, data)
            # Not before: a batch that could still be cut back must not be noted as being on disk.
            head.publish(fd, tail, durable=sealed.seq - 1 if sealed else -1, note=sealed)
        except StorePoisoned:
            raise
        except BaseException:
            if head.here != (fd, tail):
                self._cut_back(start_fd, start, made)
            raise
        finally:
            for spare in made:
                if head.here is None or spare != head.here[0]:
                    self._files.close(spare)

    def _next_segment(self, fd: int, tail: Tail) -> int:
        """Begins a segment, which says that all before it are on disk."""
        must_sync(partial(self._files.fdatasync, fd), self._log / segment_name(tail.first))
        # The lock file has a byte for every segment begun: that is how other processes notice it.
        self._begun += self._files.pwrite(self._head.lock_fd, b"\n", self._begun)
        return create_segment(self._log, tail.seq, self._files)

    def _cut_back(self, fd: int, tail: Tail, made: dict[int, int]) -> None:
        """Takes a failed batch out of the log, newest segment first, so that a crash leaves no gap."""
        try:
            for first in reversed(made.values()):
                self._files.unlink(self._log / segment_name(first))
            if made:
                self._files.fsync_dir(self._log)
            self._files.truncate(fd, tail.offset)
            # Else a crash could bring back what was reported as not being in the log.
            self._files.fsync(fd)
        except OSError as error:
            raise poisoned(self._log / segment_name(tail.first), str(error)) from error


def _format(drafts: Sequence[Draft], tail: Tail, ts: int, durable: int) -> tuple[bytes, Tail]:
    first, offset, seq, chain = tail
    lines = []
    for draft in drafts:
        line, chain = format_line(draft, seq, ts, durable, chain)
        lines.append(line)
        seq += 1
    data = b"".join(lines)
    return data, Tail(first, offset + len(data), seq, chain)


def _explained(cause: BaseException, directory: Path) -> IntentusError:
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


def _close_quietly(head: Head) -> None:
    """The finalizer of a writer that nobody closed: nobody is there to be told that the sync failed."""
    with contextlib.suppress(IntentusError, OSError):
        head.close()
