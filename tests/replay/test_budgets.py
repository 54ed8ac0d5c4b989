"""Budgets: what was used up decides, is on record with the decision, and decides the same in every replay."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from helpers.forging import Bodies, forged

from intentusnet import (
    Context,
    FileExecutionStore,
    IntentusRuntime,
    ManualClock,
    MemoryExecutionStore,
    Query,
    Verdict,
)
from intentusnet.errors import IntegrityBroken

LIMIT = 100
NAME = "tenant.tokens.1h"
HOUR = 3600


def policy(name: str = NAME, limit: int = LIMIT) -> dict[str, Any]:
    return {
        "default": "allow",
        "rules": [{"id": "spent", "effect": "deny", "budget": {name: {"ge": limit}}}],
    }


def runtime_of(store: Any, clock: ManualClock | None = None, **options: Any) -> IntentusRuntime:
    """A runtime whose agent uses as many tokens as it is told to."""
    options = {"policy": policy(), **options}
    runtime = IntentusRuntime(store=store, clock=clock or ManualClock(), **options)

    @runtime.agent("model", handles="ask", side_effect="read_only")
    def model(tokens: float, ctx: Context) -> float:
        ctx.usage(tokens=tokens)
        return tokens

    return runtime


def ask(runtime: IntentusRuntime, tokens: float, tenant: str | None = "acme", **options: Any) -> Any:
    return runtime.route("ask", tokens, tenant=tenant, **options)


def budget_of(runtime: IntentusRuntime, response: Any) -> Any:
    assert runtime.store is not None
    return runtime.store.get(response.execution_id).plan_tree.get("budget")


@pytest.mark.parametrize("recorded", [True, False])
def test_what_is_used_up_is_denied_until_the_window_has_passed(recorded: bool) -> None:
    """The sums of executions that have ended decide, with a store and without one."""
    clock = ManualClock()
    runtime = runtime_of(MemoryExecutionStore() if recorded else None, clock)

    assert [ask(runtime, 60).status for _ in range(3)] == ["success", "success", "error"]
    assert ask(runtime, 60).error.code == "POLICY_DENIAL"
    assert ask(runtime, 60, "other").status == "success"
    clock.advance(HOUR * 1.1)
    assert ask(runtime, 60).status == "success"


def test_a_denial_by_a_budget_replays_to_a_match_when_it_is_spent_no_longer() -> None:
    """The numbers on record are what a replay decides on, not those of now; and the other way round."""
    clock = ManualClock()
    runtime = runtime_of(MemoryExecutionStore(), clock)
    free, denied = ask(runtime, LIMIT), ask(runtime, 1)
    assert (free.status, denied.error.code) == ("success", "POLICY_DENIAL")
    assert [budget_of(runtime, response) for response in (free, denied)] == [{NAME: 0}, {NAME: LIMIT}]

    assert runtime.replay(free.execution_id).verdict is Verdict.MATCH
    clock.advance(2 * HOUR)
    assert runtime.plan(runtime.envelope("ask", 1, tenant="acme")).budget == {NAME: 0}
    for response in (free, denied):
        for depth in ("routing", "agents"):
            assert runtime.replay(response.execution_id, depth=depth).verdict is Verdict.MATCH
        assert runtime_of(None).replay(runtime.store.get(response.execution_id)).verdict is Verdict.MATCH


def test_another_limit_decides_otherwise_on_the_same_numbers() -> None:
    """A replay under a new policy compares the numbers on record with the new limit."""
    runtime = runtime_of(MemoryExecutionStore())
    ask(runtime, LIMIT)
    denied = ask(runtime, 1).execution_id

    report = runtime.configure(policy=policy(limit=LIMIT + 1)).replay(denied, depth="routing")

    assert report.verdict is Verdict.DIVERGED
    assert {divergence.kind for divergence in report.divergences} >= {"policy"}


def test_the_numbers_are_not_part_of_the_fingerprint() -> None:
    """The same request has the same fingerprint whatever was used up before it, as long as it is allowed."""
    runtime = runtime_of(MemoryExecutionStore())

    first, second = ask(runtime, 5), ask(runtime, 5)

    assert budget_of(runtime, first) != budget_of(runtime, second)
    assert first.fingerprint == second.fingerprint


def test_a_policy_without_budgets_writes_none_and_reads_nothing(tmp_path: Path) -> None:
    """Neither the plan nor the start of a runtime knows of budgets then."""
    plain: dict[str, Any] = {"default": "allow", "rules": [{"id": "r", "effect": "deny", "intent": "no"}]}
    for chosen in (None, plain):
        store = MemoryExecutionStore()
        runtime = runtime_of(store, policy=chosen)
        assert budget_of(runtime, ask(runtime, 5)) is None
        assert runtime.router._spending is None


def test_a_tenant_that_was_not_stated_is_unknown() -> None:
    """Nothing can be known of its budget, so that a deny rule applies; the record says so."""
    runtime = runtime_of(MemoryExecutionStore())

    denied = ask(runtime, 1, tenant=None)

    assert denied.error.details["denied"][0]["cause"] == f"operand missing: budget {NAME}"
    assert budget_of(runtime, denied) == {NAME: None}
    assert runtime.replay(denied.execution_id).verdict is Verdict.MATCH


def test_sums_that_json_has_no_number_for_are_recorded() -> None:
    """Integers beyond 53 bits, and floats, come back as what they were compared as."""
    runtime = runtime_of(MemoryExecutionStore(), policy=policy(limit=2**70))
    for tokens in (2**69, 0.5, 2**69):
        ask(runtime, tokens)

    denied = ask(runtime, 1)

    assert denied.error.code == "POLICY_DENIAL"
    assert budget_of(runtime, denied) == {NAME: {"$int": str(2**70)}}
    assert runtime.replay(denied.execution_id).verdict is Verdict.MATCH


@pytest.mark.parametrize(
    ("scope", "denied"), [("caller", "caller"), ("intent", "intent"), ("tenant", "tenant")]
)
def test_each_scope_has_sums_of_its_own(scope: str, denied: str) -> None:
    """What one caller, tenant or intent has used up is nobody else's."""
    runtime = runtime_of(None, policy=policy(f"{scope}.tokens.1h"))
    runtime.agent("other", handles="other", side_effect="read_only")(lambda tokens: tokens)
    same = {"intent": "ask", "caller": "ada", "tenant": "acme"}
    different = {"intent": "other", "caller": "bob", "tenant": "umbrella"}
    runtime.route(**same, payload=LIMIT)

    for name, value in different.items():
        response = runtime.route(**{**same, name: value}, payload=1)
        assert (response.status == "success") is (name == denied)
    assert runtime.route(**{**different, denied: same[denied]}, payload=1).status == "error"


