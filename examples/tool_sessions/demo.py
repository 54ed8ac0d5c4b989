"""``make demo``: runs all sessions, verifies the log, replays it, and finds out what a changed tool breaks.

What it leaves, the store ``demo-store`` at the root of the repository, can be looked at with the command
line; the last lines say how. The exit code is 0 only if everything came out as it must.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from intentusnet import (
    ErrorCode,
    ExecutionRecord,
    FileExecutionStore,
    IntentusError,
    IntentusRuntime,
    Query,
    ReplayReport,
    Verdict,
)

if TYPE_CHECKING:
    from examples.tool_sessions.sessions import Session

ROOT: Final = Path(__file__).resolve().parents[2]
STORE: Final = ROOT / "demo-store"
#: Stands in a store that this script has made, and may therefore remove.
MARK: Final = "made-by-demo"
APP: Final = "examples.tool_sessions.app:runtime"
CHANGED_APP: Final = "examples.tool_sessions.changed:runtime"


class Unexpected(Exception):
    """Something did not come out as it must."""


@dataclass
class Findings:
    """What the phases found.

    Attributes:
        executions, entries: in the log.
        how: executions by what happened in them.
        verdicts: of the replays with the same tools.
        hit: with the changed tool, the replays that diverged, with their records.
        seconds: per phase.
    """

    executions: int = 0
    entries: int = 0
    how: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    hit: list[tuple[ExecutionRecord, ReplayReport]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


class Demo:
    """The four phases, and what they show."""

    def __init__(self, sessions: list[Session], path: Path, console: Console) -> None:
        self._sessions = sessions
        self._path = path
        self._console = console
        self._found = Findings()
        self._calls = sum(len(turn.calls) for session in sessions for turn in session.turns)

    def run(self) -> None:
        """Runs all phases.

        Raises:
            Unexpected: something did not come out as it must.
        """
        from examples.tool_sessions.app import make_runtime
        from examples.tool_sessions.changed import CHANGED_TOOLS

        self._console.print(
            f"\n[bold]{len(self._sessions)} sessions with real, stateful tools: {self._calls:,} calls.[/bold]"
            "\nEach is an intent, routed under a policy, and on disk before it acts.\n"
        )
        with FileExecutionStore(self._path) as store:
            self._record(make_runtime(store=store))
            self._verify(store)
            self._replay(store, make_runtime())
            self._replay_changed(store, make_runtime(tools=CHANGED_TOOLS))
            self._sum_up()
            self._suggest(store)

    def _record(self, runtime: IntentusRuntime) -> None:
        from examples.tool_sessions.app import run

        with self._phase("run"):
            for session in self._bar("running the sessions", self._sessions, len(self._sessions)):
                response = run(runtime, session)
                (self._path / MARK).touch()
                if not response.ok:
                    raise Unexpected(f"session {session.id} failed: {response.error}")
        self._done(f"ran {len(self._sessions)} sessions; a denied or failed call did not end any")

    def _verify(self, store: FileExecutionStore) -> None:
        with self._phase("verify"):
            report = store.verify()
        if not report.ok or report.interrupted:
            raise Unexpected(f"the log does not verify: {report}")
        if report.executions != self._calls + len(self._sessions):
            raise Unexpected(
                f"{report.executions} executions are on record, not one for each call and session"
            )
        self._found.executions, self._found.entries = report.executions, report.entries
        self._done(f"verified {report.entries:,} entries of {report.executions:,} executions, byte by byte")

    def _replay(self, store: FileExecutionStore, runtime: IntentusRuntime) -> None:
        with self._phase("replay"):
            for record in self._bar("replaying every record", records(store), self._found.executions):
                report = runtime.replay(record)
                self._found.verdicts[report.verdict] += 1
                self._found.how.update(what_happened(record))
                if report.verdict != Verdict.MATCH:
                    raise Unexpected(f"{record.intent} {record.execution_id} does not match: {report}")
        self._done(f"replayed {self._found.executions:,} records with the tools' own code: all match")

    def _replay_changed(self, store: FileExecutionStore, runtime: IntentusRuntime) -> None:
        with self._phase("replay changed"):
            for record in self._bar("replaying with a changed tool", records(store), self._found.executions):
                report = runtime.replay(record)
                if (report.verdict == Verdict.DIVERGED) != feels_the_change(record):
                    raise Unexpected(f"{record.intent} {record.execution_id} with the changed tool: {report}")
                if report.verdict == Verdict.DIVERGED:
                    self._found.hit.append((record, report))
        hit, all_of_them = self._found.hit, self._found.verdicts.total()
        self._done(f"replayed them with a car whose gauge rounds: {len(hit)} of {all_of_them:,} diverge")
        if hit:
            first = hit[0][1].divergences[0]
            self._console.print(f"\n  All are {hit[0][0].intent}, and first differ in what is saved:")
            self._console.print(f"  {first.question} at {first.pointer}\n")
            self._console.print(divergence_table(hit, store))

    def _sum_up(self) -> None:
        found, table = self._found, Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="bold", justify="right")
        table.add_column()
        rows = [
            (found.executions, "executions"),
            (found.entries, "entries in the log"),
            (found.how["denied"], "denied by the policy"),
            (found.how["failed"], "errors of agents"),
            (found.how["fell back"], "fallbacks to a second agent"),
            (found.how["parallel"], "asked of two agents at once"),
            (found.verdicts[Verdict.MATCH], "replays that match"),
            (len(found.hit), "that diverge after the change"),
        ]
        for number, what in rows:
            table.add_row(f"{number:,}", what)
        self._console.print()
        self._console.print(table)
        spent = " · ".join(f"{phase} {seconds:.1f} s" for phase, seconds in found.seconds.items())
        self._console.print(f"\n[dim]{spent}[/dim]")

    def _suggest(self, store: FileExecutionStore) -> None:
        self._console.print("\n[bold]The records are yours to look at:[/bold]\n")
        for command, why in suggestions(self._path, store, self._found.hit):
            self._console.print(f"  [dim]# {why}[/dim]", highlight=False)
            self._console.print(f"  {escape(command)}\n", highlight=False, soft_wrap=True)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._found.seconds[name] = time.perf_counter() - started

    def _bar(self, label: str, items: Iterable[Any], total: int) -> Iterator[Any]:
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        hidden = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=hidden) as progress:
            yield from progress.track(items, total=total, description=label)

    def _done(self, text: str) -> None:
        self._console.print(f"[green]✓[/green] {text}", highlight=False)


def records(store: FileExecutionStore) -> Iterator[ExecutionRecord]:
    """All records of a store, oldest first."""
    cursor: str | None = None
    while True:
        page = store.list(Query(limit=1000, cursor=cursor, oldest_first=True))
        yield from (store.get(row.execution_id) for row in page.rows)
        cursor = page.cursor
        if cursor is None:
            return


def what_happened(record: ExecutionRecord) -> Iterator[str]:
    """What is worth counting about an execution."""
    error = record.response.error
    if error is not None:
        yield "denied" if error.code == ErrorCode.POLICY_DENIAL else "failed"
    if record.strategy == "fallback" and len(record.attempts) > 1:
        yield "fell back"
    if record.strategy == "parallel":
        yield "parallel"


def feels_the_change(record: ExecutionRecord) -> bool:
    """Whether the changed tool must answer otherwise: the level it reported is no whole tenth of a gallon."""
    from examples.tool_sessions.changed import CHANGED_INTENT

    if record.intent != CHANGED_INTENT or not record.response.ok:
        return False
    level: float = record.response.payload["fuelLevel"]
    return level != round(level, 1)


def divergence_table(hit: list[tuple[ExecutionRecord, ReplayReport]], store: FileExecutionStore) -> Table:
    """The first divergence of each record."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("  session")
    table.add_column("record")
    table.add_column("recorded", justify="right")
    table.add_column("now", justify="right", style="red")
    for record, report in hit:
        first = report.divergences[0]
        session = record.envelope.tags[0].partition(":")[2]
        table.add_row(
            f"  {session}", short(record.execution_id, store), str(first.expected), str(first.actual)
        )
    return table


