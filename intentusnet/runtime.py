"""`IntentusRuntime`: wires registry, policy, store, router and replay together."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import ValidationError

from intentusnet import values
from intentusnet.agents import Agent, Capability, SideEffect, define_agent
from intentusnet.capture import Capture, capture_of
from intentusnet.context import World, call_agent, plain
from intentusnet.envelope import (
    Caller,
    IntentEnvelope,
    IntentRef,
    RoutingStrategy,
    caller_of,
    invalid_envelope,
    names_of,
    routing_of,
)
from intentusnet.errors import ConfigurationError, InvalidEnvelope
from intentusnet.ids import SYSTEM_CLOCK, SYSTEM_IDS, Clock, Ids
from intentusnet.log.durability import Durability, check_durability
from intentusnet.policy import (
    NO_POLICY,
    CompiledPolicy,
    PolicySource,
    compile_policy,
    load_policy,
    parse_policy,
)
from intentusnet.registry import Registry
from intentusnet.replay.environment import Environments
from intentusnet.replay.live import LiveSession, Opening, WriteAhead
from intentusnet.replay.replaying import Replaying
from intentusnet.replay.unrecorded import UnrecordedSession
from intentusnet.response import AgentResponse
from intentusnet.routing.plan import Plan
from intentusnet.routing.router import IntentRouter, Recorder, Request
from intentusnet.stores.base import ExecutionStore
from intentusnet.stores.file import FileExecutionStore
from intentusnet.transcript import Answer, Session

#: An execution may be nested in that many others unless the runtime is told another number.
DEFAULT_MAX_DEPTH: Final = 16

Handler = TypeVar("Handler")


class IntentusRuntime(Replaying):
    """Agents, a policy and a store, and the router between them.

    Args:
        store: None (nothing is recorded), a directory, or a store.
        policy: None (everything is allowed), a TOML or JSON file, its parsed content, or a compiled policy.
        clock, ids: time and chance; the machine's own unless given.
        environ: what `Context.env` reads; the process's own unless given.
        write_ahead: "calls" writes down each call before it is made; "effects" writes executions of read-only
            agents when they close, so that a crash in the middle leaves no trace of them.
        max_depth: how many executions one may be nested in.
        capture: what agents do without their context and is recorded all the same: True for all that can be,
            names as of `intentusnet.capture`, or what that returns.
        verify_replay: replays each execution right after it was recorded, and warns (`ReplayWarning`) if it
            does not match. For development and tests: bodies that are not irreversible run twice.

    Raises:
        InvalidPolicy: the policy is malformed.
        ConfigurationError: another argument makes no sense.
    """

    def __init__(
        self,
        *,
        store: ExecutionStore | str | os.PathLike[str] | None = None,
        policy: CompiledPolicy | PolicySource | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        ids: Ids = SYSTEM_IDS,
        environ: Mapping[str, str] | None = None,
        write_ahead: WriteAhead = "calls",
        max_depth: int = DEFAULT_MAX_DEPTH,
        capture: Capture | Iterable[str] | bool = False,
        verify_replay: bool = False,
    ) -> None:
        if write_ahead not in ("calls", "effects"):
            raise ConfigurationError(
                "write_ahead makes no sense", expected="'calls' or 'effects'", got=repr(write_ahead)
            )
        if max_depth < 0:
            raise ConfigurationError("max_depth makes no sense", expected="0 or more", got=repr(max_depth))
        self.registry = Registry()
        self.clock = clock
        self.ids = ids
        self.store = (
            FileExecutionStore(Path(store), clock=clock) if isinstance(store, str | os.PathLike) else store
        )
        self._environ = os.environ if environ is None else environ
        self._write_ahead: WriteAhead = write_ahead
        self._max_depth = max_depth
        self._capture = capture_of(capture)
        if verify_replay and self.store is None:
            raise ConfigurationError(
                "verify_replay needs records", where="store", expected="a directory or a store"
            )
        self._verifies_replay = verify_replay
        self._world = World(clock, ids, self._environ, self._route_child, self._capture)
        self._router = self._make_router(_compiled(policy))
        self._environments = Environments(self._router.policy)

    @property
    def router(self) -> IntentRouter:
        """The router, for callers that have an envelope."""
        return self._router

    @property
    def policy(self) -> CompiledPolicy:
        """The policy in force."""
        return self._router.policy

    def configure(
        self,
        *,
        store: ExecutionStore | str | os.PathLike[str] | None = None,
        policy: CompiledPolicy | PolicySource | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    ) -> Self:
        """A runtime with the same agents, and with another store or policy where one is given."""
        other = type(self)(
            store=self.store if store is None else store,
            policy=self.policy if policy is None else policy,
            clock=self.clock,
            ids=self.ids,
            environ=self._environ,
            write_ahead=self._write_ahead,
            max_depth=self._max_depth,
            capture=False if self._capture is None else self._capture,
            verify_replay=self._verifies_replay,
        )
        for agent in self.registry.agents():
            other.registry.add(agent)
        return other

    def agent(
        self,
        name: str,
        *,
        handles: str | Capability | Iterable[str | Capability],
        version: str = "1.0",
        rank: int = 0,
        remote: bool = False,
        side_effect: SideEffect = "reversible",
        idempotent: bool = False,
        description: str | None = None,
    ) -> Callable[[Handler], Handler]:
        """Registers the decorated function, or class with a ``handle`` method, as an agent.

        The function takes the payload, a context (a parameter called ``ctx`` or annotated with `Context`), or
        both. Its type hints say what the payload must be and what the answer is.

        Args:
            name: names it in plans, policies and records.
            handles: intent patterns such as ``ticket.*``, each with ``@versions`` if need be:
                ``ticket.*@>=2``.
            version: the agent's own. Versions of a name may stand side by side: the newest that handles an
                intent is its candidate, unless target or fallback ask for others (``name@<2``).
            rank: candidates of lower rank are called first.
            remote: it runs elsewhere; called after all local ones, and never run again by a replay.
            side_effect: what the body does to the world outside of recorded effects: "read_only",
                "reversible" or "irreversible".
            idempotent: running the body twice does no more than running it once.
            description: one line for people; the docstring's first line unless given.

        Raises:
            DuplicateAgent: there is an agent of that name and version.
            InvalidAgent: anything about it makes no sense.
        """
        scope = dict(sys._getframe(1).f_locals)

        def registered(handler: Handler) -> Handler:
            self.registry.add(
                define_agent(
                    name,
                    handler,
                    handles=handles,
                    version=version,
                    rank=rank,
                    remote=remote,
                    side_effect=side_effect,
                    idempotent=idempotent,
                    description=description,
                    scope=scope,
                )
            )
            return handler

        return registered

    def remove(self, name: str, version: str | None = None) -> bool:
        """Takes an agent out, in one version or in all. Executions that are under way go on with it.

        Returns:
            Whether there was one.
        """
        return self.registry.remove(name, version)

    def route(
        self,
        intent: str | IntentRef,
        payload: Any = None,
        *,
        strategy: RoutingStrategy | str = RoutingStrategy.DIRECT,
        target: str | None = None,
        fallback: Iterable[str] = (),
        prefer: Literal["rank", "first"] = "rank",
        caller: Caller | str | None = None,
        roles: Iterable[str] = (),
        tenant: str | None = None,
        tags: Iterable[str] = (),
        priority: int = 0,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        durability: Durability | None = None,
    ) -> AgentResponse:
        """Routes an intent, records the execution, and returns how it ended.

        Failures of agents, denials and missing agents are responses, not exceptions.

        Args:
            intent: name, or ``name@version``.
            payload: any recordable value; a pydantic model or dataclass stands for its fields.
            strategy, target, fallback, prefer: see `RoutingOptions`.
            caller: a `Caller`, or a name, to which `roles` and `tenant` belong.
            tags, priority, idempotency_key, traceparent: see `IntentEnvelope`.
            timeout: seconds from now until the envelope's deadline, after which no agent is called.
            durability: "disk", "os" or "async" for this execution, whatever the store's own is.

        Raises:
            InvalidEnvelope: an argument makes no sense; nothing was called.
            UnrecordableValue: the payload cannot be recorded; nothing was called.
            StoreWriteFailed: the record cannot be written.
            IntegrityBroken: the log is damaged; nothing was called.
        """
        envelope = self.envelope(
            intent,
            payload,
            strategy=strategy,
            target=target,
            fallback=fallback,
            prefer=prefer,
            caller=caller,
            roles=roles,
            tenant=tenant,
            tags=tags,
            priority=priority,
            timeout=timeout,
            idempotency_key=idempotency_key,
            traceparent=traceparent,
        )
        check_durability(durability)
        return self._router.route_request(
            Request(envelope, values.encode(envelope.payload), durability=durability)
        )

    def envelope(
        self,
        intent: str | IntentRef,
        payload: Any = None,
        *,
        strategy: RoutingStrategy | str = RoutingStrategy.DIRECT,
        target: str | None = None,
        fallback: Iterable[str] = (),
        prefer: Literal["rank", "first"] = "rank",
        caller: Caller | str | None = None,
        roles: Iterable[str] = (),
        tenant: str | None = None,
        tags: Iterable[str] = (),
        priority: int = 0,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> IntentEnvelope:
        """The envelope that `route` would route; same arguments.

        Raises:
            InvalidEnvelope: an argument makes no sense.
        """
        try:
            return IntentEnvelope(
                id=self.ids.execution_id(),
                intent=intent,  # type: ignore[arg-type]  # the field's validator takes text
                payload=plain(payload),
                caller=caller_of(caller, names_of("roles", roles), tenant),
                tags=names_of("tags", tags),
                priority=priority,
                deadline=None if timeout is None else self._deadline(timeout),
                routing=routing_of(strategy, target, names_of("fallback", fallback), prefer),
                traceparent=traceparent,
                idempotency_key=idempotency_key,
            )
        except ValidationError as fault:
            raise invalid_envelope(fault) from fault

    def plan(self, envelope: IntentEnvelope) -> Plan:
        """Who would be called for an envelope, and why; calls and records nothing."""
        return self._router.plan(envelope)

    def close(self) -> None:
        """Closes the store."""
        if self.store is not None:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_router(self, policy: CompiledPolicy) -> IntentRouter:
        return IntentRouter(
            self.registry,
            policy,
            open_session=self._open_session,
            call_agent=self._call_agent,
            max_depth=self._max_depth,
            recorded=self._verify_replay if self._verifies_replay else None,
        )

    def _call_agent(self, agent: Agent, attempt: int, request: Request, session: Session) -> Answer:
        return call_agent(agent, attempt, request, session, self._world)

    def _route_child(self, request: Request) -> AgentResponse:
        return self._router.route_request(request)

    def _open_session(self, request: Request, plan: Plan) -> Recorder:
        execution_id = self.ids.execution_id()
        if self.store is None:
            return UnrecordedSession(execution_id, request, self.clock)
        opening = self._opening(plan)
        return LiveSession(execution_id, request, plan, store=self.store, clock=self.clock, opening=opening)

    def _opening(self, plan: Plan) -> Opening:
        return Opening(self._environments.encoded(plan), self._write_ahead)

    def _deadline(self, timeout: object) -> datetime:
        if not isinstance(timeout, int | float) or not 0 < timeout < _LONGEST_TIMEOUT:
            raise InvalidEnvelope(
                "the timeout makes no sense", where="timeout", expected="seconds > 0", got=repr(timeout)
            )
        return datetime.fromtimestamp(self.clock.time_us() / 1_000_000, UTC) + timedelta(seconds=timeout)


_LONGEST_TIMEOUT: Final = 366 * 24 * 3600.0


def _compiled(
    policy: CompiledPolicy | PolicySource | Mapping[str, Any] | str | os.PathLike[str] | None,
) -> CompiledPolicy:
    if policy is None:
        return NO_POLICY
    if isinstance(policy, CompiledPolicy):
        return policy
    if isinstance(policy, str | os.PathLike):
        policy = load_policy(Path(policy))
    elif isinstance(policy, Mapping):
        policy = parse_policy(dict(policy), "policy")
    return compile_policy(policy)
