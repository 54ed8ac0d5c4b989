"""`policy check` and `policy explain`: faults, findings, and decisions rule by rule."""

import json

import pytest

SMALL = {"intent": "money.transfer", "payload": {"amount": 5}}
LARGE = {"intent": "money.transfer", "payload": {"amount": 5000}}

ON_AGENTS = """
default = "allow"

[[rules]]
id = "no-pay-for-guests"
effect = "deny"
agent = "pay"
role = "guest"

[[rules]]
id = "nothing-irreversible-at-night"
effect = "deny"
side_effect = "irreversible"
tag = "night"

[[rules]]
id = "no-empty"
effect = "deny"
payload = { amount = { exists = false } }
"""


def explained(run, envelope, *options):
    return run("policy", "explain", json.dumps(envelope), *options)


# --- check ---


def test_a_sound_policy_has_a_digest(shop, run):
    """Check tells the digest and the number of rules, with exit code 0."""
    ran = run("policy", "check", "policy.toml")
    assert ran.code == 0
    assert list(ran.json) == ["ok", "digest", "rules", "findings", "faults"]
    assert (ran.json["ok"], ran.json["rules"], len(ran.json["digest"])) == (True, 1, 64)


def test_the_digest_is_the_one_that_is_recorded(app, run, routed, monkeypatch):
    """The digest is that of the policy in the environment of the records made under it."""
    monkeypatch.setenv("INTENTUSNET_POLICY", "policy.toml")
    recorded = run("show", routed()).json["environment"]["policy"]
    assert run("policy", "check").json["digest"] == recorded


def test_findings_are_warnings_unless_strict(shop, run):
    """A rule that can never decide is a finding: exit code 0, with --strict 1."""
    (shop / "twice.toml").write_text(
        'default = "allow"\n'
        '[[rules]]\nid = "first"\neffect = "deny"\nintent = "x"\n'
        '[[rules]]\nid = "second"\neffect = "deny"\nintent = "x"\n'
    )
    ran = run("policy", "check", "twice.toml")
    assert (ran.code, ran.json["ok"]) == (0, True)
    [finding] = ran.json["findings"]
    assert (finding["rule"], finding["code"]) == ("second", "duplicate")
    assert run("policy", "check", "twice.toml", "--strict").code == 1
    assert run("policy", "check", "policy.toml", "--strict").code == 0
    table = run("policy", "check", "twice.toml", "--format", "table").stdout
    assert "second" in table
    assert "duplicate" in table


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('default = "allow"\nrule = []\n', "bad.toml: rule"),
        ('default = "allow"\n[[rules]]\neffect = "deny"\n', "bad.toml: rules[0].id"),
        ('default = "alow"\n', "bad.toml: default"),
        ("default = \n", "bad.toml:1:11"),
        ("", "bad.toml: default"),
    ],
)
@pytest.mark.parametrize("format", ["json", "table"])
def test_a_malformed_policy_is_told_with_its_place(shop, run, text, where, format):
    """Faults are data: exit code 2, and each with its path into the file."""
    (shop / "bad.toml").write_text(text)
    ran = run("policy", "check", "bad.toml", "--format", format)
    assert ran.code == 2
    if format == "json":
        tree = ran.json
        assert (tree["ok"], tree["digest"], tree["rules"], tree["findings"]) == (False, None, None, [])
        assert where in [fault["where"] for fault in tree["faults"]]
    else:
        assert where in ran.stdout


def test_a_missing_file_is_a_fault(shop, run):
    """A policy that cannot be read is told like one that is malformed."""
    ran = run("policy", "check", "missing.toml")
    assert ran.code == 2
    assert ran.json["faults"][0]["where"] == "missing.toml"


def test_without_a_file_it_is_the_policy_in_force(shop, run, monkeypatch):
    """The setting comes before the app's own policy; a malformed one is still exit code 2."""
    (shop / "own.py").write_text(
        'from intentusnet import IntentusRuntime\nruntime = IntentusRuntime(policy={"default": "deny"})\n'
    )
    ran = run("policy", "check", "--app", "own:runtime")
    assert (ran.code, ran.json["rules"]) == (0, 0)
    assert ran.json["findings"][0]["rule"] is None
    table = run("policy", "check", "--app", "own:runtime", "--format", "table")
    assert "the policy denies every request" in table.stdout
    assert run("policy", "check", "--app", "own:runtime", "--policy", "policy.toml").json["rules"] == 1
    (shop / "bad.toml").write_text("default = 1\n")
    assert run("policy", "check", "--policy", "bad.toml").code == 2


