"""`Context.patched`: old records take the old branch, new ones the new one, and both replay to match."""

from typing import Any

import pytest
from helpers.recordings import recorded, value

from intentusnet import Context, IntentusRuntime, MemoryExecutionStore, Verdict
from intentusnet.errors import InvalidInput


class Versions:
    """One agent in three versions: before a change, with `patched`, and after the old branch has gone."""

    def __init__(self) -> None:
        self.version = "before"
        self.runtime = IntentusRuntime(store=MemoryExecutionStore())
        self.runtime.agent("a", handles="x")(self._agent)

    def _agent(self, ctx: Context) -> Any:
        match self.version:
            case "before":
                return ctx.effect("old", lambda: "old")
            case "patched":
                name = "new" if ctx.patched("change") else "old"
                return ctx.effect(name, lambda: name)
            case "kept":
                ctx.patched("change")
                return ctx.effect("new", lambda: "new")
        return ctx.effect("new", lambda: "new")

    def record(self, version: str) -> str:
        self.version = version
        return self.runtime.route("x").execution_id

    def replay(self, execution: str, version: str) -> list[tuple[str, str]]:
        self.version = version
        report = self.runtime.replay(execution)
        assert (report.verdict is Verdict.MATCH) is (report.divergences == ())
        return [(d.kind.value, d.question) for d in report.divergences]


def test_old_records_take_the_old_branch_and_new_ones_the_new() -> None:
    """With `patched` around a change, records from before it and after it both match."""
    versions = Versions()
    old, new = versions.record("before"), versions.record("patched")
    assert versions.replay(old, "patched") == []
    assert versions.replay(new, "patched") == []
    assert versions.runtime.route("x").payload == "new"


def test_the_patch_is_on_record_as_a_question() -> None:
    """An execution of now answers yes, once in a scope however often it asks."""

    def agent(ctx: Context) -> Any:
        told = [ctx.patched("change"), ctx.patched("change"), ctx.patched("other")]
        return told + ctx.gather(lambda: ctx.patched("change"))

    response, record = recorded(agent)
    assert response.payload == [True] * 4
    asked = sorted((q.scope, q.name) for q in record.questions if q.kind == "patched")
    assert asked == [("attempt:0", "change"), ("attempt:0", "other"), ("attempt:0/gather:0.0", "change")]


def test_the_old_branch_may_go_as_long_as_the_call_stays() -> None:
    """With the call kept, records with the patch match; those from before it diverge, as they must."""
    versions = Versions()
    old, new = versions.record("before"), versions.record("patched")
    assert versions.replay(new, "kept") == []
    assert [kind for kind, _ in versions.replay(old, "kept")] == ["unexpected"]


def test_a_patch_that_is_taken_out_is_missing() -> None:
    """Without the call, a record that names the patch diverges with `missing`."""
    versions = Versions()
    new = versions.record("patched")
    assert versions.replay(new, "after") == [("missing", "patched change [0]")]


def test_an_old_record_answers_no_at_each_place() -> None:
    """A patch in a loop, in branches and behind other questions is answered no throughout an old replay."""
    patched = False

    def agent(ctx: Context) -> Any:
        def step(number: int) -> Any:
            if patched and ctx.patched("change"):
                return "new"
            return ctx.effect("f", int, number)

        return [[step(number) for number in range(3)], ctx.map(step, range(3)), step(9)]

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    old = runtime.route("x")
    patched = True
    assert runtime.replay(old.execution_id).verdict is Verdict.MATCH
    assert runtime.route("x").payload == [["new"] * 3, ["new"] * 3, "new"]


def test_inside_an_effect_every_patch_is_there() -> None:
    """The code of an effect is never replayed, so it is always that of now; nothing is recorded of it."""

    def agent(ctx: Context) -> Any:
        return [ctx.effect("f", lambda: ctx.patched("change")), ctx.patched("change")]

    response, record = recorded(agent)
    assert response.payload == [True, True]
    assert [q.kind for q in record.questions] == ["agent", "effect", "patched"]


@pytest.mark.parametrize("patch", [None, 5, "\ud800", ["a"]])
def test_a_patch_needs_a_name_of_text(patch: Any) -> None:
    """A name that cannot be written is refused."""

    def agent(ctx: Context) -> bool:
        with pytest.raises(InvalidInput, match="must be text"):
            ctx.patched(patch)
        return ctx.patched("change")

    assert value(agent) is True
