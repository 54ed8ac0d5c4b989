"""Appending from many processes: one chain, whoever is killed, forked or gone."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.logs import STORE, Faulty, drafts, files_of, log_of, writer

from intentusnet.errors import IntegrityBroken
from intentusnet.log.files import Files
from intentusnet.log.head import HEAD_FILE, read_note
from intentusnet.log.segment import segment_name

APPEND = """
import sys
from pathlib import Path
from intentusnet.ids import SYSTEM_CLOCK
from intentusnet.log.entry import Draft
from intentusnet.log.writer import LogWriter

directory, store, count, most, how = sys.argv[1:]
count, most = int(count), int(most)
log = LogWriter(Path(directory), store, clock=SYSTEM_CLOCK, max_entries=most)
print("ready", flush=True)
sys.stdin.readline()
turn = 0
while turn != count:
    body = b'{"n":%d}' % turn
    durability = "disk" if how == "sync" or turn % 5 == 0 else "os"
    seqs = log.append([Draft.make("opened", "", body)] * (1 + turn % 3), durability=durability)
    print(*seqs, flush=True)
    turn += 1
"""


def start(directory: Path, count: int, most: int, how: str) -> subprocess.Popen[str]:
    """A process that appends; it waits for a line, and prints the seqs of each append."""
    process = subprocess.Popen(
        [sys.executable, "-c", APPEND, str(directory), STORE, str(count), str(most), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_many_processes_write_one_chain(tmp_path: Path) -> None:
    """Three processes at once, over many segments, and this one between them: one log."""
    processes = [start(tmp_path, 40, 16, "mixed") for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    log = writer(tmp_path, max_entries=16)
    seqs = [seq for _ in range(20) for seq in log.append(drafts(2), durability="disk")]
    for process in processes:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        seqs += [int(seq) for seq in out.split()]
    log.close()
    assert sorted(seqs) == list(range(len(log_of(tmp_path, 16))))
    assert len(seqs) == 40 + 3 * (40 + 13 + 2 * 13)


@pytest.mark.parametrize("how", ["sync", "mixed"])
def test_a_killed_process_leaves_a_log_that_goes_on(tmp_path: Path, how: str) -> None:
    """After SIGKILL in the middle of its appends, all that it was told is there, and the log goes on."""
    process = start(tmp_path, -1, 16, how)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    told = [int(seq) for _ in range(30) for seq in process.stdout.readline().split()]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    log = writer(tmp_path, max_entries=16)
    after = log.append(drafts(1), durability="disk")
    log.close()
    assert told == list(range(len(told)))
    assert after[0] >= len(told)
    assert len(log_of(tmp_path, 16)) == after[0] + 1


def test_who_exits_without_closing_still_syncs(tmp_path: Path) -> None:
    """A process that ends leaves its lines on disk and the note says so."""
    process = start(tmp_path, 3, 16, "mixed")
    out, _ = process.communicate("go\n", timeout=60)
    note = read_note(tmp_path)
    assert process.returncode == 0 and note is not None
    assert note.seq == int(out.split()[-1]) == len(log_of(tmp_path, 16)) - 1


def test_a_forked_child_starts_afresh(tmp_path: Path) -> None:
    """Parent and child of a fork take turns like any two processes."""
    log = writer(tmp_path, max_entries=3)
    log.append(drafts(2), durability="os")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            log.append(drafts(2), durability="disk")
            log.append(drafts(2), durability="os")
            log.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert log.append(drafts(2), durability="disk") == range(6, 8)
    log.close()
    assert len(log_of(tmp_path, 3)) == 8


def test_a_lock_that_was_held_at_a_fork_does_not_stop_the_child(tmp_path: Path) -> None:
    """Whatever the parent's threads were doing, the child can append at once."""
    log = writer(tmp_path)
    log.append(drafts(1), durability="disk")
    with log._head.write_lock, log._head._sync_lock:
        child = os.fork()
        if child == 0:
            status = 1
            signal.alarm(30)
            try:
                log.append(drafts(1), durability="disk")
                status = 0
            finally:
                os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    log.close()
    assert len(log_of(tmp_path)) == 2


def test_one_process_syncs_at_a_time(tmp_path: Path) -> None:
    """While a process syncs, the note is locked: others wait for it, and find their lines on disk."""
    locked = []

    class Looking(Files):
        def fdatasync(self, fd: int) -> None:
            with (tmp_path / HEAD_FILE).open() as note:
                try:
                    fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    locked.append(True)
            super().fdatasync(fd)

    log = writer(tmp_path, Looking())
    log.append(drafts(1), durability="disk")
    log.append(drafts(1), durability="disk")
    log.close()
    assert locked == [True, True]


def test_another_writer_is_noticed(tmp_path: Path) -> None:
    """Two writers that take turns see each other's lines, also when one goes on to a segment early."""
    one, other = writer(tmp_path), writer(tmp_path, max_entries=2)
    expected = 0
    for turn in range(4):
        for log in (one, other, other, one):
            assert log.append(drafts(1), durability="os" if turn % 2 else "disk") == range(
                expected, expected + 1
            )
            expected += 1
    one.close()
    other.close()
    assert len(log_of(tmp_path, None)) == expected


def test_a_sync_of_another_writer_counts(tmp_path: Path) -> None:
    """Lines that another process has synced together with its own are not synced again."""
    files = Faulty()
    one, other = writer(tmp_path, files), writer(tmp_path)
    one.append(drafts(1), durability="os")
    other.append(drafts(1), durability="disk")
    files.calls.clear()
    one.sync()
    assert files.calls == [] and one.durable == 1
    one.close()
    other.close()


def test_lines_that_another_process_cut_off_are_missed(tmp_path: Path) -> None:
    """A log that became shorter is not written to."""
    log = writer(tmp_path)
    log.append(drafts(2), durability="os")
    path = tmp_path / "log" / segment_name(0)
    path.write_bytes(path.read_bytes()[:100])
    before = files_of(tmp_path)
    for _ in range(2):
        with pytest.raises(IntegrityBroken, match="gone"):
            log.append(drafts(1), durability="os")
    assert files_of(tmp_path) == before
