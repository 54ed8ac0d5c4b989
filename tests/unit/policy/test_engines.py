"""What every engine promises the router: one suite, run by this package's own rules and by Cedar."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from intentusnet import Caller, IntentEnvelope, IntentusRuntime, MemoryExecutionStore
from intentusnet.errors import ConfigurationError
from intentusnet.policy import AgentFacts, EnvelopeFacts, Policy, PolicyFaults, compile_policy, parse_policy
from intentusnet.policy.backtest import backtest
from intentusnet.policy.cedar import FAILED, UNFIT, compile_cedar
from intentusnet.policy.facts import recorded_candidate, recorded_facts
from intentusnet.routing.plan import make_plan

SCHEMA = """
entity Role;
entity Caller in [Role] = { tenant?: String };
entity Agent = { version: String, side_effect: String };
type Request = {
    version: String, tags: Set<String>,
    payload: { amount: Long, rate?: decimal }, budget: { "tenant.tokens.1d": Long }
};
action "pay" appliesTo { principal: Caller, resource: Agent, context: Request };
"""
BUDGET_TYPE = ', budget: { "tenant.tokens.1d": Long }'
CEDAR = """
@id("small-amounts")
permit(principal, action == Action::"pay", resource) when { context.payload.amount <= 100 };
@id("admins")
permit(principal in Role::"admin", action, resource);
@id("nothing-irreversible-for-guests")
forbid(principal in Role::"guest", action, resource) when { resource.side_effect == "irreversible" };
@id("not-twice")
forbid(principal, action, resource) when { resource == Agent::"old" && context.tags.contains("new") };
@id("spent")
forbid(principal, action, resource) when { context.budget["tenant.tokens.1d"] > 1000 };
"""
RULES: dict[str, Any] = {
    "default": "deny",
    "rules": [
        {"id": "small-amounts", "effect": "allow", "intent": "pay", "payload": {"amount": {"le": 100}}},
        {"id": "admins", "effect": "allow", "role": "admin"},
        {
            "id": "nothing-irreversible-for-guests",
            "effect": "deny",
            "role": "guest",
            "side_effect": "irreversible",
        },
        {"id": "not-twice", "effect": "deny", "agent": "old", "tag": "new"},
        {"id": "spent", "effect": "deny", "budget": {"tenant.tokens.1d": {"gt": 1000}}},
    ],
}
BUDGET = {"tenant.tokens.1d": 10}


def own() -> Policy:
    return compile_policy(parse_policy(RULES))


def cedar() -> Policy:
    return compile_cedar(CEDAR, SCHEMA, ["tenant.tokens.1d"])


@pytest.fixture(params=[own, cedar])
def engine(request: pytest.FixtureRequest) -> Callable[[], Policy]:
    return request.param


def facts(payload: Any = None, budget: Any = BUDGET, **more: Any) -> EnvelopeFacts:
    given = {"amount": 5} if payload is None else payload
    return EnvelopeFacts(**{"intent": "pay", "version": "1.0", "payload": given, "budget": budget, **more})


AGENT = AgentFacts("pay", "1.0", "irreversible")


@pytest.mark.parametrize(
    ("envelope", "agent", "allowed", "rule"),
    [
        (facts(), AGENT, True, "small-amounts"),
        (facts({"amount": 100}, caller="ada", tenant="acme", tags=("x",)), AGENT, True, "small-amounts"),
        (facts({"amount": 101}), AGENT, False, None),
        (facts({"amount": 101}, roles=("x", "admin")), AGENT, True, "admins"),
        (facts(roles=("guest",)), AGENT, False, "nothing-irreversible-for-guests"),
        (facts(roles=("guest",)), AgentFacts("pay", "1.0", "read_only"), True, "small-amounts"),
        (facts(tags=("new",)), AgentFacts("old", "1.0"), False, "not-twice"),
        (facts(tags=("new",)), AGENT, True, "small-amounts"),
        (facts(budget={"tenant.tokens.1d": 1001}), AGENT, False, "spent"),
    ],
)
def test_engines_agree(
    engine: Callable[[], Policy], envelope: EnvelopeFacts, agent: AgentFacts, allowed: bool, rule: str | None
) -> None:
    """The same policy decides the same, names the same rule and says that it matched."""
    stage = engine().stage(envelope)
    decision = stage.decide(agent)

    assert (decision.allowed, decision.rule) == (allowed, rule)
    assert decision.cause == ("default" if rule is None else "matched")
    assert bool(decision.reason) is not allowed
    assert stage.decide(agent) == decision
    assert stage.lacks(agent) is None


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"amount": "5"},
        {"amount": None},
        [1],
        "x",
        {"amount": b"5"},
        {"amount": {"__extn": {}}},
        {"amount": 1.5e300},
    ],
)
def test_what_cannot_be_checked_is_denied(engine: Callable[[], Policy], payload: Any) -> None:
    """A missing or wrongly typed operand lets no request through, and never raises."""
    decision = engine().stage(facts(payload)).decide(AGENT)

    assert not decision.allowed
    assert decision.cause != "matched"


def test_a_budget_that_is_not_known_is_told(engine: Callable[[], Policy]) -> None:
    """The denial is marked as one for want of a fact, and the budget is among those to be brought."""
    policy = engine()

    assert [budget.name for budget in policy.budgets] == ["tenant.tokens.1d"]
    for budget in (None, {}):
        stage = policy.stage(facts(budget=budget))
        assert not stage.decide(AGENT).allowed
        assert stage.lacks(AGENT) == "operand missing: budget tenant.tokens.1d"


def test_a_policy_says_what_it_looks_at(engine: Callable[[], Policy]) -> None:
    """The names are those of the vocabulary, and cover what the rules compare."""
    policy = engine()

    assert {"intent", "role", "agent", "side_effect", "tag", "payload", "budget"} <= policy.facts
    assert policy.facts <= {
        "caller",
        "tenant",
        "intent",
        "role",
        "agent",
        "side_effect",
        "tag",
        "payload",
        "budget",
    }
    assert policy.looks_at("payload", facts())
    assert policy.looks_at("budget", facts())


def test_a_budget_of_which_nothing_can_be_known_is_not_lacking(engine: Callable[[], Policy]) -> None:
    """It decides as one that nobody asked for, but to ask again would not help."""
    unknown = engine().stage(facts(budget=dict.fromkeys(BUDGET)))

    assert unknown.decide(AGENT) == engine().stage(facts(budget={})).decide(AGENT)
    assert not unknown.decide(AGENT).allowed
    assert unknown.lacks(AGENT) is None


def test_a_copy_is_the_same_policy(engine: Callable[[], Policy]) -> None:
    """What is sent to another process has the same digest there and decides the same."""
    policy = engine()
    copied = copy.copy(policy)

    assert copied is not policy
    assert (copied.digest, copied.facts, copied.budgets) == (policy.digest, policy.facts, policy.budgets)
    assert copied.stage(facts()).decide(AGENT) == policy.stage(facts()).decide(AGENT)


def test_another_engine_can_be_backtested(engine: Callable[[], Policy]) -> None:
    """Decisions on record are held against whatever engine decides, on the recorded facts."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())

    @runtime.agent("pay", handles="pay", version="1.0", side_effect="irreversible")
    def pay(payload: Any) -> Any:
        return payload

    ids = [runtime.route("pay", {"amount": amount}, roles=("admin",)).execution_id for amount in (5, 500)]
    policy = engine()

    report = backtest(runtime.store, policy)
    assert report.changes["undecided"] == 2  # no budgets are on record
    assert report.new == policy.digest
    record = runtime.store.get(ids[1])
    known = recorded_facts(record.envelope_tree, {"budget": BUDGET})
    [candidate] = record.plan_tree["candidates"]
    assert policy.stage(known).decide(recorded_candidate(candidate)).rule == "admins"


