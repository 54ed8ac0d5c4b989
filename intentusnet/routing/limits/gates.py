"""`Gates`: the limits of one runtime with their states, through which calls pass.

The only place where limits have state, a clock and a lock. The lock is held for one step at a time, never while
somebody waits or an agent runs. Who has to wait yields a `Wait` instead, which the two drivers perform, each in
its way: there is one queue for threads and event loops.

The states live as long as their agents are registered, or called, and are as many as these; each is bounded.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Generator
from fractions import Fraction
from typing import Any, Final, NamedTuple

from intentusnet.agents import Agent
from intentusnet.envelope import IntentEnvelope
from intentusnet.ids import SYSTEM_CLOCK, Clock
from intentusnet.limits import SECOND, Concurrency, Limits, RetryBudget
from intentusnet.response import ErrorCode, ErrorInfo
from intentusnet.routing.control import LOOK_EVERY, Control
from intentusnet.routing.limits import breaker, concurrency, retry
from intentusnet.routing.limits.bucket import Rates
from intentusnet.routing.plan import Plan

#: Who waits for as long as it takes looks so seldom, in seconds, whether it still has to.
_LONG: Final = 3600.0

#: The limits in which a call, or who asks for it, has a place.
Holding = tuple[object, ...]


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


class Arrival(NamedTuple):
    """Who wants to pass.

    Attributes:
        envelope: of the execution: its caller, tenant, priority and deadline count.
        control: whether it may go on.
        holding: where it has a place already.
    """

    envelope: IntentEnvelope
    control: Control
    holding: Holding = ()


class Gates:
    """See the module; mutable, for many threads and event loops.

    Args:
        limits: the runtime's; None for none. Agents bring their own.
        clock: of which all times are.
    """

    def __init__(self, limits: Limits | None, clock: Clock) -> None:
        self.limits = limits
        self.clock = clock
        self.after_fork()

    def after_fork(self) -> None:
        """Starts afresh: whoever is in a limit, or waits, is another process's."""
        limits = self.limits or Limits()
        self.lock = threading.Lock()
        self._gates: weakref.WeakKeyDictionary[Agent, Gate] = weakref.WeakKeyDictionary()
        self._rates = Rates(limits.rate) if limits.rate else None
        self._budget = _budget(limits)
        self._whole = None if limits.concurrency is None else Queue(limits.concurrency)

    def guard(self, plan: Plan, depth: int) -> bool:
        """Whether limits come before the calls of a plan that is nested in so many executions."""
        if plan.refusal is not None:
            return False
        limits = self.limits
        if limits is not None and (limits.retry or limits.breaker or limits.rate or self.whole(depth)):
            return True
        return any([agent.definition.limits is not None for agent in plan.steps])

    def whole(self, depth: int) -> Queue | None:
        """The limit on executions, for one that is nested in so many others.

        Whoever waits for those that it asks for must not keep them out: only the outermost count.
        """
        return self._whole if depth == 0 else None

    def gate(self, agent: Agent) -> Gate:
        """What stands before the calls of an agent."""
        with self.lock:
            gate = self._gates.get(agent)
            if gate is None:
                gate = self._gates[agent] = self._made(agent.definition.limits or Limits())
            return gate

    def _made(self, own: Limits) -> Gate:
        common = self.limits or Limits()
        return Gate(
            own.model_copy(
                update={"retry": own.retry or common.retry, "breaker": own.breaker or common.breaker}
            ),
            Rates(own.rate, self._rates) if own.rate else self._rates,
            _budget(own) if own.retry else self._budget,
        )

    def now(self) -> int:
        """Nanoseconds of the clock."""
        return round(self.clock.monotonic() * SECOND)

    def deadline(self, envelope: IntentEnvelope) -> int | None:
        """An envelope's deadline in the clock's nanoseconds; None if it has none."""
        if envelope.deadline is None:
            return None
        left = round(envelope.deadline.timestamp() * 1_000_000) - self.clock.time_us()
        return self.now() + left * 1000

    def is_over(self, arrival: Arrival) -> bool:
        """Whether nothing is called any more: the execution was cancelled, or its deadline has passed."""
        deadline = arrival.envelope.deadline
        late = deadline is not None and self.clock.time_us() >= deadline.timestamp() * 1_000_000
        return late or arrival.control.check() is not None

    def begin(self, agent: Agent) -> None:
        """Takes note of an agent's first call in an execution, which pays for retries."""
        budget = self.gate(agent).budget
        if budget is not None:
            with self.lock:
                budget.held = retry.pay_in(budget.held, budget.settings)

    def again(
        self,
        agent: Agent,
        error: ErrorInfo,
        state: retry.RetryState,
        arrival: Arrival,
        where: tuple[str, str],
    ) -> retry.RetryVerdict | None:
        """Whether a call that has failed is repeated; None where nobody repeats any.

        Args:
            agent, error: who failed, and how.
            state: of the calls so far.
            arrival: whose they are.
            where: the execution's id, and the scope of the first call.
        """
        gate = self.gate(agent)
        settings = gate.limits.retry
        if settings is None:
            return None
        # What was cut off is read-only, or a timeout, or in doubt, which ends all: nothing else is unclean.
        failure = retry.Failure.of(error, agent.definition, clean=True)
        _, verdict = retry.step(
            state,
            self.now(),
            failure,
            settings=settings,
            execution_id=where[0],
            scope=where[1],
            deadline=self.deadline(arrival.envelope),
        )
        if gate.budget is not None:
            with self.lock:
                gate.budget.held, verdict = retry.spend(gate.budget.held, verdict)
        return verdict


