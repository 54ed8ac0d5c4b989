"""Limits of size and depth: payloads at the door, and what agents and effects answer."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from helpers import process_agents
from helpers.hostile import json_trees, nested
from helpers.runtimes import replays, runtime_of
from hypothesis import given

from intentusnet import (
    AgentFailure,
    AsyncContext,
    Context,
    ErrorCode,
    FileExecutionStore,
    IntentEnvelope,
    IntentusRuntime,
    MemoryExecutionStore,
    RoutingStrategy,
    diff_records,
    load_record,
    values,
)
from intentusnet.errors import ConfigurationError, PayloadTooLarge, UnrecordableValue
from intentusnet.log.entry import Draft
from intentusnet.sizes import DEFAULT_MAX_PAYLOAD_DEPTH, Sizes, depth_of
from intentusnet.stores.portable import save_record

CALLED: list[Any] = []


def small(**options: Any) -> IntentusRuntime:
    """A runtime that takes 1000 bytes in 8 levels, with an agent that answers with its payload."""
    runtime = runtime_of(**{"max_payload_bytes": 1000, "max_payload_depth": 8, **options})
    CALLED.clear()

    @runtime.agent("echo", handles="x")
    def echo(payload: Any) -> Any:
        CALLED.append(payload)
        return payload

    return runtime


REFUSED: dict[str, tuple[Any, dict[str, Any]]] = {
    "too large": ("x" * 999, {"bytes": 1001, "limit": 1000}),
    "too deep": (nested(9), {"depth": 9, "limit": 8}),
    "deeper than a record": (nested(300), {"depth": 300, "limit": 8}),
    "deeper than the stack": (nested(100_000), {"depth": 100_000, "limit": 8}),
}


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    memory = request.param == "memory"
    with MemoryExecutionStore() if memory else FileExecutionStore(tmp_path / "s", durability="os") as made:
        yield made


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("case", REFUSED)
def test_a_payload_that_is_too_large_is_refused_and_recorded(
    store: Any, tmp_path: Path, case: str, is_async: bool
) -> None:
    """The response says by how much; the record has size and digest for the payload, holds and replays."""
    payload, told = REFUSED[case]
    runtime = small(store=store)
    if is_async:
        response = asyncio.run(runtime.route_async("x", payload))
    else:
        response = runtime.router.route_intent(IntentEnvelope(intent="x", payload=payload))
    assert CALLED == [] and response.attempts == () and response.agent is None
    error = response.error
    assert error is not None and error.code is ErrorCode.PAYLOAD_TOO_LARGE
    assert {name: error.details[name] for name in told} == told
    assert all(str(number) in error.message for number in told.values())
    record = store.get(response.execution_id)
    if case in ("too large", "too deep"):
        data = values.encode(payload)
        assert record.envelope.payload == {"bytes": len(data), "sha256": values.digest(data)}
    else:
        assert record.envelope.payload == {"depth": told["depth"]}
    assert len(record.to_jsonl()) < 4000
    assert record.response == response and store.verify().ok
    save_record(record, tmp_path / "r.jsonl")
    assert diff_records(record, load_record(tmp_path / "r.jsonl")) == ()
    replays(runtime, response)
    # What was refused stays refused, whatever the limits and the agents are now.
    elsewhere = IntentusRuntime()
    elsewhere.agent("echo", handles="x")(lambda payload: payload)
    assert elsewhere.replay(record).verdict == "match"


def test_what_is_as_large_as_it_may_be_is_routed() -> None:
    """The limits are the last that is taken."""
    runtime = small()
    for payload in ("x" * 998, nested(8), {"a": nested(7)}):
        response = runtime.route("x", payload)
        assert response.payload == payload
        replays(runtime, response)


def test_ten_megabytes_and_sixty_four_levels_are_taken_unless_told_otherwise() -> None:
    """The defaults take what services send, even where each level takes three of the record's."""
    runtime = runtime_of()
    runtime.agent("a", handles="x")(lambda payload: 1)
    assert runtime.route("x", ["x" * 1000] * 10_000).ok
    assert runtime.route("x", nested(DEFAULT_MAX_PAYLOAD_DEPTH)).ok
    assert not runtime.route("x", nested(DEFAULT_MAX_PAYLOAD_DEPTH + 1)).ok
    assert not runtime.route("x", "x" * (16 * 2**20)).ok


