"""Processes that agents start are recorded, and on replay none is started, even if the program is gone."""

# Over 400 lines: one list of ways to run a program, held against each promise.
# ruff: noqa: PLW1510 - whether to check is what is tested
# ruff: noqa: PLW1509 - functions in the child are what is tested
# ruff: noqa: S602 - shells run programs of the tests alone
# ruff: noqa: S605 - shells run programs of the tests alone

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
from asyncio import create_subprocess_exec
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen, check_output, run
from typing import Any

import pytest
from helpers.captures import Captured

from intentusnet import Context, FileExecutionStore, IntentusRuntime, MemoryExecutionStore, Verdict
from intentusnet.capture import Redaction, capture

Call = Callable[..., Any]

#: Leaves a trace of having run, says what it was given, and ends with the code that it was given.
PROGRAM = """#!/bin/sh
echo ran >> "$0.ran"
cat
echo "to $1"
echo "warned" >&2
exit ${2:-0}
"""


class Program:
    """A real program, which can be taken away."""

    def __init__(self, folder: Path, text: str = PROGRAM) -> None:
        self.path = folder / "program"
        self.path.write_text(text)
        self.path.chmod(0o755)
        self._trace = folder / "program.ran"

    def __str__(self) -> str:
        return str(self.path)

    @property
    def runs(self) -> int:
        return self._trace.read_text().count("ran") if self._trace.exists() else 0


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def recorded(agent: Callable[..., Any], program: Program) -> Captured:
    """Records the agent, takes the program away, and replays it."""
    captured = Captured(agent, "process")
    assert captured.value is not None
    runs = program.runs
    assert runs > 0
    program.path.unlink()
    captured.matches()
    assert program.runs == runs
    return captured


# --- ways to run a program ---


def by_run(program: str) -> Any:
    done = run([program, "x", "3"], input="in\n", capture_output=True, text=True)
    return [done.args, done.returncode, done.stdout, done.stderr]


def by_check_output(program: str) -> Any:
    return check_output([Path(program), b"x"], input=b"\xff", stderr=subprocess.STDOUT, cwd="/")


