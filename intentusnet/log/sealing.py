"""Compressing sealed segments, beside writers and readers, so that a crash at any step leaves a good store.

A sealed segment is one that another follows. Its compressed form is written under a name that nobody reads,
synced, compared with the original, and renamed; when that name is on disk, the original is removed. Between
the two both lie there, and everybody takes the original. What fails leaves the original in its place.

Damage must not be sealed in, to be found when the original is long gone: every line is checked at its place
in the chain as it is compressed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from intentusnet.errors import IntegrityBroken, IntentusError, StoreWriteFailed
from intentusnet.log.compressed import check, encode, open_compressed
from intentusnet.log.entry import check_line, genesis, parse_line
from intentusnet.log.files import FILES, LOCK_FILE, Files, lock_file, unlock_file, write_all
from intentusnet.log.identity import read_identity
from intentusnet.log.segment import (
    COMPRESSED,
    LOG_DIR,
    UNFINISHED,
    Segment,
    line_ending_at,
    list_segments,
    segment_name,
)

COMPRESS_LOCK: Final = "compress.lock"
_COMPARE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SealReport:
    """What sealing and compressing did.

    Attributes:
        sealed: the segment that was the last one until now; None if there was no line in it.
        compressed: the segments that are compressed now, and were not before.
        bytes_before: the log's size on disk, in bytes.
        bytes_after: the same at the end.
    """

    sealed: str | None
    compressed: tuple[str, ...]
    bytes_before: int
    bytes_after: int

    def as_dict(self) -> dict[str, Any]:
        """The report as the command line prints it."""
        return {
            "sealed": self.sealed,
            "compressed": list(self.compressed),
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
        }


def seal_log(
    directory: Path,
    roll: Callable[[], bool],
    *,
    compress: bool,
    files: Files = FILES,
    progress: Callable[[int, int], None] | None = None,
) -> SealReport:
    """Seals the last segment of a log, and compresses whatever is sealed, if that is asked for.

    Args:
        directory: the store.
        roll: seals the last segment; says whether there was a line in it.
        compress: whether to compress.
        files: the calls that change the store.
        progress: called with the bytes compressed so far and the bytes of all that will be.

    Raises:
        IntegrityBroken: a line that was to be compressed is damaged.
        StoreWriteFailed: something could not be written; the log is as good as before.
        StorePoisoned: a sync failed.
    """
    log = directory / LOG_DIR
    before = list_segments(log)
    size = sum(segment.stored_size() for segment in before)
    sealed = segment_name(list_segments(log)[-2].first) if roll() else None
    if compress:
        compress_sealed(directory, files, progress)
    after = list_segments(log)
    was = {segment.first for segment in before if segment.compressed}
    return SealReport(
        sealed=sealed,
        compressed=tuple(
            segment_name(segment.first)
            for segment in after
            if segment.compressed and segment.first not in was
        ),
        bytes_before=size,
        bytes_after=sum(segment.stored_size() for segment in after),
    )


def compress_sealed(
    directory: Path, files: Files = FILES, progress: Callable[[int, int], None] | None = None
) -> None:
    """Compresses every sealed segment that is not compressed yet, in order.

    Args:
        directory: the store.
        files: the calls that change it.
        progress: called with the bytes compressed so far and the bytes of all that will be.

    Raises:
        StoreRefused: it is no store.
        IntegrityBroken: a line is damaged; its segment and those after it are left as they are.
        StoreWriteFailed: something could not be written; that segment is left as it is.
    """
    identity = read_identity(directory)
    try:
        # A failed append takes back the segments that it has begun, but before it gives this lock back: what
        # is followed by another segment now will always be.
        with held(directory / LOCK_FILE, files):
            segments = list_segments(directory / LOG_DIR)
        waiting = [number for number, segment in enumerate(segments[:-1]) if not segment.compressed]
        total = sum(segments[number].size() for number in waiting)
        done = 0
        for number in waiting:

            def advance(size: int, before: int = done) -> None:
                if progress is not None:
                    progress(before + size, total)

            done += segments[number].size()
            compress_segment(directory, segments, number, genesis(identity.store_id), files, advance)
    except OSError as error:
        raise StoreWriteFailed(
            "a sealed segment could not be compressed; the log is as good as before",
            where=str(error.filename or directory),
            got=error.strerror or str(error),
            hint="Run `intentusnet seal --compress` when the cause is gone.",
        ) from error


def compress_segment(
    directory: Path,
    segments: Sequence[Segment],
    number: int,
    start: bytes,
    files: Files,
    advance: Callable[[int], None],
) -> None:
    """Compresses one sealed segment, unless somebody else has done it by now.

    Args:
        directory: the store.
        segments: those of the log; there is one after the one that is to be compressed.
        number: which one.
        start: the chain value before the log's first line.
        files: the calls that change the store.
        advance: called with the bytes of lines compressed so far.

    Raises:
        IntegrityBroken: a line is damaged; nothing was changed.
        OSError: it could not be read, or something not be written; the segment is still there as it was.
    """
    segment, following = segments[number], segments[number + 1]
    target = segment.path.with_name(segment_name(segment.first) + COMPRESSED)
    new = target.with_name(target.name + UNFINISHED)
    log = segment.path.parent
    with held(directory / COMPRESS_LOCK, files):
        if not segment.path.exists():
            return
        chain = _chain_at_end(segments[number - 1], segment.first) if number else start
        try:
            _write_compressed(_Source(segment, following.first, chain), new, files, advance)
            files.rename(new, target)
        except BaseException:
            # Above all, when the disk is full: what is not finished must not keep it full.
            with contextlib.suppress(OSError):
                files.unlink(new)
            raise
        files.fsync_dir(log)
        files.unlink(segment.path)


def _write_compressed(source: _Source, new: Path, files: Files, advance: Callable[[int], None]) -> None:
    """Writes the compressed form, and makes sure that it is on disk and has the same lines."""
    fd = files.open(new, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC)
    try:
        for piece in encode(source):
            write_all(files, fd, piece)
            advance(source.size)
        files.fsync(fd)
    finally:
        files.close(fd)
    check(new)
    compared = sha256()
    with open_compressed(new) as lines:
        while chunk := lines.read(_COMPARE_BYTES):
            compared.update(chunk)
    if compared.digest() != source.hashed.digest():
        raise OSError(f"{new} does not have the bytes that were written to it")


class _Source:
    """The lines of a sealed segment, each checked as it is read; mutable: what has been read.

    Args:
        segment: whose lines.
        end: the seq of the first line after them.
        chain: the chain value before them.

    Attributes:
        size: bytes read.
        hashed: the SHA-256 of these bytes.
    """

    def __init__(self, segment: Segment, end: int, chain: bytes) -> None:
        self._segment = segment
        self._end = end
        self._chain = chain
        self.size = 0
        self.hashed = sha256()

    def __iter__(self) -> Iterator[bytes]:
        """The lines, each with its newline; raises IntegrityBroken where one is damaged."""
        first, end, chain = self._segment.first, self._end, self._chain
        seq = first
        try:
            with self._segment.open() as file:
                for raw in file:
                    if not raw.endswith(b"\n"):
                        what = "a line has no end"
                        raise IntegrityBroken(what, expected="a newline", got="the end of the file")
                    chain = check_line(raw[:-1], seq, chain)[4]
                    seq += 1
                    self.size += len(raw)
                    self.hashed.update(raw)
                    yield raw
            if seq != end:
                what = "a segment does not end where the next one begins"
                raise IntegrityBroken(what, expected=f"a last seq of {end - 1}", got=f"{seq - 1}")
        except IntegrityBroken as fault:
            fault.where = f"{self._segment.path}, line {seq - first + 1} (seq {seq}, offset {self.size})"
            fault.hint = "The segment was left as it is. `intentusnet verify` says more."
            raise


def _chain_at_end(segment: Segment, end: int) -> bytes:
    """The chain value of a segment's last line, which has the seq before ``end``."""
    found = line_ending_at(segment, segment.size())
    entry = None if found is None else parse_line(found[1])
    if entry is None or entry.seq != end - 1:
        raise IntegrityBroken(
            "a segment does not end where the next one begins",
            where=str(segment.path),
            expected=f"seq {end - 1}",
            got="no line" if entry is None else f"seq {entry.seq}",
            hint="The segment was left as it is. `intentusnet verify` says more.",
        )
    return entry.chain


