"""An execution whose child is still run by another process is not gone on with: the rule `wait`."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from intentusnet import IntentusRuntime, Verdict
from intentusnet.errors import StillRunning

#: Run as ``python -c APP DIRECTORY COMMAND [EXECUTION]``; in the child's effect it stops until it is told how
#: to go on.
APP = """
import os, signal, sys
from intentusnet import Context, IntentusRuntime, effect

runtime = IntentusRuntime(store=sys.argv[1])

@effect(side_effect="read_only")
def read():
    print("reading", flush=True)
    if sys.stdin.readline() == "die\\n":
        os.kill(os.getpid(), signal.SIGKILL)
    return "read"

@runtime.agent("child", handles="child", side_effect="read_only")
def child(ctx: Context) -> str:
    return ctx.effect("read", read)

@runtime.agent("parent", handles="parent", side_effect="read_only")
def parent(ctx: Context) -> list[str]:
    return [ctx.route("child").payload, ctx.effect("after", lambda: "after")]

if __name__ == "__main__":
    with runtime:
        runtime.route("parent") if sys.argv[2] == "route" else runtime.resume(sys.argv[3])
"""


@contextmanager
def reading(directory: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has come to the child's effect."""
    with subprocess.Popen(
        [sys.executable, "-c", APP, str(directory), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        yield process


@pytest.fixture
def interrupted(tmp_path: Path) -> tuple[IntentusRuntime, str, str]:
    """A store in which parent and child were cut off by SIGKILL, and their ids."""
    with reading(tmp_path, "route") as process:
        process.communicate("die\n")
    assert process.returncode == -signal.SIGKILL
    runtime = IntentusRuntime(store=tmp_path)
    parent, child = runtime.recover()
    assert (parent.intent, child.intent) == ("parent", "child")
    return runtime, parent.execution_id, child.execution_id


def test_a_parent_waits_for_the_child_that_another_process_runs(
    interrupted: tuple[IntentusRuntime, str, str], tmp_path: Path
) -> None:
    """It is listed with what it waits for, and not resumed; when the child has ended, it is its answer."""
    runtime, parent, child = interrupted
    with reading(tmp_path, "resume", child) as process:
        (found,) = runtime.recover()
        assert (found.execution_id, found.rule) == (parent, "wait")
        assert f"execution {child} still runs" in found.why
        with pytest.raises(StillRunning, match=child):
            runtime.resume(parent)
        process.communicate("go on\n")
    assert process.returncode == 0
    (found,) = runtime.recover()
    assert (found.execution_id, found.rule) == (parent, "resume")
    subprocess.run([sys.executable, "-c", APP, str(tmp_path), "resume", parent], check=True)
    record = runtime.store.get(parent)  # type: ignore[union-attr] - it has one
    assert (record.response.payload, record.children) == (["read", "after"], (child,))
    assert runtime.recover() == ()
    assert runtime.replay(record).verdict is Verdict.DIVERGED  # this runtime has no agents
    runtime.close()


def test_a_parent_whose_child_is_killed_again_no_longer_waits(
    interrupted: tuple[IntentusRuntime, str, str], tmp_path: Path
) -> None:
    """Nobody runs the child then, so both go on."""
    runtime, parent, child = interrupted
    with reading(tmp_path, "resume", child) as process:
        assert runtime.recover()[0].rule == "wait"
        process.communicate("die\n")
    assert [(found.execution_id, found.rule) for found in runtime.recover()] == [
        (parent, "resume"),
        (child, "resume"),
    ]
    with reading(tmp_path, "resume", parent) as process:
        process.communicate("go on\n")
    assert process.returncode == 0
    assert runtime.recover() == ()
    assert runtime.store.get(parent).response.payload == ["read", "after"]  # type: ignore[union-attr] - it has one
    runtime.close()
