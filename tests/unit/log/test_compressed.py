"""The compressed form of a segment: any decompressor reads it, at any place, and every byte counts."""

import contextlib
import io
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.errors import IntegrityBroken, StoreWriteFailed
from intentusnet.log import compressed
from intentusnet.log.compressed import (
    FRAME_BYTES,
    MAX_FRAME_BYTES,
    check,
    encode,
    lines_size,
    open_compressed,
)
from intentusnet.log.zstd import compress, decompress

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SKIPPABLE, TABLE_MAGIC, FOOTER_MAGIC = 0x184D2A5D, 0x184D2A5E, 0x8F92EAB1
#: Sizes around what makes a frame, and around what cuts a line.
SIZES = [
    *(0, 1, 500, FRAME_BYTES - 2, FRAME_BYTES - 1, FRAME_BYTES),
    *(MAX_FRAME_BYTES - 2, MAX_FRAME_BYTES - 1, MAX_FRAME_BYTES, 2 * MAX_FRAME_BYTES + 5),
]
lines = st.lists(
    st.builds(
        lambda fill, size: fill * size + b"\n",
        st.sampled_from([b"a", b"\0", b"\xff"]),
        st.sampled_from(SIZES),
    ),
    max_size=8,
)
SMALL = [b"%06d" % number * 9_000 + b"\n" for number in range(8)]


def written(path: Path, of: list[bytes]) -> Path:
    path.write_bytes(b"".join(encode(of)))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file of three frames, which is not large."""
    path = written(tmp_path / "small.zst", SMALL)
    assert len(frames(path.read_bytes())) == 3 and path.stat().st_size < 2000
    return path


def frames(data: bytes) -> list[tuple[int, int]]:
    """The sizes of the data frames, read as the format's specification says."""
    count, descriptor, magic = struct.unpack("<IBI", data[-9:])
    assert (descriptor, magic) == (0, FOOTER_MAGIC)
    table = data[-9 - 8 * count - 8 :]
    assert struct.unpack("<II", table[:8]) == (TABLE_MAGIC, len(table) - 8)
    sizes = list(struct.iter_unpack("<II", table[8:-9]))
    assert sum(size for size, _ in sizes) == len(data) - len(table)
    assert sizes[-1] == (40, 0)
    return sizes[:-1]


def forged(sizes: list[tuple[int, int]], data: bytes = b"", *, count: int | None = None) -> bytes:
    """A file with any frames and any table, whose digest is right."""
    sizes = [*sizes, (40, 0)]
    table = b"".join(struct.pack("<II", *pair) for pair in sizes)
    table = struct.pack("<II", TABLE_MAGIC, len(table) + 9) + table
    table += struct.pack("<IBI", len(sizes) if count is None else count, 0, FOOTER_MAGIC)
    before = data + struct.pack("<II", SKIPPABLE, 32)
    return before + compressed.sha256(before + table).digest() + table


@given(lines)
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, of: list[bytes]) -> None:
    """Reader and foreign decompressor give the lines byte for byte; the digest is right, the size is told."""
    path = written(tmp_path_factory.mktemp("law") / "a.zst", of)
    check(path)
    with open_compressed(path) as file:
        assert list(file) == of
    assert lines_size(path) == len(b"".join(of))
    assert zstd.decompress(path.read_bytes()) == b"".join(of)
    with zstd.open(path) as foreign:
        assert foreign.read() == b"".join(of)


@given(lines, st.data())
def test_any_place_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, of: list[bytes], data: st.DataObject
) -> None:
    """What is read from any place is that slice of the lines, wherever the reader has been before."""
    whole = b"".join(of)
    place = st.integers(0, len(whole) + 10)
    with open_compressed(written(tmp_path_factory.mktemp("law") / "a.zst", of)) as file:
        for _ in range(5):
            start, size = data.draw(place), data.draw(st.one_of(st.integers(0, 300), place))
            assert file.seek(start) == start
            assert file.read(size) == whole[start : start + size]
            assert file.tell() == max(start, min(start + size, len(whole)))
            file.seek(start)
            assert file.readline() == io.BytesIO(whole[start:]).readline()
        assert file.seek(0, os.SEEK_END) == len(whole)
        assert file.seek(-len(whole), os.SEEK_CUR) == 0


