"""Code, agents and policy that are others than those that made an interrupted record: nothing is done."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from helpers.breaking import READS, World, asks, broken_off, resumed
from helpers.runtimes import runtime_of

from intentusnet import Context, IntentusRuntime, effect
from intentusnet.errors import ContinuationDiverged, InvalidInput


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


@pytest.mark.parametrize("threads", [False, True], ids=["branches", "threads"])
def test_what_a_record_need_not_have_stops_no_resumption(threads: bool) -> None:
    """Checks that passed, and patches asked for by whoever stands before branches that are on record."""
    runtime, world = runtime_of(), World(2)
    act = world.act(**READS)

    def step(ctx: Context, number: int) -> Any:
        ctx.check()
        told = [ctx.patched("step"), ctx.effect("act", act, number)]
        ctx.check()
        return told

    def agent(ctx: Context) -> Any:
        ctx.check()
        if not threads:
            told = ctx.map(lambda number: step(ctx, number), [1, 2])
        else:
            with ThreadPoolExecutor(1) as pool:
                told = list(pool.map(lambda number: step(ctx, number), [1, 2]))
        ctx.check()
        return [*told, ctx.patched("end")]

    runtime.agent("agent", handles="x", side_effect="read_only")(agent)
    broken = broken_off(runtime).execution_id
    assert resumed(runtime, world, broken).payload == [[True, [1]], [True, [2]], True]


def test_a_patch_before_branches_on_record_is_not_there() -> None:
    """It is younger than the record, so the old code runs in front of them."""
    runtime, world = runtime_of(), World(2)
    act = world.act(**READS)
    branches: Callable[[Context], Any] = lambda ctx: ctx.map(  # noqa: E731 - one of two that differ by a line
        lambda number: ctx.effect("act", act, number), [1, 2]
    )
    runtime.agent("agent", handles="x", side_effect="read_only")(branches)
    broken = broken_off(runtime).execution_id
    now = IntentusRuntime(store=runtime.store)
    now.agent("agent", handles="x", side_effect="read_only")(
        lambda ctx: [act("new")] if ctx.patched("new") else branches(ctx)
    )
    assert resumed(now, world, broken).payload == [[1], [2]]
    assert "new" not in world.done


def test_an_answer_of_another_type_than_is_declared_now_is_not_gone_on_with() -> None:
    """The code that asks is another one, whatever it would make of the error."""

    def text() -> str:
        return "5"

    def number() -> int:
        return 5

    def asking(function: Callable[[], Any]) -> Callable[[Context], Any]:
        def agent(ctx: Context) -> Any:
            try:
                return [ctx.effect("ask", effect(**READS)(function)), ctx.effect("act", act, "last")]
            except InvalidInput:
                return "swallowed"

        return agent

    runtime, world = runtime_of(), World("last")
    act = world.act(**READS)
    runtime.agent("agent", handles="x", side_effect="read_only")(asking(text))
    broken = broken_off(runtime).execution_id
    now = IntentusRuntime(store=runtime.store)
    now.agent("agent", handles="x", side_effect="read_only")(asking(number))
    with pytest.raises(ContinuationDiverged) as caught:
        now.resume(broken)
    (found,) = caught.value.divergences
    assert (found.kind, found.question, found.expected) == ("outcome", "effect ask [0]", "5")
    assert resumed(runtime, world, broken).payload == ["5", ["last"]]


@pytest.mark.parametrize("of", ["agent", "effect"])
def test_what_is_declared_worse_now_is_not_repeated(of: str) -> None:
    """By the declaration of then it might be asked again; whoever has corrected it since knows better."""
    runtime, world = runtime_of(), World(2)

    def asking(**traits: Any) -> Callable[[Context], Any]:
        return lambda ctx: [ctx.effect("act", world.act(**traits), number) for number in (1, 2)]

    corrected: dict[str, Any] = {"side_effect": "irreversible"}
    runtime.agent("agent", handles="x", side_effect="read_only")(asking(**READS))
    broken = broken_off(runtime).execution_id
    now = IntentusRuntime(store=runtime.store)
    of_effect, of_agent = (corrected, READS) if of == "effect" else (READS, corrected)
    now.agent("agent", handles="x", **of_agent)(asking(**of_effect))
    world.breaks.clear()
    with pytest.raises(ContinuationDiverged) as caught:
        now.resume(broken)
    (found,) = caught.value.divergences
    assert found.question == ("effect act [1]" if of == "effect" else "agent agent [0]")
    assert (found.expected["side_effect"], found.actual["side_effect"]) == ("read_only", "irreversible")
    assert world.done == [1]
    assert resumed(runtime, world, broken).payload == [[1], [2]]
