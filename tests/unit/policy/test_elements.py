"""What policies ask of the elements of a list, as laws that whoever writes the list cannot get around."""

import random
from typing import Any

import pytest
from helpers.policies import AGENTS, EFFECTS, LEAVES, Data, operand
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.policy import (
    AgentFacts,
    CompiledPolicy,
    EnvelopeFacts,
    PolicyFaults,
    check,
    compile_policy,
    explain,
    parse_policy,
)

AGENT = AgentFacts("a")
ASKED = st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge", "in", "not_in", "glob", "not_glob"])
TESTS = st.lists(ASKED, min_size=1, max_size=2, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: operand(name) for name in names})
)
RULES = st.lists(st.tuples(EFFECTS, TESTS), min_size=1, max_size=4)
ELEMENTS = LEAVES | st.lists(LEAVES, max_size=2)


def policy_of(default: str, *rules: tuple[str, Data]) -> CompiledPolicy:
    """Rules that ask for the elements of ``x``."""
    entries = [
        {"id": f"r{n}", "effect": effect, "payload": {"x[*]": tests}}
        for n, (effect, tests) in enumerate(rules)
    ]
    return compile_policy(parse_policy({"default": default, "rules": entries}))


def allows(policy: CompiledPolicy, elements: Any) -> bool:
    return policy.decide(EnvelopeFacts("i", payload={"x": elements}), AGENT).allowed


@given(EFFECTS, RULES, st.lists(ELEMENTS, min_size=1, max_size=3), ELEMENTS)
def test_one_more_element_never_widens_access(
    default: str, rules: list[tuple[str, Data]], elements: list[Any], more: Any
) -> None:
    """Whatever is added to a list that is denied, it stays denied."""
    policy = policy_of(default, *rules)

    assert allows(policy, elements) or not allows(policy, [*elements, more])


@given(EFFECTS, RULES, st.lists(ELEMENTS, max_size=4), st.randoms())
def test_the_order_of_elements_does_not_matter(
    default: str, rules: list[tuple[str, Data]], elements: list[Any], shuffler: random.Random
) -> None:
    """Which element comes first never says whether something is allowed."""
    shuffled = list(elements)
    shuffler.shuffle(shuffled)

    assert allows(policy_of(default, *rules), elements) == allows(policy_of(default, *rules), shuffled)


@given(st.lists(TESTS, min_size=1, max_size=3), st.lists(ELEMENTS, min_size=1, max_size=3))
def test_deny_rules_judge_each_element_by_itself(denies: list[Data], elements: list[Any]) -> None:
    """A list passes deny rules exactly if each of its elements would pass them alone."""
    policy = policy_of("allow", *(("deny", tests) for tests in denies))

    assert allows(policy, elements) == all(allows(policy, [element]) for element in elements)


@given(TESTS, st.lists(ELEMENTS, min_size=1, max_size=3))
def test_an_allow_rule_has_to_match_every_element(tests: Data, elements: list[Any]) -> None:
    """A list is allowed by a rule exactly if each of its elements would be allowed alone."""
    policy = policy_of("deny", ("allow", tests))

    assert allows(policy, elements) == all(allows(policy, [element]) for element in elements)


@given(RULES, AGENTS, st.none() | st.just([]) | st.dictionaries(st.just("0"), LEAVES) | LEAVES)
def test_what_is_no_list_or_empty_is_not_let_through(
    rules: list[tuple[str, Data]], agent: AgentFacts, payload: Any
) -> None:
    """Where there are no elements to look at, each deny rule applies and no allow rule matches."""
    facts = EnvelopeFacts("i", payload={"x": payload})
    decision = policy_of("deny", *rules).decide(facts, agent)

    assert not decision.allowed
    if any(effect == "deny" for effect, _ in rules):
        assert decision.cause.startswith(("operand missing: x[*]", "operand has the wrong type: x[*] needs"))


