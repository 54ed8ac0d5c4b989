"""`policy test`: a policy against a file of expected decisions."""

import json

import pytest

CASES = """
[[cases]]
name = "a large transfer needs a person"
intent = "money.transfer"
payload = { amount = 5000 }
expect = "deny"
rule = "no-large-transfers"
cause = "matched"

[[cases]]
intent = "money.transfer"
payload = { amount = 1000.5 }
caller = { name = "ada", roles = ["clerk"], tenant = "acme" }
tags = ["x"]
expect = "deny"

[[cases]]
name = "a small one does not"
envelope = { intent = "money.transfer", payload = { amount = 5 } }
agent = "pay"
expect = "allow"
rule = "default"
"""


@pytest.fixture
def cases(shop):
    """Writes a file of cases and returns its name."""

    def write(text, name="cases.toml"):
        (shop / name).write_text(text)
        return name

    return write


def ask(run, *args):
    return run("policy", "test", *args, "--policy", "policy.toml")


@pytest.mark.parametrize("options", [[], ["--app", "shop:runtime"]])
def test_a_policy_that_does_what_is_expected_passes(run, cases, options):
    """With an app and without, in both formats: exit code 0."""
    table = ask(run, cases(CASES), *options, "--format", "table")
    assert (table.code, table.stdout) == (0, "3 passed, 0 failed\n")
    as_json = {"cases": [{"intent": "money.transfer", "payload": {}, "expect": "deny"}]}
    ran = ask(run, cases(CASES), cases(json.dumps(as_json), "cases.json"), *options)
    assert (ran.code, ran.json) == (0, {"ok": True, "passed": 4, "failed": [], "faults": []})


def test_a_case_that_fails_is_told_with_what_decided(run, cases):
    """Outcome, rule and cause are each compared; what decided is told beside what was expected."""
    text = (
        CASES.replace('"deny"\nrule', '"allow"\nrule')
        .replace('agent = "pay"', "")
        .replace('"default"', '"other"')
    )
    ran = ask(run, cases(text))
    assert ran.code == 1
    assert (ran.json["ok"], ran.json["passed"]) == (False, 1)
    first, last = ran.json["failed"]
    assert (first["file"], first["case"], first["intent"]) == ("cases.toml", 1, "money.transfer")
    assert first["name"] == "a large transfer needs a person"
    assert first["expected"] == {"allowed": True, "rule": "no-large-transfers", "cause": "matched"}
    assert first["decisions"] == [
        {"agent": None, "allowed": False, "rule": "no-large-transfers", "cause": "matched"}
    ]
    assert last["decisions"] == [{"agent": None, "allowed": True, "rule": None, "cause": "default"}]
    table = ask(run, "cases.toml", "--format", "table")
    assert "a large transfer needs a person" in table.stdout
    assert "denied by rule no-large-transfers (matched)" in table.stdout
    assert "1 passed, 2 failed" in table.stdout


def test_another_cause_is_a_failure(run, cases):
    """What denies for want of an operand does not match."""
    ran = ask(run, cases(CASES.replace("{ amount = 5000 }", "{}")))
    [failed] = ran.json["failed"]
    assert failed["decisions"][0]["cause"] == "operand missing: /amount"


ON_AGENTS = """
default = "allow"
[[rules]]
id = "no-backup"
effect = "deny"
agent = "backup"
[[rules]]
id = "nothing-irreversible"
effect = "deny"
side_effect = "irreversible"
tag = "night"
[[rules]]
id = "spent"
effect = "deny"
budget = { "caller.tokens.1d" = { gt = 100 } }
"""
NIGHT = 'intent = "a"\nagent = "x"\ntags = ["night"]\n'
KNOWN = 'budget = { "caller.tokens.1d" = 5 }\n'


