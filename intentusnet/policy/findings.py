"""What is suspicious about a policy that is well-formed: rules that can never decide anything.

Findings are sound but not complete: a rule that is reported really has no effect on any request, and a rule
that is not reported may still have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby, product
from typing import Any, Literal, TypeAlias

from intentusnet.policy.comparing import comparison_test
from intentusnet.policy.rules import (
    SIDE_EFFECTS,
    Comparison,
    Condition,
    Effect,
    Elements,
    Matcher,
    PolicySource,
    Rule,
    glob_matcher,
    is_literal,
)

FindingCode: TypeAlias = Literal[
    "duplicate",
    "shadowed",
    "impossible",
    "no effect",
    "nothing allowed",
    "not covered",
    "wide glob",
    "one element",
    "other name",
]

_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the author of a policy should look at.

    Args:
        rule: the rule's id; None for the policy as a whole.
        code: ``duplicate`` and ``shadowed``: an earlier or overriding rule always decides first;
            ``impossible``: its conditions contradict each other; ``no effect``: an allow rule where all is
            allowed by default; ``nothing allowed``: the policy denies every request; ``not covered``: no rule
            speaks of an intent; ``wide glob``, ``one element``, ``other name``: see `loopholes`.
        message: a sentence about it.
    """

    rule: str | None
    code: FindingCode
    message: str


def check(source: PolicySource) -> tuple[Finding, ...]:
    """Looks for rules that can never decide, in file order, then at the policy as a whole."""
    findings = []
    alive: list[Rule] = []
    for position, rule in enumerate(source.rules):
        finding = _look_at(rule, source, source.rules[:position])
        if finding is None:
            alive.append(rule)
        else:
            findings.append(finding)
    always_denied = any(_covers(rule, Rule("", "allow", "", ())) for rule in alive if rule.effect == "deny")
    if always_denied or (source.default == "deny" and not any(rule.effect == "allow" for rule in alive)):
        findings.append(Finding(None, "nothing allowed", "the policy denies every request"))
    return tuple(findings)


def uncovered(source: PolicySource, intents: Iterable[str]) -> tuple[Finding, ...]:
    """The intents that no rule speaks of, so that only the default decides about them.

    A rule that does not ask for the intent speaks of all of them.

    Args:
        source: the policy.
        intents: names, or globs as agents' capabilities have them.
    """
    globs: list[str] = []
    for rule in source.rules:
        asked = [c for c in rule.conditions if isinstance(c, Matcher) and c.name == "intent"]
        globs += [glob for matcher in asked for glob in matcher.globs] if asked else ["*"]
    told = "allows it to everyone" if source.default == "allow" else "denies it to everyone"
    return tuple(
        Finding(None, "not covered", f"no rule speaks of intent {intent}: the default {told}")
        for intent in intents
        if not any(may_overlap(glob, intent) for glob in globs)
    )


def may_overlap(glob: str, other: str) -> bool:
    """Whether there may be a name that both globs match; False is certain."""
    if is_literal(other) or is_literal(glob):
        return glob_matcher(glob)(other) if is_literal(other) else glob_matcher(other)(glob)
    begins = _MAGIC.split(glob, maxsplit=1)[0], _MAGIC.split(other, maxsplit=1)[0]
    return begins[0].startswith(begins[1]) or begins[1].startswith(begins[0])


def _look_at(rule: Rule, source: PolicySource, earlier: tuple[Rule, ...]) -> Finding | None:
    for other in earlier:
        if other.effect == rule.effect and _same(other.conditions, rule.conditions):
            message = f"it asks for the same as {other.id}, which comes first"
            return Finding(rule.id, "duplicate", message)
    if rule.effect == "allow":
        for contradiction in _contradictions(rule.conditions):
            return Finding(rule.id, "impossible", f"no request can satisfy its conditions on {contradiction}")
        for other in source.rules:
            if other.effect == "deny" and _covers(other, rule):
                message = f"{other.id} denies everything that it would allow"
                return Finding(rule.id, "shadowed", message)
    for other in earlier:
        if other.effect == rule.effect and _covers(other, rule):
            message = f"{other.id} comes first and applies whenever it would"
            return Finding(rule.id, "shadowed", message)
    if rule.effect == "allow" and source.default == "allow":
        return Finding(rule.id, "no effect", "what no rule denies is allowed by default")
    return None