@pytest.mark.parametrize("path", ["x", "x[*]"])
@given(st.sampled_from(["in", "glob"]).flatmap(lambda name: st.tuples(st.just(name), operand(name))), LEAVES)
def test_nothing_gets_around_a_condition_and_its_negation(
    path: str, asked: tuple[str, Any], value: Any
) -> None:
    """Two deny rules, with an operator and its negation, deny everything; of a known value, one does."""
    name, wanted = asked
    found = []
    for operator in (name, f"not_{name}"):
        rule = {"id": "r", "effect": "deny", "payload": {path: {operator: wanted}}}
        policy = compile_policy(parse_policy({"default": "allow", "rules": [rule]}))
        facts = EnvelopeFacts("i", payload={"x": [value] if path == "x[*]" else value})
        found.append(policy.decide(facts, AGENT))

    assert not all(decision.allowed for decision in found)
    causes = {decision.cause.partition(":")[0] for decision in found}
    assert causes in ({"matched", "default"}, {"operand has the wrong type"})


def test_conditions_on_elements_are_about_the_same_element() -> None:
    """All that a rule asks of the elements of a list has to hold together in one of them."""
    rule = {
        "id": "dear",
        "effect": "deny",
        "payload": {"items[*].price": {"gt": 100}, "items[*].kind": {"eq": "book"}},
    }
    policy = compile_policy(parse_policy({"default": "allow", "rules": [rule]}))

    def decide(*items: tuple[str, int]) -> bool:
        payload = {"items": [{"kind": kind, "price": price} for kind, price in items]}
        return policy.decide(EnvelopeFacts("i", payload=payload), AGENT).allowed

    assert decide(("book", 9), ("car", 9000))
    assert not decide(("book", 9), ("book", 101))


def test_neither_known_nor_inside_is_asked_of_one_element() -> None:
    """Two lists of what is fine work together: what is on neither of them is denied, nothing else."""
    tests = {"not_in": ["ann@home.example"], "not_glob": "*@corp.example"}
    policy = policy_of("allow", ("deny", tests))

    assert allows(policy, ["ann@home.example", "bob@corp.example"])
    assert not allows(policy, ["ann@home.example", "eve@evil.example"])


@pytest.mark.parametrize(
    ("effect", "elements", "verdict", "why"),
    [
        ("deny", ["b", "ab"], "true", "number 1 is 'ab'"),
        ("deny", ["b", "c"], "false", "it is so of none of the 2"),
        ("deny", ["b", 7], "unknown", "operand has the wrong type: x[*] is a number, glob needs a string"),
        ("deny", "ab", "unknown", "operand has the wrong type: x[*] needs a list, not a string"),
        ("deny", [], "unknown", "operand missing: x[*]"),
        ("allow", ["ab", "a"], "true", "it is so of all of the 2"),
        ("allow", ["ab", "b"], "false", "number 1 is 'b'"),
    ],
)
def test_the_explanation_names_the_element(effect: str, elements: Any, verdict: str, why: str) -> None:
    """`policy explain` says which element settled it."""
    policy = policy_of("deny", (effect, {"glob": "a*"}))
    [rule] = explain(policy, EnvelopeFacts("i", payload={"x": elements}), AGENT)

    [condition] = rule.conditions
    quantifier = "some" if effect == "deny" else "every"
    assert condition.condition == f'{quantifier} x[*]: x[*] glob ["a*"]'
    assert (condition.verdict, condition.why) == (verdict, why)


def test_an_explanation_of_a_long_list_is_short() -> None:
    """A list of ten thousand names is not told for each rule and request; what was found is."""
    names = [f"person{number}@home.example" for number in range(10_000)]
    policy = policy_of("allow", ("deny", {"not_in": names}))

    [rule] = explain(policy, EnvelopeFacts("i", payload={"x": [names[7], "eve"]}), AGENT)

    assert len(rule.conditions[0].condition) <= 500
    assert rule.conditions[0].why == "number 1 is 'eve'"


