"""`Hands`: what the router does not do itself: sessions, the calls of agents, hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from intentusnet.agents import Agent
from intentusnet.events import Origin
from intentusnet.response import AgentResponse
from intentusnet.routing.plan import Plan
from intentusnet.routing.request import Request
from intentusnet.routing.strategies import Outcome
from intentusnet.transcript import Answer, RoutedSession, Session

if TYPE_CHECKING:
    from asyncio import Future

T = TypeVar("T")


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


class Opened(NamedTuple):
    """An execution that has begun, and is to be run."""

    plan: Plan
    session: Recorder


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
