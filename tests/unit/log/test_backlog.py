"""`async` durability: what was handed over is written in order, within bounds, and never lost silently."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.logs import EXECUTION, STORE, Faulty, broken, drafts, full, log_of, until
from hypothesis import given, settings
from hypothesis import strategies as st

from intentusnet.errors import InvalidInput, StorePoisoned, StoreWriteFailed
from intentusnet.ids import ManualClock
from intentusnet.log.backlog import AsyncBound, Backlog
from intentusnet.log.durability import DURABILITIES
from intentusnet.log.files import FILES, Files
from intentusnet.log.writer import LogWriter

NEVER_MS = 600_000


def writer(
    directory: Path, files: Files = FILES, *, entries: int = 1000, milliseconds: int = NEVER_MS
) -> LogWriter:
    bound = AsyncBound(entries, milliseconds)
    return LogWriter(directory, STORE, clock=ManualClock(step_us=1), bound=bound, files=files)


def texts(directory: Path) -> list[bytes]:
    return [entry.body for entry in log_of(directory)]


def test_an_async_append_touches_no_file(tmp_path: Path) -> None:
    """What is handed over is written by the next flush, and on disk after the next sync."""
    files = Faulty()
    log = writer(tmp_path, files)
    assert log.append(drafts(3), durability="async") == range(0)
    assert files.calls == []
    log.flush()
    assert len(log_of(tmp_path)) == 3
    assert log.durable == -1
    log.sync()
    assert log.durable == 2
    log.close()


@pytest.mark.parametrize("durability", ["disk", "os"])
def test_another_durability_does_not_overtake(tmp_path: Path, durability: str) -> None:
    """An append that is written at once is written behind what was handed over before it."""
    log = writer(tmp_path)
    log.append(drafts(2, "first "), durability="async")
    assert log.append(drafts(1, "then "), durability=durability) == range(2, 3)  # type: ignore[arg-type]  # a str
    log.append(drafts(1, "last "), durability="async")
    log.close()
    assert texts(tmp_path) == [b'{"n":"first 0"}', b'{"n":"first 1"}', b'{"n":"then 0"}', b'{"n":"last 0"}']


def test_no_more_entries_than_the_bound_are_off_the_disk(tmp_path: Path) -> None:
    """The append that would go beyond the bound waits for the disk, and takes the others there."""
    log = writer(tmp_path, entries=10)
    for _ in range(10):
        assert log.append(drafts(1), durability="async") == range(0)
    assert log.append(drafts(1), durability="async") == range(10, 11)
    assert log.durable == 10
    assert log.append(drafts(10), durability="async") == range(0)
    assert log.append(drafts(11), durability="async") == range(21, 32)
    assert log.durable == 31
    log.close()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(DURABILITIES), st.integers(1, 6)), max_size=25))
def test_the_bound_holds_whatever_is_appended(
    tmp_path_factory: pytest.TempPathFactory, appends: list[tuple[str, int]]
) -> None:
    """Of what was handed over, never more than the bound is off the disk; in the end all is there."""
    directory = tmp_path_factory.mktemp("log")
    log = writer(directory, entries=8)
    expected: list[bytes] = []
    handed_over: list[int] = []
    for turn, (durability, count) in enumerate(appends):
        made = drafts(count, f"{turn}-")
        log.append(made, durability=durability)  # type: ignore[arg-type]  # a str
        if durability == "async":
            handed_over += range(len(expected), len(expected) + count)
        expected += [draft.body for draft in made]
        assert len([seq for seq in handed_over if seq > log.durable]) <= 8
        if durability == "disk":
            assert log.durable == len(expected) - 1
    log.close()
    assert texts(directory) == expected
    assert log.durable == len(expected) - 1


def test_what_was_handed_over_gets_to_disk_by_itself(tmp_path: Path) -> None:
    """Without another call, a write and a sync come after the bound's time; again for what comes later."""
    log = writer(tmp_path, milliseconds=1)
    for seq in range(3):
        log.append(drafts(1), durability="async")
        until(lambda seq=seq: log.durable == seq)  # type: ignore[misc]  # mypy cannot infer this lambda
    log.close()


def test_an_append_that_was_not_synced_gets_to_disk_in_time(tmp_path: Path) -> None:
    """What was handed over and then written by an unsynced append is still synced by the thread."""
    log = writer(tmp_path, milliseconds=1)
    log.append(drafts(1), durability="async")
    log.append(drafts(1), durability="os")
    until(lambda: log.durable == 1)
    log.close()


def test_many_threads_hand_over_in_their_order(tmp_path: Path) -> None:
    """Each thread's entries stand in the order in which it handed them over, mixed with durable ones."""
    log = writer(tmp_path, entries=20, milliseconds=1)

    def work(name: int) -> None:
        for turn in range(30):
            durability = "disk" if turn % 7 == name else "async"
            log.append(drafts(1, f"{name}.{turn:02}."), durability=durability)  # type: ignore[arg-type]  # a str

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    found = texts(tmp_path)
    assert len(found) == 120
    for name in range(4):
        own = [text for text in found if text.startswith(b'{"n":"%d.' % name)]
        assert own == sorted(own) and len(own) == 30


def test_a_failed_write_loses_nothing(tmp_path: Path) -> None:
    """What could not be written stays handed over, and is written once the cause is gone."""
    files = Faulty()
    log = writer(tmp_path, files, entries=4)
    log.append(drafts(1), durability="disk")
    log.append(drafts(4, "kept "), durability="async")
    files.faults["write"] = [full(), full(), full()]
    with pytest.raises(StoreWriteFailed, match="No space"):
        log.flush()
    with pytest.raises(StoreWriteFailed, match="No space"):
        log.sync()
    with pytest.raises(StoreWriteFailed, match="nothing of it"):
        log.append(drafts(1, "refused "), durability="async")
    assert len(log_of(tmp_path)) == 1
    log.append(drafts(1, "later "), durability="os")
    log.close()
    assert [text[6:10] for text in texts(tmp_path)[1:]] == [b"kept", b"kept", b"kept", b"kept", b"late"]


