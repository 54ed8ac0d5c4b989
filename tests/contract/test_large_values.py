"""What every store promises about large values: a record is the same wherever they are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import blobs as made
from helpers import executions

from intentusnet import AgentFailure, Context, IntentusRuntime, Verdict, load_record
from intentusnet.fingerprint import fingerprint_of
from intentusnet.log.durability import DURABILITIES, Durability
from intentusnet.log.portable import verify_portable
from intentusnet.references import BOUND, references
from intentusnet.replay.diff import diff_records
from intentusnet.stores.base import ExecutionStore


def runtime_of(store: ExecutionStore) -> IntentusRuntime:
    runtime = IntentusRuntime(store=store)

    @runtime.agent("echo", handles="echo", side_effect="read_only")
    def echo(payload: Any, ctx: Context) -> Any:
        told = ctx.effect("ask", lambda text: text + text, payload["text"])
        ctx.log("noted", told)
        if payload.get("child"):
            told = ctx.route("echo", {"text": told}).payload
        if payload.get("fails"):
            raise AgentFailure(told, code="RATE_LIMIT", details={"why": told, "short": 1})
        return [told, payload["text"]]

    @runtime.agent("broken", handles="echo", rank=1)
    def broken(payload: Any) -> Any:
        raise ValueError(payload["text"])

    return runtime


@pytest.mark.parametrize("durability", [None, *DURABILITIES])
def test_what_an_entry_refers_to_is_read_back(store: ExecutionStore, durability: Durability | None) -> None:
    """Values in blobs come back as answers, one that is referred to twice both times."""
    told = [made.large("one "), "small", made.large("one ")]
    store.append(made.execution(1, *told), durability=durability)
    record = store.get(executions.id_of(1))
    answers = [q.answer.data for q in record.questions if q.kind == "effect" and q.answer]
    assert answers == [made.blob_of(value).data for value in told]
    assert [blob.ref for blob in record.blobs] == [made.blob_of(value).ref for value in told[:2]]


@pytest.mark.parametrize("strategy", ["direct", "fallback", "parallel", "broadcast"])
@pytest.mark.parametrize("more", [{}, {"fails": True}, {"child": True}], ids=["succeeds", "fails", "child"])
def test_an_execution_with_large_values_is_one_like_any_other(
    store: ExecutionStore, strategy: str, more: dict[str, bool], tmp_path: Path
) -> None:
    """Payloads, questions, answers, errors: read, verified, replayed, listed, carried elsewhere."""
    runtime = runtime_of(store)
    payload = {"text": made.large('ä\\"$blob', 40_000), **more}
    response = runtime.route("echo", payload, strategy=strategy)
    record = store.get(response.execution_id)
    assert record.response == response
    assert record.envelope.payload == payload
    assert all(len(entry.body) < BOUND for entry in record.entries)
    assert record.blobs
    computed = fingerprint_of(record.envelope_tree, record.plan_tree, record.questions, record.outcome.tree())
    assert computed == response.fingerprint
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH
    assert store.verify().ok
    row = next(row for row in store.list().rows if row.execution_id == response.execution_id)
    assert row.error_code == (None if response.error is None else response.error.code)
    path = tmp_path / "record.jsonl"
    path.write_bytes(record.to_jsonl())
    assert verify_portable(path.read_bytes(), "record").ok
    loaded = load_record(path)
    assert loaded == record
    assert runtime.replay(loaded).verdict is Verdict.MATCH


@pytest.mark.parametrize(("size", "apart"), [(BOUND - 1, False), (BOUND, False), (BOUND + 1, True)])
def test_the_bound_is_exact(store: ExecutionStore, size: int, apart: bool) -> None:
    """A value of 32,768 bytes stands in its entry, one of a byte more does not."""
    runtime = IntentusRuntime(store=store)
    runtime.agent("length", handles="length", side_effect="read_only")(len)
    record = store.get(runtime.route("length", made.large("x", size)).execution_id)
    assert bool(references(record.entries[0].body)) is bool(record.blobs) is apart
    assert record.outcome.payload == size - 2


def test_what_differs_is_told_of_large_values_too(store: ExecutionStore) -> None:
    """A diff of two executions names the place within the value."""
    runtime = runtime_of(store)
    one, two = (
        store.get(runtime.route("echo", {"text": made.large("t"), "n": n}).execution_id) for n in (1, 2)
    )
    assert [(d.section, d.pointer, d.a, d.b) for d in diff_records(one, two)] == [
        ("envelope", "/payload/n", 1, 2)
    ]
