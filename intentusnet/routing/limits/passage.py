"""`Passage`: the way of one call, or execution, through the gates: rates, queue, breaker, and back.

Who has to wait yields a `Wait`, which the two drivers perform, each in its way: threads and event loops share
one queue. What was taken is given back once, whatever becomes of the call.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final, NamedTuple

from intentusnet import values
from intentusnet.agents import Agent
from intentusnet.ids import SYSTEM_CLOCK, Clock
from intentusnet.limits import SECOND
from intentusnet.response import ErrorCode, ErrorInfo
from intentusnet.routing.control import LOOK_EVERY, Control
from intentusnet.routing.limits import breaker, concurrency
from intentusnet.routing.limits.bucket import Rates
from intentusnet.routing.limits.gates import Arrival, Gate, Gates, Holding, Queue

#: In seconds: who waits looks so often whether it still has to, should it not have been woken.
_LOOK: Final = 1.0


class Wait(NamedTuple):
    """Command: wait, but no longer than until that is stopped.

    Attributes:
        control: stopped when the execution is, or when there is nothing to wait for any more.
        seconds: how long.
        clock: by which clock.
    """

    control: Control
    seconds: float
    clock: Clock = SYSTEM_CLOCK


class Passage:
    """One call, or execution, on its way through the gates; mutable, for one strand.

    Args:
        gates: all of them.
        arrival: who passes.
        name: of the agent, for people; None for an execution.

    Attributes:
        verdict: what is on record of it, a raw tree.
        taken: where it has a place of its own.
    """

    def __init__(self, gates: Gates, arrival: Arrival, name: str | None = None) -> None:
        self.verdict: dict[str, Any] = {"admitted": True}
        self.taken: Holding = ()
        self._gates = gates
        self._arrival = arrival
        self._name = name
        self._place: tuple[Queue, int] | None = None
        self._admitted: tuple[Gate, int] | None = None

    def enter_gate(self, agent: Agent) -> Generator[Wait, None, None]:
        """Passes what stands before an agent: rates, the queue and, right before the call, the breaker."""
        gate = self._gates.gate(agent)
        if gate.rates is not None and not self._pay(gate.rates):
            return
        if gate.queue is not None:
            yield from self.enter_queue(gate.queue)
        if gate.limits.breaker is not None and self.verdict["admitted"]:
            self._pass_breaker(gate)

    def _pay(self, rates: Rates) -> bool:
        caller = self._arrival.envelope.caller
        with self._gates.lock:
            now, agent = self._gates.now(), self._name or ""
            verdict = rates.step(now, agent=agent, caller=caller.name, tenant=caller.tenant)
        self.verdict["rate"] = verdict.tree()
        if not verdict.admitted:
            self._refuse(verdict.error())
        return verdict.admitted

    def enter_queue(self, queue: Queue) -> Generator[Wait, None, None]:
        """Takes a place, and waits for it if need be."""
        if any(held is queue for held in self._arrival.holding):
            # Who asks for this waits for it, and so would never give its place to it.
            self.verdict["concurrency"] = {"decision": "nested"}
            return
        gates, envelope, turn = self._gates, self._arrival.envelope, Control(self._arrival.control)
        deadline = gates.deadline(envelope)
        with gates.lock:
            began = gates.now()
            queue.state, verdict, changed = concurrency.enter(
                queue.state, began, settings=queue.settings, priority=envelope.priority, deadline=deadline
            )
            if verdict.decision != "refused":
                self._place = queue, queue.state.issued
            if verdict.decision == "queued":
                queue.waiting[queue.state.issued] = turn
            woken = _woken(queue, changed)
        _wake(woken)
        told = self.verdict["concurrency"] = verdict.tree()
        if verdict.decision == "refused":
            self._refuse(verdict.error())
        elif verdict.decision == "queued":
            yield from self._wait(queue, turn, deadline)
            told["waited"] = values.tree(gates.now() - began)
            self._look_round(queue, verdict)
        if self._place is not None:
            self.taken = (queue,)

    def _wait(self, queue: Queue, turn: Control, deadline: int | None) -> Generator[Wait, None, None]:
        gates, ticket = self._gates, self._ticket
        while ticket in queue.waiting and turn.reason is None:
            left = _LOOK if deadline is None else (deadline - gates.now()) / SECOND
            if left <= 0:
                return
            # Another clock goes as it likes, so that nobody knows how long to wait by this one.
            yield Wait(turn, min(left, _LOOK) if gates.clock is SYSTEM_CLOCK else LOOK_EVERY)

    @property
    def _ticket(self) -> int:
        return -1 if self._place is None else self._place[1]

    def _look_round(self, queue: Queue, verdict: concurrency.ConcurrencyVerdict) -> None:
        """What came of waiting: a place, or the end of the execution, or of its time."""
        reason = self._arrival.control.reason
        with self._gates.lock:
            has_place = any(call.ticket == self._ticket for call in queue.state.running)
        if reason is None and has_place:
            return
        self.leave()
        late = reason is None
        why = "the deadline passed" if late else f"the execution was cancelled: {reason}"
        self._refuse(
            ErrorInfo(
                code=ErrorCode.AGENT_TIMEOUT if late else ErrorCode.CANCELLED,
                message=f"while it waited for a place, {why}",
                details={"place": verdict.place, "estimate": verdict.estimate / SECOND},
            )
        )

    def _pass_breaker(self, gate: Gate) -> None:
        settings = gate.limits.breaker
        assert settings is not None
        with self._gates.lock:
            gate.breaker, verdict = breaker.admit(gate.breaker, self._gates.now(), settings=settings)
            if verdict.admitted:
                self._admitted = gate, gate.breaker.generation
        self.verdict["breaker"] = verdict.tree()
        if not verdict.admitted:
            self.leave()
            self._refuse(verdict.error())

    def _refuse(self, error: ErrorInfo) -> None:
        name = self._name
        subject = "the execution was not begun" if name is None else f"agent {name!r} was not called"
        error = error.model_copy(update={"message": f"{subject}: {error.message}"})
        self.verdict.update(admitted=False, error=error.tree())

    def leave(self) -> None:
        """Gives back the place; once, however often it is called."""
        if self._place is None:
            return
        queue, ticket = self._place
        with self._gates.lock:
            queue.waiting.pop(ticket, None)
            now = self._gates.now()
            queue.state, changed = concurrency.leave(queue.state, now, ticket, settings=queue.settings)
            woken = _woken(queue, changed)
        self._place = None  # not before: who is interrupted here leaves again, which changes nothing
        _wake(woken)

    def settle(self, code: ErrorCode | None, *, counts: bool) -> None:
        """Takes note of how the call has ended, and gives back its place; once.

        Args:
            code: of the failure; None for a success.
            counts: whether that says anything of the agent's health.
        """
        admitted, self._admitted = self._admitted, None
        if admitted is not None:
            gate, generation = admitted
            settings = gate.limits.breaker
            assert settings is not None
            result = breaker.result_of(code, settings) if counts else "neutral"
            with self._gates.lock:
                gate.breaker = breaker.settle(
                    gate.breaker, self._gates.now(), generation, result, settings=settings
                )
        self.leave()


def _woken(queue: Queue, changed: concurrency.Changed) -> list[Control]:
    """Those that need not wait any more, because they may run or their time is up."""
    return [queue.waiting.pop(ticket) for ticket in (*changed.granted, *changed.expired)]


def _wake(turns: list[Control]) -> None:
    for turn in turns:
        turn.cancel("there is nothing to wait for any more")
