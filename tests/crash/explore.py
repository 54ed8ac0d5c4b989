"""Every crash of a trace: the states that it may leave, each written out, opened and checked."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from unittest.mock import patch

from crash.promises import Promise, Story, Violation, check, drafts
from crash.simdisk import Disk, Tree, crash_states
from crash.trace import Call, Crashed, Killed, Recording, Trace, perform, write_tree

from intentusnet.errors import IntentusError
from intentusnet.log import walk

Workload = Callable[[Trace, Recording], None]

_State = dict[tuple[object, ...], object]
_DIRECTORIES = count()
_READS_EVERY = 64


@dataclass(frozen=True)
class Depth:
    """How much of what is possible is looked at.

    Args:
        exhaust: up to so many states of one moment all are.
        samples: how many random ones otherwise.
        inside: how many sizes inside a sector.
        nested: one in so many states is crashed again while it is being recovered; 0 for none.
        most: so many states of one moment at most, picked at random; 0 for all.
    """

    exhaust: int
    samples: int
    inside: int
    nested: int
    most: int = 0


SHORT = Depth(exhaust=16, samples=6, inside=1, nested=211, most=14)
MIDDLE = Depth(exhaust=64, samples=24, inside=2, nested=97)
LONG = Depth(exhaust=2048, samples=800, inside=12, nested=61)
FIND = Depth(exhaust=8, samples=3, inside=1, nested=0)
AGAIN = Depth(exhaust=24, samples=8, inside=1, nested=0, most=40)


class Explorer:
    """Counts and checks crash states, each once; mutable.

    Args:
        scratch: an empty directory, best in memory, for writing states into.
        seed: picks sizes and random states.
        depth: how much is looked at.
    """

    def __init__(self, scratch: Path, seed: int, depth: Depth) -> None:
        self.scratch = scratch
        self.depth = depth
        self.states = 0
        self._rng = Random(seed)
        self._seen: set[int] = set()

    def explore(self, trace: Trace, promised: Promise | None = None) -> None:
        """Checks what a crash at any moment of the trace may leave.

        A moment before a sync includes those since the sync before: more is open, and more was promised.

        Args:
            trace: what happened.
            promised: what held when it began.

        Raises:
            Violation: a promise would not be kept, with the moment and the state.
        """
        disk, promise = Disk(trace.start), promised or Promise()
        for time, event in enumerate(trace.events):
            if isinstance(event, Call):
                if event.name in ("sync", "sync_dir"):
                    self._crash(trace, time, disk, promise)
                perform(disk, event, time)
            elif isinstance(event, Crashed):
                self._crash(trace, time, disk, promise)
                disk = Disk(event.tree)
            promise.take(event, disk)
        self._crash(trace, len(trace.events), disk, promise)

    def check_end(self, trace: Trace) -> None:
        """Checks what the trace has left to a reader, without a crash; raises Violation."""
        promise, disk = Promise(), Disk(trace.start)
        for time, event in enumerate(trace.events):
            if isinstance(event, Call):
                perform(disk, event, time)
            promise.take(event, disk)
        self._check(trace, len(trace.events), disk.now(), promise)

    def _crash(self, trace: Trace, time: int, disk: Disk, promise: Promise) -> None:
        if time < trace.since:
            return
        depth = self.depth
        choices = disk.choices(self._rng, depth.inside)
        states = crash_states(choices, self._rng, exhaust=depth.exhaust, samples=depth.samples)
        if depth.most:
            states = iter(_some(list(states), depth.most, self._rng))
        for chosen in states:
            tree = disk.tree(chosen)
            self._check(trace, time, tree, promise)

    def _check(self, trace: Trace, time: int, tree: Tree, promise: Promise) -> None:
        """Opens and checks one state, unless it has been already."""
        key = hash((promise.strength(), tuple(sorted(tree.items()))))
        if key in self._seen:
            return
        self._seen.add(key)
        self.states += 1
        try:
            # Nobody is writing: what has no end now will have none later.
            with self._written(tree) as root, patch.object(walk, "_SETTLING_S", ()):
                check(root, promise, reads=self.states % _READS_EVERY == 0)
            if self.depth.nested and self.states % self.depth.nested == 0:
                self._crash_again(tree, promise)
        except Violation as fault:
            raise Violation(f"{fault}\n{_described(trace, time, tree)}") from fault

    def _crash_again(self, tree: Tree, promise: Promise) -> None:
        """Crashes while the store is opened, recovered and gone on with after the first crash."""
        with self._written(tree) as root:
            trace = Trace(root)
            play(trace, reopened)
        again = Explorer(self.scratch, self._rng.getrandbits(64), AGAIN)
        again.explore(trace, promise.copy())
        self.states += again.states

    @contextmanager
    def _written(self, tree: Tree) -> Iterator[Path]:
        """A directory with that in it, for a while."""
        root = self.scratch / str(next(_DIRECTORIES))
        write_tree(root, tree)
        try:
            yield root
        finally:
            shutil.rmtree(root)


def _some(states: list[_State], most: int, rng: Random) -> list[_State]:
    return states if len(states) <= most else rng.sample(states, most)


def play(
    trace: Trace,
    workload: Workload,
    *,
    skip: str | None = None,
    die_at: int = 0,
    files: Recording | None = None,
) -> Recording:
    """Runs one process to its end, or to that call; with a file layer of its own, or with that one."""
    files = files or Recording(trace, skip=skip, die_at=die_at)
    try:
        workload(trace, files)
    except (Killed, IntentusError):
        if not files.dead:
            raise
    files.end()
    return files


def killed_at(
    root: Path, first: Workload, then: Workload, *, kills: int | None = None, skip: str | None = None
) -> Iterator[Trace]:
    """The traces of a process that is killed at one of its calls, and of another that goes on after it.

    Args:
        root: an empty directory.
        first: what is killed.
        then: what goes on.
        kills: at so many calls, spread evenly; None for each of them.
        skip: as for :class:`Recording`.
    """
    whole = root / "whole"
    whole.mkdir()
    calls = play(Trace(whole), first, skip=skip).calls
    for die_at in range(calls, 0, -1 if kills is None else -max(1, calls // kills)):
        below = root / f"killed-{die_at}"
        below.mkdir()
        trace = Trace(below)
        play(trace, first, skip=skip, die_at=die_at)
        trace.since = len(trace.events)
        play(trace, then, skip=skip)
        yield trace


def reopened(trace: Trace, files: Recording) -> None:
    """A process that goes on with whatever is there."""
    story = Story(trace, files)
    story.append(drafts(), "os")
    story.append(drafts())
    story.close()


def _described(trace: Trace, time: int, tree: Tree) -> str:
    events = "\n".join(f"  {at}: {event}" for at, event in enumerate(trace.events[:time]))
    files = "\n".join(
        f"  {path}: {'directory' if data is None else data}" for path, data in sorted(tree.items())
    )
    return f"crash before event {time} of:\n{events}\nleft:\n{files}"
