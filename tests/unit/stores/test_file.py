"""`FileExecutionStore`: lazy, picky about directories, and never returning what it has not checked."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers import executions as made
from helpers.stores import change, ids, segments

from intentusnet.errors import (
    IntentusError,
    InvalidInput,
    RecordNotFound,
    StoreRefused,
    StoreWriteFailed,
)
from intentusnet.ids import ManualClock
from intentusnet.log.entry import Draft
from intentusnet.log.files import Files
from intentusnet.stores.base import StoreSettings
from intentusnet.stores.file import FileExecutionStore

SMALL = StoreSettings(segment_entries=4)


def test_a_store_that_is_not_there_reads_as_empty(path: Path) -> None:
    """Made and read, it touches nothing on disk; what is not found is not found at that path."""
    with FileExecutionStore(path) as store:
        assert not store.exists
        assert store.path == path
        assert store.list().rows == ()
        assert store.settings == StoreSettings()
        for ask in (store.get, store.entries, store.resolve):
            with pytest.raises(RecordNotFound) as caught:
                ask(made.id_of(1))
            assert caught.value.where == str(path)
            assert "no store yet" in caught.value.hint
        for refuse in (store.verify, lambda: store.store_id):
            with pytest.raises(StoreRefused, match="there is no store"):
                refuse()
        assert list(store.append([])) == []
    assert not path.exists()


def test_the_first_append_makes_the_store(tmp_path: Path) -> None:
    """Directories above it are made too; store.json holds id, time, format and settings."""
    path = tmp_path / "not" / "yet" / "there"
    with FileExecutionStore(str(path), clock=ManualClock(5), settings=SMALL) as store:
        store.append(made.execution(1))
        assert store.exists
        assert orjson.loads((path / "store.json").read_bytes()) == {
            "created": 5,
            "format": 1,
            "settings": {"compress": False, "segment_bytes": 256 << 20, "segment_entries": 4},
            "store": store.store_id,
        }


def test_settings_are_those_of_the_store(store: FileExecutionStore, path: Path) -> None:
    """Whoever opens it later, with other settings or none, writes by those that it was made with."""
    with FileExecutionStore(path, settings=StoreSettings(segment_entries=100)) as again:
        assert again.settings == SMALL
        again.append([Draft.make("recovery", "", b"{}")] * 5)
    assert [segment.name for segment in segments(path)] == [f"{first:020d}.jsonl" for first in (0, 4, 8, 12)]
    assert store.verify().entries == 15


def test_a_store_that_must_not_be_made_is_not_made(path: Path) -> None:
    """With create=False an append to nothing is refused, and nothing is left there."""
    with (
        FileExecutionStore(path, create=False) as store,
        pytest.raises(StoreRefused, match="there is no store"),
    ):
        store.append(made.execution(1))
    assert not path.exists()
    FileExecutionStore(path).append(made.execution(1))
    with FileExecutionStore(path, create=False) as store:
        assert list(store.append(made.execution(2))) == [2, 3]


def everything(store: FileExecutionStore) -> list[Callable[[], Any]]:
    return [
        lambda: store.append(made.execution(1)),
        lambda: store.get(made.id_of(1)),
        lambda: store.resolve("@last"),
        store.list,
        store.verify,
        lambda: store.exists,
        lambda: store.settings,
    ]


@pytest.mark.parametrize(
    "files",
    [
        {"mine.txt": b"mine"},
        {"store.json": b"{}"},
        {"store.json": b'{"created":0,"format":2,"settings":{},"store":"00000000000000000000000000000000"}'},
        {"log": b"", "index.sqlite": b""},
    ],
)
def test_a_foreign_directory_is_left_alone(path: Path, files: dict[str, bytes]) -> None:
    """A directory that holds something else, or a store of another format, is refused by every call."""
    path.mkdir()
    for name, content in files.items():
        (path / name).write_bytes(content)
    with FileExecutionStore(path) as store:
        for use in everything(store):
            with pytest.raises(StoreRefused) as caught:
                use()
            assert str(path) in caught.value.where
    assert {file.name: file.read_bytes() for file in path.iterdir()} == files


def test_a_file_in_its_place_is_refused(path: Path) -> None:
    """Where a file lies there is no store, and the file stays."""
    path.write_bytes(b"mine")
    with FileExecutionStore(path) as store:
        for use in everything(store):
            with pytest.raises(StoreRefused):
                use()
    assert path.read_bytes() == b"mine"


def test_settings_that_this_version_does_not_know_are_refused(store: FileExecutionStore, path: Path) -> None:
    """A setting from the future could change what the log means."""
    change(path / "store.json", b'"segment_entries":4', b'"encrypted":true')
    with FileExecutionStore(path) as again, pytest.raises(StoreRefused, match="settings"):
        again.append([Draft.make("recovery", "", b"{}")])


def test_there_are_two_durabilities(path: Path) -> None:
    """A durability that is none is refused at once."""
    with pytest.raises(InvalidInput, match="durability"):
        FileExecutionStore(path, "maybe")


class Counting(Files):
    """Counts the syncs of data."""

    def __init__(self) -> None:
        self.syncs = 0

    def fdatasync(self, fd: int) -> None:
        self.syncs += 1
        super().fdatasync(fd)


@pytest.mark.parametrize(
    ("durability", "asked", "syncs"),
    [
        ("disk", None, True),
        ("disk", "disk", True),
        ("disk", "os", False),
        ("os", None, False),
        ("os", "disk", True),
        ("os", "os", False),
    ],
)
def test_an_append_is_synced_as_was_asked(path: Path, durability: Any, asked: Any, syncs: bool) -> None:
    """The store's durability decides, unless the call says otherwise."""
    files = Counting()
    with FileExecutionStore(path, durability, files=files) as store:
        store.append(made.execution(1), durability=asked)
        assert (files.syncs > 0) is syncs


