"""`demo`: writes a small app, routes through it, verifies, replays, and shows what a changed agent does.

Nothing in it is staged: the app is loaded as any other, and its own runtime routes and replays. The files of
the app lie in ``demo_app`` and are copied as they are.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.settings import DEFAULT_STORE as STORE
from intentusnet.cli.settings import configured_runtime, resolve_settings
from intentusnet.errors import ConfigurationError, IntegrityBroken
from intentusnet.log.verify import VerifyReport, verify_path
from intentusnet.replay.divergence import ReplayReport
from intentusnet.response import AgentResponse
from intentusnet.runtime import IntentusRuntime
from intentusnet.stores.base import MAX_LIMIT, Query

if TYPE_CHECKING:
    from intentusnet.cli.output import Output

DEFAULT_DIRECTORY: Final = "intentusnet-demo"
FILES: Final = ("app.py", "app_changed.py", "policy.toml", "request.json", "pyproject.toml")
#: By this file, with this very content, a directory is known to be the demo's.
_MARK: Final = "pyproject.toml"
_LEDGER: Final = "ledger.jsonl"
_MODULES: Final[tuple[str, ...]] = ("app", "app_changed")
#: Of a value that differs, so many characters are shown.
_WIDTH: Final = 74


@dataclass(frozen=True, slots=True)
class Step:
    """One intent of the demo, and what it is there to show."""

    shows: str
    intent: str
    payload: dict[str, Any]
    strategy: str = "direct"


STEPS: Final = (
    Step("routes to four others", "ticket.handle",
         {"text": "You charged me twice for one invoice", "customer": "ada", "amount": 40}),
    Step("refund above the limit", "ticket.handle",
         {"text": "The laptop is broken, I want my money back", "customer": "grace", "amount": 900}),
    Step("one call of a model", "ticket.classify", {"text": "How do I change my password?"}),
    Step("two agents at once", "knowledge.search", {"text": "How do I change my password?"}, "broadcast"),
    Step("the second answers", "reply.draft", {"text": "Where is my invoice?"}, "fallback"),
    Step("pays, once", "refund.issue", {"customer": "barbara", "amount": 25}),
    Step("denied by a rule", "refund.issue", {"customer": "barbara", "amount": 500}),
    Step("misspelt payload", "ticket.classify", {"txt": "How do I change my password?"}),
    Step("nobody handles it", "invoice.print", {"number": 17}),
)  # fmt: skip

#: What to type next, what it shows, and how it ends. Each works in the demo's directory, in this order.
NEXT: Final = (
    ("intentusnet list --status error", "what went wrong", 0),
    ("intentusnet show @last~4", "request, decisions, questions, answers, outcome", 0),
    ("intentusnet replay --all", "everything once more, offline", 0),
    ("intentusnet replay --all --app app_changed:runtime", "what the changed agent does", 1),
    ("intentusnet diff @last~2 @last~3", "what differs between two executions", 1),
    ("intentusnet verify", "every byte of the log is what was written", 0),
    ("intentusnet policy explain @request.json", "why it is denied, rule by rule", 1),
    ("intentusnet agents triage", "one agent, with its schemas", 0),
    ("intentusnet config show", "where the settings come from", 0),
    ('intentusnet route ticket.handle \'{"text": "Hello?"}\'', "an execution of your own", 0),
)


@dataclass(frozen=True, slots=True)
class Found:
    """What the demo did and saw."""

    directory: Path
    routed: tuple[tuple[Step, AgentResponse], ...]
    executions: int
    verified: VerifyReport
    replayed: tuple[ReplayReport, ...]
    changed: tuple[ReplayReport, ...]
    payments: tuple[int, int]


@click.command("demo")
@click.argument("directory", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, metavar="[DIR]")
@shared_options()
@pass_invocation
def command(invocation: Invocation, directory: Path) -> int:
    """Write a small app into DIR, route through it, verify and replay what was recorded.

    DIR is ./intentusnet-demo unless given. It has to be new, empty, or of an earlier demo.
    """
    out = invocation.output
    prepare(directory)
    with invocation.foreign_code():
        found = run(directory)
    if out.table:
        _print(out, found)
    else:
        out.json(summary(found))
    return 0 if found.verified.ok else IntegrityBroken.exit_code


def prepare(directory: Path) -> None:
    """Writes the app's files; what is there already is never changed.

    Raises:
        ConfigurationError: the directory holds anything that is not the demo's, or cannot be written.
    """
    originals = {name: files("intentusnet.cli").joinpath("demo_app", name).read_bytes() for name in FILES}
    elsewhere = "Choose a directory that is new or empty, as in: intentusnet demo another-demo"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in directory.iterdir()}
        if there and (_MARK not in there or (directory / _MARK).read_bytes() != originals[_MARK]):
            raise ConfigurationError(
                "the directory is not empty, and no demo made it", where=str(directory), hint=elsewhere
            )
        changed = [
            name for name in FILES if name in there and (directory / name).read_bytes() != originals[name]
        ]
        if changed:
            raise ConfigurationError(
                "a file of the demo was changed, and is left as it is",
                where=str(directory / changed[0]),
                hint=elsewhere,
            )
        # The mark comes first: a demo that was interrupted can be taken up again.
        for name in sorted(FILES, key=lambda name: name != _MARK):
            if name not in there:
                (directory / name).write_bytes(originals[name])
    except OSError as fault:
        raise ConfigurationError(
            "the demo cannot be written",
            where=str(fault.filename or directory),
            got=fault.strerror or str(fault),
        ) from fault


def run(directory: Path) -> Found:
    """Routes, verifies, replays, and replays with the changed app."""
    with _at_home_in(directory), _app("app:runtime") as runtime:
        assert runtime.store is not None
        routed = tuple((step, _route(runtime, step)) for step in STEPS)
        verified = verify_path(Path(STORE))
        before = _payments()
        since = runtime.store.get(routed[0][1].execution_id).opened_us
        rows = runtime.store.list(Query(since_us=since, limit=MAX_LIMIT, oldest_first=True)).rows
        ids = [row.execution_id for row in rows]
        replayed = tuple(runtime.replay(name) for name in ids)
        with _app("app_changed:runtime") as changed_runtime:
            changed = tuple(changed_runtime.replay(name) for name in ids)
        payments = before, _payments()
    return Found(directory, routed, len(ids), verified, replayed, changed, payments)


@contextlib.contextmanager
def _at_home_in(directory: Path) -> Iterator[None]:
    """While it lasts, ``app`` means the demo's module, whatever lies where the command was started."""
    path = sys.path.copy()
    others = {name: sys.modules.pop(name) for name in _MODULES if name in sys.modules}
    with contextlib.chdir(directory):
        try:
            yield
        finally:
            sys.path[:] = path
            for name in _MODULES:
                sys.modules.pop(name, None)
            sys.modules.update(others)


