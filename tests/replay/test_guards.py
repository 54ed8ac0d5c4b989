"""Guards on record: a replay asks none, what one has said holds, and what goes on asks only the others."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.forging import Bodies, forged
from helpers.runtimes import fails, gives

from intentusnet import (
    Context,
    FileExecutionStore,
    IntentEnvelope,
    IntentusRuntime,
    MemoryExecutionStore,
    Refused,
    Verdict,
)
from intentusnet.errors import IntegrityBroken

STRATEGIES = ["direct", "fallback", "parallel", "broadcast"]
READS: dict[str, Any] = {"side_effect": "read_only"}


class Guard:
    def __init__(self, name: str, fault: BaseException | None = None) -> None:
        self.name = name
        self.fault = fault
        self.asked = 0

    def before(self, envelope: IntentEnvelope) -> None:
        self.asked += 1
        if self.fault is not None:
            raise self.fault


def agents_of(runtime: IntentusRuntime) -> IntentusRuntime:
    runtime.agent("first", handles="x", rank=0)(fails("full"))
    runtime.agent("second", handles="x", rank=1)(gives(1))
    return runtime


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = MemoryExecutionStore() if request.param == "memory" else FileExecutionStore(tmp_path / "store")
    yield made
    made.close()


def verdicts(runtime: IntentusRuntime, execution_id: str) -> list[tuple[str, bytes | None]]:
    assert runtime.store is not None
    questions = runtime.store.get(execution_id).questions
    return [(q.name, q.answer and q.answer.data) for q in questions if q.scope == "admission"]


PASSED = b'{"admitted":true}'

#: The guards of the runtime that replays, in place of one that was called "door".
CHANGED: dict[str, Callable[[], list[Guard]]] = {
    "the same": lambda: [Guard("door")],
    "none": list,
    "refuses now": lambda: [Guard("door", Refused("now"))],
    "fails now": lambda: [Guard("door", SystemExit())],
    "another": lambda: [Guard("other", Refused("other"))],
    "more": lambda: [Guard("new", Refused("new")), Guard("door"), Guard("last", Refused("last"))],
}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("changed", CHANGED)
def test_whatever_the_guards_are_now_a_record_replays(
    store: Any, strategy: str, refuses: bool, changed: str
) -> None:
    """No guard is asked, and a recorded refusal stays one; sync, async, nested and at every depth."""
    door = Guard("door", Refused("then") if refuses else None)
    runtime = agents_of(IntentusRuntime(store=store, hooks=[door]))
    response = runtime.route("x", strategy=strategy)
    assert asyncio.run(runtime.route_async("x", strategy=strategy)).fingerprint == response.fingerprint
    guards = CHANGED[changed]()
    other = agents_of(IntentusRuntime(store=store, hooks=guards))
    for depth in ("agents", "routing", "live"):
        report = other.replay(response.execution_id, depth=depth, nested=True)
        assert report.verdict is Verdict.MATCH, (depth, report)
    assert asyncio.run(other.replay_async(response.execution_id)).verdict is Verdict.MATCH
    bare = IntentusRuntime(hooks=guards).replay(store.get(response.execution_id), depth="routing")
    assert bare.verdict is Verdict.MATCH, bare
    assert [guard.asked for guard in guards] == [0] * len(guards)
    assert response.ok is not refuses or strategy == "direct"


def test_each_verdict_is_on_record(store: Any) -> None:
    """Who let it in, and who did not: by name, in the order of asking, before any call."""
    runtime = agents_of(IntentusRuntime(store=store, hooks=[Guard("a"), Guard("b")]))
    response = runtime.route("x", strategy="fallback")
    assert verdicts(runtime, response.execution_id) == [("guard:a", PASSED), ("guard:b", PASSED)]
    kinds = [question.kind for question in store.get(response.execution_id).questions]
    assert kinds == ["admission", "admission", "agent", "agent"]
    refusing = agents_of(
        IntentusRuntime(store=store, hooks=[Guard("a"), Guard("b", Refused("no")), Guard("c")])
    )
    refused = refusing.route("x")
    (first, second) = verdicts(refusing, refused.execution_id)
    assert first == ("guard:a", PASSED)
    assert second[0] == "guard:b" and second[1] is not None and b'"admitted":false' in second[1]
    assert store.verify().ok


def test_the_verdict_is_on_disk_before_an_agent_acts(tmp_path: Path) -> None:
    """Whoever finds an agent's call in the log finds there who has let it in."""
    store = FileExecutionStore(tmp_path / "store")
    seen: list[bytes] = []
    with IntentusRuntime(store=store, hooks=[Guard("door")]) as runtime:

        @runtime.agent("agent", handles="x", side_effect="irreversible")
        def agent() -> None:
            seen.extend(path.read_bytes() for path in (tmp_path / "store" / "log").iterdir())

        runtime.route("x")
    assert b"guard:door" in seen[0] and b'"admitted":true' in seen[0]


def test_without_guards_a_record_is_what_it_was(store: Any) -> None:
    """Observers leave no trace in it."""

    class Observes:
        def on_event(self, event: Any) -> None: ...

    plain = agents_of(IntentusRuntime(store=store)).route("x")
    observed = agents_of(IntentusRuntime(store=store, hooks=[Observes()])).route("x")
    assert plain.fingerprint == observed.fingerprint
    assert [len(store.get(one.execution_id).entries) for one in (plain, observed)] == [2, 2]


