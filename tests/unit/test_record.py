"""The fold of an execution's entries, and the fingerprint of what it says."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from intentusnet import Context, ExecutionRecord, IntentusRuntime, ManualClock, MemoryExecutionStore, values
from intentusnet.errors import IntegrityBroken, NotReplayable
from intentusnet.fingerprint import FINGERPRINT_DOMAIN, fingerprint_of
from intentusnet.log.entry import Entry
from intentusnet.record import ParentLink, fold


def recorded(handler: Callable[..., Any], **options: Any) -> ExecutionRecord:
    runtime = IntentusRuntime(store=MemoryExecutionStore(clock=ManualClock(step_us=10)))
    runtime.agent("a", handles="x", rank=0)(handler)
    runtime.agent("b", handles="x", rank=1)(lambda: "b")
    runtime.agent("child", handles="child")(lambda: 1)
    response = runtime.route("x", **options)
    record = runtime.store.get(response.execution_id)
    assert record.response == response
    return record


def asking(ctx: Context) -> Any:
    ctx.now()
    ctx.effect("f", lambda n: n, 1)
    ctx.route("child")
    return {"a": (1, 2)}


#: Keys that a body may lack, or whose values the fold has no use for.
OPTIONAL = {"idempotent", "side_effect", "child", "count", "digest", "kind", "arguments", "runner"}


def test_a_record_tells_the_execution() -> None:
    """Envelope, plan, questions with their answers, children, response, times."""
    record = recorded(asking, payload={"p": 1}, caller="ann", strategy="fallback")
    assert (record.intent, record.strategy, record.status, record.depth) == ("x", "fallback", "success", 0)
    assert record.envelope.payload == {"p": 1} and record.envelope.caller.name == "ann"
    assert [(q.kind, q.name, q.ordinal) for q in record.questions] == [
        ("agent", "a", 0), ("clock", "now", 0), ("effect", "f", 1), ("route", "child", 2),
    ]  # fmt: skip
    assert len(record.children) == 1 and record.parent is None
    assert record.duration_us is not None and record.duration_us > 0
    assert record.closed_us == record.entries[-1].ts and record.opened_us == record.entries[0].ts
    assert set(record.environment) == {"agents", "config", "intentusnet", "policy", "python"}
    assert [attempt.agent for attempt in record.attempts] == ["a"]
    assert record.to_jsonl().count(b"\n") == len(record.entries)


def test_an_interrupted_record_has_no_response() -> None:
    """What there is can be read; the response cannot."""
    whole = recorded(asking)
    cut = fold(whole.entries[:-2])
    assert (cut.status, cut.outcome, cut.fingerprint, cut.duration_us) == ("interrupted", None, None, None)
    assert cut.questions[-1].answer is None and cut.attempts == ()
    with pytest.raises(NotReplayable, match="interrupted"):
        _ = cut.response


def test_a_child_knows_its_parent() -> None:
    """By execution, scope and question."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(lambda ctx: ctx.gather(lambda: ctx.route("child").execution_id))
    runtime.agent("child", handles="child")(lambda: 1)
    response = runtime.route("x")
    child = runtime.store.get(response.payload[0])
    assert child.parent == ParentLink(response.execution_id, "attempt:0/gather:0.0", 0) and child.depth == 1


@dataclass(frozen=True)
class Line:
    kind: str
    body: bytes
    seq: int = 0
    ts: int = 0
    execution: str = "e"
    line: bytes = b""


def test_a_record_begins_with_its_first_entry() -> None:
    """Nothing, or the middle of an execution, is no record."""
    with pytest.raises(IntegrityBroken, match="no entry at all"):
        fold([])
    with pytest.raises(IntegrityBroken, match="`answered`"):
        fold([Line("answered", b"{}")])


def test_bodies_of_another_format_are_refused() -> None:
    """Whatever is missing or of another type, it is one kind of error."""
    entries = recorded(asking).entries
    assert all(isinstance(entry, Entry) for entry in entries)
    for number, entry in enumerate(entries):
        body = values.parse(entry.body)
        for key in body:
            if key in OPTIONAL:
                continue
            lacking = Line(entry.kind, values.dumps({k: v for k, v in body.items() if k != key}))
            others = [*entries[:number], lacking, *entries[number + 1 :]]
            with pytest.raises(IntegrityBroken, match="not of the recorded format"):
                fold(others)
    with pytest.raises(IntegrityBroken):
        fold([Line("opened", b"[]")])


def test_the_fingerprint_is_a_function_of_content_alone() -> None:
    """Ids, times, trace, versions and notes are no part of it; each part of the content is."""
    one, other = recorded(asking, payload=1), recorded(asking, payload=1, traceparent="00", timeout=99)
    content = [(q.kind, q.name, q.arguments) for q in one.questions]
    assert content == [(q.kind, q.name, q.arguments) for q in other.questions]
    assert one.fingerprint != other.fingerprint  # the clock was answered otherwise
    fixed = [
        recorded(lambda ctx: ctx.effect("f", int), payload=1, **more) for more in ({}, {"traceparent": "00"})
    ]
    assert fixed[0].fingerprint == fixed[1].fingerprint
    assert FINGERPRINT_DOMAIN.endswith(b"v1\n")


def test_each_part_of_the_content_is_in_the_fingerprint() -> None:
    """Changing payload, plan, a question, an answer, its order or the outcome changes it."""
    record = recorded(asking, payload=1)
    assert record.outcome is not None

    def fingerprint(**changes: Any) -> str:
        changed = replace(record, **changes)
        assert changed.outcome is not None
        return fingerprint_of(
            changed.envelope_tree, changed.plan_tree, changed.questions, changed.outcome.tree()
        )

    questions = record.questions
    answer = questions[2].answer
    assert answer is not None
    changes: list[dict[str, Any]] = [
        {"envelope_tree": {**record.envelope_tree, "payload": 2}},
        {"envelope_tree": {**record.envelope_tree, "priority": 2}},
        {"plan_tree": {**record.plan_tree, "steps": ["b"]}},
        {"plan_tree": {**record.plan_tree, "candidates": []}},
        {"outcome": replace(record.outcome, payload=2)},
        {"outcome": replace(record.outcome, status="error")},
        {"questions": questions[:-1]},
        {"questions": (*questions[:2], questions[2]._replace(name="g"), *questions[3:])},
        {"questions": (*questions[:2], questions[2]._replace(arguments=b"{}"), *questions[3:])},
        {"questions": (*questions[:2], questions[2]._replace(scope="attempt:1"), *questions[3:])},
        {"questions": (*questions[:2], questions[2]._replace(unordered=True), *questions[3:])},
        {"questions": (*questions[:2], questions[2]._replace(answer=None), *questions[3:])},
        {
            "questions": (
                *questions[:2],
                questions[2]._replace(answer=answer._replace(data=b"2")),
                *questions[3:],
            )
        },
        {
            "questions": (
                *questions[:2],
                questions[2]._replace(answer=answer._replace(ok=False)),
                *questions[3:],
            )
        },
        {"questions": (*questions[:2], questions[2]._replace(ordinal=9), *questions[3:])},
    ]
    prints = [fingerprint(), *(fingerprint(**change) for change in changes)]
    assert prints[0] == record.fingerprint == fingerprint(questions=questions[::-1])
    assert len(set(prints)) == len(prints)
