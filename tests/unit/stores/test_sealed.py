"""`FileExecutionStore` over sealed and compressed segments: the same store, smaller."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import executions as made
from helpers.stores import ids, segments

from intentusnet.errors import IntegrityBroken, StoreRefused, StoreWriteFailed
from intentusnet.log.files import Files
from intentusnet.log.segment import segment_name
from intentusnet.stores.base import StoreSettings
from intentusnet.stores.file import FileExecutionStore

FIRSTS = (0, 4, 8, 10)


def compressed_name(first: int) -> str:
    return segment_name(first) + ".zst"


def test_sealing_begins_a_segment(store: FileExecutionStore, path: Path) -> None:
    """The last segment ends here, the next entry begins another; without an entry nothing is sealed."""
    before = sum(file.stat().st_size for file in segments(path))
    report = store.seal()
    assert report.as_dict() == {
        "sealed": segment_name(8),
        "compressed": [],
        "bytes_before": before,
        "bytes_after": before,
    }
    assert store.seal().sealed is None
    assert [file.name for file in segments(path)] == [segment_name(first) for first in FIRSTS]
    assert store.append(made.execution(6)) == range(10, 12)
    assert store.get(made.id_of(6)).status == "success"
    assert len(ids(store)) == 6


def test_a_compressed_store_reads_the_same(store: FileExecutionStore, path: Path) -> None:
    """Records, rows and references are what they were: with the old index, a new one, another object."""
    rows, records = store.list(), [store.get(made.id_of(number)).to_jsonl() for number in range(1, 6)]
    index = (path / "index.sqlite").stat().st_ino
    report = store.seal(compress=True)
    assert list(report.compressed) == [segment_name(first) for first in FIRSTS[:3]]
    assert report.bytes_after == sum(file.stat().st_size for file in segments(path)) < report.bytes_before
    assert [file.name for file in segments(path)] == [
        *map(compressed_name, FIRSTS[:3]),
        segment_name(FIRSTS[3]),
    ]
    store.append(made.execution(6))
    for renewed in (False, True):
        if renewed:
            (path / "index.sqlite").unlink()
        else:
            assert (path / "index.sqlite").stat().st_ino == index
        with FileExecutionStore(path) as other:
            for reading in (store, other):
                assert reading.list().rows[1:] == rows.rows
                assert [reading.get(made.id_of(n)).to_jsonl() for n in range(1, 6)] == records
                assert reading.resolve("@last") == made.id_of(6)
    assert store.seal(compress=True).compressed == (segment_name(10),)


def test_a_compressed_store_verifies(store: FileExecutionStore) -> None:
    """The verifier says the same before and after, also when the head note names what is compressed."""
    store.seal()
    store.sync()
    before = store.verify().as_dict()
    assert before["ok"]
    store.seal(compress=True)
    assert store.verify().as_dict() == before


@pytest.mark.parametrize("at", [10, 100, -1, -20, -60])
def test_damage_in_a_compressed_segment(store: FileExecutionStore, path: Path, at: int) -> None:
    """Wherever a byte is changed, in frames, digest or table: nothing wrong is returned, nothing verifies."""
    rows = store.list()
    good = store.get(made.id_of(3)).to_jsonl()
    store.seal(compress=True)
    data = bytearray(segments(path)[1].read_bytes())
    data[at] ^= 1
    segments(path)[1].write_bytes(data)
    assert store.get(made.id_of(1)).status == "success"
    # A changed digest has changed no line.
    for renewed in (False, True):
        if renewed:
            (path / "index.sqlite").unlink()
        with FileExecutionStore(path) as reading:
            try:
                assert reading.get(made.id_of(3)).to_jsonl() == good
                assert reading.list() == rows
            except IntegrityBroken:
                with pytest.raises(IntegrityBroken):
                    reading.list()
    assert not store.verify().ok


def test_damage_behind_the_index(path: Path) -> None:
    """When what was appended since the last reading is damaged, what lies before it can still be read."""
    with FileExecutionStore(path, settings=StoreSettings(segment_entries=4)) as store:
        for number in (1, 2):
            store.append(made.execution(number))
        assert len(ids(store)) == 2
        for number in (3, 4):
            store.append(made.execution(number))
        store.seal(compress=True)
        segment = segments(path)[1]
        segment.write_bytes(segment.read_bytes()[:-1])
        assert store.get(made.id_of(2)).status == "success"
        for refuse in (lambda: store.get(made.id_of(3)), store.list):
            with pytest.raises(IntegrityBroken):
                refuse()


def test_by_setting_segments_are_compressed_when_they_are_sealed(path: Path) -> None:
    """Appends go on meanwhile; after a close everything sealed is compressed, and the last segment is not."""
    with FileExecutionStore(path, "os", settings=StoreSettings(segment_entries=4, compress=True)) as store:
        for number in range(1, 21):
            store.append(made.execution(number))
            assert store.get(made.id_of(number)).status == "success"
    names = [file.name for file in segments(path)]
    assert names == [*(compressed_name(first) for first in range(0, 36, 4)), segment_name(36)]
    with FileExecutionStore(path) as store:
        assert len(ids(store)) == 20
        store.append(made.execution(21))
    assert segments(path)[-2].name == compressed_name(36)


def test_a_failed_compression_fails_no_append(path: Path) -> None:
    """When there is no room for it, a warning tells; the appends and the close are as ever."""

    class Full(Files):
        def rename(self, old: Path, new: Path) -> None:
            if new.suffix == ".zst":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().rename(old, new)

    def use() -> None:
        settings = StoreSettings(segment_entries=4, compress=True)
        with FileExecutionStore(path, settings=settings, files=Full()) as store:
            for number in range(1, 6):
                store.append(made.execution(number))
            with pytest.raises(StoreWriteFailed, match="as good as before"):
                store.seal(compress=True)

    with pytest.warns(RuntimeWarning, match="stay uncompressed"):
        use()
    assert all(file.suffix == ".jsonl" for file in segments(path))
    with FileExecutionStore(path) as store:
        assert len(ids(store)) == 5
        assert store.seal(compress=True).compressed


def test_a_store_that_is_not_there_is_not_made(path: Path) -> None:
    """Sealing is refused where there is no store, and on one that is closed."""
    store = FileExecutionStore(path)
    with pytest.raises(StoreRefused):
        store.seal()
    assert not path.exists()
    store.append(made.execution(1))
    store.close()
    with pytest.raises(StoreWriteFailed):
        store.seal()


def test_zstd_is_loaded_when_it_is_needed(path: Path) -> None:
    """Neither importing the package nor using a store that has no compressed segment loads zstd."""
    code = """
import sys
from intentusnet.stores.file import FileExecutionStore
with FileExecutionStore(sys.argv[1]) as store:
    store.seal()
    store.list()
    assert not [name for name in sys.modules if "zstd" in name and not name.startswith("intentusnet")]
    store.seal(compress=True)
    assert [name for name in sys.modules if "zstd" in name and not name.startswith("intentusnet")]
"""
    with FileExecutionStore(path) as store:
        store.append(made.execution(1))
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
