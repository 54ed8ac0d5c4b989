"""`validate`: envelope and policy files, with every fault named by its place."""

import json

import pytest

GOOD = {"intent": "ticket.classify", "payload": {"text": "it crashes"}}


@pytest.fixture
def file(shop):
    """Writes a file, as JSON if it is not text or bytes already, and returns its name."""

    def write(content, name="envelope.json"):
        data = content if isinstance(content, str | bytes) else json.dumps(content)
        (shop / name).write_bytes(data if isinstance(data, bytes) else data.encode())
        return name

    return write


def faults_of(ran):
    [tree] = ran.json
    assert list(tree) == ["file", "kind", "ok", "faults"]
    assert tree["ok"] is (tree["faults"] == []) is (ran.code == 0)
    for fault in tree["faults"]:
        assert list(fault) == ["message", "where", "expected", "got", "hint"]
        assert all(isinstance(part, str) for part in fault.values())
    return tree["faults"]


@pytest.mark.parametrize(
    "envelope",
    [
        {"intent": "a.b"},
        {"intent": "a.b@2.0", "payload": [1, None], "caller": "ann", "tags": ["x"], "priority": -1},
        {
            "intent": {"name": "a", "version": "3"},
            "caller": {"name": "ann", "roles": ["r"], "tenant": "t"},
            "routing": {"strategy": "fallback", "fallback": ["x", "y"]},
            "deadline": "2030-01-01T00:00:00Z",
            "idempotency_key": "k",
        },
        {"intent": "a", "payload": {"$decimal": "1.50"}},
    ],
)
def test_an_envelope_is_sound(shop, run, file, envelope):
    """Whatever `IntentEnvelope` takes is sound: short and long forms, and tagged values in the payload."""
    ran = run("validate", file(envelope))
    assert (ran.code, ran.json[0]["kind"]) == (0, "envelope")
    assert faults_of(ran) == []


@pytest.mark.parametrize(
    ("content", "where", "message", "hint"),
    [
        ({"payload": 1}, "/intent", "missing", ""),
        ({"intent": "a", "payloda": 1}, "/payloda", "no field 'payloda'", "'payload'"),
        ({"intent": "a", "caller": {"name": "x", "rols": []}}, "/caller/rols", "no field", "'roles'"),
        ({"intent": "a", "routing": {"strategy": "fastest"}}, "/routing/strategy", "'direct'", ""),
        ({"intent": "a", "routing": {"targt": "x"}}, "/routing/targt", "no field", "'target'"),
        ({"intent": {"name": "a", "verson": "1"}}, "/intent/verson", "no field", "'version'"),
        ({"intent": ""}, "/intent/name", "at least 1", ""),
        ({"intent": 7}, "/intent", "valid", ""),
        ({"intent": "a", "tags": "urgent"}, "/tags", "tuple", ""),
        ({"intent": "a", "priority": "high"}, "/priority", "integer", ""),
        ({"intent": "a", "deadline": "2030-01-01T00:00:00"}, "/deadline", "time zone", ""),
        ({"intent": "a", "payload": {"x": {"$wrong": 1}}}, "/payload/x", "", "tags"),
        ([GOOD], "", "an envelope is a JSON object", ""),
        ("null", "", "an envelope is a JSON object", ""),
    ],
)
def test_a_fault_of_an_envelope_has_its_place(shop, run, file, content, where, message, hint):
    """Each fault names the field by a JSON pointer, says what is wrong, and guesses what was meant."""
    ran = run("validate", file(content))
    assert (ran.code, ran.json[0]["kind"]) == (2, "envelope")
    fault = faults_of(ran)[0]
    assert fault["where"] == where
    assert message in fault["message"]
    assert hint in fault["hint"]


def test_all_faults_are_told_at_once(shop, run, file):
    """Several faults of one envelope come together."""
    faults = faults_of(run("validate", file({"priority": "high", "tags": 1, "extra": 1})))
    assert {fault["where"] for fault in faults} == {"/intent", "/priority", "/tags", "/extra"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"intent": "a",}', "line 1, column 1"),
        ('{"intent": "a", "intent": "b"}', "envelope.json"),
        ('{"intent": "a", "payload": NaN}', "line 1"),
        ('{"intent": "a", "payload": 1e999}', "envelope.json"),
        ("", "line 1, column 1"),
        (b'{"intent": "\xff"}', "byte 12"),
        ("[" * 100_000, "envelope.json"),
    ],
)
def test_what_is_no_json_is_a_fault_of_the_file(shop, run, file, content, said):
    """Broken JSON, repeated keys and numbers that JSON does not have are told with their place."""
    ran = run("validate", file(content))
    assert (ran.code, ran.json[0]["kind"]) == (2, None)
    assert said in faults_of(ran)[0]["where"]


@pytest.mark.parametrize("name", ["missing.json", "missing.toml", ".", "\udcff.json", "\udcff.toml"])
def test_what_cannot_be_read_is_a_fault_of_the_file(shop, run, name):
    """A missing file, a directory and an odd name are faults, not crashes."""
    ran = run("validate", name)
    assert ran.code == 2
    assert "cannot be read" in faults_of(ran)[0]["message"]


