"""What a replay costs, as ratios taken in one run: by the number of effects, and over a corpus.

The baseline is a bare call of the same agent with a context that calls the effect's function and does nothing
else. A replay decides plan and policy anew, runs the agent on recorded answers, and compares everything.

Run it with ``make bench``, or ``python benchmarks/replay.py --corpus 100000`` on a machine that does nothing
else.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from measuring import Case, case, measure, show

from intentusnet import Context, FileExecutionStore, IntentusRuntime, Query

PAYLOAD = {"ticket": "4711", "text": "the printer is on fire", "urgent": True}
EFFECTS = (0, 1, 10, 1000)
#: Records that are read from the store at once.
BATCH = 256


def twice(number: int) -> int:
    """The effect."""
    return 2 * number


def asking(effects: int) -> Callable[[dict[str, Any], Context], int]:
    """An agent that asks for so many effects."""

    def agent(payload: dict[str, Any], ctx: Context) -> int:
        return sum(ctx.effect("twice", twice, number) for number in range(effects))

    return agent


class Bare:
    """A context that calls what it is given, for the baseline."""

    def effect(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """Calls the function."""
        return function(*args)


def runtime_for(directory: Path) -> IntentusRuntime:
    """A runtime with an agent for each number of effects."""
    runtime = IntentusRuntime(store=FileExecutionStore(directory, "os"))
    for effects in EFFECTS:
        runtime.agent(f"agent-{effects}", handles=f"ticket.ask-{effects}", side_effect="read_only")(
            asking(effects)
        )
    return runtime


def replay_cases(runtime: IntentusRuntime) -> dict[str, Case]:
    """A replay, and a bare call, for each number of effects."""
    assert runtime.store is not None
    cases = {}
    for effects in EFFECTS:
        response = runtime.route(f"ticket.ask-{effects}", PAYLOAD)
        record = runtime.store.get(response.execution_id)
        assert runtime.replay(record).verdict == "match"
        times = max(3, 1000 // (effects + 1))
        cases[f"replay {effects}"] = case(partial(runtime.replay, record), times)
        cases[f"bare {effects}"] = case(partial(asking(effects), PAYLOAD, Bare()), times)  # type: ignore[arg-type]  # it has what the agent calls
    return cases


def replay_ratios(took: Mapping[str, float]) -> dict[str, float]:
    """Against the bare call, and how the cost of one effect grows with their number."""
    per_effect = {n: (took[f"replay {n}"] - took["replay 0"]) / n for n in EFFECTS if n}
    return {
        **{f"replay, {n:,} effects / bare call": took[f"replay {n}"] / took[f"bare {n}"] for n in EFFECTS},
        "one effect of 1,000 / one effect of 10": per_effect[1000] / per_effect[10],
        # An absolute figure, because the target is one: it says something only of an idle machine.
        "replays of one effect, thousands a second and core": 1 / took["replay 1"] / 1000,
    }


def corpus_cases(runtime: IntentusRuntime, size: int) -> dict[str, Case]:
    """Reading, and reading and replaying, so many executions of one effect."""
    store = runtime.store
    assert store is not None
    for _ in range(size):
        runtime.route("ticket.ask-1", PAYLOAD)
    ids, cursor = [], None
    while True:
        page = store.list(Query(intent="ticket.ask-1", limit=1000, cursor=cursor))
        ids += [row.execution_id for row in page.rows]
        cursor = page.cursor
        if cursor is None:
            break

    def read(names: list[str]) -> None:
        for batch in batches(names):
            store.get_many(batch)

    def replay(names: list[str]) -> None:
        for batch in batches(names):
            for record in store.get_many(batch):
                assert runtime.replay(record).verdict == "match"

    few = ids[: max(BATCH, size // 100)]
    return {
        "read": per_one(read, ids),
        "replay": per_one(replay, ids),
        "few": per_one(replay, few),
    }


def batches(names: list[str]) -> list[list[str]]:
    """The names, in lists of that many."""
    return [names[at : at + BATCH] for at in range(0, len(names), BATCH)]


def per_one(work: Callable[[list[str]], None], names: list[str]) -> Case:
    """A case that does the work once, and counts for each of the names."""
    measured = case(partial(work, names), 1)
    return lambda: measured() / len(names)


def corpus_ratios(took: Mapping[str, float]) -> dict[str, float]:
    """What reading adds, and that the cost of one does not depend on how many there are."""
    return {
        "read and replay / replay": took["replay"] / (took["replay"] - took["read"]),
        "one of all / one of a hundredth": took["replay"] / took["few"],
        "read and replayed, thousands a second and core": 1 / took["replay"] / 1000,
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=12, help="how often everything is measured")
    parser.add_argument("--corpus", type=int, default=5_000, help="executions in the corpus")
    arguments = parser.parse_args()
    rounds = max(arguments.rounds, 4)
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".bench-") as name:
        with runtime_for(Path(name) / "one") as runtime:
            show("Replay of one record", measure(replay_cases(runtime), replay_ratios, rounds))
        with runtime_for(Path(name) / "corpus") as runtime:
            cases = corpus_cases(runtime, arguments.corpus)
            show(f"A corpus of {arguments.corpus:,}", measure(cases, corpus_ratios, 4))


if __name__ == "__main__":
    main()
