"""`Processes`: calls agents in worker processes, and says how that ended.

What happens is told by where the call was. Before the worker had it, nothing was called. From then on, what
ends without an answer is in doubt, unless the agent is read-only and nothing that acts is open.
"""

from __future__ import annotations

import signal
import threading
import weakref
from itertools import count
from typing import Any

from intentusnet.agents import Agent
from intentusnet.asker import World
from intentusnet.importable import importable
from intentusnet.response import ErrorCode, ErrorInfo
from intentusnet.routing.isolation import Call
from intentusnet.transcript import Answer
from intentusnet.workers.pool import NoWorker, Pool, Worker
from intentusnet.workers.turn import Defined, Ended, Late, Turn, Unfit, warm
from intentusnet.workers.wire import encode


class Processes:
    """Calls agents in worker processes; mutable, for many threads.

    Args:
        world: asked on behalf of the agents.
        max_workers: so many processes may be there at once.
    """

    def __init__(self, world: World, max_workers: int) -> None:
        self._world = world
        self._pool = Pool(max_workers)
        self._lock = threading.Lock()
        self._keys = count()
        self._defined: weakref.WeakKeyDictionary[Agent, Defined] = weakref.WeakKeyDictionary()

    def call(self, call: Call) -> Answer:
        """Calls an agent.

        Raises:
            ConfigurationError: no other process can import it.
            BaseException: what unwound it.
        """
        defined = self._definition(call.agent)
        answer = None
        while answer is None:
            try:
                worker = self._pool.take()
            except NoWorker as fault:
                return _not_called(call, str(fault))
            answer = self._called(worker, call, defined)
        return answer

    def close(self) -> None:
        """Ends the workers; calls that are under way lose theirs."""
        self._pool.close()

    def _called(self, worker: Worker, call: Call, defined: Defined) -> Answer | None:
        """Calls the agent in a worker; None if that had ended before, as an idle one may."""
        was_ready, turn = worker.is_ready, Turn(worker, call, self._world)
        try:
            answer = turn.run(defined)
        except (Late, Ended, Unfit) as fault:
            found = turn.cut_off()
            code = turn.exit_code
            self._pool.lost(worker, lambda other: warm(other, worker.defined))
            if found is not None:
                return found
            if turn.has_begun:
                return self._lost(call, turn, code)
            if isinstance(fault, Ended) and call.control.reason is None and was_ready:
                return None
            return _not_begun(call, turn, str(fault) if isinstance(fault, Unfit) else _how(code))
        except BaseException:
            if not turn.has_unwound:
                # This thread is interrupted itself: nobody serves the worker any more.
                turn.cut_off()
                self._pool.lost(worker)
                raise
            self._pool.give_back(worker)
            raise
        self._pool.give_back(worker)
        return answer

    def _lost(self, call: Call, turn: Turn, code: int | None) -> Answer:
        reason = call.control.reason
        if reason is not None:
            return call.cut_off(f"the execution was cancelled: {reason}", timeout=False)
        if turn.is_late:
            return call.cut_off("its time was up", timeout=True)
        details: dict[str, Any] = {"isolation": "process", "exit_code": code}
        if self._pool.is_closed:
            why = "the runtime was closed"
        else:
            why = _how(code)
        name = call.agent.name
        return call.given_up(ErrorCode.AGENT_UNAVAILABLE, f"agent {name!r} was lost: {why}", details)

    def _definition(self, agent: Agent) -> Defined:
        with self._lock:
            known = self._defined.get(agent)
            if known is None:
                place = importable(agent.name, agent.registered)
                key = str(next(self._keys))
                head = {
                    "what": "define",
                    "agent": key,
                    "definition": agent.definition.model_dump_json(),
                    "digest": agent.digest,
                    "module": place.module,
                    "qualname": place.qualname,
                }
                known = self._defined[agent] = Defined(key, encode(head))
            return known


def _how(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return "its process does not answer, and does not end"
    if code >= 0:
        return f"its process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory, perhaps)" if -code == signal.SIGKILL else ""
    return f"its process was ended by {name}{hint}"


def _not_begun(call: Call, turn: Turn, why: str) -> Answer:
    reason = call.control.reason
    if reason is not None:
        return _not_called(call, f"the execution was cancelled: {reason}", ErrorCode.CANCELLED)
    if turn.is_late:
        return _not_called(call, "the envelope's deadline had passed", ErrorCode.AGENT_TIMEOUT)
    return _not_called(call, f"its worker cannot call it: {why}")


def _not_called(call: Call, why: str, code: ErrorCode = ErrorCode.AGENT_UNAVAILABLE) -> Answer:
    error = ErrorInfo(
        code=code,
        message=f"agent {call.agent.name!r} was not called: {why}",
        details={"isolation": "process"},
    )
    return Answer(ok=False, data=error.encode(), refused=True)
