"""`LiveSession`: asks the world, and writes question and answer into the log.

The write-ahead rule: what the next call is, is in the log before the call is made, and on disk before it
unless agent or effect is read-only. What only tells (the clock, a seed, an id) waits for the next entry that
is written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Sequence
from typing import Literal, NamedTuple

from intentusnet import values
from intentusnet.errors import BranchCancelled
from intentusnet.fingerprint import fingerprint
from intentusnet.ids import Clock
from intentusnet.log.durability import Durability
from intentusnet.log.entry import Draft
from intentusnet.record import RecordedQuestion
from intentusnet.references import BOUND, Blob
from intentusnet.replay.bodies import answered_body, asked_body, kept, kept_outcome
from intentusnet.response import ErrorCode, ErrorInfo
from intentusnet.routing.plan import Plan
from intentusnet.routing.router import Request
from intentusnet.routing.strategies import Outcome
from intentusnet.stores.base import ExecutionStore
from intentusnet.transcript import (
    ACTING_KINDS,
    ROOT_SCOPE,
    Answer,
    Question,
    Ticket,
    attempt_scope,
)

WriteAhead = Literal["calls", "effects"]


class _Attempts:
    """The agents' answers by attempt, and which attempts were cancelled. Guarded by the session's lock."""

    def __init__(self) -> None:
        self.answers: dict[int, tuple[str, Answer]] = {}
        self.cancelled: set[str] = set()

    def ordered(self) -> tuple[tuple[str, Answer], ...]:
        return tuple(self.answers[number] for number in sorted(self.answers))

    def is_cancelled(self, question: Question) -> bool:
        path = question.scope or attempt_scope(question.ordinal)
        return path.partition("/")[0] in self.cancelled


def _refused_by_deadline(request: Request, question: Question, clock: Clock) -> Answer | None:
    deadline = request.envelope.deadline
    if question.kind != "agent" or deadline is None or clock.time_us() < deadline.timestamp() * 1_000_000:
        return None
    error = ErrorInfo(
        code=ErrorCode.AGENT_TIMEOUT,
        message=f"agent {question.name!r} was not called: the envelope's deadline had passed",
        details={"deadline": deadline.isoformat()},
    )
    return Answer(ok=False, data=error.encode(), refused=True)


class UnrecordedSession:
    """Asks the world and writes nothing: for a runtime without a store."""

    def __init__(self, execution_id: str, request: Request, clock: Clock) -> None:
        self.execution_id = execution_id
        self._request = request
        self._clock = clock
        self._lock = threading.Lock()
        self._attempts = _Attempts()

    @property
    def attempts(self) -> tuple[tuple[str, Answer], ...]:
        """Each agent that was called and its answer, in the order of the plan."""
        return self._attempts.ordered()

    def begin(self, question: Question) -> Ticket:
        """See `Session.begin`."""
        if self._attempts.cancelled and self._attempts.is_cancelled(question):
            raise BranchCancelled(question.scope)
        refused = _refused_by_deadline(self._request, question, self._clock)
        if refused is None:
            return Ticket(question)
        return Ticket(question, self.end(Ticket(question), refused))

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        """See `Session.end`."""
        question = ticket.question
        if question.kind == "agent":
            with self._lock:
                return self._attempts.answers.setdefault(question.ordinal, (question.name, answer))[1]
        return answer

    def cancel(self, attempt: int, name: str, answer: Answer) -> Answer:
        """See `Session.cancel`."""
        with self._lock:
            self._attempts.cancelled.add(attempt_scope(attempt))
            return self._attempts.answers.setdefault(attempt, (name, answer))[1]

    def fail(self, failure: Exception) -> None:
        """See `Session.fail`. Only a store can fail an execution, and there is none."""

    def close(self, outcome: Outcome) -> None:
        """Ends the execution."""


class Opening(NamedTuple):
    """What the first entry says beside envelope and plan.

    Attributes:
        environment: versions and digests, encoded.
        write_ahead: "calls", or "effects": then executions of read-only agents are written when they close.
    """

    environment: bytes
    write_ahead: WriteAhead = "calls"


class LiveSession:
    """Asks the world, and writes question and answer into a store.

    Args:
        execution_id: UUIDv7 as text.
        request: what is routed.
        plan: who is called.
        store: where the entries go.
        clock: for the envelope's deadline.
        opening: what the first entry says beside them.
    """

    def __init__(
        self,
        execution_id: str,
        request: Request,
        plan: Plan,
        *,
        store: ExecutionStore,
        clock: Clock,
        opening: Opening,
    ) -> None:
        self.execution_id = execution_id
        self._request = request
        self._store = store
        self._clock = clock
        self._durability = request.durability
        # What is written before the end need not be on disk before it, unless something is about to act.
        self._between: Durability = "async" if (request.durability or store.durability) == "async" else "os"
        self._lock = threading.Lock()
        self._pending: list[Draft] = []
        self._commits = hashlib.sha256()
        self._count = 0
        self._closed = False
        self._failure: BaseException | None = None
        self._attempts = _Attempts()
        self._questions: dict[tuple[str, int], RecordedQuestion] = {}
        self._held: tuple[Question, Answer] | None = None
        self._plan = plan
        self._implied = plan.announced
        self._concurrent = self._implied > 1
        self._lazy = opening.write_ahead == "effects" and plan.acting == ()
        self._open(opening)
        if plan.refusal is None:
            self._flush(sync=any(attempt < self._implied for attempt in plan.acting))

    @property
    def attempts(self) -> tuple[tuple[str, Answer], ...]:
        """Each agent that was called and its answer, in the order of the plan."""
        return self._attempts.ordered()

    def begin(self, question: Question) -> Ticket:
        """See `Session.begin`.

        Raises:
            BranchCancelled: another attempt has won the race.
            StoreWriteFailed: the question could not be written; it must not be asked.
        """
        self._check(question)
        refused = _refused_by_deadline(self._request, question, self._clock)
        if refused is not None:
            return Ticket(question, self.end(Ticket(question), refused))
        if question.kind in ACTING_KINDS and not self._is_implied(question):
            asked = asked_body(question)
            with self._lock:
                self._check(question)
                self._tell_held()
                self._remember(question, None)
                self._note("asked", *asked)
            acts = question.side_effect != "read_only"
            # A child may act, and its parent link must not lead to an execution that left no trace.
            self._lazy = self._lazy and not acts and question.kind != "route"
            self._flush(sync=acts)
        return Ticket(question)

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        """See `Session.end`.

        Raises:
            BranchCancelled: another attempt has won the race; the answer is lost.
            StoreWriteFailed: what was asked or answered could not be written.
        """
        question = ticket.question
        if question.kind == "agent":
            return self._end_attempt(question, answer)
        told = answered_body(question, answer, self_contained=question.kind not in ACTING_KINDS)
        with self._lock:
            self._check(question)
            self._remember(question, answer)
            self._note("answered", *told)
        if question.kind in ACTING_KINDS:
            self._flush(sync=False)
        return answer

    def cancel(self, attempt: int, name: str, answer: Answer) -> Answer:
        """See `Session.cancel`."""
        question = Question(ROOT_SCOPE, attempt, "agent", name)
        with self._lock:
            if attempt in self._attempts.answers:
                return self._attempts.answers[attempt][1]
            self._attempts.cancelled.add(attempt_scope(attempt))
            self._tell_attempt(question, answer)
        return answer

    def fail(self, failure: Exception) -> None:
        """See `Session.fail`."""
        self._failure = failure

    def close(self, outcome: Outcome) -> str:
        """Writes the last entry; when this returns, the record is as durable as was asked for.

        Raises:
            StoreWriteFailed: the record, or its end, could not be written.
        """
        if self._failure is not None:
            raise self._failure
        tree = outcome.tree(values.Fragment(outcome.data))
        with self._lock:
            if self._held is not None and (self._held[0].ordinal != outcome.attempt or self._held[1].refused):
                self._tell_held()
            self._closed = True
            request = self._request
            told = fingerprint(
                request.envelope.encode_compared(request.payload),
                self._plan.compared,
                self._questions.values(),
                values.dumps(tree),
            )
            blobs: list[Blob] = []
            if len(outcome.data) > BOUND:
                tree = outcome.tree(kept_outcome(outcome, blobs))
            closed = {
                **tree,
                "count": self._count,
                "digest": self._commits.hexdigest(),
                "fingerprint": told,
            }
            self._note("closed", values.dumps(closed), blobs)
            drafts, self._pending = self._pending, []
            self._store.append(drafts, durability=self._durability)
        return told

    def _open(self, opening: Opening) -> None:
        request, parent, blobs = self._request, self._request.parent, list[Blob]()
        link = None if parent is None else dataclasses.asdict(parent)
        body = b'{"depth":%d,"envelope":%b,"environment":%b,"parent":%b,"plan":%b}' % (
            request.depth,
            request.envelope.encode(kept(request.payload, blobs)),
            opening.environment,
            values.dumps(link),
            self._plan.encoded,
        )
        self._note("opened", body, blobs)

    def _is_implied(self, question: Question) -> bool:
        return question.kind == "agent" and question.ordinal < self._implied

    def _check(self, question: Question) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closed or (self._attempts.cancelled and self._attempts.is_cancelled(question)):
            raise BranchCancelled(question.scope)

    def _end_attempt(self, question: Question, answer: Answer) -> Answer:
        if self._failure is not None:
            raise self._failure
        with self._lock:
            if question.ordinal in self._attempts.answers:
                return self._attempts.answers[question.ordinal][1]
            if self._concurrent or answer.refused:
                self._tell_attempt(question, answer)
            else:
                self._attempts.answers[question.ordinal] = (question.name, answer)
                self._remember(question, answer)
                self._held = (question, answer)
        if self._concurrent and question.side_effect != "read_only":
            self._flush(sync=False)
        return answer

    def _tell_attempt(self, question: Question, answer: Answer) -> None:
        # An attempt that was refused before it was made has no `asked` entry, unless the plan announced it.
        announced = self._is_implied(question) or (ROOT_SCOPE, question.ordinal) in self._questions
        self._tell_held()
        self._attempts.answers[question.ordinal] = (question.name, answer)
        self._remember(question, answer)
        self._note("answered", *answered_body(question, answer, self_contained=not announced))

    def _tell_held(self) -> None:
        """Direct and fallback: an attempt's answer is written when it turns out not to be the outcome."""
        if self._held is not None:
            held, self._held = self._held, None
            self._note("answered", *answered_body(*held, self_contained=False))

    def _remember(self, question: Question, answer: Answer | None) -> None:
        self._questions[question.scope, question.ordinal] = RecordedQuestion(
            scope=question.scope,
            ordinal=question.ordinal,
            kind=question.kind,
            name=question.name,
            arguments=question.arguments,
            side_effect=question.side_effect,
            idempotent=question.idempotent,
            unordered=question.unordered,
            answer=answer,
        )

    def _note(self, kind: str, body: bytes, blobs: Sequence[Blob]) -> None:
        draft = Draft.make(kind, self.execution_id, body, ts=self._clock.time_us(), blobs=blobs)
        self._pending.append(draft)
        self._commits.update(draft.commit)
        self._count += 1

    def _flush(self, *, sync: bool) -> None:
        """Writes what is pending: under the lock, which keeps the order. Syncing needs no lock."""
        if self._lazy:
            return
        try:
            with self._lock:
                drafts, self._pending = self._pending, []
                if drafts:
                    self._store.append(drafts, durability=self._between)
            if sync:
                self._store.sync()
        except BaseException as failure:
            # What was pending may be lost: nothing may follow it, whatever the agent makes of this.
            self._failure = failure
            raise
