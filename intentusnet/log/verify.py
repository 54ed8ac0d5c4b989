"""The verifier: is the log what was written, from its first line to its last?

It stands apart from the writer and shares nothing with it but the format of a line: it takes no lock, writes
nothing, repairs nothing, and reads a log from beginning to end, so that an auditor can run it on a copy, on a
read-only medium, or beside a process that writes. Memory does not grow with the log, only with the number of
executions that are open at the same time, and with the size of a segment.

Of a large log the segments are checked by several processes (``workers``), and what they answer is put
together by one walk (``walk``), which comes to the same report with them as without.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Final

from intentusnet.errors import IntegrityBroken, StoreRefused
from intentusnet.log.entry import genesis
from intentusnet.log.executions import Executions
from intentusnet.log.head import HeadNote, read_note
from intentusnet.log.identity import STORE_FILE, read_identity
from intentusnet.log.portable import verify_records
from intentusnet.log.report import FirstBad, Progress, VerifyReport
from intentusnet.log.segment import LOG_DIR, Segment, list_segments
from intentusnet.log.verify_worker import request
from intentusnet.log.walk import Blobs, Part, Walk, no_blobs, segment_part
from intentusnet.log.workers import Workers, processors

__all__ = [
    "FirstBad",
    "Part",
    "Progress",
    "VerifyReport",
    "verify_parts",
    "verify_path",
    "verify_store",
]

# To check so many bytes takes about as long as to start the processes that do it together.
_WORTH_WORKERS: Final = 16 << 20
_OPENED: Final = re.compile(rb'\{"seq":[0-9]+,"ts":-?[0-9]+,"kind":"opened","execution":"([^"]+)"')


def verify_path(path: Path, progress: Progress | None = None) -> VerifyReport:
    """Verifies what lies there: a store, its log or a segment, a portable record, or a directory of those.

    Raises:
        StoreRefused: nothing of the kind lies there.
    """
    if (path / STORE_FILE).exists():
        return verify_store(path, progress)
    for log in (path, path.parent):
        if log.name == LOG_DIR and (log.parent / STORE_FILE).exists():
            return verify_store(log.parent, progress)
    try:
        records = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
        if not records:
            raise StoreRefused(
                "there is nothing to verify",
                where=str(path),
                expected=f"a directory with a {STORE_FILE}, or with portable records (*.jsonl)",
            )
        return verify_records(records, progress)
    except OSError as fault:
        raise StoreRefused(
            "there is nothing to verify that can be read", where=str(path), got=fault.strerror or str(fault)
        ) from fault


def verify_store(
    directory: Path, progress: Progress | None = None, *, workers: int | None = None
) -> VerifyReport:
    """Verifies the log of a store directory, without changing anything in it.

    Args:
        directory: where its ``store.json`` lies.
        progress: called now and then with the number of bytes checked and the number of all.
        workers: how many processes check it; with 1, only this one. If None, as many as there are processors,
            or this one if the log is small.

    Raises:
        StoreRefused: it is no store, or one of another format version.
    """
    identity = read_identity(directory)
    # The note is read before the log: whoever appends meanwhile can only make the log longer than it claims.
    note = read_note(directory)
    try:
        segments = list_segments(directory / LOG_DIR)
        total = sum(map(_size, segments))
        if workers is None:
            workers = processors() if total >= _WORTH_WORKERS else 1
        requests = [request(directory, identity.store_id, segment.first, note) for segment in segments]
        return _verify(
            identity.store_id,
            [segment_part(segment) for segment in segments],
            note=note,
            blobs=Blobs(directory).check,
            progress=progress,
            total=total,
            requests=requests,
            workers=min(workers, len(segments)),
        )
    except IntegrityBroken as fault:
        stray = FirstBad(None, Path(fault.where).name, 1, 0, fault.message, fault.expected, fault.where)
        return VerifyReport(False, 0, 0, None, stray, ())
    except OSError as fault:
        raise StoreRefused(
            "the log cannot be read", where=str(fault.filename or directory), got=fault.strerror or str(fault)
        ) from fault


def _size(segment: Segment) -> int:
    try:
        return segment.size()
    except IntegrityBroken:
        return 0  # what is wrong with it, the walk tells when it comes there


def verify_parts(
    store_id: str,
    parts: Sequence[Part],
    *,
    note: HeadNote | None = None,
    progress: Progress | None = None,
    total: int = 0,
) -> VerifyReport:
    """Verifies a log that lies in parts, wherever they come from.

    Args:
        store_id: 32 lowercase hex digits.
        parts: the whole log, in order.
        note: what is claimed to be on disk.
        progress: called with the bytes checked and ``total``.
        total: the size of all parts in bytes.
    """
    return _verify(store_id, parts, note=note, progress=progress, total=total)


class _Tally:
    """Adds up how many bytes are checked, here and by the workers; mutable. What it tells only grows."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._here = self._told = 0

    def here(self, done: int, total: int) -> None:
        """Told what the walk has behind it."""
        self._here = done
        self._tell(done)

    def ahead(self, done: int) -> None:
        """Told what workers have checked of that which the walk has before it."""
        self._tell(self._here + done)

    def _tell(self, done: int) -> None:
        if self._progress is not None and done > self._told:
            self._told = done
            self._progress(done, self._total)


def _verify(
    store_id: str,
    parts: Sequence[Part],
    *,
    note: HeadNote | None = None,
    blobs: Callable[[bytes], None] = no_blobs,
    progress: Progress | None,
    total: int,
    requests: Sequence[dict[str, Any]] = (),
    workers: int = 1,
) -> VerifyReport:
    tally = _Tally(progress, total)
    executions = Executions()
    walk = Walk(parts, 0, genesis(store_id), executions, note=note, blobs=blobs, progress=tally.here)
    with ExitStack() as stack:
        if workers > 1:
            answers = stack.enter_context(Workers(requests, workers, tally.ahead))
            bad = walk.first_bad(answers.answer)
        else:
            bad = walk.first_bad()
    again = _opened_twice(parts, walk.seq, executions.suspects)
    if again:
        walk = Walk(parts, 0, genesis(store_id), Executions(again), note=note, blobs=blobs)
        bad = walk.first_bad()
    return walk.report(bad)


def _opened_twice(parts: Sequence[Part], entries: int, suspects: Collection[bytes]) -> set[bytes]:
    """Which of the suspects are opened more than once in the first so many lines, all of which check."""
    once: set[bytes] = set()
    twice: set[bytes] = set()
    if suspects:
        for part in parts:
            for raw in islice(part.lines(), max(0, entries - part.first)):
                opened = _OPENED.match(raw)
                if opened is not None and opened[1] in suspects:
                    (twice if opened[1] in once else once).add(opened[1])
    return twice
