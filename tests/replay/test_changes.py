"""After code, agents or policy have changed, the first divergence of a replay names the change."""

# Over 400 lines: one matrix of changes.

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from intentusnet import (
    AgentFailure,
    Context,
    Divergence,
    IntentusRuntime,
    MemoryExecutionStore,
    ReplayReport,
    Verdict,
)

STRATEGIES = ("direct", "fallback", "parallel", "broadcast")
Handler = Callable[[Any, Context], Any]


def twice(number: int) -> int:
    return 2 * number


def half(number: int) -> float:
    return number / 2


# --- agents, before and after ---


def before(payload: Any, ctx: Context) -> Any:
    ctx.log("begins")
    told = [ctx.effect("twice", twice, 1), ctx.effect("twice", twice, 2), ctx.effect("half", half, 3)]
    told.append(ctx.gather(lambda: ctx.effect("twice", twice, 0), lambda: ctx.effect("twice", twice, 1)))
    ctx.now()
    told.append(ctx.route("child", {"n": 1}).payload)
    return told


def same_but_other_notes(payload: Any, ctx: Context) -> Any:
    told = [ctx.effect("twice", twice, number) for number in (1, 2)]
    ctx.log("goes on", at="half")
    told.append(ctx.effect("half", half, 3))
    calls = [lambda number=number: ctx.effect("twice", twice, number) for number in (0, 1)]
    told.append(ctx.gather(*calls))
    ctx.log("asks")
    ctx.now()
    told.append(ctx.route("child", {"n": 1}).payload)
    ctx.log("ends")
    return told


def same_but_other_functions(payload: Any, ctx: Context) -> Any:
    def never(number: int) -> Any:
        raise AssertionError("an effect was called during a replay")

    told = [ctx.effect("twice", never, 1), ctx.effect("twice", never, 2), ctx.effect("half", never, 3)]
    told.append(ctx.gather(lambda: ctx.effect("twice", never, 0), lambda: ctx.effect("twice", never, 1)))
    ctx.now()
    return [*told, ctx.route("child", {"n": 1}).payload]


def other_answer(payload: Any, ctx: Context) -> Any:
    return ["other", *before(payload, ctx)[1:]]


def zero_has_lost_its_sign(payload: Any, ctx: Context) -> Any:
    return [*before(payload, ctx)[:-1], -0.0]


def other_type(payload: Any, ctx: Context) -> Any:
    told = before(payload, ctx)
    return [float(told[0]), *told[1:]]


def raises_at_the_end(payload: Any, ctx: Context) -> Any:
    before(payload, ctx)
    raise ValueError("no")


def raises_at_once(payload: Any, ctx: Context) -> Any:
    raise ValueError("no")


@dataclass
class Asking:
    """`before`, with what it asks as data."""

    first: list[tuple[str, int]] = field(default_factory=lambda: [("twice", 1), ("twice", 2), ("half", 3)])
    branches: list[int] = field(default_factory=lambda: [0, 1])
    clock: list[str] = field(default_factory=lambda: ["now"])
    children: list[tuple[str, Any, dict[str, Any]]] = field(default_factory=lambda: [("child", {"n": 1}, {})])
    swallows: bool = False

    def __call__(self, payload: Any, ctx: Context) -> Any:
        try:
            told: list[Any] = [ctx.effect(name, {"half": half}.get(name, twice), n) for name, n in self.first]
            told.append(ctx.gather(*(lambda n=n: ctx.effect("twice", twice, n) for n in self.branches)))
            for name in self.clock:
                getattr(ctx, name)()
            return told + [
                ctx.route(intent, given, **options).payload for intent, given, options in self.children
            ]
        except BaseException:
            if self.swallows:
                return "nothing happened"
            raise


# --- the set-up ---


def answers(value: Any) -> Handler:
    return lambda payload, ctx: value


SECOND = answers("second")
CHILD = answers(0.0)


def runtime_of(
    first: Handler = before,
    *,
    second: Handler | None = SECOND,
    third: Handler | None = None,
    child: Handler = CHILD,
    policy: Mapping[str, Any] | None = None,
    **options: Any,
) -> IntentusRuntime:
    runtime = IntentusRuntime(store=MemoryExecutionStore(), policy=policy)
    runtime.agent("first", handles="ask", **{"rank": 1, "version": "1", **options})(first)
    if second is not None:
        runtime.agent("second", handles="ask", rank=2)(second)
    if third is not None:
        runtime.agent("third", handles="ask", rank=3)(third)
    runtime.agent("child", handles="child")(child)
    return runtime


