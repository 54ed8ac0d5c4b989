"""The tool classes as agents.

The body of a tool's agent meets the world through its context only, so it is ``read_only``: it loads what the
tool knows in this session, makes the tool anew from it, calls the real method of the real class, and saves
what the tool knows then, if that is not the same. Time and random numbers come through the context as well.
So a replay runs the tool's own code on the recorded state, and touches nothing.

A tool that answers ``{"error": …}`` has not done what it was asked, and becomes an error of the agent: the
record says so where people look (``list --status error``), a fallback goes on to the next agent, and nothing
is saved.
"""

from __future__ import annotations

import decimal
import inspect
import json
import math
import statistics
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Final

from examples.tool_sessions.state import State, dehydrate, differs, hydrate
from examples.tool_sessions.wheel import telling, tool_modules
from examples.tool_sessions.world import World
from intentusnet import AgentFailure, Context

#: Nothing to know, so nothing to load or save.
STATELESS: Final = frozenset({"MathAPI"})

SESSION_TAG: Final = "session:"

#: Every tool that a session has answers this one with what it knows.
STATE_INTENT: Final = "session.state"


def session_of(ctx: Context) -> str:
    """The session that a call belongs to: it travels in the tags."""
    for tag in ctx.envelope.tags:
        if tag.startswith(SESSION_TAG):
            return tag.removeprefix(SESSION_TAG)
    raise AgentFailure(
        f"the call has no tag {SESSION_TAG}ID, so it is not known whose state is meant",
        code="VALIDATION_ERROR",
    )


class _Draws:
    """Stands for a tool's random generator: each number is asked of the world.

    The sessions name ids that were drawn earlier in them ("cancel booking 3426812"), so the stream has to be
    the one that the scenario seeds, and to outlast the call: it is the world's.
    """

    def __init__(self, ctx: Context, world: World, session: str, tool: str) -> None:
        self._draw: Callable[..., Any] = lambda kind, low, high: ctx.effect(
            "draw", world.draw, session, tool, kind, low, high
        )

    def randint(self, low: int, high: int) -> Any:
        return self._draw("randint", low, high)

    def uniform(self, low: float, high: float) -> Any:
        return self._draw("uniform", low, high)


class ToolAgent:
    """A tool class as an agent that handles ``Tool.method`` with the method's arguments as payload.

    Args:
        name: the tool's name.
        kind: its class.
        world: where its state lies.
    """

    def __init__(self, name: str, kind: type, world: World) -> None:
        self._name = name
        self._kind = kind
        self._world = world
        self._classes = vars(tool_modules()[name])

    def handle(self, arguments: dict[str, Any] | None, ctx: Context) -> Any:
        intent = ctx.envelope.intent.name
        if intent == STATE_INTENT:
            return self._load(ctx, session_of(ctx))
        method = self._method(intent.partition(".")[2], arguments or {})
        if self._name in STATELESS:
            return _result_of(method, self._kind(), arguments or {}, ctx)
        session = session_of(ctx)
        before = self._load(ctx, session)
        tool = hydrate(self._kind, before, self._classes)
        tool._random = _Draws(ctx, self._world, session, self._name)
        result = _result_of(method, tool, arguments or {}, ctx)
        after = dehydrate(tool)
        if differs(before, after):
            ctx.effect("save_state", self._world.save_state, session, self._name, after)
        return result

    def _load(self, ctx: Context, session: str) -> State:
        state: State | None = ctx.effect("load_state", self._world.load_state, session, self._name)
        if state is None:
            raise AgentFailure(f"session {session!r} has no {self._name}", code="AGENT_UNAVAILABLE")
        return state

    def _method(self, name: str, arguments: Mapping[str, Any]) -> Callable[..., Any]:
        method = None if name.startswith("_") else getattr(self._kind, name, None)
        if not inspect.isfunction(method):
            raise AgentFailure(f"{self._name} has no method {name!r}", code="CAPABILITY_NOT_FOUND")
        try:
            inspect.signature(method).bind(None, **arguments)
        except TypeError as fault:
            raise AgentFailure(f"{self._name}.{name}: {fault}", code="VALIDATION_ERROR") from fault
        return method


def _result_of(method: Callable[..., Any], tool: Any, arguments: Mapping[str, Any], ctx: Context) -> Any:
    # MathAPI.square_root sets the precision of the thread's decimals, which is nobody else's business.
    with telling(lambda: ctx.now().astimezone(UTC).replace(tzinfo=None)), decimal.localcontext():
        result = plain_result(method(tool, **arguments))
    if isinstance(result, dict) and "error" in result:
        others = {name: value for name, value in result.items() if name != "error"}
        raise AgentFailure(str(result["error"]), details=others)
    return result


def plain_result(result: Any) -> Any:
    """A method's result as data: mpmath's floats are decimals of the precision that was asked for."""
    if isinstance(result, dict):
        return {name: plain_result(value) for name, value in result.items()}
    if isinstance(result, tool_modules()["MathAPI"].mpmath.mpf):
        return decimal.Decimal(str(result))
    return result


def atlas(world: World) -> Callable[[dict[str, Any], Context], Any]:
    """An agent that knows only answers that were given before, and fails cleanly for all others."""

    def handle(arguments: dict[str, Any], ctx: Context) -> Any:
        """Answers that earlier sessions were given."""
        answer = ctx.effect("look_up", world.look_up, ctx.envelope.intent.name, cache_key(arguments))
        if answer is None:
            raise AgentFailure("nobody has asked this before", code="AGENT_UNAVAILABLE")
        return answer

    return handle


def cache_key(arguments: Mapping[str, Any]) -> str:
    """Arguments as a key."""
    return json.dumps(arguments, sort_keys=True)


def price_board(world: World) -> Callable[[dict[str, Any], Context], Any]:
    """An agent that knows the exchange's prices, and nothing of anybody's account."""

    def handle(arguments: dict[str, Any], ctx: Context) -> Any:
        """The prices of the exchange's board."""
        quote = ctx.effect("quote", world.quote, arguments["symbol"])
        if quote is None:
            raise AgentFailure(f"{arguments['symbol']!r} is not on the board")
        return quote

    return handle


def pocket_calculator(arguments: dict[str, Any], ctx: Context) -> Any:
    """Some of MathAPI's methods, by the standard library."""
    method = ctx.envelope.intent.name.partition(".")[2]
    match method, arguments:
        case "mean", {"numbers": [_, *_] as numbers}:
            return {"result": statistics.fmean(numbers)}
        case "standard_deviation", {"numbers": [_, *_] as numbers}:
            return {"result": statistics.pstdev(numbers)}
        case "logarithm", {"value": value, "base": base}:
            return {"result": math.log(value, base)}
    raise AgentFailure(f"the pocket calculator cannot do {method} of these")
