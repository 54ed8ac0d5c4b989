"""The meaning of one condition, of one rule, and of a policy: by table."""

from collections import OrderedDict
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from intentusnet.policy import (
    NO_POLICY,
    AgentFacts,
    ConditionTrace,
    Decision,
    EnvelopeFacts,
    compile_policy,
    explain,
    parse_policy,
)

AGENT = AgentFacts("billing", "1.0", "irreversible")
NAN, SNAN = Decimal("NaN"), Decimal("sNaN")


class Level(IntEnum):
    HIGH = 5


class Name(StrEnum):
    BOB = "bob"


class Liar(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


def decide(conditions: dict[str, Any], effect: str = "deny", **facts: Any) -> Decision:
    """The decision of a policy with that one rule, where the default is the rule's opposite."""
    default = "allow" if effect == "deny" else "deny"
    policy = parse_policy({"default": default, "rules": [{"id": "r", "effect": effect, **conditions}]})
    return compile_policy(policy).decide(EnvelopeFacts("Orders.place", **facts), AGENT)


def truth(conditions: dict[str, Any], **facts: Any) -> str:
    """true, false or unknown, told apart by what a deny rule and an allow rule make of it."""
    denied = not decide(conditions, "deny", **facts).allowed
    allowed = decide(conditions, "allow", **facts).allowed
    assert denied or not allowed, "an allow rule matched what a deny rule did not"
    return "true" if allowed else "unknown" if denied else "false"


NUMBERS = [7, 7.0, Decimal("7"), Decimal("7.0")]
NOT_NUMBERS = ["7", True, None, [7], {"n": 7}, b"7", float("nan"), NAN, SNAN, Level.HIGH, 7j]
NOT_STRINGS = [7, 7.0, True, None, ["bob"], {"bob": 1}, b"bob", NAN, Name.BOB, Liar("bob")]

# operator, operand, values that make it true, values that make it false, values that leave it unknown.
OPERATORS: list[tuple[str, Any, list[Any], list[Any], list[Any]]] = [
    ("eq", 7, NUMBERS, [8, -7, 7.5, Decimal("7.1"), float("inf"), 10**400], NOT_NUMBERS),
    ("ne", 7, [8, 7.5, Decimal("7.1"), float("-inf")], NUMBERS, NOT_NUMBERS),
    ("lt", 7, [6, 6.9, Decimal("6.9"), float("-inf")], [*NUMBERS, 8, float("inf")], NOT_NUMBERS),
    ("le", 7, [*NUMBERS, 6], [8, 7.1, Decimal("7.0001"), 10**400], NOT_NUMBERS),
    ("gt", 7, [8, 7.1, Decimal("7.0001"), float("inf")], [*NUMBERS, 6], NOT_NUMBERS),
    ("ge", 7, [*NUMBERS, 8], [6, 6.9, Decimal("-inf")], NOT_NUMBERS),
    ("in", [1, 7, 9.5], [*NUMBERS, 1, 9.5, Decimal("9.5")], [8, 0.5, Decimal("9.51")], NOT_NUMBERS),
    ("eq", 0.1, [0.1, Decimal("0.1")], [1, Decimal("0.10000000000000001")], ["0.1"]),
    ("gt", 0.1, [0.2, 1, Decimal("0.10000000000000001")], [0.1, 0, Decimal("0.1")], ["0.2"]),
    ("in", [0.1, 0.2], [0.1, Decimal("0.1")], [0, Decimal("0.11")], ["0.1"]),
    ("eq", "bob", ["bob"], ["", "Bob", "bob "], NOT_STRINGS),
    ("ne", "bob", ["", "Bob"], ["bob"], NOT_STRINGS),
    ("lt", "bob", ["", "Bob", "alice"], ["bob", "eve"], NOT_STRINGS),
    ("le", "bob", ["bob", "Bob"], ["eve"], NOT_STRINGS),
    ("gt", "bob", ["eve", "bob "], ["bob", "Bob"], NOT_STRINGS),
    ("ge", "bob", ["bob", "eve"], ["Bob"], NOT_STRINGS),
    ("in", ["bob", "eve"], ["bob", "eve"], ["", "alice"], NOT_STRINGS),
    ("glob", "b*", ["b", "bob", "b\nx"], ["", "Bob", "ab"], NOT_STRINGS),
    ("glob", ["?o[a-c]", "x", "*e"], ["bob", "x", "e", "eve"], ["bod", "BoB", "xx", "X"], NOT_STRINGS),
    ("eq", True, [True], [False], [1, 0, "true", None, NAN]),
    ("ne", True, [False], [True], [1, 0, "true", None]),
    ("in", [True], [True], [False], [1, "true", None]),
    ("eq", None, [None], [], [0, False, "", [], {}]),
    ("ne", None, [], [None], [0, False, "", [], {}]),
    ("in", [None], [None], [], [0, False, ""]),
    ("exists", True, [0, None, "", False, NAN, [], {}], [], []),
    ("exists", False, [], [0, None, "", False, NAN, [], {}], []),
]


@pytest.mark.parametrize(("operator", "operand", "true", "false", "unknown"), OPERATORS)
def test_every_operator_on_every_type(
    operator: str, operand: Any, true: list[Any], false: list[Any], unknown: list[Any]
) -> None:
    """An operator compares values of its operand's kind, exactly; for any other value it is unknown."""
    for path, wrap in (("v", lambda v: {"v": v}), ("a.v", lambda v: {"a": {"v": v}})):
        condition = {"payload": {path: {operator: operand}}}
        for expected, values in (("true", true), ("false", false), ("unknown", unknown)):
            for value in values:
                assert truth(condition, payload=wrap(value)) == expected, (path, value)


@pytest.mark.parametrize(
    ("operator", "operand"),
    [(operator, operand) for operator, operand, *_ in OPERATORS if operator != "exists"],
)
@pytest.mark.parametrize("payload", [{}, {"w": 7}, {"V": 7}, None, "v", [7], 7], ids=repr)
def test_a_missing_field_is_unknown(operator: str, operand: Any, payload: Any) -> None:
    """Whatever the operator, a field that is not there, or a payload that is no mapping, is unknown."""
    condition = {"payload": {"v": {operator: operand}}}

    assert truth(condition, payload=payload) == "unknown"
    assert decide(condition, payload=payload).cause == "operand missing: /v"


@pytest.mark.parametrize("payload", [{}, {"w": 7}, None, "v", [7], 7], ids=repr)
def test_existence_is_never_unknown(payload: Any) -> None:
    """A field that is not there does not exist, and that is known."""
    assert truth({"payload": {"v": {"exists": True}}}, payload=payload) == "false"
    assert truth({"payload": {"v": {"exists": False}}}, payload=payload) == "true"


PATHS: list[tuple[str, Any, bool]] = [
    ("a.b", {"a": {"b": 1}}, True),
    ("/a/b", {"a": {"b": 1}}, True),
    ("/a.b", {"a.b": 1}, True),
    ("a.b", {"a.b": 1}, False),
    ("a.b", OrderedDict(a=OrderedDict(b=1)), True),
    ("/a~1b/~0", {"a/b": {"~": 1}}, True),
    ("/~01", {"~1": 1}, True),
    ("/", {"": 1}, True),
    ("/a/", {"a": {"": 1}}, True),
    ("/a/1", {"a": [0, 1]}, True),
    ("a.1", {"a": (0, 1)}, True),
    ("/a/0/b", {"a": [{"b": 1}]}, True),
    ("/a/1", {"a": {"1": 1}}, True),
    ("/a/1", {"a": {1: 1}}, False),
    ("/a/2", {"a": [0, 1]}, False),
    ("/a/-", {"a": [0, 1]}, False),
    ("/a/-1", {"a": [0, 1]}, False),
    ("/a/01", {"a": [0, 1]}, False),
    ("/a/\u0661", {"a": [0, 1]}, False),
    ("/a/" + "9" * 19, {"a": [0, 1]}, False),
    ("/a/0", {"a": "string"}, False),
    ("/a/b", {"a": 1}, False),
    ("/0", [1], False),
]


@pytest.mark.parametrize(("path", "payload", "found"), PATHS)
def test_paths_and_pointers(path: str, payload: Any, found: bool) -> None:
    """A dotted path and a JSON pointer (RFC 6901) walk mappings by key and lists by index."""
    assert truth({"payload": {path: {"exists": True}}}, payload=payload) == ("true" if found else "false")
    assert truth({"payload": {path: {"ge": 0}}}, payload=payload) == ("true" if found else "unknown")


def test_an_index_of_any_length_is_only_missing() -> None:
    """An index that Python would refuse to read as a number is no error, there is just nothing there."""
    assert truth({"payload": {"/a/" + "9" * 5000: {"exists": True}}}, payload={"a": [0]}) == "false"


CAUSES: list[tuple[dict[str, Any], Any, str]] = [
    ({"amount": {"gt": 1}}, {"amount": "9"}, "/amount is a string, gt needs a number"),
    ({"amount": {"gt": 1}}, {"amount": True}, "/amount is a boolean, gt needs a number"),
    ({"amount": {"le": 1}}, {"amount": None}, "/amount is null, le needs a number"),
    ({"amount": {"le": 1}}, {"amount": float("nan")}, "/amount is NaN, le needs a number"),
    ({"amount": {"in": [1]}}, {"amount": SNAN}, "/amount is NaN, in needs a number"),
    ({"a.b": {"eq": "x"}}, {"a": {"b": [1]}}, "/a/b is a list, eq needs a string"),
    ({"a.b": {"eq": "x"}}, {"a": {"b": {}}}, "/a/b is an object, eq needs a string"),
    ({"a": {"eq": True}}, {"a": 1}, "/a is a number, eq needs a boolean"),
    ({"a": {"ne": None}}, {"a": 1}, "/a is a number, ne needs null"),
    ({"a": {"glob": "*"}}, {"a": b"secret"}, "/a is of type bytes, glob needs a string"),
]


@pytest.mark.parametrize(("payload", "given", "cause"), CAUSES)
def test_the_cause_names_field_and_types_but_not_the_value(
    payload: dict[str, Any], given: Any, cause: str
) -> None:
    """A deny rule that applies for want of knowledge says what it would have needed."""
    decision = decide({"payload": payload}, payload=given)

    assert decision == Decision(False, "r", f"operand has the wrong type: {cause}", "denied by rule r")


MATCHERS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {}, "true"),
    ({"intent": "Orders.place"}, {}, "true"),
    ({"intent": "orders.place"}, {}, "false"),
    ({"intent": "Orders"}, {}, "false"),
    ({"intent": "Orders.*"}, {}, "true"),
    ({"intent": ["x", "*.p?ace"]}, {}, "true"),
    ({"intent": "Orders.[!p]*"}, {}, "false"),
    ({"intent": "*"}, {}, "true"),
    ({"caller": "bob"}, {"caller": "bob"}, "true"),
    ({"caller": "bob"}, {"caller": "bobby"}, "false"),
    ({"caller": "b*"}, {"caller": ""}, "false"),
    ({"role": ["admin", "op*"]}, {"roles": ("viewer", "operator")}, "true"),
    ({"role": "admin"}, {"roles": ("viewer", "operator")}, "false"),
    ({"role": "*"}, {"roles": ()}, "false"),
    ({"tag": "pii"}, {"tags": ("x", "pii")}, "true"),
    ({"tag": "*"}, {"tags": ()}, "false"),
    ({"tenant": "acme"}, {"tenant": "acme"}, "true"),
    ({"tenant": "acme"}, {"tenant": "other"}, "false"),
    ({"tenant": "acme"}, {"tenant": None}, "unknown"),
    ({"tenant": "*"}, {"tenant": None}, "unknown"),
    ({"agent": "bill*"}, {}, "true"),
    ({"agent": "other"}, {}, "false"),
    ({"side_effect": "irreversible"}, {}, "true"),
    ({"side_effect": ["read_only", "reversible"]}, {}, "false"),
    ({"side_effect": "*reversible"}, {}, "true"),
    # A conjunction: any false decides, then any unknown.
    ({"intent": "Orders.*", "caller": "bob"}, {"caller": "bob"}, "true"),
    ({"intent": "Orders.*", "caller": "bob"}, {"caller": "eve"}, "false"),
    ({"tenant": "acme", "caller": "bob"}, {"caller": "eve"}, "false"),
    ({"tenant": "acme", "agent": "other"}, {}, "false"),
    ({"tenant": "acme", "agent": "billing"}, {}, "unknown"),
    ({"tenant": "acme", "payload": {"a": {"eq": 1}}}, {"payload": {"a": 2}}, "false"),
    ({"tenant": "acme", "payload": {"a": {"eq": 1}}}, {"payload": {"a": 1}}, "unknown"),
    ({"payload": {"a": {"gt": 1, "lt": 5}}}, {"payload": {"a": 3}}, "true"),
    ({"payload": {"a": {"gt": 1, "lt": 5}}}, {"payload": {"a": 6}}, "false"),
    ({"payload": {"a": {"gt": 1}, "b": {"eq": 1}}}, {"payload": {"a": "x", "b": 2}}, "false"),
    ({"payload": {"a": {"gt": 1}, "b": {"eq": 1}}}, {"payload": {"a": "x", "b": 1}}, "unknown"),
]


