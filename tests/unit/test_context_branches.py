"""Branches and threads: results, scopes and exceptions, whatever the order."""

import functools
import threading
from typing import Any

import pytest
from helpers.recordings import recorded, run, value

from intentusnet import (
    Context,
    IntentusRuntime,
    ManualClock,
    MemoryExecutionStore,
    Verdict,
)


def test_gather_keeps_the_order_of_its_calls() -> None:
    """Results stand in the order of the calls, whichever ends first."""
    gates = [threading.Event() for _ in range(3)]

    def agent(ctx: Context) -> Any:
        def branch(number: int) -> int:
            if number < 2:
                assert gates[number + 1].wait(10)
            gates[number].set()
            return number

        return ctx.gather(*(functools.partial(branch, n) for n in range(3)))

    assert value(agent) == [0, 1, 2]


def test_gather_hands_the_context_to_those_who_want_it() -> None:
    """A call with a parameter gets the context; one without, or of which nobody knows, does not."""

    def agent(ctx: Context) -> Any:
        return ctx.gather(
            lambda c: c is ctx, lambda: "none", lambda c=5: c, dict, int, lambda *args: len(args), *[]
        )  # fmt: skip

    assert value(agent) == [True, "none", 5, {}, 0, 0]
    assert value(lambda ctx: ctx.gather()) == []


def test_gather_raises_the_first_exception_when_all_have_ended() -> None:
    """Of several exceptions the first in the order of the calls is raised, and all calls are heard."""
    ended = []

    def agent(ctx: Context) -> Any:
        def fails(number: int) -> None:
            ctx.effect("f", ended.append, number)
            raise ValueError(number)

        try:
            ctx.gather(lambda: 1, lambda: fails(1), lambda: fails(2))
        except ValueError as fault:
            return fault.args

    assert value(agent) == (1,)
    assert sorted(ended) == [1, 2]


def test_no_exception_hides_a_signal() -> None:
    """Ctrl-C in a later branch is not swallowed for the sake of an earlier branch's exception."""

    def agent(ctx: Context) -> Any:
        def fails() -> None:
            raise ValueError

        def stops() -> None:
            raise KeyboardInterrupt

        try:
            ctx.gather(fails, stops)
        except Exception:  # noqa: BLE001 - what agents do
            return "swallowed"

    with pytest.raises(KeyboardInterrupt):
        run(agent)


def test_scopes_say_where_a_question_was_asked() -> None:
    """Scopes are paths of attempt, gather and branch, given before a thread starts."""

    def agent(ctx: Context) -> Any:
        def nested(number: int) -> Any:
            ctx.effect("f", int, number)
            return ctx.gather(lambda: ctx.effect("g", int, number), lambda: ctx.effect("g", int, number))

        return [ctx.gather(lambda: nested(0), lambda: nested(1)), ctx.gather(lambda: ctx.effect("h", int, 2))]

    _, record = recorded(agent)
    scopes = sorted((q.scope, q.name) for q in record.questions if q.kind == "effect")
    inner = [(f"attempt:0/gather:0.{b}/gather:0.{i}", "g") for b in (0, 1) for i in (0, 1)]
    outer = [(f"attempt:0/gather:0.{b}", "f") for b in (0, 1)]
    assert scopes == sorted([*inner, *outer, ("attempt:0/gather:1.0", "h")])


def test_threads_of_an_agents_own_have_no_order() -> None:
    """Questions from threads that the agent starts are marked, and match in any order."""
    order = [0, 1, 2]

    def agent(ctx: Context) -> Any:
        told: dict[int, str] = {}
        turns = [threading.Event() for _ in range(4)]
        turns[0].set()

        def ask(turn: int, number: int) -> None:
            assert turns[turn].wait(10)
            ctx.now()
            told[number] = ctx.effect("f", lambda n: f"answer {n}", number)
            turns[turn + 1].set()

        threads = [threading.Thread(target=ask, args=(turn, number)) for turn, number in enumerate(order)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [told[number] for number in range(3)]

    runtime = IntentusRuntime(store=MemoryExecutionStore(), clock=ManualClock())
    runtime.agent("a", handles="x")(agent)
    one = runtime.route("x")
    order[:] = [2, 0, 1]
    assert runtime.replay(one.execution_id).verdict is Verdict.MATCH
    assert runtime.route("x").fingerprint == one.fingerprint
    record = runtime.store.get(one.execution_id)
    assert all(q.unordered for q in record.questions if q.kind == "effect")


def test_the_agents_own_thread_and_others_are_not_mixed_up() -> None:
    """Of equal questions from the agent and from a thread of its own, each gets its own answer again."""
    numbers = iter(range(100))
    main_first = False

    def agent(ctx: Context) -> Any:
        def ask() -> None:
            told.append(("thread", ctx.effect("f", lambda: next(numbers))))

        told: list[Any] = []
        thread = threading.Thread(target=ask)
        if main_first:
            told.append(("main", ctx.effect("f", lambda: next(numbers))))
        thread.start()
        thread.join()
        if not main_first:
            told.append(("main", ctx.effect("f", lambda: next(numbers))))
        return sorted(told)

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    response = runtime.route("x")
    main_first = True
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH
