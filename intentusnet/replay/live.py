"""`LiveSession`: asks the world, and writes question and answer into the log.

The write-ahead rule: what the next call is, is in the log before the call is made, and on disk before it
unless agent or effect is read-only. What only tells (the clock, a seed, an id) waits for the next entry that
is written.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from typing import Literal, NamedTuple

from intentusnet import values
from intentusnet.envelope import RoutingStrategy
from intentusnet.errors import BranchCancelled
from intentusnet.fingerprint import fingerprint
from intentusnet.ids import Clock
from intentusnet.log.durability import Durability
from intentusnet.log.entry import Draft, Drafts
from intentusnet.record import ExecutionRecord, ParentLink, RecordedQuestion, usage_of
from intentusnet.references import BOUND, Blob
from intentusnet.replay.bodies import answered_body, asked_body, kept, kept_outcome
from intentusnet.replay.unrecorded import Attempts, refused, stop_if_cancelled
from intentusnet.routing.plan import Plan
from intentusnet.routing.request import Request
from intentusnet.routing.strategies import Outcome
from intentusnet.stores.base import ExecutionStore
from intentusnet.transcript import (
    ACTING_KINDS,
    ADMISSION,
    RETRY,
    ROOT_SCOPE,
    Answer,
    Door,
    Question,
    Ticket,
)

WriteAhead = Literal["calls", "effects"]
_CONCURRENT = (RoutingStrategy.PARALLEL, RoutingStrategy.BROADCAST)


class Opening(NamedTuple):
    """What the first entry says beside envelope and plan.

    Attributes:
        environment: versions and digests, encoded.
        write_ahead: "calls", or "effects": then executions of read-only agents are written when they close.
        forked_from: the question of another execution that is given another answer in this one.
    """

    environment: bytes
    write_ahead: WriteAhead = "calls"
    forked_from: ParentLink | None = None


class LiveSession:
    """Asks the world, and writes question and answer into a store.

    Args:
        execution_id: UUIDv7 as text.
        request: what is routed.
        plan: who is called.
        store: where the entries go.
        clock: for the envelope's deadline.
        opening: what the first entry says beside them; or what is on record of the execution, to go on from.
    """

    def __init__(
        self,
        execution_id: str,
        request: Request,
        plan: Plan,
        *,
        store: ExecutionStore,
        clock: Clock,
        opening: Opening | ExecutionRecord,
    ) -> None:
        self.execution_id = execution_id
        self._request = request
        self._store = store
        self._clock = clock
        self._durability = request.durability
        # What is written before the end need not be on disk before it, unless something is about to act. Who
        # has the same idempotency key, in whatever process, must see it when it has begun.
        keyed = request.is_keyed
        is_async = (request.durability or store.durability) == "async"
        self._between: Durability = "async" if is_async and not keyed else "os"
        self._lock = threading.Lock()
        self._drafts = Drafts(execution_id)
        self._pending: list[Draft] = []
        self._commits: list[bytes] = []
        self._closed = False
        self._failure: BaseException | None = None
        self._attempts = Attempts(plan)
        self._questions: dict[tuple[str, int], RecordedQuestion] = {}
        self._held: tuple[Question, Answer] | None = None
        self._plan = plan
        self._implied = plan.announced
        self._concurrent = len(plan.steps) > 1 and plan.strategy in _CONCURRENT
        self._lazy = False
        if not isinstance(opening, Opening):
            self._go_on(opening)
            return
        self._lazy = opening.write_ahead == "effects" and plan.acting == () and not keyed
        try:
            self._open(opening)
            if plan.refusal is None:
                self._flush(sync=plan.acting != () and plan.acting[0] < self._implied)
        except BaseException:
            store.custody.end(execution_id)
            raise

    @property
    def attempts(self) -> tuple[tuple[str, Answer], ...]:
        """See `Recorder.attempts`."""
        return self._attempts.ordered()

    @property
    def usage(self) -> dict[str, float]:
        """See `Recorder.usage`."""
        with self._lock:
            return usage_of(self._questions.values())

    def begin(self, question: Question) -> Ticket:
        """See `Session.begin`.

        Raises:
            BranchCancelled: another attempt has won the race, or this one's time was up.
            ExecutionCancelled: the execution was cancelled.
            StoreWriteFailed: the question could not be written; it must not be asked.
        """
        self._check(question)
        answer = refused(self._request, question, self._clock)
        if answer is not None:
            return Ticket(question, self.end(Ticket(question), answer))
        if question.kind in ACTING_KINDS and not self._is_implied(question):
            asked = asked_body(question)
            with self._lock:
                self._check(question)
                self._tell_held()
                self._remember(question, None)
                self._note("asked", *asked)
                self._attempts.begins(question)
                acts = question.side_effect != "read_only"
                # A child may act, and its parent link must not lead to an execution that left no trace.
                if acts or question.kind == "route":
                    self._lazy = False
            self._flush(sync=acts)
            self._check(question)  # it may have been cut off meanwhile
        return Ticket(question)

    @property
    def waits(self) -> bool:
        """See `Session.waits`."""
        return True

    def is_acting(self, attempt: int) -> bool:
        """See `Session.is_acting`."""
        return self._attempts.is_acting(attempt)

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        """See `Session.end`.

        Raises:
            BranchCancelled: another attempt has won the race; the answer is lost.
            ExecutionCancelled: the execution was cancelled meanwhile; the answer is on record.
            StoreWriteFailed: what was asked or answered could not be written.
        """
        question = ticket.question
        if question.kind == "agent":
            return self._end_attempt(question, answer)
        if question.kind == ADMISSION:
            self.tell(question, answer)
            if question.name == RETRY:  # what it waits for may be long in coming
                self._flush(sync=False)
            return answer
        told = answered_body(question, answer, self_contained=question.kind not in ACTING_KINDS)
        with self._lock:
            self._check(question)
            self._attempts.ends(question)
            self._remember(question, answer)
            self._note("answered", *told)
        if question.kind in ACTING_KINDS:
            self._flush(sync=False)
            stop_if_cancelled(self._request)
        return answer

    def ask_again(self, question: Question) -> Ticket:
        """Takes note that a question is asked again that is on record without an answer; see `begin`."""
        self._check(question)
        if question.kind != "agent":  # an agent was called before; its own questions are refused
            refused(self._request, question, self._clock)
        acts = question.side_effect != "read_only"
        asked = asked_body(question) if acts else None
        with self._lock:
            self._check(question)
            self._attempts.begins(question)
            if asked is not None:
                self._tell_held()
                self._note("asked", *asked)
        if acts:
            self._flush(sync=True)
            self._check(question)
        return Ticket(question)

    def tell(self, question: Question, answer: Answer) -> None:
        """Takes note of a question and an answer for which the world was not asked."""
        told = answered_body(question, answer, self_contained=True)
        with self._lock:
            self._check(question)
            if question.kind == ADMISSION:
                self._tell_held()
                self._attempts.told(question, answer)
            self._remember(question, answer)
            self._note("answered", *told)

    def cancel(self, attempt: int, name: str, answer: Answer) -> Answer:
        """See `Session.cancel`."""
        with self._lock:
            attempt = self._attempts.due(attempt)
            if attempt in self._attempts.answers:
                self._attempts.cancelled.add(attempt)  # it is not repeated any more
                return self._attempts.answers[attempt][1]
            answer = self._attempts.cut_off(attempt, answer)
            self._tell_attempt(Question(ROOT_SCOPE, attempt, "agent", name), answer)
        return answer

    def recalls(self, question: Question) -> None:
        """See `RoutedSession.recalls`. What is on record, others know."""

    def door(self) -> Door:
        """See `RoutedSession.door`. What is on record, others know."""
        return Door()

    def refuse(self, question: Question, answer: Answer) -> Answer:
        """See `RoutedSession.refuse`."""
        return self._end_attempt(question, answer)

    def misfit(self, ticket: Ticket, fault: Exception) -> BaseException:
        """See `Session.misfit`. What has just been asked was written by the same type."""
        return fault

    def fail(self, failure: Exception) -> None:
        """See `Session.fail`."""
        self._failure = failure

    def abandon(self, fault: BaseException) -> None:
        """Ends the execution without an outcome, because of what was raised: it is interrupted now."""
        # Under the lock: whoever resumes it must not be surprised by what a thread was about to write.
        with self._lock:
            self._failure = self._failure or fault
        self._store.custody.end(self.execution_id)

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
                "count": len(self._commits),
                "digest": values.digest(b"".join(self._commits)),
                "fingerprint": told,
            }
            self._note("closed", values.dumps(closed), blobs)
            drafts, self._pending = self._pending, []
            self._store.append(drafts, durability=self._durability)
        self._store.custody.end(self.execution_id)
        return told

    def _open(self, opening: Opening) -> None:
        request, parent, blobs = self._request, self._request.parent, list[Blob]()
        link = b"null" if parent is None else values.dumps(dataclasses.asdict(parent))
        forked_from = opening.forked_from
        fork = (
            b""
            if forked_from is None
            else b'"forked_from":%b,' % values.dumps(dataclasses.asdict(forked_from))
        )
        body = b'{"depth":%d,"envelope":%b,"environment":%b,%b"parent":%b,"plan":%b,"runner":"%b"}' % (
            request.depth,
            request.envelope.encode(kept(request.payload, blobs)),
            opening.environment,
            fork,
            link,
            self._plan.encoded,
            self._store.custody.begin(self.execution_id).encode(),
        )
        self._note("opened", body, blobs)

    def _go_on(self, record: ExecutionRecord) -> None:
        """Makes the state what it was after the last entry that is on record."""
        self._commits += [entry.commit for entry in record.entries]
        for question in record.questions:
            self._questions[question.scope, question.ordinal] = question
            if question.kind == "agent" and question.answer is not None:
                self._attempts.answers[question.ordinal] = (question.name, question.answer)
            elif question.kind == ADMISSION and question.answer is not None:
                self._attempts.told(Question(*question[:-1]), question.answer)

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
        self._questions[question.scope, question.ordinal] = RecordedQuestion(*question, answer)

    def _note(self, kind: str, body: bytes, blobs: Sequence[Blob]) -> None:
        draft = self._drafts.make(kind, body, self._clock.time_us(), blobs)
        self._pending.append(draft)
        self._commits.append(draft.commit)

    def _flush(self, *, sync: bool) -> None:
        """Writes what is pending: under the lock, which keeps the order. Syncing needs no lock."""
        if self._lazy:
            return
        try:
            with self._lock:
                if self._failure is not None:
                    raise self._failure
                drafts, self._pending = self._pending, []
                if drafts:
                    self._store.append(drafts, durability=self._between)
            if sync:
                self._store.sync()
        except BaseException as failure:
            # What was pending may be lost: nothing may follow it, whatever the agent makes of this.
            self._failure = failure
            raise
