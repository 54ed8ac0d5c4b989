"""The matrix of changes that docs/replay.md prints: what a replay says after code or policy have changed.

Handlers are written once, for plain agents and for asynchronous ones: `given` awaits what has to be awaited,
and `ask` asks for effects that have. What Python has in two ways, like threads and tasks, is `twice` here.

Run it to bring the page up to date: python tests/replay/matrix.py
"""

# Over 400 lines: one matrix of changes.

import asyncio
import itertools
import re
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from inspect import isawaitable
from pathlib import Path
from time import time_ns
from typing import Any
from uuid import uuid4

from intentusnet import AsyncContext, Context, IntentusRuntime, MemoryExecutionStore, ReplayReport

PAGE = Path(__file__).parents[2] / "docs" / "replay.md"
MARKED = re.compile(
    r"(?<=<!-- matrix: python tests/replay/matrix.py -->\n).*?(?=<!-- end of matrix -->)", re.DOTALL
)

#: Takes the payload and a context of either sort; what it returns may have to be awaited.
Handler = Callable[[Any, Any], Any]
#: Kind, scope below the attempt's (None: the execution itself), question, pointer.
Place = tuple[str, str | None, str, str]

#: How often the next effect of an asynchronous agent lets other tasks go on.
TURNS = itertools.cycle((3, 0, 1, 2))

#: Where the agent that changes stands: its attempt, and its place among the candidates.
STRATEGIES = {"direct": 0, "fallback": 1, "parallel": 1, "nested": 0}


# --- the world ---


def told(*args: Any, **kwargs: Any) -> Any:
    return [*args, *sorted(kwargs)]


def never(*args: Any, **kwargs: Any) -> Any:
    """Stands for another implementation: a replay does not run it, so what it does cannot matter."""
    raise AssertionError("an effect was called during a replay")


def refused() -> None:
    raise LookupError("no such customer")


class Refusal(LookupError):
    """Another type, the same words."""


# --- plain and asynchronous ---


async def given(asked: Any) -> Any:
    """What a context, or a handler, was asked for: the asynchronous ones are to be awaited."""
    return await asked if isawaitable(asked) else asked


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine comes to that finds nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("a plain agent has nothing to await")


def plain(handler: Handler) -> Handler:
    def agent(payload: Any, ctx: Context) -> Any:
        return at_once(given(handler(payload, ctx)))

    return agent


def asynchronous(handler: Handler) -> Handler:
    async def agent(payload: Any, ctx: AsyncContext) -> Any:
        return await given(handler(payload, ctx))

    return agent


