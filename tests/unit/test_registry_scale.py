"""Thousands of agents, and agents that come and go while others route: what it costs, and what is seen."""

import functools
import random
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import pytest
from helpers.turns import short_turns
from packaging.version import Version

from intentusnet import IntentEnvelope, IntentusRuntime, RoutingOptions
from intentusnet.agents import Agent
from intentusnet.catalog import Catalog
from intentusnet.errors import DuplicateAgent
from intentusnet.policy.compile import NO_POLICY
from intentusnet.registry import Registry
from intentusnet.routing.plan import make_plan
from tests.helpers import naive_registry
from tests.helpers.naive_registry import agent_of
from tests.helpers.sharing import slots_added

T = TypeVar("T")


def instructions(call: Callable[[], object]) -> int:
    """How many instructions of Python a call takes: what a clock would say, undisturbed."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def interrupted(call: Callable[[], T], change: Callable[[], None], at: int) -> tuple[T, int]:
    """What a call comes to with a change before the n-th function that it calls; and how many it calls."""
    calls = 0

    def trace(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        if calls == at:
            change()
        calls += 1

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return call(), calls
    finally:
        sys.settrace(before)


def crowd(size: int) -> Registry:
    """So many agents under a thousand patterns at most, none of which fits `INTENT`."""
    patterns = [(f"area{n}.task", f"area{n}.*", f"*.task{n}", f"area{n}.[ab]*@<2") for n in range(250)]
    return Registry([agent_of(f"agent{n}", patterns[n % 250][n // 250 % 4]) for n in range(size)])


INTENT = "area.task"


@pytest.mark.parametrize("version", ["1.0", "odd"])
def test_a_lookup_does_not_grow_with_the_agents_that_do_not_match(version: str) -> None:
    """Ten thousand cost what ten cost, but for the depth of tables and the lengths of literal texts."""
    handlers = [
        agent_of("exact", INTENT),
        agent_of("glob", "area.*@>=1"),
        agent_of("end", "*.task"),
        agent_of("all", "*"),
    ]
    took = []
    for size in (10, 10_000):
        registry = crowd(size)
        for agent in handlers:
            registry.add(agent)
        took.append(instructions(lambda catalog=registry.catalog: catalog.handling(INTENT, version)))  # type: ignore[misc]  # a default binds it
        assert len(registry.candidates(INTENT, version)) == (4 if version == "1.0" else 3)
    assert took[1] < 2 * took[0]


def test_a_glob_is_tried_once_whatever_number_of_agents_has_it() -> None:
    """Thousands of agents under one pattern that does not fit cost no more than one."""
    one = Registry([agent_of("a", "*x*")])
    many = Registry([agent_of(f"agent{n}", "*x*") for n in range(3000)])
    took = [instructions(lambda c=r.catalog: c.handling(INTENT, "1.0")) for r in (one, many)]  # type: ignore[misc]  # a default binds it
    assert took[0] == took[1]


def test_what_was_looked_up_is_not_looked_up_again() -> None:
    """As long as no agent comes or goes, the same question is answered by one look into a dict."""
    catalog = crowd(1000).catalog
    took = [
        instructions(lambda: [catalog.candidates(f"area{n}.task", "1.0") for n in range(20)])
        for _ in range(2)
    ]
    assert 10 * took[1] < took[0]


def changed(catalog: Catalog, agent: Agent) -> tuple[int, int]:
    """What it copies to add an agent, and to take it out again."""
    more = catalog.having(agent)
    return slots_added(catalog, more), slots_added(more, more.lacking(agent))


def test_a_registration_copies_little_of_what_is_there() -> None:
    """So that a burst of them costs about as much as they are many, and not the square of it."""
    for size in (1000, 10_000):
        catalog = crowd(size).catalog
        for handles in ("area7.task", "new.exact", "*.new", "*", "area7.*@>1"):
            added, removed = changed(catalog, agent_of("new", handles))
            assert added < 600
            assert removed < 600


def test_what_all_agents_share_is_shared_by_the_next_one() -> None:
    """Ten thousand agents of one pattern are no list that is copied for each of them."""
    catalog = Registry([agent_of(f"agent{n}", "x", "x.*", "*") for n in range(5000)]).catalog
    assert max(changed(catalog, agent_of("new", "x", "x.*", "*"))) < 800


def test_whoever_has_gone_leaves_nothing_behind() -> None:
    """A registry of which all agents were removed is as it was at the beginning."""
    registry = crowd(1000)
    for agent in registry.agents():
        assert registry.remove(agent.name)
    catalog = registry.catalog
    assert (len(catalog.versions), len(catalog.patterns), dict(catalog.lengths)) == (0, 0, {})


# --- while others route ---


class Scene:
    """A registry that threads change in turn, and what a plain list of agents was after each change."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.states: list[tuple[Agent, ...]] = [()]
        self.begun = 0
        self._turn = threading.Lock()

    def change(self, rng: random.Random) -> None:
        """Adds a version of an agent, or removes one, or all."""
        name, version = rng.choice("pqr"), rng.choice(["1", "2", "10"])
        with self._turn:
            agents = self.states[-1]
            there = any((a.name, a.definition.version) == (name, version) for a in agents)
            agent = agent_of(name, *rng.sample(PATTERNS, 2), version=version, rank=rng.randrange(3))
            wanted = version if rng.random() < 0.7 else None
            self.begun += 1
            if there:
                self.registry.remove(name, wanted)
                gone = [a for a in agents if a.name == name and wanted in (None, a.definition.version)]
                self.states.append(tuple(a for a in agents if a not in gone))
            else:
                self.registry.add(agent)
                self.states.append((*agents, agent))

    def look(self, rng: random.Random) -> None:
        """Makes a plan, which has to be that of one moment between the beginning and the end of it."""
        intent, listed = rng.choice(["a.b", "a.c", "b"]), rng.choice(REFERENCES)
        envelope = IntentEnvelope(
            intent=intent, routing=RoutingOptions(strategy="fallback", fallback=listed)  # type: ignore[arg-type]  # its value
        )  # fmt: skip
        first = len(self.states) - 1
        plan = make_plan(envelope, self.registry, NO_POLICY, max_depth=16)
        last = self.begun
        # The last change may be in force, and its state not yet be in the list.
        while len(self.states) <= last:
            with self._turn:
                pass
        possible = [self._naive(state, intent, listed) for state in self.states[first : last + 1]]
        assert plan.steps in possible

    def _naive(self, agents: tuple[Agent, ...], intent: str, listed: tuple[str, ...]) -> tuple[Agent, ...]:
        if listed:
            return naive_registry.named(agents, listed, intent)
        return naive_registry.candidates(agents, intent, "1.0")


