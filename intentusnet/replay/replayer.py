"""Replay of one record: plan and policy decided anew, agents run again, everything compared."""

from __future__ import annotations

from typing import Any, Final

from intentusnet import values
from intentusnet.agents import Agent
from intentusnet.context import World, call_agent
from intentusnet.errors import InvalidInput, ReplayHalted
from intentusnet.fingerprint import compared_plan, fingerprint_of
from intentusnet.record import ExecutionRecord
from intentusnet.replay.differences import differences
from intentusnet.replay.divergence import Divergence, DivergenceKind, Divergences, ReplayReport, Verdict
from intentusnet.replay.recorded import ReplaySession
from intentusnet.replay.tripwire import watched
from intentusnet.routing.drivers import drive
from intentusnet.routing.plan import Plan
from intentusnet.routing.router import IntentRouter, Request
from intentusnet.routing.strategies import Outcome
from intentusnet.transcript import Answer, attempt_scope

GUARDS: Final = ("audit-hook",)

#: In these a difference is the policy's doing; in any other part of a candidate it is the registry's.
_DECIDED: Final = ("/allowed", "/cause", "/rule")


def replay_record(record: ExecutionRecord, router: IntentRouter, world: World) -> ReplayReport:
    """Runs a record again from its own answers and compares everything.

    Args:
        record: what is replayed. Its bytes are taken to be checked already.
        router: the agents and the policy of now.
        world: never asked; contexts are made with it.
    """
    if record.outcome is None:
        return _not_replayable(record, "the execution was interrupted: no end is on record")
    try:
        envelope = record.envelope
    except (InvalidInput, ValueError) as fault:
        return _not_replayable(record, f"the envelope on record cannot be read: {fault}")
    recorded = fingerprint_of(record.envelope_tree, record.plan_tree, record.questions, record.outcome.tree())
    if recorded != record.fingerprint:
        return _not_replayable(record, "the fingerprint on record does not fit the record's content")
    divergences = Divergences()
    plan = router.plan(envelope, record.depth)
    _compare_plans(record, plan, divergences)
    if [agent.name for agent in plan.steps] != list(record.plan_tree["steps"]):
        return _report(record, divergences)
    request = Request(envelope, values.dumps(record.envelope_tree["payload"]), record.parent, record.depth)
    session = ReplaySession(record, plan, divergences)
    outcome = _run(plan, request, session, world)
    session.finish(halted=outcome is None)
    if outcome is not None:
        _compare_outcomes(record, outcome, divergences)
    return _report(record, divergences, tuple(session.taken))


def _run(plan: Plan, request: Request, session: ReplaySession, world: World) -> Outcome | None:
    def invoke(attempt: int) -> Answer:
        scope = attempt_scope(attempt)
        agent: Agent = plan.steps[attempt]

        def touched(event: str, args: tuple[Any, ...]) -> BaseException:
            return session.halt(scope, event, [_short(arg) for arg in args])

        with watched(touched):
            return call_agent(agent, attempt, request, session, world)

    try:
        return drive(plan, session, invoke)
    except ReplayHalted:
        return None


def _short(argument: Any) -> Any:
    text = argument if isinstance(argument, str) else repr(argument)
    return values.tree(text[:200])


def _compare_plans(record: ExecutionRecord, plan: Plan, divergences: Divergences) -> None:
    for pointer, expected, actual in differences(compared_plan(record.plan_tree), compared_plan(plan.tree())):
        decided = pointer.startswith("/candidates/") and pointer.endswith(_DECIDED)
        kind = DivergenceKind.POLICY if decided else DivergenceKind.PLAN
        divergences.note(Divergence(kind, "", _candidate(record, pointer), pointer, expected, actual))


def _candidate(record: ExecutionRecord, pointer: str) -> str:
    part = pointer.split("/")
    if part[1] != "candidates" or int(part[2]) >= len(record.plan_tree["candidates"]):
        return ""
    return f"agent {record.plan_tree['candidates'][int(part[2])]['agent']} [{part[2]}]"


def _compare_outcomes(record: ExecutionRecord, outcome: Outcome, divergences: Divergences) -> None:
    assert record.outcome is not None
    actual = outcome.tree(values.parse(outcome.data))
    divergences.note_all(DivergenceKind.RESPONSE, "", "", differences(record.outcome.tree(), actual))


def _report(record: ExecutionRecord, divergences: Divergences, taken: tuple[str, ...] = ()) -> ReplayReport:
    found = divergences.in_order()
    verdict = Verdict.DIVERGED if found else Verdict.MATCH
    return ReplayReport(record.execution_id, verdict, found, taken=taken, guards=GUARDS)


def _not_replayable(record: ExecutionRecord, reason: str) -> ReplayReport:
    return ReplayReport(record.execution_id, Verdict.NOT_REPLAYABLE, reason=reason)