@pytest.mark.parametrize(("conditions", "facts", "expected"), MATCHERS)
def test_matchers_and_their_conjunction(
    conditions: dict[str, Any], facts: dict[str, Any], expected: str
) -> None:
    """Any glob of a matcher may match, all conditions must; empty roles are known, no tenant is not."""
    assert truth(conditions, **facts) == expected


def test_the_first_unknown_in_canonical_order_is_the_cause() -> None:
    """Matchers come before payload fields, fields in order of their path: the file's order does not show."""
    both = {"payload": {"b": {"eq": 1}, "a": {"eq": 1}}, "tenant": "acme"}

    assert decide(both, payload={}).cause == "operand missing: tenant"
    assert decide(both, payload={}, tenant="acme").cause == "operand missing: /a"


def policy_of(default: str, *rules: tuple[str, str, dict[str, Any]]) -> Any:
    entries = [{"id": name, "effect": effect, **conditions} for name, effect, conditions in rules]
    return compile_policy(parse_policy({"default": default, "rules": entries}))


def test_deny_overrides_then_first_allow_then_default() -> None:
    """The first applying deny decides wherever it stands, then the first matching allow, then the default."""
    policy = policy_of(
        "deny",
        ("a1", "allow", {"caller": "bob"}),
        ("a2", "allow", {"caller": ["bob", "eve"]}),
        ("d1", "deny", {"tag": "frozen"}),
        ("d2", "deny", {"tag": "*"}),
    )

    def rule(**facts: Any) -> tuple[bool, str | None, str]:
        decision = policy.decide(EnvelopeFacts("i", **facts), AGENT)
        return decision.allowed, decision.rule, decision.cause

    assert rule(caller="bob") == (True, "a1", "matched")
    assert rule(caller="eve") == (True, "a2", "matched")
    assert rule(caller="bob", tags=("frozen",)) == (False, "d1", "matched")
    assert rule(caller="bob", tags=("x",)) == (False, "d2", "matched")
    assert rule(caller="joe") == (False, None, "default")


