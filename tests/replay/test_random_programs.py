"""Whatever agents do, what was recorded replays to the same, offline, and is what the log says."""

import os
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from helpers import programs
from hypothesis import given, settings
from hypothesis import strategies as st

from intentusnet import ExecutionRecord, IntentusRuntime, Query, Verdict, diff_records
from intentusnet.fingerprint import fingerprint_of
from intentusnet.log.entry import parse_line
from intentusnet.log.portable import verify_portable
from intentusnet.record import fold
from intentusnet.stores.file import FileExecutionStore

#: Executions of the seeded run; by hand, for example: INTENTUSNET_EXECUTIONS=10000 pytest …
EXECUTIONS = int(os.environ.get("INTENTUSNET_EXECUTIONS", "1000"))


def records(runtime: IntentusRuntime) -> list[ExecutionRecord]:
    """Every execution of the store, children included."""
    store = runtime.store
    assert store is not None
    return [store.get(row.execution_id) for row in store.list(Query(limit=1000)).rows]


def check(runtime: IntentusRuntime, world: Any) -> list[ExecutionRecord]:
    """All promises about what one run of a program has left behind."""
    assert runtime.store is not None
    assert runtime.store.verify().ok
    found = records(runtime)
    calls = world.calls
    for record in found:
        assert record.outcome is not None
        with programs.replaying():
            report = runtime.replay(record)
        assert report.verdict is Verdict.MATCH, (report.reason, report.divergences)
        tree = record.outcome.tree()
        assert (
            fingerprint_of(record.envelope_tree, record.plan_tree, record.questions, tree)
            == record.fingerprint
        )
        portable = record.to_jsonl()
        assert verify_portable(portable, "record").ok
        assert fold([parse_line(line) for line in portable.splitlines()]) == record
        assert diff_records(record, record) == ()
    assert world.calls == calls, "a replay has met the world"
    return found


@given(st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_every_execution_replays_to_match(rnd: Random) -> None:
    """A random program, routed at random, leaves records that verify, fold and replay to match, offline."""
    world = programs.World()
    runtime, response = programs.run(programs.draw(rnd), world)
    found = check(runtime, world)
    assert response.execution_id in {record.execution_id for record in found}


def test_thousands_of_executions_replay_to_match() -> None:
    """The same for thousands of executions from one seed, which meet each kind of outcome and of question."""
    executions, seed = 0, 0
    met: Counter[str] = Counter()
    while executions < EXECUTIONS:
        seed += 1
        world = programs.World()
        runtime, _ = programs.run(programs.draw(Random(seed)), world)
        for record in check(runtime, world):
            executions += 1
            met[record.status] += 1
            met[record.strategy] += 1
            met.update({question.kind for question in record.questions})
            met.update({attempt.error.code for attempt in record.attempts if attempt.error is not None})
            met["unordered"] += any(question.unordered for question in record.questions)
            met["child"] += record.parent is not None
    wanted = {
        "success",
        "error",
        "direct",
        "fallback",
        "parallel",
        "broadcast",
        "agent",
        "race",
        "effect",
        "route",
        "clock",
        "random",
        "uuid",
        "env",
        "sleep",
        "log",
        "patched",
        "check",
        "usage",
        "unordered",
        "child",
        "AGENT_ERROR",
        "INTERNAL_AGENT_ERROR",
        "IN_DOUBT",
        "AGENT_TIMEOUT",
        "RATE_LIMIT",
    }
    assert {kind for kind in wanted if met[kind] < 3} == set()


@pytest.mark.parametrize("seed", range(10))
def test_records_of_files_replay_to_match(seed: int, tmp_path: Any) -> None:
    """The same from a log on disk."""
    world = programs.World()
    with FileExecutionStore(tmp_path / "store", durability="os") as store:
        runtime, _ = programs.run(programs.draw(Random(seed)), world, store=store)
        check(runtime, world)


@given(st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_the_same_world_gives_the_same_fingerprint(rnd: Random) -> None:
    """Two runs in worlds that answer alike have one fingerprint and no difference, threads or not."""
    program = programs.draw(rnd)
    if program.races:
        return
    both = [programs.run(program, programs.World(fixed=True)) for _ in range(2)]
    one, other = (runtime.store.get(response.execution_id) for runtime, response in both)
    assert diff_records(one, other) == ()
    assert one.fingerprint == other.fingerprint


@given(st.randoms(use_true_random=False), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_no_difference_means_one_fingerprint(rnd: Random, other_rnd: Random) -> None:
    """Records of a program, of it in another world, and of others differ iff their fingerprints do."""
    first, second = programs.draw(rnd), programs.draw(other_rnd)
    changed = replace(first.agents[-1], steps=second.agents[-1].steps)
    third = replace(first, agents=[*first.agents[:-1], changed], policy=second.policy)
    runs = [programs.run(p, programs.World()) for p in (first, first, second, third)]
    found = [runtime.store.get(response.execution_id) for runtime, response in runs]
    for one in found:
        for other in found:
            assert (diff_records(one, other) == ()) is (one.fingerprint == other.fingerprint)


@given(st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_recording_changes_nothing(rnd: Random) -> None:
    """Without a store the same program gets the same response, fingerprint and ids apart."""
    program = programs.draw(rnd)
    if program.races:
        return
    _, recorded = programs.run(program, programs.World(fixed=True))
    _, plain = programs.run(program, programs.World(fixed=True), store=None)
    own = {"execution_id": "", "fingerprint": None}
    assert recorded.model_copy(update=own).tree() == plain.model_copy(update=own).tree()
