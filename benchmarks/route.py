"""What routing and recording cost, as ratios taken in one run.

Run it with ``make bench``, or ``python benchmarks/route.py --rounds 50`` on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from measuring import Case, appender, case, measure, show, synced_appender

from intentusnet import FileExecutionStore, IntentusRuntime

PAYLOAD = {"ticket": "4711", "text": "the printer is on fire", "urgent": True}


def answer(payload: dict[str, object]) -> dict[str, object]:
    """The trivial agent: all that is measured lies around it."""
    return payload


def routed(runtime: IntentusRuntime) -> Callable[[], object]:
    """One routed intent, answered by a trivial read-only agent."""
    runtime.agent("trivial", handles="ticket.echo", side_effect="read_only")(answer)
    return lambda: runtime.route("ticket.echo", PAYLOAD)


def routed_to_process(stack: ExitStack) -> Callable[[], object]:
    """The same in a worker process, which is warm by then."""
    runtime = stack.enter_context(IntentusRuntime())
    runtime.agent("trivial", handles="ticket.echo", side_effect="read_only", isolation="process")(answer)
    assert runtime.route("ticket.echo", PAYLOAD).ok
    return lambda: runtime.route("ticket.echo", PAYLOAD)


def one_execution(directory: Path) -> bytes:
    """The bytes that a recorded execution is in the log."""
    store = FileExecutionStore(directory, durability="os")
    with IntentusRuntime(store=store) as runtime:
        routed(runtime)()
        return store.get(store.resolve("@last")).to_jsonl()


def cases(base: Path, stack: ExitStack) -> dict[str, Case]:
    """Every case."""
    line = one_execution(base / "sample")

    def recorded(name: str, **options: object) -> Callable[[], object]:
        store = FileExecutionStore(base / name, name.partition(" ")[0])  # type: ignore[arg-type]  # a durability
        return routed(IntentusRuntime(store=store, **options))  # type: ignore[arg-type]  # of the runtime

    return {
        "bare call": case(lambda: answer(PAYLOAD), 20_000),
        "bare append": case(appender(base / "bare.jsonl", line), 500),
        "bare append + fdatasync": case(synced_appender(base / "synced.jsonl", line), 30),
        "not recorded": case(routed(IntentusRuntime()), 500),
        "in a process": case(routed_to_process(stack), 100),
        "os": case(recorded("os"), 300),
        "os, at close": case(recorded("os at close", write_ahead="effects"), 300),
        "async": case(recorded("async"), 300),
        "disk": case(recorded("disk"), 30),
    }


def ratios(took: Mapping[str, float]) -> dict[str, float]:
    """The ratios of one round."""
    call, append, routing = took["bare call"], took["bare append"], took["not recorded"]
    found = {
        "routing, not recorded / bare call": routing / call,
        "a call in a warm process / an inline call": took["in a process"] / routing,
    }
    for name, label in (("os", "os, write-ahead"), ("os, at close", "os, at close"), ("async", "async")):
        adds = took[name] - routing
        found[f"recording adds ({label}) / bare call"] = adds / call
        found[f"recording adds ({label}) / not recorded"] = adds / routing
        found[f"recording adds ({label}) / bare append"] = adds / append
    found["one durable execution / bare append + fdatasync"] = took["disk"] / took["bare append + fdatasync"]
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often everything is measured")
    rounds = max(parser.parse_args().rounds, 4)
    with ExitStack() as stack:
        directory = stack.enter_context(
            tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".bench-")
        )
        show("Routing and recording, one caller", measure(cases(Path(directory), stack), ratios, rounds))


if __name__ == "__main__":
    main()
