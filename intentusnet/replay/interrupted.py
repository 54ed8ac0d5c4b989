"""What may be done about an interrupted execution: the rules, and the questions that decide by them.

A question that was asked and has no answer may have been acted on. If it only reads, or may be asked twice,
it is asked again; otherwise it is in doubt, and nothing is repeated until a person says what happened. What
an agent's body does by itself leaves no trace: a body that is not read-only is a question of that kind,
too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from intentusnet import values
from intentusnet.fingerprint import compared_envelope
from intentusnet.record import ExecutionRecord, RecordedQuestion
from intentusnet.stores.base import MAX_LIMIT, ExecutionStore, Query
from intentusnet.transcript import RECOVERY_SCOPE, ROOT_SCOPE, attempt_scope


class RecoveryRule(StrEnum):
    """What may be done; of several questions the last one of this list decides.

    ``resume``: go on. ``ask_again``: go on, and ask again what may be asked twice. ``wait``: an execution
    that it asked for still runs. ``in_doubt``: nothing, until a person says what happened.
    """

    RESUME = "resume"
    ASK_AGAIN = "ask_again"
    WAIT = "wait"
    IN_DOUBT = "in_doubt"


_ORDER = list(RecoveryRule)


@dataclass(frozen=True, slots=True)
class Pending:
    """A question that was asked, and has no answer on record.

    Attributes:
        execution_id: whose question it is: the execution's own, or that of one that it asked for.
        scope, question: where: the scope, and the number in it.
        kind, name: what was asked.
        rule: what may be done about it.
        why: why so, for people.
    """

    execution_id: str
    scope: str
    question: int
    kind: str
    name: str
    rule: RecoveryRule
    why: str

    def as_dict(self) -> dict[str, Any]:
        """The question as the command line prints it."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Interrupted:
    """An execution without an end, and what may be done about it.

    Attributes:
        execution_id: its id.
        ts: when it was opened, in microseconds since 1970-01-01 UTC.
        intent: the intent's name.
        rule: what may be done.
        why: why so, for people.
        pending: the questions that decide, in the order of the log.
    """

    execution_id: str
    ts: int
    intent: str
    rule: RecoveryRule
    why: str
    pending: tuple[Pending, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The execution as the command line prints it."""
        told = {name: getattr(self, name) for name in self.__slots__}
        return {**told, "pending": [question.as_dict() for question in self.pending]}


def interrupted(store: ExecutionStore) -> Iterator[Interrupted]:
    """The interrupted executions of a store, oldest first; those that still run are none.

    Raises:
        IntegrityBroken: the log is damaged.
    """
    cut, cursor = store.custody.cut(), None
    while True:
        query = Query(status="interrupted", oldest_first=True, limit=MAX_LIMIT, cursor=cursor)
        page = store.list(query)
        for row in page.rows:
            record = store.get(row.execution_id)
            running = store.custody.is_running(record.execution_id, record.runner)
            # Looked at in this order, one that has ended meanwhile is not taken for interrupted.
            if not running and store.get(row.execution_id).outcome is None:
                yield assess(record, store, cut)
        cursor = page.cursor
        if cursor is None:
            return


def assess(record: ExecutionRecord, store: ExecutionStore, cut: frozenset[str] | None = None) -> Interrupted:
    """What may be done about one interrupted execution.

    Args:
        record: what is on record of it.
        store: where it is, with those that it asked for.
        cut: executions that a repair has cut; the store is asked if None.
    """
    if record.execution_id in (store.custody.cut() if cut is None else cut):
        why = "a repair of the log has cut it: what else it did, and whether it ended, is unknown"
        return _told(record, RecoveryRule.IN_DOUBT, why, ())
    if not _has_its_answer(record):
        why = "it is a fork, and ended before it came to the answer that it was given: fork it again"
        return _told(record, RecoveryRule.IN_DOUBT, why, ())
    pending = tuple(_pending(record, store, cut))
    rule = max((question.rule for question in pending), key=_ORDER.index, default=RecoveryRule.RESUME)
    if rule is RecoveryRule.RESUME:
        return _told(record, rule, "whatever has no answer can be asked again: it only reads", pending)
    deciding = [f"{q.kind} {q.name} at {q.scope}:{q.question}: {q.why}" for q in pending if q.rule is rule]
    return _told(record, rule, "; ".join(deciding), pending)


def _told(record: ExecutionRecord, rule: RecoveryRule, why: str, pending: tuple[Pending, ...]) -> Interrupted:
    return Interrupted(record.execution_id, record.opened_us, record.intent, rule, why, pending)


def _pending(record: ExecutionRecord, store: ExecutionStore, cut: frozenset[str] | None) -> Iterator[Pending]:
    ended = {
        attempt_scope(q.ordinal) for q in record.questions if q.scope == ROOT_SCOPE and q.answer is not None
    }
    denied = _said_not_to_have_happened(record)
    agents = {candidate["agent"]: candidate for candidate in record.plan_tree["candidates"]}
    taken = set(record.children)
    for question in record.questions:
        if question.answer is not None or question.scope.partition("/")[0] in ended:
            continue
        place = (record.execution_id, question.scope, question.ordinal, question.kind, question.name)
        if question.kind == "route":
            yield from _pending_child(record, question, store, cut, taken)
            continue
        traits = question._asdict() if question.kind != "agent" else agents[question.name]
        subject = "its body" if question.kind == "agent" else "it"
        if traits["side_effect"] == "read_only":
            yield Pending(*place, RecoveryRule.RESUME, f"{subject} is read_only")
        elif traits["idempotent"]:
            yield Pending(*place, RecoveryRule.ASK_AGAIN, f"{subject} is idempotent")
        elif (question.scope, question.ordinal) in denied:
            yield Pending(*place, RecoveryRule.ASK_AGAIN, "somebody said that it did not happen")
        else:
            why = f"{subject} is {traits['side_effect']}, and whether it happened is unknown"
            yield Pending(*place, RecoveryRule.IN_DOUBT, why)


def _pending_child(
    record: ExecutionRecord,
    question: RecordedQuestion,
    store: ExecutionStore,
    cut: frozenset[str] | None,
    taken: set[str],
) -> Iterator[Pending]:
    child = child_of(record, question, store, taken)
    place = (record.execution_id, question.scope, question.ordinal, question.kind, question.name)
    if child is None:
        yield Pending(*place, RecoveryRule.RESUME, "no execution was begun for it")
    elif child.outcome is not None:
        yield Pending(*place, RecoveryRule.RESUME, f"execution {child.execution_id} has ended")
    elif store.custody.is_running(child.execution_id, child.runner):
        yield Pending(*place, RecoveryRule.WAIT, f"execution {child.execution_id} still runs")
    else:
        found = assess(child, store, cut)
        yield Pending(*place, found.rule, f"execution {child.execution_id} was interrupted, too")
        yield from found.pending


def open_children(record: ExecutionRecord, store: ExecutionStore) -> dict[tuple[str, int], str]:
    """The executions that were begun to answer questions without an answer, by scope and number of those.

    Threads of an agent's own may have asked for children that are alike: each question gets one of its own.
    """
    found, taken = dict[tuple[str, int], str](), set(record.children)
    for question in record.questions:
        if question.kind == "route" and question.answer is None:
            child = child_of(record, question, store, taken)
            if child is not None:
                found[question.scope, question.ordinal] = child.execution_id
    return found


def child_of(
    record: ExecutionRecord, question: RecordedQuestion, store: ExecutionStore, taken: set[str]
) -> ExecutionRecord | None:
    """The execution that was begun to answer a question, if there is one.

    It stands behind the question in the log, because what is asked is written first.

    Args:
        record: whose question it is.
        question: a question without an answer.
        store: where both are.
        taken: executions that answer other questions; the one that is found is added.
    """
    first = Query(oldest_first=True, text=record.execution_id, limit=MAX_LIMIT)
    cursor: str | None = first.cursor_after(record.entries[0].seq)
    while cursor is not None:
        page = store.list(Query(oldest_first=True, text=record.execution_id, limit=MAX_LIMIT, cursor=cursor))
        for row in page.rows:
            if row.execution_id not in taken:
                child = store.get(row.execution_id)
                if _answers(child, record, question):
                    taken.add(child.execution_id)
                    return child
        cursor = page.cursor
    return None


def _answers(child: ExecutionRecord, record: ExecutionRecord, question: RecordedQuestion) -> bool:
    link = child.parent
    if link is None or (link.execution, link.scope) != (record.execution_id, question.scope):
        return False
    # Where threads take turns as they like, a question's number is not the same in the next run.
    same = values.dumps(compared_envelope(child.envelope_tree)) == question.arguments
    return same and (question.unordered or link.question == question.ordinal)


def _has_its_answer(record: ExecutionRecord) -> bool:
    """Whether a fork has written down the answer that makes it one; without it, it would be another run."""
    link = record.forked_from
    places = {(q.scope, q.ordinal) for q in record.questions if q.answer is not None}
    return link is None or (link.scope, link.question) in places


def _said_not_to_have_happened(record: ExecutionRecord) -> set[tuple[str, int]]:
    """The questions of which a person said so, and which were not asked again after that."""
    said: set[tuple[str, int]] = set()
    notes = {q.ordinal: q for q in record.questions if q.scope == RECOVERY_SCOPE and q.name == "resolved"}
    if not notes:
        return said
    for entry in record.entries[1:]:
        body = values.parse(entry.body)
        key = (body.get("scope"), body.get("question"))
        if entry.kind == "asked":
            said.discard(key)
        elif key[0] == RECOVERY_SCOPE and key[1] in notes:
            told = values.parse(notes[key[1]].arguments)["kwargs"]
            if not told["happened"]:
                said.add((told["scope"], told["question"]))
    return said
