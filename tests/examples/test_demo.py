"""`make demo`, in a process of its own on a few sessions, and the commands that it suggests."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path("examples", "tool_sessions", "demo.py")


def run(*arguments: object, root: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs a program from the root of the repository, as people do."""
    bin_first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INTENTUSNET_")}
    return subprocess.run(
        [str(argument) for argument in arguments],
        cwd=root,
        env={**kept, "PATH": bin_first, "COLUMNS": "200", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def commands_in(text: str) -> list[tuple[str, list[str]]]:
    """Each suggested command with the line above it, which says what it is for."""
    found = re.findall(r"^  # (.+)\n  (intentusnet .+)$", text, re.MULTILINE)
    return [(why, shlex.split(command)) for why, command in found]


def test_the_demo_finds_what_it_must_and_its_commands_work(root: Path, tmp_path: Path) -> None:
    """The demo ends well, says what diverged, and each of its five commands ends as it says."""
    store = tmp_path / "demo-store"
    ran = run(sys.executable, DEMO, "--sessions", 66, "--store", store, root=root)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "2 of " in ran.stdout
    assert "multi_turn_base_63" in ran.stdout
    assert "/args/2/fields/fuelLevel" in ran.stdout
    commands = commands_in(ran.stdout)
    assert [command[1] for _, command in commands] == ["list", "show", "replay", "diff", "verify"]
    for why, command in commands:
        ended = run(*command, root=root)
        assert ended.returncode == (1 if "exit code 1" in why else 0), (command, ended.stderr)
        assert ended.stdout


def test_the_demo_runs_again_over_its_own_store(root: Path, tmp_path: Path) -> None:
    """A second run replaces what the first has left; where the change touches nothing, all match."""
    store = tmp_path / "demo-store"
    for _ in range(2):
        ran = run(sys.executable, DEMO, "--sessions", 3, "--store", store, root=root)
        assert (ran.returncode, ran.stderr) == (0, "")
    assert "verified " in ran.stdout
    assert "0 of " in ran.stdout
    for _, command in commands_in(ran.stdout):
        assert run(*command, root=root).returncode in (0, 1)
    app = "examples.tool_sessions.app:runtime"
    assert run("intentusnet", "replay", "--all", "--store", store, "--app", app, root=root).returncode == 0


def test_the_demo_touches_no_store_of_others(root: Path, tmp_path: Path) -> None:
    """A directory that the demo has not made is left as it is, and the exit code says so."""
    (tmp_path / "mine.txt").write_text("mine")
    ran = run(sys.executable, DEMO, "--sessions", 1, "--store", tmp_path, root=root)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "left alone" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_demo_fails_when_the_change_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a replay with the changed tool does not diverge where it must, the demo ends with 1."""
    from examples.tool_sessions import changed, demo

    monkeypatch.setattr(changed, "CHANGED_TOOLS", {})
    assert demo.main(["--sessions", "64", "--store", str(tmp_path / "demo-store")]) == 1
    assert "fillFuelTank" in capsys.readouterr().err


def test_the_demo_names_the_missing_wheel(root: Path, tmp_path: Path) -> None:
    """Without the wheel there is one message, with the command that installs it."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['bfcl_eval'] = None")
    ran = run(sys.executable, DEMO, "--store", tmp_path / "s", root=root, PYTHONPATH=str(tmp_path))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "pip install --no-deps 'bfcl-eval==2026.3.23'" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(("force", "shown"), [({"FORCE_COLOR": "1", "TERM": "xterm"}, True), ({}, False)])
def test_progress_is_for_terminals(root: Path, tmp_path: Path, force: dict[str, str], shown: bool) -> None:
    """A bar is drawn on a terminal and nowhere else."""
    ran = run(sys.executable, DEMO, "--sessions", 2, "--store", tmp_path / "s", root=root, **force)
    assert ran.returncode == 0
    assert ("running the sessions" in ran.stdout) == shown


def test_the_commands_of_the_readme_work(root: Path, tmp_path: Path) -> None:
    """What the example's README shows by hand runs, and ends with the exit codes that it says."""
    text = (root / "examples" / "tool_sessions" / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^intentusnet .+$", text, re.MULTILINE)
    ended = [
        run(*shlex.split(command), root=root, INTENTUSNET_STORE=str(tmp_path / "store")).returncode
        for command in commands
    ]
    assert ended == [0, 0, 5, 0, 1]
