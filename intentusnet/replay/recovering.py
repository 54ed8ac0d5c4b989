"""`Recovering`: the part of a runtime that goes on with executions: recover, resume, resolve, fork."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple, ParamSpec, TypeVar

from intentusnet import values
from intentusnet.context import World, plain
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import (
    ConfigurationError,
    ContinuationDiverged,
    InvalidInput,
    NotReplayable,
    ReplayHalted,
)
from intentusnet.events import Origin
from intentusnet.fingerprint import compared_plan
from intentusnet.ids import Clock, Ids
from intentusnet.log.entry import Draft
from intentusnet.record import ExecutionRecord, ParentLink
from intentusnet.replay.bodies import answered_body
from intentusnet.replay.continuing import ContinuedSession
from intentusnet.replay.differences import differences
from intentusnet.replay.divergence import Divergence, DivergenceKind
from intentusnet.replay.doubts import doubted, parse_place, refuse
from intentusnet.replay.fork import Fork, ForkSession
from intentusnet.replay.interrupted import Interrupted, RecoveryRule, assess, interrupted, open_children
from intentusnet.replay.live import LiveSession, Opening
from intentusnet.replay.resume import ResumeSession, recovery_note
from intentusnet.response import AgentResponse
from intentusnet.routing.control import TASK_CANCELLED, Control
from intentusnet.routing.plan import Plan
from intentusnet.routing.request import NO_LIMIT, Request
from intentusnet.routing.router import IntentRouter
from intentusnet.stores.base import ExecutionStore
from intentusnet.stores.custody import still_running
from intentusnet.transcript import Answer, Question

P = ParamSpec("P")
T = TypeVar("T")


class Continuation(NamedTuple):
    """An execution that is about to go on, or to begin from another one's record.

    Attributes:
        plan, request: whom it calls, and for what.
        session: answers from the record as far as that goes.
        origin: which of the two it is.
    """

    plan: Plan
    request: Request
    session: ContinuedSession
    origin: Origin


class Recovering:
    """What `IntentusRuntime` can do about executions that are on record. Not made by itself."""

    store: ExecutionStore | None
    clock: Clock
    ids: Ids
    _router: IntentRouter
    _world: World

    @property
    def awaits(self) -> bool:
        """Whether an agent, or a hook, has to be awaited."""
        raise NotImplementedError

    def recover(self) -> tuple[Interrupted, ...]:
        """The interrupted executions of the store, oldest first, and what may be done about each.

        Nothing is done about them. Executions that a live process runs are not among them.

        Raises:
            IntegrityBroken: the log is damaged.
        """
        return tuple(interrupted(self._store()))

    async def recover_async(self) -> tuple[Interrupted, ...]:
        """As `recover`, without keeping the event loop waiting for the disk.

        Raises:
            IntegrityBroken: the log is damaged.
        """
        return await self._world.off_loop(self.recover)

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
        return self._resume(execution_id, None)

    async def resume_async(self, execution_id: str) -> AgentResponse:
        """Goes on with an interrupted execution as `resume` does, where asynchronous agents are awaited.

        To cancel the task that awaits this is to cancel the execution, which is on record then; before it
        goes on, it is to leave it as it was.

        Raises:
            CancelledError: the task was cancelled.
            Exception: as `resume`.
        """
        return await self._resume_async(execution_id, None)

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
            pending = doubted(assess(record, store), question) if record.outcome is None else None
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
        return self._go_on(self._forked(execution_id, at, answer, awaits=False))

    async def fork_async(self, execution_id: str, at: str, answer: Any) -> AgentResponse:
        """Gives a question another answer as `fork` does, where asynchronous agents are awaited.

        Raises:
            CancelledError: the task was cancelled, and so was the fork.
            Exception: as `fork`.
        """
        from intentusnet.routing.awaiting import finished

        control = Control()
        forking = self._world.off_loop(
            lambda: self._forked(execution_id, at, answer, awaits=True, control=control)
        )
        return await self._go_on_async(await finished(forking, control))

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

    def _resume_child(self, asked: Request) -> AgentResponse:
        """Brings the execution to its end that a request resumes."""
        assert asked.resumes is not None
        return self._resume(asked.resumes, asked)

    async def _resume_child_async(self, asked: Request) -> AgentResponse:
        """The same for asynchronous callers."""
        assert asked.resumes is not None
        return await self._resume_async(asked.resumes, asked)

    def _resume(self, execution_id: str, asked: Request | None) -> AgentResponse:
        """Resumes an execution, for another one that has asked for it if there is a request."""
        with self._in_hand(execution_id, asked, _control(asked), awaits=False) as found:
            return found if isinstance(found, AgentResponse) else self._go_on(found)

    async def _resume_async(self, execution_id: str, asked: Request | None) -> AgentResponse:
        from asyncio import CancelledError

        from intentusnet.routing.awaiting import finished

        control = _control(asked)
        with contextlib.ExitStack() as stack:
            taking = self._in_hand(execution_id, asked, control, awaits=True)
            found = await finished(self._world.off_loop(lambda: stack.enter_context(taking)), control)
            if control.is_task_cancelled:
                raise CancelledError(TASK_CANCELLED)
            return found if isinstance(found, AgentResponse) else await self._go_on_async(found)

    @contextlib.contextmanager
    def _in_hand(
        self, execution_id: str, asked: Request | None, control: Control, *, awaits: bool
    ) -> Iterator[Continuation | AgentResponse]:
        """Keeps others from resuming an execution; gives what is to be done, or its response if it has ended.

        Args:
            execution_id: an id, or what else the store resolves.
            asked: see `_resume`.
            control: what stops the resumption.
            awaits: whether asynchronous agents would be awaited.
        """
        store = self._store(execution_id)
        execution_id = store.resolve(execution_id)
        record = store.get(execution_id)
        if record.outcome is not None:
            yield record.response
            return
        if store.custody.is_running(execution_id, record.runner):
            raise still_running(execution_id)
        with store.custody.claim(execution_id):
            # Somebody may have resumed it meanwhile.
            record = store.get(execution_id)
            if record.outcome is not None:
                yield record.response
                return
            found = assess(record, store)
            if found.rule in (RecoveryRule.IN_DOUBT, RecoveryRule.WAIT):
                refuse(found)
            yield self._resumption(record, store, asked, control, awaits=awaits)

    def _resumption(
        self,
        record: ExecutionRecord,
        store: ExecutionStore,
        asked: Request | None,
        control: Control,
        *,
        awaits: bool,
    ) -> Continuation:
        data = values.dumps(record.envelope_tree["payload"])
        request = Request(_envelope(record), data, record.parent, record.depth, control=control)
        if asked is not None:
            limit = NO_LIMIT if asked.deadline_us is None else asked.deadline_us
            request.durability, request.until_us = asked.durability, limit
        plan = self._planned(record, request, awaits=awaits)
        # Whoever wanted it cancelled before it was interrupted did not mean what is done now.
        store.custody.stopped(record.execution_id)
        live = LiveSession(record.execution_id, request, plan, store=store, clock=self.clock, opening=record)
        session = ResumeSession(live, record, open_children(record, store))
        return Continuation(plan, request, session, "resume")

    def _forked(
        self, execution_id: str, at: str, answer: Any, *, awaits: bool, control: Control | None = None
    ) -> Continuation:
        store = self._store(execution_id)
        record = store.get(store.resolve(execution_id))
        scope, ordinal = parse_place(at)
        fork = Fork(record, scope, ordinal, answer)
        new = self.ids.execution_id()
        # It is run now, and its acts are its own: neither the old deadline nor the old key is meant for it.
        envelope = _envelope(record).model_copy(update={"id": new, "deadline": None, "idempotency_key": None})
        data = values.dumps(record.envelope_tree["payload"])
        request = Request(envelope, data, None, record.depth, control=control or Control())
        plan = self._router.guarded(self._planned(record, request, awaits=awaits))
        fork.check(plan)
        opening = self._opening(plan)._replace(forked_from=ParentLink(record.execution_id, scope, ordinal))
        live = LiveSession(new, request, plan, store=store, clock=self.clock, opening=opening)
        return Continuation(plan, request, ForkSession(live, fork), "fork")

    def _planned(self, record: ExecutionRecord, request: Request, *, awaits: bool) -> Plan:
        """The plan of now, if it is the one on record.

        Raises:
            ContinuationDiverged: it is another.
            ConfigurationError: an asynchronous agent would have to run, and nobody awaits it.
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
        if not awaits:
            self._router.check_waits_for(plan)
        return plan

    def _go_on(self, found: Continuation) -> AgentResponse:
        self._begun(found.session.execution_id, found.request)
        with _told_why(found.session):
            return self._router.run(*found)

    async def _go_on_async(self, found: Continuation) -> AgentResponse:
        self._begun(found.session.execution_id, found.request)
        with _told_why(found.session):
            return await self._router.run_async(*found)


def waited_for(
    runtime: Recovering, plain: Callable[P, T], awaiting: Callable[P, Coroutine[Any, Any, T]]
) -> Callable[P, T]:
    """For programs of our own, which may make the event loop that asynchronous agents need.

    Args:
        runtime: whose agents run.
        plain, awaiting: the same for plain agents, and for asynchronous ones.
    """
    if not runtime.awaits:
        return plain

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        import asyncio

        return asyncio.run(awaiting(*args, **kwargs))

    return run


@contextlib.contextmanager
def _told_why(session: ContinuedSession) -> Iterator[None]:
    """Raises what a session has found to differ, instead of the signal that has unwound everything."""
    try:
        yield
    except ReplayHalted:
        assert session.diverged is not None
        raise session.diverged from None


def _control(asked: Request | None) -> Control:
    return Control(None if asked is None else asked.control)


def _envelope(record: ExecutionRecord) -> IntentEnvelope:
    try:
        return record.envelope
    except (InvalidInput, ValueError) as fault:
        raise NotReplayable(
            "the envelope on record cannot be read", where=record.execution_id, got=str(fault)
        ) from fault
