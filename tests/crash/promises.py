"""What a store has promised so far, and whether the disk that a crash left can keep it.

The workloads speak to a store through a :class:`Story`, which notes in the trace what was tried and what was
told. :class:`Promise` is what follows from the notes up to a crash; :func:`check` opens what the crash left,
with the code that a program would open it with, and looks whether all of it is true.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from crash.simdisk import Disk
from crash.trace import Call, Recording, Trace
from helpers import blobs
from helpers.executions import execution, id_of
from helpers.logs import Unsynced

from intentusnet.errors import IntentusError, StorePoisoned, StoreRefused, StoreWriteFailed
from intentusnet.ids import ManualClock
from intentusnet.log.blobs import read_blob
from intentusnet.log.durability import Durability
from intentusnet.log.entry import Draft, Entry, check_line, genesis, parse_line
from intentusnet.log.files import Files
from intentusnet.log.identity import find_identity
from intentusnet.log.segment import LOG_DIR, iter_lines, list_segments
from intentusnet.log.verify import verify_store
from intentusnet.stores.base import StoreSettings
from intentusnet.stores.file import FileExecutionStore

#: Where the store lies, below the root of a trace: in a directory that is not there at first, either.
STORE_AT = Path("above/store")
TORN = "it may be the torn end"
_NUMBERS = count(1)


class Violation(AssertionError):
    """A promise was not kept."""


@dataclass(frozen=True)
class Tried:
    """These drafts may be in the log from now on."""

    drafts: Sequence[Draft]

    def __str__(self) -> str:
        return f"tried: {_named(self.drafts)}"


@dataclass(frozen=True)
class Withdrawn:
    """It was told that nothing of these drafts is in the log."""

    drafts: Sequence[Draft]

    def __str__(self) -> str:
        return f"told not to be in the log: {_named(self.drafts)}"


@dataclass(frozen=True)
class Told:
    """It was told that these drafts are in the log, from that seq on if one was told, and maybe on disk."""

    drafts: Sequence[Draft]
    first: int | None
    durable: bool

    def __str__(self) -> str:
        return f"told to be {'on disk' if self.durable else 'in the log'}: {_named(self.drafts)}"


def _named(drafts: Sequence[Draft]) -> str:
    return ", ".join(f"{draft.kind} of {draft.execution[:8]}" for draft in drafts)


class Story:
    """One process's use of a store, with notes of what it was told; for any number of threads.

    Args:
        trace: where to note it.
        files: the process's file layer, which writes into the same trace.
        durability: of the store.
        entries: lines of a full segment, if this process makes the store.
    """

    def __init__(
        self, trace: Trace, files: Recording, durability: Durability = "disk", *, entries: int = 4
    ) -> None:
        self.trace = trace
        self.store = open_store(trace.root, files, durability, entries=entries)
        self._waiting: list[Draft] = []
        files.memory.append(self)

    def append(self, drafts: Sequence[Draft], durability: Durability = "disk") -> None:
        """Appends, and notes what came of it."""
        self.trace.note(Tried(drafts))
        try:
            seqs = self.store.append(drafts, durability=durability)
        except StorePoisoned:
            raise
        except (StoreWriteFailed, StoreRefused):
            self.trace.note(Withdrawn(drafts))
            raise
        self.trace.note(Told(drafts, seqs.start if seqs else None, durability == "disk"))
        if durability != "disk":
            self._waiting.extend(drafts)

    def sync(self) -> None:
        """Syncs, after which everything that was appended here is on disk."""
        waiting = list(self._waiting)
        self.store.sync()
        self.trace.note(Told(waiting, None, True))

    def seal(self) -> None:
        """Seals what there is, and compresses it, after which all of it is on disk."""
        waiting = list(self._waiting)
        self.store.seal(compress=True)
        self.trace.note(Told(waiting, None, True))

    def close(self) -> None:
        """Closes, after which everything that was appended here is on disk."""
        waiting = list(self._waiting)
        self.store.close()
        self.trace.note(Told(waiting, None, True))


def drafts(questions: int = 0, *, close: bool = True) -> list[Draft]:
    """The entries of an execution that there has not been yet: two, and two for each question."""
    return execution(next(_NUMBERS), questions=questions, close=close)


def large_drafts(values: int = 1) -> list[Draft]:
    """The entries of an execution that was told values which are kept apart from the log."""
    number = next(_NUMBERS)
    return blobs.execution(number, *(blobs.large(f"{number}.{value}") for value in range(values)))


def open_store(
    root: Path, files: Files, durability: Durability = "disk", *, entries: int = 4
) -> FileExecutionStore:
    """The store below that root, whether it is there already or not."""
    return FileExecutionStore(
        root / STORE_AT,
        durability,
        clock=ManualClock(step_us=1),
        settings=StoreSettings(segment_entries=entries),
        files=files,
    )


@dataclass
class Promise:
    """What has been promised; mutable, it grows with the trace.

    Attributes:
        tried: what may be in the log, by commit.
        withdrawn: what may not, any more.
        kept: what must be.
        places: where it must be, if it is.
        lines: every whole line that a reader of the log could have seen.
    """

    tried: dict[bytes, Draft] = field(default_factory=dict)
    withdrawn: set[bytes] = field(default_factory=set)
    kept: dict[bytes, Draft] = field(default_factory=dict)
    places: dict[bytes, int] = field(default_factory=dict)
    lines: set[bytes] = field(default_factory=set)

    def copy(self) -> Promise:
        """One that can grow by itself."""
        return Promise(*(copy(getattr(self, name)) for name in self.__dataclass_fields__))

    def strength(self) -> tuple[int, int]:
        """Tells promises of one trace apart."""
        return len(self.kept), len(self.withdrawn)

    def take(self, event: object, disk: Disk) -> None:
        """Takes the next event, which has happened to the disk."""
        match event:
            case Tried(drafts):
                self.tried |= {draft.commit: draft for draft in drafts}
            case Withdrawn(drafts):
                self.withdrawn |= {draft.commit for draft in drafts}
            case Told(drafts, first, durable):
                if first is not None:
                    self.places |= {draft.commit: first + at for at, draft in enumerate(drafts)}
                if durable:
                    self.kept |= {draft.commit: draft for draft in drafts}
            case Call("write", (int(number), *_)):
                self.lines.update(bytes(disk.files[number].data).split(b"\n")[:-1])


def check(root: Path, promise: Promise, *, reads: bool = False) -> None:
    """Opens what a crash left below that root, goes on with it, and checks all that was promised.

    Args:
        root: a directory to which the crash state was written; it is changed.
        promise: what must hold.
        reads: whether executions are also read through the index, which takes longer.

    Raises:
        Violation: it does not hold.
    """
    path = root / STORE_AT
    try:
        there = find_identity(path) is not None
        expect(there or not promise.kept, "the store is gone")
        report = verify_store(path) if there else None
        good = report is None or report.ok or (report.first_bad and TORN in report.first_bad.reason)
        expect(good, f"verify takes a crash for damage: {report}")
        before = {segment.path: segment.path.read_bytes() for segment in list_segments(path / LOG_DIR)}
        probe = Draft.make("opened", id_of(next(_NUMBERS)), b'{"after":"crash"}')
        store = open_store(root, Unsynced())
        try:
            seqs = store.append([probe])
        finally:
            store.close()
        log = read_log(path, store.store_id)
        expect(len(log) == seqs.stop and log[-1][2].commit == probe.commit, "the next entry is not the last")
        recoveries = _check_entries(path, log[:-1], promise)
        expect(len(recoveries) == (report is not None and not report.ok), f"recoveries {recoveries}")
        for segment, offset, entry in recoveries:
            _check_recovery(path, entry, before[segment][offset:])
        for _, _, entry in log:
            if entry.kind == "recovery":
                _check_recovery(path, entry)
        after = verify_store(path)
        expect(after.ok and after.entries == len(log), f"verify after opening: {after}")
        if reads:
            _check_reads(root, promise)
    except (IntentusError, OSError) as fault:
        raise Violation(f"{type(fault).__name__}: {fault}") from fault


def expect(true: object, what: str) -> None:
    """Raises Violation if it is not true."""
    if not true:
        raise Violation(what)


def read_log(path: Path, store_id: str) -> list[tuple[Path, int, Entry]]:
    """Every line of the log with its place, checked against its neighbours from the first on."""
    found, chain = [], genesis(store_id)
    for segment in list_segments(path / LOG_DIR):
        expect(segment.first == len(found), f"{segment} begins after {len(found)} lines")
        for offset, line in iter_lines(segment):
            chain = check_line(line, len(found), chain)[4]
            found.append((segment.path, offset, parse_line(line)))
    return found


def _check_entries(
    store: Path, log: list[tuple[Path, int, Entry]], promise: Promise
) -> list[tuple[Path, int, Entry]]:
    """All that was promised is there, and nothing else. Returns the recovery entries that are new."""
    there: dict[bytes, int] = {}
    new = []
    for place, offset, entry in log:
        if entry.kind == "recovery":
            if entry.line not in promise.lines:
                new.append((place, offset, entry))
            continue
        expect(entry.line in promise.lines, f"seq {entry.seq} was never written: {entry.line!r}")
        draft = promise.tried[entry.commit]
        same = (draft.kind, draft.execution, draft.body) == (entry.kind, entry.execution, entry.body)
        expect(same, f"seq {entry.seq} is another entry")
        expect(entry.commit not in promise.withdrawn, f"seq {entry.seq} was said not to be in the log")
        expect(
            promise.places.get(entry.commit, entry.seq) == entry.seq, f"seq {entry.seq} was told as another"
        )
        expect(entry.commit not in there, f"seq {entry.seq} is there twice")
        there[entry.commit] = entry.seq
        for blob in draft.blobs:
            expect(read_blob(store, blob.ref) == blob.data, f"a value of seq {entry.seq} is another one")
    for commit, draft in promise.kept.items():
        expect(commit in there, f"an acknowledged entry is gone: {draft.kind} {draft.execution}")
    return new


def _check_recovery(path: Path, entry: Entry, torn: bytes | None = None) -> None:
    """The bytes that a recovery entry tells of lie where it says."""
    body = json.loads(entry.body)
    aside = path / body["file"]
    expect(aside.is_file(), f"seq {entry.seq} tells of {body['file']}, which is not there")
    data = aside.read_bytes()
    told = (body["bytes"], body["sha256"], body["after"])
    expect(told == (len(data), hashlib.sha256(data).hexdigest(), entry.seq - 1), f"{body} is another file")
    expect(torn is None or torn == data, f"{len(data)} bytes were put aside, and not those that were torn")


def _check_reads(root: Path, promise: Promise) -> None:
    """Every execution that was promised is found and whole."""
    with open_store(root, Unsynced()) as store:
        for draft in promise.kept.values():
            entries = store.entries(draft.execution)
            expect(draft.commit in {entry.commit for entry in entries}, f"{draft.execution} cannot be read")
