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

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, cast

from intentusnet.policy.rules import (
    ARTICLES,
    KINDS,
    Compared,
    Comparison,
    Condition,
    Effect,
    Matcher,
    PolicySource,
    Rule,
    glob_matcher,
)

# An answer that is a string is the cause of "unknown".
Answer: TypeAlias = bool | str
Truth: TypeAlias = Literal["true", "false", "unknown"]
RuleVerdict: TypeAlias = Literal["applied", "matched", "unknown", "not matched"]
Relation: TypeAlias = Callable[[Any, Any], bool]

MATCHED: Final = "matched"
DEFAULT: Final = "default"
TENANT_MISSING: Final = "operand missing: tenant"

_MISSING: Final = object()
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")
_NEEDS_AGENT: Final = "depends on the agent"


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


# A tuple, because one is made for every candidate, and frozen dataclasses take thrice as long.
class AgentFacts(NamedTuple):
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


def comparison_test(condition: Comparison) -> Callable[[Any], Answer]:
    """The comparison as a function of the payload, or of the budgets: of `EnvelopeFacts.compared`."""
    path = condition.path
    if condition.operator == "exists":
        return lambda payload: (_find(payload, path) is not _MISSING) is condition.operand
    judge = _judge(condition)
    missing = f"operand missing: {condition.place}"
    if len(path) == 1:
        [key] = path

        def at_root(payload: Any) -> Answer:
            value = payload.get(key, _MISSING) if type(payload) is dict else _find(payload, path)
            return missing if value is _MISSING else judge(value)

        return at_root

    def anywhere(payload: Any) -> Answer:
        value = _find(payload, path)
        return missing if value is _MISSING else judge(value)

    return anywhere


def _find(payload: Any, path: tuple[str, ...]) -> Any:
    node = payload if type(payload) is dict or isinstance(payload, Mapping) else _MISSING
    for step in path:
        if type(node) is dict or isinstance(node, Mapping):
            node = node.get(step, _MISSING)
        elif isinstance(node, list | tuple) and _INDEX.fullmatch(step) and int(step) < len(node):
            node = node[int(step)]
        else:
            return _MISSING
    return node


def _judge(condition: Comparison) -> Callable[[Any], Answer]:
    operand, kind = condition.operand, condition.kind
    complaint = _Complaint(condition)
    if condition.operator == "glob":
        tests = [glob_matcher(glob) for glob in cast(tuple[str, ...], operand)]
        return _same_type(str, lambda value, tests: any(test(value) for test in tests), tests, complaint)
    relation: Relation
    if condition.operator == "in":
        members = cast(tuple[Any, ...], operand)
        relation, operand_set = _is_member, frozenset(members)
        if kind == "number":
            return _number(relation, operand_set, frozenset(map(_as_float, members)), complaint)
        return _same_type(type(members[0]), relation, operand_set, complaint)
    relation = getattr(operator, condition.operator)
    if kind == "number":
        return _number(relation, operand, _as_float(operand), complaint)
    return _same_type(type(operand), relation, operand, complaint)


def _same_type(
    kind: type, relation: Relation, operand: Any, complaint: _Complaint
) -> Callable[[Any], Answer]:
    def judge(value: Any) -> Answer:
        return relation(value, operand) if type(value) is kind else complaint(value)

    return judge


def _number(relation: Relation, exact: Any, as_float: Any, complaint: _Complaint) -> Callable[[Any], Answer]:
    # A rule's 0.1 means the Decimal 0.1 to a Decimal, and the float that is written so to a float.
    def judge(value: Any) -> Answer:
        kind = type(value)
        if kind is int:
            return relation(value, exact)
        if (kind is not float and kind is not Decimal) or _is_nan(value):
            return complaint(value)
        return relation(value, as_float if kind is float else exact)

    return judge


def _is_nan(value: float | Decimal) -> bool:
    # A signalling Decimal NaN raises when it is compared.
    return value.is_nan() if isinstance(value, Decimal) else value != value


def _as_float(operand: Any) -> Any:
    return float(operand) if type(operand) is Decimal else operand


def _is_member(value: Any, members: Collection[Any]) -> bool:
    return value in members


class _Complaint:
    """The cause that names a wrongly typed operand, written only when there is one."""

    __slots__ = ("_needs", "_place")

    def __init__(self, condition: Comparison) -> None:
        self._place = condition.place
        self._needs = f"{condition.operator} needs {ARTICLES[condition.kind]}"

    def __call__(self, value: Any) -> str:
        return f"operand has the wrong type: {self._place} is {_type_name(value)}, {self._needs}"


def _type_name(value: Any) -> str:
    kind = KINDS.get(type(value))
    if kind == "number" and _is_nan(value):
        return "NaN"
    if kind is not None:
        return ARTICLES[kind]
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return f"of type {type(value).__name__}"


def _trace(condition: Condition, envelope: EnvelopeFacts, agent: AgentFacts | None) -> ConditionTrace:
    answer, found = _answer(condition, envelope, agent)
    if isinstance(answer, str):
        return ConditionTrace(str(condition), "unknown", answer)
    return ConditionTrace(str(condition), "true" if answer else "false", found)


def _answer(condition: Condition, envelope: EnvelopeFacts, agent: AgentFacts | None) -> tuple[Answer, str]:
    if isinstance(condition, Comparison):
        fields = envelope.compared(condition.of)
        value = _find(fields, condition.path)
        found = "there is none" if value is _MISSING else f"it is {_quoted(value)}"
        return comparison_test(condition)(fields), found
    values = _facts(condition, envelope, agent)
    if isinstance(values, str):
        return values, ""
    tests = [glob_matcher(glob) for glob in condition.globs]
    found = f"it is {', '.join(map(_quoted, values))}" if values else "there is none"
    return any(test(value) for test in tests for value in values), found


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
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


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
