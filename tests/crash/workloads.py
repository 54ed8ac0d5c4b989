"""What programs do to a store: one scene for each way in which the log changes.

A scene is a function that gives the trace of some processes in an empty directory. Another one is a few
lines: say what is done through a :class:`Story`, and add it to :data:`SCENES`.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from crash.explore import Workload, killed_at, play, reopened
from crash.promises import STORE_AT, Story, drafts, large_drafts
from crash.trace import Recording, Trace
from helpers.logs import full, in_threads

from intentusnet.errors import StorePoisoned, StoreWriteFailed
from intentusnet.log.segment import LOG_DIR

#: An empty directory; how many kills, None for all; the sync that is left out (see Recording).
Scene = Callable[[Path, int | None, str | None], Iterator[Trace]]


def made(trace: Trace, files: Recording) -> None:
    """Makes a store with its first entries."""
    story = Story(trace, files, entries=64)
    story.append(drafts())
    story.close()


def made_small(trace: Trace, files: Recording) -> None:
    """Makes a store whose segments are full at four entries."""
    story = Story(trace, files)
    story.append(drafts())
    story.close()


def created(trace: Trace, files: Recording) -> None:
    """The first entries of a store, which comes into being with them."""
    story = Story(trace, files)
    story.append(drafts(), "os")
    story.append(drafts(1))


def created_large(trace: Trace, files: Recording) -> None:
    """A store whose first entries have values that are kept apart."""
    story = Story(trace, files)
    story.append(large_drafts(1))


def synced(trace: Trace, files: Recording) -> None:
    """One caller who waits for the disk each time."""
    story = Story(trace, files)
    for questions in (0, 2, 1):
        story.append(drafts(questions))


def unsynced(trace: Trace, files: Recording) -> None:
    """One caller who does not wait for the disk, but for one sync in between."""
    story = Story(trace, files)
    story.append(drafts(), "os")
    story.append(drafts(1), "os")
    story.sync()
    for questions in (2, 0, 1):
        story.append(drafts(questions), "os")


def mixed(trace: Trace, files: Recording) -> None:
    """A caller who waits for the disk behind some who do not."""
    story = Story(trace, files)
    story.append(drafts(), "os")
    story.append(drafts())
    story.append(drafts(1), "os")
    story.append(drafts(close=False), "os")
    story.append(drafts())
    story.append(drafts(2), "os")


def waiting(trace: Trace, files: Recording) -> None:
    """Entries that are written after a while, and a sync that waits for them."""
    story = Story(trace, files, "async")
    story.append(drafts(), "async")
    story.append(drafts(1), "async")
    story.sync()
    story.append(drafts(), "async")
    story.append(drafts(), "disk")
    story.append(drafts(), "async")
    story.close()


def closed(trace: Trace, files: Recording) -> None:
    """A close, which syncs, between two processes' worth of entries."""
    for _ in range(2):
        story = Story(trace, files)
        story.append(drafts(), "os")
        story.append(drafts(1), "os")
        story.close()


def threads(trace: Trace, files: Recording) -> None:
    """Several threads that wait for the disk, and are led by one of them."""
    story = Story(trace, files)
    start = threading.Barrier(3)

    def work(number: int) -> None:
        start.wait()
        story.append(drafts(number % 2))
        story.append(drafts(), "os" if number == 1 else "disk")

    for thread in in_threads(3, work):
        thread.join()


def overlapping(trace: Trace, files: Recording) -> None:
    """Entries that come in while a sync is under way, which does not speak for them."""
    story = Story(trace, files)
    story.append(drafts())
    later = iter((1, 0))

    def meanwhile() -> None:
        questions = next(later, None)
        if questions is not None:
            for thread in in_threads(1, lambda _: story.append(drafts(questions), "os")):
                thread.join()

    files.on_sync = meanwhile
    story.append(drafts())
    story.append(drafts())
    story.append(drafts(), "os")


def alternating(trace: Trace, files: Recording) -> None:
    """Two processes that take turns, some of the time without a sync, over several segments."""
    one, other = Story(trace, files), Story(trace, Recording(trace, skip=files.skip))
    one.append(drafts(), "os")
    other.append(drafts())
    other.append(drafts(), "os")
    one.append(drafts(1))
    one.append(drafts(), "os")
    other.append(drafts(), "os")
    one.sync()
    other.append(drafts())
    one.close()
    other.close()


def rolling(trace: Trace, files: Recording) -> None:
    """Batches over the border between segments, with and without a sync."""
    story = Story(trace, files)
    story.append(drafts(1), "os")
    story.append(drafts(3), "os")
    story.append(drafts(1))
    story.append(drafts())
    story.append(drafts(4))
    story.close()


def failing(trace: Trace, files: Recording) -> None:
    """Writes that fail and are cut back, within a segment and beyond it, and entries after them."""
    story = Story(trace, files)
    story.append(drafts(), "os")
    for fault, durability in (([1000, full()], "disk"), ([900, full()], "os"), ([None, 700, full()], "disk")):
        files.faults["write"] = list(fault)
        try:
            story.append(drafts(2), durability)
        except StoreWriteFailed:
            pass
        else:
            raise AssertionError("the write was to fail")
        story.append(drafts(), durability)
    story.close()