@pytest.mark.parametrize(
    "limits",
    [
        {"max_payload_bytes": 0},
        {"max_payload_bytes": True},
        {"max_payload_depth": 0},
        {"max_payload_depth": 201},
        {"max_payload_depth": 1.5},
    ],
    ids=repr,
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any]) -> None:
    """No limit is below 1, and no depth beyond what a record can hold."""
    with pytest.raises(ConfigurationError, match=next(iter(limits))):
        IntentusRuntime(**limits)


def test_a_runtime_with_another_store_or_policy_has_the_same_limits() -> None:
    """`configure` takes the limits along."""
    assert small().configure(policy={"default": "allow"}).route("x", "x" * 2000).error is not None


def test_nobody_is_asked_about_what_is_refused() -> None:
    """Neither policy nor agents are looked at for such a payload; `plan` says the same as `route`."""
    runtime = small(policy={"default": "deny"})
    response = runtime.route("x", "x" * 2000)
    assert response.error is not None and response.error.code is ErrorCode.PAYLOAD_TOO_LARGE
    replays(runtime, response)
    plan = runtime.plan(IntentEnvelope(intent="x", payload="x" * 2000))
    assert plan.refusal == response.error and plan.steps == ()


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("strategy", list(RoutingStrategy))
def test_an_answer_that_is_too_large_is_the_agents_error(
    store: Any, strategy: RoutingStrategy, is_async: bool
) -> None:
    """A flood: the agent's answer gives way to an error that says how large it was."""
    runtime = small(store=store)
    for number, answer in enumerate((nested(9), "x" * 2000, nested(100_000))):

        def agent(_: Any, answer: Any = answer) -> Any:
            return answer

        async def waiting(_: Any, ctx: AsyncContext, answer: Any = answer) -> Any:
            await ctx.sleep(0)
            return answer

        runtime.agent(f"flood{number}", handles="flood", rank=number)(waiting if is_async else agent)
    response = asyncio.run(runtime.route_async("flood", strategy=strategy))
    errors = [attempt.error for attempt in response.attempts]
    assert errors and all(e is not None and e.code is ErrorCode.PAYLOAD_TOO_LARGE for e in errors)
    assert len(store.get(response.execution_id).to_jsonl()) < 10_000
    assert asyncio.run(runtime.replay_async(response.execution_id)).verdict == "match"


def test_the_answer_of_another_process_is_held_to_the_same_limits() -> None:
    """Agents in processes of their own know the runtime's limits; so do the children that they ask for."""
    with runtime_of(max_payload_bytes=1000, max_payload_depth=8) as runtime:
        runtime.agent("flood", handles="flood", isolation="process")(process_agents.flooding)
        runtime.agent("inner", handles="inner")(lambda payload: payload)
        runtime.agent("asks", handles="asks", isolation="process")(process_agents.asking_for_much)
        flooded, asked = runtime.route("flood"), runtime.route("asks")
        assert flooded.error is not None and flooded.error.code is ErrorCode.PAYLOAD_TOO_LARGE
        assert asked.payload == ["PAYLOAD_TOO_LARGE", "PayloadTooLarge"]
        for response in (flooded, asked):
            replays(runtime, response)


def test_an_error_that_is_too_large_is_cut(store: Any) -> None:
    """A failing agent's code stays, with the beginning of its message and its size."""
    runtime = small(store=store)

    @runtime.agent("fails", handles="fails")
    def fails() -> None:
        raise AgentFailure("why " * 1000, code="RATE_LIMIT", details={"a": "x" * 5000})

    response = runtime.route("fails")
    error = response.error
    assert error is not None and error.code is ErrorCode.RATE_LIMIT
    assert error.message.startswith("why why ") and len(error.message) <= 1001
    assert error.details["limit"] == 1000 and error.details["bytes"] > 9000
    replays(runtime, response)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("answer", [nested(9), "x" * 2000, nested(100_000)], ids=["deep", "large", "deeper"])