def test_verify_replay_takes_the_guards_word(store: Any) -> None:
    """Right after each execution, refused ones included, without a warning."""
    door = Guard("door")
    runtime = agents_of(IntentusRuntime(store=store, hooks=[door], verify_replay=True))
    for door.fault in (None, Refused("no")):
        runtime.route("x", strategy="fallback")
        asyncio.run(runtime.route_async("x", strategy="fallback"))
    assert door.asked == 4


# --- going on ---


def broken_off(store: Any, hooks: list[Guard], **options: Any) -> tuple[IntentusRuntime, str]:
    """An execution whose agent was interrupted after its first effect."""
    runtime = IntentusRuntime(store=store, hooks=hooks)
    breaks = [True]

    @runtime.agent("agent", handles="x", **READS)
    def agent(ctx: Context) -> Any:
        told = ctx.effect("one", gives(1))
        if breaks:
            breaks.clear()
            raise KeyboardInterrupt
        return told

    with pytest.raises(KeyboardInterrupt):
        runtime.route("x")
    (found,) = runtime.recover()
    return runtime, found.execution_id


def with_hooks(runtime: IntentusRuntime, hooks: list[Guard]) -> IntentusRuntime:
    other = IntentusRuntime(store=runtime.store, hooks=hooks)
    other.registry.copy(runtime.registry)
    return other


@pytest.mark.parametrize("changed", CHANGED)
def test_an_execution_that_has_called_somebody_is_let_in(store: Any, changed: str) -> None:
    """It is resumed whatever the guards are now: half of it is done already."""
    runtime, broken = broken_off(store, [Guard("door")])
    guards = CHANGED[changed]()
    response = with_hooks(runtime, guards).resume(broken)
    assert response.payload == 1
    assert [guard.asked for guard in guards] == [0] * len(guards)
    assert runtime.replay(broken).verdict is Verdict.MATCH


def test_an_execution_of_a_time_without_guards_is_let_in(store: Any) -> None:
    """It had been let in when there was no guard; a new one decides about new executions."""
    runtime, broken = broken_off(store, [])
    guard = Guard("new", Refused("new"))
    response = with_hooks(runtime, [guard]).resume(broken)
    assert (response.payload, guard.asked) == (1, 0)
    assert runtime.replay(broken).verdict is Verdict.MATCH


@pytest.mark.parametrize("refuses", [False, True])
def test_who_was_not_asked_before_a_break_is_asked_then(store: Any, refuses: bool) -> None:
    """An execution that broke off among its guards: those that have spoken are not asked again."""
    guards = [Guard("a"), Guard("b", KeyboardInterrupt()), Guard("c")]
    runtime = agents_of(IntentusRuntime(store=store, hooks=guards))
    with pytest.raises(KeyboardInterrupt):
        runtime.route("x", strategy="fallback")
    (found,) = runtime.recover()
    guards[1].fault = Refused("no") if refuses else None
    response = runtime.resume(found.execution_id)
    assert response.ok is not refuses
    assert [guard.asked for guard in guards[1:]] == [2, 0 if refuses else 1]
    assert runtime.replay(found.execution_id).verdict is Verdict.MATCH
    told = [name for name, _ in verdicts(runtime, found.execution_id)]
    assert told == ["guard:a", "guard:b", "guard:c"][: 2 if refuses else 3]
    assert store.verify().ok


def test_a_fork_is_another_execution_with_a_door_of_its_own(store: Any) -> None:
    """What guards have said is taken over; one that is new is asked, and may refuse."""
    door, new = Guard("door"), Guard("new")
    runtime = IntentusRuntime(store=store, hooks=[door])

    @runtime.agent("agent", handles="x", **READS)
    def agent(ctx: Context) -> Any:
        return ctx.effect("one", gives(1))

    response = runtime.route("x")
    forked = runtime.fork(response.execution_id, "attempt:0:0", 2)
    assert (forked.payload, door.asked) == (2, 1)
    assert verdicts(runtime, forked.execution_id) == [("guard:door", PASSED)]
    other = with_hooks(runtime, [new, Guard("door")])
    again = other.fork(response.execution_id, "attempt:0:0", 3)
    assert (again.payload, new.asked) == (3, 1)
    assert verdicts(other, again.execution_id) == [("guard:door", PASSED), ("guard:new", PASSED)]
    new.fault = Refused("no")
    refused = other.fork(response.execution_id, "attempt:0:0", 4)
    assert refused.error is not None and refused.error.message == "no"
    bare = with_hooks(runtime, []).fork(response.execution_id, "attempt:0:0", 5)
    assert bare.payload == 5
    for one in (forked, again, refused, bare):
        assert runtime.replay(one.execution_id).verdict is Verdict.MATCH


# --- forged ---


@pytest.mark.parametrize(
    "verdict",
    [{}, None, {"admitted": 1}, {"admitted": False}, {"admitted": False, "error": {}}, {"admitted": "yes"}],
    ids=str,
)
def test_what_is_no_verdict_is_no_record(verdict: Any) -> None:
    """Whoever forges one is refused when the record is read."""
    runtime = agents_of(IntentusRuntime(store=MemoryExecutionStore(), hooks=[Guard("door")]))
    response = runtime.route("x")
    assert runtime.store is not None
    record = runtime.store.get(response.execution_id)

    def change(bodies: Bodies) -> None:
        next(body for _, body in bodies if body.get("kind") == "admission")["value"] = verdict

    with pytest.raises(IntegrityBroken):
        forged(record, change)
