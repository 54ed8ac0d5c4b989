"""Interrupted executions that go on: strategies, nested ones, threads, and what a person says."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.breaking import READS, World, asks, broken_off, resumed, same_agents
from helpers.runtimes import replays, runtime_of

from intentusnet import Context, IntentusRuntime, ManualClock, RoutingStrategy, effect
from intentusnet.errors import (
    AgentFailure,
    InDoubt,
    InvalidInput,
)
from intentusnet.log.repair import repair_store


def test_answers_on_record_are_not_asked_for_again() -> None:
    """What was answered before the break is not done again, and the record ends like any other."""
    runtime, world = asks(1, 2, 3, **READS)
    world.breaks.add(2)
    broken = broken_off(runtime)
    response = resumed(runtime, world, broken.execution_id)
    assert world.done == [1, 2, 3]
    assert response.payload == [[1], [2], [3]]
    assert response.execution_id == broken.execution_id
    assert response.fingerprint == same_agents(runtime).route("x").fingerprint


def test_an_ended_execution_is_not_run() -> None:
    """To resume it gives the response on record."""
    runtime, world = asks(1)
    response = runtime.route("x")
    assert runtime.resume(response.execution_id) == response
    assert world.done == [1]


def test_it_can_break_off_again_and_again() -> None:
    """Each resumption goes as far as it comes; none repeats what another has done."""
    runtime, world = asks(*range(5), **READS)
    world.breaks = set(range(5))
    broken = broken_off(runtime).execution_id
    for number in range(4):
        world.breaks.remove(number)
        with pytest.raises(KeyboardInterrupt):
            runtime.resume(broken)
    resumed(runtime, world, broken)
    assert world.done == list(range(5))


@pytest.mark.parametrize("traits", [{"side_effect": "reversible"}, {"side_effect": "irreversible"}])
def test_an_effect_in_doubt_waits(traits: dict[str, Any]) -> None:
    """Nothing is done until a person has spoken; then it is asked again if it did not happen."""
    runtime, world = asks(1, 2, 3, **traits)
    world.breaks.add(2)
    broken = broken_off(runtime).execution_id
    world.breaks.clear()
    with pytest.raises(InDoubt, match="effect act at attempt:0:1"):
        runtime.resume(broken)
    assert world.done == [1]
    assert runtime.resolve(broken, False, by="ada").rule == "ask_again"
    resumed(runtime, world, broken)
    assert world.done == [1, 2, 3]


def test_a_word_counts_for_one_time() -> None:
    """What did not happen, was asked again and broke off again is in doubt again."""
    runtime, world = asks(1)
    world.breaks.add(1)
    broken = broken_off(runtime).execution_id
    runtime.resolve(broken, False, by="ada")
    with pytest.raises(KeyboardInterrupt):
        runtime.resume(broken)
    with pytest.raises(InDoubt):
        runtime.resume(broken)
    runtime.resolve(broken, False, by="ada")
    resumed(runtime, world, broken)


def test_what_happened_is_not_done_again() -> None:
    """The person's answer is the answer, and the record says whose word it is."""
    runtime, world = asks(1, 2, 3)
    world.breaks.add(2)
    broken = broken_off(runtime).execution_id
    assert runtime.resolve(broken, True, by="ada", answer=["two"]).rule == "resume"
    assert resumed(runtime, world, broken).payload == [[1], ["two"], [3]]
    assert world.done == [1, 3]
    assert runtime.store is not None
    [said] = [q for q in runtime.store.get(broken).questions if q.name == "resolved"]
    assert b'"by":"ada"' in said.arguments


def test_only_what_is_in_doubt_can_be_resolved() -> None:
    """One of several has to be named, and nothing else can be."""
    runtime, world = runtime_of(), World("a", "b")
    act, both = world.act(), threading.Barrier(2)

    def branch(name: str) -> Callable[[Context], Any]:
        def call(ctx: Context) -> Any:
            def fn(name: str) -> Any:
                both.wait(10)
                return act(name)

            return ctx.effect("act", fn, name)

        return call

    runtime.agent("agent", handles="x", side_effect="read_only")(
        lambda ctx: ctx.gather(branch("a"), branch("b"))
    )
    broken = broken_off(runtime).execution_id
    with pytest.raises(InvalidInput, match="several"):
        runtime.resolve(broken, True, by="ada")
    with pytest.raises(InvalidInput, match="no such question"):
        runtime.resolve(broken, True, by="ada", question="attempt:0:7")
    runtime.resolve(broken, True, by="ada", question="attempt:0/gather:0.0:0", answer=1)
    runtime.resolve(broken, True, by="ada", answer=2)
    assert resumed(runtime, world, broken).payload == [1, 2]
    with pytest.raises(InvalidInput, match="ended"):
        runtime.resolve(broken, True, by="ada")


