"""Reading policy files: what is accepted, and what each slip is answered with."""

import json
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from intentusnet.errors import InvalidPolicy
from intentusnet.policy import (
    Comparison,
    Matcher,
    PolicyFaults,
    PolicySource,
    Rule,
    compile_policy,
    load_policy,
    parse_policy,
)

FULL = """
default = "allow"   # whatever is not denied
version = 1

[[rules]]
id = "orders"
effect = "deny"
reason = "too much"
tag = ["b*", "a", "b*"]
intent = "TradingBot.place_order"
side_effect = ["irreversible", "rev*"]

[rules.payload]
amount = { gt = 1000, ne = 1.50 }
"/order/items/0/sku~1x~0" = { glob = "X-*" }
"order.kind" = { in = ["b", "a", "b"], exists = true }

[[rules]]
id = "all"
effect = "allow"
"""


def faults_of(data: object, where: str = "") -> list[InvalidPolicy]:
    with pytest.raises(PolicyFaults) as caught:
        parse_policy(data, where)
    return list(caught.value.faults)


def rule(**parts: Any) -> dict[str, Any]:
    return {"default": "allow", "rules": [{"id": "r", "effect": "deny", **parts}]}


def test_a_full_policy_becomes_canonical_data() -> None:
    """Every key of the format is read; globs and lists are sorted, conditions in one order, numbers exact."""
    source = parse_policy(
        {
            "default": "allow",
            "rules": [
                {
                    "id": "orders",
                    "effect": "deny",
                    "reason": "too much",
                    "tag": ["b*", "a", "b*"],
                    "intent": "TradingBot.place_order",
                    "side_effect": ["irreversible", "rev*"],
                    "payload": {
                        "order.kind": {"in": ["b", "a", "b"], "exists": True},
                        "amount": {"ne": 1.50, "gt": 1000.0},
                        "/order/items/0/sku~1x~0": {"glob": "X-*"},
                    },
                },
                {"id": "all", "effect": "allow"},
            ],
        }
    )

    conditions = (
        Matcher("intent", ("TradingBot.place_order",)),
        Matcher("tag", ("a", "b*")),
        Matcher("side_effect", ("irreversible", "rev*")),
        Comparison(("amount",), "gt", 1000),
        Comparison(("amount",), "ne", Decimal("1.5")),
        Comparison(("order", "items", "0", "sku/x~"), "glob", ("X-*",)),
        Comparison(("order", "kind"), "exists", True),
        Comparison(("order", "kind"), "in", ("a", "b")),
    )
    assert source == PolicySource(
        "allow", (Rule("orders", "deny", "too much", conditions), Rule("all", "allow", "", ()))
    )
    assert conditions[5].pointer == "/order/items/0/sku~1x~0"


