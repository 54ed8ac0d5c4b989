"""Portable records from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from intentusnet import IntentusRuntime, MemoryExecutionStore, load_record
from intentusnet.errors import IntegrityBroken, RecordNotFound


@pytest.fixture
def runtime() -> IntentusRuntime:
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("echo", handles="echo", side_effect="read_only")(lambda payload: payload)
    return runtime


def test_a_record_that_was_written_is_loaded_and_replays(runtime: IntentusRuntime, tmp_path: Path) -> None:
    """`to_jsonl` and `load_record` are each other's inverse, and the loaded record replays to a match."""
    response = runtime.route("echo", {"a": (1, 2), "b": float("inf")})
    assert runtime.store is not None
    record = runtime.store.get(response.execution_id)
    path = tmp_path / "echo.jsonl"
    path.write_bytes(record.to_jsonl())
    loaded = load_record(path)
    assert loaded == record
    assert loaded.to_jsonl() == path.read_bytes()
    assert loaded.response == response
    assert runtime.replay(loaded).verdict == "match"


def test_a_record_that_was_touched_is_refused(runtime: IntentusRuntime, tmp_path: Path) -> None:
    """A changed payload, a missing line and a cut file are found, with file and line."""
    response = runtime.route("echo", "hello")
    assert runtime.store is not None
    data = runtime.store.get(response.execution_id).to_jsonl()
    for name, damaged in (
        ("changed", data.replace(b'"payload":"hello"', b'"payload":"hallo"')),
        ("short", data[: data.index(b"\n") + 1]),
        ("cut", data[:-1]),
        ("empty", b""),
    ):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(damaged)
        with pytest.raises(IntegrityBroken) as caught:
            load_record(path)
        assert str(path) in caught.value.where


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """A missing file, and a directory in its place, are no record."""
    for path in (tmp_path / "missing.jsonl", tmp_path):
        with pytest.raises(RecordNotFound):
            load_record(path)
