"""`IntentRouter`: from an envelope to a response, by plan, session and driver."""

# Over 400 lines: the seams to sessions, agents and hooks stand beside the router that needs them.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from intentusnet import values
from intentusnet.agents import Agent
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import ConfigurationError
from intentusnet.events import Origin
from intentusnet.log.durability import Durability
from intentusnet.policy.engine import Policy
from intentusnet.policy.facts import Budgets, recorded_budget
from intentusnet.record import ExecutionRecord, ParentLink
from intentusnet.registry import Registry
from intentusnet.response import AgentResponse, AttemptSummary, ErrorInfo
from intentusnet.routing.attempts import Limited
from intentusnet.routing.control import NEVER, TASK_CANCELLED, Control
from intentusnet.routing.drivers import drive
from intentusnet.routing.guarding import refusal_on_record
from intentusnet.routing.limits.gates import Arrival, Gates, Holding
from intentusnet.routing.plan import Plan, make_plan
from intentusnet.routing.spending import Spending
from intentusnet.routing.strategies import Outcome
from intentusnet.transcript import Answer, RoutedSession, Session

if TYPE_CHECKING:
    from asyncio import Future

T = TypeVar("T")


class Request(NamedTuple):
    """One execution to be made.

    Attributes:
        envelope: what is asked for.
        payload: its payload, encoded.
        parent: which question of which execution asks for it.
        depth: how many executions it is nested in.
        durability: "disk", "os" or "async" for this execution; None for the store's own.
        control: whether it may go on: its own once it is under way, before that the one of who asks for it.
            None where nobody can stop it, as in a replay.
        holding: the limits in which it, or who asks for it, has a place.
    """

    envelope: IntentEnvelope
    payload: bytes
    parent: ParentLink | None = None
    depth: int = 0
    durability: Durability | None = None
    control: Control | None = None
    holding: Holding = ()


class Recorder(RoutedSession, Protocol):
    """A session that an execution of the router runs in."""

    def close(self, outcome: Outcome) -> str | None:
        """Ends the execution; returns the fingerprint if it was recorded."""
        ...

    def abandon(self, fault: BaseException) -> None:
        """Ends the execution without an outcome, because of what was raised."""
        ...

    @property
    def usage(self) -> Mapping[str, float]:
        """What its agents have told that they used up (`Context.usage`), by name."""
        ...

    @property
    def attempts(self) -> tuple[tuple[str, Answer], ...]:
        """Each call of an agent and its answer: in the plan's order, retries behind what they repeat."""
        ...


class Hands(Protocol):
    """What the router does not do itself."""

    def open_session(self, request: Request, plan: Plan) -> Recorder:
        """Opens the session of an execution: where answers come from, and where they are written."""
        ...

    def ended(self, execution_id: str) -> None:
        """Takes note that an execution is under way no longer, whether it was recorded or not."""
        ...

    def recorded(self, execution_id: str) -> None:
        """Takes note that an execution is on record, from its beginning to its end."""
        ...

    def call_agent(self, agent: Agent, attempt: int, request: Request, session: Session) -> Answer:
        """Calls an agent in a session, and says how it ended."""
        ...

    async def recorded_async(self, execution_id: str) -> None:
        """The same for asynchronous callers."""
        ...

    async def call_agent_async(
        self, agent: Agent, attempt: int, request: Request, session: Session
    ) -> Answer:
        """The same for asynchronous callers, and agents."""
        ...

    def off_loop(self, function: Callable[[], T]) -> Future[T]:
        """See `OffLoop`."""
        ...


class Observed(Recorder, Protocol):
    """A session of an execution whose observers are told what happens in it."""

    def queued(self, agent: str | None, place: int, estimate: int) -> None:
        """Somebody has to wait; see `Arrival`."""
        ...

    def closed(self, response: Callable[[], AgentResponse]) -> None:
        """The execution has its end. The response is made for each observer anew."""
        ...

    def interrupted(self, fault: BaseException) -> None:
        """The execution ends without an outcome."""
        ...

    async def closed_async(self, response: Callable[[], AgentResponse]) -> None:
        """The same for asynchronous callers."""
        ...

    async def interrupted_async(self, fault: BaseException) -> None:
        """The same for asynchronous callers."""
        ...


class Hooked(Protocol):
    """The hooks of a runtime, as a router knows them."""

    @property
    def guards(self) -> Sequence[str]:
        """The names of those who are asked before anybody is called."""
        ...

    def check_awaited(self) -> None:
        """Refuses hooks that have to be awaited.

        Raises:
            ConfigurationError: there are some.
        """
        ...

    def admit(self, request: Request, session: Recorder) -> bytes | None:
        """Asks the guards; returns the encoded error of the first refusal."""
        ...

    async def admit_async(self, request: Request, session: Recorder) -> bytes | None:
        """The same for asynchronous callers."""
        ...

    def observe(self, session: Recorder, request: Request, plan: Plan, origin: Origin) -> Observed:
        """The session of an execution with its observers, who are told that it has begun."""
        ...


