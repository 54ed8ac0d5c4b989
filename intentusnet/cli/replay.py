"""`replay`: executions run again from their own answers, and compared."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from intentusnet.cli.app import Invocation, Words, pass_invocation, shared_options
from intentusnet.cli.filters import filter_options, query_of
from intentusnet.cli.records import is_path
from intentusnet.cli.settings import (
    Settings,
    configured_policy,
    configured_runtime,
    configured_store,
    ignore_of,
)
from intentusnet.cli.updating import Update
from intentusnet.cli.verdicts import Verdicts
from intentusnet.errors import IntegrityBroken, RecordNotFound
from intentusnet.replay.corpus import CorpusItem, MakeRuntime, replay_all
from intentusnet.replay.loads import Load, RecordFile, StoredRecord, Unreadable, every
from intentusnet.replay.recordfiles import portable_files
from intentusnet.replay.strictness import Depth, Strictness
from intentusnet.runtime import IntentusRuntime
from intentusnet.stores.base import EVERYTHING, ExecutionStore, Query
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
@click.option("--nested", is_flag=True, help="Also the executions that they asked for.")
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
    nested: bool,
    jobs: int,
    fail_fast: bool,
    update: bool,
    yes: bool,
    **asked: Any,
) -> int:
    """Run executions again from their record and compare everything.

    Executions are named by id, by files with portable records, or by directories of those; --all and the
    filters choose from the store. Agents run with the recorded answers and touch nothing. Ends with 0 if all
    match, 1 if one diverged, 11 if one cannot be replayed, 13 if one is broken, 10 if there is none.
    """
    query = _checked(references, everything, asked)
    depth = _depth(routing, live, allow_acting)
    compared = {"strictness": Strictness(strictness), "ignore": ignore_of(ignore, "--ignore")}
    files_only = query is None and all(map(is_path, references))
    if yes and not update:
        raise click.UsageError("--yes goes with --update.")
    if update:
        _check_update(files_only, depth, nested)
    updating = Update(invocation, compared, yes=yes) if update else None
    out = invocation.output
    with invocation.foreign_code():
        opened = _runtime(invocation.settings, depth)
    with opened as runtime:
        assert runtime.store is not None  # the default one, if nobody names another
        if query is None:
            loads, total = _named(references, runtime.store, nested)
        else:
            loads, total = _stored(runtime.store, query, nested, count=out.shows_progress)
        if jobs > 1 and not files_only and isinstance(runtime.store, MemoryExecutionStore):
            raise click.UsageError("-j needs a store that other processes can read.")
        make_runtime: MakeRuntime = (lambda: runtime) if jobs == 1 else WorkerApp(invocation.settings, depth)
        options = {**compared, "depth": depth, "allow_acting": allow_acting, "nested": nested}
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
            raise _nothing(invocation.settings, query)
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


def _check_update(files_only: bool, depth: Depth, nested: bool) -> None:
    """Refuses to record anew what cannot be, or what would not be what was looked at."""
    if not files_only:
        raise click.UsageError("--update is for files with portable records.")
    if depth is Depth.ROUTING:
        raise click.UsageError("--update runs agents, and --routing does not: use one without the other.")
    if nested:
        raise click.UsageError("--update records each file anew by itself: use it without --nested.")


def _named(references: tuple[str, ...], store: ExecutionStore, nested: bool) -> tuple[Iterable[Load], int]:
    """What the references mean, each record once, and how many; all is found before anything is run."""
    paths = [Path(reference) for reference in references if is_path(reference)]
    beside = {str(path if path.is_dir() else path.parent): None for path in paths if nested}
    loads: dict[Load, None] = {}
    for reference in references:
        if is_path(reference):
            found = portable_files(Path(reference))
            loads.update((RecordFile(str(file), tuple(beside)), None) for file in found)
        else:
            loads[StoredRecord(store.resolve(reference))] = None
    return loads, len(loads)


def _stored(store: ExecutionStore, query: Query, nested: bool, *, count: bool) -> tuple[Iterable[Load], int]:
    """The executions that a query asks for, and how many there are, if they are to be counted; else 0."""
    # With all of them there, those below others are replayed below them.
    outermost = nested and query == EVERYTHING
    loads = _listed(store, replace(query, despite_damage=True), outermost)
    if not count:
        return loads, 0
    counted = list(loads)
    return counted, len(counted)


def _listed(store: ExecutionStore, query: Query, outermost: bool) -> Iterator[Load]:
    try:
        for row in every(store, query):
            yield StoredRecord(row.execution_id, outermost)
    except IntegrityBroken as fault:
        yield Unreadable("the log", fault)


def _nothing(settings: Settings, query: Query | None) -> RecordNotFound:
    filtered = query is not None and query != EVERYTHING
    return RecordNotFound(
        "no execution fits the filters" if filtered else "there is nothing to replay",
        where=f"the store {settings.store.value}" if settings.store.is_set else "the store",
        hint="`intentusnet list` takes the same filters." if filtered else "`intentusnet route` records.",
    )


def _each(invocation: Invocation, items: Iterator[CorpusItem]) -> Iterator[CorpusItem]:
    """The items; what the app prints while one is made goes to stderr."""
    while True:
        with invocation.foreign_code():
            item = next(items, None)
        if item is None:
            return
        yield item
