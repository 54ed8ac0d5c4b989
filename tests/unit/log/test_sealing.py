"""Compressing sealed segments: the log stays the same log, whatever fails, dies or is damaged."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.logs import drafts, files_of, log_of, writer
from helpers.sealing import Died, Kth, Watched, compressed_names, names, read_all, store_of, with_lines

from intentusnet.errors import IntegrityBroken, StoreRefused, StoreWriteFailed
from intentusnet.log.compressed import encode
from intentusnet.log.files import Files
from intentusnet.log.head import HEAD_FILE, read_note
from intentusnet.log.sealing import COMPRESS_LOCK, compress_sealed
from intentusnet.log.segment import LOG_DIR, Segment, iter_lines, list_segments, segment_name


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of three segments of five lines and an open one with two."""
    return store_of(tmp_path, 17)


def test_compressed_segments_are_the_same_log(store: Path) -> None:
    """Every sealed segment is compressed, the last is not, and nothing else has changed."""
    before, sizes = log_of(store, 5), [segment.size() for segment in list_segments(store / LOG_DIR)]
    told: list[tuple[int, int]] = []
    compress_sealed(store, progress=lambda done, total: told.append((done, total)))
    assert names(store) == compressed_names(15)
    segments = list_segments(store / LOG_DIR)
    assert log_of(store, 5) == before
    assert [segment.size() for segment in segments] == sizes
    assert [segment.compressed for segment in segments] == [True, True, True, False]
    for segment in segments:
        segment.check()
        assert segment.stored_size() == segment.path.stat().st_size
    assert told == sorted(told) and told[-1] == (sum(sizes[:3]), sum(sizes[:3]))


def test_there_may_be_nothing_to_compress(store: Path) -> None:
    """A second time changes nothing; nor does a log of one segment, or of none."""
    compress_sealed(store)
    before = files_of(store)
    compress_sealed(store)
    assert files_of(store) == before
    for count in (0, 3):
        other = store_of(store / f"other {count}", count)
        compress_sealed(other)
        assert len(log_of(other)) == count
    with pytest.raises(StoreRefused):
        compress_sealed(store / "none")


def test_the_order_of_the_steps(store: Path) -> None:
    """Bytes are on disk before the name, the name before the original goes; the lock comes before all."""
    calls: list[str] = []
    compress_sealed(store, Watched(calls.append))
    one = ["open", "open", "write", "write", "fsync", "rename", "fsync_dir", "unlink"]
    assert calls == ["open", *one * 3]


def attempt(store: Path, files: Files) -> BaseException | None:
    try:
        compress_sealed(store, files)
    except (StoreWriteFailed, Died) as told:
        return told
    return None


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken"), Died()])
def test_a_fault_at_any_step_leaves_a_good_store(tmp_path: Path, error: BaseException, late: bool) -> None:
    """Whichever call fails, or is the last: the same log, which goes on, and is compressed the next time."""
    for k in range(1, 100):
        store = store_of(tmp_path / str(k), 17)
        before = log_of(store, 5)
        fault = Kth(k, error)
        files = Watched(after=fault) if late else Watched(before=fault)
        told = attempt(store, files)
        if told is None:
            assert fault.left > 0
            break
        if isinstance(told, StoreWriteFailed):
            assert told.got == error.args[1] and "as good as before" in told.message
            assert late or not any(name.endswith(".new") for name in names(store))
        assert log_of(store, 5) == before
        with_lines(store, 4)
        before = log_of(store, 5)
        assert len(before) == 21
        compress_sealed(store)
        assert log_of(store, 5) == before
        assert names(store) == [*compressed_names(), segment_name(15) + ".zst", segment_name(20)]
    assert 20 < k < 99


def test_nothing_is_left_of_what_failed(store: Path) -> None:
    """When the disk is full, what was written until then is removed: it would keep the disk full."""
    with pytest.raises(StoreWriteFailed) as told:
        compress_sealed(store, Watched(Kth(4, OSError(errno.ENOSPC, "full"))))
    assert (told.value.got, told.value.where) == ("full", str(store))
    assert names(store) == [segment_name(first) for first in (0, 5, 10, 15)]


ANOTHER = b"".join(encode([b"another line\n"]))


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda data: bytes(len(data)), id="nothing"),
        pytest.param(lambda data: data[:8] + bytes([data[8] ^ 1]) + data[9:], id="a bit in frame and digest"),
        pytest.param(
            lambda data: data if len(data) > 100 else data[:8] + bytes(32) + data[40:], id="no digest"
        ),
        pytest.param(lambda data: ANOTHER if len(data) > 100 else b"", id="other lines"),
    ],
)
def test_bytes_that_changed_on_their_way_are_noticed(store: Path, lie: Callable[[bytes], bytes]) -> None:
    """The original goes only if file and lines can be read back: not when the device wrote something else."""

    class Lying(Files):
        def write(self, fd: int, data: bytes | memoryview) -> int:
            super().write(fd, lie(bytes(data)))
            return len(data)

    before = files_of(store)
    with pytest.raises((IntegrityBroken, StoreWriteFailed)):
        compress_sealed(store, Lying())
    assert {name: data for name, data in files_of(store).items() if name != COMPRESS_LOCK} == before