class IntentRouter:
    """Routes intent envelopes to agents.

    Args:
        registry: who can handle what.
        policy: what may be called.
        hands: sessions, and the calls of agents.
        max_depth: how many executions one may be nested in.
        gates: the limits.
        spending: the numbers of the policy's budgets; None if it compares none.
        hooks: what is called around executions; None if there is nothing.
    """

    def __init__(
        self,
        registry: Registry,
        policy: Policy,
        hands: Hands,
        *,
        max_depth: int,
        gates: Gates,
        spending: Spending | None = None,
        hooks: Hooked | None = None,
    ) -> None:
        self.registry = registry
        self.policy = policy
        self._hands = hands
        self._max_depth = max_depth
        self._gates = gates
        self._spending = spending
        self._hooks = hooks

    def route_intent(self, envelope: IntentEnvelope) -> AgentResponse:
        """Routes an envelope, records the execution, and returns how it ended.

        Raises:
            UnrecordableValue: the payload cannot be written down; nothing was called.
            StoreWriteFailed: the record cannot be written.
            IntegrityBroken: the log is damaged; nothing was called.
        """
        return self.route_request(Request(envelope, values.encode(envelope.payload)))

    async def route_intent_async(self, envelope: IntentEnvelope) -> AgentResponse:
        """The same for asynchronous callers, and agents: the same core, and the same record.

        To cancel the task that awaits this is to cancel the execution, which is on record then.
        """
        return await self.route_request_async(Request(envelope, values.encode(envelope.payload)))

    def route_request(self, request: Request) -> AgentResponse:
        """Routes a request whose payload is encoded already, such as a child intent's."""
        request = request._replace(control=Control(request.control))
        plan = self.plan(request.envelope, request.depth)
        self.check_waits_for(plan)
        return self.run(plan, request, self._hands.open_session(request, plan))

    async def route_request_async(self, request: Request) -> AgentResponse:
        """The same for asynchronous callers."""
        from intentusnet.routing.awaiting import finished

        control = Control(request.control)
        request = request._replace(control=control)
        if self._spending is not None and not self._spending.is_ready:
            await finished(self._hands.off_loop(self._spending.get_ready), control)
        plan = self.plan(request.envelope, request.depth)
        session = await finished(
            self._hands.off_loop(lambda: self._hands.open_session(request, plan)), control
        )
        return await self.run_async(plan, request, session)

    def run(self, plan: Plan, request: Request, session: Recorder, origin: Origin = "route") -> AgentResponse:
        """Runs a plan in a session to its end, and closes it.

        Args:
            plan: who is called.
            request: what is routed.
            session: has begun.
            origin: why it is run.
        """
        observed: Observed | None = None
        try:
            if self._spending is not None:
                self._spending.get_ready()  # before what is resumed ends, and is on record
            if self._hooks is not None:
                session = observed = self._hooks.observe(session, request, plan, origin)
            refusal = self._admit(request, session) if plan.gated else None
            outcome = self.execute(plan, request, session, observed) if refusal is None else _denied(refusal)
            fingerprint = session.close(outcome)
            self._note_usage(request, session)
        except BaseException as fault:
            session.abandon(fault)
            if observed is not None:
                observed.interrupted(fault)
            raise
        finally:
            self._hands.ended(session.execution_id)
        if observed is not None:
            observed.closed(lambda: _response(session, outcome, fingerprint))
        if fingerprint is not None:
            self._hands.recorded(session.execution_id)
        return _response(session, outcome, fingerprint)

    async def run_async(
        self, plan: Plan, request: Request, session: Recorder, origin: Origin = "route"
    ) -> AgentResponse:
        """The same for asynchronous callers."""
        from asyncio import CancelledError

        from intentusnet.routing.awaiting import drive_async, finished

        control = request.control or Control()
        observed: Observed | None = None
        try:
            if self._hooks is not None:
                session = observed = self._hooks.observe(session, request, plan, origin)
            refusal = await self._admit_async(request, session) if plan.gated else None
            if refusal is None:
                outcome = await drive_async(
                    plan,
                    session,
                    lambda attempt, stops, taken: self._hands.call_agent_async(
                        plan.agent(attempt), attempt, _called(request, stops, taken), session
                    ),
                    control,
                    self._hands.off_loop,
                    self._limited(request, observed) if plan.gated else None,
                )
            else:
                outcome = _denied(refusal)
            fingerprint = await finished(self._hands.off_loop(lambda: session.close(outcome)), control)
            self._note_usage(request, session)
        except BaseException as fault:
            session.abandon(fault)
            if observed is not None:
                await observed.interrupted_async(fault)
            raise
        finally:
            self._hands.ended(session.execution_id)
        if observed is not None:
            await observed.closed_async(lambda: _response(session, outcome, fingerprint))
        if fingerprint is not None:
            await self._hands.recorded_async(session.execution_id)
        if control.is_task_cancelled:
            raise CancelledError(TASK_CANCELLED)
        return _response(session, outcome, fingerprint)

    def plan(self, envelope: IntentEnvelope, depth: int = 0) -> Plan:
        """Who would be called now, and why; calls nobody.

        Raises:
            IntegrityBroken: the policy compares budgets, and the log is damaged.
        """
        budget = None if self._spending is None else self._spending.of(envelope)
        plan = self.guarded(self._plan(envelope, depth, self.registry, budget))
        return replace(plan, gated=True) if self._gates.guard(plan, depth) else plan

    def guarded(self, plan: Plan) -> Plan:
        """The plan of a new execution, if guards are asked before it calls anybody."""
        asks = self._hooks is not None and self._hooks.guards and plan.refusal is None
        return replace(plan, gated=True) if asks else plan

    def plan_again(
        self, envelope: IntentEnvelope, record: ExecutionRecord, registry: Registry | None = None
    ) -> Plan:
        """Who would be called with the budgets that were there then, and why.

        Args:
            envelope, record: the request, and its record.
            registry: the agents; those of now if None.
        """
        agents = self.registry if registry is None else registry
        plan = self._plan(envelope, record.depth, agents, recorded_budget(record.plan_tree))
        # What was asked of the limits then is on record, and what was not asked is not asked now.
        return replace(plan, gated=True) if record.plan_tree.get("gated") else plan

    def _plan(self, envelope: IntentEnvelope, depth: int, registry: Registry, budget: Budgets | None) -> Plan:
        return make_plan(
            envelope, registry, self.policy, depth=depth, max_depth=self._max_depth, budget=budget
        )

    def _note_usage(self, request: Request, session: Recorder) -> None:
        if self._spending is not None:
            self._spending.add(request.envelope, session.usage)

    def execute(
        self, plan: Plan, request: Request, session: RoutedSession, observed: Observed | None = None
    ) -> Outcome:
        """Runs a plan in a session: live, or from a record."""
        return drive(
            plan,
            session,
            lambda attempt, stops, taken: self._hands.call_agent(
                plan.agent(attempt), attempt, _called(request, stops, taken), session
            ),
            request.control or NEVER,
            self._limited(request, observed) if plan.gated else None,
        )

    def _limited(self, request: Request, observed: Observed | None) -> Limited:
        queued = None if observed is None else observed.queued
        arrival = Arrival(request.envelope, request.control or NEVER, request.holding, queued)
        return Limited(self._gates, arrival, request.depth)

    def _admit(self, request: Request, session: Recorder) -> bytes | None:
        return refusal_on_record(session) if self._hooks is None else self._hooks.admit(request, session)

    async def _admit_async(self, request: Request, session: Recorder) -> bytes | None:
        if self._hooks is None:
            return refusal_on_record(session)
        return await self._hooks.admit_async(request, session)

    def check_waits_for(self, plan: Plan) -> None:
        """Refuses asynchronous agents and hooks where nobody awaits them.

        Raises:
            ConfigurationError: there are some.
        """
        check_waits_for(*plan.steps)
        if self._hooks is not None:
            self._hooks.check_awaited()