def replayed(
    then: IntentusRuntime, now: IntentusRuntime, strategy: str = "direct", payload: Any = None
) -> ReplayReport:
    """Records with the one runtime and replays with the other."""
    response = then.route("ask", payload, strategy=strategy)
    assert then.store is not None
    return now.replay(then.store.get(response.execution_id))


def place(divergence: Divergence) -> tuple[str, str, str, str]:
    return (divergence.kind.value, divergence.scope, divergence.question, divergence.pointer)


ONE = "attempt:0"
AGENT = "agent first [0]"
CODE = {
    "the answer": (other_answer, ("outcome", ONE, AGENT, "/payload/0")),
    "the answer's type": (other_type, ("outcome", ONE, AGENT, "/payload/0")),
    "the sign of zero": (zero_has_lost_its_sign, ("outcome", ONE, AGENT, "/payload/4")),
    "raises at the end": (raises_at_the_end, ("outcome", ONE, AGENT, "/error")),
    "raises at once": (raises_at_once, ("missing", ONE, "effect twice [1]", "")),
    "an argument": (
        Asking([("twice", 1), ("twice", 9), ("half", 3)]),
        ("arguments", ONE, "effect twice [1]", "/args/0"),
    ),
    "an argument's type": (
        Asking([("twice", 1), ("twice", 2.0), ("half", 3)]),
        ("arguments", ONE, "effect twice [1]", "/args/0"),
    ),
    "an effect renamed": (
        Asking([("twice", 1), ("twice", 2), ("whole", 3)]),
        ("unexpected", ONE, "effect whole [2]", ""),
    ),
    "an effect renamed, and the signal swallowed": (
        Asking([("twice", 1), ("twice", 2), ("whole", 3)], swallows=True),
        ("unexpected", ONE, "effect whole [2]", ""),
    ),
    "an effect more at the beginning": (
        Asking([("more", 1), ("twice", 1), ("twice", 2), ("half", 3)]),
        ("unexpected", ONE, "effect more [0]", ""),
    ),
    "an effect more at the end": (
        Asking([("twice", 1), ("twice", 2), ("half", 3), ("more", 1)]),
        ("unexpected", ONE, "effect more [3]", ""),
    ),
    "the first effect removed": (
        Asking([("twice", 2), ("half", 3)]),
        ("missing", ONE, "effect twice [1]", ""),
    ),
    "an effect in the middle removed": (
        Asking([("twice", 1), ("half", 3)]),
        ("missing", ONE, "effect twice [2]", ""),
    ),
    "all effects removed": (Asking([]), ("missing", ONE, "effect twice [1]", "")),
    "two effects in the other order": (
        Asking([("twice", 1), ("half", 3), ("twice", 2)]),
        ("reordered", ONE, "effect twice [2]", ""),
    ),
    "an effect repeated": (
        Asking([("twice", 1), ("twice", 2), ("half", 3), ("half", 3)]),
        ("unexpected", ONE, "effect half [3]", ""),
    ),
    "the clock asked otherwise": (
        Asking(clock=["monotonic"]),
        ("unexpected", ONE, "clock monotonic [3]", ""),
    ),
    "the clock not asked": (Asking(clock=[]), ("missing", ONE, "clock now [4]", "")),
    "a branch asks something else": (
        Asking(branches=[0, 7]),
        ("arguments", f"{ONE}/gather:0.1", "effect twice [0]", "/args/0"),
    ),
    "a branch more": (
        Asking(branches=[0, 1, 2]),
        ("unexpected", f"{ONE}/gather:0.2", "effect twice [0]", ""),
    ),
    "a branch less": (Asking(branches=[0]), ("missing", f"{ONE}/gather:0.1", "effect twice [0]", "")),
    "two branches exchanged": (
        Asking(branches=[1, 0]),
        ("arguments", f"{ONE}/gather:0.0", "effect twice [0]", "/args/0"),
    ),
    "a child more": (
        Asking(children=[("child", {"n": 1}, {}), ("other", None, {})]),
        ("unexpected", ONE, "route other [5]", ""),
    ),
    "no child": (Asking(children=[]), ("missing", ONE, "route child [5]", "")),
    "a child's payload": (
        Asking(children=[("child", {"n": 2}, {})]),
        ("arguments", ONE, "route child [4]", "/payload/n"),
    ),
    "a child's routing": (
        Asking(children=[("child", {"n": 1}, {"strategy": "fallback"})]),
        ("arguments", ONE, "route child [4]", "/routing/strategy"),
    ),
    "a child's tags": (
        Asking(children=[("child", {"n": 1}, {"tags": ["t"]})]),
        ("arguments", ONE, "route child [4]", "/tags/0"),
    ),
}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("now", "first"), CODE.values(), ids=CODE.keys())
def test_a_change_of_the_code_is_the_first_divergence(
    now: Handler, first: tuple[str, str, str, str], strategy: str
) -> None:
    """Under every strategy, the first divergence is of the change's kind, and at its place."""
    report = replayed(runtime_of(), runtime_of(now), strategy)
    assert report.verdict is Verdict.DIVERGED
    assert place(report.divergences[0]) == first


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("now", [before, same_but_other_notes, same_but_other_functions, Asking()])
def test_what_asks_and_answers_the_same_matches(now: Handler, strategy: str) -> None:
    """Other notes, other lines and other functions behind the same questions are no divergence."""
    report = replayed(runtime_of(), runtime_of(now), strategy)
    assert (report.verdict, report.divergences) == (Verdict.MATCH, ())


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "options",
    [
        {"version": "2"},
        {"description": "says more"},
        {"idempotent": True},
        {"side_effect": "read_only"},
        {"rank": -5},
    ],
)
def test_what_decides_nothing_matches(options: dict[str, Any], strategy: str) -> None:
    """A new version, other words, another side effect, a rank that changes no order: no divergence."""
    report = replayed(runtime_of(), runtime_of(**options), strategy)
    assert (report.verdict, report.divergences) == (Verdict.MATCH, ())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_child_answers_from_the_record(strategy: str) -> None:
    """A child's agent is not run by the replay of its parent: its change shows in the child's own record."""
    now = runtime_of(child=answers("other"))
    assert replayed(runtime_of(), now, strategy).verdict is Verdict.MATCH
    then = runtime_of()
    response = then.route("ask", strategy=strategy)
    assert then.store is not None
    (child,) = then.store.get(response.execution_id).children
    report = now.replay(then.store.get(child))
    assert place(report.divergences[0]) == ("outcome", ONE, "agent child [0]", "/payload")


