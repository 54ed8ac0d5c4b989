"""Each hidden source is found once, at its line, with what helps; and with that in its place all is clean."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.hidden import SOURCES, definition_of, line_of, program

from intentusnet.doctor.judging import FIXES

#: Of these no line is seen that reads: the agent's definition is told instead.
UNREAD = {"order", "zone", "state"}
#: Here the line that acts is in a function that the agent calls.
ACTING = {"network", "program", "write"}
WITHOUT_TIME_MACHINE = "import sys\nsys.modules['time_machine'] = None\n"


def doctor(directory: Path, *command: str, **environ: str) -> dict[str, Any]:
    """What `doctor -- COMMAND` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "intentusnet", "doctor", "--format", "json", "--", *command],
        cwd=directory,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    tree: dict[str, Any] = json.loads(done.stdout)
    assert tree["ok"] is (done.returncode == 0)
    assert [run["exit_code"] for run in tree["runs"]] == [0, 0], done.stderr
    return tree


def written(directory: Path, source: str) -> Path:
    (directory / "app.py").write_text(source)
    return directory


HIDDEN = program({name: source.hidden for name, source in SOURCES.items()})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the doctor says of a program with all sources in it."""
    return doctor(written(tmp_path_factory.mktemp("hidden"), HIDDEN), "python", "app.py")


@pytest.fixture(scope="module")
def without_time_machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same where time-machine is not installed."""
    directory = written(tmp_path_factory.mktemp("hidden"), HIDDEN)
    (directory / "sitecustomize.py").write_text(WITHOUT_TIME_MACHINE)
    path = os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))
    return doctor(directory, "python", "app.py", PYTHONPATH=path)


def expect(tree: dict[str, Any], name: str) -> None:
    """One finding for that source, at its line, that says what it is and what helps."""
    source = SOURCES[name]
    line = definition_of(HIDDEN, name) if source.cause in UNREAD else line_of(HIDDEN, name)
    if name == "asked":  # the line that asks is known
        line = line_of(HIDDEN, name)
    differing = [finding for finding in tree["findings"] if finding["certainty"] == "differs"]
    if name in ACTING:
        there = [finding for finding in differing if finding["cause"] == source.cause]
    else:
        there = [finding for finding in tree["findings"] if finding["source"] == f"app.py:{line}"]
    assert [finding["cause"] for finding in there] == [source.cause]
    assert there[0]["certainty"] == "differs"
    assert there[0]["fix"] == FIXES[source.cause]
    assert there[0]["code"]
    assert there[0]["example"] is not None
    assert len(there[0]["executions"]) == 1


@pytest.mark.parametrize("name", SOURCES)
def test_a_hidden_source_is_found(found: dict[str, Any], name: str) -> None:
    """It is told by line, cause and fix, with the difference that came of it."""
    expect(found, name)


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.cause == "time"])
def test_the_time_is_found_without_time_machine(without_time_machine: dict[str, Any], name: str) -> None:
    """Where nothing can redirect the clock, its readings are seen all the same, datetime's too."""
    expect(without_time_machine, name)


def test_nothing_else_is_found(found: dict[str, Any]) -> None:
    """There are as many findings as hidden sources, and no execution is counted twice."""
    assert len(found["findings"]) == len(SOURCES)
    concerned = [execution for finding in found["findings"] for execution in finding["executions"]]
    assert len(set(concerned)) == len(concerned) == found["replayed"] == len(SOURCES)


def test_what_is_fixed_is_clean(tmp_path: Path) -> None:
    """With the context in the place of each source nothing differs, and nothing is read outside."""
    source = program({name: hidden.fixed for name, hidden in SOURCES.items()})
    tree = doctor(written(tmp_path, source), "python", "app.py")
    assert tree["findings"] == []
    assert tree["ok"] is True
    assert tree["replayed"] == len(SOURCES)


def test_what_is_captured_is_clean(tmp_path: Path) -> None:
    """With the capture setting that the fix names, the sources may stay as they are."""
    captured = {name: hidden.hidden for name, hidden in SOURCES.items() if hidden.captured}
    source = program(captured, '"clock", "chance", "process"')
    tree = doctor(written(tmp_path, source), "python", "app.py")
    assert tree["findings"] == []
    assert tree["replayed"] == len(captured)


def test_a_captured_time_without_a_zone_depends_on_the_machine(tmp_path: Path) -> None:
    """To capture the clock is not enough for a local time: its replay differs where the zone is another."""
    source = program({"datetime": SOURCES["datetime"].hidden}, '"clock"')
    findings = doctor(written(tmp_path, source), "python", "app.py")["findings"]
    assert [finding["cause"] for finding in findings] == ["zone"]


def test_every_fix_is_tried() -> None:
    """Each cause is one of the sources above, except that code has changed, which no program shows alone."""
    assert {hidden.cause for hidden in SOURCES.values()} == set(FIXES) - {"changed"}
