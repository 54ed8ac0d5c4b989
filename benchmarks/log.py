"""What the log costs its writers, as ratios taken in one run; ``benchmarks/reading.py`` has its readers.

The baselines do the same work with the same callers, in turns with what is measured: a bare append and
fdatasync of the same bytes, and SQLite (WAL, synchronous=FULL, one commit for each execution).

Run it with ``make bench``, or ``python benchmarks/log.py --rounds 20`` on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from measuring import Case, appender, case, measure, show, synced_appender
from million import batches, drafts_of

from intentusnet import FileExecutionStore, IntentusRuntime
from intentusnet.log.segment import LOG_DIR, segment_name

PAYLOAD = {"ticket": "4711", "text": "the printer is on fire", "urgent": True}
#: Something that does one unit of work: a durable execution, or one commit.
Unit = Callable[[], object]
#: Makes a unit for one caller: a thread of its own, maybe in a process of its own.
Maker = Callable[[Path], Unit]

THREADS = (1, 8, 64)
PROCESSES = (1, 4, 8)
#: Units of work in a round, over all callers.
UNITS = 4096


def answer(payload: dict[str, object]) -> dict[str, object]:
    """The trivial agent."""
    return payload


_runtimes: dict[Path, IntentusRuntime] = {}


def execution_maker(directory: Path) -> Unit:
    """Routes an intent and records it durably; one runtime for all threads of a process."""
    runtime = _runtimes.get(directory)
    if runtime is None:
        runtime = _runtimes[directory] = IntentusRuntime(store=FileExecutionStore(directory))
        runtime.agent("trivial", handles="ticket.echo", side_effect="read_only")(answer)
    return lambda: runtime.route("ticket.echo", PAYLOAD)


def sqlite_maker(directory: Path) -> Unit:
    """Puts the same bytes into SQLite with a durable commit; a connection for each caller."""
    directory.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(directory / "baseline.sqlite", timeout=120, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE IF NOT EXISTS executions (id INTEGER PRIMARY KEY, opened BLOB, closed BLOB)")
    opened, closed = (draft.body + draft.rest for draft in drafts_of(0))
    return lambda: db.execute("INSERT INTO executions (opened, closed) VALUES (?, ?)", (opened, closed))


def work_in_threads(
    make: Maker, directory: Path, threads: int, units: int, ready: Any, go: Any, ends: Any
) -> None:
    """Does the units in so many threads, as soon as every caller is ready, and tells when they were done."""
    started = threading.Barrier(threads + 1)

    def caller() -> None:
        unit = make(directory)
        unit()
        started.wait()
        started.wait()
        for _ in range(units // threads):
            unit()

    callers = [threading.Thread(target=caller) for _ in range(threads)]
    for thread in callers:
        thread.start()
    started.wait()
    ready.release()
    go.wait()
    started.wait()
    for thread in callers:
        thread.join()
    ends.put(time.monotonic())


def callers(make: Maker, directory: Path, processes: int, threads: int) -> float:
    """Seconds for one unit when so many processes of so many threads do UNITS of them together."""
    spawn = multiprocessing.get_context("spawn")
    ready, go, ends = spawn.Semaphore(0), spawn.Event(), spawn.Queue()
    workers = [
        spawn.Process(
            target=work_in_threads, args=(make, directory, threads, UNITS // processes, ready, go, ends)
        )
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    # One clock for all processes of the machine; that they end, too, is not what is measured.
    begin = time.monotonic()
    go.set()
    end: float = max(ends.get() for _ in workers)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    return (end - begin) / UNITS


def concurrent_cases(base: Path) -> dict[str, Case]:
    """Executions and SQLite commits, for each number of callers."""
    shapes = [(1, threads) for threads in THREADS] + [(processes, 8) for processes in PROCESSES]
    return {
        f"{name} {processes} × {threads}": partial(callers, make, base / name, processes, threads)
        for processes, threads in dict.fromkeys(shapes)
        for name, make in (("execution", execution_maker), ("sqlite", sqlite_maker))
    }


def concurrent_ratios(took: Mapping[str, float]) -> dict[str, float]:
    """Executions per second: of the log against SQLite, and of many callers against one."""
    found = {}
    for name, unit in took.items():
        kind, _, shape = name.partition(" ")
        if kind == "execution":
            found[f"durable executions/s, {shape} callers: log / SQLite"] = took[f"sqlite {shape}"] / unit
            found[f"durable executions/s, {shape} callers / 1 × 1"] = took["execution 1 × 1"] / unit
    # The target is an absolute one: it says something only of an idle machine.
    found["64 threads, a durable execution, as a share of the 1/15,000 s to reach"] = (
        took["execution 1 × 64"] * 15_000
    )
    return found


def append_cases(base: Path) -> dict[str, Case]:
    """One append of one line, in each durability, and the bare append of as many bytes."""
    numbers = itertools.count()

    def appended(durability: Any) -> Unit:
        store = FileExecutionStore(base / durability, durability)
        return lambda: store.append(drafts_of(next(numbers))[:1])

    draft = drafts_of(0)[0]
    line = len(draft.body) + 400
    return {
        "draft": case(lambda: drafts_of(next(numbers)), 500),
        "bare": case(appender(base / "bare", bytes(line)), 500),
        "bare synced": case(synced_appender(base / "synced", bytes(line)), 30),
        "os": case(appended("os"), 500),
        "async": case(appended("async"), 500),
        "disk": case(appended("disk"), 30),
    }


def append_ratios(took: Mapping[str, float]) -> dict[str, float]:
    """What an append costs beside a bare one; the making of the entries is taken off."""
    return {
        "append, os / bare append": (took["os"] - took["draft"]) / took["bare"],
        "append, async / bare append": (took["async"] - took["draft"]) / took["bare"],
        "append, disk / bare append + fdatasync": (took["disk"] - took["draft"]) / took["bare synced"],
    }


def length_cases(base: Path) -> dict[str, Case]:
    """Appends to a log of hardly any lines, and to one of 400,000."""
    found = {}
    for name, executions in (("short", 100), ("long", 200_000)):
        for durability, times in (("os", 300), ("disk", 30)):
            store = FileExecutionStore(base / f"{name}-{durability}", durability)  # type: ignore[arg-type]  # a str
            for batch in batches(executions):
                store.append(batch, durability="os")
            store.sync()
            found[f"{name} {durability}"] = case(partial(store.append, drafts_of(0)), times)
    return found


def length_ratios(took: Mapping[str, float]) -> dict[str, float]:
    """How the cost of an append grows with the log."""
    return {
        f"append, {durability}: log of 400,000 lines / of 200": took[f"long {durability}"]
        / took[f"short {durability}"]
        for durability in ("os", "disk")
    }


@contextmanager
def busy_thread() -> Iterator[None]:
    """While it lasts, another thread of the process computes."""
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def trap_cases(base: Path) -> dict[str, Case]:
    """A durable append alone, and beside a thread that computes."""
    store = FileExecutionStore(base / "log")
    append = partial(store.append, drafts_of(0))
    bare = synced_appender(base / "bare", bytes(1000))

    def disturbed(call: Unit) -> float:
        with busy_thread():
            return case(call, 20)()

    return {
        "alone": case(append, 20),
        "disturbed": partial(disturbed, append),
        "bare": case(bare, 20),
        "bare disturbed": partial(disturbed, bare),
    }


def trap_ratios(took: Mapping[str, float]) -> dict[str, float]:
    """What a thread that computes costs those that wait for the disk."""
    return {
        "durable append beside a computing thread / alone": took["disturbed"] / took["alone"],
        "the same with a bare append + fdatasync": took["bare disturbed"] / took["bare"],
    }


def large_cases(base: Path) -> dict[str, Case]:
    """A payload of 10 MB, not compressible, and a small one; and the bare write of the large one."""
    store = FileExecutionStore(base / "log")
    runtime = IntentusRuntime(store=store)
    runtime.agent("size", handles="size", side_effect="read_only")(len)
    numbers = itertools.count()

    def large() -> None:
        runtime.route("size", f"{next(numbers)}" + os.urandom(5_000_000).hex())

    def write() -> None:
        path = base / f"large-{next(numbers)}"
        with path.open("wb") as file:
            file.write(os.urandom(5_000_000).hex().encode())
            file.flush()
            os.fsync(file.fileno())
        path.unlink()

    small = case(lambda: runtime.route("size", "small"), 20)

    def size() -> int:
        return (base / "log" / LOG_DIR / segment_name(0)).stat().st_size

    def small_after_large() -> float:
        before = size()
        large()
        assert size() - before < 10_000, "the log has grown by the payload"
        return small()

    return {
        "large": case(large, 1),
        "bare": case(write, 1),
        "small": small,
        "after": small_after_large,
    }


def large_ratios(took: Mapping[str, float]) -> dict[str, float]:
    """What a large payload costs."""
    return {
        "durable execution with a payload of 10 MB / bare write + fsync of it": took["large"] / took["bare"],
        "durable execution of a small payload, after a large one / before": took["after"] / took["small"],
    }


PARTS: dict[str, tuple[str, Callable[[Path], dict[str, Case]], Any, int]] = {
    "append": ("One append of one line, one caller", append_cases, append_ratios, 1),
    "callers": ("Many callers (processes × threads)", concurrent_cases, concurrent_ratios, 4),
    "length": ("How the cost grows with the log's length", length_cases, length_ratios, 1),
    "large": ("Large payloads", large_cases, large_ratios, 2),
    "trap": ("Waiting for the disk beside a thread that computes", trap_cases, trap_ratios, 2),
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often everything is measured")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what is measured; everything if none")
    arguments = parser.parse_args()
    for name, (title, cases, ratios, divisor) in PARTS.items():
        if name in (arguments.parts or PARTS):
            with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".bench-") as directory:
                show(title, measure(cases(Path(directory)), ratios, max(arguments.rounds // divisor, 4)))


if __name__ == "__main__":
    main()
