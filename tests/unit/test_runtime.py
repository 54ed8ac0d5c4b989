"""The runtime: what it is made of, and what it refuses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from intentusnet import (
    FileExecutionStore,
    IntentEnvelope,
    IntentusRuntime,
    ManualClock,
    MemoryExecutionStore,
    SeededIds,
    Verdict,
)
from intentusnet.errors import (
    ConfigurationError,
    InvalidInput,
    InvalidPolicy,
    StoreWriteFailed,
    UnrecordableValue,
)
from intentusnet.policy import NO_POLICY, compile_policy, parse_policy

DENY = {"default": "deny"}


def test_a_store_may_be_a_directory_an_object_or_none(tmp_path: Path) -> None:
    """A path makes a FileExecutionStore; without a store nothing is recorded, and there is no fingerprint."""
    with IntentusRuntime(store=str(tmp_path / "a")) as runtime:
        runtime.agent("a", handles="x")(lambda: 1)
        response = runtime.route("x")
        assert isinstance(runtime.store, FileExecutionStore)
        assert runtime.store.get(response.execution_id).response == response
        assert runtime.replay(response.execution_id).verdict is Verdict.MATCH
    with pytest.raises(StoreWriteFailed):
        runtime.route("x")
    with IntentusRuntime() as without:
        without.agent("a", handles="x")(lambda: 1)
        assert without.store is None and without.route("x").fingerprint is None


def test_a_policy_may_be_given_in_every_form(tmp_path: Path) -> None:
    """Nothing, parsed content, a source, a compiled policy, a file by its path or name."""
    file = tmp_path / "policy.toml"
    file.write_text('default = "deny"\n')
    source = parse_policy(DENY, "here")
    for policy in (DENY, source, compile_policy(source), file, str(file)):
        runtime = IntentusRuntime(policy=policy)
        runtime.agent("a", handles="x")(lambda: 1)
        error = runtime.route("x").error
        assert error is not None and error.code == "POLICY_DENIAL"
        assert runtime.policy.digest == compile_policy(source).digest
    assert IntentusRuntime().policy is NO_POLICY
    with pytest.raises(InvalidPolicy):
        IntentusRuntime(policy={"default": "perhaps"})


@pytest.mark.parametrize("options", [{"write_ahead": "never"}, {"max_depth": -1}])
def test_other_arguments_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    """With what would have been right."""
    with pytest.raises(ConfigurationError, match="makes no sense"):
        IntentusRuntime(**options)


def test_an_unknown_durability_is_refused() -> None:
    """Before anything is called."""
    with pytest.raises(InvalidInput, match="durability"):
        IntentusRuntime().route("x", durability="tape")  # type: ignore[arg-type]  # that is what is tested


def test_a_payload_that_cannot_be_recorded_is_refused() -> None:
    """With its path, and before anything is called or written."""
    store = MemoryExecutionStore()
    runtime = IntentusRuntime(store=store)
    runtime.agent("a", handles="x")(lambda: 1)
    with pytest.raises(UnrecordableValue) as caught:
        runtime.route("x", {"a": [object()]})
    assert caught.value.where == "/a/0"
    with pytest.raises(UnrecordableValue):
        runtime.router.route_intent(IntentEnvelope(intent="x", payload=object()))
    assert store.list().rows == ()


def test_models_and_dataclasses_stand_for_their_fields() -> None:
    """A payload may be handed over as what the agent declares."""

    @dataclass
    class Order:
        amount: int

    class Model(BaseModel):
        amount: int

    runtime = IntentusRuntime()
    runtime.agent("a", handles="x")(lambda payload: payload)
    assert (
        runtime.route("x", Order(1)).payload == runtime.route("x", Model(amount=1)).payload == {"amount": 1}
    )


def test_configure_keeps_the_agents_and_changes_the_rest() -> None:
    """Another store or policy, the same agents, clock and ids."""
    runtime = IntentusRuntime(store=MemoryExecutionStore(), clock=ManualClock(), ids=SeededIds())
    runtime.agent("a", handles="x")(lambda: 1)
    assert runtime.configure().store is runtime.store
    other = runtime.configure(store=MemoryExecutionStore(), policy=DENY)
    assert other.store is not runtime.store and other.clock is runtime.clock and other.ids is runtime.ids
    assert not other.route("x").ok and runtime.route("x").ok
    assert [agent.name for agent in other.registry.agents()] == ["a"]


def test_a_plan_calls_and_records_nothing() -> None:
    """Who would be called, and why."""
    store, called = MemoryExecutionStore(), []
    runtime = IntentusRuntime(store=store, policy={"default": "allow"})
    runtime.agent("a", handles="x")(lambda: called.append(1))
    plan = runtime.plan(runtime.envelope("x"))
    assert plan.tree() == {
        "candidates": [
            {
                "agent": "a",
                "allowed": True,
                "cause": "default",
                "idempotent": False,
                "remote": False,
                "rule": None,
                "side_effect": "reversible",
                "version": "1.0",
            }
        ],
        "steps": ["a"],
        "strategy": "direct",
    }
    assert not called and store.list().rows == ()


def test_the_environment_names_what_ran() -> None:
    """Digests of the candidates and the policy; remembered, and with a bound."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    for number in range(3):
        runtime.agent(f"a{number}", handles=f"x{number}")(lambda: 1)
    records = [runtime.store.get(runtime.route(f"x{n % 3}").execution_id) for n in range(6)]
    assert [sorted(r.environment["agents"]) for r in records] == [["a0"], ["a1"], ["a2"]] * 2
    assert records[0].environment == records[3].environment
    assert records[0].environment["policy"] == runtime.policy.digest


def test_the_environments_that_are_remembered_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it the memory starts afresh, and nothing is lost."""
    monkeypatch.setattr("intentusnet.replay.environment._REMEMBERED", 1)
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    for name in ("a", "b"):
        runtime.agent(name, handles=name)(lambda: 1)
    assert all(runtime.route(name).ok for name in ("a", "b", "a"))


def test_runs_with_given_time_and_ids_are_equal() -> None:
    """With an injected clock and ids, two runs give the same ids, times and fingerprints."""

    def told() -> Any:
        clock = ManualClock(step_us=5)
        runtime = IntentusRuntime(
            store=MemoryExecutionStore(clock=clock), clock=clock, ids=SeededIds(1), environ={}
        )
        runtime.agent("a", handles="x")(lambda ctx: [ctx.now(), ctx.uuid(), ctx.random.random()])
        response = runtime.route("x")
        record = runtime.store.get(response.execution_id)
        return response, [(entry.kind, entry.ts, entry.execution) for entry in record.entries]

    assert told() == told()
