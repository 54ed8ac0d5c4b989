"""What ``policy check`` finds in a well-formed policy."""

from decimal import Decimal
from typing import Any

import pytest

from intentusnet.policy import check, parse_policy

ALL: dict[str, Any] = {}


def findings(default: str, *rules: tuple[str, dict[str, Any]]) -> list[tuple[str | None, str]]:
    entries = [
        {"id": f"{effect[0]}{n}", "effect": effect, **conditions}
        for n, (effect, conditions) in enumerate(rules)
    ]
    found = check(parse_policy({"default": default, "rules": entries}))
    assert all(finding.message for finding in found)
    return [(finding.rule, finding.code) for finding in found]


def test_a_sensible_policy_has_no_findings() -> None:
    """Rules that overlap without covering each other are left alone."""
    assert (
        findings(
            "deny",
            ("deny", {"intent": "Orders.*", "caller": "eve"}),
            ("deny", {"intent": "Orders.place", "payload": {"amount": {"gt": 5, "lt": 9}}}),
            ("allow", {"intent": "Orders.*"}),
            ("allow", {"intent": "Trades.*", "payload": {"kind": {"in": ["a", "b"], "glob": "a*"}}}),
        )
        == []
    )


@pytest.mark.parametrize(
    ("general", "special"),
    [
        (ALL, {"caller": "bob"}),
        ({"caller": "*"}, {"intent": "x"}),
        ({"intent": "a*"}, {"intent": ["a*", "abc"], "caller": "bob"}),
        ({"intent": ["a", "b"]}, {"intent": "b"}),
        ({"role": "*"}, {"role": "admin*"}),
        ({"agent": "x?"}, {"agent": ["x1", "x2"]}),
        ({"side_effect": "r*"}, {"side_effect": "read*", "agent": "a"}),
        ({"side_effect": ["r*", "irreversible"]}, {"agent": "a"}),
        ({"tenant": "t*"}, {"tenant": "t1"}),
        ({"payload": {"a": {"gt": 1}}}, {"payload": {"/a": {"gt": 1.0, "lt": 5}}, "tag": "x"}),
    ],
)
def test_a_rule_behind_a_more_general_one_is_shadowed(
    general: dict[str, Any], special: dict[str, Any]
) -> None:
    """A deny hides later denies and all allows that it covers; an allow hides later allows."""
    assert ("d1", "shadowed") in findings("allow", ("deny", general), ("deny", special))
    assert ("a0", "shadowed") in findings("deny", ("allow", special), ("deny", general))
    assert ("a1", "shadowed") in findings("deny", ("allow", general), ("allow", special))
    assert ("d0", "shadowed") not in findings("allow", ("deny", special), ("deny", general))
    assert ("d1", "shadowed") not in findings("deny", ("allow", general), ("deny", special))


@pytest.mark.parametrize(
    ("other", "rule"),
    [
        ({"intent": "abc"}, {"intent": "a*"}),
        ({"intent": "a*"}, {"intent": "a?"}),
        ({"intent": "a"}, {"caller": "a"}),
        ({"role": "*"}, {"caller": "a"}),
        ({"tag": "*"}, {"caller": "a"}),
        ({"side_effect": "reversible"}, {"side_effect": "*reversible"}),
        ({"payload": {"a": {"eq": 1}}}, {"payload": {"a": {"eq": True}}}),
        ({"payload": {"a": {"eq": 1}}}, {"payload": {"b": {"eq": 1}}}),
        ({"payload": {"a": {"eq": 1}}}, {"intent": "a"}),
    ],
)
def test_a_rule_that_is_not_covered_is_not_reported(other: dict[str, Any], rule: dict[str, Any]) -> None:
    """Where one rule might decide without the other, nothing is said."""
    assert findings("deny", ("deny", other), ("deny", rule), ("allow", {"intent": "zz", "agent": "y"})) == []


def test_a_missing_tenant_is_covered_by_deny_only() -> None:
    """Without a tenant a deny on any tenant applies and an allow on any tenant does not."""
    anyone = {"tenant": "*"}

    assert findings("allow", ("deny", anyone), ("deny", ALL)) == [
        ("d1", "shadowed"),
        (None, "nothing allowed"),
    ]
    assert findings("deny", ("allow", anyone), ("allow", ALL)) == []


