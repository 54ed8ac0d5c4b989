"""The verifier finds every change to a log, names its place, and changes nothing itself."""

import shutil
import threading
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from helpers.drafts import INNER, ONE, OUTER, STORE_ID, closed, draft
from helpers.stores import segments

from intentusnet.errors import IntegrityBroken, StoreRefused
from intentusnet.ids import ManualClock
from intentusnet.log import marks, walk
from intentusnet.log.entry import Draft, check_line, format_line, genesis, parse_line
from intentusnet.log.head import HeadNote
from intentusnet.log.identity import Identity
from intentusnet.log.verify import VerifyReport, verify_store
from intentusnet.log.writer import LogWriter

MASKS = (0x01, 0x20, 0x80)
#: Two executions, one in the other; the log below has them in segments of two entries.
DRAFTS = [OUTER[0], INNER[0], OUTER[1], closed(*INNER), OUTER[2], closed(*OUTER)]


def make_store(directory: Path, drafts: list[Draft], *, store_id: str = STORE_ID, sync: bool = True) -> Path:
    """A store with these entries; without a sync, no head note claims them."""
    directory.mkdir()
    (directory / "store.json").write_bytes(Identity(store_id, 0, {"segment_entries": 2}).encode())
    writer = LogWriter(directory, store_id, clock=ManualClock(), max_entries=2)
    writer.append(drafts, durability="disk" if sync else "os")
    writer.close()
    if not sync:
        (directory / "head.json").unlink()
    return directory


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store", DRAFTS)


def lines_of(store: Path) -> list[bytes]:
    return [line for path in segments(store) for line in path.read_bytes().splitlines(keepends=True)]


def rewrite(store: Path, lines: list[bytes]) -> None:
    """Puts these lines in the place of the log's."""
    for path in segments(store):
        path.unlink()
    for at in range(0, len(lines), 2):
        (store / "log" / f"{at:020d}.jsonl").write_bytes(b"".join(lines[at : at + 2]))


def refused(report: VerifyReport, reason: str) -> bool:
    assert report.first_bad is not None
    assert not report.ok
    assert set(report.as_dict()["first_bad"]) == {
        "seq",
        "segment",
        "line",
        "offset",
        "reason",
        "expected",
        "actual",
    }
    return reason in report.first_bad.reason


def test_an_untouched_log_verifies(store: Path) -> None:
    """The report of a good log has all entries and executions, and the chain's last value."""
    report = verify_store(store)
    head = orjson.loads(lines_of(store)[-1])["chain"]
    assert report == VerifyReport(True, 6, 2, head, None, (), report.root)
    assert report.as_dict() == {"ok": True, "entries": 6, "executions": 2, "head": head, "first_bad": None}


@pytest.mark.parametrize("mask", MASKS)
def test_every_changed_byte_is_found_at_its_line(store: Path, mask: int) -> None:
    """Whichever byte of the log is changed, the verifier names the line that it belongs to."""
    seq = 0
    for path in segments(store):
        good = path.read_bytes()
        offset = 0
        for number, line in enumerate(good.splitlines(keepends=True), 1):
            for at in range(offset, offset + len(line)):
                path.write_bytes(good[:at] + bytes([good[at] ^ mask]) + good[at + 1 :])
                bad = verify_store(store).first_bad
                assert bad is not None, (path.name, at)
                assert (bad.seq, bad.segment, bad.line, bad.offset) == (seq, path.name, number, offset), at
            offset += len(line)
            seq += 1
        path.write_bytes(good)
    assert verify_store(store).ok


@pytest.mark.parametrize("at", range(6))
def test_a_line_taken_out_is_found(store: Path, at: int) -> None:
    """Without any one line, be it the last, the log does not verify."""
    lines = lines_of(store)
    rewrite(store, lines[:at] + lines[at + 1 :])
    report = verify_store(store)
    assert (report.ok, report.entries) == (False, at)


@pytest.mark.parametrize("at", range(6))
def test_a_line_put_in_twice_is_found(store: Path, at: int) -> None:
    """With any one line twice, the log verifies up to the second."""
    lines = lines_of(store)
    rewrite(store, lines[: at + 1] + lines[at:])
    report = verify_store(store)
    assert (report.ok, report.entries) == (False, at + 1)


@pytest.mark.parametrize("at", range(5))
def test_two_lines_in_each_other_s_place_are_found(store: Path, at: int) -> None:
    """With two neighbours swapped, the log verifies up to the first of them."""
    lines = lines_of(store)
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    rewrite(store, lines)
    report = verify_store(store)
    assert (report.ok, report.entries) == (False, at)


