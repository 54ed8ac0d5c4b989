"""The time that agents' own code reads is recorded and read again on replay; sleeps are not slept again."""

# ruff: noqa: PLW0108 - functions are looked up when they are called, which is what is tested

import _uuid
import asyncio
import logging
import subprocess
import sys
import time
import types
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic, perf_counter_ns, sleep
from time import time as early_time
from typing import Any

import pytest
import time_machine
from helpers.captures import Captured

from intentusnet.capture import clock

Read = Callable[[], Any]


def bound_as_default(read: Read = time.time) -> float:
    return read()


def defaulted(at: datetime | None = None) -> datetime:
    return at or datetime.now(UTC)


READINGS: list[tuple[Read, str]] = [
    (lambda: time.time(), "time_ns"),
    (lambda: time.time_ns(), "time_ns"),
    (lambda: early_time(), "time_ns"),
    (lambda: bound_as_default(), "time_ns"),
    (lambda: time.clock_gettime(time.CLOCK_REALTIME), "time_ns"),
    (lambda: datetime.now(), "time_ns"),
    (lambda: defaulted(), "time_ns"),
    (lambda: datetime.fromtimestamp(time.time(), UTC), "time_ns"),
    (lambda: datetime.today(), "time_ns"),
    (lambda: date.today(), "time_ns"),
    (lambda: time.strftime("%Y"), "time_ns"),
    (lambda: list(time.localtime()), "time_ns"),
    (lambda: time.monotonic(), "monotonic"),
    (lambda: time.process_time(), "process_time"),
    (lambda: time.thread_time_ns(), "thread_time_ns"),
    (lambda: monotonic(), "monotonic"),
    (lambda: time.monotonic_ns(), "monotonic_ns"),
    (lambda: time.perf_counter(), "perf_counter"),
    (lambda: perf_counter_ns(), "perf_counter_ns"),
]


@pytest.mark.parametrize(("reading", "name"), READINGS)
def test_readings_are_the_same_on_replay(reading: Read, name: str) -> None:
    """However the function was bound, each reading is one question and its answer the same on replay."""
    captured = Captured(lambda: [reading(), reading()], "clock")
    assert captured.asked == [f"clock {name}"] * 2
    assert len(captured.value) == 2
    captured.matches()


def test_the_time_is_the_real_one() -> None:
    """What is recorded lies between the readings before and after; all ways to read are of one clock."""
    before = time.time()
    told = Captured(lambda: [time.time(), time.time_ns() / 1e9, datetime.now(UTC).timestamp()], "clock").value
    assert before <= told[0] <= told[1] <= told[2] + 1e-6 and told[2] <= time.time()


@pytest.mark.parametrize(
    ("before", "after", "first"),
    [
        (lambda: time.time() and None, lambda: None, ("missing", "clock time_ns [0]", "")),
        (lambda: None, lambda: datetime.now() and None, ("unexpected", "clock time_ns [0]", "")),
        (lambda: time.time(), lambda: time.time() + 1, ("outcome", "agent agent [0]", "/payload")),
        (lambda: time.monotonic(), lambda: time.perf_counter(), ("unexpected", "clock perf_counter [0]", "")),
        (lambda: time.sleep(0), lambda: time.sleep(0.001), ("arguments", "sleep sleep [0]", "/args/0")),
    ],
)
def test_a_changed_agent_is_found(before: Read, after: Read, first: tuple[str, str, str]) -> None:
    """Another reading, one more, one less or another sleep is the first divergence."""
    assert Captured(before, "clock").first(after) == first


# --- sleeping ---


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the real clock was asked to wait."""
    waits: list[float] = []
    monkeypatch.setattr(clock, "_original_sleep", waits.append)
    return waits


def test_a_replay_does_not_sleep(slept: list[float]) -> None:
    """A sleep is recorded with its length, live it is slept, and on replay it is over at once."""
    captured = Captured(lambda: [time.sleep(3600), sleep(2)], "clock")
    assert captured.asked == ["sleep sleep", "sleep sleep"]
    assert slept == [3600, 2]
    captured.matches()
    assert slept == [3600, 2]


def test_a_sleep_that_makes_no_sense_is_refused_again() -> None:
    """What sleeping raises is raised on replay."""

    def agent() -> str:
        try:
            time.sleep(-1)
        except ValueError as fault:
            return str(fault)
        return "slept"

    captured = Captured(agent, "clock")
    assert captured.value == "sleep length must be non-negative"
    captured.matches()


# --- whose readings count ---

LIBRARY = """
import time

def retried():
    begun = time.monotonic(), time.time()
    time.sleep(30)
    return "retried"
