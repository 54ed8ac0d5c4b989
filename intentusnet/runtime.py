"""`IntentusRuntime`: wires registry, policy, store, router and replay together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from intentusnet.calling import Calling
from intentusnet.capture import Capture, capture_of
from intentusnet.engine import DEFAULT_MAX_WORKERS, Engine
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import ConfigurationError
from intentusnet.ids import SYSTEM_CLOCK, SYSTEM_IDS, Clock, Ids
from intentusnet.limits import Limits
from intentusnet.policy import (
    NO_POLICY,
    Policy,
    PolicySource,
    compile_policy,
    load_policy,
    parse_policy,
)
from intentusnet.registering import Registering
from intentusnet.registry import Registry
from intentusnet.replay.environment import Environments
from intentusnet.replay.live import Opening, WriteAhead
from intentusnet.replay.replaying import Replaying
from intentusnet.routing.isolation import DEFAULT_MAX_ABANDONED, Abandoned, Isolation
from intentusnet.routing.limits.gates import Gates
from intentusnet.routing.plan import Plan
from intentusnet.routing.router import IntentRouter, Request
from intentusnet.routing.spending import Spending
from intentusnet.stores.base import ExecutionStore
from intentusnet.stores.file import FileExecutionStore

#: An execution may be nested in that many others unless the runtime is told another number.
DEFAULT_MAX_DEPTH: Final = 16


class IntentusRuntime(Registering, Calling, Replaying):
    """Agents, a policy and a store, and the router between them.

    Args:
        store: None (nothing is recorded), a directory, or a store.
        policy: None (everything is allowed), a TOML or JSON file, its parsed content, or what an engine has
            compiled: see `Policy`.
        clock, ids: time and chance; the machine's own unless given.
        environ: what `Context.env` reads; the process's own unless given.
        write_ahead: "calls" writes down each call before it is made; "effects" writes executions of read-only
            agents when they close, so that a crash in the middle leaves no trace of them.
        max_depth: how many executions one may be nested in.
        capture: what agents do without their context and is recorded all the same: True for all that can be,
            names as of `intentusnet.capture`, or what that returns.
        verify_replay: replays each execution right after it was recorded, and warns (`ReplayWarning`) if it
            does not match. For development and tests: bodies that are not irreversible run twice.
        max_abandoned: so many calls that were cut off may still run; as long as they do, agents that may
            have to be cut off, too, are not called. See docs/timeouts.md.
        max_workers: so many processes may run agents whose isolation is "process"; while all of them do, such
            agents are not called.
        limits: how often, and how many at once, executions are made and agents called; retries and breakers
            of agents that have none of their own. See docs/limits.md.

    Raises:
        InvalidPolicy: the policy is malformed.
        ConfigurationError: another argument makes no sense.
    """

    def __init__(
        self,
        *,
        store: ExecutionStore | str | os.PathLike[str] | None = None,
        policy: Policy | PolicySource | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        ids: Ids = SYSTEM_IDS,
        environ: Mapping[str, str] | None = None,
        write_ahead: WriteAhead = "calls",
        max_depth: int = DEFAULT_MAX_DEPTH,
        capture: Capture | Iterable[str] | bool = False,
        verify_replay: bool = False,
        max_abandoned: int = DEFAULT_MAX_ABANDONED,
        max_workers: int = DEFAULT_MAX_WORKERS,
        limits: Limits | None = None,
    ) -> None:
        if write_ahead not in ("calls", "effects"):
            raise ConfigurationError(
                "write_ahead makes no sense", expected="'calls' or 'effects'", got=repr(write_ahead)
            )
        if max_depth < 0:
            raise ConfigurationError("max_depth makes no sense", expected="0 or more", got=repr(max_depth))
        if max_abandoned < 0:
            raise ConfigurationError(
                "max_abandoned makes no sense", expected="0 or more", got=repr(max_abandoned)
            )
        if max_workers < 0:
            raise ConfigurationError(
                "max_workers makes no sense", expected="0 or more", got=repr(max_workers)
            )
        if limits is not None and not isinstance(limits, Limits):
            raise ConfigurationError("limits make no sense", expected="Limits(...)", got=repr(limits))
        self.registry = Registry()
        self.clock = clock
        self.ids = ids
        self.store = (
            FileExecutionStore(Path(store), clock=clock) if isinstance(store, str | os.PathLike) else store
        )
        self._environ = os.environ if environ is None else environ
        self._max_depth = max_depth
        self._max_abandoned = max_abandoned
        self._max_workers = max_workers
        self._capture = capture_of(capture)
        if verify_replay and self.store is None:
            raise ConfigurationError(
                "verify_replay needs records", where="store", expected="a directory or a store"
            )
        compiled = _compiled(policy)
        self._engine = Engine(
            store=self.store,
            clock=clock,
            ids=ids,
            environ=self._environ,
            capture=self._capture,
            write_ahead=write_ahead,
            isolation=Isolation(clock, max_abandoned),
            max_workers=max_workers,
            environments=Environments(compiled, limits),
            gates=Gates(limits, clock),
        )
        self._router = self._engine.router = IntentRouter(
            self.registry,
            compiled,
            self._engine,
            max_depth=max_depth,
            gates=self._engine.gates,
            spending=Spending(compiled.budgets, self.store, clock) if compiled.budgets else None,
        )
        self._world, self._environments = self._engine.world, self._engine.environments
        if verify_replay:
            self._engine.on_recorded = self._verify_replay
            self._engine.on_recorded_async = self._verify_replay_async

    @property
    def router(self) -> IntentRouter:
        """The router, for callers that have an envelope."""
        return self._router

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._router.policy

    @property
    def abandoned(self) -> tuple[Abandoned, ...]:
        """Calls of agents that were cut off and still run."""
        return self._engine.isolation.abandoned

    def configure(
        self,
        *,
        store: ExecutionStore | str | os.PathLike[str] | None = None,
        policy: Policy | PolicySource | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    ) -> Self:
        """A runtime with the same agents, and with another store or policy where one is given."""
        other = type(self)(
            store=self.store if store is None else store,
            policy=self.policy if policy is None else policy,
            clock=self.clock,
            ids=self.ids,
            environ=self._environ,
            write_ahead=self._engine.write_ahead,
            max_depth=self._max_depth,
            capture=False if self._capture is None else self._capture,
            verify_replay=self._engine.on_recorded is not None,
            max_abandoned=self._max_abandoned,
            max_workers=self._max_workers,
            limits=self._engine.gates.limits,
        )
        other.registry.copy(self.registry)
        return other

    def plan(self, envelope: IntentEnvelope) -> Plan:
        """Who would be called for an envelope, and why; calls and records nothing."""
        return self._router.plan(envelope)

    def cancel(self, execution_id: str, reason: str = "cancelled on request") -> bool:
        """Cancels an execution that is under way, and those that it asks for.

        Its agents are cut off as their isolation allows; no other agent is called. Its end is on record, with
        the code CANCELLED, or IN_DOUBT if something was cut off that may have acted.

        Args:
            execution_id: of an execution that this runtime runs, or that another process runs on the same
                store; in full.
            reason: for people; it is on record.

        Returns:
            Whether it was under way. Another process takes note within a fraction of a second, as soon as its
                agent asks for something or is waited for.

        Raises:
            StoreWriteFailed: the other process cannot be told.
        """
        return self._engine.cancel(execution_id, reason)

    def close(self) -> None:
        """Ends its processes, gives back its threads, and closes the store."""
        self._engine.close()
        if self.store is not None:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begun(self, execution_id: str, request: Request) -> None:
        self._engine.begun(execution_id, request)

    def _opening(self, plan: Plan) -> Opening:
        return self._engine.opening(plan)


def _compiled(
    policy: Policy | PolicySource | Mapping[str, Any] | str | os.PathLike[str] | None,
) -> Policy:
    if policy is None:
        return NO_POLICY
    if isinstance(policy, str | os.PathLike):
        policy = load_policy(Path(policy))
    elif isinstance(policy, Mapping):
        policy = parse_policy(dict(policy), "policy")
    return compile_policy(policy) if isinstance(policy, PolicySource) else policy