PATTERNS = ["a.b", "a.*", "*.b", "*", "a.[bc]", "?", "A.*", "**.b", "a.b@<2", "*@>=1,<2", "a.b@>1"]
REFERENCES: list[tuple[str, ...]] = [
    (),
    (),
    ("p",),
    ("p@<2", "q"),
    ("r@>=2", "p", "q@*"),
    ("p@==10", "p@<10"),
]


def together(calls: list[Callable[[], None]]) -> None:
    """Calls them all at once, and raises what one of them raised."""
    faults: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as fault:  # noqa: BLE001 - raised below, in the thread of the test
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


@pytest.fixture
def often() -> Any:
    """Threads that take turns as often as they can."""
    with short_turns():
        yield


def test_every_plan_is_that_of_one_moment(often: None) -> None:
    """Whoever routes meanwhile sees the agents that there were at one time, also where a plan asks twice."""
    scene = Scene()
    looking = threading.Event()
    looking.set()

    def write(seed: int) -> None:
        rng = random.Random(seed)
        try:
            for _ in range(150):
                scene.change(rng)
        finally:
            looking.clear()

    def read(seed: int) -> None:
        rng = random.Random(seed)
        while looking.is_set():
            scene.look(rng)

    together([lambda: write(1), lambda: write(2), lambda: read(3), lambda: read(4)])


