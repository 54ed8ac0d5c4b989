"""`doctor`: the health of an installation, and what agents read behind the record."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.examining import SEEN, Job
from intentusnet.cli.health import Check, checks
from intentusnet.cli.output import Output, fields, inline, listing, styled, text
from intentusnet.cli.records import is_path
from intentusnet.doctor.judging import Certainty, Finding, is_touch, judge
from intentusnet.doctor.programs import program_of
from intentusnet.doctor.sightings import Kept, Seen
from intentusnet.errors import ConfigurationError, RecordNotFound
from intentusnet.record import ExecutionRecord
from intentusnet.replay.recordfiles import portable_files
from intentusnet.stores.base import Query
from intentusnet.stores.portable import load_record

_LAST: Final = 20
#: The hash seeds of the two processes.
_SEEDS: Final = ("1", "2")
#: So many lines of what a program wrote are shown when it fails.
_TAIL: Final = 20
_TAIL_BYTES: Final = 64 << 10
_WIDEST: Final = 200
_ID: Final = re.compile(r"[0-9a-f-]+")
_COMMAND: Final = "intentusnet.doctor.command"
_STATUS: Final = {"ok": "green", "warning": "yellow", "fault": "red"}
_HEADS: Final = {
    Certainty.DIFFERS: ("differs", "red"),
    Certainty.READ: ("read", "yellow"),
    Certainty.SAME: ("same", "dim"),
}


class _Doctor(click.Command):
    """Tells what stands behind ``--``, which is a command, from what stands before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = tuple(args[at + 1 :]) if at < len(args) else None
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


@click.command("doctor", cls=_Doctor)
@click.argument("references", nargs=-1, metavar="[ID|PATH]...")
@click.option("--last", type=click.IntRange(1), metavar="N", help=f"So many executions.  [default: {_LAST}]")
@shared_options("store", "app", "policy")
@click.pass_context
@pass_invocation
def command(
    invocation: Invocation, ctx: click.Context, /, references: tuple[str, ...], last: int | None
) -> int:
    """Look at the installation's health, or for what agents read behind the record, by source line.

    Alone: versions, settings, app, policy, store and disk. With -- COMMAND: runs a Python program twice, and
    replays what it recorded. With --app, --last, ids or files: replays what is on record, twice.
    Ends with 0 if there is no fault and nothing that is recorded differs, otherwise with 1.
    """
    typed: tuple[str, ...] | None = ctx.meta[_COMMAND]
    if typed is not None:
        if not typed:
            raise click.UsageError("There is no command behind --.")
        if references or last is not None:
            raise click.UsageError("-- COMMAND goes without --last and names of executions.")
        if invocation.app is not None:
            raise click.UsageError("--app and -- COMMAND exclude each other.")
        return _tell(invocation.output, _of_command(typed, invocation.output))
    if references and _is_command(references[0]):
        raise click.UsageError(f"-- goes before a command: intentusnet doctor -- {shlex.join(references)}")
    if references and last is not None:
        raise click.UsageError("--last and names of executions exclude each other.")
    if references or last is not None or invocation.app is not None:
        records = _records(invocation, references, last or _LAST)
        return _tell(invocation.output, _of_records(records, invocation))
    return _health(invocation)


def _is_command(word: str) -> bool:
    """Whether somebody meant a program, and no execution: ids have hexadecimal digits only."""
    return word.endswith(".py") or (not _ID.fullmatch(word) and shutil.which(word) is not None)


def _health(invocation: Invocation) -> int:
    found = list(checks(invocation))
    out = invocation.output
    ok = all(check.status != "fault" for check in found)
    if out.table:
        _print_checks(out, found)
    else:
        out.json(_tree(ok=ok, checks=found))
    return 0 if ok else 1


def _print_checks(out: Output, found: Sequence[Check]) -> None:
    table = listing("Check", "", "Found")
    for check in found:
        shown = text(check.found) + (f"\n{text(check.hint)}" if check.hint else "")
        table.add_row(check.name, styled(check.status, _STATUS[check.status]), shown)
    out.print(table)