def _same(these: tuple[Condition, ...], those: tuple[Condition, ...]) -> bool:
    # By text as well, because 1 == True; and not by that alone, because lists can be long.
    return these == those and list(map(str, these)) == list(map(str, those))


def _covers(other: Rule, rule: Rule) -> bool:
    """Whether ``other`` applies whenever ``rule`` does."""
    return all(
        _is_always(wanted, other.effect) or any(_implies(given, wanted) for given in rule.conditions)
        for wanted in other.conditions
    )


def _is_always(condition: Condition, effect: Effect) -> bool:
    if not isinstance(condition, Matcher):
        return False
    match condition.name:
        case "intent" | "agent" | "caller":
            return "*" in condition.globs
        case "side_effect":
            return _side_effects(condition) == set(SIDE_EFFECTS)
        case "tenant":
            # Without a tenant it is unknown, and an unknown deny applies.
            return "*" in condition.globs and effect == "deny"
        case "role" | "tag":
            return False


def _implies(given: Condition, wanted: Condition) -> bool:
    """Whether ``wanted`` is true when ``given`` is, and not false when ``given`` is unknown."""
    if not isinstance(given, Matcher) or not isinstance(wanted, Matcher):
        return _same((given,), (wanted,))
    if given.name != wanted.name:
        return False
    if given.name == "side_effect":
        return _side_effects(given) <= _side_effects(wanted)
    tests = [glob_matcher(glob) for glob in wanted.globs]
    return "*" in wanted.globs or all(
        glob in wanted.globs or (is_literal(glob) and any(test(glob) for test in tests))
        for glob in given.globs
    )


def _side_effects(matcher: Matcher) -> set[str]:
    tests = [glob_matcher(glob) for glob in matcher.globs]
    return {name for name in SIDE_EFFECTS if any(test(name) for test in tests)}


def _contradictions(asked: tuple[Condition, ...]) -> Iterator[str]:
    """The fields on which not all comparisons can be true, nor of any element of a list."""
    for condition in asked:
        if isinstance(condition, Elements):
            yield from _contradictions(condition.tests)
    comparisons = [condition for condition in asked if isinstance(condition, Comparison)]
    for place, group in groupby(comparisons, key=lambda c: c.place):
        conditions = list(group)
        existence = {c.operand for c in conditions if c.operator == "exists"}
        others = [c for c in conditions if c.operator != "exists"]
        absent = False in existence and (True in existence or others)
        if (
            absent
            or len({c.kind for c in others}) > 1
            or _excludes_its_values(others)
            or _is_empty_range(others)
        ):
            yield place


def _excludes_its_values(conditions: list[Comparison]) -> bool:
    """Whether there is a closed list of values, and none of them passes every test."""
    tests = [comparison_test(replace(condition, path=("value",), within="")) for condition in conditions]
    for condition in conditions:
        if condition.operator in ("eq", "in"):
            operand: Any = condition.operand
            values = list(operand) if isinstance(operand, tuple) else [operand]
            values += [float(value) for value in values if isinstance(value, Decimal)]
            return not any(all(test({"value": value}) is True for test in tests) for value in values)
    return False


def _is_empty_range(conditions: list[Comparison]) -> bool:
    lower = [c for c in conditions if c.operator in ("gt", "ge")]
    upper = [c for c in conditions if c.operator in ("lt", "le")]
    return any(_is_above(low, high) for low, high in product(lower, upper))


def _is_above(low: Comparison, high: Comparison) -> bool:
    floor: Any = low.operand
    ceiling: Any = high.operand
    strict = low.operator == "gt" or high.operator == "lt"
    if low.kind == "number":
        # A float may lie between two numbers that are one as floats.
        floats = float(floor), float(ceiling)
        if floats[0] < floats[1] or (floats[0] == floats[1] and not strict):
            return False
    return bool(floor > ceiling or (strict and floor == ceiling))
