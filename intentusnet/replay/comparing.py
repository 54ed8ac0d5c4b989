"""What was asked in a scope, compared with what is on record for it, when the scope has ended."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque

from intentusnet.record import RecordedQuestion
from intentusnet.replay.aligning import Key, align
from intentusnet.replay.differences import ABSENT, encoded_places
from intentusnet.replay.divergence import Divergence, DivergenceKind, Divergences, label, told
from intentusnet.replay.tapes import Asked, Tape
from intentusnet.transcript import Question


def compare_scope(
    scope: str, tape: Tape, divergences: Divergences, *, ends: int | None, defined: str
) -> None:
    """Notes in what the questions of a scope differ from those on record.

    Args:
        scope: the scope.
        tape: what is on record for it, and what was asked.
        divergences: where differences are noted.
        ends: when the attempt that it belongs to ended; None if it did not.
        defined: the line that defines the agent.
    """
    _Comparison(scope, tape, divergences, ends, defined).run()


class _Comparison:
    """One scope that has left its record, or did not come to its end."""

    def __init__(
        self, scope: str, tape: Tape, divergences: Divergences, ends: int | None, defined: str
    ) -> None:
        self._scope = scope
        self._tape = tape
        self._divergences = divergences
        self._ends = ends
        self._defined = defined
        self._has_unexpected = False

    def run(self) -> None:
        tape = self._tape
        # Questions from threads of the agent's own have no order. One of them may be equal to one that has.
        crossed = {
            asked.index
            for asked in tape.asked
            if asked.exact
            and asked.index is not None
            and (asked.question.unordered or tape.questions[asked.index].unordered)
        }
        for asked in tape.asked:
            if asked.exact and asked.index in crossed:
                self._pair(tape.questions[asked.index], asked)
        left = [
            question
            for index, question in enumerate(tape.questions[tape.cursor :], tape.cursor)
            if index not in crossed
        ]
        came = [asked for asked in tape.asked if not (asked.exact and asked.index in crossed)]
        self._ordered([q for q in left if not q.unordered], [a for a in came if not a.question.unordered])
        self._unordered([q for q in left if q.unordered], [a for a in came if a.question.unordered])

    def _ordered(self, recorded: list[RecordedQuestion], asked: list[Asked]) -> None:
        aligned = align([self._key(q) for q in recorded], [self._key(a.question) for a in asked])
        reached = [r for r, _ in aligned.pairs]
        for r in aligned.missing:
            after = bisect_left(reached, r)
            if after < len(reached):
                self._missing(recorded[r], asked[aligned.pairs[after][1]].place)
            elif not self._tape.halted:
                self._missing(recorded[r], self._ends)
        for r, a in aligned.moved:
            after = bisect_left(reached, r)
            instead = asked[aligned.pairs[after][1] if after < len(reached) else a]
            self._moved(recorded[r], asked[a], instead)
        for r, a in aligned.pairs:
            self._pair(recorded[r], asked[a])
        met = sorted((a, r) for r, a in aligned.pairs)
        for a in aligned.unexpected:
            before = bisect_right(met, (a,)) - 1
            due = met[before][1] + 1 if before >= 0 else 0
            self._unexpected(asked[a], recorded[due] if due < len(recorded) else None)

    def _unordered(self, recorded: list[RecordedQuestion], asked: list[Asked]) -> None:
        """Those that are equal have been paired; of the others, those of a name are the same question."""
        named: defaultdict[tuple[str, str], deque[RecordedQuestion]] = defaultdict(deque)
        for question in recorded:
            named[question.kind, question.name].append(question)
        for came in asked:
            same = named[came.question.kind, came.question.name]
            if same:
                self._pair(same.popleft(), came)
            else:
                self._unexpected(came, None)
        for left in () if self._tape.halted else named.values():
            for question in left:
                # Without an answer, it was asked by a thread that the agent had not waited for.
                if question.answer is not None:
                    self._missing(question, self._ends)

    def _key(self, question: Question | RecordedQuestion) -> Key:
        if not self._divergences.compares(DivergenceKind.ARGUMENTS):
            return (question.kind, question.name, b"")
        masked = self._divergences.ignored_places.masked(question.arguments)
        return (question.kind, question.name, masked)

    def _pair(self, recorded: RecordedQuestion, asked: Asked) -> None:
        self._divergences.note_all(
            DivergenceKind.ARGUMENTS,
            self._scope,
            label(asked.question),
            encoded_places(recorded.arguments, asked.question.arguments),
            place=asked.place,
            source=asked.source,
        )

    def _moved(self, recorded: RecordedQuestion, asked: Asked, instead: Asked) -> None:
        """It was passed over when the question was asked that follows it on record."""
        self._pair(recorded, asked)
        self._divergences.note(
            Divergence(
                DivergenceKind.REORDERED,
                self._scope,
                label(recorded),
                "",
                label(recorded),
                label(instead.question),
                asked.source,
            ),
            min(instead.place, asked.place),
        )

    def _missing(self, question: RecordedQuestion, place: int | None) -> None:
        self._divergences.note(
            Divergence(
                DivergenceKind.MISSING,
                self._scope,
                label(question),
                "",
                told(question),
                ABSENT,
                self._defined,
            ),
            place,
        )

    def _unexpected(self, asked: Asked, due: RecordedQuestion | None) -> None:
        # Those behind the first most likely follow from it, and looking is not for nothing.
        nearest = None if self._has_unexpected else self._tape.nearest(asked.question)
        self._has_unexpected = True
        self._divergences.note(
            Divergence(
                DivergenceKind.UNEXPECTED,
                self._scope,
                label(asked.question),
                "",
                ABSENT if due is None else told(due),
                told(asked.question),
                asked.source,
                "" if nearest is None else label(nearest),
            ),
            asked.place,
        )
