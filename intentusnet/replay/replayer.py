"""Replay of one record: plan and policy decided anew, agents run again, everything compared."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from intentusnet import values
from intentusnet.agents import Agent, define_agent
from intentusnet.context import World, call_agent
from intentusnet.errors import InvalidInput, RecordNotFound, ReplayHalted
from intentusnet.fingerprint import compared_plan, fingerprint_of
from intentusnet.record import ExecutionRecord
from intentusnet.registry import Registry
from intentusnet.replay.differences import places
from intentusnet.replay.divergence import Divergence, DivergenceKind, Divergences, ReplayReport, Verdict
from intentusnet.replay.ignoring import NO_RULES, Ignore, parse_ignore
from intentusnet.replay.isolation import guards
from intentusnet.replay.recorded import ReplaySession
from intentusnet.replay.sources import definition_line
from intentusnet.replay.strictness import AGENTS_AGAIN, Depth, Reach, Strictness, depth_of, strictness_of
from intentusnet.replay.tripwire import watched
from intentusnet.routing.drivers import drive
from intentusnet.routing.plan import Plan
from intentusnet.routing.router import IntentRouter, Request
from intentusnet.routing.strategies import Outcome
from intentusnet.transcript import Answer, attempt_scope

#: In these a difference is the policy's doing; in any other part of a candidate it is the registry's.
_DECIDED: Final = ("/allowed", "/cause", "/rule")
_BY_SEVERITY: Final = (Verdict.DIVERGED, Verdict.NOT_REPLAYABLE, Verdict.MATCH)


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How a record is replayed.

    Attributes:
        strictness: what is compared.
        ignore: which places are not.
        reach: what is run, and asked, again.
    """

    strictness: Strictness = Strictness.RESULT
    ignore: Ignore = NO_RULES
    reach: Reach = AGENTS_AGAIN


_DEFAULT: Final = ReplayOptions()


def replay_options(
    strictness: Strictness | str = Strictness.RESULT,
    ignore: Ignore | Mapping[str, Sequence[str]] | None = None,
    depth: Depth | str = Depth.AGENTS,
    *,
    allow_acting: bool = False,
) -> ReplayOptions:
    """The options as their words say them.

    Args:
        strictness: a name of `Strictness`.
        ignore: places by intent, see `parse_ignore`.
        depth: a name of `Depth`.
        allow_acting: a live replay also runs and asks what is not read-only.

    Raises:
        InvalidInput: one of them makes no sense.
    """
    if allow_acting and depth != Depth.LIVE:
        raise InvalidInput(
            "nothing can act in a replay that is not live", where="allow_acting", expected="depth='live'"
        )
    ignored = NO_RULES if ignore is None else ignore if isinstance(ignore, Ignore) else parse_ignore(ignore)
    return ReplayOptions(strictness_of(strictness), ignored, Reach(depth_of(depth), allow_acting))


def replay_record(
    record: ExecutionRecord,
    router: IntentRouter,
    world: World,
    options: ReplayOptions = _DEFAULT,
    environment: Callable[[Plan], Mapping[str, Any]] | None = None,
) -> ReplayReport:
    """Runs a record again from its own answers and compares everything.

    Args:
        record: what is replayed. Its bytes are taken to be checked already.
        router: the agents and the policy of now.
        world: contexts are made with it; asked only by a live replay.
        options: what is compared, and how deep.
        environment: versions and digests of what a plan runs on now; needed to compare them.
    """
    if record.outcome is None:
        return _not_replayable(record, options, "the execution was interrupted: no end is on record")
    try:
        envelope = record.envelope
    except (InvalidInput, ValueError) as fault:
        return _not_replayable(record, options, f"the envelope on record cannot be read: {fault}")
    recorded = fingerprint_of(record.envelope_tree, record.plan_tree, record.questions, record.outcome.tree())
    if recorded != record.fingerprint:
        return _not_replayable(record, options, "the fingerprint on record does not fit the record's content")
    registry = router.registry
    if options.reach.depth is Depth.ROUTING and not registry.agents():
        registry = _recorded_agents(record)
        if not registry.agents():
            return _not_replayable(record, options, "no candidates are on record to decide about")
    divergences = Divergences(options.strictness, options.ignore.of(record.intent))
    plan = router.plan(envelope, record.depth, registry)
    _compare_plans(record, plan, divergences)
    session = ReplaySession(record, plan, divergences, options.reach)
    if [agent.name for agent in plan.steps] == list(record.plan_tree["steps"]):
        payload = values.dumps(record.envelope_tree["payload"])
        request = Request(envelope, payload, record.parent, record.depth)
        outcome = _run(plan, request, session, world)
        session.finish(halted=outcome is None)
        if outcome is not None:
            _compare_outcomes(record, plan, outcome, divergences)
    if environment is not None and divergences.compares(DivergenceKind.ENVIRONMENT):
        then, now = dict(record.environment), dict(environment(plan))
        if registry is not router.registry:
            now["agents"] = then.get("agents")
        divergences.note_all(DivergenceKind.ENVIRONMENT, "", "", places(then, now))
    return _report(record, options, divergences, session)


