"""`repair`: says what it would do, asks, does it, and keeps its exit codes."""

import os
import pty
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

KEYS = [
    *("store", "repaired", "torn", "kept_entries", "salvaged_entries", "lost_entries", "lost_bytes"),
    *("cut_executions", "lost_executions", "unproven_executions", "damaged_executions", "quarantine"),
    "first_bad",
]


def log_of(app: Path) -> Path:
    return next((app / ".intentusnet/log").iterdir())


@pytest.fixture
def damaged(routed: Callable[..., str], app: Path) -> tuple[str, str]:
    """Ids of two executions, of which the first is damaged."""
    first, second = routed(), routed("echo.say", {"text": "hello"})
    log_of(app).write_bytes(log_of(app).read_bytes().replace(b"it crashes", b"it crushes", 1))
    return first, second


def test_what_would_be_done(damaged, run, app):
    """--dry-run is 1 with the plan on stdout, and changes no byte."""
    before = log_of(app).read_bytes()
    ran = run("repair", "--dry-run")
    assert (ran.code, list(ran.json)) == (1, KEYS)
    assert (ran.json["repaired"], ran.json["quarantine"], ran.json["kept_entries"]) == (False, None, 0)
    assert ran.json["lost_executions"] == [damaged[0]]
    assert list(ran.json["first_bad"]) == ["seq", "segment", "line", "offset", "reason", "expected", "actual"]
    assert log_of(app).read_bytes() == before
    assert run("verify").code == 13


def test_nobody_is_asked_without_a_terminal(damaged, run, app):
    """Without a terminal and without --yes it is 2, and nothing is changed."""
    before = log_of(app).read_bytes()
    ran = run("repair")
    assert (ran.code, ran.stdout) == (2, "")
    assert "--yes" in ran.stderr
    assert "--dry-run" in ran.stderr
    assert log_of(app).read_bytes() == before


def test_a_repair(damaged, run, app):
    """With --yes the log is good again, the original is kept, and the execution that was whole is read."""
    original = log_of(app).read_bytes()
    ran = run("repair", "--yes")
    assert (ran.code, ran.json["repaired"]) == (0, True)
    kept = app / ".intentusnet" / ran.json["quarantine"]
    assert (kept / log_of(app).name).read_bytes() == original
    assert run("verify").code == 0
    assert run("show", damaged[1]).code == 0
    assert run("show", damaged[0]).code == 10
    assert run("route", "echo.say", "{}").code == 0
    again = run("repair", "--yes")
    assert (again.code, again.json["repaired"], again.json["first_bad"]) == (0, False, None)


def test_who_is_refused_is_told_of_the_command(damaged, run, app):
    """Reading and writing a damaged log are refused with 13, and the hint names what to run."""
    log_of(app).write_bytes(b"")
    for args in (["route", "echo.say", "{}"], ["list"]):
        ran = run(*args)
        assert ran.code == 13
        assert "`intentusnet verify`" in ran.stderr
        assert "`intentusnet repair`" in ran.stderr


def test_a_good_store_needs_no_repair(routed, run, app):
    """A whole log is 0 with and without --dry-run, and nobody is asked."""
    routed()
    for options in ([], ["--dry-run"], ["--yes"]):
        ran = run("repair", *options)
        assert (ran.code, ran.json["repaired"], ran.json["first_bad"]) == (0, False, None)
    told = run("repair", "--format", "table")
    assert "nothing to repair" in told.stdout
    with log_of(app).open("ab") as file:
        file.write(b"torn")
    torn = run("repair", "--format", "table")
    assert torn.code == 0
    assert "as a crash leaves them" in torn.stderr


def test_the_table(damaged, run):
    """For people: what is wrong and where, what stays, what is lost, and the ids on stderr."""
    planned = run("repair", "--dry-run", "--format", "table")
    assert planned.stdout.startswith("damaged\n")
    assert "lost" in planned.stdout
    assert damaged[0] in planned.stderr
    done = run("repair", "--yes", "--format", "table")
    assert done.stdout.startswith("repaired\n")
    assert "quarantine" in done.stdout.replace("\n", "").replace(" ", "")


def test_what_cannot_be_repaired(routed, run, app):
    """No store and a malformed store.json are 12, another store's log is 13, and nothing is made."""
    ran = run("repair", "--yes", "--store", "nowhere")
    assert (ran.code, ran.stdout) == (12, "")
    assert not (app / "nowhere").exists()
    routed()
    identity = app / ".intentusnet/store.json"
    good = identity.read_bytes()
    identity.write_bytes(b"{}")
    assert run("repair", "--yes").code == 12
    run("route", "echo.say", "{}", "--store", "other")
    identity.write_bytes((app / "other/store.json").read_bytes())
    ran = run("repair", "--yes")
    assert (ran.code, ran.stdout) == (13, "")
    assert "another store" in ran.stderr
    identity.write_bytes(good)
    assert run("verify").code == 0


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 130)])
def test_on_a_terminal_a_person_is_asked(damaged, app, run, answer, code):
    """With a terminal the plan is shown, and only a yes changes anything."""
    before = log_of(app).read_bytes()
    terminal, inside = pty.openpty()
    script = Path(sysconfig.get_path("scripts")) / "intentusnet"
    os.write(terminal, answer)
    done = subprocess.run(
        [script, "repair", "--format", "json"],
        stdin=inside,
        stdout=subprocess.PIPE,
        stderr=inside,
        check=False,
        timeout=60,
    )
    os.close(inside)
    told = os.read(terminal, 65536).decode()
    os.close(terminal)
    assert "Repair" in told
    assert done.returncode == code
    assert (log_of(app).read_bytes() == before) is (code != 0)
    assert run("verify").code == (0 if code == 0 else 13)
