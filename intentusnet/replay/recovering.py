"""`Recovering`: the part of a runtime that goes on with executions: recover, resume, resolve, fork."""

from __future__ import annotations

import threading
from typing import Any, Final, NoReturn

from intentusnet import values
from intentusnet.context import World, plain
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import (
    ConfigurationError,
    ContinuationDiverged,
    InDoubt,
    InvalidInput,
    NotReplayable,
    ReplayHalted,
    StillRunning,
)
from intentusnet.events import Origin
from intentusnet.fingerprint import compared_plan
from intentusnet.ids import Clock, Ids
from intentusnet.log.entry import Draft
from intentusnet.record import ExecutionRecord, ParentLink, RecordedQuestion
from intentusnet.replay.bodies import answered_body
from intentusnet.replay.continuing import ContinuedSession
from intentusnet.replay.differences import differences
from intentusnet.replay.divergence import Divergence, DivergenceKind
from intentusnet.replay.fork import Fork, ForkSession
from intentusnet.replay.interrupted import Interrupted, Pending, RecoveryRule, assess, child_of, interrupted
from intentusnet.replay.live import LiveSession, Opening
from intentusnet.replay.resume import ResumeSession, recovery_note
from intentusnet.response import AgentResponse
from intentusnet.routing.control import Control
from intentusnet.routing.plan import Plan
from intentusnet.routing.router import IntentRouter, Request
from intentusnet.stores.base import ExecutionStore
from intentusnet.stores.custody import still_running
from intentusnet.transcript import Answer, Question

#: No question has a number of more digits; Python refuses to read those of more than 4,300.
_MOST_DIGITS: Final = 18