def own_without_budgets() -> Policy:
    return compile_policy(parse_policy({**RULES, "rules": RULES["rules"][:-1]}))


def cedar_without_budgets() -> Policy:
    return compile_cedar(CEDAR[: CEDAR.index('@id("spent")')], SCHEMA.replace(BUDGET_TYPE, ""))


@pytest.mark.parametrize("made", [own_without_budgets, cedar_without_budgets])
@pytest.mark.parametrize(
    ("amount", "roles", "allowed", "rule"),
    [(5, (), True, "small-amounts"), (500, (), False, None), (500, ("admin",), True, "admins")],
)
def test_the_router_plans_by_it(
    made: Callable[[], Policy], amount: int, roles: tuple[str, ...], allowed: bool, rule: str | None
) -> None:
    """The plan that goes on record has the engine's decision, with the rule and the cause."""
    runtime = IntentusRuntime()
    runtime.agent("bank", handles="pay", side_effect="irreversible")(lambda payload: None)
    envelope = IntentEnvelope(intent="pay", payload={"amount": amount}, caller=Caller(name="a", roles=roles))

    plan = make_plan(envelope, runtime.registry, made(), max_depth=8)

    [candidate] = plan.tree()["candidates"]
    assert (candidate["allowed"], candidate["rule"]) == (allowed, rule)
    assert candidate["cause"] == ("matched" if rule else "default")
    assert (plan.refusal is None) is allowed


