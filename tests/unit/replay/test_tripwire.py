"""A replay does not touch the world, even if an agent does: what it tries is stopped and reported."""

import contextvars
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from intentusnet import IntentusRuntime, MemoryExecutionStore, ReplayReport, Verdict
from intentusnet.errors import ReplayHalted
from intentusnet.replay import tripwire

Touch = Callable[[Path], Any]


def connect(path: Path) -> None:
    with socket.socket() as one, suppress(ConnectionRefusedError):
        one.connect(("127.0.0.1", 9))


def listen(path: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))


def write(path: Path) -> None:
    (path / "new").write_text("x")


def append(path: Path) -> None:
    with (path / "old").open("a") as file:
        file.write("x")


def open_low(path: Path) -> None:
    os.close(os.open(path / "low", os.O_CREAT | os.O_RDONLY))


def remove(path: Path) -> None:
    (path / "old").unlink()


def rename(path: Path) -> None:
    (path / "old").rename(path / "other")


def in_sqlite(path: Path) -> None:
    sqlite3.connect(path / "db").close()


TOUCHES: list[Touch] = [
    connect,
    listen,
    write,
    append,
    open_low,
    remove,
    rename,
    in_sqlite,
    lambda path: subprocess.run([sys.executable, "-c", ""], check=True),
    lambda path: os.system("true"),  # noqa: S605 - the shell is what is stopped
    lambda path: socket.getaddrinfo("localhost", 80),
    lambda path: (path / "d").mkdir(),
    lambda path: shutil.copy(path / "old", path / "copy"),
    lambda path: shutil.rmtree(path / "tree"),
    lambda path: (path / "old").chmod(0o600),
    lambda path: os.utime(path / "old"),
    lambda path: os.truncate(path / "old", 0),
    lambda path: (path / "link").symlink_to(path / "old"),
    lambda path: os.environ.__setitem__("INTENTUSNET_TEST", "1"),
    lambda path: tempfile.TemporaryFile().close(),
]


def replay(agent: Callable[..., Any]) -> ReplayReport:
    """Records one call of an agent, and replays it."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("agent", handles="x")(agent)
    response = runtime.route("x")
    return runtime.replay(response.execution_id)


def names(path: Path) -> list[tuple[str, int]]:
    return sorted((p.name, p.stat().st_size) for p in path.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "old").write_text("old")
    (tmp_path / "tree").mkdir()
    return tmp_path


@pytest.mark.parametrize("swallows", [(), (Exception,), (BaseException,)], ids=["passes", "Exception", "all"])
@pytest.mark.parametrize("touch", TOUCHES)
def test_touching_the_world_is_stopped_and_reported(touch: Touch, swallows: Any, place: Path) -> None:
    """Sockets, processes, files, directories: stopped in a replay, and reported even if swallowed."""
    calls: list[int] = []

    def agent() -> str:
        calls.append(1)
        if len(calls) == 2:
            with suppress(*swallows):
                touch(place)
        return "done"

    before = names(place)
    report = replay(agent)
    assert report.verdict is Verdict.DIVERGED
    first = report.divergences[0]
    assert (first.kind, first.scope) == ("unexpected", "attempt:0") and first.question
    assert names(place) == before
    assert "INTENTUSNET_TEST" not in os.environ


@pytest.mark.parametrize("touch", TOUCHES)
def test_the_same_is_untouched_outside_of_replays(touch: Touch, place: Path) -> None:
    """Live executions may do all of it, after replays too; recorded effects are no matter of the tripwire."""
    assert replay(lambda: 1).verdict is Verdict.MATCH
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("agent", handles="x")(lambda ctx: ctx.effect("touch", lambda: touch(place) and None))
    response = runtime.route("x")
    os.environ.pop("INTENTUSNET_TEST", None)
    assert response.ok, response.error
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH


def test_reading_and_harmless_writing_go_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files may be read, os.devnull written, a database be in memory, and open descriptors used."""
    reader, writer = os.pipe()

    def agent() -> Any:
        os.write(writer, b"x")
        with Path(os.devnull).open("w") as nothing, os.fdopen(os.dup(reader), "rb") as pipe:
            nothing.write("x")
            sqlite3.connect(":memory:").close()
            return [(place / "old").read_text(), pipe.read(1)]

    assert replay(agent).verdict is Verdict.MATCH
    os.close(reader)
    os.close(writer)