def test_the_thread_goes_on_after_a_failed_write(tmp_path: Path) -> None:
    """The thread tries again after the bound's time, and nothing is written twice."""
    files = Faulty()
    log = writer(tmp_path, files, milliseconds=1)
    log.append(drafts(1), durability="disk")
    files.faults["write"] = [full(), broken(), None]
    log.append(drafts(2), durability="async")
    until(lambda: log.durable == 2)
    log.close()
    assert len(log_of(tmp_path)) == 3


def test_a_failed_sync_of_the_thread_poisons_the_log(tmp_path: Path) -> None:
    """The next append of any durability is told that the outcome is unknown."""
    files = Faulty()
    log = writer(tmp_path, files, milliseconds=1)
    log.append(drafts(1), durability="disk")
    files.faults["fdatasync"] = [broken()]
    log.append(drafts(1), durability="async")
    until(lambda: not files.faults["fdatasync"])

    def is_poisoned() -> bool:
        try:
            log.append(drafts(1), durability="async")
        except StorePoisoned:
            return True
        return False

    until(is_poisoned)
    for durability in DURABILITIES:
        with pytest.raises(StorePoisoned, match="unknown"):
            log.append(drafts(1), durability=durability)
    with pytest.raises(StorePoisoned):
        log.close()


def test_a_close_that_cannot_write_says_so(tmp_path: Path) -> None:
    """What was handed over and is lost at the end is not lost silently; the files are closed all the same."""
    files = Faulty()
    log = writer(tmp_path, files)
    log.append(drafts(1), durability="disk")
    log.append(drafts(1), durability="async")
    files.faults["write"] = [full()]
    with pytest.raises(StoreWriteFailed):
        log.close()
    assert files.open_now == set()
    with pytest.raises(StoreWriteFailed, match="closed"):
        log.append(drafts(1), durability="async")


def test_a_writer_that_nobody_closes_writes_its_backlog(tmp_path: Path) -> None:
    """A writer that is forgotten writes what was handed to it, and its thread ends."""
    log = writer(tmp_path)
    log.append(drafts(2), durability="async")
    threads = threading.active_count()
    del log
    gc.collect()
    assert len(log_of(tmp_path)) == 2
    until(lambda: threading.active_count() < threads)


AT_EXIT = f"""
import sys
from pathlib import Path
from intentusnet.ids import SYSTEM_CLOCK
from intentusnet.log.backlog import AsyncBound, Backlog
from intentusnet.log.entry import Draft
from intentusnet.log.writer import LogWriter
log = LogWriter(Path(sys.argv[1]), "{STORE}", clock=SYSTEM_CLOCK, bound=AsyncBound(50, int(sys.argv[2])))
for turn in range(int(sys.argv[3])):
    log.append([Draft.make("opened", "{EXECUTION}", b'{{"n":%d}}' % turn)], durability="async")
    print(turn, flush=True)
"""


def test_the_end_of_the_program_writes_the_backlog(tmp_path: Path) -> None:
    """A program that ends without closing has lost nothing."""
    subprocess.run([sys.executable, "-c", AT_EXIT, tmp_path, str(NEVER_MS), "7"], check=True, timeout=60)
    assert len(log_of(tmp_path)) == 7


def test_a_killed_process_loses_no_more_than_the_bound(tmp_path: Path) -> None:
    """After SIGKILL at most the bound's number of entries is missing, and they are the last ones."""
    command = [sys.executable, "-c", AT_EXIT, tmp_path, "1", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(400):
            process.stdout.readline()
        process.kill()
        printed = 400 + sum(line.endswith(b"\n") for line in process.stdout)
    log = writer(tmp_path)
    log.append(drafts(1), durability="disk")
    log.close()
    numbers = [entry.body for entry in log_of(tmp_path) if entry.kind == "opened"][:-1]
    assert numbers == [b'{"n":%d}' % number for number in range(len(numbers))]
    assert len(numbers) >= printed - 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_leaves_the_backlog_to_its_parent(tmp_path: Path) -> None:
    """What was handed over before a fork is written once, by the parent; the child has its own backlog."""
    log = writer(tmp_path)
    log.append(drafts(2, "parent "), durability="async")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            log.append(drafts(1, "child "), durability="async")
            log.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    log.close()
    assert [text[6:11] for text in texts(tmp_path)] == [b"child", b"paren", b"paren"]


@pytest.mark.parametrize(
    ("entries", "milliseconds"), [(0, 1), (1, 0), (-1, 1), (1.5, 1), (True, 1), (1, "5")]
)
def test_a_bound_is_positive(entries: object, milliseconds: object) -> None:
    """A bound that is no number of entries, or of milliseconds, is refused where it is made."""
    with pytest.raises(InvalidInput, match="async_bound"):
        AsyncBound(entries, milliseconds)  # type: ignore[arg-type]  # wrong on purpose


def test_a_stop_at_the_worst_moment_ends_the_thread() -> None:
    """A stop that comes just before the thread notes that it is at work is not overlooked."""

    class StopsWhenCleared(threading.Event):
        def clear(self) -> None:
            backlog._stopped.set()
            self.set()
            super().clear()

    backlog = Backlog(AsyncBound(10, 1), lambda: None)
    backlog._due = StopsWhenCleared()
    backlog.offer(drafts(1), -1)
    assert backlog._thread is not None
    backlog._thread.join(30)
    assert not backlog._thread.is_alive()
