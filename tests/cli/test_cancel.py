"""`cancel`: an execution of another process is stopped, and its record says so."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Routes one intent, and says its id when the agent has begun; then tells how it ended.
RUNNING = """
import json, sys, threading
from intentusnet import Context, IntentusRuntime

runtime = IntentusRuntime(store="store")


@runtime.agent("waiting", handles="wait", isolation="thread", side_effect="read_only")
def waiting(ctx: Context) -> None:
    print(ctx.execution_id, flush=True)
    threading.Event().wait(60)


@runtime.agent("asking", handles="ask")
def asking(ctx: Context) -> None:
    print(ctx.execution_id, flush=True)
    for _ in range(6000):
        ctx.sleep(0.01)


@runtime.agent("parent", handles="parent", side_effect="read_only")
def parent(ctx: Context) -> object:
    return ctx.route(sys.argv[2]).status


if __name__ == "__main__":
    response = runtime.route(sys.argv[1])
    print(json.dumps([response.error and response.error.code, response.error and response.error.message]))
"""


@pytest.fixture
def running(shop: Path) -> Iterator[subprocess.Popen[str]]:
    """Starts the program for an intent, and ends it with the test."""
    (shop / "running.py").write_text(RUNNING)
    processes = []

    def start(*intents: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "running.py", *intents], stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield start  # type: ignore[misc]  # the fixture is the function
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("intent", "code"), [("wait", "CANCELLED"), ("ask", "IN_DOUBT")])
def test_an_execution_of_another_process_is_cancelled(run, running, intent, code):
    """It ends soon, its caller is told why, the record matches on replay, and no request stays behind."""
    process = running(intent)
    execution_id = process.stdout.readline().strip()
    ran = run("--store", "store", "cancel", execution_id, "--reason", "the budget is spent")
    assert ran.code == 0
    assert ran.json == {
        "execution_id": execution_id,
        "cancelled": True,
        "status": "error",
        "error_code": code,
    }
    told, message = json.loads(process.stdout.readline())
    assert told == code
    assert message.endswith("the execution was cancelled: the budget is spent")
    assert process.wait(30) == 0
    assert list(Path("store/runners").glob("*.stop")) == []
    assert run("--store", "store", "--app", "running:runtime", "replay", execution_id).code == 0


def test_a_child_goes_with_its_parent(run, running):
    """What the parent asked for is cancelled with it, and each record has its own end."""
    process = running("parent", "wait")
    child = process.stdout.readline().strip()
    rows = run("--store", "store", "list").json
    parent = next(row["execution_id"] for row in rows if row["intent"] == "parent")
    assert run("--store", "store", "cancel", parent).json["error_code"] == "CANCELLED"
    assert process.wait(30) == 0
    assert run("--store", "store", "retrieve", child).json["error"]["code"] == "CANCELLED"


def test_what_nobody_runs_is_not_cancelled(run, running):
    """An execution that has ended, or was interrupted, is left as it is, and the exit code says so."""
    process = running("ask")
    execution_id = process.stdout.readline().strip()
    process.kill()
    process.wait()
    ran = run("--store", "store", "cancel", execution_id)
    assert (ran.code, ran.json["cancelled"], ran.json["status"]) == (1, False, "interrupted")
    process = running("parent", "nobody")
    assert process.wait(30) == 0
    ran = run("--store", "store", "cancel", "@last")
    assert (ran.code, ran.json["cancelled"], ran.json["status"]) == (1, False, "error")
    assert list(Path("store/runners").glob("*.stop")) == []


def test_a_bad_request_is_told(run, routed):
    """An id that is not there, and a time that makes no sense."""
    routed()
    assert run("cancel", "ffffffff").code == 10
    assert run("cancel", "@last", "--wait", "-1").code == 2
