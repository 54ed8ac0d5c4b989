"""The programs of ``programs``, done by asynchronous agents: the same steps, awaited."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from helpers import programs
from helpers.programs import ERRORS, VALUES, AgentProgram, Program, Step, World

from intentusnet import AgentResponse, AsyncContext, IntentusRuntime

#: What an asynchronous agent does by itself in a loop is another matter than what its context does for it.
_OF_THREADS = frozenset({"spawn", "thread", "inside"})
#: Python makes a RuntimeError of a StopIteration that leaves a coroutine.
_STOPPING = next(n for n, error in enumerate(ERRORS) if isinstance(error(), StopIteration))


def awaitable(program: Program) -> Program:
    """The program without the steps that only plain agents take."""
    agents = [replace(agent, steps=_kept(agent.steps)) for agent in program.agents]
    return replace(program, agents=agents)


def _kept(steps: list[Step]) -> list[Step]:
    kept: list[Step] = []
    for step in steps:
        match step:
            case ("try", inner):
                kept.append(("try", _kept(inner)))
            case ("gather", branches):
                kept.append(("gather", [_kept(branch) for branch in branches]))
            case ("map", number, limit, inner):
                kept.append(("map", number, limit, _kept(inner)))
            case ("effect", name, "raise", number, argument) if number % len(ERRORS) == _STOPPING:
                kept.append(("effect", name, "raise", number + 1, argument))
            case ("fail", number) if number == _STOPPING:
                kept.append(("fail", number + 1))
            case (kind, *_) if kind not in _OF_THREADS:
                kept.append(step)
    return kept


def runtime_of(
    program: Program, world: World, asynchronous: Callable[[int], bool], **arguments: Any
) -> IntentusRuntime:
    """A runtime with the program's agents, those of them asynchronous that are said to be by their number."""
    runtime = programs.runtime_of(replace(program, agents=[]), world, **arguments)
    for number, agent in enumerate(program.agents):
        handler = handler_of(agent, world) if asynchronous(number) else programs.handler_of(agent, world)
        runtime.agent(
            agent.name,
            handles=agent.intents,
            rank=agent.rank,
            remote=agent.remote,
            side_effect=agent.side_effect,  # type: ignore[arg-type]  # one of three
        )(handler)
    return runtime


async def run(
    program: Program, world: World, asynchronous: Callable[[int], bool], **arguments: Any
) -> tuple[IntentusRuntime, AgentResponse]:
    """Routes the program's request for an asynchronous caller; returns when no task of it is left."""
    runtime = runtime_of(program, world, asynchronous, **arguments)
    response = await runtime.route_async("root", **program.request)
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.gather(*left, return_exceptions=True)
    return runtime, response


def handler_of(agent: AgentProgram, world: World) -> Callable[..., Awaitable[Any]]:
    """The agent as a coroutine function."""

    async def handler(payload: Any, ctx: AsyncContext) -> Any:
        told: list[Any] = []
        await interpret(agent.steps[:-1], payload, ctx, world, told)
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


async def interpret(
    steps: list[Step], payload: Any, ctx: AsyncContext, world: World, told: list[Any]
) -> None:
    """Does the steps, and puts what it was told at the end of `told`."""
    for step in steps:
        match step:
            case ("effect", name, how, number, argument):
                function = programs.effect_of(how, number, world)
                told.append(programs.shown(await ctx.effect(name, function, VALUES[argument], key=number)))
            case ("sleep", number):
                await ctx.sleep(number)
            case ("try", inner):
                try:
                    await interpret(inner, payload, ctx, world, told)
                except programs.CAUGHT as fault:
                    told.append(programs.fault_told(fault))
            case ("gather", branches):
                told.append(await ctx.gather(*(_branch(b, payload, ctx, world)() for b in branches)))
            case ("map", number, limit, inner):
                told.append(await _mapped(number, limit, _branch(inner, payload, ctx, world), ctx))
            case ("child", intent, routing):
                response = await ctx.route(intent, {"amount": 1}, **routing)
                told.append([response.status, response.payload, response.agent])
            case _:
                programs.do(step, payload, ctx, world, told)


async def _mapped(
    number: int, limit: int | None, branch: Callable[[], Awaitable[list[Any]]], ctx: AsyncContext
) -> list[Any]:
    async def each(item: int) -> list[Any]:
        return [item, *await branch()]

    return await ctx.map(each, range(number), limit=limit)


def _branch(
    steps: list[Step], payload: Any, ctx: AsyncContext, world: World
) -> Callable[[], Awaitable[list[Any]]]:
    async def branch() -> list[Any]:
        told: list[Any] = []
        await interpret(steps, payload, ctx, world, told)
        return told

    return branch
