"""Replay of one record: plan and policy decided anew, agents run again, everything compared."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from intentusnet import values
from intentusnet.agents import Agent, define_agent
from intentusnet.context import World, call_agent
from intentusnet.errors import ConfigurationError, InvalidInput, ReplayHalted
from intentusnet.fingerprint import compared_envelope, compared_plan, fingerprint
from intentusnet.record import ExecutionRecord
from intentusnet.registry import Registry
from intentusnet.replay.differences import places
from intentusnet.replay.divergence import Divergence, DivergenceKind, Divergences, ReplayReport, Verdict
from intentusnet.replay.environment import comparable
from intentusnet.replay.ignoring import NO_RULES, Ignore, parse_ignore
from intentusnet.replay.isolation import guards
from intentusnet.replay.recorded import ReplaySession
from intentusnet.replay.sources import definition_line
from intentusnet.replay.strictness import AGENTS_AGAIN, Depth, Reach, Strictness, depth_of, strictness_of
from intentusnet.replay.tripwire import watched
from intentusnet.routing.control import Control
from intentusnet.routing.drivers import drive
from intentusnet.routing.guarding import refusal_on_record
from intentusnet.routing.limits.gates import Holding
from intentusnet.routing.plan import Plan
from intentusnet.routing.request import Request
from intentusnet.routing.router import IntentRouter, check_waits_for
from intentusnet.routing.strategies import Outcome
from intentusnet.transcript import Answer, attempt_scope

#: What the environment says of agents, which is not known of those that only a record knows.
_OF_AGENTS: Final = ("agents", "config")
#: In these a difference is the policy's doing; in any other part of a candidate it is the registry's.
_DECIDED: Final = ("/allowed", "/cause", "/rule")


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
    if ignore is None and strictness is Strictness.RESULT and depth is Depth.AGENTS and not allow_acting:
        return _DEFAULT
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

    Raises:
        ConfigurationError: an asynchronous agent would have to run.
    """
    replay = _begin(record, router, options, environment, world)
    if isinstance(replay, ReplayReport):
        return replay
    return replay.end(_run(replay, world) if replay.runs else None)


async def replay_record_async(
    record: ExecutionRecord,
    router: IntentRouter,
    world: World,
    options: ReplayOptions = _DEFAULT,
    environment: Callable[[Plan], Mapping[str, Any]] | None = None,
) -> ReplayReport:
    """The same, where asynchronous agents are awaited; see `replay_record`."""
    replay = _begin(record, router, options, environment, world)
    if isinstance(replay, ReplayReport):
        return replay
    return replay.end(await _run_async(replay, world) if replay.runs else None)


# Not frozen, because one is made for every replay, and that takes four times as long.
@dataclass(slots=True)
class _Replay:
    """A replay whose plan has been compared, and whose agents are to run.

    Attributes:
        ended: how the execution did end, encoded.
        runs: whether the steps are those on record: with others there is nothing to go on with.
    """

    record: ExecutionRecord
    request: Request
    plan: Plan
    session: ReplaySession
    divergences: Divergences
    options: ReplayOptions
    environment: Mapping[str, Any] | None
    ended: bytes
    runs: bool

    @property
    def refusal(self) -> Outcome | None:
        """The end of an execution that a guard has refused; guards are not asked again."""
        error = refusal_on_record(self.session) if self.plan.gated else None
        return None if error is None else Outcome(ok=False, data=error)

    def touched(self, scope: str, event: str, args: tuple[Any, ...]) -> BaseException:
        """What the tripwire calls for code in a scope."""
        return self.session.halt(scope, event, [_short(arg) for arg in args])

    def watched(self, attempt: int) -> AbstractContextManager[None]:
        """The tripwire around the body of an attempt; a live replay is to touch the world."""
        if self.session.is_live:
            return contextlib.nullcontext()
        return watched(partial(self.touched, attempt_scope(attempt)))

    def end(self, outcome: Outcome | None) -> ReplayReport:
        """Compares what the run came to; None if it did not come to its end, or was not made."""
        if self.runs:
            self.session.finish(halted=outcome is None)
            # Equal bytes are equal values, and most are.
            if outcome is not None and _encoded(outcome) != self.ended:
                _compare_outcomes(self.record, self.plan, outcome, self.divergences)
        if self.environment is not None:
            found = places(dict(self.record.environment), self.environment)
            self.divergences.note_all(DivergenceKind.ENVIRONMENT, "", "", found)
        return _report(self.record, self.options, self.divergences, self.session)