def test_seeking_before_the_beginning_is_refused(small: Path) -> None:
    """A negative position is a ValueError, as with other files."""
    with open_compressed(small) as file, pytest.raises(ValueError, match="negative"):
        file.seek(-1, os.SEEK_CUR)


@given(lines)
def test_frames_end_with_lines_and_are_bounded(of: list[bytes]) -> None:
    """Each frame is a whole number of lines, about 128 KiB of them, but for lines that are cut at 1 MiB."""
    data = b"".join(encode(of))
    whole, at = b"".join(of), 0
    for _, size in frames(data):
        assert 0 < size <= MAX_FRAME_BYTES
        at += size
        assert size == MAX_FRAME_BYTES or whole[at - 1 : at] == b"\n"
        assert (
            at == len(whole) or size >= FRAME_BYTES or of != [line for line in of if len(line) < FRAME_BYTES]
        )
    assert at == len(whole)


def test_one_line_costs_one_frame(small: Path) -> None:
    """Reading a line in the last frame does not touch the first, not even if it is damaged."""
    data = bytearray(small.read_bytes())
    data[10] ^= 0xFF
    small.write_bytes(data)
    with open_compressed(small) as file:
        file.seek(len(b"".join(SMALL[:7])))
        assert file.readline() == SMALL[7]
        file.seek(0)
        with pytest.raises(IntegrityBroken):
            file.readline()


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_byte_counts(small: Path, mask: int) -> None:
    """Whichever byte is changed, `check` refuses; and no reading ever gives other lines."""
    data = small.read_bytes()
    for at in range(len(data)):
        small.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
        with pytest.raises(IntegrityBroken):
            check(small)
        assert_same_or_broken(small)


def test_every_truncation_is_seen(small: Path) -> None:
    """A file that was cut anywhere, or has bytes more, is refused by check, open and size."""
    data = small.read_bytes()
    for cut in (*(data[:size] for size in range(len(data))), data + b"\0", data[1:], data + data):
        small.write_bytes(cut)
        for use in (check, open_compressed, lines_size):
            with pytest.raises(IntegrityBroken) as refused:
                use(small)
            assert refused.value.where == str(small)


def assert_same_or_broken(path: Path) -> None:
    with contextlib.suppress(IntegrityBroken), open_compressed(path) as file:
        assert file.read() == b"".join(SMALL)


FRAME = compress(b"x" * 100)
BOMB = compress(bytes(64 << 20))


