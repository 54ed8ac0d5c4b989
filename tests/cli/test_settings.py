"""Settings: which wins, where they come from, and every way in which an app cannot be loaded."""

from pathlib import Path

import pytest

from intentusnet.cli.settings import resolve_settings
from intentusnet.errors import ConfigurationError


def write_project(directory, text):
    (directory / "pyproject.toml").write_text("[tool.intentusnet]\n" + text)


@pytest.mark.parametrize("name", ["store", "app", "policy"])
def test_option_wins_over_environment_over_project_over_default(tmp_path, name):
    """Each setting comes from the strongest place that has it, and says which."""
    write_project(tmp_path, f'{name} = "from-file"')
    variable = f"INTENTUSNET_{name.upper()}"

    def resolved(options, environ):
        setting = getattr(resolve_settings(**options, environ=environ, directory=tmp_path), name)
        return setting.value, setting.source

    assert resolved({name: "o"}, {variable: "e"}) == ("o", f"--{name}")
    assert resolved({}, {variable: "e"}) == ("e", variable)
    file = "from-file" if name == "app" else str(tmp_path / "from-file")
    assert resolved({}, {variable: ""}) == (file, str(tmp_path / "pyproject.toml"))
    (tmp_path / "pyproject.toml").unlink()
    assert resolved({}, {}) == (".intentusnet" if name == "store" else None, "default")