@pytest.mark.parametrize("side_effect", ["reversible", "irreversible"])
def test_a_body_that_acts_is_in_doubt_as_a_whole(side_effect: Any) -> None:
    """What it did outside of its context is unknown, so a person answers for it, and a replay agrees."""
    runtime, world = runtime_of(), World(2)
    act = world.act(**READS)
    runtime.agent("agent", handles="x", side_effect=side_effect)(
        lambda ctx: [ctx.effect("act", act, number) for number in (1, 2)]
    )
    broken = broken_off(runtime).execution_id
    with pytest.raises(InDoubt, match="agent agent at :0"):
        runtime.resume(broken)
    runtime.resolve(broken, True, by="ada", question=":0", answer="done")
    assert resumed(runtime, world, broken).payload == "done"
    assert world.done == [1]


def test_a_body_that_did_not_happen_is_run_again() -> None:
    """It gets the answers on record, and is in doubt again if it breaks off again."""
    runtime, world = runtime_of(), World(2)
    act = world.act(**READS)
    runtime.agent("agent", handles="x")(lambda ctx: [ctx.effect("act", act, number) for number in (1, 2)])
    broken = broken_off(runtime).execution_id
    runtime.resolve(broken, False, by="ada")
    with pytest.raises(KeyboardInterrupt):
        runtime.resume(broken)
    with pytest.raises(InDoubt):
        runtime.resume(broken)
    runtime.resolve(broken, False, by="ada")
    resumed(runtime, world, broken)
    assert world.done == [1, 2]


def test_an_idempotent_body_is_run_again() -> None:
    """Its key is the same as before."""
    runtime, keys = runtime_of(), list[str]()

    @runtime.agent("agent", handles="x", idempotent=True)
    def agent(ctx: Context) -> None:
        keys.append(ctx.idempotency_key)
        if len(keys) == 1:
            raise KeyboardInterrupt

    broken = broken_off(runtime).execution_id
    assert [found.rule for found in runtime.recover()] == ["ask_again"]
    replays(runtime, runtime.resume(broken))
    assert len(keys) >= 2
    assert len(set(keys)) == 1


def named(runtime: IntentusRuntime, world: World, **fails: Any) -> None:
    """Three agents that ask one thing each, and fail where they are told to."""
    act = world.act(**READS)

    def agent_of(name: str) -> Callable[[Context], Any]:
        def agent(ctx: Context) -> Any:
            answer = ctx.effect("act", act, name)
            if fails.get(name):
                raise AgentFailure(f"no {name}")
            return answer

        return agent

    for rank, name in enumerate("abc"):
        runtime.agent(name, handles="x", rank=rank, side_effect="read_only")(agent_of(name))


@pytest.mark.parametrize("breaks", "abc")
@pytest.mark.parametrize("strategy", ["fallback", "parallel", "broadcast"])
def test_every_strategy_goes_on(strategy: str, breaks: str) -> None:
    """Whichever agent breaks off, the end is that of a run that nothing interrupts."""
    runtime, world = runtime_of(), World(breaks)
    named(runtime, world, a=True, b=True)
    route = {"strategy": RoutingStrategy(strategy)}
    broken = broken_off(runtime, **route).execution_id
    response = resumed(runtime, world, broken)
    assert sorted(world.done) == ["a", "b", "c"]
    other = same_agents(runtime).route("x", **route)
    assert (response.fingerprint, response.attempts) == (other.fingerprint, other.attempts)


def test_a_race_is_run_on() -> None:
    """Nobody had won it, so whoever succeeds first now wins, and a replay is told."""
    runtime, world = runtime_of(), World("c")
    named(runtime, world, a=True, b=True)
    broken = broken_off(runtime, strategy=RoutingStrategy.PARALLEL, prefer="first").execution_id
    assert resumed(runtime, world, broken).agent == "c"


def nested(runtime: IntentusRuntime, world: World, **traits: Any) -> None:
    """An agent that asks for two executions of another one."""
    act = world.act(**traits)
    runtime.agent("inner", handles="inner", side_effect="read_only")(
        lambda number, ctx: ctx.effect("act", act, number)
    )
    runtime.agent("outer", handles="x", side_effect="read_only")(
        lambda ctx: [ctx.route("inner", 1).payload, ctx.route("inner", 2).payload]
    )


def test_an_interrupted_child_goes_on_first() -> None:
    """It ends in its own record, and the parent is answered by it."""
    runtime, world = runtime_of(), World(2)
    nested(runtime, world, **READS)
    broken_off(runtime)
    parent, child = runtime.recover()
    response = resumed(runtime, world, parent.execution_id)
    assert world.done == [1, 2]
    assert runtime.store is not None
    assert runtime.store.get(parent.execution_id).children[1] == child.execution_id
    assert response.fingerprint == same_agents(runtime).route("x").fingerprint
    assert len(runtime.store.list().rows) == 3


def test_a_child_that_has_ended_is_not_run_again() -> None:
    """Its response on record is the answer that the parent lacks."""
    runtime, world = runtime_of(), World(2)
    nested(runtime, world)
    broken_off(runtime)
    parent, child = runtime.recover()
    with pytest.raises(InDoubt, match=child.execution_id):
        runtime.resume(parent.execution_id)
    with pytest.raises(InvalidInput, match=child.execution_id):
        runtime.resolve(parent.execution_id, True, by="ada")
    runtime.resolve(child.execution_id, True, by="ada", answer="two")
    assert runtime.resume(child.execution_id).payload == "two"
    assert resumed(runtime, world, parent.execution_id).payload == [[1], "two"]
    assert world.done == [1]


