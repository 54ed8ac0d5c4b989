"""A store against a plain list: appended to from two sides, read, killed, reopened, sealed, compressed.

What is simulated of a machine that stops is this: bytes that no sync has covered are cut off, zeroed or
turned into something else, the head note is any that was written, and the index is gone, old or damaged.
(What can happen to names and sectors besides is the simulated disk's matter.) The store must have what the
list has; of what was not yet on disk it may have lost the end.
"""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis
from helpers import executions as made
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from intentusnet.errors import IntegrityBroken
from intentusnet.ids import ManualClock
from intentusnet.log.backlog import AsyncBound
from intentusnet.log.durability import DURABILITIES, Durability
from intentusnet.log.entry import Draft, Entry, parse_line
from intentusnet.log.files import Files
from intentusnet.log.head import HEAD_FILE, HeadNote
from intentusnet.log.segment import LOG_DIR, iter_lines, list_segments
from intentusnet.stores.base import Query, StoreSettings
from intentusnet.stores.file import FileExecutionStore
from intentusnet.stores.index import INDEX_FILE

INTENTS = ("ticket.classify", "ticket.close", "money.send")
#: So many that were handed over may be lost; the thread that would write them by itself never gets to it.
BOUND = AsyncBound(entries=4, milliseconds=3_600_000)

SIDES = st.integers(0, 1)
EXECUTIONS = st.fixed_dictionaries(
    {
        "questions": st.integers(0, 3),
        "intent": st.sampled_from(INTENTS),
        "error_code": st.sampled_from([None, "AGENT_ERROR"]),
        "close": st.booleans(),
    }
)


class Watched(Files):
    """Knows of every file how much of it a sync has covered, and every head note; mutable.

    Syncs nothing itself: what a crash takes away is taken away by the test.
    """

    def __init__(self) -> None:
        self.synced: dict[int, int] = {}
        self.notes: list[bytes] = []

    def open(self, path: Path | str, flags: int) -> int:
        fd = super().open(path, flags)
        if flags & os.O_CREAT and os.fstat(fd).st_size == 0:
            # The number of a removed file may be given to a new one.
            self.synced[os.fstat(fd).st_ino] = 0
        return fd

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        if HeadNote.decode(data) is not None:
            self.notes.append(data)
        return super().pwrite(fd, data, offset)

    def fdatasync(self, fd: int) -> None:
        state = os.fstat(fd)
        self.synced[state.st_ino] = state.st_size

    def fsync(self, fd: int) -> None:
        self.fdatasync(fd)

    def fsync_dir(self, path: Path) -> None: ...

    def unsynced(self, path: Path) -> tuple[int, int]:
        """How much of a file is on disk, and how large it is."""
        state = path.stat()
        return min(self.synced.get(state.st_ino, 0), state.st_size), state.st_size


