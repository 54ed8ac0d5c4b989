"""What surrounds the calls of a plan where limits come before them: admissions, waits and retries.

Generators like the strategies, for both drivers: they yield what takes time (`Wait`, `Call`), and do the rest
themselves. Verdicts come from the session if it has them, whatever the limits are now; else from the gates;
and where there are neither, everything is admitted and nothing repeated.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from intentusnet import values
from intentusnet.agents import Agent
from intentusnet.response import ErrorCode, ErrorInfo
from intentusnet.routing.control import Control
from intentusnet.routing.limits.gates import Arrival, Gates, Holding
from intentusnet.routing.limits.passage import Passage, Wait
from intentusnet.routing.limits.retry import RetryState
from intentusnet.routing.plan import Plan, question_of
from intentusnet.routing.strategies import Attempts, Core, Ended, Finished, Outcome, ends_all, route
from intentusnet.transcript import (
    LIMITS,
    RETRY,
    Answer,
    Question,
    RoutedSession,
    admission_question,
    attempt_scope,
    retry_of,
    turn_of,
)

T = TypeVar("T")


class Call(NamedTuple):
    """Command: call the agent of an attempt, which that stops, and which has taken places in these limits."""

    attempt: int
    control: Control
    taken: Holding = ()


class Called(NamedTuple):
    """Result: the answer of a call, and whether the agent was called for it."""

    answer: Answer
    made: bool


class Limited(NamedTuple):
    """The limits of now, for one execution.

    Attributes:
        gates: of the runtime.
        arrival: of the execution.
        depth: how many it is nested in.
    """

    gates: Gates
    arrival: Arrival
    depth: int


#: The core of a plan where limits come first: it may have to wait, and holds its places until it is closed.
GatedCore = Generator[Attempts | Wait, Finished | None, Outcome]
#: The calls of one step, retries included.
Calls = Generator[Call | Wait, Called | None, Ended]


def agent_question(plan: Plan, number: int) -> Question:
    """The question that the call of an agent is."""
    questions = plan.questions
    return questions[number] if number < len(questions) else question_of(plan.agent(number), number)


def execution(plan: Plan, session: RoutedSession, limited: Limited | None) -> GatedCore:
    """The core of one execution, behind the limit on executions."""
    asked = admission_question(LIMITS)
    told = session.recalls(asked)
    queue = None if limited is None else limited.gates.whole(limited.depth)
    passage = None if told is not None or queue is None else _passage(limited)
    try:
        if passage is not None and queue is not None:
            ticket = session.begin(asked)
            yield from passage.enter_queue(queue)
            told = session.end(ticket, _answer(passage))
        error = _refusal(told)
        if error is not None:
            return Outcome(ok=False, data=error)
        return (yield from _routed(plan))
    finally:
        if passage is not None:
            passage.leave()


def _routed(plan: Plan) -> Generator[Attempts, Finished | None, Outcome]:
    core: Core = route(plan)
    try:
        command = next(core)
        while True:
            finished = yield command
            assert finished is not None
            command = core.send(finished)
    except StopIteration as stop:
        outcome: Outcome = stop.value
        return outcome


def calls(plan: Plan, step: int, session: RoutedSession, limited: Limited | None, control: Control) -> Calls:
    """The calls of one step: the first, and its retries.

    Args:
        plan: who is called.
        step: of the plan.
        session: where answers, and verdicts, come from.
        limited: the limits of now; None for none.
        control: stops the step.
    """
    if limited is not None:
        limited = limited._replace(arrival=limited.arrival._replace(control=control))
        if session.recalls(agent_question(plan, step)) is None:
            limited.gates.begin(plan.agent(step))
    began = 0 if limited is None else limited.gates.now()
    number = step
    while True:
        answer = yield from _call(plan, number, session, limited, control)
        if answer.ok or ends_all(answer):
            return Ended(number, answer)
        delay = _delay(plan, number, session, limited, answer, began)
        if delay is None:
            return Ended(number, answer)
        number = retry_of(number, len(plan.steps))
        # What came after the wait is on record, if it is: then it has been waited for already.
        if limited is not None and session.recalls(agent_question(plan, number)) is None:
            yield Wait(control, delay / 1_000_000_000, limited.gates.clock)


def _passage(limited: Limited | None, agent: Agent | None = None) -> Passage | None:
    """The way through the limits of now; None if there are none, or nothing is called any more."""
    if limited is None or limited.gates.is_over(limited.arrival):
        return None
    if agent is not None and limited.gates.gate(agent).is_open:
        return None
    return Passage(limited.gates, limited.arrival, None if agent is None else agent.name)


def _call(
    plan: Plan, number: int, session: RoutedSession, limited: Limited | None, control: Control
) -> Generator[Call | Wait, Called | None, Answer]:
    question = agent_question(plan, number)
    asked = admission_question(LIMITS, number)
    told = session.recalls(asked)
    # A call that is answered on record is not made, so nothing stands before it.
    free = told is not None or session.recalls(question) is not None
    passage = None if free else _passage(limited, plan.agent(number))
    code, counts = None, False
    try:
        if passage is not None:
            ticket = session.begin(asked)
            yield from passage.enter_gate(plan.agent(number))
            told = session.end(ticket, _answer(passage))
        error = _refusal(told)
        if error is not None:
            return session.refuse(question, Answer(ok=False, data=error, refused=True))
        called = yield Call(number, control, () if passage is None else passage.taken)
        assert called is not None
        answer = called.answer
        if not answer.ok:
            code = ErrorCode(values.parse(answer.data)["code"])
        # Who was stopped from outside, or never called, tells nothing of its health.
        counts = called.made and (answer.ok or control.reason is None)
        return answer
    finally:
        if passage is not None:
            passage.settle(code, counts=counts)


def _delay(
    plan: Plan, number: int, session: RoutedSession, limited: Limited | None, failed: Answer, began: int
) -> int | None:
    """After how many nanoseconds a call that has failed is repeated; None if it is not."""
    asked = admission_question(RETRY, number)
    told = session.recalls(asked)
    if told is None and limited is not None:
        step, before = turn_of(number, len(plan.steps))
        verdict = limited.gates.again(
            plan.agent(number),
            ErrorInfo.from_tree(values.parse(failed.data)),
            RetryState(began, before + 1),
            limited.arrival,
            (session.execution_id, attempt_scope(step)),
        )
        if verdict is not None:
            told = session.end(session.begin(asked), Answer(ok=True, data=values.dumps(verdict.tree())))
    decided: dict[str, Any] = {"again": False} if told is None else values.parse(told.data)
    return values.untag(decided["delay"]) if decided["again"] else None


def _answer(passage: Passage) -> Answer:
    return Answer(ok=True, data=values.dumps(passage.verdict))


def _refusal(told: Answer | None) -> bytes | None:
    """The encoded error of a verdict that refuses; None if it admits, or there is none."""
    verdict = {"admitted": True} if told is None else values.parse(told.data)
    return None if verdict["admitted"] else values.dumps(verdict["error"])
