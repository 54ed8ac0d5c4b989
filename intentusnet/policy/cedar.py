"""Policies in Cedar, decided by its own engine (the extra ``cedar``): the proof that the seam is one.

A schema is required, and what does not fit it is denied. What a request is to Cedar:

- principal: ``Caller::"<name>"``, in ``Role::"<role>"`` for each role, with the attribute ``tenant`` if it
  has been stated;
- action: ``Action::"<intent>"``, so that the schema says what the payload of each intent looks like;
- resource: ``Agent::"<name>"`` with the attributes ``version`` and ``side_effect``;
- context: ``version`` of the intent, ``tags``, ``payload``, and ``budget`` if the policy compares budgets.

Cedar has no null and no floats: a field that is null is left out, and a float is a ``decimal`` if its four
places hold it. Anything else that Cedar cannot be told is denied. Each policy needs an ``@id``, by which its
decisions are recorded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

from intentusnet.errors import ConfigurationError, InvalidPolicy
from intentusnet.policy.decide import DEFAULT, MATCHED, AgentFacts, Decision, EnvelopeFacts
from intentusnet.policy.files import PolicyFaults
from intentusnet.policy.rules import Budget, Compared, budget_of

#: Causes of denials that no policy calls for. They quote no values, as the engine's own messages do.
UNFIT: Final = "the request does not fit the schema"
FAILED: Final = "a policy could not be evaluated"
BROKEN: Final = "the engine failed"
UNCHECKED: Final = "what cannot be checked is not let through"

_FAILING: Final = re.compile(r"while evaluating policy `([^`]+)`")
#: What a Cedar decimal holds: 64 bits, with four digits behind the point.
_DECIMAL_PLACES: Final = 4
_DECIMAL_LIMIT: Final = Decimal(2**63) / 10**_DECIMAL_PLACES


class CedarPolicy:
    """A policy that Cedar decides; made by :func:`compile_cedar`, and safe to share between threads.

    Attributes:
        digest: SHA-256 hex of policies, schema and budgets; formatting and comments do not count.
        facts: what it looks at: everything.
        budgets: those that it compares.
    """

    __slots__ = ("_cedar", "_ids", "_policies", "_schema", "_source", "budgets", "digest", "facts")

    def __init__(self, policies: str, schema: str, budgets: tuple[str, ...]) -> None:
        self._cedar = _engine()
        self._source = policies, schema, budgets
        self._policies = self._read(self._cedar.PolicySet.from_str, policies, "the policies")
        self._schema = self._read(self._cedar.Schema.from_str, schema, "the schema")
        static = json.loads(self._cedar.policies_to_json_str(policies))["staticPolicies"]
        self._ids = {name: policy.get("annotations", {}).get("id") for name, policy in static.items()}
        faults = [*self._faults(policies), *_faults_of_ids(self._ids), *_faults_of_budgets(budgets)]
        if faults:
            raise PolicyFaults(faults)
        found = (budget_of(name) for name in sorted(set(budgets)))
        self.budgets: tuple[Budget, ...] = tuple(budget for budget in found if budget is not None)
        names = ["intent", "agent", "caller", "role", "tenant", "tag", "side_effect", "payload"]
        self.facts = frozenset([*names, "budget"] if budgets else names)
        content = [static, str(self._schema), [budget.name for budget in self.budgets]]
        self.digest = sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def looks_at(self, of: Compared, envelope: EnvelopeFacts) -> bool:
        """Whether it may look at payload or budget of that request."""
        return of in self.facts

    def stage(self, envelope: EnvelopeFacts) -> CedarStage:
        """What does not depend on the candidate: the request as Cedar is told it."""
        return CedarStage(self, envelope)

    def __reduce__(self) -> Any:
        return compile_cedar, self._source

    def ask(self, request: Mapping[str, Any], entities: list[dict[str, Any]]) -> Decision:
        """Cedar's decision. Policies that fail to evaluate deny, whatever the others say."""
        try:
            result = self._cedar.is_authorized(request, self._policies, entities, self._schema)
        except Exception:  # noqa: BLE001 - whatever the engine fails of, it has not allowed anything
            return Decision(False, None, BROKEN, UNCHECKED)
        reasons = sorted(result.diagnostics.reasons, key=list(self._ids).index)
        rule = self._ids[reasons[0]] if reasons else None
        failed = [match[1] for error in result.diagnostics.errors for match in _FAILING.finditer(error)]
        if result.allowed and not result.diagnostics.errors:
            return Decision(True, rule, MATCHED, "")
        if not result.allowed and rule is not None:
            return Decision(False, rule, MATCHED, f"denied by rule {rule}")
        if result.diagnostics.errors:
            failing = min(failed, key=list(self._ids).index, default=None)
            named = None if failing is None else self._ids[failing]
            cause = UNFIT if failing is None else FAILED
            return Decision(False, named, cause, UNCHECKED)
        return Decision(False, None, DEFAULT, "no rule allows it, and the default is to deny")

    def _read(self, read: Any, text: str, what: str) -> Any:
        try:
            return read(text)
        except ValueError as fault:
            raise PolicyFaults([InvalidPolicy(f"{what} cannot be read: {fault}", where="cedar")]) from fault

    def _faults(self, policies: str) -> Iterator[InvalidPolicy]:
        result = self._cedar.validate_policies(policies, self._schema)
        for error in result.errors:
            where = f"cedar: {self._ids.get(error.policy_id) or error.policy_id}"
            yield InvalidPolicy(f"the policy does not fit the schema: {error.error}", where=where)


