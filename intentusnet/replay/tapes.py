"""A tape: the recorded questions of one scope, in their order, and which of them have been asked again.

As long as each question is the one that is due, a tape is a cursor. From the first that is not, answers are
found by an index: the n-th of equal questions gets the n-th answer, so that concurrent identical calls match
too, and a question with other arguments gets the answer of one of its name. What was asked is kept from then
on, and compared as a whole when the scope has ended.
"""

from __future__ import annotations

import difflib
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from intentusnet.record import RecordedQuestion
from intentusnet.transcript import ABSENT_ANSWERS, Question

#: Of many recorded questions of a name, that many are looked at for the one that is most similar.
_LOOKED_AT: Final = 50
#: Of many recorded names, that many are looked at for one that is similar.
_NAMES_LOOKED_AT: Final = 500
#: So similar must two names be: what `difflib.get_close_matches` takes for close.
_CLOSE: Final = 0.6
#: Of long arguments, that many bytes are looked at; and no name that is longer.
_LONGEST: Final = 200
#: Hooks redact what they record in their own way; a child intent's payload is none of the arguments.
_REDACTED_ALREADY: Final = frozenset({"http", "process", "route"})


@dataclass(slots=True)
class Asked:
    """A question that was asked after its scope had left the order of the record.

    Attributes:
        question: what was asked.
        place: when in the run.
        source: the line that asked.
        index: the recorded question whose answer it got.
        exact: whether that one is equal to it.
    """

    question: Question
    place: int
    source: str
    index: int | None = None
    exact: bool = False


class Tape:
    """The recorded questions of one scope, and which of them have been asked.

    Args:
        masked: takes from encoded arguments what is not compared.
        redacted: takes secrets from them, which those on record may still have.

    Attributes:
        questions: on record, in their order.
        asked: what was asked since the first question that was not due.
        cursor: how many were asked before that.
        halted: nobody asks here any more.
    """

    def __init__(self, masked: Callable[[bytes], bytes], redacted: Callable[[bytes], bytes] = bytes) -> None:
        self.questions: list[RecordedQuestion] = []
        self._optional: set[tuple[str, str, bytes]] = set()
        self.asked: list[Asked] = []
        self.cursor = 0
        self.halted = False
        self._masked = masked
        self._redacted: Callable[[bytes], bytes] | None = redacted
        self._index: _Index | None = None

    def add(self, recorded: RecordedQuestion) -> None:
        """Adds the next recorded question."""
        self.questions.append(recorded)
        if recorded.kind in ABSENT_ANSWERS:
            self._optional.add((recorded.kind, recorded.name, recorded.arguments))

    def lacks(self, question: Question) -> bool:
        """Whether this record does not have it, for a question of `ABSENT_ANSWERS`."""
        return (question.kind, question.name, question.arguments) not in self._optional

    @property
    def is_as_recorded(self) -> bool:
        """Whether each recorded question was asked when it was due, and no other."""
        return self.cursor == len(self.questions) and not self.asked

    def due(self, question: Question) -> RecordedQuestion | None:
        """The next recorded question if this is it, and if all before it were."""
        if self._index is not None or self.cursor == len(self.questions):
            return None
        recorded = self.questions[self.cursor]
        if recorded.arguments != question.arguments and self._redacted is not None:
            self._redact(self._redacted)
            recorded = self.questions[self.cursor]
        if (
            recorded.arguments != question.arguments
            or recorded.name != question.name
            or recorded.kind != question.kind
            or recorded.unordered != question.unordered
        ):
            return None
        self.cursor += 1
        return recorded

    def _redact(self, redacted: Callable[[bytes], bytes]) -> None:
        """Takes the secrets out of what is on record; only where something differs, because it takes time."""
        self._redacted = None
        self.questions = [
            recorded
            if recorded.kind in _REDACTED_ALREADY
            else recorded._replace(arguments=redacted(recorded.arguments))
            for recorded in self.questions
        ]

    def stray(self, question: Question, place: int, source: str) -> RecordedQuestion | None:
        """The recorded question whose answer is given to one that was not due; None if there is none."""
        if self._index is None:
            self._index = _Index(self.questions, self.cursor, self._masked)
        asked = Asked(question, place, source)
        self.asked.append(asked)
        self._index.answer(asked)
        return None if asked.index is None else self.questions[asked.index]

    def nearest(self, question: Question) -> RecordedQuestion | None:
        """The recorded question that is most like one that is not on record."""
        same_kind = [recorded for recorded in self.questions if recorded.kind == question.kind]
        same = [recorded for recorded in same_kind if recorded.name == question.name]
        if same:
            return max(same[:_LOOKED_AT], key=lambda recorded: _likeness(recorded, question))
        known = dict.fromkeys(r.name for r in same_kind if len(r.name) <= _LONGEST)
        looked_at = list(known)[: _NAMES_LOOKED_AT if len(question.name) <= _LONGEST else 0]
        names = difflib.get_close_matches(question.name, looked_at, 1, _CLOSE)
        return next(
            (r for r in same_kind if r.name in names),
            next((r for r in same_kind if r.arguments == question.arguments), None),
        )


def _likeness(recorded: RecordedQuestion, question: Question) -> float:
    ones, others = recorded.arguments[:_LONGEST], question.arguments[:_LONGEST]
    return difflib.SequenceMatcher(None, ones, others, autojunk=False).ratio()


class _Index:
    """Finds recorded questions by what they are, each once; constant time for each that is asked."""

    def __init__(
        self, questions: Sequence[RecordedQuestion], begin: int, masked: Callable[[bytes], bytes]
    ) -> None:
        self._masked = masked
        self._free: defaultdict[tuple[str, str, bytes, bool], deque[int]] = defaultdict(deque)
        self._named: defaultdict[tuple[str, str], deque[int]] = defaultdict(deque)
        self._lent: defaultdict[tuple[str, str, bytes], deque[Asked]] = defaultdict(deque)
        self._keys: dict[int, tuple[str, str, bytes]] = {}
        self._used: set[int] = set()
        for index in range(begin, len(questions)):
            kind, name = questions[index].kind, questions[index].name
            key = self._keys[index] = (kind, name, masked(questions[index].arguments))
            self._free[*key, questions[index].unordered].append(index)
            self._named[kind, name].append(index)

    def answer(self, asked: Asked) -> None:
        """Says which recorded question answers; if it can, an equal one from the same sort of thread."""
        question = asked.question
        key = (question.kind, question.name, self._masked(question.arguments))
        index = self._first(self._free[*key, question.unordered])
        if index is None:
            index = self._first(self._free[*key, not question.unordered])
        if index is None and self._lent[key]:
            # It had been lent to one with other arguments, which is now known to be none of the record.
            borrower = self._lent[key].popleft()
            index, borrower.index = borrower.index, None
        asked.exact = index is not None
        if index is None:
            index = self._first(self._named[question.kind, question.name])
            if index is not None:
                self._lent[self._keys[index]].append(asked)
        asked.index = index
        if index is not None:
            self._used.add(index)

    def _first(self, places: deque[int]) -> int | None:
        while places:
            index = places.popleft()
            if index not in self._used:
                return index
        return None
