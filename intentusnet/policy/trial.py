"""One policy on trial: each recorded candidate is decided anew, and what differs is added up.

What can be decided from less than all facts, and mostly that is much less, is decided once: executions that
are equal in it cost a look-up. What differs is added up by rule, intent and agent, so that memory does not
grow with the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, Literal, TypeAlias, get_args

from intentusnet.errors import IntegrityBroken, IntentusError, InvalidInput
from intentusnet.policy.decide import Decision, EnvelopeFacts
from intentusnet.policy.engine import Policy
from intentusnet.policy.facts import recorded_candidate, recorded_facts

ChangeKind: TypeAlias = Literal["newly_allowed", "newly_denied", "undecided", "redecided"]
OutcomeKind: TypeAlias = Literal["now_answered", "now_denied", "rerouted", "undecided"]

CHANGES: Final[tuple[ChangeKind, ...]] = get_args(ChangeKind)
OUTCOMES: Final[tuple[OutcomeKind, ...]] = get_args(OutcomeKind)

_Tree: TypeAlias = Mapping[str, Any]

#: What a candidate is decided on, and how it was.
_DECIDED: Final = itemgetter("agent", "version", "side_effect", "allowed", "rule", "cause")
#: Combinations of facts whose decisions are remembered.
_REMEMBERED: Final = 16_384


@dataclass(frozen=True, slots=True)
class Change:
    """How a decision differs.

    Attributes:
        kind: ``newly_allowed`` and ``newly_denied``; ``undecided``: it depends on what the record lacks;
            ``redecided``: the same outcome by another rule, or for another cause.
        intent: the intent's name.
        agent: the candidate.
        rule: what decides now; None for the default.
        cause: why; for ``undecided`` what is lacking.
        old_rule: what decided before.
    """

    kind: ChangeKind
    intent: str
    agent: str
    rule: str | None
    cause: str
    old_rule: str | None


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """Equal changes: how many candidates, and some of the executions, the oldest first."""

    change: Change
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BacktestReport:
    """What a backtest found.

    Attributes:
        new: the digest of the policy that was tried.
        against: the digest of the old one; None where it was the decisions on record.
        executions: how many were looked at.
        decisions: how many candidates they have.
        changes: how many of those, by kind.
        outcomes: how many executions end otherwise. ``now_denied``: no candidate is left; ``now_answered``:
            none was; ``rerouted``: other agents are called; ``undecided``: one of their decisions is.
        groups: all changes, by kind, and of a kind the most frequent first.
    """

    new: str | None
    against: str | None
    executions: int
    decisions: int
    changes: Mapping[ChangeKind, int]
    outcomes: Mapping[OutcomeKind, int]
    groups: tuple[ChangeGroup, ...]

    @property
    def widens(self) -> bool:
        """Whether something is allowed that was denied."""
        return self.changes["newly_allowed"] > 0

    @property
    def narrows(self) -> bool:
        """Whether something is denied that was allowed."""
        return self.changes["newly_denied"] > 0


@dataclass(slots=True)
class _Group:
    """How many equal changes, and some of the executions; mutable."""

    count: int = 0
    examples: tuple[str, ...] = ()


@dataclass(slots=True)
class Tally:
    """What was found so far; mutable."""

    executions: int = 0
    decisions: int = 0
    outcomes: dict[OutcomeKind, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    groups: dict[Change, _Group] = field(default_factory=dict)

    def add(self, change: Change, count: int, examples: tuple[str, ...], most: int) -> None:
        group = self.groups.get(change)
        if group is None:
            group = self.groups[change] = _Group()
        group.count += count
        room = most - len(group.examples)
        if room > 0:
            group.examples += examples[:room]

    def join(self, later: Tally, most: int) -> None:
        """Adds what was found in a later stretch of the log."""
        self.executions += later.executions
        self.decisions += later.decisions
        for outcome, count in later.outcomes.items():
            self.outcomes[outcome] += count
        for change, group in later.groups.items():
            self.add(change, group.count, group.examples, most)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What becomes of an execution."""

    changes: tuple[Change, ...]
    outcome: OutcomeKind | None


