"""How a policy decides: conditions in three values, what follows from them, and how to explain it.

A condition is true, false or *unknown*: its operand is missing, or of a type that its operator cannot
compare. Unknown is resolved in favour of safety: a deny rule applies unless it is known not to, an allow rule
only if it is known to. An applying deny rule decides first, then the first matching allow rule, then the
default.

Here each rule is looked at by itself, which is what ``policy explain`` shows; ``compile`` comes to the same
decisions over all rules at once. Causes of decisions name fields and types but never values, because they are
recorded and shown to callers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, Protocol, TypeAlias

from intentusnet.policy.comparing import MISSING, Answer, comparison_test, element_test, find
from intentusnet.policy.rules import (
    Compared,
    Comparison,
    Condition,
    Effect,
    Elements,
    Matcher,
    PolicySource,
    Rule,
    glob_matcher,
)

Truth: TypeAlias = Literal["true", "false", "unknown"]
RuleVerdict: TypeAlias = Literal["applied", "matched", "unknown", "not matched"]

MATCHED: Final = "matched"
DEFAULT: Final = "default"
TENANT_MISSING: Final = "operand missing: tenant"

_NEEDS_AGENT: Final = "depends on the agent"
#: Characters of a condition that an explanation shows: lists of what is fine may have thousands.
_MOST_OF_CONDITION: Final = 500


@dataclass(frozen=True, slots=True)
class EnvelopeFacts:
    """What a policy may know of a request.

    Args:
        intent: the intent's name.
        version: the intent's version.
        payload: Python values, as ``values.decode`` gives them.
        caller: the caller's name.
        roles: the caller's roles; none is known to be none.
        tenant: the caller's tenant, or None if it has not been stated.
        tags: the envelope's tags.
        budget: sums of usage by the names of their budgets. Unknown is one that is None, because nothing can
            be known of it, and one that is not there, because nobody has asked for it; with None all are.
    """

    intent: str
    version: str = ""
    payload: Any = None
    caller: str = ""
    roles: tuple[str, ...] = ()
    tenant: str | None = None
    tags: tuple[str, ...] = ()
    budget: Mapping[str, int | float | Decimal | None] | None = None

    def compared(self, of: Compared) -> Any:
        """What comparisons of that kind look for their fields in."""
        if of == "payload":
            return self.payload
        return {name: number for name, number in (self.budget or {}).items() if number is not None}


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What a policy may know of a candidate.

    Args:
        name: the agent's name.
        version: the agent's version.
        side_effect: ``read_only``, ``reversible`` or ``irreversible``.
    """

    name: str
    version: str = ""
    side_effect: str = "reversible"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a candidate may handle the request, and why.

    Args:
        allowed: the outcome.
        rule: the id of the rule that decided; None for the default or for no policy.
        cause: ``matched``, ``default``, ``no policy``, or what made a deny rule apply unmatched, as in
            ``operand missing: /amount``.
        reason: a sentence for the caller; empty when allowed without one.
    """

    allowed: bool
    rule: str | None
    cause: str
    reason: str


@dataclass(frozen=True, slots=True)
class ConditionTrace:
    """One condition, what it came to, and why.

    Unlike a decision's cause, ``why`` quotes values: it is for whoever may see the request itself.
    """

    condition: str
    verdict: Truth
    why: str


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """One rule, what it came to, and its conditions.

    Args:
        rule: its id.
        effect: what it calls for.
        verdict: ``applied`` if it is the one that decided; else what it came to by itself.
        conditions: in canonical order.
    """

    rule: str
    effect: Effect
    verdict: RuleVerdict
    conditions: tuple[ConditionTrace, ...]


class HasSource(Protocol):
    """A policy that knows the rules that it was made from."""

    @property
    def source(self) -> PolicySource: ...


def decision_of(rule: Rule, cause: str = MATCHED) -> Decision:
    """The decision when that rule decides."""
    reason = rule.reason or (f"denied by rule {rule.id}" if rule.effect == "deny" else "")
    return Decision(rule.effect == "allow", rule.id, cause, reason)


def decision_by_default(default: Effect) -> Decision:
    """The decision when no rule decides."""
    reason = "no rule allows it, and the default is to deny" if default == "deny" else ""
    return Decision(default == "allow", None, DEFAULT, reason)


def explain(policy: HasSource, envelope: EnvelopeFacts, agent: AgentFacts | None) -> tuple[RuleTrace, ...]:
    """What each rule came to, in file order.

    Args:
        policy: a compiled policy.
        envelope: the request.
        agent: the candidate; without one, conditions on agents are unknown, and a rule is only ``applied`` if
            it decides whoever the candidate is.
    """
    rules = policy.source.rules
    traces = [tuple(_trace(condition, envelope, agent) for condition in rule.conditions) for rule in rules]
    verdicts = [_fold(trace) for trace in traces]
    decider = _decider(rules, traces, verdicts)
    return tuple(
        RuleTrace(
            rule.id, rule.effect, "applied" if position == decider else verdicts[position], traces[position]
        )
        for position, rule in enumerate(rules)
    )


def _trace(condition: Condition, envelope: EnvelopeFacts, agent: AgentFacts | None) -> ConditionTrace:
    answer, found = _answer(condition, envelope, agent)
    text = _cut(str(condition), _MOST_OF_CONDITION)
    if isinstance(answer, str):
        return ConditionTrace(text, "unknown", answer)
    return ConditionTrace(text, "true" if answer else "false", found)


def _answer(condition: Condition, envelope: EnvelopeFacts, agent: AgentFacts | None) -> tuple[Answer, str]:
    if not isinstance(condition, Matcher):
        return _compare(condition, envelope.compared(condition.of))
    values = _facts(condition, envelope, agent)
    if isinstance(values, str):
        return values, ""
    tests = [glob_matcher(glob) for glob in condition.globs]
    found = f"it is {', '.join(map(_quoted, values))}" if values else "there is none"
    return any(test(value) for test in tests for value in values), found


def _compare(condition: Comparison | Elements, fields: Any) -> tuple[Answer, str]:
    """What a comparison comes to, and what it found: of a list, the element that settled it."""
    answer, value = comparison_test(condition)(fields), find(fields, condition.path)
    if isinstance(condition, Elements) and isinstance(answer, bool):
        if answer is condition.every:
            return answer, f"it is so of {'all' if answer else 'none'} of the {len(value)}"
        answers = map(element_test(condition), value)
        position = next(n for n, one in enumerate(answers) if one is answer)
        return answer, f"number {position} is {_quoted(value[position])}"
    return answer, "there is none" if value is MISSING else f"it is {_quoted(value)}"


def _facts(matcher: Matcher, envelope: EnvelopeFacts, agent: AgentFacts | None) -> tuple[str, ...] | str:
    """What the globs are tried on, or why that is unknown."""
    match matcher.name:
        case "intent":
            return (envelope.intent,)
        case "caller":
            return (envelope.caller,)
        case "role":
            return envelope.roles
        case "tag":
            return envelope.tags
        case "tenant":
            return TENANT_MISSING if envelope.tenant is None else (envelope.tenant,)
        case "agent":
            return _NEEDS_AGENT if agent is None else (agent.name,)
        case "side_effect":
            return _NEEDS_AGENT if agent is None else (agent.side_effect,)


def _quoted(value: Any) -> str:
    return _cut(repr(value), 60)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _fold(trace: tuple[ConditionTrace, ...]) -> Literal["matched", "unknown", "not matched"]:
    verdicts = {condition.verdict for condition in trace}
    if "false" in verdicts:
        return "not matched"
    return "unknown" if "unknown" in verdicts else "matched"


def _decider(
    rules: tuple[Rule, ...], traces: list[tuple[ConditionTrace, ...]], verdicts: list[Any]
) -> int | None:
    """The position of the rule that decides; None for the default, or if that depends on the agent."""
    open_questions = [any(condition.why == _NEEDS_AGENT for condition in trace) for trace in traces]
    for effect, applying in (("deny", ("matched", "unknown")), ("allow", ("matched",))):
        for position, rule in enumerate(rules):
            if rule.effect != effect or verdicts[position] == "not matched":
                continue
            if open_questions[position]:
                return None
            if verdicts[position] in applying:
                return position
    return None