def run_case(run, shop, case, *options):
    (shop / "agents.toml").write_text(ON_AGENTS)
    (shop / "case.toml").write_text("[[cases]]\n" + case)
    return run("policy", "test", "case.toml", "--policy", "agents.toml", *options)


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ('intent = "a"\nagent = "x"\nexpect = "allow"\n' + KNOWN, 0),
        ('intent = "a"\nagent = "backup"\nexpect = "deny"\nrule = "no-backup"\n' + KNOWN, 0),
        ('intent = "a"\nexpect = "allow"\n' + KNOWN, 1),
        (
            'intent = "a"\nagent = "x"\ntags = ["night"]\nside_effect = "irreversible"\nexpect = "deny"\n'
            + KNOWN,
            0,
        ),
        (
            'intent = "a"\nagent = "x"\ntags = ["night"]\nside_effect = "read_only"\nexpect = "allow"\n'
            + KNOWN,
            0,
        ),
        ('intent = "a"\nagent = "x"\nexpect = "deny"\nrule = "spent"\n', 0),
        ('intent = "a"\nagent = "x"\nexpect = "deny"\nbudget = { "caller.tokens.1d" = 100.5 }\n', 0),
    ],
)
def test_facts_of_agent_and_budget_can_be_supposed(shop, run, case, code):
    """What hangs on an agent that is not named is decided neither way, which fails the case."""
    assert run_case(run, shop, case).code == code


@pytest.mark.parametrize(
    ("case", "failed"),
    [
        ('intent = "ticket.classify"\nexpect = "allow"\n', ["backup"]),
        ('intent = "ticket.classify"\nexpect = "deny"\n', ["triage"]),
        ('intent = "ticket.classify"\nagent = "triage"\nexpect = "allow"\n', None),
        ('intent = "nobody.there"\nexpect = "deny"\n', []),
        ('intent = "ticket.classify"\nagent = "nobody"\nexpect = "deny"\n', []),
    ],
)
def test_with_an_app_every_candidate_has_to_be_decided_so(app, run, case, failed):
    """Candidates come from the registry; a case about nobody fails, and says why."""
    ran = run_case(run, app, case + KNOWN)
    assert ran.code == (0 if failed is None else 1)
    if failed is not None:
        [told] = ran.json["failed"]
        assert [decision["agent"] for decision in told["decisions"]] == failed
        assert (told["reason"] == "decided otherwise") is bool(failed)
        assert ("decided" in told["reason"]) is bool(failed)
        table = run_case(run, app, case + KNOWN, "--format", "table").stdout
        assert (told["reason"] in table) is not bool(failed)


MALFORMED = """
other = 1
[[cases]]
intnet = "a"
expect = "alow"
[[cases]]
intent = "a"
envelope = {}
side_effect = "none"
agent = ""
[[cases]]
intent = "a"
expect = "deny"
budget = { tokens = "5" }
rule = 5
caller = { nme = "x" }
"""


@pytest.mark.parametrize("format", ["json", "table"])
def test_all_that_is_wrong_with_the_files_is_told_at_once(run, cases, format):
    """Each fault with its file and place; nothing is decided, and the exit code is 2."""
    cases("cases = []\n", "empty.toml")
    cases("cases = 5\n[", "broken.toml")
    ran = ask(run, cases(MALFORMED), "empty.toml", "broken.toml", "missing.toml", "--format", format)
    assert ran.code == 2
    places = ["other", "[0].intnet", "[0].intent", "[0].expect", "[1]", "[1].expect", "[1].side_effect"]
    places += ["[1].agent", "[2].budget.tokens", "[2].rule", "[2].caller.nme"]
    places = ["cases.toml: " + place.replace("[", "cases[", 1) for place in places]
    places += ["empty.toml: cases", "broken.toml:2:2", "missing.toml"]
    if format == "json":
        assert (ran.json["ok"], ran.json["passed"], ran.json["failed"]) == (False, None, [])
        assert set(places) <= {fault["where"] for fault in ran.json["faults"]}
    else:
        assert all(place in ran.stdout for place in places)


@pytest.mark.parametrize(
    "text", ["5", '{"cases": [5]}', '{"cases": [{"envelope": 5, "expect": "deny"}]}', "[]"]
)
def test_what_is_no_case_is_a_fault(run, cases, text):
    """Whatever the shape, it ends with 2 and a place."""
    ran = ask(run, cases(text, "cases.json"))
    assert ran.code == 2
    assert ran.json["faults"][0]["where"].startswith("cases.json")


def test_the_policy_in_force_is_tested(app, run, cases):
    """Without --policy it is the app's own; a file has to be named."""
    assert run("policy", "test", cases(CASES)).code == 1
    assert run("policy", "test").code == 2
