"""The table of outcomes that docs/routing.md prints: what an execution comes to whose first agent fails.

Run it to bring the page up to date: PYTHONPATH=. python tests/helpers/outcomes.py
"""

import asyncio
import re
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intentusnet import (
    AgentResponse,
    AsyncContext,
    Context,
    IntentusRuntime,
    ManualClock,
    ReplayReport,
    effect,
)
from intentusnet.ids import SystemIds
from tests.helpers import outcome_agents

PAGE = Path(__file__).parents[2] / "docs" / "routing.md"
MARKED = re.compile(
    r"(?<=<!-- outcomes: python tests/helpers/outcomes.py -->\n).*?(?=<!-- end of outcomes -->)", re.DOTALL
)

STRATEGIES = ("direct", "fallback", "parallel", "broadcast")
#: Agents that are asynchronous are so by their own definition; the others by what they are registered with.
ISOLATIONS = ("inline", "thread", "process", "async")
SIDE_EFFECTS = ("read_only", "reversible", "irreversible")
#: Seconds that the agent may take.
TIMEOUT = 5.0
PAYLOAD = {"items": ["own"]}


@dataclass(frozen=True)
class Case:
    """One execution: its first agent fails in that way, and another one would answer."""

    failure: str
    isolation: str
    side_effect: str
    strategy: str


class World:
    """What the agents of one case meet."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.clock = ManualClock()
        self.release = threading.Event()
        self.runtime: Any = None
        self.tick = effect(side_effect="read_only")(lambda: self.clock.advance(0.05))
        if case.isolation == "inline":
            self.release.set()  # nobody could wait for the end of an agent that hangs there


class Bench(SystemIds):
    """One runtime for all cases in processes, so that workers stay warm; a uuid makes something happen."""

    def __init__(self, store: Any = None) -> None:
        self.clock = ManualClock()
        self.runtime = IntentusRuntime(store=store, clock=self.clock, ids=self)
        self.acts: Callable[[], object] = lambda: None
        self._made = ""

    def execution_id(self) -> str:
        self._made = super().execution_id()
        return self._made

    def uuid(self) -> uuid.UUID:
        self.acts()
        return uuid.UUID(int=7)

    def prepare(self, case: Case) -> None:
        """Replaces the agents by those of the case."""
        for agent in self.runtime.registry.agents():
            self.runtime.remove(agent.name)
        steps: dict[str, Callable[[], object]] = {
            "hangs": lambda: self.clock.advance(60),
            "floods with questions": lambda: self.clock.advance(0.05),
            "is cancelled": lambda: self.runtime.cancel(self._made),
        }
        self.acts = steps.get(case.failure, lambda: None)
        handler = IN_PROCESSES[case.failure]
        self.runtime.agent(
            "failing",
            handles="x",
            side_effect=case.side_effect,  # type: ignore[arg-type]  # one of three
            timeout=TIMEOUT,
            isolation="process",
        )(handler)
        self.runtime.agent("next", handles="x", rank=1, side_effect="read_only")(
            lambda payload: payload["items"]
        )

    def close(self) -> None:
        self.runtime.close()


def follows(payload: Any) -> Any:
    return payload["items"]


def raises(world: World, payload: Any, ctx: Context) -> Any:
    raise LookupError("no such customer")


def hangs(world: World, payload: Any, ctx: Context) -> Any:
    world.clock.advance(60)
    world.release.wait(30)
    return "heard out"


def dies(world: World, payload: Any, ctx: Context) -> Any:
    raise SystemExit(3)


def lies(world: World, payload: Any, ctx: Context) -> Any:
    return "not a number"


def mutates(world: World, payload: Any, ctx: Context) -> Any:
    payload["items"].append("mutated")
    ctx.envelope.payload["items"].append("mutated")
    return payload["items"]


def floods(world: World, payload: Any, ctx: Context) -> Any:
    while True:
        ctx.effect("tick", world.tick)


def is_cancelled(world: World, payload: Any, ctx: Context) -> Any:
    world.runtime.cancel(ctx.execution_id)
    ctx.now()
    return "went on"


async def hangs_awaiting(world: World, payload: Any, ctx: AsyncContext) -> Any:
    world.clock.advance(60)
    await asyncio.Event().wait()


async def floods_awaiting(world: World, payload: Any, ctx: AsyncContext) -> Any:
    while True:
        await ctx.effect("tick", world.tick)


#: How an agent fails, by the words of the table; the second one is for those that are asynchronous.
FAILURES: dict[str, tuple[Callable[..., Any], Callable[..., Any] | None]] = {
    "raises": (raises, None),
    "hangs": (hangs, hangs_awaiting),
    "dies": (dies, None),
    "lies about its type": (lies, None),
    "mutates its payload": (mutates, None),
    "floods with questions": (floods, floods_awaiting),
}


#: The same in processes, where an agent dies by a signal.
IN_PROCESSES: dict[str, Callable[..., Any]] = {
    "raises": outcome_agents.raises,
    "hangs": outcome_agents.hangs,
    "dies": outcome_agents.dies,
    "lies about its type": outcome_agents.lies,
    "mutates its payload": outcome_agents.mutates,
    "floods with questions": outcome_agents.floods,
    "is cancelled": outcome_agents.is_cancelled,
}


def cases() -> Iterator[Case]:
    for failure in FAILURES:
        for isolation in ISOLATIONS:
            for side_effect in SIDE_EFFECTS:
                for strategy in STRATEGIES:
                    yield Case(failure, isolation, side_effect, strategy)


def run(case: Case, bench: Bench) -> tuple[IntentusRuntime, AgentResponse]:
    """Routes an execution of the case, recorded in the bench's store if it has one."""
    if case.isolation == "process":
        bench.prepare(case)
        return bench.runtime, bench.runtime.route("x", PAYLOAD, strategy=case.strategy)
    store = bench.runtime.store
    world = World(case)
    runtime = world.runtime = IntentusRuntime(store=store, clock=world.clock)
    _register(world, runtime)
    try:
        if case.isolation == "async":
            return runtime, asyncio.run(runtime.route_async("x", PAYLOAD, strategy=case.strategy))
        return runtime, runtime.route("x", PAYLOAD, strategy=case.strategy)
    finally:
        world.release.set()


