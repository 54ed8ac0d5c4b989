"""Code, agents and policy that are others than those that made an interrupted record: nothing is done."""

from collections.abc import Callable
from typing import Any

import pytest
from helpers.breaking import READS, World, asks, broken_off, resumed
from helpers.runtimes import runtime_of

from intentusnet import Context, IntentusRuntime
from intentusnet.errors import (
    ContinuationDiverged,
)


def branching(names: tuple[Any, ...]) -> Callable[[Any], Callable[[Context], Any]]:
    return lambda act: (
        lambda ctx: [
            *ctx.gather(*(lambda name=name: ctx.effect("act", act, name) for name in names)),
            ctx.effect("act", act, "last"),
        ]
    )


def straight(*names: Any) -> Callable[[Any], Callable[[Context], Any]]:
    return lambda act: lambda ctx: [ctx.effect("act", act, name) for name in names]


@pytest.mark.parametrize(
    ("then", "now", "kind", "scope"),
    [
        (straight(1, 2, "last"), straight(1, 7, "last"), "arguments", "attempt:0"),
        (straight(1, 2, "last"), straight(2, 1, "last"), "arguments", "attempt:0"),
        (straight(1, 2, "last"), straight(1, "last"), "arguments", "attempt:0"),
        (straight(1, 2, "last"), straight(0, 1, 2, "last"), "arguments", "attempt:0"),
        (straight(1, 2, "last"), straight(1), "missing", "attempt:0"),
        (
            straight(1, 2, "last"),
            lambda act: lambda ctx: ctx.effect("other", act, 1),
            "unexpected",
            "attempt:0",
        ),
        (straight(1, 2, "last"), lambda act: lambda ctx: ctx.now(), "unexpected", "attempt:0"),
        (branching((1, 2)), branching((1,)), "missing", "attempt:0/gather:0.1"),
        (branching((1, 2)), branching((1, 3)), "arguments", "attempt:0/gather:0.1"),
    ],
)
def test_other_code_does_nothing(then: Any, now: Any, kind: str, scope: str) -> None:
    """Code that asks otherwise than the record is stopped, named, and can still be put right."""
    runtime, world = runtime_of(), World("last")
    act = world.act(**READS)
    runtime.agent("agent", handles="x", side_effect="read_only")(then(act))
    broken = broken_off(runtime).execution_id
    world.breaks.clear()
    done = list(world.done)
    changed = IntentusRuntime(store=runtime.store)
    changed.agent("agent", handles="x", side_effect="read_only")(now(act))
    with pytest.raises(ContinuationDiverged) as caught:
        changed.resume(broken)
    assert (caught.value.divergences[0].kind, caught.value.divergences[0].scope) == (kind, scope)
    assert world.done == done
    resumed(runtime, world, broken)


def test_an_agent_cannot_swallow_that_its_code_is_another() -> None:
    """Whatever it makes of the signal, its answer is not written."""
    runtime, world = asks(1, 2, **READS)
    world.breaks.add(2)
    broken = broken_off(runtime).execution_id
    changed = IntentusRuntime(store=runtime.store)

    @changed.agent("agent", handles="x", side_effect="read_only")
    def agent(ctx: Context) -> Any:
        try:
            ctx.effect("act", world.act(**READS), 7)
        except BaseException:  # noqa: BLE001 - the worst that an agent can do
            return "fine"

    with pytest.raises(ContinuationDiverged):
        changed.resume(broken)
    assert [found.execution_id for found in runtime.recover()] == [broken]


def test_another_plan_does_nothing() -> None:
    """Agents and policy must be those that made the record."""
    runtime, world = asks(1, 2, **READS)
    world.breaks.add(2)
    broken = broken_off(runtime).execution_id
    with pytest.raises(ContinuationDiverged, match="plan, "):
        runtime.configure(policy={"default": "deny"}).resume(broken)
    assert world.done == [1]
