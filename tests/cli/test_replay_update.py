"""`replay --update`: files that diverge are recorded anew, live, once somebody has agreed."""

import pytest

from intentusnet import load_record

SORT = ('"SHOP_PROMPT", "classify"', '"SHOP_PROMPT", "sort"')


@pytest.fixture
def kept(routed, portable):
    """Two records in files: one of triage, one of echo."""
    return portable(routed(), "kept/triage.jsonl"), portable(routed("echo.say", {"n": 1}), "kept/echo.jsonl")


@pytest.fixture
def terminal(monkeypatch):
    """A person at a terminal, who answers what the test hands to the command as input; no CI."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("intentusnet.cli.updating.somebody_is_there", lambda out: True)


def effects_of(path):
    return [question.arguments for question in load_record(path).questions if question.kind == "effect"]


def test_what_diverges_is_recorded_anew(kept, run, change_to, monkeypatch):
    """After it was shown, the file that diverges has a new record, which replays; the other stays: 0."""
    monkeypatch.setenv("CI", "true")
    triage, echo = kept
    old, old_echo, app = load_record(triage), echo.read_bytes(), change_to(*SORT)
    ran = run("replay", "kept", "--app", app, "--update", "--yes")
    assert ran.code == 0
    assert sorted(line["verdict"] for line in ran.lines) == ["diverged", "match"]
    assert f"{triage.relative_to(triage.parents[1])} was recorded anew: success" in ran.stderr
    new = load_record(triage)
    assert (new.intent, new.envelope_tree["payload"]) == (old.intent, old.envelope_tree["payload"])
    assert new.execution_id != old.execution_id and b'"sort"' in effects_of(triage)[0]
    assert echo.read_bytes() == old_echo
    assert sorted(path.name for path in triage.parent.iterdir()) == ["echo.jsonl", "triage.jsonl"]
    assert run("replay", "kept", "--app", app).code == 0


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_a_person_is_asked(kept, run, change_to, terminal, answer, code):
    """On a terminal the divergence comes first, then the question; whatever is no yes changes nothing: 1."""
    triage, _ = kept
    before = triage.read_bytes()
    ran = run("replay", "kept", "--app", change_to(*SORT), "--update", "--format", "table", input=answer)
    assert ran.code == code
    assert "Record 1 file anew?" in ran.stderr and "meet the world" in ran.stderr
    assert (triage.read_bytes() == before) == (code == 1)


def test_nobody_is_asked_about_nothing(kept, run, terminal):
    """If all match there is no question, and nothing is written."""
    before = [path.read_bytes() for path in kept]
    ran = run("replay", "kept", "--update")
    assert (ran.code, "anew" in ran.stderr) == (0, False)
    assert [path.read_bytes() for path in kept] == before


@pytest.mark.parametrize("ci", ["", "1"])
def test_in_ci_or_without_a_terminal_nothing_is_run(kept, run, change_to, monkeypatch, ci):
    """Without --yes it is refused before anything is replayed, in CI even at a terminal: 2."""
    if ci:
        monkeypatch.setenv("CI", ci)
        monkeypatch.setattr("intentusnet.cli.updating.somebody_is_there", lambda out: True)
    else:
        monkeypatch.delenv("CI", raising=False)
    before = [path.read_bytes() for path in kept]
    ran = run("replay", "kept", "--app", change_to(*SORT), "--update", input="y\n")
    assert (ran.code, ran.stdout) == (2, "")
    assert ("CI" if ci else "Nobody is there") in ran.stderr
    assert [path.read_bytes() for path in kept] == before


@pytest.mark.parametrize("args", [["--all"], ["@last"]])
def test_only_files_are_recorded_anew(kept, run, args):
    """A log is appended to, and never changed: with --all or an id it is 2."""
    assert run("replay", *args, "--update", "--yes").code == 2


def test_what_does_not_replay_is_not_kept(kept, run, change_to):
    """A record of an agent that answers differently each time would diverge again: the old one stays, 1."""
    _, echo = kept
    before = echo.read_bytes()
    app = change_to("    return payload\n", "    CALLS.append(0)\n    return len(CALLS)\n")
    ran = run("replay", "kept", "--app", app, "--update", "--yes")
    assert ran.code == 1
    assert "stays as it is" in ran.stderr
    assert echo.read_bytes() == before


def test_the_time_that_an_execution_had_is_the_same(routed, portable, run, change_to):
    """A deadline is as far ahead as it was when the old record was made, long as that may be ago."""
    path = portable(routed("ticket.classify", None, "--timeout", "50"), "kept/a.jsonl")
    old = load_record(path)
    assert run("replay", "kept", "--app", change_to(*SORT), "--update", "--yes").code == 0
    new = load_record(path)

    def left(record):
        return record.envelope.deadline.timestamp() * 1e6 - record.opened_us

    assert new.status == "success" and new.envelope.deadline > old.envelope.deadline
    assert abs(left(new) - left(old)) < 50e6


def test_workers_and_update_go_together(kept, change_to, run_process):
    """What workers found to diverge is recorded anew by the command itself."""
    triage, _ = kept
    ran = run_process("replay", "kept", "--app", change_to(*SORT), "-j", "2", "--update", "--yes")
    assert ran.code == 0
    assert b'"sort"' in effects_of(triage)[0]
