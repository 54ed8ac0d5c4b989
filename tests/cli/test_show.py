"""`show`: one execution from its request to its outcome."""

KEYS = [
    *(
        "execution_id",
        "status",
        "fingerprint",
        "opened_us",
        "duration_us",
        "parent",
        "forked_from",
        "children",
        "depth",
    ),
    *("envelope", "environment", "plan", "questions", "outcome"),
]


def test_a_record_is_one_line_of_json_with_fixed_keys(routed, run):
    """It prints request, plan, every question with its answer, and the outcome, in raw trees."""
    tree = run("show", routed()).json
    assert list(tree) == KEYS
    assert tree["envelope"]["payload"] == {"text": "it crashes"}
    assert tree["outcome"]["payload"] == {"label": "bug"}
    effect = next(question for question in tree["questions"] if question["kind"] == "effect")
    assert effect == {
        "scope": "attempt:0",
        "question": 0,
        "kind": "effect",
        "name": "llm",
        "arguments": {"args": ["classify", "it crashes"], "kwargs": {}},
        "side_effect": "reversible",
        "ok": True,
        "answer": "bug",
    }


def test_parent_and_child_name_each_other(routed, run):
    """A child intent's execution names its parent's question, and the parent its children."""
    parent = run("show", routed("desk.open")).json
    child = run("show", parent["children"][0]).json
    assert child["parent"] == {"execution": parent["execution_id"], "scope": "attempt:0", "question": 0}
    assert child["depth"] == 1
    table = run("show", parent["execution_id"], "--format", "table").stdout
    assert child["execution_id"] in table
    assert parent["execution_id"] in run("show", child["execution_id"], "--format", "table").stdout


def test_references_are_prefixes_suffixes_and_last(routed, run):
    """@last, @last~1 and any unique end of an id mean the execution."""
    first, second = routed(), routed()
    assert run("show", "@last").json["execution_id"] == second
    assert run("show", "@last~1").json["execution_id"] == first
    assert run("show", first[-8:]).json["execution_id"] == first


def test_unknown_and_ambiguous_references(routed, run):
    """What fits nothing is exit code 10; what fits several is 2, with the candidates."""
    first, second = routed(), routed()
    unknown = run("show", "ffffffff")
    assert (unknown.code, unknown.stdout) == (10, "")
    ambiguous = run("show", first[:4])
    assert ambiguous.code == 2
    assert first in ambiguous.stderr and second in ambiguous.stderr
    assert run("show", "@first").code == 2
    assert run("show", "@last~7").code == 10


def test_a_missing_store_is_no_record(app, run):
    """Where there is no store there is no record: 10, and none is made."""
    ran = run("show", "@last")
    assert ran.code == 10
    assert "no store" in ran.stderr
    assert not (app / ".intentusnet").exists()


def test_a_portable_record_is_shown_without_a_store(routed, portable, run, monkeypatch):
    """A file is verified and shown as the store would show it, without store or app."""
    execution_id = routed()
    expected = run("show", execution_id).json
    path = portable(execution_id, "kept/one.jsonl")
    monkeypatch.setenv("INTENTUSNET_APP", "no.such:app")
    assert run("show", str(path), "--store", "elsewhere").json == expected


def test_a_portable_record_that_was_changed_is_refused(routed, portable, run):
    """One changed byte is exit code 13, with the line; a missing file is 10."""
    path = portable(routed(), "one.jsonl")
    path.write_bytes(path.read_bytes().replace(b"it crashes", b"it crushes", 1))
    ran = run("show", str(path))
    assert (ran.code, ran.stdout) == (13, "")
    assert "one.jsonl, line 1" in ran.stderr
    assert run("show", "two.jsonl").code == 10
    assert run("show", ".").code == 10


def test_the_table_tells_the_story(routed, run, monkeypatch):
    """At 80 columns request, plan with decisions, questions by scope and outcome can be read."""
    monkeypatch.setenv("COLUMNS", "80")
    options = ["--caller", "ann", "--role", "r", "--tenant", "t", "--tag", "x", "--priority", "2"]
    execution_id = routed("desk.open", None, *options, "--target", "desk")
    told = run("show", execution_id, "--format", "table").stdout
    for part in (
        "ann; roles r; tenant t",
        "priority",
        "direct; target desk",
        "no policy",
        "attempt:0",
        "Outcome",
    ):
        assert part in told
    assert 'route ticket.classify {"text":"it crashes"}' in " ".join(told.split())
    assert max(map(len, told.splitlines())) <= 80
    assert "intentusnet" in run("show", execution_id, "--format", "table", "-v").stdout


def test_the_table_of_a_failure(routed, run):
    """Errors of agents and effects are told by code and message, and a denial by its rule."""
    failed = routed("ticket.classify", {"text": None}, "--fallback", "backup,triage")
    told = run("show", failed, "--format", "table").stdout
    assert "AGENT_UNAVAILABLE: the queue is full" in told
    assert "TypeError: argument of type" in told
    assert "only backup, triage" in told
    denied = routed("money.transfer", {"amount": 9999}, "--policy", "policy.toml")
    told = run("show", denied, "--format", "table").stdout
    assert "no-large-transfers: matched" in told and "POLICY_DENIAL" in told
    nobody = routed("nobody.there", None, "--strategy", "parallel", "--prefer", "first")
    told = run("show", nobody, "--format", "table").stdout
    assert "no candidates" in told and "prefer first" in told


def test_the_table_of_an_interrupted_execution(app, run):
    """Where no end is on record, that is said, and which question has no answer."""
    run("route", "cut.short")
    told = run("show", "@last", "--format", "table").stdout
    assert "interrupted" in told and "no answer on record" in told
    assert run("show", "@last").json["outcome"] is None