@pytest.mark.parametrize(
    "path", ["[*]", "a.[*]", "a[0]", "a[*]b", "a[*].", "a[*]..b", "a]", "[*].b", "a[*", "a[**]", "[*][*]"]
)
def test_brackets_that_mean_nothing_are_faults(path: str) -> None:
    """A slip in a path is a fault, not a key that nobody has."""
    rule = {"id": "r", "effect": "deny", "payload": {path: {"eq": 1}}}

    with pytest.raises(PolicyFaults) as caught:
        parse_policy({"default": "allow", "rules": [rule]})

    assert len(caught.value.faults) == 1


def test_a_key_with_brackets_is_written_as_a_pointer() -> None:
    """`/x[*]` is one key; it decides, and counts for the digest, otherwise than the elements of `x`."""

    def policy(path: str) -> CompiledPolicy:
        rule = {"id": "r", "effect": "deny", "payload": {path: {"eq": 1}}}
        return compile_policy(parse_policy({"default": "allow", "rules": [rule]}))

    key = EnvelopeFacts("i", payload={"x[*]": 1, "x": [2]})
    assert not policy("/x[*]").decide(key, AGENT).allowed
    assert policy("x[*]").decide(key, AGENT).allowed
    assert policy("/x[*]").digest != policy("x[*]").digest


def test_the_digest_tells_paths_and_operators_apart() -> None:
    """No two ways to ask for elements that decide otherwise have one digest."""
    paths = ["x", "x[*]", "x[*].y", "x[*][*]", "x[*].y[*]", "x.y", "x.y[*]", "y[*].x", "/x[*]", "/x/*"]
    operators = ["in", "not_in", "glob", "not_glob"]
    rules = [
        {"id": "r", "effect": "deny", "payload": {path: {operator: ["a"]}}}
        for path in paths
        for operator in operators
    ]
    rules.append({"id": "r", "effect": "deny", "payload": {"x[*]": {"in": ["a"]}, "x[*].y": {"in": ["a"]}}})
    rules.append({"id": "r", "effect": "deny", "payload": {"x[*]": {"in": ["a"]}, "x.y": {"in": ["a"]}}})
    digests = {compile_policy(parse_policy({"default": "allow", "rules": [rule]})).digest for rule in rules}

    assert len(digests) == len(rules)


def test_whether_there_are_elements_is_asked_of_the_list() -> None:
    """An element that is there exists; so `exists` is refused of elements, and allowed of their fields."""
    rule: Data = {"id": "r", "effect": "deny", "payload": {"x[*]": {"exists": True}}}
    with pytest.raises(PolicyFaults):
        parse_policy({"default": "allow", "rules": [rule]})

    rule["payload"] = {"x.0": {"exists": True}, "x[*].y": {"exists": False}}
    policy = compile_policy(parse_policy({"default": "allow", "rules": [rule]}))
    for elements, allowed in (([], True), ([{"y": 1}], True), ([{"y": 1}, {}], False)):
        assert policy.decide(EnvelopeFacts("i", payload={"x": elements}), AGENT).allowed is allowed


def test_findings_know_elements() -> None:
    """Contradictions and repetitions are found in conditions on elements, too."""
    entries: list[Data] = [
        {"id": "a", "effect": "allow", "payload": {"x[*]": {"in": ["a", "b"], "not_glob": "[ab]"}}},
        {"id": "b", "effect": "allow", "payload": {"x[*]": {"glob": "a*"}}},
        {"id": "c", "effect": "allow", "payload": {"x[*]": {"glob": ["a*", "a*"]}}},
        {"id": "d", "effect": "allow", "intent": "i", "payload": {"x[*]": {"glob": "a*"}}},
    ]
    found = check(parse_policy({"default": "deny", "rules": entries}))

    assert [(one.rule, one.code) for one in found] == [
        ("a", "impossible"),
        ("c", "duplicate"),
        ("d", "shadowed"),
    ]
