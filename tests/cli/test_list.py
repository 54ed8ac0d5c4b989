"""`list`: filters, pages, and what is told where."""

import re
from datetime import UTC, datetime, timedelta

import pytest

KEYS = ["execution_id", "ts", "intent", "version", "strategy", "status", "agent", "duration_us", "error_code"]


def test_rows_have_fixed_keys_and_come_newest_first(routed, run):
    """Format json is one array, jsonl a row a line, with the same rows; --oldest-first turns them round."""
    ids = [routed("echo.say", number) for number in range(3)]
    rows = run("list").json
    assert [list(row) for row in rows] == [KEYS] * 3
    assert [row["execution_id"] for row in rows] == ids[::-1]
    assert run("list", "--format", "jsonl").lines == rows
    assert run("list", "--oldest-first").json == rows[::-1]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--status", "error"], ["b"]),
        (["--intent", "echo.*"], ["a", "c"]),
        (["--agent", "backup"], ["b"]),
        (["--caller", "ann"], ["a"]),
        (["--tag", "t"], ["c"]),
        (["--error-code", "AGENT_UNAVAILABLE"], ["b"]),
        (["--text", "needle"], ["c"]),
        (["--since", "1h"], ["a", "b", "c"]),
        (["--until", "2020-01-01"], []),
        (["--since", "2020-01-01T00:00:00+02:00", "--until", "2020-01-02"], []),
    ],
)
def test_filters_pick_executions(routed, run, options, found):
    """Each filter keeps what fits it and nothing else."""
    ids = {
        routed("echo.say", 1, "--caller", "ann"): "a",
        routed("ticket.lost", {}): "b",
        routed("echo.say", "needle", "--tag", "t"): "c",
    }
    assert sorted(ids[row["execution_id"]] for row in run("list", *options).json) == found


def test_pages_go_on_where_the_last_one_ended(routed, run):
    """The cursor is told on stderr, and following it gives each row once."""
    ids = [routed("echo.say", number) for number in range(3)]
    first = run("list", "--limit", "2")
    cursor = re.search(r"--cursor (\S+)", first.stderr)[1]
    second = run("list", "--limit", "2", "--cursor", cursor)
    assert [row["execution_id"] for row in (*first.json, *second.json)] == ids[::-1]
    assert "--cursor" not in second.stderr


@pytest.mark.parametrize("form", ["json", "jsonl", "table"])
def test_no_store_is_an_empty_list(app, run, form):
    """Where no store is yet, the list is empty, stderr says so, and none is made."""
    ran = run("list", "--format", form)
    assert (ran.code, ran.stdout) == (0, "[]\n" if form == "json" else "")
    assert "no store at .intentusnet yet" in ran.stderr
    assert not (app / ".intentusnet").exists()


def test_nothing_fits(routed, run):
    """An empty result of a store that is there says that nothing fits."""
    routed()
    ran = run("list", "--caller", "nobody")
    assert ran.json == []
    assert "No execution fits" in ran.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--cursor", "nonsense"], "--cursor"),
        (["--cursor", "bjE1", "--oldest-first"], "other direction"),
        (["--since", "yesterday"], "no point in time"),
        (["--since", "2026-13-01"], "no point in time"),
        (["--since", "1960-01-01"], "before 1970"),
        (["--since", "1h", "--until", "2h"], "later than --until"),
        (["--limit", "0"], "--limit"),
        (["--limit", "many"], "--limit"),
        (["--status", "failed"], "success, error, interrupted"),
        (["--status", "sucess"], "Did you mean 'success'?"),
        (["--format", "jsonnl"], "Did you mean 'jsonl'?"),
    ],
)
def test_filters_that_make_no_sense_are_refused(app, run, options, told):
    """Each is one message with exit code 2, in the words of the command line."""
    ran = run("list", *options)
    assert (ran.code, ran.stdout) == (2, "")
    assert told in ran.stderr
    assert ran.stderr.count("Error:") == 1


def test_times_are_utc_unless_they_say_otherwise(routed, run):
    """A time without an offset is UTC, whatever the machine's zone is."""
    routed()
    now = datetime.now(UTC)
    later = (now + timedelta(minutes=5)).replace(tzinfo=None).isoformat()
    east = (now - timedelta(minutes=5)).astimezone(UTC).isoformat()
    assert len(run("list", "--since", east, "--until", later).json) == 1


def test_a_narrow_table_shows_ends_of_ids_that_resolve(routed, run, monkeypatch):
    """At 80 columns a row is one line, with as much of the id as finds the execution again."""
    execution_id = routed("ticket.lost", {})
    monkeypatch.setenv("COLUMNS", "80")
    row = run("list", "--format", "table").stdout.splitlines()[-1]
    short = row.split()[0]
    assert execution_id.endswith(short) and short != execution_id
    assert "AGENT_UNAVAILABLE" in row
    assert run("show", short).json["execution_id"] == execution_id


def test_a_wide_table_shows_whole_ids(routed, run, monkeypatch):
    """At 120 columns whole ids, the year and the strategy have room, and a version other than 1.0 is told."""
    execution_id = routed("echo.say@2.0", 1, "--strategy", "broadcast")
    monkeypatch.setenv("COLUMNS", "120")
    row = run("list", "--format", "table").stdout.splitlines()[-1]
    assert row.startswith(execution_id)
    assert "echo.say@2.0" in row and "broadcast" in row


@pytest.mark.parametrize("form", ["json", "jsonl", "table"])
def test_damage_is_told_after_what_is_certain(routed, run, app, form):
    """Rows from before the damage are printed; the damage is the error, and the exit code says so."""
    first, _ = routed("echo.say", "one"), routed("echo.say", "two")
    log = app / ".intentusnet" / "log" / f"{0:020d}.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"two"', b'"six"'))
    ran = run("list", "--format", form)
    assert ran.code == 13
    assert first[-8:] in ran.stdout
    assert "Traceback" not in ran.stderr
    assert "not the one that was committed to" in ran.stderr
    assert run("show", "@last").code == 13
    assert run("show", first).json["execution_id"] == first