def test_children_count_for_their_own_executions() -> None:
    """What a child has used up is its intent's, once."""
    runtime = runtime_of(MemoryExecutionStore(), policy=policy("intent.tokens.1h"))

    @runtime.agent("desk", handles="desk")
    def desk(tokens: int, ctx: Context) -> Any:
        ctx.usage(tokens=7)
        return ctx.route("ask", tokens).payload

    runtime.route("desk", 30)

    assert runtime.plan(runtime.envelope("desk")).budget == {"intent.tokens.1h": 7}
    assert runtime.plan(runtime.envelope("ask", 1)).budget == {"intent.tokens.1h": 30}


@pytest.mark.parametrize("file", [True, False])
def test_what_is_on_record_counts_from_the_start(tmp_path: Path, file: bool) -> None:
    """A runtime begins with what ended in the window, whoever recorded it, under whatever policy."""
    clock = ManualClock(step_us=1)
    store: Any = (
        FileExecutionStore(tmp_path / "s", clock=clock) if file else MemoryExecutionStore(clock=clock)
    )
    before = runtime_of(store, clock, policy=None)
    ask(before, 1000)
    clock.advance(HOUR * 1.5)
    for tokens in (10, 20.5):
        ask(before, tokens)
    before.route("nobody", 5, tenant="acme")

    after = runtime_of(store, clock)

    assert after.plan(after.envelope("ask", 1, tenant="acme")).budget == {NAME: 30.5}
    assert after.plan(after.envelope("ask", 1, tenant="other")).budget == {NAME: 0}
    ask(after, 5)
    assert after.plan(after.envelope("ask", 1, tenant="acme")).budget == {NAME: 35.5}


def test_a_long_execution_counts_when_it_ended() -> None:
    """It is found although it was opened before the window began."""
    clock = ManualClock()
    store = MemoryExecutionStore(clock=clock)
    runtime = runtime_of(store, clock, policy=None)

    @runtime.agent("slow", handles="slow", side_effect="read_only")
    def slow(payload: Any, ctx: Context) -> None:
        ctx.usage(tokens=9)
        clock.advance(HOUR * 0.9)

    runtime.route("slow", tenant="acme")
    clock.advance(HOUR * 0.5)

    after = runtime_of(store, clock)
    assert after.plan(after.envelope("ask", 1, tenant="acme")).budget == {NAME: 9}


