"""What routing and recording cost, as ratios taken in one run.

Each round measures every case directly after the other, so that a slow moment of the machine slows all of
them; ratios are taken within a round, and the median of the rounds is printed with its quartiles. Absolute
times of one machine say nothing about another one, so none are printed.

Run it with ``make bench``, or ``python benchmarks/route.py --rounds 50`` on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from intentusnet import FileExecutionStore, IntentusRuntime

PAYLOAD = {"ticket": "4711", "text": "the printer is on fire", "urgent": True}


def answer(payload: dict[str, object]) -> dict[str, object]:
    """The trivial agent: all that is measured lies around it."""
    return payload


def routed(runtime: IntentusRuntime) -> Callable[[], object]:
    """One routed intent, answered by a trivial read-only agent."""
    runtime.agent("trivial", handles="ticket.echo", side_effect="read_only")(answer)
    return lambda: runtime.route("ticket.echo", PAYLOAD)


def appended(path: Path, data: bytes) -> Callable[[], object]:
    """The same bytes as one recorded execution, appended to a bare file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return lambda: os.write(file, data)


def synced(path: Path, data: bytes) -> Callable[[], object]:
    """The same, and on disk when it returns."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append_and_sync() -> None:
        os.write(file, data)
        os.fdatasync(file)

    return append_and_sync


def seconds(call: Callable[[], object], times: int) -> float:
    """Seconds that one call takes, on average over that many."""
    begin = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begin) / times


def one_execution(directory: Path) -> bytes:
    """The bytes that a recorded execution is in the log."""
    store = FileExecutionStore(directory, durability="os")
    with IntentusRuntime(store=store) as runtime:
        routed(runtime)()
        return store.get(store.resolve("@last")).to_jsonl()


def cases(base: Path) -> dict[str, tuple[Callable[[], object], int]]:
    """Every case with how often it is called in a round."""
    line = one_execution(base / "sample")
    return {
        "bare call": (lambda: answer(PAYLOAD), 20_000),
        "bare append": (appended(base / "bare.jsonl", line), 500),
        "bare append + fdatasync": (synced(base / "synced.jsonl", line), 30),
        "not recorded": (routed(IntentusRuntime()), 500),
        "recorded, os": (
            routed(IntentusRuntime(store=FileExecutionStore(base / "os", durability="os"))),
            300,
        ),
        "recorded, os, at close": (
            routed(
                IntentusRuntime(
                    store=FileExecutionStore(base / "close", durability="os"), write_ahead="effects"
                )
            ),
            300,
        ),
        "recorded, disk": (routed(IntentusRuntime(store=FileExecutionStore(base / "disk"))), 30),
    }


def rows(measured: dict[str, float]) -> dict[str, float]:
    """The ratios of one round."""
    call, routing = measured["bare call"], measured["not recorded"]
    return {
        "routing, not recorded / bare call": routing / call,
        "recording adds (os, write-ahead) / bare call": (measured["recorded, os"] - routing) / call,
        "recording adds (os, written at close) / bare call": (measured["recorded, os, at close"] - routing)
        / call,
        "recording adds (os, write-ahead) / not recorded": (measured["recorded, os"] - routing) / routing,
        "recording adds (os, write-ahead) / bare append": (measured["recorded, os"] - routing)
        / measured["bare append"],
        "one durable execution / bare append + fdatasync": measured["recorded, disk"]
        / measured["bare append + fdatasync"],
    }


def main() -> None:
    """Measures, and prints a line for each ratio: median, and in brackets the quartiles."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often everything is measured")
    rounds = max(parser.parse_args().rounds, 4)
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".bench-") as directory:
        measured = cases(Path(directory))
        for call, times in measured.values():
            seconds(call, max(times // 10, 3))
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            took = {name: seconds(call, times) for name, (call, times) in measured.items()}
            for name, ratio in rows(took).items():
                found.setdefault(name, []).append(ratio)
    for name, ratios in found.items():
        low, median, high = statistics.quantiles(ratios, n=4)
        print(f"{name:<52} {median:8.1f}  [{low:.1f} – {high:.1f}]")


if __name__ == "__main__":
    main()