# --- Cedar alone ---


def test_the_digest_is_of_what_cedar_policies_mean() -> None:
    """Comments and spaces do not count; a policy, the schema or the budgets do."""
    digest = compile_cedar(CEDAR, SCHEMA, ["tenant.tokens.1d"]).digest

    assert (
        compile_cedar("// a comment\n" + CEDAR.replace("\n", "\n  "), SCHEMA, ["tenant.tokens.1d"]).digest
        == digest
    )
    others = {
        compile_cedar(CEDAR.replace("100", "101"), SCHEMA, ["tenant.tokens.1d"]).digest,
        compile_cedar(CEDAR, SCHEMA.replace("rate?", "ratio?"), ["tenant.tokens.1d"]).digest,
        compile_cedar(CEDAR, SCHEMA, ["tenant.tokens.1d", "caller.tokens.1h"]).digest,
    }
    assert len({digest, *others}) == 4


def test_a_policy_that_fails_to_evaluate_denies() -> None:
    """Cedar leaves out what fails; here it denies, even where another policy permits, and is named."""
    condition = "context.payload.amount * 9223372036854775807 > 0"
    overflow = f'@id("over") forbid(principal, action, resource) when {{ {condition} }};'
    policy = compile_cedar('@id("all") permit(principal, action, resource);' + overflow, SCHEMA)
    decision = policy.stage(facts({"amount": 2}, budget=BUDGET)).decide(AGENT)
    assert (decision.allowed, decision.cause) == (False, UNFIT)  # a budget that nothing was said of

    schema = SCHEMA.replace(BUDGET_TYPE, "")
    policy = compile_cedar('@id("all") permit(principal, action, resource);' + overflow, schema)
    decision = policy.stage(facts({"amount": 2})).decide(AGENT)
    assert (decision.allowed, decision.rule, decision.cause) == (False, "over", FAILED)


def test_an_intent_that_the_schema_does_not_know_is_denied() -> None:
    """The schema is what makes an intent known."""
    decision = cedar().stage(facts(intent="other")).decide(AGENT)
    assert (decision.allowed, decision.rule, decision.cause) == (False, None, UNFIT)


@pytest.mark.parametrize(
    ("rate", "told"), [(1.25, True), (0.0001, True), (0.00001, False), (float("nan"), False)]
)
def test_floats_are_decimals_or_denied(rate: float, told: bool) -> None:
    """What four places do not hold is not rounded behind the policy's back, and the cause names the field."""
    decision = cedar().stage(facts({"amount": 5, "rate": rate})).decide(AGENT)

    assert decision.allowed is told
    assert told or decision.cause.startswith("operand has the wrong type: /payload/rate")


def test_a_payload_cannot_speak_cedar() -> None:
    """A caller's own spelling of a decimal, or of an entity, is none: the engine would take it for one."""
    spelt = {"__extn": {"fn": "decimal", "arg": "1.0"}}
    decision = cedar().stage(facts({"amount": 5, "rate": spelt})).decide(AGENT)

    assert not decision.allowed
    assert decision.cause.startswith("operand has the wrong type: /payload/rate")


def test_all_that_is_wrong_with_cedar_policies_is_told_at_once() -> None:
    """Policies that do not fit the schema, have no id or one that is taken, and budgets that are none."""
    policies = CEDAR + '@id("admins") permit(principal, action, resource) when { context.payload.foo == 1 };'
    with pytest.raises(PolicyFaults) as caught:
        compile_cedar(policies + "permit(principal, action, resource);", SCHEMA, ["tokens"])
    messages = " ".join(fault.message for fault in caught.value.faults)
    for said in (
        "does not fit the schema",
        "an id is taken",
        "a policy has no id",
        "no budget has such a name",
    ):
        assert said in messages
    with pytest.raises(PolicyFaults, match="the policies cannot be read"):
        compile_cedar("permit(", SCHEMA)
    with pytest.raises(PolicyFaults, match="the schema cannot be read"):
        compile_cedar(CEDAR, "entity")


def test_without_the_package_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is to be installed is said."""
    monkeypatch.setitem(sys.modules, "cedarpy", None)
    with pytest.raises(ConfigurationError, match=r"intentusnet\[cedar\]"):
        cedar()
