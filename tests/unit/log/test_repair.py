# Over 400 lines: one promise, that a repair keeps what is good and invents nothing, for every kind of damage
"""Whatever is damaged: the original is kept, what is good stays, nothing is invented, losses are named."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from helpers import executions as made
from helpers.logs import Unsynced, files_of
from helpers.stores import segments
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intentusnet.errors import IntegrityBroken, IntentusError, StorePoisoned, StoreRefused
from intentusnet.log.blobs import blob_path
from intentusnet.log.entry import Draft, Entry, format_line, parse_line
from intentusnet.log.files import Files
from intentusnet.log.head import HEAD_FILE, HeadNote, read_note
from intentusnet.log.recovery import REPAIR_FILE
from intentusnet.log.repair import RepairReport, plan_repair, repair_store
from intentusnet.log.sealing import compress_sealed
from intentusnet.log.segment import iter_lines, list_segments
from intentusnet.log.verify import verify_store
from intentusnet.references import Blob
from intentusnet.stores.base import StoreSettings
from intentusnet.stores.file import FileExecutionStore

#: 1 to 3 closed, 4 interrupted, 5 and 6 nested in each other, 7 with many entries, 8 interrupted.
IDS = [made.id_of(number) for number in range(1, 9)]


def drafts() -> list[Draft]:
    outer, inner = made.execution(5, questions=2), made.execution(6, questions=1)
    return [
        *made.execution(1),
        *made.execution(2, questions=1),
        *made.execution(3, error_code="AGENT_ERROR"),
        *made.execution(4, questions=1)[:2],
        *outer[:2],
        *inner,
        *outer[2:],
        *made.execution(7, questions=3),
        *made.execution(8, questions=1)[:2],
    ]


def fill(path: Path, entries: list[Draft], *, segment: int = 7) -> None:
    with FileExecutionStore(
        path, "os", settings=StoreSettings(segment_entries=segment), files=Unsynced()
    ) as store:
        for draft in entries:
            store.append([draft])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 30 entries in segments of seven, all of them on disk."""
    path = tmp_path_factory.mktemp("whole") / "store"
    fill(path, drafts())
    return path


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another store, of whose executions none is in the first."""
    path = tmp_path_factory.mktemp("foreign") / "store"
    fill(path, [draft for number in range(11, 41) for draft in made.execution(number)])
    return path


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return copy_of(whole, tmp_path / "store")


def copy_of(whole: Path, path: Path) -> Path:
    for name, data in files_of(whole).items():
        if not name.startswith("index"):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    return path


def entries_of(path: Path) -> list[Entry]:
    return [parse_line(line) for part in list_segments(path / "log") for _, line in iter_lines(part)]


def lines_of(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def told(entry: Entry) -> tuple[str, str, int, bytes, bytes, bytes]:
    """What an entry says, wherever it stands."""
    return entry.kind, entry.execution, entry.ts, entry.salt, entry.commit, entry.body


def by_execution(entries: list[Entry]) -> dict[str, list[tuple[str, str, int, bytes, bytes, bytes]]]:
    found: dict[str, list[tuple[str, str, int, bytes, bytes, bytes]]] = {}
    for entry in entries:
        found.setdefault(entry.execution, []).append(told(entry))
    return found


def log_bytes(path: Path) -> dict[str, bytes]:
    return {name: data for name, data in files_of(path).items() if name.startswith(("log/", HEAD_FILE))}


def repaired(path: Path, whole: Path) -> RepairReport:
    """Repairs, and checks everything that holds for every repair."""
    before = log_bytes(path)
    plan = plan_repair(path)
    assert log_bytes(path) == before
    report = repair_store(path, files=Unsynced())
    assert report.plan == plan
    assert report.repaired is plan.needed
    if not plan.needed:
        assert log_bytes(path) == before
        return report
    assert verify_store(path).ok

    # The original is in the quarantine, and what is not in the log as it was is in the quarantine as it was.
    assert report.quarantine is not None
    after = log_bytes(path)
    for name, data in before.items():
        kept = path / report.quarantine / Path(name).name
        assert after.get(name) == data or kept.read_bytes() == data, name

    # The good lines before the first bad place stay, byte for byte, and are followed by a word of the rest.
    old, new = entries_of(whole), entries_of(path)
    assert [entry.line for entry in new[: plan.kept_entries]] == [
        entry.line for entry in old[: plan.kept_entries]
    ]
    note = new[plan.kept_entries]
    body = json.loads(note.body)
    assert (note.kind, body["repair"], body["after"]) == ("recovery", True, plan.kept_entries - 1)
    assert body["file"] == report.quarantine
    assert (body["cut"], body["lost"]) == (list(plan.cut_executions), list(plan.lost_executions))
    assert len(new) == plan.kept_entries + 1 + plan.salvaged_entries

    # Nothing is invented, and of no execution there is more than a beginning.
    was, now = by_execution(old), by_execution([entry for entry in new if entry is not note])
    for execution, entries in now.items():
        assert entries == was[execution][: len(entries)]
        assert entries == was[execution] or execution in plan.cut_executions
    assert not now.keys() & set(plan.lost_executions)

    # The store is one to work with, and there is nothing more to repair.
    with FileExecutionStore(path, "os", files=Unsynced()) as again:
        assert {row.execution_id for row in again.list().rows} == now.keys()
        for execution in now:
            assert [told(entry) for entry in again.entries(execution)] == now[execution]
        again.append(made.execution(99))
        assert again.get(made.id_of(99)).status == "success"
    assert repair_store(path).repaired is False
    assert verify_store(path).ok
    return report


def closed_in(entries: list[Entry]) -> set[str]:
    return {entry.execution for entry in entries if entry.kind == "closed"}


def hurt_executions(path: Path, whole: Path) -> set[str]:
    """Executions with an entry of which no line is left in any file of the log."""
    there = b"\n".join(
        (path / "log" / segment.path.name).read_bytes() for segment in list_segments(path / "log")
    )
    return {entry.execution for entry in entries_of(whole) if entry.line not in there}


def assert_all_that_survived(path: Path, whole: Path, hurt: set[str]) -> None:
    """Every closed execution whose lines were all still there reads as before."""
    was, now = by_execution(entries_of(whole)), by_execution(entries_of(path))
    for execution in closed_in(entries_of(whole)) - hurt:
        assert now.get(execution) == was[execution], execution


def change(path: Path, old: bytes, new: bytes) -> None:
    for segment in segments(path):
        data = segment.read_bytes()
        if old in data:
            segment.write_bytes(data.replace(old, new, 1))
            return
    raise AssertionError(old)


class Wreck:
    """Ways to damage a log; each takes numbers that say where."""

    @staticmethod
    def flip(path: Path, at: int, mask: int) -> None:
        segment, offset = Wreck.place(path, at)
        data = bytearray(segment.read_bytes())
        data[offset] ^= mask % 255 + 1
        segment.write_bytes(data)

    @staticmethod
    def zero(path: Path, at: int, size: int) -> None:
        segment, offset = Wreck.place(path, at)
        data = segment.read_bytes()
        start = offset // 512 * 512
        end = min(len(data), start + 512 * (1 + size % 3))
        segment.write_bytes(data[:start] + bytes(end - start) + data[end:])

    @staticmethod
    def truncate(path: Path, at: int, _: int) -> None:
        segment, offset = Wreck.place(path, at)
        segment.write_bytes(segment.read_bytes()[:offset])

    @staticmethod
    def delete_line(path: Path, at: int, _: int) -> None:
        segment, number = Wreck.line(path, at)
        lines = lines_of(segment.read_bytes())
        segment.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))

    @staticmethod
    def duplicate_line(path: Path, at: int, to: int) -> None:
        segment, number = Wreck.line(path, at)
        lines = lines_of(segment.read_bytes())
        lines.insert(to % (len(lines) + 1), lines[number])
        segment.write_bytes(b"".join(lines))

    @staticmethod
    def swap_lines(path: Path, at: int, to: int) -> None:
        segment, number = Wreck.line(path, at)
        lines = lines_of(segment.read_bytes())
        other = to % len(lines)
        lines[number], lines[other] = lines[other], lines[number]
        segment.write_bytes(b"".join(lines))

    @staticmethod
    def delete_segment(path: Path, at: int, _: int) -> None:
        segments(path)[at % len(segments(path))].unlink()

    @staticmethod
    def swap_segments(path: Path, at: int, to: int) -> None:
        one, other = segments(path)[at % len(segments(path))], segments(path)[to % len(segments(path))]
        data = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(data)

    @staticmethod
    def place(path: Path, at: int) -> tuple[Path, int]:
        filled = [segment for segment in segments(path) if segment.stat().st_size]
        sizes = [segment.stat().st_size for segment in filled]
        if not filled:
            return segments(path)[0], 0
        at %= sum(sizes)
        for segment, size in zip(filled, sizes, strict=True):
            if at < size:
                return segment, at
            at -= size
        raise AssertionError(at)

    @staticmethod
    def line(path: Path, at: int) -> tuple[Path, int]:
        segment = Wreck.place(path, at)[0]
        return segment, at % len(lines_of(segment.read_bytes()))


WRECKS: list[Callable[[Path, int, int], None]] = [
    Wreck.flip,
    Wreck.zero,
    Wreck.truncate,
    Wreck.delete_line,
    Wreck.duplicate_line,
    Wreck.swap_lines,
    Wreck.delete_segment,
    Wreck.swap_segments,
]
NUMBER = st.integers(0, 1 << 20)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(how=st.sampled_from(WRECKS), at=NUMBER, to=NUMBER, noted=st.booleans())
def test_what_survived_one_damage_stays(
    whole: Path,
    tmp_path_factory: pytest.TempPathFactory,
    how: Callable[[Path, int, int], None],
    at: int,
    to: int,
    noted: bool,
) -> None:
    """After any one damage, with the head note or without, whole executions stay, and no others come."""
    path = copy_of(whole, tmp_path_factory.mktemp("damaged") / "store")
    if not noted:
        (path / HEAD_FILE).unlink()
    how(path, at, to)
    hurt = hurt_executions(path, whole)
    report = repaired(path, whole)
    if report.repaired:
        assert_all_that_survived(path, whole, hurt)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wrecks=st.lists(st.tuples(st.sampled_from(WRECKS), NUMBER, NUMBER), min_size=2, max_size=4),
    noted=st.booleans(),
)
def test_several_damages_are_repaired_at_once(
    whole: Path,
    tmp_path_factory: pytest.TempPathFactory,
    wrecks: list[tuple[Callable[[Path, int, int], None], int, int]],
    noted: bool,
) -> None:
    """However many places are hurt, one repair leaves a log that checks and tells only what was there."""
    path = copy_of(whole, tmp_path_factory.mktemp("damaged") / "store")
    if not noted:
        (path / HEAD_FILE).unlink()
    for how, at, to in wrecks:
        if segments(path):
            how(path, at, to)
    repaired(path, whole)


def test_a_whole_store_is_left_alone(store: Path, whole: Path) -> None:
    """There is nothing to repair: not a byte is written, and the report says so."""
    before = files_of(store)
    report = repair_store(store)
    assert (report.repaired, report.quarantine, report.plan.first_bad) == (False, None, None)
    assert (report.plan.kept_entries, report.plan.torn) == (30, False)
    after = files_of(store)
    assert {name: after[name] for name in before} == before
    assert not (store / "quarantine").exists()


@pytest.mark.parametrize("tail", [b"torn", bytes(3000), b'{"seq":30,'])
def test_a_torn_tail_is_left_to_the_next_append(store: Path, tail: bytes) -> None:
    """What a crash leaves is not damage: the next append puts it aside, with or without the command."""
    with segments(store)[-1].open("ab") as file:
        file.write(tail)
    before = log_bytes(store)
    report = repair_store(store)
    assert (report.repaired, report.plan.torn) == (False, True)
    assert log_bytes(store) == before
    with FileExecutionStore(store) as again:
        again.append(made.execution(99))
    assert [entry.kind for entry in entries_of(store)[30:]] == ["recovery", "opened", "closed"]
    assert repair_store(store).plan.torn is False


def test_nobody_loses_more_than_what_was_hurt(store: Path, whole: Path) -> None:
    """A damaged body costs its own execution what comes behind it, and no other anything."""
    change(
        store,
        b'"question":1,"scope":"attempt:0","value":"yes"',
        b'"question":1,"scope":"attempt:0","value":"yet"',
    )
    report = repaired(store, whole)
    plan = report.plan
    assert (plan.cut_executions, plan.lost_executions) == ((IDS[4],), ())
    assert (plan.lost_entries, plan.unproven_executions) == (2, ())
    now = by_execution(entries_of(store))
    assert [kind for kind, *_ in now[IDS[4]]] == ["opened", "asked", "answered", "asked"]
    assert {IDS[3], IDS[6], IDS[7]} <= now.keys()


def test_a_damaged_newline_costs_nobody_anything(whole: Path, tmp_path: Path) -> None:
    """Two lines that have become one are read as two, though the second seems to be in the first's body."""
    for number, part in enumerate(segments(whole)):
        newlines = [at for at, byte in enumerate(part.read_bytes()) if byte == ord("\n")]
        for at in newlines:
            path = copy_of(whole, tmp_path / f"{number}-{at}")
            data = bytearray(segments(path)[number].read_bytes())
            data[at] ^= 1
            segments(path)[number].write_bytes(data)
            report = repair_store(path, files=Unsynced())
            assert report.repaired
            assert (report.plan.lost_entries, report.plan.cut_executions) == (0, ())
            assert by_execution(entries_of(path)).items() >= by_execution(entries_of(whole)).items()


def test_an_execution_with_a_hole_is_not_taken_for_interrupted(store: Path, whole: Path) -> None:
    """Whatever was open where lines are gone is named in the log; what was opened after is not in doubt."""
    lines = lines_of(segments(store)[1].read_bytes())
    gone = [parse_line(line[:-1]) for line in lines[2:4]]
    segments(store)[1].write_bytes(b"".join(lines[:2] + lines[4:]))
    report = repaired(store, whole)
    open_there = {IDS[3], *(entry.execution for entry in gone)}
    assert set(report.plan.cut_executions) | set(report.plan.lost_executions) >= open_there
    assert IDS[7] in by_execution(entries_of(store))
    assert IDS[7] not in report.plan.cut_executions


def test_acknowledged_lines_that_are_gone_at_the_end(store: Path, whole: Path) -> None:
    """A log that is shorter than its head note says goes on with what is left, and says what is missing."""
    last = segments(store)[-1]
    last.write_bytes(b"".join(lines_of(last.read_bytes())[:1]))
    report = repaired(store, whole)
    assert report.plan.lost_entries == 1
    assert report.plan.lost_bytes == 0
    assert report.plan.first_bad is not None
    assert report.plan.first_bad.reason == "acknowledged entries are gone"
    assert IDS[7] not in by_execution(entries_of(store)) or IDS[7] in report.plan.cut_executions


def test_the_log_is_gone(store: Path, whole: Path) -> None:
    """Of an empty log beside a head note nothing can be saved, and the new one begins with a word of that."""
    for segment in segments(store):
        segment.unlink()
    (store / "log").rmdir()
    report = repaired(store, whole)
    assert (report.plan.kept_entries, report.plan.salvaged_entries, report.plan.lost_entries) == (0, 0, 30)


@pytest.mark.parametrize("change", ["chain", "offset", "segment", "seq"])
def test_a_head_note_of_another_log(store: Path, whole: Path, change: str) -> None:
    """The lines prove themselves: none is touched, and the note is replaced by one that is true."""
    note = read_note(store)
    assert note is not None
    parts = {name: getattr(note, name) for name in ("chain", "offset", "segment", "seq")}
    parts[change] = {"chain": "ab" * 32, "offset": 99, "segment": segments(store)[0].name, "seq": 28}[change]
    (store / HEAD_FILE).write_bytes(HeadNote(**parts).encode())
    before = {segment.name: segment.read_bytes() for segment in segments(store)}
    report = repaired(store, whole)
    assert (report.plan.kept_entries, report.plan.lost_bytes) == (30, 0)
    assert report.plan.cut_executions == (IDS[3], IDS[7])
    after = {segment.name: segment.read_bytes() for segment in segments(store)}
    assert {name: after[name] for name in before} == before


def test_stray_files_are_moved_out_of_the_log(store: Path, whole: Path) -> None:
    """What is no segment is in the quarantine afterwards, and no line is touched; a directory is refused."""
    (store / "log" / "notes.txt").write_text("keep me")
    (store / "log" / "copies").mkdir()
    before = log_bytes(store)
    with pytest.raises(IntegrityBroken, match="no file") as caught:
        repair_store(store)
    assert "Move it elsewhere" in caught.value.hint
    assert log_bytes(store) == before
    (store / "log" / "copies").rmdir()
    report = repair_store(store)
    assert not (store / "log" / "notes.txt").exists()
    assert report.repaired
    assert report.quarantine is not None
    assert (store / report.quarantine / "notes.txt").read_text() == "keep me"
    assert [entry.line for entry in entries_of(store)[:30]] == [entry.line for entry in entries_of(whole)]
    assert verify_store(store).ok
    assert report.plan.kept_entries == 30


def test_lines_of_another_store_do_not_get_in(store: Path, whole: Path, foreign: Path) -> None:
    """Good lines of another log, put between, in place of, or behind the own ones, stay outside."""
    # Two lines whose numbers are taken here, and a whole execution whose numbers are not.
    for number, where in product((1, 6), (slice(2, 2), slice(2, 3), slice(7, 7))):
        path = copy_of(whole, store.parent / f"{number}-{where.start}-{where.stop}")
        segment = segments(path)[1]
        lines = lines_of(segment.read_bytes())
        lines[where] = lines_of(segments(foreign)[number].read_bytes())[2:4]
        segment.write_bytes(b"".join(lines))
        hurt = hurt_executions(path, whole)
        repaired(path, whole)
        assert_all_that_survived(path, whole, hurt)


def test_a_segment_of_another_store_does_not_get_in(store: Path, whole: Path, foreign: Path) -> None:
    """A whole segment that was exchanged is lost; those behind it stay."""
    segments(store)[2].write_bytes(segments(foreign)[2].read_bytes())
    hurt = hurt_executions(store, whole)
    report = repaired(store, whole)
    assert report.plan.lost_entries >= 7
    assert_all_that_survived(store, whole, hurt)


