"""Worker processes spare the verifier time and change nothing about what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from helpers.drafts import closed, draft
from helpers.segmented import DRAFTS, both, make_store, name, write_log
from helpers.stores import segments

from intentusnet.errors import StoreRefused
from intentusnet.log import verify, verify_worker, workers
from intentusnet.log.entry import leaf, leaf_hash
from intentusnet.log.merkle import root_of
from intentusnet.log.verify import verify_store
from intentusnet.log.walk import Checked


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of many small segments, with executions that lie across several of them."""
    return make_store(tmp_path / "store", DRAFTS)


def test_workers_come_to_the_same_report(store: Path) -> None:
    """Real processes answer for segments, and the report is that of one process, root included."""
    alone, together = both(store)
    assert alone == together
    assert (alone.ok, alone.entries, alone.executions) == (True, len(DRAFTS), 20)
    assert 0 < len(alone.interrupted) < 20
    lines = [line for path in segments(store) for line in path.read_bytes().splitlines()]
    assert alone.root == root_of(b"".join(leaf_hash(leaf(line)) for line in lines)).hex()


def test_the_earlier_of_two_bad_places_is_told(store: Path) -> None:
    """With a bad line in the first segment and in the last, the first is the first, whoever finds it when."""
    for path in (segments(store)[0], segments(store)[-1]):
        data = path.read_bytes()
        path.write_bytes(data.replace(b'"ts":', b'"ts":1', 1))
    alone, together = both(store)
    assert alone == together
    assert alone.first_bad is not None
    assert (alone.first_bad.segment, alone.first_bad.line) == (segments(store)[0].name, 1)


def test_a_log_that_cannot_be_read_is_refused(store: Path) -> None:
    """A segment that is a directory is no damage: nothing can be said."""
    segments(store)[3].unlink()
    (store / "log" / f"{15:020d}.jsonl").mkdir()
    for count in (1, 2):
        with pytest.raises(StoreRefused, match="cannot be read"):
            verify_store(store, workers=count)


def kept(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The worker processes that are started from now on."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **options))
        return started[-1]

    monkeypatch.setattr(workers.subprocess, "Popen", start)
    return started


@pytest.mark.parametrize("killed", [1, 2])
def test_a_worker_that_is_killed_changes_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch, killed: int
) -> None:
    """With one worker gone the other goes on, with all gone the verifier does; the report is the same."""
    started = kept(monkeypatch)
    alone = verify_store(store, workers=1)
    takes = verify_worker.decode
    taken: list[Checked] = []

    def take(message: dict[str, Any]) -> Checked:
        taken.append(takes(message))
        if len(taken) == 2:
            for process in started[:killed]:
                process.kill()
        return taken[-1]

    monkeypatch.setattr(workers, "decode", take)
    assert verify_store(store, workers=2) == alone
    assert 2 <= len(taken) <= len(segments(store))
    assert [process.poll() is None for process in started] == [False, False]


@pytest.mark.parametrize("executable", [None, "", "/no/python", "python-chatty", "another", sys.executable])
def test_without_workers_the_verifier_goes_alone(
    store: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    """Where no interpreter is known, it cannot be started, or runs something else, the report is the same."""
    alone = verify_store(store, workers=1)
    if executable in {"python-chatty", "another"}:
        program = store.with_name(executable)
        told = f"echo started >> '{program}.ran'; echo Welcome to it"
        program.write_text(f"#!/bin/sh\n{told}\n")
        program.chmod(0o755)
        executable = str(program)
    if executable == sys.executable:
        monkeypatch.setattr(workers, "HELLO", bytes(32))
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(workers, "decode", None)
    assert verify_store(store, workers=2) == alone
    assert (store.parent / "python-chatty.ran").exists() is (executable or "").endswith("python-chatty")
    assert not (store.parent / "another.ran").exists()


def test_a_failure_in_the_middle_leaves_no_process(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, or whatever else ends a verification, ends its workers, whatever they are doing."""
    started = kept(monkeypatch)

    def interrupt(done: int, total: int) -> None:
        for process in started:
            process.send_signal(signal.SIGSTOP)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_store(store, interrupt, workers=2)
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


def test_progress_only_grows_and_ends_with_the_whole(store: Path) -> None:
    """With workers, too, what is told grows from call to call, up to all bytes."""
    told: list[tuple[int, int]] = []
    verify_store(store, lambda *done: told.append(done), workers=2)
    size = sum(path.stat().st_size for path in segments(store))
    assert told == sorted(set(told))
    assert told[-1] == (size, size)


def test_small_logs_are_not_worth_a_process(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left to itself, a verification starts processes for a large log only, one for each processor."""
    started = kept(monkeypatch)
    assert verify_store(store).ok
    assert started == []
    monkeypatch.setattr(verify, "_WORTH_WORKERS", 0)
    monkeypatch.setattr(verify, "processors", lambda: 2)
    assert verify_store(store).ok
    assert len(started) == 2


def test_a_worker_loads_little_and_keeps_to_itself() -> None:
    """It starts fast because it imports no models and no faces, says who it is, and ends when nobody asks."""
    command = [sys.executable, "-c", "import sys, intentusnet.log.verify_worker; print(*sys.modules)"]
    # A measurement of coverage would load more.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, env=alone).stdout.split()
    assert not {"pydantic", "click", "rich", "multiprocessing"} & set(loaded)
    command = [sys.executable, "-m", "intentusnet.log.verify_worker"]
    ran = subprocess.run(command, input=b"", capture_output=True, check=True)
    assert (ran.stdout, ran.stderr) == (verify_worker.HELLO, b"")


@pytest.mark.parametrize("count", [1, 2])
def test_memory_does_not_grow_with_the_log(store: Path, count: int) -> None:
    """A log of four times as many executions takes hardly more memory, with workers or without."""
    peaks = []
    for executions in (4_500, 18_000):
        openings = [draft("opened", name(at)) for at in range(executions)]
        write_log(store, [entry for one in openings for entry in (one, closed(one))], 1_000)
        del openings
        tracemalloc.start()
        assert verify_store(store, workers=count).executions == executions
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The filter, of 16 MiB, is there for both; 65 bytes for each execution more would be seen.
    assert peaks[1] < 1.05 * peaks[0]
