"""`demo`: what it writes, what it shows, that what it advises works, and what it never touches."""

import json
import shlex
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from helpers.shells import shell

from intentusnet import FileExecutionStore
from intentusnet.cli.demo import FILES, NEXT, STEPS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A directory that the demo made, in a process of its own."""
    place = tmp_path_factory.mktemp("demo") / "desk"
    done = shell(f"intentusnet demo {shlex.quote(str(place))}", place.parent)
    assert done.returncode == 0, done.stderr
    return place


def test_everything_that_is_told_has_happened(shop, run):
    """What was routed is in the store, all of it matches on replay, and only the changed agent's diverge."""
    ran = run("demo", "desk")
    tree = ran.json
    assert ran.code == 0
    with FileExecutionStore(shop / "desk" / ".intentusnet") as store:
        rows = {row.execution_id: row for row in store.list().rows}
        report = store.verify()
    assert len(rows) == tree["executions"] == report.executions > len(STEPS)
    for told, step in zip(tree["routed"], STEPS, strict=True):
        row = rows[told["execution_id"]]
        assert told["intent"] == step.intent == row.intent
        assert (told["status"], told["agent"], told["error_code"]) == (row.status, row.agent, row.error_code)
    assert tree["verified"] == report.as_dict()
    assert tree["replayed"] == {"match": len(rows), "diverged": 0, "not_replayable": 0}
    first = tree["changed"].pop("first")
    classified = sum(row.intent == "ticket.classify" and row.status == "success" for row in rows.values())
    assert tree["changed"] == {"match": len(rows) - classified, "diverged": classified, "not_replayable": 0}
    assert rows[first["execution_id"]].intent == "ticket.classify"
    assert [d["kind"] for d in first["divergences"]] == ["arguments", "outcome", "response"]


def test_it_shows_what_there_is_to_show(shop, run):
    """Among the executions are children, a denial, a fallback after a failure, and a fan-out."""
    routed = run("demo", "desk").json["routed"]
    codes = {told["error_code"] for told in routed}
    assert codes == {None, "POLICY_DENIAL", "VALIDATION_ERROR", "CAPABILITY_NOT_FOUND"}
    with FileExecutionStore(shop / "desk" / ".intentusnet") as store:
        records = [store.get(told["execution_id"]) for told in routed]
    assert [len(records[0].children), len(records[1].children)] == [4, 4]
    statuses = {record.strategy: [attempt.status for attempt in record.attempts] for record in records}
    assert statuses["fallback"] == ["error", "success"]
    assert statuses["broadcast"] == ["success", "success"]


def test_a_replay_pays_nobody(shop, run):
    """The ledger has a line for each payment that was routed, and none for those that were replayed."""
    payments = run("demo", "desk").json["payments"]
    lines = (shop / "desk" / "ledger.jsonl").read_text().splitlines()
    assert payments == {"before_replay": len(lines), "after_replay": len(lines)}
    assert sorted(json.loads(line)["amount"] for line in lines) == [25, 40]


def test_every_command_to_try_next_works(made):
    """Each advised command, typed in that directory, ends as told, and prints JSON and no error."""
    for line, _, code in NEXT:
        done = shell(line, made)
        assert done.returncode == code, (line, done.stderr)
        assert [json.loads(printed) for printed in done.stdout.splitlines()]
        assert "Error" not in done.stderr


