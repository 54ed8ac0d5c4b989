"""`agents`: what is registered, in which order, and what is said of an app that cannot be asked."""

import pytest


def test_agents_are_listed_by_name(app, run):
    """The list is an array of definitions in the order of names, whatever the order of registration."""
    ran = run("agents")
    assert ran.code == 0
    assert [agent["name"] for agent in ran.json] == ["backup", "cut", "desk", "echo", "pay", "triage"]
    assert ran.json[4]["side_effect"] == "irreversible"
    assert ran.json[0]["capabilities"] == [{"intent": "ticket.*", "versions": "*"}]


def test_jsonl_is_an_agent_a_line(app, run):
    """--format jsonl prints what the array has, a line each."""
    assert run("agents", "--format", "jsonl").lines == run("agents").json


def test_one_agent_is_shown_with_its_schemas(app, run):
    """NAME prints one definition, and --schema one of its schemas alone."""
    ran = run("agents", "triage")
    assert (ran.code, ran.json["version"]) == (0, "1.2")
    assert run("agents", "triage", "--schema", "input").json == ran.json["input_schema"]
    assert run("agents", "triage", "--schema", "output").json == ran.json["output_schema"]
    assert ran.json["input_schema"]["type"] == "object"


@pytest.mark.parametrize(
    "args", [["agents"], ["agents", "triage"], ["agents", "triage", "--schema", "input"]]
)
def test_a_table_is_for_people(app, run, args):
    """Tables name the agents and what they take, and are no JSON."""
    ran = run(*args, "--format", "table")
    assert ran.code == 0
    assert ("object" if "--schema" in args else "ticket.classify") in ran.stdout
    assert not ran.stdout.startswith(("[", '{"name'))


def test_what_an_app_writes_of_itself_cannot_reach_the_terminal_raw(shop, run):
    """Markup and control characters in names and descriptions are printed as what they are."""
    (shop / "odd.py").write_text(
        "from intentusnet import IntentusRuntime\n"
        "runtime = IntentusRuntime()\n"
        'runtime.agent("[red]x\\x1b[31m", handles="a", description="[/bold]\\x07")(lambda payload: payload)\n'
    )
    for args in (["agents"], ["agents", "[red]x\x1b[31m"]):
        ran = run(*args, "--app", "odd:runtime", "--format", "table")
        assert ran.code == 0
        assert "[red]x\\x1b[31m" in ran.stdout
        assert "\x1b" not in ran.stdout
        assert "\x07" not in ran.stdout


def test_an_app_without_agents_is_an_empty_list(shop, run):
    """An app that registers nothing gives an empty array, and says so in a table."""
    (shop / "empty.py").write_text("from intentusnet import IntentusRuntime\nruntime = IntentusRuntime()\n")
    assert run("agents", "--app", "empty:runtime").json == []
    assert "no agents" in run("agents", "--app", "empty:runtime", "--format", "table").stderr


def test_a_broken_policy_does_not_hide_the_agents(app, run, monkeypatch):
    """What is registered can be seen whatever the policy in force is."""
    monkeypatch.setenv("INTENTUSNET_POLICY", "missing.toml")
    assert run("agents").code == 0


def test_nothing_is_made_by_looking(app, run):
    """Listing agents leaves no store behind."""
    run("agents")
    assert not (app / ".intentusnet").exists()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["trige"], 2, "Did you mean 'triage'?"),
        (["nobody-at-all"], 2, "no agent is named 'nobody-at-all'"),
        (["--schema", "input"], 2, "--schema needs the NAME"),
        (["triage", "--schema", "inptu"], 2, "Did you mean 'input'?"),
        (["triage", "desk"], 2, "unexpected extra argument"),
        (["--app", "shop"], 12, "module:attribute"),
        (["--app", "shop:runtme"], 12, "Did you mean 'runtime'?"),
        (["--app", "shop:number"], 12, "no runtime"),
        (["--app", "shop:broken"], 12, "ZeroDivisionError"),
        (["--app", "shopp:runtime"], 12, "no module"),
    ],
)
def test_what_cannot_be_shown_is_refused(app, run, args, code, said):
    """A name that no agent has, options that make no sense, and apps that cannot be loaded are told apart."""
    ran = run("agents", *args)
    assert ran.code == code
    assert ran.stdout == ""
    assert said.lower() in ran.stderr.lower()


def test_without_an_app_it_is_said_how_to_set_one(shop, run):
    """No app set is exit code 12, and the message names the ways."""
    ran = run("agents")
    assert ran.code == 12
    assert "INTENTUSNET_APP" in ran.stderr
