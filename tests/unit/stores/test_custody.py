"""The locks of runners: they end with their process, however it ends, and leave nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from intentusnet.errors import StoreWriteFailed
from intentusnet.stores.custody import RUNNERS_DIR
from intentusnet.stores.file import FileExecutionStore

ID = "0197a3c4-5b60-7e21-9d3f-2c1b0a998877"
OTHER = "0197a3c4-5b60-7e21-9d3f-2c1b0a998878"

#: Begins an execution, says who runs it, and forks a child that lives until its stdin ends.
FORKING = """
import os, signal, sys
from intentusnet import FileExecutionStore
store = FileExecutionStore(sys.argv[1])
with store.custody.claim(sys.argv[2]):
    runner = store.custody.begin(sys.argv[2])
    if os.fork() == 0:
        print(runner, store.custody.begin("x") != runner, flush=True)
        sys.stdin.read()
    else:
        signal.pause()
"""


def files(directory: Path) -> list[str]:
    return sorted(os.listdir(directory / RUNNERS_DIR))


def test_a_store_that_records_nothing_leaves_nothing(tmp_path: Path) -> None:
    """Reading takes no lock and makes no file."""
    with FileExecutionStore(tmp_path / "store") as store:
        assert not store.custody.is_running(ID, "0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_store_takes_its_file_along(tmp_path: Path) -> None:
    """Two stores have a file each; what one had in hand is nobody's when it is closed."""
    one, other = FileExecutionStore(tmp_path), FileExecutionStore(tmp_path)
    runner, second = one.custody.begin(ID), other.custody.begin("x")
    assert files(tmp_path) == sorted([runner, second])
    assert other.custody.is_running(ID, runner)
    one.close()
    assert not other.custody.is_running(ID, runner)
    assert files(tmp_path) == [second]
    other.close()
    assert files(tmp_path) == []
    with pytest.raises(StoreWriteFailed):
        other.custody.begin(ID)


def test_a_wish_that_came_too_late_is_removed(tmp_path: Path) -> None:
    """Who asks for a stop as the execution ends leaves a file, which goes an hour later; a new one stays."""
    with FileExecutionStore(tmp_path / "store") as store:
        store.custody.begin(ID)
        store.custody.ask_to_stop(ID, "late")
        store.custody.ask_to_stop(OTHER, "just now")
    late = tmp_path / "store" / RUNNERS_DIR / f"{ID}.stop"
    an_hour_ago = late.stat().st_mtime - 3601
    os.utime(late, (an_hour_ago, an_hour_ago))
    with FileExecutionStore(tmp_path / "store") as store:
        store.custody.begin(OTHER)
        assert store.custody.wants_stopped(ID) is None
        assert store.custody.wants_stopped(OTHER) == "just now"


def test_what_killed_runners_left_is_removed(tmp_path: Path) -> None:
    """The next one that records removes their files, and none that is in use."""
    with FileExecutionStore(tmp_path) as one, FileExecutionStore(tmp_path) as other:
        runner = one.custody.begin(ID)
        (tmp_path / RUNNERS_DIR / ("0" * 32)).touch()
        assert files(tmp_path) == sorted(["0" * 32, runner])
        second = other.custody.begin("x")
        assert files(tmp_path) == sorted([runner, second])


def test_a_lock_that_cannot_be_taken_refuses_to_record(tmp_path: Path) -> None:
    """Without it an execution that runs would look interrupted."""
    with FileExecutionStore(tmp_path) as store:
        store.custody.begin(ID)
    with FileExecutionStore(tmp_path) as store:
        (tmp_path / RUNNERS_DIR).rmdir()
        (tmp_path / RUNNERS_DIR).touch()
        with pytest.raises(StoreWriteFailed, match=RUNNERS_DIR):
            store.custody.begin(ID)


def test_a_forked_child_does_not_keep_what_was_its_parents(tmp_path: Path) -> None:
    """While the parent lives, its executions run; when it is killed they do not, though the child lives."""
    command = [sys.executable, "-c", FORKING, str(tmp_path), ID]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as parent,
        FileExecutionStore(tmp_path) as store,
    ):
        assert parent.stdin is not None
        assert parent.stdout is not None
        runner, differs = parent.stdout.readline().split()
        assert differs == "True"
        assert store.custody.is_running(ID, runner)
        assert store.custody.is_running(ID, None)
        parent.kill()
        assert parent.wait() == -signal.SIGKILL
        assert not store.custody.is_running(ID, runner)
        assert not store.custody.is_running(ID, None)
        parent.stdin.close()
