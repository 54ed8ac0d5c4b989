"""A machine may stop at any moment of a repair: the original is not lost, and the repair can be finished."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from shutil import rmtree

import pytest
from crash.simdisk import Disk, Tree, crash_states
from crash.trace import Call, Recording, Trace, perform, write_tree
from helpers import executions as made
from helpers.logs import Unsynced, files_of
from helpers.stores import segments

from intentusnet.errors import IntentusError, StorePoisoned
from intentusnet.log.entry import parse_line
from intentusnet.log.head import HEAD_FILE
from intentusnet.log.recovery import REPAIR_FILE
from intentusnet.log.repair import repair_store
from intentusnet.log.segment import iter_lines, list_segments
from intentusnet.log.verify import verify_store
from intentusnet.stores.base import StoreSettings
from intentusnet.stores.file import FileExecutionStore

STRAY = Path("log") / "notes.txt"


class Lost(AssertionError):
    """A crash state from which a repair does not come to the same log."""


def stored(path: Path, executions: int) -> None:
    with FileExecutionStore(path, settings=StoreSettings(segment_entries=4), files=Unsynced()) as store:
        for number in range(1, executions + 1):
            store.append(made.execution(number))


def damaged_in_the_middle(path: Path) -> Recording:
    """A log of four segments: a line of the second is gone, and a stray file lies beside them."""
    stored(path, 7)
    lines = segments(path)[1].read_bytes().splitlines(keepends=True)
    segments(path)[1].write_bytes(b"".join(lines[:2] + lines[3:]))
    (path / STRAY).write_text("keep me")
    return Recording(Trace(path))


def damaged_beside_unsynced_lines(path: Path) -> Recording:
    """A stray file in a log whose last lines are not on disk yet."""
    stored(path, 2)
    files = Recording(Trace(path))
    store = FileExecutionStore(path, "os", files=files)
    files.memory.append(store)
    store.append(made.execution(9, close=False))
    files.close(files.open(path / STRAY, os.O_WRONLY | os.O_CREAT))
    return files


def gone_on_after_a_failure(path: Path) -> Recording:
    """The same log; the last sync of its repair fails, and a process goes on with what is there."""
    return damaged_in_the_middle(path)


SCENES = [damaged_beside_unsynced_lines, damaged_in_the_middle, gone_on_after_a_failure]


def saved(path: Path) -> list[bytes]:
    """The commits of what was in the log before, in order."""
    entries = [parse_line(line) for part in list_segments(path / "log") for _, line in iter_lines(part)]
    return [entry.commit for entry in entries if entry.kind != "recovery"]


def states(trace: Trace, since: int, rng: Random, exhaust: int, samples: int) -> Iterator[tuple[bool, Tree]]:
    """The states that a crash may leave, from an event on: before each sync, and (True) at the end."""
    seen: set[int] = set()
    disk = Disk(trace.start)
    for time, event in enumerate([*trace.events, None]):
        is_sync = isinstance(event, Call) and event.name in ("sync", "sync_dir")
        if time >= since and (event is None or is_sync):
            for chosen in crash_states(disk.choices(rng, 1), rng, exhaust=exhaust, samples=samples):
                tree = disk.tree(chosen)
                key = hash((event is None, tuple(sorted(tree.items()))))
                if key not in seen:
                    seen.add(key)
                    yield event is None, tree
        if isinstance(event, Call):
            perform(disk, event, time)


def check(path: Path, tree: Tree, originals: dict[str, bytes], expected: list[bytes]) -> None:
    """Repairs what a crash has left, and looks whether anything is missing that was on disk before."""
    begun = REPAIR_FILE in tree or any(
        name.startswith("log/") and b'"repair":true' in (data or b"") for name, data in tree.items()
    )
    again = repair_store(path, files=Unsynced())
    if begun and REPAIR_FILE not in tree and again.repaired:
        raise Lost("what was repaired is damaged")
    there = saved(path) if begun else []
    with FileExecutionStore(path, "os", files=Unsynced()) as store:
        store.append(made.execution(99))
    if not verify_store(path).ok or repair_store(path).repaired:
        raise Lost("the log does not check")
    if begun and there != expected:
        raise Lost("entries are missing")
    files = files_of(path)
    for name, data in originals.items():
        copies = [found for kept, found in files.items() if Path(kept).name == name]
        if data not in copies:
            raise Lost(f"{name} is missing")


def explore(
    scene: Callable[[Path], Recording],
    memory: Path,
    rng: Random,
    *,
    skip: str | None = None,
    exhaust: int,
    samples: int,
) -> tuple[int, Trace]:
    """Repairs once, and checks what crashes may leave of that.

    Returns:
        How many states there were, and what was done.

    Raises:
        Lost: of one of the states, and there may be other errors where a sync was skipped.
    """
    root, state = memory / "work", memory / "state"
    for path in (root, state):
        rmtree(path, ignore_errors=True)
    root.mkdir()
    files = scene(root)
    files.skip = skip
    trace = files.trace
    on_disk = {name: data for name, data in trace.start.items() if data is not None}
    originals = {
        Path(name).name: data for name, data in on_disk.items() if name.startswith(("log/", HEAD_FILE))
    }
    since = len(trace.events)
    if scene is gone_on_after_a_failure:
        files.faults["fsync_dir"] = [*[None] * (_syncs_of_directories(memory) - 1), OSError(5, "EIO")]
        with pytest.raises(StorePoisoned):
            repair_store(root, files=files)
        files.memory.append(going_on := FileExecutionStore(root, files=files))
        going_on.append(made.execution(9))
        since = len(trace.events)
    else:
        repair_store(root, files=files)
    files.end()
    expected = saved(root)
    if scene is damaged_beside_unsynced_lines:
        # Its last segment and its note went on, so that their later bytes are what is kept.
        originals = {}
    count = 0
    for at_end, tree in states(trace, since, rng, exhaust, samples):
        count += 1
        if at_end and scene is not gone_on_after_a_failure and REPAIR_FILE in tree:
            raise Lost("the repair is not finished")
        write_tree(state, tree)
        check(state, tree, originals, expected)
        rmtree(state)
    return count, trace


@cache
def _syncs_of_directories(memory: Path) -> int:
    """How many syncs of directories a repair makes."""
    root = memory / "counted"
    root.mkdir()
    files = damaged_in_the_middle(root)
    repair_store(root, files=files)
    files.end()
    return sum(count for name, count in files.trace.syncs.items() if "fsync_dir" in name)


@pytest.mark.parametrize("scene", SCENES)
def test_a_crash_at_any_moment_of_a_repair(
    scene: Callable[[Path], Recording],
    memory: Path,
    torture: bool,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Whatever is on disk, running the repair comes to the same log, with the original in the quarantine."""
    exhaust, samples = (1024, 300) if torture else (16, 6)
    count, _ = explore(scene, memory, Random(seed), exhaust=exhaust, samples=samples)
    assert count > (1 if scene is gone_on_after_a_failure else 100)
    record_property("crash states", count)


def test_each_sync_of_a_repair_is_needed(memory: Path, seed: int) -> None:
    """Without any one of its syncs, there is a crash after which something is missing."""
    found: dict[str, bool] = {}
    for scene in SCENES:
        _, trace = explore(scene, memory, Random(seed), exhaust=1, samples=1)
        for name in trace.syncs:
            if name.startswith("log/mending.py") and not found.get(name):
                try:
                    explore(scene, memory, Random(seed), skip=name, exhaust=32, samples=12)
                    found[name] = False
                except (AssertionError, IntentusError, OSError, ValueError):
                    found[name] = True
    assert all(found.values()), found
    assert len(found) == 8
