"""An agent cannot tell a replay by the exceptions of its effects."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.recordings import run, value

from intentusnet import (
    AgentFailure,
    Context,
    IntentusRuntime,
    MemoryExecutionStore,
    Verdict,
)
from intentusnet.errors import (
    IntentusError,
    InvalidInput,
)


class Coded(Exception):
    def __init__(self, number: int, *, extra: str = "") -> None:
        super().__init__(f"<{number}>")
        self.number = number
        self.extra = extra

    def __str__(self) -> str:
        return f"number {self.number}{self.extra}"


class Silent(Exception):
    """Its message is in no argument."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def __str__(self) -> str:
        return f"handle {type(self.handle).__name__} is closed"


class Picky(Exception):
    def __new__(cls, *, needed: int) -> "Picky":
        return super().__new__(cls)

    def __init__(self, *, needed: int) -> None:
        super().__init__("picky")


class Frozen(Exception):
    @property
    def number(self) -> int:
        return 5


class Outer:
    class Inner(LookupError):
        pass


class Base(BaseException):
    pass


RAISED: list[Callable[[], BaseException]] = [
    lambda: ValueError("a", 1, (2, {3})),
    lambda: ValueError(object()),
    lambda: KeyError("k"),
    lambda: Coded(7, extra="!"),
    lambda: Silent(object()),
    lambda: Picky(needed=1),
    lambda: Frozen("x"),
    lambda: Outer.Inner("deep"),
    lambda: Base("b"),
    lambda: SystemExit(3),
    lambda: StopIteration("value"),
    GeneratorExit,
    lambda: FileNotFoundError(2, "gone", "a", None, "b"),
    lambda: OSError("only text"),
    lambda: ImportError("no", name="m", path="p"),
    lambda: NameError("no", name="n"),
    lambda: UnicodeEncodeError("ascii", "ä", 0, 1, "why"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"),
    lambda: SyntaxError("bad", ("f", 1, 2, "text", 1, 3)),
    lambda: ExceptionGroup("some", [ValueError(1), Coded(2)]),
    lambda: BaseExceptionGroup("all", [Base("b"), KeyError(1)]),
    lambda: AgentFailure("later", code="RATE_LIMIT", details={"s": 5}),
    lambda: InvalidInput("bad", where="/a", hint="do"),
    TimeoutError,
    lambda: RecursionError("deep"),
    AssertionError,
]
ATTRIBUTES = (
    "args",
    "number",
    "extra",
    "code",
    "value",
    "details",
    "where",
    "hint",
    "errno",
    "strerror",
    "filename",
    "filename2",
    "name",
    "path",
    "start",
    "end",
    "reason",
    "encoding",
    "lineno",
    "offset",
    "text",
    "msg",
    "message",
    "__notes__",
)


def told_of(fault: BaseException) -> list[Any]:
    """What an agent can tell of an exception."""
    told = [type(fault).__name__, type(fault).__qualname__, type(fault).__module__, str(fault)]
    shown = {name: found for name in ATTRIBUTES if (found := getattr(fault, name, None)) is not None}
    if isinstance(fault, BaseExceptionGroup):
        shown.pop("args")
        shown["exceptions"] = [told_of(inner) for inner in fault.exceptions]
    elif "object" in str(fault):  # its argument is no data: the message, without the address, stands for it
        shown.pop("args")
        told.pop()
    return [*told, [base.__name__ for base in type(fault).__mro__ if base in (*BASES, Coded, Base)], shown]


BASES = (ValueError, LookupError, OSError, Exception, SystemExit, BaseExceptionGroup, IntentusError)


@pytest.mark.parametrize("make", RAISED, ids=lambda make: type(make()).__name__)
def test_exceptions_of_effects_are_the_same_on_replay(make: Callable[[], BaseException]) -> None:
    """Class, bases, message, arguments and attributes: an agent cannot tell a replay by an exception."""

    def fails() -> None:
        fault = make()
        fault.add_note("a note")
        raise fault

    def agent(ctx: Context) -> Any:
        try:
            ctx.effect("f", fails)
        except BaseException as fault:  # noqa: BLE001 - what agents do
            return told_of(fault)

    assert value(agent)


@pytest.mark.parametrize("make", RAISED, ids=lambda make: type(make()).__name__)
def test_exceptions_of_effects_that_nobody_catches_are_the_same_on_replay(
    make: Callable[[], BaseException],
) -> None:
    """An agent that lets an effect's exception through fails in the same way on replay."""

    def fails() -> None:
        raise make()

    error = run(lambda ctx: ctx.effect("f", fails)).error
    assert error is not None and error.code in ("AGENT_ERROR", "RATE_LIMIT")


def test_an_exception_whose_class_is_gone_is_named() -> None:
    """A class that is defined nowhere that can be looked up becomes an EffectError on replay, which shows."""

    class Local(Exception):
        pass

    def fails() -> None:
        raise Local("x")

    def agent(ctx: Context) -> Any:
        try:
            ctx.effect("f", fails)
        except Exception as fault:  # noqa: BLE001 - what agents do
            return type(fault).__name__

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    report = runtime.replay(runtime.route("x").execution_id)
    assert [d.actual for d in report.divergences][:1] == ["EffectError"]


def test_nothing_that_a_record_names_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of a module that is not loaded stays unloaded."""
    (tmp_path / "trap_module.py").write_text("class Trap(Exception): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    trap = importlib.import_module("trap_module").Trap

    def fails() -> None:
        raise trap("x")

    def agent(ctx: Context) -> Any:
        try:
            ctx.effect("f", fails)
        except Exception:  # noqa: BLE001 - what agents do
            return "failed"

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(agent)
    response = runtime.route("x")
    del sys.modules["trap_module"]
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH
    assert "trap_module" not in sys.modules


APP = """
from intentusnet import FileExecutionStore, IntentusRuntime

class Refused(Exception):
    def __init__(self, number):
        self.number = number

runtime = IntentusRuntime(store={store!r})

def fails():
    raise Refused(7)

@runtime.agent("a", handles="x")
def a(ctx):
    try:
        ctx.effect("f", fails)
    except Refused as fault:
        return [type(fault).__qualname__, fault.number, fault.args]

if __name__ == "__main__":
    print(runtime.route("x").execution_id)
"""


def test_a_record_made_by_a_script_is_replayed_from_its_module(tmp_path: Path) -> None:
    """What `python app.py` recorded, exceptions of __main__ included, replays to match by `import app`."""
    (tmp_path / "app.py").write_text(APP.format(store=str(tmp_path / "records")))

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    replay = "import app, sys; print(app.runtime.replay(sys.argv[1]).verdict)"
    for script in (["app.py"], ["-m", "app"]):
        recorded_by = python(*script)
        assert python("-c", replay, recorded_by) == "match"
    assert (
        python("-c", "import app; print(app.runtime.route('x').ok and app.runtime.replay('@last').verdict)")
        == "match"
    )
    from_import = python("-c", "import app; print(app.runtime.route('x').execution_id)")
    again = "import runpy, sys; names = runpy.run_path('app.py', run_name='app')"
    assert python("-c", f"{again}; print(names['runtime'].store.get({from_import!r}).status)") == "success"
