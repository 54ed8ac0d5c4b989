"""`replay`: verdicts, exit codes, and what a divergence names."""

import pytest

KEYS = [
    "execution_id", "verdict", "divergences", "reason", "taken", "guards", "strictness", "depth", "ignored",
    "asked", "children",
]  # fmt: skip


@pytest.fixture
def change(app):
    """Changes the app's source; the next command imports it anew."""
    import sys

    def edit(old, new):
        source = (app / "shop.py").read_text()
        assert old in source
        (app / "shop.py").write_text(source.replace(old, new))
        sys.modules.pop("shop", None)
        import importlib

        importlib.invalidate_caches()
        for cached in (app / "__pycache__").glob("shop.*"):
            cached.unlink()

    return edit


def test_a_match(routed, run):
    """A record replays to the same end without its effects being called: 0, fixed keys, summary on stderr."""
    execution_id = routed()
    import sys

    calls = len(sys.modules["shop"].CALLS)
    ran = run("replay", execution_id)
    assert ran.code == 0
    assert list(ran.json) == KEYS
    assert (ran.json["execution_id"], ran.json["verdict"]) == (execution_id, "match")
    assert ran.stderr == "1 replayed: 1 match\n"
    assert len(sys.modules["shop"].CALLS) == calls


def test_a_divergence_names_its_place(routed, run, change):
    """A changed prompt diverges at the effect: 1, with scope, question, pointer and both values."""
    routed()
    change('"SHOP_PROMPT", "classify"', '"SHOP_PROMPT", "sort"')
    ran = run("replay", "@last")
    assert ran.code == 1
    found = ran.json["divergences"][0]
    expected = {
        "kind": "arguments",
        "scope": "attempt:0",
        "question": "effect llm [0]",
        "pointer": "/args/0",
        "expected": "classify",
        "actual": "sort",
    }
    assert {key: found[key] for key in expected} == expected
    printed = run("replay", "@last", "--format", "table").stdout.splitlines()
    told = [line for line in printed if not line.startswith("     source")]
    assert told[0].startswith("diverged  ")
    assert told[1:7] == [
        "  1. arguments: asked with other arguments",
        "     scope     attempt:0",
        "     question  effect llm [0]",
        "     pointer   /args/0",
        '     expected  "classify"',
        '     actual    "sort"',
    ]


def test_all_goes_through_the_store_oldest_first(routed, run):
    """--all prints a line for each execution in the order of opening; the worst verdict decides."""
    ids = [routed("echo.say", number) for number in range(3)]
    ran = run("replay", "--all")
    assert ran.code == 0
    assert [line["execution_id"] for line in ran.lines] == ids
    run("route", "cut.short")
    ran = run("replay", "--all")
    assert (ran.code, ran.lines[-1]["verdict"]) == (11, "not_replayable")
    assert "4 replayed: 3 match, 1 not replayable" in ran.stderr


def test_all_pages(routed, run, monkeypatch):
    """A store of several pages is replayed to its end."""
    ids = [routed("echo.say", number) for number in range(5)]
    monkeypatch.setattr("intentusnet.replay.loads.MAX_LIMIT", 2)
    assert [line["execution_id"] for line in run("replay", "--all").lines] == ids


def test_all_of_nothing(app, run):
    """--all of a store without executions, or of no store, is 10."""
    ran = run("replay", "--all")
    assert (ran.code, ran.stdout) == (10, "")


def test_a_broken_file_outranks_everything(routed, portable, run, change):
    """A file that does not verify is told on stderr, the others are replayed, and the end is 13."""
    good = portable(routed(), "kept/b.jsonl")
    bad = portable(routed(), "kept/a.jsonl")
    bad.write_bytes(bad.read_bytes()[:-1])
    change('"SHOP_PROMPT", "classify"', '"SHOP_PROMPT", "sort"')
    ran = run("replay", "kept")
    assert ran.code == 13
    assert [line["verdict"] for line in ran.lines] == ["diverged"]
    assert "a.jsonl" in ran.stderr and "2 replayed: 1 diverged, 1 broken" in ran.stderr
    assert run("replay", str(good)).code == 1


