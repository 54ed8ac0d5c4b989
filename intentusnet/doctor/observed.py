"""What runs in a process that is looked at: a program whose executions are kept, and replays, with a witness.

The program is run as if Python had been started with it, with two differences. A store in a directory becomes
one in a private directory, empty at first, and a runtime without a store gets one there, so that nothing is
added to anybody's records. And the witness is there. When the program has ended, and before the process
does, executions are replayed: those of the program itself, or those that an earlier run of it has recorded,
with the agents of now. A replay touches nothing, so the program acts as often as it is run, and no more.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import os
import runpy
import sys
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final

from intentusnet.doctor.programs import Program
from intentusnet.doctor.sightings import Kept, Replayed, Seen
from intentusnet.doctor.witness import Witness
from intentusnet.engine import Engine
from intentusnet.errors import IntentusError
from intentusnet.ids import SYSTEM_CLOCK
from intentusnet.record import ExecutionRecord
from intentusnet.replay.divergence import Divergence, ReplayReport, Verdict
from intentusnet.replay.replaying import replay_here
from intentusnet.runtime import IntentusRuntime
from intentusnet.stores.file import FileExecutionStore
from intentusnet.stores.portable import load_record

#: As far from UTC as there are clocks, and no whole number of hours: as POSIX has it, which needs no data.
ANOTHER_ZONE: Final = "<+1345>-13:45"
INTERRUPTED: Final = 130
#: So long the threads of a program that has ended are waited for, in seconds.
_PATIENCE_S: Final = 10.0
#: So much of a value that differs is told.
_MOST: Final = 500


class Keeper:
    """Keeps what a program's runtimes record: mutable, and for good, so a process has one.

    Args:
        directory: where private stores are made.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stores: dict[str, Path] = {}
        self._recorded: list[tuple[IntentusRuntime, str]] = []
        self._of: dict[int, IntentusRuntime] = {}

    def install(self) -> None:
        """From now on runtimes record privately."""
        open_store, make, open_session = (
            FileExecutionStore.__init__,
            IntentusRuntime.__init__,
            Engine.open_session,
        )

        @functools.wraps(open_store)
        def opened(store: FileExecutionStore, path: Path | str, *args: Any, **kwargs: Any) -> None:
            open_store(store, self._private(path), *args, **kwargs)

        @functools.wraps(make)
        def made(runtime: IntentusRuntime, **kwargs: Any) -> None:
            if kwargs.get("store") is None:
                clock = kwargs.get("clock", SYSTEM_CLOCK)
                kwargs["store"] = FileExecutionStore(self._directory / "none", "os", clock=clock)
            make(runtime, **kwargs)
            self._of[id(runtime._engine)] = runtime

        @functools.wraps(open_session)
        def kept(engine: Engine, *args: Any) -> Any:
            session = open_session(engine, *args)
            self._recorded.append((self._of[id(engine)], session.execution_id))
            return session

        for kind, name, function in (
            (FileExecutionStore, "__init__", opened),
            (IntentusRuntime, "__init__", made),
            (Engine, "open_session", kept),
        ):
            setattr(kind, name, function)

    def runtimes(self) -> list[IntentusRuntime]:
        """Those that have recorded something, in the order of their first executions."""
        return list({id(runtime): runtime for runtime, _ in self._recorded}.values())

    def records(self) -> Iterator[tuple[int, ExecutionRecord]]:
        """Every execution that has ended and can be read, with the number of its runtime, in order."""
        numbers = {id(runtime): number for number, runtime in enumerate(self.runtimes())}
        for runtime, execution_id in tuple(self._recorded):
            with contextlib.suppress(IntentusError, OSError):
                assert runtime.store is not None
                record = runtime.store.get(execution_id)
                if record.outcome is not None:
                    yield numbers[id(runtime)], record

    def _private(self, path: Path | str) -> Path:
        path = Path(path).absolute()
        if path.is_relative_to(self._directory):
            return path
        return self._stores.setdefault(str(path), self._directory / f"store-{len(self._stores)}")


@dataclass(frozen=True, slots=True)
class Examined:
    """What is examined in a process.

    Attributes:
        directory: private to this process, and there.
        program: what is run first; None for replays only.
        earlier: executions to replay; None for those of the program.
        zone: whether what matches is replayed once more in another time zone.
    """

    directory: Path
    program: Program | None
    earlier: Sequence[Kept] | None
    zone: bool


def examine(examined: Examined, make_runtime: Callable[[], IntentusRuntime] | None = None) -> Seen:
    """Runs the program and the replays; to be called once in a process.

    Args:
        examined: what.
        make_runtime: makes the runtime that replays, where there is no program.

    Raises:
        IntentusError: whatever `make_runtime` raises.
    """
    witness = Witness()
    keeper = Keeper(examined.directory)
    code, kept = None, tuple(examined.earlier or ())
    if examined.program is not None:
        keeper.install()
        witness.install()
        code = run(examined.program)
        _wait_for_threads()
    live = witness.take()
    if examined.program is not None and examined.earlier is None:
        kept = tuple(_kept(keeper, examined.directory))
    runtimes = keeper.runtimes()
    if make_runtime is not None:
        runtimes = [make_runtime()]
        witness.install()
    replays = tuple(_replayed(kept, runtimes, witness, zone=examined.zone))
    return Seen(code, kept if examined.earlier is None else tuple(_kept_ids(keeper)), live, replays)


