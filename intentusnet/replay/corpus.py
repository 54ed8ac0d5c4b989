"""Replay of many records: by one process, or spread over the workers of a `concurrent.futures.Executor`.

Records are sent by name, in chunks, and reports come back in the order of the records. Each worker makes the
runtime once and keeps it. Chunks begin small, so that a few records are spread as well, and grow, so that
short replays are not outweighed by what it costs to send them. Only so many are under way, so that memory
does not grow with the corpus.

A worker that dies takes with it whatever was under way. Then a new executor is made, and the records of the
chunk that is due are replayed one by one: the one that is alone with a worker when it dies is the one.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Final, Protocol

from intentusnet.errors import AppNotLoaded, IntegrityBroken, IntentusError, RecordNotFound
from intentusnet.record import ExecutionRecord, RecordedQuestion
from intentusnet.replay.divergence import Divergence, ReplayReport, Verdict, label
from intentusnet.replay.loads import Load, RecordFile, StoredRecord
from intentusnet.replay.nesting import replay_nested
from intentusnet.replay.recordfiles import files_by_id
from intentusnet.replay.replaying import Replaying, replay_here
from intentusnet.replay.strictness import Depth
from intentusnet.replay.workers import WorkerProcesses
from intentusnet.stores.base import ExecutionStore
from intentusnet.transcript import TELLING_KINDS

#: That many questions before a divergence are told with it.
_BEFORE: Final = 3
_LARGEST_CHUNK: Final = 32
#: So many chunks of a size are sent before the next are twice as large.
_OF_A_SIZE: Final = 4
_LEAST_UNDER_WAY: Final = 16
_ORDINAL: Final = re.compile(r"\[([0-9]+)\]$")


class Replayer(Protocol):
    """What replays records: an `IntentusRuntime`."""

    @property
    def store(self) -> ExecutionStore | None: ...
    @property
    def replay(self) -> Callable[..., ReplayReport]: ...


@dataclass(frozen=True, slots=True)
class CorpusItem:
    """What became of one record.

    Attributes:
        load: which record.
        intent: the intent's name; "" if the record could not be read.
        report: what the replay found; None if there was none.
        fault: why there was none.
        before: the last questions of the scope before the first divergence, with their answers, as text.
        intents: the intents of the executions below it, by id.
        missing: how many executions it asked for, itself or below it, whose records were not found.
    """

    load: Load
    intent: str = ""
    report: ReplayReport | None = None
    fault: IntentusError | None = None
    before: tuple[str, ...] = ()
    intents: Mapping[str, str] = field(default_factory=dict)
    missing: int = 0


#: Makes the runtime. What goes to workers must be equal to itself when it has been sent, such as a function
#: of a module or a frozen dataclass: that is how a worker knows that it has the runtime already.
MakeRuntime = Callable[[], Replayer]


def replay_all(
    loads: Iterable[Load],
    make_runtime: MakeRuntime,
    *,
    jobs: int = 1,
    make_executor: Callable[[], Executor] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Generator[CorpusItem, None, None]:
    """Replays records, and yields what became of each, in their order.

    Args:
        loads: the records; taken from the iterator as they are needed.
        make_runtime: makes the runtime: here, or once in each worker.
        jobs: how many records are replayed at once. With 1, and no executor, this process does it.
        make_executor: makes an executor, and another one after a worker has died; a pool of `jobs` processes
            unless given. It is shut down at the end.
        options: for `IntentusRuntime.replay`. With ``nested``, what a record asked for is sought where the
            record is: in the store, or beside its file.

    Raises:
        AppNotLoaded: a worker dies of making the runtime.
        IntentusError: whatever `make_runtime` raises.
    """
    options = dict(options or {})
    files_by_id.cache_clear()  # others may lie there since the last time
    if make_executor is None and jobs == 1:
        runtime = make_runtime()
        for chunk in _chunks(loads):
            yield from _replayed(chunk, runtime, options)
        return
    make_workers = partial(WorkerProcesses, jobs, offline=options.get("depth") != Depth.LIVE)
    spread = _Spread(make_runtime, make_executor or make_workers, options)
    try:
        yield from spread.items(_chunks(loads), max(_LEAST_UNDER_WAY, 2 * jobs))
    finally:
        spread.close()


def replay_one(load: Load, runtime: Replayer, options: Mapping[str, Any]) -> CorpusItem:
    """Reads a record and replays it."""
    return next(_replayed([load], runtime, options))


def _replayed(chunk: Sequence[Load], runtime: Replayer, options: Mapping[str, Any]) -> Iterator[CorpusItem]:
    for load, record in zip(chunk, _records(chunk, runtime.store), strict=True):
        if isinstance(record, IntentusError):
            yield CorpusItem(load, fault=record)
        elif not load.is_below_another(record, runtime.store):
            yield _item(load, record, runtime, options)


def _item(load: Load, record: ExecutionRecord, runtime: Replayer, options: Mapping[str, Any]) -> CorpusItem:
    records = {record.execution_id: record}
    missing: set[str] = set()

    def child(execution_id: str) -> ExecutionRecord:
        try:
            return records.setdefault(execution_id, load.child(execution_id, runtime.store))
        except RecordNotFound:
            missing.add(execution_id)
            raise

    def replay(one: ExecutionRecord) -> ReplayReport:
        chosen = {**options, "nested": False}
        # Whoever goes through a corpus may make the event loop that asynchronous agents need.
        if isinstance(runtime, Replaying):
            return replay_here(runtime, one, **chosen)
        return runtime.replay(one, **chosen)

    try:
        report = replay_nested(record, child, replay) if options.get("nested") else replay(record)
    except IntegrityBroken as fault:
        return CorpusItem(load, record.intent, fault=fault)
    first = next((one for one in with_those_below(report) if one.divergences), None)
    before = () if first is None else questions_before(records[first.execution_id], first.divergences[0])
    intents = {execution_id: one.intent for execution_id, one in records.items() if one is not record}
    return CorpusItem(load, record.intent, report, None, before, intents, len(missing))


def with_those_below(report: ReplayReport) -> Iterator[ReplayReport]:
    """A report, and those of the executions below, each before those below it."""
    yield report
    for child in report.children:
        yield from with_those_below(child)


def _records(
    chunk: Sequence[Load], store: ExecutionStore | None
) -> Iterator[ExecutionRecord | IntentusError]:
    """The records, or why they cannot be read; those of the store all at once, which takes a third."""
    stored = [load.name for load in chunk if isinstance(load, StoredRecord)]
    read: dict[str, ExecutionRecord] = {}
    if store is not None and len(stored) > 1:
        # What is wrong with one of them is found when they are read one by one.
        with suppress(IntentusError):
            read = dict(zip(stored, store.get_many(stored), strict=True))
    for load in chunk:
        try:
            record: ExecutionRecord | IntentusError = (
                read.pop(load.name) if load.name in read else load.load(store)
            )
        except IntentusError as fault:
            record = fault
        yield record


def questions_before(record: ExecutionRecord, divergence: Divergence) -> tuple[str, ...]:
    """The last questions on record in the scope of a divergence before it, each with its answer."""
    found = _ORDINAL.search(divergence.question)
    if found is None or not divergence.scope:
        return ()
    asked = [
        question
        for question in record.questions
        if question.scope == divergence.scope
        and question.ordinal < int(found[1])
        and question.kind not in TELLING_KINDS
    ]
    return tuple(map(_told, sorted(asked, key=lambda question: question.ordinal)[-_BEFORE:]))


def _told(question: RecordedQuestion) -> str:
    answer = question.answer
    if answer is None:
        return label(question)
    told = answer.data[:64].decode(errors="ignore") + ("…" if len(answer.data) > 64 else "")
    return f"{label(question)} {'→' if answer.ok else 'raised'} {told}"


def _chunks(loads: Iterable[Load]) -> Iterator[tuple[Load, ...]]:
    loads = iter(loads)
    for number in itertools.count():
        chunk = tuple(itertools.islice(loads, min(_LARGEST_CHUNK, 1 << min(number // _OF_A_SIZE, 10))))
        if not chunk:
            return
        yield chunk


class _Spread:
    """Chunks under way in an executor; mutable: the executor is another one after a worker has died."""

    def __init__(
        self, make_runtime: MakeRuntime, make_executor: Callable[[], Executor], options: Mapping[str, Any]
    ) -> None:
        self._make_runtime = make_runtime
        self._make_executor = make_executor
        self._options = options
        self._executor = make_executor()

    def items(self, chunks: Iterator[Sequence[Load]], most: int) -> Iterator[CorpusItem]:
        """What becomes of the records of all chunks, at most so many of which are under way."""
        try:
            self._executor.submit(_load_runtime, self._make_runtime).result()
        except BrokenExecutor as fault:
            raise AppNotLoaded(
                "a worker process ends while it loads the app",
                got=str(fault),
                hint="Without -j the app is loaded by the command itself, and may say why.",
            ) from fault
        waiting: deque[tuple[Sequence[Load], Future[list[CorpusItem]] | None]] = deque()
        while True:
            waiting.extend(
                (chunk, self._submit(chunk)) for chunk in itertools.islice(chunks, most - len(waiting))
            )
            if not waiting:
                return
            chunk, future = waiting.popleft()
            items = _result(future)
            if items is None:
                self._restart()
                items = [item for load in chunk for item in self._alone(load)]
                waiting = deque((chunk, self._again(chunk, future)) for chunk, future in waiting)
            yield from items

    def close(self) -> None:
        """Gives up what has not begun, and waits for what has."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _submit(self, chunk: Sequence[Load]) -> Future[list[CorpusItem]] | None:
        try:
            return self._executor.submit(_replay_chunk, chunk, self._make_runtime, self._options)
        except BrokenExecutor:
            return None

    def _again(
        self, chunk: Sequence[Load], future: Future[list[CorpusItem]] | None
    ) -> Future[list[CorpusItem]] | None:
        finished = future is not None and future.done() and not future.cancelled()
        if finished and future is not None and not isinstance(future.exception(), BrokenExecutor):
            return future
        return self._submit(chunk)

    def _alone(self, load: Load) -> Sequence[CorpusItem]:
        items = _result(self._submit([load]))
        if items is not None:
            return items
        self._restart()
        execution_id, intent = load.name, ""
        with suppress(IntentusError):  # a file may be gone by now
            if isinstance(load, RecordFile):
                record = load.load(None)
                execution_id, intent = record.execution_id, record.intent
        report = ReplayReport(
            execution_id, Verdict.NOT_REPLAYABLE, reason="the process that replayed it died of it"
        )
        return [CorpusItem(load, intent, report)]

    def _restart(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = self._make_executor()


def _result(future: Future[list[CorpusItem]] | None) -> list[CorpusItem] | None:
    """What came of a chunk; None if a worker died."""
    try:
        return None if future is None else future.result()
    except BrokenExecutor:
        return None


# What follows runs in workers.

_loading = threading.Lock()


@lru_cache(maxsize=1)
def _made(make_runtime: MakeRuntime) -> Replayer:
    return make_runtime()


def _runtime(make_runtime: MakeRuntime) -> Replayer:
    with _loading:
        return _made(make_runtime)


def _load_runtime(make_runtime: MakeRuntime) -> None:
    _runtime(make_runtime)


def _replay_chunk(
    chunk: Sequence[Load], make_runtime: MakeRuntime, options: Mapping[str, Any]
) -> list[CorpusItem]:
    return list(_replayed(chunk, _runtime(make_runtime), options))
