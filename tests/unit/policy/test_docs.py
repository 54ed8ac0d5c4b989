"""docs/policy.md is run: its example decides what its tables say."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner

from intentusnet import FileExecutionStore, IntentusRuntime
from intentusnet.cli.app import cli
from intentusnet.cli.expected import _KEYS
from intentusnet.policy import (
    AgentFacts,
    EnvelopeFacts,
    Finding,
    PolicyFaults,
    check,
    compile_policy,
    load_policy,
    parse_policy,
)
from intentusnet.policy.cedar import compile_cedar
from intentusnet.policy.findings import FindingCode
from intentusnet.policy.loopholes import loopholes
from intentusnet.policy.parse import _RULE_KEYS
from intentusnet.policy.rules import OPERATORS, glob_matcher

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
    assert check(policy.source) == loopholes(policy.source) == ()


def table_of(section: str) -> list[list[str]]:
    """The cells of the rows of the table in a section, without its head."""
    text = TEXT[TEXT.index(section) :]
    lines = text[text.index("\n|") + 1 :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def decided(policy: str, payload: Any, intent: str = "mail.send") -> tuple[bool, str]:
    """The decision of rules that are written as TOML, where everything else is allowed."""
    source = parse_policy(tomllib.loads('default = "allow"\n' + policy))
    decision = compile_policy(source).decide(EnvelopeFacts(intent, payload=payload), AgentFacts("a"))
    return decision.allowed, decision.cause


def test_elements_are_decided_as_their_table_says() -> None:
    """Each row of the table on lists is the decision of the rule above it."""
    [rule] = [block for block in blocks("toml") if "recipients[*]" in block]
    table = table_of("### The elements of a list")

    for recipients, outcome, cause in table:
        payload = {"recipients": json.loads(recipients.strip("`"))}
        assert decided(rule, payload) == (outcome == "allowed", cause.strip("`")), recipients
    assert len(table) == 5


def test_the_example_with_a_list_by_name_decides() -> None:
    """Who is in the list is paid."""
    [text] = [block for block in blocks("toml") if "[lists]" in block]
    policy = compile_policy(parse_policy(tomllib.loads(text)))

    for recipient, allowed in (("SE3550000000054910000003", True), ("US133000000121212121212", False)):
        facts = EnvelopeFacts("bank.pay", payload={"recipient": recipient})
        assert policy.decide(facts, AgentFacts("a")).allowed is allowed


def test_the_pitfalls_of_globs_are_real_and_closed() -> None:
    """Each glob of the table matches what the table says, is told by check, and is closed as it says."""
    table = table_of("**`*` matches everything**")

    for glob, value, closed in ((cell.replace("`", "") for cell in row) for row in table):
        wide = {"id": "wide", "effect": "allow", "payload": {"x": {"glob": glob}}}
        assert [one.code for one in loopholes_of(wide)] == ["wide glob"], glob
        assert glob_matcher(glob)(value), glob
        if closed.startswith("write"):
            better = closed.removeprefix("write ").split(" and ")
            assert loopholes_of({**wide, "payload": {"x": {"glob": better}}}) == (), glob
            assert not any(glob_matcher(one)(value) for one in better), glob
        else:
            catch = {"id": "catch", "effect": "deny", "payload": {"x": {"glob": json.loads(closed)}}}
            assert loopholes_of(wide, catch) == (), glob
    assert len(table) == 5


def loopholes_of(*rules: dict[str, Any]) -> tuple[Finding, ...]:
    return loopholes(parse_policy({"default": "deny", "rules": list(rules)}))


@pytest.mark.parametrize(
    ("row", "fine", "denied"),
    [
        (0, [{}, {"recipient": "ann"}], [{"recipient": "eve"}, {"recipient": None}, {"recipient": ["ann"]}]),
        (1, [{}, {"cc": ["ann"]}], [{"cc": ["ann", "eve"]}, {"cc": None}, {"cc": []}, {"cc": "eve"}]),
        (2, [{}, {"cc": ["ann"]}, {"cc": None}, {"cc": []}, {"cc": "eve"}], [{"cc": ["ann", "eve"]}]),
    ],
)
def test_optional_fields_are_decided_as_the_page_says(row: int, fine: list[Any], denied: list[Any]) -> None:
    """The conditions of the table let through what may be left out, and nothing else that it names."""
    condition = table_of("**Optional fields.**")[row][2].strip("`").replace("[...]", '["ann"]')
    rule = f'[[rules]]\nid = "r"\neffect = "deny"\npayload = {{ {condition} }}'

    assert [decided(rule, payload)[0] for payload in fine] == [True] * len(fine)
    assert [decided(rule, payload)[0] for payload in denied] == [False] * len(denied)


def test_the_python_example_runs(policy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last block of Python is run beside the example's file, with its assertions."""
    monkeypatch.chdir(policy_file.parent)
    example = compile(blocks("python")[-1], "docs/policy.md", "exec")

    exec(example, {})  # noqa: S102 - running the documentation is what this test is for


def test_the_expected_decisions_are_decided(policy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of cases passes, as the page says, and names every key that a case may have."""
    monkeypatch.chdir(policy_file.parent)
    [cases] = [block for block in blocks("toml") if "[[cases]]" in block]
    Path("cases.toml").write_text(cases, encoding="utf-8")
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

    assert {
        *_RULE_KEYS,
        *OPERATORS,
        *get_args(FindingCode),
        "default",
        "version",
        "lists",
        "rules",
    } <= documented
