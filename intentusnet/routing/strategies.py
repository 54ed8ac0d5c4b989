"""The strategies, as generators: they yield which attempts to make and are sent the answers.

No thread, no clock, no agent is met here; a driver makes the attempts. What a strategy returns depends on the
answers alone, never on the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from intentusnet import values
from intentusnet.envelope import RoutingStrategy
from intentusnet.response import ErrorCode
from intentusnet.routing.plan import Plan
from intentusnet.transcript import Answer


# Plain classes, because they are made for every execution: frozen ones, and tuples, take longer.
@dataclass(slots=True)
class Attempts:
    """Command: call these steps, all at once if there are several; in a race, until one succeeds."""

    steps: Sequence[int]
    race: bool = False


@dataclass(slots=True)
class Ended:
    """How the calls of a step came to their end: the last attempt, and its answer."""

    attempt: int
    answer: Answer


@dataclass(slots=True)
class Finished:
    """Result: the ends in the order of the steps, and which step won if it was a race."""

    ends: Sequence[Ended]
    winner: int | None = None


@dataclass(slots=True)
class Outcome:
    """How an execution ends: ``data`` is the encoded payload if ``ok``, else the encoded error."""

    ok: bool
    data: bytes
    agent: str | None = None
    attempt: int | None = None

    def tree(self, data: Any) -> dict[str, Any]:
        """The outcome as a raw tree, around its data: parsed, or as a fragment."""
        return {
            "agent": self.agent,
            "attempt": self.attempt,
            "error": None if self.ok else data,
            "payload": data if self.ok else None,
            "status": "success" if self.ok else "error",
        }


_FIRST: Final = Attempts((0,))
Core = Generator[Attempts, Finished, Outcome]


def route(plan: Plan) -> Core:
    """The core of one execution."""
    if plan.refusal is not None:
        return _refused(plan)
    return _STRATEGIES[plan.strategy](plan)


def _refused(plan: Plan) -> Core:
    assert plan.refusal is not None
    yield from ()
    return Outcome(ok=False, data=plan.refusal.encode())


def _direct(plan: Plan) -> Core:
    finished = yield _FIRST
    return _outcome(plan, 0, finished.ends[0])


def _fallback(plan: Plan) -> Core:
    step = 0
    (end,) = (yield Attempts((step,))).ends
    while not end.answer.ok and not ends_all(end.answer) and step + 1 < len(plan.steps):
        step += 1
        (end,) = (yield Attempts((step,))).ends
    return _outcome(plan, step, end)


def _parallel(plan: Plan) -> Core:
    finished = yield Attempts(range(len(plan.steps)), plan.race)
    winner = finished.winner
    if winner is None:
        ranked = (step for step, end in enumerate(finished.ends) if end.answer.ok)
        winner = next(ranked, 0)
    return _outcome(plan, winner, finished.ends[winner])


def _broadcast(plan: Plan) -> Core:
    finished = yield Attempts(range(len(plan.steps)))
    answers = [end.answer for end in finished.ends]
    if not any(answer.ok for answer in answers):
        return Outcome(ok=False, data=answers[0].data)
    told = [_told(agent.name, answer) for agent, answer in zip(plan.steps, answers, strict=True)]
    return Outcome(ok=True, data=values.dumps(told))


_STRATEGIES: Final[Mapping[RoutingStrategy, Callable[[Plan], Core]]] = {
    RoutingStrategy.DIRECT: _direct,
    RoutingStrategy.FALLBACK: _fallback,
    RoutingStrategy.PARALLEL: _parallel,
    RoutingStrategy.BROADCAST: _broadcast,
}


def _outcome(plan: Plan, step: int, end: Ended) -> Outcome:
    return Outcome(end.answer.ok, end.answer.data, plan.steps[step].definition.name, end.attempt)


def _told(agent: str, answer: Answer) -> dict[str, Any]:
    data = values.Fragment(answer.data)
    return {
        "agent": agent,
        "error": None if answer.ok else data,
        "payload": data if answer.ok else None,
        "status": "success" if answer.ok else "error",
    }


def ends_all(answer: Answer) -> bool:
    """Whether nothing may follow it: what the attempt did is unknown, or the execution was cancelled."""
    if answer.ok:
        return False
    code = values.parse(answer.data)["code"]
    # An agent may say CANCELLED itself, and mean its own affair.
    return code == ErrorCode.IN_DOUBT or (answer.refused and code == ErrorCode.CANCELLED)
