"""The head note: what it looks like, and what is not taken for one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.log.head import HEAD_FILE, SECTOR_BYTES, HeadNote, read_note
from intentusnet.log.segment import segment_name

NOTE = HeadNote("ab" * 32, 1234, segment_name(0), 7)

notes = st.builds(
    lambda chain, offset, first, more: HeadNote(chain.hex(), offset, segment_name(first), first + more),
    st.binary(min_size=32, max_size=32),
    st.integers(1, 10**19 - 1),
    st.integers(0, 10**18),
    st.integers(0, 10**6),
)


@given(notes)
def test_a_note_is_one_sector_and_reads_back(note: HeadNote) -> None:
    """Every note takes exactly one sector and is read as what was written."""
    data = note.encode()
    assert len(data) == SECTOR_BYTES and data.endswith(b"\n")
    assert HeadNote.decode(data) == note
    assert note.first <= note.seq


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(SECTOR_BYTES),
        NOTE.encode()[:-1],
        NOTE.encode() + b"\n",
        NOTE.encode().replace(b"ab", b"AB", 1),
        NOTE.encode().replace(b'"seq":7', b'"seq":x'),
        NOTE.encode().replace(b"1234", b"0123"),
        HeadNote("ab" * 32, 1, segment_name(9), 8).encode(),
    ],
    ids=["empty", "zeros", "short", "long", "capitals", "no number", "leading zero", "before its segment"],
)
def test_what_is_no_note_is_none(tmp_path: Path, data: bytes) -> None:
    """Torn, zeroed, padded otherwise or impossible: no note, and no error."""
    (tmp_path / HEAD_FILE).write_bytes(data)
    assert HeadNote.decode(data) is None
    assert read_note(tmp_path) is None


def test_a_note_is_read_from_its_directory(tmp_path: Path) -> None:
    """read_note finds the note; a missing one is none."""
    assert read_note(tmp_path) is None
    (tmp_path / HEAD_FILE).write_bytes(NOTE.encode())
    assert read_note(tmp_path) == NOTE
