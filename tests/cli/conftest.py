"""What the tests of the command line share: a small app in a directory of its own, two ways to run commands.

`run` calls the commands in this process, for speed. `run_process` runs the installed console script.
"""

import itertools
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from intentusnet.cli.app import cli

#: Every exit code that the documentation knows.
EXIT_CODES = {0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 130}

APP = '''
"""A help desk: agents that succeed, fail, ask the world, and ask each other."""

import os

from intentusnet import AgentFailure, Context, IntentusRuntime

runtime = IntentusRuntime()
PROMPT = os.environ.get("SHOP_PROMPT", "classify")
CALLS = []


def model(prompt, text):
    CALLS.append(text)
    print("noise on stdout")
    return "bug" if "crash" in text else "question"


@runtime.agent("triage", handles="ticket.classify", version="1.2", side_effect="read_only")
def triage(ticket: dict, ctx: Context) -> dict:
    """Says what a ticket is about."""
    label = ctx.effect("llm", model, PROMPT, ticket["text"])
    ctx.now()
    return {"label": label}


@runtime.agent("backup", handles="ticket.*", rank=5)
def backup(ticket):
    """Takes every ticket, and is always full."""
    raise AgentFailure("the queue is full", code="AGENT_UNAVAILABLE", details={"queue": 12})


@runtime.agent("desk", handles="desk.open")
def desk(ticket: dict, ctx: Context) -> dict:
    return {"answer": ctx.route("ticket.classify", ticket).payload}


@runtime.agent("pay", handles="money.transfer", side_effect="irreversible")
def pay(order: dict) -> dict:
    return {"paid": order["amount"]}


@runtime.agent("echo", handles="echo.say", side_effect="read_only")
def echo(payload):
    return payload


@runtime.agent("cut", handles="cut.short", side_effect="read_only")
def cut(payload):
    raise KeyboardInterrupt


def make() -> IntentusRuntime:
    return runtime


def needs(parameter):
    return runtime


def broken():
    return 1 / 0


number = 7
'''

POLICY = """
default = "allow"

[[rules]]
id = "no-large-transfers"
effect = "deny"
intent = "money.*"
reason = "transfers over 1000 need a person"
[rules.payload]
"/amount" = { gt = 1000 }
"""


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """stdout, which must be one line of JSON."""
        assert self.stdout.count("\n") == 1, self.stdout + self.stderr
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[Any]:
        """stdout, as a JSON value a line."""
        return [json.loads(line) for line in self.stdout.splitlines()]


Run = Callable[..., Ran]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with the app ``shop.py`` and ``policy.toml`` in it, and no settings."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "policy.toml").write_text(POLICY)
    monkeypatch.chdir(tmp_path)
    for name in ("INTENTUSNET_STORE", "INTENTUSNET_APP", "INTENTUSNET_POLICY", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def app(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`shop`, with its app set by the environment."""
    monkeypatch.setenv("INTENTUSNET_APP", "shop:runtime")
    return shop


@pytest.fixture
def run() -> Run:
    """Runs a command in this process; no exception may get out of it, and no traceback be printed."""

    def invoke(*args: str, input: str | bytes | None = None) -> Ran:
        result = CliRunner().invoke(cli, [str(arg) for arg in args], input=input)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return Ran(result.exit_code, result.stdout, result.stderr)

    return invoke


@pytest.fixture
def run_process() -> Run:
    """Runs the installed console script in a process of its own, without settings of this one."""

    def start(*args: str | bytes, input: bytes = b"", **environ: str) -> Ran:
        script = Path(sysconfig.get_path("scripts")) / "intentusnet"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("INTENTUSNET_")}
        kept.pop("NO_COLOR", None)
        done = subprocess.run(
            [script, *args],
            input=input,
            env={**kept, **environ},
            capture_output=True,
            check=False,
            timeout=60,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return start


@pytest.fixture
def routed(app: Path, run: Run) -> Callable[..., str]:
    """Routes an intent and returns the id of its execution."""

    def route(intent: str = "ticket.classify", payload: Any = None, *options: str) -> str:
        text = json.dumps({"text": "it crashes"} if payload is None else payload)
        return str(run("route", intent, text, *options).json["execution_id"])

    return route


@pytest.fixture
def portable(app: Path) -> Callable[[str, str], Path]:
    """Writes an execution's lines into a file, as `ExecutionRecord.to_jsonl` gives them."""

    def export(execution_id: str, name: str) -> Path:
        from intentusnet import FileExecutionStore

        with FileExecutionStore(".intentusnet") as store:
            path = app / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(store.get(execution_id).to_jsonl())
            return path

    return export


@pytest.fixture
def change_to(app: Path) -> Callable[[str, str], str]:
    """Makes a changed copy of the app, and returns what names it."""
    made = itertools.count()

    def change(old: str, new: str) -> str:
        source = (app / "shop.py").read_text()
        assert old in source
        name = f"shop_changed_{next(made)}"
        (app / f"{name}.py").write_text(source.replace(old, new))
        return f"{name}:runtime"

    return change
