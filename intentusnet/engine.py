"""`Engine`: what a router and its agents need of the world, wired together for one runtime.

It opens the sessions, calls the agents as isolated as they ask, routes what they route, and knows which
executions are under way, so that they can be cancelled.
"""

from __future__ import annotations

import contextvars
import functools
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from intentusnet.agents import Agent
from intentusnet.asker import World
from intentusnet.capture import Capture
from intentusnet.capture.arguments import redacted
from intentusnet.context import call_agent
from intentusnet.errors import RecordNotFound
from intentusnet.ids import Clock, Ids
from intentusnet.importable import importable
from intentusnet.replay.environment import Environments
from intentusnet.replay.live import LiveSession, Opening, WriteAhead
from intentusnet.replay.unrecorded import UnrecordedSession
from intentusnet.response import AgentResponse
from intentusnet.routing.control import Control
from intentusnet.routing.hands import Recorder
from intentusnet.routing.isolation import Call, Isolation
from intentusnet.routing.limits.gates import Gates
from intentusnet.routing.plan import Plan
from intentusnet.routing.request import Request
from intentusnet.routing.router import IntentRouter
from intentusnet.sizes import Sizes
from intentusnet.stores.base import ExecutionStore
from intentusnet.transcript import Answer, Session

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from concurrent.futures import ThreadPoolExecutor

    from intentusnet.workers.processes import Processes

T = TypeVar("T")

#: Threads that wait for the disk on behalf of event loops; they share its syncs, so more of them are faster.
_WAITING: Final = 64
#: Processes that run agents, unless the runtime is told another number.
DEFAULT_MAX_WORKERS: Final = 32

#: The event loop on which asynchronous children of plain agents are awaited.
_loop: contextvars.ContextVar[AbstractEventLoop | None] = contextvars.ContextVar(
    "intentusnet_loop", default=None
)


