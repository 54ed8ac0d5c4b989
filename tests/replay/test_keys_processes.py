"""One idempotency key, many processes on one store, some of which are killed: never two calls."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from helpers.interruptions import ACTS, EFFECTS, Processes, acts
from helpers.keyed import THREADS, calls, shop, start, told
from helpers.processes import Fifo


def test_processes_with_one_key_share_one_call(tmp_path: Path) -> None:
    """They begin at once, on a store that is not there yet; one is executed, and all have its response."""
    processes = [start(tmp_path) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [answer for process in processes for answer in told(process)]
    assert len(answers) == 3 * THREADS
    assert calls(tmp_path) == 1
    assert Counter(answer.pop("from_record") for answer in answers) == {False: 1, True: 3 * THREADS - 1}
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["payload"] == {"paid": 5}
    with shop(tmp_path) as runtime:
        assert runtime.replay(answers[0]["execution_id"]).verdict == "match"
        assert runtime.store is not None and len(runtime.store.list().rows) == 1
    assert left_behind(tmp_path) == []


def test_who_waits_for_a_killed_process_is_told_the_doubt(tmp_path: Path) -> None:
    """Nobody repeats what it may have done; when that is resolved and resumed, the key has its response."""
    fifo = Fifo(tmp_path / "fifo")
    holder = start(tmp_path, fifo.path)
    assert fifo.read() == "called"
    fifo.close()
    waiting = [start(tmp_path) for _ in range(2)]
    with shop(tmp_path) as runtime:
        refused = runtime.route("pay", 5, idempotency_key="k", in_flight="refuse")
        assert refused.error is not None and refused.error.code == "AGENT_UNAVAILABLE"
        late = runtime.route("pay", 5, idempotency_key="k", timeout=0.02)
        assert late.error is not None and late.error.code == "AGENT_TIMEOUT"
        other = runtime.route("pay", 6, idempotency_key="k")
        assert other.error is not None and other.error.code == "VALIDATION_ERROR"
        for process in waiting:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
        answers = [answer for process in waiting for answer in told(process)]
        assert [answer["error"]["code"] for answer in answers] == ["IN_DOUBT"] * 2 * THREADS
        (broken,) = runtime.recover()
        held = {answer["error"]["details"]["execution_id"] for answer in answers}
        assert held == {broken.execution_id} == {refused.error.details["execution_id"]}
        runtime.resolve(broken.execution_id, True, by="ada", answer="called")
        ended = runtime.resume(broken.execution_id)
        again = runtime.route("pay", 5, idempotency_key="k")
        assert again == ended.model_copy(update={"from_record": True})
        assert calls(tmp_path) == 1
        assert runtime.store is not None
        for row in runtime.store.list().rows:
            assert runtime.replay(row.execution_id).verdict == "match"


def left_behind(place: Path) -> list[str]:
    """Files of locks that nobody has removed."""
    return [path.name for path in (place / "store" / "runners").iterdir()]


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes.started() as started:
        yield started


@pytest.mark.parametrize("kind", EFFECTS)
def test_killed_anywhere_nothing_is_done_twice(processes: Processes, tmp_path: Path, kind: str) -> None:
    """Killed at any point, asked again with its key, and again: each act was done once at most.

    Either nothing had begun, and it is executed, or it is in doubt, or it has ended: that is the response.
    """
    outcomes = Counter[str]()
    for at in count():
        place = tmp_path / str(at)
        place.mkdir()
        job = {"place": str(place), "kind": kind, "intent": "outer", "key": "k"}
        ended = processes.run("route", **job, at=at)
        before = acts(place)
        again = [processes.run("route", **job, at=None, full=True) for _ in range(2)]
        assert max(Counter(acts(place)).values(), default=0) <= 1
        first, second = again
        if first["status"] == "error":
            assert first["error"]["code"] == second["error"]["code"] == "IN_DOUBT"
            assert acts(place) == before
            outcomes["in doubt"] += 1
        else:
            assert second == {**first, "from_record": True}
            assert sorted(acts(place)) == sorted(ACTS)
            assert first["from_record"] or before == []
            outcomes["from the record" if first["from_record"] else "executed"] += 1
        if ended is not None:
            break
    assert set(outcomes) == {"in doubt", "from the record", "executed"}
    assert outcomes["in doubt"] > 2 * len(ACTS)