async def ask(ctx: Any, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What an effect gives; to asynchronous agents, later, and not in the order of the questions."""
    if not isinstance(ctx, AsyncContext):
        return ctx.effect(name, function, *args, **kwargs)

    async def later(*args: Any, **kwargs: Any) -> Any:
        for _ in range(next(TURNS)):
            await asyncio.sleep(0)
        return function(*args, **kwargs)

    return await ctx.effect(name, later, *args, **kwargs)


def twice(of_plain: Handler, of_asynchronous: Handler) -> Handler:
    return lambda payload, ctx: (of_asynchronous if isinstance(ctx, AsyncContext) else of_plain)(payload, ctx)


@dataclass(frozen=True)
class Sort:
    """Agents that wait or are awaited, and how they are called, replayed and run to their end."""

    agent: Callable[[Handler], Handler]
    route: Callable[..., Any]
    replay: Callable[..., Any]
    run: Callable[[Coroutine[Any, Any, Any]], Any]


SORTS = {
    "plain": Sort(plain, IntentusRuntime.route, IntentusRuntime.replay, at_once),
    "async": Sort(asynchronous, IntentusRuntime.route_async, IntentusRuntime.replay_async, asyncio.run),
}
#: The columns of the page: strategy and sort of the agents.
COLUMNS = {**{strategy: (strategy, "plain") for strategy in STRATEGIES}, "async": ("direct", "async")}


# --- agents ---


@dataclass(frozen=True)
class Asking:
    """An agent that asks these questions one after the other, and answers with what it was told."""

    steps: tuple[tuple[Any, ...], ...] = (
        ("search", "shoes"),
        ("price", 1),
        ("price", 2),
        ("price", 3),
        ("save", "cart"),
    )
    function: Callable[..., Any] = told
    answer: Callable[[Any], Any] = field(default=lambda answers: {"answers": answers})

    async def __call__(self, payload: Any, ctx: Any) -> Any:
        return self.answer([await ask(ctx, name, self.function, *args) for name, *args in self.steps])


BASE = Asking()
SEARCH, ONE, TWO, THREE, SAVE = BASE.steps


def asks(*steps: tuple[Any, ...]) -> Handler:
    return Asking(steps)


async def with_notes(payload: Any, ctx: Any) -> Any:
    ctx.log("begins", payload=payload)
    answers = [await ask(ctx, name, told, *args) for name, *args in BASE.steps]
    ctx.usage(tokens=3)
    return {"answers": answers}


def swallows(handler: Handler, answer: Any) -> Handler:
    """An agent that catches whatever there is, and answers as it did."""

    async def agent(payload: Any, ctx: Any) -> Any:
        try:
            return await given(handler(payload, ctx))
        except BaseException:  # noqa: BLE001 - that is what is tested
            return answer

    return agent


def retries(times: int) -> Handler:
    async def agent(payload: Any, ctx: Any) -> Any:
        for _ in range(times):
            try:
                return await ask(ctx, "customer", refused)
            except LookupError:
                answer = "nobody"
        return answer

    return agent


def defaults(currency: str) -> Handler:
    def price(ctx: Any, item: int, currency: str = currency) -> Any:
        return ctx.effect("price", told, item, currency=currency)

    return lambda payload, ctx: price(ctx, 1)


def defaults_of_the_effect(currency: str) -> Handler:
    def price(item: int, currency: str = currency) -> Any:
        return [item, currency]

    return lambda payload, ctx: ctx.effect("price", price, 1)


def over_a_set(*items: int) -> Handler:
    """Sets of numbers that collide are walked through in the order in which they were put in."""

    async def agent(payload: Any, ctx: Any) -> Any:
        for item in dict.fromkeys(set(items)):
            await ask(ctx, "price", told, item)

    return agent


def with_a_set(*items: int) -> Handler:
    return lambda payload, ctx: ctx.effect("prices", told, set(items))


def with_a_dict(**items: int) -> Handler:
    return lambda payload, ctx: ctx.effect("prices", told, items)


def lazily(how_many: int) -> Handler:
    """A generator asks when it is drawn from, and no earlier."""

    def prices(ctx: Context) -> Iterator[Any]:
        for item in itertools.count(1):
            yield ctx.effect("price", told, item)

    async def prices_async(ctx: AsyncContext) -> AsyncIterator[Any]:
        for item in itertools.count(1):
            yield await ask(ctx, "price", told, item)

    async def drawn_async(payload: Any, ctx: AsyncContext) -> Any:
        prices = prices_async(ctx)
        return [await anext(prices) for _ in range(how_many)]

    return twice(lambda payload, ctx: list(itertools.islice(prices(ctx), how_many)), drawn_async)


def pooled(*items: int) -> Handler:
    """Calls in threads of the agent's own, or in tasks of its own, in whatever order they come."""

    def threads(payload: Any, ctx: Context) -> Any:
        with ThreadPoolExecutor(4) as pool:
            return sorted(pool.map(lambda item: ctx.effect("price", told, item), items))

    async def tasks(payload: Any, ctx: AsyncContext) -> Any:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(ctx, "price", told, item)) for item in items]
        return sorted(task.result() for task in asked)

    return twice(threads, tasks)


def in_a_loop(*items: int) -> Handler:
    async def agent(payload: Any, ctx: Any) -> Any:
        return sorted([await ask(ctx, "price", told, item) for item in items])

    return agent


def gathers(*items: int) -> Handler:
    return twice(
        lambda payload, ctx: ctx.gather(*(partial(ctx.effect, "price", told, item) for item in items)),
        lambda payload, ctx: ctx.gather(*(ask(ctx, "price", told, item) for item in items)),
    )


def raises(fault: BaseException) -> Handler:
    def agent(payload: Any, ctx: Any) -> Any:
        raise fault

    return agent


def uses(function: Callable[[], Any]) -> Handler:
    """An agent that asks nobody: what it does was bound when this module was imported."""
    return lambda payload, ctx: function()


