"""What finding, reading and verifying cost at 10,000 and at 1,000,000 executions, as ratios taken in one run.

The stores are made first, which takes a minute and some 3 GB of disk. The baselines are a point query of
SQLite, the hashing of the same bytes, and the same work on the small store.

Run it with ``make bench-reading``, or ``python benchmarks/reading.py`` on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from measuring import Case, case, measure, show
from million import RARE, make_store

from intentusnet import FileExecutionStore, Query
from intentusnet.log.segment import LOG_DIR, list_segments
from intentusnet.log.verify import verify_store

SMALL = 10_000

QUERIES: Mapping[str, Query] = {
    "newest": Query(),
    "status": Query(status="error"),
    "interrupted": Query(status="interrupted"),
    "intent glob": Query(intent="ticket.kind-1*"),
    "caller": Query(caller="caller-7"),
    "agent": Query(agent="agent-3"),
    "tag": Query(tag="vip"),
    "status and intent and caller": Query(status="error", intent="ticket.kind-0", caller="caller-0"),
    "a caller of one execution": Query(caller=RARE),
    "no such agent": Query(agent="nobody"),
}

#: Does something with a store in a process of its own and prints the process's peak memory in KiB.
MEMORY = """
import resource, sys
from intentusnet import FileExecutionStore, Query
from intentusnet.log.verify import verify_store
store = FileExecutionStore(sys.argv[1])
what = sys.argv[2]
if what == "get":
    store.get(store.resolve("@last"))
elif what == "list":
    page = store.list(Query(status="error", limit=200))
elif what == "index":
    (store.path / "index.sqlite").unlink()
    store.list()
elif what == "verify":
    assert verify_store(store.path, workers=1).ok
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def point_query(directory: Path, rows: int) -> Callable[[], object]:
    """The baseline: one row of SQLite by its key."""
    db = sqlite3.connect(directory / f"baseline-{rows}.sqlite")
    db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT)")
    db.executemany("INSERT INTO rows VALUES (?, ?)", ((number, "x" * 100) for number in range(rows)))
    db.commit()
    return lambda: db.execute("SELECT body FROM rows WHERE id = ?", (rows // 3,)).fetchone()


def ids_of(store: FileExecutionStore) -> Iterator[str]:
    """Ids all over the store, again and again."""
    pages = [store.list(Query(limit=100)), store.list(Query(limit=100, oldest_first=True))]
    return itertools.cycle([row.execution_id for page in pages for row in page.rows])


def opened(directory: Path) -> object:
    """A store opened anew, and its last execution read."""
    with FileExecutionStore(directory) as store:
        return store.get(store.resolve("@last"))


def finding_cases(base: Path, large: int) -> dict[str, Case]:
    """Opening, reading and finding in both stores."""
    cases: dict[str, Case] = {"point query": case(point_query(base, large), 200)}
    for size in (SMALL, large):
        directory = base / f"store-{size}"
        store = FileExecutionStore(directory)
        ids = ids_of(store)
        cases[f"{size} open"] = case(partial(opened, directory), 3)
        cases[f"{size} get"] = case(lambda store=store, ids=ids: store.get(next(ids)), 30)  # type: ignore[misc]  # mypy cannot infer this lambda
        reference = next(ids)
        cases[f"{size} prefix"] = case(partial(store.resolve, reference[:30]), 10)
        cases[f"{size} suffix"] = case(partial(store.resolve, reference[-12:]), 3)
        for name, query in QUERIES.items():
            cases[f"{size} list, {name}"] = case(partial(store.list, query), 3)
    return cases


def finding_ratios(large: int, took: Mapping[str, float]) -> dict[str, float]:
    """Against a point query, and of the large store against the small one."""
    found = {}
    for name, seconds in took.items():
        size, _, what = name.partition(" ")
        if size == str(large):
            found[f"{what}, {large:,} executions / one point query of SQLite"] = seconds / took["point query"]
            found[f"{what}, {large:,} executions / {SMALL:,}"] = seconds / took[f"{SMALL} {what}"]
    return found


def hashed(directory: Path) -> None:
    """The baseline of verifying: SHA-256 over all bytes of the log, once."""
    digest = hashlib.sha256()
    for segment in list_segments(directory / LOG_DIR):
        digest.update(segment.path.read_bytes())


def verify_cases(base: Path, large: int) -> dict[str, Case]:
    """Verifying a log in this process, and with a worker for each core."""
    directory = base / f"store-{large}"
    return {
        "hashing": case(partial(hashed, directory), 1),
        "one": case(partial(verify_store, directory, workers=1), 1),
        "all": case(partial(verify_store, directory), 1),
    }


def verify_ratios(large: int, took: Mapping[str, float]) -> dict[str, float]:
    """Per entry it is the same ratio: both read the same bytes."""
    return {
        "verify, one core / SHA-256 of the log's bytes": took["one"] / took["hashing"],
        "verify, all cores / one core": took["all"] / took["one"],
        # The one absolute figure, because the target is one: it says something only of an idle machine.
        "verify, thousands of entries a second and core": 2 * large / took["one"] / 1000,
    }


def memory(base: Path, large: int) -> dict[str, list[float]]:
    """Peak memory of a process on the large store, as a ratio to one on the small store."""
    found: dict[str, list[float]] = {}
    for what in ("get", "list", "index", "verify"):
        for _ in range(2):
            peaks = [
                int(
                    subprocess.run(
                        [sys.executable, "-c", MEMORY, str(base / f"store-{size}"), what],
                        check=True,
                        capture_output=True,
                    ).stdout
                )
                for size in (SMALL, large)
            ]
            name = f"peak memory, {what}: {large:,} executions / {SMALL:,}"
            found.setdefault(name, []).append(peaks[1] / peaks[0])
    return found


def main() -> None:
    """Makes the stores, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--executions", type=int, default=1_000_000, help="in the large store")
    parser.add_argument("--rounds", type=int, default=6, help="how often everything is measured")
    parser.add_argument("--json", action="store_true", help="print all ratios as JSON, too")
    arguments = parser.parse_args()
    large, rounds = arguments.executions, max(arguments.rounds, 4)
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".bench-") as name:
        base = Path(name)
        for size in (SMALL, large):
            make_store(base / f"store-{size}", size)
        parts = {
            "Finding and reading": measure(
                finding_cases(base, large), partial(finding_ratios, large), rounds
            ),
            "Verifying": measure(verify_cases(base, large), partial(verify_ratios, large), 4),
            "Memory": memory(base, large),
        }
    for title, found in parts.items():
        show(title, found)
    if arguments.json:
        print(json.dumps(parts))


if __name__ == "__main__":
    main()