class Trial:
    """One policy, held against another one or against the record; mutable: what was found."""

    def __init__(self, new: Policy, against: Policy | None, examples: int) -> None:
        self.tally = Tally()
        self.parts = new, against, examples
        self._new = new
        self._against = against
        self._examples = examples
        self._policies = (new,) if against is None else (new, against)
        looked_at = frozenset[str]().union(*(policy.facts for policy in self._policies))
        self._caller, self._role = "caller" in looked_at, "role" in looked_at
        self._tenant, self._tag = "tenant" in looked_at, "tag" in looked_at
        self._same = against is not None and against.digest == new.digest
        self._known: dict[Any, _Verdict | None] = {}

    def take(
        self, execution_id: str, envelope: _Tree, plan: _Tree, payload: Callable[[], Any] | None = None
    ) -> None:
        """Takes one execution.

        Args:
            execution_id: its id.
            envelope, plan: raw trees.
            payload: gives the raw payload, where that in the tree only refers to it.

        Raises:
            IntegrityBroken: they are not of the recorded format.
        """
        try:
            self._take(execution_id, envelope, plan, payload)
        except (KeyError, TypeError, ValueError, AttributeError, InvalidInput) as fault:
            raise IntegrityBroken(
                "the first entry is not of the recorded format",
                where=f"execution {execution_id}",
                got=f"{type(fault).__name__}: {fault}",
                hint="The line is as it was written: whatever wrote it does not keep to the format.",
            ) from fault

    def _take(
        self, execution_id: str, envelope: _Tree, plan: _Tree, payload: Callable[[], Any] | None
    ) -> None:
        candidates = plan["candidates"]
        caller = envelope["caller"]
        # With fewer facts in it, more executions are equal.
        key = (
            envelope["intent"]["name"],
            envelope["intent"]["version"],
            caller["name"] if self._caller else None,
            tuple(caller["roles"]) if self._role else None,
            caller["tenant"] if self._tenant else None,
            tuple(envelope["tags"]) if self._tag else None,
            plan["strategy"],
            *map(_DECIDED, candidates),
        )
        try:
            verdict = self._known[key]
        except KeyError:
            verdict = self._first_look(envelope, plan)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = verdict
        if verdict is None:
            verdict = self._look(envelope, plan, payload)
        tally = self.tally
        tally.executions += 1
        tally.decisions += len(candidates)
        for change in verdict.changes:
            tally.add(change, 1, (execution_id,), self._examples)
        if verdict.outcome is not None:
            tally.outcomes[verdict.outcome] += 1

    def report(self) -> BacktestReport:
        """What was found."""
        tally = self.tally
        changes = dict.fromkeys(CHANGES, 0)
        for change, group in tally.groups.items():
            changes[change.kind] += group.count
        groups = [ChangeGroup(change, found.count, found.examples) for change, found in tally.groups.items()]
        groups.sort(key=lambda group: (CHANGES.index(group.change.kind), -group.count, str(group.change)))
        return BacktestReport(
            self._new.digest,
            None if self._against is None else self._against.digest,
            tally.executions,
            tally.decisions,
            changes,
            tally.outcomes,
            tuple(groups),
        )

    def _first_look(self, envelope: _Tree, plan: _Tree) -> _Verdict | None:
        """The verdict without payload and budgets; None if it may depend on them."""
        facts = recorded_facts(envelope, plan, payload=False)
        if any(policy.looks_at(of, facts) for policy in self._policies for of in ("payload", "budget")):
            return None
        return self._verdict(facts, plan)

    def _look(self, envelope: _Tree, plan: _Tree, payload: Callable[[], Any] | None) -> _Verdict:
        try:
            facts = recorded_facts(envelope, plan, payload=payload is None)
            if payload is not None and any(policy.looks_at("payload", facts) for policy in self._policies):
                facts = recorded_facts({**envelope, "payload": payload()}, plan)
        except IntentusError as fault:
            facts = recorded_facts(envelope, plan, payload=False)
            return self._undecidable(facts, plan, f"the payload cannot be read: {fault.message}")
        return self._verdict(facts, plan)

    def _verdict(self, facts: EnvelopeFacts, plan: _Tree) -> _Verdict:
        new = self._new.stage(facts)
        old = None if self._against is None else self._against.stage(facts)
        changes: list[Change] = []
        before, after = [], []
        for candidate in plan["candidates"]:
            agent = recorded_candidate(candidate)
            now = new.decide(agent)
            then = _recorded(candidate) if old is None else old.decide(agent)
            lacking = new.lacks(agent) or (None if old is None else old.lacks(agent))
            kind = "undecided" if lacking and not self._same else _kind(then, now)
            if kind is not None:
                cause = lacking if lacking and kind == "undecided" else now.cause
                changes.append(Change(kind, facts.intent, agent.name, now.rule, cause, then.rule))
            before += [agent.name] if then.allowed else []
            after += [agent.name] if now.allowed else []
        if any(change.kind == "undecided" for change in changes):
            return _Verdict(tuple(changes), "undecided")
        return _Verdict(tuple(changes), _outcome(plan["strategy"], before, after))

    def _undecidable(self, facts: EnvelopeFacts, plan: _Tree, cause: str) -> _Verdict:
        if self._same or not plan["candidates"]:
            return _Verdict((), None)
        changes = [
            Change(
                "undecided",
                facts.intent,
                candidate["agent"],
                None,
                cause,
                candidate["rule"] if self._against is None else None,
            )
            for candidate in plan["candidates"]
        ]
        return _Verdict(tuple(changes), "undecided")


def _recorded(candidate: _Tree) -> Decision:
    return Decision(candidate["allowed"], candidate["rule"], candidate["cause"], "")


def _kind(then: Decision, now: Decision) -> ChangeKind | None:
    if then.allowed != now.allowed:
        return "newly_allowed" if now.allowed else "newly_denied"
    return None if (then.rule, then.cause) == (now.rule, now.cause) else "redecided"


def _outcome(strategy: str, before: list[str], after: list[str]) -> OutcomeKind | None:
    if strategy == "direct":
        before, after = before[:1], after[:1]
    if before == after:
        return None
    return "rerouted" if before and after else "now_answered" if after else "now_denied"
