"""What holds for every policy and every request, beside a reference written to be read, not to be fast."""

import copy
import fnmatch
import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

from helpers.policies import (
    AGENTS,
    AMOUNTS,
    BUDGETS,
    CONDITIONS,
    ENVELOPES,
    PAYLOADS,
    POLICIES,
    Data,
    rules,
)
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.policy import (
    NO_POLICY,
    AgentFacts,
    CompiledPolicy,
    Decision,
    EnvelopeFacts,
    check,
    compile_policy,
    explain,
    parse_policy,
)


def compiled(data: Data) -> CompiledPolicy:
    return compile_policy(parse_policy(data))


# The reference: the specification, rule by rule, from the data of the file. None is unknown.


def reference_field(node: Any, path: str) -> list[Any]:
    """The value in a list, or an empty list."""
    for step in path[1:].split("/") if path.startswith("/") else path.split(".") if path else []:
        if isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, list) and step == "0" and node:
            node = node[0]
        else:
            return []
    return [node]


def reference_kind(value: Any) -> str | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float | Decimal):
        return None if value != value else "number"
    return {str: "string", type(None): "null"}.get(type(value))


def reference_test(found: list[Any], operator: str, wanted: Any) -> bool | None:
    if operator == "exists":
        return bool(found) == wanted
    if operator.startswith("not_"):
        opposite = reference_test(found, operator.removeprefix("not_"), wanted)
        return None if opposite is None else not opposite
    if operator in ("in", "glob") and isinstance(wanted, list):
        answers = [reference_test(found, "eq" if operator == "in" else "glob", one) for one in wanted]
        return None if None in answers else True in answers
    if not found or reference_kind(found[0]) is None or reference_kind(found[0]) != reference_kind(wanted):
        return None
    [value] = found
    if isinstance(value, Decimal):
        wanted = Decimal(str(wanted))
    match operator:
        case "eq":
            return bool(value == wanted)
        case "ne":
            return bool(value != wanted)
        case "lt":
            return bool(value < wanted)
        case "le":
            return bool(value <= wanted)
        case "gt":
            return bool(value > wanted)
        case "ge":
            return bool(value >= wanted)
    return fnmatch.fnmatchcase(value, wanted)


def conjunction(answers: list[bool | None]) -> bool | None:
    if False in answers:
        return False
    return None if None in answers else True


def reference_fields(node: Any, fields: list[tuple[str, Data]], effect: str) -> bool | None:
    """What is asked of fields below a node, and of the elements of lists: of those of one list together."""
    answers: list[bool | None] = []
    elements: dict[str, list[tuple[str, Data]]] = {}
    for path, tests in fields:
        first, brackets, rest = path.partition("[*]")
        if brackets:
            elements.setdefault(first, []).append((rest.removeprefix("."), tests))
        else:
            found = reference_field(node, path)
            answers += [reference_test(found, operator, wanted) for operator, wanted in tests.items()]
    for path, inner in elements.items():
        found = reference_field(node, path)
        if not found or not isinstance(found[0], list) or not found[0]:
            answers.append(None)
            continue
        each = [reference_fields(element, inner, effect) for element in found[0]]
        if effect == "deny":
            each = [None if answer is None else not answer for answer in each]
        of_all = conjunction(each)
        answers.append(of_all if of_all is None or effect == "allow" else not of_all)
    return conjunction(answers)


def reference_rule(rule: Data, envelope: EnvelopeFacts, agent: AgentFacts) -> bool | None:
    facts: dict[str, Any] = {
        "intent": [envelope.intent],
        "caller": [envelope.caller],
        "role": envelope.roles,
        "tag": envelope.tags,
        "tenant": None if envelope.tenant is None else [envelope.tenant],
        "agent": [agent.name],
        "side_effect": [agent.side_effect],
    }
    answers: list[bool | None] = []
    for name, values in facts.items():
        if name in rule:
            globs = rule[name] if isinstance(rule[name], list) else [rule[name]]
            matches = [fnmatch.fnmatchcase(value, glob) for value in values or () for glob in globs]
            answers.append(None if values is None else any(matches))
    payload = envelope.payload if isinstance(envelope.payload, dict) else {}
    answers.append(reference_fields(payload, list(rule.get("payload", {}).items()), rule["effect"]))
    for name, tests in rule.get("budget", {}).items():
        known = [envelope.budget[name]] if name in (envelope.budget or {}) else []
        answers += [reference_test(known, operator, wanted) for operator, wanted in tests.items()]
    return conjunction(answers)


