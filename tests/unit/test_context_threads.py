"""Threads, pools and tasks that an agent starts itself: its context goes with them, and with nobody else."""

import asyncio
import contextlib
import contextvars
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from helpers.recordings import recorded, run, value

from intentusnet import (
    Context,
    IntentusRuntime,
    MemoryExecutionStore,
    Verdict,
)
from intentusnet.context import capturing


def in_thread(function: Any) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


class Overriding(threading.Thread):
    """A thread that has its own `run`."""

    def __init__(self, target: Any) -> None:
        super().__init__()
        self._does = target

    def run(self) -> None:
        self._does()


def in_overriding(function: Any) -> None:
    thread = Overriding(function)
    thread.start()
    thread.join()


def in_timer(function: Any) -> None:
    timer = threading.Timer(0, function)
    timer.start()
    timer.join()


def in_pool(function: Any) -> None:
    with ThreadPoolExecutor(2) as pool:
        pool.submit(function).result()


def in_mapped_pool(function: Any) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: function(), range(1)))


def in_initializer(function: Any) -> None:
    with ThreadPoolExecutor(1, initializer=lambda given: given(), initargs=(function,)) as pool:
        pool.submit(int).result()


def in_task(function: Any) -> None:
    async def task() -> None:
        function()

    async def main() -> None:
        await asyncio.create_task(task())

    asyncio.run(main())


def in_executor(function: Any) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, function)

    asyncio.run(main())


def in_to_thread(function: Any) -> None:
    asyncio.run(asyncio.to_thread(function))


def in_thread_of_a_thread(function: Any) -> None:
    in_thread(lambda: in_pool(function))


WAYS = [
    in_thread,
    in_overriding,
    in_timer,
    in_pool,
    in_mapped_pool,
    in_initializer,
    in_task,
    in_executor,
    in_to_thread,
    in_thread_of_a_thread,
]


@pytest.mark.parametrize("start", WAYS)
def test_what_an_agent_starts_keeps_its_branch(start: Any) -> None:
    """In whatever an agent starts, its context asks from the branch that it was started in, without order."""
    seen: list[Any] = []

    def agent(ctx: Context) -> None:
        def inner() -> None:
            seen.append(capturing() is ctx)
            ctx.effect("f", lambda: 1)

        ctx.gather(lambda: start(inner), lambda: start(inner))
        seen.append(capturing() is ctx)

    _, record = recorded(agent)
    assert seen == [True] * 6
    asked = sorted((q.scope, q.unordered) for q in record.questions if q.kind == "effect")
    assert asked == [("attempt:0/gather:0.0", True), ("attempt:0/gather:0.1", True)]


@pytest.mark.parametrize("start", WAYS)
def test_the_tripwire_follows_into_what_an_agent_starts(start: Any, tmp_path: Any) -> None:
    """A file that an agent writes in a thread or task of its own is stopped on replay."""
    path = tmp_path / "written"

    def agent() -> None:
        def inner() -> None:
            path.write_text("x")

        with contextlib.suppress(Exception):
            start(inner)

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    response = runtime.route("x")
    assert response.ok and path.exists()
    path.unlink()
    report = runtime.replay(response.execution_id)
    assert not path.exists() and report.verdict is Verdict.DIVERGED
    assert "open" in {divergence.question for divergence in report.divergences}


@pytest.mark.parametrize("start", WAYS)
def test_inside_an_effect_what_it_starts_is_part_of_its_answer(start: Any) -> None:
    """Nothing that an effect does in threads or tasks is recorded, or caught by hooks."""
    seen: list[Any] = []

    def agent(ctx: Context) -> None:
        def inner() -> None:
            seen.append(capturing())
            ctx.effect("inner", lambda: 1)

        ctx.effect("outer", lambda: start(inner))

    _, record = recorded(agent)
    assert seen == [None]
    assert [q.name for q in record.questions if q.kind == "effect"] == ["outer"]


def test_workers_of_a_pool_belong_to_nobody() -> None:
    """A worker that an agent's task has started carries no agent: each task has its submitter's context."""
    seen: list[Any] = []
    with ThreadPoolExecutor(1) as pool:

        def agent(ctx: Context) -> None:
            seen.append(pool.submit(capturing).result() is ctx)

        run(agent)
        seen.append(pool.submit(capturing).result())
    assert seen == [True, True, None]