class StoreMachine(RuleBasedStateMachine):
    """The model is `lines`: all entries of the log, in order; the first `on_disk` are there for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.lives = 0
        self.count = 0
        self.lines: list[Draft] = []
        self.on_disk = 0
        self.queued: list[list[Draft]] = [[], []]
        self.torn = False

    @initialize(entries=st.integers(1, 6))
    def make(self, entries: int) -> None:
        self.settings = StoreSettings(segment_entries=entries)
        self._live()
        self._record(0, "disk", {})

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        shutil.rmtree(self.root)

    def _live(self) -> None:
        self.path = self.root / str(self.lives)
        self.files = Watched()
        self.stores = [self._open(), self._open()]

    def _open(self) -> FileExecutionStore:
        clock = ManualClock(step_us=1)
        return FileExecutionStore(
            self.path, async_bound=BOUND, clock=clock, settings=self.settings, files=self.files
        )

    # --- writing ---

    @rule(side=SIDES, about=EXECUTIONS)
    def append_to_disk(self, side: int, about: dict[str, Any]) -> None:
        self._record(side, "disk", about)

    @rule(side=SIDES, several=st.lists(EXECUTIONS, min_size=1, max_size=3))
    def append_to_the_system(self, side: int, several: Sequence[dict[str, Any]]) -> None:
        for about in several:
            self._record(side, "os", about)

    @rule(side=SIDES, about=EXECUTIONS)
    def hand_over(self, side: int, about: dict[str, Any]) -> None:
        self._record(side, "async", about)

    def _record(self, side: int, durability: Durability, about: dict[str, Any]) -> None:
        """An execution, with or without its end."""
        self.count += 1
        self._append(side, made.execution(self.count, **about), durability)

    @rule(side=SIDES, durability=st.sampled_from(DURABILITIES), data=st.data())
    def end(self, side: int, durability: Durability, data: st.DataObject) -> None:
        """The end of an execution that has none, if there is one."""
        open_now = [name for name, drafts in self.executions().items() if drafts[-1].kind != "closed"]
        queued = {draft.execution for queue in self.queued for draft in queue}
        names = [name for name in open_now if name not in queued]
        if names:
            name = data.draw(st.sampled_from(names))
            self._append(side, [made.closed(self.executions()[name])], durability)

    def _append(self, side: int, drafts: Sequence[Draft], durability: Durability) -> None:
        seqs = self.stores[side].append(drafts, durability=durability)
        if durability == "async" and not seqs:
            self.queued[side] += drafts
            assert len(self.queued[side]) <= BOUND.entries
            return
        assert len(seqs) == len(drafts)
        self._flushed(side)
        self.lines += drafts
        self.torn = False
        if durability != "os":
            self.on_disk = len(self.lines)

    def _flushed(self, side: int) -> None:
        """What was handed over is written before anything else of that side."""
        self.lines += self.queued[side]
        if self.queued[side]:
            self.torn = False
        self.queued[side] = []

    @rule(side=SIDES)
    def sync(self, side: int) -> None:
        """After this, everything that this side wrote is on disk."""
        wrote = bool(self.queued[side])
        self.stores[side].sync()
        self._flushed(side)
        if wrote:
            self.on_disk = len(self.lines)

    @rule(side=SIDES, compress=st.booleans())
    def seal(self, side: int, compress: bool) -> None:
        """The last segment ends here, and is on disk; it may be compressed, like those before it."""
        self.stores[side].seal(compress=compress)
        self._flushed(side)
        self.torn = False
        self.on_disk = len(self.lines)
        *sealed, last = list_segments(self.path / LOG_DIR)
        assert last.size() == 0
        assert all(segment.path.suffix == ".zst" for segment in sealed) or not compress

    @rule(side=SIDES)
    def reopen(self, side: int) -> None:
        """A store is closed and opened again."""
        wrote = bool(self.queued[side])
        self.stores[side].close()
        self._flushed(side)
        if wrote:
            self.on_disk = len(self.lines)
        self.stores[side] = self._open()

    # --- losing ---

    @rule(data=st.data(), damage=st.sampled_from([None, "cut", "zeros", "garbage"]))
    def die(self, data: st.DataObject, damage: str | None) -> None:
        """All processes die. If the machine stops, too, any end of what no sync has covered is lost."""
        for segment in list_segments(self.path / LOG_DIR)[:-1]:
            on_disk, size = self.files.unsynced(segment.path)
            assert on_disk == size, "a segment was begun before the one before was on disk"
        last = list_segments(self.path / LOG_DIR)[-1].path
        on_disk, size = self.files.unsynced(last)
        if damage is None:
            self._die()
            return
        keep = data.draw(st.integers(on_disk, size), label="bytes that are left")
        notes = [b"", b"?" * 512, *self.files.notes]
        note = data.draw(st.sampled_from(notes[-6:]), label="head note")
        self._die()
        whole = (self.path / LOG_DIR / last.name).read_bytes()
        fill = {"cut": b"", "zeros": b"\0", "garbage": b"?"}[damage] * (size - keep)
        (self.path / LOG_DIR / last.name).write_bytes(whole[:keep] + fill)
        (self.path / HEAD_FILE).write_bytes(note)
        self.lines = self.lines[: len(self.lines) - whole[keep:].count(b"\n")]
        assert len(self.lines) >= self.on_disk, "acknowledged entries were not on disk"
        self.torn = bool(fill) or whole[:keep][-1:] not in (b"", b"\n")
        for file in (self.path / LOG_DIR).iterdir():
            self.files.synced[file.stat().st_ino] = file.stat().st_size

    def _die(self) -> None:
        """Goes on in a copy of the directory, whose files are as they were when everybody died."""
        before, known, dead = self.path, self.files, self.stores
        self.lives += 1
        shutil.copytree(before, self.root / str(self.lives))
        self._live()
        for file in (self.path / LOG_DIR).iterdir():
            self.files.synced[file.stat().st_ino] = known.unsynced(before / LOG_DIR / file.name)[0]
        self.files.notes = [*known.notes]
        for store in dead:
            store.close()
        self.queued = [[], []]

    @rule(damage=st.sampled_from(["gone", "empty", "half", "garbage"]))
    def lose_index(self, damage: str) -> None:
        """Something happens to the index, under the hands of those who have it open."""
        index = self.path / INDEX_FILE
        if damage == "gone":
            for path in self.path.glob(f"{INDEX_FILE}*"):
                path.unlink()
        elif index.exists():
            data = index.read_bytes()
            other = {"empty": b"", "half": data[: len(data) // 2], "garbage": b"?" * len(data)}
            new = index.with_suffix(".other")
            new.write_bytes(other[damage])
            new.rename(index)

    # --- reading ---

    def executions(self) -> dict[str, list[Draft]]:
        """What the list has, by execution, in the order of opening."""
        found: dict[str, list[Draft]] = {}
        for draft in self.lines:
            found.setdefault(draft.execution, []).append(draft)
        return found

    @rule(side=SIDES, data=st.data())
    @precondition(lambda self: not self.torn)
    def read(self, side: int, data: st.DataObject) -> None:
        """An execution by its id, by parts of it, and by its place."""
        store = self.stores[side]
        self._flushed(side)
        expected = self.executions()
        for name in data.draw(st.sets(st.sampled_from([*expected]), min_size=1, max_size=3)):
            drafts = expected[name]
            entries = store.entries(name)
            assert [content_of(entry) for entry in entries] == [content_of(draft) for draft in drafts]
            assert store.get(name).status == status_of(drafts)
            assert {store.resolve(name[:8]), store.resolve(name[-12:])} == {name}
            assert store.resolve(f"@last~{[*expected][::-1].index(name)}") == name

    @rule(
        side=SIDES,
        limit=st.integers(1, 5),
        oldest_first=st.booleans(),
        status=st.sampled_from([None, "success", "error", "interrupted"]),
        intent=st.sampled_from([None, "ticket.*", "money.send", "no.such"]),
    )
    @precondition(lambda self: not self.torn)
    def list(self, side: int, limit: int, oldest_first: bool, status: str | None, intent: str | None) -> None:
        """All pages of what fits, in order."""
        self._flushed(side)
        rows, cursor = [], None
        while True:
            query = Query(status=status, intent=intent, limit=limit, oldest_first=oldest_first, cursor=cursor)
            page = self.stores[side].list(query)
            rows += [(row.execution_id, row.status) for row in page.rows]
            cursor = page.cursor
            if cursor is None:
                break
        expected = [
            (name, status_of(drafts))
            for name, drafts in self.executions().items()
            if status in (None, status_of(drafts)) and query.wants_intent(made_intent(drafts[0]))
        ]
        assert rows == (expected if oldest_first else expected[::-1])

    @rule(side=SIDES)
    @precondition(lambda self: self.torn)
    def read_torn(self, side: int) -> None:
        """Before anybody writes, a torn end is not read as anything."""
        # What this side was handed over is written first, and puts the torn end aside.
        self._flushed(side)
        try:
            rows = self.stores[side].list(Query(limit=1000)).rows
        except IntegrityBroken:
            return
        assert [row.execution_id for row in rows] == [*self.executions()][::-1]

    @rule(side=SIDES)
    @precondition(lambda self: not self.torn)
    def verify(self, side: int) -> None:
        report = self.stores[side].verify()
        self._flushed(side)
        assert report.ok, report.first_bad
        expected = self.executions()
        assert report.executions == len(expected)
        assert report.interrupted == tuple(
            name for name, drafts in expected.items() if drafts[-1].kind != "closed"
        )

    @invariant()
    def the_log_is_the_list(self) -> None:
        """The log's lines are the list's, in its order; between them only what the store says of itself."""
        lines = [
            parse_line(line)
            for segment in list_segments(self.path / LOG_DIR)
            for _, line in iter_lines(segment)
            if not self.torn or line[:1] == b"{"
        ]
        written = [content_of(entry) for entry in lines if entry.kind != "recovery"]
        assert written == [content_of(draft) for draft in self.lines]


def content_of(entry: Entry | Draft) -> tuple[str, str, bytes]:
    return entry.kind, entry.execution, entry.body


def status_of(drafts: Sequence[Draft]) -> str:
    if drafts[-1].kind != "closed":
        return "interrupted"
    return "success" if b'"status":"success"' in drafts[-1].body else "error"


def made_intent(opened: Draft) -> str:
    return next(intent for intent in INTENTS if intent.encode() in opened.body)


def test_a_store_has_what_was_put_into_it(torture: bool, seed: int) -> None:
    """Whatever is done to a store in whatever order, it has what a list would have, but for a lost end."""
    many = settings(max_examples=1000, stateful_step_count=60)
    few = settings(max_examples=60, stateful_step_count=25)
    run_state_machine_as_test(
        hypothesis.seed(seed)(StoreMachine),
        settings=settings(many if torture else few, deadline=None, database=None, print_blob=True),
    )
