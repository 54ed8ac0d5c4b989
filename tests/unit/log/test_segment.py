"""Segments: names, reading lines, and beginning a new one."""

import errno
from pathlib import Path

import pytest
from helpers.logs import Traced
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.errors import IntegrityBroken, StorePoisoned
from intentusnet.log.files import Files, write_all
from intentusnet.log.segment import (
    Segment,
    create_segment,
    iter_lines,
    line_ending_at,
    list_segments,
    segment_first,
    segment_name,
)


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
    """The name of a new segment is synced before it can be written to; none is made twice."""
    files = Traced()
    fd = create_segment(tmp_path, 7, files)
    name = segment_name(7)
    assert files.calls == [f"open {name}", f"fsync_dir {tmp_path.name}"]
    write_all(files, fd, b"one\n")
    write_all(files, fd, b"two\n")
    files.close(fd)
    assert (tmp_path / name).read_bytes() == b"one\ntwo\n"
    with pytest.raises(FileExistsError):
        create_segment(tmp_path, 7)


def test_a_segment_that_cannot_be_synced_poisons(tmp_path: Path) -> None:
    """A failed sync of a new segment's name is a failed sync, and leaves no descriptor behind."""
    closed = []

    class Broken(Files):
        def fsync_dir(self, path: Path) -> None:
            raise OSError(errno.EIO, "input/output error")

        def close(self, fd: int) -> None:
            closed.append(fd)
            super().close(fd)

    with pytest.raises(StorePoisoned, match="unknown"):
        create_segment(tmp_path, 0, Broken())
    assert len(closed) == 1
