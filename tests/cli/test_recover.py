"""`recover`, `resume` and `fork`: what they print, and how they end."""

import json
from pathlib import Path

import pytest

#: Its agent breaks off at the effect, as Ctrl-C does, for as long as there is a file of that name.
BREAKING = """
from pathlib import Path
from intentusnet import IntentusRuntime, effect

runtime = IntentusRuntime()
BREAK = Path(__file__).with_name("break")


def act(name):
    if BREAK.exists():
        raise KeyboardInterrupt
    return name


@runtime.agent("payer", handles="pay", side_effect="read_only")
def payer(ctx):
    return [ctx.effect("pay", act, 1)]


@runtime.agent("reader", handles="read", side_effect="read_only")
def reader(ctx):
    return [ctx.effect("read", effect(side_effect="read_only")(act), 1)]
"""


@pytest.fixture
def broken(app: Path, run, run_process):
    """Breaks off an execution of each intent that is named, and returns their ids."""
    (app / "breaking.py").write_text(BREAKING)

    def broken(*intents: str) -> list[str]:
        (app / "break").touch()
        for intent in intents:
            assert run_process("--app", "breaking:runtime", "route", intent).code == 130
        (app / "break").unlink()
        rows = run("list", "--status", "interrupted").json
        return [row["execution_id"] for row in reversed(rows)]

    return broken


APP = ("--app", "breaking:runtime")


def test_nothing_is_interrupted(run, routed):
    """An empty list is a good answer."""
    routed()
    ran = run("recover")
    assert (ran.code, ran.json) == (0, [])


def test_the_list_says_what_may_be_done(run, broken):
    """Each with its rule; 14 as long as something is in doubt."""
    pay, read = broken("pay", "read")
    ran = run("recover")
    assert ran.code == 14
    assert [(row["execution_id"], row["rule"]) for row in ran.json] == [(pay, "in_doubt"), (read, "resume")]
    assert run("recover", read).code == 0
    assert [row["execution_id"] for row in run("recover", read).json] == [read]
    table = run("--format", "table", "recover")
    assert pay in table.stdout
    assert "did-not-happen" in table.stderr


def test_all_resumes_what_may_be(run, broken):
    """What is in doubt stays; a second time there is nothing else to do."""
    pay, read = broken("pay", "read")
    ran = run(*APP, "recover", "--all")
    assert (ran.code, [row["status"] for row in ran.json]) == (14, [None, "success"])
    assert [row["execution_id"] for row in run("recover").json] == [pay]
    assert run("retrieve", read).json["payload"] == [1]


@pytest.mark.parametrize(
    ("word", "more", "payload"),
    [
        ("happened", ("--answer", '{"$tuple":[2]}'), [{"$tuple": [2]}]),
        ("happened", (), [None]),
        ("did-not-happen", (), [1]),
    ],
)
def test_a_persons_word(run, broken, word, more, payload):
    """It is written down with the name, and then the execution can be resumed."""
    (pay,) = broken("pay")
    assert run(*APP, "resume", pay).code == 14
    ran = run("recover", pay, "--resolve", word, "--by", "ada", *more)
    assert (ran.code, ran.json[0]["rule"]) == (0, "resume" if word == "happened" else "ask_again")
    ran = run(*APP, "resume", pay)
    assert (ran.code, ran.json["payload"]) == (0, payload)
    noted = [q["arguments"]["kwargs"] for q in run("show", pay).json["questions"] if q["name"] == "resolved"]
    assert noted == [{"by": "ada", "happened": word == "happened", "question": 0, "scope": "attempt:0"}]
    assert run(*APP, "replay", pay).code == 0


def test_a_user_without_a_name_has_to_give_one(run, broken, monkeypatch):
    """Where the system knows no name for the user, as in a container, --by is asked for: 2."""
    (pay,) = broken("pay")
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 987_654_321)
    ran = run("recover", pay, "--resolve", "did-not-happen")
    assert (ran.code, ran.stdout) == (2, "") and "--by" in ran.stderr
    assert run("recover", pay, "--resolve", "did-not-happen", "--by", "ada").code == 0


def test_other_code_is_not_resumed(run, broken, app):
    """It says where the code differs and exits 1; --all goes on with the others."""
    (read,) = broken("read")
    (app / "breaking.py").write_text(BREAKING.replace("act), 1)", "act), 7)"))
    ran = run(*APP, "resume", read)
    assert ran.code == 1
    assert "/args/0" in ran.stderr
    ran = run(*APP, "recover", "--all")
    assert ran.code == 1
    assert ran.json[0]["error"]["code"] == "CONTINUATION_DIVERGED"


def test_resuming_what_has_ended(run, routed):
    """The response on record is printed, with the exit code that `route` had."""
    execution_id = routed()
    assert run("resume", execution_id).json["execution_id"] == execution_id


def test_a_fork(run, routed):
    """It is another execution, and says from where it was forked."""
    execution_id = routed()
    ran = run("fork", execution_id, "--at", "attempt:0:0", "--answer", '"mine"')
    assert (ran.code, ran.json["payload"]) == (0, {"label": "mine"})
    shown = run("show", ran.json["execution_id"]).json
    assert shown["forked_from"] == {"execution": execution_id, "scope": "attempt:0", "question": 0}
    assert execution_id in run("--format", "table", "show", ran.json["execution_id"]).stdout
    assert run("fork", execution_id, "--at", "attempt:9:0", "--answer", "1").code == 10
    assert run("fork", execution_id, "--at", "first", "--answer", "1").code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("--all", "@last"),
        ("--resolve", "happened"),
        ("@last", "--by", "ada"),
        ("@last", "--resolve", "did-not-happen", "--answer", "1"),
        ("@last", "--resolve", "maybe"),
    ],
)
def test_options_that_make_no_sense(run, routed, arguments):
    """They are refused before anything is looked at."""
    routed()
    assert run("recover", *arguments).code == 2


def test_jsonl(run, broken):
    """One object a line."""
    broken("pay", "read")
    lines = run("--format", "jsonl", "recover").stdout.splitlines()
    assert [json.loads(line)["intent"] for line in lines] == ["pay", "read"]


def test_asynchronous_agents_go_on(run, broken, app: Path):
    """`resume`, `recover --all` and `fork` await them, whoever has left the executions behind."""
    first, second = broken("read", "read")
    source = BREAKING.replace("def payer", "async def payer").replace("def reader", "async def reader")
    (app / "breaking.py").write_text(source.replace("ctx.effect(", "await ctx.effect("))
    resumed = run(*APP, "resume", first)
    assert (resumed.code, resumed.json["payload"]) == (0, [1])
    rows = run(*APP, "recover", "--all").json
    assert [(row["execution_id"], row["status"]) for row in rows] == [(second, "success")]
    forked = run(*APP, "fork", first, "--at", "attempt:0:0", "--answer", "7")
    assert (forked.code, forked.json["payload"]) == (0, [7])
    assert run(*APP, "replay", "--all").code == 0