def by_call(program: str) -> Any:
    return [subprocess.call([program, "x", "3"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)]


def by_shell(program: str) -> Any:
    return subprocess.getstatusoutput(f"{program} x 3 < /dev/null")


def by_system(program: str) -> Any:
    return os.system(f"{program} x 3 < /dev/null > /dev/null")


def by_popen_of_os(program: str) -> Any:
    with os.popen(f"{program} x < /dev/null") as stream:
        return stream.read()


def by_communicate(program: str) -> Any:
    process = Popen([program, "x"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    told = process.communicate(b"in\n", timeout=30)
    return [told, process.returncode, process.poll(), process.wait(), process.stdout.closed]


def by_lines(program: str) -> Any:
    with Popen([program, "x"], stdin=PIPE, stdout=PIPE, text=True, encoding="utf-8") as process:
        process.stdin.write("one\ntwo ä\n")
        process.stdin.close()
        return [list(process.stdout), process.wait()]


def by_pieces(program: str) -> Any:
    process = Popen([program, "x"], bufsize=0, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    process.stdin.write(b"abc")
    process.stdin.close()
    pieces = [process.stdout.read(1), process.stdout.read(), process.stderr.readline(), process.stderr.read()]
    for stream in (process.stdout, process.stderr):
        stream.close()
    return [pieces, process.wait(), process.pid > 0]


class Derived(Popen):
    """A class of someone's own."""


def by_derived(program: str) -> Any:
    with Derived(args=[program, "x"], stdin=subprocess.DEVNULL, stdout=PIPE) as process:
        return process.stdout.read()


def by_asyncio(program: str) -> Any:
    async def main() -> Any:
        process = await create_subprocess_exec(program, "x", "3", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        told = await process.communicate(b"in\n")
        return [told, process.returncode, await process.wait()]

    return asyncio.run(main())


def by_asyncio_lines(program: str) -> Any:
    async def main() -> Any:
        process = await asyncio.create_subprocess_shell(f"{program} x", stdin=PIPE, stdout=PIPE)
        process.stdin.write(b"one\ntwo\n")
        await process.stdin.drain()
        process.stdin.close()
        await process.stdin.wait_closed()
        lines = [
            await process.stdout.readline(),
            await process.stdout.readuntil(),
            await process.stdout.readexactly(2),
        ]
        lines += [line async for line in process.stdout]
        return [lines, await process.wait(), process.stdout.at_eof()]

    return asyncio.run(main())


def by_asyncio_at_once(program: str) -> Any:
    async def one() -> Any:
        process = await asyncio.create_subprocess_exec(program, "x", stdin=subprocess.DEVNULL, stdout=PIPE)
        return await process.communicate()

    async def main() -> Any:
        return await asyncio.gather(one(), one(), one())

    return asyncio.run(main())


def by_branches(program: str, ctx: Context) -> Any:
    return ctx.map(
        lambda number: run([program, str(number)], input=b"", capture_output=True).stdout, range(4)
    )


WAYS = [
    by_run, by_check_output, by_call, by_shell, by_system, by_popen_of_os, by_communicate, by_lines,
    by_pieces, by_derived, by_asyncio, by_asyncio_lines, by_asyncio_at_once,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_program_is_run_once_and_never_on_replay(way: Callable[[str], Any], program: Program) -> None:
    """Whatever starts it and reads it, a replay says the same without the program."""
    plain = way(str(program))
    captured = recorded(lambda: way(str(program)), program)
    if way is not by_pieces:
        assert captured.value == plain
    assert all(question.startswith("process ") for question in captured.asked)


def test_branches_run_programs_of_their_own(program: Program) -> None:
    """At once in scopes of their own, each is answered with its own output."""
    captured = recorded(lambda ctx: by_branches(str(program), ctx), program)
    assert captured.value == [f"to {number}\n".encode() for number in range(4)]


def test_a_run_is_one_question(program: Program) -> None:
    """It is named by the program and says what was asked; the answer is the code and what was written."""
    captured = recorded(lambda: by_run(str(program)), program)
    (question,) = [asked for asked in captured.record.questions if asked.kind == "process"]
    assert (question.name, question.side_effect) == ("program", "reversible")
    assert captured.value[1:] == [3, "in\nto x\n", "warned\n"]


def test_it_is_on_record_before_it_runs(tmp_path: Path) -> None:
    """The program finds its own question in the log."""
    text = f'#!/bin/sh\necho ran >> "$0.ran"\ngrep -c \'"kind":"process"\' {tmp_path}/store/log/*.jsonl\n'
    program = Program(tmp_path, text)
    with FileExecutionStore(tmp_path / "store") as store:
        captured = Captured(lambda: check_output([str(program)]), "process", store=store)
        assert captured.value == b"1\n"


# --- errors ---


def error_of(call: Callable[[], Any]) -> list[Any]:
    try:
        call()
    except Exception as fault:  # noqa: BLE001 - whatever it is, it is compared
        names = ("cmd", "returncode", "output", "stderr", "errno", "filename")
        return [type(fault).__name__, str(fault), [getattr(fault, name, None) for name in names]]
    return []


FAILING = [
    lambda: run(["/nowhere/program"], check=True),
    lambda: run(["/"], capture_output=True),
    lambda: run(["sh", "-c", "echo out; echo err >&2; exit 7"], capture_output=True, check=True),
    lambda: subprocess.check_call(["false"]),
    lambda: run(["sh", "-c", "echo out; exec sleep 60"], capture_output=True, timeout=0.2),
    lambda: run(["true"], cwd="/nowhere"),
    lambda: asyncio.run(create_subprocess_exec("/nowhere/program")),
]


@pytest.mark.parametrize("call", FAILING)
def test_errors_are_raised_as_they_were(call: Callable[[], Any]) -> None:
    """Programs that are missing, fail or take too long raise the same error with the same attributes."""
    captured = Captured(lambda: error_of(call), "process")
    assert captured.value
    captured.matches()


def test_a_process_that_is_killed_stays_so() -> None:
    """Polls, a wait that was too short, signals and the code come back in their order."""

    def agent() -> Any:
        process = Popen(["sleep", "60"])
        told = [process.poll(), error_of(lambda: process.wait(0.01))[0]]
        process.terminate()
        return [*told, process.wait(), process.poll(), process.kill()]

    captured = Captured(agent, "process")
    assert captured.value == [None, "TimeoutExpired", -15, -15, None]
    assert [name.partition(" ")[2] for name in captured.asked] == [
        "sleep", "sleep.poll", "sleep.wait", "sleep.signal", "sleep.wait"
    ]  # fmt: skip
    captured.matches()


def test_a_process_of_asyncio_is_killed_when_time_is_up() -> None:
    """A wait that was cancelled is cancelled on replay, by the same timer."""

    async def main() -> Any:
        process = await asyncio.create_subprocess_exec("sleep", "60")
        try:
            await asyncio.wait_for(process.wait(), 0.01)
        except TimeoutError:
            process.kill()
        return await process.wait()

    captured = Captured(lambda: asyncio.run(main()), "process")
    assert captured.value == -9
    captured.matches()


def test_a_process_has_the_attributes_that_it_has_live() -> None:
    """What it was started with, and all that is known of the time that it took too long."""

    def agent() -> Any:
        process = Popen(["cat"], stdin=PIPE, stdout=PIPE, encoding="utf-8")
        process.communicate("x")
        told = [
            process.text_mode,
            process.encoding,
            process.errors,
            process.universal_newlines,
            process.pipesize,
        ]
        try:
            run(["sh", "-c", "echo x; sleep 60"], stdout=PIPE, timeout=0.2)
        except subprocess.TimeoutExpired as fault:
            return [*told, fault.stdout, fault.stderr, fault.cmd]

    captured = Captured(agent, "process")
    assert captured.value[:5] == ["utf-8", "utf-8", None, "utf-8", -1]
    captured.matches()


# --- changes ---


def ran(*command: Any, **options: Any) -> Call:
    """An agent that runs a command."""
    return lambda: run(*command, **options).returncode


def sent(data: bytes) -> Call:
    """An agent that hands data to a process."""
    return lambda: Popen(["cat"], stdin=PIPE).communicate(data)


CHANGES = [
    (ran(["echo", "a"]), ran(["echo", "b"]), ("arguments", "/kwargs/args/1")),
    (ran(["cat"], input=b"a"), ran(["cat"], input=b"b"), ("arguments", "/kwargs/input/$bytes")),
    (ran("true", shell=True, cwd="/"), ran("true", shell=True, cwd="/tmp"), ("arguments", "/kwargs/cwd")),
    (ran(["true"], env={"A": "1"}), ran(["true"], env={"A": "2"}), ("arguments", "/kwargs/env/set/A")),
    (ran(["true"], stdout=PIPE), ran(["true"], stdout=PIPE, text=True), ("arguments", "/kwargs/text")),
    (ran(["true"]), ran(["false"]), ("unexpected", "")),
    (ran(["true"]), lambda: 0, ("missing", "")),
    (lambda: 0, lambda: os.system("true"), ("unexpected", "")),
    (sent(b"a"), sent(b"b"), ("arguments", "/args/0/$bytes")),
]


@pytest.mark.parametrize(("before", "after", "found"), CHANGES)
def test_a_changed_agent_is_found(
    before: Callable[[], Any], after: Callable[[], Any], found: tuple[str, str]
) -> None:
    """Another program, argument, input, directory or variable is the first divergence, at its place."""
    kind, question, pointer = Captured(before, "process").first(after)
    assert (kind, pointer) == found and question.startswith("process ")


def test_a_changed_agent_starts_nothing(program: Program) -> None:
    """A process that is not on record is not started."""
    captured = Captured(lambda: None, "process")
    for way in WAYS:
        assert captured.replay(lambda way=way: way(str(program))).verdict is Verdict.DIVERGED
    assert program.runs == 0


# --- what is written down ---


def test_this_interpreter_is_called_python() -> None:
    """Where it lies is another place on each machine, so records do not depend on it."""
    captured = Captured(lambda: check_output([sys.executable, "-c", "print(1)"]), "process")
    assert (
        captured.asked == ["process python"]
        and sys.executable.encode() not in captured.record.questions[-1].arguments
    )
    captured.matches()


def test_secrets_are_not_written_down() -> None:
    """Values of variables that are named as secrets are, and what looks like one; only changes are kept."""
    key = "sk-" + "a" * 40
    env = {**os.environ, "SOME_API_KEY": "hidden-1", "DB_PASSWORD": "hidden-2", "SEEN": "seen"}
    captured = Captured(lambda: run(["true", key], env=env).returncode, "process")
    written = b"".join(question.arguments for question in captured.record.questions)
    assert b"hidden" not in written and key.encode() not in written
    assert b'"SEEN":"seen"' in written and b"PATH" not in written
    captured.matches()


@pytest.mark.parametrize(
    "command",
    [
        *(["sort", "--key", "2"], ["docker", "-u", "1000:1000"], ["git", "clone", "ssh://git@host/a.git"]),
        *(["x", "--password", "--next"], ["x", "--password-file", "name"], ["x", "--max-tokens", "5"]),
        *('x --token "$TOKEN" -p $PASSWORD', "PASSWORD=$OTHER x", "for key in a b; do echo $key; done"),
    ],
)
def test_what_only_looks_like_a_secret_is_written_down(command: Any) -> None:
    """Numbers of keys, users, options without a value and references to variables."""

    def agent() -> None:
        run(command, shell=isinstance(command, str), check=False, capture_output=True)

    captured = Captured(lambda: error_of(agent), "process")
    asked = json.loads(captured.record.questions[-1].arguments)["kwargs"]
    assert asked["args"] == command


@pytest.mark.parametrize("secret", ["hidden", "'hid den'"])
def test_a_variable_in_front_of_a_program_does_not_name_it(secret: str) -> None:
    """The question is named by the program; what stands before it may be a secret."""
    captured = Captured(lambda: run(f"A=1 PGPASSWORD={secret} true", shell=True).returncode, "process")
    assert captured.asked == ["process true"]
    assert b'"A=1 PGPASSWORD=[redacted] true"' in captured.record.questions[-1].arguments


def test_a_command_that_no_shell_takes_is_on_record() -> None:
    """It has no program to be named by."""
    captured = Captured(lambda: run("'", shell=True, stderr=subprocess.DEVNULL).returncode, "process")
    assert captured.asked == ["process process"] and captured.value != 0
    captured.matches()


def test_patterns_of_the_user_are_not_written_down() -> None:
    """The redaction of the setting holds for what a process is given in any way."""

    def agent() -> None:
        check_output(["cat", "-"], input="customer-17", text=True)
        check_output([b"true", "customer-17"])
        Popen(["cat"], stdin=PIPE, stdout=PIPE).communicate(b"customer-17")
        with Popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
            process.stdin.write(b"customer-17\xff")
            process.stdin.flush()
            process.stdin.write(b"customer-17")

    runtime = IntentusRuntime(
        store=MemoryExecutionStore(),
        capture=capture("process", redaction=Redaction(patterns=["customer-[0-9]+"])),
    )
    runtime.agent("agent", handles="x")(agent)
    response = runtime.route("x")
    record = runtime.store.get(response.execution_id)
    written = b"".join(question.arguments for question in record.questions)
    in_base64 = base64.b64encode(b"customer-17")
    assert b"customer-17" not in written and in_base64[:12] not in written
    assert runtime.replay(record).verdict is Verdict.MATCH


# --- what is refused ---


def pipeline() -> None:
    with Popen(["echo", "a"], stdout=PIPE) as first:
        run(["cat"], stdin=first.stdout)


def descriptor() -> None:
    with Popen(["echo", "a"], stdout=PIPE) as process:
        os.set_blocking(process.stdout.fileno(), False)


def protocol() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().subprocess_exec(asyncio.SubprocessProtocol, "true", stdin=None)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (protocol, "for a protocol cannot be recorded"),
        (lambda: run(["true"], stdout=sys.stderr.fileno()), "cannot be recorded; at stdout"),
        (lambda: run(["cat"], stdin=io.BytesIO(b"")), "cannot be recorded; at stdin"),
        (lambda: run(["true"], preexec_fn=os.getpid), "cannot be recorded; at preexec_fn"),
        (lambda: run(["true"], pass_fds=[0]), "cannot be recorded; at pass_fds"),
        (pipeline, "cannot be recorded; at stdin"),
        (descriptor, "has no descriptor"),
    ],
)
def test_what_cannot_be_replayed_is_refused(call: Callable[[], Any], told: str) -> None:
    """Rather than recorded wrongly; the error says what to do instead, and is the same on replay."""
    captured = Captured(call, "process")
    assert told in captured.response.error.message and "in an effect" in captured.response.error.message
    captured.matches()


# --- elsewhere ---


def test_nothing_is_recorded_inside_an_effect(program: Program) -> None:
    """The effect's answer covers what it runs."""
    captured = recorded(lambda ctx: ctx.effect("call", lambda: by_communicate(str(program))), program)
    assert captured.asked == ["effect call"]


def test_outside_of_agents_all_is_as_it_was(program: Program) -> None:
    """Files as streams, descriptors and functions in the child are what they are for everyone else."""
    Captured(lambda: None, "process")
    with Popen([str(program), "x"], stdin=subprocess.DEVNULL, stdout=PIPE, preexec_fn=os.getpid) as process:
        assert os.read(process.stdout.fileno(), 100) == b"to x\n"
        assert run(["cat"], stdin=process.stdout, capture_output=True, check=True).stdout == b""
    assert process.wait() == 0 and vars(process).get("_intentusnet_child") is None
    assert not Captured(lambda: run(["true"]).returncode, "chance").asked


def test_a_module_that_is_loaded_runs_programs_for_everyone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Program
) -> None:
    """What a module runs when an agent first imports it is not the agent's, or no other run would match."""
    monkeypatch.syspath_prepend(tmp_path)
    text = f"import subprocess\nsubprocess.run(['{program}', 'x'], stdin=subprocess.DEVNULL)\n"
    (tmp_path / "runs_when_loaded.py").write_text(text)

    def agent() -> None:
        import runs_when_loaded  # noqa: F401 - loading it is all  # type: ignore[import-not-found]

    captured = Captured(agent, "process")
    assert captured.asked == [] and program.runs == 1
    captured.matches()
