"""Agents as small random programs, and a world that counts how often it is met.

A program is a list of steps, each a tuple whose first item says what it does. `draw` makes one from any
source of chance (a `random.Random`, or the one that hypothesis shrinks), `runtime_of` makes agents of it,
`interpret` is what they do.
"""

# Over 400 lines: each kind of step is drawn and done here, so that neither can forget one.

import asyncio
import contextvars
import itertools
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from random import Random
from typing import Any, Final

from pydantic import BaseModel

from intentusnet import AgentFailure, Context, IntentusRuntime, MemoryExecutionStore, effect
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import BranchCancelled
from intentusnet.ids import ManualClock

Step = tuple[Any, ...]

VALUES: list[Any] = [
    None,
    True,
    0,
    -0.0,
    1.5,
    float("nan"),
    float("inf"),
    2**80,
    "text",
    "",
    "\ud800",
    b"\x00\xff",
    (1, (2,)),
    [],
    {"a": [1, {"b": None}]},
    {1: "one", "$tag": 2},
    {3, 1, 2},
    frozenset({"x"}),
    datetime(2026, 1, 2, 3, tzinfo=UTC),
    date(2026, 1, 2),
    timedelta(seconds=1),
    Decimal("1.50"),
    uuid.UUID(int=7),
    {"$float": "nan"},
]


class Coded(Exception):
    """Tells its number by an attribute, and its message by that."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __str__(self) -> str:
        return f"number {self.number}"


class Unshowable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Odd(BaseException):
    """No Exception, and nothing that the router knows."""


ERRORS: list[Callable[[], BaseException]] = [
    lambda: ValueError("no", 1, (2,)),
    lambda: KeyError("k"),
    lambda: Coded(7),
    lambda: Coded(8),
    lambda: SystemExit(3),
    lambda: StopIteration(5),
    lambda: GeneratorExit("g"),
    lambda: RecursionError("deep"),
    lambda: OSError(2, "not there", "file"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    lambda: AgentFailure("later", code="RATE_LIMIT", details={"after": (1, 2)}),
    lambda: AgentFailure("who knows", code="IN_DOUBT"),
    lambda: ExceptionGroup("several", [ValueError(1), Coded(9)]),
    lambda: Unshowable(object()),
    lambda: Odd("odd"),
]


#: What agents catch: all that is no signal.
CAUGHT: Final = (Exception, SystemExit, GeneratorExit, Odd)


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: float


class Label(BaseModel):
    name: str
    at: datetime | None = None


_replaying = contextvars.ContextVar("programs_replaying", default=False)


class WorldMet(AssertionError):
    """An effect's function was called during a replay."""


@dataclass
class World:
    """What effects meet. Its answers change from call to call, unless `fixed`."""

    fixed: bool = False
    calls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def met(self) -> int:
        with self.lock:
            self.calls += 1
            if _replaying.get():
                raise WorldMet
            return 0 if self.fixed else self.calls


@contextmanager
def replaying() -> Iterator[None]:
    token = _replaying.set(True)
    try:
        yield
    finally:
        _replaying.reset(token)


class StoppedClock(ManualClock):
    """Time that is the same in every run, whoever sleeps first in another thread."""

    def sleep(self, seconds: float) -> None:
        pass


