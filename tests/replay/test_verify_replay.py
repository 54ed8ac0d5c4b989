"""A runtime that verifies its own records: it says at once that one does not replay, and only then."""

import itertools
import time
import warnings
from pathlib import Path

import pytest

from intentusnet import AgentFailure, Context, IntentusRuntime, MemoryExecutionStore, ReplayWarning
from intentusnet.errors import ConfigurationError
from tests.helpers.runtimes import runtime_of


def verifying() -> IntentusRuntime:
    return runtime_of(verify_replay=True)


def test_a_faithful_agent_is_not_warned_about() -> None:
    """An agent that asks its context for all that it wants makes no warning, whatever the strategy."""
    runtime = verifying()

    @runtime.agent("failing", handles="x", side_effect="read_only")
    def failing() -> None:
        raise AgentFailure("no")

    @runtime.agent("asking", handles="x", rank=1, side_effect="read_only")
    def asking(ctx: Context) -> list[object]:
        return [ctx.now(), ctx.uuid(), ctx.random.random(), ctx.effect("clock", time.time)]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for strategy in ("direct", "fallback", "parallel", "broadcast"):
            runtime.route("x", strategy=strategy)
        runtime.route("nobody.handles.this")


def test_a_hidden_source_is_warned_about_at_the_call() -> None:
    """An agent that reads a clock by itself is warned about, at the line that routed, with what to do."""
    runtime = verifying()
    ticks = itertools.count()

    @runtime.agent("hidden", handles="x", side_effect="read_only")
    def hidden() -> int:
        return next(ticks)

    with pytest.warns(ReplayWarning) as told:
        response = runtime.route("x")
    text = str(told[0].message)
    assert Path(told[0].filename) == Path(__file__)
    assert response.payload == 0
    assert response.execution_id in text
    assert "outcome, attempt:0" in text
    assert "test_verify_replay.py:" in text
    assert "intentusnet doctor" in text


def test_children_are_verified_too() -> None:
    """A child execution that does not replay is warned about by its own id, and its parent is not."""
    runtime = verifying()
    ticks = itertools.count()

    @runtime.agent("child", handles="child", side_effect="read_only")
    def child() -> int:
        return next(ticks)

    @runtime.agent("parent", handles="parent", side_effect="read_only")
    def parent(ctx: Context) -> str:
        return ctx.route("child").execution_id[:0]

    with pytest.warns(ReplayWarning) as told:
        response = runtime.route("parent")
    assert runtime.store is not None
    (child_id,) = runtime.store.get(response.execution_id).children
    assert len(told) == 1
    assert child_id in str(told[0].message)


def test_envelopes_are_verified_too() -> None:
    """What goes to the router as an envelope is verified like what goes to `route`."""
    runtime = verifying()
    ticks = itertools.count()
    runtime.agent("hidden", handles="x")(lambda: next(ticks))
    with pytest.warns(ReplayWarning):
        runtime.router.route_intent(runtime.envelope("x"))


def test_an_irreversible_agent_runs_once() -> None:
    """Verifying runs no agent again whose body cannot be undone."""
    runtime = verifying()
    calls = []
    runtime.agent("once", handles="x", side_effect="irreversible")(lambda: calls.append(1))
    runtime.route("x")
    assert calls == [1]


def test_an_agents_touch_is_stopped_and_told(tmp_path: Path) -> None:
    """An agent that writes a file behind its context's back writes it once, and is warned about."""
    runtime = verifying()
    path = tmp_path / "written"

    @runtime.agent("writing", handles="x")
    def writing() -> None:
        with path.open("a") as file:
            file.write("once\n")

    with pytest.warns(ReplayWarning, match="unexpected"):
        runtime.route("x")
    assert path.read_text() == "once\n"


def test_a_warning_can_be_an_error() -> None:
    """With warnings as errors `route` raises, after the execution has been recorded."""
    runtime = verifying()
    ticks = itertools.count()
    runtime.agent("hidden", handles="x")(lambda: next(ticks))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReplayWarning)
        with pytest.raises(ReplayWarning):
            runtime.route("x")
    assert runtime.store is not None
    assert [row.status for row in runtime.store.list().rows] == ["success"]


def test_it_goes_with_a_runtime_that_is_configured_anew() -> None:
    """`configure` keeps it, and without a store it is refused."""
    runtime = verifying()
    ticks = itertools.count()
    runtime.agent("hidden", handles="x")(lambda: next(ticks))
    with pytest.warns(ReplayWarning):
        runtime.configure(store=MemoryExecutionStore()).route("x")
    with pytest.raises(ConfigurationError, match="verify_replay needs records"):
        IntentusRuntime(verify_replay=True)