def test_imports_inside_agents_work(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is first imported in a replay is imported, and its byte code may be kept."""
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (place / "late_module.py").write_text("VALUE = 7\n")

    def agent() -> int:
        sys.modules.pop("late_module", None)
        shutil.rmtree(place / "__pycache__", ignore_errors=True) if not calls else None
        calls.append(1)
        import late_module  # type: ignore[import-not-found]  # it is made by this test

        return late_module.VALUE

    calls: list[int] = []
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("agent", handles="x")(agent)
    response = runtime.route("x")
    shutil.rmtree(place / "__pycache__", ignore_errors=True)
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH
    assert list((place / "__pycache__").iterdir())
    sys.modules.pop("late_module", None)


@pytest.mark.parametrize("how", ["gather", "parallel", "thread"])
def test_branches_and_threads_are_watched_too(how: str, place: Path) -> None:
    """In a branch, in a parallel attempt, and in a thread that was given the agent's context."""
    now: list[bool] = []

    def touch() -> None:
        if now:
            with suppress(BaseException):
                write(place)

    def agent(ctx: Any) -> None:
        if how == "gather":
            ctx.gather(touch, touch)
        elif how == "thread":
            thread = threading.Thread(target=contextvars.copy_context().run, args=(touch,))
            thread.start()
            thread.join()
        else:
            touch()

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    for name in "ab":
        runtime.agent(name, handles="x")(agent)
    response = runtime.route("x", strategy="parallel" if how == "parallel" else "direct")
    now.append(True)
    report = runtime.replay(response.execution_id)
    assert {d.question for d in report.divergences if d.kind == "unexpected"} == {"open"}
    assert not (place / "new").exists()


def test_another_thread_is_not_stopped_by_a_replay(place: Path) -> None:
    """While one thread replays, others go on with their work."""
    inside, done = threading.Event(), threading.Event()
    calls: list[int] = []

    def agent() -> None:
        calls.append(1)
        if len(calls) == 2:
            inside.set()
            assert done.wait(10)

    def work() -> None:
        assert inside.wait(10)
        write(place)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert replay(agent).verdict is Verdict.MATCH
    thread.join()
    assert (place / "new").exists()


@pytest.mark.parametrize(
    ("event", "args", "stopped"),
    [
        ("open", ("f", "w", os.O_WRONLY), True),
        ("open", ("f", None, os.O_CREAT), True),
        ("open", (b"f", "a", os.O_APPEND), True),
        ("open", (7, "w", os.O_WRONLY), False),
        ("open", ("f", "r", os.O_RDONLY), False),
        ("open", (os.devnull, "w", os.O_WRONLY), False),
        ("open", (Path("__pycache__/a.cpython-311.pyc.1234"), "w", os.O_WRONLY), False),
        ("os.mkdir", ("a/__pycache__", 0o777, -1), False),
        ("os.mkdir", ("a", 0o777, -1), True),
        ("os.rename", ("a.pyc.1234", "a.pyc", -1, -1), False),
        ("os.rename", ("a", "b", -1, -1), True),
        ("os.remove", ("a.pyc", -1), True),
        ("sqlite3.connect", (":memory:",), False),
        ("sqlite3.connect", ("file",), True),
        ("socket.connect", (None, ("127.0.0.1", 9)), True),
        ("os.listdir", (".",), False),
        ("import", ("x", None), False),
    ],
)
def test_events_are_judged_by_what_they_change(event: str, args: tuple[Any, ...], stopped: bool) -> None:
    """Called as the interpreter calls it, which no tracer sees: writing is stopped, all else is not."""
    noted: list[str] = []

    def note(what: str, _: tuple[Any, ...]) -> BaseException:
        noted.append(what)
        with suppress(OSError):
            open_low(Path("/nonexistent"))  # the guard is off while it reports
        return ReplayHalted(what)

    with tripwire.watched(note), pytest.raises(ReplayHalted) if stopped else nullcontext():
        tripwire._hook(event, args)
    assert noted == [event] * stopped
    tripwire._hook(event, args)


def test_what_is_noted_is_short_and_plain() -> None:
    """Arguments that are no text, or long, are told by a short text."""
    calls: list[int] = []

    def agent() -> None:
        calls.append(1)
        if len(calls) == 2:
            tripwire._hook("os.rename", (Path("a"), "b" * 999, -1))

    report = replay(agent)
    assert report.divergences[0].actual == [repr(Path("a")), "b" * 200, "-1"]


def test_the_report_says_what_was_tried(place: Path) -> None:
    """The divergence names the event and its arguments, and the guard is named."""
    calls: list[int] = []

    def agent() -> None:
        calls.append(1)
        if len(calls) == 2:
            write(place)

    report = replay(agent)
    (first,) = report.divergences
    assert first.question == "open" and str(place / "new") in str(first.actual)
    assert report.guards == ("audit-hook",)
