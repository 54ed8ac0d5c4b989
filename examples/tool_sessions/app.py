"""The app: every tool class as an agent, three more beside them, and an agent that runs whole sessions.

``runtime`` is what ``--app examples.tool_sessions.app:runtime`` takes, from the root of the repository.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from examples.tool_sessions.sessions import Call, Order, Session
from examples.tool_sessions.tools import (
    SESSION_TAG,
    STATE_INTENT,
    STATELESS,
    ToolAgent,
    atlas,
    cache_key,
    pocket_calculator,
    price_board,
)
from examples.tool_sessions.wheel import tool_classes, version
from examples.tool_sessions.world import World
from intentusnet import (
    AgentResponse,
    Caller,
    Context,
    ExecutionStore,
    IntentusRuntime,
    RoutingStrategy,
)

POLICY: Final = Path(__file__).with_name("policy.toml")

DESCRIPTIONS: Final[Mapping[str, str]] = {
    "GorillaFileSystem": "Directories and files.",
    "MathAPI": "Arithmetic, statistics, units.",
    "MessageAPI": "Messages in a workspace.",
    "TicketAPI": "Support tickets.",
    "TradingBot": "An account with orders and a watch list.",
    "TravelAPI": "Flights, bookings, insurance.",
    "TwitterAPI": "Posts, comments, followers.",
    "VehicleControlAPI": "A car, from its doors to its tank.",
}

#: Looked up in the atlas first, and asked of the car only if nobody has asked before: they never change.
CACHED: Final = ("VehicleControlAPI.estimate_distance", "VehicleControlAPI.get_zipcode_based_on_city")
#: Asked of two agents at once: the better-ranked one that has an answer wins.
COMPUTED_TWICE: Final = ("MathAPI.logarithm", "MathAPI.mean", "MathAPI.standard_deviation")
QUOTED_TWICE: Final = ("TradingBot.get_stock_info",)


def make_runtime(
    *,
    store: ExecutionStore | str | os.PathLike[str] | None = None,
    tools: Mapping[str, type] | None = None,
    world: World | None = None,
    **options: Any,
) -> IntentusRuntime:
    """A runtime with the tools as agents.

    Args:
        store: where it records.
        tools: other classes in place of the wheel's, by name.
        world: what the tools meet; a new one unless given.
        options: whatever else `IntentusRuntime` takes.

    Raises:
        WheelMissing: the wheel with the tools is not installed.
    """
    world = world or World()
    runtime = IntentusRuntime(store=store, policy=POLICY, **options)
    for name, kind in {**tool_classes(), **(tools or {})}.items():
        handles = [f"{name}.*"] if name in STATELESS else [f"{name}.*", STATE_INTENT]
        what_for = DESCRIPTIONS[name]
        runtime.agent(
            name, handles=handles, version=version(), side_effect="read_only", description=what_for
        )(ToolAgent(name, kind, world))
    beside: dict[str, Any] = {"rank": 10, "side_effect": "read_only"}
    runtime.agent("Atlas", handles=CACHED, **beside)(atlas(world))
    runtime.agent("PriceBoard", handles=QUOTED_TWICE, **beside)(price_board(world))
    runtime.agent("PocketCalculator", handles=COMPUTED_TWICE, **beside)(pocket_calculator)
    runtime.agent("SessionRunner", handles="session.run", side_effect="read_only")(session_runner(world))
    return runtime


def session_runner(world: World) -> Callable[[Order, Context], dict[str, Any]]:
    """An agent that runs a session: each call is an intent of its own, and a denial is not the end."""

    def handle(order: Order, ctx: Context) -> dict[str, Any]:
        """Whole sessions, call by call."""
        tags = (f"{SESSION_TAG}{order.session}",)
        ended: Counter[str] = Counter()
        for turn in order.turns:
            for call in turn.calls:
                response = _route(call, tags, ctx)
                ended[response.error.code.value if response.error else "success"] += 1
                if call.intent in CACHED and response.ok and response.agent != "Atlas":
                    key = cache_key(call.arguments)
                    ctx.effect("remember", world.remember, call.intent, key, response.payload)
        return {"session": order.session, "calls": ended.total(), "ended": dict(ended)}

    return handle


def _route(call: Call, tags: tuple[str, ...], ctx: Context) -> AgentResponse:
    strategy = RoutingStrategy.DIRECT
    fallback: tuple[str, ...] = ()
    if call.intent in CACHED:
        strategy, fallback = RoutingStrategy.FALLBACK, ("Atlas", call.tool)
    elif call.intent in (*COMPUTED_TWICE, *QUOTED_TWICE):
        strategy = RoutingStrategy.PARALLEL
    return ctx.route(call.intent, call.arguments, strategy=strategy, fallback=fallback, tags=tags)


def run(runtime: IntentusRuntime, session: Session) -> AgentResponse:
    """Runs a session of the data set, for its caller."""
    caller = Caller(name="assistant", roles=(session.role,))
    return runtime.route("session.run", session.order, caller=caller, tags=(session.tag,))


runtime = make_runtime()
