"""docs/policy.md is run: its example decides what its tables say."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner

from intentusnet import FileExecutionStore, IntentusRuntime
from intentusnet.cli.app import cli
from intentusnet.cli.expected import _KEYS
from intentusnet.policy import AgentFacts, EnvelopeFacts, PolicyFaults, check, compile_policy, load_policy
from intentusnet.policy.cedar import compile_cedar
from intentusnet.policy.findings import FindingCode
from intentusnet.policy.parse import _RULE_KEYS
from intentusnet.policy.rules import OPERATORS

TEXT = (Path(__file__).parents[3] / "docs" / "policy.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"\| `(?P<intent>[\w.]+)`, (?:payload `(?P<payload>.*?)`|role `(?P<role>.*?)`) "
    r"\| (?P<side_effect>\w+) \| (?P<outcome>\w+) \| (?:`(?P<rule>.*?)`)? ?\| `(?P<cause>.*?)` \|"
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(blocks("toml")[0], encoding="utf-8")
    return path


def rows() -> Iterator[dict[str, str | None]]:
    for found in ROW.finditer(TEXT):
        yield found.groupdict()


def test_the_example_decides_what_its_table_says(policy_file: Path) -> None:
    """Each row of the table is the decision of the example above it, and the example has no findings."""
    policy = compile_policy(load_policy(policy_file))
    table = list(rows())

    for row in table:
        roles: Any = (row["role"],) if row["role"] else ()
        payload = json.loads(row["payload"] or "{}")
        envelope = EnvelopeFacts(str(row["intent"]), payload=payload, roles=roles, tenant="t")
        side_effects = ["read_only", "irreversible"] if row["side_effect"] == "any" else [row["side_effect"]]
        for side_effect in side_effects:
            decision = policy.decide(envelope, AgentFacts("a", side_effect=str(side_effect)))
            assert decision.allowed is (row["outcome"] == "allowed"), row
            assert (decision.rule, decision.cause) == (row["rule"], row["cause"]), row
    assert len(table) == 6
    assert check(policy.source) == ()


def test_the_python_example_runs(policy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last block of Python is run beside the example's file, with its assertions."""
    monkeypatch.chdir(policy_file.parent)
    example = compile(blocks("python")[-1], "docs/policy.md", "exec")

    exec(example, {})  # noqa: S102 - running the documentation is what this test is for


def test_the_expected_decisions_are_decided(policy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of cases passes, as the page says, and names every key that a case may have."""
    monkeypatch.chdir(policy_file.parent)
    Path("cases.toml").write_text(blocks("toml")[1], encoding="utf-8")
    command, printed = re.findall(r"^\$ intentusnet (.*)\n(.*)$", blocks("console")[0], re.MULTILINE)[0]
    ran = CliRunner().invoke(cli, command.split())

    assert (ran.exit_code, ran.stdout.strip()) == (0, printed)
    section = TEXT[TEXT.index("## Expected decisions") : TEXT.index("## Before a policy changes")]
    assert set(_KEYS) <= set(re.findall(r"`(\w+)`", section))


def test_the_backtest_shown_runs(policy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example tells what the policy would change about a store."""
    monkeypatch.chdir(policy_file.parent)
    with IntentusRuntime(store=FileExecutionStore("records", "os")) as runtime:
        runtime.agent("broker", handles="TradingBot.*")(lambda payload: payload)
        runtime.route("TradingBot.place_order", {"amount": 1500})
    [example] = [block for block in blocks("python") if "backtest" in block]
    names: dict[str, Any] = {}
    exec(compile(example, "docs/policy.md", "exec"), names)  # noqa: S102 - see above

    assert names["report"].changes["newly_denied"] == 1


def test_the_cedar_example_decides_as_it_reads() -> None:
    """Schema and policy of the page fit together, and decide by the amount."""
    schema, policies = blocks("cedar")
    policy = compile_cedar(policies, schema)

    def decided(payload: Any) -> tuple[bool, str | None]:
        facts = EnvelopeFacts("TradingBot.place_order", "1.0", payload)
        decision = policy.stage(facts).decide(AgentFacts("broker", "1.0"))
        return decision.allowed, decision.rule

    assert decided({"amount": 900}) == (True, "orders-up-to-1000")
    assert decided({"amount": 1500}) == decided({}) == (False, None)


def test_the_error_shown_is_the_error_given(policy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message in the documentation is the one that the slip gives."""
    text = policy_file.read_text("utf-8").replace("tenant = ", "inten = ")
    policy_file.write_text(text, encoding="utf-8")
    monkeypatch.chdir(policy_file.parent)

    with pytest.raises(PolicyFaults) as caught:
        load_policy("policy.toml")

    assert str(caught.value) in TEXT


def test_every_key_operator_and_finding_is_documented() -> None:
    """The reference leaves none of the vocabulary out."""
    first_cells = " ".join(line.split("|")[1] for line in TEXT.splitlines() if line.startswith("|"))
    documented = set(re.findall(r"`([^`]+)`", first_cells))

    assert {*_RULE_KEYS, *OPERATORS, *get_args(FindingCode), "default", "version", "rules"} <= documented
