"""Budgets as facts: how rules name them, compare them, and what follows from those that are not known."""

from decimal import Decimal
from typing import Any

import pytest

from intentusnet.policy import (
    AgentFacts,
    Budget,
    EnvelopeFacts,
    PolicyFaults,
    check,
    compile_policy,
    explain,
    parse_policy,
)
from intentusnet.policy.rules import budget_of

NAME = "tenant.tokens.1d"


def policy(budget: Any, effect: str = "deny", default: str = "allow", **more: Any) -> Any:
    rule = {"id": "spent", "effect": effect, "budget": budget, **more}
    return compile_policy(parse_policy({"default": default, "rules": [rule]}))


def decided(compiled: Any, budget: Any, **facts: Any) -> tuple[bool, str]:
    decision = compiled.decide(EnvelopeFacts("a", budget=budget, **facts), AgentFacts("x"))
    return decision.allowed, decision.cause


@pytest.mark.parametrize(
    ("operator", "operand", "allowed"),
    [
        ("gt", 100, {99: True, 100: True, 100.5: False}),
        ("ge", 100, {99: True, 100: False, Decimal("100.5"): False}),
        ("lt", 100, {99: False, 100: True}),
        ("le", 0.1, {0.1: False, 0.2: True}),
        ("eq", 0, {0: False, 1: True}),
        ("ne", 0, {0: True, 1: False}),
    ],
)
def test_a_budget_is_compared_like_a_field(operator: str, operand: Any, allowed: dict[Any, bool]) -> None:
    """Each operator decides by the number that is brought."""
    compiled = policy({NAME: {operator: operand}})

    assert {number: decided(compiled, {NAME: number})[0] for number in allowed} == allowed


@pytest.mark.parametrize("budget", [None, {}, {"caller.tokens.1d": 5}])
def test_what_is_not_known_is_not_let_through(budget: Any) -> None:
    """Without the number a deny rule applies and an allow rule does not, and the cause names the budget."""
    denies, allows = policy({NAME: {"gt": 100}}), policy({NAME: {"le": 100}}, "allow", "deny")

    assert decided(denies, budget) == (False, f"operand missing: budget {NAME}")
    assert decided(allows, budget) == (False, "default")
    for compiled in (denies, allows):
        stage = compiled.stage(EnvelopeFacts("a", budget=budget))
        assert stage.lacks(AgentFacts("x")) == f"operand missing: budget {NAME}"


def test_what_other_conditions_rule_out_lacks_nothing() -> None:
    """A budget that no rule comes to is not asked for: the agent or another deny rule decides without it."""
    compiled = policy({NAME: {"gt": 100}}, agent="pay")
    stage = compiled.stage(EnvelopeFacts("a"))
    always = {"id": "always", "effect": "deny"}
    spent = {"id": "spent", "effect": "deny", "budget": {NAME: {"gt": 1}}}
    denied = compile_policy(parse_policy({"default": "allow", "rules": [spent, always]}))

    assert stage.lacks(AgentFacts("pay")) is not None
    assert stage.lacks(AgentFacts("other")) is None
    assert denied.stage(EnvelopeFacts("a")).lacks(AgentFacts("x")) is None
    assert not policy({NAME: {"gt": 1}}, intent="b").looks_at("budget", EnvelopeFacts("a"))


def test_a_policy_says_which_budgets_it_compares() -> None:
    """Whoever decides learns scope, usage and window of each, once, by name."""
    compiled = policy({NAME: {"gt": 1, "lt": 5}, "caller.cost.90m": {"gt": 0.5}})

    assert compiled.budgets == (
        Budget("caller.cost.90m", "caller", "cost", 90 * 60 * 1_000_000),
        Budget(NAME, "tenant", "tokens", 24 * 3600 * 1_000_000),
    )
    assert compiled.facts == {"budget"}
    assert compile_policy(parse_policy({"default": "allow"})).budgets == ()


@pytest.mark.parametrize(
    "name",
    ["tokens", "tenant.tokens", "tenant.tokens.d", "tenant.tokens.0d", "tenant.tokens.1w", "role.tokens.1d",
     "tenant.a-b.1d", "tenant..1d", "tenant.tokens.1d.", "", "tenant.tokens.1234567890s"],
)  # fmt: skip
def test_other_names_are_faults(name: str) -> None:
    """A name that means no budget is a fault with its place, and what names look like."""
    assert budget_of(name) is None
    with pytest.raises(PolicyFaults) as caught:
        policy({name: {"gt": 1}})
    [fault] = caught.value.faults
    assert fault.message == "no budget has such a name"
    assert fault.where.startswith("rules[0].budget")
    assert "tenant.tokens.1d" in fault.expected


def test_all_faults_of_budgets_are_told_at_once() -> None:
    """Unknown operators, operands that are no numbers, and missing operators, each with its place."""
    with pytest.raises(PolicyFaults) as caught:
        policy({NAME: {"gte": 1, "lt": "5"}, "caller.cost.1h": 5, "caller.cost.2h": {"in": [1], "gt": True}})
    found = {(fault.where.removeprefix("rules[0].budget"), fault.message) for fault in caught.value.faults}
    assert found == {
        (f'["{NAME}"].gte', 'unknown operator "gte"'),
        (f'["{NAME}"].lt', "the operand has the wrong type"),
        ('["caller.cost.1h"]', "no operator is given"),
        ('["caller.cost.2h"].in', 'unknown operator "in"'),
        ('["caller.cost.2h"].gt', "the operand has the wrong type"),
    }
    for value in ({}, [], 5):
        with pytest.raises(PolicyFaults, match="budget conditions are a table"):
            policy(value)


def test_the_digest_covers_budgets() -> None:
    """Another name, operator or number is another policy; another spelling of the number is not."""
    variants = [{NAME: {"gt": 1}}, {NAME: {"gt": 2}}, {NAME: {"ge": 1}}, {"caller.tokens.1d": {"gt": 1}}]
    digests = {policy(variant).digest for variant in variants}
    as_payload = {"id": "spent", "effect": "deny", "payload": {f"/{NAME}": {"gt": 1}}}

    assert len(digests) == len(variants)
    assert policy({NAME: {"gt": Decimal("1.0")}}).digest in digests
    assert compile_policy(parse_policy({"default": "allow", "rules": [as_payload]})).digest not in digests


def test_explanations_quote_the_number() -> None:
    """Explain says what is asked of the budget, and what it is."""
    compiled = policy({NAME: {"gt": 100}})

    [known] = explain(compiled, EnvelopeFacts("a", budget={NAME: 250}), None)
    [unknown] = explain(compiled, EnvelopeFacts("a"), None)

    assert (known.verdict, known.conditions[0].condition) == ("applied", f"budget {NAME} gt 100")
    assert known.conditions[0].why == "it is 250"
    assert unknown.conditions[0].why == f"operand missing: budget {NAME}"


def test_contradictions_between_budgets_are_found() -> None:
    """An allow rule that no number satisfies is impossible."""
    rule = {"id": "r", "effect": "allow", "budget": {NAME: {"gt": 5, "lt": 3}}}
    [finding, _] = check(parse_policy({"default": "deny", "rules": [rule]}))

    assert (finding.code, finding.message) == (
        "impossible", f"no request can satisfy its conditions on budget {NAME}",
    )  # fmt: skip
