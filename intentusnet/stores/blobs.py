"""Writing blobs before the entries that refer to them, and collecting those that no entry refers to.

A blob is written under a temporary name, synced, renamed to its digest, and the directory is synced, before
any line that refers to it is written: no crash leaves a line without its value. What has a digest for its
name is therefore whole and on disk; only whether the *name* is on disk is not known of a blob that somebody
else wrote, so that the directories are synced in any case.

Between an append that finds its blob there and its line, nobody may take that blob away. So an append holds
a shared lock from before its first blob until its lines are written, and the collector an exclusive one while
it removes. Who wants either passes a gate first, and the collector holds that until it is done: without it,
appends that overlap would keep the collector waiting for ever. The locks are the kernel's, so a process that
is killed leaves none behind; what it leaves are blobs without lines, and unfinished files, for the collector.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from intentusnet.errors import IntegrityBroken, StorePoisoned, StoreRefused, StoreWriteFailed
from intentusnet.log.appender import explained
from intentusnet.log.blobs import BLOBS_DIR, blob_path, is_blob_name, pack, read_blob
from intentusnet.log.entry import Draft, check_line, genesis
from intentusnet.log.executions import Executions
from intentusnet.log.files import Files, lock_file, unlock_file, write_all
from intentusnet.log.head import read_note
from intentusnet.log.identity import read_identity
from intentusnet.log.report import Progress
from intentusnet.log.segment import LOG_DIR, UNFINISHED, iter_lines, list_segments
from intentusnet.log.walk import Walk, segment_part
from intentusnet.references import Blob, BlobRef, references

LOCK_FILE: Final = "lock"
GATE_FILE: Final = "gate"

_UNFINISHED: Final = re.compile(r"[0-9a-f]{16}" + re.escape(UNFINISHED))


@dataclass(frozen=True, slots=True)
class Collected:
    """What nothing needed.

    Attributes:
        blobs: how many values no entry referred to.
        unfinished: how many files that were never finished.
        bytes: how many bytes all these files were.
    """

    blobs: int
    unfinished: int
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """The numbers as the command line prints them."""
        return {name: getattr(self, name) for name in self.__slots__}


class Blobs:
    """The blobs of one store; mutable, for many threads: it remembers which directories it has synced.

    Args:
        directory: the store's.
        files: the calls that change the store.
    """

    def __init__(self, directory: Path, files: Files) -> None:
        self._store = directory
        self._directory = directory / BLOBS_DIR
        self._files = files
        self._made: set[Path] = set()
        self._poison: StorePoisoned | None = None

    def read(self, ref: BlobRef) -> bytes:
        """A value, after checking it.

        Raises:
            IntegrityBroken: it is missing, or not what was written.
            StoreRefused: it cannot be read.
        """
        try:
            return read_blob(self._store, ref)
        except OSError as fault:
            raise _unreadable(fault, self._directory) from fault

    @contextmanager
    def kept(self, drafts: Sequence[Draft]) -> Iterator[None]:
        """A context in which the values that these drafts refer to are on disk, and stay there.

        Raises:
            StoreWriteFailed: a value could not be written.
            StorePoisoned: a sync failed, now or earlier; no line was written.
        """
        blobs = {blob.ref: blob for draft in drafts for blob in draft.blobs}
        with self._writing():
            self._make(self._directory)
            held = self._lock(shared=True)
        try:
            with self._writing():
                self._put(blobs.values())
            yield
        finally:
            self._unlock(held)

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
        try:
            # Whatever is put after this look at the directory is none of this collection's business.
            unneeded = self._digests()
            reader = _References(self._store, unneeded)
            reader.read(progress)
            if not self._directory.is_dir():
                return Collected(0, 0, 0)
            held = self._lock(shared=False)
        except OSError as fault:
            raise _unreadable(fault, self._directory) from fault
        try:
            reader.read_on()
            return self._remove(sorted(unneeded), dry_run=dry_run)
        except OSError as fault:
            raise StoreWriteFailed(
                "what nothing needs could not be removed",
                where=str(fault.filename or self._directory),
                got=fault.strerror or str(fault),
            ) from fault
        finally:
            self._unlock(held)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if self._poison is not None:
            raise _poisoned(self._poison.where, self._poison.got)
        try:
            yield
        except OSError as cause:
            raise explained(cause, self._directory) from cause
        except StorePoisoned as error:
            self._poison = error
            raise

    def _put(self, blobs: Iterable[Blob]) -> None:
        shards = set()
        for blob in blobs:
            path = blob_path(self._store, blob.ref.digest)
            self._make(path.parent)
            if not self._has(blob.ref):
                self._write(path, blob)
            shards.add(path.parent)
        for shard in sorted(shards):
            _must_sync(partial(self._files.fsync_dir, shard), shard)

    def _has(self, ref: BlobRef) -> bool:
        """Whether the value is there already, undamaged: a damaged one is written anew."""
        try:
            read_blob(self._store, ref)
        except (IntegrityBroken, OSError):
            return False
        return True

    def _write(self, path: Path, blob: Blob) -> None:
        unfinished = self._directory / f"{os.urandom(8).hex()}{UNFINISHED}"
        fd = self._files.open(unfinished, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        try:
            try:
                for piece in pack(blob.data):
                    write_all(self._files, fd, piece)
                _must_sync(partial(self._files.fsync, fd), unfinished)
            finally:
                self._files.close(fd)
            self._files.rename(unfinished, path)
        except BaseException:
            with suppress(OSError):
                self._files.unlink(unfinished)
            raise

    def _make(self, directory: Path) -> None:
        """Makes a directory that a crash cannot take back."""
        if directory in self._made:
            return
        if directory == self._directory and not directory.exists():
            # Else a crash could leave blobs and no store.json, if its maker was killed before he synced it.
            _must_sync(partial(self._files.fsync_dir, self._store), self._store)
        with suppress(FileExistsError):
            self._files.mkdir(directory)
        # Also if it was there: whoever made it may not have come as far as this.
        _must_sync(partial(self._files.fsync_dir, directory.parent), directory.parent)
        self._made.add(directory)

    def _lock(self, *, shared: bool) -> tuple[int, ...]:
        """Takes the lock, on files opened for it: threads that use one file share its lock."""
        held: list[int] = []
        try:
            for name in (GATE_FILE, LOCK_FILE):
                held.append(self._files.open(self._directory / name, os.O_RDWR | os.O_CREAT))
                lock_file(held[-1], shared=shared and name == LOCK_FILE)
            if shared:
                self._unlock([held.pop(0)])
        except BaseException:
            self._unlock(held)
            raise
        return tuple(held)

    def _unlock(self, held: Sequence[int]) -> None:
        for fd in held:
            try:
                # Closing alone would not do: a child that was forked meanwhile has the file open, too.
                unlock_file(fd)
            finally:
                self._files.close(fd)

    def _digests(self) -> set[str]:
        """The digests of all blobs that are there."""
        found: set[str] = set()
        with suppress(FileNotFoundError), os.scandir(self._directory) as shards:
            for shard in shards:
                if shard.is_dir(follow_symlinks=False):
                    names = (name for name in os.listdir(shard.path) if is_blob_name(shard.name, name))
                    found.update(name.partition(".")[0] for name in names)
        return found

    def _remove(self, digests: Sequence[str], *, dry_run: bool) -> Collected:
        paths = [blob_path(self._store, digest) for digest in digests]
        unfinished = [path for path in self._directory.iterdir() if _UNFINISHED.fullmatch(path.name)]
        size = 0
        for path in [*paths, *unfinished]:
            size += path.stat().st_size
            if not dry_run:
                self._files.unlink(path)
        return Collected(len(paths), len(unfinished), size)


class _References:
    """Reads a log and takes off a set what its entries refer to; mutable: how far it has read.

    Args:
        directory: the store's.
        digests: what is left of it is referred to by no entry.
    """

    def __init__(self, directory: Path, digests: set[str]) -> None:
        self._directory = directory
        self._digests = digests
        self._first = self._offset = self._seq = 0
        self._chain = b""

    def read(self, progress: Progress | None) -> None:
        """Reads the whole log and checks it.

        Raises:
            StoreRefused: there is no store.
            IntegrityBroken: it is damaged, or lines are missing: they may refer to anything.
        """
        identity = read_identity(self._directory)
        note = read_note(self._directory)
        segments = list_segments(self._directory / LOG_DIR)
        walk = Walk(
            [segment_part(segment) for segment in segments],
            0,
            genesis(identity.store_id),
            Executions(),
            note=note,
            blobs=self._take,
            progress=progress,
            total=sum(segment.size() for segment in segments),
        )
        bad = walk.first_bad()
        if bad is not None:
            raise IntegrityBroken(
                f"{bad.reason}; nothing was removed",
                where=f"{bad.segment}, line {bad.line}",
                expected=bad.expected,
                got=bad.actual,
                hint="`intentusnet verify` says more.",
            )
        self._seq, self._chain = walk.seq, walk.chain
        if segments:
            self._first, self._offset = segments[-1].first, walk.size

    def read_on(self) -> None:
        """Reads what has been written since.

        Raises:
            IntegrityBroken: it is damaged.
        """
        for segment in list_segments(self._directory / LOG_DIR):
            if segment.first >= self._first:
                offset = self._offset if segment.first == self._first else 0
                for _, line in iter_lines(segment, offset):
                    checked = check_line(line, self._seq, self._chain)
                    self._seq, self._chain = self._seq + 1, checked[4]
                    self._take(checked[5])

    def _take(self, body: bytes) -> None:
        self._digests.difference_update(ref.digest for ref in references(body))


def _must_sync(sync: Callable[[], None], what: Path) -> None:
    try:
        sync()
    except OSError as error:
        raise _poisoned(str(what), str(error)) from error


def _poisoned(where: str, got: str) -> StorePoisoned:
    return StorePoisoned(
        "a large value could not be synced: nothing of the append is in the log, and none is taken any more"
        " that has large values",
        where=where,
        got=got,
        hint="Check the disk, open the store again and run `intentusnet verify`.",
    )


def _unreadable(fault: OSError, where: Path) -> StoreRefused:
    return StoreRefused(
        "the store cannot be read",
        where=str(fault.filename or where),
        got=fault.strerror or str(fault),
    )
