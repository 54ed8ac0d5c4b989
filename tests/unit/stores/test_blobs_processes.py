"""Large values beside others: many threads, processes that are killed, and a collector."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers import blobs as made
from helpers import executions
from helpers.logs import in_threads

from intentusnet.log.durability import DURABILITIES, Durability
from intentusnet.log.files import Files
from intentusnet.stores.base import StoreSettings
from intentusnet.stores.blobs import Collected
from intentusnet.stores.file import FileExecutionStore

VALUE = made.large("value ")
BLOB = made.blob_of(VALUE)


def test_threads_record_the_same_values(tmp_path: Path) -> None:
    """Many threads that write the same few values at once: one file each, everything readable."""
    store = FileExecutionStore(tmp_path, "os", settings=StoreSettings(segment_entries=50))
    told = [made.large(word) for word in ("a", "b", "c")]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                store.append(made.execution(10 * number + turn, told[turn % 3], told[number % 3]))
        except BaseException as fault:  # noqa: BLE001 - handed to the test
            failures.append(fault)

    for thread in in_threads(6, work):
        thread.join()
    assert failures == []
    assert len(made.blob_files(tmp_path)) == 3
    for number in range(6):
        for turn in range(5):
            assert made.told(store, 10 * number + turn) == [
                made.blob_of(told[turn % 3]).data,
                made.blob_of(told[number % 3]).data,
            ]
    assert store.verify().ok


DIES = """
import os, signal, sys
from pathlib import Path
from helpers import blobs as made
from intentusnet.log.files import Files
from intentusnet.stores.file import FileExecutionStore

class Dies(Files):
    def write(self, fd, data):
        if sys.argv[2] == "line" and bytes(data).startswith(b'{"seq"'):
            os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[2] == "value" and not bytes(data).startswith(b'{"seq"'):
            super().write(fd, data[:10])
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(fd, data)

    def rename(self, old, new):
        if sys.argv[2] == "rename" and new.suffix == ".zst":
            os.kill(os.getpid(), signal.SIGKILL)
        super().rename(old, new)

FileExecutionStore(Path(sys.argv[1]), files=Dies()).append(made.execution(2, made.large("value ")))
"""


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    tests = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])},
    )


@pytest.mark.parametrize(
    ("where", "blobs", "unfinished"), [("value", 0, 1), ("rename", 0, 1), ("line", 1, 0)]
)
def test_a_killed_process_leaves_no_lock_and_nothing_that_matters(
    tmp_path: Path, where: str, blobs: int, unfinished: int
) -> None:
    """Killed in the value, before its name, or before its line: others append and collect at once."""
    store = FileExecutionStore(tmp_path)
    store.append(executions.execution(1))
    process = child(DIES, str(tmp_path), where)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert (len(made.blob_files(tmp_path)), len(made.unfinished(tmp_path))) == (blobs, unfinished)
    collected = store.collect()
    assert (collected.blobs, collected.unfinished) == (blobs, unfinished)
    assert made.blob_files(tmp_path) == made.unfinished(tmp_path) == []
    store.append(made.execution(2, VALUE))
    assert made.told(store, 2) == [BLOB.data]


class Waits(Files):
    """Lets a writer wait before its first line."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if bytes(data[:6]) == b'{"seq"':
            self.reached.set()
            assert self.go_on.wait(30)
        return super().write(fd, data)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_the_collector_waits_for_an_append_between_value_and_line(
    tmp_path: Path, durability: Durability
) -> None:
    """From its value to its line, in every durability, an append keeps the collector out by a lock."""
    store, files = FileExecutionStore(tmp_path), Waits()
    store.append(executions.execution(1))
    slow = FileExecutionStore(tmp_path, durability, files=files)
    appending = threading.Thread(target=lambda: slow.append(made.execution(2, VALUE)))
    appending.start()
    assert files.reached.wait(30)
    assert len(made.blob_files(tmp_path)) == 1
    with (tmp_path / "blobs" / "lock").open("rb") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    collected: list[Collected] = []
    collecting = threading.Thread(target=lambda: collected.append(store.collect()))
    collecting.start()
    files.go_on.set()
    appending.join()
    collecting.join()
    assert collected == [Collected(0, 0, 0)]
    assert made.told(store, 2) == [BLOB.data]
