"""What a crash leaves behind, and what no crash can do: torn is put aside, damaged is refused."""

import hashlib
import json
from pathlib import Path

import pytest
from helpers.logs import FIRST, STORE, FailsAt, Unsynced, drafts, files_of, first_of, log_of, writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intentusnet.errors import IntegrityBroken, StoreWriteFailed
from intentusnet.ids import ManualClock
from intentusnet.log import recovery
from intentusnet.log.entry import format_line, genesis, parse_line
from intentusnet.log.files import FILES, Files
from intentusnet.log.head import HEAD_FILE, HeadNote, read_note
from intentusnet.log.recovery import recover_tail
from intentusnet.log.segment import iter_lines, segment_name


def written(directory: Path, *, durable: int, then: int = 0, max_entries: int = 65_536) -> None:
    """A store with lines that were synced and lines that were not, as a killed machine leaves it."""
    directory.mkdir(exist_ok=True)
    log = writer(directory, max_entries=max_entries)
    if durable:
        log.append(drafts(durable), durability="disk")
    note = read_note(directory)
    if then:
        log.append(drafts(then, "unsynced "), durability="os")
    log.close()
    if note is None:
        (directory / HEAD_FILE).unlink()
    else:
        (directory / HEAD_FILE).write_bytes(note.encode())


def refused(directory: Path, words: str) -> IntegrityBroken:
    """Appending is refused, twice, and changes no byte of the directory."""
    before = files_of(directory)
    log = writer(directory)
    for _ in range(2):
        with pytest.raises(IntegrityBroken, match=words) as caught:
            log.append(drafts(1), durability="disk")
    log.close()
    after = files_of(directory)
    assert after.pop("lock", b"") == before.pop("lock", b"")
    assert after == before
    assert "intentusnet verify" in caught.value.hint
    return caught.value


def assert_put_aside(directory: Path, torn: bytes, after: int, files: Files = FILES) -> None:
    """The next append finds the torn bytes in the quarantine, and a recovery entry that tells of them."""
    log = writer(directory, files)
    seqs = log.append(drafts(1, "next "), durability="disk")
    log.close()
    entries = log_of(directory, None)
    assert [entry.kind for entry in entries[after + 1 :]] == ["recovery", "opened"]
    assert seqs == range(after + 2, after + 3)
    recovery = entries[after + 1]
    digest = hashlib.sha256(torn).hexdigest()
    name = f"quarantine/{after + 1}-{digest[:16]}.torn"
    assert json.loads(recovery.body) == {"after": after, "bytes": len(torn), "file": name, "sha256": digest}
    assert recovery.execution == ""
    assert (directory / name).read_bytes() == torn
    assert entries[-1].durable == after + 1


def test_a_tail_may_be_torn_anywhere(tmp_path: Path) -> None:
    """Whatever length of the unsynced lines is left, the rest of a line is put aside, and appends go on."""
    written(tmp_path / "whole", durable=2, then=2)
    data, note = (tmp_path / "whole" / FIRST).read_bytes(), (tmp_path / "whole" / HEAD_FILE).read_bytes()
    ends = [0]
    for offset, line in iter_lines(first_of(tmp_path / "whole")):
        ends.append(offset + len(line) + 1)
    for length in range(ends[2], len(data) + 1):
        # A directory of its own each: overwriting a file can make the file system write it out at once.
        store = tmp_path / str(length)
        (store / "log").mkdir(parents=True)
        (store / HEAD_FILE).write_bytes(note)
        (store / FIRST).write_bytes(data[:length])
        good = max(number for number, end in enumerate(ends) if end <= length)
        if length in ends:
            log = writer(store, Unsynced())
            assert log.append(drafts(1), durability="os") == range(good, good + 1)
            log.close()
            assert not (store / "quarantine").exists()
        else:
            assert_put_aside(store, data[ends[good] : length], good - 1, Unsynced())