def fails(message: str = "no", code: str | None = None, kind: type[Exception] = ValueError) -> Handler:
    def handler(payload: Any, ctx: Context) -> Any:
        raise kind(message) if code is None else AgentFailure(message, code=code)

    return handler


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("now", "pointer"),
    [
        (fails("other"), "/error/message"),
        (fails(kind=KeyError), "/error/message"),
        (fails(kind=LookupError), "/error/type"),
        (fails(code="RATE_LIMIT"), "/error/code"),
        (answers("all right"), "/error"),
    ],
)
def test_a_failure_that_changes_is_named(now: Handler, pointer: str, strategy: str) -> None:
    """Another message, another exception, another code, or none: the first divergence is that outcome."""
    report = replayed(runtime_of(fails()), runtime_of(now), strategy)
    assert place(report.divergences[0]) == ("outcome", ONE, AGENT, pointer)


def test_a_fallback_that_is_no_longer_needed_is_missing() -> None:
    """After the first agent has succeeded against its record, the second one's call is missed."""
    report = replayed(runtime_of(fails()), runtime_of(answers(1)), "fallback")
    assert place(report.divergences[0]) == ("outcome", ONE, AGENT, "/error")
    missing = [d for d in report.divergences if d.kind == "missing"]
    assert [place(d) for d in missing] == [("missing", "attempt:1", "agent second [1]", "")]


def test_a_fallback_that_is_newly_needed_is_unexpected() -> None:
    """An agent that was not called then is not called now: its call is a divergence."""
    report = replayed(runtime_of(answers(1)), runtime_of(fails()), "fallback")
    kinds = [place(d) for d in report.divergences]
    assert kinds[0] == ("outcome", ONE, AGENT, "/error")
    assert kinds[-1] == ("unexpected", "attempt:1", "agent second [1]", "")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("now", "first"),
    [
        ({"third": SECOND}, ("plan", "", "", "/candidates/2")),
        ({"second": None}, ("plan", "", "agent second [1]", "/candidates/1")),
        ({"rank": 9}, ("plan", "", "agent first [0]", "/candidates/0/agent")),
        ({"remote": True}, ("plan", "", "agent first [0]", "/candidates/0/agent")),
    ],
    ids=["added", "removed", "rank", "remote"],
)
def test_a_change_of_the_registry_is_the_first_divergence(
    now: dict[str, Any], first: tuple[str, str, str, str], strategy: str
) -> None:
    """An agent more or less, or another order, is a divergence of the plan, at the candidate."""
    report = replayed(runtime_of(), runtime_of(**now), strategy)
    assert report.verdict is Verdict.DIVERGED
    assert place(report.divergences[0]) == first


RULE = {"id": "big", "effect": "deny", "agent": "second", "payload": {"amount": {"gt": 100}}}


def policy(*rules: Mapping[str, Any], default: str = "allow") -> dict[str, Any]:
    return {"default": default, "rules": list(rules)}


