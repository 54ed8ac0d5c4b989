"""`IntentRouter`: from an envelope to a response, by plan, session and driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from intentusnet import values
from intentusnet.agents import Agent
from intentusnet.envelope import IntentEnvelope
from intentusnet.log.durability import Durability
from intentusnet.policy.compile import CompiledPolicy
from intentusnet.record import ParentLink
from intentusnet.registry import Registry
from intentusnet.response import AgentResponse, AttemptSummary, ErrorInfo
from intentusnet.routing.drivers import drive
from intentusnet.routing.plan import Plan, make_plan
from intentusnet.routing.strategies import Outcome
from intentusnet.transcript import Answer, Session


class Request(NamedTuple):
    """One execution to be made.

    Attributes:
        envelope: what is asked for.
        payload: its payload, encoded.
        parent: which question of which execution asks for it.
        depth: how many executions it is nested in.
        durability: "disk", "os" or "async" for this execution; None for the store's own.
    """

    envelope: IntentEnvelope
    payload: bytes
    parent: ParentLink | None = None
    depth: int = 0
    durability: Durability | None = None


class Recorder(Session, Protocol):
    """A session that an execution of the router runs in."""

    def close(self, outcome: Outcome) -> str | None:
        """Ends the execution; returns the fingerprint if it was recorded."""
        ...

    def abandon(self, fault: BaseException) -> None:
        """Ends the execution without an outcome, because of what was raised."""
        ...

    @property
    def attempts(self) -> tuple[tuple[str, Answer], ...]:
        """Each agent that was called and its answer, in the order of the plan."""
        ...


#: Opens the session of an execution.
OpenSession = Callable[[Request, Plan], Recorder]
#: Calls an agent in a session: (agent, attempt, request, session).
CallAgent = Callable[[Agent, int, Request, Session], Answer]


class IntentRouter:
    """Routes intent envelopes to agents.

    Args:
        registry: who can handle what.
        policy: what may be called.
        open_session: where the answers of an execution come from, and where they are written.
        call_agent: how an agent is called.
        max_depth: how many executions one may be nested in.
        recorded: called with the id of each execution that was recorded, when it has ended.
    """

    def __init__(
        self,
        registry: Registry,
        policy: CompiledPolicy,
        *,
        open_session: OpenSession,
        call_agent: CallAgent,
        max_depth: int,
        recorded: Callable[[str], None] | None = None,
    ) -> None:
        self.registry = registry
        self.policy = policy
        self._open_session = open_session
        self._call_agent = call_agent
        self._max_depth = max_depth
        self._recorded = recorded

    def route_intent(self, envelope: IntentEnvelope) -> AgentResponse:
        """Routes an envelope, records the execution, and returns how it ended.

        Raises:
            UnrecordableValue: the payload cannot be written down; nothing was called.
            StoreWriteFailed: the record cannot be written.
            IntegrityBroken: the log is damaged; nothing was called.
        """
        return self.route_request(Request(envelope, values.encode(envelope.payload)))

    def route_request(self, request: Request) -> AgentResponse:
        """Routes a request whose payload is encoded already, such as a child intent's."""
        plan = self.plan(request.envelope, request.depth)
        return self.run(plan, request, self._open_session(request, plan))

    def run(self, plan: Plan, request: Request, session: Recorder) -> AgentResponse:
        """Runs a plan in a session to its end, and closes it."""
        try:
            outcome = self.execute(plan, request, session)
            fingerprint = session.close(outcome)
        except BaseException as fault:
            session.abandon(fault)
            raise
        if self._recorded is not None and fingerprint is not None:
            self._recorded(session.execution_id)
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

    def plan(self, envelope: IntentEnvelope, depth: int = 0, registry: Registry | None = None) -> Plan:
        """Who would be called, and why; calls nobody. With a registry: if the agents were those."""
        agents = self.registry if registry is None else registry
        return make_plan(envelope, agents, self.policy, depth=depth, max_depth=self._max_depth)

    def execute(self, plan: Plan, request: Request, session: Session) -> Outcome:
        """Runs a plan in a session: live, or from a record."""
        return drive(
            plan, session, lambda attempt: self._call_agent(plan.steps[attempt], attempt, request, session)
        )
