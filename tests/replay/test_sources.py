"""A divergence names the line of the agent's code that it comes from, and what on record is most like it."""

import functools
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from intentusnet import Context, Divergence, IntentusRuntime, MemoryExecutionStore, Verdict
from intentusnet.replay import sources

HERE = Path(__file__).resolve()
PACKAGE = Path(sources.__file__).parents[2]


def line_of(mark: str) -> int:
    """The number of the line of this file that ends with that comment."""
    lines = HERE.read_text("utf-8").splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))
    return number


def is_at(source: str, mark: str) -> bool:
    file, _, line = source.rpartition(":")
    return Path(file).resolve() == HERE and int(line) == line_of(mark)


def told(*args: Any, **kwargs: Any) -> Any:
    return list(args)


def first(now: Any, then: Any, **options: Any) -> Divergence:
    runtimes = []
    for handler in (then, now):
        runtime = IntentusRuntime(store=MemoryExecutionStore())
        runtime.agent("a", handles="x", side_effect="read_only")(handler)
        runtimes.append(runtime)
    store = runtimes[0].store
    assert store is not None
    report = runtimes[1].replay(store.get(runtimes[0].route("x").execution_id), **options)
    assert report.verdict is Verdict.DIVERGED
    return report.divergences[0]


def asks_twice(ctx: Context) -> None:  # defines
    ctx.effect("f", told, 1)
    ctx.effect("f", told, 2)


def helper(ctx: Context, number: int) -> Any:
    return ctx.effect("f", told, number)  # asks in a helper


def by_a_helper(ctx: Context) -> None:
    ctx.effect("f", told, 1)
    helper(ctx, 3)


def in_another_order(ctx: Context) -> None:
    ctx.effect("f", told, 2)
    ctx.effect("f", told, 1)  # asks late


def in_a_thread(ctx: Context) -> None:
    thread = threading.Thread(target=helper, args=(ctx, 9))
    thread.start()
    thread.join()


def in_a_pool(ctx: Context) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(helper, ctx, 9).result()


def in_a_branch(ctx: Context) -> None:
    ctx.gather(
        lambda: ctx.effect("f", told, 7),  # asks in a branch
    )


def in_a_library(ctx: Context) -> None:
    functools.reduce(lambda _, n: helper(ctx, n), [1, 3], None)


def opens(ctx: Context) -> None:
    os.mkdir("/no/such/directory")  # touches the world


@pytest.mark.parametrize(
    ("now", "mark"),
    [
        (by_a_helper, "asks in a helper"),
        (in_another_order, "asks late"),
        (in_a_thread, "asks in a helper"),
        (in_a_pool, "asks in a helper"),
        (in_a_branch, "asks in a branch"),
        (in_a_library, "asks in a helper"),
        (opens, "touches the world"),
    ],
)
def test_a_question_names_the_line_that_asks(now: Any, mark: str) -> None:
    """The innermost line of the agent's own code: helpers, threads, branches and what libraries call back."""
    assert is_at(first(now, asks_twice if now is not opens else (lambda: 1)).source, mark)


def test_a_question_of_no_line_of_the_agents_names_none() -> None:
    """A thread that runs nothing but the call itself has no line of the agent's code in it."""

    def agent(ctx: Context) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(ctx.effect, "f", told, 9).result()

    assert first(agent, asks_twice).source == ""


def wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(ctx: Context) -> Any:
        return function(ctx)

    return wrapper


@wrapped
@wrapped
def decorated(ctx: Context) -> int:  # defines below decorators
    return 1


class Handler:
    def handle(self, ctx: Context) -> int:  # defines a method
        return 1


class Called:
    def __call__(self, ctx: Context) -> int:  # defines a call
        return 1


def partially(number: int, ctx: Context) -> int:  # defines a part
    return number


@pytest.mark.parametrize(
    ("now", "mark"),
    [
        (decorated, "defines below decorators"),
        (Handler(), "defines a method"),
        (Called(), "defines a call"),
        (functools.partial(partially, 1), "defines a part"),
        (lambda: 1, "defines a lambda"),  # defines a lambda
    ],
)
def test_what_was_not_asked_names_the_agents_definition(now: Any, mark: str) -> None:
    """Also for an answer that differs, and for the response."""
    assert is_at(first(now, asks_twice).source, mark)
    report_of = first(now, lambda: 2)
    assert report_of.kind == "outcome" and is_at(report_of.source, mark)