def test_a_damaged_log_stops_the_first_plan(tmp_path: Path) -> None:
    """Sums that would lack something are not made; nothing is called."""
    with runtime_of(tmp_path / "s", policy=None) as before:
        for _ in range(3):
            ask(before, 1)
    [segment] = (tmp_path / "s" / "log").glob("*.jsonl")
    data = bytearray(segment.read_bytes())
    data[len(data) // 3] ^= 1
    segment.write_bytes(data)

    with runtime_of(tmp_path / "s") as runtime, pytest.raises(IntegrityBroken):
        ask(runtime, 1)


def test_what_is_resumed_counts_once() -> None:
    """An execution that broke off counts when it ends, also in a runtime that had not begun before that."""
    for warm in (True, False):
        store, breaks = MemoryExecutionStore(), {"now"}
        runtime = IntentusRuntime(store=store, policy=policy(limit=LIMIT))

        @runtime.agent("model", handles="ask", side_effect="read_only")
        def model(payload: Any, ctx: Context, breaks: Any = breaks) -> None:
            ctx.usage(tokens=3)
            ctx.effect("read", lambda: None)
            ctx.usage(tokens=4)
            if breaks:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            runtime.route("ask", tenant="acme")
        fresh = runtime if warm else runtime.configure()
        envelope = fresh.envelope("ask", tenant="acme")
        if warm:
            assert fresh.plan(envelope).budget == {NAME: 0}
        breaks.clear()
        [row] = store.list(Query()).rows

        fresh.resume(row.execution_id)

        assert fresh.plan(envelope).budget == {NAME: store.get(row.execution_id).usage["tokens"]}
        assert runtime.configure().plan(envelope).budget == fresh.plan(envelope).budget


def test_what_is_resumed_goes_on_as_it_was_planned() -> None:
    """A budget that is used up meanwhile does not stop what was allowed when it began; a fork neither."""
    store, breaks = MemoryExecutionStore(), {"now"}
    runtime = runtime_of(store)

    @runtime.agent("other", handles="other", side_effect="read_only")
    def other(payload: Any, ctx: Context) -> int:
        answer = ctx.effect("read", lambda: 1)
        if breaks:
            raise KeyboardInterrupt
        return answer

    with pytest.raises(KeyboardInterrupt):
        runtime.route("other", tenant="acme")
    [row] = store.list(Query()).rows
    breaks.clear()
    ask(runtime, LIMIT)
    assert ask(runtime, 1).error.code == "POLICY_DENIAL"

    assert runtime.resume(row.execution_id).payload == 1
    forked = runtime.fork(row.execution_id, "attempt:0:0", 2)
    assert (forked.payload, budget_of(runtime, forked)) == (2, {NAME: 0})
    assert runtime.replay(forked.execution_id).verdict is Verdict.MATCH


def test_asynchronous_callers_have_the_same_budgets(tmp_path: Path) -> None:
    """They are planned with the same numbers, what is on record is read off the loop, and usage counts."""
    threads: list[threading.Thread] = []

    class Watching(FileExecutionStore):
        def follow(self, since_us: int) -> Any:
            threads.append(threading.current_thread())
            return super().follow(since_us)

    with runtime_of(tmp_path / "s", policy=None) as before:
        ask(before, 40)
    store = Watching(tmp_path / "s")
    runtime = runtime_of(store)

    async def main() -> list[Any]:
        return [await runtime.route_async("ask", 60, tenant="acme") for _ in range(2)]

    first, second = asyncio.run(main())
    runtime.close()
    assert (first.status, second.error.code) == ("success", "POLICY_DENIAL")
    assert threads and threading.main_thread() not in threads


@pytest.mark.parametrize("recorded", [True, False])
def test_totals_of_many_threads_are_exact(recorded: bool) -> None:
    """16 threads × 200 executions, ints and floats: the sums are exact, and those of the record."""
    store = MemoryExecutionStore() if recorded else None
    runtime = IntentusRuntime(
        store=store,
        policy={
            "default": "allow",
            "rules": [
                {
                    "id": "r",
                    "effect": "deny",
                    "budget": {"caller.tokens.1d": {"gt": 10**9}, "intent.cost.1d": {"gt": 10**9}},
                }
            ],
        },
    )

    @runtime.agent("model", handles="ask", side_effect="read_only")
    def model(number: int, ctx: Context) -> None:
        ctx.usage(tokens=number, cost=0.1)

    def work(caller: str) -> None:
        for number in range(200):
            assert runtime.route("ask", number, caller=caller).status == "success"

    threads = [threading.Thread(target=work, args=(f"c{number % 4}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for caller in range(4):
        budget = runtime.plan(runtime.envelope("ask", 0, caller=f"c{caller}")).budget
        assert budget is not None
        assert budget["caller.tokens.1d"] == 4 * sum(range(200))
        # Rounded once: adding up floats one by one gives another sum.
        numerator, denominator = (0.1).as_integer_ratio()
        assert budget["intent.cost.1d"] == 3200 * numerator / denominator
    if recorded:
        assert runtime.configure().plan(runtime.envelope("ask", 0, caller="c1")).budget == budget


@pytest.mark.parametrize("budget", [5, {NAME: "5"}, {NAME: True}, {NAME: [1]}, {NAME: {"$nonsense": 1}}])
def test_a_forged_budget_is_refused(budget: Any) -> None:
    """Numbers by name, or null: anything else is not of the recorded format."""
    runtime = runtime_of(MemoryExecutionStore())
    record = runtime.store.get(ask(runtime, 1).execution_id)

    def forge(bodies: Bodies) -> None:
        bodies[0][1]["plan"]["budget"] = budget

    with pytest.raises(IntegrityBroken, match="recorded format"):
        forged(record, forge)