class Recovering:
    """What `IntentusRuntime` can do about executions that are on record. Not made by itself."""

    store: ExecutionStore | None
    clock: Clock
    ids: Ids
    _router: IntentRouter
    _world: World

    def recover(self) -> tuple[Interrupted, ...]:
        """The interrupted executions of the store, oldest first, and what may be done about each.

        Nothing is done about them. Executions that a live process runs are not among them.

        Raises:
            IntegrityBroken: the log is damaged.
        """
        return tuple(interrupted(self._store()))

    def resume(self, execution_id: str) -> AgentResponse:
        """Goes on with an interrupted execution, in the same record.

        Agents are run again with the answers that are on record, then asked on. Executions that it had asked
        for, and that were interrupted with it, go on first. One that has ended is not run: its response is
        returned.

        Args:
            execution_id: an id, or what else the store resolves.

        Raises:
            RecordNotFound: the store has no such execution.
            InDoubt: whether something happened is unknown; nothing was done. See `resolve`.
            StillRunning: it is not interrupted.
            NotReplayable: the envelope on record cannot be read.
            ContinuationDiverged: plan, or questions, are others than those on record; it stays interrupted.
            StoreWriteFailed: the record cannot be written.
        """
        store = self._store(execution_id)
        execution_id = store.resolve(execution_id)
        record = store.get(execution_id)
        if record.outcome is not None:
            return record.response
        if store.custody.is_running(execution_id, record.runner):
            raise still_running(execution_id)
        with store.custody.claim(execution_id):
            # Somebody may have resumed it meanwhile.
            record = store.get(execution_id)
            if record.outcome is not None:
                return record.response
            found = assess(record, store)
            if found.rule in (RecoveryRule.IN_DOUBT, RecoveryRule.WAIT):
                _refuse(found)
            return self._resume(record, store)

    def resolve(
        self, execution_id: str, happened: bool, *, by: str, question: str | None = None, answer: Any = None
    ) -> Interrupted:
        """Writes a person's word about a question that is in doubt into the record; runs nothing.

        Args:
            execution_id: an id, or what else the store resolves.
            happened: whether what was asked was done. If not, a resumption asks it again.
            by: who says so.
            question: which one, as ``SCOPE:NUMBER``; may be left out if only one is in doubt.
            answer: what it answered, if it happened: a recordable value.

        Returns:
            What may be done about the execution now.

        Raises:
            InvalidInput: no such question is in doubt, or several are.
            InDoubt: a repair has cut the execution, so that nobody knows which questions there were.
            StillRunning: it is not interrupted.
            UnrecordableValue: the answer cannot be recorded.
        """
        store = self._store(execution_id)
        execution_id = store.resolve(execution_id)
        if store.custody.is_running(execution_id, store.get(execution_id).runner):
            raise still_running(execution_id)
        with store.custody.claim(execution_id):
            record = store.get(execution_id)
            pending = _doubted(assess(record, store), question) if record.outcome is None else None
            if pending is None:
                raise InvalidInput("the execution has ended: nothing is in doubt", where=execution_id)
            told = {"by": by, "happened": happened, "question": pending.question, "scope": pending.scope}
            note = recovery_note(record, "resolved", values.encode_arguments((), told))
            said = [(note, Answer(ok=True, data=b"null"))]
            if happened:
                asked = Question(pending.scope, pending.question, pending.kind, pending.name)
                # An agent's answer that is not its own is taken from the record by a replay, too.
                refused = pending.kind == "agent"
                said.append((asked, Answer(True, values.encode(plain(answer)), refused=refused)))
            drafts = []
            for asked, given in said:
                body, blobs = answered_body(asked, given, self_contained=asked is note)
                ts = self.clock.time_us()
                drafts.append(Draft.make("answered", execution_id, body, ts=ts, blobs=blobs))
            store.append(drafts, durability="disk")
            return assess(store.get(execution_id), store)

    def fork(self, execution_id: str, at: str, answer: Any) -> AgentResponse:
        """Runs an execution anew up to a question, gives that another answer, and goes on live from there.

        What is asked from there on is asked of the world. The result is an execution of its own, whose record
        says which question of which execution it was forked from.

        Args:
            execution_id: an id, or what else the store resolves; it may be interrupted.
            at: the question, as ``SCOPE:NUMBER``, such as ``attempt:0:3``; ``:0`` for the first agent.
            answer: what it is answered: a recordable value; to a child intent, the child's payload.

        Raises:
            RecordNotFound: there is no such execution, or no such question.
            InvalidInput: the agent that asked it must not be run again, or nothing could give that answer.
            ContinuationDiverged: plan, or questions before that one, are others than those on record.
            UnrecordableValue: the answer cannot be recorded.
            StoreWriteFailed: the record cannot be written.
        """
        store = self._store(execution_id)
        record = store.get(store.resolve(execution_id))
        scope, ordinal = parse_place(at)
        fork = Fork(record, scope, ordinal, answer)
        new = self.ids.execution_id()
        # It is run now, and its acts are its own: neither the old deadline nor the old key is meant for it.
        envelope = _envelope(record).model_copy(update={"id": new, "deadline": None, "idempotency_key": None})
        data = values.dumps(record.envelope_tree["payload"])
        request = Request(envelope, data, None, record.depth, control=Control())
        plan = self._router.guarded(self._planned(record, request))
        fork.check(plan)
        opening = self._opening(plan)._replace(forked_from=ParentLink(record.execution_id, scope, ordinal))
        live = LiveSession(new, request, plan, store=store, clock=self.clock, opening=opening)
        return self._continue(plan, request, ForkSession(live, fork), "fork")

    def _begun(self, execution_id: str, request: Request) -> None:
        raise NotImplementedError

    def _opening(self, plan: Plan) -> Opening:
        raise NotImplementedError

    def _store(self, reference: str = "") -> ExecutionStore:
        if self.store is None:
            raise ConfigurationError(
                "the runtime has no store to find a record in",
                got=reference and repr(reference),
                hint="make it with IntentusRuntime(store=…), or hand over the ExecutionRecord itself",
            )
        return self.store

    def _resume(self, record: ExecutionRecord, store: ExecutionStore) -> AgentResponse:
        request = Request(
            _envelope(record),
            values.dumps(record.envelope_tree["payload"]),
            record.parent,
            record.depth,
            control=Control(),
        )
        plan = self._planned(record, request)
        # Whoever wanted it cancelled before it was interrupted did not mean what is done now.
        store.custody.stopped(record.execution_id)
        live = LiveSession(record.execution_id, request, plan, store=store, clock=self.clock, opening=record)

        # Threads of an agent's own may ask for children that are alike: each gets one of its own.
        taken, lock = set(record.children), threading.Lock()

        def child(question: RecordedQuestion) -> AgentResponse | None:
            with lock:
                found = child_of(record, question, store, taken)
            return None if found is None else self.resume(found.execution_id)

        return self._continue(plan, request, ResumeSession(live, record, child), "resume")

    def _planned(self, record: ExecutionRecord, request: Request) -> Plan:
        """The plan of now, if it is the one on record.

        Raises:
            ContinuationDiverged: it is another.
            ConfigurationError: an asynchronous agent would have to run.
        """
        plan = self._router.plan_again(request.envelope, record)
        places = differences(compared_plan(record.plan_tree), compared_plan(plan.tree()))
        if places:
            pointer, expected, actual = places[0]
            fault = ContinuationDiverged(
                "the execution cannot go on from its record: agents or policy are others than they were",
                where=f"plan, {pointer}",
                expected=values.dumps(expected).decode(),
                got=values.dumps(actual).decode(),
                hint="Nothing was called. Use the agents and the policy that made the record.",
            )
            fault.divergences = tuple(Divergence(DivergenceKind.PLAN, "", "", *place) for place in places)
            raise fault
        self._router.check_waits_for(plan)
        return plan

    def _continue(
        self, plan: Plan, request: Request, session: ContinuedSession, origin: Origin
    ) -> AgentResponse:
        self._begun(session.execution_id, request)
        try:
            return self._router.run(plan, request, session, origin)
        except ReplayHalted:
            assert session.diverged is not None
            raise session.diverged from None