@pytest.mark.parametrize(
    "tail",
    [bytes(5000), b"\n", b"{}\n{}\n", b"x" * 3_000_000, b"\xff\n" * 10],
    ids=["zeros", "newline", "other lines", "large", "no text"],
)
@pytest.mark.parametrize("durable", [0, 3])
def test_a_tail_may_be_anything(tmp_path: Path, tail: bytes, durable: int) -> None:
    """Zeros, garbage and foreign lines after the last good line are put aside byte for byte."""
    written(tmp_path, durable=durable, then=1)
    with (tmp_path / FIRST).open("ab") as file:
        file.write(tail)
    assert_put_aside(tmp_path, tail, durable)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_in_unsynced_lines_is_torn_too(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Blocks that never reached the disk, in the middle of what was not acknowledged, are a torn tail."""
    directory = tmp_path_factory.mktemp("store")
    written(directory, durable=2, then=3)
    raw = (directory / FIRST).read_bytes()
    ends = [offset for offset, _ in iter_lines(first_of(directory))]
    start = data.draw(st.integers(ends[2], len(raw) - 1))
    size = data.draw(st.integers(1, len(raw) - start))
    (directory / FIRST).write_bytes(raw[:start] + bytes(size) + raw[start + size :])
    good = max(number for number, offset in enumerate(ends) if offset <= start)
    assert_put_aside(directory, (raw[:start] + bytes(size) + raw[start + size :])[ends[good] :], good - 1)


def test_damage_in_what_was_synced_is_refused(tmp_path: Path) -> None:
    """Every byte of the last acknowledged line counts: changed, the log is refused and left as it is."""
    written(tmp_path, durable=3, then=1)
    raw = (tmp_path / FIRST).read_bytes()
    offsets = [offset for offset, _ in iter_lines(first_of(tmp_path))]
    for at in range(offsets[2], offsets[3]):
        (tmp_path / FIRST).write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        refused(tmp_path, ".")
    (tmp_path / FIRST).write_bytes(raw)
    with (tmp_path / FIRST).open("r+b") as file:
        file.seek(offsets[2] + 10)
        file.write(b"?")
    where = refused(tmp_path, "template").where
    assert where == f"{tmp_path / FIRST}, line 3 (seq 2, offset {offsets[2]})"


def test_what_later_lines_call_durable_is_durable(tmp_path: Path) -> None:
    """Without a head note, the lines themselves tell torn from damaged."""
    log = writer(tmp_path)
    log.append(drafts(2), durability="disk")
    log.append(drafts(1), durability="os")
    log.append(drafts(1), durability="os")
    log.close()
    (tmp_path / HEAD_FILE).unlink()
    raw = (tmp_path / FIRST).read_bytes()
    offsets = [offset for offset, _ in iter_lines(first_of(tmp_path))]
    for number in (0, 1):
        (tmp_path / FIRST).write_bytes(raw[: offsets[number] + 9] + b"?" + raw[offsets[number] + 10 :])
        refused(tmp_path, "template")
    (tmp_path / FIRST).write_bytes(raw[: offsets[2] + 9] + b"?" + raw[offsets[2] + 10 :])
    assert_put_aside(tmp_path, (tmp_path / FIRST).read_bytes()[offsets[2] :], 1)


@pytest.mark.parametrize("keep", [0, 1, 2, 2.5])
def test_acknowledged_lines_that_are_gone_are_missed(tmp_path: Path, keep: float) -> None:
    """A log that is shorter than its head note says is refused, wherever it was cut."""
    written(tmp_path, durable=3)
    raw = (tmp_path / FIRST).read_bytes()
    offsets = [offset for offset, _ in iter_lines(first_of(tmp_path))]
    (tmp_path / FIRST).write_bytes(raw[: offsets[int(keep)] + (20 if keep % 1 else 0)])
    refused(tmp_path, "not complete" if keep % 1 else "gone")


def test_a_log_that_is_gone_is_missed(tmp_path: Path) -> None:
    """An empty or missing log beside a head note is refused."""
    written(tmp_path, durable=3)
    (tmp_path / FIRST).unlink()
    refused(tmp_path, "gone")
    (tmp_path / "log").rmdir()
    with pytest.raises(IntegrityBroken, match="gone"):
        recover_tail(tmp_path, STORE, clock=ManualClock())


@pytest.mark.parametrize("note", [None, b"", bytes(512), b"x" * 512], ids=["none", "empty", "zeros", "junk"])
def test_a_log_opens_without_a_readable_note(tmp_path: Path, note: bytes | None) -> None:
    """A note that was lost in a crash is done without, in any segment."""
    written(tmp_path, durable=5, then=2, max_entries=3)
    (tmp_path / HEAD_FILE).unlink()
    if note is not None:
        (tmp_path / HEAD_FILE).write_bytes(note)
    log = writer(tmp_path, max_entries=3)
    assert log.append(drafts(1), durability="disk") == range(7, 8)
    log.close()
    assert len(log_of(tmp_path, None)) == 8


def test_an_old_note_is_a_place_to_start(tmp_path: Path) -> None:
    """From a note in an earlier segment the log is read to its end, and damage after it is found."""
    log = writer(tmp_path, max_entries=3)
    log.append(drafts(2), durability="disk")
    old = (tmp_path / HEAD_FILE).read_bytes()
    log.append(drafts(6), durability="disk")
    log.close()
    (tmp_path / HEAD_FILE).write_bytes(old)
    assert recover_tail(tmp_path, STORE, clock=ManualClock())[0].seq == 8
    sealed = tmp_path / "log" / segment_name(3)
    raw = sealed.read_bytes()
    sealed.write_bytes(raw[:10] + b"?" + raw[11:])
    refused(tmp_path, "template")
    sealed.write_bytes(raw[:-30])
    refused(tmp_path, "not complete")
    sealed.unlink()
    refused(tmp_path, "does not begin where")


@pytest.mark.parametrize(("lines_back", "read"), [(0, False), (3, False), (6, True), (1000, True)])
def test_lines_long_before_the_note_are_not_read(
    tmp_path: Path, lines_back: int, read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening takes the same time however long the segment is: what lies far back is for verify."""
    written(tmp_path, durable=10)
    raw = (tmp_path / FIRST).read_bytes()
    lines = raw.splitlines(keepends=True)
    monkeypatch.setattr(recovery, "LOOKED_BACK", lines_back * len(lines[0]))
    at = len(b"".join(lines[:5])) + 10
    (tmp_path / FIRST).write_bytes(raw[:at] + b"?" + raw[at + 1 :])
    if read:
        with pytest.raises(IntegrityBroken, match="template"):
            recover_tail(tmp_path, STORE, clock=ManualClock())
    else:
        assert recover_tail(tmp_path, STORE, clock=ManualClock())[0].seq == 10


def test_the_log_of_another_store_is_refused(tmp_path: Path) -> None:
    """Whole as it is, and with its own head note: its first line does not follow from this store's id."""
    written(tmp_path, durable=4)
    with pytest.raises(IntegrityBroken, match="the chain does not continue"):
        recover_tail(tmp_path, STORE[::-1], clock=ManualClock())


def test_the_note_of_another_log_is_refused(tmp_path: Path) -> None:
    """A log of good lines that are not the noted ones was written anew behind the store's back."""
    written(tmp_path, durable=3)
    data, chain = b"", genesis(STORE)
    for seq, draft in enumerate(drafts(4)):
        line, chain = format_line(draft, seq, 0, -1, chain)
        data += line
    (tmp_path / FIRST).write_bytes(data)
    refused(tmp_path, "head note")
    note = HeadNote("ab" * 32, 99, segment_name(1), 2)
    (tmp_path / HEAD_FILE).write_bytes(note.encode())
    refused(tmp_path, "head note")


def test_a_segment_before_the_last_must_be_whole(tmp_path: Path) -> None:
    """A segment is begun when the one before is on disk: whatever lacks there is damage."""
    written(tmp_path, durable=6, max_entries=3)
    (tmp_path / HEAD_FILE).unlink()
    raw = (tmp_path / FIRST).read_bytes()
    offsets = [offset for offset, _ in iter_lines(first_of(tmp_path))]
    for left in (raw[:-1], raw[: offsets[2]], b"", raw + b"x"):
        (tmp_path / FIRST).write_bytes(left)
        refused(tmp_path, "does not end where")
    (tmp_path / FIRST).unlink()
    refused(tmp_path, "does not begin where")


def test_a_segment_that_was_begun_and_not_written_is_used(tmp_path: Path) -> None:
    """A crash between the two leaves an empty file, first or last, and no reason to complain."""
    for number in range(3):
        log = writer(tmp_path, max_entries=2)
        log.append(drafts(2), durability="disk")
        log.close()
        (tmp_path / "log" / segment_name(2 * number + 2)).touch()
    (tmp_path / HEAD_FILE).unlink()
    assert recover_tail(tmp_path, STORE, clock=ManualClock())[1] == 5
    empty = tmp_path / "empty"
    (empty / "log").mkdir(parents=True)
    (empty / FIRST).touch()
    for store, entries in ((tmp_path, 6), (empty, 0)):
        log = writer(store, max_entries=2)
        assert log.append(drafts(1), durability="disk") == range(entries, entries + 1)
        log.close()
        assert len(log_of(store, None)) == entries + 1
        assert not (store / "quarantine").exists()


def test_a_foreign_file_in_the_log_is_refused(tmp_path: Path) -> None:
    """What is no segment does not belong there, and nothing is written beside it."""
    written(tmp_path, durable=1)
    (tmp_path / "log" / "notes.txt").touch()
    log = writer(tmp_path)
    with pytest.raises(IntegrityBroken, match=r"notes\.txt"):
        log.append(drafts(1), durability="disk")


def test_another_process_may_have_torn_it(tmp_path: Path) -> None:
    """A writer that has the log open puts aside what a process that was killed left behind its lines."""
    log = writer(tmp_path)
    log.append(drafts(2), durability="disk")
    good = (tmp_path / FIRST).read_bytes()
    line, _ = format_line(drafts(1)[0], 2, 0, 1, parse_line(good.splitlines()[-1]).chain)
    (tmp_path / FIRST).write_bytes(good + line + line[:40])
    assert log.append(drafts(1), durability="disk") == range(4, 5)
    log.close()
    assert [entry.kind for entry in log_of(tmp_path, None)] == ["opened"] * 3 + ["recovery", "opened"]
    assert [path.read_bytes() for path in (tmp_path / "quarantine").iterdir()] == [line[:40]]


def test_a_writer_notices_when_its_own_lines_are_damaged(tmp_path: Path) -> None:
    """Bytes of another process that continue nothing, and claim that they were on disk, are refused."""
    log = writer(tmp_path)
    log.append(drafts(2), durability="disk")
    line, _ = format_line(drafts(1)[0], 3, 0, 2, bytes(32))
    with (tmp_path / FIRST).open("ab") as file:
        file.write(line)
    with pytest.raises(IntegrityBroken, match="not at its place"):
        log.append(drafts(1), durability="disk")
    log.close()


def test_segments_that_are_gone_are_missed_by_who_had_them(tmp_path: Path) -> None:
    """Where a log was known to go on, an empty directory is no new log."""
    written(tmp_path, durable=0, then=2)
    tail, _ = recover_tail(tmp_path, STORE, clock=ManualClock())
    (tmp_path / FIRST).unlink()
    with pytest.raises(IntegrityBroken, match="gone"):
        recover_tail(tmp_path, STORE, clock=ManualClock(), known=tail)


def test_a_recovery_syncs_before_it_goes_on(tmp_path: Path) -> None:
    """First the copy and its name, then the entry that tells of it: each is on disk before the next step."""
    calls: list[str] = []

    class Traced(FailsAt):
        def fsync(self, fd: int) -> None:
            calls.append("fsync")
            super().fsync(fd)

        def fsync_dir(self, path: Path) -> None:
            calls.append(f"fsync_dir {path.name}")
            super().fsync_dir(path)

        def pwrite(self, fd: int, data: bytes, offset: int) -> int:
            calls.append("pwrite")
            return super().pwrite(fd, data, offset)

        def truncate(self, fd: int, size: int) -> None:
            calls.append("truncate")
            super().truncate(fd, size)

    store = tmp_path / "store"
    written(store, durable=2)
    with (store / FIRST).open("ab") as file:
        file.write(b"torn")
    tail, durable = recover_tail(store, STORE, clock=ManualClock(), files=Traced(0, False))
    made = ["fsync_dir store", "fsync", "fsync_dir quarantine"]
    assert calls == [*made, "pwrite", "truncate", "fsync"]
    assert (tail.seq, durable) == (3, 2)


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("tail", [b"torn", b"y" * 2000], ids=["short", "long"])
def test_no_failure_in_a_recovery_loses_the_torn_bytes(tmp_path: Path, tail: bytes, late: bool) -> None:
    """Wherever a recovery stops, the next one finishes it: the bytes are kept and the log says where."""
    failures = 0
    for at in range(1, 100):
        store = tmp_path / str(at)
        store.mkdir()
        written(store, durable=2, then=1)
        with (store / FIRST).open("ab") as file:
            file.write(tail)
        files = FailsAt(at, late)
        try:
            recover_tail(store, STORE, clock=ManualClock(), files=files)
        except StoreWriteFailed:
            failures += 1
        except OSError:
            failures += 1
        log = writer(store)
        log.append(drafts(1), durability="disk")
        log.close()
        entries = log_of(store, None)
        noted = [json.loads(entry.body) for entry in entries if entry.kind == "recovery"]
        assert [entry.kind for entry in entries[:3]] == ["opened"] * 3
        assert noted and tail in [path.read_bytes() for path in (store / "quarantine").iterdir()]
        assert all((store / str(body["file"])).exists() for body in noted)
        if files.left > 0:
            break
    else:
        raise AssertionError("it made no end")
    assert failures == at - 1 >= 7
