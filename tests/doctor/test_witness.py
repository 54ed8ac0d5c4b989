"""The witness changes nothing: a program gets the values, types and errors that it gets without it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

#: Whatever does not differ from run to run by itself.
PROGRAM = '''
import json, os, random, secrets, sys, time, uuid
from datetime import date, datetime
from fractions import Fraction
from pathlib import Path

from intentusnet import IntentusRuntime

runtime = IntentusRuntime({store})
random.seed("outside")
TOLD = {{}}


def error(call):
    try:
        return repr(call())
    except Exception as fault:
        return f"{{type(fault).__module__}}.{{type(fault).__name__}}: {{fault}}"


@runtime.agent("all", handles="all.do")
def everything(payload):
    items = list(range(9))
    random.shuffle(items)
    TOLD["drawn"] = [random.random(), random.choice("abc"), random.gauss(), random.randbytes(3).hex(), items]
    random.seed(7)
    TOLD["seeded"] = [random.random(), random.Random(8).random(), random.sample(range(99), 3)]
    TOLD["types"] = [
        str(type(value))
        for value in (
            time.time(), time.time_ns(), time.monotonic(), time.perf_counter_ns(), datetime.now(),
            date.today(), uuid.uuid4(), uuid.uuid1(), secrets.token_hex(), os.urandom(2),
            random.Random(), time.localtime(),
        )
    ]
    TOLD["classes"] = [type(datetime.now()) is datetime, isinstance(uuid.uuid4(), uuid.UUID)]
    TOLD["errors"] = [
        error(call)
        for call in (
            lambda: os.urandom("x"), lambda: os.urandom(-1), lambda: os.urandom(Fraction(2)),
            lambda: secrets.randbelow(0), lambda: random.choice([]), lambda: random.random(1),
            lambda: os.environ["NOT_THERE"], lambda: os.environ[7], lambda: open("not there"),
            lambda: os.listdir("not there"), lambda: time.sleep(-1), lambda: uuid.uuid1("x"),
        )
    ]
    TOLD["world"] = [
        os.environ["HIDDEN"], os.getenv("NOT_THERE"), os.getenv("NOT_THERE", "else"), "HIDDEN" in os.environ,
        Path("read.txt").read_text(), sorted(os.listdir(".")), len(os.urandom(True)),
    ]
    return payload


if __name__ == "__main__":
    response = runtime.route("all.do", {{"a": 1}})
    TOLD["response"] = [response.status, response.payload]
    TOLD["after"] = [random.random(), len(runtime.store.list().rows) if runtime.store else None]
    TOLD["surroundings"] = [
        __name__, __file__, sys.argv, sys.path[0] == str(Path(__file__).resolve().parent), sys.stdin.read(),
        __spec__ is None, sys.modules["__main__"].__dict__ is globals(), os.getcwd(),
    ]
    Path(sys.argv[1]).write_text(json.dumps(TOLD))
    print(json.dumps(TOLD))
    sys.exit(5)
'''  # fmt: skip


@pytest.mark.parametrize(
    "store", ["store='records'", "store=__import__('intentusnet').MemoryExecutionStore()"]
)
def test_a_program_gets_what_it_gets_without_it(tmp_path: Path, store: str) -> None:
    """What the program drew, read, was refused and is told of itself is the same, and so is its exit code."""
    told = []
    for name, before in (("plain", []), ("looked-at", ["-m", "intentusnet", "doctor", "--", sys.executable])):
        place = tmp_path / "same"
        place.mkdir()
        (place / "app.py").write_text(PROGRAM.format(store=store))
        (place / "read.txt").write_text("text")
        answer = tmp_path / "told.json"
        environ = {**os.environ, "HIDDEN": "value"}
        done = subprocess.run(
            [sys.executable, *before, "app.py", str(answer)],
            cwd=place,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        tree: dict[str, Any] = json.loads(answer.read_text())
        tree["world"][5] = [found for found in tree["world"][5] if found != "records"]
        if before:
            assert json.loads(done.stdout)["runs"] == [{"exit_code": 5, "recorded": 1}] * 2, done.stderr
            # Nothing is left where the program's own store would be.
            assert sorted(os.listdir(place)) == ["app.py", "read.txt"]
        else:
            assert done.returncode == 5, done.stderr
        told.append(tree)
        place.rename(tmp_path / name)
    assert told[0] == told[1]


def test_without_a_store_a_program_is_looked_at_all_the_same(tmp_path: Path) -> None:
    """A runtime that records nothing does so while it is looked at, privately."""
    (tmp_path / "app.py").write_text(
        "import time\nfrom intentusnet import IntentusRuntime\nruntime = IntentusRuntime()\n"
        "@runtime.agent('a', handles='a.do')\ndef a(payload):\n    return time.time()\n"
        "runtime.route('a.do')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "intentusnet", "doctor", "--", "python", "app.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["source"], finding["cause"]) == ("app.py:6", "time")
    assert os.listdir(tmp_path) == ["app.py"]