def test_toml_and_json_files_say_the_same(tmp_path: Path) -> None:
    """The two formats have one shape: the same content gives the same rules and digest."""
    toml, as_json = tmp_path / "p.toml", tmp_path / "p.JSON"
    toml.write_text(FULL, encoding="utf-8")
    as_json.write_text("\ufeff" + json.dumps(tomllib.loads(FULL)), encoding="utf-8")

    assert load_policy(toml) == load_policy(str(as_json))
    assert load_policy(toml).where == str(toml)
    assert compile_policy(load_policy(toml)).digest == compile_policy(load_policy(as_json)).digest


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("policy", 'default = "deny"'),
        ("policy.conf", ' {"default": "deny"}'),
        ("p.toml", 'default = "deny"\n'),
    ],
)
def test_the_format_is_told_by_suffix_then_by_the_first_character(
    tmp_path: Path, name: str, text: str
) -> None:
    """A file whose name says nothing is JSON if it begins with a brace, else TOML."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")

    assert load_policy(path) == PolicySource("deny")


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        (1000.0, 1000),
        (Decimal("1.500"), Decimal("1.5")),
        (Decimal("1E+3"), 1000),
        (Decimal("0.00"), 0),
        (-0.0, 0),
        (Decimal("-120.0"), -120),
        (0.1, Decimal("0.1")),
        (Decimal("1.00000000000000000000000000000000001"), Decimal("1.00000000000000000000000000000000001")),
        (10**300, 10**300),
    ],
)
def test_numbers_keep_their_value_and_lose_their_spelling(number: Any, kept: Any) -> None:
    """A number is kept exactly, in one form for all of its spellings."""
    [condition] = parse_policy(rule(payload={"a": {"eq": number}})).rules[0].conditions

    assert isinstance(condition, Comparison)
    assert (condition.operand, type(condition.operand), str(condition.operand)) == (
        kept,
        type(kept),
        str(kept),
    )


def test_one_and_true_are_two_conditions() -> None:
    """Two spellings of a path that ask for 1 and for true stay two conditions, although 1 == True."""
    [parsed] = parse_policy(rule(payload={"a": {"eq": 1}, "/a": {"eq": True}})).rules

    assert [str(condition) for condition in parsed.conditions] == ["/a eq 1", "/a eq true"]


# One slip each: the data, where it is found, a part of the message, and a part of the hint.
SLIPS: dict[str, tuple[object, str, str, str]] = {
    "not a table": ([], "", "a policy is a table", ""),
    "no default": ({}, "default", "the policy has no default", ""),
    "default unknown": ({"default": "Allow"}, "default", "neither allow nor deny", "Did you mean allow?"),
    "default no string": ({"default": True}, "default", "neither allow nor deny", ""),
    "default a list": ({"default": ["deny"]}, "default", "neither allow nor deny", ""),
    "version 2": ({"default": "deny", "version": 2}, "version", "version of policy files", ""),
    "version true": ({"default": "deny", "version": True}, "version", "version of policy files", ""),
    "top key": ({"default": "deny", "rule": []}, "rule", 'unknown key "rule"', "Did you mean rules?"),
    "one bracket": ({"default": "deny", "rules": {"id": "x"}}, "rules", "a list of tables", "[[rules]]"),
    "rules a string": ({"default": "deny", "rules": "x"}, "rules", "a list of tables", ""),
    "rule no table": ({"default": "deny", "rules": ["x"]}, "rules[0]", "a rule is a table", ""),
    "misspelt key": (rule(inten="a"), "rules[0].inten", 'unknown key "inten"', "Did you mean intent?"),
    "odd key": (rule(**{"a b": 1}), 'rules[0]["a b"]', 'unknown key "a b"', ""),
    "no id": ({"default": "deny", "rules": [{"effect": "deny"}]}, "rules[0].id", "has no id", "give it one"),
    "id a number": (rule(id=7), "rules[0].id", "cannot be used", ""),
    "id empty": (rule(id=" "), "rules[0].id", "cannot be used", ""),
    "id unprintable": (rule(id="a\nb"), "rules[0].id", "cannot be used", ""),
    "id too long": (rule(id="a" * 201), "rules[0].id", "cannot be used", ""),
    "no effect": (
        {"default": "deny", "rules": [{"id": "a"}]},
        "rules[0].effect",
        "the rule has no effect",
        "",
    ),
    "effect unknown": (rule(effect="denny"), "rules[0].effect", "neither", "Did you mean deny?"),
    "reason a list": (rule(reason=["x"]), "rules[0].reason", "a reason is a string", ""),
    "glob a number": (rule(intent=3), "rules[0].intent", "not a glob", ""),
    "glob empty": (rule(tenant=""), "rules[0].tenant", "not a glob", ""),
    "globs none": (rule(role=[]), "rules[0].role", "the list is empty", ""),
    "globs mixed": (rule(agent=["a", None]), "rules[0].agent[1]", "not a glob", ""),
    "side effect": (
        rule(side_effect="readonly"),
        "rules[0].side_effect",
        "no such side effect",
        "Did you mean read_only?",
    ),
    "side effect glob": (
        rule(side_effect=["r*", "x*"]),
        "rules[0].side_effect[1]",
        "no such side effect",
        "",
    ),
    "payload a string": (rule(payload="x"), "rules[0].payload", "payload conditions are a table", ""),
    "payload empty": (rule(payload={}), "rules[0].payload", "payload conditions are a table", ""),
    "field bare": (rule(payload={"a": 5}), "rules[0].payload.a", "no operator is given", "Write { eq = 5 }."),
    "field a list": (rule(payload={"a": [5]}), "rules[0].payload.a", "no operator is given", ""),
    "field empty": (rule(payload={"a.b": {}}), 'rules[0].payload["a.b"]', "no operator is given", ""),
    "field a number": (rule(payload={1: {"eq": 1}}), "rules[0].payload.1", "named by a string", ""),
    "path empty step": (
        rule(payload={"a..b": {"eq": 1}}),
        'rules[0].payload["a..b"]',
        "an empty step",
        "JSON pointer",
    ),
    "path empty": (rule(payload={"": {"eq": 1}}), 'rules[0].payload[""]', "an empty step", "JSON pointer"),
    "pointer escape": (
        rule(payload={"/a~2": {"eq": 1}}),
        'rules[0].payload["/a~2"]',
        "not a JSON pointer",
        "",
    ),
    "operator symbol": (
        rule(payload={"a": {">=": 1}}),
        'rules[0].payload.a[">="]',
        'unknown operator ">="',
        "mean ge?",
    ),
    "operator misspelt": (
        rule(payload={"a": {"exist": True}}),
        "rules[0].payload.a.exist",
        "unknown",
        "exists?",
    ),
    "operator unknown": (rule(payload={"a": {"zz": 1}}), "rules[0].payload.a.zz", "unknown operator", ""),
    "dotted unquoted": (
        rule(payload={"order": {"total": {"gt": 5}}}),
        "rules[0].payload.order.total",
        "unknown operator",
        'Quote a path with dots: "order.total".',
    ),
    "eq a list": (rule(payload={"a": {"eq": [1]}}), "rules[0].payload.a.eq", "the wrong type", ""),
    "eq NaN": (rule(payload={"a": {"eq": float("nan")}}), "rules[0].payload.a.eq", "too large", ""),
    "lt infinite": (rule(payload={"a": {"lt": float("inf")}}), "rules[0].payload.a.lt", "too large", ""),
    "lt over a double": (
        rule(payload={"a": {"lt": Decimal("1e400")}}),
        "rules[0].payload.a.lt",
        "too large",
        "",
    ),
    "lt a huge integer": (rule(payload={"a": {"lt": 1 << 20_000}}), "rules[0].payload.a.lt", "too large", ""),
    "gt a boolean": (rule(payload={"a": {"gt": True}}), "rules[0].payload.a.gt", "the wrong type", ""),
    "ge null": (rule(payload={"a": {"ge": None}}), "rules[0].payload.a.ge", "the wrong type", ""),
    "in a scalar": (rule(payload={"a": {"in": "abc"}}), "rules[0].payload.a.in", "values to choose from", ""),
    "in nothing": (rule(payload={"a": {"in": []}}), "rules[0].payload.a.in", "values to choose from", ""),
    "in a table": (rule(payload={"a": {"in": ["a", {}]}}), "rules[0].payload.a.in[1]", "the wrong type", ""),
    "in mixed": (rule(payload={"a": {"in": [1, "a"]}}), "rules[0].payload.a.in[1]", "mixes types", ""),
    "in one and true": (rule(payload={"a": {"in": [1, 2.5, True]}}), "rules[0].payload.a.in[2]", "mixes", ""),
    "glob a boolean": (rule(payload={"a": {"glob": True}}), "rules[0].payload.a.glob", "not a glob", ""),
    "globs of payload": (rule(payload={"a": {"glob": ["x", 1]}}), "rules[0].payload.a.glob[1]", "not a", ""),
    "exists a string": (
        rule(payload={"a": {"exists": "yes"}}),
        "rules[0].payload.a.exists",
        "true or false",
        "",
    ),
}


@pytest.mark.parametrize("slip", SLIPS, ids=str)
def test_every_slip_is_a_fault_with_its_place(slip: str) -> None:
    """One slip gives one fault, with the exact path into the file and a hint where there is one to give."""
    data, where, message, hint = SLIPS[slip]

    [fault] = faults_of(data)

    assert fault.where == where
    assert message in fault.message
    assert hint in fault.hint and bool(hint) == bool(fault.hint)


def test_a_date_is_refused_with_what_to_do() -> None:
    """A TOML date is refused as an operand, and the hint says to write a string."""
    data = tomllib.loads('default="deny"\nrules=[{id="a", effect="deny", payload={at={lt=2024-01-01}}}]')

    [fault] = faults_of(data)

    assert (fault.where, fault.got) == ("rules[0].payload.at.lt", "a date")
    assert fault.hint == "Write dates and times as strings."


def test_a_repeated_id_names_the_first_rule_that_has_it() -> None:
    """An id belongs to one rule: the later one is at fault."""
    data = {"default": "deny", "rules": [{"id": "a", "effect": "deny"}, {"id": "a", "effect": "allow"}]}

    [fault] = faults_of(data, "p.toml")

    assert (fault.where, fault.got) == ("p.toml: rules[1].id", 'the string "a"')
    assert fault.message == "the id is taken by rules[0]"


def test_all_faults_are_reported_at_once() -> None:
    """The error shows the first fault, says how many more there are, and carries them all in file order."""
    data = {"rules": [{"id": "a", "effect": "deny", "x": 1}, {"id": "a", "effect": "deny", "intent": []}]}

    with pytest.raises(PolicyFaults) as caught:
        parse_policy(data, "p.toml")

    error = caught.value
    assert [fault.where for fault in error.faults] == [
        "p.toml: default",
        "p.toml: rules[0].x",
        "p.toml: rules[1].id",
        "p.toml: rules[1].intent",
    ]
    assert (error.where, error.code, error.exit_code) == ("p.toml: default", "INVALID_POLICY", 2)
    assert error.message == "the policy has no default (and 3 more faults)"
    two = PolicyFaults(error.faults[:2])
    assert two.message == "the policy has no default (and 1 more fault)"


def test_a_long_value_is_cut_in_the_message() -> None:
    """A fault quotes what it found, but not at any length."""
    [fault] = faults_of({"default": "x" * 1000})

    assert len(fault.got) < 80 and fault.got.endswith("…")


# File name, its bytes, the place after the file's path, a part of the message.
FILES: dict[str, tuple[str, bytes, str, str]] = {
    "toml syntax": (
        "p.toml",
        b'default = "deny"\nrules = [[\n  oops',
        ":3:3",
        "not valid TOML: Invalid value",
    ),
    "toml end": ("p.toml", b'default = "deny"\nrules = [', ":2:10", "not valid TOML: Invalid value"),
    "toml key twice": ("p.toml", b'default = "deny"\ndefault = "allow"', ":2:18", "Cannot overwrite"),
    "toml too deep": ("p.toml", b"a = " + b"[" * 100_000, "", "not valid TOML"),
    "toml number": ("p.toml", b"a = 1e99999999999999999999", "", "the number 1e99999999999999999999 is out"),
    "json syntax": (
        "p.json",
        b'{"default": "deny",\n "rules": ]}',
        ":2:11",
        "not valid JSON: Expecting value",
    ),
    "json by brace": ("p", b'{"default" "deny"}', ":1:12", "not valid JSON: Expecting ':' delimiter"),
    "json key twice": ("p.json", b'{"default": "deny", "default": "allow"}', "", '"default" appears twice'),
    "json NaN": ("p.json", b'{"default": NaN}', "", "NaN is no JSON number"),
    "json number": ("p.json", b'{"a": 1e99999999999999999999}', "", "is out of range"),
    "json too deep": ("p.json", b"[" * 100_000, "", "not valid JSON"),
    "not UTF-8": ("p.toml", b'default = "\xff"', "", "not UTF-8"),
}


@pytest.mark.parametrize("case", FILES, ids=str)
def test_a_file_that_is_no_toml_or_json_says_where(tmp_path: Path, case: str) -> None:
    """Syntax errors give file, line and column as far as the parser knows them."""
    name, content, place, message = FILES[case]
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(PolicyFaults) as caught:
        load_policy(path)

    assert caught.value.where == f"{path}{place}"
    assert message in caught.value.message


def test_a_file_that_cannot_be_read_is_an_invalid_policy(tmp_path: Path) -> None:
    """A missing file, a directory and an impossible name are errors of ours, with the path."""
    for path in (str(tmp_path / "none.toml"), str(tmp_path), "a\0b"):
        with pytest.raises(InvalidPolicy, match="cannot be read") as caught:
            load_policy(path)
        assert caught.value.where == path


def test_a_fault_in_a_file_names_the_file(tmp_path: Path) -> None:
    """The path into the file comes after the file's own."""
    path = tmp_path / "p.toml"
    path.write_text('default = "deny"\n[[rules]]\nid = "a"\neffect = "deny"\ninten = "x"\n', encoding="utf-8")

    with pytest.raises(PolicyFaults) as caught:
        load_policy(path)

    assert caught.value.where == f"{path}: rules[0].inten"
