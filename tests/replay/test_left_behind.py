"""What asks after its agent's call has ended: threads that nobody waited for, and contexts that were kept."""

import threading
from contextlib import suppress
from typing import Any

import pytest
from helpers.runtimes import runtime_of

from intentusnet import Context, IntentusRuntime, MemoryExecutionStore, Verdict
from intentusnet.errors import BranchCancelled, InvalidInput
from intentusnet.replay.live import LiveSession


def leaving(begun: threading.Event, go_on: threading.Event, told: list[Any]) -> IntentusRuntime:
    """An agent that leaves a thread in the middle of an effect."""
    runtime = runtime_of()

    def slow() -> str:
        begun.set()
        assert go_on.wait(10)
        return "late"

    @runtime.agent("agent", handles="x", side_effect="read_only")
    def agent(ctx: Context) -> str:
        def work() -> None:
            try:
                told.append(ctx.effect("slow", slow))
            except BranchCancelled:
                told.append("cancelled")
                raise

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        if not begun.is_set():
            assert begun.wait(10)
        return ctx.effect("done", lambda: "done")

    return runtime


threads: list[threading.Thread] = []


def test_a_question_that_was_still_open_when_the_agent_ended_is_none_to_wait_for() -> None:
    """Its thread gets no answer, live or on replay, whether it asks before the agent's end or after it."""
    begun, go_on, told = threading.Event(), threading.Event(), list[Any]()
    runtime = leaving(begun, go_on, told)
    response = runtime.route("x")
    go_on.set()
    threads.pop().join()
    assert (response.payload, told) == ("done", ["cancelled"])
    record = runtime.store.get(response.execution_id)  # type: ignore[union-attr] - it has one
    assert [q.answer is None for q in record.questions if q.name == "slow"] == [True]
    for _ in range(30):
        assert runtime.replay(record).divergences == ()
        threads.pop().join()
    assert told == ["cancelled"]


def test_a_question_that_a_joined_thread_no_longer_asks_is_missing() -> None:
    """Only those without an answer are passed over."""
    runtime, other = runtime_of(), runtime_of()

    def agent(ctx: Context, number: int) -> None:
        thread = threading.Thread(target=lambda: [ctx.effect("f", lambda n: n, n) for n in range(number)])
        thread.start()
        thread.join()

    runtime.agent("agent", handles="x")(lambda ctx: agent(ctx, 2))
    other.agent("agent", handles="x")(lambda ctx: agent(ctx, 1))
    record = runtime.store.get(runtime.route("x").execution_id)  # type: ignore[union-attr] - it has one
    assert [d.kind for d in other.replay(record).divergences] == ["missing"]


def test_what_comes_after_the_agent_s_end_is_not_on_record() -> None:
    """A thread that begins to ask while the next agent runs is unwound, and leaves no trace in the record."""
    runtime, gone = runtime_of(), threading.Event()
    seen: list[type[BaseException]] = []

    @runtime.agent("first", handles="x", side_effect="read_only")
    def first(ctx: Context) -> None:
        def late() -> None:
            assert gone.wait(10)
            try:
                ctx.now()
            except BaseException as fault:
                seen.append(type(fault))
                raise

        threads.append(threading.Thread(target=late))
        threads[-1].start()
        raise ValueError("no")

    @runtime.agent("second", handles="x", rank=1, side_effect="read_only")
    def second(ctx: Context) -> str:
        gone.set()
        threads.pop().join()
        return ctx.effect("done", lambda: "done")

    response = runtime.route("x", strategy="fallback")
    assert (response.payload, seen) == ("done", [BranchCancelled])
    record = runtime.store.get(response.execution_id)  # type: ignore[union-attr] - it has one
    assert [q.scope for q in record.questions if q.kind != "agent"] == ["attempt:1"]
    gone.clear()
    assert runtime.replay(record).verdict is Verdict.MATCH


def test_a_context_that_was_kept_is_refused_by_an_ordinary_error() -> None:
    """It does not unwind the agent of another call, whose execution goes on and ends."""
    runtime, kept = runtime_of(), list[Context]()

    @runtime.agent("agent", handles="x", side_effect="read_only")
    def agent(ctx: Context) -> str:
        kept.append(ctx)
        try:
            return kept[0].effect("f", lambda: "answered")
        except InvalidInput as fault:
            return fault.message

    responses = [runtime.route("x") for _ in range(2)]
    assert [r.payload for r in responses] == ["answered", "the context is that of a call that has ended"]
    for ask in (kept[0].now, kept[0].uuid, kept[0].check, lambda: kept[0].route("x"), lambda: kept[0].random):
        with pytest.raises(InvalidInput, match="has ended"):
            ask()


class Gated(MemoryExecutionStore):
    """A store whose appends, from when it is told so, wait until the execution is let go of, for a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let_go = threading.Event(), threading.Event()
        self.waits = False

    def append(self, drafts: Any, **options: Any) -> range:
        if self.waits:
            self.asked.set()
            # Whoever gives the execution up waits for this append, so nobody comes to let it go.
            self.let_go.wait(0.2)
        return super().append(drafts, **options)


@pytest.mark.parametrize("when", ["before writing", "while writing"])
def test_nothing_is_written_after_an_execution_was_given_up(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a thread was about to write comes before that or never: whoever resumes it has read it all."""
    store = Gated()
    runtime, seen, threads = IntentusRuntime(store=store), list[int](), list[threading.Thread]()
    ending, flush = store.custody.end, LiveSession._flush

    def end(execution_id: str) -> None:
        ending(execution_id)
        if not seen:
            seen.append(len(store.get(execution_id).entries))
        store.let_go.set()

    def flush_late(session: LiveSession, *, sync: bool) -> None:
        if threading.current_thread() in threads:
            store.asked.set()
            assert store.let_go.wait(10)
        flush(session, sync=sync)

    monkeypatch.setattr(store.custody, "end", end)
    if when == "before writing":
        monkeypatch.setattr(LiveSession, "_flush", flush_late)

    @runtime.agent("agent", handles="x", side_effect="read_only")
    def agent(ctx: Context) -> None:
        def work() -> None:
            with suppress(KeyboardInterrupt, BranchCancelled):
                ctx.effect("acts", lambda: None)

        store.waits = when == "while writing"
        threads.append(threading.Thread(target=work))
        threads[0].start()
        assert store.asked.wait(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runtime.route("x")
    threads[0].join()
    assert seen == [len(store.get(store.resolve("@last")).entries)]
