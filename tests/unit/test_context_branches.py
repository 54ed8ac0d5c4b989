"""Branches: `gather` and `map` give results, scopes and exceptions that no timing can change."""

import contextvars
import functools
import sys
import threading
from collections import Counter
from typing import Any

import pytest
from helpers.recordings import recorded, run, value
from hypothesis import given, settings
from hypothesis import strategies as st

from intentusnet import (
    Context,
    IntentusRuntime,
    MemoryExecutionStore,
    Verdict,
)
from intentusnet.errors import InvalidInput


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


@given(st.lists(st.integers(), max_size=40), st.none() | st.integers(1, 50))
@settings(max_examples=40)
def test_map_is_what_map_is(items: list[int], limit: int | None) -> None:
    """`ctx.map` gives what `list(map())` gives, at any limit, and replays to match."""
    told = value(lambda ctx: ctx.map(lambda item: ctx.effect("f", twice, item), items, limit=limit))
    assert told == list(map(twice, items))


def twice(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("limit", [1, 2, 5, None])
def test_no_more_items_than_the_limit_are_at_work(limit: int | None) -> None:
    """At most `limit` calls run at once, and so many do; 32 unless told otherwise."""
    lock, together = threading.Lock(), threading.Barrier(limit or 32)
    running, most = 0, 0

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(10)
        with lock:
            running -= 1
        together.wait(10)  # nobody takes the next item before everybody is counted out

    run(lambda ctx: ctx.map(work, range(3 * (limit or 32)), limit=limit), replays=False)
    assert most == (limit or 32)


@pytest.mark.parametrize("limit", [0, -1, 1.5, "2", True])
def test_a_limit_that_makes_no_sense_is_refused(limit: Any) -> None:
    """A limit below 1, or that is no number, raises before anything is called."""
    called: list[int] = []

    def agent(ctx: Context) -> None:
        with pytest.raises(InvalidInput, match="limit"):
            ctx.map(called.append, [1], limit=limit)

    assert run(agent).ok and called == []


def test_each_item_has_a_scope_of_its_own() -> None:
    """Items have the scopes of a gather's branches, whatever the limit and whoever takes them."""

    def agent(ctx: Context) -> Any:
        ctx.map(lambda item: ctx.effect("f", twice, item), range(3), limit=2)
        ctx.gather(lambda: ctx.effect("g", twice, 1))

    _, record = recorded(agent)
    scopes = [(q.scope, q.unordered) for q in record.questions if q.kind == "effect"]
    wanted = ["gather:0.0", "gather:0.1", "gather:0.2", "gather:1.0"]
    assert sorted(scopes) == [(f"attempt:0/{scope}", False) for scope in wanted]


def test_an_item_sees_nothing_of_the_one_before() -> None:
    """Items that share a thread share no context: each has a copy of the caller's."""
    mark = contextvars.ContextVar("mark", default="none")

    def agent(ctx: Context) -> Any:
        mark.set("caller")

        def item(number: int) -> str:
            before = mark.get()
            mark.set(f"item {number}")
            return before

        return [*ctx.map(item, range(4), limit=1), mark.get()]

    assert value(agent) == ["caller"] * 5


def test_map_raises_the_first_exception_when_all_have_ended() -> None:
    """Of several exceptions the first in the order of the items is raised, and every item was done."""
    ended: list[int] = []

    def agent(ctx: Context) -> Any:
        def fails(number: int) -> None:
            ctx.effect("f", ended.append, number)
            if number % 2:
                raise ValueError(number)

        try:
            ctx.map(fails, range(6), limit=2)
        except ValueError as fault:
            return fault.args

    assert value(agent) == (1,)
    assert sorted(ended) == list(range(6))


def test_ctrl_c_in_an_item_ends_the_map() -> None:
    """No further item is begun when one was interrupted."""
    begun: list[int] = []

    def item(number: int) -> None:
        begun.append(number)
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(lambda ctx: ctx.map(item, range(100), limit=1), replays=False)
    assert begun == [0, 1, 2, 3]


def test_a_replay_that_halts_in_an_item_goes_on_with_the_others() -> None:
    """An item that diverges is one divergence, and the items behind it are not missed."""
    offset = 0

    def agent(ctx: Context) -> Any:
        def item(number: int) -> Any:
            return ctx.effect("g" if offset and number == 1 else "f", twice, number)

        return ctx.map(item, range(5), limit=1)

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    response = runtime.route("x")
    offset = 1
    report = runtime.replay(response.execution_id)
    assert {divergence.scope for divergence in report.divergences} == {"attempt:0/gather:0.1"}


def test_the_replay_of_a_map_takes_work_in_proportion_to_its_items() -> None:
    """Twice as many items take twice as many lines of Python to replay, in whatever module they are."""
    lines = Counter[int]()

    def agent(payload: int, ctx: Context) -> Any:
        return sum(ctx.map(lambda item: ctx.effect("f", twice, item), range(payload)))

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    for items in (100, 200, 400):
        record = runtime.store.get(runtime.route("x", items).execution_id)

        def count(frame: Any, event: str, arg: Any, items: int = items) -> Any:
            lines[items] += event == "line"
            return count

        before = sys.gettrace(), threading.gettrace()
        threading.settrace(count)
        sys.settrace(count)
        try:
            report = runtime.replay(record)
        finally:
            sys.settrace(before[0])
            threading.settrace(before[1])
        assert report.verdict is Verdict.MATCH
    assert lines[400] - lines[200] < 2.5 * (lines[200] - lines[100])
