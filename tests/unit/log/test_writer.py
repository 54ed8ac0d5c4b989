"""Appending: what is written when, and what is left when a system call fails."""

import errno
import gc
from pathlib import Path

import pytest
from helpers.logs import (
    Faulty,
    broken,
    drafts,
    files_of,
    full,
    log_of,
    writer,
)

from intentusnet.errors import InvalidInput, StorePoisoned, StoreWriteFailed
from intentusnet.ids import ManualClock
from intentusnet.log.head import HEAD_FILE, read_note
from intentusnet.log.segment import list_segments, segment_name
from intentusnet.log.writer import LogWriter


def test_appends_are_consecutive_lines_of_one_chain(tmp_path: Path) -> None:
    """Each append returns its seqs; what was asked to be on disk is known to be there."""
    log = writer(tmp_path)
    assert log.append(drafts(2), durability="os") == range(2)
    assert log.durable == -1
    assert log.append(drafts(3), durability="disk") == range(2, 5)
    assert log.durable == 4
    assert log.append(drafts(1), durability="os") == range(5, 6)
    log.sync()
    assert log.durable == 5
    log.close()
    entries = log_of(tmp_path)
    assert [entry.durable for entry in entries] == [-1, -1, -1, -1, -1, 4]
    assert [entry.ts - entries[0].ts for entry in entries] == [0, 0, 1, 1, 1, 2]


def test_nothing_is_touched_before_the_first_append(tmp_path: Path) -> None:
    """A writer that has nothing to write leaves no trace, whether it is asked to sync or to close."""
    log = writer(tmp_path)
    assert log.append([], durability="disk") == range(0)
    log.sync()
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_a_store_id_is_checked_at_once(tmp_path: Path) -> None:
    """A malformed store id is refused before there is a log."""
    with pytest.raises(InvalidInput, match="store id"):
        LogWriter(tmp_path, "x", clock=ManualClock())


def test_a_log_goes_on_where_another_run_left_it(tmp_path: Path) -> None:
    """Closing, opening and appending again gives one chain."""
    for run in range(3):
        log = writer(tmp_path, max_entries=4)
        assert log.append(drafts(3), durability="disk" if run == 1 else "os") == range(3 * run, 3 * run + 3)
        log.close()
    assert len(log_of(tmp_path, 4)) == 9


def test_the_note_follows_every_sync(tmp_path: Path) -> None:
    """After a sync the head note says where the last line ends; it takes one write and no sync of its own."""
    files = Faulty()
    log = writer(tmp_path, files)
    log.append(drafts(1), durability="os")
    assert read_note(tmp_path) is None
    for _ in range(2):
        files.calls.clear()
        last = log.append(drafts(2), durability="disk")[-1]
        assert files.calls == ["write", "fdatasync", "pwrite"]
        note, entry = read_note(tmp_path), log_of(tmp_path)[-1]
        assert note is not None
        assert (note.seq, note.chain, note.segment) == (last, entry.chain.hex(), segment_name(0))
        assert note.offset == (tmp_path / "log" / segment_name(0)).stat().st_size
    log.close()


def test_a_note_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    """The lines are on disk all the same."""
    files = Faulty()
    log = writer(tmp_path, files)
    files.faults["pwrite"] = [full()]
    assert log.append(drafts(1), durability="disk") == range(1)
    assert read_note(tmp_path) is None and log.durable == 0
    log.close()


def test_a_batch_fills_segments_exactly(tmp_path: Path) -> None:
    """A batch goes over as many segments as it takes, each synced before the next is begun."""
    files = Faulty()
    log = writer(tmp_path, files, max_entries=4)
    assert log.append(drafts(11), durability="os") == range(11)
    assert [segment.first for segment in list_segments(tmp_path / "log")] == [0, 4, 8]
    begun = [at for at, call in enumerate(files.calls) if call == "create .jsonl"][1:]
    assert [files.calls[at - 2] for at in begun] == ["fdatasync", "fdatasync"]
    assert log.durable == 7
    note = read_note(tmp_path)
    assert note is not None and (note.seq, note.segment) == (7, segment_name(4))
    assert log.append(drafts(1), durability="os") == range(11, 12)
    assert log.append(drafts(1), durability="os") == range(12, 13)
    assert len(files.open_now) == 3
    log.close()
    assert files.open_now == set()
    assert [entry.durable for entry in log_of(tmp_path, 4)][3:9] == [-1, 3, 3, 3, 3, 7]


@pytest.mark.parametrize(
    ("faults", "hint"),
    [
        ([full()], "free some"),
        ([10, full()], "free some"),
        ([10, 0], "when the cause is gone"),
        ([broken()], "check the disk"),
        ([1000, OSError(errno.EFBIG, "File too large")], "raise the limit"),
    ],
    ids=["full", "short, then full", "short, then nothing", "broken", "too large"],
)
def test_a_failed_write_is_cut_back(
    tmp_path: Path, faults: list[BaseException | int | None], hint: str
) -> None:
    """Nothing of a failed append stays in the log, the error says what to do, and later appends work."""
    files = Faulty()
    log = writer(tmp_path, files)
    log.append(drafts(2), durability="disk")
    before = files_of(tmp_path)
    files.faults["write"] = list(faults)
    with pytest.raises(StoreWriteFailed, match=hint) as caught:
        log.append(drafts(40), durability="disk")
    assert not isinstance(caught.value, StorePoisoned)
    assert files_of(tmp_path) == before
    assert log.append(drafts(1), durability="disk") == range(2, 3)
    log.close()
    assert len(log_of(tmp_path)) == 3


@pytest.mark.parametrize("fault", ["write", "create .jsonl", "pwrite"])
def test_a_batch_that_fails_in_a_later_segment_leaves_none(tmp_path: Path, fault: str) -> None:
    """Segments that were begun for it go, newest first, and the one before is cut to where it was."""
    files = Faulty()
    log = writer(tmp_path, files, max_entries=3)
    log.append(drafts(2), durability="disk")
    before = {name: data for name, data in files_of(tmp_path).items() if name != "lock"}
    files.faults[fault] = [None, None, full()] if fault == "write" else [None, full()]
    with pytest.raises(StoreWriteFailed):
        log.append(drafts(9), durability="os")
    assert {name: data for name, data in files_of(tmp_path).items() if name != "lock"} == before
    assert len(files.open_now) == 3
    assert log.append(drafts(9), durability="disk") == range(2, 11)
    log.close()
    assert len(log_of(tmp_path, 3)) == 11


@pytest.mark.parametrize("call", ["truncate", "fsync"])
def test_what_cannot_be_cut_back_poisons(tmp_path: Path, call: str) -> None:
    """When the log may still hold what was reported as failed, nothing more is written."""
    files = Faulty()
    log = writer(tmp_path, files)
    log.append(drafts(1), durability="disk")
    files.faults |= {"write": [5, full()], call: [broken()]}
    with pytest.raises(StorePoisoned):
        log.append(drafts(1), durability="os")
    with pytest.raises(StorePoisoned):
        log.append(drafts(1), durability="os")
    with pytest.raises(StorePoisoned):
        log.close()
    log.close()


def test_a_failed_sync_is_not_retried(tmp_path: Path) -> None:
    """After a failed sync every append, sync and close says "unknown", and the disk is asked no more."""
    files = Faulty()
    log = writer(tmp_path, files)
    log.append(drafts(1), durability="disk")
    files.faults["fdatasync"] = [broken()]
    for act in (
        lambda: log.append(drafts(1), durability="disk"),
        lambda: log.append(drafts(1), durability="os"),
        log.sync,
        log.close,
    ):
        with pytest.raises(StorePoisoned, match=r"Input/output error.*intentusnet verify"):
            act()
    assert files.calls.count("fdatasync") == 2
    again = writer(tmp_path)
    assert again.append(drafts(1), durability="disk") == range(2, 3)
    again.close()


def test_a_failed_sync_between_segments_poisons(tmp_path: Path) -> None:
    """A segment is not begun after one whose sync failed."""
    files = Faulty()
    log = writer(tmp_path, files, max_entries=2)
    files.faults["fdatasync"] = [broken()]
    with pytest.raises(StorePoisoned):
        log.append(drafts(3), durability="os")
    with pytest.raises(StorePoisoned):
        log.append(drafts(1), durability="os")
    assert [segment.first for segment in list_segments(tmp_path / "log")] == [0]
    with pytest.raises(StorePoisoned):
        log.close()


def test_who_is_forgotten_still_syncs(tmp_path: Path) -> None:
    """A writer that is dropped syncs and notes; that it cannot is no error for anyone."""
    log = writer(tmp_path)
    log.append(drafts(2), durability="os")
    del log
    gc.collect()
    note = read_note(tmp_path)
    assert note is not None and note.seq == 1
    files = Faulty()
    log = writer(tmp_path, files)
    log.append(drafts(1), durability="os")
    files.faults["fdatasync"] = [broken()]
    del log
    gc.collect()
    assert files.calls[-1] == "fdatasync"
    assert len(log_of(tmp_path)) == 3


def test_closing_ends_it(tmp_path: Path) -> None:
    """Close syncs and gives the files back; a second one does nothing; an append after it is refused."""
    log = writer(tmp_path)
    log.append(drafts(1), durability="os")
    log.close()
    log.close()
    assert log.durable == 0
    assert log._head.lock_fd == -1
    with pytest.raises(StoreWriteFailed, match="closed"):
        log.append(drafts(1), durability="os")


def test_a_segment_that_is_taken_away_is_not_acknowledged(tmp_path: Path) -> None:
    """A line in a file that has no name any more is not called durable."""
    log = writer(tmp_path)
    log.append(drafts(1), durability="disk")
    (tmp_path / "log" / segment_name(0)).unlink()
    with pytest.raises(StorePoisoned, match="removed"):
        log.append(drafts(1), durability="disk")


def test_a_store_that_cannot_be_opened_fails_the_append(tmp_path: Path) -> None:
    """The error of the system call is told, and the next append tries again."""
    files = Faulty()
    log = writer(tmp_path, files)
    files.faults["open"] = [OSError(errno.EACCES, "Permission denied", str(tmp_path / "lock"))]
    with pytest.raises(StoreWriteFailed, match=r"lock.*owner and mode"):
        log.append(drafts(1), durability="os")
    assert log.append(drafts(1), durability="disk") == range(1)
    log.close()


def test_the_note_is_no_bar_to_opening(tmp_path: Path) -> None:
    """Without its note a log is read from its last segment on, and noted again."""
    for _ in range(3):
        log = writer(tmp_path, max_entries=2)
        log.append(drafts(3), durability="disk")
        log.close()
        (tmp_path / HEAD_FILE).unlink()
    assert len(log_of(tmp_path, 2)) == 9
