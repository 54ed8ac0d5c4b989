"""Looking for what other processes want stopped: one look for all executions of a process, now and then."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intentusnet.ids import SystemIds
from intentusnet.stores.custody import LOOK_EVERY, FileCustody

#: Where an audit hook writes down what is looked at; a hook cannot be taken away again.
_seen: list[list[tuple[str, str]]] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _seen and event in ("os.listdir", "open"):
        _seen[-1].append((event, str(args[0])))


@pytest.fixture
def looked(request: pytest.FixtureRequest) -> Iterator[list[tuple[str, str]]]:
    """Directories that were listed, and files that were opened, since the test began."""
    if not hasattr(request.config, "_looks_hooked"):
        request.config._looks_hooked = True  # type: ignore[attr-defined]  # once for all tests
        sys.addaudithook(_hook)
    _seen.append([])
    yield _seen[-1]
    _seen.clear()


def custody_in(place: Path) -> FileCustody:
    (place / "runners").mkdir(parents=True, exist_ok=True)
    return FileCustody(place, lambda: None)


def test_a_thousand_executions_look_as_often_as_one(tmp_path: Path, looked: list[tuple[str, str]]) -> None:
    """However many ask, and how often: the directory is listed now and then, and no file is opened."""
    custody, ids = custody_in(tmp_path), [SystemIds().execution_id() for _ in range(1000)]
    began = time.monotonic()
    for _ in range(20):
        assert not any(custody.wants_stopped(name) for name in ids)
    took = time.monotonic() - began
    ours = [(event, path) for event, path in looked if path.startswith(str(tmp_path))]
    assert {event for event, _ in ours} == {"os.listdir"}
    assert len(ours) <= 1 + took / LOOK_EVERY


def test_a_wish_of_another_process_is_seen_and_taken_back(tmp_path: Path) -> None:
    """By the execution that it is for alone; what is taken back counts no longer, though it was seen."""
    custody, other = custody_in(tmp_path), custody_in(tmp_path)
    one, two = (SystemIds().execution_id() for _ in range(2))
    assert custody.wants_stopped(one) is None
    other.ask_to_stop(one, "enough")
    until = time.monotonic() + 60
    while custody.wants_stopped(one) is None:
        assert time.monotonic() < until
    assert (custody.wants_stopped(one), custody.wants_stopped(two)) == ("enough", None)
    other.stopped(one)
    assert custody.wants_stopped(one) is None


def test_without_a_directory_nobody_wants_anything(tmp_path: Path) -> None:
    """A store that has not come into being has none."""
    assert FileCustody(tmp_path / "nowhere", lambda: None).wants_stopped(SystemIds().execution_id()) is None
    assert not os.path.exists(tmp_path / "nowhere")