POLICIES = {
    "a rule denies now": (policy(), policy({"id": "r", "effect": "deny", "agent": "second"}), 1, "allowed"),
    "a rule for the payload denies now": (
        policy(),
        policy({**RULE, "payload": {"amount": {"ge": 5}}}),
        1,
        "allowed",
    ),
    "a rule denies no longer": (
        policy({"id": "r", "effect": "deny", "agent": "second"}),
        policy(),
        1,
        "allowed",
    ),
    "the first agent is denied": (
        policy(),
        policy({"id": "r", "effect": "deny", "agent": "first"}),
        0,
        "allowed",
    ),
    "all are denied": (policy(), policy(default="deny"), 0, "allowed"),
    "another rule denies": (
        policy({"id": "r", "effect": "deny", "agent": "second"}),
        policy({"id": "s", "effect": "deny", "agent": "second"}),
        1,
        "rule",
    ),
    "denied for another cause": (
        policy({**RULE, "payload": {"missing": {"eq": 1}}}),
        policy({**RULE, "payload": {"amount": {"eq": 5}}}),
        1,
        "cause",
    ),
    "allowed for another cause": (None, policy(), 0, "cause"),
}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("then", "now", "candidate", "what"), POLICIES.values(), ids=POLICIES.keys())
def test_a_change_of_the_policy_is_the_first_divergence(
    then: Any, now: Any, candidate: int, what: str, strategy: str
) -> None:
    """Another decision, rule or cause is a divergence of the policy, at the candidate."""
    report = replayed(runtime_of(policy=then), runtime_of(policy=now), strategy, {"amount": 5})
    assert report.verdict is Verdict.DIVERGED
    name = ("first", "second")[candidate]
    assert place(report.divergences[0]) == (
        "policy",
        "",
        f"agent {name} [{candidate}]",
        f"/candidates/{candidate}/{what}",
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "now",
    [
        policy(RULE),
        policy({"id": "other", "effect": "deny", "intent": "nothing.*"}),
        policy({"id": "other", "effect": "deny", "agent": "third"}),
    ],
)
def test_a_rule_that_decides_nothing_here_matches(now: dict[str, Any], strategy: str) -> None:
    """A rule more that does not apply to this request is no divergence."""
    report = replayed(runtime_of(policy=policy()), runtime_of(policy=now), strategy, {"amount": 5})
    assert (report.verdict, report.divergences) == (Verdict.MATCH, ())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_refusal_is_replayed_like_any_other_execution(strategy: str) -> None:
    """Denied, nobody there, another reason: refusals are compared to the letter."""
    denied = {"id": "r", "effect": "deny"}
    then = runtime_of(policy=policy(denied))
    assert replayed(then, runtime_of(policy=policy(denied)), strategy).verdict is Verdict.MATCH
    report = replayed(then, runtime_of(policy=policy({**denied, "reason": "closed today"})), strategy)
    assert place(report.divergences[0]) == ("response", "", "", "/error/message")


def test_bodies_that_may_not_be_repeated_are_taken_from_the_record() -> None:
    """An irreversible or a remote agent is not run again, and the report says so."""
    for options in ({"side_effect": "irreversible"}, {"remote": True, "rank": 0}):
        then = runtime_of(second=None, **options)
        report = replayed(then, runtime_of(raises_at_once, second=None, **options))
        assert (report.verdict, report.taken) == (Verdict.MATCH, ("first",))
    assert replayed(runtime_of(), runtime_of()).taken == ()


def as_text() -> str:
    return "5"


def as_number() -> int:
    return 5


def test_an_answer_that_is_not_of_the_declared_type_is_found_at_its_question() -> None:
    """Even if the agent swallows everything: it is told neither the answer nor another one."""

    def asking(function: Callable[[], Any]) -> IntentusRuntime:
        runtime = IntentusRuntime(store=MemoryExecutionStore())

        @runtime.agent("agent", handles="x")
        def agent(ctx: Context) -> int:
            with suppress(BaseException):
                ctx.effect("ask", function)
            return 1

        return runtime

    then, now = asking(as_text), asking(as_number)
    record = then.store.get(then.route("x").execution_id)  # type: ignore[union-attr] - it has one
    (found,) = now.replay(record).divergences
    assert (found.kind, found.scope, found.question, found.expected) == (
        "outcome",
        "attempt:0",
        "effect ask [0]",
        "5",
    )
    assert "expected int" in found.actual["error"]
    assert Path(found.source.rpartition(":")[0]).name == "test_changes.py"
    # What the answers are is not compared by less than `result`, and what is asked is the same.
    assert now.replay(record, strictness="args").verdict is Verdict.MATCH