def test_notes_and_what_is_told_come_once() -> None:
    """Notes, seeds, ids and times from before the break stand in the record once, and are told again."""
    runtime, world, told = runtime_of(), World(1), list[Any]()
    act = world.act(**READS)

    @runtime.agent("agent", handles="x", side_effect="read_only")
    def agent(ctx: Context) -> Any:
        ctx.log("begun")
        told.append((ctx.now(), ctx.uuid(), ctx.random.random(), ctx.random.random()))
        return ctx.effect("act", act, 1)

    broken = broken_off(runtime).execution_id
    world.breaks.clear()
    runtime.resume(broken)
    assert told[0] == told[1]
    assert runtime.store is not None
    names = [question.name for question in runtime.store.get(broken).questions]
    assert names.count("note") == names.count("seed") == names.count("resumed") == 1


def test_threads_of_an_agents_own_may_take_other_turns() -> None:
    """Answers go to equal questions, however the threads come this time, and none is asked twice."""
    runtime, world, backwards = runtime_of(), World(5), [False]
    act = world.act(**READS)

    @runtime.agent("agent", handles="x", side_effect="read_only")
    def agent(ctx: Context) -> Any:
        numbers = range(9, -1, -1) if backwards[0] else range(10)

        def call(number: int) -> Any:
            return ctx.effect("act", act, number)

        with ThreadPoolExecutor(1) as pool:
            return sorted(pool.submit(copy_context().run, call, number).result() for number in numbers)

    broken = broken_off(runtime).execution_id
    done = list(world.done)
    assert done == list(range(5))
    backwards[0] = True
    response = resumed(runtime, world, broken)
    assert response.payload == [[number] for number in range(10)]
    assert sorted(world.done) == list(range(10))
    assert response.fingerprint == same_agents(runtime).route("x").fingerprint


def test_a_deadline_does_not_undo_what_was_begun() -> None:
    """A call that was begun in time goes on; one that would only begin now is refused."""
    clock, world = ManualClock(), World("a")
    runtime = runtime_of(clock=clock)
    named(runtime, world, a=True)
    broken = broken_off(runtime, strategy=RoutingStrategy.FALLBACK, timeout=60.0).execution_id
    clock.advance(timedelta(hours=1).total_seconds())
    response = resumed(runtime, world, broken)
    assert world.done == ["a"]
    assert response.error is not None
    assert response.error.code == "AGENT_TIMEOUT"


def test_a_cut_execution_is_never_resumed(tmp_path: Path) -> None:
    """After a repair nobody knows what it had asked, so no word about one question can be enough."""
    world = World(3)
    act = world.act(**READS)
    runtime = IntentusRuntime(store=tmp_path)
    runtime.agent("agent", handles="x", side_effect="read_only")(
        lambda ctx: [ctx.effect("act", act, number) for number in (1, 2, 3)]
    )
    broken = broken_off(runtime).execution_id
    runtime.close()
    segment = tmp_path / "log" / "00000000000000000000.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([*lines[:2], lines[2].replace(b"answered", b"answared"), *lines[3:]]))
    assert repair_store(tmp_path).repaired
    again = runtime.configure(store=tmp_path)
    [found] = again.recover()
    assert (found.execution_id, found.rule) == (broken, "in_doubt")
    with pytest.raises(InDoubt, match="repair"):
        again.resume(broken)
    with pytest.raises(InDoubt, match="repair"):
        again.resolve(broken, False, by="ada")
    assert world.done == [1, 2]


def test_large_answers_on_record_are_given_again(tmp_path: Path) -> None:
    """Values that lie in files of their own are answers like any other."""
    runtime, large, breaks = IntentusRuntime(store=tmp_path), "x" * 100_000, [True]

    def told(text: str) -> str:
        return text

    def breaking() -> str:
        if breaks:
            raise KeyboardInterrupt
        return large

    runtime.agent("agent", handles="x", side_effect="read_only")(
        lambda payload, ctx: [
            payload,
            ctx.effect("told", told, large),
            ctx.effect("last", effect(**READS)(breaking)),
        ]
    )
    broken = broken_off(runtime, payload=large).execution_id
    breaks.clear()
    response = runtime.resume(broken)
    assert response.payload == [large, large, large]
    replays(runtime, response)
    assert runtime.store is not None
    assert runtime.store.verify().ok
    runtime.close()


def test_a_lost_answer_of_an_agent_that_only_reads_is_found_again() -> None:
    """Its body is run again on what is on record, and nothing is asked twice."""
    runtime, world, breaks = runtime_of(), World(), [True]
    act = world.act()

    @runtime.agent("agent", handles="x", side_effect="read_only")
    def agent(ctx: Context) -> Any:
        answer = ctx.effect("act", act, 1)
        if breaks:
            raise KeyboardInterrupt
        return answer

    broken = broken_off(runtime).execution_id
    breaks.clear()
    assert resumed(runtime, world, broken).payload == [1]
    assert world.done == [1]
