"""Real sessions of tools that this repository does not ship: recorded live, replayed many times at once."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import live_sessions

from intentusnet import IntentusRuntime, Query
from intentusnet.replay.corpus import replay_all, with_those_below
from intentusnet.replay.loads import RecordFile, StoredRecord
from intentusnet.stores.file import FileExecutionStore

SESSIONS = 12
#: So often is each session replayed, all at once.
REPETITIONS = 30


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileExecutionStore]:
    """A store with the sessions, each of which called its tools."""
    sessions = live_sessions.sessions(SESSIONS)
    tools = live_sessions.Tools({session["id"]: session["scenario"] for session in sessions})
    path = tmp_path_factory.mktemp("sessions") / "store"
    with FileExecutionStore(path, durability="os") as store:
        runtime = live_sessions.make_runtime(tools, store=store)
        for session in sessions:
            order = {"id": session["id"], "turns": session["turns"]}
            assert runtime.route("session.run", order).ok
        calls = sum(len(turn) for session in sessions for turn in session["turns"])
        assert tools.called == calls > 4 * SESSIONS and tools.made >= SESSIONS
        yield store


def ids_of(store: FileExecutionStore) -> list[str]:
    rows = store.list(Query(intent="session.run", limit=1000, oldest_first=True)).rows
    assert len(rows) == SESSIONS
    return [row.execution_id for row in rows]


def test_threads_replay_the_same_sessions_at_once(store: FileExecutionStore) -> None:
    """Thirty threads and one runtime replay each session with its turns: all match, no tool is called."""
    tools = live_sessions.NoTools()
    runtime: IntentusRuntime = live_sessions.make_runtime(tools, store=store)
    ids, all_here = ids_of(store), threading.Barrier(REPETITIONS)

    def replay(number: int) -> Counter[str]:
        mine = random.Random(number).sample(ids, len(ids))
        all_here.wait()
        reports = [runtime.replay(execution_id, nested=True) for execution_id in mine]
        assert not [one.divergences for top in reports for one in with_those_below(top) if one.divergences]
        return Counter(one.verdict.value for top in reports for one in with_those_below(top))

    with ThreadPoolExecutor(REPETITIONS) as pool:
        verdicts = sum(pool.map(replay, range(REPETITIONS)), Counter[str]())
    turns = sum(len(store.get(execution_id).children) for execution_id in ids)
    assert verdicts == {"match": REPETITIONS * (SESSIONS + turns)}
    assert tools.called == 0


def test_processes_replay_them_at_once(
    store: FileExecutionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers replay every session thirty times from its file: all match, and nobody calls a tool."""
    notes = tmp_path / "notes"
    monkeypatch.setenv(live_sessions.NOTES, str(notes))
    for name in ("session", "turn"):
        (tmp_path / name).mkdir()
    loads = []
    for execution_id in ids_of(store):
        record = store.get(execution_id)
        path = tmp_path / "session" / f"{execution_id}.jsonl"
        path.write_bytes(record.to_jsonl())
        loads.append(RecordFile(str(path), (str(tmp_path / "turn"),)))
        for child in record.children:
            (tmp_path / "turn" / f"{child}.jsonl").write_bytes(store.get(child).to_jsonl())
    items = replay_all(loads * REPETITIONS, live_sessions.replaying, jobs=2, options={"nested": True})
    told = Counter(
        (item.report.verdict.value, item.missing, len(item.report.children) > 0)
        for item in items
        if item.report
    )
    assert told == {("match", 0, True): SESSIONS * REPETITIONS}
    assert not notes.exists()


def test_another_order_of_calls_is_found_every_time(store: FileExecutionStore) -> None:
    """Code that calls the tools the other way round diverges wherever that makes a difference."""
    tools = live_sessions.NoTools()
    runtime = live_sessions.make_runtime(tools, turned=True, store=store)
    for execution_id in ids_of(store):
        children = [store.get(child) for child in store.get(execution_id).children]
        for record in children:
            calls = record.envelope_tree["payload"]["calls"]
            expected = "match" if calls == calls[::-1] else "diverged"
            verdicts = {runtime.replay(record).verdict.value for _ in range(REPETITIONS // 10)}
            assert verdicts == {expected}
    (item,) = replay_all([StoredRecord(ids_of(store)[0])], lambda: runtime, options={"nested": True})
    assert item.report is not None and item.report.verdict.value == "diverged"
    assert tools.called == 0
