"""What gets around a rule that its author may take for tight.

That is a glob that lets more through than it seems to, an element of a list that no rule looks at, a field
that has another name. A glob is reported with a value that shows it. It is not if another deny rule on the
same field, or the rest of the rule, catches that value; whether it catches all such values is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel

from intentusnet.agents import Agent
from intentusnet.policy.comparing import comparison_test
from intentusnet.policy.findings import Finding, may_overlap
from intentusnet.policy.rules import (
    Comparison,
    Condition,
    Elements,
    Matcher,
    PolicySource,
    Rule,
    glob_matcher,
)

_URL = re.compile(r"([^:/]+://)([^/]*)(.*)", re.DOTALL)
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.[A-Za-z]{2,}\*")
_DOMAIN = re.compile(r"\*\w[\w-]*(\.[\w-]+)*\.[A-Za-z]{2,}")
_MAIL = re.compile(r"[^@]*\*[^@]*@[^@*?[]+")
_INDEX = re.compile(r"0|[1-9][0-9]*")


def loopholes(source: PolicySource) -> tuple[Finding, ...]:
    """Looks for rules that let more through than they seem to, in file order."""
    return tuple(
        finding for rule in source.rules for finding in (*_wide(rule, source), *_one_of(rule, source))
    )


def other_names(source: PolicySource, agents: Iterable[Agent]) -> tuple[Finding, ...]:
    """Looks for fields that agents take under several names, of which rules compare only some.

    Known are the aliases of pydantic models at the root of a payload. Agents always take a field's own name.
    """
    found = {}
    for agent in agents:
        patterns = [capability.intent for capability in agent.definition.capabilities]
        rules = [rule for rule in source.rules if _may_meet(rule, patterns)]
        compared = {name for rule in rules for name in _roots(rule)}
        for rule in rules:
            for names in _spellings(agent.input.annotation):
                if names & set(_roots(rule)):
                    for name in sorted(names - compared):
                        message = (
                            f"agent {agent.definition.name} takes {min(names & compared)} also as {name}"
                        )
                        found[rule.id, name] = Finding(
                            rule.id, "other name", f"{message}, which no rule compares"
                        )
    return tuple(found.values())


def _roots(rule: Rule) -> Iterator[str]:
    """The keys of the payload that the rule looks at."""
    for condition in rule.conditions:
        if not isinstance(condition, Matcher) and condition.of == "payload" and condition.path:
            yield condition.path[0]


def _spellings(annotation: Any) -> Iterator[set[str]]:
    """For each field of a model that has more than one name: all of them."""
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    for name, field in annotation.model_fields.items() if is_model else ():
        aliases = [field.alias, field.validation_alias]
        choices = [one.choices if isinstance(one, AliasChoices) else [one] for one in aliases]
        names = [one.path[0] if isinstance(one, AliasPath) else one for group in choices for one in group]
        spellings = {name, *(str(one) for one in names if one is not None)}
        if len(spellings) > 1:
            yield spellings


def _may_meet(rule: Rule, intents: Iterable[str]) -> bool:
    return any(may_overlap(glob, wanted) for glob in _intents(rule) for wanted in intents)


def _wide(rule: Rule, source: PolicySource) -> Iterator[Finding]:
    """The globs that say what is fine, and match what hardly is."""
    permits = "glob" if rule.effect == "allow" else "not_glob"
    for comparison in _comparisons(rule.conditions):
        if comparison.operator != permits or not isinstance(comparison.operand, tuple):
            continue
        for glob in comparison.operand:
            value = _surprise(str(glob))
            if (
                value is not None
                and _passes(rule, comparison, value)
                and not _caught(comparison, value, rule, source)
            ):
                message = f"{comparison.place} {permits} {glob!r} also lets {value!r} through"
                yield Finding(rule.id, "wide glob", message)


def _one_of(rule: Rule, source: PolicySource) -> Iterator[Finding]:
    """The lists of which one element is compared, and the others are not looked at."""
    asked = [one for one in rule.conditions if isinstance(one, Comparison)]
    told = set()
    for comparison in asked:
        for place, step in enumerate(comparison.path):
            path = comparison.path[:place]
            if not place or comparison.operator == "exists" or not _INDEX.fullmatch(step) or path in told:
                continue
            bounded = any(
                other.operator == "exists" and other.operand is False and other.path[:place] == path
                for other in asked
            )
            if not bounded and not any(_looks_at_all(path, other) for other in source.rules):
                told.add(path)
                message = f"it looks at one element of {'.'.join(path)}, and no rule at {'.'.join(path)}[*]"
                yield Finding(rule.id, "one element", message)


def _looks_at_all(path: tuple[str, ...], rule: Rule) -> bool:
    return any(isinstance(one, Elements) and one.path == path for one in rule.conditions)


def _comparisons(conditions: tuple[Condition, ...]) -> Iterator[Comparison]:
    for condition in conditions:
        if isinstance(condition, Elements):
            yield from _comparisons(condition.tests)
        elif isinstance(condition, Comparison):
            yield condition


def _surprise(glob: str) -> str | None:
    """A value that the glob matches, and that is not of the kind that it looks like."""
    value = None
    if found := _URL.fullmatch(glob):
        scheme, host, rest = found.groups()
        if host.startswith("*"):
            value = f"{scheme}evil.example/{host[1:]}{rest.replace('*', '')}"
        elif host.endswith("*"):
            value = f"{scheme}{host[:-1]}.evil.example/{rest.replace('*', '').removeprefix('/')}"
    elif _HOST.fullmatch(glob):
        value = f"{glob[:-1]}.evil.example"
    elif _DOMAIN.fullmatch(glob):
        value = f"evil{glob[1:]}"
    elif _MAIL.fullmatch(glob):
        value = glob.replace("*", "eve@evil.example,a", 1).replace("*", "")
    elif glob.startswith(("/", "./", "~/")) and glob.endswith("/*"):
        value = f"{glob[:-1]}../secret"
    return value if value is not None and glob_matcher(glob)(value) else None


def _holds(comparison: Comparison, value: str) -> bool:
    return comparison_test(replace(comparison, path=("value",), within=""))({"value": value}) is True


def _passes(rule: Rule, comparison: Comparison, value: str) -> bool:
    """Whether the value gets by all that the rule asks of the field."""
    tests = [one for one in _comparisons(rule.conditions) if one.place == comparison.place]
    holds = [_holds(test, value) for test in tests]
    return all(holds) if rule.effect == "allow" else not all(holds)


def _caught(comparison: Comparison, value: str, rule: Rule, source: PolicySource) -> bool:
    """Whether a deny rule on the same field, for an intent of the rule, is known to apply to the value."""
    for other in source.rules:
        tests = [one for one in _comparisons(other.conditions) if one.place == comparison.place]
        if other.effect != "deny" or not tests or not all(_holds(test, value) for test in tests):
            continue
        if _may_meet(other, _intents(rule)):
            return True
    return False


def _intents(rule: Rule) -> tuple[str, ...]:
    asked = [one for one in rule.conditions if isinstance(one, Matcher) and one.name == "intent"]
    return asked[0].globs if asked else ("*",)
