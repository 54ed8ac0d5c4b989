"""Whatever is changed in a log behind the store's back: what is said of it, and by whom.

The verifier finds every change to what was on disk and names its place. Readers give back what was written,
or nothing. Opening for writing looks at the log from its last acknowledged line on: damage there is refused,
a torn end is put aside, and what lies before is left as it is, for the verifier.
"""

import hashlib
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from random import Random

import pytest
from crash.forging import NOTED, chain_is_valid, forgeries
from crash.victims import (
    ACKNOWLEDGED,
    FINE,
    Finding,
    Victim,
    common_prefix,
    line_changes,
    opened,
    place_of,
    sectors,
    split,
    what_is_read,
)
from helpers import executions as made
from helpers.logs import files_of

from intentusnet.log.files import LOCK_FILE
from intentusnet.log.head import HEAD_FILE, HeadNote, read_note
from intentusnet.log.segment import QUARANTINE_DIR
from intentusnet.log.verify import verify_store

MASKS = (0x01, 0x20, 0x80)
SEGMENTS = pytest.mark.parametrize("segment", range(3), ids=["first", "middle", "tail"])
#: How many changes of each kind are read and opened in the short form, on each segment.
SAMPLE = 14

_DURABLE = re.compile(rb',"durable":(-?[0-9]+),"commit":"')


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return Victim.make(tmp_path_factory.mktemp("victim") / "store")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """Another store with the same workload."""
    return Victim.make(tmp_path_factory.mktemp("other") / "store")


def changed_bytes(data: bytes, turn: int | None = None) -> Iterator[tuple[str, bytes]]:
    """Every byte changed by every mask, or by one of them in turn."""
    for at in range(len(data)):
        for mask in MASKS if turn is None else [MASKS[(at + turn) % len(MASKS)]]:
            yield f"byte {at} xor {mask:#x}", data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def other_lengths(data: bytes) -> Iterator[tuple[str, bytes]]:
    for size in range(len(data)):
        yield f"cut to {size}", data[:size]
    for tail in (b"\n", bytes(512), b"{}\n"):
        yield f"{tail[:3]!r} appended", data + tail


def changed_sectors(data: bytes) -> Iterator[tuple[str, bytes]]:
    for at, changed in sectors(data):
        yield f"sector at {at} zeroed", changed


def all_changes(victim: Victim, other: Victim, segment: int) -> list[list[tuple[str, bytes]]]:
    """Everything that these tests do to one segment, by its kind."""
    data = victim.data[segment]
    lines = line_changes(victim.segments[segment], other.segments[segment])
    return [list(kind) for kind in (changed_bytes(data), other_lengths(data), changed_sectors(data), lines)]


def may_be_refused(victim: Victim, segment: int, expected: Finding, changed: bytes) -> bool:
    """Whether damage to what nobody was told of may be taken for more: the claims of what is on disk grew."""
    if expected.verdict != "torn":
        return False
    before = b"".join(victim.segments[segment][: expected.line - 1])
    claims = [int(found) for found in _DURABLE.findall(changed[len(before) :])]
    return max(claims, default=-1) >= victim.first(segment) + expected.line - 1


def test_the_victim_is_in_order(victim: Victim, tmp_path: Path) -> None:
    """Untouched, everything in it verifies, is read in every way, and goes on."""
    assert victim.found(victim.data, victim.note) == FINE
    assert chain_is_valid(victim, victim.lines)
    for index in (False, True):
        store = victim.put(tmp_path / str(index), victim.data, index=index)
        assert what_is_read(store, victim).keys() == victim.rows.keys()
        assert verify_store(store).interrupted == (made.id_of(6),)
    assert opened(store) == range(26, 27)


@SEGMENTS
def test_every_changed_byte_is_found_at_its_line(
    victim: Victim, segment: int, torture: bool, seed: int
) -> None:
    """Whichever byte is changed, the verifier names its line, and says whether it was on disk.

    By each of the masks in the long form, by one of them in the short one.
    """
    for what, changed in changed_bytes(victim.data[segment], None if torture else seed):
        expected = victim.expected(segment, changed)
        found = victim.found(victim.with_segment(segment, changed), victim.note)
        if may_be_refused(victim, segment, expected, changed):
            assert (found.verdict, found.line) == ("broken", expected.line), what
        else:
            assert found == expected and expected != FINE, what


