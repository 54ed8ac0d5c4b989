"""How the benchmarks measure: everything in every round, ratios within it, median and quartiles at the end.

A slow moment of the machine slows all cases of its round, so that a ratio taken within the round hardly feels
it. Absolute times of one machine say nothing about another one, so none are printed.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: A case: seconds for one unit of its work.
Case = Callable[[], float]


def seconds(call: Callable[[], object], times: int) -> float:
    """Seconds that one call takes, on average over that many."""
    begin = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begin) / times


def case(call: Callable[[], object], times: int) -> Case:
    """A case that calls something so many times in a row."""
    return lambda: seconds(call, times)


def measure(
    cases: Mapping[str, Case], ratios: Callable[[Mapping[str, float]], Mapping[str, float]], rounds: int
) -> dict[str, list[float]]:
    """Measures every case in every round, once more at the beginning to warm up.

    Returns:
        The ratios by name, one for each round.
    """
    found: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        took = {name: measured() for name, measured in cases.items()}
        for name, ratio in ratios(took).items() if number else ():
            found.setdefault(name, []).append(ratio)
    return found


def show(title: str, found: Mapping[str, Sequence[float]]) -> None:
    """Prints a line for each ratio: median, and in brackets the quartiles."""
    print(f"\n{title}")
    for name, ratios in found.items():
        low, median, high = statistics.quantiles(ratios, n=4)
        print(f"  {name:<66} {median:10.2f}  [{low:.2f} – {high:.2f}]")


def growth(took: Mapping[int, float]) -> float:
    """By what a cost is multiplied when the size doubles: 1 for none, 2 for a linear one. The fit of a power.

    Args:
        took: seconds by size; of two sizes at least.
    """
    sizes, costs = [math.log2(size) for size in took], [math.log2(cost) for cost in took.values()]
    return float(2 ** statistics.linear_regression(sizes, costs).slope)


def sized(took: Mapping[str, float], what: str) -> dict[int, float]:
    """The cases that are called ``what`` and a size, by size."""
    return {
        int(name.rpartition(" ")[2]): cost for name, cost in took.items() if name.rpartition(" ")[0] == what
    }


def grown(took: Mapping[str, float], what: str, unit: str) -> dict[str, float]:
    """The ratios of the cases called ``what`` and a size, to a bare call, and how they grow.

    Args:
        took: of one round, with the case "bare call".
        what: the cases.
        unit: what the size counts, in the plural.
    """
    costs = sized(took, what)
    found = {f"{what}, {size:,} {unit} / bare call": cost / took["bare call"] for size, cost in costs.items()}
    return {**found, f"{what}: for twice the {unit}, multiplied by": growth(costs)}


def appender(path: Path, data: bytes) -> Callable[[], object]:
    """The bare append of some bytes to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return lambda: os.write(file, data)


def synced_appender(path: Path, data: bytes) -> Callable[[], object]:
    """The bare append of some bytes to a file; on disk when it returns."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append_and_sync() -> None:
        os.write(file, data)
        os.fdatasync(file)

    return append_and_sync