def test_an_agent_that_is_not_written_in_python_has_no_line() -> None:
    """Built-in functions are defined nowhere that could be named."""
    assert first(abs, lambda payload: 1, strictness="result").source == ""


def test_an_attempt_that_is_no_longer_made_names_its_agent() -> None:
    """A fallback that is not needed any more, or newly needed, is named by the agent's definition."""

    def runtime_of(*handlers: Any) -> IntentusRuntime:
        runtime = IntentusRuntime(store=MemoryExecutionStore())
        for rank, handler in enumerate(handlers):
            runtime.agent(f"a{rank}", handles="x", rank=rank)(handler)
        return runtime

    def fails() -> None:
        raise ValueError("no")

    one, other = runtime_of(fails, decorated), runtime_of(lambda: 1, decorated)
    for then, now, kind in ((one, other, "missing"), (other, one, "unexpected")):
        report = now.replay(then.store.get(then.route("x", strategy="fallback").execution_id))
        (found,) = (d for d in report.divergences if d.question == "agent a1 [1]")
        assert found.kind == kind and is_at(found.source, "defines below decorators")


def test_nobody_walks_the_stack_while_nothing_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are looked for when there is a divergence to tell, not for each question."""
    calls: list[int] = []
    monkeypatch.setattr("intentusnet.replay.recorded.asking_line", lambda: calls.append(1) or "")
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(asks_twice)
    assert runtime.replay(runtime.route("x").execution_id).verdict is Verdict.MATCH
    assert calls == []


APP = """
from installed import asks
from intentusnet import IntentusRuntime, MemoryExecutionStore

then = IntentusRuntime(store=MemoryExecutionStore())
then.agent("a", handles="x")(lambda ctx: None)
record = then.store.get(then.route("x").execution_id)


def agent(ctx):
    return asks(ctx)


for handler in (agent, asks):
    now = IntentusRuntime()
    now.agent("a", handles="x")(handler)
    print(now.replay(record).divergences[0].source)
"""


def test_paths_are_relative_and_libraries_are_passed_over(tmp_path: Path) -> None:
    """A library that asks is called by the agent somewhere; it is named if it is the agent itself."""
    library = tmp_path / "site-packages" / "installed.py"
    library.parent.mkdir()
    library.write_text("def asks(ctx):\n    return ctx.effect('f', abs, 1)\n")
    (tmp_path / "app.py").write_text(APP)
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(library.parent), str(PACKAGE)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["app.py:11", "site-packages/installed.py:2"], done.stderr


def test_a_path_outside_of_the_working_directory_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative to where one stands is only what lies below it, also when that is gone."""
    monkeypatch.chdir(tmp_path)
    assert is_at(first(by_a_helper, asks_twice).source, "asks in a helper")
    monkeypatch.setattr(sources.Path, "cwd", lambda: (_ for _ in ()).throw(FileNotFoundError()))
    assert is_at(first(by_a_helper, asks_twice).source, "asks in a helper")


# --- nearest ---


def asking(*steps: tuple[Any, ...], clock: bool = False) -> Any:
    def agent(ctx: Context) -> None:
        if clock:
            ctx.now()
        for name, *args in steps:
            ctx.effect(name, told, *args)

    return agent


@pytest.mark.parametrize(
    ("then", "now", "nearest"),
    [
        ([("fetch_price", 1)], [("fetch_prices", 2)], "effect fetch_price [0]"),
        ([("a", 1), ("fetch", 1)], [("a", 1), ("load", 1)], "effect a [0]"),
        ([("a", 1), ("fetch", 2)], [("a", 1), ("load", 2)], "effect fetch [1]"),
        ([("f", "abc"), ("f", "xyz")], [("f", "abc"), ("f", "xyz"), ("f", "xy")], "effect f [1]"),
        ([("f", 1)], [("quite_another", 2)], ""),
        ([], [("f", 1)], ""),
    ],
)
def test_the_nearest_question_on_record_is_named(then: Any, now: Any, nearest: str) -> None:
    """By kind and name, then by a similar name, then by equal arguments; none if nothing is like it."""
    found = first(asking(*now), asking(*then))
    assert (found.kind, found.nearest) == ("unexpected", nearest)


def test_a_question_of_another_kind_is_not_near() -> None:
    """The clock is nothing like an effect, whatever it is called."""
    assert first(asking(("now",)), asking(clock=True)).nearest == ""
