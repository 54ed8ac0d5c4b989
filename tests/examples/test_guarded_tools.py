"""The example of guarded tools: users get what they ask for, attackers do not, and the record says why."""

import asyncio
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from intentusnet import Caller, ExecutionStore, FileExecutionStore, IntentusRuntime, MemoryExecutionStore
from intentusnet.cli.app import cli
from intentusnet.policy import CompiledPolicy, compile_policy, load_policy, parse_policy
from intentusnet.policy.backtest import backtest

APP = ("--app", "examples.guarded_tools.app:runtime")


@pytest.fixture
def example(root: Path) -> Path:
    return root / "examples" / "guarded_tools"


@pytest.fixture
def cases(example: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((example / "cases.toml").read_text("utf-8"))["cases"]
    return found


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ExecutionStore:
    if request.param == "memory":
        return MemoryExecutionStore()
    return FileExecutionStore(tmp_path / "records", durability="os")


def route(runtime: IntentusRuntime, case: dict[str, Any], asynchronous: bool = False) -> Any:
    call = {"caller": Caller(name="assistant"), "tags": tuple(case.get("tags", ()))}
    if asynchronous:
        return asyncio.run(runtime.route_async(case["intent"], case["payload"], **call))
    return runtime.route(case["intent"], case["payload"], **call)


def test_the_policy_passes_its_check_and_its_cases(example: Path) -> None:
    """Check finds nothing, with the app's types known, and each case is decided by the rule that it names."""
    check = CliRunner().invoke(cli, ["policy", "check", str(example / "policy.toml"), "--strict", *APP])
    test = ["policy", "test", str(example / "cases.toml"), "--policy", str(example / "policy.toml"), *APP]
    ran = CliRunner().invoke(cli, [*test, "--format", "table"])

    assert check.exit_code == 0, check.output
    assert (ran.exit_code, ran.stdout.strip()) == (0, "53 passed, 0 failed")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_users_are_served_and_attackers_are_not(
    store: ExecutionStore, cases: list[dict[str, Any]], asynchronous: bool
) -> None:
    """Routed for real, users' calls succeed, attackers' are denied by the rule on record, and all replay."""
    from examples.guarded_tools.app import make_runtime
    from examples.guarded_tools.tools import World

    world, untouched = World(), World()
    before = asdict(untouched)
    with make_runtime(store=store, world=world) as runtime:
        for case in cases:
            response = route(runtime, case, asynchronous)
            [candidate] = runtime.store.get(response.execution_id).plan_tree["candidates"]
            ended = response.error.code if response.error else response.status
            assert ended == ("success" if case["expect"] == "allow" else "POLICY_DENIAL"), case["name"]
            assert (candidate["rule"] or "default") == case["rule"], case["name"]
        assert [mail["recipients"] for mail in world.mails] == [
            ["bob@corp.example"],
            ["bob@corp.example", "ann@home.example"],
            ["lawyer@partner.example", "bob@corp.example"],
            ["bob@corp.example"],
        ]
        assert world.payments == [("SE3550000000054910000003", 98.7), ("GB29NWBK60161331926819", 500)]
        assert store.verify().ok
        with make_runtime(store=store, world=untouched) as again:
            for row in store.list().rows:
                assert again.replay(row.execution_id).verdict == "match"
    assert asdict(untouched) == before


def changed(text: str, old: str, new: str) -> CompiledPolicy:
    assert old in text
    return compile_policy(parse_policy(tomllib.loads(text.replace(old, new))))


@pytest.mark.parametrize(
    ("old", "new", "newly_allowed", "newly_denied"),
    [
        ('payees = ["', 'payees = ["US133000000121212121212", "', ["a payment to a stranger"], []),
        ("gt = 500 }", "gt = 400 }", [], ["as much as may be paid"]),
        ('id = "no-blind-copies"\neffect = "deny"', 'id = "b"\neffect = "allow"', ["a blind copy"], []),
        (
            '"*@*@*", "*[!A-Za-z0-9.@_+-]*"',
            '"*@*@*@*"',
            [
                "a crooked address among the copies",
                "an address that ends a line",
                "two addresses in one string",
                "two guests in one string",
            ],
            [],
        ),
        (
            '"https://*.corp.example/*"',
            '"https://evil.example/"',
            ["a stranger's page"],
            ["a page of the company"],
        ),
        (
            'tag = "confirmed"',
            'role = "person"',
            [],
            ["a deletion that a person has confirmed", "a new password that a person has confirmed"],
        ),
    ],
)
def test_a_backtest_finds_exactly_what_a_change_changes(
    example: Path,
    cases: list[dict[str, Any]],
    old: str,
    new: str,
    newly_allowed: list[str],
    newly_denied: list[str],
) -> None:
    """What another policy would let through, or deny, of the calls on record is found, and nothing else."""
    from examples.guarded_tools.app import make_runtime

    text = (example / "policy.toml").read_text("utf-8")
    runtime = make_runtime(store=MemoryExecutionStore())
    names = {route(runtime, case).execution_id: case["name"] for case in cases}
    policy = changed(text, old, new)

    for against in (None, compile_policy(load_policy(example / "policy.toml"))):
        report = backtest(runtime.store, policy, against=against, examples=100)
        for kind, expected in (("newly_allowed", newly_allowed), ("newly_denied", newly_denied)):
            groups = [group for group in report.groups if group.change.kind == kind]
            found = sorted(names[one].partition(": ")[2] for group in groups for one in group.examples)
            assert found == expected


def test_each_deny_rule_is_needed(example: Path, cases: list[dict[str, Any]]) -> None:
    """Without any one of the deny rules, a call of an attacker is let through that is denied with it."""
    from examples.guarded_tools.app import make_runtime

    data = tomllib.loads((example / "policy.toml").read_text("utf-8"))
    runtime = make_runtime(store=MemoryExecutionStore())
    for case in cases:
        route(runtime, case)

    for rule in data["rules"]:
        others = {**data, "rules": [other for other in data["rules"] if other is not rule]}
        report = backtest(runtime.store, compile_policy(parse_policy(others)))
        assert report.widens if rule["effect"] == "deny" else report.narrows, rule["id"]
