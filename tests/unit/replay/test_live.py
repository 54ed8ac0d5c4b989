"""The write-ahead rule: what the next call is, is in the log before the call is made."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from intentusnet import Context, IntentusRuntime, ManualClock, MemoryExecutionStore, Verdict, effect
from intentusnet.errors import BranchCancelled, StoreWriteFailed
from intentusnet.log.durability import Durability
from intentusnet.log.entry import Draft
from intentusnet.replay import live


class Watched(MemoryExecutionStore):
    """A store that writes down what is done to it, and fails when it is told to."""

    def __init__(self, fails_at: int = -1, fault: Callable[[], BaseException] | None = None) -> None:
        super().__init__()
        self.events: list[str] = []
        self.appends = 0
        self._fails_at = fails_at
        self._fault = fault or (lambda: StoreWriteFailed("the disk is full"))

    def append(self, drafts: Sequence[Draft], *, durability: Durability | None = None) -> range:
        self.appends += 1
        if self.appends - 1 == self._fails_at:
            self.events.append("failed")
            raise self._fault()
        self.events.append(
            "+".join(draft.kind for draft in drafts) + {"disk": " disk", None: " end"}.get(durability, "")
        )
        return super().append(drafts, durability=durability)

    def sync(self) -> None:
        self.events.append("sync")


def runtime_of(store: Watched, **options: Any) -> IntentusRuntime:
    """One agent of each side effect, and one that uses effects."""
    runtime = IntentusRuntime(store=store, **options)

    def call(name: str) -> Callable[..., Any]:
        def agent(payload: Any, ctx: Context) -> Any:
            store.events.append(name)
            for step in payload or ():
                step(ctx, store)
            return name

        return agent

    for side_effect in ("read_only", "reversible", "irreversible"):
        runtime.agent(side_effect, handles=[side_effect, "all"], side_effect=side_effect)(call(side_effect))
    return runtime


def route(store: Watched, intent: str, steps: Sequence[Callable[..., Any]] = (), **options: Any) -> list[str]:
    """Routes an intent whose agent takes these steps; returns what happened, in order."""
    runtime = IntentusRuntime(store=store, write_ahead=options.pop("write_ahead", "calls"))

    def agent(ctx: Context) -> str:
        store.events.append("agent")
        for step in steps:
            step(ctx, store)
        return "done"

    runtime.agent("agent", handles="do", side_effect=intent)(agent)
    runtime.agent("child", handles="child", side_effect="read_only")(lambda: store.events.append("child"))
    runtime.route("do", **options)
    return store.events


def acts(ctx: Context, store: Watched) -> None:
    ctx.effect("acts", lambda: store.events.append("acts"))


def looks(ctx: Context, store: Watched) -> None:
    ctx.effect("looks", effect(side_effect="read_only")(lambda: store.events.append("looks")))


def asks(ctx: Context, store: Watched) -> None:
    ctx.route("child")


def tells(ctx: Context, store: Watched) -> None:
    ctx.now()
    store.events.append("told")


def test_the_plainest_execution_is_two_lines() -> None:
    """What is announced is on disk before a body that acts; the end is as durable as the store is told."""
    store = Watched()
    assert route(store, "reversible") == ["opened", "sync", "agent", "closed end"]
    assert len(store.entries(store.resolve("@last"))) == 2


def test_a_read_only_body_waits_for_no_disk() -> None:
    """A body that only reads is announced, and not synced."""
    assert route(Watched(), "read_only") == ["opened", "agent", "closed end"]


@pytest.mark.parametrize(("durability", "mark"), [("disk", "disk"), ("os", ""), (None, "end")])
def test_the_end_is_as_durable_as_this_execution_was_asked_to_be(durability: Any, mark: str) -> None:
    """`durability` overrules the store for one execution."""
    events = route(Watched(), "read_only", durability=durability)
    assert events[-1] == f"closed {mark}".strip()


def test_effects_are_announced_before_they_are_called() -> None:
    """Asked, synced unless read-only, called, answered, and only then does the agent go on."""
    assert route(Watched(), "reversible", [acts, looks]) == [
        "opened", "sync", "agent",
        "asked", "sync", "acts", "answered",
        "asked", "looks", "answered",
        "closed end",
    ]  # fmt: skip


def test_what_only_tells_waits_for_the_next_line() -> None:
    """The clock costs no write of its own, and is in the log before the next effect is called."""
    assert route(Watched(), "read_only", [tells, looks, tells]) == [
        "opened", "agent", "told", "answered+asked", "looks", "answered", "told", "answered+closed end",
    ]  # fmt: skip


def test_a_child_is_announced_before_it_is_opened() -> None:
    """A child's question is in the log before the child's own first line."""
    assert route(Watched(), "read_only", [asks]) == [
        "opened", "agent", "asked", "opened", "child", "closed end", "answered", "closed end",
    ]  # fmt: skip


def test_read_only_executions_may_be_written_at_their_end() -> None:
    """With write_ahead="effects" an execution of read-only agents is one append, until an effect acts."""
    assert route(Watched(), "read_only", [looks, tells], write_ahead="effects") == [
        "agent", "looks", "told", "opened+asked+answered+answered+closed end",
    ]  # fmt: skip
    assert route(Watched(), "reversible", write_ahead="effects") == ["opened", "sync", "agent", "closed end"]
    assert route(Watched(), "read_only", [looks, acts], write_ahead="effects") == [
        "agent", "looks", "opened+asked+answered+asked", "sync", "acts", "answered", "closed end",
    ]  # fmt: skip


def test_a_parent_is_in_the_log_before_its_child() -> None:
    """Also with write_ahead="effects": a parent link never leads to an execution without a trace."""
    store = Watched()
    assert route(store, "read_only", [asks], write_ahead="effects")[:2] == ["agent", "opened+asked"]
    kinds = [(entry.kind, entry.execution) for entry in store.entries(store.resolve("@last~1"))]
    assert kinds[0][0] == "opened"
    child = store.get(store.resolve("@last"))
    assert child.parent is not None and child.parent.execution == kinds[0][1]


def test_a_refusal_is_one_append() -> None:
    """Nobody is called, so nothing has to be in the log before."""
    store = Watched()
    IntentusRuntime(store=store).route("nobody")
    assert store.events == ["opened+closed end"]


def test_a_fallback_is_announced_before_it_is_called() -> None:
    """The next attempt, and how the last one ended, are in the log before the next agent is called."""
    store = Watched()
    runtime = IntentusRuntime(store=store)

    def fails() -> None:
        store.events.append("first")
        raise ValueError("no")

    runtime.agent("first", handles="x", rank=0, side_effect="read_only")(fails)
    runtime.agent("second", handles="x", rank=1)(lambda: store.events.append("second"))
    assert runtime.route("x", strategy="fallback").ok
    assert store.events == ["opened", "first", "answered+asked", "sync", "second", "closed end"]


@pytest.mark.parametrize("strategy", ["parallel", "broadcast"])
def test_all_parallel_attempts_are_announced_before_one_is_called(strategy: str) -> None:
    """The first line announces all attempts, and is on disk if any of them acts."""
    store = Watched()
    assert runtime_of(store).route("all", strategy=strategy).ok
    assert store.events[:2] == ["opened", "sync"]
    assert set(store.events[2:5]) <= {"read_only", "reversible", "irreversible", "answered"}
    assert store.events[-1].endswith("closed end")


STEPS = [acts, tells, looks, asks, acts]


@pytest.mark.parametrize("write_ahead", ["calls", "effects"])
@pytest.mark.parametrize("side_effect", ["read_only", "reversible"])
@pytest.mark.parametrize(
    "fault", [lambda: StoreWriteFailed("the disk is full"), lambda: OSError("foreign store")]
)
def test_a_write_that_fails_ends_the_execution(side_effect: str, write_ahead: str, fault: Any) -> None:
    """Whichever append fails, route raises it and nothing is called after it, whatever the agent swallows."""

    def swallowing(step: Callable[..., Any]) -> Callable[..., Any]:
        def swallows(ctx: Context, store: Watched) -> None:
            with suppress(Exception):
                step(ctx, store)

        return swallows

    whole = Watched()
    route(whole, side_effect, STEPS, write_ahead=write_ahead)
    for number in range(whole.appends):
        store = Watched(number, fault)
        with pytest.raises(type(fault())):
            route(store, side_effect, [swallowing(step) for step in STEPS], write_ahead=write_ahead)
        after = store.events[store.events.index("failed") + 1 :]
        assert set(after) <= {"told"}, (number, store.events)
        assert store.verify().ok


@pytest.mark.parametrize("strategy", ["parallel", "broadcast"])
def test_a_write_that_fails_ends_concurrent_attempts(strategy: str) -> None:
    """In threads too, a failed write is what the caller is told, and no end is written."""
    for number in range(3):
        store = Watched(number)
        with pytest.raises(StoreWriteFailed):
            runtime_of(store).route("all", strategy=strategy)
        assert not any("closed" in event for event in store.events)


def test_a_sync_that_fails_ends_the_execution() -> None:
    """If it cannot be known that the announcement is on disk, the effect is not called."""

    class Unsynced(Watched):
        def sync(self) -> None:
            raise StoreWriteFailed("no sync")

    store = Unsynced()
    with pytest.raises(StoreWriteFailed):
        route(store, "read_only", [acts, looks])
    assert "acts" not in store.events and "looks" not in store.events


def test_ctrl_c_in_an_effect_leaves_an_interrupted_record() -> None:
    """KeyboardInterrupt passes through agent and router, and the record has no end."""
    store = Watched()

    def interrupted(ctx: Context, store: Watched) -> None:
        def stop() -> None:
            raise KeyboardInterrupt

        ctx.effect("stop", stop)

    with pytest.raises(KeyboardInterrupt):
        route(store, "reversible", [interrupted])
    record = store.get(store.resolve("@last"))
    assert record.status == "interrupted" and record.questions[-1].answer is None


@pytest.mark.parametrize("strategy", ["direct", "fallback", "parallel", "broadcast"])
def test_ctrl_c_in_an_agent_leaves_an_interrupted_record(strategy: str) -> None:
    """KeyboardInterrupt of an agent reaches the caller under every strategy."""
    store = Watched()
    runtime = IntentusRuntime(store=store)

    def stop() -> None:
        raise KeyboardInterrupt

    runtime.agent("a", handles="x")(stop)
    runtime.agent("b", handles="x")(lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        runtime.route("x", strategy=strategy)
    assert store.get(store.resolve("@last")).status == "interrupted"


def test_ctrl_c_during_a_write_is_final() -> None:
    """After an interrupted append nobody knows what is written, so an agent that goes on writes no more."""
    store = Watched(1, KeyboardInterrupt)

    def stubborn(ctx: Context, store: Watched) -> None:
        for _ in range(2):
            with suppress(KeyboardInterrupt):
                ctx.effect("acts", lambda: store.events.append("acts"))

    with pytest.raises(KeyboardInterrupt):
        route(store, "read_only", [stubborn])
    assert store.events == ["opened", "agent", "failed"]


# --- late threads ---


@pytest.mark.parametrize("gap", ["asked_body", "answered_body"])
def test_nothing_follows_the_end(monkeypatch: pytest.MonkeyPatch, gap: str) -> None:
    """A thread that an agent leaves behind is unwound, even if it is about to write at the end."""
    store, here, closed = MemoryExecutionStore(), threading.Event(), threading.Event()
    unwound: list[type[BaseException]] = []
    original = getattr(live, gap)

    def slow(question: Any, *args: Any, **kwargs: Any) -> Any:
        told = original(question, *args, **kwargs)
        if question.name == "late":
            here.set()
            assert closed.wait(10)
        return told

    monkeypatch.setattr(live, gap, slow)
    runtime = IntentusRuntime(store=store)
    threads = []

    @runtime.agent("a", handles="x", side_effect="read_only")
    def a(ctx: Context) -> None:
        def late() -> None:
            try:
                ctx.effect("late", lambda: 1)
            except BaseException as fault:  # noqa: BLE001 - the signal, which nothing less may swallow
                unwound.append(type(fault))

        threads.append(threading.Thread(target=late))
        threads[0].start()
        assert here.wait(10)

    response = runtime.route("x")
    closed.set()
    threads[0].join()
    assert unwound == [BranchCancelled]
    assert store.entries(response.execution_id)[-1].kind == "closed"
    assert store.verify().ok


# --- deadlines ---


def test_no_agent_is_called_after_the_deadline() -> None:
    """Attempts after the deadline are refused and recorded as such, and replay to the same."""
    clock = ManualClock()
    runtime = IntentusRuntime(store=MemoryExecutionStore(), clock=clock)
    called = []

    def takes_long(name: str) -> Callable[[], None]:
        def agent() -> None:
            called.append(name)
            clock.advance(10)
            raise ValueError("no")

        return agent

    for rank, name in enumerate("abc"):
        runtime.agent(name, handles="x", rank=rank)(takes_long(name))
    response = runtime.route("x", strategy="fallback", timeout=5)
    assert called == ["a"]
    assert [a.error.code for a in response.attempts if a.error] == [
        "AGENT_ERROR",
        "AGENT_TIMEOUT",
        "AGENT_TIMEOUT",
    ]
    record = runtime.store.get(response.execution_id)
    assert record.response == response
    assert runtime.replay(record).verdict is Verdict.MATCH
    assert called == ["a", "a"]


@pytest.mark.parametrize("strategy", ["direct", "parallel", "broadcast"])
@pytest.mark.parametrize("store", [MemoryExecutionStore, lambda: None])
def test_a_deadline_that_has_passed_is_an_answer(strategy: str, store: Any) -> None:
    """Under every strategy, recorded or not, the caller is told that nobody was called in time."""
    clock = ManualClock()
    runtime = IntentusRuntime(store=store(), clock=clock)
    for name in "ab":
        runtime.agent(name, handles="x")(lambda: 1)
    envelope = runtime.envelope("x", strategy=strategy, timeout=1)
    clock.advance(2)
    response = runtime.router.route_intent(envelope)
    assert response.error is not None and response.error.code == "AGENT_TIMEOUT"
    if runtime.store is not None:
        assert runtime.replay(response.execution_id).verdict is Verdict.MATCH
