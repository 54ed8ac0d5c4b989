"""Limits in executions that break off, and in forks: verdicts on record hold, and what waited waits again."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.breaking import broken_off
from helpers.limited import Flaky, limited, verdicts
from helpers.runtimes import gives, replays

from intentusnet import (
    AgentFailure,
    Breaker,
    Concurrency,
    Context,
    IntentusRuntime,
    Limits,
    ManualClock,
    Rate,
    RecoveryRule,
    Retry,
    effect,
    values,
)
from intentusnet.errors import IntegrityBroken, RecordNotFound
from intentusnet.log.entry import Draft

AGAIN = Limits(retry=Retry(on=("AGENT_ERROR",), base=8, cap=8, attempts=3))


class Interrupting(ManualClock):
    """A clock that is interrupted when somebody waits by it, as Ctrl-C does, as often as it is told to."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.waited: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        if self.times:
            self.times -= 1
            raise KeyboardInterrupt
        super().sleep(seconds)


@pytest.mark.parametrize("side_effect", ["read_only", "irreversible"])
def test_what_broke_off_while_it_waited_for_a_retry_waits_again(side_effect: Any) -> None:
    """As long as it would have; and nothing is in doubt, because it raised and was not called again."""
    clock = Interrupting(2)
    runtime = limited(AGAIN, clock=clock)
    flaky = Flaky(runtime, a=["AGENT_ERROR", None])
    flaky.add("a", side_effect=side_effect)
    broken = broken_off(runtime)
    assert [(found.execution_id, found.rule) for found in runtime.recover()] == [
        (broken.execution_id, RecoveryRule.RESUME)
    ]
    with pytest.raises(KeyboardInterrupt):
        runtime.resume(broken.execution_id)
    response = runtime.resume(broken.execution_id)
    assert response.ok and flaky.called == ["a", "a"]
    delay = verdicts(runtime, response)["admission:0 retry"]["delay"] / 1_000_000_000
    assert clock.waited == [delay] * 3
    replays(runtime, response)


def test_what_was_waited_for_is_not_waited_for_again() -> None:
    """Retries whose answers are on record are over, whatever has been interrupted after them."""
    clock = Interrupting(0)
    runtime = limited(AGAIN, clock=clock)
    Flaky(runtime, a=["AGENT_ERROR"], b=["AGENT_ERROR"]).add("a", rank=0, side_effect="irreversible")
    breaks = [True]

    @runtime.agent("b", handles="x", rank=1, side_effect="read_only")
    def agent() -> str:
        if breaks.pop() if breaks else False:
            raise KeyboardInterrupt
        return "b"

    broken = broken_off(runtime, strategy="fallback")
    assert len(clock.waited) == 2
    response = runtime.resume(broken.execution_id)
    assert response.payload == "b" and len(response.attempts) == 4 and len(clock.waited) == 2
    replays(runtime, response)


def test_a_resumption_without_the_limits_goes_by_the_record() -> None:
    """What was to be repeated is; what comes then has no limits any more."""
    clock = Interrupting(1)
    before, after = limited(AGAIN, clock=clock), limited(clock=clock)
    for runtime in (before, after):
        Flaky(runtime, a=["AGENT_ERROR"]).add("a")
    broken = broken_off(before)
    assert before.store is not None
    response = after.configure(store=before.store).resume(broken.execution_id)
    assert [attempt.status for attempt in response.attempts] == ["error"] * 2
    replays(before, response)


