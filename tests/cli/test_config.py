"""`config show`: every setting with its source, and what cannot be used told rather than refused."""

import sys

import pytest

from intentusnet.log.identity import FORMAT


def test_defaults_are_shown_as_such(shop, run):
    """Where nobody has set anything, the store is the default one, and nothing exists or is made."""
    tree = run("config", "show").json
    assert tree["settings"] == {
        "store": {"value": ".intentusnet", "source": "default"},
        "app": {"value": None, "source": "default"},
        "policy": {"value": None, "source": "default"},
    }
    assert tree["app"] == {"loaded": False, "agents": None, "error": None}
    assert tree["policy"] == {"digest": None, "rules": None, "default": None, "error": None}
    assert tree["store"] == {"exists": False, "id": None, "segments": None, "bytes": None, "error": None}
    assert tree["versions"]["store_format"] == str(FORMAT)
    assert tree["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert not (shop / ".intentusnet").exists()


def test_every_source_is_named(shop, run, monkeypatch):
    """Project file, environment and option are told apart, in the order in which they win."""
    (shop / "pyproject.toml").write_text(
        '[tool.intentusnet]\napp = "shop:runtime"\nstore = "records"\npolicy = "policy.toml"\n'
    )
    project = str(shop / "pyproject.toml")
    settings = run("config", "show").json["settings"]
    assert {setting["source"] for setting in settings.values()} == {project}
    assert settings["store"]["value"] == str(shop / "records")
    monkeypatch.setenv("INTENTUSNET_STORE", "elsewhere")
    settings = run("config", "show", "--policy", "other.toml").json["settings"]
    assert settings["store"] == {"value": "elsewhere", "source": "INTENTUSNET_STORE"}
    assert settings["policy"] == {"value": "other.toml", "source": "--policy"}
    assert settings["app"] == {"value": "shop:runtime", "source": project}


def test_what_the_app_brings_along_is_the_apps(shop, run):
    """Without settings, store and policy are the app's own, and their source says so."""
    (shop / "own.py").write_text(
        "from intentusnet import IntentusRuntime\n"
        'runtime = IntentusRuntime(store="mine", policy="policy.toml")\n'
        'runtime.agent("echo", handles="echo")(lambda payload: payload)\n'
    )
    tree = run("config", "show", "--app", "own:runtime").json
    assert tree["settings"]["store"] == {"value": "mine", "source": "app"}
    assert tree["settings"]["policy"] == {"value": "policy.toml", "source": "app"}
    assert (tree["policy"]["rules"], tree["policy"]["default"]) == (1, "allow")
    assert tree["store"]["exists"] is False
    run("route", "echo", "1", "--app", "own:runtime")
    store = run("config", "show", "--app", "own:runtime").json["store"]
    assert store["exists"] is True
    assert store["segments"] == 1
    assert store["bytes"] == sum(path.stat().st_size for path in (shop / "mine" / "log").iterdir())


def test_a_store_without_a_place_has_no_path(shop, run):
    """A store that lies in memory is the app's, and there is nothing to say about its files."""
    (shop / "memory.py").write_text(
        "from intentusnet import IntentusRuntime, MemoryExecutionStore\n"
        "runtime = IntentusRuntime(store=MemoryExecutionStore())\n"
    )
    tree = run("config", "show", "--app", "memory:runtime").json
    assert tree["settings"]["store"] == {"value": None, "source": "app"}
    assert tree["store"]["exists"] is False


def test_what_cannot_be_used_is_part_of_the_answer(shop, run):
    """A broken app, policy or store is shown with its error, and the exit code is 0."""
    (shop / "foreign").mkdir()
    (shop / "foreign" / "store.json").write_text("no store")
    (shop / "bad.toml").write_text("default = 7\n")
    options = ["--app", "shop:broken", "--policy", "bad.toml", "--store", "foreign"]
    ran = run("config", "show", *options)
    assert ran.code == 0
    assert ran.json["app"]["error"]["code"] == "APP_NOT_LOADED"
    assert ran.json["policy"]["error"]["code"] == "CONFIGURATION_ERROR"
    assert ran.json["store"]["error"]["code"] == "STORE_REFUSED"
    table = run("config", "show", *options, "--format", "table")
    assert table.code == 0
    assert "ZeroDivisionError" in table.stdout


def test_a_foreign_file_in_the_log_is_told(app, run, routed):
    """A log with a file in it that is no segment is shown as broken, not counted."""
    routed()
    (app / ".intentusnet" / "log" / "notes.txt").write_text("mine")
    assert run("config", "show").json["store"]["error"]["code"] == "INTEGRITY_BROKEN"


def test_a_table_shows_the_same(app, run, routed):
    """The table names the settings, the number of agents and the store."""
    routed()
    tree = run("config", "show").json
    printed = run("config", "show", "--policy", "policy.toml", "--format", "table").stdout
    for word in ("shop:runtime", "INTENTUSNET_APP", "6 agents", "1 rule, default allow", tree["store"]["id"]):
        assert word in printed


@pytest.mark.parametrize(
    ("project", "said"),
    [
        ('[tool.intentusnet]\nstor = "x"\n', "Did you mean 'store'?"),
        ("[tool.intentusnet]\nstore = 7\n", "makes no sense"),
        ("[tool\n", "cannot be read"),
    ],
)
def test_a_malformed_project_file_is_refused(shop, run, project, said):
    """With a project file that makes no sense there are no settings to show: exit code 12."""
    (shop / "pyproject.toml").write_text(project)
    ran = run("config", "show")
    assert (ran.code, ran.stdout) == (12, "")
    assert said in ran.stderr


@pytest.mark.parametrize("args", [["show", "more"], ["shwo"], ["show", "--stroe", "x"]])
def test_what_is_mistyped_is_usage(shop, run, args):
    """Arguments, commands and options that there are not end with 2 and print nothing."""
    ran = run("config", *args)
    assert (ran.code, ran.stdout) == (2, "")
