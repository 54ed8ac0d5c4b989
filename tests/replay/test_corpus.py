"""Replay of many records: the order, the workers, and what becomes of those that die."""

from collections import Counter
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from helpers import corpus

from intentusnet import MemoryExecutionStore
from intentusnet.errors import AppNotLoaded, ConfigurationError, IntegrityBroken
from intentusnet.replay.corpus import replay_all
from intentusnet.replay.loads import StoredRecord
from intentusnet.replay.workers import WorkerProcesses


class AtOnce(Executor):
    """Does what it is given while it is given it, and notes that it was shut down."""

    def __init__(self):
        self.open = True

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as fault:  # noqa: BLE001 - whatever it is, the future has it
            future.set_exception(fault)
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.open = False


def told(items):
    return [(item.load, item.intent, item.report) for item in items]


@pytest.mark.parametrize(
    "make_executor",
    [AtOnce, partial(ThreadPoolExecutor, 3), partial(WorkerProcesses, 2, offline=False)],
    ids=["own class", "threads", "processes"],
)
def test_any_executor_gives_what_one_process_gives(make_executor, tmp_path):
    """Verdicts, reports and order are those of a replay without workers."""
    loads = corpus.kept(tmp_path, 75)
    alone = told(replay_all(loads, corpus.make_changed))
    assert [load for load, _, _ in alone] == loads
    verdicts = Counter(report.verdict.value for _, _, report in alone)
    assert verdicts == {"match": 50, "diverged": 25}
    assert told(replay_all(loads, corpus.make_changed, make_executor=make_executor)) == alone


def test_each_worker_makes_the_runtime_once(tmp_path, monkeypatch):
    """However many chunks a worker gets, the app is loaded for the first one only."""
    notes = tmp_path / "notes"
    monkeypatch.setenv(corpus.NOTES, str(notes))
    items = list(replay_all(corpus.kept(tmp_path, 150), corpus.make_noted, jobs=2))
    assert {item.report.verdict for item in items} == {"match"}
    assert set(Counter(notes.read_text().split()).values()) == {1}


def test_a_worker_that_dies_is_told_with_its_record(tmp_path):
    """Of two records that kill whoever replays them both are named, and all others are replayed, in order."""
    loads = corpus.kept(tmp_path, 45)
    items = list(replay_all(loads, corpus.make_deadly, jobs=2))
    assert [item.load for item in items] == loads
    dead = [number for number, item in enumerate(items) if item.report.verdict != "match"]
    assert dead == list(corpus.DEADLY)
    for number in dead:
        report = items[number].report
        assert (report.verdict, items[number].intent) == (
            "not_replayable",
            "number.odd" if number % 2 else "number.even",
        )
        assert "died" in report.reason and report.execution_id == loads[number].load(None).execution_id


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """Records are taken from the iterator as they are needed; the first item does not wait for the last."""
    file, taken = corpus.kept(tmp_path, 1)[0], []

    def endless():
        while True:
            assert len(taken) < 1000 + 17 * 32
            taken.append(file)
            yield file

    for make_executor in (None, AtOnce):
        taken.clear()
        items = replay_all(endless(), corpus.make_runtime, make_executor=make_executor)
        for _ in range(1000):
            assert next(items).report.verdict == "match"
        items.close()


def test_whoever_stops_early_leaves_no_worker_behind(tmp_path):
    """Closing the iterator shuts the executor down."""
    executor = AtOnce()
    items = replay_all(corpus.kept(tmp_path, 5), corpus.make_runtime, make_executor=lambda: executor)
    next(items)
    items.close()
    assert not executor.open


def test_a_broken_record_is_one_item(tmp_path):
    """A file that does not verify has its fault as item, from a worker too, and the rest goes on."""
    loads = corpus.kept(tmp_path, 3)
    path = Path(loads[1].name)
    path.write_bytes(path.read_bytes()[:-1])
    for make_executor in (None, partial(WorkerProcesses, 1)):
        items = list(replay_all(loads, corpus.make_runtime, make_executor=make_executor))
        assert [item.report is None for item in items] == [False, True, False]
        assert isinstance(items[1].fault, IntegrityBroken)
        assert items[1].fault.where.startswith(str(path))


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_keeps_the_runtime_from_being_made_is_raised(tmp_path, jobs):
    """An app that cannot be made ends it all with its own error, from a worker too."""
    with pytest.raises(ConfigurationError, match="no app today"):
        list(replay_all(corpus.kept(tmp_path, 3), corpus.make_none, jobs=jobs))


def test_an_app_that_kills_whoever_loads_it_is_told(tmp_path):
    """Workers are not started for ever, only to die."""
    with pytest.raises(AppNotLoaded, match="ends while it loads the app"):
        list(replay_all(corpus.kept(tmp_path, 3), corpus.make_dead, jobs=2))


def test_stored_records_are_those_of_the_runtimes_store():
    """An id means an execution of the store of the runtime that replays it."""
    runtime = corpus.runtime_with(store=MemoryExecutionStore())
    ids = [runtime.route("number.one", number).execution_id for number in range(3)]
    items = list(replay_all(map(StoredRecord, ids), lambda: runtime))
    assert [item.report.execution_id for item in items] == ids
    assert [item.fault for item in items] == [None] * 3
    (item,) = replay_all([StoredRecord(ids[0])], corpus.make_runtime)
    assert item.report is None and item.fault.exit_code == 10


def test_what_was_asked_before_a_divergence_comes_with_it():
    """The last three questions of the scope, with their answers; notes, and other scopes, are left out."""

    def runtime_of(last, **options):
        runtime = corpus.runtime_with(**options)

        @runtime.agent("many", handles="many.ask", side_effect="read_only")
        def many(payload, ctx):
            ctx.gather(lambda: ctx.effect("recall", corpus.recall, 99))
            for number in range(5):
                ctx.effect("recall", corpus.recall, number)
                ctx.log("note")
            return ctx.effect("recall", corpus.recall, last)

        return runtime

    runtime = runtime_of(7, store=MemoryExecutionStore())
    execution_id = runtime.route("many.ask").execution_id
    changed = runtime_of(8).configure(store=runtime.store)
    (item,) = replay_all([StoredRecord(execution_id)], lambda: changed)
    assert item.report.divergences[0].question == "effect recall [10]"
    assert item.before == (
        "effect recall [4] → 2",
        "effect recall [6] → 3",
        "effect recall [8] → 4",
    )