def test_a_task_in_a_pool_leaves_nothing_behind() -> None:
    """Of the context of an agent, and of what its task sets there, the worker's next task knows nothing."""
    mark = contextvars.ContextVar("mark", default=0)
    with ThreadPoolExecutor(1) as pool:

        def agent() -> list[int]:
            mark.set(1)
            return [pool.submit(mark.get).result(), pool.submit(mark.set, 2).exception() is None and 3]

        assert value(agent) == [1, 3]
        assert pool.submit(mark.get).result() == 0


def test_workers_of_a_pool_are_made_ready_at_once() -> None:
    """An initializer may run in several workers at the same time, each in a copy of the agent's context."""

    def agent() -> list[int]:
        together = threading.Barrier(2)
        with ThreadPoolExecutor(2, initializer=together.wait, initargs=(10,)) as pool:
            return [future.result() for future in [pool.submit(int, number) for number in range(2)]]

    assert value(agent) == [0, 1]


def test_outside_of_agents_threads_are_as_python_makes_them() -> None:
    """A thread or a pool's task that no agent has started sees no context of its starter, and no patch."""
    run(lambda ctx: None)  # from here on everything is patched
    mark, seen = contextvars.ContextVar("mark", default="none"), list[Any]()
    mark.set("starter")
    thread = threading.Thread(target=lambda: seen.append(mark.get()))
    thread.start()
    assert "run" not in vars(thread)
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        seen.append(pool.submit(mark.get).result())
    assert seen == ["none", "none"] and asyncio.run(asyncio.sleep(0, 1)) == 1


def test_a_thread_is_started_as_often_as_python_allows() -> None:
    """Starting a thread twice raises as ever, live and on replay, and the first start is not disturbed."""

    def agent(ctx: Context) -> Any:
        told: list[Any] = []
        done = threading.Event()
        thread = threading.Thread(target=lambda: (told.append(ctx.env("A")), done.wait(10)))
        thread.start()
        with pytest.raises(RuntimeError, match="only be started once"):
            thread.start()
        done.set()
        thread.join()
        return [told, thread.is_alive(), "run" in vars(thread)]

    assert value(agent, environ={"A": "a"}) == [["a"], False, False]


def test_a_thread_that_could_not_be_started_is_as_it_was() -> None:
    """Where no thread is to be had, the error is the system's, and what the thread runs is nobody's yet."""
    mark, told = contextvars.ContextVar("mark", default="nobody"), list[Any]()
    thread = threading.Thread(target=lambda: told.append(mark.get()))

    def agent() -> None:
        mark.set("agent")
        size = threading.stack_size(1 << 60)  # more than there can be
        try:
            with pytest.raises(RuntimeError, match="can't start new thread"):
                thread.start()
        finally:
            threading.stack_size(size)

    run(agent, replays=False)
    mark.set("caller")
    thread.run()
    assert told == ["caller"]


def test_a_signal_ends_an_own_thread_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    """A replay that halts in a thread of the agent's own is a divergence, and no traceback."""
    name = "f"

    def agent(ctx: Context) -> None:
        in_thread(lambda: ctx.effect(name, lambda: 1))

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    response = runtime.route("x")
    name = "g"
    report = runtime.replay(response.execution_id)
    assert {divergence.kind.value for divergence in report.divergences} == {"unexpected"}
    assert capfd.readouterr() == ("", "")


def test_hooks_let_go_of_a_thread_that_has_outlived_its_agent() -> None:
    """When the agent has answered, a thread that it has left behind asks the world by itself."""
    go, done, seen = threading.Event(), threading.Event(), list[Any]()

    def left() -> None:
        seen.append(capturing() is not None)
        done.set()
        assert go.wait(10)
        seen.append(capturing())

    threads: list[threading.Thread] = []

    def agent() -> None:
        threads.append(threading.Thread(target=left))
        threads[0].start()
        assert done.wait(10)

    run(agent, replays=False)
    go.set()
    threads[0].join()
    assert seen == [True, None]


def test_what_hooks_have_begun_is_finished_when_the_agent_ends() -> None:
    """`Context.at_end` calls what is still open, in its order, before the attempt's answer."""
    called: list[Any] = []

    def agent(ctx: Context) -> None:
        for key in range(3):
            ctx.at_end(key, functools.partial(called.append, key))
        ctx.at_end(1, None)

    run(agent, replays=False)
    assert called == [0, 2]
