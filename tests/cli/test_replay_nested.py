"""`replay --nested`: executions with those that they asked for, from a store and from files."""

import pytest

from intentusnet import ReplayReport, Verdict, load_record
from intentusnet.cli.output import Output
from intentusnet.cli.verdicts import Verdicts
from intentusnet.replay.corpus import CorpusItem
from intentusnet.replay.divergence import Divergence, DivergenceKind
from intentusnet.replay.loads import StoredRecord

ECHO = ("    return payload\n", "    return None\n")
MODEL = ('"SHOP_PROMPT", "classify"', '"SHOP_PROMPT", "sort"')


@pytest.fixture
def desk(routed, run):
    """The ids of an execution of desk.open, and of the one of ticket.classify that it asked for."""
    parent = routed("desk.open", {"text": "a"})
    rows = run("list", "--oldest-first").json
    assert [row["intent"] for row in rows] == ["desk.open", "ticket.classify"]
    return parent, rows[1]["execution_id"]


@pytest.fixture
def files(desk, portable):
    """The files of both, in directories beside each other."""
    return portable(desk[0], "kept/desk.jsonl"), portable(desk[1], "kept/below/triage.jsonl")


def test_what_was_asked_for_is_replayed_too(desk, run, change_to):
    """A parent whose own run matches diverges with what it asked for, which stands below it."""
    parent, child = desk
    app = change_to(*MODEL)
    assert run("replay", parent, "--app", app).code == 0
    ran = run("replay", parent, "--app", app, "--nested")
    assert (ran.code, ran.json["verdict"], ran.json["divergences"]) == (1, "diverged", [])
    (below,) = ran.json["children"]
    assert (below["execution_id"], below["divergences"][0]["pointer"]) == (child, "/args/0")
    assert "1 replayed, with 1 below them: 1 diverged\n" in ran.stderr
    assert run("replay", parent, "--nested").json["children"][0]["verdict"] == "match"


def test_a_person_is_told_which_one_it_is(desk, run, change_to):
    """The table names the execution below, its intent, its divergences, and what can be done."""
    parent, child = desk
    told = run("replay", parent, "--nested", "--app", change_to(*MODEL), "--format", "table").stdout
    assert told.splitlines()[:4] == [
        f"diverged  {parent}  desk.open",
        f"  {child}  ticket.classify, which it asked for",
        "  1. arguments: asked with other arguments",
        "     scope     attempt:0",
    ]
    assert "  does not matter: --ignore /args/0\n" in told


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_all_of_a_store_are_replayed_once(desk, routed, run_process, change_to, jobs):
    """With --all, those below others are replayed there only; with a filter, all that fit are named."""
    parent, child = desk
    alone = routed("echo.say", 1)
    app = change_to(*MODEL)
    ran = run_process("replay", "--all", "--nested", "--app", app, "-j", jobs)
    assert ran.code == 1
    assert [line["execution_id"] for line in ran.lines] == [parent, alone]
    assert ran.lines[0]["children"][0]["execution_id"] == child
    ran = run_process("replay", "--all", "--nested", "--app", app, "-j", jobs, "--intent", "ticket.*")
    assert [line["execution_id"] for line in ran.lines] == [child]


def test_one_whose_parent_does_not_tell_of_it_is_replayed(app, run):
    """An execution is left out only if it is replayed below: not if its parent broke off first."""
    source = (app / "shop.py").read_text()
    (app / "shop.py").write_text(
        source.replace(
            '    return {"answer": ctx.route("ticket.classify", ticket).payload}\n',
            '    ctx.gather(lambda: ctx.route("ticket.classify", ticket), lambda: ctx.route("cut.short"))\n',
        )
    )
    run("route", "desk.open", '{"text": "a"}')
    rows = run("list", "--oldest-first").json
    ran = run("replay", "--all", "--nested")
    assert ran.code == 11

    def ids(reports):
        return [i for one in reports for i in (one["execution_id"], *ids(one["children"]))]

    assert sorted(ids(ran.lines)) == sorted(row["execution_id"] for row in rows)


