"""Who has an execution in hand: what runs is not interrupted, and one resumes at a time."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers.breaking import READS, World, broken_off, resumed
from helpers.runtimes import runtime_of

from intentusnet import Context, FileExecutionStore, IntentusRuntime, effect
from intentusnet.errors import (
    StillRunning,
    StoreWriteFailed,
)


def test_an_execution_that_runs_is_not_interrupted() -> None:
    """While it runs, in whatever thread, it is not listed and not resumed."""
    runtime, told = runtime_of(), list[Any]()

    @runtime.agent("agent", handles="x")
    def agent(ctx: Context) -> None:
        told.append(runtime.recover())
        for meddle in (runtime.resume, lambda name: runtime.resolve(name, True, by="ada")):
            with pytest.raises(StillRunning):
                meddle(ctx.execution_id)

    assert runtime.route("x").ok
    assert told == [()]


@pytest.fixture
def runtimes(tmp_path: Path) -> Iterator[tuple[IntentusRuntime, IntentusRuntime, World]]:
    """Two runtimes with a directory in common, each as if in a process of its own."""
    world = World(2)
    with FileExecutionStore(tmp_path) as one, FileExecutionStore(tmp_path) as other:
        act = world.act(**READS)
        both = IntentusRuntime(store=one), IntentusRuntime(store=other)
        for runtime in both:
            runtime.agent("agent", handles="x", side_effect="read_only")(
                lambda ctx: [ctx.effect("act", act, number) for number in (1, 2, 3)]
            )
        yield *both, world


def test_whoever_holds_the_lock_runs_it(runtimes: tuple[IntentusRuntime, IntentusRuntime, World]) -> None:
    """What one store has opened is nobody else's until it is closed."""
    one, other, world = runtimes
    broken = broken_off(one).execution_id
    assert [found.execution_id for found in one.recover()] == [broken]
    assert other.recover() == ()
    with pytest.raises(StillRunning):
        other.resume(broken)
    one.close()
    assert [found.execution_id for found in other.recover()] == [broken]
    resumed(other, world, broken)


def test_one_resumes_at_a_time(runtimes: tuple[IntentusRuntime, IntentusRuntime, World]) -> None:
    """While one resumes an execution, another one is told that it runs."""
    one, other, world = runtimes
    broken = broken_off(one).execution_id
    one.close()
    world.breaks.clear()
    told = list[Any]()

    @effect(**READS)
    def meddling(number: int) -> Any:
        told.append(other.recover())
        with pytest.raises(StillRunning):
            other.resume(broken)
        return [number]

    third = IntentusRuntime(store=FileExecutionStore(other.store.path))  # type: ignore[union-attr] - it is a directory's
    act = world.act(**READS)
    third.agent("agent", handles="x", side_effect="read_only")(
        lambda ctx: [ctx.effect("act", act if number == 1 else meddling, number) for number in (1, 2, 3)]
    )
    with third:
        assert third.resume(broken).ok
    assert told == [(), ()]


def test_a_closed_store_resumes_nothing(tmp_path: Path) -> None:
    """An execution of a store that is closed can be read, and not be gone on with."""
    runtime, world = IntentusRuntime(store=tmp_path), World(1)
    act = world.act(**READS)
    runtime.agent("agent", handles="x", side_effect="read_only")(lambda ctx: ctx.effect("act", act, 1))
    broken = broken_off(runtime).execution_id
    runtime.close()
    with pytest.raises(StoreWriteFailed):
        runtime.resume(broken)


def test_children_that_are_alike_are_told_apart() -> None:
    """Threads of an agent's own that ask for the same each go on with an execution of their own."""
    runtime, world = runtime_of(), World("all")
    both = threading.Barrier(2)

    @effect(**READS)
    def read() -> str:
        if world.breaks:  # both are under way, so both are cut off
            both.wait(10)
            raise KeyboardInterrupt
        return "read"

    runtime.agent("inner", handles="inner", side_effect="read_only")(lambda ctx: ctx.effect("read", read))

    @runtime.agent("outer", handles="x", side_effect="read_only")
    def outer(ctx: Context) -> list[Any]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda _: ctx.route("inner").payload, range(2)))

    with pytest.raises(KeyboardInterrupt):
        runtime.route("x")
    parent, *children = [found.execution_id for found in runtime.recover()]
    assert len(children) == 2
    (found,) = [found for found in runtime.recover() if found.execution_id == parent]
    assert {question.execution_id for question in found.pending} == {parent, *children}
    assert resumed(runtime, world, parent).payload == ["read", "read"]
    assert sorted(runtime.store.get(parent).children) == sorted(children)  # type: ignore[union-attr] - it has one
