"""Agents in processes of their own: the same answers and records, and an end that nothing can put off."""

# Over 400 lines: one table of promises, each kept by real processes.

import asyncio
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers import process_agents as agents
from helpers.processes import PATIENCE_S, Background, Fifo, has_ended
from helpers.runtimes import replays

from intentusnet import AgentResponse, IntentusRuntime, ManualClock, MemoryExecutionStore, SeededIds
from intentusnet.capture import capture
from intentusnet.errors import ConfigurationError, InvalidAgent, StoreWriteFailed

ROOT = Path(__file__).parents[3]
READS: dict[str, Any] = {"side_effect": "read_only"}
HANGING = [agents.sleeps, agents.loops, agents.asks_forever]
DYING = [(agents.aborts, -6), (agents.exits_at_once, 7), (agents.is_killed, -9)]


@pytest.fixture
def make() -> Iterator[Callable[..., IntentusRuntime]]:
    """Makes runtimes, and closes them."""
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> IntentusRuntime:
            runtime = IntentusRuntime(**{"store": MemoryExecutionStore(), **options})
            return stack.enter_context(runtime)

        yield make


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    """What agents say that have begun."""
    fifo = Fifo(tmp_path / "begun")
    yield fifo
    fifo.close()


def add(runtime: IntentusRuntime, handler: Any, intent: str = "x", **options: Any) -> None:
    """An agent in a process of its own, which only reads unless it says otherwise."""
    settings = {"isolation": "process", **READS, **options}
    runtime.agent(settings.pop("name", intent), handles=intent, **settings)(handler)


def code_of(response: AgentResponse) -> str:
    assert response.error is not None, response
    return str(response.error.code)


# --- as inline ---

SAME = [
    (agents.echo, {"a": (1, 2.5, b"\x00", None, {1})}),
    (agents.order, {"item": "printer", "count": 2}),
    (agents.order, {"item": 7}),
    (agents.Handling, "payload"),
    (agents.Static.static, "payload"),
    (agents.Static.of_class, "payload"),
    (agents.wrongly_typed, None),
    (agents.unrecordable, None),
    (agents.fails, "too fast"),
    (agents.raises, None),
    (agents.exits, None),
]


@pytest.mark.parametrize(("handler", "payload"), SAME, ids=lambda value: getattr(value, "__name__", None))
def test_a_process_answers_as_inline(make: Any, handler: Any, payload: Any) -> None:
    """Values, errors and misfits are the same, for functions and classes, and so is the record."""
    runtime, inline = make(), make()
    add(runtime, handler)
    add(inline, handler, isolation="inline")
    response = runtime.route("x", payload)
    assert response.tree() == inline.route("x", payload).tree()
    replays(runtime, response)


def test_every_question_is_asked_as_inline(make: Any) -> None:
    """Questions of every kind, in branches, effects and children, lead to the same fingerprint."""
    told = []
    for isolation in ("inline", "process"):
        runtime = make(clock=ManualClock(), ids=SeededIds(7), environ={"PROCESS_AGENTS": "set"})
        add(runtime, agents.asks_everything, isolation=isolation)
        add(runtime, agents.child, "child", isolation=isolation)
        response = runtime.route("x", 3)
        assert response.ok, response.error
        replays(runtime, response)
        assert runtime.replay(response.execution_id, nested=True).verdict == "match"
        record = runtime.store.get(response.execution_id)
        told.append((response.tree(), sorted((q.scope, q.ordinal, q.kind, q.name) for q in record.questions)))
    assert told[0] == told[1]
    assert told[0][0]["payload"]["env"] == "set"


def test_the_machines_clock_and_ids_are_the_same_for_all(make: Any) -> None:
    """Where nothing is injected, the worker looks itself, and the record replays."""
    runtime = make()
    add(runtime, agents.asks_everything)
    add(runtime, agents.child, "child")
    response = runtime.route("x", 2)
    assert response.ok, response.error
    replays(runtime, response)


class BrokenIds(SeededIds):
    """Ids that have run out."""

    def seed(self) -> int:
        raise LookupError("no more chance")


def test_what_the_injected_world_raises_the_agent_sees(make: Any) -> None:
    """Clock and ids are the runtime's, faults included."""
    runtime = make(ids=BrokenIds())
    add(runtime, agents.child)
    response = runtime.route("x", {})
    assert response.error.message == "no more chance"
    assert response.error.type == "LookupError"
    replays(runtime, response)


def test_hooks_catch_in_processes_what_they_catch_inline(make: Any) -> None:
    """What the runtime captures, and what the code around the call does, is captured in the worker."""
    around = make()
    add(around, agents.draws)
    with capture("chance"):
        response = around.route("x")
    whole = make(capture=capture("chance"))
    add(whole, agents.draws)
    for runtime, one in ((around, response), (whole, whole.route("x"))):
        assert [q.kind for q in runtime.store.get(one.execution_id).questions] != ["agent"]
    with capture("chance"):
        replays(around, response)
    replays(whole, whole.route("x"))


