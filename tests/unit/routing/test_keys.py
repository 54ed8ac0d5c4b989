"""A request with an idempotency key is executed once; then its response is that on record."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from helpers.processes import PATIENCE_S, Background
from helpers.runtimes import replays
from helpers.shops import Routes, Shop, count, same

from intentusnet import AgentResponse, Caller, Context, ErrorCode, IntentEnvelope, IntentusRuntime, effect
from intentusnet.stores.base import ExecutionStore


@pytest.mark.parametrize("intent", ["pay", "fails"])
def test_the_same_request_has_the_response_on_record(shop: Shop, route: Routes, intent: str) -> None:
    """Successes and errors: equal to the first response, marked, and nothing is called or written for it."""
    first = route(intent, {"amount": (5, b"x")}, idempotency_key="k")
    again = route(intent, {"amount": (5, b"x")}, idempotency_key="k")
    assert (first.from_record, again.from_record) == (False, True)
    assert same(first, again)
    assert shop.calls == [{"amount": (5, b"x")}]
    assert count(shop) == 1
    replays(shop.runtime, first)


def test_without_a_key_each_request_is_executed(shop: Shop) -> None:
    """And none takes a key from anybody, or finds one."""
    assert [shop.runtime.route("pay", 5).from_record for _ in range(2)] == [False, False]
    assert not shop.runtime.route("pay", 5, idempotency_key="k").from_record
    assert len(shop.calls) == 3


def test_what_says_nothing_of_what_is_wanted_may_differ(shop: Shop) -> None:
    """A retry has another id, trace and deadline, and may be more urgent; lists of names have no order."""
    caller = Caller(name="ann", roles=("a", "b"))
    first = IntentEnvelope(intent="pay", payload=5, idempotency_key="k", caller=caller, tags=("x", "y"))
    changes = {
        "id": "other",
        "traceparent": "00-1-2-01",
        "priority": 7,
        "deadline": datetime.now(UTC) + timedelta(seconds=PATIENCE_S),
        "tags": ("y", "x", "y"),
        "caller": Caller(name="ann", roles=("b", "a")),
    }
    shop.runtime.router.route_intent(first)
    assert shop.runtime.router.route_intent(first.model_copy(update=changes)).from_record


OTHER_REQUESTS: dict[str, dict[str, Any]] = {
    "intent": {"intent": "fails"},
    "payload": {"payload": 5.0},
    "routing": {"target": "pay"},
    "roles": {"roles": ("admin",)},
    "tags": {"tags": ("gift",)},
}


@pytest.mark.parametrize("part", OTHER_REQUESTS)
def test_another_request_with_the_same_key_is_an_error(shop: Shop, part: str) -> None:
    """It names the key, its holder and what differs, calls nobody, replays, and takes the key from nobody."""
    asked: dict[str, Any] = {"intent": "pay", "payload": 5, "idempotency_key": "k"}
    first = shop.runtime.route(**asked)
    other = shop.runtime.route(**{**asked, **OTHER_REQUESTS[part]})
    assert other.error is not None and not other.from_record
    assert other.error.code is ErrorCode.VALIDATION_ERROR
    assert other.error.details == {
        "differs": [part],
        "execution_id": first.execution_id,
        "idempotency_key": "k",
    }
    for named in ("'k'", first.execution_id, part):
        assert named in other.error.message
    assert len(shop.calls) == 1
    replays(shop.runtime, other)
    assert shop.runtime.route(**asked).execution_id == first.execution_id
    assert shop.runtime.route(**{**asked, **OTHER_REQUESTS[part]}).execution_id != other.execution_id


def test_a_conflict_does_not_tell_the_payload(shop: Shop) -> None:
    """Neither the holder's nor the other one's."""
    shop.runtime.route("pay", {"card": "secret-1", "to": 1}, idempotency_key="k")
    other = shop.runtime.route("pay", {"card": "secret-2"}, idempotency_key="k", tags=("secret-3",))
    assert other.error is not None and other.error.details["differs"] == ["payload", "tags"]
    assert "secret" not in other.error.model_dump_json()


def test_a_key_is_its_callers(shop: Shop) -> None:
    """Neither another caller nor the same name of another tenant meets the response."""
    whose: list[dict[str, Any]] = [{"caller": "a"}, {"caller": "b"}, {"caller": "a", "tenant": "t"}, {}]
    for one in whose:
        assert not shop.runtime.route("pay", 5, idempotency_key="k", **one).from_record
    for one in whose:
        assert shop.runtime.route("pay", 5, idempotency_key="k", **one).from_record
    assert len(shop.calls) == len(whose)


def test_children_are_executed_whatever_their_key(shop: Shop) -> None:
    """Each is an execution of its own; none is answered by a caller's from outside, or holds a key of his."""
    runtime = shop.runtime

    @runtime.agent("desk", handles="desk", side_effect="read_only")
    def desk(ctx: Context) -> list[bool]:
        return [ctx.route("pay", 5, idempotency_key="k").from_record for _ in range(2)]

    runtime.route("pay", 5, idempotency_key="k")
    asked = runtime.route("desk")
    assert asked.payload == [False, False]
    assert len(shop.calls) == 3
    assert runtime.store is not None
    parent = runtime.store.get(asked.execution_id)
    assert len(set(parent.children)) == 2
    assert runtime.replay(asked.execution_id, nested=True).verdict == "match"
    runtime.route("desk", idempotency_key="k2")
    assert not runtime.route("pay", 5, idempotency_key="k2", caller="b").from_record


