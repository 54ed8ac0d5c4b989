"""`policy check`: rules that let more through than they seem to."""


def test_what_gets_around_a_rule_is_a_finding(app, run, tmp_path):
    """Check names a glob that lets more through than it seems to, with a value that shows it."""
    path = tmp_path / "wide.toml"
    path.write_text(
        'default = "allow"\n'
        '[[rules]]\nid = "inside"\neffect = "deny"\npayload = { "to[*]" = { not_glob = "*@corp.example" } }\n'
    )
    ran = run("policy", "check", str(path), "--strict")
    [finding] = ran.json["findings"]
    assert (ran.code, finding["rule"], finding["code"]) == (1, "inside", "wide glob")
    assert "eve@evil.example,a@corp.example" in finding["message"]


def test_other_names_of_fields_are_findings_of_an_app(app, run, tmp_path, monkeypatch):
    """With an app, check names the fields that its agents take under a name that no rule compares."""
    (tmp_path / "aliased_app.py").write_text(
        "from pydantic import BaseModel, Field\n"
        "from intentusnet import IntentusRuntime\n"
        "class Payment(BaseModel):\n    recipient: str = Field(alias='to')\n"
        "runtime = IntentusRuntime()\n"
        "@runtime.agent('bank', handles='pay')\ndef bank(payment: Payment) -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "known.toml"
    path.write_text(
        'default = "allow"\n[[rules]]\nid = "known"\neffect = "deny"\npayload.to.not_in = ["ann"]\n'
    )
    ran = run("policy", "check", str(path), "--app", "aliased_app:runtime")
    assert [(one["rule"], one["code"]) for one in ran.json["findings"]] == [("known", "other name")]
    assert ran.json["findings"][0]["message"].startswith("agent bank takes to also as recipient")