def test_a_policy_is_told_by_name_or_content(shop, run, file):
    """TOML files are policies, and so is JSON with default or rules and without an intent."""
    names = [
        "policy.toml",
        file({"default": "deny"}, "policy.json"),
        file(
            {"default": "allow", "rules": [{"id": "a", "effect": "deny", "payload": {"x": {"gt": 0.1}}}]},
            "b.json",
        ),
        file({"intent": "a", "payload": {"default": "x"}}, "e.json"),
    ]
    ran = run("validate", *names)
    assert ran.code == 0
    assert [tree["kind"] for tree in ran.json] == ["policy", "policy", "policy", "envelope"]
    assert [tree["file"] for tree in ran.json] == names


def test_every_fault_of_a_policy_is_told(shop, run, file):
    """A policy's faults come with their paths, all of them."""
    name = file('default = "maybe"\n[[rules]]\nid = "a"\neffect = "deny"\ninten = "x"\n', "bad.toml")
    faults = faults_of(run("validate", name))
    assert [fault["where"] for fault in faults] == ["bad.toml: default", "bad.toml: rules[0].inten"]
    assert "intent" in faults[1]["hint"]


def test_one_bad_file_among_good_ones_is_found(shop, run, file):
    """All files are judged, jsonl has a line for each, and one fault is enough for exit code 2."""
    ran = run("validate", "policy.toml", file({}), "policy.toml", "--format", "jsonl")
    assert ran.code == 2
    assert [tree["ok"] for tree in ran.lines] == [True, False, True]


def test_the_app_says_whether_it_would_take_an_envelope(app, run, file):
    """With an app, an unknown intent, an agent that cannot, and a payload that does not fit are faults."""
    assert faults_of(run("validate", file(GOOD))) == []
    assert "no agent handles" in faults_of(run("validate", file({"intent": "nobody.there"})))[0]["message"]
    routing = {"routing": {"target": "echo"}}
    assert "'echo' does not handle" in faults_of(run("validate", file(GOOD | routing)))[0]["message"]
    fault = faults_of(run("validate", file(GOOD | {"payload": "text"})))[0]
    assert (fault["where"], fault["expected"]) == ("/payload", "dict")
    assert "'triage'" in fault["message"]


def test_one_agent_that_takes_it_is_enough(app, run, file):
    """Where several agents are called, an envelope is sound if the payload fits one of them."""
    envelope = {"intent": "ticket.classify", "payload": "text", "routing": {"strategy": "fallback"}}
    assert faults_of(run("validate", file(envelope))) == []


def test_a_denial_is_no_fault_of_an_envelope(app, run, file):
    """What the policy decides is `policy explain`'s to say; a payload that does not fit is still a fault."""
    denied = {"intent": "money.transfer", "payload": {"amount": 5000}}
    assert faults_of(run("validate", file(denied), "--policy", "policy.toml")) == []
    assert faults_of(run("validate", file(denied | {"payload": "all"}), "--policy", "policy.toml"))


def test_a_policy_can_be_checked_beside_a_broken_app(shop, run, file):
    """Only envelopes need the app: a policy file is judged even where the app cannot be loaded."""
    assert run("validate", "policy.toml", "--app", "shop:broken").code == 0
    ran = run("validate", file(GOOD), "--app", "shop:broken")
    assert (ran.code, ran.stdout) == (12, "")


def test_a_table_names_files_and_faults(shop, run, file):
    """For people, each file has a line, with its faults below it; odd characters are spelt out."""
    ran = run("validate", "policy.toml", file({"intent": "a", "\x1b[31m": 1}), "--format", "table")
    assert ran.code == 2
    assert "ok  policy.toml" in ran.stdout
    assert "broken  envelope.json" in ran.stdout
    assert "\x1b" not in ran.stdout
    assert "\\x1b[31m" in ran.stdout


def test_no_file_is_usage(shop, run):
    """Without a file there is nothing to validate: exit code 2."""
    ran = run("validate")
    assert (ran.code, ran.stdout) == (2, "")


def test_each_place_of_a_payload_is_told_and_no_secret(app, run, file):
    """A payload that does not fit the app's agent: a fault for each place; what is too large says so."""
    with open("shop.py", "a") as app_file:
        app_file.write(
            "@runtime.agent('typed', handles='typed')\ndef typed(x: dict[str, int]) -> None: ...\n"
        )
    ran = run("validate", file({"intent": "typed", "payload": {"a": 1, "b": "x", "password": "hunter2"}}))
    assert [(fault["where"], fault["got"]) for fault in faults_of(ran)] == [
        ("/payload/b", "str 'x'"), ("/payload/password", "[redacted]"),
    ]  # fmt: skip
    assert "hunter2" not in ran.stdout and "one of 2 places" in ran.stdout
    (fault,) = faults_of(
        run("validate", file(b'{"intent": "typed", "payload": ' + b"[" * 70 + b"]" * 70 + b"}"))
    )
    assert (fault["where"], "70 levels" in fault["message"]) == ("/payload", True)
