"""Compressing sealed segments beside readers, writers, threads, children, and others that compress."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.logs import drafts, log_of, writer
from helpers.sealing import Kth, Watched, compressed_names, names, read_all, store_of, with_lines

from intentusnet.log import sealing
from intentusnet.log.files import FILES, LOCK_FILE
from intentusnet.log.sealing import COMPRESS_LOCK, Compression, compress_sealed, held
from intentusnet.log.segment import LOG_DIR, Segment, list_segments, segment_name


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of three segments of five lines and an open one with two."""
    return store_of(tmp_path, 17)


def test_readers_at_every_step(store: Path) -> None:
    """Before and after each step, what is listed reads the same; so does what was listed before."""
    expected = read_all(list_segments(store / LOG_DIR))
    listed = [list_segments(store / LOG_DIR)]
    opened = [segment.open() for segment in listed[0]]

    def read(name: str) -> None:
        listed.append(list_segments(store / LOG_DIR))
        for segments in listed:
            assert read_all(segments) == expected
            for segment in segments:
                segment.check()
            assert sum(segment.size() for segment in segments) == len(b"\n".join(expected)) + 1

    compress_sealed(store, Watched(read, read))
    assert len(listed) > 50
    assert b"".join(file.read() for file in opened).splitlines() == expected
    for file in opened:
        file.close()


def test_a_listing_that_misses_a_file_is_read_again(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory may be listed without a file that gets another name meanwhile: no segment is missed."""
    real = os.listdir
    missing = [name for name in real(store / LOG_DIR) if name != segment_name(5)]
    answers = [missing]
    monkeypatch.setattr(os, "listdir", lambda path: answers.pop() if answers else real(path))
    assert [segment.first for segment in list_segments(store / LOG_DIR)] == [0, 5, 10, 15]
    assert not answers


COMPRESS = """
import sys
from pathlib import Path
from intentusnet.log.sealing import compress_sealed
sys.stdin.readline()
compress_sealed(Path(sys.argv[1]))
"""


def test_processes_that_compress_at_once(tmp_path: Path) -> None:
    """Three processes compress the same log while it is written to: all succeed, and it is the same log."""
    store_of(tmp_path, 152)
    command = [sys.executable, "-c", COMPRESS, str(tmp_path)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    with_lines(tmp_path, 50)
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len(log_of(tmp_path, 5)) == 202
    compress_sealed(tmp_path)
    assert [segment.compressed for segment in list_segments(tmp_path / LOG_DIR)] == [True] * 40 + [False]
    assert len(log_of(tmp_path, 5)) == 202


def test_what_is_sealed_is_found_while_nobody_writes(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed append takes back the segments that it began, so none of them may be seen: writers wait."""
    listed: list[bool] = []

    def listing(log: Path) -> tuple[Segment, ...]:
        with (store / LOCK_FILE).open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        listed.append(True)
        return list_segments(log)

    monkeypatch.setattr(sealing, "list_segments", listing)
    compress_sealed(store)
    assert listed == [True]
    with (store / LOCK_FILE).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    """A process is killed while it holds a lock, and its child lives on: the lock can be had."""
    code = """
import os, sys, time
from pathlib import Path
from intentusnet.log.sealing import held
from intentusnet.log.files import FILES
with held(Path(sys.argv[1]), FILES):
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        sys.stdin.read()
        os._exit(0)
    sys.stdin.read()
"""
    path = tmp_path / COMPRESS_LOCK
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        child = int(process.stdout.readline())
        process.kill()
        assert process.wait() == -signal.SIGKILL
        os.kill(child, 0)
        with held(path, FILES):
            os.kill(child, 0)


def run(compression: Compression) -> None:
    compression.start()
    compression.join()


def test_the_thread_compresses_what_is_sealed(store: Path) -> None:
    """After a start, and whatever comes while it works, everything sealed is compressed when it is joined."""
    compression = Compression(store, FILES)
    compression.join()
    compression.start()
    with_lines(store, 4)
    compression.start()
    compression.join()
    assert names(store) == [*compressed_names(), segment_name(15) + ".zst", segment_name(20)]
    assert len(log_of(store, 5)) == 21


def test_a_failed_compression_is_told_and_tried_again(store: Path) -> None:
    """What the thread cannot compress is a warning; the segments stay, until the next start."""
    fault = Kth(5, OSError(errno.ENOSPC, "full"))
    compression = Compression(store, Watched(fault))
    with pytest.warns(RuntimeWarning, match="stay uncompressed: .*full"):
        run(compression)
    assert names(store) == [segment_name(first) for first in (0, 5, 10, 15)]
    run(compression)
    assert names(store) == compressed_names(15)


def test_a_child_has_a_compression_of_its_own(store: Path) -> None:
    """A fork in the middle of a compression, with its locks held: the child's works, the parent's goes on."""
    children: list[int] = []
    compression = Compression(store, FILES)

    def fork(name: str) -> None:
        if name == "rename" and not children:
            with compression._mutex:
                children.append(os.fork())
                if children == [0]:
                    signal.alarm(30)
                    run(compression)
                    os._exit(0)

    compress_sealed(store, Watched(fork))
    assert os.waitpid(children[0], 0)[1] == 0
    assert names(store) == compressed_names(15)
    assert len(log_of(store, 5)) == 17


def test_the_locks_are_two(store: Path) -> None:
    """Appends wait for the listing of segments only, never for a compression."""

    def append(name: str) -> None:
        if name == "rename":
            with held(store / LOCK_FILE, FILES):
                pass
            log = writer(store, max_entries=5)
            log.append(drafts(1), durability="disk")
            log.close()

    compress_sealed(store, Watched(append))
    assert len(log_of(store, 5)) == 20
