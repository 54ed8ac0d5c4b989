"""What can be replayed, what cannot, and what the report says."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from intentusnet import Context, ExecutionRecord, IntentusRuntime, MemoryExecutionStore, Verdict
from intentusnet.errors import ConfigurationError, RecordNotFound
from intentusnet.fingerprint import fingerprint_of
from intentusnet.replay.divergence import Divergences
from intentusnet.replay.recorded import ReplaySession
from intentusnet.transcript import Answer, Question


def recorded(handler: Callable[..., Any], **route: Any) -> tuple[IntentusRuntime, ExecutionRecord]:
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(handler)
    runtime.agent("b", handles="x")(handler)
    return runtime, runtime.store.get(runtime.route("x", **route).execution_id)


def forged(record: ExecutionRecord, **changes: Any) -> ExecutionRecord:
    """The record with parts changed, and a fingerprint that fits."""
    record = replace(record, **changes)
    assert record.outcome is not None
    tree = record.outcome.tree()
    return replace(
        record, fingerprint=fingerprint_of(record.envelope_tree, record.plan_tree, record.questions, tree)
    )


def test_an_interrupted_execution_cannot_be_replayed() -> None:
    """There is no end to compare with."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())

    def stops() -> None:
        raise KeyboardInterrupt

    runtime.agent("a", handles="x")(stops)
    with pytest.raises(KeyboardInterrupt):
        runtime.route("x")
    report = runtime.replay("@last")
    assert report.verdict is Verdict.NOT_REPLAYABLE and "interrupted" in report.reason


def test_a_record_whose_content_was_changed_cannot_be_replayed() -> None:
    """A fingerprint that does not fit, or an envelope that is none."""
    runtime, record = recorded(lambda: 1)
    assert "fingerprint" in runtime.replay(replace(record, fingerprint="0" * 64)).reason
    broken = replace(record, envelope_tree={**record.envelope_tree, "payload": {"$none": 1}})
    assert "envelope" in runtime.replay(broken).reason
    wrong = replace(record, envelope_tree={**record.envelope_tree, "priority": "high"})
    assert runtime.replay(wrong).verdict is Verdict.NOT_REPLAYABLE


def test_a_question_without_an_answer_halts_whoever_asks_it() -> None:
    """A record that lacks an answer diverges at that question, and the world is not asked."""
    called: list[int] = []
    runtime, record = recorded(lambda ctx: ctx.effect("f", called.append, 1))
    questions = tuple(q._replace(answer=None) if q.kind == "effect" else q for q in record.questions)
    report = runtime.replay(forged(record, questions=questions))
    assert [(d.kind.value, d.question, d.pointer) for d in report.divergences] == [
        ("missing", "effect f [0]", "/answer")
    ]
    assert called == [1]


def test_an_attempt_without_an_answer_is_not_made() -> None:
    """The agent is not run if the record does not know how it ended."""
    calls: list[int] = []
    runtime, record = recorded(lambda: calls.append(1))
    report = runtime.replay(forged(record, questions=(record.questions[0]._replace(answer=None),)))
    assert [(d.kind.value, d.question) for d in report.divergences] == [("missing", "agent a [0]")]
    assert calls == [1]


@pytest.mark.parametrize("strategy", ["parallel", "broadcast"])
def test_an_attempt_that_is_not_on_record_is_unexpected(strategy: str) -> None:
    """Each attempt of the plan has to be on record."""
    runtime, record = recorded(lambda: 1, strategy=strategy)
    report = runtime.replay(forged(record, questions=record.questions[:1]))
    assert [(d.kind.value, d.scope, d.question) for d in report.divergences] == [
        ("unexpected", "attempt:1", "agent b [1]")
    ]
    other = record.questions[1]._replace(name="c")
    report = runtime.replay(forged(record, questions=(record.questions[0], other)))
    assert report.divergences[0].expected == "agent c [1]"


def test_after_leaving_the_record_an_agent_gets_no_more_answers() -> None:
    """An agent that swallows everything is unwound at each further question, and reported once."""
    _, record = recorded(lambda ctx: ctx.effect("f", lambda: None))

    def stubborn(ctx: Context) -> None:
        for name in ("new", "f", "other"):
            try:
                ctx.effect(name, int)
            except BaseException:  # noqa: BLE001 - that is what is tested
                ctx.log("swallowed")

    now = IntentusRuntime(store=MemoryExecutionStore())
    for name in "ab":
        now.agent(name, handles="x")(stubborn)
    report = now.replay(record)
    assert [(d.kind.value, d.question) for d in report.divergences if d.scope == "attempt:0"] == [
        ("unexpected", "effect new [0]")
    ]


