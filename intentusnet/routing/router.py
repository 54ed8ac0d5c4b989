"""`IntentRouter`: from an envelope to a response, by plan, session and driver."""

from __future__ import annotations

from intentusnet import values
from intentusnet.agents import Agent
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import ConfigurationError
from intentusnet.events import Origin
from intentusnet.frozen import made
from intentusnet.log.durability import Durability
from intentusnet.policy.engine import Policy
from intentusnet.policy.facts import Budgets, recorded_budget
from intentusnet.record import ExecutionRecord
from intentusnet.registry import Registry
from intentusnet.response import AgentResponse, AttemptSummary, ErrorInfo
from intentusnet.routing.attempts import Limited
from intentusnet.routing.control import NEVER, TASK_CANCELLED, Control
from intentusnet.routing.drivers import drive
from intentusnet.routing.guarding import refusal_on_record
from intentusnet.routing.hands import Hands, Hooked, Observed, Opened, Recorder
from intentusnet.routing.keys import InFlight, Keyed, Keys
from intentusnet.routing.limits.gates import Arrival, Gates, Holding
from intentusnet.routing.plan import Plan, make_plan, recorded_refusal, refused_plan
from intentusnet.routing.request import Request
from intentusnet.routing.spending import Spending
from intentusnet.routing.strategies import Outcome
from intentusnet.sizes import DEFAULT_SIZES, Sizes, admitted


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
        keys: idempotency keys; None where nothing is recorded, so that they mean nothing.
        sizes: how large payloads may be.
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
        keys: Keys | None = None,
        sizes: Sizes = DEFAULT_SIZES,
    ) -> None:
        self.registry = registry
        self.policy = policy
        self._hands = hands
        self._max_depth = max_depth
        self._gates = gates
        self._spending = spending
        self._hooks = hooks
        self._keys = keys
        self._sizes = sizes

    def request(
        self,
        envelope: IntentEnvelope,
        durability: Durability | None = None,
        in_flight: InFlight | None = None,
    ) -> Request:
        """What an envelope asks for, at the door: its payload encoded, or refused as too large.

        Raises:
            UnrecordableValue: the payload is no data.
        """
        data, refusal = admitted(envelope.payload, self._sizes)
        return Request(envelope, data, durability=durability, refusal=refusal, in_flight=in_flight)

    def route_intent(self, envelope: IntentEnvelope) -> AgentResponse:
        """Routes an envelope, records the execution, and returns how it ended.

        Whatever JSON can say is routed, or answered with an error: see docs/validation.md.

        Raises:
            UnrecordableValue: the payload is no data, such as an object, or a list that contains itself;
                nothing was called.
            ConfigurationError: an agent is asynchronous, and nobody awaits it; nothing was called.
            StoreWriteFailed: the record cannot be written.
            IntegrityBroken: the log is damaged; nothing was called.
        """
        return self.route_request(self.request(envelope))

    async def route_intent_async(self, envelope: IntentEnvelope) -> AgentResponse:
        """The same for asynchronous callers, and agents: the same core, and the same record.

        To cancel the task that awaits this is to cancel the execution, which is on record then.
        """
        return await self.route_request_async(self.request(envelope))

    def route_request(self, request: Request) -> AgentResponse:
        """Routes a request whose payload is encoded already, such as a child intent's."""
        request = request.under(Control(request.control))
        if self._keys is not None and request.is_keyed:
            found = self._asked(request, self._keys, awaits=False).once()
            return found if isinstance(found, AgentResponse) else self.run(found.plan, request, found.session)
        plan = self.plan_of(request)
        self.check_waits_for(plan)
        return self.run(plan, request, self._hands.open_session(request, plan))

    async def route_request_async(self, request: Request) -> AgentResponse:
        """The same for asynchronous callers."""
        from intentusnet.routing.awaiting import finished

        control = Control(request.control)
        request = request.under(control)
        if self._keys is not None and request.is_keyed:
            asked = self._asked(request, self._keys, awaits=True)
            found = await asked.once_async(self._hands.off_loop, control)
            if isinstance(found, AgentResponse):
                return found
            return await self.run_async(found.plan, request, found.session)
        if self._spending is not None and not self._spending.is_ready:
            await finished(self._hands.off_loop(self._spending.get_ready), control)
        plan = self.plan_of(request)
        session = await finished(
            self._hands.off_loop(lambda: self._hands.open_session(request, plan)), control
        )
        return await self.run_async(plan, request, session)

    def _asked(self, request: Request, keys: Keys, *, awaits: bool) -> Keyed[Opened]:
        """A request with an idempotency key; what begins for it is still to be run."""

        def begin(refusal: ErrorInfo | None) -> Opened:
            envelope = request.envelope
            plan = refused_plan(envelope, refusal) if refusal else self.plan_of(request)
            if not awaits:
                self.check_waits_for(plan)
            return Opened(plan, self._hands.open_session(request, plan))

        return keys.asked(request.envelope, request.payload, request.in_flight, begin)

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
            if self._hooks is not None:
                session = observed = self._hooks.observe(session, request, plan, origin)
            refusal = self._admit(request, session) if plan.gated else None
            if refusal is None:
                outcome = drive(
                    plan,
                    session,
                    lambda attempt, stops, taken: self._hands.call_agent(
                        plan.agent(attempt),
                        attempt,
                        _called(request, stops, taken),
                        session,
                    ),
                    request.control or NEVER,
                    self._limited(request, observed) if plan.gated else None,
                )
            else:
                outcome = _denied(refusal)
            fingerprint = session.close(outcome)
            if self._spending is not None:
                self._spending.add(request.envelope, session.usage)
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
                        plan.agent(attempt),
                        attempt,
                        _called(request, stops, taken),
                        session,
                    ),
                    control,
                    self._hands.off_loop,
                    self._limited(request, observed) if plan.gated else None,
                )
            else:
                outcome = _denied(refusal)
            fingerprint = await finished(self._hands.off_loop(lambda: session.close(outcome)), control)
            if self._spending is not None:
                self._spending.add(request.envelope, session.usage)
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

    def plan_of(self, request: Request) -> Plan:
        """Who would be called now, and why; calls nobody.

        Raises:
            IntegrityBroken: the policy compares budgets, and the log is damaged.
        """
        envelope = request.envelope
        if request.refusal is not None:
            return refused_plan(envelope, request.refusal)
        budget = None if self._spending is None else self._spending.of(envelope)
        plan = self._plan(envelope, request.depth, self.registry, budget)
        return plan.behind_gates if self._gates.guard(plan, request.depth) else self.guarded(plan)

    def guarded(self, plan: Plan) -> Plan:
        """The plan of a new execution, if guards are asked before it calls anybody."""
        asks = self._hooks is not None and self._hooks.guards and plan.refusal is None
        return plan.behind_gates if asks else plan

    def plan_again(
        self, envelope: IntentEnvelope, record: ExecutionRecord, registry: Registry | None = None
    ) -> Plan:
        """Who would be called with the budgets that were there then, and why.

        Nobody, if the request was refused before there was a plan.

        Args:
            envelope, record: the request, and its record.
            registry: the agents; those of now if None.
        """
        refusal = recorded_refusal(record.plan_tree)
        if refusal is not None:
            return refused_plan(envelope, refusal)
        agents = self.registry if registry is None else registry
        plan = self._plan(envelope, record.depth, agents, recorded_budget(record.plan_tree))
        # What was asked of the limits then is on record, and what was not asked is not asked now.
        return plan.behind_gates if record.plan_tree.get("gated") else plan

    def _plan(self, envelope: IntentEnvelope, depth: int, registry: Registry, budget: Budgets | None) -> Plan:
        return make_plan(
            envelope, registry, self.policy, depth=depth, max_depth=self._max_depth, budget=budget
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
        if plan.awaited:
            check_waits_for(*plan.awaited)
        if self._hooks is not None:
            self._hooks.check_awaited()


def _called(request: Request, control: Control, taken: Holding) -> Request:
    """The request of one call, which that stops and which has taken places there."""
    return request if control is request.control and not taken else request.under(control, taken)


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
    return made(
        AgentResponse,
        {
            "execution_id": session.execution_id,
            "status": "success" if outcome.ok else "error",
            "agent": outcome.agent,
            "payload": values.decode(outcome.data) if outcome.ok else None,
            "error": None if outcome.ok else ErrorInfo.from_tree(values.parse(outcome.data)),
            "attempts": tuple(
                [AttemptSummary.of(name, answer.ok, answer.data) for name, answer in session.attempts]
            ),
            "fingerprint": fingerprint,
            "from_record": False,
        },
    )
