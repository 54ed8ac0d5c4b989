"""The frame: help, errors, exit codes, and the real console script from end to end."""

import errno
import importlib
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import click
import pytest

from intentusnet.cli.app import COMMANDS, did_you_mean


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_what_the_table_says(name):
    """Each line of the table has a module with a command of that name, whose help begins with that line."""
    module, line = COMMANDS[name]
    command = importlib.import_module(f"intentusnet.cli.{module}").command
    assert isinstance(command, click.Command)
    assert command.name == name
    # A short help says the same things; where it goes on, the first word still is the same.
    assert (command.help or "").split()[0] == line.split()[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run, name):
    """--help of each command ends with 0 and shows its usage."""
    ran = run(name, "--help")
    assert ran.code == 0
    assert ran.stdout.startswith(f"Usage: intentusnet {name}")


def test_help_imports_no_machinery():
    """--help and --version import neither runtime nor store, nor rich, pydantic or orjson."""
    code = (
        "import sys\nfrom intentusnet.cli.app import cli\n"
        "try: cli(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'rich', 'pydantic', 'orjson', 'intentusnet.runtime', 'intentusnet.stores.index'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_help_names_commands_and_exit_codes(run):
    """The help of the whole lists every command and every exit code."""
    told = run("--help").stdout
    assert all(f"\n  {name} " in told for name in COMMANDS)
    for code in (0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 130):
        assert f"{code} " in told.partition("Exit codes:")[2]
    assert run("--version").stdout.startswith("intentusnet ")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["lst"], "Did you mean 'list'?"),
        (["LIST"], "Did you mean 'list'?"),
        (["xyzzy"], "no command 'xyzzy'"),
        (["--sotre", "x", "list"], "--store"),
        (["--format", "tabel", "list"], "Did you mean 'table'?"),
        (["-q", "list", "-v"], "exclude each other"),
    ],
)
def test_usage_errors(run, args, told):
    """A misspelt command or option is 2 with what may have been meant, and how to get help."""
    ran = run(*args)
    assert (ran.code, ran.stdout) == (2, "")
    assert told in ran.stderr and "--help" in ran.stderr


def test_no_command_shows_help(run):
    """Called with nothing, the command line says what there is."""
    ran = run()
    assert ran.code == 2
    assert "Commands:" in ran.stdout + ran.stderr


def test_options_stand_before_or_after_the_command(routed, run):
    """Shared options mean the same in both places."""
    routed()
    for args in (["--format", "jsonl", "list"], ["list", "--format", "jsonl"]):
        assert len(run(*args).lines) == 1
    assert run("--quiet", "replay", "@last").stderr == ""


def test_a_bug_is_one_line_without_a_traceback(run, monkeypatch):
    """An exception of nobody's is exit code 1 and one line; -vv prints the traceback."""

    def fail(**args):
        raise ValueError("boom")

    monkeypatch.setattr("intentusnet.cli.filters.Query", fail)
    ran = run("list")
    assert (ran.code, ran.stdout) == (1, "")
    assert "internal error: ValueError: boom" in ran.stderr and "-vv" in ran.stderr


def test_tracebacks_are_for_those_who_ask(app, run_process):
    """With -vv the traceback of an app's exception is on stderr, above the message."""
    ran = run_process("route", "echo.say", "--app", "shop:broken", "-vv")
    assert ran.code == 12
    assert "Traceback" in ran.stderr and "ZeroDivisionError" in ran.stderr
    assert ran.stderr.rstrip().splitlines()[-1].startswith("  ")


def test_did_you_mean():
    """The nearest known word is offered, in its own spelling, and nothing where nothing is near."""
    assert did_you_mean("DIRECT", ["direct"]) == " Did you mean 'direct'?"
    assert did_you_mean("zzz", ["direct"]) == ""


