"""What tests of the pytest plugin share: a project with an app, records of it, and pytest in a process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

APP = """
from intentusnet import Context, IntentusRuntime, effect

runtime = IntentusRuntime()


@effect(side_effect="read_only")
def ask_model(prompt: str) -> str:
    return "bug" if "crash" in prompt else "question"


@runtime.agent("triage", handles="ticket.classify", side_effect="read_only")
def triage(ticket: dict, ctx: Context) -> str:
    return ctx.effect("model", ask_model, f"bug or question? {ticket['text']}")


@runtime.agent("echo", handles="echo.say", side_effect="read_only")
def echo(payload):
    return payload
"""

Pytest = Callable[..., pytest.RunResult]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the app ``desk.py`` and two records in ``kept/``; no settings."""
    pytester.makepyfile(desk=APP)
    pytester.makepyfile(
        keep="""
        from pathlib import Path
        from desk import runtime
        from intentusnet import MemoryExecutionStore

        recording = runtime.configure(store=MemoryExecutionStore())
        Path("kept").mkdir()
        for name, intent, payload in (
            ("crash", "ticket.classify", {"text": "it crashes"}),
            ("hello", "echo.say", "hello"),
        ):
            response = recording.route(intent, payload)
            Path(f"kept/{name}.jsonl").write_bytes(recording.store.get(response.execution_id).to_jsonl())
        """
    )
    for name in ("INTENTUSNET_APP", "INTENTUSNET_STORE", "INTENTUSNET_POLICY", "CI", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    subprocess.run([sys.executable, "keep.py"], cwd=pytester.path, check=True)
    return pytester.path


@pytest.fixture
def run_pytest(project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Pytest:
    """Runs pytest in a process of its own, with this plugin and those that are named, and no other."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(*args: str, plugins: tuple[str, ...] = ()) -> pytest.RunResult:
        named = [part for name in ("intentusnet.pytest_plugin", *plugins) for part in ("-p", name)]
        return pytester.runpytest_subprocess(*named, "-p", "no:cacheprovider", *args)

    return run


@pytest.fixture
def change(project: Path) -> Callable[[], None]:
    """Changes the prompt of triage."""

    def edit() -> None:
        path = project / "desk.py"
        path.write_text(path.read_text().replace("bug or question?", "question or bug?"))
        os.utime(path, ns=(0, 0))  # another time than that of the bytecode

    return edit