def test_the_log_of_another_store_is_refused(store: Path, foreign: Path) -> None:
    """A log that was written for another store is left alone, with its head note or without."""
    for name, data in files_of(foreign).items():
        if name.startswith(("log/", HEAD_FILE)):
            (store / name).write_bytes(data)
    for _ in range(2):
        before = log_bytes(store)
        for refuse in (plan_repair, repair_store):
            with pytest.raises(IntegrityBroken, match="another store") as caught:
                refuse(store)
            assert caught.value.hint
        assert log_bytes(store) == before
        (store / HEAD_FILE).unlink(missing_ok=True)


def test_a_byte_of_the_first_line_does_not_make_it_another_stores(whole: Path, tmp_path: Path) -> None:
    """Every byte of the first line may be changed, and the log is still known to be this store's."""
    first = segments(whole)[0].read_bytes().index(b"\n")
    for at in range(0, first, 7):
        path = copy_of(whole, tmp_path / str(at))
        segment = segments(path)[0]
        data = bytearray(segment.read_bytes())
        data[at] ^= 1
        segment.write_bytes(data)
        report = repair_store(path, files=Unsynced())
        assert report.repaired
        assert report.plan.salvaged_entries >= 28
        assert verify_store(path).ok


def test_what_is_no_store_is_refused(store: Path, tmp_path: Path) -> None:
    """Without a readable store.json, nobody knows whose log it is."""
    with pytest.raises(StoreRefused):
        repair_store(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    (store / "store.json").write_text("{}")
    before = files_of(store)
    with pytest.raises(StoreRefused):
        repair_store(store)
    assert files_of(store) == before


def test_an_entry_that_no_writer_writes_is_cut_off(whole: Path, tmp_path: Path) -> None:
    """Lines with a good chain that open an execution twice are damage as well, and do not stay."""
    path = copy_of(whole, tmp_path / "store")
    note, last = read_note(path), entries_of(path)[-1]
    assert note is not None
    line, _ = format_line(made.execution(1)[0], 30, 7, 29, last.chain)
    with segments(path)[-1].open("ab") as file:
        file.write(line)
    report = repaired(path, whole)
    assert (report.plan.kept_entries, report.plan.salvaged_entries) == (30, 0)
    assert report.plan.first_bad is not None
    assert "opened again" in report.plan.first_bad.reason


def test_a_recovery_entry_is_saved_too(store: Path, whole: Path) -> None:
    """What the log says of an earlier torn tail stays, where the chain proves that it is this log's."""
    with segments(store)[-1].open("ab") as file:
        file.write(b"torn")
    with FileExecutionStore(store) as again:
        again.append(made.execution(30))
    change(store, b'"label":"bug"', b'"label":"hug"')
    report = repair_store(store)
    notes = [json.loads(entry.body) for entry in entries_of(store) if entry.kind == "recovery"]
    assert [note.get("repair", False) for note in notes] == [True, False]
    assert report.plan.cut_executions[0] == IDS[0]
    assert verify_store(store).ok


@pytest.mark.parametrize("number", [1, 6, 7, 20])
@pytest.mark.parametrize("key", [b'"seq":', b'"ts":'])
def test_a_line_that_only_the_chain_belies_does_not_stay(
    store: Path, whole: Path, number: int, key: bytes
) -> None:
    """A line with another time or number is as good as lost, though its body is the one that was written."""
    segment = segments(store)[number // 7]
    lines = lines_of(segment.read_bytes())
    line = lines[number % 7]
    at = line.index(key) + len(key)
    lines[number % 7] = line[:at] + (b"3" if line[at : at + 1] != b"3" else b"4") + line[at + 1 :]
    parse_line(lines[number % 7][:-1])
    segment.write_bytes(b"".join(lines))
    hurt = hurt_executions(store, whole)
    report = repaired(store, whole)
    assert report.repaired
    assert_all_that_survived(store, whole, hurt)
    assert hurt <= {*report.plan.cut_executions, *report.plan.lost_executions}


@pytest.mark.parametrize("number", [0, 1, 6, 7, 20, 28, 29])
def test_a_line_whose_chain_value_alone_is_damaged_stays(store: Path, whole: Path, number: int) -> None:
    """The line behind it, or the head note, has the value that belongs there: nothing is lost or in doubt."""
    segment = segments(store)[number // 7]
    lines = lines_of(segment.read_bytes())
    line = lines[number % 7]
    at = line.index(b'"chain":"') + 15
    lines[number % 7] = line[:at] + (b"3" if line[at : at + 1] != b"3" else b"4") + line[at + 1 :]
    segment.write_bytes(b"".join(lines))
    report = repaired(store, whole)
    assert (report.plan.kept_entries, report.plan.lost_entries) == (number, 0)
    assert (report.plan.cut_executions, report.plan.unproven_executions) == ((), ())


def test_a_line_whose_proof_is_lost_is_named(store: Path, whole: Path) -> None:
    """Of a line right behind a lost one only the body is proven: its execution stays, and is named."""
    lines = lines_of(segments(store)[0].read_bytes())
    assert parse_line(lines[1][:-1]).execution == IDS[0]
    segments(store)[0].write_bytes(b"".join([lines[0], *lines[2:]]))
    report = repaired(store, whole)
    assert report.plan.unproven_executions == (IDS[1],)


def test_damage_far_from_an_old_head_note(store: Path, whole: Path) -> None:
    """Without the note, lines behind a hole may be another log's: whole executions stay, and are named."""
    (store / HEAD_FILE).unlink()
    segments(store)[1].unlink()
    hurt = hurt_executions(store, whole)
    report = repaired(store, whole)
    assert IDS[6] in report.plan.unproven_executions
    assert IDS[7] in report.plan.lost_executions
    assert_all_that_survived(store, whole, hurt)


class Stops(Files):
    """Lets the k-th call that changes the store fail, or end the process, before or after it takes effect."""

    def __init__(self, at: int, late: bool, stop: Callable[[], object]) -> None:
        self.left = at
        self._late = late
        self._stop = stop

    def _call(self, act: Callable[[], object]) -> object:
        self.left -= 1
        if self.left != 0:
            return act()
        if self._late:
            act()
        return self._stop()

    def open(self, path: Path | str, flags: int) -> int:
        if self.left == 1:
            self._call(lambda: None)
        else:
            self.left -= 1
        return super().open(path, flags)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        half = bytes(data)[: len(data) // 2] if self.left == 1 else data
        return self._call(lambda: super(Stops, self).write(fd, half))  # type: ignore[return-value] - an int, or no return

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return self._call(lambda: super(Stops, self).pwrite(fd, data, offset))  # type: ignore[return-value] - an int, or no return

    def fsync(self, fd: int) -> None:
        self._call(lambda: None)

    def mkdir(self, path: Path) -> None:
        self._call(lambda: super(Stops, self).mkdir(path))

    def rename(self, old: Path, new: Path) -> None:
        self._call(lambda: super(Stops, self).rename(old, new))

    def unlink(self, path: Path) -> None:
        self._call(lambda: super(Stops, self).unlink(path))

    def fsync_dir(self, path: Path) -> None:
        self._call(lambda: None)


def harmed(whole: Path, path: Path) -> Path:
    """A store with damage in the middle, a stray file, and new segments to come."""
    copy_of(whole, path)
    lines = lines_of(segments(path)[1].read_bytes())
    segments(path)[1].write_bytes(b"".join(lines[:2] + lines[3:]))
    (path / "log" / "notes.txt").write_text("keep me")
    return path


def fail() -> None:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_repair_that_fails_anywhere_can_be_run_again(whole: Path, tmp_path: Path, late: bool) -> None:
    """Whichever call fails, the original is untouched, or running it again comes to the same log."""
    goal = harmed(whole, tmp_path / "goal")
    repair_store(goal, files=Unsynced())
    expected = [told(entry) for entry in entries_of(goal) if entry.kind != "recovery"]
    untouched = finished = 0
    for at in range(1, 200):
        path = harmed(whole, tmp_path / str(at))
        before = log_bytes(path)
        files = Stops(at, late, fail)
        try:
            repair_store(path, files=files)
        except IntentusError:
            if (path / REPAIR_FILE).exists():
                finished += 1
                with FileExecutionStore(path) as closed, pytest.raises(IntegrityBroken, match="not finished"):
                    closed.append(made.execution(99))
                assert plan_repair(path).needed
            elif log_bytes(path) == before:
                untouched += 1
            assert repair_store(path, files=Unsynced()).repaired or not (path / REPAIR_FILE).exists()
        assert [told(entry) for entry in entries_of(path) if entry.kind != "recovery"] == expected
        assert verify_store(path).ok
        assert not repair_store(path).repaired
        kept = {file.name: file.read_bytes() for file in next((path / "quarantine").iterdir()).iterdir()}
        assert all(kept.get(Path(name).name, data) == data for name, data in before.items())
        assert kept["notes.txt"] == b"keep me"
        assert not [name for name in kept if name.endswith(".new")]
        if files.left > 0:
            break
    else:
        raise AssertionError("it made no end")
    assert untouched > 10
    assert finished > 5


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_repair_that_is_killed_anywhere_can_be_run_again(whole: Path, tmp_path: Path, late: bool) -> None:
    """A process that dies at any call leaves no lock behind, and what the next one finishes."""
    for at in range(1, 200):
        path = harmed(whole, tmp_path / str(at))
        child = os.fork()
        if child == 0:
            repair_store(path, files=Stops(at, late, lambda: os.kill(os.getpid(), signal.SIGKILL)))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        repair_store(path, files=Unsynced())
        assert verify_store(path).ok
        assert (path / "log" / "notes.txt").exists() is False
        assert not repair_store(path).repaired
        if status == 0:
            break
    else:
        raise AssertionError("it made no end")
    assert at > 20


def test_a_writer_that_had_the_store_open_is_told(whole: Path, tmp_path: Path) -> None:
    """An open writer does not go on where its log was: it must be opened again, whatever its durability."""
    for durability in ("os", "disk"):
        path = copy_of(whole, tmp_path / durability)
        with FileExecutionStore(path, "os") as before:
            before.append(made.execution(40))
            change(path, b'"label":"bug"', b'"label":"hug"')
            repair_store(path, files=Unsynced())
            expected = log_bytes(path)
            for _ in range(2):
                with pytest.raises(StorePoisoned, match="unknown") as caught:
                    before.append(made.execution(41), durability=durability)
                assert "repaired" in caught.value.got
            with pytest.raises(StorePoisoned):
                before.close()
        assert log_bytes(path) == expected
        with FileExecutionStore(path) as again:
            again.append(made.execution(42))
            assert again.get(made.id_of(40)).status == "success"
        assert verify_store(path).ok


def test_a_writer_that_only_syncs_does_not_believe_the_new_note(whole: Path, tmp_path: Path) -> None:
    """A sync of lines from before the repair neither believes the note of the new log nor writes it."""
    path = copy_of(whole, tmp_path / "store")
    with FileExecutionStore(path, "os") as before:
        before.append(made.execution(40, questions=2))
        change(path, b'"label":"bug"', b'"label":"hug"')
        repair_store(path, files=Unsynced())
        expected = log_bytes(path)
        with pytest.raises(StorePoisoned):
            before.sync()
        with pytest.raises(StorePoisoned):
            before.close()
    assert log_bytes(path) == expected


PROGRAM = textwrap.dedent("""
    import sys
    from helpers import executions as made
    from intentusnet.errors import IntentusError
    from intentusnet.stores.file import FileExecutionStore

    store = FileExecutionStore(sys.argv[1])
    store.append(made.execution(50))
    print("open", flush=True)
    for line in sys.stdin:
        try:
            store.append(made.execution(51))
            print("written", flush=True)
        except IntentusError as error:
            print(error.code, flush=True)
""")


def test_a_writer_in_another_process_is_told(whole: Path, tmp_path: Path) -> None:
    """A process that had the store open during the repair writes nothing more into what it has open."""
    path = copy_of(whole, tmp_path / "store")
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}"},
        text=True,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        change(path, b'"label":"bug"', b'"label":"hug"')
        repair_store(path)
        expected = log_bytes(path)
        other.stdin.write("append\n")
        other.stdin.close()
        assert other.stdout.readline() == "STORE_POISONED\n"
    assert log_bytes(path) == expected


def test_a_repair_waits_for_whoever_writes(whole: Path, tmp_path: Path) -> None:
    """While it looks at the log and changes it, the repair holds the lock that every append takes."""
    from intentusnet.log.files import LOCK_FILE

    path = harmed(whole, tmp_path / "store")

    class Looks(Files):
        def rename(self, old: Path, new: Path) -> None:
            held = subprocess.run(["flock", "-n", path / LOCK_FILE, "true"], check=False).returncode
            assert held == 1
            super().rename(old, new)

    assert repair_store(path, files=Looks()).repaired
    assert subprocess.run(["flock", "-n", path / LOCK_FILE, "true"], check=False).returncode == 0


@pytest.fixture
def compressed(tmp_path: Path) -> Path:
    """A store of many frames in two compressed segments, and a third."""
    path = tmp_path / "compressed"
    executions = [made.execution(number, payload=os.urandom(9000).hex()) for number in range(1, 41)]
    fill(path, [draft for drafts in executions for draft in drafts], segment=36)
    compress_sealed(path)
    assert [segment.compressed for segment in list_segments(path / "log")] == [True, True, False]
    return path


def test_damaged_frames(compressed: Path, tmp_path: Path) -> None:
    """A byte of a frame costs the lines in it, and none in the other frames."""
    whole = copy_of(compressed, tmp_path / "whole")
    segment = segments(compressed)[0]
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    report = repaired(compressed, whole)
    assert 0 < report.plan.kept_entries < 36
    assert 0 < report.plan.lost_entries <= 18
    assert report.plan.salvaged_entries == 80 - report.plan.kept_entries - report.plan.lost_entries
    assert [part.path.name for part in list_segments(compressed / "log") if part.compressed] == []


@pytest.mark.parametrize("at", [-1, -20, -60])
def test_a_damaged_table_of_frames(compressed: Path, tmp_path: Path, at: int) -> None:
    """Where only what lies around the frames is damaged, every line stays as it is, uncompressed."""
    whole = copy_of(compressed, tmp_path / "whole")
    segment = segments(compressed)[1]
    data = bytearray(segment.read_bytes())
    data[at] ^= 1
    segment.write_bytes(data)
    report = repaired(compressed, whole)
    assert (report.plan.kept_entries, report.plan.lost_entries, report.plan.cut_executions) == (80, 0, ())
    assert [part.compressed for part in list_segments(compressed / "log")][:3] == [True, False, False]
    assert report.quarantine is not None
    assert (compressed / report.quarantine / segment.name).read_bytes() == data


def test_a_cut_compressed_segment(compressed: Path, tmp_path: Path) -> None:
    """The frames before the cut are read without their table, and the segments behind it are kept."""
    whole = copy_of(compressed, tmp_path / "whole")
    segment = segments(compressed)[0]
    segment.write_bytes(segment.read_bytes()[: segment.stat().st_size * 2 // 3])
    report = repaired(compressed, whole)
    assert report.plan.kept_entries > 12
    assert report.plan.salvaged_entries >= 42


def test_a_log_that_ends_with_a_compressed_segment(compressed: Path, tmp_path: Path) -> None:
    """The last segment is never compressed: it is gone, and what is left of the log goes on."""
    whole = copy_of(compressed, tmp_path / "whole")
    (compressed / HEAD_FILE).unlink()
    segments(compressed)[2].unlink()
    report = repaired(compressed, whole)
    assert report.plan.kept_entries == 72
    assert [part.compressed for part in list_segments(compressed / "log")][:2] == [True, True]


def test_both_forms_of_a_segment(compressed: Path, tmp_path: Path) -> None:
    """Where a compression was cut off, damage in one form is made good from the other."""
    whole = copy_of(compressed, tmp_path / "whole")
    segment = list_segments(compressed / "log")[0]
    with segment.open() as lines:
        plain = bytearray(lines.read())
    plain[len(plain) // 2] ^= 1
    (compressed / "log" / "00000000000000000000.jsonl").write_bytes(plain)
    assert plan_repair(compressed).needed
    report = repaired(compressed, whole)
    assert (report.plan.lost_entries, report.plan.cut_executions, report.plan.lost_executions) == (0, (), ())


def test_a_missing_blob_is_named_and_the_log_left_alone(tmp_path: Path) -> None:
    """A large value that is gone is not the log's damage: the execution is named, the log left as it is."""
    path = tmp_path / "store"
    value = Blob.of(b'"' + b"x" * 40_000 + b'"')
    first = made.execution(1)
    asking = Draft.make("asked", made.id_of(2), b'{"arguments":%b}' % value.ref.node(), blobs=[value])
    second = [made.opened(made.id_of(2)), asking]
    with FileExecutionStore(path) as store:
        store.append([*first, *second, made.closed(second)])
    assert plan_repair(path).damaged_executions == ()
    blob_path(path, value.ref.digest).unlink()
    before = log_bytes(path)
    report = repair_store(path)
    assert (report.repaired, report.plan.damaged_executions) == (False, (made.id_of(2),))
    assert log_bytes(path) == before
    change(path, b'"label":"bug"', b'"label":"hug"')
    assert repair_store(path).plan.damaged_executions == (made.id_of(2),)


@pytest.mark.parametrize("more", [0, 2])
def test_a_frame_that_was_the_whole_log(tmp_path: Path, more: int) -> None:
    """Where the only frame of the first segment is lost, the log begins anew with a word about it."""
    path = tmp_path / "store"
    with FileExecutionStore(path, files=Unsynced()) as store:
        for number in range(5):
            store.append(made.execution(number))
        store.seal(compress=True)
        for number in range(5, 5 + more):
            store.append(made.execution(number))
    whole = copy_of(path, tmp_path / "whole")
    segment = segments(path)[0]
    assert segment.suffix == ".zst"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    report = repaired(path, whole)
    assert (report.plan.kept_entries, report.plan.lost_entries) == (0, 10)
    assert report.plan.salvaged_entries == 2 * more
    assert report.plan.first_bad is not None
    assert (report.plan.first_bad.segment, report.plan.first_bad.line) == (segment.name, 1)
