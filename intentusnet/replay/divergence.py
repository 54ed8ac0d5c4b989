"""What a replay reports: each place where the run differs from the record."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from intentusnet import values
from intentusnet.record import RecordedQuestion
from intentusnet.replay.differences import MOST_PLACES, Place
from intentusnet.replay.ignoring import NOTHING, Ignored
from intentusnet.replay.strictness import Depth, Strictness
from intentusnet.transcript import Answer, Question


class Verdict(StrEnum):
    """What a replay found."""

    MATCH = "match"
    DIVERGED = "diverged"
    NOT_REPLAYABLE = "not_replayable"


class DivergenceKind(StrEnum):
    """In which respect the run differs from the record.

    ``missing``: on record, never asked. ``unexpected``: asked, not on record. ``reordered``: asked at another
    place of its scope. ``arguments``: asked with other arguments. ``outcome``: an agent answered differently,
    or the answer on record is not of the type that the asking code declares.
    ``plan``: other candidates or another order. ``policy``: another decision. ``environment``: other versions
    or digests of what decides and runs. ``response``: another end.
    """

    MISSING = "missing"
    UNEXPECTED = "unexpected"
    REORDERED = "reordered"
    ARGUMENTS = "arguments"
    OUTCOME = "outcome"
    PLAN = "plan"
    POLICY = "policy"
    ENVIRONMENT = "environment"
    RESPONSE = "response"


_QUESTIONS: Final = frozenset({DivergenceKind.MISSING, DivergenceKind.UNEXPECTED})
_WITH_ARGUMENTS: Final = _QUESTIONS | {DivergenceKind.ARGUMENTS}
_COMPARED: Final[Mapping[Strictness, frozenset[DivergenceKind]]] = {
    Strictness.EFFECTS: _QUESTIONS,
    Strictness.ARGS: _WITH_ARGUMENTS,
    Strictness.RESULT: frozenset(DivergenceKind) - {DivergenceKind.ENVIRONMENT},
    Strictness.STRICT: frozenset(DivergenceKind),
}


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
        source: ``file:line`` of the agent's code that asked; "" where it is not known.
        nearest: the question on record that is most like one that is not; "" if none is.
    """

    kind: DivergenceKind
    scope: str
    question: str
    pointer: str
    expected: Any
    actual: Any
    source: str = ""
    nearest: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The divergence as the command line prints it."""
        return {
            "kind": self.kind.value,
            "scope": self.scope,
            "question": self.question,
            "pointer": self.pointer,
            "expected": self.expected,
            "actual": self.actual,
            "source": self.source,
            "nearest": self.nearest,
        }


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay of one record found.

    Attributes:
        execution_id: the record's.
        verdict: match, diverged or not_replayable; the worst of its own and of those of `children`.
        divergences: all of them, the first one first.
        reason: why it cannot be replayed.
        taken: agents whose outcome was taken from the record without running them again.
        guards: what kept the run from touching the world.
        strictness: what was compared.
        depth: what was run again.
        ignored: how many places differ and were not to be compared.
        asked: how many questions the world was asked again.
        children: reports of the executions that this one asked for, where they were replayed too.
    """

    execution_id: str
    verdict: Verdict
    divergences: tuple[Divergence, ...] = ()
    reason: str = ""
    taken: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    strictness: Strictness = Strictness.RESULT
    depth: Depth = Depth.AGENTS
    ignored: int = 0
    asked: int = 0
    children: tuple[ReplayReport, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The report as the command line prints it."""
        return {
            "execution_id": self.execution_id,
            "verdict": self.verdict.value,
            "divergences": [divergence.as_dict() for divergence in self.divergences],
            "reason": self.reason,
            "taken": list(self.taken),
            "guards": list(self.guards),
            "strictness": self.strictness.value,
            "depth": self.depth.value,
            "ignored": self.ignored,
            "asked": self.asked,
            "children": [child.as_dict() for child in self.children],
        }


class Divergences:
    """Collects divergences; what is noted late can be put where it belongs by its place in the run.

    Args:
        strictness: of which kinds they are noted.
        ignored_places: what is not compared; differences there are counted in `ignored`.
    """

    def __init__(self, strictness: Strictness = Strictness.RESULT, ignored_places: Ignored = NOTHING) -> None:
        self.strictness = strictness
        self.ignored_places = ignored_places
        self.ignored = 0
        self._kinds = _COMPARED[strictness]
        self._places = itertools.count()
        self._noted: list[tuple[int, Divergence]] = []

    def compares(self, kind: DivergenceKind) -> bool:
        """Whether divergences of that kind are noted."""
        return kind in self._kinds

    def place(self) -> int:
        """The present place in the run."""
        return next(self._places)

    def note(self, divergence: Divergence, place: int | None = None) -> None:
        """Notes a divergence, here or at an earlier place, if its kind is compared."""
        if self.compares(divergence.kind):
            self.note_anyhow(divergence, place)

    def note_anyhow(self, divergence: Divergence, place: int | None = None) -> None:
        """Notes a divergence of any kind: one without which nothing can be compared."""
        self._noted.append((self.place() if place is None else place, divergence))

    def note_all(
        self,
        kind: DivergenceKind,
        scope: str,
        question: str,
        places: Iterable[Place],
        *,
        place: int | None = None,
        source: str = "",
    ) -> None:
        """Notes a divergence for each place in which two trees differ, at most `MOST_PLACES`."""
        if not self.compares(kind):
            return
        noted = 0
        for pointer, expected, actual in places:
            if self.ignores(kind, pointer):
                continue
            self.note_anyhow(Divergence(kind, scope, question, pointer, expected, actual, source), place)
            noted += 1
            if noted == MOST_PLACES:
                return

    def ignores(self, kind: DivergenceKind, pointer: str) -> bool:
        """Whether a place that differs is not to be compared; if so, it is counted."""
        if not self.ignored_places.covers(kind, pointer):
            return False
        self.ignored += 1
        return True

    def in_order(self) -> tuple[Divergence, ...]:
        """All of them, in the order of the run."""
        if not self._noted:
            return ()
        return tuple(divergence for _, divergence in sorted(self._noted, key=lambda noted: noted[0]))


def misfitting(question: Question, answer: Answer, fault: Exception, source: str = "") -> Divergence:
    """The divergence of an answer on record that is not of the type that the asking code declares now."""
    recorded, actual = values.parse(answer.data), {"error": str(fault)}
    return Divergence(DivergenceKind.OUTCOME, question.scope, label(question), "", recorded, actual, source)


def told(question: Question | RecordedQuestion) -> dict[str, Any]:
    """A question as a raw tree: kind, name and arguments."""
    return {"arguments": values.parse(question.arguments), "kind": question.kind, "name": question.name}


def label(question: Question | RecordedQuestion) -> str:
    """A question as people read it."""
    return f"{question.kind} {question.name} [{question.ordinal}]"