def test_the_other_name_works_both_ways(store: Path) -> None:
    """A segment is found under its other name, and missing only if it has neither."""
    plain = list_segments(store / LOG_DIR)[0]
    lines = read_all((plain,))
    compress_sealed(store)
    packed = list_segments(store / LOG_DIR)[0]
    assert read_all((plain,)) == read_all((packed,)) == lines
    packed.path.unlink()
    for segment in (plain, packed):
        for use in (segment.open, segment.size, segment.stored_size, segment.check):
            with pytest.raises(FileNotFoundError) as missing:
                use()
            assert missing.value.filename == str(segment.path)
    plain.path.write_bytes(b"".join(line + b"\n" for line in lines))
    assert read_all((plain,)) == read_all((packed,)) == lines


def test_of_two_forms_the_original_counts(store: Path) -> None:
    """While both forms lie there the original is read, and the next compression makes the other anew."""
    before = log_of(store, 5)
    target = store / LOG_DIR / (segment_name(0) + ".zst")
    target.write_bytes(b"anything")
    target.with_name(target.name + ".new").write_bytes(b"anything" * 1000)
    assert log_of(store, 5) == before
    compress_sealed(store)
    assert names(store) == compressed_names(15)
    assert log_of(store, 5) == before
    # What is unfinished is no segment, not even where there is no other file of it.
    target.rename(target.with_name(target.name + ".new"))
    assert [segment.first for segment in list_segments(store / LOG_DIR)] == [5, 10, 15]


def test_the_log_goes_on(store: Path) -> None:
    """Writers go on behind compressed segments, with the head note in one of them, and without a note."""
    log = writer(store, max_entries=5)
    log.append(drafts(3), durability="disk")
    assert log.roll()
    log.close()
    note = read_note(store)
    assert note is not None and note.segment == segment_name(15)
    compress_sealed(store)
    assert names(store) == [*compressed_names(), segment_name(15) + ".zst", segment_name(20)]
    with_lines(store, 2)
    assert len(log_of(store, 5)) == 22
    (store / HEAD_FILE).unlink()
    with_lines(store, 2)
    assert len(log_of(store, 5)) == 24


def test_a_log_that_ends_with_a_compressed_segment_is_refused(store: Path) -> None:
    """Nothing is written behind a compressed segment that was not followed: what followed is gone."""
    compress_sealed(store)
    (store / LOG_DIR / segment_name(15)).unlink()
    (store / HEAD_FILE).unlink()
    before = files_of(store / LOG_DIR)
    with pytest.raises(IntegrityBroken, match="the last segment is gone"):
        with_lines(store, 1)
    assert files_of(store / LOG_DIR) == before


def change(path: Path, at: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_damage_is_not_sealed_in(store: Path) -> None:
    """A segment with a changed byte, with a line too few or a cut one, is left as it is; it is told where."""
    path = store / LOG_DIR / segment_name(5)
    good = path.read_bytes()
    offsets = [offset for offset, _ in iter_lines(Segment(5, path))]
    for bad, where in (
        (good[: offsets[2] + 30] + b"x" + good[offsets[2] + 31 :], f"line 3 (seq 7, offset {offsets[2]})"),
        (good[: offsets[4]], f"line 5 (seq 9, offset {offsets[4]})"),
        (good[:-1], f"line 5 (seq 9, offset {offsets[4]})"),
        (good + good[offsets[4] :], f"line 6 (seq 10, offset {len(good)})"),
        (b"", "line 1 (seq 5, offset 0)"),
    ):
        path.write_bytes(bad)
        with pytest.raises(IntegrityBroken) as told:
            compress_sealed(store)
        assert told.value.where == f"{path}, {where}"
        assert (told.value.message == "a line has no end") == (bad == good[:-1])
        assert names(store) == [segment_name(0) + ".zst", *(segment_name(first) for first in (5, 10, 15))]
        assert path.read_bytes() == bad
    path.write_bytes(good)
    compress_sealed(store)
    assert len(log_of(store, 5)) == 17


def test_a_segment_is_tied_to_the_one_before(store: Path) -> None:
    """The chain is checked over the border of segments, also from the one before when that is damaged."""
    compress_sealed(store)
    with_lines(store, 4)
    path = store / LOG_DIR / compressed_names()[2]
    good = path.read_bytes()
    change(path, len(good) // 2)
    with pytest.raises(IntegrityBroken):
        compress_sealed(store)
    path.write_bytes((store / LOG_DIR / compressed_names()[1]).read_bytes())
    with pytest.raises(IntegrityBroken) as told:
        compress_sealed(store)
    assert (told.value.expected, told.value.got) == ("seq 14", "seq 9")
    path.write_bytes(good)
    compress_sealed(store)
    assert len(log_of(store, 5)) == 21