@pytest.mark.parametrize("options", [[], ["--app", "shop:runtime"]])
def test_no_policy_at_all_is_a_matter_of_configuration(shop, run, options):
    """Without a file, a setting or an app that has one, there is nothing to check: exit code 12."""
    ran = run("policy", "check", *options)
    assert (ran.code, ran.stdout) == (12, "")
    assert "no policy is set" in ran.stderr


UNCOVERED = """
default = "deny"

[[rules]]
id = "tickets"
effect = "allow"
intent = "ticket.*"
"""


def test_intents_that_no_rule_speaks_of_are_findings(app, run, routed):
    """Those of the app's agents are looked at; with --seen those on record, too."""
    (app / "tickets.toml").write_text(UNCOVERED)
    routed("ticket.classify")
    run("route", "stranger.than", "{}")
    ran = run("policy", "check", "tickets.toml")
    assert ran.code == 0
    assert {finding["code"] for finding in ran.json["findings"]} == {"not covered"}
    messages = [finding["message"] for finding in ran.json["findings"]]
    assert "no rule speaks of intent money.transfer: the default denies it to everyone" in messages
    assert not any("ticket" in message or "stranger" in message for message in messages)
    seen = [
        finding["message"] for finding in run("policy", "check", "tickets.toml", "--seen").json["findings"]
    ]
    assert "no rule speaks of intent stranger.than: the default denies it to everyone" in seen
    assert set(messages) < set(seen)
    assert run("policy", "check", "tickets.toml", "--strict").code == 1


def test_a_rule_that_asks_for_no_intent_speaks_of_all(app, run):
    """Then nothing is uncovered."""
    (app / "all.toml").write_text(UNCOVERED + '[[rules]]\nid = "all"\neffect = "deny"\nrole = "guest"\n')
    assert run("policy", "check", "all.toml").json["findings"] == []


def test_without_an_app_no_intents_are_known(shop, run):
    """Findings about intents need an app, or a store that was asked for."""
    (shop / "tickets.toml").write_text(UNCOVERED)
    assert run("policy", "check", "tickets.toml").json["findings"] == []
    assert run("policy", "check", "tickets.toml", "--seen").json["findings"] == []


# --- explain ---


def test_a_denial_is_explained_rule_by_rule(app, run):
    """Each rule has its verdict, each condition what was found, and exit code 1 says that all are denied."""
    ran = explained(run, LARGE, "--policy", "policy.toml")
    assert ran.code == 1
    assert ran.json["decisions"] == [
        {"agent": "pay", "allowed": False, "rule": "no-large-transfers", "cause": "matched"}
    ]
    [rule] = ran.json["rules"]
    assert (rule["agent"], rule["rule"], rule["effect"], rule["verdict"]) == (
        "pay", "no-large-transfers", "deny", "applied",
    )  # fmt: skip
    assert [condition["verdict"] for condition in rule["conditions"]] == ["true", "true"]
    assert "5000" in rule["conditions"][1]["why"]


def test_a_recorded_execution_is_explained(app, run, routed):
    """Its envelope and its candidates are decided anew, beside the decisions on record; no app is needed."""
    execution = routed("money.transfer", LARGE["payload"], "--policy", "policy.toml")
    (app / "open.toml").write_text('default = "allow"\n')
    ran = run("policy", "explain", "--record", execution, "--policy", "policy.toml")
    before = {"allowed": False, "rule": "no-large-transfers", "cause": "matched"}
    assert ran.code == 1
    assert ran.json["decisions"] == [{"agent": "pay", **before, "recorded": before}]
    assert [rule["verdict"] for rule in ran.json["rules"]] == ["applied"]
    ran = run("policy", "explain", "--record", "@last", "--policy", "open.toml", "--agent", "pay")
    assert (ran.code, ran.json["decisions"][0]["allowed"]) == (0, True)
    assert ran.json["decisions"][0]["recorded"] == before
    table = run("policy", "explain", "--record", "@last", "--policy", "open.toml", "--format", "table").stdout
    assert "on record: denied by rule no-large-transfers (matched)" in table


def test_a_portable_record_is_explained_without_an_app(app, run, routed, portable, monkeypatch):
    """A file will do, and neither store nor app is looked at."""
    path = portable(routed("money.transfer", LARGE["payload"]), "records/one.jsonl")
    monkeypatch.delenv("INTENTUSNET_APP")
    ran = run("policy", "explain", "--record", str(path), "--policy", "policy.toml", "--store", "nowhere")
    assert (ran.code, ran.json["decisions"][0]["rule"]) == (1, "no-large-transfers")
    assert ran.json["decisions"][0]["recorded"]["cause"] == "no policy"


