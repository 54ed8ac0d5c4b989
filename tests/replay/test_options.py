"""Strictness, ignored places and depths: what each compares, and what it leaves out."""

import itertools
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from intentusnet import (
    Context,
    ExecutionRecord,
    IntentusRuntime,
    ManualClock,
    MemoryExecutionStore,
    ReplayReport,
    Verdict,
    effect,
)
from intentusnet.errors import InvalidInput
from intentusnet.replay.strictness import Depth, Strictness

Handler = Callable[..., Any]


def told(*args: Any, **kwargs: Any) -> Any:
    return [*args, *sorted(kwargs)]


def runtime_of(handler: Handler, rules: Any = None, **options: Any) -> IntentusRuntime:
    runtime = IntentusRuntime(store=MemoryExecutionStore(), policy=rules)
    runtime.agent("a", handles="x.*", **{"side_effect": "read_only", **options})(handler)
    return runtime


def recorded(
    runtime: IntentusRuntime, intent: str = "x.y", payload: Any = None, **route: Any
) -> ExecutionRecord:
    assert runtime.store is not None
    return runtime.store.get(runtime.route(intent, payload, **route).execution_id)


def kinds(report: ReplayReport) -> list[str]:
    return list(dict.fromkeys(divergence.kind.value for divergence in report.divergences))


def asks(*steps: tuple[Any, ...], answer: Any = None) -> Handler:
    def agent(ctx: Context) -> Any:
        for name, *args in steps:
            ctx.effect(name, told, *args)
        return answer

    return agent


# --- strictness ---

ALLOWS = {"default": "allow", "rules": [{"id": "r", "effect": "allow", "agent": "a"}]}
BASE = asks(("f", 1), ("g", 2))
EVERY = tuple(Strictness)
FROM_ARGS, FROM_RESULT, ONLY_STRICT = EVERY[1:], EVERY[2:], EVERY[3:]
#: The runtime of now, and which kinds are found by which strictnesses.
CHANGES: dict[str, tuple[IntentusRuntime, Mapping[str, tuple[Strictness, ...]]]] = {
    "the agent's source": (runtime_of(lambda ctx: BASE(ctx) or None), {"environment": ONLY_STRICT}),
    "a setting of the agent": (runtime_of(BASE, timeout=60.0), {"environment": ONLY_STRICT}),
    "an argument": (runtime_of(asks(("f", 1), ("g", 9))), {"arguments": FROM_ARGS}),
    "the answer": (
        runtime_of(asks(("f", 1), ("g", 2), answer=1)),
        {"outcome": FROM_RESULT, "response": FROM_RESULT},
    ),
    "the order": (runtime_of(asks(("g", 2), ("f", 1))), {"reordered": FROM_RESULT}),
    "a step more": (runtime_of(asks(("f", 1), ("g", 2), ("h",))), {"unexpected": EVERY}),
    "a step less": (runtime_of(asks(("f", 1))), {"missing": EVERY}),
    "a decision": (runtime_of(BASE, ALLOWS), {"policy": FROM_RESULT, "environment": ONLY_STRICT}),
    "who is called": (
        runtime_of(BASE, {"default": "deny", "rules": []}),
        {"policy": FROM_RESULT, "plan": EVERY, "environment": ONLY_STRICT},
    ),
}


@pytest.mark.parametrize("strictness", Strictness)
@pytest.mark.parametrize("name", CHANGES)
def test_a_strictness_compares_what_it_says(name: str, strictness: Strictness) -> None:
    """Each kind of change is found by the strictnesses that compare it, and is a match to the others."""
    runtime, found = CHANGES[name]
    report = runtime.replay(recorded(runtime_of(BASE)), strictness=strictness)
    wanted = [kind for kind, finders in found.items() if strictness in finders]
    assert kinds(report) == wanted
    assert report.verdict is (Verdict.DIVERGED if wanted else Verdict.MATCH)
    assert report.strictness is strictness


