"""Large values are on disk before the line that refers to them, whatever fails, and whoever is killed."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import blobs as made
from helpers import executions
from helpers.logs import FailsAt, Faulty, broken, full

from intentusnet.errors import IntegrityBroken, StorePoisoned, StoreRefused, StoreWriteFailed
from intentusnet.log.blobs import blob_path
from intentusnet.log.durability import DURABILITIES, Durability
from intentusnet.log.files import Files
from intentusnet.stores.file import FileExecutionStore

VALUE = made.large("value ")
BLOB = made.blob_of(VALUE)


class Traced(Files):
    """Notes what reaches the disk, in order, by the names of the files."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.names: dict[int, str] = {}

    def open(self, path: Path | str, flags: int) -> int:
        fd = super().open(path, flags)
        self.names[fd] = Path(path).suffix or Path(path).name
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self.told.append(f"write {self.names[fd]}")
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self.told.append(f"sync {self.names[fd]}")
        super().fsync(fd)

    def mkdir(self, path: Path) -> None:
        self.told.append(f"mkdir {path.name}")
        super().mkdir(path)

    def rename(self, old: Path, new: Path) -> None:
        self.told.append(f"rename {old.suffix} {new.suffix}")
        super().rename(old, new)

    def fsync_dir(self, path: Path) -> None:
        self.told.append(f"sync {path.name}/")
        super().fsync_dir(path)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_value_is_on_disk_before_its_line_is_written(tmp_path: Path, durability: Durability) -> None:
    """In every durability: written, synced, renamed, each new directory synced; then comes the line."""
    files = Traced()
    with FileExecutionStore(tmp_path / "store", durability, files=files) as store:
        store.append(executions.execution(9), durability="disk")
        files.told.clear()
        store.append(made.execution(1, VALUE))
        shard = BLOB.ref.digest[:2]
        before = files.told[: files.told.index("write .jsonl")]
        assert before == [
            *("sync store/", "mkdir blobs", "sync store/", f"mkdir {shard}", "sync blobs/"),
            *("write .new", "write .new", "sync .new", "rename .new .zst", f"sync {shard}/"),
        ]
        files.told.clear()
        store.append(made.execution(2, VALUE))
        # Whoever wrote it may not have come to the sync of its name.
        assert files.told[: files.told.index("write .jsonl")] == [f"sync {shard}/"]
        store.append(executions.execution(3))
    with FileExecutionStore(tmp_path / "store", durability, files=files) as store:
        files.told.clear()
        store.append(made.execution(4, VALUE))
        before = files.told[: files.told.index("write .jsonl")]
        synced = [told for told in before if "sync" in told]
        assert synced[:3] == ["sync store/", "sync blobs/", f"sync {shard}/"]
        assert made.told(store, 4) == made.told(store, 1) == [BLOB.data]


def test_a_value_is_kept_once(tmp_path: Path) -> None:
    """However often it is recorded, within an append and in several, there is one file, and a short log."""
    store = FileExecutionStore(tmp_path)
    for number in range(3):
        store.append(made.execution(number, VALUE, VALUE))
    assert made.blob_files(tmp_path) == [blob_path(tmp_path, BLOB.ref.digest)]
    assert sum(path.stat().st_size for path in (tmp_path / "log").iterdir()) < 20_000
    assert made.told(store, 2) == [BLOB.data] * 2


def test_a_damaged_blob_is_written_anew(tmp_path: Path) -> None:
    """What refers to a value is never acknowledged while the value's file is damaged."""
    store = FileExecutionStore(tmp_path)
    store.append(made.execution(1, VALUE))
    (path,) = made.blob_files(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityBroken) as caught:
        store.get(executions.id_of(1))
    assert str(path) in caught.value.where and f"execution {executions.id_of(1)}" in caught.value.where
    assert BLOB.ref.digest in caught.value.expected or "damaged" in caught.value.message
    store.append(made.execution(2, VALUE))
    assert made.told(store, 1) == made.told(store, 2) == [BLOB.data]


def test_lists_and_references_need_no_blob(tmp_path: Path) -> None:
    """With every blob gone, executions are found as before; only reading one that has them fails."""
    store = FileExecutionStore(tmp_path)
    store.append(made.execution(1, VALUE))
    for path in made.blob_files(tmp_path):
        path.unlink()
    assert [row.execution_id for row in store.list().rows] == [executions.id_of(1)]
    assert store.resolve("@last") == executions.id_of(1)
    assert len(store.entries(executions.id_of(1))) == 4
    with pytest.raises(IntegrityBroken, match="missing"):
        store.get(executions.id_of(1))


def test_swapped_blobs_are_found(tmp_path: Path) -> None:
    """Two files that are whole, each under the other's name, are both refused."""
    store = FileExecutionStore(tmp_path)
    other = made.large("other ")
    store.append([*made.execution(1, VALUE), *made.execution(2, other)])
    one, two = (blob_path(tmp_path, made.blob_of(value).ref.digest) for value in (VALUE, other))
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)
    for number in (1, 2):
        with pytest.raises(IntegrityBroken, match="damaged"):
            store.get(executions.id_of(number))


