"""`index.sqlite` is derived: lost, damaged, foreign or stale, it is made anew, and nobody takes its word."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import executions as made

from intentusnet.errors import IntegrityBroken
from intentusnet.stores import derived, index
from intentusnet.stores.base import Query, StoreSettings
from intentusnet.stores.file import FileExecutionStore

NUMBERS = [5, 4, 3, 2, 1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Five executions in segments of four entries, and no index yet."""
    with FileExecutionStore(tmp_path / "store", "os", settings=StoreSettings(segment_entries=4)) as store:
        for number in reversed(NUMBERS):
            store.append(made.execution(number, tags=[f"t{number}"]))
    return tmp_path / "store"


@pytest.fixture
def store(path: Path) -> Iterator[FileExecutionStore]:
    with FileExecutionStore(path) as store:
        yield store


def numbers(store: FileExecutionStore, **query: Any) -> list[int]:
    return [int(row.execution_id[:8], 16) for row in store.list(Query(**query)).rows]


def sql(path: Path, *statements: str) -> None:
    db = sqlite3.connect(path / "index.sqlite", isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


def foreign(path: Path) -> None:
    (path / "index.sqlite").unlink()
    sql(path, "CREATE TABLE recipes (name TEXT)", "INSERT INTO recipes VALUES ('pie')")


HARM: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: (path / "index.sqlite").unlink(),
    "emptied": lambda path: (path / "index.sqlite").write_bytes(b""),
    "no database": lambda path: (path / "index.sqlite").write_bytes(b"no database" * 1000),
    "cut": lambda path: os.truncate(path / "index.sqlite", 5000),
    "pages overwritten": lambda path: (path / "index.sqlite").write_bytes(
        (path / "index.sqlite").read_bytes()[:4096] + bytes(40_000)
    ),
    "somebody else's": foreign,
    "another version": lambda path: sql(path, "PRAGMA user_version = 99"),
    "another store's": lambda path: sql(path, "UPDATE tail SET store = 'other'"),
    "another chain": lambda path: sql(path, "UPDATE tail SET chain = zeroblob(32)"),
    "ahead of the log": lambda path: sql(path, "UPDATE tail SET offset = offset + 1000, seq = seq + 1"),
    "another segment": lambda path: sql(path, "UPDATE tail SET first = 77"),
    "a table missing": lambda path: sql(path, "DROP TABLE entries"),
    "wrong places": lambda path: sql(path, "UPDATE entries SET offset = offset + 1"),
    "wrong lengths": lambda path: sql(path, "UPDATE entries SET length = 10"),
    "wrong segments": lambda path: sql(path, "UPDATE entries SET segment = 77"),
    "wrong ends": lambda path: sql(path, "UPDATE executions SET closed = 9, status = 0"),
    "wrong seqs": lambda path: sql(
        path,
        "UPDATE entries SET (segment, offset, length) = (SELECT 0, 0, length FROM entries WHERE seq = 0)",
    ),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("is_open", [False, True])
def test_a_bad_index_is_made_anew(path: Path, harm: str, is_open: bool) -> None:
    """Whatever is done to the file, while it is open or not, lists and records are those of the log."""
    with FileExecutionStore(path) as store:
        assert numbers(store) == NUMBERS
        if not is_open:
            store.close()
        HARM[harm](path)
        for _ in range(2):
            assert numbers(store) == NUMBERS
            assert numbers(store, tag="t3") == [3]
            assert store.get(made.id_of(4)).execution_id == made.id_of(4)
    with FileExecutionStore(path) as again:
        assert again.resolve("@last~1") == made.id_of(4)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ids SET seq = 0 WHERE seq = 2",
        "DELETE FROM entries WHERE execution = 2 AND seq = 2",
        "UPDATE entries SET offset = 1 WHERE seq = 3",
    ],
)
def test_a_record_is_not_taken_from_a_bad_index(
    store: FileExecutionStore, path: Path, statement: str
) -> None:
    """Entries of another execution, or places of no line, are noticed when the record is read."""
    assert numbers(store) == NUMBERS
    sql(path, statement)
    record = store.get(made.id_of(2))
    assert (record.execution_id, record.status) == (made.id_of(2), "success")


def test_an_end_is_not_taken_from_a_bad_index(store: FileExecutionStore, path: Path) -> None:
    """An execution that the index ends with the line of another is noticed."""
    assert numbers(store) == NUMBERS
    sql(
        path,
        "UPDATE entries SET execution = 2 WHERE seq = 5",
        "UPDATE executions SET closed = 5 WHERE seq = 2",
    )
    assert numbers(store) == NUMBERS
    assert numbers(store, status="success") == NUMBERS