def test_what_is_not_on_record_cannot_be_explained(app, run, routed):
    """An execution without candidates has no decisions; an agent that was none is refused."""
    run("route", "stranger.than", "{}")
    ran = run("policy", "explain", "--record", "@last", "--policy", "policy.toml")
    assert (ran.code, ran.json["decisions"]) == (3, [])
    assert "No candidates are on record" in ran.stderr
    routed("money.transfer", LARGE["payload"])
    ran = run("policy", "explain", "--record", "@last", "--policy", "policy.toml", "--agent", "backup")
    assert (ran.code, ran.stdout) == (2, "")
    for args in ([], [json.dumps(SMALL), "--record", "@last"]):
        assert run("policy", "explain", *args, "--policy", "policy.toml").code == 2


def test_what_is_allowed_ends_with_0(app, run):
    """A candidate that is allowed is enough for exit code 0."""
    ran = explained(run, SMALL, "--policy", "policy.toml")
    assert (ran.code, ran.json["decisions"][0]["allowed"]) == (0, True)


def test_what_cannot_be_checked_is_told_as_the_cause(app, run):
    """A missing operand makes the deny rule apply, and the cause names it."""
    ran = explained(run, {"intent": "money.transfer", "payload": {}}, "--policy", "policy.toml")
    assert ran.code == 1
    assert ran.json["decisions"][0]["cause"] == "operand missing: /amount"


@pytest.mark.parametrize("envelope", [SMALL, LARGE, {"intent": "ticket.classify", "payload": {"text": ""}}])
def test_the_explanation_is_what_route_does(app, run, envelope):
    """Decisions are those of the plan that `route --dry-run` prints for the same request."""
    told = explained(run, envelope, "--policy", "policy.toml").json["decisions"]
    options = ["--dry-run", "--policy", "policy.toml"]
    plan = run("route", envelope["intent"], json.dumps(envelope["payload"]), *options).json
    assert told == [
        {key: c[key] for key in ("agent", "allowed", "rule", "cause")} for c in plan["candidates"]
    ]


def test_each_candidate_is_decided(app, run):
    """Where several agents handle the intent each has a decision and traces; one allowed is enough."""
    (app / "agents.toml").write_text(
        'default = "allow"\n[[rules]]\nid = "no-triage"\neffect = "deny"\nagent = "triage"\n'
    )
    ran = explained(run, {"intent": "ticket.classify"}, "--policy", "agents.toml")
    assert ran.code == 0
    assert [(d["agent"], d["allowed"]) for d in ran.json["decisions"]] == [
        ("triage", False),
        ("backup", True),
    ]
    assert [(r["agent"], r["verdict"]) for r in ran.json["rules"]] == [
        ("triage", "applied"), ("backup", "not matched"),
    ]  # fmt: skip


def test_one_agent_can_be_asked_for(app, run):
    """--agent decides for that agent of the app alone; one that there is not is refused with a guess."""
    ran = explained(run, {"intent": "ticket.classify"}, "--policy", "policy.toml", "--agent", "backup")
    assert [decision["agent"] for decision in ran.json["decisions"]] == ["backup"]
    ran = explained(run, {"intent": "ticket.classify"}, "--policy", "policy.toml", "--agent", "bakcup")
    assert (ran.code, ran.stdout) == (2, "")
    assert "Did you mean 'backup'?" in ran.stderr


def test_nobody_to_decide_for_is_exit_code_3(app, run):
    """An intent that no agent of the app handles has no decisions, and stderr says why."""
    ran = explained(run, {"intent": "nobody.there"}, "--policy", "policy.toml")
    assert (ran.code, ran.json) == (3, {"decisions": [], "rules": []})
    assert "no agent handles" in ran.stderr


@pytest.mark.parametrize(
    ("envelope", "allowed", "rule", "cause", "code"),
    [
        ({"intent": "a", "payload": {"amount": 1}}, True, None, "default", 0),
        ({"intent": "a", "payload": {}}, False, "no-empty", "matched", 1),
        (
            {"intent": "a", "payload": {"amount": 1}, "caller": {"name": "x", "roles": ["guest"]}},
            None, None, "depends on the agent", 0,
        ),
        (
            {"intent": "a", "payload": {}, "caller": {"name": "x", "roles": ["guest"]}},
            False, None, "depends on the agent", 1,
        ),
    ],
)  # fmt: skip
def test_without_an_app_only_what_is_certain_is_decided(shop, run, envelope, allowed, rule, cause, code):
    """Where no agent is known, a decision that hangs on one is left open, unless all would be denied."""
    (shop / "agents.toml").write_text(ON_AGENTS)
    ran = explained(run, envelope, "--policy", "agents.toml")
    assert ran.json["decisions"] == [{"agent": None, "allowed": allowed, "rule": rule, "cause": cause}]
    assert ran.code == code


