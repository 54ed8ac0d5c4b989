"""Budgets of runtimes that record into one store: the log says what was used up, whoever has written it."""

import multiprocessing
import shutil
import sqlite3
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from helpers.processes import PATIENCE_S
from hypothesis import given, settings
from hypothesis import strategies as st

from intentusnet import Context, FileExecutionStore, IntentusRuntime, ManualClock, MemoryExecutionStore
from intentusnet.errors import IntegrityBroken
from intentusnet.stores.base import StoreSettings

NAME = "tenant.tokens.1h"
HOUR = 3600


def runtime_of(store: Any, clock: Any = None, limit: int | None = 10**9) -> IntentusRuntime:
    """A runtime whose agent uses as many tokens as it is told to; without a limit it knows no budgets."""
    rules = [] if limit is None else [{"id": "r", "effect": "deny", "budget": {NAME: {"ge": limit}}}]
    options = {} if clock is None else {"clock": clock}
    runtime = IntentusRuntime(store=store, policy={"default": "allow", "rules": rules}, **options)

    @runtime.agent("model", handles="ask", side_effect="read_only")
    def model(tokens: Any, ctx: Context) -> None:
        ctx.usage(tokens=tokens)

    return runtime


def ask(runtime: IntentusRuntime, tokens: Any) -> Any:
    return runtime.route("ask", tokens, tenant="acme")


def spent(runtime: IntentusRuntime) -> Any:
    """The sum that the next request is planned with."""
    budget = runtime.plan(runtime.envelope("ask", 1, tenant="acme")).budget
    assert budget is not None
    return budget[NAME]


@pytest.mark.parametrize("file", [True, False])
def test_runtimes_on_one_store_share(tmp_path: Path, file: bool) -> None:
    """What ended before a request is planned counts, whoever has recorded it, once."""
    clock = ManualClock()
    stores: list[Any] = [MemoryExecutionStore()] * 2
    if file:
        stores = [FileExecutionStore(tmp_path / "s", clock=clock) for _ in range(2)]
    one, two = (runtime_of(store, clock, limit=100) for store in stores)
    assert spent(two) == 0
    for _ in range(3):
        ask(one, 10)
        ask(two, 1)
    assert (spent(one), spent(two)) == (33, 33)
    ask(one, 100)
    assert ask(two, 1).error.code == "POLICY_DENIAL"
    one.close()
    two.close()


def spends(place: str, tokens: int, times: int) -> None:
    """In a process of its own."""
    with runtime_of(place, limit=None) as runtime:
        for _ in range(times):
            ask(runtime, tokens)


def test_other_processes_count(tmp_path: Path) -> None:
    """What they have recorded when a request is planned counts, though segments end and are compressed."""
    compressing = StoreSettings(segment_entries=7, compress=True)
    context = multiprocessing.get_context("spawn")
    with FileExecutionStore(tmp_path / "s", settings=compressing) as store:
        runtime = runtime_of(store)
        ask(runtime, 1)
        for number in range(1, 4):
            process = context.Process(target=spends, args=(str(tmp_path / "s"), 10, 5))
            process.start()
            process.join(PATIENCE_S)
            assert process.exitcode == 0
            assert spent(runtime) == spent(runtime.configure()) == 1 + 50 * number


def test_what_is_not_written_down_yet_counts(tmp_path: Path) -> None:
    """A store that writes later is told to, before a request is planned."""
    with FileExecutionStore(tmp_path / "s", "async") as store:
        runtime = runtime_of(store)
        for number in range(5):
            assert spent(runtime) == number
            ask(runtime, 1)


def test_an_index_that_forgets_raises_no_budget(tmp_path: Path) -> None:
    """The log alone is believed: whoever edits what is derived from it changes no sum."""
    clock = ManualClock()
    with runtime_of(FileExecutionStore(tmp_path / "s", clock=clock), clock, limit=None) as before:
        for _ in range(3):
            ask(before, 10)
        assert before.store is not None
        assert len(before.store.list().rows) == 3
    with closing(sqlite3.connect(tmp_path / "s" / "index.sqlite")) as index, index:
        for table in ("entries", "executions", "ids"):
            index.execute(f"DELETE FROM {table} WHERE seq > 1")
    with runtime_of(FileExecutionStore(tmp_path / "s", clock=clock), clock) as after:
        assert spent(after) == 30


def test_a_log_that_was_cut_meanwhile_is_read_anew(tmp_path: Path) -> None:
    """Lines that are gone count no longer, and those that come instead do."""
    clock = ManualClock()
    with runtime_of(FileExecutionStore(tmp_path / "s", clock=clock), clock) as writer:
        ask(writer, 10)
        shutil.copytree(tmp_path / "s", tmp_path / "before")
        ask(writer, 20)
    with FileExecutionStore(tmp_path / "s", clock=clock, create=False) as store:
        reader = runtime_of(store, clock)
        assert spent(reader) == 30
        [segment] = (tmp_path / "s" / "log").glob("*.jsonl")
        shutil.copyfile(tmp_path / "before" / "log" / segment.name, segment)
        assert spent(reader) == 10