def _app(name: str) -> IntentusRuntime:
    return configured_runtime(resolve_settings(app=name, environ={}))


def _route(runtime: IntentusRuntime, step: Step) -> AgentResponse:
    return runtime.route(step.intent, step.payload, strategy=step.strategy, caller="demo", tags=["demo"])


def _payments() -> int:
    try:
        return Path(_LEDGER).read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def summary(found: Found) -> dict[str, Any]:
    """What was done, as JSON."""
    return {
        "directory": str(found.directory),
        "routed": [
            {
                "execution_id": response.execution_id,
                "intent": step.intent,
                "status": response.status,
                "agent": response.agent,
                "error_code": None if response.error is None else response.error.code.value,
            }
            for step, response in found.routed
        ],
        "executions": found.executions,
        "verified": found.verified.as_dict(),
        "replayed": _by_verdict(found.replayed),
        "changed": {**_by_verdict(found.changed), "first": _first(found.changed)},
        "payments": {"before_replay": found.payments[0], "after_replay": found.payments[1]},
        "next": [line for line, _, _ in NEXT],
    }


def _by_verdict(reports: Sequence[ReplayReport]) -> dict[str, int]:
    counts = Counter(report.verdict.value for report in reports)
    return {verdict: counts[verdict] for verdict in ("match", "diverged", "not_replayable")}


def _first(reports: Sequence[ReplayReport]) -> dict[str, Any] | None:
    return next((report.as_dict() for report in reports if report.divergences), None)


def _print(out: Output, found: Found) -> None:
    from intentusnet.cli.output import fields, inline, listing, styled, text

    place = text(found.directory)
    out.print(f"A support desk of seven agents is now in {place}. Routed through it:", "")
    table = listing("Intent", "Ended", "Agent", "Shows")
    for step, response in found.routed:
        ended = response.status if response.error is None else response.error.code.value
        style = "green" if response.error is None else "red"
        table.add_row(step.intent, styled(ended, style), text(response.agent or "-"), step.shows)
    out.print(table, "")
    counts, changed = _by_verdict(found.replayed), _by_verdict(found.changed)
    verified, (before, after) = found.verified, found.payments
    checked = f"{verified.entries} entries, {verified.executions} executions, every byte checked"
    out.print(
        fields(
            [
                ("verified", checked if verified.ok else "BROKEN: see intentusnet verify"),
                ("replayed", f"{counts['match']} of {found.executions} match, and no model was asked"),
                ("payments", f"{before} before the replays, {after} after"),
                ("changed agent", f"{changed['diverged']} of {found.executions} diverge in app_changed.py:"),
            ]
        ),
        "",
    )
    divergences = next((report.divergences for report in found.changed if report.divergences), ())
    for divergence in divergences:
        line = styled(f"    {divergence.kind.value} ", "yellow")
        line.append(text(f"{divergence.question} {divergence.pointer}".strip()))
        removed, added = styled("    - ", "red"), styled("    + ", "green")
        removed.append(inline(divergence.expected, _WIDTH))
        added.append(inline(divergence.actual, _WIDTH))
        out.print(line, removed, added)
    out.print("", f"Go on there with  cd {shlex.quote(place)}  and any of these:", "")
    for line_to_type, shows, _ in NEXT:
        out.print(f"  {line_to_type}", styled(f"      {shows}", "dim"))
