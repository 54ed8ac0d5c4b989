"""`verify`: good, broken, missing."""

import re
import shutil

import pytest

from intentusnet.log.entry import leaf, leaf_hash
from intentusnet.log.merkle import root_of

KEYS = ["ok", "entries", "executions", "head", "first_bad"]


@pytest.mark.parametrize("path", [[], [".intentusnet"], [".intentusnet/log"]])
def test_a_good_log(routed, run, path):
    """The store, its directory and its log verify: 0, fixed keys, and the head of the chain."""
    routed()
    ran = run("verify", *path)
    assert ran.code == 0
    assert list(ran.json) == KEYS
    assert (ran.json["ok"], ran.json["executions"], ran.json["first_bad"]) == (True, 1, None)
    assert len(ran.json["head"]) == 64


def test_the_root_of_the_tree_is_in_the_table(routed, run, app):
    """The table tells head and root, of the whole log or of what is good of it."""
    routed()
    head = re.compile(r"^ok  .* check\n  head  ([0-9a-f]{64})\n  tree  ([0-9a-f]{64})\n$")
    told = head.match(run("verify", "--format", "table").stdout)
    assert told is not None
    assert told[1] == run("verify").json["head"]
    lines = next((app / ".intentusnet/log").iterdir()).read_bytes().splitlines()
    assert told[2] == root_of(b"".join(leaf_hash(leaf(line)) for line in lines)).hex()


def test_a_broken_log_names_the_first_bad_place(routed, run, app):
    """One changed byte is 13, with segment, line, reason, expected and actual, on stdout and as a table."""
    routed()
    segment = next((app / ".intentusnet/log").iterdir())
    segment.write_bytes(segment.read_bytes().replace(b"it crashes", b"it crushes", 1))
    ran = run("verify")
    assert ran.code == 13
    assert list(ran.json["first_bad"]) == ["seq", "segment", "line", "offset", "reason", "expected", "actual"]
    assert (ran.json["ok"], ran.json["first_bad"]["line"]) == (False, 1)
    told = run("verify", "--format", "table")
    assert told.code == 13
    assert told.stdout.startswith("broken  0 entries of 0 executions check, then:\n")
    assert f"{segment.name}, line 1, byte 0" in told.stdout
    assert told.stderr.rstrip().endswith("intentusnet repair --dry-run")
    elsewhere = run("verify", str(app / ".intentusnet"))
    assert f"repair --dry-run --store {app / '.intentusnet'}" in elsewhere.stderr


def test_portable_records(routed, portable, run, app):
    """Files verify on their own, and stderr says what they cannot prove."""
    path = portable(routed(), "kept/a.jsonl")
    portable(routed(), "kept/b.jsonl")
    ran = run("verify", "kept")
    assert (ran.code, ran.json["executions"], ran.json["head"]) == (0, 2, None)
    assert "Position and chain are the store's to prove" in ran.stderr
    path.write_bytes(path.read_bytes()[:-40])
    ran = run("verify", str(path))
    assert (ran.code, ran.json["ok"]) == (13, False)
    assert "to prove" not in ran.stderr
    assert "repair" not in ran.stderr


def test_interrupted_executions_are_named(app, run):
    """An execution without an end is nothing broken, and is named on stderr."""
    for _ in range(7):
        run("route", "cut.short")
    ran = run("verify", "--format", "table")
    assert ran.code == 0
    assert run("list").json[0]["execution_id"] not in ran.stderr
    assert run("list").json[-1]["execution_id"] in ran.stderr
    assert "and 2 more" in ran.stderr
    assert run("verify", "-q").stderr == ""


@pytest.mark.parametrize("path", [["nowhere"], ["empty"], []])
def test_nothing_to_verify(app, run, path):
    """A missing path, a directory without records and a missing store are 12, and nothing is made."""
    (app / "empty").mkdir()
    ran = run("verify", *path)
    assert (ran.code, ran.stdout) == (12, "")
    assert not (app / ".intentusnet").exists()


def test_a_store_of_another_version(routed, run, app):
    """Every command refuses a store of another format version with 12 and says which."""
    execution_id = routed()
    shutil.copytree(app / ".intentusnet", app / "newer")
    note = app / "newer/store.json"
    note.write_bytes(note.read_bytes().replace(b'"format":1', b'"format":2'))
    for args in (["verify"], ["list"], ["show", execution_id], ["replay", "--all"], ["route", "echo.say"]):
        ran = run(*args, "--store", "newer")
        assert (ran.code, ran.stdout) == (12, ""), args
        assert "format 2" in ran.stderr


def test_a_foreign_directory_is_left_alone(app, run):
    """A directory with other things in it is refused with 12, and nothing is written into it."""
    (app / "photos").mkdir()
    (app / "photos/cat.jpg").write_bytes(b"meow")
    for args in (["list"], ["show", "@last"], ["verify"], ["replay", "--all"], ["route", "echo.say"]):
        ran = run(*args, "--store", "photos")
        assert (ran.code, ran.stdout) == (12, ""), args
    assert [path.name for path in (app / "photos").iterdir()] == ["cat.jpg"]