def test_a_broken_store_ends_it(routed, run, app):
    """Damage in the store is 13 for ids and for --all."""
    execution_id = routed()
    segment = next((app / ".intentusnet/log").iterdir())
    segment.write_bytes(segment.read_bytes().replace(b"it crashes", b"it crushes", 1))
    assert run("replay", execution_id).code == 13
    assert run("replay", "--all").code == 13


def test_a_broken_record_of_a_store_is_named(routed, run, app):
    """A record that is damaged in its middle is told, and the end is 13, for an id and for --all."""
    execution_id = routed()
    segment = next((app / ".intentusnet/log").iterdir())
    segment.write_bytes(segment.read_bytes().replace(b'"value":"bug"', b'"value":"fun"', 1))
    for args in ([execution_id], ["--all"]):
        ran = run("replay", *args)
        assert (ran.code, ran.stdout) == (13, "")
        assert "committed to" in ran.stderr


def test_directories_of_records(routed, portable, run, app):
    """Records are found below a directory, stores in it are left out, and a store itself is refused."""
    portable(routed(), "kept/deep/a.jsonl")
    assert len(run("replay", ".").lines) == 1
    assert run("replay", ".intentusnet").code == 2
    (app / "empty").mkdir()
    assert run("replay", "empty").code == 10
    assert run("replay", "gone/").code == 10


@pytest.mark.parametrize(
    ("args", "code"),
    [([], 2), (["--all", "@last"], 2), (["ffffffff"], 10), (["@last", "gone.jsonl"], 10)],
)
def test_references_are_found_before_anything_runs(routed, run, args, code):
    """Contradictions are 2, unknown references 10, and then nothing was replayed."""
    routed()
    ran = run("replay", *args)
    assert (ran.code, ran.stdout) == (code, "")


def test_without_an_app_nothing_is_replayed(routed, run, monkeypatch):
    """Replaying needs the agents: without an app it is 12 with what to do."""
    routed()
    monkeypatch.delenv("INTENTUSNET_APP")
    ran = run("replay", "@last")
    assert ran.code == 12
    assert "--app" in ran.stderr and "INTENTUSNET_APP" in ran.stderr


def test_another_policy_is_a_divergence(routed, run):
    """A policy that now denies shows as divergence of kind policy."""
    routed("money.transfer", {"amount": 5000})
    ran = run("replay", "@last", "--policy", "policy.toml")
    assert ran.code == 1
    assert ran.json["divergences"][0]["kind"] == "policy"


def test_what_is_taken_from_the_record_is_told(routed, run):
    """An irreversible body is not run again, and the table says whose outcome was taken."""
    routed("money.transfer", {"amount": 5})
    told = run("replay", "@last", "--format", "table", "-v").stdout
    assert "taken from the record, not run again: pay" in told
    assert "guarded by audit-hook" in told


def test_of_many_matches_only_the_others_are_told(routed, run):
    """In a table, --all tells what does not match; -v tells all; the summary counts."""
    routed()
    run("route", "cut.short")
    told = run("replay", "--all", "--format", "table")
    assert "match  " not in told.stdout and "interrupted: no end is on record" in told.stdout
    assert "2 replayed: 1 match, 1 not replayable" in told.stderr
    assert "match  " in run("replay", "--all", "--format", "table", "-v").stdout


def test_many_divergences_are_cut(routed, run, change):
    """A record that differs in many places shows five and says how to see the rest."""
    routed("echo.say", {"n": 1})
    change("    return payload\n", "    return {str(n): n for n in range(9)}\n")
    told = run("replay", "@last", "--format", "table").stdout
    assert "  5. " in told and "  6. " not in told and "more: -v tells them all" in told
    assert "(nothing)" in told
    assert "  6. " in run("replay", "@last", "--format", "table", "-v").stdout
