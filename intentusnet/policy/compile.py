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

from intentusnet.policy.decide import (
    TENANT_MISSING,
    AgentFacts,
    Answer,
    Decision,
    EnvelopeFacts,
    decision_by_default,
    decision_of,
    payload_test,
)
from intentusnet.policy.rules import (
    Comparison,
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
        "_with_payload",
        "digest",
        "source",
    )

    def __init__(self, source: PolicySource, digest: str | None, otherwise: Decision) -> None:
        rules = source.rules
        self.source = source
        self.digest = digest
        self._otherwise = otherwise
        self._decisions = tuple(decision_of(rule) for rule in rules)
        self._tests = tuple(_payload_tests(rule) for rule in rules)
        self._denies = _bits(n for n, rule in enumerate(rules) if rule.effect == "deny")
        self._allows = _bits(n for n, rule in enumerate(rules) if rule.effect == "allow")
        self._with_payload = _bits(n for n, tests in enumerate(self._tests) if tests)
        self._intent = _Index(rules, "intent")
        self._caller = _Index(rules, "caller")
        self._role = _Index(rules, "role")
        self._tenant = _Index(rules, "tenant")
        self._tag = _Index(rules, "tag")
        self._agent = _Index(rules, "agent")
        self._side_effect = _Index(rules, "side_effect")

    def stage(self, envelope: EnvelopeFacts) -> Stage:
        """Decides everything that does not depend on the agent, once for all candidates."""
        possible = self._intent.of(envelope.intent) & self._caller.of(envelope.caller)
        possible &= self._role.of_any(envelope.roles) & self._tag.of_any(envelope.tags)
        causes: dict[int, str] = {}
        if envelope.tenant is not None:
            possible &= self._tenant.of(envelope.tenant)
        else:
            causes = dict.fromkeys(_positions(possible & ~self._tenant.free), TENANT_MISSING)
        for position in _positions(possible & self._with_payload):
            for test in self._tests[position]:
                answer = test(envelope.payload)
                if answer is False:
                    possible ^= 1 << position
                    break
                if answer is not True:
                    causes.setdefault(position, answer)
        return Stage(self, possible & self._denies, possible & self._allows & ~_bits(causes), causes)

    def decide(self, envelope: EnvelopeFacts, agent: AgentFacts) -> Decision:
        """The decision for one candidate; with several of them, :meth:`stage` once is cheaper."""
        return self.stage(envelope).decide(agent)

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
    """What a policy has left to decide about one envelope."""

    __slots__ = ("_policy", "allows", "causes", "denies")

    def __init__(self, policy: CompiledPolicy, denies: int, allows: int, causes: dict[int, str]) -> None:
        self._policy = policy
        self.denies = denies
        self.allows = allows
        self.causes = causes

    def decide(self, agent: AgentFacts) -> Decision:
        """The decision for one candidate."""
        return self._policy._decide(self, agent)


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


def _canonical(condition: Matcher | Comparison) -> list[Any]:
    if isinstance(condition, Matcher):
        return [condition.name, *condition.globs]
    # As text: a Decimal has no JSON of its own, and the file's spelling tells 1, true and "1" apart.
    return ["payload", condition.pointer, condition.operator, show(condition.operand)]


def _payload_tests(rule: Rule) -> tuple[Callable[[Any], Answer], ...]:
    return tuple(
        payload_test(condition) for condition in rule.conditions if isinstance(condition, Comparison)
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