def test_a_race_that_is_not_on_record_is_unexpected() -> None:
    """The question who won has to be answered by the record."""
    runtime, record = recorded(lambda: 1, strategy="parallel", prefer="first")
    kept = tuple(q for q in record.questions if q.kind != "race")
    report = runtime.replay(forged(record, questions=kept))
    assert [d.question for d in report.divergences] == ["race parallel [2]"]
    assert report.divergences[0].scope == ""


def test_replay_takes_a_record_or_a_reference() -> None:
    """A record, an id, a prefix, @last; without a store a reference means nothing."""
    runtime, record = recorded(lambda: 1)
    for reference in (record, record.execution_id, record.execution_id[:20], "@last"):
        assert runtime.replay(reference).verdict is Verdict.MATCH
    with pytest.raises(RecordNotFound):
        runtime.replay("ffffffff")
    storeless = IntentusRuntime()
    storeless.agent("a", handles="x")(lambda: 1)
    storeless.agent("b", handles="x")(lambda: 1)
    assert storeless.replay(record).verdict is Verdict.MATCH
    with pytest.raises(ConfigurationError, match="no store"):
        storeless.replay("@last")


def test_the_store_cannot_fail_a_replay() -> None:
    """A replay writes nothing, so it takes no notice of a store that fails."""
    runtime, record = recorded(lambda: 1)
    plan = runtime.plan(record.envelope)
    session = ReplaySession(record, plan, Divergences())
    session.fail(ValueError("no matter"))
    answer = Answer(ok=True, data=b"1")
    assert session.cancel(0, "a", answer) is answer
    assert session.begin(Question("", 0, "agent", "a")).answer is None


def test_a_replay_writes_nothing() -> None:
    """The store is the same before and after."""
    runtime, record = recorded(lambda ctx: ctx.route("x", target="b") and ctx.now())
    before = runtime.store.verify()
    runtime.replay(record)
    assert runtime.store.verify() == before


def test_a_report_is_printed_by_its_parts() -> None:
    """The keys that the command line prints, and no more."""
    _, record = recorded(lambda: 1)
    now = IntentusRuntime()
    now.agent("a", handles="x")(lambda: 2)
    now.agent("b", handles="x")(lambda: 2)
    told = now.replay(record).as_dict()
    source = told["divergences"][0]["source"]
    assert re.fullmatch(r".*test_replayer\.py:[0-9]+", source)
    outcome = {
        "kind": "outcome",
        "scope": "attempt:0",
        "question": "agent a [0]",
        "pointer": "/payload",
        "expected": 1,
        "actual": 2,
        "source": source,
        "nearest": "",
    }
    assert told == {
        "execution_id": record.execution_id,
        "verdict": "diverged",
        "divergences": [outcome, {**outcome, "kind": "response", "scope": "", "question": ""}],
        "reason": "",
        "taken": [],
        "guards": ["audit-hook"],
        "strictness": "result",
        "depth": "agents",
        "ignored": 0,
        "asked": 0,
        "children": [],
    }


def test_what_a_record_need_not_have_is_no_divergence() -> None:
    """A change that is younger than the record is not there, and a check that is not on record has passed."""

    def now(ctx: Context) -> Any:
        ctx.check()
        name = "new" if ctx.patched("other-name") else "old"
        ctx.check()
        return ctx.effect(name, abs, 1)

    runtime, old = recorded(lambda ctx: ctx.effect("old", abs, 1))
    later = IntentusRuntime(store=MemoryExecutionStore())
    for name in "ab":
        later.agent(name, handles="x")(now)
    assert later.replay(old).verdict is Verdict.MATCH
    young = later.store.get(later.route("x").execution_id)
    assert later.replay(young).verdict is Verdict.MATCH
    report = runtime.replay(young)
    assert [(d.kind.value, d.question) for d in report.divergences[:2]] == [
        ("unexpected", "effect old [0]"),
    ]


def test_a_patch_is_found_on_record_after_other_questions_have_changed() -> None:
    """A question before it that differs does not turn the new branch into the old one."""

    def agent_of(number: int) -> Callable[..., Any]:
        def agent(ctx: Context) -> Any:
            ctx.effect("f", abs, number)
            return ctx.effect("new" if ctx.patched("p") else "old", abs, 1)

        return agent

    _, record = recorded(agent_of(1))
    now, _ = recorded(agent_of(2))
    assert [d.kind.value for d in now.replay(record).divergences] == ["arguments"]