def clock(name: str) -> Handler:
    return lambda payload, ctx: str(getattr(ctx, name)())


def answers(value: Any) -> Handler:
    return lambda payload, ctx: value


# --- the matrix ---


def policy(*rules: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"default": "allow", "rules": list(rules)}


DENIES = {"id": "closed", "effect": "deny", "agent": "work"}


@dataclass(frozen=True)
class Change:
    """What the agent did and does, under which policies; and the first divergence, None for a match."""

    now: Handler
    first: Place | None
    then: Handler = BASE
    policies: tuple[Any, Any] = (None, None)
    options: Mapping[str, Any] = field(default_factory=dict)
    captured: tuple[str, ...] = ()


def at(kind: str, question: str, pointer: str = "", below: str = "") -> Place:
    return kind, below, question, pointer


WORK = "agent work"
CHANGES = {
    "none": Change(BASE, None),
    "other notes, usage told": Change(with_notes, None),
    "another function behind an effect": Change(Asking(function=never), None),
    "another version, description or rank of the agent": Change(
        BASE, None, options={"version": "9", "description": "new", "rank": 5}
    ),
    "an argument": Change(
        asks(SEARCH, ONE, ("price", 9), THREE, SAVE), at("arguments", "effect price [2]", "/args/0")
    ),
    "an argument's type: 1 to 1.0": Change(
        asks(SEARCH, ("price", 1.0), TWO, THREE, SAVE), at("arguments", "effect price [1]", "/args/0")
    ),
    "an argument's type: 1 to True": Change(
        asks(SEARCH, ("price", True), TWO, THREE, SAVE), at("arguments", "effect price [1]", "/args/0")
    ),
    "the sign of a zero": Change(
        asks(("price", -0.0)), at("arguments", "effect price [0]", "/args/0"), asks(("price", 0.0))
    ),
    "a keyword for a position": Change(
        lambda payload, ctx: ctx.effect("price", told, item=1),
        at("arguments", "effect price [0]", "/args/0"),
        asks(("price", 1)),
    ),
    "a helper's default": Change(
        defaults("USD"), at("arguments", "effect price [0]", "/kwargs/currency"), defaults("EUR")
    ),
    "the default of an effect's function": Change(
        defaults_of_the_effect("USD"), None, defaults_of_the_effect("EUR")
    ),
    "a step renamed": Change(
        asks(SEARCH, ONE, TWO, THREE, ("store", "cart")), at("unexpected", "effect store [4]")
    ),
    "a step added at the beginning": Change(
        asks(("login",), *BASE.steps), at("unexpected", "effect login [0]")
    ),
    "a step added at the end": Change(asks(*BASE.steps, ("mail",)), at("unexpected", "effect mail [5]")),
    "a step added among steps of its name": Change(
        asks(SEARCH, ONE, ("price", 9), TWO, THREE, SAVE), at("unexpected", "effect price [2]")
    ),
    "a step retried": Change(retries(2), at("unexpected", "effect customer [1]"), retries(1)),
    "a step repeated": Change(asks(SEARCH, ONE, TWO, TWO, THREE, SAVE), at("unexpected", "effect price [3]")),
    "a step no longer retried": Change(retries(1), at("missing", "effect customer [1]"), retries(2)),
    "the first step removed": Change(asks(*BASE.steps[1:]), at("missing", "effect search [0]")),
    "a step removed among steps of its name": Change(
        asks(SEARCH, ONE, THREE, SAVE), at("missing", "effect price [2]")
    ),
    "the last step removed": Change(asks(*BASE.steps[:-1]), at("missing", "effect save [4]")),
    "all steps removed": Change(asks(), at("missing", "effect search [0]")),
    "two steps in the other order": Change(
        asks(SEARCH, TWO, ONE, THREE, SAVE), at("reordered", "effect price [1]")
    ),
    "a step moved to the end": Change(
        asks(ONE, TWO, THREE, SAVE, SEARCH), at("reordered", "effect search [0]")
    ),
    "a set walked through in another order": Change(
        over_a_set(8, 0), at("reordered", "effect price [0]"), over_a_set(0, 8)
    ),
    "a set as an argument, made in another order": Change(with_a_set(8, 0), None, with_a_set(0, 8)),
    "a dict as an argument, made in another order": Change(
        with_a_dict(b=1, a=2), None, with_a_dict(a=2, b=1)
    ),
    "a generator drawn from once more": Change(lazily(4), at("unexpected", "effect price [3]"), lazily(3)),
    "a generator drawn from once less": Change(lazily(2), at("missing", "effect price [2]"), lazily(3)),
    "a generator for a list": Change(lazily(3), None, in_a_loop(1, 2, 3)),
    "threads with identical calls": Change(pooled(1, 1, 1, 2), None, pooled(1, 1, 2, 1)),
    "threads for a loop": Change(pooled(1, 1, 2), None, in_a_loop(1, 1, 2)),
    "a loop for threads": Change(in_a_loop(1, 1, 2), None, pooled(1, 1, 2)),
    "threads for a loop, and an argument": Change(
        pooled(1, 1, 3), at("unexpected", "effect price"), in_a_loop(1, 1, 2)
    ),
    "threads: a call more": Change(
        pooled(1, 1, 1, 2, 2), at("unexpected", "effect price"), pooled(1, 1, 1, 2)
    ),
    "threads: a call less": Change(pooled(1, 1, 2), at("missing", "effect price"), pooled(1, 1, 1, 2)),
    "threads: an argument": Change(
        pooled(1, 1, 1, 3), at("arguments", "effect price", "/args/0"), pooled(1, 1, 1, 2)
    ),
    "branches: an argument": Change(
        gathers(1, 1, 3), at("arguments", "effect price [0]", "/args/0", "/gather:0.2"), gathers(1, 1, 2)
    ),
    "branches: one more": Change(
        gathers(1, 1, 1), at("unexpected", "effect price [0]", "", "/gather:0.2"), gathers(1, 1)
    ),
    "branches: one less": Change(
        gathers(1, 1), at("missing", "effect price [0]", "", "/gather:0.2"), gathers(1, 1, 1)
    ),
    "the clock asked otherwise": Change(
        clock("monotonic"), at("unexpected", "clock monotonic [0]"), clock("now")
    ),
    "the answer": Change(
        Asking(answer=lambda answers: {"answers": answers[:2]}), at("outcome", WORK, "/payload/answers/2")
    ),
    "the answer's type: 1 to 1.0": Change(answers([1.0]), at("outcome", WORK, "/payload/0"), answers([1])),
    "the answer's type: a list for a tuple": Change(
        answers([1]), at("outcome", WORK, "/payload"), answers((1,))
    ),
    "an answer for an exception": Change(
        answers(None), at("outcome", WORK, "/error"), raises(ValueError("no"))
    ),
    "another exception": Change(
        raises(Refusal("no")), at("outcome", WORK, "/error/type"), raises(LookupError("no"))
    ),
    "another message of an exception": Change(
        raises(LookupError("not now")), at("outcome", WORK, "/error/message"), raises(LookupError("no"))
    ),
    "a step added, and everything swallowed": Change(
        swallows(asks(("mail",)), 1), at("unexpected", "effect mail [0]"), swallows(asks(), 1)
    ),
    "a step removed, and the answer kept": Change(
        answers(["shoes"]), at("missing", "effect search [0]"), asks(SEARCH)
    ),
    "none; `time` bound early": Change(uses(time_ns), at("outcome", WORK, "/payload/$int"), uses(time_ns)),
    "none; `uuid4` bound early": Change(uses(uuid4), at("outcome", WORK, "/payload/$uuid"), uses(uuid4)),
    "none; `secrets`": Change(
        uses(secrets.token_hex), at("outcome", WORK, "/payload"), uses(secrets.token_hex)
    ),
    "none; `time` bound early, captured": Change(uses(time_ns), None, uses(time_ns), captured=("clock",)),
    "none; `uuid4` bound early, captured": Change(uses(uuid4), None, uses(uuid4), captured=("chance",)),
    "none; `secrets`, captured": Change(
        uses(secrets.token_hex), None, uses(secrets.token_hex), captured=("chance",)
    ),
    "the policy denies": Change(
        BASE, ("policy", None, WORK, "/candidates/{}/allowed"), policies=(policy(), policy(DENIES))
    ),
    "the policy denies no longer": Change(
        BASE, ("policy", None, WORK, "/candidates/{}/allowed"), policies=(policy(DENIES), policy())
    ),
    "another rule of the policy denies": Change(
        BASE,
        ("policy", None, WORK, "/candidates/{}/rule"),
        policies=(policy(DENIES), policy({**DENIES, "id": "moved"})),
    ),
    "a rule of the policy that decides nothing here": Change(
        BASE, None, policies=(policy(), policy({**DENIES, "agent": "nobody"}))
    ),
}


