"""The fingerprint is what docs/record-format.md says it is: computed here from the lines alone."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from intentusnet import Context, IntentusRuntime, MemoryExecutionStore, values
from intentusnet.fingerprint import fingerprint as made
from intentusnet.record import RecordedQuestion
from intentusnet.transcript import Answer

NOTHING = {"args": [], "kwargs": {}}


def fingerprint(lines: list[bytes]) -> str:
    bodies = [json.loads(line)["body"] for line in lines]
    kinds = [json.loads(line)["kind"] for line in lines]
    opened, closed = bodies[0], bodies[-1]
    plan, steps = opened["plan"], opened["plan"]["steps"]
    asked: dict[tuple[str, int], dict[str, Any]] = {}
    at_once = plan["strategy"] in ("parallel", "broadcast")
    for number, name in enumerate(steps if at_once else steps[:1]):
        asked["", number] = {"kind": "agent", "name": name}
    for kind, body in zip(kinds[1:-1], bodies[1:-1], strict=True):
        question = asked.setdefault((body["scope"], body["question"]), {})
        question |= body
        assert kind in ("asked", "answered")
    if closed["attempt"] is not None:
        last = asked["", closed["attempt"]]
        if "value" not in last and "error" not in last:
            last["value" if closed["error"] is None else "error"] = closed["error"] or closed["payload"]
    scopes: dict[str, list[Any]] = defaultdict(list)
    for (scope, _), question in sorted(asked.items()):
        if question["kind"] != "log":
            told = question["error"] if "error" in question else question["value"]
            scopes[scope].append(
                [
                    question["kind"],
                    question["name"],
                    question.get("arguments", NOTHING),
                    "error" not in question,
                    told,
                ]
            )
    envelope = {
        name: opened["envelope"][name]
        for name in ("caller", "intent", "payload", "priority", "routing", "tags")
    }
    decided = {
        "candidates": [
            {name: candidate[name] for name in ("agent", "allowed", "cause", "rule")}
            for candidate in plan["candidates"]
        ],
        "steps": steps,
        "strategy": plan["strategy"],
    }
    outcome = {name: closed[name] for name in ("agent", "attempt", "error", "payload", "status")}
    content = [envelope, decided, [[scope, rows, []] for scope, rows in sorted(scopes.items())], outcome]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(b"intentusnet-fingerprint-v1\n" + text.encode()).hexdigest()


def test_a_foreign_reader_computes_the_same_fingerprint() -> None:
    """From the lines of a record, with nothing but JSON and SHA-256, for every strategy and outcome."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())

    @runtime.agent("first", handles="job.*", side_effect="read_only")
    def first(payload: dict[str, Any], ctx: Context) -> Any:
        ctx.log("begun")
        if payload["n"] % 2:
            raise ValueError("odd")
        return ctx.gather(ctx.uuid, lambda: ctx.effect("add", sum, [payload["n"], 1]))

    @runtime.agent("second", handles="job.*", rank=1)
    def second(payload: dict[str, Any], ctx: Context) -> Any:
        return {"ä": ctx.route("job.none", payload, target="nobody").status, "at": ctx.now()}

    for n in range(2):
        for strategy in ("direct", "fallback", "parallel", "broadcast"):
            response = runtime.route("job.run", {"n": n}, strategy=strategy)
            assert runtime.store is not None
            lines = [entry.line for entry in runtime.store.get(response.execution_id).entries]
            assert fingerprint(lines) == response.fingerprint


PLAIN = st.none() | st.booleans() | st.integers(0, 9) | st.text(st.characters(codec="utf-8"), max_size=3)
QUESTIONS = st.builds(
    RecordedQuestion,
    scope=st.sampled_from(["", "admission", "attempt:0", "attempt:10", "attempt:2/gather:0.1"]),
    ordinal=st.integers(0, 12),
    kind=st.sampled_from(["agent", "effect", "log", "usage"]),
    name=st.text(st.characters(codec="utf-8"), max_size=3),
    arguments=PLAIN.map(values.dumps),
    side_effect=st.just("read_only"),
    idempotent=st.booleans(),
    unordered=st.booleans(),
    answer=st.none() | st.builds(Answer, ok=st.booleans(), data=PLAIN.map(values.dumps)),
)


@given(st.lists(QUESTIONS, max_size=6, unique_by=lambda question: question[:2]))
def test_questions_of_any_scopes_are_told_as_the_page_says(questions: list[RecordedQuestion]) -> None:
    """Scopes by name, questions by place, those without order by their bytes, notes not at all."""
    scopes: dict[str, tuple[list[Any], list[Any]]] = {}
    for q in sorted(questions, key=lambda q: (q.scope, q.ordinal)):
        if q.kind in ("log", "usage"):
            continue
        told = [None, None] if q.answer is None else [q.answer.ok, values.parse(q.answer.data)]
        scopes.setdefault(q.scope, ([], []))[q.unordered].append(
            [q.kind, q.name, values.parse(q.arguments), *told]
        )
    rows = [[scope, ordered, sorted(rest, key=values.dumps)] for scope, (ordered, rest) in scopes.items()]
    content = values.dumps([{"e": 1}, {"p": 2}, rows, {"o": 3}])
    expected = hashlib.sha256(b"intentusnet-fingerprint-v1\n" + content).hexdigest()
    assert made(b'{"e":1}', b'{"p":2}', questions, b'{"o":3}') == expected