class FixedIds:
    """Chance that is the same in every run, whoever asks first; execution ids are still unique."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def execution_id(self) -> str:
        return str(uuid.UUID(int=next(self._numbers) | 7 << 76 | 2 << 62))

    def uuid(self) -> uuid.UUID:
        return uuid.UUID(int=5 | 4 << 76 | 2 << 62)

    def seed(self) -> int:
        return 11


@dataclass
class AgentProgram:
    name: str
    intents: list[str]
    rank: int
    remote: bool
    side_effect: str
    returns: Any
    steps: list[Step]


@dataclass
class Program:
    agents: list[AgentProgram]
    policy: dict[str, Any] | None
    request: dict[str, Any]
    write_ahead: str
    races: bool


RETURNS: list[Any] = [Any, Any, Any, int, list, Label]


def draw(rnd: Random) -> Program:
    """A random program; smaller draws make smaller ones."""
    agents = []
    for number in range(rnd.randint(1, 4)):
        intents = ["root"] if number == 0 else [rnd.choice(["root", "root", "child.*", "child.a", "[rc]*"])]
        agents.append(
            AgentProgram(
                name=f"agent{number}",
                intents=intents,
                rank=rnd.randint(0, 2),
                remote=rnd.random() < 0.1,
                side_effect=rnd.choice(["read_only", "reversible", "reversible", "irreversible"]),
                returns=rnd.choice(RETURNS),
                steps=[],
            )
        )
    races = [False]
    for agent in agents:
        # Whoever may be asked by a child asks nobody that could be himself.
        level = {"root": 0, "child.a": 1}.get(agent.intents[0], 2)
        agent.steps = _steps(rnd, 0, level, races)
        agent.steps.append(_end(rnd))
    request = _routing(rnd, agents, races) | {
        "payload": rnd.choice(
            [*VALUES[:5], {"amount": rnd.randint(0, 3)}, {"amount": "2"}, {"items": [1, 2]}]
        ),
        "caller": rnd.choice([None, "ann", "bob"]),
        "roles": rnd.choice([(), ("admin",), ("user", "admin")]),
        "tenant": rnd.choice([None, "acme"]),
        "tags": rnd.choice([(), ("t",)]),
        "priority": rnd.randint(-1, 1),
        # Each look at the clock takes 7 microseconds, so some come to their deadline on the way.
        "timeout": rnd.choice([None, None, None, 0.0001]),
    }
    return Program(agents, _policy(rnd), request, rnd.choice(["calls", "effects"]), races[0])


def _routing(rnd: Random, agents: list[AgentProgram], races: list[bool]) -> dict[str, Any]:
    chosen: dict[str, Any] = {"strategy": rnd.choice(["direct", "fallback", "parallel", "broadcast"])}
    if chosen["strategy"] == "parallel" and rnd.random() < 0.3:
        chosen["prefer"] = "first"
        races[0] = True
    if agents and rnd.random() < 0.15:
        chosen["target"] = rnd.choice([a.name for a in agents])
    elif agents and rnd.random() < 0.15:
        chosen["fallback"] = tuple(rnd.sample([a.name for a in agents], rnd.randint(1, len(agents))))
    return chosen


def _policy(rnd: Random) -> dict[str, Any] | None:
    if rnd.random() < 0.5:
        return None
    conditions: list[dict[str, Any]] = [
        {"agent": "agent1"},
        {"agent": ["agent0", "agent2"]},
        {"intent": "child.*"},
        {"role": "admin"},
        {"tenant": "acme"},
        {"tag": "t"},
        {"caller": "b*"},
        {"side_effect": "irreversible"},
        {"payload": {"amount": {"gt": 1}}},
        {"payload": {"/items/0": {"eq": 1}}},
        {"payload": {"amount": {"exists": True}}, "agent": "agent0"},
    ]
    rules = [
        {"id": f"r{n}", "effect": rnd.choice(["deny", "allow"]), **rnd.choice(conditions)}
        for n in range(rnd.randint(0, 3))
    ]
    return {"default": rnd.choice(["allow", "allow", "deny"]), "rules": rules}


def _steps(rnd: Random, nesting: int, level: int, races: list[bool], most: int = 5) -> list[Step]:
    return [_step(rnd, nesting, level, races) for _ in range(rnd.randint(0, most if nesting == 0 else 2))]


def _step(rnd: Random, nesting: int, level: int, races: list[bool]) -> Step:
    kind = rnd.choice(
        ["effect"] * 6
        + ["now", "uuid", "random", "env", "sleep", "log", "monotonic", "mutate", "inside"]
        + ["stream", "patched", "check", "usage"]
        + (["try", "try", "gather", "map", "thread", "spawn", "child"] if nesting < 2 else [])
    )
    match kind:
        case "effect":
            how = rnd.choice(["value", "value", "tick", "tick", "raise", "bad", "typed", "marked"])
            argument = rnd.randrange(len(VALUES))
            return ("effect", rnd.choice("fgh"), how, rnd.randrange(60), argument)
        case "random" | "env" | "sleep":
            return (kind, rnd.randint(-1, 2))
        case "try":
            return ("try", _steps(rnd, nesting + 1, level, races))
        case "gather":
            return ("gather", [_steps(rnd, nesting + 1, level, races) for _ in range(rnd.randint(0, 3))])
        case "map":
            most = rnd.choice([None, 1, 2])
            return ("map", rnd.randint(0, 4), most, _steps(rnd, nesting + 1, level, races))
        case "stream":
            return ("stream", rnd.choice(["", "a", "b"]), rnd.randint(0, 2))
        case "patched":
            return ("patched", rnd.choice("pq"))
        case "thread":
            return ("thread", rnd.randint(1, 3), rnd.randint(0, 3))
        case "spawn":
            how = rnd.choice(["thread", "pool", "task", "main task"])
            return ("spawn", how, rnd.randint(1, 3), _steps(rnd, nesting + 1, level, races))
        case "child" if level < 2 and nesting < 2:
            return (
                "child",
                ("child.a" if level == 0 else "child.b"),
                _routing(rnd, [], races) if rnd.random() < 0.5 else {},
            )
        case "child":
            return ("child", "nobody", {})
    return (kind,)


def _end(rnd: Random) -> Step:
    return rnd.choice(
        [("told",)] * 4
        + [
            ("give", rnd.randrange(len(VALUES))),
            ("give", 2),
            ("fail", rnd.randrange(len(ERRORS))),
            ("object",),
        ]
    )


def runtime_of(program: Program, world: World, **arguments: Any) -> IntentusRuntime:
    """A runtime with the program's agents and policy, and a store in memory."""
    runtime = IntentusRuntime(
        **{
            "store": MemoryExecutionStore(),
            "policy": program.policy,
            "clock": StoppedClock() if world.fixed else ManualClock(step_us=7),
            "environ": {"V1": "one"},
            "write_ahead": program.write_ahead,
            "max_depth": 3,
            **({"ids": FixedIds()} if world.fixed else {}),
            **arguments,
        }
    )
    for agent in program.agents:
        runtime.agent(
            agent.name,
            handles=agent.intents,
            rank=agent.rank,
            remote=agent.remote,
            side_effect=agent.side_effect,
        )(handler_of(agent, world))
    return runtime