def suggestions(
    path: Path, store: FileExecutionStore, hit: list[tuple[ExecutionRecord, ReplayReport]]
) -> list[tuple[str, str]]:
    """Five commands to go on with, and what each is good for."""
    tool = Path(sys.executable).with_name("intentusnet")
    program = "intentusnet" if shutil.which("intentusnet") == str(tool) else shown_path(tool)
    at = f"--store {shown_path(path)}"
    ids = [record.execution_id for record, _ in hit] if len(hit) > 1 else newest_two(store)
    one, other = short(ids[0], store), short(ids[-1], store)
    app = CHANGED_APP if hit else APP
    ends = "; exit code 1: it diverges" if hit else ""
    return [
        (f"{program} list {at} --error-code POLICY_DENIAL", "what the policy denied"),
        (f"{program} show {one} {at}", "one record: envelope, plan, questions and answers, outcome"),
        (f"{program} replay {one} {at} --app {app}", f"run it again from its own answers{ends}"),
        (
            f"{program} diff {one} {other} {at}",
            "what differs between two; exit code 1: something",
        ),
        (f"{program} verify {shown_path(path)}", "is the log, to the last byte, what was written?"),
    ]


def newest_two(store: FileExecutionStore) -> list[str]:
    """The ids of the newest two executions."""
    return [row.execution_id for row in store.list(Query(limit=2)).rows]


def short(execution_id: str, store: FileExecutionStore) -> str:
    """The end of an id that is enough to name it."""
    for length in range(8, len(execution_id)):
        with suppress(IntentusError):
            store.resolve(execution_id[-length:])
            return execution_id[-length:]
    return execution_id


def shown_path(path: Path) -> str:
    """A path as one types it: relative where it lies below the working directory."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def fresh(path: Path) -> None:
    """Removes the store of an earlier run, and nothing else.

    Raises:
        Unexpected: something lies there that this script has not made.
    """
    if not path.exists() or not any(path.iterdir()):
        return
    if not (path / MARK).exists():
        raise Unexpected(
            f"{path} was not made by this demo, so it is left alone. Remove it, or name another --store"
        )
    shutil.rmtree(path)


def at_least_one(text: str) -> int:
    """A number of sessions."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo; returns the exit code."""
    parser = argparse.ArgumentParser(description="Runs, verifies and replays the tool sessions.")
    parser.add_argument("--sessions", type=at_least_one, metavar="N", help="only the first N sessions")
    parser.add_argument(
        "--store", type=Path, default=STORE, metavar="DIR", help="where to record (made anew)"
    )
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    try:
        from examples.tool_sessions.sessions import sessions

        fresh(options.store)
        Demo(list(islice(sessions().values(), options.sessions)), options.store, console).run()
    except (Unexpected, ImportError, IntentusError) as fault:
        Console(stderr=True).print(f"[red]✗[/red] {escape(str(fault))}", highlight=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    # A script has its own directory on the path; the example is imported from the root, like any app.
    sys.path[0] = str(ROOT)
    sys.exit(main())