def replayed(case: Case, bench: Bench) -> tuple[AgentResponse, ReplayReport]:
    """How an execution of the case ends, and what its replay says."""
    runtime, response = run(case, bench)
    if case.isolation == "async":
        return response, asyncio.run(runtime.replay_async(response.execution_id))
    return response, runtime.replay(response.execution_id)


def _register(world: World, runtime: IntentusRuntime) -> None:
    case = world.case
    plain, awaiting = FAILURES.get(case.failure, (is_cancelled, None))
    answer: Any = int if case.failure == "lies about its type" else object
    options: dict[str, Any] = {"handles": "x", "side_effect": case.side_effect, "timeout": TIMEOUT}

    if case.isolation == "async":

        async def failing(payload: Any, ctx: AsyncContext) -> answer:
            return await awaiting(world, payload, ctx) if awaiting else plain(world, payload, ctx)

        async def following(payload: Any) -> Any:
            return payload["items"]

        runtime.agent("failing", **options)(failing)
        runtime.agent("next", handles="x", rank=1, side_effect="read_only")(following)
        return

    def failing_plain(payload: Any, ctx: Context) -> answer:
        return plain(world, payload, ctx)

    runtime.agent("failing", **options, isolation=case.isolation)(failing_plain)
    runtime.agent("next", handles="x", rank=1, side_effect="read_only")(follows)


def codes(response: AgentResponse) -> list[str]:
    """What each agent that was called came to."""
    return ["success" if attempt.error is None else attempt.error.code.value for attempt in response.attempts]


def told(response: AgentResponse) -> str:
    """What the caller is told, in the words of the table."""
    if response.error is not None:
        return response.error.code.value
    if response.agent is None:
        return "both"
    return "success" if response.agent == "failing" else "next"


def table(response_of: Callable[[Case], AgentResponse]) -> str:
    """The table of the page, of what the cases come to."""
    lines = ["| agent | isolation | side effect | its attempt | direct | fallback | parallel | broadcast |"]
    lines.append("|---" * 8 + "|")
    found: dict[tuple[str, str, str], list[str]] = {}
    for case in cases():
        response = response_of(case)
        row = found.setdefault((case.failure, case.isolation, case.side_effect), [codes(response)[0]])
        row.append(told(response))
    merged: dict[tuple[str, tuple[str, ...]], dict[str, list[str]]] = {}
    for (failure, isolation, side_effect), row in found.items():
        isolations = merged.setdefault((failure, tuple(row)), {})
        isolations.setdefault(isolation, []).append(side_effect)
    for (failure, row), isolations in merged.items():
        side_effects = next(iter(isolations.values()))
        assert all(others == side_effects for others in isolations.values())
        either = "any" if len(side_effects) == len(SIDE_EFFECTS) else ", ".join(side_effects)
        lines.append(f"| {failure} | {', '.join(isolations)} | {either} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def on_page() -> str:
    """The table that the page has."""
    found = MARKED.search(PAGE.read_text("utf-8"))
    assert found is not None
    return found[0]


if __name__ == "__main__":
    bench = Bench()
    made = table(lambda case: run(case, bench)[1])
    bench.close()
    PAGE.write_text(MARKED.sub(lambda _: made, PAGE.read_text("utf-8")), "utf-8")
    sys.stdout.write(f"{PAGE} is up to date\n")