def handler_of(agent: AgentProgram, world: World) -> Callable[..., Any]:
    def handler(payload: Any, ctx: Context) -> Any:
        told: list[Any] = []
        interpret(agent.steps[:-1], payload, ctx, world, told)
        match agent.steps[-1]:
            case ("told",):
                return told
            case ("give", number):
                return VALUES[number]
            case ("fail", number):
                raise ERRORS[number]()
            case _:
                return object()

    handler.__annotations__["return"] = agent.returns
    return handler


def interpret(steps: list[Step], payload: Any, ctx: Context, world: World, told: list[Any]) -> None:
    """Does the steps, and puts what it was told at the end of `told`."""
    for step in steps:
        do(step, payload, ctx, world, told)


def do(step: Step, payload: Any, ctx: Context, world: World, told: list[Any]) -> None:
    match step:
        case ("effect", name, how, number, argument):
            told.append(shown(ctx.effect(name, effect_of(how, number, world), VALUES[argument], key=number)))
        case ("now",):
            told.append(ctx.now())
        case ("monotonic",):
            told.append(ctx.monotonic())
        case ("uuid",):
            told.append(ctx.uuid())
        case ("random", number):
            told.append([ctx.random.random() for _ in range(number)])
        case ("env", number):
            told.append(ctx.env(f"V{number}", "none"))
        case ("sleep", number):
            ctx.sleep(number)
        case ("log",):
            ctx.log("note", payload=payload)
        case ("mutate",):
            if isinstance(payload, dict):
                payload["mutated"] = True
        case ("inside",):
            told.append(ctx.effect("inside", _inside(ctx, world)))
        case ("try", steps):
            try:
                interpret(steps, payload, ctx, world, told)
            except CAUGHT as fault:
                told.append(fault_told(fault))
        case ("gather", branches):
            told.append(ctx.gather(*(_branch(steps, payload, ctx, world) for steps in branches)))
        case ("map", number, limit, steps):
            branch = _branch(steps, payload, ctx, world)
            told.append(ctx.map(lambda item: [item, *branch()], range(number), limit=limit))
        case ("stream", name, number):
            told.append([ctx.random_stream(name).random() for _ in range(number)])
        case ("patched", name):
            told.append(ctx.patched(name))
        case ("check",):
            ctx.check()
        case ("usage",):
            ctx.usage(steps=1)
        case ("spawn", how, number, steps):
            done = [s for s in steps if s[0] not in _LOOPS] if how == "main task" else _told_apart(steps)
            told.append(_spawned(how, number, _branch(done, payload, ctx, world)))
        case ("thread", threads, calls):
            told.append(_in_threads(ctx, world, threads, calls))
        case ("child", intent, routing):
            response = ctx.route(intent, {"amount": 1}, **routing)
            told.append([response.status, response.payload, response.agent])


def fault_told(fault: BaseException) -> list[Any]:
    """What an agent can tell of an exception that it has caught."""
    attributes = {name: getattr(fault, name, None) for name in ("number", "code", "value", "errno")}
    # Arguments that cannot be recorded are replaced by the message.
    args = [] if isinstance(fault, Unshowable) else _plain(fault.args)
    return [type(fault).__name__, _text(fault), args, attributes]


def _text(fault: BaseException) -> str:
    try:
        return str(fault)
    except RuntimeError:
        return "unshowable"


def _plain(args: tuple[Any, ...]) -> list[Any]:
    return [arg for arg in args if isinstance(arg, str | int | bytes | tuple)]


def _branch(steps: list[Step], payload: Any, ctx: Context, world: World) -> Callable[[], list[Any]]:
    def branch() -> list[Any]:
        told: list[Any] = []
        interpret(steps, payload, ctx, world, told)
        return told

    return branch