def test_damage_behind_what_was_read_stops_the_next_plan(tmp_path: Path) -> None:
    """Sums that would lack what another process has done are not made; nor are they made the time after."""
    with FileExecutionStore(tmp_path / "s") as store:
        reader = runtime_of(store)
        ask(reader, 1)
        assert spent(reader) == 1
        [segment] = (tmp_path / "s" / "log").glob("*.jsonl")
        with segment.open("ab") as file:
            file.write(b'{"seq":nonsense}\n')
        for _ in range(2):
            with pytest.raises(IntegrityBroken):
                spent(reader)


def old_and_new(place: Path, clock: ManualClock) -> FileExecutionStore:
    """A store of small segments, the first of which are older than the window.

    In those an execution begins that ends in the window, with 9 tokens; five more have one each, and one
    that ended before the window has 100.
    """
    store = FileExecutionStore(place, clock=clock, settings=StoreSettings(segment_entries=4))
    before = runtime_of(store, clock, limit=None)

    @before.agent("slow", handles="slow", side_effect="read_only")
    def slow(payload: Any, ctx: Context) -> None:
        ctx.usage(tokens=9)
        for _ in range(4):
            ctx.route("ask", 25)
        clock.advance(HOUR * 3)
        for _ in range(5):
            ctx.route("ask", 1)

    before.route("slow", tenant="acme")
    return store


def test_what_began_before_the_window_counts_when_it_ended(tmp_path: Path) -> None:
    """However long an execution was under way."""
    clock = ManualClock()
    with old_and_new(tmp_path / "s", clock) as store:
        assert spent(runtime_of(store, clock)) == 14


def test_segments_before_the_window_are_not_read(tmp_path: Path) -> None:
    """Damage in them is for the verifier to find, but a record that begins there is checked as a whole."""
    clock = ManualClock()
    old_and_new(tmp_path / "s", clock).close()
    first, second, *_ = sorted((tmp_path / "s" / "log").glob("*.jsonl"))
    sound = second.read_bytes()
    with FileExecutionStore(tmp_path / "s", clock=clock) as store:
        assert spent(runtime_of(store, clock)) == 14  # the index has been made
        second.write_bytes(sound.replace(b'"tokens":25', b'"tokens":26'))
        assert spent(runtime_of(store, clock)) == 14
        second.write_bytes(sound)
        assert b'"tokens":9' in first.read_bytes()
        first.write_bytes(first.read_bytes().replace(b'"tokens":9', b'"tokens":1'))
        with pytest.raises(IntegrityBroken):
            spent(runtime_of(store, clock))


def test_usage_that_does_not_fit_into_an_entry_counts(tmp_path: Path) -> None:
    """A call that tells of thousands of names is kept apart from the log, and is read all the same."""
    with FileExecutionStore(tmp_path / "s") as store:
        runtime = runtime_of(store)

        @runtime.agent("many", handles="many", side_effect="read_only")
        def many(payload: Any, ctx: Context) -> None:
            ctx.usage(tokens=5, **{f"name{number:030}": number for number in range(2000)})
            ctx.usage(tokens=2)

        runtime.route("many", tenant="acme")
        assert spent(runtime) == 7


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.integers(1, 50) | st.floats(0, 5),
            st.sampled_from(["ask", "nobody", "nested"]),
            st.integers(0, 30),
        ),
        max_size=15,
    )
)
@settings(max_examples=25)
def test_the_sums_are_those_of_the_records(tmp_path_factory: Any, steps: list[Any]) -> None:
    """Whatever two runtimes do on one store: each is told what the records in the window come to."""
    clock = ManualClock()
    place = tmp_path_factory.mktemp("sums") / "s"
    small = StoreSettings(segment_entries=5)
    with (
        FileExecutionStore(place, "os", clock=clock, settings=small) as one,
        FileExecutionStore(place, "os", clock=clock) as two,
    ):
        runtimes = [runtime_of(store, clock) for store in (one, two)]
        for runtime in runtimes:

            @runtime.agent("nested", handles="nested", side_effect="read_only")
            def nested(tokens: Any, ctx: Context) -> None:
                ctx.usage(tokens=tokens)
                ctx.route("ask", tokens)
                ctx.usage(tokens=tokens)

        for which, tokens, intent, minutes in steps:
            runtimes[which].route(intent, tokens, tenant="acme")
            clock.advance(minutes * 60)
        step = -(-HOUR * 1_000_000 // 64)
        due = sum(
            Fraction(record.usage.get("tokens", 0))
            for record in one.get_many([row.execution_id for row in one.list().rows])
            if record.closed_us is not None and record.closed_us // step >= clock.time_us() // step - 64
        )
        for runtime in (*runtimes, runtimes[0].configure()):
            assert spent(runtime) == due if due.denominator == 1 else float(due)