def test_ctrl_c_in_an_agent_is_ctrl_c(make: Any) -> None:
    """An agent's KeyboardInterrupt is nobody's answer, and its worker serves on."""
    runtime = make()
    add(runtime, agents.interrupts)
    add(runtime, agents.pid, "pid")
    before = runtime.route("pid").payload
    with pytest.raises(KeyboardInterrupt):
        runtime.route("x")
    assert runtime.route("pid").payload == before


def test_large_payloads_pass_both_ways(make: Any) -> None:
    """Ten megabytes of payload, question and answer."""
    runtime = make()
    add(runtime, agents.echo)
    payload = {"text": "x" * 10_000_000, "bytes": bytes(100_000)}
    response = runtime.route("x", payload)
    assert response.payload == payload
    replays(runtime, response)


def test_what_an_agent_prints_is_seen(make: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its stdout and stderr are the program's, as they are when its worker starts."""
    stdout = os.dup(1)
    with (tmp_path / "elsewhere").open("w") as file, make() as before:
        os.dup2(file.fileno(), 1)
        add(before, agents.prints)
        before.route("x", "once")
        os.dup2(stdout, 1)
    os.close(stdout)
    assert capfd.readouterr() == ("", "ONCE\n")
    assert (tmp_path / "elsewhere").read_text() == "once\n"
    with make() as runtime:
        add(runtime, agents.prints)
        runtime.route("x", "said")
        assert capfd.readouterr() == ("said\n", "SAID\n")


# --- workers ---


def test_workers_are_used_again(make: Any) -> None:
    """A hundred calls of two agents take one process."""
    runtime = make()
    add(runtime, agents.pid)
    add(runtime, agents.pid, "y")
    pids = {runtime.route("xy"[n % 2]).payload for n in range(100)}
    assert len(pids) == 1
    assert pids != {os.getpid()}


def test_calls_run_at_once(make: Any, tmp_path: Path) -> None:
    """Eight calls meet, each in a process; as many as that stay warm."""
    runtime = make()
    add(runtime, agents.meets)
    fifos = [Fifo(tmp_path / f"begun{n}") for n in range(8)]
    doors = [tmp_path / f"door{n}" for n in range(8)]
    for door in doors:
        os.mkfifo(door)
    routing = [
        Background(partial(runtime.route, "x", [fifo.path, str(door)]))
        for fifo, door in zip(fifos, doors, strict=True)
    ]
    pids = {fifo.read() for fifo in fifos}
    assert len(pids) == 8
    for door in doors:
        door.write_text("met")
    assert [one.result().payload for one in routing] == ["met"] * 8
    add(runtime, agents.pid, "pid")
    assert str(runtime.route("pid").payload) in pids
    for fifo in fifos:
        fifo.close()


def test_no_more_workers_than_may_be(make: Any, fifo: Fifo) -> None:
    """When all are busy, the agent is not called, fallback goes on, and nothing waits for itself."""
    clock = ManualClock()
    runtime = make(clock=clock, max_workers=1)
    add(runtime, agents.sleeps, "hang", timeout=5)
    add(runtime, agents.routes, "routes")
    add(runtime, agents.pid, "pid")
    runtime.agent("plain", handles="pid", rank=1)(lambda: "plain")
    response = runtime.route("routes", ["pid"])
    assert "all 1 workers are busy" in response.payload
    replays(runtime, response)
    routing = Background(lambda: runtime.route("hang", fifo.path))
    fifo.read()
    refused = runtime.route("pid")
    assert code_of(refused) == "AGENT_UNAVAILABLE"
    replays(runtime, refused)
    assert runtime.route("pid", strategy="fallback").payload == "plain"
    clock.advance(60)
    assert code_of(routing.result()) == "AGENT_TIMEOUT"


def test_children_pass_in_and_out_of_processes(make: Any) -> None:
    """A process asks for a process, that for an inline agent, and that for a process; all of it replays."""
    runtime = make()
    for name, isolation in (("a", "process"), ("b", "process"), ("c", "inline"), ("d", "thread")):
        add(runtime, agents.routes, name, isolation=isolation)
    add(runtime, agents.routes_at_once, "both")
    add(runtime, agents.pid, "pid")
    response = runtime.route("a", ["b", "c", "d", "pid"])
    assert type(response.payload) is int
    assert response.payload != os.getpid()
    assert runtime.replay(response.execution_id, nested=True).verdict == "match"
    both = runtime.route("both", ["pid", "pid", "pid"])
    assert len(both.payload) == 3
    assert runtime.replay(both.execution_id, nested=True).verdict == "match"


def test_a_killed_worker_is_replaced(make: Any, fifo: Fifo) -> None:
    """Another process is made ready in the background, and the next call finds it."""
    clock = ManualClock()
    runtime = make(clock=clock)
    add(runtime, agents.sleeps, "hang", timeout=5)
    add(runtime, agents.pid, "pid")
    runtime.route("pid")
    routing = Background(lambda: runtime.route("hang", fifo.path))
    killed = int(fifo.read())
    clock.advance(60)
    routing.result()
    for thread in threading.enumerate():
        if thread.name == "intentusnet-warm":
            thread.join(PATIENCE_S)
    (waiting,) = runtime._engine._processes._pool._idle
    assert killed != waiting.pid == runtime.route("pid").payload
    assert multiprocessing.active_children() == []


def test_an_idle_worker_that_has_ended_is_not_missed(make: Any) -> None:
    """The call goes to another one, and nothing is in doubt."""
    runtime = make()
    add(runtime, agents.pid, side_effect="irreversible")
    first = runtime.route("x").payload
    os.kill(first, signal.SIGKILL)
    assert has_ended(first)
    second = runtime.route("x")
    assert second.ok, second.error
    assert second.payload != first


def test_a_thread_that_outlives_its_call_is_unwound(make: Any, tmp_path: Path) -> None:
    """What it asks then is nobody's question, and harms no later call of the same worker."""
    runtime = make()
    go, told = tmp_path / "go", Fifo(tmp_path / "go-told")
    os.mkfifo(go)
    add(runtime, agents.leaves_a_thread)
    add(runtime, agents.left, "left")
    add(runtime, agents.pid, "pid")
    response = runtime.route("x", str(go))
    go.write_text("go")
    told.read()
    assert runtime.route("pid").payload == response.payload
    assert runtime.route("left").payload == ["BranchCancelled"]
    told.close()


# --- what takes too long ---


@pytest.mark.parametrize(
    ("side_effect", "code"), [("read_only", "AGENT_TIMEOUT"), ("reversible", "IN_DOUBT")]
)
@pytest.mark.parametrize("handler", HANGING)
def test_a_process_is_killed_when_its_time_is_up(
    make: Any, fifo: Fifo, handler: Any, side_effect: Any, code: str
) -> None:
    """Whether it sleeps, asks without end, or holds the interpreter: it is gone when the caller is told."""
    clock = ManualClock()
    runtime = make(clock=clock)
    add(runtime, handler, timeout=5, side_effect=side_effect)
    routing = Background(lambda: runtime.route("x", fifo.path))
    pid = int(fifo.read())
    clock.advance(60)
    response = routing.result()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert code_of(response) == code
    assert "its time was up" in response.error.message
    assert response.error.details == {"isolation": "process", "timeout": 5.0}
    assert runtime.abandoned == ()
    replays(runtime, response)


def test_a_real_second_is_enough(make: Any, fifo: Fifo) -> None:
    """The machine's clock ends a call as well, and the start of the worker is not part of the time."""
    runtime = make()
    add(runtime, agents.loops, timeout=0.05)
    response = runtime.route("x", fifo.path)
    assert code_of(response) == "AGENT_TIMEOUT"
    assert "was cut off: its time was up" in response.error.message  # so it had begun
    replays(runtime, response)


def test_the_envelopes_deadline_kills_too(make: Any, fifo: Fifo) -> None:
    """An agent without a timeout of its own ends at the deadline, which it sees."""
    clock = ManualClock()
    runtime = make(clock=clock)
    add(runtime, agents.sleeps)
    add(runtime, agents.deadline, "deadline", timeout=5)
    assert runtime.route("deadline", timeout=60).payload.timestamp() == 1_700_000_005
    routing = Background(lambda: runtime.route("x", fifo.path, timeout=10))
    assert fifo.read()
    clock.advance(60)
    assert code_of(routing.result()) == "AGENT_TIMEOUT"
    replays(runtime, routing.result())


@pytest.mark.parametrize(
    ("handler", "code"),
    [(agents.sleeps_in_effect, "IN_DOUBT"), (agents.sleeps_in_reading, "AGENT_TIMEOUT")],
)
def test_an_open_effect_makes_a_killed_reader_doubtful(
    make: Any, fifo: Fifo, handler: Any, code: str
) -> None:
    """An agent that only reads, killed while something is under way that may act, is in doubt."""
    clock = ManualClock()
    runtime = make(clock=clock)
    add(runtime, handler, timeout=5)
    runtime.agent("plain", handles="x", rank=1)(lambda _: "called")
    routing = Background(lambda: runtime.route("x", fifo.path, strategy="fallback"))
    fifo.read()
    clock.advance(60)
    response = routing.result()
    assert response.attempts[0].error.code == code
    assert response.payload == ("called" if code == "AGENT_TIMEOUT" else None)
    replays(runtime, response)


def test_what_an_agent_has_started_is_killed_with_it(make: Any, fifo: Fifo) -> None:
    """Processes of its own group end too, and hold up nobody by what they have inherited."""
    clock = ManualClock()
    runtime = make(clock=clock)
    add(runtime, agents.starts_a_process, timeout=5)
    routing = Background(lambda: runtime.route("x", fifo.path))
    worker, child = map(int, fifo.read().split())
    clock.advance(60)
    assert code_of(routing.result()) == "AGENT_TIMEOUT"
    assert has_ended(worker) and has_ended(child)


def test_a_late_agent_that_catches_everything_does_nothing_more(make: Any, tmp_path: Path) -> None:
    """Its questions are refused as inline: an effect that is late is not called."""
    clock = ManualClock(step_us=1_000_000)
    runtime = make(clock=clock)
    add(runtime, agents.catches_everything, timeout=20, side_effect="reversible")
    response = runtime.route("x", str(tmp_path / "file"))
    record = runtime.store.get(response.execution_id)
    effects = [question for question in record.questions if question.kind == "effect"]
    assert len((tmp_path / "file").read_text()) == len(effects) > 0
    replays(runtime, response)


# --- what dies ---


@pytest.mark.parametrize(
    ("side_effect", "code"), [("read_only", "AGENT_UNAVAILABLE"), ("reversible", "IN_DOUBT")]
)
@pytest.mark.parametrize(("handler", "exit_code"), DYING)
def test_a_process_that_dies_is_told_apart(
    make: Any, handler: Any, exit_code: int, side_effect: Any, code: str
) -> None:
    """The caller learns how it ended, fallback goes on unless something is in doubt, and it replays."""
    runtime = make()
    add(runtime, handler, side_effect=side_effect)
    runtime.agent("plain", handles="x", rank=1, **READS)(lambda: "plain")
    response = runtime.route("x", strategy="fallback")
    error = response.attempts[0].error
    assert error.code == code
    assert error.details == {"isolation": "process", "exit_code": exit_code}
    named = "exit code 7" if exit_code > 0 else signal.Signals(-exit_code).name
    assert named in error.message
    assert response.ok is (code == "AGENT_UNAVAILABLE")
    replays(runtime, response)


@pytest.mark.parametrize(("handler", "code"), [("after", "AGENT_UNAVAILABLE"), ("in", "IN_DOUBT")])
def test_an_effect_that_was_answered_is_in_no_doubt(
    make: Any, tmp_path: Path, handler: str, code: str
) -> None:
    """What was done and told before the process died is on record; what was open is in doubt."""
    runtime = make()
    add(runtime, agents.aborts_after_effect if handler == "after" else agents.aborts_in_effect)
    response = runtime.route("x", str(tmp_path / "file"))
    assert code_of(response) == code
    answers = [q.answer for q in runtime.store.get(response.execution_id).questions if q.kind == "effect"]
    assert [answer is not None for answer in answers] == [handler == "after"]
    replays(runtime, response)


class WaitingIds(SeededIds):
    """Ids for which somebody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = threading.Event(), threading.Event()

    def seed(self) -> int:
        self.asked.set()
        assert self.go.wait(PATIENCE_S)
        return super().seed()


def test_what_was_told_before_a_kill_counts(make: Any, tmp_path: Path) -> None:
    """An effect whose answer had come, and was not looked at yet, is on record and in no doubt."""
    ids = WaitingIds()
    runtime = make(ids=ids)
    add(runtime, agents.acts_and_draws)
    door, drawing = tmp_path / "x-act", tmp_path / "x-draw"
    os.mkfifo(door)
    os.mkfifo(drawing)
    routing = Background(lambda: runtime.route("x", str(tmp_path / "x")))
    with door.open("w") as file:  # open as soon as the effect waits there
        drawing.write_text("")
        assert ids.asked.wait(PATIENCE_S)  # from now on nobody reads what the worker says
        file.write("acted")
    (worker,) = runtime._engine._processes._pool._all
    assert worker.wait(PATIENCE_S)
    (execution_id,) = runtime._engine._running
    runtime.cancel(execution_id)
    ids.go.set()
    response = routing.result()
    assert code_of(response) == "CANCELLED"
    (answer,) = [q.answer for q in runtime.store.get(execution_id).questions if q.kind == "effect"]
    assert answer is not None and answer.data == b'"acted"'
    replays(runtime, response)


def test_a_child_that_outlives_the_process_holds_up_nobody(make: Any, fifo: Fifo) -> None:
    """The end of a worker is noticed even where another process has its connection open."""
    runtime = make()
    add(runtime, agents.forks_and_dies)
    routing = Background(lambda: runtime.route("x", fifo.path))
    _, child = map(int, fifo.read().split())
    try:
        assert code_of(routing.result()) == "AGENT_UNAVAILABLE"
    finally:
        os.kill(child, signal.SIGKILL)


def test_memory_that_is_used_up_is_an_error_like_any_other(make: Any) -> None:
    """As long as Python can say so; the worker serves on."""
    runtime = make()
    add(runtime, agents.out_of_memory)
    response = runtime.route("x")
    assert response.error.type == "MemoryError"
    assert response.error.code == "AGENT_ERROR"
    replays(runtime, response)


def test_the_children_of_a_process_that_died_are_cancelled(make: Any, fifo: Fifo, tmp_path: Path) -> None:
    """Nobody waits for their answer: they are cut off, too, and the parent, which had asked, is in doubt."""
    runtime = make()
    abort = Path(f"{fifo.path}-abort")
    os.mkfifo(abort)
    add(runtime, agents.waits_for_child)
    add(runtime, agents.sleeps, "hang")
    routing = Background(lambda: runtime.route("x", fifo.path))
    child = int(fifo.read())
    abort.write_text("now")
    response = routing.result()
    assert code_of(response) == "IN_DOUBT"
    assert has_ended(child)
    replays(runtime, response)


# --- cancellation ---


@pytest.mark.parametrize("handler", HANGING)
@pytest.mark.parametrize(("side_effect", "code"), [("read_only", "CANCELLED"), ("reversible", "IN_DOUBT")])
def test_a_cancelled_process_is_killed(
    make: Any, fifo: Fifo, handler: Any, side_effect: Any, code: str
) -> None:
    """At once, by the execution's id, whatever it does; the record says why."""
    runtime = make()
    add(runtime, handler, side_effect=side_effect)
    routing = Background(lambda: runtime.route("x", fifo.path))
    pid = int(fifo.read())
    (execution_id,) = runtime._engine._running
    assert runtime.cancel(execution_id, "the user has gone")
    response = routing.result()
    assert has_ended(pid)
    assert code_of(response) == code
    assert "the user has gone" in response.error.message
    replays(runtime, response)


def test_another_process_cancels_a_process(fifo: Fifo, tmp_path: Path) -> None:
    """Through the store that both have."""
    with (
        IntentusRuntime(store=tmp_path / "store") as runtime,
        IntentusRuntime(store=tmp_path / "store") as other,
    ):
        add(runtime, agents.loops)
        routing = Background(lambda: runtime.route("x", fifo.path))
        pid = int(fifo.read())
        (execution_id,) = runtime._engine._running
        assert other.cancel(execution_id, "from elsewhere")
        response = routing.result()
        assert has_ended(pid)
        assert code_of(response) == "CANCELLED"
        assert "from elsewhere" in response.error.message
        replays(runtime, response)


def test_asynchronous_callers_have_processes_too(make: Any, fifo: Fifo) -> None:
    """The answer is the same; to cancel the task kills the process, and is on record."""
    runtime = make()
    add(runtime, agents.echo, "echo")
    add(runtime, agents.loops)

    async def main() -> int:
        assert (await runtime.route_async("echo", 5)).payload == 5
        task = asyncio.ensure_future(runtime.route_async("x", fifo.path))
        pid = int(await asyncio.to_thread(fifo.read))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid

    assert has_ended(asyncio.run(main()))
    row = runtime.store.get(runtime.store.resolve("@last"))
    assert code_of(row.response) == "CANCELLED"
    assert runtime.replay(row).verdict == "match"


def test_a_process_asks_for_asynchronous_children(make: Any) -> None:
    """Where somebody awaits, they run in that loop; where nobody does, the caller is told as by any agent."""
    runtime = make()
    add(runtime, agents.routes)

    async def child() -> str:
        await asyncio.sleep(0)
        return "awaited"

    runtime.agent("child", handles="child", **READS)(child)
    response = asyncio.run(runtime.route_async("x", ["child"]))
    assert response.payload == "awaited"
    replays(runtime, response)
    with pytest.raises(ConfigurationError, match="nobody awaits it"):
        runtime.route("x", ["child"])


def test_many_calls_of_many_threads(make: Any) -> None:
    """Workers are shared by threads: each call gets its own answers, and each record replays."""
    runtime = make(max_workers=3)
    add(runtime, agents.asks_everything)
    runtime.agent("child", handles="child", **READS)(agents.child)

    def routed(number: int) -> list[AgentResponse]:
        return [runtime.route("x", number, strategy="fallback") for _ in range(10)]

    calling = [(number, Background(partial(routed, number))) for number in range(3)]
    for number, one in calling:
        for response in one.result():
            assert response.payload["payload"] == number
            assert response.payload["mapped"] == [str(n) for n in range(number)]
            replays(runtime, response)


@pytest.mark.parametrize("handler", HANGING)
@pytest.mark.parametrize("way", ["sync", "async"])
def test_the_loser_of_a_race_is_killed(make: Any, tmp_path: Path, handler: Any, way: str) -> None:
    """Whatever it does, and whoever the caller is; the replay is told who won."""
    runtime = make()
    begun, told = Fifo(tmp_path / "begun"), Fifo(tmp_path / "told")
    add(runtime, handler, name="slow")
    runtime.agent("quick", handles="x", rank=1, **READS)(lambda _, ctx: ctx.effect("wait", told.read))
    options = {"strategy": "parallel", "prefer": "first"}
    routing = Background(
        lambda: (
            runtime.route("x", begun.path, **options)
            if way == "sync"
            else asyncio.run(runtime.route_async("x", begun.path, **options))
        )
    )
    pid = begun.read()
    Path(told.path).write_text("go\n")
    response = routing.result()
    assert response.agent == "quick"
    assert [attempt.error and attempt.error.code for attempt in response.attempts] == ["CANCELLED", None]
    assert has_ended(int(pid))
    replays(runtime, response)
    begun.close()
    told.close()


# --- what cannot run in a process ---


def replaced() -> str:
    return "another"


def registered_under_another_name() -> str:
    return "registered"


registered_under_another_name.__qualname__ = "replaced"


def local() -> Any:
    def inside() -> int:
        return 1

    return inside


@pytest.mark.parametrize(
    "handler",
    [lambda: 1, local(), partial(agents.echo, 1), agents.Handling(), agents.Handling().handle],
    ids=["lambda", "local", "partial", "object", "method"],
)
def test_what_has_no_name_in_a_module_is_refused(make: Any, handler: Any) -> None:
    """When it is registered, with what to do."""
    with pytest.raises(InvalidAgent, match=r"at the top of a module.*isolation 'thread'"):
        add(make(), handler)
    add(make(), handler, isolation="thread")


def test_without_forks_there_are_no_workers(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is said when the agent is registered."""
    monkeypatch.delattr(os, "fork")
    with pytest.raises(InvalidAgent, match="does not fork"):
        add(make(), agents.echo)


def test_a_function_that_is_not_where_it_says_is_refused(make: Any) -> None:
    """Before anything is recorded: what a worker would find there is another function."""
    runtime = make()
    add(runtime, registered_under_another_name)
    with pytest.raises(ConfigurationError, match="something else there"):
        runtime.route("x")
    assert runtime.store.list().rows == ()


def module_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> ModuleType:
    """A module that this process, and workers, can import."""
    name = f"module_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    return __import__(name)


ROUTES_AT_IMPORT = """
from intentusnet import IntentusRuntime
runtime = IntentusRuntime()
runtime.agent("again", handles="again", isolation="process")(agent)
runtime.route("again")
"""
AGENT = "def agent():\n    return 'first'\n"


@pytest.mark.parametrize(
    ("source", "then", "why"),
    [
        (
            f"import multiprocessing\nassert multiprocessing.parent_process() is None, 'not here'\n{AGENT}",
            None,
            "AssertionError: not here",
        ),
        (AGENT, AGENT.replace("first", "second!"), "its code, or a type in its signature, is another one"),
        (AGENT, "", "AttributeError"),
        (AGENT, "raise SystemExit(1)", "SystemExit"),
        (AGENT, "import os; os.abort()", "SIGABRT"),
        (AGENT, f"{AGENT}\n{ROUTES_AT_IMPORT}", "a module calls agents while it is imported"),
    ],
)
def test_an_agent_that_the_worker_cannot_import_is_unavailable(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, then: str | None, why: str
) -> None:
    """Nothing was called, so nothing is in doubt, and fallback goes on."""
    runtime = make()
    module = module_of(tmp_path, monkeypatch, source)
    add(runtime, module.agent, side_effect="irreversible")
    runtime.agent("plain", handles="x", rank=1)(lambda: "plain")
    if then is not None:
        Path(module.__file__ or "").write_text(then)
    response = runtime.route("x", strategy="fallback")
    assert response.payload == "plain"
    error = response.attempts[0].error
    assert error is not None
    assert error.code == "AGENT_UNAVAILABLE"
    assert why in error.message
    replays(runtime, response)


class LookedAt(ManualClock):
    """A clock that tells how often it was looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = threading.Semaphore(0)

    def time_us(self) -> int:
        self.looks.release()
        return super().time_us()


@pytest.mark.parametrize(("way", "code"), [("cancel", "CANCELLED"), ("deadline", "AGENT_TIMEOUT")])
def test_what_is_cut_off_before_it_begins_is_in_no_doubt(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fifo: Fifo, way: str, code: str
) -> None:
    """While its module is imported, or its worker started, the agent has not been called."""
    clock = LookedAt()
    runtime = make(clock=clock)
    hang = (
        "import multiprocessing, os, time\nif multiprocessing.parent_process():\n"
        f"    open({fifo.path!r}, 'w').write(f'{{os.getpid()}}\\n')\n    time.sleep(3600)\n"
    )
    add(runtime, module_of(tmp_path, monkeypatch, hang + AGENT).agent, side_effect="irreversible", timeout=1)
    routing = Background(lambda: runtime.route("x", timeout=30))
    pid = int(fifo.read())
    clock.advance(2)
    while clock.looks.acquire(blocking=False):
        pass
    for _ in range(8):  # it is waited for still: the agent's own time does not run yet
        assert clock.looks.acquire(timeout=PATIENCE_S)
    if way == "cancel":
        (execution_id,) = runtime._engine._running
        runtime.cancel(execution_id)
    else:
        clock.advance(60)
    response = routing.result()
    assert code_of(response) == code
    assert "was not called" in response.error.message
    assert has_ended(pid)
    replays(runtime, response)


# --- programs ---

PROGRAM = """
import os, sys
from intentusnet import IntentusRuntime, effect
from helpers import process_agents as agents

def own(payload):
    return ["own", payload]

def main():
    fifo, what = sys.argv[1:]
    runtime = IntentusRuntime()
    runtime.agent("own", handles="own", isolation="process")(own)
    for handler in (agents.sleeps, agents.loops, agents.echo):
        runtime.agent(handler.__name__, handles=handler.__name__, isolation="process")(handler)
    if what == "main":
        print(runtime.route("own", 1).payload)
    elif what == "idle":
        runtime.agent("pid", handles="pid", isolation="process")(agents.pid)
        with open(fifo, "w") as file:
            print(runtime.route("pid").payload, file=file)
        os.read(0, 1)
    elif what == "fork":
        print(runtime.route("echo", "before").payload, flush=True)
        child = os.fork()
        if child == 0:
            print(runtime.route("echo", "child").error.code, flush=True)
            return
        os.waitpid(child, 0)
        print(runtime.route("echo", "after").payload)
    elif what == "prints":
        runtime.agent("prints", handles="prints", isolation="process")(agents.prints_and_sleeps)
        runtime.route("prints", fifo, timeout=5)
        print("over")
    elif what == "forked":
        runtime.agent("pid", handles="pid", isolation="process")(agents.pid)
        worker = runtime.route("pid").payload
        if os.fork():
            with open(fifo, "w") as file:
                print(worker, file=file)
        os.read(0, 1)
    else:
        runtime.route(what, fifo)
"""
GUARD = "\nif __name__ == '__main__':\n    main()\n"


@contextlib.contextmanager
def program(tmp_path: Path, *arguments: str, end: str = GUARD) -> Iterator[subprocess.Popen[str]]:
    """A program of its own with a runtime."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM + end)
    process = subprocess.Popen(
        [sys.executable, str(file), *arguments],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONUNBUFFERED": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_functions_of_the_program_itself_can_be_agents(tmp_path: Path) -> None:
    """A worker runs the main module again under another name, as multiprocessing does."""
    with program(tmp_path, "", "main") as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (out, err) == ("['own', 1]\n", "")


def test_a_program_that_is_not_guarded_ends(tmp_path: Path) -> None:
    """What would start processes without end is refused, with what to do about it."""
    with program(tmp_path, "", "main", end="\nprint(main())\n") as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert "None" in out
    assert "if __name__ == '__main__':" in err


@pytest.mark.parametrize(
    ("how", "number"),
    [
        ("idle", signal.SIGKILL),
        ("sleeps", signal.SIGKILL),
        ("loops", signal.SIGKILL),
        ("idle", signal.SIGINT),
        ("loops", signal.SIGINT),
        ("loops", signal.SIGTERM),
    ],
)
def test_no_worker_outlives_its_program(tmp_path: Path, fifo: Fifo, how: str, number: int) -> None:
    """However the program ends, and whatever the worker does, even while it holds the interpreter."""
    with program(tmp_path, fifo.path, how) as process:
        pid = int(fifo.read())
        process.send_signal(number)
        assert process.wait(PATIENCE_S) != 0
        assert has_ended(pid)


def test_a_forked_program_leaves_the_workers_alone(tmp_path: Path) -> None:
    """The parent goes on with its own; the child has none, and is told that it can start none."""
    with program(tmp_path, "", "fork") as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (out.splitlines(), err) == (["before", "AGENT_UNAVAILABLE", "after"], "")


def test_a_forked_program_does_not_keep_its_parents_workers(tmp_path: Path, fifo: Fifo) -> None:
    """They end with the parent, though the child has inherited what the parent had open."""
    with program(tmp_path, fifo.path, "forked") as process:
        pid = int(fifo.read())
        process.kill()
        assert has_ended(pid)
        process.communicate(timeout=PATIENCE_S)  # the child reads the end of stdin, and ends


def test_what_was_printed_before_a_kill_is_seen(tmp_path: Path, fifo: Fifo) -> None:
    """Line by line, though nobody is at a terminal."""
    with program(tmp_path, fifo.path, "prints") as process:
        assert fifo.read()
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (out, err) == ("before the kill\nover\n", "")


# --- the runtime ---


@pytest.mark.parametrize("handler", [agents.sleeps, agents.loops])
def test_closing_a_runtime_ends_what_runs(make: Any, fifo: Fifo, handler: Any) -> None:
    """Nobody hangs: the call under way is told that it was lost."""
    runtime = IntentusRuntime()
    add(runtime, handler)
    routing = Background(lambda: runtime.route("x", fifo.path))
    pid = int(fifo.read())
    runtime.close()
    response = routing.result()
    assert has_ended(pid)
    assert code_of(response) == "AGENT_UNAVAILABLE"
    assert "the runtime was closed" in response.error.message


def test_idle_workers_end_with_the_runtime(make: Any) -> None:
    """When it is closed, and when nobody has it any longer."""
    with IntentusRuntime() as runtime:
        add(runtime, agents.pid)
        pid = runtime.route("x").payload
    assert has_ended(pid)
    forgotten = IntentusRuntime()
    add(forgotten, agents.pid)
    pid = forgotten.route("x").payload
    del forgotten
    import gc

    gc.collect()
    assert has_ended(pid)


def test_an_interrupted_execution_goes_on_in_a_process(make: Any, tmp_path: Path) -> None:
    """What is on record is answered from there, in the worker as inline, and the whole replays."""
    runtime = make()
    add(runtime, agents.breaks_off)
    with pytest.raises(KeyboardInterrupt):
        runtime.route("x", str(tmp_path / "tried"))
    response = runtime.resume("@last")
    assert response.payload[::2] == ["first", "second"]
    questions = runtime.store.get(response.execution_id).questions
    kinds = [question.kind for question in questions if question.kind != "log"]
    assert kinds == ["agent", "effect", "random", "effect"]
    replays(runtime, response)


def test_questions_of_threads_find_their_places_again(make: Any, tmp_path: Path) -> None:
    """When an interrupted execution goes on and its threads take turns in another order."""
    runtime = make(environ={"first": "1", "second": "2"})
    add(runtime, agents.takes_turns)
    with pytest.raises(KeyboardInterrupt):
        runtime.route("x", str(tmp_path / "tried"))
    response = runtime.resume("@last")
    record = runtime.store.get(response.execution_id)
    asked = [(q.ordinal, q.name) for q in record.questions if q.kind == "env"]
    assert asked == [(0, "first"), (2, "second")]
    replays(runtime, response)


class FullStore(MemoryExecutionStore):
    """A store that is full as soon as an effect is asked for."""

    def append(self, drafts: Any, *, durability: Any = None) -> Any:
        if any(draft.kind == "asked" for draft in drafts):
            raise StoreWriteFailed("no room")
        return super().append(drafts, durability=durability)


def test_a_store_that_fails_ends_the_execution_as_inline(make: Any, tmp_path: Path) -> None:
    """The agent is unwound before it acts, whatever it catches, and the caller gets the store's error."""
    runtime = make(store=FullStore())
    add(runtime, agents.catches_everything)
    add(runtime, agents.echo, "echo")
    with pytest.raises(StoreWriteFailed, match="no room"):
        runtime.route("x", str(tmp_path / "file"))
    assert not (tmp_path / "file").exists()
    assert runtime.route("echo", 1).payload == 1


def test_where_processes_may_not_be_started_agents_are_unavailable(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the workers of a `multiprocessing.Pool`, which are daemons."""
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    runtime = make()
    add(runtime, agents.echo, side_effect="irreversible")
    response = runtime.route("x", 1)
    assert code_of(response) == "AGENT_UNAVAILABLE"
    assert "no process could be started" in response.error.message
    replays(runtime, response)


def test_more_workers_than_stay_warm_end(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one whose call ends last has no place among those that are kept."""
    monkeypatch.setattr("intentusnet.workers.pool.KEPT", 1)
    runtime = make()
    add(runtime, agents.meets)
    meetings = []
    for number in range(2):
        begun, door = Fifo(tmp_path / f"begun{number}"), tmp_path / f"door{number}"
        os.mkfifo(door)
        routing = Background(partial(runtime.route, "x", [begun.path, str(door)]))
        meetings.append((routing, int(begun.read()), door))
        begun.close()
    for routing, _, door in meetings:
        door.write_text("met")
        assert routing.result().payload == "met"
    assert has_ended(meetings[1][1])
    assert [worker.pid for worker in runtime._engine._processes._pool._all] == [meetings[0][1]]


def test_a_number_of_workers_that_makes_no_sense_is_refused() -> None:
    """When the runtime is made."""
    with pytest.raises(ConfigurationError, match="max_workers"):
        IntentusRuntime(max_workers=-1)
