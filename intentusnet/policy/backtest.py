"""Backtest: what would another policy have decided about executions on record?

Each candidate of each recorded plan is decided anew, on the very facts that were there then (``facts``), and
held against the decision on record, or against that of an old policy (``trial``). Of a store only first
entries are read, each of them checked; a large one is shared among processes.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final, TypeAlias

import orjson

from intentusnet.log.entry import Entry
from intentusnet.policy.engine import Policy
from intentusnet.policy.trial import BacktestReport, Tally, Trial
from intentusnet.record import ExecutionRecord
from intentusnet.references import MARK
from intentusnet.stores.base import EVERYTHING, MAX_LIMIT, ExecutionStore, Query
from intentusnet.stores.file import FileExecutionStore

#: Told how many executions are behind.
Progress: TypeAlias = Callable[[int], None]

#: To try a policy on so many lines of a log takes about as long as to start the processes that share it.
_WORTH_WORKERS: Final = 200_000
#: Stretches of the log for each process: the last ones to be done are short then.
_STRETCHES: Final = 4


def backtest(
    source: ExecutionStore | Iterable[ExecutionRecord],
    new: Policy,
    *,
    against: Policy | None = None,
    query: Query = EVERYTHING,
    examples: int = 5,
    jobs: int = 1,
    progress: Progress | None = None,
) -> BacktestReport:
    """Tries a policy on executions on record.

    Args:
        source: a store, or records; of an iterator one after the other is taken.
        new: the policy.
        against: what it is held against; if None, the decisions on record.
        query: which executions of a store.
        examples: how many executions are named for a group of equal changes.
        jobs: how many processes share a large store in a directory.
        progress: told now and then how many executions are behind.

    Raises:
        IntegrityBroken: the log is damaged, or a line of it is not what was written.
    """
    trial = Trial(new, against, examples)
    if not isinstance(source, Iterable):
        query = replace(query, limit=MAX_LIMIT, cursor=None, oldest_first=True)
        _try_store(source, query, trial, jobs, progress or (lambda done: None))
        return trial.report()
    for record in source:
        trial.take(record.execution_id, record.envelope_tree, record.plan_tree)
        if progress is not None:
            progress(trial.tally.executions)
    return trial.report()


def _try_store(store: ExecutionStore, query: Query, trial: Trial, jobs: int, progress: Progress) -> None:
    newest = store.openings(replace(query, oldest_first=False, limit=1)).entries
    if not newest:
        return
    end = newest[0].seq + 1
    if jobs == 1 or end < _WORTH_WORKERS or not isinstance(store, FileExecutionStore):
        _try_stretch(store, query, 0, end, trial, progress)
        return
    new, against, examples = trial.parts
    step = -(-end // (jobs * _STRETCHES))
    stretches = [(first, min(first + step, end)) for first in range(0, end, step)]
    work = partial(_tried, store.path, query, new, against, examples)
    # Ctrl-C reaches all processes of a terminal: the one that started these says so, and they just end.
    quiet = signal.SIGINT, signal.SIG_DFL
    workers = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=signal.signal, initargs=quiet)
    try:
        futures = [workers.submit(work, *stretch) for stretch in stretches]
        for stretch, future in zip(stretches, futures, strict=True):
            try:
                found = future.result()
            except BrokenExecutor:
                found = work(*stretch)  # a process that was killed has only spared less work
            trial.tally.join(found, examples)
            progress(trial.tally.executions)
    finally:
        workers.shutdown(cancel_futures=True)


def _tried(
    path: Path, query: Query, new: Policy, against: Policy | None, examples: int, first: int, end: int
) -> Tally:
    """What is found in one stretch of a store; runs in a worker."""
    trial = Trial(new, against, examples)
    with FileExecutionStore(path, create=False) as store:
        _try_stretch(store, query, first, end, trial, lambda done: None)
    return trial.tally


def _try_stretch(
    store: ExecutionStore, query: Query, first: int, end: int, trial: Trial, progress: Progress
) -> None:
    """Takes the executions that were opened from one seq on, and before another."""
    cursor = query.cursor_after(first - 1) if first else None
    while True:
        page = store.openings(replace(query, cursor=cursor))
        for entry in page.entries:
            if entry.seq >= end:
                return
            _take(entry, store, trial)
        progress(trial.tally.executions)
        cursor = page.cursor
        if cursor is None:
            return


def _take(entry: Entry, store: ExecutionStore, trial: Trial) -> None:
    body = orjson.loads(entry.body)
    payload = None
    if MARK in entry.body:
        # Looked up only if a rule asks for it: it lies elsewhere, and is large.
        payload = lambda: store.get(entry.execution).envelope_tree["payload"]  # noqa: E731 - see above
    trial.take(entry.execution, body["envelope"], body["plan"], payload)