@dataclass(frozen=True, slots=True)
class _Examination:
    """What two processes saw, and what is made of it."""

    seen: tuple[Seen, Seen]
    findings: list[Finding]
    from_program: bool


def _of_command(typed: Sequence[str], out: Output) -> _Examination:
    """Runs a command twice.

    Raises:
        InvalidInput: there is no such command, or it is not written in Python.
        RecordNotFound: it has recorded nothing.
        ConfigurationError: it did not come to its end.
    """
    program = program_of(typed)
    with tempfile.TemporaryDirectory(prefix="intentusnet-doctor-") as place:
        first = _examined(Path(place), 0, Job(program, None, zone=False), program.interpreter, out)
        if not first.kept:
            raise RecordNotFound(
                "the command has recorded no execution that came to its end",
                where=shlex.join(typed),
                got=f"exit code {first.exit_code}",
                hint="It has to route intents in its own process.",
            )
        second = _examined(Path(place), 1, Job(program, first.kept, zone=True), program.interpreter, out)
    return _Examination((first, second), judge(first, second), from_program=True)


def _of_records(records: Sequence[ExecutionRecord], invocation: Invocation) -> _Examination:
    """Replays records in two processes.

    Raises:
        AppNotLoaded: there is no app, or it cannot be loaded.
    """
    invocation.runtime()  # says better than a process can what is wrong with it
    settings = invocation.settings
    seen = []
    with tempfile.TemporaryDirectory(prefix="intentusnet-doctor-") as place:
        kept = []
        for number, record in enumerate(records):
            path = Path(place) / f"{number}.jsonl"
            path.write_bytes(record.to_jsonl())
            kept.append(Kept(record.execution_id, record.intent, 0, None, str(path)))
        for number in (0, 1):
            job = Job(None, tuple(kept), number == 1, settings.app.value, settings.policy.value)
            seen.append(_examined(Path(place), number, job, (sys.executable,), invocation.output))
    return _Examination((seen[0], seen[1]), judge(seen[0], seen[1]), from_program=False)


def _records(invocation: Invocation, references: Sequence[str], last: int) -> list[ExecutionRecord]:
    """What is to be replayed.

    Raises:
        RecordNotFound: there is nothing, or not what is named.
    """
    records = [
        load_record(path) for name in references if is_path(name) for path in portable_files(Path(name))
    ]
    named = [name for name in references if not is_path(name)]
    if named or not references:
        with invocation.open_store() as store:
            ids = [store.resolve(name) for name in named]
            if not references:
                ids = [row.execution_id for row in store.list(Query(limit=min(last, 1000))).rows]
            records += store.get_many(ids)
    records = list({record.execution_id: record for record in records}.values())
    if not records:
        raise RecordNotFound(
            "there is nothing on record to replay",
            where="the store",
            hint="`intentusnet route` records; or `intentusnet doctor -- COMMAND` runs a program that does.",
        )
    return records