def replay_nested(
    record: ExecutionRecord,
    load: Callable[[str], ExecutionRecord],
    replay: Callable[[ExecutionRecord], ReplayReport],
) -> ReplayReport:
    """Replays a record and, below it, the executions that it asked for, as far as they can be found.

    Args:
        record: the outermost one.
        load: the record of an id, or raises RecordNotFound.
        replay: replays one record.
    """
    return _nested(record, load, replay, frozenset())


def _nested(
    record: ExecutionRecord,
    load: Callable[[str], ExecutionRecord],
    replay: Callable[[ExecutionRecord], ReplayReport],
    above: frozenset[str],
) -> ReplayReport:
    report = replay(record)
    above |= {record.execution_id}
    children = []
    for child in dict.fromkeys(record.children):
        # Only a forged record is its own descendant, but that one must not keep us forever.
        if child not in above:
            with contextlib.suppress(RecordNotFound):
                children.append(_nested(load(child), load, replay, above))
    verdicts = {report.verdict, *(child.verdict for child in children)}
    worst = next(verdict for verdict in _BY_SEVERITY if verdict in verdicts)
    return replace(report, verdict=worst, children=tuple(children))


def _recorded_agents(record: ExecutionRecord) -> Registry:
    """The candidates on record as agents without code, for a runtime that has none, in their order."""
    registry = Registry()
    for rank, candidate in enumerate(record.plan_tree["candidates"]):
        registry.add(
            define_agent(
                candidate["agent"],
                _no_code,
                handles="*",
                version=candidate["version"],
                rank=rank,
                side_effect=candidate["side_effect"],
            )
        )
    return registry


def _no_code() -> None:
    """Stands for the body of an agent that is known from a record only."""


def _run(plan: Plan, request: Request, session: ReplaySession, world: World) -> Outcome | None:
    def invoke(attempt: int) -> Answer:
        scope = attempt_scope(attempt)
        agent: Agent = plan.steps[attempt]

        def touched(event: str, args: tuple[Any, ...]) -> BaseException:
            return session.halt(scope, event, [_short(arg) for arg in args])

        # A live replay is to touch the world.
        with contextlib.nullcontext() if session.is_live else watched(touched):
            return call_agent(agent, attempt, request, session, world)

    try:
        return drive(plan, session, invoke)
    except ReplayHalted:
        return None


def _short(argument: Any) -> Any:
    text = argument if isinstance(argument, str) else repr(argument)
    return values.tree(text[:200])


def _compare_plans(record: ExecutionRecord, plan: Plan, divergences: Divergences) -> None:
    for pointer, expected, actual in places(compared_plan(record.plan_tree), compared_plan(plan.tree())):
        decided = pointer.startswith("/candidates/") and pointer.endswith(_DECIDED)
        kind = DivergenceKind.POLICY if decided else DivergenceKind.PLAN
        divergence = Divergence(kind, "", _candidate(record, pointer), pointer, expected, actual)
        if pointer.startswith("/steps"):
            # Which agents are called cannot be left out of account: there is nothing to go on with.
            divergences.note_anyhow(divergence)
        elif divergences.compares(kind) and not divergences.ignores(kind, pointer):
            divergences.note(divergence)


def _candidate(record: ExecutionRecord, pointer: str) -> str:
    part = pointer.split("/")
    if part[1] != "candidates" or int(part[2]) >= len(record.plan_tree["candidates"]):
        return ""
    return f"agent {record.plan_tree['candidates'][int(part[2])]['agent']} [{part[2]}]"


def _compare_outcomes(
    record: ExecutionRecord, plan: Plan, outcome: Outcome, divergences: Divergences
) -> None:
    assert record.outcome is not None
    differing = tuple(places(record.outcome.tree(), outcome.tree(values.parse(outcome.data))))
    if differing:
        source = "" if outcome.attempt is None else definition_line(plan.steps[outcome.attempt])
        divergences.note_all(DivergenceKind.RESPONSE, "", "", differing, source=source)


def _report(
    record: ExecutionRecord, options: ReplayOptions, divergences: Divergences, session: ReplaySession
) -> ReplayReport:
    found = divergences.in_order()
    return ReplayReport(
        record.execution_id,
        Verdict.DIVERGED if found else Verdict.MATCH,
        found,
        taken=tuple(session.taken),
        guards=() if session.is_live else guards(),
        strictness=options.strictness,
        depth=options.reach.depth,
        ignored=divergences.ignored,
        asked=session.asked,
    )


def _not_replayable(record: ExecutionRecord, options: ReplayOptions, reason: str) -> ReplayReport:
    return ReplayReport(
        record.execution_id,
        Verdict.NOT_REPLAYABLE,
        reason=reason,
        strictness=options.strictness,
        depth=options.reach.depth,
    )
