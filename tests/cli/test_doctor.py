"""`doctor`: programs that are run twice, and records that are replayed twice."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAD = """
import os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import intentusnet
from intentusnet import Context, IntentusRuntime

runtime = IntentusRuntime()
"""

CLEAN = (
    HEAD
    + """
@runtime.agent("clean", handles="clean.do")
def clean(payload, ctx: Context):
    return [payload, ctx.uuid(), ctx.now()]
"""
)

HIDDEN = (
    HEAD
    + """
@runtime.agent("stamp", handles="stamp.do")
def stamp(payload):
    return {"at": time.time()}
"""
)
#: Where HIDDEN reads the clock.
LINE = f"app.py:{len(HIDDEN.splitlines())}"


def causes(tree: dict[str, Any]) -> list[tuple[str, str]]:
    return [(finding["source"], finding["cause"]) for finding in tree["findings"]]


@pytest.fixture
def write(shop: Path) -> Any:
    """Writes a program into the current directory."""

    def writing(source: str, name: str = "app.py") -> None:
        (shop / name).write_text(source)

    return writing


# Programs


def test_a_clean_program_is_clean(write, run):
    """Nothing differs, nothing is read: exit code 0, with what was run and replayed."""
    write(CLEAN + "runtime.route('clean.do', 1)\nruntime.route('clean.do', 2)\n")
    ran = run("doctor", "--", "python", "app.py")
    assert ran.code == 0, ran.stderr
    assert ran.json == {
        "ok": True,
        "checks": [],
        "runs": [{"exit_code": 0, "recorded": 2}] * 2,
        "replayed": 2,
        "findings": [],
    }


def test_a_line_that_several_executions_meet_is_one_finding(write, run):
    """Exit code 1, and the line with its code, cause, fix, executions and one example."""
    write(HIDDEN + "for n in range(3):\n    runtime.route('stamp.do', n)\n")
    ran = run("doctor", "--", "python", "app.py")
    (finding,) = ran.json["findings"]
    assert ran.code == 1
    assert (finding["source"], finding["code"]) == (LINE, 'return {"at": time.time()}')
    assert finding["fix"] == 'ctx.now(), or capture=("clock",)'
    assert len(finding["executions"]) == 3
    assert finding["example"]["pointer"] == "/payload/at"


def test_people_see_line_code_and_fix(write, run):
    """The table names the line, what it does, what was seen, and what helps."""
    write(HIDDEN + "runtime.route('stamp.do')\n")
    ran = run("doctor", "--format", "table", "--", "python", "app.py")
    told = " ".join(ran.stdout.split())
    assert ran.stdout.startswith("differs  1 of 1 execution differs when it is replayed")
    assert f'{LINE} return {{"at": time.time()}}' in told
    assert "reads the time outside of the record" in told
    assert 'ctx.now(), or capture=("clock",)' in told


def test_a_reading_without_consequence_is_no_failure(write, run):
    """A timer that is only printed is told, and the exit code is 0."""
    write(
        CLEAN.replace("    return [", "    print(time.perf_counter())\n    return [")
        + "runtime.route('clean.do')\n"
    )
    ran = run("doctor", "--", "python", "app.py")
    assert ran.code == 0
    assert [(f["cause"], f["certainty"]) for f in ran.json["findings"]] == [("timer", "read")]


@pytest.mark.parametrize("end", ["sys.exit(3)", "sys.exit('no')", "raise KeyboardInterrupt"])
def test_a_program_that_fails_is_looked_at_all_the_same(write, run, end):
    """Its exit code and last lines are told, and what it has recorded until then is compared."""
    write(HIDDEN + f"runtime.route('stamp.do')\nprint('last words')\n{end}\n")
    ran = run("doctor", "--", "python", "app.py")
    code = {"sys.exit(3)": 3, "raise KeyboardInterrupt": 130}.get(end, 1)
    assert [one["exit_code"] for one in ran.json["runs"]] == [code, code]
    assert ran.code == 1
    assert causes(ran.json) == [(LINE, "time")]
    assert f"exit code {code}" in ran.stderr
    assert "last words" in ran.stderr


def test_the_traceback_of_a_program_is_its_own(write, run_process, shop):
    """An exception that ends it is shown as Python would, without what runs it."""
    write(CLEAN + "runtime.route('clean.do')\nraise ValueError('no')\n")
    ran = run_process("doctor", "--", "python", "app.py")
    assert (ran.code, ran.json["runs"][0]["exit_code"]) == (0, 1)
    assert "ValueError: no" in ran.stderr
    assert ran.stderr.count("  File ") == ran.stderr.count('app.py", line') == 2


def test_a_program_that_is_killed_is_told(write, run):
    """Nothing can be seen of it: exit code 12, and how it ended."""
    write(CLEAN + "runtime.route('clean.do')\nprint('so far', flush=True)\nos.abort()\n")
    ran = run("doctor", "--", "python", "app.py")
    assert ran.code == 12
    assert ran.stdout == ""
    assert "exit code -6" in ran.stderr
    assert "so far" in ran.stderr


def test_a_program_that_records_nothing_is_told(write, run):
    """Green would be a lie: exit code 10, and what is missing."""
    write("print('nothing here')\n")
    ran = run("doctor", "--", "python", "app.py")
    assert ran.code == 10
    assert "recorded no execution" in ran.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--"], "no command behind --"),
        (["--", "no-such-command"], "no such command"),
        (["--", "python", "nosuch.py"], "no such command or file"),
        (["--", "python", "-c", "pass"], "no file or module"),
        (["--last", "3", "--", "python", "app.py"], "goes without"),
        (["abc", "--", "python", "app.py"], "goes without"),
        (["--app", "shop:runtime", "--", "python", "app.py"], "exclude each other"),
        (["--last", "3", "abc"], "exclude each other"),
        (["--last", "0"], "not in the range"),
        (["python3", "app.py"], "doctor -- python3 app.py"),
        (["app.py"], "doctor -- app.py"),
    ],
)
def test_what_makes_no_sense_is_refused(shop, run, args, said):
    """Exit code 2, and nothing is run."""
    ran = run("doctor", *args)
    assert ran.code == 2
    assert ran.stdout == ""
    assert said.lower() in ran.stderr.lower()


def test_much_output_is_no_obstacle(write, run):
    """A program may write megabytes, in one line too; only its end is told, and only if it failed."""
    write(CLEAN + "runtime.route('clean.do')\nprint('x' * 5_000_000)\nprint('y\\n' * 100_000)\n")
    ran = run("doctor", "--", "python", "app.py")
    assert ran.code == 0
    assert ran.stderr == ""
    write(CLEAN + "runtime.route('clean.do')\nprint('x' * 5_000_000)\nsys.exit(1)\n")
    ran = run("doctor", "--", "python", "app.py")
    assert ran.code == 0
    assert 0 < len(ran.stderr) < 2000


def test_large_values_are_told_by_their_beginning(write, run):
    """An answer of megabytes that differs does not become the report."""
    write(HIDDEN.replace("time.time()", "str(time.time()) * 50_000") + "runtime.route('stamp.do')\n")
    ran = run("doctor", "--", "python", "app.py")
    assert ran.code == 1
    assert len(ran.stdout) < 10_000


def test_the_programs_own_store_is_left_alone(write, run):
    """What it records goes to a private place, whatever store it names and however it names it."""
    write(
        CLEAN.replace("IntentusRuntime()", "IntentusRuntime(store='kept')")
        + "runtime.route('clean.do')\n"
        + "assert len(runtime.store.list().rows) == 1\n"
        + "assert len(intentusnet.FileExecutionStore('kept').list().rows) == 1\n"
        + "other = runtime.configure(store=intentusnet.FileExecutionStore(os.path.abspath('other')))\n"
        + "other.route('clean.do')\nassert len(other.store.list().rows) == 1\nother.close()\n"
        + "third = runtime.configure(store=intentusnet.MemoryExecutionStore())\nthird.route('clean.do')\n"
    )
    ran = run("doctor", "--", "python", "app.py")
    assert ran.code == 0, ran.stderr
    assert [one["recorded"] for one in ran.json["runs"]] == [3, 3]
    assert not Path("kept").exists()
    assert not Path("other").exists()


def test_threads_and_tasks_are_looked_into(write, run):
    """What threads, pools, tasks and child executions of an agent read is found where it stands."""
    write(
        HEAD
        + """import asyncio


