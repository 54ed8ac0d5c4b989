"""Processes that append to one store are killed at any moment, and the store does not care.

Nobody is asked to stop: SIGKILL comes in the middle of writes, syncs, rolls, recoveries and compressions.
What was acknowledged is there, as it was; of each thread at most one execution more; one chain, no gap, no
lock left.
"""

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from crash import appending
from crash.appending import drafts_of, name_of, payload_of, way_of
from helpers import executions as made

from intentusnet.log.entry import Draft, Entry, check_line, genesis, parse_line
from intentusnet.log.segment import LOG_DIR, iter_lines, list_segments
from intentusnet.record import fold
from intentusnet.stores.base import Query, StoreSettings
from intentusnet.stores.file import FileExecutionStore

#: Within so many seconds somebody appends something; else something is locked that nobody will unlock.
PATIENCE_S = 60

#: Process, thread, number: the execution that a thread of a process recorded as its n-th.
Key = tuple[int, int, int]


@dataclass
class Told:
    """What the processes have told: acknowledged executions with their ids; mutable."""

    started: set[int] = field(default_factory=set)
    acknowledged: dict[Key, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    rest: bytes = b""

    def take(self, data: bytes) -> int:
        """Takes what came through the pipe; how many executions were acknowledged with it."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        before = len(self.acknowledged)
        for line in lines:
            message = json.loads(line)
            if "started" in message:
                self.started.add(message["started"])
            elif "failed" in message:
                self.failures.append(message["failed"])
            else:
                self.acknowledged[tuple(message["acknowledged"])] = message["name"]
        return len(self.acknowledged) - before


def tortured(
    directory: Path, pipe: Path, *, processes: int, threads: int, kills: int, random: Random
) -> Told:
    """Lets processes append, and kills one after another when a random number of executions has come in."""
    told, numbers = Told(), count(100)
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    command = [sys.executable, appending.__file__, directory, pipe, str(threads)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as parent:

        def order(verb: str, number: int) -> int:
            assert parent.stdin is not None and parent.stdout is not None
            parent.stdin.write(b"%b %d\n" % (verb.encode(), number))
            parent.stdin.flush()
            assert parent.stdout.readline() == b"done\n"
            return number

        def hear() -> int:
            assert select.select([reading], [], [], PATIENCE_S)[0], "nobody gets on"
            heard = told.take(os.read(reading, 1 << 16))
            assert not told.failures, told.failures[0]
            return heard

        running = [order("start", next(numbers)) for _ in range(processes)]
        for _ in range(kills):
            # Some are killed while they come up, or recover what the one before left; most while they append.
            if random.random() < 0.8:
                while told.started < set(running):
                    hear()
            left = random.randrange(1, 20 * processes)
            while left > 0:
                left -= hear()
            victim = running.pop(random.randrange(len(running)))
            order("kill", victim)
            running.append(order("start", next(numbers)))
        for victim in running:
            order("kill", victim)
    while select.select([reading], [], [], 0)[0]:
        hear()
    os.close(reading)
    return told


def environment() -> dict[str, str]:
    """This process's own, and where the tests' own modules are found."""
    roots = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, roots))}


def lines_of(directory: Path, store_id: str) -> Iterator[Entry]:
    """Every line of the log, checked at its place: no gap, one chain."""
    chain, seq = genesis(store_id), 0
    for segment in list_segments(directory / LOG_DIR):
        assert segment.first == seq
        for _, line in iter_lines(segment):
            chain = check_line(line, seq, chain)[4]
            seq += 1
            yield parse_line(line)


def key_of(opened: Entry) -> Key:
    """Who recorded an execution, going by its tag."""
    [tag] = orjson.loads(opened.body)["envelope"]["tags"]
    process, thread, number = map(int, tag.split("."))
    return process, thread, number


def in_time(work: Any) -> None:
    """Does something that a lock left behind would keep from ever ending."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), "a lock is held by nobody"


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_killed_writers_lose_nothing_that_was_acknowledged(
    tmp_path: Path, torture: bool, seed: int, compress: bool
) -> None:
    """After any number of kills, the log is whole and has every acknowledged execution as it was recorded."""
    directory = tmp_path / "store"
    appending.make(directory, StoreSettings(segment_entries=40, compress=compress))
    many = {"processes": 8, "threads": 8, "kills": 200}
    few = {"processes": 3, "threads": 4, "kills": 10}
    told = tortured(directory, tmp_path / "pipe", **(many if torture else few), random=Random(seed))

    store = FileExecutionStore(directory)
    in_time(lambda: store.append(made.execution(2)))
    with store:
        assert_whole(store, told)


def assert_whole(store: FileExecutionStore, told: Told) -> None:
    report = store.verify()
    assert report.ok, report.first_bad
    entries = list(lines_of(store.path, store.store_id))
    assert len(entries) == report.entries
    executions: dict[str, list[Entry]] = {}
    for entry in entries:
        executions.setdefault(entry.execution, []).append(entry)
    # Entries of the store itself tell of what was torn; what that was, nobody was told is in the log.
    executions.pop("", None)
    own = {made.id_of(1), made.id_of(2)}
    assert own <= executions.keys()
    found = {key_of(lines[0]): name for name, lines in executions.items() if name not in own}

    assert found.items() >= told.acknowledged.items(), "acknowledged executions are missing"
    done: dict[tuple[int, int], int] = {}
    for process, thread, number in told.acknowledged:
        done[process, thread] = max(done.get((process, thread), -1), number)
    for process, thread, number in found:
        # A thread goes on with the next when one is acknowledged, so at most one is without.
        assert number <= done.get((process, thread), -1) + 1, "an execution that nobody recorded"
    acknowledged = set(told.acknowledged.values())
    assert acknowledged.isdisjoint(report.interrupted)
    whole = {key: name for key, name in found.items() if executions[name][-1].kind == "closed"}
    assert whole.items() >= told.acknowledged.items()
    for key, name in whole.items():
        assert_as_recorded(store, key, name, executions[name])
    for name in Random(len(whole)).sample(sorted(executions), min(len(executions), 200)):
        assert store.entries(name) == tuple(executions[name])
    assert listed(store) == [entry.execution for entry in reversed(entries) if entry.kind == "opened"]


def assert_as_recorded(store: FileExecutionStore, key: Key, name: str, lines: list[Entry]) -> None:
    """The execution's entries are those that were given to the log."""
    way = way_of(*key)
    if way.endswith("route"):
        # What lies outside of the log, the store fetches.
        record = store.get(name) if way == "large route" else fold(lines)
        assert record.status == "success"
        assert [entry.kind for entry in lines] == ["opened", "asked", "answered", "closed"]
        assert record.envelope.payload == payload_of(*key)
    else:
        assert name == name_of(*key)
        assert [content_of(entry) for entry in lines] == [content_of(draft) for draft in drafts_of(*key)]


def content_of(entry: Entry | Draft) -> tuple[str, dict[str, Any]]:
    """What an entry says, but for the digest in a last one: it is of the others' salts, too."""
    return entry.kind, orjson.loads(entry.body) | {"digest": None}


def listed(store: FileExecutionStore) -> list[str]:
    """Every execution that the store lists, newest first, page by page."""
    names, cursor = [], None
    while True:
        page = store.list(Query(limit=1000, cursor=cursor))
        names += [row.execution_id for row in page.rows]
        cursor = page.cursor
        if cursor is None:
            return names
