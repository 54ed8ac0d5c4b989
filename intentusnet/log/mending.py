"""How a repair gets onto the disk: the original aside, the new beside, and one moment at which it counts.

1. Every file that will not stay as it is, is copied to ``quarantine/repair-<seq>-<digest>/``.
2. The new segments and the new head note are written there too (``….new``), and read back and checked.
3. The lock file gets a mark, so that writers in other processes know that what they have open is void.
4. ``repair.json``, which says what is to be put where, appears in the store: from now on the repair is done,
   however often it has to be begun again. Nobody writes to the log while it is there.
5. The new segments are copied to where they belong, and the old ones and the old note removed.
6. ``repair.json`` is removed, and then the new note put in its place: a writer that finds no note syncs the
   store's names first, so that no crash can bring ``repair.json`` back over lines that were written since.

Each step is on disk before the next one begins.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from intentusnet.errors import IntegrityBroken
from intentusnet.ids import Clock
from intentusnet.log.damage import Damage, Source, walk
from intentusnet.log.entry import Draft, Entry, format_line, genesis
from intentusnet.log.files import LOCK_FILE, Files, make_dir, must_sync, write_all
from intentusnet.log.head import HEAD_FILE, HeadNote, Tail
from intentusnet.log.identity import read_identity
from intentusnet.log.recovery import REPAIR_FILE, REPAIR_MARK
from intentusnet.log.segment import LOG_DIR, MAX_BYTES, MAX_ENTRIES, QUARANTINE_DIR, segment_name

REPORT_FILE: Final = "report.json"
_NEW: Final = ".new"
_COPY_BYTES: Final = 1 << 20
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, slots=True)
class Mend:
    """A repair that only has to be put in its place.

    Attributes:
        quarantine: where everything of it lies, relative to the store.
        remove: names of files in ``log/`` that go.
        place: names of files in ``log/`` that come.
        report: what is told of it.
    """

    quarantine: str
    remove: list[str]
    place: list[str]
    report: Mapping[str, Any]


def pending(directory: Path) -> Mend | None:
    """The repair that was begun and not finished; None if there is none.

    Raises:
        IntegrityBroken: what it left is not what it wrote.
    """
    path = directory / REPAIR_FILE
    try:
        return Mend(**orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise IntegrityBroken(
            "the note of an unfinished repair is damaged",
            where=str(path),
            got=str(error),
            hint="The original files are in the quarantine: put them back into the log and repair it again.",
        ) from error


def prepare(
    directory: Path,
    damage: Damage,
    kept: Iterator[Entry],
    told: Mapping[str, Any],
    report: Callable[[str], Mapping[str, Any]],
    *,
    clock: Clock,
    files: Files,
) -> Mend:
    """Makes a repair ready, up to the moment at which it counts; the locks must be held.

    Args:
        directory: the store.
        damage: where its log stops.
        kept: what is appended again.
        told: what the recovery entry says besides where the original is.
        report: what is told of the repair, given where the original is.
        clock: the time of the recovery entry.
        files: the calls that change the store.

    Raises:
        OSError: something could not be read or written; nothing has changed.
        StorePoisoned: a sync failed; unless it was the last one, nothing has changed.
        IntegrityBroken: what was written does not check; nothing has changed.
    """
    number, offset = damage.at
    cut = damage.sources[number] if offset > 0 else None
    first_gone = cut.first if cut is not None else damage.seq
    gone = [source for at, source in enumerate(damage.sources) if at >= number or source.first >= first_gone]
    gone += [twin for twin in damage.twins if twin.first >= first_gone]
    unframed = [damage.sources[at] for at in damage.frames if damage.sources[at] not in gone]
    log = directory / LOG_DIR
    originals = [*(source.path for source in (*unframed, *gone)), *(log / name for name in damage.strays)]
    if (directory / HEAD_FILE).exists():
        originals.append(directory / HEAD_FILE)
    digest, size = _hashed(originals)
    name = f"{QUARANTINE_DIR}/repair-{damage.seq}-{digest[:16]}"
    place = directory / name
    make_dir(place.parent, files)
    make_dir(place, files)
    for path in originals:
        _write(place / path.name, _chunks(path), files)
    body = {
        "after": damage.seq - 1,
        "bytes": size,
        "file": name,
        "files": [path.name for path in originals],
        "sha256": digest,
        **told,
    }
    note = Draft.make("recovery", "", orjson.dumps(body, option=orjson.OPT_SORT_KEYS), ts=clock.time_us())
    staging = _Staging(directory, place, damage, files)
    for source in unframed:
        staging.copy(source)
    staying = [source for source in damage.sources if source not in gone and source not in unframed]
    if staying:
        # The entry that comes now says that all before it are on disk.
        _sync(staying[-1].path, files)
    staging.write(cut, offset, itertools.chain([note], map(_again, kept)))
    _check_made(damage, staging, place, staying)
    _write(place / (HEAD_FILE + _NEW), [staging.note().encode()], files)
    mend = Mend(
        quarantine=name,
        remove=[path.name for path in originals if path.parent == log and path.name not in staging.made],
        place=list(staging.made),
        report=report(name),
    )
    _write(place / REPORT_FILE, [orjson.dumps(mend.report, option=orjson.OPT_APPEND_NEWLINE)], files)
    must_sync(partial(files.fsync_dir, place), place)
    _mark(directory, files)
    _begin(directory, mend, files)
    return mend


def switch(directory: Path, mend: Mend, files: Files) -> None:
    """Puts a repair that is ready in its place; can be begun again wherever it was stopped.

    Nothing moves from one directory to another: a crash may leave a name that was moved in neither.

    Raises:
        OSError: a file could not be written, renamed or removed.
        StorePoisoned: a sync failed.
    """
    place = directory / mend.quarantine
    _put_segments(directory / LOG_DIR, mend, place, files)
    _remove(directory / HEAD_FILE, files)
    must_sync(partial(files.fsync_dir, directory), directory)
    _finish(directory, mend, place, files)


def _begin(directory: Path, mend: Mend, files: Files) -> None:
    intent = orjson.dumps(asdict(mend), option=orjson.OPT_APPEND_NEWLINE)
    _put(directory / REPAIR_FILE, [intent], files)
    must_sync(partial(files.fsync_dir, directory), directory)


def _put_segments(log: Path, mend: Mend, place: Path, files: Files) -> None:
    with contextlib.suppress(FileExistsError):
        files.mkdir(log)
    for name in mend.place:
        if (place / (name + _NEW)).exists():
            _put(log / name, _chunks(place / (name + _NEW)), files)
    for name in mend.remove:
        _remove(log / name, files)
    must_sync(partial(files.fsync_dir, log), log)


def _finish(directory: Path, mend: Mend, place: Path, files: Files) -> None:
    staged = place / (HEAD_FILE + _NEW)
    # None, if this was done before, and a crash has brought repair.json back.
    note = staged.read_bytes() if staged.exists() else b""
    for name in (*mend.place, HEAD_FILE):
        _remove(place / (name + _NEW), files)
    files.unlink(directory / REPAIR_FILE)
    must_sync(partial(files.fsync_dir, directory), directory)
    if note:
        # Not into the old file: a writer that has that one open must not be told of another log.
        _put(directory / HEAD_FILE, [note], files)


def _remove(path: Path, files: Files) -> None:
    with contextlib.suppress(FileNotFoundError):
        files.unlink(path)


class _Staging:
    """The new segments, while they are written; mutable.

    Args:
        directory: the store.
        place: where they are written to, with :data:`_NEW` behind their names.
        damage: where the log stops.
        files: the calls that change the store.

    Attributes:
        made: the names that they will have.
    """

    def __init__(self, directory: Path, place: Path, damage: Damage, files: Files) -> None:
        settings = read_identity(directory).settings
        self._max_entries = int(settings.get("segment_entries", MAX_ENTRIES))
        self._max_bytes = int(settings.get("segment_bytes", MAX_BYTES))
        self._place = place
        self._files = files
        self._fd = -1
        self._lines: list[bytes] = []
        self._held = 0
        self._durable = damage.seq - 1
        self._tail = Tail(damage.seq, 0, damage.seq, damage.chain)
        self.made: list[str] = []

    def copy(self, source: Source) -> None:
        """Writes the lines of a source as a segment of its own."""
        self._begin(source.first, source.lines())
        self._end()

    def write(self, cut: Source | None, end: int, drafts: Iterable[Draft]) -> None:
        """Writes drafts at the end of the good lines, and into as many segments as they take.

        Args:
            cut: the segment with the last good lines, if it has to be written anew.
            end: how many bytes they are.
            drafts: each with its ts.
        """
        if cut is not None:
            self._tail = self._tail._replace(first=cut.first, offset=end)
        first, offset, seq, value = self._tail
        try:
            good = itertools.takewhile(lambda at: at[0] < end, cut.lines()) if cut is not None else ()
            self._begin(first, good)
            for draft in drafts:
                if seq - first >= self._max_entries or offset >= self._max_bytes:
                    self._end()
                    self._durable, first, offset = seq - 1, seq, 0
                    self._begin(first, ())
                assert draft.ts is not None
                line, value = format_line(draft, seq, draft.ts, self._durable, value)
                self._add(line)
                offset, seq = offset + len(line), seq + 1
            self._end()
        finally:
            if self._fd >= 0:
                self._files.close(self._fd)
        self._tail = Tail(first, offset, seq, value)

    def note(self) -> HeadNote:
        """The head note of the log as it will be."""
        first, offset, seq, value = self._tail
        return HeadNote(value.hex(), offset, segment_name(first), seq - 1)

    def _begin(self, first: int, before: Iterable[tuple[int, bytes]]) -> None:
        """Opens a segment, with lines that are on disk before it goes on."""
        self.made.append(segment_name(first))
        self._fd = self._files.open(self._place / (self.made[-1] + _NEW), _CREATE)
        for _, raw in before:
            self._add(raw)
        self._flush()

    def _add(self, line: bytes) -> None:
        self._lines.append(line)
        self._held += len(line)
        if self._held >= _COPY_BYTES:
            write_all(self._files, self._fd, b"".join(self._lines))
            self._lines, self._held = [], 0

    def _flush(self) -> None:
        if self._lines:
            write_all(self._files, self._fd, b"".join(self._lines))
        self._lines, self._held = [], 0
        must_sync(partial(self._files.fsync, self._fd), self._place / (self.made[-1] + _NEW))

    def _end(self) -> None:
        self._flush()
        fd, self._fd = self._fd, -1
        self._files.close(fd)


def _check_made(damage: Damage, staging: _Staging, place: Path, kept: Sequence[Source]) -> None:
    """Reads the log as it will be: nothing is put in its place that would have to be repaired again."""
    new = [Source(name, int(name[:20]), place / (name + _NEW)) for name in staging.made]
    sources = sorted((*kept, *new), key=lambda source: source.first)
    made = walk(Damage(damage.store_id, sources, [], (), staging.note(), genesis(damage.store_id)))
    if made.fault is not None or made.note is None:
        raise IntegrityBroken(
            "the repaired log would not check",
            where=str(place),
            expected="a log without faults",
            got=str(made.fault),
            hint="Nothing was changed. Please report it, with the log if you can.",
        )


def _again(entry: Entry) -> Draft:
    """An entry as a draft that makes an entry of the same commit."""
    return Draft.make(entry.kind, entry.execution, entry.body, entry.salt, entry.ts)


def _hashed(paths: Sequence[Path]) -> tuple[str, int]:
    """SHA-256 (hex) of the files, one after the other, and how many bytes they are."""
    digest, size = sha256(), 0
    for path in paths:
        for chunk in _chunks(path):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_COPY_BYTES):
            yield chunk


def _write(path: Path, chunks: Iterable[bytes], files: Files) -> None:
    """Writes a file anew; its bytes are on disk then, and its name when its directory is synced."""
    fd = files.open(path, _CREATE)
    try:
        for chunk in chunks:
            write_all(files, fd, chunk)
        must_sync(partial(files.fsync, fd), path)
    finally:
        files.close(fd)


def _put(path: Path, chunks: Iterable[bytes], files: Files) -> None:
    """Writes a file beside another one and puts it in its place; counts when its directory is synced."""
    beside = path.with_name(path.name + _NEW)
    _write(beside, chunks, files)
    files.rename(beside, path)


def _sync(path: Path, files: Files) -> None:
    fd = files.open(path, os.O_RDWR)
    try:
        must_sync(partial(files.fsync, fd), path)
    finally:
        files.close(fd)


def _mark(directory: Path, files: Files) -> None:
    """Tells writers that have the store open, in whatever process, that it is another log from now on."""
    fd = files.open(directory / LOCK_FILE, os.O_RDWR)
    try:
        files.pwrite(fd, REPAIR_MARK, os.lseek(fd, 0, os.SEEK_END))
    finally:
        files.close(fd)