def test_reasons_are_the_rules_own_or_say_which_rule() -> None:
    """Callers are told the rule's reason; a denial always has one."""
    said = policy_of("deny", ("a", "allow", {"caller": "bob", "reason": "bob may"}))
    denied = policy_of("allow", ("d", "deny", {"reason": "closed"}))
    plain = policy_of("allow", ("d", "deny", {"caller": "bob"}))
    bob, eve = EnvelopeFacts("i", caller="bob"), EnvelopeFacts("i", caller="eve")

    assert said.decide(bob, AGENT) == Decision(True, "a", "matched", "bob may")
    assert said.decide(eve, AGENT) == Decision(
        False, None, "default", "no rule allows it, and the default is to deny"
    )
    assert denied.decide(bob, AGENT) == Decision(False, "d", "matched", "closed")
    assert plain.decide(bob, AGENT) == Decision(False, "d", "matched", "denied by rule d")
    assert plain.decide(eve, AGENT) == Decision(True, None, "default", "")


def test_without_a_policy_everything_is_allowed() -> None:
    """No policy is a policy of its own: it allows, names no rule and has no digest."""
    decision = NO_POLICY.stage(EnvelopeFacts("i")).decide(AGENT)

    assert decision == Decision(True, None, "no policy", "")
    assert NO_POLICY.digest is None