class Compression:
    """Compresses what has been sealed, in a thread that lives for as long as there is something to do.

    Appends do not wait for it and do not fail with it: what could not be compressed stays as it is, is told
    as a RuntimeWarning, and tried again when the next segment is sealed.

    Args:
        directory: the store.
        files: the calls that change it.
    """

    def __init__(self, directory: Path, files: Files) -> None:
        self._directory = directory
        self._files = files
        self.begin()
        _ALL.add(self)

    def begin(self) -> None:
        """Starts afresh, as in a child process, which has no thread of its parent's."""
        self._mutex = threading.Lock()
        self._wanted = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Lets everything be compressed that is sealed by now; returns at once."""
        with self._mutex:
            self._wanted = True
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._run, name="intentusnet-compression")
                # There may be no more threads to be had: then the next time is the time.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def join(self) -> None:
        """Returns when there is nothing left to do."""
        with self._mutex:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._mutex:
                if not self._wanted:
                    self._thread = None
                    return
                self._wanted = False
            try:
                compress_sealed(self._directory, self._files)
            except IntentusError as error:
                warnings.warn(f"sealed segments stay uncompressed: {error}", RuntimeWarning, stacklevel=1)


@contextlib.contextmanager
def held(path: Path, files: Files) -> Iterator[None]:
    """Keeps other processes, and other threads, from doing the same: holds the lock of that file.

    Raises:
        OSError: it cannot be opened.
    """
    fd = files.open(path, os.O_RDWR | os.O_CREAT)
    _HELD.add(fd)
    try:
        lock_file(fd)
        yield
    finally:
        if fd in _HELD:
            _HELD.remove(fd)
            unlock_file(fd)
            files.close(fd)


_HELD: set[int] = set()
_ALL: weakref.WeakSet[Compression] = weakref.WeakSet()


def _after_fork() -> None:
    for compression in list(_ALL):
        compression.begin()
    # The child shares its parent's locks, and would keep them when the parent is killed.
    while _HELD:
        with contextlib.suppress(OSError):
            os.close(_HELD.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
