"""Lists by name: they stand for their values, and nothing else."""

from typing import Any

import pytest
from helpers.policies import POLICIES, Data
from hypothesis import given

from intentusnet.policy import PolicyFaults, compile_policy, parse_policy


def named(data: Data) -> Data:
    """The same policy with each of its lists written down once, by name."""
    lists: dict[str, Any] = {}

    def name(value: Any) -> dict[str, str]:
        key = f"list {len(lists)}"
        lists[key] = value
        return {"list": key}

    rules = []
    for rule in data["rules"]:
        changed = {key: name(value) if isinstance(value, list) else value for key, value in rule.items()}
        if "payload" in rule:
            changed["payload"] = {
                path: {key: name(value) if isinstance(value, list) else value for key, value in tests.items()}
                for path, tests in rule["payload"].items()
            }
        rules.append(changed)
    return {**data, "lists": lists, "rules": rules}


@given(POLICIES)
def test_a_list_by_name_is_its_values(data: Data) -> None:
    """Wherever a list may stand its name may, with the same rules and digest."""
    in_place, by_name = parse_policy(data), parse_policy(named(data))

    assert by_name == in_place
    assert compile_policy(by_name).digest == compile_policy(in_place).digest


def policy(lists: object, **conditions: Any) -> Data:
    return {
        "default": "allow",
        "lists": lists,
        "rules": [{"id": "r", "effect": "deny", **conditions}],
    }


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        (policy([]), ["lists: lists is a table"]),
        (policy({"people": []}), ["lists.people: there are no values to choose from"]),
        (policy({"people": "ann"}), ["lists.people: there are no values to choose from"]),
        (policy({"people": ["ann", 1]}), ["lists.people[1]: the list mixes types"]),
        (policy({"people": [["ann"]]}), ["lists.people[0]: the operand has the wrong type"]),
        # A faulty list is told once, not wherever it is used.
        (
            policy({"people": []}, caller={"list": "people"}),
            ["lists.people: there are no values to choose from"],
        ),
        (
            policy({"people": ["ann"]}, caller={"list": "peple"}),
            ["rules[0].caller.list: there is no such list"],
        ),
        (policy({}, caller={"list": 7}), ["rules[0].caller.list: there is no such list"]),
        (policy({"n": [1]}, caller={"list": "n"}), ["rules[0].caller[0]: not a glob"]),
        (
            policy({"n": ["x"]}, side_effect={"list": "n"}),
            ["rules[0].side_effect[0]: there is no such side effect"],
        ),
        (
            policy({"n": ["x"]}, payload={"a": {"eq": {"list": "n"}}}),
            ["rules[0].payload.a.eq: the operand has the wrong type"],
        ),
        (
            policy({"n": ["x"]}, payload={"a": {"in": {"list": "n", "but": "x"}}}),
            ['rules[0].payload.a.in.but: unknown key "but"'],
        ),
    ],
)
def test_faults_of_lists_are_told(data: Data, faults: list[str]) -> None:
    """Each fault is told once, at its place."""
    with pytest.raises(PolicyFaults) as caught:
        parse_policy(data)

    assert [f"{fault.where}: {fault.message}" for fault in caught.value.faults] == faults


def test_a_misspelt_list_is_guessed() -> None:
    """What may have been meant is told."""
    with pytest.raises(PolicyFaults) as caught:
        parse_policy(policy({"people": ["ann"]}, payload={"to[*]": {"not_in": {"list": "peple"}}}))

    assert caught.value.hint == "Did you mean people?"