def test_a_blob_that_cannot_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing device is told apart from bytes that are not what was written."""
    store = FileExecutionStore(tmp_path)
    store.append(made.execution(1, VALUE))
    entries = store.entries(executions.id_of(1))
    monkeypatch.setattr(store, "entries", lambda execution_id: entries)

    def fails(path: Path, mode: str) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(Path, "open", fails)
    with pytest.raises(StoreRefused, match="cannot be read"):
        store.get(executions.id_of(1))


# --- faults ---

STEPS: dict[str, tuple[str, Callable[[], OSError]]] = {
    "creating": ("create .new", full),
    "writing": ("write", full),
    "syncing the value": ("fsync", broken),
}


@pytest.mark.parametrize(("step", "fault"), STEPS.values(), ids=STEPS)
def test_a_value_that_cannot_be_written_fails_the_append(
    tmp_path: Path, step: str, fault: Callable[[], OSError]
) -> None:
    """Nothing of the append is in the log, nothing unfinished is left, no file stays open, others go on."""
    files = Faulty()
    store = FileExecutionStore(tmp_path, files=files)
    store.append(executions.execution(1))
    opened = set(files.open_now)
    files.faults[step] = [fault()]
    with pytest.raises(StoreWriteFailed, match="nothing of") as caught:
        store.append(made.execution(2, VALUE))
    assert caught.value.hint
    assert (made.blob_files(tmp_path), made.unfinished(tmp_path)) == ([], [])
    assert files.open_now == opened
    store.append(executions.execution(3))
    if step != "fsync":
        store.append(made.execution(4, VALUE))
        assert made.told(store, 4) == [BLOB.data]
    report = store.verify()
    assert (report.ok, report.entries) == (True, 4 if step == "fsync" else 8)


def test_a_short_write_goes_on(tmp_path: Path) -> None:
    """A file that takes the value in pieces has all of it."""
    files = Faulty()
    store = FileExecutionStore(tmp_path, files=files)
    store.append(executions.execution(1))
    files.faults["write"] = [3, 5, None, 1]
    store.append(made.execution(2, VALUE))
    assert made.told(store, 2) == [BLOB.data]


def test_after_a_failed_sync_no_value_is_taken(tmp_path: Path) -> None:
    """What the disk has is unknown: appends with large values are refused until the store is opened again."""
    files = Faulty()
    with FileExecutionStore(tmp_path, files=files) as store:
        store.append(executions.execution(1))
        files.faults["fsync"] = [broken()]
        for _ in range(2):
            with pytest.raises(StorePoisoned, match="nothing of the append is in the log"):
                store.append(made.execution(2, VALUE))
    with FileExecutionStore(tmp_path) as store:
        store.append(made.execution(2, VALUE))
        assert made.told(store, 2) == [BLOB.data]


class BlobsFailAt(FailsAt):
    """Lets the n-th call fail, of all that blobs need."""

    def open(self, path: Path | str, flags: int) -> int:
        if "blobs" in Path(path).parts and self._fail():
            if self.late:
                super().close(super().open(path, flags))
            raise OSError(errno.EMFILE, "open", str(path))
        return super().open(path, flags)

    def rename(self, old: Path, new: Path) -> None:
        failed = self._fail()
        if self.late or not failed:
            super().rename(old, new)
        if failed:
            raise OSError(errno.EIO, "rename", str(old))

    def fsync_dir(self, path: Path) -> None:
        super().fsync_dir(path)


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_whatever_call_fails_no_line_is_without_its_value(tmp_path: Path, late: bool) -> None:
    """Each call in turn: the append is whole and can be read, or it failed and is not in the log."""
    failed = 0
    for at in range(1, 80):
        path = tmp_path / str(at)
        FileExecutionStore(path).append(executions.execution(1))
        files = BlobsFailAt(at, late)
        store, written = FileExecutionStore(path, "os", files=files), []
        for number in (2, 3):
            try:
                store.append(made.execution(number, VALUE, f"{number}{VALUE}"))
            except StoreWriteFailed:
                failed += 1
            else:
                written.append(number)
        fresh = FileExecutionStore(path)
        assert {row.execution_id for row in fresh.list().rows} >= {executions.id_of(n) for n in (1, *written)}
        for row in fresh.list().rows:
            fresh.get(row.execution_id)
        fresh.collect()
        assert made.unfinished(path) == []
        if files.left > 0:
            break
    assert failed > 8 and files.left > 0


def test_an_append_that_fails_after_its_value_leaves_a_blob_for_the_collector(tmp_path: Path) -> None:
    """Where the line cannot be written, the value is there without need, and collected."""
    files = Faulty()
    store = FileExecutionStore(tmp_path, files=files)
    store.append(executions.execution(1))
    files.faults["write"] = [None, None, full()]
    with pytest.raises(StoreWriteFailed):
        store.append(made.execution(2, VALUE))
    (path,) = made.blob_files(tmp_path)
    size = path.stat().st_size
    assert (store.collect(dry_run=True).blobs, path.exists()) == (1, True)
    assert store.collect().as_dict() == {"blobs": 1, "unfinished": 0, "bytes": size}
    assert made.blob_files(tmp_path) == []