def test_route_to_verify_in_processes(app, run_process):
    """The console script routes, lists, replays and verifies, with data on stdout, as documented."""
    ran = run_process(
        "route", "ticket.classify", "-", input=b'{"text": "crash"}', INTENTUSNET_APP="shop:runtime"
    )
    assert ran.code == 0
    assert ran.json["payload"] == {"label": "bug"}
    assert ran.stderr == "noise on stdout\n"
    assert [row["execution_id"] for row in run_process("list").json] == [ran.json["execution_id"]]
    again = run_process("replay", "--all", INTENTUSNET_APP="shop:runtime", SHOP_PROMPT="sort")
    assert (again.code, again.json["verdict"]) == (1, "diverged")
    assert run_process("replay", "--all", "--app", "shop:runtime").code == 0
    assert run_process("verify").json["ok"] is True


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["route", "nobody.there"], 3),
        (["route", "ticket.lost", "{}"], 4),
        (["route", "money.transfer", '{"amount": 5000}', "--policy", "policy.toml"], 5),
        (["show", "@last"], 10),
        (["route", "x", "--app", "shop:nothing"], 12),
        (["verify", "nowhere"], 12),
        (["route", "cut.short"], 130),
        (["route", "echo.say", b'"\xff"'], 2),
    ],
)
def test_exit_codes_of_the_process(app, run_process, args, code):
    """The exit code of the process is the documented one, and there is no traceback."""
    ran = run_process(*args, INTENTUSNET_APP="shop:runtime")
    assert ran.code == code
    assert "Traceback" not in ran.stderr


def test_no_color_reaches_the_process(routed, run_process):
    """Colour is off in a pipe, on with --color always, and NO_COLOR does not take that back."""
    routed()
    for args, environ, colorful in (
        (["--format", "table"], {}, False),
        (["--format", "table", "--color", "always"], {}, True),
        (["--format", "table", "--color", "always"], {"NO_COLOR": "1"}, True),
    ):
        assert ("\x1b[" in run_process("list", *args, **environ).stdout) is colorful


def test_a_reader_that_goes_away_is_no_error(routed, monkeypatch):
    """When stdout is closed by its reader, the command ends quietly, as one that SIGPIPE ended."""
    for number in range(3):
        routed("echo.say", "x" * 50_000 + str(number))
    monkeypatch.setenv("INTENTUSNET_STORE", ".intentusnet")
    script = Path(sysconfig.get_path("scripts")) / "intentusnet"
    with subprocess.Popen(
        [script, "show", "@last"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        told = process.stderr.read()
    assert (process.returncode, told) == (141, b"")


def test_a_full_disk_is_told(app, run, monkeypatch):
    """When the system refuses to write, that is 12 and one message, and no internal error."""

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "stdout")

    monkeypatch.setattr("intentusnet.cli.output.Output.rows", full)
    ran = run("list")
    assert ran.code == 12
    assert f"the system refuses: {os.strerror(errno.ENOSPC)}" in ran.stderr and "stdout" in ran.stderr


def test_completion_of_commands(run_process):
    """The shell is told the commands, without an app or a store."""
    ran = run_process(_INTENTUSNET_COMPLETE="bash_complete", COMP_WORDS="intentusnet re", COMP_CWORD="1")
    told = {line.split(",")[1] for line in ran.stdout.split()}
    assert told == {name for name in COMMANDS if name.startswith("re")} >= {"replay", "resume", "retrieve"}


def test_route_prints_what_python_reads(app, run_process):
    """Text beyond ASCII comes out as UTF-8, whatever the locale says."""
    ran = run_process("route", "echo.say", '"ü€"', INTENTUSNET_APP="shop:runtime", LC_ALL="C", PYTHONUTF8="0")
    assert json.loads(ran.stdout)["payload"] == "ü€"


def test_the_package_can_be_run_as_a_module():
    """`python -m intentusnet` is the command, for where scripts are not on the path."""
    command = [sys.executable, "-m", "intentusnet", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("intentusnet")