def test_a_change_in_the_midst_of_planning_is_seen_as_a_whole_or_not_at_all() -> None:
    """Between whatever calls of planning it comes: nobody plans with half of what there was."""
    before, after = [agent_of("b"), agent_of("c", "*")], [agent_of("a", version="1"), agent_of("c", "*")]
    listed = ("a@<2", "b", "c@*")
    envelope = IntentEnvelope(
        intent="x",  # type: ignore[arg-type]  # its text
        routing=RoutingOptions(strategy="fallback", fallback=listed),  # type: ignore[arg-type]  # its value
    )
    plans = [make_plan(envelope, Registry(agents), NO_POLICY, max_depth=16) for agents in (before, after)]
    changed_at, calls = 0, 1
    while changed_at < calls:
        registry = Registry(before)
        change = functools.partial(registry.copy, Registry(after))
        plan, calls = interrupted(
            lambda: make_plan(envelope, registry, NO_POLICY, max_depth=16),  # noqa: B023 - called at once
            change,
            changed_at,
        )
        assert (plan.steps, plan.refusal) in [(one.steps, one.refusal) for one in plans]
        changed_at += 1
    assert calls > 10


def test_no_registration_is_lost_among_others(often: None) -> None:
    """Threads that register and remove at once: what was added and not removed is there, and nothing else."""
    registry = Registry()

    def work(number: int) -> None:
        for n in range(60):
            registry.add(agent_of(f"agent{number}.{n}", "x", f"area{n}.*"))
            if n % 3 == 0:
                assert registry.remove(f"agent{number}.{n}")

    together([lambda number=number: work(number) for number in range(4)])  # type: ignore[misc]  # a default binds it
    kept = {f"agent{number}.{n}" for number in range(4) for n in range(60) if n % 3}
    assert {agent.name for agent in registry.agents()} == kept
    assert {agent.name for agent in registry.candidates("x", "1.0")} == kept


def test_one_of_many_registers_what_all_want_to(often: None) -> None:
    """The same name and version comes from many threads: one of them has it, and the others are told."""
    registry = Registry()
    refused = []

    def work() -> None:
        try:
            registry.add(agent_of("a"))
        except DuplicateAgent:
            refused.append(1)

    together([work] * 8)
    assert (len(registry.agents()), len(refused)) == (1, 7)


def test_routing_takes_no_lock_of_the_registry() -> None:
    """Who routes does not wait for who registers, however long that takes."""
    runtime = IntentusRuntime()
    runtime.registry.add(agent_of("a", "x"))
    routed = []

    def route() -> None:
        routed.append(runtime.route("x").payload)
        routed.append(runtime.route("x", target="a@>=1").payload)

    with runtime.registry._lock:
        thread = threading.Thread(target=route, daemon=True)
        thread.start()
        thread.join(60)
        assert routed == [("a", "1.0")] * 2


def test_many_versions_of_one_name_stand_side_by_side() -> None:
    """A hundred versions, in whatever order they came: ranges find the newest one in them."""
    versions = [f"{n}.{m}" for n in range(5, 15) for m in range(5, 15)]
    runtime = IntentusRuntime()
    for version in random.Random(5).sample(versions, len(versions)):
        runtime.registry.add(agent_of("a", "x", version=version))
    assert runtime.route("x").payload == ("a", "14.14")
    for bound in ("5.6", "9.10", "12.11"):
        newest = max((v for v in versions if Version(v) < Version(bound)), key=Version)
        assert runtime.route("x", target=f"a@<{bound}").payload == ("a", newest)
