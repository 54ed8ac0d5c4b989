"""Executions that are run anew from a question on, with another answer to it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from helpers.breaking import World, broken_off
from helpers.runtimes import fails, gives, replays, runtime_of

from intentusnet import AgentResponse, Context, IntentusRuntime, RoutingStrategy
from intentusnet.errors import ContinuationDiverged, InDoubt, InvalidInput, RecordNotFound


def three_steps(**traits: Any) -> tuple[IntentusRuntime, World, AgentResponse]:
    """An agent whose questions hang on each other, and what it did."""
    runtime, world = runtime_of(), World()
    act = world.act(side_effect="irreversible")

    @runtime.agent("agent", handles="x", **{"side_effect": "read_only", **traits})
    def agent(ctx: Context) -> list[Any]:
        first = ctx.effect("act", act, "a")
        second = ctx.effect("act", act, f"b after {first}")
        return [first, second, ctx.effect("act", act, f"c after {second}")]

    return runtime, world, runtime.route("x")


def test_the_past_is_kept_and_the_rest_is_live() -> None:
    """Before the question nothing is asked of the world; after it, what follows from the new answer is."""
    runtime, world, response = three_steps()
    world.done.clear()
    forked = runtime.fork(response.execution_id, "attempt:0:1", "no")
    assert forked.payload == [["a"], "no", ["c after no"]]
    assert world.done == ["c after no"]
    replays(runtime, forked)
    replays(runtime, response)


def test_a_fork_is_an_execution_of_its_own() -> None:
    """It has its own record, which says where it comes from; the original stays as it is."""
    runtime, _, response = three_steps()
    assert runtime.store is not None
    before = runtime.store.get(response.execution_id).to_jsonl()
    forked = runtime.fork(response.execution_id, "attempt:0:0", "no")
    record = runtime.store.get(forked.execution_id)
    assert forked.execution_id != response.execution_id
    assert record.forked_from is not None
    assert record.forked_from.execution == response.execution_id
    assert (record.forked_from.scope, record.forked_from.question) == ("attempt:0", 0)
    assert record.parent is None
    assert runtime.store.get(response.execution_id).to_jsonl() == before
    assert runtime.store.verify().ok


def test_the_same_answer_gives_the_same_fingerprint() -> None:
    """A fork that changes nothing is the same run."""
    runtime, _, response = three_steps()
    forked = runtime.fork(response.execution_id, "attempt:0:1", ["b after ['a']"])
    assert forked.fingerprint == response.fingerprint


def test_a_fork_of_a_fork_and_of_what_was_interrupted() -> None:
    """Any record will do, as far as it goes."""
    runtime, world, response = three_steps()
    forked = runtime.fork(response.execution_id, "attempt:0:1", "no")
    assert runtime.fork(forked.execution_id, "attempt:0:0", 1).payload[0] == 1
    world.breaks.add("b after ['a']")
    broken = broken_off(runtime)
    assert runtime.fork(broken.execution_id, "attempt:0:1", "yes").payload[1] == "yes"


@pytest.mark.parametrize("traits", [{"side_effect": "irreversible"}, {"remote": True}])
def test_an_agent_that_no_replay_runs_is_not_forked(traits: dict[str, Any]) -> None:
    """Only its answer as a whole can be another one; it is not called."""
    runtime, world, response = three_steps(**traits)
    world.done.clear()
    with pytest.raises(InvalidInput, match="irreversible or remote"):
        runtime.fork(response.execution_id, "attempt:0:1", "no")
    forked = runtime.fork(response.execution_id, ":0", "no")
    assert forked.payload == "no"
    assert world.done == []
    replays(runtime, forked)


def test_other_attempts_are_not_run_again() -> None:
    """Those before it, and those beside it, keep their answers; those after it are made as need be."""
    runtime, world, called = runtime_of(), World(), list[str]()
    act = world.act()
    runtime.agent("a", handles="x", rank=0)(fails("no a"))
    runtime.agent("b", handles="x", rank=1)(lambda ctx: 1 // ctx.effect("act", act, "b")[0])
    runtime.agent("c", handles="x", rank=2)(lambda: called.append("c") or "c")
    response = runtime.route("x", strategy=RoutingStrategy.FALLBACK)
    assert (response.agent, called) == ("c", ["c"])
    assert runtime.fork(response.execution_id, "attempt:1:0", [0]).agent == "c"
    assert called == ["c", "c"]
    forked = runtime.fork(response.execution_id, "attempt:1:0", [1])
    assert (forked.agent, forked.payload) == ("b", 1)
    assert [attempt.agent for attempt in forked.attempts] == ["a", "b"]
    replays(runtime, forked)
    every = runtime.route("x", strategy=RoutingStrategy.BROADCAST)
    forked = runtime.fork(every.execution_id, "attempt:1:0", [1])
    assert [told["payload"] for told in forked.payload] == [None, 1, "c"]
    assert world.done == ["b", "b"]
    replays(runtime, forked)


def test_a_race_can_be_won_by_another() -> None:
    """Who won is a question like any other."""
    runtime = runtime_of()
    for name in "ab":
        runtime.agent(name, handles="x", side_effect="read_only")(gives(name))
    response = runtime.route("x", strategy=RoutingStrategy.PARALLEL, prefer="first")
    other = "ab".index(response.agent or "") ^ 1
    forked = runtime.fork(response.execution_id, f":{other}", "mine")
    assert forked.status == "success"
    replays(runtime, forked)


def test_branches_before_the_question_keep_their_answers() -> None:
    """A gather that came before it is not asked again."""
    runtime, world = runtime_of(), World()
    act = world.act()
    runtime.agent("agent", handles="x", side_effect="read_only")(
        lambda ctx: [
            *ctx.gather(lambda: ctx.effect("act", act, 1), lambda: ctx.effect("act", act, 2)),
            ctx.effect("act", act, 3),
        ]
    )
    response = runtime.route("x")
    world.done.clear()
    assert runtime.fork(response.execution_id, "attempt:0:0", "no").payload == [[1], [2], "no"]
    assert world.done == []


def test_neither_deadline_nor_key_are_the_old_ones() -> None:
    """A fork acts now and for itself, so the world must not take it for the original."""
    runtime, keys = runtime_of(), list[str]()

    @runtime.agent("agent", handles="x", side_effect="read_only")
    def agent(ctx: Context) -> Any:
        told = ctx.now()
        keys.append(ctx.idempotency_key)
        return [told, ctx.deadline is None]

    response = runtime.route("x", timeout=60.0, idempotency_key="k")
    then = datetime(2001, 1, 1, tzinfo=UTC)
    forked = runtime.fork(response.execution_id, "attempt:0:0", then)
    assert forked.payload == [then, True]
    assert keys == ["k/attempt:0", f"{forked.execution_id}/attempt:0"]


@pytest.mark.parametrize("at", ["", "attempt:0", "attempt:0:x", "attempt:0:-1", "attempt:0:²"])
def test_a_place_is_written_in_one_way(at: str) -> None:
    """What is no scope and number is refused."""
    runtime, _, response = three_steps()
    with pytest.raises((InvalidInput, RecordNotFound)):
        runtime.fork(response.execution_id, at, 1)


def test_only_questions_on_record_can_be_forked() -> None:
    """There is nothing to answer elsewhere."""
    runtime, _, response = three_steps()
    with pytest.raises(RecordNotFound, match="attempt:0:9"):
        runtime.fork(response.execution_id, "attempt:0:9", 1)


def test_other_code_before_the_question_is_not_forked() -> None:
    """Nothing is asked of the world then."""
    runtime, world, response = three_steps()
    world.done.clear()
    changed = IntentusRuntime(store=runtime.store)
    act = world.act()
    changed.agent("agent", handles="x", side_effect="read_only")(lambda ctx: ctx.effect("act", act, "z"))
    with pytest.raises(ContinuationDiverged):
        changed.fork(response.execution_id, "attempt:0:1", "no")
    assert world.done == []


def test_a_fork_that_ends_before_its_answer_is_not_resumed() -> None:
    """Resumed, it would ask the world everything anew, and not be the fork that was wanted."""
    runtime, world = runtime_of(), World()
    act = world.act(side_effect="read_only")
    runtime.agent("agent", handles="x", side_effect="read_only")(
        lambda ctx: [ctx.effect("act", act, 1), ctx.effect("act", act, 2), ctx.effect("act", act, 3)]
    )
    response = runtime.route("x")
    changed = IntentusRuntime(store=runtime.store)
    changed.agent("agent", handles="x", side_effect="read_only")(lambda ctx: ctx.effect("act", act, "z"))
    with pytest.raises(ContinuationDiverged):
        changed.fork(response.execution_id, "attempt:0:1", "no")
    [found] = runtime.recover()
    assert found.rule == "in_doubt"
    with pytest.raises(InDoubt, match="fork"):
        runtime.resume(found.execution_id)


def test_a_fork_that_breaks_off_after_its_answer_goes_on() -> None:
    """What it was given is on record by then."""
    runtime, world = runtime_of(), World("c")
    act = world.act(side_effect="read_only")
    runtime.agent("agent", handles="x", side_effect="read_only")(
        lambda ctx: [ctx.effect("act", act, name) for name in "abc"]
    )
    broken = broken_off(runtime)
    with pytest.raises(KeyboardInterrupt):
        runtime.fork(broken.execution_id, "attempt:0:1", "no")
    world.breaks.clear()
    forked = runtime.resume("@last")
    assert forked.payload == [["a"], "no", ["c"]]
    replays(runtime, forked)


def test_a_child_intent_is_answered_by_a_payload() -> None:
    """The agent gets a response that succeeded, as if a child had answered so; no child is named."""
    runtime, world = runtime_of(), World()
    act = world.act(side_effect="read_only")
    runtime.agent("inner", handles="inner")(lambda payload, ctx: ctx.effect("act", act, payload))
    runtime.agent("outer", handles="x", side_effect="read_only")(
        lambda ctx: [ctx.route("inner", 1).payload, ctx.route("inner", 2).payload]
    )
    forked = runtime.fork(runtime.route("x").execution_id, "attempt:0:0", {"another": 1})
    assert forked.payload == [{"another": 1}, [2]]
    replays(runtime, forked)
    again = runtime.fork(forked.execution_id, "attempt:0:1", "no")
    assert again.payload == [{"another": 1}, "no"]
    replays(runtime, again)


@pytest.mark.parametrize(
    ("place", "answer"),
    [
        ("0", "noon"),
        ("1", None),
        ("1", 1.5),
        ("2", "x"),
        ("3", 7),
        ("4", 1),
        (":2", 2),
        (":2", "first"),
        (":2", True),
    ],
)
def test_nothing_else_than_what_the_world_could_say_is_an_answer(place: str, answer: Any) -> None:
    """A time is a time and a winner is one of those who ran; otherwise the run could not be replayed."""
    runtime = runtime_of(environ={"HOME": "/root"})
    for rank in range(2):
        runtime.agent(f"agent-{rank}", handles="x", rank=rank, side_effect="read_only")(
            lambda ctx: [ctx.now(), ctx.random.random(), ctx.uuid(), ctx.env("HOME"), ctx.patched("p")]
        )
    response = runtime.route("x", strategy=RoutingStrategy.PARALLEL, prefer="first")
    winner = 0 if response.agent == "agent-0" else 1
    at = place if place.startswith(":") else f"attempt:{winner}:{place}"
    with pytest.raises(InvalidInput, match="nothing could give that answer"):
        runtime.fork(response.execution_id, at, answer)


def test_a_variable_may_be_set_or_not() -> None:
    """Text and None are both what an environment can say."""
    runtime = runtime_of(environ={})
    runtime.agent("agent", handles="x", side_effect="read_only")(lambda ctx: ctx.env("HOME"))
    forked = runtime.fork(runtime.route("x").execution_id, "attempt:0:0", "/home")
    assert forked.payload == "/home"
    assert runtime.fork(forked.execution_id, "attempt:0:0", None).payload is None