def test_a_second_store_on_the_same_directory_sees_all(store: FileExecutionStore, path: Path) -> None:
    """Two openers of one directory read what either has written, as soon as it is written."""
    with FileExecutionStore(path, "os") as other:
        assert ids(other) == ids(store)
        other.append(made.execution(6))
        assert ids(store)[0] == made.id_of(6)
        store.append(made.execution(7))
        assert other.get(made.id_of(7)).status == "success"
        assert other.store_id == store.store_id


def test_readers_see_whole_executions_while_others_write(path: Path) -> None:
    """Readers beside writers get pages and records that check, and what was acknowledged is always there."""
    faults: list[BaseException] = []
    acknowledged: list[str] = []
    stop = threading.Event()

    def write(base: int) -> None:
        for number in range(base, base + 40):
            writer.append(made.execution(number, questions=1))
            acknowledged.append(made.id_of(number))

    def read() -> None:
        with FileExecutionStore(path) as reader:
            while not stop.is_set():
                try:
                    wanted = set(acknowledged)
                    assert wanted <= set(ids(reader, limit=1000, status="success"))
                    if wanted:
                        assert reader.get(sorted(wanted)[0]).status == "success"
                except Exception as fault:  # noqa: BLE001 - whatever it is, the test is to show it
                    faults.append(fault)
                    return

    with FileExecutionStore(path, "os", settings=StoreSettings(segment_entries=16)) as writer:
        writer.append(made.execution(0))
        writers = [threading.Thread(target=write, args=(base,)) for base in (100, 200)]
        readers = [threading.Thread(target=read) for _ in range(3)]
        for thread in (*writers, *readers):
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        for thread in readers:
            thread.join()
        assert faults == []
        assert len(ids(writer, limit=1000)) == 81


def _child(store: FileExecutionStore, drafts: list[Draft], connection: Any) -> None:
    store.append(drafts)
    connection.send(ids(store))
    store.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_store_works_on_both_sides_of_a_fork(store: FileExecutionStore) -> None:
    """A child writes and reads with the store that its parent had open, and the parent sees it."""
    assert len(ids(store)) == 5
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_child, args=(store, made.execution(6), there))
    process.start()
    assert here.poll(60)
    assert here.recv() == [made.id_of(number) for number in (6, 5, 4, 3, 2, 1)]
    process.join()
    assert process.exitcode == 0
    store.append(made.execution(7))
    assert ids(store)[:2] == [made.id_of(7), made.id_of(6)]
    assert store.verify().ok


def test_closing_is_final_for_writing_only(store: FileExecutionStore, path: Path) -> None:
    """After close, no append is taken; reading opens what it needs and leaves nothing open."""
    store.close()
    with pytest.raises(StoreWriteFailed):
        store.append(made.execution(6))
    assert len(ids(store)) == 5
    if Path("/proc/self/fd").is_dir():
        assert not [fd for fd in Path("/proc/self/fd").iterdir() if str(path) in os.path.realpath(fd)]


def test_every_error_says_where(store: FileExecutionStore, path: Path) -> None:
    """Errors of reading name the store."""
    for reference in ("zzzz", "@last~9", "000"):
        with pytest.raises(IntentusError) as caught:
            store.resolve(reference)
        assert caught.value.where == str(path)