@pytest.mark.parametrize("reference", ["kept", "kept/desk.jsonl"])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_files_beside_are_found(files, run_process, change_to, reference, jobs):
    """Of a file, what it asked for is found below the same directory, and not in the store."""
    ran = run_process("replay", reference, "--nested", "--app", change_to(*MODEL), "-j", jobs)
    assert ran.code == 1
    told = {line["execution_id"]: line["children"] for line in ran.lines}
    assert len(told) == (2 if reference == "kept" else 1)
    assert told[load_record(files[0]).execution_id][0]["verdict"] == "diverged"


def test_what_is_not_on_record_is_told(files, run):
    """What cannot be found is left out, and that is said; the exit code is that of the others."""
    files[1].unlink()
    ran = run("replay", "kept", "--nested")
    assert (ran.code, ran.json["children"]) == (0, [])
    assert "1 that they asked for are not on record here" in ran.stderr


def test_a_damaged_one_below_is_told(files, run):
    """Its file is named, and the end is 13."""
    files[1].write_bytes(files[1].read_bytes()[:-1])
    ran = run("replay", "kept/desk.jsonl", "--nested")
    assert (ran.code, ran.stdout) == (13, "") and "triage.jsonl" in ran.stderr


def test_the_worst_of_all_decides(capsys):
    """One below that cannot be replayed is 11, though another one, and so the whole, diverges."""
    found = Divergence(DivergenceKind.OUTCOME, "", "", "", 1, 2)
    children = (
        ReplayReport("b", Verdict.DIVERGED, (found,)),
        ReplayReport("c", Verdict.NOT_REPLAYABLE, reason="no end is on record"),
    )
    report = ReplayReport("a", Verdict.DIVERGED, children=children)
    verdicts = Verdicts(Output("table", None, quiet=False, verbosity=0), few=True, total=1)
    verdicts.take(CorpusItem(StoredRecord("a"), "desk.open", report, intents={"b": "b.do", "c": "c.do"}))
    assert verdicts.exit_code() == 11
    told = capsys.readouterr().out.splitlines()
    assert "  c  c.do, which it asked for" in told and "  no end is on record" in told


def test_junit_and_github_tell_what_is_below(files, run, change_to):
    """A failed test case of the outer record has the inner one in its text; so has the annotation."""
    app = change_to(*MODEL)
    child = load_record(files[1]).execution_id
    told = run("replay", "kept/desk.jsonl", "--nested", "--format", "junit", "--app", app).stdout
    assert told.count("<testcase ") == told.count("<failure ") == 1
    assert 'message="arguments: asked with other arguments (effect llm [0] at /args/0)"' in told
    assert f"  {child}  ticket.classify, which it asked for\n" in told
    told = run("replay", "kept/desk.jsonl", "--nested", "--format", "github", "--app", app).stdout
    assert told.startswith("::error file=shop_changed_0.py,line=") and child in told
    # To record the outer file anew would not change what is in the inner one.
    assert "--update" not in told


def test_many_below_are_cut(routed, run, app, change_to):
    """Of many executions below that diverge five are told, and -v tells all."""
    source = (app / "shop.py").read_text()
    (app / "shop.py").write_text(
        source.replace(
            '    return {"answer": ctx.route("ticket.classify", ticket).payload}\n',
            '    return [ctx.route("echo.say", number).ok for number in range(7)]\n',
        )
    )
    run("route", "desk.open", '{"text": "a"}')
    args = ("replay", "--all", "--nested", "--app", change_to(*ECHO))
    told = run(*args, "--format", "table").stdout
    assert told.count("which it asked for") == 5 and "… and 2 more executions: -v" in told
    assert run(*args, "--format", "table", "-v").stdout.count("which it asked for") == 7
    assert "… and 2 more executions" in run(*args, "--format", "junit").stdout
