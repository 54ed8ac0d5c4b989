"""What holds for every backtest: it tells what replays would tell, and nothing where nothing changes."""

from typing import Any

from helpers.policies import AGENTS, BUDGET_TESTS, BUDGETS, EFFECTS, ENVELOPES, POLICIES, Data, rules
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intentusnet import Caller, Context, IntentEnvelope, IntentusRuntime, MemoryExecutionStore, Verdict
from intentusnet.policy import AgentFacts, CompiledPolicy, EnvelopeFacts, compile_policy, parse_policy
from intentusnet.policy.backtest import backtest
from intentusnet.policy.facts import agent_facts, facts_of
from intentusnet.policy.trial import BacktestReport

FEWER = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
REQUESTS = st.lists(ENVELOPES, min_size=1, max_size=4)
TEAMS = st.lists(AGENTS, min_size=1, max_size=3, unique_by=lambda agent: agent.name)


def without_budgets(data: Data) -> Data:
    """What is spent is not on record of these executions."""
    return {**data, "rules": [{k: v for k, v in rule.items() if k != "budget"} for rule in data["rules"]]}


def limited(data: Data, effect: str, budget: Data) -> Data:
    """With a rule that depends on what is spent alone."""
    return {**data, "rules": [{"id": "limit", "effect": effect, "budget": budget}, *data["rules"]]}


PLAIN_POLICIES = POLICIES.map(without_budgets)
LIMITS = st.dictionaries(st.sampled_from(BUDGETS), BUDGET_TESTS, min_size=1, max_size=2)
LIMITED_POLICIES = st.builds(limited, POLICIES, EFFECTS, LIMITS)


def compiled(data: Data) -> CompiledPolicy:
    return compile_policy(parse_policy(data))


def recorded(
    policy: CompiledPolicy, team: list[AgentFacts], requests: list[EnvelopeFacts]
) -> IntentusRuntime:
    """A runtime whose store has these requests, routed under that policy."""
    runtime = IntentusRuntime(store=MemoryExecutionStore(), policy=policy)
    for rank, agent in enumerate(team):
        runtime.agent(
            agent.name, handles="*", version=agent.version, rank=rank, side_effect=agent.side_effect
        )(spends)
    for request in requests:
        caller = Caller(name=request.caller, roles=request.roles, tenant=request.tenant)
        envelope = IntentEnvelope(
            intent=request.intent, payload=request.payload, caller=caller, tags=request.tags
        )
        runtime.router.route_intent(envelope)
    return runtime


def spends(ctx: Context) -> None:
    """Uses up what the drawn budgets are about, so that their numbers differ from request to request."""
    ctx.usage(tokens=1, cost=0.5)


def changed(report: BacktestReport) -> dict[tuple[str, str], bool]:
    """Which candidates are decided otherwise, and whether they are allowed otherwise."""
    return {
        (execution, group.change.agent): group.change.kind in ("newly_allowed", "newly_denied")
        for group in report.groups
        for execution in group.examples
    }


def diverged(runtime: IntentusRuntime, new: CompiledPolicy) -> dict[tuple[str, str], bool]:
    """The same, as replays that decide anew tell it."""
    found: dict[tuple[str, str], bool] = {}
    with runtime.configure(policy=new) as other:
        for row in runtime.store.list().rows:
            report = other.replay(row.execution_id, depth="routing")
            candidates = runtime.store.get(row.execution_id).plan_tree["candidates"]
            for divergence in report.divergences:
                if divergence.kind == "policy":
                    _, _, index, part = divergence.pointer.split("/")
                    key = row.execution_id, candidates[int(index)]["agent"]
                    found[key] = found.get(key, False) or part == "allowed"
    return found


@FEWER
@given(PLAIN_POLICIES, PLAIN_POLICIES, TEAMS, REQUESTS)
def test_a_backtest_tells_what_replays_tell(
    before: Data, after: Data, team: list[AgentFacts], requests: list[EnvelopeFacts]
) -> None:
    """Each candidate that a routing replay would find decided otherwise is in the report, and no other."""
    runtime = recorded(compiled(before), team, requests)
    new = compiled(after)

    assert changed(backtest(runtime.store, new, examples=100)) == diverged(runtime, new)