class CedarStage:
    """One request, ready to be asked about."""

    __slots__ = ("_envelope", "_policy", "_request", "_unfit")

    def __init__(self, policy: CedarPolicy, envelope: EnvelopeFacts) -> None:
        self._policy = policy
        self._envelope = envelope
        context = {"version": envelope.version, "tags": list(envelope.tags), "payload": envelope.payload}
        if policy.budgets:
            context["budget"] = envelope.compared("budget")
        self._request: dict[str, Any] = {
            "principal": {"type": "Caller", "id": envelope.caller},
            "action": {"type": "Action", "id": envelope.intent},
        }
        self._unfit: str | None = None
        try:
            self._request["context"] = _told(context, "")
        except _Untold as fault:
            self._unfit = str(fault)

    def decide(self, agent: AgentFacts) -> Decision:
        """The decision for one candidate."""
        if self._unfit is not None:
            return Decision(False, None, self._unfit, UNCHECKED)
        resource = {"type": "Agent", "id": agent.name}
        return self._policy.ask({**self._request, "resource": resource}, self._entities(agent))

    def lacks(self, agent: AgentFacts) -> str | None:
        """The cause if a candidate is denied, and nobody asked for a budget; else None."""
        known = self._envelope.budget or {}
        missing = [budget.name for budget in self._policy.budgets if budget.name not in known]
        if not missing or self.decide(agent).cause in (MATCHED, DEFAULT):
            return None
        return f"operand missing: budget {missing[0]}"

    def _entities(self, agent: AgentFacts) -> list[dict[str, Any]]:
        envelope = self._envelope
        roles = [{"type": "Role", "id": role} for role in dict.fromkeys(envelope.roles)]
        tenant = {} if envelope.tenant is None else {"tenant": envelope.tenant}
        attributes = {"version": agent.version, "side_effect": agent.side_effect}
        return [
            {"uid": {"type": "Caller", "id": envelope.caller}, "attrs": tenant, "parents": roles},
            {"uid": {"type": "Agent", "id": agent.name}, "attrs": attributes, "parents": []},
            *({"uid": role, "attrs": {}, "parents": []} for role in roles),
        ]


def compile_cedar(policies: str, schema: str, budgets: Iterable[str] = ()) -> CedarPolicy:
    """Makes Cedar policies ready to decide.

    Args:
        policies: in Cedar's syntax; each with an ``@id`` of its own.
        schema: in Cedar's syntax: the entities ``Caller``, ``Role`` and ``Agent``, and an action for each
            intent.
        budgets: names of the budgets that the policies compare, as in ``tenant.tokens.1d``.

    Raises:
        PolicyFaults: policies or schema cannot be read, or do not fit together; all faults at once.
        ConfigurationError: Cedar is not installed.
    """
    return CedarPolicy(policies, schema, tuple(budgets))


class _Untold(Exception):
    """Something that Cedar cannot be told."""


def _told(value: Any, at: str) -> Any:
    """A value as Cedar's JSON has it."""
    if value is None or type(value) in (str, bool, int):
        return value
    if type(value) in (float, Decimal):
        return {"__extn": {"fn": "decimal", "arg": _decimal(value, at)}}
    if isinstance(value, Mapping):
        if any(type(key) is not str or key.startswith("__") for key in value):
            # Cedar's JSON would take such a key for an entity, or a call of a function.
            raise _Untold(f"operand has the wrong type: {at} has a key that Cedar has another meaning for")
        items = value.items()
        return {key: _told(item, f"{at}/{key}") for key, item in items if item is not None}
    if isinstance(value, list | tuple):
        return [_told(item, f"{at}/{index}") for index, item in enumerate(value)]
    raise _Untold(f"operand has the wrong type: {at} is of type {type(value).__name__}")


def _decimal(value: float | Decimal, at: str) -> str:
    number = Decimal(repr(value)) if isinstance(value, float) else value
    if not number.is_finite() or abs(number) >= _DECIMAL_LIMIT:
        raise _Untold(f"operand has the wrong type: {at} is too large for a decimal")
    text = f"{number:f}"
    whole, _, places = text.partition(".")
    places = places.rstrip("0") or "0"
    if len(places) > _DECIMAL_PLACES:
        raise _Untold(f"operand has the wrong type: {at} has more than {_DECIMAL_PLACES} decimal places")
    return f"{whole}.{places}"


def _faults_of_ids(ids: Mapping[str, str | None]) -> Iterator[InvalidPolicy]:
    taken: set[str] = set()
    for name, rule in ids.items():
        if not rule:
            hint = 'Write @id("…") before it: decisions are recorded by it.'
            yield InvalidPolicy("a policy has no id", where=f"cedar: {name}", hint=hint)
        elif rule in taken:
            yield InvalidPolicy("an id is taken", where=f"cedar: {name}", expected="a unique id", got=rule)
        taken.add(rule or "")


def _faults_of_budgets(names: Iterable[str]) -> Iterator[InvalidPolicy]:
    for name in names:
        if budget_of(name) is None:
            expected = "SCOPE.USAGE.WINDOW, as in tenant.tokens.1d"
            yield InvalidPolicy("no budget has such a name", where="cedar", expected=expected, got=name)


def _engine() -> Any:
    try:
        import cedarpy
    except ImportError as fault:
        raise ConfigurationError(
            "policies in Cedar need the package cedarpy",
            got=str(fault),
            hint="install it with: pip install 'intentusnet[cedar]'",
        ) from fault
    return cedarpy