async def route_to_inner(payload: Any, ctx: Any) -> Any:
    return (await given(ctx.route("inner", payload))).status


def runtime_of(
    sort: Sort, strategy: str, handler: Handler, rules: Any, captured: tuple[str, ...], **options: Any
) -> IntentusRuntime:
    runtime = IntentusRuntime(store=MemoryExecutionStore(), policy=rules, capture=captured)
    asked = "inner" if strategy == "nested" else "ask"
    options = {"rank": 2, "side_effect": "read_only", **options}
    runtime.agent("work", handles=asked, **options)(sort.agent(handler))
    if STRATEGIES[strategy]:
        other = raises(ValueError("busy")) if strategy == "fallback" else answers("first")
        runtime.agent("first", handles="ask", rank=1, side_effect="read_only")(sort.agent(other))
    if strategy == "nested":
        runtime.agent("outer", handles="ask", side_effect="read_only")(sort.agent(route_to_inner))
    return runtime


def replayed(change: Change, strategy: str, sort: str = "plain") -> ReplayReport:
    """The report on the execution of the agent that has changed."""
    report: ReplayReport = SORTS[sort].run(_replayed(change, strategy, SORTS[sort]))
    return report


async def _replayed(change: Change, strategy: str, sort: Sort) -> ReplayReport:
    then = runtime_of(sort, strategy, change.then, change.policies[0], change.captured)
    now = runtime_of(sort, strategy, change.now, change.policies[1], change.captured, **change.options)
    routing = "direct" if strategy == "nested" else strategy
    response = await given(sort.route(then, "ask", {"n": 1}, strategy=routing))
    record = then.store.get(response.execution_id)
    if strategy != "nested":
        return await given(sort.replay(now, record))
    report = await given(sort.replay(now.configure(store=then.store), record, nested=True))
    assert report.divergences == ()
    (child,) = report.children
    assert report.verdict is child.verdict
    return child