@SEGMENTS
def test_every_other_length_is_found(victim: Victim, segment: int) -> None:
    """Wherever a segment ends too soon, or has more at its end, the verifier says so.

    What nobody was told is on disk may be missing, line by line.
    """
    fine = 0
    for what, changed in other_lengths(victim.data[segment]):
        found = victim.found(victim.with_segment(segment, changed), victim.note)
        assert found == victim.expected(segment, changed), what
        fine += found == FINE
    assert fine == (3 if segment == 2 else 0)


@SEGMENTS
def test_every_zeroed_sector_is_found(victim: Victim, segment: int) -> None:
    """A sector of zeros is found at the line in which it begins."""
    for what, changed in changed_sectors(victim.data[segment]):
        found = victim.found(victim.with_segment(segment, changed), victim.note)
        assert found == victim.expected(segment, changed) != FINE, what


@SEGMENTS
def test_lines_in_other_places_are_found(victim: Victim, other: Victim, segment: int) -> None:
    """Lines removed, repeated, emptied, swapped or taken from another store are found at the first of them.

    The last line that nobody was told is on disk may be missing.
    """
    for what, changed in line_changes(victim.segments[segment], other.segments[segment]):
        found = victim.found(victim.with_segment(segment, changed), victim.note)
        assert found == victim.expected(segment, changed), what
        assert found != FINE or (segment, what) == (2, "line 8 removed"), what


def test_lines_moved_between_segments_are_found(victim: Victim) -> None:
    """Segments in each other's place, missing, empty, or with a line of the next, do not verify."""
    first, middle, tail = victim.data
    line = victim.segments[1][0]
    for segments, place in (
        ([middle, first, tail], (0, 1)),
        ([first, tail, middle], (1, 1)),
        ([first, first, tail], (1, 1)),
        ([b"", middle, tail], (1, 1)),
        ([first, b"", tail], (2, 1)),
        ([first, middle, b""], (2, 1)),
        ([first + line, middle[len(line) :], tail], (1, 1)),
        ([first + line, middle, tail], (1, 1)),
        ([first + middle, b"", tail], (1, 1)),
    ):
        found = victim.found(segments, victim.note)
        assert (found.verdict, found.segment, found.line) == ("broken", *place)


def test_every_forged_line_is_found(victim: Victim) -> None:
    """A line made anew, with as many of its hashes as one likes, does not fit the next line or the head note.

    Only the very last line can be replaced, and only while nobody was told that it is on disk.
    """
    unnoticed = []
    for what, lines, seq in forgeries(victim):
        found = victim.found(split(lines), victim.note)
        if seq is None:
            assert found == FINE and chain_is_valid(victim, lines), what
            unnoticed.append(what)
        else:
            assert (found.segment, found.line) == place_of(seq), what
            assert found.verdict == "broken" or seq >= ACKNOWLEDGED, what
    assert unnoticed and all(what.endswith(" 25") for what in unnoticed)


def test_every_changed_byte_of_the_head_note_is_found_or_harmless(victim: Victim, tmp_path: Path) -> None:
    """A head note that no longer can be read claims nothing, and one that tells of another line is found."""
    verdicts = set()
    for _, data in chain(changed_bytes(victim.files[HEAD_FILE]), other_lengths(victim.files[HEAD_FILE])):
        note = HeadNote.decode(data)
        if note is not None:
            found = victim.found(victim.data, note)
            assert found.verdict == "broken" or note == victim.note
            verdicts.add(found.verdict)
    assert verdicts == {"broken"}
    store = victim.put(tmp_path, victim.data)
    for data in (b"", b"x" * 512, victim.files[HEAD_FILE][:-1]):
        (store / HEAD_FILE).write_bytes(data)
        assert read_note(store) is None
        assert verify_store(store).ok
        assert what_is_read(store, victim).keys() == victim.rows.keys()


