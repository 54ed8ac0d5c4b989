"""Segments: names, reading lines, the calls that change a store, and the lock."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.errors import IntegrityBroken, StorePoisoned
from intentusnet.log.segment import (
    FILES,
    Files,
    Segment,
    create_segment,
    iter_lines,
    line_ending_at,
    list_segments,
    lock_file,
    make_dir,
    must_sync,
    segment_first,
    segment_name,
    unlock_file,
    write_all,
)


class Traced(Files):
    """Notes the calls that were made, by name."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def open(self, path: Path | str, flags: int) -> int:
        self.calls.append(f"open {Path(path).name}")
        return super().open(path, flags)

    def fsync(self, fd: int) -> None:
        self.calls.append("fsync")
        super().fsync(fd)

    def fsync_dir(self, path: Path) -> None:
        self.calls.append(f"fsync_dir {path.name}")
        super().fsync_dir(path)


@given(st.integers(0, 10**20 - 1), st.integers(0, 10**20 - 1))
def test_names_sort_as_their_numbers_do(one: int, other: int) -> None:
    """A segment's name tells its first seq, and directory order is log order."""
    assert segment_first(segment_name(one)) == one
    assert (segment_name(one) < segment_name(other)) == (one < other)


@pytest.mark.parametrize(
    "name", ["", "1.jsonl", "00000000000000000000.jsonl.zst", "0000000000000000000x.jsonl"]
)
def test_other_names_are_no_segments(name: str) -> None:
    """Only twenty digits and the ending make a segment's name."""
    assert segment_first(name) is None


def test_segments_are_listed_in_order(tmp_path: Path) -> None:
    """The listing is sorted, empty for a missing directory, and refuses a file that is no segment."""
    assert list_segments(tmp_path / "none") == ()
    for first in (70, 0, 9):
        (tmp_path / segment_name(first)).touch()
    assert [segment.first for segment in list_segments(tmp_path)] == [0, 9, 70]
    (tmp_path / "notes.txt").touch()
    with pytest.raises(IntegrityBroken, match=r"notes\.txt"):
        list_segments(tmp_path)


lines_of_bytes = st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")), max_size=8)


@given(lines=lines_of_bytes, rest=st.binary(max_size=9).map(lambda data: data.replace(b"\n", b"")))
def test_complete_lines_are_read_with_their_offsets(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], rest: bytes
) -> None:
    """Forward from every line and backward to every line, one finds what was written, and no half line."""
    path = tmp_path_factory.mktemp("lines") / "file"
    path.write_bytes(b"".join(line + b"\n" for line in lines) + rest)
    expected, offset = [], 0
    for line in lines:
        expected.append((offset, line))
        offset += len(line) + 1
    assert list(iter_lines(Segment(0, path))) == expected
    for number, (at, line) in enumerate(expected):
        assert list(iter_lines(Segment(0, path), at)) == expected[number:]
        assert line_ending_at(Segment(0, path), at + len(line) + 1) == (at, line)
    ends = {at + len(line) + 1 for at, line in expected}
    for end in set(range(offset + len(rest) + 3)) - ends:
        assert line_ending_at(Segment(0, path), end) is None


@pytest.mark.parametrize("size", [8_191, 8_192, 8_193, 24_576, 3_000_000])
def test_a_line_may_be_larger_than_any_buffer(tmp_path: Path, size: int) -> None:
    """Lines around and above the sizes of the reads come back whole, in both directions."""
    path, large = tmp_path / "file", b"x" * size
    path.write_bytes(b"a\n" + large + b"\nb\n")
    assert list(iter_lines(Segment(0, path))) == [(0, b"a"), (2, large), (size + 3, b"b")]
    assert line_ending_at(Segment(0, path), size + 3) == (2, large)
    path.write_bytes(large + b"\n")
    assert line_ending_at(Segment(0, path), size + 1) == (0, large)


def test_a_segment_is_there_after_a_crash(tmp_path: Path) -> None:
    """A new segment is synced, and then its name, before it can be written to; none is made twice."""
    files = Traced()
    fd = create_segment(tmp_path, 7, files)
    name = segment_name(7)
    assert files.calls == [f"open {name}", "fsync", f"fsync_dir {tmp_path.name}"]
    write_all(files, fd, b"one\n")
    write_all(files, fd, b"two\n")
    files.close(fd)
    assert (tmp_path / name).read_bytes() == b"one\ntwo\n"
    with pytest.raises(FileExistsError):
        create_segment(tmp_path, 7)


def test_a_segment_that_cannot_be_synced_poisons(tmp_path: Path) -> None:
    """A failed sync of a new segment is a failed sync, and leaves no descriptor behind."""
    closed = []

    class Broken(Files):
        def fsync(self, fd: int) -> None:
            raise OSError(errno.EIO, "input/output error")

        def close(self, fd: int) -> None:
            closed.append(fd)
            super().close(fd)

    with pytest.raises(StorePoisoned, match="unknown"):
        create_segment(tmp_path, 0, Broken())
    assert len(closed) == 1


def test_a_directory_is_made_once_and_its_name_is_synced(tmp_path: Path) -> None:
    """Making a directory that exists does nothing."""
    files = Traced()
    make_dir(tmp_path / "log", files)
    make_dir(tmp_path / "log", files)
    assert files.calls == [f"fsync_dir {tmp_path.name}"]
    assert (tmp_path / "log").is_dir()


def test_a_short_write_is_gone_on_with(tmp_path: Path) -> None:
    """Every byte is written, whatever the system takes at a time; taking nothing is an error."""

    class Sipping(Files):
        def __init__(self) -> None:
            self.left = 100

        def write(self, fd: int, data: bytes | memoryview) -> int:
            take = min(3, len(data), self.left)
            self.left -= take
            return super().write(fd, data[:take])

    fd = FILES.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        write_all(Sipping(), fd, bytes(range(50)))
        assert (tmp_path / "file").read_bytes() == bytes(range(50))
        with pytest.raises(OSError, match="took 100 of 120 bytes"):
            write_all(Sipping(), fd, bytes(120))
    finally:
        FILES.close(fd)


def test_a_failed_sync_is_called_what_it_is() -> None:
    """must_sync turns the system's error into one that says that the outcome is unknown."""

    def fail() -> None:
        raise OSError(errno.EIO, "gone")

    with pytest.raises(StorePoisoned, match="gone"):
        must_sync(fail, "somewhere")


def test_the_calls_do_what_they_say(tmp_path: Path) -> None:
    """Positioned writes, cutting, syncing and removing act on the real file."""
    path = tmp_path / "file"
    fd = FILES.open(path, os.O_RDWR | os.O_CREAT)
    assert FILES.pwrite(fd, b"abcdef", 2) == 6
    FILES.truncate(fd, 5)
    FILES.fdatasync(fd)
    FILES.fsync(fd)
    FILES.fsync_dir(tmp_path)
    FILES.close(fd)
    assert path.read_bytes() == b"\0\0abc"
    FILES.unlink(path)
    assert not path.exists()


TRY_LOCK = """
import fcntl, sys
with open(sys.argv[1]) as file:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("held")
    else:
        print("free")
"""


def test_the_lock_keeps_other_processes_out(tmp_path: Path) -> None:
    """Between lock and unlock no other process gets it, and unlocking twice does no harm."""

    def seen_from_outside() -> str:
        command = [sys.executable, "-c", TRY_LOCK, str(tmp_path / "lock")]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()

    fd = FILES.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    lock_file(fd)
    assert seen_from_outside() == "held"
    unlock_file(fd)
    unlock_file(fd)
    assert seen_from_outside() == "free"
    FILES.close(fd)