def test_a_log_cut_anywhere_is_found(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever acknowledged bytes end too soon, the report says that they were on disk."""
    monkeypatch.setattr(walk, "_SETTLING_S", (0.0,))
    path = segments(store)[-1]
    good = path.read_bytes()
    for size in range(len(good)):
        path.write_bytes(good[:size])
        report = verify_store(store)
        assert refused(report, "it was on disk") or refused(report, "acknowledged entries are gone"), size
        assert report.entries == 4 + good[:size].count(b"\n")


def test_segments_that_are_gone_are_found(store: Path) -> None:
    """A segment missing at the beginning, in the middle or at the end leaves a gap that is named."""
    for path in segments(store):
        data = path.read_bytes()
        path.unlink()
        assert refused(verify_store(store), "missing") or refused(verify_store(store), "gone")
        path.write_bytes(data)
    shutil.rmtree(store / "log")
    report = verify_store(store)
    assert refused(report, "acknowledged entries are gone")
    assert (report.entries, report.head) == (0, None)


def resealed(line: bytes, body: bytes, previous: bytes) -> bytes:
    """The line with another body, and commit and chain that fit."""
    old = parse_line(line[:-1])
    new = Draft.make(old.kind, old.execution, body, salt=old.salt)
    return format_line(new, old.seq, old.ts, old.durable, previous)[0]


@pytest.mark.parametrize("at", range(5))
def test_a_forged_line_does_not_fit_the_next(store: Path, at: int) -> None:
    """A line made anew, with its own commit and chain in order, breaks the chain of the line after it."""
    lines = lines_of(store)
    previous = genesis(STORE_ID) if at == 0 else parse_line(lines[at - 1][:-1]).chain
    body = parse_line(lines[at][:-1]).body
    lines[at] = resealed(lines[at], body[:-1] + (b"" if body == b"{}" else b",") + b'"x":1}', previous)
    rewrite(store, lines)
    report = verify_store(store)
    assert (report.ok, report.entries) == (False, at + 1)


def test_a_forged_end_is_not_the_one_that_was_noted(store: Path) -> None:
    """The last line made anew is another than the one that was known to be on disk."""
    lines = lines_of(store)
    body = parse_line(lines[-1][:-1]).body
    lines[-1] = resealed(lines[-1], body[:-1] + b',"x":1}', parse_line(lines[-2][:-1]).chain)
    rewrite(store, lines)
    assert refused(verify_store(store), "replaced")


def test_the_note_is_held_against_the_line_it_names(store: Path) -> None:
    """A note of another chain, place or segment does not pass; one that cannot be read claims nothing."""
    line = lines_of(store)[-1]
    good = HeadNote(
        orjson.loads(line)["chain"], len(b"".join(lines_of(store)[4:])), segments(store)[-1].name, 5
    )
    assert (store / "head.json").read_bytes() == good.encode()
    for note in (
        HeadNote("0" * 64, good.offset, good.segment, 5),
        HeadNote(good.chain, good.offset - 1, good.segment, 5),
        HeadNote(good.chain, good.offset, segments(store)[0].name, 5),
    ):
        (store / "head.json").write_bytes(note.encode())
        report = verify_store(store)
        assert refused(report, "replaced")
        assert report.entries == 5
    for unreadable in (b"", b"{}", good.encode()[:-1]):
        (store / "head.json").write_bytes(unreadable)
        assert verify_store(store).ok


@pytest.mark.parametrize("at", range(6))
def test_a_line_of_another_store_does_not_fit(store: Path, tmp_path: Path, at: int) -> None:
    """The same entry at the same place in another store, even with the same salts, is another line."""
    other = make_store(tmp_path / "other", DRAFTS, store_id="f" * 32)
    lines = lines_of(store)
    lines[at] = lines_of(other)[at]
    rewrite(store, lines)
    report = verify_store(store)
    assert (report.ok, report.entries) == (False, at)


def test_the_whole_log_of_another_store_does_not_fit(store: Path, tmp_path: Path) -> None:
    """A log that is good in itself fails in a store of another id from its first line on."""
    other = make_store(tmp_path / "other", DRAFTS, store_id="f" * 32)
    rewrite(store, lines_of(other))
    assert refused(verify_store(store), "chain")


def test_a_torn_tail_is_told_from_lost_data(tmp_path: Path) -> None:
    """What nobody was told is on disk may be torn, and opening for writing puts it aside."""
    store = make_store(tmp_path / "store", DRAFTS[:5], sync=False)
    path = segments(store)[-1]
    path.write_bytes(path.read_bytes()[:-10])
    report = verify_store(store)
    assert refused(report, "may be the torn end")
    assert (report.entries, report.interrupted) == (4, (ONE,))
    writer = LogWriter(store, STORE_ID, clock=ManualClock(), max_entries=2)
    writer.append(DRAFTS[4:], durability="disk")
    writer.close()
    report = verify_store(store)
    assert (report.ok, report.entries) == (True, 7)


def test_a_later_line_that_knows_better_says_that_it_was_on_disk(tmp_path: Path) -> None:
    """A bad line is no torn tail where a line after it was written when it was on disk."""
    store = make_store(tmp_path / "store", DRAFTS[:4])
    for more in DRAFTS[4:]:
        writer = LogWriter(store, STORE_ID, clock=ManualClock(), max_entries=2)
        writer.append([more], durability="disk")
        writer.close()
    (store / "head.json").unlink()
    path = segments(store)[-1]
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first.replace(b"{}", b"[]") + second)
    assert refused(verify_store(store), "it was on disk: entries up to seq 4")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b'"body":{', b'"body":{\n', id="a newline in the body"),
        pytest.param(b'"salt":"c', b'"salt":"C', id="a salt in capitals"),
        pytest.param(b'"execution":"0', b'"execution":"x', id="an execution that is no UUID"),
        pytest.param(b'"ts":', b'"ts":0', id="a time with a zero before it"),
        pytest.param(b'"seq":3', b'"seq":03', id="a number with a zero before it"),
    ],
)
def test_hashes_alone_do_not_make_a_line(old: bytes, new: bytes) -> None:
    """A line whose hashes all fit, and which does not match the template, is refused for the template."""
    salt, body = b"\xca" * 16, b"{ }"
    execution, chain = ONE.encode(), bytes(32)
    if b"body" in new:
        body = b"{\n}"
    head = b'{"seq":3,"ts":1,"kind":"opened","execution":"%b","durable":-1,"commit":"%b"' % (
        execution,
        sha256(salt + body).hexdigest().encode(),
    )
    head = head.replace(old, new)
    after = sha256(chain + sha256(b"\0" + head).digest()).hexdigest().encode()
    rest = b',"chain":"%b","salt":"%b","body":%b}' % (after, salt.hex().encode(), body)
    with pytest.raises(IntegrityBroken, match="template"):
        check_line(head + rest.replace(old, new) if b"salt" in new else head + rest, 3, chain)


def snapshot(store: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(store)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in store.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("harm", [0, 10, 3_000])
def test_verifying_changes_nothing(store: Path, harm: int) -> None:
    """Good, torn or broken: after a verification every file is as it was, and there is no new one."""
    path = segments(store)[-1]
    path.write_bytes(path.read_bytes()[: -harm or None])
    before = snapshot(store)
    verify_store(store)
    assert snapshot(store) == before


def test_a_line_that_is_being_written_is_waited_for(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A last line that becomes whole while it is looked at is no damage."""
    path = segments(store)[-1]
    good = path.read_bytes()
    path.write_bytes(good[:-200])

    def written_meanwhile(_seconds: float) -> None:
        path.write_bytes(good)

    monkeypatch.setattr(walk, "time", SimpleNamespace(sleep=written_meanwhile))
    assert verify_store(store).ok


def test_a_store_verifies_while_it_is_written_to(tmp_path: Path) -> None:
    """Beside a writer that syncs or not, every verification passes."""
    store = make_store(tmp_path / "store", [])
    writer = LogWriter(store, STORE_ID, clock=ManualClock(), max_entries=50)
    stop = threading.Event()

    def write() -> None:
        # Not without end: on a busy machine the log would grow faster than it can be verified.
        for number in range(10, 2000):
            if stop.is_set():
                break
            opened = draft("opened", f"{number:08x}-0000-7000-8000-000000000000")
            writer.append([opened, closed(opened)], durability="os" if number % 20 else "disk")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        reports = [verify_store(store) for _ in range(50)]
    finally:
        stop.set()
        thread.join()
        writer.close()
    assert [report.first_bad for report in reports if not report.ok] == []
    assert verify_store(store).entries >= reports[-1].entries


def test_suspicion_is_not_a_verdict(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executions that the filter takes for known are looked at again, and cleared."""
    monkeypatch.setattr(marks.Marks, "add", lambda self, members: list(members))
    assert verify_store(store).ok


def test_progress_is_told_on_the_way(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that are done only grow, line by line if need be, and end with the size of the log."""
    monkeypatch.setattr(walk, "_LINES_PER_PROGRESS", 1)
    told: list[tuple[int, int]] = []
    verify_store(store, lambda *done: told.append(done))
    size = sum(map(len, lines_of(store)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {line_end for line_end, _ in told} == {
        len(b"".join(lines_of(store)[: count + 1])) for count in range(6)
    }
    assert told[-1] == (size, size)


def test_what_is_not_a_segment_is_found(store: Path) -> None:
    """A stray file among the segments is named."""
    (store / "log" / "notes.txt").write_text("")
    report = verify_store(store)
    assert refused(report, "not a segment")
    assert report.first_bad is not None and report.first_bad.segment == "notes.txt"


def test_a_log_that_cannot_be_read_is_refused(store: Path) -> None:
    """Where the log should be a directory and is none, nothing is said about entries."""
    shutil.rmtree(store / "log")
    (store / "log").write_text("")
    with pytest.raises(StoreRefused, match="cannot be read"):
        verify_store(store)
