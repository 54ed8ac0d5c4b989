"""`Gates`: the limits of one runtime with their states.

The only place where limits have state, a clock and a lock. The lock is held for one step at a time, never
while somebody waits or an agent runs.

The states live as long as their agents are registered, or called, and are as many as these; each is bounded.
"""

from __future__ import annotations

import threading
import weakref
from fractions import Fraction
from typing import NamedTuple

from intentusnet.agents import Agent
from intentusnet.envelope import IntentEnvelope
from intentusnet.ids import Clock
from intentusnet.limits import SECOND, Concurrency, Limits, RetryBudget
from intentusnet.response import ErrorInfo
from intentusnet.routing.control import Control
from intentusnet.routing.limits import breaker, concurrency, retry
from intentusnet.routing.limits.bucket import Rates
from intentusnet.routing.plan import Plan

#: The limits in which a call, or who asks for it, has a place.
Holding = tuple[object, ...]


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
        return plan.limited

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
        retries, breaks = own.retry or common.retry, own.breaker or common.breaker
        return Gate(
            own.model_copy(update={"retry": retries, "breaker": breaks}),
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

    @property
    def is_open(self) -> bool:
        """Whether nothing stands there, so that nobody need ask."""
        return self.rates is None and self.queue is None and self.limits.breaker is None


class Queue:
    """A limit on what runs at once, and who waits for it; mutable, guarded by the lock of the gates."""

    def __init__(self, settings: Concurrency) -> None:
        self.settings = settings
        self.state = concurrency.idle(settings)
        #: By ticket: whoever waits, and is woken when it need not wait any more.
        self.waiting: dict[int, Control] = {}