@pytest.mark.parametrize("retry", [0, 1])
def test_a_call_that_broke_off_is_made_again_as_it_was_admitted(retry: int) -> None:
    """No token is taken for it once more: the verdict on record holds."""
    runtime = limited(clock=ManualClock())
    limits = Limits(retry=AGAIN.retry, rate=(Rate(per="agent", count=retry + 1, seconds=86_400),))
    breaks = [True]

    @effect(side_effect="read_only")
    def ask() -> str:
        if breaks.pop() if breaks else False:
            raise KeyboardInterrupt
        return "told"

    @runtime.agent("a", handles="x", side_effect="read_only", limits=limits)
    def agent(ctx: Context) -> str:
        if ctx._root.path == "attempt:0" and retry:
            raise AgentFailure("not yet")
        return ctx.effect("ask", ask)

    broken = broken_off(runtime)
    response = runtime.resume(broken.execution_id)
    assert response.payload == "told" and len(response.attempts) == retry + 1
    replays(runtime, response)


WAITING = """
import sys, threading
from intentusnet import Concurrency, IntentusRuntime, Limits
runtime = IntentusRuntime(store=sys.argv[1])
one = Limits(concurrency=Concurrency(limit=1, queue=1))
kind = sys.argv[2]
if kind == "execution":
    runtime = runtime.__class__(store=runtime.store, limits=one)
begun = threading.Event()
def agent(payload):
    begun.set()
    threading.Event().wait()
runtime.agent("a", handles="x", side_effect="irreversible", limits=one if kind == "agent" else None)(agent)
threading.Thread(target=runtime.route, args=("x", "holds"), daemon=True).start()
begun.wait()
threading.Thread(target=runtime.route, args=("x", "waits"), daemon=True).start()
gates = runtime._engine.gates
queue = gates.whole(0) or gates.gate(runtime.registry.get("a")).queue
while not queue.state.waiting:
    threading.Event().wait(0.001)
print("waits", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("kind", ["agent", "execution"])
def test_who_was_killed_in_a_queue_has_called_nobody(tmp_path: Path, kind: str) -> None:
    """It is not in doubt, unlike the one that had the place, and goes on."""
    process = subprocess.Popen([sys.executable, "-c", WAITING, tmp_path / "s", kind], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"waits\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with IntentusRuntime(store=tmp_path / "s") as runtime:
        runtime.agent("a", handles="x", side_effect="irreversible")(lambda payload: [payload])
        store: Any = runtime.store
        found = {store.get(one.execution_id).envelope.payload: one for one in runtime.recover()}
        # Its first entry was written before it waited; it has no other.
        assert {name: one.rule for name, one in found.items()} == {
            "holds": RecoveryRule.IN_DOUBT,
            "waits": RecoveryRule.RESUME,
        }
        response = runtime.resume(found["waits"].execution_id)
        assert response.payload == ["waits"]
        replays(runtime, response)


# --- forks ---


def forked_from() -> tuple[IntentusRuntime, Any, list[str]]:
    """An agent that fails, is repeated, and then says what it is told; and one that would follow it."""
    runtime = limited(AGAIN)
    called: list[str] = []

    @runtime.agent("a", handles="x", rank=0, side_effect="read_only")
    def agent(ctx: Context) -> str:
        called.append(ctx._root.path)
        if ctx._root.path == "attempt:0":
            raise AgentFailure("not yet")
        answer = ctx.effect("ask", lambda: "told")
        if answer == "fail":
            raise AgentFailure("as told")
        return answer

    runtime.agent("b", handles="x", rank=1, side_effect="read_only")(gives("b"))
    response = runtime.route("x", strategy="fallback")
    called.clear()
    return runtime, response, called


def test_a_fork_keeps_what_came_before_it() -> None:
    """The first call and its failure stay; only the repeated one is run again, and nobody waits."""
    runtime, response, called = forked_from()
    forked = runtime.fork(response.execution_id, "attempt:3:0", "otherwise")
    assert forked.payload == "otherwise" and called == ["attempt:3"]
    assert [a.status for a in forked.attempts] == ["error", "success"]
    before = verdicts(runtime, response)
    assert verdicts(runtime, forked) == before
    replays(runtime, forked)


def test_a_fork_goes_on_with_the_limits_of_now() -> None:
    """What fails after the other answer is repeated, then followed, as by any execution."""
    runtime, response, called = forked_from()
    forked = runtime.fork(response.execution_id, "attempt:3:0", "fail")
    assert forked.payload == "told" and called == ["attempt:3", "attempt:6"]
    assert [(a.agent, a.status) for a in forked.attempts] == [("a", "error")] * 2 + [("a", "success")]
    replays(runtime, forked)


def test_a_fork_does_not_keep_what_followed() -> None:
    """Whether a call is repeated that ends otherwise is decided anew: without limits, it is not."""
    runtime = limited()
    other = limited(store=runtime.store)
    for one, limits in ((runtime, AGAIN), (other, None)):

        @one.agent("a", handles="x", side_effect="read_only", limits=limits)
        def agent(ctx: Context) -> str:
            raise AgentFailure(ctx.effect("ask", lambda: "no"))

    response = runtime.route("x")
    assert len(response.attempts) == 3
    forked = other.fork(response.execution_id, "attempt:2:0", "never")
    assert [a.error.message for a in forked.attempts if a.error] == ["no", "never"]
    replays(other, forked)


def test_a_fork_gives_a_call_another_answer() -> None:
    """Then there is nothing to repeat."""
    runtime, response, called = forked_from()
    forked = runtime.fork(response.execution_id, ":0", "at once")
    assert forked.payload == "at once" and called == [] and len(forked.attempts) == 1
    replays(runtime, forked)


def test_a_verdict_itself_is_not_chosen() -> None:
    """Whoever wants another one gives the call another answer."""
    runtime, response, _ = forked_from()
    with pytest.raises(RecordNotFound):
        runtime.fork(response.execution_id, "admission:0:1", {"again": False, "delay": 0})


def test_a_fork_of_a_refused_call_can_be_answered() -> None:
    """What if it had been admitted: the answer is given in its place."""
    runtime = limited(
        Limits(rate=(Rate(per="agent", count=1),), breaker=Breaker(), concurrency=Concurrency(limit=2))
    )
    runtime.agent("a", handles="x")(gives("a"))
    runtime.route("x")
    refused = runtime.route("x")
    forked = runtime.fork(refused.execution_id, ":0", "let through")
    assert not refused.ok and forked.payload == "let through"
    replays(runtime, forked)


# --- what others write ---


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "admission:0", "kind": "effect", "name": "limits", "value": {"admitted": True}},
        {"scope": "attempt:0", "kind": "admission", "name": "limits", "value": {"admitted": True}},
        {"scope": "admission:0", "kind": "admission", "name": "limits", "value": {}},
        {"scope": "admission:0", "kind": "admission", "name": "limits", "value": {"admitted": 1}},
        {"scope": "admission:0", "kind": "admission", "name": "limits", "value": {"admitted": False}},
        {"scope": "admission:0", "kind": "admission", "name": "retry", "value": {"again": True}},
        {"scope": "admission:0", "kind": "admission", "name": "retry", "value": {"again": True, "delay": -1}},
        {
            "scope": "admission:0",
            "kind": "admission",
            "name": "retry",
            "value": {"again": True, "delay": 2**60},
        },
        {"scope": "admission:x", "kind": "admission", "name": "limits", "value": {"admitted": True}},
    ],
)
def test_a_forged_verdict_is_refused(body: dict[str, Any]) -> None:
    """Whatever reads a record relies on its form: who wrote it is unknown."""
    runtime = limited(clock=Interrupting(1))
    Flaky(runtime, a=["AGENT_ERROR", None]).add("a", limits=AGAIN)
    store, record = runtime.store, broken_off(runtime)
    place = {"question": 7, "arguments": {"args": [], "kwargs": {}}}
    data = values.dumps({**place, **body, "value": values.tree(body["value"])})
    assert store is not None
    store.append([Draft.make("answered", record.execution_id, data, ts=1, blobs=())], durability="os")
    with pytest.raises(IntegrityBroken, match="not of the recorded format"):
        store.get(record.execution_id)