def run(program: Program) -> int:
    """Runs a program as Python would, and says with which exit code it wants to end."""
    sys.argv = [program.target, *program.arguments]
    try:
        if program.module:
            runpy.run_module(program.target, run_name="__main__", alter_sys=True)
        else:
            _run_file(Path(program.target))
    except SystemExit as fault:
        if fault.code is None or isinstance(fault.code, int):
            return fault.code or 0
        sys.stderr.write(f"{fault.code}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as fault:  # noqa: BLE001 - a program may end with anything, and is looked at all the same
        traceback.print_exception(fault.with_traceback(_own_part(fault.__traceback__)))
        return 1
    return 0


def _wait_for_threads() -> None:
    """Waits as Python does before it ends, but not for those that wait for that end themselves."""
    pooled = getattr(sys.modules.get("concurrent.futures.thread"), "_threads_queues", {})
    until = time.monotonic() + _PATIENCE_S
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread() and thread not in pooled:
            thread.join(max(0.0, until - time.monotonic()))


def _run_file(path: Path) -> None:
    if path.is_dir() or zipfile.is_zipfile(path):
        runpy.run_path(str(path), run_name="__main__")
        return
    if not sys.flags.safe_path:
        sys.path[0] = str(path.resolve().parent)
    # Not runpy: the program's module is to stay, for agents that are replayed look things up in it.
    main = ModuleType("__main__")
    file = str(path.absolute())
    loader = SourceFileLoader("__main__", file)
    main.__dict__.update(__file__=file, __builtins__=builtins, __cached__=None, __loader__=loader)
    sys.modules["__main__"] = main
    code = compile(path.read_bytes(), file, "exec", dont_inherit=True)
    exec(code, main.__dict__)  # noqa: S102 - to run that program is what was asked for


def _own_part(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that is the program's."""
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, "<frozen runpy>"):
        trace = trace.tb_next
    return trace


def _kept(keeper: Keeper, directory: Path) -> Iterator[Kept]:
    runtimes = keeper.runtimes()
    for place, (number, record) in enumerate(keeper.records()):
        path = directory / f"{place}.jsonl"
        path.write_bytes(record.to_jsonl())
        yield Kept(record.execution_id, record.intent, number, _agents(runtimes[number]), str(path))


def _kept_ids(keeper: Keeper) -> Iterator[Kept]:
    """What a run has recorded that only counts."""
    for number, record in keeper.records():
        yield Kept(record.execution_id, record.intent, number, None, "")


def _agents(runtime: IntentusRuntime) -> tuple[str, ...]:
    return tuple(sorted(agent.name for agent in runtime.registry.agents()))


def _same_runtime(runtimes: Sequence[IntentusRuntime], kept: Kept) -> IntentusRuntime | None:
    """The runtime that stands where the one stood that recorded it, or else one with the same agents."""
    same = [runtime for runtime in runtimes if kept.agents is None or _agents(runtime) == kept.agents]
    if kept.runtime < len(runtimes) and runtimes[kept.runtime] in same:
        return runtimes[kept.runtime]
    return same[0] if same else None


def _replayed(
    kept: Sequence[Kept],
    runtimes: Sequence[IntentusRuntime],
    witness: Witness,
    *,
    zone: bool,
) -> Iterator[Replayed]:
    for one in kept:
        runtime = _same_runtime(runtimes, one)
        if runtime is None:
            yield Replayed(one.execution_id, one.intent, "not_replayable", _NO_RUNTIME, (), False, ())
            continue
        record = load_record(one.record)
        report, elsewhere = replay_here(runtime, record), False
        if zone and report.verdict is Verdict.MATCH:
            with _in_another_zone():
                there = replay_here(runtime, record)
            elsewhere = there.verdict is Verdict.DIVERGED
            report = there if elsewhere else report
        yield _told(one, report, witness, zone=elsewhere)


_NO_RUNTIME: Final = "the second run had no runtime with these agents"


def _told(kept: Kept, report: ReplayReport, witness: Witness, *, zone: bool) -> Replayed:
    readings = witness.take().get(kept.execution_id, ())
    return Replayed(
        kept.execution_id,
        kept.intent,
        report.verdict.value,
        report.reason,
        tuple(map(_shortened, report.divergences)),
        zone,
        tuple(readings),
    )


def _shortened(divergence: Divergence) -> Mapping[str, Any]:
    """The divergence; a large value is told by its beginning."""
    tree = divergence.as_dict()
    for side in ("expected", "actual"):
        if len(told := repr(tree[side])) > _MOST:
            tree[side] = f"{told[:_MOST]}…"
    return tree


@contextlib.contextmanager
def _in_another_zone() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = ANOTHER_ZONE
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()