@SEGMENTS
def test_what_writers_and_readers_make_of_it(
    victim: Victim, other: Victim, segment: int, tmp_path: Path, torture: bool, seed: int
) -> None:
    """Damage is never read as an execution, and never written behind as if it were not there.

    On real files, with an index that was made before, and without one.
    """
    kinds, random = all_changes(victim, other, segment), Random(seed)
    if not torture:
        kinds = [random.sample(changes, min(SAMPLE, len(changes))) for changes in kinds]
    for what, changed in chain(*kinds):
        expected = victim.expected(segment, changed)
        segments = victim.with_segment(segment, changed)
        gone = None
        if segment == 2 and expected.verdict != "broken":
            kept = common_prefix(victim.data[2], changed)
            gone = victim.first(2) + kept.count(b"\n")
        for index in (True, False):
            store = victim.put(tmp_path, segments, index=index)
            what_is_read(store, victim, gone)
        report = verify_store(store)
        if not may_be_refused(victim, segment, expected, changed):
            assert victim.finding(report) == expected, what
        before = files_of(store)
        seqs = opened(store)
        if seqs is None:
            assert files_of(store) == before, what
            assert expected.verdict == "broken" or may_be_refused(victim, segment, expected, changed), what
        elif expected.verdict == "broken":
            # Opening looks no further back than to the last line that was on disk.
            assert (expected.segment, expected.line) < place_of(NOTED), what
            assert victim.finding(verify_store(store)) == expected, what
        else:
            after = verify_store(store)
            assert after.ok, what
            assert {e.seq for es in what_is_read(store, victim, gone).values() for e in es} >= {
                *range(ACKNOWLEDGED)
            }
            if expected.verdict == "torn":
                assert_put_aside(store, torn_bytes(victim, segment, expected, changed), seqs)
        clear(store)


def test_without_its_head_note_the_log_itself_tells_what_was_on_disk(victim: Victim, tmp_path: Path) -> None:
    """Damage to a line that a later line says was on disk is refused, be the head note gone."""
    tail, start = victim.data[2], 0
    for number, line in enumerate(victim.segments[2], 1):
        for at in (start, start + len(line) // 2, start + len(line) - 2):
            changed = tail[:at] + bytes([tail[at] ^ 1]) + tail[at + 1 :]
            store = victim.put(tmp_path, victim.with_segment(2, changed))
            (store / HEAD_FILE).unlink()
            verdict = "torn" if victim.first(2) + number > ACKNOWLEDGED else "broken"
            assert victim.finding(verify_store(store)) == Finding(verdict, 2, number)
            assert (opened(store) is None) is (verdict == "broken")
            clear(store)
        start += len(line)


def torn_bytes(victim: Victim, segment: int, expected: Finding, changed: bytes) -> bytes:
    """What lies from the first bad line on."""
    return changed[len(b"".join(victim.segments[segment][: expected.line - 1])) :]


def assert_put_aside(store: Path, torn: bytes, seqs: range) -> None:
    """The quarantine has exactly these bytes, and the entry before those seqs tells of them."""
    [kept] = (store / QUARANTINE_DIR).iterdir()
    assert kept.read_bytes() == torn
    assert kept.name == f"{seqs[0] - 1}-{hashlib.sha256(torn).hexdigest()[:16]}.torn"


def clear(store: Path) -> None:
    """Takes away what an append has left beside the log."""
    (store / LOCK_FILE).unlink(missing_ok=True)
    for path in store.glob(f"{QUARANTINE_DIR}/*"):
        path.unlink()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"execution":"00000006-', b'"execution":"00000009-'),
        (b'{"seq":22,"ts":17', b'{"seq":22,"ts":16'),
        (b'{"seq":0,"ts":17', b'{"seq":0,"ts":16'),
    ],
    ids=["id of an interrupted execution", "its time", "time of a closed one"],
)
def test_readers_check_what_the_chain_alone_covers(
    victim: Victim, tmp_path: Path, old: bytes, new: bytes
) -> None:
    """Id and time of an execution are as they were written, whatever the index knew before."""
    segments = [data.replace(old, new, 1) for data in victim.data]
    assert segments != victim.data
    what_is_read(victim.put(tmp_path, segments, index=True), victim)