def test_the_project_file_is_found_upward(tmp_path):
    """The nearest pyproject.toml upward counts, and its paths are relative to it; absolute ones stay."""
    write_project(tmp_path, 'store = "records"\npolicy = "/etc/p.toml"')
    deep = tmp_path / "a/b"
    deep.mkdir(parents=True)
    settings = resolve_settings(environ={}, directory=deep)
    assert settings.store.value == str(tmp_path / "records")
    assert settings.policy.value == "/etc/p.toml"
    assert settings.project == tmp_path / "pyproject.toml"
    (deep / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    assert resolve_settings(environ={}, directory=deep).project is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tool.intentusnet]\nstoer = 'x'", "Did you mean 'store'?"),
        ("[tool.intentusnet]\nstore = 7", "makes no sense"),
        ("[tool.intentusnet]\nstore = ''", "makes no sense"),
        ("[tool]\nintentusnet = 7", "no table"),
        ("[tool.intentusnet", "cannot be read"),
        ("\xff", "cannot be read"),
    ],
)
def test_a_malformed_project_file_is_refused(tmp_path, text, told):
    """Unknown keys, wrong types and broken TOML are configuration errors with the file's name."""
    (tmp_path / "pyproject.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError) as caught:
        resolve_settings(environ={}, directory=tmp_path)
    assert told in str(caught.value)
    assert str(tmp_path) in caught.value.where
    assert caught.value.exit_code == 12


def test_every_source_reaches_a_command(shop, run, monkeypatch):
    """A command uses store and app of option, environment and project file alike."""
    write_project(shop, 'store = "from-file"\napp = "shop:make"')
    assert run("route", "echo.say", "1").code == 0
    monkeypatch.setenv("INTENTUSNET_STORE", "from-environ")
    assert run("route", "echo.say", "2").code == 0
    assert run("route", "echo.say", "3", "--store", "from-option").code == 0
    assert run("--store", "before", "route", "echo.say", "4").code == 0
    assert run("--store", "x", "route", "echo.say", "5", "--store", "after").code == 0
    stores = ("from-file", "from-environ", "from-option", "before", "after")
    for number, store in enumerate(stores, 1):
        assert run("show", "@last", "--store", store).json["envelope"]["payload"] == number
    assert not (shop / "x").exists()


def test_the_app_is_found_beside_the_project_file(shop, run, monkeypatch):
    """From a directory below, the app of the project file is imported from the project's directory."""
    write_project(shop, 'app = "shop:runtime"\nstore = "records"')
    (shop / "below").mkdir()
    monkeypatch.chdir(shop / "below")
    assert run("route", "echo.say").code == 0
    assert (shop / "records/store.json").exists()


def test_the_apps_own_store_is_used_unless_one_is_set(shop, run):
    """Without a setting the runtime's store counts, for reading too; --store wins over it."""
    source = (shop / "shop.py").read_text()
    (shop / "own.py").write_text(source.replace("IntentusRuntime()", "IntentusRuntime(store='own')"))
    assert run("route", "echo.say", "1", "--app", "own:runtime").code == 0
    assert Path("own/store.json").exists()
    assert len(run("list", "--app", "own:runtime").json) == 1
    assert run("verify", "--app", "own:runtime").json["executions"] == 1
    assert run("list", "--app", "own:runtime", "--store", "other").json == []
    assert run("list", "--app", "shop:runtime").json == []


APPS = [
    ("shop", "shop:runtime", "module:attribute"),
    ("shop:", "no app", "module:attribute"),
    (":runtime", "no app", "module:attribute"),
    ("shop.py:runtime", "no app", "not its file"),
    ("./shop:runtime", "no app", "not its file"),
    ("..shop:runtime", "no app", "module:attribute"),
    ("shpo:runtime", "no module 'shpo'", "Did you mean 'shop'?"),
    ("shop:runtme", "has no 'runtme'", "Did you mean 'runtime'?"),
    ("shop:runtime.stoer", "has no 'runtime.stoer'", "Did you mean 'store'?"),
    ("shop:number", "no runtime", "int 7"),
    ("shop:needs", "cannot be called", "parameter"),
    ("shop:number.bit_length", "returned no runtime", "int 3"),
    ("shop:broken", "cannot be made", "ZeroDivisionError"),
    ("raising:runtime", "cannot be imported", "raising.py:3"),
    ("exiting:runtime", "cannot be imported", "SystemExit: 3"),
    ("bad_syntax:runtime", "cannot be imported", "bad_syntax.py:2"),
    ("lacking:runtime", "cannot be imported", "ModuleNotFoundError: No module named 'not_installed'"),
    ("refused:runtime", "cannot be imported: an agent named", "refused.py:4"),
]


@pytest.mark.parametrize(("name", "told", "more"), APPS, ids=[name for name, _, _ in APPS])
@pytest.mark.parametrize("args", [("route", "echo.say"), ("list",)], ids=["route", "list"])
def test_an_app_that_cannot_be_loaded(shop, run, args, name, told, more):
    """Every failure is 12, one message with the place in the app or what was meant, and no traceback."""
    (shop / "raising.py").write_text("import os\n\nos.environ['NOT_SET_ANYWHERE']\n")
    (shop / "exiting.py").write_text("import sys\nsys.exit(3)\n")
    (shop / "bad_syntax.py").write_text("x = 1\nruntime = (\n")
    (shop / "lacking.py").write_text("import not_installed\n")
    (shop / "refused.py").write_text(
        "from intentusnet import IntentusRuntime\n"
        "runtime = IntentusRuntime()\n"
        "def add():\n"
        "    return runtime.agent('a', handles='x')(lambda payload: 1)\n"
        "add()\n"
        "add()\n"
    )
    ran = run(*args, "--app", name)
    assert (ran.code, ran.stdout) == (12, "")
    assert told.split(":")[0] in ran.stderr and more in ran.stderr
    assert ran.stderr.startswith("Error: ") and "\nError:" not in ran.stderr


def test_no_app(shop, run):
    """Without an app, route says the three ways to name one."""
    ran = run("route", "echo.say")
    assert ran.code == 12
    for way in ("--app", "INTENTUSNET_APP", "pyproject.toml"):
        assert way in ran.stderr


def test_a_malformed_policy_is_a_configuration_error(app, run):
    """The configured policy of another command is set-up: malformed or missing it is 12, and nothing runs."""
    Path("bad.toml").write_text("[[rules]]\nid = 'x'\n")
    for policy in ("bad.toml", "missing.toml"):
        ran = run("route", "echo.say", "--policy", policy)
        assert (ran.code, ran.stdout) == (12, "")
        assert policy in ran.stderr
    assert not Path(".intentusnet").exists()