def test_a_rule_that_repeats_another_is_a_duplicate() -> None:
    """The same effect on the same conditions, however spelt, is said to be a duplicate."""
    first: dict[str, Any] = {"caller": ["a", "b"], "payload": {"x.y": {"eq": 1.0}}}
    second: dict[str, Any] = {"caller": ["b", "a"], "payload": {"/x/y": {"eq": 1}}, "reason": "again"}

    assert findings("allow", ("deny", first), ("deny", second)) == [("d1", "duplicate")]
    assert ("a1", "duplicate") not in findings("deny", ("deny", first), ("allow", second))


@pytest.mark.parametrize(
    "tests",
    [
        {"gt": 5, "lt": 5},
        {"ge": 6, "le": 5},
        {"gt": 5, "le": 5},
        {"gt": "b", "lt": "a"},
        {"eq": 1, "gt": 1},
        {"eq": "a", "glob": "b*"},
        {"in": [1, 2], "ne": "a"},
        {"in": ["a", "b"], "glob": "c*"},
        {"eq": 0.5, "in": [0.25, 0.75]},
        {"gt": 1, "glob": "*"},
        {"exists": False, "eq": 1},
    ],
    ids=str,
)
def test_an_allow_rule_that_contradicts_itself_is_impossible(tests: dict[str, Any]) -> None:
    """No value satisfies it; the same deny rule applies where the field is missing, so it is left alone."""
    rule = {"payload": {"a": tests, "b": {"exists": True}}}

    assert ("a0", "impossible") in findings("deny", ("allow", rule), ("allow", {"caller": "b"}))
    assert findings("allow", ("deny", rule)) == []


@pytest.mark.parametrize(
    "tests",
    [
        {"ge": 5, "le": 5},
        {"gt": 5, "lt": 6},
        {"eq": 0.5, "in": [0.5, 0.75]},
        {"ge": "a", "le": "a"},
        {"exists": True, "eq": 1},
        {"eq": None, "in": [None]},
        {"ne": 1, "eq": 2},
    ],
    ids=str,
)
def test_an_allow_rule_that_can_be_satisfied_is_possible(tests: dict[str, Any]) -> None:
    """Narrow is not empty."""
    assert findings("deny", ("allow", {"payload": {"a": tests}})) == []


def test_numbers_that_are_one_as_floats_leave_a_range_open() -> None:
    """A float can satisfy both bounds where a Decimal cannot, so the rule is not called impossible."""
    more, less = Decimal("0.10000000000000000002"), Decimal("0.1")

    assert findings("deny", ("allow", {"payload": {"a": {"ge": more, "le": less}}})) == []
    assert findings("deny", ("allow", {"payload": {"a": {"in": [more], "eq": less}}})) == []


def test_two_spellings_of_a_field_are_one_field() -> None:
    """Contradictions are found across the dotted path and the pointer to the same place."""
    rule = {"payload": {"a.b": {"exists": False}, "/a/b": {"exists": True}, "a b": {"gt": 1}}}
    # In the order of their text the second field would stand between the conditions of the first.
    split = {"payload": {"a": {"gt": 5, "lt": 3}, "a h": {"exists": True}}}

    assert findings("deny", ("allow", rule), ("allow", {"caller": "b"})) == [("a0", "impossible")]
    assert findings("deny", ("allow", split), ("allow", {"caller": "b"})) == [("a0", "impossible")]


def test_an_allow_rule_where_all_is_allowed_has_no_effect() -> None:
    """Deny overrides allow, so where the default allows, an allow rule changes nothing."""
    assert findings("allow", ("deny", {"caller": "eve"}), ("allow", {"caller": "bob"})) == [
        ("a1", "no effect")
    ]


def test_a_policy_that_allows_nothing_says_so() -> None:
    """A default of deny without a living allow rule, or a deny of everything, leaves nothing to allow."""
    assert findings("deny") == [(None, "nothing allowed")]
    assert findings("deny", ("deny", {"caller": "eve"})) == [(None, "nothing allowed")]
    assert findings("allow", ("deny", {"agent": "*"})) == [(None, "nothing allowed")]
    assert findings("deny", ("allow", {"caller": "a"}), ("deny", ALL)) == [
        ("a0", "shadowed"),
        (None, "nothing allowed"),
    ]
    assert findings("allow") == []
