"""Agents as people write them: each record is a match, however often and many at once it is replayed."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, localcontext
from enum import Enum
from typing import Any

import pytest
from helpers.runtimes import runtime_of
from pydantic import BaseModel, field_validator

from intentusnet import Context, IntentusRuntime, Verdict

#: So often is each program recorded, and so often is each of its records replayed, all at once.
RECORDED, REPLAYED = 2, 30

Program = Callable[[IntentusRuntime], dict[str, Any] | None]
PROGRAMS: list[Program] = []


def program(made: Program) -> Program:
    """A program; makes its agents, and returns how they are routed to."""
    PROGRAMS.append(made)
    return made


def agent(runtime: IntentusRuntime, handles: str = "x", rank: int = 0) -> Callable[[Any], Any]:
    return runtime.agent(f"{handles}-{rank}", handles=handles, rank=rank, side_effect="read_only")


def same(value: Any) -> Any:
    return value


def ask(ctx: Context, name: str, value: Any = 0) -> Any:
    return ctx.effect(name, same, value)


@program
def generators_that_are_left(runtime: IntentusRuntime) -> None:
    def numbers(ctx: Context) -> Iterator[Any]:
        try:
            for number in range(100):
                yield ask(ctx, "number", number)
        finally:
            ask(ctx, "left")

    @agent(runtime)
    def run(ctx: Context) -> Any:
        first, second = numbers(ctx), numbers(ctx)
        told = [next(first), next(second), next(first)]
        first.close()
        return told


@program
def exceptions_at_every_level(runtime: IntentusRuntime) -> None:
    def fails() -> None:
        raise ValueError("no")

    @agent(runtime)
    def run(ctx: Context) -> Any:
        told = []
        for number in range(3):
            try:
                try:
                    ctx.effect("fails", fails)
                except KeyError:
                    pass
                finally:
                    told.append(ask(ctx, "finally", number))
            except BaseException as fault:  # noqa: BLE001 - it is what this agent is about
                told.append(repr(fault))
                ask(ctx, "handled", number)
        return told


@program
def context_managers_that_ask(runtime: IntentusRuntime) -> None:
    @contextlib.contextmanager
    def step(ctx: Context, number: int) -> Iterator[None]:
        ask(ctx, "begin", number)
        try:
            yield
        finally:
            ask(ctx, "end", number)

    @agent(runtime)
    def run(ctx: Context) -> None:
        with (
            step(ctx, 1),
            contextlib.suppress(ZeroDivisionError),
            step(ctx, 2),
            contextlib.ExitStack() as stack,
        ):
            for number in range(3):
                stack.callback(ask, ctx, "callback", number)
            _ = 1 / 0


@program
def branches_in_branches(runtime: IntentusRuntime) -> None:
    def leaf(ctx: Context, number: int) -> list[Any]:
        return [ask(ctx, "leaf", number), ctx.random.random(), ctx.uuid(), ctx.patched("leaf")]

    @agent(runtime)
    def run(ctx: Context) -> Any:
        inner = [functools.partial(leaf, ctx, number) for number in range(2)]
        outer = [functools.partial(ctx.gather, *inner) for _ in range(2)]
        return ctx.map(lambda _: ctx.gather(*outer), range(3), limit=2)


@program
def a_branch_that_fails(runtime: IntentusRuntime) -> None:
    @agent(runtime)
    def run(ctx: Context) -> Any:
        def leaf(number: int) -> Any:
            ask(ctx, "leaf", number)
            if number == 1:
                raise KeyError(number)
            return ask(ctx, "more", number)

        try:
            return ctx.map(leaf, range(4))
        except KeyError as fault:
            return [str(fault), ask(ctx, "after")]


@program
def recursion(runtime: IntentusRuntime) -> None:
    @agent(runtime)
    def run(ctx: Context) -> int:
        def fibonacci(number: int) -> int:
            ask(ctx, "fibonacci", number)
            return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

        return fibonacci(6)


@program
def effects_that_ask(runtime: IntentusRuntime) -> None:
    agent(runtime, "child")(lambda ctx: ask(ctx, "child"))

    @agent(runtime)
    def run(ctx: Context) -> Any:
        def outer() -> Any:
            inner = [ask(ctx, "inner"), ctx.now(), ctx.random.random(), ctx.route("child").payload]
            return inner + ctx.gather(lambda: ask(ctx, "branch"))

        return [ctx.effect("outer", outer), ask(ctx, "then"), ctx.random.random()]


@program
def children_of_children_with_fallback(runtime: IntentusRuntime) -> None:
    @agent(runtime, "child")
    def child(payload: int, ctx: Context) -> Any:
        if payload % 2:
            raise RuntimeError("odd")
        return ctx.route("grandchild", payload, strategy="fallback").payload

    agent(runtime, "child", 1)(lambda payload, ctx: ask(ctx, "second", payload))
    agent(runtime, "grandchild")(lambda payload, ctx: {}[ask(ctx, "missing", payload)])
    agent(runtime, "grandchild", 1)(lambda payload, ctx: [ask(ctx, "found", payload), ctx.uuid()])

    @agent(runtime)
    def run(ctx: Context) -> Any:
        return ctx.map(lambda number: ctx.route("child", number, strategy="fallback").payload, range(4))


@program
def children_that_are_alike_in_threads(runtime: IntentusRuntime) -> None:
    agent(runtime, "child")(lambda payload, ctx: ask(ctx, "child", payload))

    @agent(runtime)
    def run(ctx: Context) -> Any:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda number: ctx.route("child", number % 2).payload, range(6)))


def three(runtime: IntentusRuntime, failing: int) -> None:
    def make(number: int) -> Callable[[Context], int]:
        def run(ctx: Context) -> int:
            for step in range(number + 1):
                ask(ctx, "step", step)
            if number == failing:
                raise ValueError("no")
            return number

        return run

    for number in range(3):
        agent(runtime, rank=number)(make(number))


@program
def a_race(runtime: IntentusRuntime) -> dict[str, Any]:
    three(runtime, 0)
    return {"strategy": "parallel", "prefer": "first"}


@program
def a_broadcast(runtime: IntentusRuntime) -> dict[str, Any]:
    three(runtime, 1)
    return {"strategy": "broadcast"}


@program
def a_denial_in_a_fallback(runtime: IntentusRuntime) -> dict[str, Any]:
    three(runtime, 0)
    return {"strategy": "fallback", "fallback": ["x-0", "x-2", "x-1"]}


@program
def what_is_changed_after_it_was_told(runtime: IntentusRuntime) -> dict[str, Any]:
    @agent(runtime)
    def run(payload: dict[str, Any], ctx: Context) -> Any:
        items, told = [1], []
        for number in range(3):
            answer = ctx.effect("wrap", lambda value: {"value": value}, items)
            items.append(number)
            answer["value"].append("changed")
            told.append(answer)
        payload["changed"] = ctx.envelope.payload["changed too"] = 1
        return [told, payload, ctx.envelope.payload]

    return {"payload": {"a": 1}}


class Colour(Enum):
    RED = "r"
    BLUE = "b"


class Name(BaseModel):
    text: str

    @field_validator("text")
    @classmethod
    def normal(cls, text: str) -> str:
        return text.strip().lower()


def named(text: str) -> Name:
    return Name(text=text)


def blue() -> Colour:
    return Colour.BLUE


def price() -> Decimal:
    return Decimal("1.10")


@program
def types_that_normalise(runtime: IntentusRuntime) -> None:
    @agent(runtime)
    def run(ctx: Context) -> Name:
        name, colour = ctx.effect("name", named, "  ADA "), ctx.effect("colour", blue)
        with localcontext() as context:
            context.prec, context.capitals = 3, 0
            total = ctx.effect("price", price) * Decimal("3.33333")
        ctx.effect("tell", lambda *told: len(told), name, colour, total, Colour.RED)
        return Name(text=f"{name.text}{colour.name}{total}")


@program
def values_of_every_kind(runtime: IntentusRuntime) -> None:
    odd: list[Any] = [
        float("nan"),
        float("-inf"),
        -0.0,
        10**400,
        "\ud800",
        b"\x00\xff",
        (1, (2,)),
        {1: 2, "a": 3},
    ]
    odd += [{1, 2, "x"}, frozenset([1]), Decimal("sNaN"), None, True, "\u2028", {"$x": 1}, "x" * 40_000]

    @agent(runtime)
    def run(ctx: Context) -> Any:
        told = [ask(ctx, "one by one", value) for value in odd]
        ctx.map(functools.partial(ask, ctx, "branches"), odd)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(functools.partial(ask, ctx, "threads"), odd))
        return told


@program
def threads_of_an_agents_own(runtime: IntentusRuntime) -> None:
    @agent(runtime)
    def run(ctx: Context) -> Any:
        def work(number: int) -> None:
            for step in range(3):
                ask(ctx, "work", [number % 2, step])
            ctx.log("worked", number=number)
            ctx.usage(steps=3)
            ctx.random_stream(str(number)).random()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        ask(ctx, "meanwhile")
        for thread in threads:
            thread.join()


@program
def tasks_and_one_that_is_left(runtime: IntentusRuntime) -> None:
    @agent(runtime)
    def run(ctx: Context) -> Any:
        async def left() -> None:
            try:
                ask(ctx, "left")
                await asyncio.Event().wait()
            finally:
                ask(ctx, "cancelled")

        async def work(number: int) -> Any:
            ask(ctx, "work", number)
            return await asyncio.to_thread(ask, ctx, "thread", number)

        async def main() -> Any:
            kept.append(asyncio.create_task(left()))
            await asyncio.sleep(0)
            return [ask(ctx, "main"), *await asyncio.gather(*map(work, range(3)))]

        kept: list[Any] = []
        return asyncio.run(main())


@program
def exits_and_groups(runtime: IntentusRuntime) -> None:
    def leaves() -> None:
        raise SystemExit(3)

    def group() -> None:
        raise ExceptionGroup("both", [ValueError(1), OSError(2, "no", "file")])

    @agent(runtime)
    def run(ctx: Context) -> None:
        try:
            ctx.effect("leaves", leaves)
        except SystemExit as fault:
            ask(ctx, "code", fault.code)
        try:
            ctx.effect("group", group)
        except* ValueError as faults:
            ask(ctx, "values", str(faults.exceptions))
        except* OSError as faults:
            ask(ctx, "files", faults.exceptions[0].filename)  # type: ignore[union-attr] - the group is flat
        raise SystemExit("bye")


@pytest.mark.parametrize("made", PROGRAMS, ids=lambda made: made.__name__)
def test_what_has_not_changed_is_a_match(made: Program) -> None:
    """Recorded and replayed concurrently, no record of it diverges, and neither do its children."""
    runtime = runtime_of(policy=POLICY) if made is a_denial_in_a_fallback else runtime_of()
    options = made(runtime) or {}
    payload = options.pop("payload", None)
    with ThreadPoolExecutor(REPLAYED) as pool:
        routed = [pool.submit(runtime.route, "x", payload, **options) for _ in range(RECORDED)]
        names = [future.result().execution_id for future in routed]
        replays = [pool.submit(runtime.replay, name, nested=True) for _ in range(REPLAYED) for name in names]
        reports = [future.result() for future in replays]
    assert [report for report in reports if report.verdict is not Verdict.MATCH] == []


POLICY: dict[str, Any] = {
    "default": "allow",
    "rules": [{"id": "not-this-one", "effect": "deny", "agent": "x-2"}],
}
