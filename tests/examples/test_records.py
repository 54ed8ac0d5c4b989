"""The golden records: every one verifies and replays with the app as it is now."""

import re
from pathlib import Path
from typing import Any

import pytest

from intentusnet import ExecutionRecord, Verdict
from intentusnet.log.entry import parse_line
from intentusnet.log.verify import verify_path
from intentusnet.record import fold

RECORDS = sorted((Path(__file__).parents[2] / "records").glob("*.jsonl"))


def read(path: Path) -> ExecutionRecord:
    return fold(map(parse_line, path.read_bytes().splitlines()))


@pytest.fixture(params=RECORDS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_a_golden_record_verifies(path: Path) -> None:
    """A portable record in the repository is, to the last byte, what the store wrote."""
    report = verify_path(path)
    assert (report.ok, report.executions, report.interrupted) == (True, 1, ())


def test_a_golden_record_replays(path: Path, untouchable: Any) -> None:
    """Plan, policy, questions and outcome are the same today, and no effect is called to find that out."""
    from examples.tool_sessions.app import make_runtime

    report = make_runtime(world=untouchable).replay(read(path))
    assert (report.verdict, report.divergences) == (Verdict.MATCH, ())


def test_a_golden_record_is_what_its_recipe_makes(path: Path) -> None:
    """Made anew, each record tells the same, so that making them all changes no file."""
    from examples.tool_sessions.make_records import make, recipes

    assert make(path.stem, recipes()[path.stem]).fingerprint == read(path).fingerprint


def test_the_changed_tool_diverges_on_its_record_only(untouchable: Any) -> None:
    """A gauge that rounds is found in the one record with a hundredth of a gallon, at that value."""
    from examples.tool_sessions.app import make_runtime
    from examples.tool_sessions.changed import CHANGED_TOOLS

    runtime = make_runtime(tools=CHANGED_TOOLS, world=untouchable)
    reports = {path.stem: runtime.replay(read(path)) for path in RECORDS}
    diverged = {name: report for name, report in reports.items() if report.verdict != Verdict.MATCH}
    assert list(diverged) == ["success-fill-tank"]
    found = [(d.kind, d.pointer, d.expected, d.actual) for d in diverged["success-fill-tank"].divergences]
    assert found == [
        ("arguments", "/args/2/fields/fuelLevel", 13.96, 14.0),
        ("outcome", "/payload/fuelLevel", 13.96, 14.0),
        ("response", "/payload/fuelLevel", 13.96, 14.0),
    ]


@pytest.mark.parametrize("name", ["denied-order-too-large", "denied-guest", "denied-one-of-two"])
def test_a_lifted_rule_diverges_on_what_it_denied(name: str, untouchable: Any) -> None:
    """A policy without its rules is found on the records that they decided."""
    from examples.tool_sessions.app import make_runtime

    runtime = make_runtime(world=untouchable).configure(policy={"default": "allow"})
    path = next(path for path in RECORDS if path.stem == name)
    report = runtime.replay(read(path))
    assert report.divergences[0].kind == "policy"


def test_the_records_show_every_kind_of_execution() -> None:
    """Among the records are every strategy, success and error, denials, nesting, and what is asked."""
    from examples.tool_sessions.make_records import recipes

    records = [read(path) for path in RECORDS]
    assert {path.stem for path in RECORDS} == set(recipes())
    assert len(records) >= 20
    assert {record.strategy for record in records} == {"direct", "fallback", "parallel", "broadcast"}
    assert {record.status for record in records} == {"success", "error"}
    codes = {record.response.error.code for record in records if record.response.error}
    assert codes == {
        "AGENT_ERROR", "AGENT_TIMEOUT", "AGENT_UNAVAILABLE", "CAPABILITY_NOT_FOUND", "POLICY_DENIAL",
        "VALIDATION_ERROR",
    }  # fmt: skip
    kinds = {question.kind for record in records for question in record.questions}
    assert {"agent", "effect", "clock", "route"} <= kinds
    assert all(record.children for record in records if record.intent == "session.run")


def test_the_list_of_records_is_theirs(root: Path) -> None:
    """records/README.md names each record with its intent, and nothing else."""
    from examples.tool_sessions.make_records import readme, recipes

    text = (root / "records" / "README.md").read_text(encoding="utf-8")
    assert text == readme(recipes())
    assert re.findall(r"^\| `(.+)\.jsonl` \|", text, re.MULTILINE) == list(recipes())


def test_making_the_records_again_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run writes no file; one without a recipe is removed, one that is gone is made."""
    from examples.tool_sessions.make_records import main

    assert main(tmp_path) == 0
    made = {path.name: path.read_bytes() for path in tmp_path.glob("*.jsonl")}
    assert set(made) == {path.name for path in RECORDS}
    capsys.readouterr()
    main(tmp_path)
    assert capsys.readouterr().out == ""
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.jsonl")} == made
    (tmp_path / "success-fill-tank.jsonl").rename(tmp_path / "stray.jsonl")
    main(tmp_path)
    assert capsys.readouterr().out == "wrote success-fill-tank.jsonl\nremoved stray.jsonl\n"