def test_explain_shows_every_rule_and_condition() -> None:
    """Each rule's verdict is shown with what its conditions found, and only the deciding one is applied."""
    policy = policy_of(
        "allow",
        ("d1", "deny", {"caller": "eve", "payload": {"amount": {"gt": 1000}}}),
        ("d2", "deny", {"tenant": "acme", "payload": {"note": {"exists": True}}}),
        ("d3", "deny", {"role": "*", "tag": ["a", "b"]}),
        ("d4", "deny", {"payload": {"order.total": {"in": [1.5, 2]}}}),
        ("d5", "deny", {"payload": {"amount": {"le": 1000}}, "agent": "bill*", "side_effect": "irr*"}),
        ("a1", "allow", {}),
    )
    envelope = EnvelopeFacts("i", payload={"amount": 5, "note": "n" * 99}, caller="eve", tags=("x", "y"))

    traces = explain(policy, envelope, AGENT)

    assert [(trace.rule, trace.effect, trace.verdict) for trace in traces] == [
        ("d1", "deny", "not matched"),
        ("d2", "deny", "applied"),
        ("d3", "deny", "not matched"),
        ("d4", "deny", "unknown"),
        ("d5", "deny", "matched"),
        ("a1", "allow", "matched"),
    ]
    assert [condition for trace in traces for condition in trace.conditions] == [
        ConditionTrace("caller matches eve", "true", "it is 'eve'"),
        ConditionTrace("/amount gt 1000", "false", "it is 5"),
        ConditionTrace("tenant matches acme", "unknown", "operand missing: tenant"),
        ConditionTrace("/note exists true", "true", "it is '" + "n" * 58 + "…"),
        ConditionTrace("role matches *", "false", "there is none"),
        ConditionTrace("tag matches a or b", "false", "it is 'x', 'y'"),
        ConditionTrace("/order/total in [1.5, 2]", "unknown", "operand missing: /order/total"),
        ConditionTrace("agent matches bill*", "true", "it is 'billing'"),
        ConditionTrace("side_effect matches irr*", "true", "it is 'irreversible'"),
        ConditionTrace("/amount le 1000", "true", "it is 5"),
    ]


def test_explain_without_an_agent_applies_only_what_no_agent_can_change() -> None:
    """Without a candidate, conditions on agents are open, and so is whatever they may overrule."""

    def verdicts(*rules: tuple[str, str, dict[str, Any]]) -> list[str]:
        return [trace.verdict for trace in explain(policy_of("deny", *rules), EnvelopeFacts("i"), None)]

    always: dict[str, Any] = {}
    assert verdicts(("d", "deny", {"agent": "a"})) == ["unknown"]
    assert verdicts(("d", "deny", {"agent": "a"}), ("a", "allow", always)) == ["unknown", "matched"]
    assert verdicts(("d", "deny", {"agent": "a", "caller": "x"}), ("a", "allow", always)) == [
        "not matched",
        "applied",
    ]
    assert verdicts(("d", "deny", always), ("e", "deny", {"side_effect": "*"})) == ["applied", "unknown"]
    assert verdicts(("a", "allow", {"tenant": "t"}), ("b", "allow", always)) == ["unknown", "applied"]
    [trace] = explain(policy_of("deny", ("d", "deny", {"agent": "a"})), EnvelopeFacts("i"), None)
    assert trace.conditions == (ConditionTrace("agent matches a", "unknown", "depends on the agent"),)