def sealing(trace: Trace, files: Recording) -> None:
    """Segments that are compressed when they are full, by and by."""
    story = Story(trace, files)
    story.append(drafts(3), "os")
    story.append(drafts(1))
    story.seal()
    story.append(drafts(), "os")
    story.seal()
    story.append(drafts())
    story.close()


def large(trace: Trace, files: Recording) -> None:
    """Values that are kept apart from the log, some of them again, and a collection of what nothing needs."""
    story = Story(trace, files)
    again = large_drafts()
    story.append(again, "os")
    story.append(large_drafts(2))
    files.faults["write"] = [None, full()]
    with contextlib.suppress(StoreWriteFailed):
        story.append(large_drafts())
    story.append(drafts(), "os")
    story.store.collect()
    story.append(large_drafts())


def poisoned(trace: Trace, files: Recording) -> None:
    """A sync that fails, after which nothing is known; another process goes on."""
    story = Story(trace, files)
    story.append(drafts(), "os")
    story.append(drafts())
    story.append(drafts(1), "os")
    files.faults["fdatasync"] = [OSError(errno.EIO, "Input/output error")]
    try:
        story.append(drafts())
    except StorePoisoned:
        return
    raise AssertionError("the sync was to fail")


def one_after_another(*workloads: Workload) -> Scene:
    """Processes that run to their ends."""

    def scene(root: Path, kills: int | None, skip: str | None) -> Iterator[Trace]:
        trace = Trace(root)
        for workload in workloads:
            play(trace, workload, skip=skip)
        yield trace

    return scene


def killed(first: Workload) -> Scene:
    """A process that is killed at one of its calls, one trace for each, and one that goes on after it."""

    def scene(root: Path, kills: int | None, skip: str | None) -> Iterator[Trace]:
        yield from killed_at(root, first, reopened, kills=kills, skip=skip)

    return scene


def outlived(root: Path, kills: int | None, skip: str | None) -> Iterator[Trace]:
    """A process that has the store open while another one is killed, and goes on after it."""
    others: dict[Path, Story] = {}

    def first(trace: Trace, files: Recording) -> None:
        others[trace.root] = other = Story(trace, Recording(trace, skip=skip))
        other.append(drafts())
        rolling(trace, files)

    def then(trace: Trace, files: Recording) -> None:
        other = others[trace.root]
        other.append(drafts(), "os")
        other.append(drafts())
        other.close()

    yield from killed_at(root, first, then, kills=kills, skip=skip)


def torn(root: Path, kills: int | None, skip: str | None) -> Iterator[Trace]:
    """A torn end that is put aside, and another one after it."""
    trace = Trace(root)
    play(trace, made, skip=skip)
    for cut, then in ((400, reopened), (1300, unsynced), (60, reopened)):
        _tear(trace, cut, skip)
        play(trace, then, skip=skip)
    yield trace


def torn_and_killed(root: Path, kills: int | None, skip: str | None) -> Iterator[Trace]:
    """A recovery that is killed at one of its calls, one trace for each, and one that finishes it."""

    def first(trace: Trace, files: Recording) -> None:
        if not trace.events:
            play(trace, made, skip=skip)
            _tear(trace, 900, skip)
        reopened(trace, files)

    yield from killed_at(root, first, reopened, kills=kills, skip=skip)


def _tear(trace: Trace, cut: int, skip: str | None) -> None:
    """Appends without a sync, and a crash that leaves all of it but the last bytes."""
    play(trace, unsynced, skip=skip)
    tree = trace.disk.now()
    path = max(path for path in tree if path.startswith(f"{STORE_AT}/{LOG_DIR}/"))
    tree[path] = (tree[path] or b"")[:-cut]
    trace.crash(tree)


SCENES: dict[str, Scene] = {
    "creation": one_after_another(created),
    "synced": one_after_another(made, synced),
    "unsynced": one_after_another(made, unsynced),
    "mixed": one_after_another(made, mixed),
    "async": one_after_another(made, waiting),
    "closed": one_after_another(made, closed),
    "threads": one_after_another(made, threads),
    "overlapping": one_after_another(made, overlapping),
    "two processes": one_after_another(made, alternating),
    "two processes, small segments": one_after_another(made_small, alternating),
    "segments": one_after_another(made_small, rolling),
    "failed writes": one_after_another(made_small, failing),
    "failed sync": one_after_another(made, poisoned, reopened),
    "sealing": one_after_another(made_small, sealing),
    "large values": one_after_another(made, large),
    "torn": torn,
    "creation, killed": killed(created),
    "creation with large values, killed": killed(created_large),
    "segments, killed": killed(rolling),
    "segments, killed beside another": outlived,
    "failed writes, killed": killed(failing),
    "sealing, killed": killed(sealing),
    "large values, killed": killed(large),
    "torn, killed": torn_and_killed,
}