def test_a_request_that_nobody_was_called_for_may_be_tried_again(store: ExecutionStore) -> None:
    """No agent, a denial, a deadline, a cancellation: then the next request with the key is executed."""
    shop = Shop(IntentusRuntime(store=store, policy={"default": "deny", "rules": []}))
    refused = [
        shop.runtime.route("pay", 5, idempotency_key="k"),
        shop.runtime.route("no", 5, idempotency_key="k"),
    ]
    runtime = shop.runtime.configure(policy={"default": "allow", "rules": []})
    refused.append(runtime.route("pay", 5, idempotency_key="k", timeout=1e-9))
    assert [one.error and one.error.code for one in refused] == [
        "POLICY_DENIAL",
        "CAPABILITY_NOT_FOUND",
        "AGENT_TIMEOUT",
    ]
    assert shop.calls == [] and not any(one.from_record for one in refused)
    done = runtime.route("pay", 6, idempotency_key="k")
    assert done.ok and runtime.route("pay", 6, idempotency_key="k").execution_id == done.execution_id
    for one in (*refused[:0], *refused[2:], done):
        replays(runtime, one)


def cancelled(shop: Shop, intent: str, payload: Any) -> AgentResponse:
    """The response of an execution with key "k" that is cancelled as soon as its agent says `shop.begun`."""
    shop.begun.clear()
    asked = Background(lambda: shop.runtime.route(intent, payload, idempotency_key="k", caller=str(payload)))
    assert shop.begun.wait(PATIENCE_S)
    assert shop.runtime.store is not None
    assert shop.runtime.cancel(shop.runtime.store.resolve("@last"))
    response: AgentResponse = asked.result()
    return response


def test_what_was_cut_off_before_it_did_anything_may_be_tried_again(shop: Shop) -> None:
    """A reader that was cut off has answered nothing; only where its effect was done it keeps the key."""

    @effect(side_effect="reversible")
    def write() -> None:
        shop.calls.append("written")

    @shop.runtime.agent("reader", handles="read", side_effect="read_only", isolation="thread")
    def reader(payload: Any, ctx: Context) -> Any:
        if payload == "acts":
            ctx.effect("write", write)
        shop.begun.set()
        assert shop.go.wait(PATIENCE_S)

    for _ in range(2):
        told = cancelled(shop, "read", "only reads")
        assert told.error is not None and (told.error.code, told.from_record) == ("CANCELLED", False)
    told = cancelled(shop, "read", "acts")
    again = shop.runtime.route("read", "acts", idempotency_key="k", caller="acts")
    shop.go.set()
    assert told.error is not None and told.error.code == "CANCELLED"
    assert again.from_record and same(told, again)
    assert shop.calls == ["written"]


def test_what_is_in_doubt_keeps_its_key(shop: Shop) -> None:
    """An agent that may have acted is not called again: its IN_DOUBT is the response on record."""

    @shop.runtime.agent("writer", handles="write", isolation="thread")
    def writer() -> None:
        shop.calls.append("called")
        shop.begun.set()
        assert shop.go.wait(PATIENCE_S)

    told = cancelled(shop, "write", None)
    again = shop.runtime.route("write", idempotency_key="k", caller="None")
    shop.go.set()
    assert told.error is not None and told.error.code == "IN_DOUBT"
    assert again.from_record and same(told, again)
    assert shop.calls == ["called"]


def test_a_fork_has_no_key(shop: Shop) -> None:
    """It is another run: neither is it answered from the record, nor does it take the key over."""
    first = shop.runtime.route("pay", 5, idempotency_key="k")
    forked = shop.runtime.fork(first.execution_id, ":0", "other")
    assert (forked.payload, forked.from_record) == ("other", False)
    assert shop.runtime.route("pay", 5, idempotency_key="k").execution_id == first.execution_id


def test_readers_are_written_ahead_if_they_have_a_key(store: ExecutionStore) -> None:
    """Otherwise others could not see that they are under way."""
    with IntentusRuntime(store=store, write_ahead="effects") as runtime:
        seen: list[str] = []

        @runtime.agent("reader", handles="x", side_effect="read_only")
        def reader(ctx: Context) -> None:
            seen.extend(row.execution_id for row in store.list().rows)

        runtime.route("x")
        assert seen == []
        response = runtime.route("x", idempotency_key="k")
        assert seen[0] == response.execution_id
        replays(runtime, response)


def test_executions_are_verified_by_replays_as_ever(store: ExecutionStore) -> None:
    """`verify_replay` replays what is recorded, refusals too, and finds nothing to complain of."""
    with IntentusRuntime(store=store, verify_replay=True) as runtime:
        shop = Shop(runtime)
        for payload in (5, 5, 6):
            runtime.route("pay", payload, idempotency_key="k")
            asyncio.run(runtime.route_async("pay", payload, idempotency_key="k"))
        assert shop.calls == [5, 5]  # once, and once by the replay


def test_without_a_store_a_key_is_handed_on(store: ExecutionStore) -> None:
    """Nothing is kept, so that each request is executed, with the same key for what its agents ask."""
    runtime = IntentusRuntime()
    keys: list[str] = []

    @runtime.agent("agent", handles="x")
    def agent(ctx: Context) -> None:
        keys.append(ctx.idempotency_key)

    assert [runtime.route("x", idempotency_key="k").from_record for _ in range(2)] == [False, False]
    assert keys == ["k/attempt:0"] * 2