def _envelope(record: ExecutionRecord) -> IntentEnvelope:
    try:
        return record.envelope
    except (InvalidInput, ValueError) as fault:
        raise NotReplayable(
            "the envelope on record cannot be read", where=record.execution_id, got=str(fault)
        ) from fault


def parse_place(text: str) -> tuple[str, int]:
    """Scope and number of a question that is written ``SCOPE:NUMBER``.

    Raises:
        InvalidInput: it is not written so.
    """
    scope, colon, number = text.rpartition(":")
    if not colon or not number.isascii() or not number.isdigit() or len(number) > _MOST_DIGITS:
        raise InvalidInput(
            "not the place of a question", expected="SCOPE:NUMBER, such as attempt:0:3", got=repr(text)
        )
    return scope, int(number)


def _refuse(found: Interrupted) -> NoReturn:
    if found.rule is RecoveryRule.WAIT:
        raise StillRunning(
            "an execution that this one asked for is still running",
            where=found.execution_id,
            got=found.why,
            hint="Wait for its end. When the process that runs it has ended, both can be resumed.",
        )
    named = next((q for q in found.pending if q.rule is found.rule and q.kind != "route"), None)
    hint = "`intentusnet show` prints what it had done."
    if named is not None:
        hint = (
            "Find out, and say so: `intentusnet recover "
            f"{named.execution_id} --resolve happened|did-not-happen`."
        )
    raise InDoubt(
        "the execution is in doubt, and is not resumed", where=found.execution_id, got=found.why, hint=hint
    )


def _doubted(found: Interrupted, place: str | None) -> Pending:
    """The question that is meant, of those that are in doubt.

    Raises:
        InDoubt: it is not a question that is in doubt.
        InvalidInput: none is meant, or several are.
    """
    doubts = [q for q in found.pending if q.rule is RecoveryRule.IN_DOUBT and q.kind != "route"]
    if found.rule is RecoveryRule.IN_DOUBT and not doubts:
        _refuse(found)
    own = [q for q in doubts if q.execution_id == found.execution_id]
    wanted = own if place is None else [q for q in own if (q.scope, q.question) == parse_place(place)]
    if len(wanted) == 1:
        return wanted[0]
    told = ", ".join(
        f"{q.scope}:{q.question} ({q.kind} {q.name})"
        + ("" if q.execution_id == found.execution_id else f" of execution {q.execution_id}")
        for q in doubts
    )
    raise InvalidInput(
        "no such question is in doubt" if place is not None or not own else "several questions are in doubt",
        where=found.execution_id,
        expected=told or "nothing is in doubt",
        got=place or "",
        hint="Name one of them." if told else "",
    )
