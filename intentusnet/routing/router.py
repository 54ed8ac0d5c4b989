"""`IntentRouter`: from an envelope to a response, by plan, session and driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from intentusnet import values
from intentusnet.agents import Agent
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import ConfigurationError
from intentusnet.log.durability import Durability
from intentusnet.policy.engine import Policy
from intentusnet.policy.facts import Budgets, recorded_budget
from intentusnet.record import ExecutionRecord, ParentLink
from intentusnet.registry import Registry
from intentusnet.response import AgentResponse, AttemptSummary, ErrorInfo
from intentusnet.routing.attempts import Limited
from intentusnet.routing.control import NEVER, TASK_CANCELLED, Control
from intentusnet.routing.drivers import drive
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


class IntentRouter:
    """Routes intent envelopes to agents.

    Args:
        registry: who can handle what.
        policy: what may be called.
        hands: sessions, and the calls of agents.
        max_depth: how many executions one may be nested in.
        gates: the limits.
        spending: the numbers of the policy's budgets; None if it compares none.
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
    ) -> None:
        self.registry = registry
        self.policy = policy
        self._hands = hands
        self._max_depth = max_depth
        self._gates = gates
        self._spending = spending

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
        check_waits_for(*plan.steps)
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

    def run(self, plan: Plan, request: Request, session: Recorder) -> AgentResponse:
        """Runs a plan in a session to its end, and closes it."""
        try:
            if self._spending is not None:
                self._spending.get_ready()  # before what is resumed ends, and is on record
            outcome = self.execute(plan, request, session)
            fingerprint = session.close(outcome)
            self._note_usage(request, session)
        except BaseException as fault:
            session.abandon(fault)
            raise
        finally:
            self._hands.ended(session.execution_id)
        if fingerprint is not None:
            self._hands.recorded(session.execution_id)
        return _response(session, outcome, fingerprint)

    async def run_async(self, plan: Plan, request: Request, session: Recorder) -> AgentResponse:
        """The same for asynchronous callers."""
        from asyncio import CancelledError

        from intentusnet.routing.awaiting import drive_async, finished

        control = request.control or Control()
        try:
            outcome = await drive_async(
                plan,
                session,
                lambda attempt, stops, taken: self._hands.call_agent_async(
                    plan.agent(attempt), attempt, _called(request, stops, taken), session
                ),
                control,
                self._hands.off_loop,
                self._limited(request) if plan.gated else None,
            )
            fingerprint = await finished(self._hands.off_loop(lambda: session.close(outcome)), control)
            self._note_usage(request, session)
        except BaseException as fault:
            session.abandon(fault)
            raise
        finally:
            self._hands.ended(session.execution_id)
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
        plan = self._plan(envelope, depth, self.registry, budget)
        return replace(plan, gated=True) if self._gates.guard(plan, depth) else plan

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

    def execute(self, plan: Plan, request: Request, session: RoutedSession) -> Outcome:
        """Runs a plan in a session: live, or from a record."""
        return drive(
            plan,
            session,
            lambda attempt, stops, taken: self._hands.call_agent(
                plan.agent(attempt), attempt, _called(request, stops, taken), session
            ),
            request.control or NEVER,
            self._limited(request) if plan.gated else None,
        )

    def _limited(self, request: Request) -> Limited:
        arrival = Arrival(request.envelope, request.control or NEVER, request.holding)
        return Limited(self._gates, arrival, request.depth)


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
