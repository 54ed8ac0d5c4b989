"""The digest of the configuration: what it covers, what it does not, and who compares it."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from intentusnet import ExecutionRecord, IntentusRuntime, Limits, MemoryExecutionStore, Retry, Verdict
from intentusnet.capture import Redaction, capture


def runtime_of(agent: dict[str, Any] | None = None, **options: Any) -> IntentusRuntime:
    runtime = IntentusRuntime(**{"store": MemoryExecutionStore(), **options})
    runtime.agent("a", **{"handles": "x", "side_effect": "read_only", **(agent or {})})(echo)
    return runtime


def echo(payload: Any) -> Any:
    return payload


def recorded(runtime: IntentusRuntime) -> ExecutionRecord:
    assert runtime.store is not None
    return runtime.store.get(runtime.route("x", 1).execution_id)


def config_of(runtime: IntentusRuntime) -> str:
    return str(recorded(runtime).environment["config"])


OTHERS: dict[str, Callable[[], IntentusRuntime]] = {
    "write_ahead": lambda: runtime_of(write_ahead="effects"),
    "max_depth": lambda: runtime_of(max_depth=3),
    "max_abandoned": lambda: runtime_of(max_abandoned=3),
    "max_workers": lambda: runtime_of(max_workers=3),
    "max_payload_bytes": lambda: runtime_of(max_payload_bytes=1000),
    "max_payload_depth": lambda: runtime_of(max_payload_depth=3),
    "limits": lambda: runtime_of(limits=Limits(retry=Retry(attempts=2))),
    "limits of an agent": lambda: runtime_of({"limits": Limits(retry=Retry(attempts=2))}),
    "capture": lambda: runtime_of(capture=["clock"]),
    "other captures": lambda: runtime_of(capture=["clock", "chance"]),
    "headers": lambda: runtime_of(capture=capture("clock", headers=["x-tenant"])),
    "secret keys": lambda: runtime_of(capture=capture("clock", redaction=Redaction(keys=["pin"]))),
    "secret headers": lambda: runtime_of(capture=capture("clock", redaction=Redaction(headers=["x-pin"]))),
    "secret patterns": lambda: runtime_of(
        capture=capture("clock", redaction=Redaction(patterns=["[0-9]{4}"]))
    ),
    "timeout": lambda: runtime_of({"timeout": 60.0}),
    "isolation": lambda: runtime_of({"isolation": "thread"}),
    "rank": lambda: runtime_of({"rank": 1}),
    "handles": lambda: runtime_of({"handles": "x@>=1"}),
    "idempotent": lambda: runtime_of({"idempotent": True}),
    "version": lambda: runtime_of({"version": "2.0"}),
}


def test_each_setting_makes_a_configuration_of_its_own() -> None:
    """What can change what an execution comes to is in the digest, each by itself."""
    digests = {"none": config_of(runtime_of())} | {name: config_of(made()) for name, made in OTHERS.items()}
    assert len(set(digests.values())) == len(digests), digests


@pytest.mark.parametrize("name", OTHERS)
def test_only_a_strict_replay_compares_it(name: str) -> None:
    """A record that another configuration made matches, unless all of the environment is to be the same."""
    record = recorded(runtime_of())
    found = OTHERS[name]().replay(record, strictness="strict").divergences
    assert ("environment", "/config") in [(d.kind.value, d.pointer) for d in found]
    again = runtime_of().replay(recorded(OTHERS[name]()))
    assert "environment" not in [d.kind.value for d in again.divergences]


def test_what_changes_nothing_is_not_in_it() -> None:
    """Equal settings are one configuration: in any order, in another runtime, wherever the records go."""
    same = [
        runtime_of(),
        runtime_of({"description": "says what it says"}),
        runtime_of(verify_replay=True),
        runtime_of().configure(store=MemoryExecutionStore(), policy={"default": "allow", "rules": []}),
    ]
    others = runtime_of()
    others.agent("b", handles="y")(echo)
    assert {config_of(runtime) for runtime in [*same, others]} == {config_of(same[0])}
    named = [runtime_of(capture=names) for names in (["clock", "chance"], ["chance", "clock"])]
    assert config_of(named[0]) == config_of(named[1])


def test_it_is_the_digest_that_the_format_describes() -> None:
    """Anybody can make it from the settings, with a JSON library and SHA-256."""
    agent = {
        "capabilities": [{"intent": "x", "versions": "*"}],
        "idempotent": False, "isolation": "inline", "limits": None, "name": "a", "rank": 0, "remote": False,
        "side_effect": "read_only", "timeout": None, "version": "1.0",
    }  # fmt: skip
    settings = {
        "capture": None, "limits": None, "max_abandoned": 16, "max_depth": 16,
        "max_payload_bytes": 16 * 2**20, "max_payload_depth": 64, "max_workers": 32, "write_ahead": "calls",
    }  # fmt: skip
    text = json.dumps({"agents": [agent], "runtime": settings}, sort_keys=True, separators=(",", ":"))
    assert config_of(runtime_of()) == hashlib.sha256(text.encode()).hexdigest()


def test_a_record_without_it_is_compared_without_it() -> None:
    """Records that are older than the digest match strictly, and one of another configuration does not."""
    runtime = runtime_of()
    record = recorded(runtime)
    assert runtime.replay(record, strictness="strict").verdict is Verdict.MATCH
    environment: Any = record.environment
    del environment["config"]
    assert runtime.replay(record, strictness="strict").verdict is Verdict.MATCH


def test_a_runtime_without_agents_does_not_compare_theirs() -> None:
    """Policy and plan can be decided from a record alone; what the agents were is not known then."""
    record = recorded(runtime_of({"timeout": 60.0}))
    report = IntentusRuntime().replay(record, strictness="strict", depth="routing")
    assert report.verdict is Verdict.MATCH


def test_versions_of_one_name_have_a_digest_each() -> None:
    """A plan that names two of them says which source each was."""
    runtime = runtime_of({"version": "1.0"})

    @runtime.agent("a", handles="x", version="2.0", side_effect="read_only")
    def broken() -> None:
        raise RuntimeError("new, and broken")

    response = runtime.route("x", 1, strategy="fallback", fallback=["a", "a@<2"])
    assert response.payload == 1 and runtime.store is not None
    old, new = (runtime.registry.catalog.find(f"a@=={n}", "x", "1.0") for n in (1, 2))
    assert old is not None and new is not None
    record = runtime.store.get(response.execution_id)
    assert record.environment["agents"] == {"a": new.digest, "a@1.0": old.digest}
    assert runtime.replay(record, strictness="strict").verdict is Verdict.MATCH
