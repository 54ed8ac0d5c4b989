"""A portable record proves itself, and a path says what is to be verified."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.drafts import INNER, ONE, OUTER, STORE_ID, TWO, closed, draft

from intentusnet.errors import StoreRefused
from intentusnet.log.entry import format_line, genesis
from intentusnet.log.identity import Identity
from intentusnet.log.portable import verify_portable
from intentusnet.log.verify import VerifyReport, verify_path, verify_store

#: Two executions, one in the other: the first two lines of the outer one are neighbours in the log.
DRAFTS = [OUTER[0], OUTER[1], INNER[0], OUTER[2], closed(*INNER), closed(*OUTER)]


def log() -> list[bytes]:
    lines, chain = [], genesis(STORE_ID)
    for seq, entry in enumerate(DRAFTS):
        line, chain = format_line(entry, seq, 1_700_000_000_000_000, seq - 1, chain)
        lines.append(line)
    return lines


def record(execution: str) -> list[bytes]:
    """The lines of a portable record."""
    return [line for line in log() if execution.encode() in line]


def refused(report: VerifyReport, reason: str) -> bool:
    assert report.first_bad is not None
    assert not report.ok
    return reason in report.first_bad.reason


def test_a_portable_record_verifies() -> None:
    """One execution's lines are enough to show that they are all of it, and as they were written."""
    report = verify_portable(b"".join(record(ONE)), "one.jsonl")
    assert report == VerifyReport(True, 4, 1, None, None, ())


def unproven(line: bytes) -> set[int]:
    """The bytes of a line that only its place in a log could prove: numbers and chain."""
    match = re.fullmatch(rb'{"seq":(\d+),"ts":(\d+),.*,"durable":(-?\d+),.*"chain":"(\w+)","salt".*\n', line)
    assert match is not None
    return {at for group in (1, 2, 3, 4) for at in range(*match.span(group))}


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_every_changed_byte_of_a_portable_record_is_found(mask: int) -> None:
    """What is recorded cannot be changed unseen, nor can the place of a line whose neighbour is there."""
    lines = record(ONE)
    # The second line's chain continues from the first's; the third and fourth have neighbours elsewhere.
    open_to_change = [unproven(lines[0]), set[int](), unproven(lines[2]), unproven(lines[3])]
    for number, line in enumerate(lines):
        for at in set(range(len(line))) - open_to_change[number]:
            changed = line[:at] + bytes([line[at] ^ mask]) + line[at + 1 :]
            record_of = [*lines[:number], changed, *lines[number + 1 :]]
            assert not verify_portable(b"".join(record_of), "one.jsonl").ok, (number, at)


def without(lines: list[bytes], at: int) -> list[bytes]:
    return lines[:at] + lines[at + 1 :]


CHANGES: dict[str, tuple[Callable[[list[bytes], list[bytes]], list[bytes]], str]] = {
    "nothing in it": (lambda one, two: [], "no end"),
    "no first line": (lambda one, two: without(one, 0), "outside of its execution"),
    "no second line": (lambda one, two: without(one, 1), "missing, added"),
    "no last line": (lambda one, two: without(one, 3), "the record has no end"),
    "a line twice": (lambda one, two: [*one[:2], *one[1:]], "out of order"),
    "lines swapped": (lambda one, two: [one[0], one[2], one[1], one[3]], "out of order"),
    "two executions": (lambda one, two: one + two, "another execution"),
    "no newline": (lambda one, two: [*one[:3], one[3][:-1]], "no end"),
    "an empty line": (lambda one, two: [*one[:3], b"\n", one[3]], "template"),
    "neighbours that do not fit": (
        lambda one, two: [one[0], one[1].replace(b'"ts":17', b'"ts":18'), *one[2:]],
        "chain does not continue",
    ),
    "a line that claims too much": (
        lambda one, two: [one[0].replace(b'"durable":-1', b'"durable":9'), *one[1:]],
        "on disk before it",
    ),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_a_portable_record_that_is_not_whole_is_refused(
    change: Callable[[list[bytes], list[bytes]], list[bytes]], reason: str
) -> None:
    """Lines missing, twice, out of order or of another execution are found, each with its reason."""
    lines = change(record(ONE), record(TWO))
    report = verify_portable(b"".join(lines), "one.jsonl")
    assert refused(report, reason)
    assert report.first_bad is not None
    assert report.first_bad.line == report.entries + 1
    assert report.first_bad.offset == sum(map(len, lines[: report.entries]))


def test_an_entry_of_the_store_is_no_part_of_a_record() -> None:
    """A recovery entry alone is no execution."""
    line, _ = format_line(draft("recovery", ""), 0, 0, -1, b"")
    assert refused(verify_portable(line, "one.jsonl"), "another execution")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store whose only segment holds the log."""
    (tmp_path / "store" / "log").mkdir(parents=True)
    (tmp_path / "store" / "store.json").write_bytes(Identity(STORE_ID, 0, {}).encode())
    (tmp_path / "store" / "log" / f"{0:020d}.jsonl").write_bytes(b"".join(log()))
    return tmp_path / "store"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    (tmp_path / "records" / "deep").mkdir(parents=True)
    (tmp_path / "records" / "one.jsonl").write_bytes(b"".join(record(ONE)))
    (tmp_path / "records" / "deep" / "two.jsonl").write_bytes(b"".join(record(TWO)))
    (tmp_path / "records" / "README").write_text("not a record")
    return tmp_path / "records"


def test_a_path_says_what_is_verified(store: Path, records: Path) -> None:
    """A store, its log and a segment mean the store; a file a record; a directory all records below it."""
    whole = verify_store(store)
    for path in (store, store / "log", next((store / "log").iterdir())):
        assert verify_path(path) == whole
    told: list[tuple[int, int]] = []
    assert verify_path(records / "one.jsonl") == VerifyReport(True, 4, 1, None, None, ())
    assert verify_path(records, lambda *done: told.append(done)) == VerifyReport(True, 6, 2, None, None, ())
    assert len(told) == 2 and told[-1][0] == told[-1][1] > told[0][0]


def test_one_bad_record_among_many_is_named(records: Path) -> None:
    """The report of a directory names the file that does not verify, and counts the others."""
    bad = records / "one.jsonl"
    bad.write_bytes(bad.read_bytes()[:-1])
    report = verify_path(records)
    assert refused(report, "no end")
    assert report.first_bad is not None
    assert (report.first_bad.segment, report.entries, report.interrupted) == (str(bad), 5, (ONE,))


@pytest.mark.parametrize("name", ["nothing", "empty", "file/below"])
def test_a_path_with_nothing_to_verify_is_refused(tmp_path: Path, name: str) -> None:
    """Where there is neither store nor record, nothing passes for verified."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreRefused, match="nothing to verify"):
        verify_path(tmp_path / name)