def test_a_status_is_not_taken_from_a_bad_index(store: FileExecutionStore, path: Path) -> None:
    """What is found by a filter is held against the lines."""
    assert numbers(store) == NUMBERS
    sql(path, "UPDATE executions SET status = 1 WHERE seq = 4")
    assert numbers(store, status="error") == []
    assert numbers(store, status="success") == NUMBERS


def test_a_line_that_stays_wrong_is_damage(
    store: FileExecutionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When an index made anew leads to the same wrong line, that is what is reported."""
    monkeypatch.setattr(index.Index, "places", lambda self, name: [index.Place(0, 0, 0, 20, 0)])
    with pytest.raises(IntegrityBroken, match="template") as caught:
        store.get(made.id_of(1))
    assert "seq 0, offset 0" in caught.value.where


def test_a_log_that_went_on_otherwise_is_read_anew(store: FileExecutionStore, path: Path) -> None:
    """Lines that were seen and then cut back, with others in their place, are forgotten."""
    with FileExecutionStore(path, "os") as writer:
        writer.append(made.execution(6), durability="os")
        assert numbers(store) == [6, *NUMBERS]
    last = sorted((path / "log").iterdir())[-1]
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:2]))
    (path / "head.json").unlink()
    assert numbers(store) == NUMBERS
    with FileExecutionStore(path, "os") as writer:
        writer.append(made.execution(7))
        assert numbers(store) == [7, *NUMBERS]


def test_where_no_file_can_be_written_memory_will_do(path: Path) -> None:
    """With something in the index's place that cannot be removed, all is found as well."""
    (path / "index.sqlite").mkdir()
    with FileExecutionStore(path) as store:
        assert numbers(store) == NUMBERS
        store.append(made.execution(6))
        assert numbers(store, limit=1) == [6]
        store.close()
        assert numbers(store, tag="t1") == [1]
    assert list((path / "index.sqlite").iterdir()) == []


def test_an_index_in_memory_is_made_anew_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong place in an index that is in memory is noticed and put right like any other."""
    (path / "index.sqlite").mkdir()
    with FileExecutionStore(path) as store:
        assert numbers(store) == NUMBERS
        assert store._index is not None
        store._index._database.use(lambda db: db.execute("UPDATE entries SET offset = offset + 1"))
        assert numbers(store) == NUMBERS


def test_it_is_taken_in_bit_by_bit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions that end in the middle of segments and executions leave nothing out."""
    monkeypatch.setattr(index, "_BATCH", 3)
    monkeypatch.setattr(index, "_FOUND_AT_ONCE", 2)
    with FileExecutionStore(path) as store:
        assert numbers(store) == NUMBERS
        assert numbers(store, oldest_first=True) == NUMBERS[::-1]
        assert [store.get(made.id_of(number)).status for number in NUMBERS] == ["success"] * 5


LISTING = """
import sys
from intentusnet.stores.file import FileExecutionStore
sys.stdin.readline()
with FileExecutionStore(sys.argv[1]) as store:
    print(*(int(row.execution_id[:8], 16) for row in store.list().rows))
"""


def test_many_processes_make_it_at_once(path: Path) -> None:
    """Processes that find no index, all at the same time, end up with one, and all with the whole list."""
    command = [sys.executable, "-c", LISTING, str(path)]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    assert [child.communicate()[0].split() for child in children] == [[str(n) for n in NUMBERS]] * 4
    assert [child.returncode for child in children] == [0] * 4
    db = sqlite3.connect(path / "index.sqlite")
    assert db.execute("SELECT count(*) FROM entries").fetchone() == (10,)
    db.close()


def test_nothing_is_written_where_nothing_is_new(store: FileExecutionStore, path: Path) -> None:
    """A list of what is indexed already leaves the index as it was."""
    assert numbers(store) == NUMBERS
    db = sqlite3.connect(path / "index.sqlite")
    before = db.execute("PRAGMA data_version").fetchone()
    assert numbers(store) == NUMBERS
    assert db.execute("PRAGMA data_version").fetchone() == before
    db.close()


def test_times_beyond_any_calendar_are_kept_in_order(path: Path) -> None:
    """A time that a database integer cannot hold is found like the last one that it can."""
    with FileExecutionStore(path) as store:
        store.append(made.execution(6, ts=10**19 - 1))
        assert numbers(store, since_us=2**62) == [6]
        assert numbers(store, limit=1) == [6]


def test_a_transaction_that_fails_leaves_nothing() -> None:
    """What was written before the failure is gone with it."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("CREATE TABLE t (x UNIQUE)")

    def fail() -> None:
        with derived.transaction(db):
            db.execute("INSERT INTO t VALUES (1)")
            db.execute("INSERT INTO t VALUES (1)")

    with pytest.raises(sqlite3.IntegrityError):
        fail()
    assert db.execute("SELECT count(*) FROM t").fetchone() == (0,)
    db.close()