def _examined(place: Path, number: int, job: Job, python: Sequence[str], out: Output) -> Seen:
    """Does a job in a process of its own.

    Args:
        place: a private directory for both processes.
        number: which of the two it is: 0 or 1.
        job: what to do.
        python: the interpreter and its options.
        out: is told what the program wrote, as far as that matters.

    Raises:
        ConfigurationError: it did not come to its end.
    """
    directory, temporary = place / f"run-{number}", place / f"tmp-{'ab'[number]}"
    directory.mkdir()
    temporary.mkdir()
    job.save(directory)
    environ = {**os.environ, "PYTHONHASHSEED": _SEEDS[number], "TMPDIR": str(temporary)}
    written = directory / "written"
    with written.open("wb") as file:
        done = subprocess.run(
            [*python, "-m", "intentusnet.cli.examining", str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environ,
            check=False,
        )
    tail = _end_of(written)
    if not (directory / SEEN).exists():
        raise ConfigurationError(
            "the process ended before anything could be seen",
            where=shlex.join([*python, "-m", "intentusnet.cli.examining"]),
            got=f"exit code {done.returncode}" + (f"\n{tail}" if tail else ""),
            hint="A program that is examined must not be killed, nor leave by os._exit or os.exec.",
        )
    seen = Seen.load(directory / SEEN)
    if seen.exit_code:
        out.warn(
            f"Run {number + 1}: the command ended with exit code {seen.exit_code}. Its last lines:\n{tail}"
        )
    elif tail:
        out.detail(f"Run {number + 1}:\n{tail}")
    return seen


def _end_of(written: Path) -> str:
    """The last lines of a file, however long it and they are."""
    with written.open("rb") as file:
        file.seek(max(0, written.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(line[:_WIDEST] for line in lines[-_TAIL:])


def _tree(
    *,
    ok: bool,
    checks: Sequence[Check] = (),
    runs: Sequence[Seen] = (),
    findings: Sequence[Finding] = (),
) -> dict[str, Any]:
    verdicts = [replayed.verdict for replayed in runs[0].replays] if runs else []
    return {
        "ok": ok,
        "checks": [check.as_dict() for check in checks],
        "runs": [{"exit_code": run.exit_code, "recorded": len(run.kept)} for run in runs],
        "replayed": len(verdicts) - verdicts.count("not_replayable"),
        "findings": [finding.as_dict() for finding in findings],
    }


def _tell(out: Output, examination: _Examination) -> int:
    findings = examination.findings
    ok = all(finding.certainty is not Certainty.DIFFERS for finding in findings)
    tree = _tree(ok=ok, runs=examination.seen, findings=findings)
    if out.table:
        _print_findings(out, findings, tree["replayed"])
    else:
        out.json(tree)
    _tell_what_is_missing(out, examination, tree["replayed"])
    return 0 if ok else 1


def _print_findings(out: Output, findings: Sequence[Finding], replayed: int) -> None:
    differing = {
        execution
        for finding in findings
        if finding.certainty is Certainty.DIFFERS
        for execution in finding.executions
    }
    head = styled("differs" if differing else "ok")
    if differing:
        verb = "differs when it is" if len(differing) == 1 else "differ when they are"
        head.append(f"  {len(differing)} of {_executions(replayed)} {verb} replayed")
    else:
        head.append(f"  {_executions(replayed)} {'replays' if replayed == 1 else 'replay'} the same, twice")
    out.print(head)
    for finding in findings:
        word, style = _HEADS[finding.certainty]
        line = styled(finding.source or "unknown line", "bold")
        line.append(f"  {text(finding.code)}")
        shown: list[tuple[str, object]] = [(word, styled(_said(finding), style)), ("fix", finding.fix)]
        if finding.example is not None:
            shown.insert(1, ("seen", _example(finding.example)))
        out.print("", line, fields(shown))


def _said(finding: Finding) -> str:
    if finding.certainty is Certainty.DIFFERS:
        return f"{finding.said}; {_executions(len(finding.executions))}"
    if finding.certainty is Certainty.READ:
        return f"{finding.said}; it differs, and nothing that is recorded was seen to"
    return f"{finding.said}; it was the same each time"


def _executions(count: int) -> str:
    return "1 execution" if count == 1 else f"{count} executions"


def _example(divergence: Any) -> str:
    if is_touch(divergence):
        return f"a replay stops it: {divergence['question']} {inline(divergence['actual'], 60)}"
    place = " ".join(part for part in (divergence["question"], divergence["pointer"]) if part)
    sides = [inline(divergence[side], 60) for side in ("expected", "actual")]
    return f"{divergence['kind']} {place}: {sides[0]} was recorded, {sides[1]} came"


def _tell_what_is_missing(out: Output, examination: _Examination, replayed: int) -> None:
    """What has not been looked at, and why."""
    first, second = examination.seen
    reasons = {one.reason for seen in examination.seen for one in seen.replays if one.reason}
    for reason in sorted(reasons):
        count = max(sum(one.reason == reason for one in seen.replays) for seen in examination.seen)
        out.note(f"Not compared: {_executions(count)}: {reason}.")
    if examination.from_program and len(first.kept) != len(second.kept):
        out.note(f"The runs recorded {len(first.kept)} and {len(second.kept)} executions.")
    if any(finding.certainty is Certainty.SAME for finding in examination.findings):
        out.note("What was the same on this machine now may be another elsewhere, or later.")
