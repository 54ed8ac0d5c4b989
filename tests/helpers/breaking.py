"""Runs that break off in the middle, in this process, and what they had done until then."""

from collections.abc import Callable
from typing import Any

import pytest
from helpers.runtimes import replays, runtime_of

from intentusnet import ExecutionRecord, IntentusRuntime, MemoryExecutionStore, effect

READS: dict[str, Any] = {"side_effect": "read_only"}


class World:
    """Counts what is done to it, and breaks off where it is told to.

    Attributes:
        done: every call, in order.
        breaks: calls of that argument raise KeyboardInterrupt, as Ctrl-C does.
    """

    def __init__(self, *breaks: Any) -> None:
        self.done: list[Any] = []
        self.breaks = set(breaks)

    def act(self, **traits: Any) -> Callable[[Any], Any]:
        @effect(**traits)
        def act(what: Any) -> Any:
            if what in self.breaks:
                raise KeyboardInterrupt
            self.done.append(what)
            return [what]

        return act


def broken_off(runtime: IntentusRuntime, intent: str = "x", **options: Any) -> ExecutionRecord:
    """Routes to an agent that breaks off; the store then has it without an end."""
    with pytest.raises(KeyboardInterrupt):
        runtime.route(intent, **options)
    assert runtime.store is not None
    return runtime.store.get(runtime.store.resolve("@last"))


def same_agents(runtime: IntentusRuntime) -> IntentusRuntime:
    """The same with a store of its own, for the run that nothing interrupts."""
    return runtime.configure(store=MemoryExecutionStore())


def resumed(runtime: IntentusRuntime, world: World, broken: str) -> Any:
    """Resumes what broke off; it has to end as if nothing had happened, and to replay."""
    world.breaks.clear()
    response = runtime.resume(broken)
    replays(runtime, response)
    assert runtime.recover() == ()
    assert runtime.store is not None
    assert runtime.store.verify().ok
    return response


def asks(*names: Any, **traits: Any) -> tuple[IntentusRuntime, World]:
    """A runtime with one agent that has these effects, one after the other."""
    runtime, world = runtime_of(), World()
    act = world.act(**traits)
    runtime.agent("agent", handles="x", side_effect="read_only")(
        lambda ctx: [ctx.effect("act", act, name) for name in names]
    )
    return runtime, world