def test_the_strictest_replay_of_the_same_code_matches() -> None:
    """The environment of now is that of then, so nothing differs; another record's version does."""
    runtime = runtime_of(BASE)
    record = recorded(runtime)
    assert runtime.replay(record, strictness="strict").verdict is Verdict.MATCH
    record.environment["python"] = "2.7"  # type: ignore[index]  # a forged one
    (divergence,) = runtime.replay(record, strictness="strict").divergences
    assert (divergence.kind, divergence.pointer, divergence.expected) == ("environment", "/python", "2.7")


def test_arguments_that_are_not_compared_do_not_shift_questions() -> None:
    """With strictness `effects` calls of a name are told apart by their number alone."""
    record = recorded(runtime_of(asks(("f", 1), ("f", 2), ("f", 3))))
    assert (
        runtime_of(asks(("f", 2), ("f", 9), ("f", 1))).replay(record, strictness="effects").divergences == ()
    )
    report = runtime_of(asks(("f", 2), ("f", 9))).replay(record, strictness="effects")
    assert [(d.kind.value, d.question) for d in report.divergences] == [("missing", "effect f [2]")]


def test_an_answer_goes_to_the_sort_of_thread_that_it_was_given_to() -> None:
    """A thread of the agent and the agent itself ask the same: each gets its own answer."""
    numbers = itertools.count()

    def agent(*, thread_first: bool) -> Handler:
        def run(ctx: Context) -> Any:
            told: dict[str, int] = {}
            thread = threading.Thread(target=lambda: told.update(thread=ctx.effect("f", numbers.__next__)))
            if thread_first:
                thread.start()
                thread.join()
            told["own"] = ctx.effect("f", numbers.__next__)
            if not thread_first:
                thread.start()
                thread.join()
            return told

        return run

    for first in (True, False):
        record = recorded(runtime_of(agent(thread_first=first)))
        report = runtime_of(agent(thread_first=not first)).replay(record)
        assert (report.verdict, report.divergences) == (Verdict.MATCH, ())


# --- ignored places ---


def stamped(number: int, *, at: int, extra: bool = False) -> Handler:
    def agent(ctx: Context) -> Any:
        for item in range(2):
            ctx.effect("f", told, item, now=at + item)
        if extra:
            ctx.effect("f", told, 7, now=at)
        return {"at": at, "number": number, "items": [{"id": at + n, "n": n} for n in range(3)]}

    return agent


IGNORE = {
    "x.*": ["arguments:/kwargs/now", "/payload/at", "outcome:/payload/items/*/id"],
    "x.y": ["response:/payload/items/*/id"],
}


def test_an_ignored_place_changes_no_verdict_and_is_counted() -> None:
    """Arguments, outcome and response differ in ignored places only: a match, and each place is counted."""
    record = recorded(runtime_of(stamped(1, at=100)))
    now = runtime_of(stamped(1, at=200))
    report = now.replay(record, ignore=IGNORE)
    assert (report.verdict, report.divergences, report.ignored) == (Verdict.MATCH, (), 2 + 2 * 4)
    assert runtime_of(stamped(1, at=100)).replay(record, ignore=IGNORE).ignored == 0
    assert now.replay(record).verdict is Verdict.DIVERGED
    elsewhere = recorded(runtime_of(stamped(1, at=100)), "x.z")
    assert {d.kind.value for d in now.replay(elsewhere, ignore=IGNORE).divergences} == {"response"}


def test_beside_ignored_places_everything_is_compared() -> None:
    """Another number, a call more: found, and alone, whatever is ignored around it."""
    record = recorded(runtime_of(stamped(1, at=100)))
    report = runtime_of(stamped(2, at=200)).replay(record, ignore=IGNORE)
    assert [(d.kind.value, d.pointer) for d in report.divergences] == [
        ("outcome", "/payload/number"),
        ("response", "/payload/number"),
    ]
    report = runtime_of(stamped(1, at=200, extra=True)).replay(record, ignore=IGNORE)
    assert [(d.kind.value, d.question) for d in report.divergences] == [("unexpected", "effect f [2]")]