def test_the_app_is_a_program_too(made):
    """app.py runs as a script, and records."""
    done = subprocess.run([sys.executable, "app.py"], cwd=made, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["status"] == "success"


def test_the_files_are_copied_as_they_are(made):
    """What stands in the package stands in the directory, byte for byte."""
    for name in FILES:
        assert (made / name).read_bytes() == files("intentusnet.cli").joinpath("demo_app", name).read_bytes()


def test_for_people_there_is_a_story_that_fits_the_terminal(shop, run):
    """The table tells what was routed, what diverges and what to type, within 80 columns."""
    ran = run("demo", "my desk", "--format", "table")
    assert ran.code == 0
    lines = ran.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for line, _, _ in NEXT:
        assert f"  {line}" in lines
    assert "17 of 17 match" in ran.stdout
    assert "3 of 17 diverge" in ran.stdout
    assert "cd 'my desk'" in ran.stdout


def test_a_second_demo_goes_on_in_the_same_directory(shop, run):
    """The demo takes up a directory of its own: nothing is changed, new executions are added."""
    run("demo", "desk")
    before = {name: (shop / "desk" / name).stat().st_mtime_ns for name in FILES}
    tree = run("demo", "desk").json
    assert before == {name: (shop / "desk" / name).stat().st_mtime_ns for name in FILES}
    assert tree["verified"]["executions"] == 2 * tree["executions"]
    assert tree["replayed"]["match"] == tree["executions"]


def test_an_interrupted_demo_is_taken_up_again(shop, run):
    """Files that are not there yet are written beside those that are."""
    run("demo", "desk")
    (shop / "desk" / "app.py").unlink()
    assert run("demo", "desk").code == 0


def test_the_default_directory_is_named_for_the_package(shop, run):
    """Without DIR it is ./intentusnet-demo."""
    assert run("demo").json["directory"] == "intentusnet-demo"
    assert (shop / "intentusnet-demo" / "app.py").is_file()


def test_neither_settings_nor_modules_of_the_place_get_in(shop, run, monkeypatch):
    """Another app.py and settings for other work have no part in the demo, and are left as they were."""
    (shop / "app.py").write_text("raise RuntimeError('not the demo')\n")
    (shop / "pyproject.toml").write_text('[tool.intentusnet]\nstore = "mine"\napp = "app:runtime"\n')
    monkeypatch.setenv("INTENTUSNET_STORE", str(shop / "other"))
    monkeypatch.syspath_prepend(shop)
    module = type(sys)("app")
    monkeypatch.setitem(sys.modules, "app", module)
    path = list(sys.path)
    assert run("demo", "desk").code == 0
    assert (shop / "desk" / ".intentusnet").is_dir()
    assert not (shop / "other").exists()
    assert not (shop / "mine").exists()
    assert (sys.modules["app"], sys.path, Path.cwd()) == (module, path, shop)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda place: (place / "notes.txt").write_text("mine"), "not empty"),
        (lambda place: (place / "pyproject.toml").write_text("[project]\n"), "not empty"),
        (lambda place: (place / "pyproject.toml").mkdir(), "cannot be written"),
    ],
    ids=["foreign file", "foreign project", "odd project"],
)
def test_a_directory_of_others_is_left_alone(shop, run, spoil, said):
    """What the demo did not make is refused with 12, and nothing is written into it."""
    place = shop / "desk"
    place.mkdir()
    spoil(place)
    before = sorted(path.name for path in place.iterdir())
    ran = run("demo", "desk")
    assert (ran.code, ran.stdout) == (12, "")
    assert said in ran.stderr
    assert sorted(path.name for path in place.iterdir()) == before


def test_a_file_that_was_changed_is_left_as_it_is(shop, run):
    """Work on the demo's app is never written over."""
    run("demo", "desk")
    app = shop / "desk" / "app.py"
    app.write_text(app.read_text() + "# my work\n")
    ran = run("demo", "desk")
    assert ran.code == 12
    assert "app.py" in ran.stderr
    assert app.read_text().endswith("# my work\n")


def test_a_place_that_is_no_directory_is_refused(shop, run):
    """A file, or a path below one, is exit code 12 with the place."""
    for name in ("shop.py", "shop.py/desk"):
        ran = run("demo", name)
        assert (ran.code, ran.stdout) == (12, "")
        assert "shop.py" in ran.stderr


def test_a_damaged_store_is_not_passed_over(shop, run):
    """If an earlier demo's log is not what was written, the demo ends with 13."""
    run("demo", "desk")
    [segment] = (shop / "desk" / ".intentusnet" / "log").iterdir()
    data = segment.read_bytes()
    segment.write_bytes(data.replace(b"charged me twice", b"charged me t1ice", 1))
    assert run("demo", "desk").code == 13


@pytest.mark.parametrize("args", [["a", "b"], ["--stroe", "x"], ["--store", "x"]])
def test_what_is_mistyped_is_usage(shop, run, args):
    """Superfluous arguments, and options that mean nothing to the demo, end with 2 and write nothing."""
    before = sorted(path.name for path in shop.iterdir())
    ran = run("demo", *args)
    assert (ran.code, ran.stdout) == (2, "")
    assert sorted(path.name for path in shop.iterdir()) == before
