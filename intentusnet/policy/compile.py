"""A policy made ready to decide: its digest, and its rules as bits of integers.

Each rule is one bit, in file order. For every fact (intent, caller, role …) an index answers with the bits of
the rules that the fact does not rule out, from a bounded cache, so that a request costs a few lookups and
only the rules that are still possible look at the payload. A :class:`Stage` is what is left for one envelope;
a candidate then costs two more lookups. The lowest bit is the first rule of the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from intentusnet.policy.comparing import Answer, comparison_test
from intentusnet.policy.decide import (
    TENANT_MISSING,
    AgentFacts,
    Decision,
    EnvelopeFacts,
    decision_by_default,
    decision_of,
)
from intentusnet.policy.rules import (
    Compared,
    Condition,
    Elements,
    Matcher,
    MatcherName,
    PolicySource,
    Rule,
    glob_matcher,
    is_literal,
    show,
)

# Callers choose names, so neither the number nor the length of what is remembered may be theirs to choose.
CACHED_VALUES: Final = 1024
CACHED_LENGTH: Final = 256


class CompiledPolicy:
    """A policy that decides; safe to share between threads. Made by :func:`compile_policy`.

    Args:
        source: the parsed policy.
        digest: SHA-256 hex of its canonical content; None when there is no policy.
        otherwise: the decision when no rule decides.

    Attributes:
        facts: what its rules look at: the names of matchers, "payload", "budget".
        budgets: what whoever decides has to bring the numbers of.
    """

    __slots__ = (
        "_agent",
        "_allows",
        "_caller",
        "_decisions",
        "_denies",
        "_intent",
        "_otherwise",
        "_role",
        "_side_effect",
        "_tag",
        "_tenant",
        "_tests",
        "_with_tests",
        "budgets",
        "digest",
        "facts",
        "source",
    )

    def __init__(self, source: PolicySource, digest: str | None, otherwise: Decision) -> None:
        rules = source.rules
        self.source = source
        self.digest = digest
        self._otherwise = otherwise
        self._decisions = tuple(decision_of(rule) for rule in rules)
        self._tests = tuple(_comparison_tests(rule) for rule in rules)
        self._denies = _bits(n for n, rule in enumerate(rules) if rule.effect == "deny")
        self._allows = _bits(n for n, rule in enumerate(rules) if rule.effect == "allow")
        self._with_tests = _bits(n for n, tests in enumerate(self._tests) if tests)
        self.budgets = source.budgets
        self.facts = frozenset(_fact(condition) for rule in rules for condition in rule.conditions)
        self._intent = _Index(rules, "intent")
        self._caller = _Index(rules, "caller")
        self._role = _Index(rules, "role")
        self._tenant = _Index(rules, "tenant")
        self._tag = _Index(rules, "tag")
        self._agent = _Index(rules, "agent")
        self._side_effect = _Index(rules, "side_effect")

    def stage(self, envelope: EnvelopeFacts) -> Stage:
        """Decides everything that does not depend on the agent, once for all candidates."""
        possible = self._possible(envelope)
        causes: dict[int, str] = {}
        if envelope.tenant is None:
            causes = dict.fromkeys(_positions(possible & ~self._tenant.free), TENANT_MISSING)
        lacking: dict[int, str] = {}
        asked_for, open_rules, settled = envelope.budget or {}, 0, 0
        for position in _positions(possible & self._with_tests):
            for of, name, test in self._tests[position]:
                answer = test(envelope.compared(of))
                if answer is False:
                    possible ^= 1 << position
                    lacking.pop(position, None)
                    break
                if answer is not True:
                    (causes if of == "payload" else lacking).setdefault(position, answer)
                    if of == "budget" and name in asked_for:
                        settled |= 1 << position
                    elif of == "budget":
                        open_rules |= 1 << position
        return self._staged(possible, causes, lacking, open_rules, settled)

    def looks_at(self, of: Compared, envelope: EnvelopeFacts) -> bool:
        """Whether a rule that the envelope's other facts leave possible compares something there.

        Args:
            of: "payload" or "budget".
            envelope: its payload and budget need not be known yet.
        """
        return of in self.facts and any(
            kind == of
            for position in _positions(self._possible(envelope) & self._with_tests)
            for kind, *_ in self._tests[position]
        )

    def _possible(self, envelope: EnvelopeFacts) -> int:
        """The rules that no glob on the envelope rules out."""
        possible = self._intent.of(envelope.intent) & self._caller.of(envelope.caller)
        possible &= self._role.of_any(envelope.roles) & self._tag.of_any(envelope.tags)
        return possible if envelope.tenant is None else possible & self._tenant.of(envelope.tenant)

    def _staged(
        self, possible: int, causes: dict[int, str], lacking: dict[int, str], open_rules: int, settled: int
    ) -> Stage:
        allows, denies = possible & self._allows, possible & self._denies
        certain = allows & ~_bits(causes)
        if not lacking:
            return Stage(self, denies, certain, causes)
        # An allow rule with a budget of which nothing can be known does not match, whatever others are.
        open_rules &= denies | certain & ~settled
        # A rule that fails for another reason as well keeps that as its cause.
        return Stage(self, denies, certain & ~_bits(lacking), {**lacking, **causes}, open_rules)

    def decide(self, envelope: EnvelopeFacts, agent: AgentFacts) -> Decision:
        """The decision for one candidate; with several of them, :meth:`stage` once is cheaper."""
        return self.stage(envelope).decide(agent)

    def _lacks(self, stage: Stage, agent: AgentFacts) -> str | None:
        possible = self._agent.of(agent.name) & self._side_effect.of(agent.side_effect)
        decision = self._decide(stage, agent)
        open_rules = stage.lacking & possible
        if decision.allowed or not open_rules or stage.denies & possible & ~open_rules:
            return None
        if not self._otherwise.allowed and not (stage.allows | open_rules & self._allows) & possible:
            return None
        return stage.causes[(open_rules & -open_rules).bit_length() - 1]

    def __reduce__(self) -> Any:
        # What a copy in another process needs is the rules; the policy that is none is known there by name.
        return "NO_POLICY" if self.digest is None else (compile_policy, (self.source,))

    def _decide(self, stage: Stage, agent: AgentFacts) -> Decision:
        possible = self._agent.of(agent.name) & self._side_effect.of(agent.side_effect)
        # An unknown deny rule applies as a matched one does; unknown allow rules are not in the stage.
        applying = stage.denies & possible or stage.allows & possible
        if not applying:
            return self._otherwise
        position = (applying & -applying).bit_length() - 1
        cause = stage.causes.get(position)
        return self._decisions[position] if cause is None else decision_of(self.source.rules[position], cause)


class Stage:
    """What a policy has left to decide about one envelope.

    Args:
        policy: whose rules they are.
        denies: the deny rules that apply to some agent.
        allows: the allow rules that do.
        causes: why rules are unknown, by position.
        lacking: the rules that would be decided otherwise if budgets were known that nobody asked for.
    """

    __slots__ = ("_policy", "allows", "causes", "denies", "lacking")

    def __init__(
        self, policy: CompiledPolicy, denies: int, allows: int, causes: dict[int, str], lacking: int = 0
    ) -> None:
        self._policy = policy
        self.denies = denies
        self.allows = allows
        self.causes = causes
        self.lacking = lacking

    def decide(self, agent: AgentFacts) -> Decision:
        """The decision for one candidate."""
        return self._policy._decide(self, agent)

    def lacks(self, agent: AgentFacts) -> str | None:
        """The cause if a candidate is denied only because nobody asked for a budget; else None."""
        return self._policy._lacks(self, agent) if self.lacking else None


class _Index:
    """Which rules a fact leaves possible; ``free`` are those that do not ask for it."""

    __slots__ = ("_cache", "_exact", "_patterns", "free")

    def __init__(self, rules: tuple[Rule, ...], name: MatcherName) -> None:
        globs: dict[str, int] = {}
        bound = 0
        for position, rule in enumerate(rules):
            for condition in rule.conditions:
                if isinstance(condition, Matcher) and condition.name == name:
                    bound |= 1 << position
                    for glob in condition.globs:
                        globs[glob] = globs.get(glob, 0) | 1 << position
        self.free = ((1 << len(rules)) - 1) & ~bound
        self._exact = {glob: bits for glob, bits in globs.items() if is_literal(glob)}
        self._patterns = [(glob_matcher(glob), bits) for glob, bits in globs.items() if not is_literal(glob)]
        self._cache: dict[str, int] = {}

    def of(self, value: str) -> int:
        bits = self._cache.get(value)
        return self._look_up(value) if bits is None else bits

    def of_any(self, values: tuple[str, ...]) -> int:
        bits = self.free
        for value in values:
            bits |= self.of(value)
        return bits

    def _look_up(self, value: str) -> int:
        bits = self.free | self._exact.get(value, 0)
        for matches, those in self._patterns:
            if matches(value):
                bits |= those
        if len(value) <= CACHED_LENGTH:
            if len(self._cache) >= CACHED_VALUES:
                self._cache.clear()
            self._cache[value] = bits
        return bits


def compile_policy(source: PolicySource) -> CompiledPolicy:
    """Makes a parsed policy ready to decide."""
    return CompiledPolicy(source, digest_of(source), decision_by_default(source.default))


def digest_of(source: PolicySource) -> str:
    """SHA-256 hex of what the policy means: comments, formatting and the order of keys do not count."""
    content = {
        "default": source.default,
        "rules": [
            [rule.id, rule.effect, rule.reason, *map(_canonical, rule.conditions)] for rule in source.rules
        ],
        "version": 1,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _canonical(condition: Condition) -> list[Any]:
    if isinstance(condition, Matcher):
        return [condition.name, *condition.globs]
    if isinstance(condition, Elements):
        return ["elements", condition.place, *map(_canonical, condition.tests)]
    # As text: a Decimal has no JSON of its own, and the file's spelling tells 1, true and "1" apart.
    place = condition.path[0] if condition.of == "budget" else condition.place
    return [condition.of, place, condition.operator, show(condition.operand)]


def _fact(condition: Condition) -> str:
    return condition.name if isinstance(condition, Matcher) else condition.of


def _comparison_tests(rule: Rule) -> tuple[tuple[Compared, str, Callable[[Any], Answer]], ...]:
    """Of each comparison: what it compares, the first step of its path, and its test."""
    return tuple(
        (condition.of, condition.path[0] if condition.path else "", comparison_test(condition))
        for condition in rule.conditions
        if not isinstance(condition, Matcher)
    )


def _bits(positions: Iterable[int]) -> int:
    bits = 0
    for position in positions:
        bits |= 1 << position
    return bits


def _positions(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


NO_POLICY: Final = CompiledPolicy(PolicySource("allow"), None, Decision(True, None, "no policy", ""))
"""Used when none is configured: everything is allowed."""