@runtime.agent("pool", handles="pool.do")
def pool(payload):
    with ThreadPoolExecutor(3) as workers:
        return sorted(workers.map(drawn, range(3)))


def drawn(number):
    return str(uuid4())  # here


@runtime.agent("loop", handles="loop.do")
def loop(payload):
    async def reading():
        await asyncio.sleep(0)
        return time.time_ns()  # here

    async def both():
        return await asyncio.gather(reading(), reading())

    return asyncio.run(both())


@runtime.agent("child", handles="child.do")
def child(payload):
    return os.environ["TMPDIR"]  # here


@runtime.agent("parent", handles="parent.do")
def parent(payload, ctx: Context):
    return ctx.gather(lambda: ctx.route("child.do", 1).payload, lambda: ctx.route("child.do", 2).payload)


runtime.route("pool.do")
runtime.route("loop.do")
thread = threading.Thread(target=lambda: runtime.route("parent.do"))
thread.start()
thread.join()
"""
    )
    ran = run("doctor", "--", "python", "app.py")
    here = [n for n, line in enumerate(Path("app.py").read_text().splitlines(), 1) if line.endswith("# here")]
    expected = zip(here, ("uuid", "time", "environment"), strict=True)
    assert sorted(causes(ran.json)) == sorted((f"app.py:{n}", cause) for n, cause in expected)
    assert ran.json["replayed"] == 5


def test_threads_that_outlive_the_main_one_are_waited_for(write, run):
    """The doctor waits for them as Python does, and not for idle workers of a pool."""
    write(
        HIDDEN
        + "done = threading.Event()\n"
        + "def late():\n    done.wait()\n    for n in range(20):\n        runtime.route('stamp.do', n)\n"
        + "threading.Thread(target=late).start()\npool = ThreadPoolExecutor(1)\n"
        + "pool.submit(print).result()\ndone.set()\n"
    )
    ran = run("doctor", "--", "python", "app.py")
    assert [one["recorded"] for one in ran.json["runs"]] == [20, 20]
    assert ran.json["replayed"] == 20


def test_runs_that_record_other_executions_are_told(write, run):
    """A program that does less the second time is compared as far as its agents are there."""
    write(
        CLEAN
        + "runtime.route('clean.do')\nif not os.path.exists('been'):\n    open('been', 'w').close()\n"
        + "    other = IntentusRuntime()\n"
        + "    other.agent('late', handles='late.do')(lambda payload: time.time())\n"
        + "    other.route('late.do')\n"
    )
    ran = run("doctor", "--", "python", "app.py")
    assert [one["recorded"] for one in ran.json["runs"]] == [2, 1]
    assert "2 and 1 executions" in ran.stderr
    assert "no runtime with these agents" in ran.stderr
    assert [finding["cause"] for finding in ran.json["findings"]] == ["time"]


def test_modules_and_console_scripts_are_programs(write, run, monkeypatch):
    """`python -m` and pytest are run like a file; a test's own runtime is found again in the second run."""
    monkeypatch.delenv("CI", raising=False)  # where nothing is recorded
    write(CLEAN + HIDDEN.replace(HEAD, ""))
    write("import app\napp.runtime.route('stamp.do')\n", "main.py")
    assert causes(run("doctor", "--", "python", "-m", "main").json) == [
        (f"app.py:{len((CLEAN + HIDDEN.replace(HEAD, '')).splitlines())}", "time")
    ]
    write(
        "import app\nimport time\nfrom intentusnet import IntentusRuntime\n\n\n"
        "def test_one(tmp_path):\n    '''One.'''\n    runtime = IntentusRuntime(store=tmp_path / 'store')\n"
        "    runtime.agent('own', handles='own.do')(lambda payload: time.time())\n"
        "    assert runtime.route('own.do').ok\n\n\n"
        "def test_two(intentus_recorded):\n    '''Two.'''\n"
        "    assert intentus_recorded(app.runtime).route('clean.do', 1).ok\n",
        "test_it.py",
    )
    (Path("pytest.ini")).write_text("[pytest]\n")
    ran = run("doctor", "--", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    assert [one["recorded"] for one in ran.json["runs"]] == [2, 2], ran.stderr
    assert causes(ran.json) == [("test_it.py:9", "time")]
    assert ran.json["replayed"] == 2


# Records


def test_records_are_replayed_twice(write, run, monkeypatch):
    """With --app what is on record is replayed in two processes, and nothing is added to it."""
    write(
        HIDDEN
        + HIDDEN.replace(HEAD, "")
        .replace("stamp", "mark")
        .replace("time.time()", "list({'a', 'b', 'c', 'd'})")
    )
    monkeypatch.setenv("INTENTUSNET_APP", "app:runtime")
    for intent in ("stamp.do", "stamp.do", "mark.do"):
        assert run("route", intent).code == 0
    ran = run("doctor", "--app", "app:runtime")
    assert ran.code == 1, ran.stderr
    assert {cause for _, cause in causes(ran.json)} >= {"time"}
    assert (LINE, "time") in causes(ran.json)
    assert ran.json["replayed"] == 3
    assert ran.json["runs"] == [{"exit_code": None, "recorded": 0}] * 2
    assert len(run("list").json) == 3


def test_it_can_be_interrupted(write, shop, tmp_path):
    """Ctrl-C ends the program too: exit code 130, and nothing is left behind."""
    place = tmp_path / "temporary"
    place.mkdir()
    os.mkfifo("ready")
    write(CLEAN + "runtime.route('clean.do')\nopen('ready', 'w').close()\nimport signal\nsignal.pause()\n")
    doctor = subprocess.Popen(
        [sys.executable, "-m", "intentusnet", "doctor", "--", "python", "app.py"],
        env={**os.environ, "TMPDIR": str(place)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with open("ready") as file:
        file.read()
    os.killpg(doctor.pid, signal.SIGINT)
    _, told = doctor.communicate()
    assert doctor.returncode == 130, told
    assert b"Traceback" not in told
    assert os.listdir(place) == []


def test_nothing_is_left_behind(write, run, tmp_path, monkeypatch):
    """The private directories are gone when the command ends."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    write(HIDDEN + "runtime.route('stamp.do')\n")
    assert run("doctor", "--", "python", "app.py").code == 1
    assert os.listdir(place) == []
    assert json.dumps(sorted(os.listdir("."))).count("intentusnet") == 0
