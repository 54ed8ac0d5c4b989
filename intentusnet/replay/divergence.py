"""What a replay reports: each place where the run differs from the record."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from intentusnet.record import RecordedQuestion
from intentusnet.replay.differences import Place
from intentusnet.transcript import Question


class Verdict(StrEnum):
    """What a replay found."""

    MATCH = "match"
    DIVERGED = "diverged"
    NOT_REPLAYABLE = "not_replayable"


class DivergenceKind(StrEnum):
    """In which respect the run differs from the record.

    ``missing``: on record, never asked. ``unexpected``: asked, not on record. ``reordered``: asked at another
    place of its scope. ``arguments``: asked with other arguments. ``outcome``: an agent answered differently.
    ``plan``: other candidates or another order. ``policy``: another decision. ``response``: another end.
    """

    MISSING = "missing"
    UNEXPECTED = "unexpected"
    REORDERED = "reordered"
    ARGUMENTS = "arguments"
    OUTCOME = "outcome"
    PLAN = "plan"
    POLICY = "policy"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class Divergence:
    """One place where the run differs from the record.

    Attributes:
        kind: in which respect.
        scope: where in the execution; "" for the execution itself.
        question: which question, as ``kind name [ordinal in its scope]``; "" if it is none.
        pointer: where in the value, as JSON pointer; "" for the whole.
        expected: what is on record, as raw tree.
        actual: what the run had, as raw tree.
    """

    kind: DivergenceKind
    scope: str
    question: str
    pointer: str
    expected: Any
    actual: Any

    def as_dict(self) -> dict[str, Any]:
        """The divergence as the command line prints it."""
        return {
            "kind": self.kind.value,
            "scope": self.scope,
            "question": self.question,
            "pointer": self.pointer,
            "expected": self.expected,
            "actual": self.actual,
        }


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay of one record found.

    Attributes:
        execution_id: the record's.
        verdict: match, diverged or not_replayable.
        divergences: all of them, the first one first.
        reason: why it cannot be replayed.
        taken: agents whose outcome was taken from the record without running them again.
        guards: what kept the run from touching the world.
    """

    execution_id: str
    verdict: Verdict
    divergences: tuple[Divergence, ...] = ()
    reason: str = ""
    taken: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The report as the command line prints it."""
        return {
            "execution_id": self.execution_id,
            "verdict": self.verdict.value,
            "divergences": [divergence.as_dict() for divergence in self.divergences],
            "reason": self.reason,
            "taken": list(self.taken),
            "guards": list(self.guards),
        }


class Divergences:
    """Collects divergences; what is noted late can be put where it belongs by its place in the run."""

    def __init__(self) -> None:
        self._places = itertools.count()
        self._noted: list[tuple[int, Divergence]] = []

    def place(self) -> int:
        """The present place in the run."""
        return next(self._places)

    def note(self, divergence: Divergence, place: int | None = None) -> None:
        """Notes a divergence, here or at an earlier place."""
        self._noted.append((self.place() if place is None else place, divergence))

    def note_all(self, kind: DivergenceKind, scope: str, question: str, places: Iterable[Place]) -> None:
        """Notes a divergence for each place in which two trees differ."""
        for pointer, expected, actual in places:
            self.note(Divergence(kind, scope, question, pointer, expected, actual))

    def in_order(self) -> tuple[Divergence, ...]:
        """All of them, in the order of the run."""
        return tuple(divergence for _, divergence in sorted(self._noted, key=lambda noted: noted[0]))


def label(question: Question | RecordedQuestion) -> str:
    """A question as people read it."""
    return f"{question.kind} {question.name} [{question.ordinal}]"
