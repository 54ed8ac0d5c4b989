"""What differs between two records, structurally: request, plan, decisions, questions, answers, outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Any

from intentusnet import values
from intentusnet.fingerprint import compared_envelope, compared_plan
from intentusnet.record import ExecutionRecord, RecordedQuestion
from intentusnet.replay.differences import ABSENT, differences, encoded_differences
from intentusnet.replay.divergence import label
from intentusnet.transcript import ROOT_SCOPE, TELLING_KINDS, attempt_scope


class Section(StrEnum):
    """The part of a record in which two of them differ."""

    ENVELOPE = "envelope"
    PLAN = "plan"
    DECISIONS = "decisions"
    QUESTIONS = "questions"
    ANSWERS = "answers"
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place in which two records differ; `a` and `b` are raw trees, or ``{"$absent": true}``."""

    section: Section
    scope: str
    question: str
    pointer: str
    a: Any
    b: Any

    def as_dict(self) -> dict[str, Any]:
        """The difference as the command line prints it."""
        return {
            "section": self.section.value,
            "scope": self.scope,
            "question": self.question,
            "pointer": self.pointer,
            "a": self.a,
            "b": self.b,
        }


def diff_records(a: ExecutionRecord, b: ExecutionRecord) -> tuple[Difference, ...]:
    """Each place in which the stable content of two records differs; none if their fingerprints are equal."""
    return (*_heads(a, b), *_transcripts(a, b), *_outcomes(a, b))


def _heads(a: ExecutionRecord, b: ExecutionRecord) -> Iterator[Difference]:
    for pointer, left, right in differences(
        compared_envelope(a.envelope_tree), compared_envelope(b.envelope_tree)
    ):
        yield Difference(Section.ENVELOPE, "", "", pointer, left, right)
    for pointer, left, right in differences(compared_plan(a.plan_tree), compared_plan(b.plan_tree)):
        decided = pointer.endswith(("/allowed", "/cause", "/rule"))
        yield Difference(Section.DECISIONS if decided else Section.PLAN, "", "", pointer, left, right)


def _transcripts(a: ExecutionRecord, b: ExecutionRecord) -> Iterator[Difference]:
    left, right = _by_scope(a), _by_scope(b)
    for scope, unordered in sorted(left.keys() | right.keys()):
        ones, others = left.get((scope, unordered), []), right.get((scope, unordered), [])
        if unordered:
            ones, others = _unpaired(ones, others), _unpaired(others, ones)
        yield from _scopes(scope, ones, others)


def _by_scope(record: ExecutionRecord) -> dict[tuple[str, bool], list[RecordedQuestion]]:
    """The questions of each scope; those from the agent's own threads apart, as they have no order."""
    scopes: dict[tuple[str, bool], list[RecordedQuestion]] = {}
    for question in sorted(record.questions, key=lambda q: (q.scope, q.ordinal)):
        if question.kind not in TELLING_KINDS:
            scopes.setdefault((question.scope, question.unordered), []).append(question)
    return scopes


def _unpaired(
    questions: Sequence[RecordedQuestion], others: Sequence[RecordedQuestion]
) -> list[RecordedQuestion]:
    """The questions that have no equal among the others, in an order of their own."""
    pairs = Counter(map(_content, others))
    left = []
    for question in questions:
        if pairs[_content(question)] > 0:
            pairs[_content(question)] -= 1
        else:
            left.append(question)
    return sorted(left, key=_content)


def _content(question: RecordedQuestion) -> tuple[str, str, bytes, bool, bytes]:
    answer = question.answer
    told = (False, b"") if answer is None else (answer.ok, answer.data)
    return (question.kind, question.name, question.arguments, *told)


def _scopes(scope: str, a: Sequence[RecordedQuestion], b: Sequence[RecordedQuestion]) -> Iterator[Difference]:
    names = [[(q.kind, q.name) for q in questions] for questions in (a, b)]
    for tag, a1, a2, b1, b2 in SequenceMatcher(None, names[0], names[1], autojunk=False).get_opcodes():
        if tag == "equal":
            for left, right in zip(a[a1:a2], b[b1:b2], strict=True):
                yield from _pair(scope, left, right)
            continue
        for left in a[a1:a2]:
            yield Difference(Section.QUESTIONS, _place(scope, left), label(left), "", _told(left), ABSENT)
        for right in b[b1:b2]:
            yield Difference(Section.QUESTIONS, _place(scope, right), label(right), "", ABSENT, _told(right))


def _pair(scope: str, a: RecordedQuestion, b: RecordedQuestion) -> Iterator[Difference]:
    place = _place(scope, a)
    for pointer, left, right in encoded_differences(a.arguments, b.arguments):
        yield Difference(Section.QUESTIONS, place, label(a), pointer, left, right)
    for pointer, left, right in differences(_answered(a), _answered(b)):
        yield Difference(Section.ANSWERS, place, label(a), pointer, left, right)


def _place(scope: str, question: RecordedQuestion) -> str:
    return attempt_scope(question.ordinal) if scope == ROOT_SCOPE and question.kind == "agent" else scope


def _told(question: RecordedQuestion) -> dict[str, Any]:
    return {"arguments": values.parse(question.arguments), "kind": question.kind, "name": question.name}


def _answered(question: RecordedQuestion) -> Any:
    answer = question.answer
    if answer is None:
        return ABSENT
    return {"value" if answer.ok else "error": values.parse(answer.data)}


def _outcomes(a: ExecutionRecord, b: ExecutionRecord) -> Iterator[Difference]:
    left = ABSENT if a.outcome is None else a.outcome.tree()
    right = ABSENT if b.outcome is None else b.outcome.tree()
    for pointer, one, other in differences(left, right):
        yield Difference(Section.OUTCOME, "", "", pointer, one, other)
