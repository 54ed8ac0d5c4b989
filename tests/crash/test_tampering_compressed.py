"""Whatever is changed in a compressed segment: never are other lines read from it than were written."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from crash.victims import Victim, what_is_read
from helpers.logs import Unsynced, files_of

from intentusnet.log.segment import LOG_DIR, list_segments
from intentusnet.log.verify import verify_store
from intentusnet.stores.file import FileExecutionStore
from intentusnet.stores.index import INDEX_FILE

MASKS = (0x01, 0x20, 0x80)
SECTOR = 512
#: How many changes are read in the short form.
SAMPLE = 40


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return Victim.make(tmp_path_factory.mktemp("victim") / "store")


@pytest.fixture
def store(victim: Victim, tmp_path: Path) -> Path:
    """The victim, sealed and compressed but for its last segment, which is empty."""
    path = victim.put(tmp_path / "store", victim.data)
    with FileExecutionStore(path, files=Unsynced()) as store:
        store.seal(compress=True)
    assert [segment.path.suffix for segment in list_segments(path / LOG_DIR)] == [*[".zst"] * 3, ".jsonl"]
    return path


def changes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Every byte changed, every length cut to, every sector zeroed, and something behind the end."""
    for at in range(len(data)):
        for mask in MASKS:
            yield f"byte {at} xor {mask:#x}", data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
        yield f"cut to {at}", data[:at]
    for start in range(0, len(data), SECTOR):
        size = min(SECTOR, len(data) - start)
        yield f"sector at {start} zeroed", data[:start] + bytes(size) + data[start + size :]
    for tail in (b"\n", bytes(64), data):
        yield f"{tail[:4]!r} appended", data + tail


def lines_of(path: Path, name: str) -> bytes:
    """The lines that the segment of that file is said to have."""
    segment = next(one for one in list_segments(path / LOG_DIR) if one.path.name == name)
    with segment.open() as file:
        return file.read()


@pytest.mark.parametrize("segment", range(3), ids=["first", "middle", "last"])
def test_every_change_to_a_compressed_segment_is_found(
    victim: Victim, store: Path, segment: int, torture: bool, seed: int
) -> None:
    """The verifier names the segment, unless every line that is read from it is as it was written."""
    path = list_segments(store / LOG_DIR)[segment].path
    good = path.read_bytes()
    every = list(changes(good))
    harmless = []
    for what, changed in every if torture else Random(seed).sample(every, len(every) // 4):
        path.write_bytes(changed)
        report = verify_store(store)
        if report.ok:
            assert lines_of(store, path.name) == victim.data[segment], what
            harmless.append(what)
        else:
            assert report.first_bad is not None and report.first_bad.segment == path.name, what
            assert report.entries >= victim.first(segment), what
    # A decompressor looks at every byte, but for a bit or two that mean nothing to it.
    assert len(harmless) <= len(every) // 100, harmless
    path.write_bytes(good)
    assert verify_store(store).ok


@pytest.mark.parametrize("segment", range(3), ids=["first", "middle", "last"])
def test_readers_and_writers_of_a_damaged_compressed_segment(
    victim: Victim, store: Path, segment: int, torture: bool, seed: int
) -> None:
    """What is read is as it was written, or refused, with an index of before or without one."""
    assert what_is_read(store, victim).keys() == victim.rows.keys()
    files = files_of(store)
    path = list_segments(store / LOG_DIR)[segment].path
    every = list(changes(path.read_bytes()))
    for _, changed in every if torture else Random(seed).sample(every, SAMPLE):
        path.write_bytes(changed)
        for index in (True, False):
            for old in store.glob(f"{INDEX_FILE}*"):
                os.unlink(old)
            if index:
                (store / INDEX_FILE).write_bytes(files[INDEX_FILE])
            what_is_read(store, victim)


def test_a_compressed_segment_that_is_gone_or_another_is_found(victim: Victim, store: Path) -> None:
    """Segments removed or in each other's place are found; an original may lie beside its compressed form."""
    first, second, third, _ = (segment.path for segment in list_segments(store / LOG_DIR))
    one, two, three = (path.read_bytes() for path in (first, second, third))
    for changed in ((two, one, three), (one, three, two), (one, one, three), (one, b"", three)):
        for path, data in zip((first, second, third), changed, strict=True):
            path.write_bytes(data)
        assert not verify_store(store).ok
    for path, data in zip((first, second, third), (one, two, three), strict=True):
        path.unlink()
        assert not verify_store(store).ok
        path.write_bytes(data)
    (store / victim.names[0]).write_bytes(victim.data[0])
    assert verify_store(store).ok
    assert what_is_read(store, victim).keys() == victim.rows.keys()