class _Budget:
    """What is left for retries; mutable, guarded by the lock of the gates."""

    def __init__(self, settings: RetryBudget) -> None:
        self.settings = settings
        self.held: Fraction = retry.full_budget(settings)


def _budget(limits: Limits) -> _Budget | None:
    settings = None if limits.retry is None else limits.retry.budget
    return None if settings is None else _Budget(settings)


class Gate:
    """What stands before the calls of one agent; mutable, guarded by the lock of the gates.

    Args:
        limits: its own, and what it has of the runtime.
        rates: the buckets, its own and the runtime's.
        budget: for retries; the runtime's is shared.
    """

    def __init__(self, limits: Limits, rates: Rates | None, budget: _Budget | None) -> None:
        self.limits = limits
        self.rates = rates
        self.budget = budget
        self.queue = None if limits.concurrency is None else Queue(limits.concurrency)
        self.breaker = breaker.BreakerState()


class Queue:
    """A limit on what runs at once, and who waits for it; mutable, guarded by the lock of the gates."""

    def __init__(self, settings: Concurrency) -> None:
        self.settings = settings
        self.state = concurrency.idle(settings)
        #: By ticket: whoever waits, and is woken when it need not wait any more.
        self.waiting: dict[int, Control] = {}


class Passage:
    """One call, or execution, on its way through the gates; mutable, for one strand.

    Args:
        gates: all of them.
        arrival: who passes.
        name: of the agent, for people; None for an execution.

    Attributes:
        verdict: what is on record of it, a raw tree.
        holding: where it has a place, by itself or by who asks for it.
    """

    def __init__(self, gates: Gates, arrival: Arrival, name: str | None = None) -> None:
        self.verdict: dict[str, Any] = {"admitted": True}
        self.holding = arrival.holding
        self._gates = gates
        self._arrival = arrival
        self._name = name
        self._place: tuple[Queue, int] | None = None
        self._admitted: tuple[Gate, int] | None = None

    def enter_gate(self, gate: Gate) -> Generator[Wait, None, None]:
        """Passes what stands before an agent: rates, then the queue, then, right before the call, the breaker."""
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
            told["waited"] = gates.now() - began
            self._look_round(queue, verdict, deadline)
        if self._place is not None:
            self.holding = (*self.holding, queue)

    def _wait(self, queue: Queue, turn: Control, deadline: int | None) -> Generator[Wait, None, None]:
        gates, ticket = self._gates, self._ticket
        while ticket in queue.waiting and turn.reason is None:
            left = _LONG if deadline is None else (deadline - gates.now()) / SECOND
            if left <= 0:
                return
            # Another clock does not move by itself: it is looked at now and then.
            yield Wait(turn, left if gates.clock is SYSTEM_CLOCK else LOOK_EVERY)

    @property
    def _ticket(self) -> int:
        return -1 if self._place is None else self._place[1]

    def _look_round(
        self, queue: Queue, verdict: concurrency.ConcurrencyVerdict, deadline: int | None
    ) -> None:
        """What came of waiting: a place, or the end of the execution, or of its time."""
        reason = self._arrival.control.reason
        with self._gates.lock:
            has_place = any([call.ticket == self._ticket for call in queue.state.running])
        if reason is None and has_place:
            return
        self.leave()
        late = reason is None
        error = ErrorInfo(
            code=ErrorCode.AGENT_TIMEOUT if late else ErrorCode.CANCELLED,
            message="the deadline passed" if late else f"the execution was cancelled: {reason}",
            details={"place": verdict.place, "estimate": verdict.estimate / SECOND},
        )
        self._refuse(error.model_copy(update={"message": f"while it waited for a place, {error.message}"}))

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
        subject = (
            "the execution was not begun" if self._name is None else f"agent {self._name!r} was not called"
        )
        error = error.model_copy(update={"message": f"{subject}: {error.message}"})
        self.verdict.update(admitted=False, error=error.tree())

    def leave(self) -> None:
        """Gives back the place; once, however often it is called."""
        place, self._place = self._place, None
        if place is None:
            return
        queue, ticket = place
        with self._gates.lock:
            queue.waiting.pop(ticket, None)
            now = self._gates.now()
            queue.state, changed = concurrency.leave(queue.state, now, ticket, settings=queue.settings)
            woken = _woken(queue, changed)
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
