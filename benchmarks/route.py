"""What routing and recording cost, as ratios taken in one run, and what grows with the number of agents.

Run it with ``make bench``, or ``python benchmarks/route.py --rounds 50`` on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from measuring import Case, appender, case, grown, measure, seconds, show, synced_appender

from intentusnet import FileExecutionStore, IntentusRuntime
from intentusnet.agents import define_agent
from intentusnet.registry import Registry

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


#: How many agents there are that do not handle the intent, and under how many patterns.
AGENTS = (10, 100, 1000, 10_000)
PATTERNS = (10, 100, 1000)
CANDIDATES = (1, 10, 100)


def crowded(agents: int, patterns: int) -> Registry:
    """One agent that handles the intent, and so many that do not, under so many patterns of three kinds."""
    # Of one length: every further length of a literal text is one look more.
    kinds = ("area{:04}.exact", "area{:04}.*", "*.area{:04}")
    handles = [kinds[n % 3].format(n) for n in range(patterns)]
    crowd = [define_agent(f"agent{n}", answer, handles=handles[n % patterns]) for n in range(agents)]
    return Registry([define_agent("trivial", answer, handles="ticket.echo"), *crowd])


def looked_up(registry: Registry) -> Callable[[], object]:
    """A look-up that remembers nothing: the first one after a change."""
    return lambda: registry.catalog.handling("ticket.echo", "1.0")


def come_and_gone(registry: Registry) -> Callable[[], object]:
    """An agent is registered and removed."""
    guest = define_agent("guest", answer, handles="guest.*")

    def come_and_go() -> None:
        registry.add(guest)
        registry.remove("guest")

    return come_and_go


def routed_among(registry: Registry) -> Callable[[], object]:
    """One routed intent, in a runtime with these agents."""
    runtime = IntentusRuntime()
    runtime.registry.copy(registry)
    return lambda: runtime.route("ticket.echo", PAYLOAD)


def routed_with(candidates: int) -> Callable[[], object]:
    """One routed intent with so many candidates, the first of which is called."""
    agents = [define_agent(f"agent{n}", answer, handles="ticket.echo") for n in range(candidates)]
    return routed_among(Registry(agents))


def registered(agents: int) -> Case:
    """So many agents are registered, one after the other; seconds are those of one of them."""
    crowd = crowded(agents, 1000).agents()
    return lambda: seconds(lambda: Registry(crowd), 1) / agents


def growth_cases() -> dict[str, Case]:
    """What could grow with the agents, with their patterns, and with the candidates."""
    found = {"bare call": case(lambda: answer(PAYLOAD), 20_000)}
    for agents in AGENTS:
        registry = crowded(agents, min(agents, 1000))
        found[f"routing {agents}"] = case(routed_among(registry), 300)
        found[f"first look-up {agents}"] = case(looked_up(registry), 300)
        found[f"one comes and goes {agents}"] = case(come_and_gone(registry), 100)
        found[f"one of a burst {agents}"] = registered(agents)
    for patterns in PATTERNS:
        found[f"first look-up by patterns {patterns}"] = case(looked_up(crowded(10_000, patterns)), 300)
    for candidates in CANDIDATES:
        found[f"routing with candidates {candidates}"] = case(routed_with(candidates), 300)
    return found


def growth_ratios(took: Mapping[str, float]) -> dict[str, float]:
    """The ratios of one round."""
    return {
        **grown(took, "routing", "agents"),
        **grown(took, "first look-up", "agents"),
        **grown(took, "one comes and goes", "agents"),
        **grown(took, "one of a burst", "agents"),
        **grown(took, "first look-up by patterns", "patterns"),
        **grown(took, "routing with candidates", "candidates"),
    }


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
        "routing, not recorded, as a share of the 15 µs to reach": routing / 15e-6,
        "a call in a warm process / an inline call": took["in a process"] / routing,
    }
    for name, label in (("os", "os, write-ahead"), ("os, at close", "os, at close"), ("async", "async")):
        adds = took[name] - routing
        reach = 6e-6 if name == "os, at close" else 10e-6
        found[f"recording adds ({label}) / bare call"] = adds / call
        found[f"recording adds ({label}) / not recorded"] = adds / routing
        found[f"recording adds ({label}) / bare append"] = adds / append
        if name != "async":
            found[f"recording adds ({label}), as a share of the {reach * 1e6:.0f} µs to reach"] = adds / reach
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
    # Registering thousands takes longer than the rest, and differs less.
    show("Agents that do not match", measure(growth_cases(), growth_ratios, max(rounds // 3, 4)))


if __name__ == "__main__":
    main()
