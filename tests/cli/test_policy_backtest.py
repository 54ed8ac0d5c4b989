"""`policy backtest`: what another policy would have decided."""

import json

import pytest

STRICTER = """
default = "allow"
[[rules]]
id = "no-large-transfers"
effect = "deny"
intent = "money.*"
payload = { amount = { gt = 100 } }
"""
OPEN = 'default = "allow"\n'
SPENT = OPEN + '[[rules]]\nid = "spent"\neffect = "deny"\nbudget = { "caller.tokens.1d" = { gt = 5 } }\n'


@pytest.fixture
def recorded(app, routed):
    """Executions under policy.toml, by amount: 5, 500 and 5000, the last of which was denied."""
    (app / "stricter.toml").write_text(STRICTER)
    (app / "open.toml").write_text(OPEN)
    (app / "spent.toml").write_text(SPENT)
    return {n: routed("money.transfer", {"amount": n}, "--policy", "policy.toml") for n in (5, 500, 5000)}


def changes(ran):
    return {kind: count for kind, count in ran.json["changes"].items() if count}


def test_the_same_policy_changes_nothing(recorded, run):
    """Against the decisions on record: exit code 0, and every key is there."""
    ran = run("policy", "backtest", "policy.toml")
    assert ran.code == 0
    assert list(ran.json) == [
        "ok", "new", "against", "executions", "decisions", "changes", "outcomes", "groups",
    ]  # fmt: skip
    assert (ran.json["ok"], ran.json["executions"], ran.json["decisions"]) == (True, 3, 3)
    assert (changes(ran), ran.json["groups"], ran.json["against"]) == ({}, [], None)
    assert ran.json["new"] == run("policy", "check", "policy.toml").json["digest"]
    table = run("policy", "backtest", "policy.toml", "--format", "table").stdout
    assert "Nothing would be decided otherwise." in table


def test_narrower_is_exit_code_1_unless_allowed(recorded, run):
    """What is newly denied is told by rule, intent and agent, with examples."""
    ran = run("policy", "backtest", "stricter.toml")
    assert (ran.code, ran.json["ok"], changes(ran)) == (1, False, {"newly_denied": 1})
    assert ran.json["outcomes"] == {"now_answered": 0, "now_denied": 1, "rerouted": 0, "undecided": 0}
    assert ran.json["groups"] == [
        {
            "kind": "newly_denied", "intent": "money.transfer", "agent": "pay", "rule": "no-large-transfers",
            "cause": "matched", "old_rule": None, "count": 1, "examples": [recorded[500]],
        }
    ]  # fmt: skip
    assert run("policy", "backtest", "stricter.toml", "--allow-widening", "--allow-undecided").code == 1
    allowed = run("policy", "backtest", "stricter.toml", "--allow-narrowing")
    assert (allowed.code, allowed.json["ok"]) == (0, True)


def test_wider_is_exit_code_1_unless_allowed(recorded, run):
    """What is newly allowed names the rule that denied it."""
    ran = run("policy", "backtest", "open.toml")
    assert (ran.code, changes(ran)) == (1, {"newly_allowed": 1})
    assert ran.json["groups"][0]["old_rule"] == "no-large-transfers"
    assert run("policy", "backtest", "open.toml", "--allow-narrowing").code == 1
    assert run("policy", "backtest", "open.toml", "--allow-widening").code == 0


def test_what_cannot_be_decided_is_exit_code_1_unless_allowed(recorded, run):
    """A budget that nobody wrote down decides neither way."""
    ran = run("policy", "backtest", "spent.toml")
    assert (ran.code, changes(ran)) == (1, {"undecided": 3})
    assert run("policy", "backtest", "spent.toml", "--allow-undecided").code == 0


def test_two_files_are_compared_on_recorded_requests(recorded, run):
    """--against takes the place of the decisions on record."""
    ran = run("policy", "backtest", "open.toml", "--against", "stricter.toml")
    assert changes(ran) == {"newly_allowed": 2}
    assert ran.json["against"] == run("policy", "check", "stricter.toml").json["digest"]
    assert run("policy", "backtest", "open.toml", "--against", "open.toml").code == 0


def test_filters_and_examples(recorded, run):
    """The store's executions are chosen as `list` chooses them; -j changes nothing."""
    assert run("policy", "backtest", "stricter.toml", "--status", "error").json["executions"] == 1
    ran = run("policy", "backtest", "stricter.toml", "--intent", "money.*", "--examples", "0", "-j", "2")
    assert (ran.json["executions"], ran.json["groups"][0]["examples"]) == (3, [])
    ran = run("policy", "backtest", "stricter.toml", "--intent", "none.*")
    assert (ran.code, ran.json["executions"]) == (0, 0)
    assert "No execution fits." in ran.stderr


def test_portable_records_will_do(recorded, run, portable, monkeypatch):
    """Files and directories of them, without store and app."""
    for amount, execution in recorded.items():
        path = portable(execution, f"records/{amount}.jsonl")
    monkeypatch.delenv("INTENTUSNET_APP")
    ran = run("policy", "backtest", "stricter.toml", "records", "--store", "nowhere")
    assert (ran.code, ran.json["executions"], changes(ran)) == (1, 3, {"newly_denied": 1})
    assert run("policy", "backtest", "stricter.toml", str(path)).json["executions"] == 1
    assert run("policy", "backtest", "stricter.toml", "records", "--caller", "x").code == 2
    assert run("policy", "backtest", "stricter.toml", "missing.jsonl").code == 10
    path.write_bytes(path.read_bytes().replace(b"5000", b"0005"))
    assert run("policy", "backtest", "stricter.toml", "records").code == 13


def test_a_table_for_people(recorded, run):
    """Counts in words, and a row for each group; control characters are spelt out."""
    ran = run("policy", "backtest", "stricter.toml", "--format", "table")
    assert "3 executions, 3 decisions" in ran.stdout
    assert "1  of the executions would be denied" in ran.stdout
    assert "newly denied" in ran.stdout
    assert "Nothing" not in ran.stdout


@pytest.mark.parametrize("text", [None, "default = 1\n"])
def test_a_policy_that_is_none_is_exit_code_2(recorded, app, run, text):
    """NEW and --against are arguments: what is wrong with them is told as such."""
    if text is not None:
        (app / "bad.toml").write_text(text)
    for args in (["bad.toml"], ["open.toml", "--against", "bad.toml"]):
        ran = run("policy", "backtest", *args)
        assert (ran.code, ran.stdout) == (2, "")
        assert "bad.toml" in ran.stderr


def test_a_store_that_is_not_there_has_nothing(shop, run):
    """No store comes into being."""
    (shop / "open.toml").write_text(OPEN)
    ran = run("policy", "backtest", "open.toml")
    assert (ran.code, json.loads(ran.stdout)["executions"]) == (0, 0)
    assert not (shop / ".intentusnet").exists()