def reference(data: Data, envelope: EnvelopeFacts, agent: AgentFacts) -> tuple[bool, str | None]:
    for rule in data["rules"]:
        if rule["effect"] == "deny" and reference_rule(rule, envelope, agent) is not False:
            return False, rule["id"]
    for rule in data["rules"]:
        if rule["effect"] == "allow" and reference_rule(rule, envelope, agent) is True:
            return True, rule["id"]
    return data["default"] == "allow", None


@given(POLICIES, ENVELOPES, AGENTS)
def test_decisions_are_those_of_the_reference(data: Data, envelope: EnvelopeFacts, agent: AgentFacts) -> None:
    """The compiled policy decides as the specification, read rule by rule, and names the same rule."""
    decision = compiled(data).decide(envelope, agent)

    assert (decision.allowed, decision.rule) == reference(data, envelope, agent)
    assert (decision.cause == "default") == (decision.rule is None)


@given(POLICIES, ENVELOPES, st.lists(AGENTS, max_size=4))
def test_staging_changes_nothing(data: Data, envelope: EnvelopeFacts, agents: list[AgentFacts]) -> None:
    """One stage for all candidates decides each of them as a policy that was just compiled would."""
    stage = compiled(data).stage(envelope)

    assert [stage.decide(agent) for agent in agents] == [
        compiled(data).decide(envelope, agent) for agent in agents
    ]


@given(POLICIES, ENVELOPES, AGENTS)
def test_the_explanation_is_of_the_decision(data: Data, envelope: EnvelopeFacts, agent: AgentFacts) -> None:
    """The applied rule is the one that decided, and its first unknown condition is the cause."""
    policy = compiled(data)
    decision = policy.decide(envelope, agent)

    applied = [trace for trace in explain(policy, envelope, agent) if trace.verdict == "applied"]

    assert [trace.rule for trace in applied] == ([] if decision.rule is None else [decision.rule])
    for trace in applied:
        unknown = [condition.why for condition in trace.conditions if condition.verdict == "unknown"]
        assert decision.cause == (unknown[0] if unknown else "matched")


@given(POLICIES, ENVELOPES, AGENTS)
def test_an_explanation_without_an_agent_holds_for_every_agent(
    data: Data, envelope: EnvelopeFacts, agent: AgentFacts
) -> None:
    """A rule that is applied when no candidate is given decides for any candidate."""
    policy = compiled(data)

    for trace in explain(policy, envelope, None):
        if trace.verdict == "applied":
            assert policy.decide(envelope, agent).rule == trace.rule


@given(POLICIES, rules(st.just("deny")), ENVELOPES, AGENTS, st.randoms())
def test_a_deny_rule_never_widens_access(
    data: Data, denies: list[Data], envelope: EnvelopeFacts, agent: AgentFacts, shuffler: random.Random
) -> None:
    """Whatever deny rules are added, and wherever, nothing is allowed that was not."""
    more = [*data["rules"], *({**rule, "id": f"new-{rule['id']}"} for rule in denies)]
    shuffler.shuffle(more)
    before = compiled(data).decide(envelope, agent)
    after = compiled({**data, "rules": more}).decide(envelope, agent)

    assert before.allowed or not after.allowed


@given(POLICIES, ENVELOPES, AGENTS, st.randoms())
def test_the_order_of_rules_never_changes_the_outcome(
    data: Data, envelope: EnvelopeFacts, agent: AgentFacts, shuffler: random.Random
) -> None:
    """Order says which rule is named, never whether something is allowed."""
    shuffled = list(data["rules"])
    shuffler.shuffle(shuffled)

    before = compiled(data).decide(envelope, agent)
    after = compiled({**data, "rules": shuffled}).decide(envelope, agent)

    assert before.allowed == after.allowed