def _called(request: Request, control: Control, taken: Holding) -> Request:
    """The request of one call, which that stops and which has taken places there."""
    if taken:
        request = request._replace(holding=(*request.holding, *taken))
    return request._replace(control=control)


def check_waits_for(*agents: Agent) -> None:
    """Refuses asynchronous agents where nobody awaits them.

    Raises:
        ConfigurationError: one of them is.
    """
    for agent in agents:
        if agent.is_async:
            raise ConfigurationError(
                f"agent {agent.name!r} is asynchronous, and nobody awaits it here",
                hint="Await `route_async`, `replay_async` and their like; the command line does.",
            )


def _denied(error: bytes) -> Outcome:
    return Outcome(ok=False, data=error)


def _response(session: Recorder, outcome: Outcome, fingerprint: str | None) -> AgentResponse:
    return AgentResponse(
        execution_id=session.execution_id,
        status="success" if outcome.ok else "error",
        agent=outcome.agent,
        payload=values.decode(outcome.data) if outcome.ok else None,
        error=None if outcome.ok else ErrorInfo.from_tree(values.parse(outcome.data)),
        attempts=tuple(
            [AttemptSummary.of(name, answer.ok, answer.data) for name, answer in session.attempts]
        ),
        fingerprint=fingerprint,
    )