def test_an_effect_that_answers_too_much_tells_its_agent(store: Any, answer: Any, is_async: bool) -> None:
    """The agent meets PayloadTooLarge, which it can catch and which is on record in place of the value."""
    runtime = small(store=store)
    made: list[int] = []

    def fetch() -> Any:
        made.append(1)
        return answer

    @runtime.agent("a", handles="asks")
    def agent(ctx: Context) -> list[str]:
        try:
            ctx.effect("fetch", fetch)
        except PayloadTooLarge as fault:
            return [type(fault).__name__, str(fault)]
        return []

    @runtime.agent("b", handles="waits")
    async def waiting(ctx: AsyncContext) -> list[str]:
        try:
            await ctx.effect("fetch", fetch)
        except PayloadTooLarge as fault:
            return [type(fault).__name__, str(fault)]
        return []

    response = asyncio.run(runtime.route_async("waits" if is_async else "asks"))
    assert response.payload[0] == "PayloadTooLarge" and "'fetch'" in response.payload[1]
    assert len(store.get(response.execution_id).to_jsonl()) < 5000
    assert asyncio.run(runtime.replay_async(response.execution_id)).verdict == "match"
    assert made == [1]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("case", REFUSED)
def test_a_child_with_too_large_a_payload_is_refused_like_any_other(
    store: Any, case: str, is_async: bool
) -> None:
    """The agent is answered with PAYLOAD_TOO_LARGE; neither record has the payload; both replay."""
    runtime = small(store=store)
    payload, _ = REFUSED[case]

    @runtime.agent("outer", handles="outer")
    def outer(ctx: Context) -> Any:
        error = ctx.route("x", payload).error
        return None if error is None else [error.code.value, error.details["limit"]]

    @runtime.agent("waiting", handles="waiting")
    async def waiting(ctx: AsyncContext) -> Any:
        error = (await ctx.route("x", payload)).error
        return None if error is None else [error.code.value, error.details["limit"]]

    response = asyncio.run(runtime.route_async("waiting" if is_async else "outer"))
    assert response.payload[0] == "PAYLOAD_TOO_LARGE" and CALLED == []
    record = store.get(response.execution_id)
    (child,) = record.children
    assert all(len(store.get(one).to_jsonl()) < 6000 for one in (child, response.execution_id))
    report = asyncio.run(runtime.replay_async(response.execution_id, nested=True))
    assert report.verdict == "match"
    assert asyncio.run(runtime.replay_async(child)).verdict == "match"


def test_what_is_no_data_is_the_callers_mistake() -> None:
    """No JSON is an object, or contains itself: these raise, and nothing is called or recorded."""
    runtime = small()
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    for payload in (object(), cyclic, {1: print}):
        with pytest.raises(UnrecordableValue) as refusal:
            runtime.route("x", payload)
        assert type(refusal.value) is UnrecordableValue
    assert (runtime.store is not None and runtime.store.list().rows == ()) or not CALLED


def test_levels_are_counted_without_recursion() -> None:
    """As deep as it goes; and what is shared is counted once, or it would take for ever."""
    shared: Any = []
    for _ in range(100):
        shared = [shared, shared]
    assert [depth_of(value) for value in (1, "x", [], nested(100_000), shared)] == [0, 0, 1, 100_000, 101]
    assert depth_of({(1, (2,)): {3}}) == 3
    assert Sizes().excess(values.encode({"text": '[[[["\\[' * 100, "]]": ["\\"]})) is None


@given(json_trees)
def test_levels_of_encoded_values_are_those_of_their_json(tree: Any) -> None:
    """Whatever brackets and quotes its texts have."""
    data = values.encode([tree, [[]] * 40, '"]'])
    depth = depth_of(values.parse(data))
    assert Sizes(max_depth=depth).excess(data) is None
    assert Sizes(max_depth=depth - 1).excess(data) == {"depth": depth, "limit": depth - 1}


def test_a_refused_execution_that_was_interrupted_is_refused_when_it_is_resumed() -> None:
    """Of its first entry alone, the end follows: the payload's size is known, and nobody is asked."""
    runtime = small()
    assert runtime.store is not None
    response = runtime.route("x", "x" * 2000)
    opened = runtime.store.entries(response.execution_id)[0]
    interrupted = MemoryExecutionStore()
    interrupted.append([Draft.make("opened", response.execution_id, opened.body, ts=opened.ts)])
    resumed = small(store=interrupted).resume(response.execution_id)
    assert (resumed.error, resumed.fingerprint) == (response.error, response.fingerprint)
    assert CALLED == [] and interrupted.verify().ok