def test_without_an_app_an_agent_can_be_supposed(shop, run):
    """--agent without an app decides for an agent of that name."""
    (shop / "agents.toml").write_text(ON_AGENTS)
    envelope = {"intent": "a", "payload": {"amount": 1}, "caller": {"name": "x", "roles": ["guest"]}}
    ran = explained(run, envelope, "--policy", "agents.toml", "--agent", "pay")
    assert (ran.code, ran.json["decisions"][0]["rule"]) == (1, "no-pay-for-guests")
    ran = explained(run, envelope, "--policy", "agents.toml", "--agent", "other")
    assert (ran.code, ran.json["decisions"][0]["allowed"]) == (0, True)


def test_without_a_policy_everything_is_allowed_and_said_so(app, run):
    """No policy set is no error: the cause says so, and stderr too."""
    ran = explained(run, LARGE)
    assert (ran.code, ran.json["decisions"][0]["cause"]) == (0, "no policy")
    assert "everything is allowed" in ran.stderr


def test_an_envelope_comes_from_a_file_or_stdin(app, run):
    """@file and - mean the same as the JSON itself."""
    (app / "large.json").write_text(json.dumps(LARGE))
    expected = explained(run, LARGE, "--policy", "policy.toml").json
    assert run("policy", "explain", "@large.json", "--policy", "policy.toml").json == expected
    assert run("policy", "explain", "-", "--policy", "policy.toml", input=json.dumps(LARGE)).json == expected


def test_explaining_calls_and_records_nothing(app, run):
    """No store comes into being."""
    explained(run, LARGE, "--policy", "policy.toml")
    assert not (app / ".intentusnet").exists()


@pytest.mark.parametrize("envelope", [SMALL, LARGE, {"intent": "ticket.classify", "tags": ["\x1b[31m"]}])
def test_a_table_shows_decisions_and_rules(app, run, envelope):
    """For people: the decision, below it each rule with its conditions; control characters are spelt out."""
    (app / "tags.toml").write_text(
        'default = "allow"\n[[rules]]\nid = "no-large"\neffect = "deny"\ntag = "x"\n'
        '[[rules]]\nid = "big"\neffect = "deny"\npayload = { amount = { gt = 1000 } }\n'
        '[[rules]]\nid = "always"\neffect = "allow"\n'
    )
    ran = explained(run, envelope, "--policy", "tags.toml", "--format", "table")
    assert ("denied" if ran.code else "allowed") in ran.stdout
    assert "/amount gt 1000" in ran.stdout
    assert "it has no conditions" in ran.stdout
    assert "\x1b" not in ran.stdout


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("{", "no JSON"),
        ("[]", "an envelope is a JSON object"),
        ("{}", "a field is missing"),
        ('{"intnet": "a"}', "and 1 more"),
        ('{"intent": "a", "intent": "b"}', "twice"),
        ("@missing.json", "cannot be read"),
    ],
)
def test_what_is_no_envelope_is_refused(app, run, argument, said):
    """Broken JSON and broken envelopes are exit code 2, with what is wrong."""
    ran = run("policy", "explain", argument, "--policy", "policy.toml")
    assert (ran.code, ran.stdout) == (2, "")
    assert said in ran.stderr


@pytest.mark.parametrize("text", [None, "default = 1\n"])
def test_a_policy_that_cannot_be_used_is_a_matter_of_configuration(app, run, text):
    """Explain needs the policy: a missing or malformed one is exit code 12."""
    if text is not None:
        (app / "bad.toml").write_text(text)
    ran = explained(run, SMALL, "--policy", "bad.toml")
    assert (ran.code, ran.stdout) == (12, "")
    assert "bad.toml" in ran.stderr


@pytest.mark.parametrize("args", [["explain"], ["chekc"], ["check", "a", "b"], []])
def test_what_is_mistyped_is_usage(shop, run, args):
    """Missing and superfluous arguments and unknown commands end with 2 and print no data."""
    ran = run("policy", *args)
    assert ran.code == 2
