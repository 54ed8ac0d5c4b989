"""`replay` of many executions: filters, worker processes, stopping early, the summary."""

import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from intentusnet import FileExecutionStore
from intentusnet.cli.output import Output
from intentusnet.stores.base import EVERYTHING

CHANGED = '    print("noise")\n    return payload if payload["n"] % 2 else {"n": "even"}\n'


@pytest.fixture
def numbers(routed):
    """The ids of four executions of echo.say and one of ticket.classify, in the order of opening."""
    return [routed("echo.say", {"n": number}) for number in range(4)] + [routed()]


@pytest.fixture
def changed(app):
    """The app, with an agent that answers even numbers otherwise."""
    source = (app / "shop.py").read_text()
    (app / "shop_changed.py").write_text(source.replace("    return payload\n", CHANGED))
    return "shop_changed:runtime"


@pytest.mark.parametrize(
    ("filters", "picked"),
    [
        (["--intent", "echo.*"], [0, 1, 2, 3]),
        (["--agent", "triage"], [4]),
        (["--status", "error"], []),
        (["--text", "crashes"], [4]),
        (["--until", "2001-01-01"], []),
        (["--since", "1d", "--intent", "ticket.*"], [4]),
        (["--caller", "nobody"], []),
        (["--tag", "urgent"], []),
        (["--error-code", "POLICY_DENIAL"], []),
    ],
)
def test_filters_choose_as_those_of_list(numbers, run, filters, picked):
    """--all with a filter replays what `list` with that filter lists; nothing is 10."""
    ran = run("replay", "--all", *filters)
    assert [line["execution_id"] for line in ran.lines] == [numbers[at] for at in picked]
    listed = run("list", "--oldest-first", *filters).json
    assert [row["execution_id"] for row in listed] == [numbers[at] for at in picked]
    assert ran.code == (0 if picked else 10)


@pytest.mark.parametrize("args", [["--intent", "echo.*"], ["@last", "--intent", "echo.*"]])
def test_filters_go_with_all(numbers, run, args):
    """A filter beside names, or without --all, is a contradiction: 2, and nothing is replayed."""
    ran = run("replay", *args)
    assert (ran.code, ran.stdout) == (2, "") and "--all" in ran.stderr


def test_workers_print_what_one_process_prints(numbers, changed, run_process):
    """-j changes neither lines, nor order, nor exit code; what the app prints stays off stdout."""
    args = ("replay", "--all", "--app", changed)
    alone, spread = run_process(*args), run_process(*args, "-j", "2")
    assert alone.code == spread.code == 1
    # Workers have one guard more where the kernel allows it.
    assert spread.stdout.replace(',"network-namespace"', "") == alone.stdout
    assert [line["execution_id"] for line in spread.lines] == numbers
    assert "5 replayed: 3 match, 2 diverged" in spread.stderr and "noise" in spread.stderr


def test_workers_load_files_and_the_policy_of_the_options(routed, portable, run_process):
    """A worker has the settings of the command, and replays files too."""
    path = portable(routed("money.transfer", {"amount": 5000}), "kept/a.jsonl")
    ran = run_process("replay", str(path), "--app", "shop:runtime", "--policy", "policy.toml", "-j", "2")
    assert ran.code == 1
    assert ran.json["divergences"][0]["kind"] == "policy"


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_asynchronous_agents_are_awaited(routed, portable, run_process, app, jobs):
    """Here and in workers, from the store and from files, with what they asked for below them."""
    source = (app / "shop.py").read_text() + (
        "from intentusnet import AsyncContext\n"
        "@runtime.agent('child', handles='child.do')\n"
        "async def child(payload, ctx: AsyncContext):\n"
        "    return await ctx.effect('double', double, payload)\n"
        "async def double(number):\n"
        "    return number * 2\n"
        "@runtime.agent('parent', handles='parent.do')\n"
        "async def parent(payload, ctx: AsyncContext):\n"
        "    asked = await ctx.map(lambda n: ctx.route('child.do', n), range(payload))\n"
        "    return [response.payload for response in asked]\n"
    )
    (app / "shop.py").write_text(source)
    (app / "shop_changed.py").write_text(source.replace("double, payload)", "double, payload + 1)"))
    parent, plain = routed("parent.do", 2), routed("echo.say", 1)
    for execution_id in (parent, plain):
        portable(execution_id, f"kept/{execution_id}.jsonl")
    for what in ("--all", "kept"):
        ran = run_process("replay", what, "--app", "shop:runtime", "-j", jobs)
        assert ran.code == 0, ran.stderr
        assert {line["verdict"] for line in ran.lines} == {"match"}
        assert {line["execution_id"] for line in ran.lines} >= {parent, plain}
    ran = run_process("replay", "--all", "--nested", "--app", "shop_changed:runtime", "-j", jobs)
    assert ran.code == 1
    assert [(line["verdict"], line["divergences"]) for line in ran.lines] == [("diverged", []), ("match", [])]
    below = [child["divergences"][0]["pointer"] for child in ran.lines[0]["children"]]
    assert below == ["/args/0", "/args/0"]