def expected(change: Change, strategy: str) -> Place | None:
    """The first divergence as it has to be; a question of threads that have no order without its place."""
    if change.first is None:
        return None
    kind, below, question, pointer = change.first
    attempt = STRATEGIES[strategy]
    scope = "" if below is None else f"attempt:{attempt}{below}"
    if question == WORK:
        question = f"{WORK} [{attempt}]"
    return kind, scope, question, pointer.format(attempt)


def first_of(report: ReplayReport, *, ordered: bool) -> Place | None:
    if not report.divergences:
        return None
    first = report.divergences[0]
    question = first.question if ordered else first.question.partition(" [")[0]
    return first.kind.value, first.scope, question, first.pointer


def table() -> str:
    """The matrix as Markdown, from replays that are run for it."""
    lines = [
        f"| change | verdict | first divergence | {' | '.join(COLUMNS)} |",
        "|---" * (3 + len(COLUMNS)) + "|",
    ]
    for name, change in CHANGES.items():
        reports = [replayed(change, *column) for column in COLUMNS.values()]
        verdicts = " ".join(dict.fromkeys(report.verdict.value for report in reports))
        firsts = [report.divergences[0] if report.divergences else None for report in reports]
        kinds = " ".join(dict.fromkeys("" if first is None else f"`{first.kind.value}`" for first in firsts))
        cells = [
            "" if first is None else " ".join(f"`{part}`" for part in (first.scope, first.pointer) if part)
            for first in firsts
        ]
        lines.append(f"| {name} | {verdicts} | {kinds} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def on_page() -> str:
    """The matrix as the page has it."""
    found = MARKED.search(PAGE.read_text("utf-8"))
    assert found is not None
    return found[0]


if __name__ == "__main__":
    PAGE.write_text(MARKED.sub(lambda _: table(), PAGE.read_text("utf-8")), "utf-8")
    sys.stdout.write(f"{PAGE} is up to date\n")