def test_questions_are_matched_without_what_is_ignored() -> None:
    """A call gets the answer of the one that differs in the ignored place only."""

    def agent(*items: int, at: int) -> Handler:
        return lambda ctx: [ctx.effect("f", told, item, now=at)[0] for item in items]

    record = recorded(runtime_of(agent(1, 2, 3, at=1)))
    report = runtime_of(agent(1, 3, at=2)).replay(record, ignore={"*": ["arguments:/kwargs/now"]})
    assert [(d.kind.value, d.question) for d in report.divergences][:1] == [("missing", "effect f [1]")]
    assert [(d.pointer, d.actual) for d in report.divergences[1:2]] == [("/payload/1", 3)]


def test_a_hundred_ignored_places_hide_nothing_behind_them() -> None:
    """However many places are ignored, one behind them that is not is found."""
    record = recorded(runtime_of(lambda: {"a": [0] * 500, "z": 0}))
    report = runtime_of(lambda: {"a": [1] * 500, "z": 1}).replay(record, ignore={"*": ["/payload/a"]})
    assert [d.pointer for d in report.divergences] == ["/payload/z", "/payload/z"]
    assert report.ignored == 1000


def test_who_is_called_cannot_be_ignored() -> None:
    """A rule for the whole plan and policy hides decisions, but not that other agents are called."""
    everything = {
        "*": ["plan:/candidates", "plan:/steps", "policy:/candidates", "/payload", "/error", "/status"]
    }
    record = recorded(runtime_of(BASE))
    assert runtime_of(BASE, ALLOWS).replay(record, ignore=everything).verdict is Verdict.MATCH
    report = runtime_of(BASE, {"default": "deny", "rules": []}).replay(record, ignore=everything)
    assert [(d.kind.value, d.pointer) for d in report.divergences] == [("plan", "/steps/0")]


# --- depth ---


def test_routing_decides_anew_and_calls_nobody() -> None:
    """The agents' answers are the record's; decisions are those of the policy of now."""

    def fails(payload: Any) -> Any:
        raise AssertionError("an agent was called")

    record = recorded(runtime_of(lambda ctx: ctx.effect("f", told, 1)))
    report = runtime_of(fails).replay(record, depth="routing")
    assert (report.verdict, report.taken, report.depth) == (Verdict.MATCH, ("a",), Depth.ROUTING)
    assert kinds(runtime_of(fails, ALLOWS).replay(record, depth="routing")) == ["policy"]


@pytest.mark.parametrize("strategy", ["direct", "fallback", "parallel", "broadcast"])
def test_routing_needs_no_agents(strategy: str) -> None:
    """A runtime that knows a policy and no agent decides about the candidates on record."""
    then = runtime_of(lambda: {}["gone"], rank=3)
    then.agent("b", handles="x.y", rank=1, version="7", side_effect="irreversible")(lambda: 1)
    then.agent("remote", handles="*", remote=True)(lambda: 2)
    record = recorded(then, strategy=strategy)
    assert IntentusRuntime().replay(record, depth="routing", strictness="strict").verdict is Verdict.MATCH
    rule = {"id": "r", "effect": "deny", "side_effect": "irreversible"}
    report = IntentusRuntime(policy={"default": "allow", "rules": [rule]}).replay(record, depth="routing")
    assert [(d.kind.value, d.question, d.pointer) for d in report.divergences][:1] == [
        ("policy", "agent b [0]", "/candidates/0/allowed")
    ]


def test_routing_without_agents_and_candidates_decides_nothing() -> None:
    """An execution that found nobody says nothing about who there was."""
    record = recorded(IntentusRuntime(store=MemoryExecutionStore()))
    report = IntentusRuntime().replay(record, depth="routing")
    assert report.verdict is Verdict.NOT_REPLAYABLE and "candidates" in report.reason


class World:
    """Prices that change, and a list of what was bought."""

    def __init__(self) -> None:
        self.price = 5
        self.calls: list[str] = []

    def agent(self, ctx: Context) -> Any:
        @effect(side_effect="read_only")
        def look(item: str) -> int:
            self.calls.append("look")
            if self.price < 0:
                raise LookupError(item)
            return self.price

        @effect(side_effect="reversible", idempotent=True)
        def buy(item: str) -> str:
            self.calls.append("buy")
            return f"bought {item}"

        told = [
            ctx.effect("look", look, "shoes"),
            ctx.env("CITY"),
            str(ctx.uuid()),
            ctx.effect("buy", buy, "shoes"),
        ]
        ctx.sleep(3600)
        return [*told, ctx.route("x.child").payload]