def test_a_dead_worker_is_told_with_its_record(numbers, app, run_process):
    """The execution that kills its worker is not replayable, the others are replayed: 11."""
    dying = "    import signal\n    signal.raise_signal(signal.SIGKILL)\n"
    deadly = (app / "shop.py").read_text().replace("    return payload\n", dying)
    (app / "shop_deadly.py").write_text(deadly)
    ran = run_process("replay", "--all", "--text", "crashes", "--app", "shop_deadly:runtime", "-j", "2")
    assert ran.code == 0
    ran = run_process("replay", "--all", "--app", "shop_deadly:runtime", "-j", "2")
    assert ran.code == 11
    assert [line["execution_id"] for line in ran.lines] == numbers
    assert [line["verdict"] for line in ran.lines] == ["not_replayable"] * 4 + ["match"]
    assert "died" in ran.lines[0]["reason"]


def test_an_app_that_workers_cannot_load(numbers, run_process):
    """What keeps the app from being loaded is told once, with its exit code."""
    ran = run_process("replay", "--all", "--app", "shop:broken", "-j", "2")
    assert (ran.code, ran.stdout) == (12, "")
    assert "ZeroDivisionError" in ran.stderr


def test_workers_cannot_read_what_is_in_memory(routed, portable, run_process, change_to):
    """-j is refused for the executions of a store in memory, and not for files: 2."""
    portable(routed(), "kept/a.jsonl")
    app = change_to(
        "runtime = IntentusRuntime()",
        "import intentusnet\nruntime = IntentusRuntime(store=intentusnet.MemoryExecutionStore())",
    )
    ran = run_process("replay", "--all", "--app", app, "-j", "2")
    assert (ran.code, ran.stdout) == (2, "") and "-j" in ran.stderr
    assert run_process("replay", "kept", "--app", app, "-j", "2").code == 0


def test_fail_fast_stops_at_the_first(numbers, changed, run):
    """Nothing is replayed behind the first execution that does not match."""
    ran = run("replay", "--all", "--app", changed, "--intent", "echo.*", "--fail-fast")
    assert ran.code == 1
    assert [line["verdict"] for line in ran.lines] == ["diverged"]
    assert "1 replayed: 1 diverged\n" in ran.stderr
    assert len(run("replay", "--all", "--fail-fast").lines) == 5


def test_the_summary_is_by_verdict_intent_and_first_divergence(numbers, changed, run):
    """What does not match is counted by intent, and by kind, question and pointer of its first divergence."""
    ran = run("replay", "--all", "--app", changed)
    assert ran.stderr.replace("noise\n", "").splitlines() == [
        "5 replayed: 3 match, 2 diverged",
        "  echo.say: 2 of 4 do not match",
        "  first divergence outcome agent echo /payload/n: 2",
    ]


@pytest.mark.parametrize("args", [["replay", "--all"], ["records", "pick", "--to", "kept"]])
def test_a_store_is_listed_once(numbers, run, monkeypatch, args):
    """On a terminal executions are counted before the first is read, and not listed again for that."""
    listed, real = [], FileExecutionStore.list

    def counted(store, query=EVERYTHING):
        listed.append(query)
        return real(store, query)

    monkeypatch.setattr(FileExecutionStore, "list", counted)
    monkeypatch.setattr(Output, "shows_progress", property(lambda out: True))
    assert run(*args).code == 0
    assert len(listed) == 1


def test_a_terminal_is_told_how_many_there_are(numbers, run_process, app):
    """On a terminal, the bar has the number of all executions that the filters leave as its end."""
    terminal, end = pty.openpty()
    shown = bytearray()

    def read():
        while True:
            try:
                shown.extend(os.read(terminal, 65536))
            except OSError:  # what a terminal says when its last writer is gone
                return

    reader = threading.Thread(target=read)
    reader.start()
    script = Path(sys.executable).parent / "intentusnet"
    done = subprocess.run(
        [script, "replay", "--all", "--intent", "echo.*", "--color", "never"],
        stdout=subprocess.PIPE, stderr=end, env={**os.environ, "TERM": "xterm"}, check=True,
    )  # fmt: skip
    os.close(end)
    reader.join()
    os.close(terminal)
    assert len(done.stdout.splitlines()) == 4
    assert b"/4" in shown
