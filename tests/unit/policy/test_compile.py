"""The digest of a policy, and the caches that make it fast."""

import hashlib
import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.policy import AgentFacts, EnvelopeFacts, compile_policy, parse_policy
from intentusnet.policy.compile import CACHED_LENGTH, CACHED_VALUES

PLAIN = """
default = "allow"
version = 1

[[rules]]
id = "big"
effect = "deny"
intent = ["Orders.*", "Trades.*"]
payload = { amount = { gt = 1000, ne = 1.5 }, "order.kind" = { in = ["a", "b"] } }

[[rules]]
id = "rest"
effect = "allow"
reason = "else"
"""

RESTYLED = """
# The same policy, as another hand would write it.
default='allow'
[[rules]]
  effect = "deny"   # no
  id = 'big'
  intent = [
    "Trades.*",
    "Orders.*",
    "Orders.*",   # twice
  ]
  [rules.payload."/order/kind"]
  in = ["b", "a"]
  [rules.payload."amount"]
  ne = 15e-1
  gt = 1_000.0
[[rules]]
reason = "else"
id = "rest"
effect = "allow"
"""


def digest(text: str) -> str | None:
    return compile_policy(parse_policy(tomllib.loads(text), "p.toml")).digest


def test_formatting_does_not_change_the_digest() -> None:
    """Comments, spacing, key order, repetition, and how numbers and paths are spelt are not the meaning."""
    assert digest(PLAIN) == digest(RESTYLED)


def test_the_digest_is_pinned() -> None:
    """Recorded digests stay comparable: the canonical form is part of what a record refers to."""
    canonical = (
        '{"default":"allow","rules":['
        '["big","deny","",["intent","Orders.*","Trades.*"],'
        '["payload","/amount","gt","1000"],["payload","/amount","ne","1.5"],'
        '["payload","/order/kind","in","[\\"a\\", \\"b\\"]"]],'
        '["rest","allow","else"]],"version":1}'
    )

    assert digest(PLAIN) == hashlib.sha256(canonical.encode()).hexdigest()


CHANGES = [
    ('default = "allow"', 'default = "deny"'),
    ('id = "big"', 'id = "bigger"'),
    ('effect = "deny"', 'effect = "allow"'),
    ('"else"', '"other"'),
    ('"Orders.*", ', ""),
    ("intent =", "caller ="),
    ("gt = 1000", "ge = 1000"),
    ("gt = 1000", "gt = 1001"),
    ("ne = 1.5", 'ne = "1.5"'),
    ("ne = 1.5", "ne = 1"),
    ('["a", "b"]', '["a", "c"]'),
    ('"order.kind"', '"/order.kind"'),
    ('{ in = ["a", "b"] }', '{ glob = ["a", "b"] }'),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_every_change_of_meaning_changes_the_digest(old: str, new: str) -> None:
    """Two policies with one digest mean the same."""
    assert old in PLAIN
    assert digest(PLAIN) != digest(PLAIN.replace(old, new))


def test_types_are_told_apart_in_the_digest() -> None:
    """1, true and "1" are different operands, as are a null and the string."""

    def of(operand: Any) -> str | None:
        rule = {"id": "r", "effect": "deny", "payload": {"a": {"eq": operand}}}
        return compile_policy(parse_policy({"default": "allow", "rules": [rule]})).digest

    assert len({of(operand) for operand in (1, True, "1", None, "null", "true", "\ud800")}) == 7


@given(st.integers(0, 4), st.sampled_from([None, 1, 4]), st.booleans(), st.randoms())
def test_no_json_style_changes_the_digest(
    spaces: int, indent: int | None, ascii_only: bool, shuffler: Any
) -> None:
    """However the JSON is laid out, and in whatever order its keys come, the digest is the same."""

    def shuffled(node: Any) -> Any:
        if isinstance(node, dict):
            keys = list(node)
            shuffler.shuffle(keys)
            return {key: shuffled(node[key]) for key in keys}
        return [shuffled(item) for item in node] if isinstance(node, list) else node

    data = shuffled(tomllib.loads(PLAIN))
    text = " " * spaces + json.dumps(data, indent=indent, ensure_ascii=ascii_only)

    assert compile_policy(parse_policy(json.loads(text))).digest == digest(PLAIN)


def test_more_names_than_are_remembered_change_nothing() -> None:
    """Caches are bounded in number and in length of names, and forgetting does not change a decision."""
    rule = {"id": "r", "effect": "deny", "caller": ["caller-1*", "x" * 5000]}
    policy = compile_policy(parse_policy({"default": "allow", "rules": [rule]}))
    agent = AgentFacts("a")

    for round_ in range(2):
        for number in range(CACHED_VALUES + 10):
            name = f"caller-{number}"
            expected = not name.startswith("caller-1")
            assert policy.decide(EnvelopeFacts("i", caller=name), agent).allowed is expected, round_
    assert not policy.decide(EnvelopeFacts("i", caller="x" * 5000), agent).allowed

    cache = policy._caller
    assert len(cache) <= CACHED_VALUES
    assert max(map(len, cache)) <= CACHED_LENGTH


def test_a_hundred_rules_are_decided_like_one() -> None:
    """The bit of a rule does not depend on how many there are: past a machine word the same rule decides."""
    rules = [{"id": f"r{n}", "effect": "deny", "intent": f"i{n}", "agent": f"a{n}"} for n in range(200)]
    policy = compile_policy(parse_policy({"default": "allow", "rules": rules}))

    for n in range(200):
        stage = policy.stage(EnvelopeFacts(f"i{n}"))
        assert stage.decide(AgentFacts(f"a{n}")).rule == f"r{n}"
        assert stage.decide(AgentFacts(f"a{n + 1}")).rule is None