@pytest.mark.parametrize(
    ("sizes", "data"),
    [
        pytest.param([(len(FRAME), 99)], FRAME, id="more in the frame than the table says"),
        pytest.param([(len(FRAME), 101)], FRAME, id="less in the frame"),
        pytest.param([(len(BOMB), 100)], BOMB, id="far more in the frame"),
        pytest.param([(len(FRAME) + 8, 100)], FRAME + struct.pack("<II", SKIPPABLE, 0), id="hidden frame"),
        pytest.param([(2 * len(FRAME), 200)], FRAME * 2, id="two frames in one"),
        pytest.param([(len(FRAME) - 1, 100)], FRAME[:-1], id="cut frame"),
        pytest.param([(4, 100)], b"what", id="no frame"),
    ],
)
def test_a_frame_that_is_not_what_the_table_says(
    tmp_path: Path, sizes: list[tuple[int, int]], data: bytes
) -> None:
    """Reading such a frame is refused with its place, though the file's digest is right."""
    path = tmp_path / "a.zst"
    path.write_bytes(forged(sizes, data))
    check(path)
    with open_compressed(path) as file, pytest.raises(IntegrityBroken) as refused:
        file.read()
    assert refused.value.where == f"{path}, frame 1, byte 0"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(forged([(len(BOMB), 64 << 20)], BOMB), id="a frame of 64 MiB"),
        pytest.param(forged([(3 << 20, 100)], bytes(3 << 20)), id="a frame that takes 3 MiB"),
        pytest.param(forged([(len(FRAME), 0)], FRAME), id="a frame of nothing"),
        pytest.param(forged([(len(FRAME), 100)], FRAME, count=0xFFFFFFFF), id="a table of 32 GiB"),
        pytest.param(forged([(len(FRAME), 100)], FRAME, count=1), id="another count"),
        pytest.param(forged([], b"", count=0), id="no frames"),
        pytest.param(forged([(len(FRAME), 100)], FRAME + b"x"), id="a byte between the frames"),
        pytest.param(FRAME, id="no table"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_an_impossible_table_is_refused(tmp_path: Path, data: bytes) -> None:
    """What the table claims is checked against the file before anything is decompressed or allocated."""
    path = tmp_path / "a.zst"
    path.write_bytes(data)
    for use in (open_compressed, lines_size, check):
        with pytest.raises(IntegrityBroken):
            use(path)


def test_a_bomb_takes_no_memory() -> None:
    """A frame that decompresses to 1 GiB, where less is expected, is refused in a few MiB of memory."""
    code = """
import resource, sys
if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd
from intentusnet.errors import IntegrityBroken
from intentusnet.log.zstd import decompress
maker = zstd.ZstdCompressor()
bomb = b"".join(maker.compress(bytes(1 << 20)) for _ in range(1024)) + maker.flush()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for size in (100, 1 << 20):
    try:
        decompress(bomb, size)
    except IntegrityBroken:
        pass
    else:
        raise SystemExit("not refused")
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_too_many_frames_are_refused(monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    """Neither written nor read is a file of more frames than a reader would have to hold."""
    monkeypatch.setattr(compressed, "MAX_FRAMES", 3)
    with pytest.raises(StoreWriteFailed):
        list(encode(SMALL))
    with pytest.raises(IntegrityBroken):
        open_compressed(small)
    monkeypatch.setattr(compressed, "MAX_FRAMES", 4)
    assert b"".join(encode(SMALL)) == small.read_bytes()
    check(small)


def test_the_page_tells_how_to_check(small: Path) -> None:
    """The program in docs/record-format.md finds a compressed segment intact, and each changed byte of it."""
    page = (Path(__file__).parents[3] / "docs/record-format.md").read_text("utf-8")
    program = re.search(r"### Compressed segments.*?```py\n(.*?)```", page, re.DOTALL)
    assert program is not None
    names: dict[str, Any] = {}
    exec(program[1], names)  # noqa: S102 - the page's own program, as its readers would run it
    data = small.read_bytes()
    assert names["intact"](data)
    for at in range(len(data)):
        assert not names["intact"](data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])


def test_missing_files_are_missing(tmp_path: Path) -> None:
    """A file that is not there is a FileNotFoundError, by which a segment's other name is found."""
    for use in (open_compressed, lines_size, check):
        with pytest.raises(FileNotFoundError):
            use(tmp_path / "none.zst")


def test_a_frame_on_its_own() -> None:
    """A frame comes back with its size, and has a checksum of its own."""
    for data in (b"", b"x", bytes(3 << 20)):
        assert decompress(compress(data), len(data)) == data
    assert zstd.get_frame_info(compress(b"abc")).decompressed_size == 3
    frame = bytearray(compress(os.urandom(5000)))
    frame[2000] ^= 1
    with pytest.raises(IntegrityBroken, match="damaged"):
        decompress(bytes(frame), 5000)
    with pytest.raises(IntegrityBroken, match="damaged"):
        decompress(compress(b"abc"), 2**40)
