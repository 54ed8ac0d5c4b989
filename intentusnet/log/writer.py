"""How lines get into the log: many threads, many processes, one chain.

Appends that come in together are one batch (``groups``), which one of their threads writes (``appender``)
and, if they wait for the disk, syncs for all. No thread stands between a caller and the disk: only what was
given with ``async`` durability may be written by another one (``backlog``).
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from intentusnet.errors import IntentusError
from intentusnet.ids import Clock
from intentusnet.log.appender import Appender
from intentusnet.log.backlog import AsyncBound
from intentusnet.log.durability import Durability
from intentusnet.log.entry import Draft
from intentusnet.log.files import FILES, Files
from intentusnet.log.groups import Request
from intentusnet.log.segment import MAX_BYTES, MAX_ENTRIES


class LogWriter:
    """Appends to the log of one store. Files are opened, and a torn tail recovered, at the first append.

    Args:
        directory: the store's directory, which exists.
        store_id: 32 lowercase hex digits.
        clock: what the lines' ``ts`` are taken from.
        max_entries: lines of a full segment; the same in every process that writes to the store.
        max_bytes: a segment is full, too, with the line that makes it that long.
        bound: of what `async` appends may lose.
        on_sealed: called after an append that has sealed a segment, in its thread and without locks.
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
        bound: AsyncBound | None = None,
        on_sealed: Callable[[], object] | None = None,
        files: Files = FILES,
    ) -> None:
        self._appender = Appender(
            directory,
            store_id,
            clock=clock,
            max_entries=max_entries,
            max_bytes=max_bytes,
            bound=bound or AsyncBound(),
            files=files,
        )
        self._head = self._appender.head
        self._on_sealed = on_sealed
        self._sealed = 0
        # Nothing that the finalizer, or the backlog's thread, holds on to may lead back to this object.
        self._finish = weakref.finalize(self, _close_quietly, self._appender)

    @property
    def durable(self) -> int:
        """The highest seq that this writer knows to be on disk; -1 for none."""
        return self._head.durable

    def append(self, drafts: Sequence[Draft], *, durability: Durability) -> range:
        """Writes the drafts as consecutive lines and returns their seqs.

        Args:
            drafts: the entries, in order; all of them get into the log, or none.
            durability: how durable they are when this returns; with "async", their seqs are not known yet.

        Raises:
            StoreWriteFailed: nothing of it is in the log; later appends may work.
            StorePoisoned: a sync failed, now or earlier; whether this is in the log is unknown.
            IntegrityBroken: the end of the log is damaged; nothing was changed.
        """
        if not drafts:
            return range(0)
        head = self._head
        if durability == "async":
            head.check()
            if self._appender.backlog.offer(drafts, head.durable):
                self._tell_sealed()
                return range(0)
        sync = durability != "os"
        request = Request(drafts)
        groups = head.synced if sync else head.unsynced
        group = groups.join(request)
        if group:
            try:
                self._appender.write(group)
                if sync:
                    head.sync_to(group[-1].last)
            finally:
                groups.leave(group)
        elif request.error is not None:
            raise request.error
        if sync:
            # Whoever was led finds it done, or finds out that it failed.
            head.sync_to(request.last)
        if self._sealed != self._appender.sealed:
            self._tell_sealed()
        return range(request.last + 1 - len(drafts), request.last + 1)

    def flush(self) -> None:
        """Returns when the operating system has all that was handed over; raises what `append` does."""
        self._appender.write([])
        self._tell_sealed()

    def sync(self) -> None:
        """Returns when everything that this writer has appended is on disk; raises what `append` does."""
        self._appender.to_disk()
        self._tell_sealed()

    def roll(self) -> bool:
        """Seals the last segment and begins the next one; False if there is no line in it.

        Raises:
            StoreWriteFailed: the next segment could not be created; the last one goes on.
            StorePoisoned: a sync failed, now or earlier.
            IntegrityBroken: the end of the log is damaged; nothing was changed.
        """
        rolled = self._appender.roll()
        self._tell_sealed()
        return rolled

    def close(self) -> None:
        """Takes everything to disk, notes how far the log is, and closes the files; refuses appends then.

        Raises:
            StoreWriteFailed: what was handed over with "async" could not be written, and is lost.
            StorePoisoned: a sync failed, now or earlier.
        """
        self._finish.detach()
        self._appender.close()
        self._tell_sealed()

    def _tell_sealed(self) -> None:
        sealed = self._appender.sealed
        if self._sealed != sealed:
            self._sealed = sealed
            if self._on_sealed is not None:
                self._on_sealed()


def _close_quietly(appender: Appender) -> None:
    """The finalizer of a writer that nobody closed: nobody is there to be told that it failed."""
    with contextlib.suppress(IntentusError, OSError):
        appender.close()
