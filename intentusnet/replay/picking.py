"""A small corpus from a large log: one execution for each class of them.

Executions are of one class if nothing but their values differs: the intent, the agent that answered, the
strategy, how it ended, and which questions were asked, however often, and with values or errors for answers.
Which of a class is picked is decided by a hash of what it says, so that neither chance nor time nor the order
of the log has a part in it. Only what was picked so far is held, not the log.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Final

from intentusnet import values
from intentusnet.record import ExecutionRecord
from intentusnet.transcript import TELLING_KINDS

_NUMBER: Final = re.compile(r"[0-9]+")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST_NAME: Final = 80


@dataclass(frozen=True, slots=True)
class Exemplar:
    """The execution that stands for a class of them.

    Attributes:
        key: the class: SHA-256 (hex) of what its executions have in common.
        execution_id: the execution's.
        intent, agent, strategy, status, error_code: of the class.
        executions: how many the class has.
    """

    key: str
    execution_id: str
    intent: str
    agent: str | None
    strategy: str
    status: str
    error_code: str | None
    executions: int

    @property
    def file_name(self) -> str:
        """A file's name that is the same for the same class in any log."""
        return f"{_UNFIT.sub('-', self.intent)[:_LONGEST_NAME]}-{self.key[:12]}.jsonl"


@dataclass(frozen=True, slots=True)
class Picked:
    """What was picked.

    Attributes:
        exemplars: of the classes that were chosen, by intent and class.
        classes: how many classes there are.
        executions: how many executions those have.
        interrupted: how many have no end on record; they belong to no class.
    """

    exemplars: tuple[Exemplar, ...]
    classes: int
    executions: int
    interrupted: int


class Picking:
    """Picks while it is shown one execution after the other; mutable: holds what each class is."""

    def __init__(self) -> None:
        self._best: dict[str, tuple[str, str]] = {}
        self._ids: dict[str, str] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._counts: dict[str, int] = {}
        self._interrupted = 0

    def take(self, record: ExecutionRecord) -> None:
        """Shows it an execution."""
        if record.outcome is None:
            self._interrupted += 1
            return
        told = class_of(record)
        key = _sha256(values.dumps(told))
        # Equal executions have equal fingerprints; which of them it is, makes no difference but to the id.
        rank = _sha256((record.fingerprint or "").encode()), _sha256(record.execution_id.encode())
        self._counts[key] = self._counts.get(key, 0) + 1
        if key not in self._best or rank < self._best[key]:
            self._best[key] = rank
            self._ids[key] = record.execution_id
            self._told.setdefault(key, told)

    def picked(self, most: int | None = None) -> Picked:
        """What is picked of what it was shown.

        Args:
            most: pick that many at most, of the classes with the most executions.
        """
        keys = sorted(self._counts, key=lambda key: (-self._counts[key], key))[:most]
        exemplars = [self._exemplar(key) for key in keys]
        return Picked(
            tuple(sorted(exemplars, key=lambda exemplar: (exemplar.intent, exemplar.key))),
            len(self._counts),
            sum(self._counts.values()),
            self._interrupted,
        )

    def _exemplar(self, key: str) -> Exemplar:
        told = {name: value for name, value in self._told[key].items() if name != "asked"}
        return Exemplar(key=key, execution_id=self._ids[key], executions=self._counts[key], **told)


def class_of(record: ExecutionRecord) -> dict[str, Any]:
    """What an execution that has ended has in common with all others of its class, as raw tree."""
    assert record.outcome is not None
    error = record.outcome.error
    asked = {
        (
            # As many branches as there are: what they ask counts, not their number.
            _NUMBER.sub("", question.scope),
            question.kind,
            question.name,
            question.answer is not None and question.answer.ok,
        )
        for question in record.questions
        if question.kind not in TELLING_KINDS
    }
    return {
        "intent": record.intent,
        "agent": record.outcome.agent,
        "strategy": record.strategy,
        "status": record.outcome.status,
        "error_code": None if error is None else error["code"],
        "asked": [list(question) for question in sorted(asked)],
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
