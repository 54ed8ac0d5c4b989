"""`replay`: executions run again from their own answers, and compared."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from intentusnet.cli.app import Invocation, Words, pass_invocation, shared_options
from intentusnet.cli.filters import filter_options, query_of
from intentusnet.cli.records import is_path, portable_files
from intentusnet.cli.settings import (
    Settings,
    configured_policy,
    configured_runtime,
    configured_store,
    ignore_of,
)
from intentusnet.cli.updating import Update
from intentusnet.cli.verdicts import Verdicts
from intentusnet.errors import RecordNotFound
from intentusnet.replay.corpus import (
    CorpusItem,
    Load,
    MakeRuntime,
    RecordFile,
    StoredRecord,
    every,
    replay_all,
)
from intentusnet.replay.strictness import Depth, Strictness
from intentusnet.runtime import IntentusRuntime
from intentusnet.stores.base import ExecutionStore, Query
from intentusnet.stores.memory import MemoryExecutionStore


@dataclass(frozen=True, slots=True)
class WorkerApp:
    """Makes the runtime in a worker process.

    Attributes:
        settings: those of the command.
        depth: how deep it replays.
    """

    settings: Settings
    depth: Depth

    def __call__(self) -> IntentusRuntime:
        """Loads the app; from then on whatever the process prints goes to stderr: stdout is for data."""
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        return _runtime(self.settings, self.depth)


def _runtime(settings: Settings, depth: Depth) -> IntentusRuntime:
    """The app's runtime; to decide anew needs none, only the policy."""
    if depth is not Depth.ROUTING or settings.app.value is not None:
        return configured_runtime(settings)
    policy = None if settings.policy.value is None else configured_policy(settings)
    return IntentusRuntime(store=configured_store(settings), policy=policy)


@click.command("replay")
@click.argument("references", nargs=-1, metavar="[ID|PATH]...")
@click.option("--all", "everything", is_flag=True, help="Every execution of the store, oldest first.")
@filter_options
@click.option(
    "--strictness",
    type=Words([word.value for word in Strictness]),
    default="result",
    help="[default: result]",
)
@click.option("--ignore", multiple=True, metavar="[INTENT=]PLACE", help="Do not compare that place.")
@click.option("--routing", is_flag=True, help="Decide plan and policy anew, and run no agent: needs no app.")
@click.option("--live", is_flag=True, help="Ask the world again, as far as that is read-only.")
@click.option("--allow-acting", is_flag=True, help="With --live: also run and ask what may act.")
@click.option("-j", "--jobs", type=click.IntRange(1), default=1, metavar="N", help="Worker processes.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first that does not match.")
@click.option("--update", is_flag=True, help="Record the files that diverge anew, live; asks first.")
@click.option("--yes", is_flag=True, help="With --update: do not ask.")
@shared_options("store", "app", "policy", formats=("junit", "github"))
@pass_invocation
def command(
    invocation: Invocation,
    /,
    references: tuple[str, ...],
    everything: bool,
    strictness: str,
    ignore: tuple[str, ...],
    routing: bool,
    live: bool,
    allow_acting: bool,
    jobs: int,
    fail_fast: bool,
    update: bool,
    yes: bool,
    **asked: Any,
) -> int:
    """Run executions again from their record and compare everything.

    Executions are named by id, by files with portable records, or by directories of those; --all and the
    filters choose from the store. Agents run with the recorded answers and touch nothing. Ends with 0 if all
    match, 1 if one diverged, 11 if one cannot be replayed, 13 if a file is broken.
    """
    query = _checked(references, everything, asked)
    depth = _depth(routing, live, allow_acting)
    files_only = not everything and all(map(is_path, references))
    if update and not files_only:
        raise click.UsageError("--update is for files with portable records.")
    if yes and not update:
        raise click.UsageError("--yes goes with --update.")
    compared = {"strictness": Strictness(strictness), "ignore": ignore_of(ignore, "--ignore")}
    options = {**compared, "depth": depth, "allow_acting": allow_acting}
    updating = Update(invocation, compared, yes=yes) if update else None
    out = invocation.output
    with invocation.foreign_code():
        opened = _runtime(invocation.settings, depth)
    with opened as runtime:
        loads, total = _loads(runtime.store, references, query, count=out.shows_progress)
        if jobs > 1 and not files_only and isinstance(runtime.store, MemoryExecutionStore):
            raise click.UsageError("-j needs a store that other processes can read.")
        make_runtime: MakeRuntime = (lambda: runtime) if jobs == 1 else WorkerApp(invocation.settings, depth)
        verdicts = Verdicts(out, few=bool(references), total=total)
        replayed = replay_all(loads, make_runtime, jobs=jobs, options=options)
        with closing(replayed), out.progress("replay") as advance:
            for item in _each(invocation, replayed):
                verdicts.take(item)
                if updating is not None:
                    updating.take(item)
                advance(verdicts.total, total)
                if fail_fast and not verdicts.all_match:
                    break
        if not verdicts.total:
            raise RecordNotFound(
                "there is nothing to replay", where="the store", hint="`intentusnet route` records."
            )
        verdicts.close()
        if updating is not None:
            updating.record_anew(runtime)
    return verdicts.exit_code(forgiven=0 if updating is None else updating.forgiven)


def _checked(references: tuple[str, ...], everything: bool, asked: dict[str, Any]) -> Query | None:
    """What is asked of the store, if no executions are named."""
    if everything and references:
        raise click.UsageError("--all and names of executions exclude each other.")
    if not everything and any(value is not None for value in asked.values()):
        raise click.UsageError("The filters choose among --all executions.")
    if not everything and not references:
        raise click.UsageError("Name executions or files, or use --all.")
    return query_of(**asked) if everything else None


def _depth(routing: bool, live: bool, allow_acting: bool) -> Depth:
    """How deep the options say that a replay goes."""
    if routing and live:
        raise click.UsageError("--routing and --live exclude each other.")
    if allow_acting and not live:
        raise click.UsageError("--allow-acting goes with --live.")
    return Depth.ROUTING if routing else Depth.LIVE if live else Depth.AGENTS


def _loads(
    store: ExecutionStore | None, references: tuple[str, ...], query: Query | None, *, count: bool
) -> tuple[Iterable[Load], int]:
    """What is to be replayed, and how much that is, if it is known or is to be counted; else 0.

    What is named is found before anything is run.
    """
    assert store is not None
    if query is None:
        named = [load for reference in references for load in _named(reference, store)]
        return named, len(named)
    total = sum(1 for _ in every(store, query)) if count else 0
    return (StoredRecord(row.execution_id) for row in every(store, query)), total


def _named(reference: str, store: ExecutionStore) -> list[Load]:
    if is_path(reference):
        return [RecordFile(str(path)) for path in portable_files(Path(reference))]
    return [StoredRecord(store.resolve(reference))]


def _each(invocation: Invocation, items: Iterator[CorpusItem]) -> Iterator[CorpusItem]:
    """The items; what the app prints while one is made goes to stderr."""
    while True:
        with invocation.foreign_code():
            item = next(items, None)
        if item is None:
            return
        yield item
