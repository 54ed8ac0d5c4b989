"""Collecting blobs: what no entry refers to goes, what any refers to stays, whoever is writing meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import blobs as made
from helpers import executions
from helpers.logs import Faulty, broken, files_of

from intentusnet.errors import IntegrityBroken, StoreRefused, StoreWriteFailed
from intentusnet.log.blobs import blob_path, pack
from intentusnet.log.head import HEAD_FILE
from intentusnet.stores.base import StoreSettings
from intentusnet.stores.blobs import Collected
from intentusnet.stores.file import FileExecutionStore

VALUE, OTHER = made.large("value "), made.large("other ")


def orphan(store: Path, word: str) -> Path:
    """A blob that no entry refers to."""
    blob = made.blob_of(made.large(word))
    path = blob_path(store, blob.ref.digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(pack(blob.data)))
    return path


def test_only_what_no_entry_refers_to_is_removed(tmp_path: Path) -> None:
    """Over several segments, sealed and compressed ones too; a second time there is nothing left."""
    store = FileExecutionStore(tmp_path, settings=StoreSettings(segment_entries=3))
    store.append([*made.execution(1, VALUE), *made.execution(2, OTHER)])
    store.seal(compress=True)
    store.append(made.execution(3, VALUE, made.large("third ")))
    kept = made.blob_files(tmp_path)
    paths = [orphan(tmp_path, word) for word in ("a", "b")]
    (tmp_path / "blobs" / "0123456789abcdef.new").write_bytes(b"torn")
    size = 4 + sum(path.stat().st_size for path in paths)
    before = files_of(tmp_path)
    assert store.collect(dry_run=True) == Collected(2, 1, size)
    assert files_of(tmp_path).keys() - before.keys() <= {"blobs/gate", "blobs/lock"}
    assert store.collect() == Collected(2, 1, size)
    assert made.blob_files(tmp_path) == kept
    assert store.collect() == Collected(0, 0, 0)
    for number in (1, 2, 3):
        store.get(executions.id_of(number))


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    """What has not the name of a blob, or not its place, is none of the collector's business."""
    store = FileExecutionStore(tmp_path)
    store.append(made.execution(1, VALUE))
    digest = "ab" + "0" * 62
    strange = [tmp_path / "blobs" / name for name in ("README", f"{digest}.zst", "short.new")]
    strange += [tmp_path / "blobs" / "cd" / f"{digest}.zst", tmp_path / "blobs" / "ab" / f"{digest}.txt"]
    for path in strange:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert store.collect() == Collected(0, 0, 0)
    assert all(path.exists() for path in strange)


def test_a_store_without_blobs_has_nothing_to_collect(tmp_path: Path) -> None:
    """Nothing is made for it; where there is no store, that is said."""
    with pytest.raises(StoreRefused):
        FileExecutionStore(tmp_path / "none").collect()
    store = FileExecutionStore(tmp_path / "store")
    store.append(executions.execution(1))
    assert store.collect() == Collected(0, 0, 0)
    assert not (tmp_path / "store" / "blobs").exists()


def damage(store: Path, how: str) -> None:
    log = store / "log" / f"{0:020d}.jsonl"
    data = log.read_bytes()
    if how == "a changed byte":
        log.write_bytes(data.replace(b'"triage"', b'"trIage"', 1))
    elif how == "a cut end":
        log.write_bytes(data[: data.rindex(b"\n", 0, -1) + 1])
    elif how == "a missing segment":
        log.unlink()
    else:
        log.write_bytes(data[:-1])


@pytest.mark.parametrize("how", ["a changed byte", "a cut end", "a missing segment", "a torn end"])
def test_on_a_damaged_log_nothing_is_removed(tmp_path: Path, how: str) -> None:
    """What a damaged or shortened log does not show may still be needed: it is refused."""
    with FileExecutionStore(tmp_path, settings=StoreSettings(segment_entries=5)) as store:
        store.append(made.execution(1, VALUE))
        if how == "a missing segment":
            store.append(made.execution(2, OTHER))
    assert (tmp_path / HEAD_FILE).exists()
    orphan(tmp_path, "a")
    damage(tmp_path, how)
    before = files_of(tmp_path)
    with pytest.raises(IntegrityBroken):
        FileExecutionStore(tmp_path).collect()
    assert files_of(tmp_path) == before


def test_what_cannot_be_removed_is_said(tmp_path: Path) -> None:
    """A failing unlink ends the collection, which can be run again; nothing stays locked."""
    files = Faulty()
    store = FileExecutionStore(tmp_path, files=files)
    store.append(made.execution(1, VALUE))
    orphan(tmp_path, "a")
    files.faults["unlink"] = [broken()]
    opened = set(files.open_now)
    with pytest.raises(StoreWriteFailed, match="could not be removed"):
        store.collect()
    assert files.open_now == opened
    assert store.collect().blobs == 1


def test_what_was_recorded_while_the_log_was_read_counts(tmp_path: Path) -> None:
    """A value without a line, to which an entry refers when the log has just been read, stays."""
    store = FileExecutionStore(tmp_path, settings=StoreSettings(segment_entries=3))
    store.append(executions.execution(1))
    path, told = orphan(tmp_path, "value "), []

    def progress(done: int, total: int) -> None:
        if done == total and not told:
            told.append(done)
            store.append([*executions.execution(2), *made.execution(3, VALUE)])

    assert store.collect(progress=progress) == Collected(0, 0, 0)
    assert told and path.exists()
    assert [blob.ref for blob in store.get(executions.id_of(3)).blobs] == [made.blob_of(VALUE).ref]


APPENDS = """
import sys
from pathlib import Path
from helpers import blobs as made
from intentusnet.stores.base import StoreSettings
from intentusnet.stores.file import FileExecutionStore

store = FileExecutionStore(Path(sys.argv[1]), "os", settings=StoreSettings(segment_entries=50))
me, turns = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(turns):
    # Half of the values are everybody's, so that they are there already; the other half are its own.
    words = f"common {turn % 7} ", f"{me} {turn} "
    drafts = made.execution(1000 * me + turn, *map(made.large, words))
    with store._blobs.kept(drafts):
        pass  # as if it had died before the line: the values lie there, and nothing refers to them
    store.append(drafts)
store.close()
"""


def test_beside_writing_processes_no_value_is_missing(tmp_path: Path) -> None:
    """Four processes record, the collector runs again and again: in the end every value is there."""
    turns, tests = 25, Path(__file__).parents[2]
    store = FileExecutionStore(tmp_path, settings=StoreSettings(segment_entries=50))
    store.append(executions.execution(9_999_999))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDS, str(tmp_path), str(me), str(turns)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for me in range(4)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    collected = running = 0
    while running < 3 or any(process.poll() is None for process in processes):
        for n in range(7):
            orphan(tmp_path, f"dead {running} {n} ")
        collected += store.collect().blobs
        running += 1
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert collected >= 7 * running
    for me in range(4):
        for turn in range(turns):
            record = store.get(executions.id_of(1000 * me + turn))
            assert [blob.ref for blob in record.blobs] == [
                made.blob_of(made.large(word)).ref for word in (f"common {turn % 7} ", f"{me} {turn} ")
            ]
    assert store.verify().ok