@FEWER
@given(LIMITED_POLICIES, LIMITED_POLICIES, TEAMS, REQUESTS)
def test_a_backtest_tells_what_replays_tell_of_budgets(
    before: Data, after: Data, team: list[AgentFacts], requests: list[EnvelopeFacts]
) -> None:
    """What both compare, they compare on the numbers on record; what nobody asked for is undecided."""
    runtime = recorded(compiled(before), team, requests)
    new = compiled(after)

    report = backtest(runtime.store, new, examples=100)

    undecided = {
        (execution, group.change.agent)
        for group in report.groups
        if group.change.kind == "undecided"
        for execution in group.examples
    }
    told, found = changed(report), diverged(runtime, new)
    assert {key: told[key] for key in told.keys() - undecided} == {
        key: found[key] for key in found.keys() - undecided
    }
    if {budget.name for budget in new.budgets} <= {budget.name for budget in compiled(before).budgets}:
        assert not undecided


@FEWER
@given(LIMITED_POLICIES, TEAMS, REQUESTS)
def test_decisions_on_budgets_are_made_again_from_the_record(
    data: Data, team: list[AgentFacts], requests: list[EnvelopeFacts]
) -> None:
    """Whatever the numbers were, and are now, every replay matches, and a backtest finds nothing."""
    runtime = recorded(compiled(data), team, requests)

    assert not diverged(runtime, compiled(data))
    assert backtest(runtime.store, compiled(data)).groups == ()
    for row in runtime.store.list().rows:
        assert runtime.configure().replay(row.execution_id).verdict is Verdict.MATCH


@FEWER
@given(POLICIES, PLAIN_POLICIES, TEAMS, REQUESTS)
def test_nothing_changes_where_nothing_changed(
    data: Data, other: Data, team: list[AgentFacts], requests: list[EnvelopeFacts]
) -> None:
    """A policy against itself, and against the decisions that it made itself, finds nothing."""
    runtime = recorded(compiled(other), team, requests)

    for report in (
        backtest(runtime.store, compiled(data), against=compiled(data)),
        backtest(runtime.store, compiled(other)),
    ):
        assert report.groups == ()
        assert not any(report.outcomes.values())


@FEWER
@given(PLAIN_POLICIES, rules(st.just("deny")), TEAMS, REQUESTS)
def test_more_deny_rules_never_widen(
    data: Data, denies: list[Data], team: list[AgentFacts], requests: list[EnvelopeFacts]
) -> None:
    """Whatever deny rules are added, nothing is newly allowed, nor would anything denied be answered."""
    runtime = recorded(compiled(data), team, requests)
    more = [*data["rules"], *({**rule, "id": f"new-{rule['id']}"} for rule in denies)]

    report = backtest(runtime.store, compiled({**data, "rules": more}))

    assert not report.widens
    assert report.outcomes["now_answered"] == 0


@FEWER
@given(POLICIES, POLICIES, TEAMS, REQUESTS)
def test_a_backtest_is_the_decisions_one_by_one(
    before: Data, after: Data, team: list[AgentFacts], requests: list[EnvelopeFacts]
) -> None:
    """What is remembered between executions changes nothing: counts are those of single decisions."""
    runtime = recorded(compiled({"default": "allow"}), team, requests)
    old, new = compiled(before), compiled(after)
    counted: dict[str, int] = {}
    for row in runtime.store.list().rows:
        facts = facts_of(runtime.store.get(row.execution_id).envelope)
        for agent in runtime.registry.agents():
            kind = expected_kind(old, new, facts, agent_facts(agent))
            counted[kind] = counted.get(kind, 0) + 1

    report = backtest(runtime.store, new, against=old)

    assert {kind: n for kind, n in report.changes.items() if n} == {k: n for k, n in counted.items() if k}


def expected_kind(old: CompiledPolicy, new: CompiledPolicy, facts: EnvelopeFacts, agent: AgentFacts) -> str:
    then, now = old.decide(facts, agent), new.decide(facts, agent)
    lacking: Any = new.stage(facts).lacks(agent) or old.stage(facts).lacks(agent)
    if lacking and old.digest != new.digest:
        return "undecided"
    if then.allowed != now.allowed:
        return "newly_allowed" if now.allowed else "newly_denied"
    return "" if (then.rule, then.cause) == (now.rule, now.cause) else "redecided"