def shop(world: World, environ: dict[str, str], **options: Any) -> IntentusRuntime:
    runtime = IntentusRuntime(store=MemoryExecutionStore(), environ=environ)
    runtime.agent("shop", handles="x.y", **{"side_effect": "read_only", **options})(world.agent)
    runtime.agent("child", handles="x.child", side_effect="read_only")(lambda: 1)
    return runtime


@pytest.fixture
def bought() -> tuple[World, dict[str, str], IntentusRuntime, ExecutionRecord]:
    """A shop whose clock does not really sleep, with one execution on record, its world quiet again."""
    world, environ = World(), {"CITY": "Turin"}
    runtime = shop(world, environ)
    recording = IntentusRuntime(store=runtime.store, environ=environ, clock=ManualClock())
    for agent in runtime.registry.agents():
        recording.registry.add(agent)
    record = recorded(recording)
    world.calls.clear()
    return world, environ, runtime, record


def test_a_live_replay_asks_again_what_only_reads(bought: Any) -> None:
    """What is read-only is asked, the rest is answered from the record, and nothing is written."""
    world, _, runtime, record = bought
    before = runtime.store.verify()
    report = runtime.replay(record, depth="live")
    assert (report.verdict, report.asked, report.guards, world.calls) == (Verdict.MATCH, 2, (), ["look"])
    assert runtime.replay(record, depth="live", allow_acting=True).asked == 3
    assert world.calls == ["look", "look", "buy"]
    assert runtime.store.verify() == before
    assert (runtime.replay(record).asked, world.calls) == (0, ["look", "look", "buy"])


def test_drift_is_an_outcome_of_the_question(bought: Any) -> None:
    """Each answer that differs names its question and where it differs, and the run goes on with it."""
    world, environ, runtime, record = bought
    world.price, environ["CITY"] = 6, "Rome"
    report = runtime.replay(record, depth="live")
    assert [(d.kind.value, d.question, d.pointer, d.actual) for d in report.divergences] == [
        ("outcome", "effect look [0]", "/payload", 6),
        ("outcome", "env CITY [1]", "/payload", "Rome"),
        ("outcome", "agent shop [0]", "/payload/0", 6),
        ("outcome", "agent shop [0]", "/payload/1", "Rome"),
        ("response", "", "/payload/0", 6),
        ("response", "", "/payload/1", "Rome"),
    ]
    assert "test_options.py:" in report.divergences[0].source
    world.price = -1
    report = runtime.replay(record, depth="live")
    assert [(d.question, d.pointer) for d in report.divergences][:3] == [
        ("effect look [0]", "/error"),
        ("effect look [0]", "/payload"),
        ("effect look [0]", "/status"),
    ]


def test_a_live_replay_runs_no_agent_that_may_act(bought: Any) -> None:
    """Its outcome is taken from the record, unless acting is allowed."""
    world, environ, _, record = bought
    for options in ({"side_effect": "reversible"}, {"remote": True}):
        acting = shop(world, environ, **options)
        report = acting.replay(record, depth="live")
        assert (report.verdict, report.taken, report.asked, world.calls) == (Verdict.MATCH, ("shop",), 0, [])
        assert acting.replay(record, depth="live", allow_acting=True).asked == 3
        world.calls.clear()


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"strictness": "exact"}, "strictness"),
        ({"depth": "deep"}, "depth"),
        ({"allow_acting": True}, "allow_acting"),
        ({"ignore": {"x": ["payload"]}}, "ignore['x'][0]"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, Any], where: str) -> None:
    """With its name, before anything is run."""
    with pytest.raises(InvalidInput) as fault:
        runtime_of(BASE).replay("@last", **options)
    assert fault.value.where == where
