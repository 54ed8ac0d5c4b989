"""`doctor` alone: the health of an installation, each check with its status and what to do."""

import importlib.metadata
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from intentusnet.cli import health


def by_name(tree: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in tree["checks"]}


def test_a_healthy_installation_has_no_fault(app, run, routed):
    """Every check of a used store and a sound app is ok, and nothing is run or replayed."""
    routed()
    ran = run("doctor")
    tree = ran.json
    assert ran.code == 0
    assert tree["ok"] is True
    assert (tree["runs"], tree["findings"], tree["replayed"]) == ([], [], 0)
    checks = by_name(tree)
    for name in ("python", "intentusnet", "settings", "app", "policy", "store", "log", "interrupted"):
        assert checks[name]["status"] == "ok", checks[name]
    assert "6 agents" in checks["app"]["found"]


def test_looking_makes_nothing(shop, run):
    """Without app and store there is a warning, no fault, and no store afterwards."""
    ran = run("doctor")
    assert ran.code == 0
    assert by_name(ran.json)["app"]["status"] == "warning"
    assert "INTENTUSNET_APP" in by_name(ran.json)["app"]["hint"]
    assert not (shop / ".intentusnet").exists()


def test_an_app_that_cannot_be_loaded_is_a_fault(app, run, monkeypatch):
    """Exit code 1, and what the app's import said."""
    monkeypatch.setenv("INTENTUSNET_APP", "shop:broken")
    ran = run("doctor")
    assert ran.code == 1
    assert ran.json["ok"] is False
    assert "ZeroDivisionError" in by_name(ran.json)["app"]["found"]


def test_a_malformed_project_file_is_a_fault(shop, run):
    """What cannot be read is told as a check, not as an error."""
    (shop / "pyproject.toml").write_text("[tool.intentusnet]\nstor = 'x'\n")
    ran = run("doctor")
    assert ran.code == 1
    assert by_name(ran.json)["settings"]["status"] == "fault"
    assert "stor" in by_name(ran.json)["settings"]["found"]


def test_a_policy_is_looked_at(app, run):
    """A rule that can never decide is a warning; a file that cannot be used is a fault."""
    (app / "odd.toml").write_text(
        'default = "allow"\n[[rules]]\nid = "useless"\neffect = "allow"\nintent = "a.*"\n'
    )
    ran = run("doctor", "--policy", "odd.toml")
    assert ran.code == 0
    assert by_name(ran.json)["policy"]["status"] == "warning"
    assert "useless" in by_name(ran.json)["policy"]["found"]
    assert by_name(run("doctor", "--policy", "policy.toml").json)["policy"]["status"] == "ok"
    ran = run("doctor", "--policy", "missing.toml")
    assert ran.code == 1
    assert by_name(ran.json)["policy"]["status"] == "fault"


def test_a_damaged_log_is_a_fault(app, run, routed):
    """A changed byte in the newest execution is found without reading all of the log."""
    routed()
    run("list")  # from now on the index knows these lines, and does not read them again
    (segment,) = (app / ".intentusnet" / "log").glob("*.jsonl")
    data = bytearray(segment.read_bytes())
    data[data.index(b"crashes")] ^= 1
    segment.write_bytes(data)
    ran = run("doctor")
    assert ran.code == 1
    assert by_name(ran.json)["log"]["status"] == "fault"


def test_what_was_interrupted_is_a_warning(app, run, routed):
    """An execution without an end is told, with the command that lists it."""
    run("route", "cut.short", "{}")
    check = by_name(run("doctor").json)["interrupted"]
    assert check["status"] == "warning"
    assert check["found"].startswith("1 execution")
    assert "recover" in check["hint"]


@pytest.mark.parametrize(("free", "status"), [(1 << 20, "fault"), (500 << 20, "warning"), (5 << 30, "ok")])
def test_a_full_disk_is_told(shop, run, monkeypatch, free, status):
    """Below 64 MiB it is a fault, below 1 GiB a warning."""
    usage = namedtuple("usage", "total used free")(1 << 40, 0, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert by_name(run("doctor").json)["disk"]["status"] == status


def test_a_library_out_of_range_is_a_warning(shop, run, monkeypatch):
    """A version that the hooks do not know is told with the range, and with what to install."""
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "1.0" if name == "aiohttp" else real(name)
    )
    check = by_name(run("doctor").json)["aiohttp"]
    assert check["status"] == "warning"
    assert ">=3.12" in check["found"]
    assert check["hint"] == "pip install 'intentusnet[aiohttp]'"


def test_a_package_that_is_needed_and_too_old_is_a_fault(shop, run, monkeypatch):
    """What the package itself needs has to be there in a version that fits."""
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0" if name == "orjson" else real(name))
    ran = run("doctor")
    assert ran.code == 1
    assert "orjson 1.0" in by_name(ran.json)["intentusnet"]["found"]


def test_the_kind_of_a_file_system_is_known():
    """It is that of the mount in which the directory lies."""
    assert health._kind_of(Path("/proc")) == "proc"
    assert health._kind_of(Path("/")) not in ("", "proc")


def test_health_is_a_table_for_people(app, run):
    """Each check is a line with its status."""
    ran = run("doctor", "--format", "table")
    assert "python" in ran.stdout
    assert "file system" in ran.stdout
