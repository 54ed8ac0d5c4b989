"""What may happen to the index while it is made and used: kills, full disks, read-only directories."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers import executions as made

from intentusnet.errors import IntegrityBroken, RecordNotFound, StoreRefused
from intentusnet.log.entry import Entry
from intentusnet.stores import derived, index, selecting
from intentusnet.stores.base import Query, StoreSettings
from intentusnet.stores.file import FileExecutionStore
from intentusnet.stores.intake import Place
from intentusnet.stores.reading import Lines

COUNT = 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Many executions, and no index yet."""
    with FileExecutionStore(tmp_path / "store", "os", settings=StoreSettings(segment_entries=100)) as store:
        for number in range(COUNT):
            store.append(made.execution(number, tags=["all", f"t{number}"], caller=f"c{number % 7}"))
    return tmp_path / "store"


def numbers(store: FileExecutionStore, **query: Any) -> list[int]:
    found: list[int] = []
    cursor = None
    while True:
        page = store.list(Query(**{"limit": 1000, **query}, cursor=cursor))
        found += [int(row.execution_id[:8], 16) for row in page.rows]
        cursor = page.cursor
        if cursor is None:
            return found


def sql(path: Path, *statements: str) -> None:
    db = sqlite3.connect(path / "index.sqlite", isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


def run(program: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False
    )


LISTING = """
import sys
from intentusnet.stores import derived, index
from intentusnet.stores.base import Query
from intentusnet.stores.file import FileExecutionStore

def listed():
    with FileExecutionStore(sys.argv[1]) as store:
        print(len(store.list(Query(limit=1000)).rows), store.resolve("@last"))
"""

KILLED = """
import os, signal
index._BATCH = 50
take, calls = index.Intake.take, []

def deadly(self, limit):
    calls.append(limit)
    fault = take(self, limit)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return fault

index.Intake.take = deadly
listed()
"""


def test_a_kill_in_the_middle_of_making_it_costs_nothing(path: Path) -> None:
    """What a killed process had taken in is kept, the rest is taken in by the next one."""
    assert run(LISTING + KILLED, path).returncode == -signal.SIGKILL
    db = sqlite3.connect(path / "index.sqlite")
    assert db.execute("SELECT seq FROM tail").fetchone() == (150,)
    db.close()
    with FileExecutionStore(path) as store:
        assert numbers(store) == list(range(COUNT))[::-1]
        assert numbers(store, tag="t7") == [7]


SMALL_FILES = """
import atexit, resource
# Till the end of the program: a measurement of its coverage is written after it.
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, before[1]))
atexit.register(resource.setrlimit, resource.RLIMIT_FSIZE, before)
"""


def test_no_room_for_it_is_no_reason_not_to_read(path: Path) -> None:
    """Where the index's file cannot grow, a temporary database will do, which needs no file while small."""
    ran = run(LISTING + SMALL_FILES + "listed()", path)
    assert (ran.stderr, ran.stdout.split()) == ("", [str(COUNT), made.id_of(COUNT - 1)])
    assert run(LISTING + "listed()", path).stdout == ran.stdout


def test_no_room_anywhere_is_said(path: Path) -> None:
    """Memory does not take the place of a disk: what no file has room for, nor the cache, is refused."""
    ran = run(LISTING + SMALL_FILES + "derived._CACHE_KIB = 16\nlisted()", path)
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert "StoreRefused: there is no room for what is needed to find executions" in ran.stderr
    assert run(LISTING + "listed()", path).stdout.split()[0] == str(COUNT)


@pytest.fixture
def closed_to_writers(path: Path) -> Path:
    """A store with an index that can be read and not written: nobody, not even root, gets its lock."""
    with FileExecutionStore(path) as store:
        assert len(numbers(store)) == COUNT
    (path / "index.lock").unlink()
    (path / "index.lock").mkdir()
    return path


def test_an_index_that_cannot_be_written_is_read(
    closed_to_writers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the directory is read-only, what is in the index is not taken in again; what came later is."""
    taken: list[int] = []
    take = index.Intake.take

    def noted(self: index.Intake, limit: int) -> IntegrityBroken | None:
        fault = take(self, limit)
        taken.append(self.tail.seq)
        return fault

    monkeypatch.setattr(index.Intake, "take", noted)
    before = (closed_to_writers / "index.sqlite").read_bytes()
    with FileExecutionStore(closed_to_writers) as store:
        assert len(numbers(store)) == COUNT
        assert taken == []
        store.append(made.execution(COUNT, tags=["new"]))
        assert numbers(store, tag="new") == [COUNT]
        assert taken == [2 * COUNT + 2]
    assert (closed_to_writers / "index.sqlite").read_bytes() == before


def test_an_index_that_another_process_writes_is_read_whole(
    closed_to_writers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process has put into the index, and not yet into its main file, is seen."""
    db = sqlite3.connect(closed_to_writers / "index.sqlite", isolation_level=None)
    db.execute("UPDATE names SET name = 'somebody' WHERE name = 'c0'")
    assert (closed_to_writers / "index.sqlite-wal").stat().st_size > 0
    copied = derived._open_to_read(closed_to_writers / "index.sqlite")
    assert copied.execute("SELECT count(*) FROM names WHERE name = 'somebody'").fetchone() == (1,)
    copied.close()
    db.close()


def test_a_bad_index_that_cannot_be_written_is_not_used(closed_to_writers: Path) -> None:
    """A copy is held against the log like the file itself."""
    sql(closed_to_writers, "UPDATE tail SET chain = zeroblob(32)", "DELETE FROM executions WHERE seq < 100")
    with FileExecutionStore(closed_to_writers) as store:
        assert len(numbers(store)) == COUNT


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_random_bytes_in_it_invent_nothing(path: Path, seed: int, is_open: bool) -> None:
    """Whatever bytes are in the file: what is listed is there and in order, and no error comes of it."""
    chance = random.Random(seed)
    with FileExecutionStore(path) as store:
        assert len(numbers(store)) == COUNT
        if not is_open:
            store.close()
        file = path / "index.sqlite"
        data = bytearray(file.read_bytes())
        for _ in range(chance.choice([1, 20, 500])):
            start = chance.randrange(len(data))
            data[start : start + chance.choice([1, 8, 4096])] = chance.randbytes(8)
        with file.open("r+b") as harmed:
            harmed.write(data[: chance.choice([len(data), len(data) // 2 + 13])])
        for query in ({}, {"tag": "all"}, {"caller": "c3"}, {"status": "success"}, {"text": "bug"}):
            found = numbers(store, **query)
            assert found == sorted(set(found), reverse=True)
            assert set(found) <= set(range(COUNT))
            if "caller" in query:
                assert all(number % 7 == 3 for number in found)
        for number in (0, COUNT // 2):
            with suppress(RecordNotFound):
                assert store.get(made.id_of(number)).execution_id == made.id_of(number)
    file.unlink()
    with FileExecutionStore(path) as store:
        assert len(numbers(store)) == COUNT


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ids",
        "UPDATE executions SET closed = 3",
        "UPDATE ids SET seq = 1",
        "DELETE FROM executions",
    ],
)
def test_a_bad_index_is_not_taken_for_a_bad_log(path: Path, statement: str) -> None:
    """A line that fits no execution that the index knows is damage only if it fits none of the log's."""
    drafts = made.execution(COUNT, questions=1)
    with FileExecutionStore(path) as store:
        store.append(drafts[:2])
        assert len(numbers(store)) == COUNT + 1
        sql(path, statement)
        store.append(drafts[2:])
        assert len(numbers(store)) == COUNT + 1
        assert store.get(made.id_of(COUNT)).status == "success"


@pytest.mark.parametrize("known", [False, True])
def test_a_line_outside_of_its_execution_is_damage(path: Path, known: bool) -> None:
    """An execution that is opened twice is found out, also by an index that knew the log before."""
    with FileExecutionStore(path) as store:
        if known:
            assert len(numbers(store)) == COUNT
        store.append(made.execution(7))
        inodes = set()
        for _ in range(3):
            with pytest.raises(IntegrityBroken, match="outside of its execution") as caught:
                store.list()
            assert f"seq {2 * COUNT}" in caught.value.where
            inodes.add((path / "index.sqlite").stat().st_ino)
    assert len(inodes) == 1
    with FileExecutionStore(path) as again, pytest.raises(IntegrityBroken, match="outside of its execution"):
        again.list()
    assert {(path / "index.sqlite").stat().st_ino} == inodes


@pytest.mark.parametrize("few", [1, 1000])
def test_tags_are_found_however_many_have_them(path: Path, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """The two ways to look for a tag, by its executions and among all, find the same."""
    monkeypatch.setattr(selecting, "FEW", few)
    with FileExecutionStore(path) as store:
        assert numbers(store, tag="all") == list(range(COUNT))[::-1]
        assert numbers(store, tag="all", oldest_first=True) == list(range(COUNT))
        assert numbers(store, tag="all", caller="c2", oldest_first=True) == list(range(2, COUNT, 7))
        for number in (0, 30, 31, 199):
            assert numbers(store, tag=f"t{number}") == [number]
            assert numbers(store, tag=f"t{number}", caller=f"c{(number + 1) % 7}") == []


def test_many_segments_are_read_with_few_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executions in many segments, and lines longer than a block, are listed with a handful of files open."""
    open_now: list[int] = []
    read = Lines.read

    def noted(self: Lines, place: Place) -> Entry:
        entry = read(self, place)
        open_now.append(len(os.listdir("/dev/fd")))
        return entry

    with FileExecutionStore(path.with_name("many"), "os", settings=StoreSettings(segment_entries=1)) as store:
        for number in range(30):
            store.append(made.execution(number, payload="x" * (20_000 if number == 3 else 10)))
        assert len(numbers(store, limit=1)) == 30
        before = len(os.listdir("/dev/fd"))
        monkeypatch.setattr(Lines, "read", noted)
        assert numbers(store) == list(range(30))[::-1]
    assert before < max(open_now) <= before + 10


def test_a_store_refused_is_an_error_of_its_own(path: Path) -> None:
    """A log that cannot be read costs no index: it stays, and the next reading uses it."""
    with FileExecutionStore(path) as store:
        assert len(numbers(store)) == COUNT
        inode = (path / "index.sqlite").stat().st_ino
        (path / "log").rename(path / "elsewhere")
        (path / "log").write_text("")
        with pytest.raises(StoreRefused, match="cannot be read"):
            store.list()
        (path / "log").unlink()
        (path / "elsewhere").rename(path / "log")
        assert len(numbers(store)) == COUNT
        assert (path / "index.sqlite").stat().st_ino == inode