@given(CONDITIONS, ENVELOPES, AGENTS)
def test_the_unknown_denies_and_never_allows(
    conditions: Data, envelope: EnvelopeFacts, agent: AgentFacts
) -> None:
    """An unknown rule applies if it denies and does not if it allows."""

    def decide(effect: str, default: str) -> Decision:
        rule = {"id": "r", "effect": effect, **conditions}
        return compiled({"default": default, "rules": [rule]}).decide(envelope, agent)

    def verdict(effect: str) -> bool | None:
        return reference_rule({"effect": effect, **conditions}, envelope, agent)

    assert decide("allow", "deny").allowed is (verdict("allow") is True)
    assert decide("deny", "allow").allowed is (verdict("deny") is False)


@given(POLICIES, ENVELOPES, AGENTS, st.fixed_dictionaries(dict.fromkeys(BUDGETS, AMOUNTS)))
def test_what_is_not_said_to_be_open_is_decided(
    data: Data, envelope: EnvelopeFacts, agent: AgentFacts, numbers: dict[str, Any]
) -> None:
    """Where no budget is said to be lacking, no number in its place would change the outcome."""
    stage = compiled(data).stage(envelope)
    known = replace(envelope, budget={**numbers, **(envelope.budget or {})})
    cause = stage.lacks(agent)

    if cause is None:
        assert compiled(data).decide(known, agent).allowed == stage.decide(agent).allowed
    else:
        assert not stage.decide(agent).allowed
        assert not set(BUDGETS) <= set(envelope.budget or {})


@given(POLICIES, ENVELOPES, PAYLOADS, AGENTS)
def test_what_is_not_looked_at_decides_nothing(
    data: Data, envelope: EnvelopeFacts, payload: Any, agent: AgentFacts
) -> None:
    """Where no rule looks at payload or budget, others in their place change nothing."""
    policy = compiled(data)
    decision = policy.decide(envelope, agent)

    if not policy.looks_at("payload", envelope):
        assert policy.decide(replace(envelope, payload=payload), agent) == decision
    if not policy.looks_at("budget", envelope):
        assert policy.decide(replace(envelope, budget=None), agent) == decision
    others = {
        "caller": {"caller": "-"},
        "role": {"roles": ()},
        "tenant": {"tenant": None},
        "tag": {"tags": ()},
    }
    unseen = {
        name: value for fact, one in others.items() if fact not in policy.facts for name, value in one.items()
    }
    assert policy.decide(replace(envelope, **unseen), agent) == decision


@given(POLICIES, ENVELOPES, AGENTS)
def test_a_copy_decides_the_same(data: Data, envelope: EnvelopeFacts, agent: AgentFacts) -> None:
    """A policy that was sent to another process is the same one there."""
    policy = compiled(data)
    copied = copy.copy(policy)

    assert (copied.digest, copied.decide(envelope, agent)) == (policy.digest, policy.decide(envelope, agent))
    assert copy.copy(NO_POLICY) is NO_POLICY


@given(POLICIES, ENVELOPES, AGENTS)
def test_findings_are_true(data: Data, envelope: EnvelopeFacts, agent: AgentFacts) -> None:
    """No request is decided by a rule that is said to be unable to; what has no effect can be left out."""
    source = parse_policy(data)
    findings = check(source)
    decision = compile_policy(source).decide(envelope, agent)

    idle = {finding.rule for finding in findings if finding.code == "no effect"}
    dead = {finding.rule for finding in findings if finding.rule is not None} - idle
    kept = [rule for rule in data["rules"] if rule["id"] not in dead | idle]
    assert decision.rule not in dead
    assert compiled({**data, "rules": kept}).decide(envelope, agent).allowed == decision.allowed
    if "nothing allowed" in {finding.code for finding in findings}:
        assert not decision.allowed