class Engine:
    """See the module; mutable, for many threads and event loops.

    Args:
        store: where executions are recorded; None for nowhere.
        clock, ids, environ: the world's.
        capture: what hooks are to catch.
        write_ahead: see `IntentusRuntime`.
        isolation: runs the agents.
        max_workers: so many processes may run agents.
        gates: the limits.

    Attributes:
        awaits_hooks: whether hooks of the runtime have to be awaited.
        sizes: how large payloads and answers may be.
    """

    awaits_hooks: bool = False

    #: Set by the runtime: the two need each other.
    router: IntentRouter
    #: Bring the execution to its end that a request `resumes`; set by the runtime, too.
    resume_child: Callable[[Request], AgentResponse]
    resume_child_async: Callable[[Request], Awaitable[AgentResponse]]

    def __init__(
        self,
        *,
        store: ExecutionStore | None,
        clock: Clock,
        ids: Ids,
        environ: Mapping[str, str],
        capture: Capture | None,
        write_ahead: WriteAhead,
        isolation: Isolation,
        max_workers: int,
        environments: Environments,
        gates: Gates,
        sizes: Sizes,
    ) -> None:
        self.isolation = isolation
        isolation.in_process = self._call_in_process
        self.environments = environments
        self.gates = gates
        self.world = World(
            clock,
            ids,
            environ,
            self._route_child,
            self._route_child_async,
            self.off_loop,
            capture,
            redacted,
            sizes,
        )
        self.write_ahead: WriteAhead = write_ahead
        self.on_recorded: Callable[[str], None] | None = None
        self.on_recorded_async: Callable[[str], Awaitable[None]] | None = None
        self._store = store
        self._clock = clock
        self._ids = ids
        self._running: dict[str, Control] = {}
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._max_workers = max_workers
        self._processes: Processes | None = None
        _ALL.add(self)

    def open_session(self, request: Request, plan: Plan) -> Recorder:
        """See `Hands.open_session`.

        Raises:
            ConfigurationError: an agent is to run in a process of its own, and none can import it.
        """
        for agent in plan.apart:
            importable(agent.name, agent.registered)
        execution_id = self._ids.execution_id()
        self.begun(execution_id, request)
        try:
            if self._store is None:
                return UnrecordedSession(execution_id, request, plan, self._clock)
            opening = self.opening(plan)
            return LiveSession(
                execution_id, request, plan, store=self._store, clock=self._clock, opening=opening
            )
        except BaseException:
            self._running.pop(execution_id, None)
            raise

    def begun(self, execution_id: str, request: Request) -> None:
        """Takes note that an execution is under way, and can be cancelled, until it has `ended`."""
        if request.control is None:
            return
        self._running[execution_id] = request.control
        if self._store is not None:
            request.control.looks(functools.partial(self._store.custody.wants_stopped, execution_id))

    def opening(self, plan: Plan) -> Opening:
        """What the first entry of an execution says beside envelope and plan."""
        return Opening(self.environments.encoded(plan), self.write_ahead)

    def ended(self, execution_id: str) -> None:
        """See `Hands.ended`."""
        control, store = self._running.pop(execution_id, None), self._store
        if store is not None and control is not None and control.reason is not None:
            store.custody.stopped(execution_id)

    def recorded(self, execution_id: str) -> None:
        """See `Hands.recorded`."""
        if self.on_recorded is not None:
            self.on_recorded(execution_id)

    async def recorded_async(self, execution_id: str) -> None:
        """See `Hands.recorded_async`."""
        if self.on_recorded_async is not None:
            await self.on_recorded_async(execution_id)

    def call_agent(self, agent: Agent, attempt: int, request: Request, session: Session) -> Answer:
        """See `Hands.call_agent`."""
        return self.isolation.call(Call(agent, attempt, request, session), self._call_here)

    async def call_agent_async(
        self, agent: Agent, attempt: int, request: Request, session: Session
    ) -> Answer:
        """See `Hands.call_agent_async`."""
        from asyncio import get_running_loop

        from intentusnet.async_context import call_agent_awaiting
        from intentusnet.routing.awaiting import finished, in_thread

        # An asynchronous agent is in the loop, and must not wait there for what the loop is to do.
        token = _loop.set(None if agent.is_async else get_running_loop())
        try:
            if agent.is_async:
                return await self.isolation.call_awaiting(
                    Call(agent, attempt, request, session),
                    lambda: call_agent_awaiting(agent, attempt, request, session, self.world),
                )
            calling = in_thread(lambda: self.call_agent(agent, attempt, request, session))
            return await finished(calling, request.control or Control())
        finally:
            _loop.reset(token)

    def off_loop(self, function: Callable[[], T]) -> Future[T]:
        """See `OffLoop`."""
        from intentusnet.routing.awaiting import running_loop

        loop = running_loop()
        with self._lock:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(_WAITING, thread_name_prefix="intentusnet-disk")
            # Under the lock, so that nobody shuts it down between the two.
            return loop.run_in_executor(self._pool, function)

    def cancel(self, execution_id: str, reason: str) -> bool:
        """See `IntentusRuntime.cancel`."""
        control = self._running.get(execution_id)
        if control is not None:
            control.cancel(reason)
            return True
        store = self._store
        if store is None or not _is_running(store, execution_id):
            return False
        store.custody.ask_to_stop(execution_id, reason)
        if _is_running(store, execution_id):
            return True
        store.custody.stopped(execution_id)
        return False

    def close(self) -> None:
        """Gives back what it holds."""
        with self._lock:
            pool, self._pool = self._pool, None
            processes, self._processes = self._processes, None
        if pool is not None:
            pool.shutdown()
        if processes is not None:
            processes.close()

    def _call_here(self, call: Call) -> Answer:
        return call_agent(call.agent, call.attempt, call.request, call.session, self.world)

    def _call_in_process(self, call: Call) -> Answer:
        with self._lock:
            if self._processes is None:
                # Imported late: who isolates nothing by processes has no part in what they need.
                from intentusnet.workers.processes import Processes

                self._processes = Processes(self.world, self._max_workers)
            processes = self._processes
        return processes.call(call)

    def after_fork(self) -> None:
        """Starts afresh in a child process: threads and executions are the parent's."""
        self._lock = threading.Lock()
        self._running = {}
        self._pool = None
        self.isolation.after_fork()
        self.gates.after_fork()

    def _route_child(self, request: Request) -> AgentResponse:
        loop = _loop.get()
        if loop is not None and (
            self.awaits_hooks or any(agent.is_async for agent in self.router.plan_of(request).steps)
        ):
            from asyncio import run_coroutine_threadsafe

            return run_coroutine_threadsafe(self._route_child_async(request), loop).result()
        return self.router.route_request(request) if request.resumes is None else self.resume_child(request)

    async def _route_child_async(self, request: Request) -> AgentResponse:
        if request.resumes is not None:
            return await self.resume_child_async(request)
        return await self.router.route_request_async(request)


def _is_running(store: ExecutionStore, execution_id: str) -> bool:
    try:
        record = store.get(execution_id)
    except RecordNotFound:
        return False
    return record.outcome is None and store.custody.is_running(execution_id, record.runner)


_ALL: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork() -> None:
    for engine in list(_ALL):
        engine.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
