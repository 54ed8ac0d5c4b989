"""What people type is taken for the Python program that it is, or refused with what would do."""

import sys
from pathlib import Path

import pytest

from intentusnet.doctor.programs import Program, program_of
from intentusnet.errors import InvalidInput


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a program in it."""
    (tmp_path / "app.py").write_text("pass\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(place: Path, name: str, beginning: str) -> str:
    path = place / name
    path.write_text(f"{beginning}\n")
    path.chmod(0o755)
    return f"./{name}"


@pytest.mark.parametrize(
    ("typed", "program"),
    [
        (["python", "app.py", "-x", "1"], Program((sys.executable,), "app.py", False, ("-x", "1"))),
        (["python3", "-m", "pytest", "-q"], Program((sys.executable,), "pytest", True, ("-q",))),
        ([sys.executable, "app.py"], Program((sys.executable,), "app.py", False, ())),
        (
            ["python", "-u", "-X", "dev", "-W", "error", "-Wd", "app.py"],
            Program((sys.executable, "-u", "-X", "dev", "-W", "error", "-Wd"), "app.py", False, ()),
        ),
        (["app.py", "a"], Program((sys.executable,), "app.py", False, ("a",))),
    ],
)
def test_python_programs_are_understood(typed: list[str], program: Program) -> None:
    """Python with options, a file or a module, and a file alone; without a path, it is this Python."""
    assert program_of(typed) == program


def test_a_command_that_was_installed_beside_python_is_found() -> None:
    """A console script of the same environment is run by its Python, wherever the path leads."""
    program = program_of(["pytest", "-q"])
    assert Path(program.target).name == "pytest"
    assert Path(program.interpreter[0]).name.startswith("python")
    assert program.arguments == ("-q",)


@pytest.mark.parametrize(
    ("beginning", "python"),
    [
        ("#!/opt/venv/bin/python3.12\nimport x", "/opt/venv/bin/python3.12"),
        ("#!/bin/sh\n'''exec' \"/a long path/bin/python\" \"$0\" \"$@\"\n' '''", "/a long path/bin/python"),
        ("#!/bin/sh\n'''exec' /long/bin/python \"$0\" \"$@\"\n' '''", "/long/bin/python"),
        (f"#!/usr/bin/env {sys.executable}", sys.executable),
    ],
)
def test_the_python_of_a_script_is_the_one_of_its_first_line(
    place: Path, beginning: str, python: str
) -> None:
    """Also where installers hide a long path behind a shell."""
    assert program_of([script(place, "tool", beginning)]).interpreter == (python,)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["nosuch-command"], "no such command"),
        (["./nosuch.py"], "no such command"),
        (["python", "nosuch.py"], "no such command"),
        (["/nowhere/bin/python", "app.py"], "no such command"),
        (["python"], "no file or module"),
        (["python", "-m"], "no file or module"),
        (["python", "-c", "pass"], "no file or module"),
        (["python", "-"], "no file or module"),
        (["/bin/sh", "-c", "python app.py"], "not written in Python"),
    ],
)
def test_what_is_no_python_program_is_refused(typed: list[str], said: str) -> None:
    """The message says what would do, and what was typed."""
    with pytest.raises(InvalidInput, match=said) as caught:
        program_of(typed)
    assert "pytest" in caught.value.expected
    assert typed[0] in caught.value.got or typed[1] in caught.value.got


def test_code_on_the_command_line_is_to_be_put_into_a_file() -> None:
    """Findings are told by lines, which such code does not have."""
    with pytest.raises(InvalidInput) as caught:
        program_of(["python", "-c", "pass"])
    assert "file" in caught.value.hint


def test_a_script_of_a_shell_is_refused(place: Path) -> None:
    """A script that another program runs is not run by Python."""
    with pytest.raises(InvalidInput, match="not written in Python"):
        program_of([script(place, "tool", "#!/bin/sh\npython app.py")])