"""


def library(folder: Path) -> types.ModuleType:
    """A module as it would be installed."""
    module = types.ModuleType("a_library")
    filename = str(folder / "site-packages" / "a_library.py")
    exec(compile(LIBRARY, filename, "exec"), vars(module))  # noqa: S102 - it is written above
    return module


def test_a_library_reads_the_clock_for_itself(tmp_path: Path, slept: list[float]) -> None:
    """What an installed library reads is not recorded; its sleeps are noted, and not slept on replay."""
    installed = library(tmp_path)
    captured = Captured(lambda: installed.retried(), "clock")
    assert captured.asked == ["log sleep"]
    assert captured.value == "retried" and slept == [30]
    captured.matches()
    assert slept == [30]
    # Notes are not compared, because how often a library tries may depend on the time.
    assert captured.replay(lambda: "retried").divergences == ()


def test_loops_and_loggers_read_the_clock_for_themselves() -> None:
    """An event loop's timers and the times of log records are no questions of the agent's."""

    async def main() -> None:
        await asyncio.sleep(0.001)
        await asyncio.wait_for(asyncio.to_thread(lambda: None), 10)

    def agent() -> None:
        logging.getLogger("anything").warning("logged")
        asyncio.run(main())

    captured = Captured(agent, "clock")
    assert captured.asked == []
    captured.matches()


def test_a_module_that_is_loaded_reads_for_everyone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a module reads when an agent first imports it is not the agent's, or no other run would match."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "reads_when_loaded.py").write_text("import time\nTHEN = time.time()\n")

    def agent() -> None:
        import reads_when_loaded  # noqa: F401 - loading it is all  # type: ignore[import-not-found]

    captured = Captured(agent, "clock")
    assert captured.asked == []
    captured.matches()


def test_nothing_is_recorded_inside_an_effect() -> None:
    """The effect's answer covers what it reads and how long it sleeps."""
    captured = Captured(
        lambda ctx: ctx.effect("read", lambda: [time.time(), time.sleep(0), time.monotonic()]), "clock"
    )
    assert captured.asked == ["effect read"]
    captured.matches()


def test_the_recorder_reads_for_itself() -> None:
    """Times of entries, and what a context is asked, are no readings of the agent's."""
    captured = Captured(lambda ctx: [ctx.now(), ctx.monotonic(), ctx.sleep(0)], "clock")
    assert captured.asked == ["clock now", "clock monotonic", "sleep sleep"]
    captured.matches()


class ClockOfSomeone:
    """A clock in the user's own code, which the recorder reads under its locks."""

    def time_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def test_a_clock_of_someone_is_read_for_the_recorder() -> None:
    """What the recorder calls reads for the recorder, wherever its code stands."""

    def agent(ctx: Any) -> Any:
        told = [ctx.now(), ctx.monotonic(), ctx.sleep(0), ctx.effect("e", lambda: 1)]
        return [*told, ctx.gather(lambda: time.monotonic()), time.time()]

    captured = Captured(agent, "clock", clock=ClockOfSomeone())
    assert captured.value[3] == 1
    assert captured.asked == [
        "clock now", "clock monotonic", "sleep sleep", "effect e", "clock monotonic", "clock time_ns"
    ]  # fmt: skip
    captured.matches()


def test_nothing_is_recorded_that_was_not_asked_for() -> None:
    """With other hooks on, readings are no questions."""
    assert Captured(lambda: bool([time.time(), datetime.now(), time.sleep(0)]), "chance").asked == []


# --- outside of agents ---


def test_outside_of_agents_all_is_as_it_was() -> None:
    """Clocks go on, ids with a time are made as before, and a test may still travel."""
    Captured(lambda: None, "clock")
    fastest = getattr(_uuid, "generate_time_safe", None)
    assert uuid._generate_time_safe is fastest  # type: ignore[attr-defined]  # what uuid1 is made of
    assert time.monotonic() <= monotonic() and time.time() <= early_time()
    assert abs(time_machine.escape_hatch.time.time() - time.time()) < 60
    with time_machine.travel(datetime(2001, 2, 3, tzinfo=UTC), tick=False):
        assert date.today() == date(2001, 2, 3) and time.time() == 981158400
    assert time.time() > 981158400 + 1e8


WITHOUT = """
import sys
sys.modules["time_machine"] = None
import time
from datetime import date, datetime
from time import time as early, sleep
from intentusnet import IntentusRuntime, MemoryExecutionStore

def reached():
    return [time.time(), early(), time.time_ns(), date.today(), datetime.today(), sleep(0)]

def bound(read=time.time):
    return read()

def not_reached():
    return [datetime.now(), bound()]

for agent in (reached, not_reached):
    runtime = IntentusRuntime(store=MemoryExecutionStore(), capture=["clock"])
    runtime.agent("agent", handles="x")(agent)
    response = runtime.route("x")
    asked = len(runtime.store.get(response.execution_id).questions) - 1
    report = runtime.replay(response.execution_id)
    print(response.status, asked, report.verdict.value, *[d.pointer for d in report.divergences[:2]])
"""


def test_without_time_machine_what_is_not_reached_is_found() -> None:
    """Functions are reached wherever modules have bound them; what is not reached makes the replay differ."""
    command = [sys.executable, "-c", WITHOUT]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told == ["success 6 match", "success 0 diverged /payload/0/$datetime /payload/1"]