def _in_threads(ctx: Context, world: World, threads: int, calls: int) -> list[list[Any]]:
    """Effects from threads that the agent starts itself; each call has arguments of its own."""
    told: list[list[Any]] = [[] for _ in range(threads)]

    def run(number: int) -> None:
        # The loser of a race is unwound in all of its threads, and Python prints what leaves a thread.
        with suppress(BranchCancelled):
            for call in range(calls):
                told[number].append(ctx.effect("threaded", effect_of("tick", 0, world), number, call))

    copies = [contextvars.copy_context() for _ in range(threads)]
    running = [threading.Thread(target=copies[n].run, args=(run, n)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return told


#: What own threads and tasks may do in any order: what they are told does not depend on who asks first.
_APART: Final = frozenset({"env", "log", "patched", "sleep", "usage"})

#: What may start a loop, and so cannot be done in one.
_LOOPS: Final = frozenset({"spawn", "try"})


def _told_apart(steps: list[Step]) -> list[Step]:
    """Those of the steps that give the same in whatever order threads do them."""
    apart = [("gather", [_told_apart(branch) for branch in s[1]]) if s[0] == "gather" else s for s in steps]
    return [
        step
        for step in apart
        if step[0] in _APART
        or (step[0] == "effect" and step[2] in ("value", "raise", "typed"))
        or step[0] == "gather"
    ]


def _spawned(how: str, number: int, work: Callable[[], list[Any]]) -> list[Any]:
    """The work done as often by threads, pool workers or tasks that the agent starts itself."""
    match how:
        case "thread":
            told: list[Any] = []
            lost: list[BaseException] = []

            def run() -> None:
                try:
                    told.append(work())
                except BranchCancelled:
                    raise
                except BaseException as fault:  # noqa: BLE001 - Python would print it
                    lost.append(fault)

            threads = [threading.Thread(target=run) for _ in range(number)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return [told, len(lost)]
        case "pool":
            with ThreadPoolExecutor(2) as pool:
                return [future.result() for future in [pool.submit(work) for _ in range(number)]]
        case "task":
            return asyncio.run(_tasks(number, work))
    return asyncio.run(_main(work))


async def _main(work: Callable[[], list[Any]]) -> list[Any]:
    return work()


async def _tasks(number: int, work: Callable[[], list[Any]]) -> list[Any]:
    return list(await asyncio.gather(*(_main(work) for _ in range(number))))


def effect_of(how: str, number: int, world: World) -> Callable[..., Any]:
    def value(*_: Any, **__: Any) -> Any:
        world.met()
        return VALUES[number % len(VALUES)]

    def tick(*_: Any, **__: Any) -> Any:
        return world.met()

    def fail(*_: Any, **__: Any) -> Any:
        world.met()
        raise ERRORS[number % len(ERRORS)]()

    def bad(*_: Any, **__: Any) -> Any:
        world.met()
        return [1, {"deep": object()}]

    @effect(side_effect="read_only", idempotent=True)
    def marked(*_: Any, **__: Any) -> int:
        return world.met()

    def typed(*_: Any, **__: Any) -> Point | Label | Colour:
        world.met()
        return [Point(number, 0.5), Label(name="n", at=datetime(2026, 1, 1, tzinfo=UTC)), Colour.RED][
            number % 3
        ]

    return {"value": value, "tick": tick, "raise": fail, "bad": bad, "marked": marked, "typed": typed}[how]


def shown(value: Any) -> Any:
    """A typed answer as plain data that still tells its type."""
    if isinstance(value, Point | Label | Colour):
        assert not isinstance(value, Colour) or value is Colour.RED
        return [type(value).__name__, repr(value)]
    return value


def _inside(ctx: Context, world: World) -> Callable[[], Any]:
    """An effect that asks through the context itself: all of it is one answer."""

    def inside() -> Any:
        world.met()
        drawn = [ctx.now(), ctx.uuid(), ctx.random.random(), ctx.env("V1"), ctx.effect("f", lambda: 1)]
        return [drawn, ctx.gather(lambda: ctx.effect("g", lambda: 2)), ctx.route("nobody").status]

    return inside


def envelope_of(runtime: IntentusRuntime, program: Program) -> IntentEnvelope:
    """The program's request."""
    request = dict(program.request)
    return runtime.envelope("root", request.pop("payload"), **request)


def run(program: Program, world: World, **arguments: Any) -> tuple[IntentusRuntime, Any]:
    """Routes the program's request once; returns when no thread of it is left."""
    runtime = runtime_of(program, world, **arguments)
    response = runtime.router.route_intent(envelope_of(runtime, program))
    settle()
    return runtime, response


def settle() -> None:
    """Returns when the losers of races have come to their ends."""
    while losers := [t for t in threading.enumerate() if t.name.startswith("intentusnet-branch")]:
        for thread in losers:
            thread.join()