def _begin(
    record: ExecutionRecord,
    router: IntentRouter,
    options: ReplayOptions,
    environment: Callable[[Plan], Mapping[str, Any]] | None,
    world: World,
) -> _Replay | ReplayReport:
    if record.outcome is None:
        return not_replayable(record, options, "the execution was interrupted: no end is on record")
    try:
        envelope = record.envelope
    except (InvalidInput, ValueError) as fault:
        return not_replayable(record, options, f"the envelope on record cannot be read: {fault}")
    asked = values.dumps(compared_envelope(record.envelope_tree))
    decided, ended = values.dumps(compared_plan(record.plan_tree)), values.dumps(record.outcome.tree())
    if fingerprint(asked, decided, record.questions, ended) != record.fingerprint:
        return not_replayable(record, options, "the fingerprint on record does not fit the record's content")
    registry = router.registry
    if options.reach.depth is Depth.ROUTING and not registry.agents():
        try:
            registry = _recorded_agents(record)
        except ConfigurationError as fault:
            return not_replayable(record, options, f"the candidates on record make no sense: {fault}")
        if not registry.agents():
            return not_replayable(record, options, "no candidates are on record to decide about")
    divergences = Divergences(options.strictness, options.ignore.of(record.intent))
    plan = router.plan_again(envelope, record, registry)
    runs = True
    if plan.compared != decided:
        _compare_plans(record, plan, divergences)
        runs = [agent.name for agent in plan.steps] == list(record.plan_tree["steps"])
    now = None
    if environment is not None and divergences.compares(DivergenceKind.ENVIRONMENT):
        now = comparable(record, environment(plan))
        if registry is not router.registry:
            now.update({key: record.environment[key] for key in _OF_AGENTS if key in record.environment})
    request = Request(envelope, values.dumps(record.envelope_tree["payload"]), record.parent, record.depth)
    session = ReplaySession(record, plan, divergences, options.reach, world.redacted)
    return _Replay(record, request, plan, session, divergences, options, now, ended, runs)


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


def _run(replay: _Replay, world: World) -> Outcome | None:
    plan, session = replay.plan, replay.session

    def invoke(attempt: int, _: Control, _held: Holding) -> Answer:
        agent: Agent = plan.agent(attempt)
        check_waits_for(agent)
        with replay.watched(attempt):
            return call_agent(agent, attempt, replay.request, session, world)

    refusal = replay.refusal
    if refusal is not None:
        return refusal
    try:
        return drive(plan, session, invoke)
    except ReplayHalted:
        return None


async def _run_async(replay: _Replay, world: World) -> Outcome | None:
    from intentusnet.async_context import call_agent_awaiting
    from intentusnet.routing.awaiting import drive_async, in_thread

    plan, session, request = replay.plan, replay.session, replay.request

    async def invoke(attempt: int, _: Control, _held: Holding) -> Answer:
        agent: Agent = plan.agent(attempt)

        def called() -> Answer:
            with replay.watched(attempt):
                return call_agent(agent, attempt, request, session, world)

        if not agent.is_async:
            # As when it was recorded, in a thread, because others are to go on beside it.
            return await in_thread(called)
        with replay.watched(attempt):
            return await call_agent_awaiting(agent, attempt, request, session, world)

    refusal = replay.refusal
    if refusal is not None:
        return refusal
    try:
        return await drive_async(plan, session, invoke, Control(), world.off_loop)
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


def _encoded(outcome: Outcome) -> bytes:
    return values.dumps(outcome.tree(values.Fragment(outcome.data)))


def _compare_outcomes(
    record: ExecutionRecord, plan: Plan, outcome: Outcome, divergences: Divergences
) -> None:
    assert record.outcome is not None
    differing = tuple(places(record.outcome.tree(), outcome.tree(values.parse(outcome.data))))
    if differing:
        source = "" if outcome.attempt is None else definition_line(plan.agent(outcome.attempt))
        divergences.note_all(DivergenceKind.RESPONSE, "", "", differing, source=source)


def _report(
    record: ExecutionRecord, options: ReplayOptions, divergences: Divergences, session: ReplaySession
) -> ReplayReport:
    found = divergences.in_order()
    return ReplayReport(
        record.execution_id,
        Verdict.DIVERGED if found else Verdict.MATCH,
        found,
        "",
        tuple(session.taken),
        () if session.is_live else guards(),
        options.strictness,
        options.reach.depth,
        divergences.ignored,
        session.asked,
    )


def not_replayable(record: ExecutionRecord, options: ReplayOptions, reason: str) -> ReplayReport:
    """The report of a record that cannot be run again."""
    return ReplayReport(
        record.execution_id,
        Verdict.NOT_REPLAYABLE,
        reason=reason,
        strictness=options.strictness,
        depth=options.reach.depth,
    )
