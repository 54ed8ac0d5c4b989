"""`Replaying`: the part of a runtime that runs records again, on demand or right after they were made."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, Final

from intentusnet import agents
from intentusnet.errors import ReplayWarning
from intentusnet.record import ExecutionRecord
from intentusnet.replay.divergence import ReplayReport, Verdict
from intentusnet.replay.environment import Environments
from intentusnet.replay.ignoring import Ignore
from intentusnet.replay.nesting import nested as family_of
from intentusnet.replay.nesting import replay_nested
from intentusnet.replay.recovering import Recovering, waited_for
from intentusnet.replay.replayer import (
    ReplayOptions,
    replay_options,
    replay_record,
    replay_record_async,
)
from intentusnet.replay.strictness import Depth, Strictness

_PACKAGE: Final = os.path.join(os.path.dirname(os.path.abspath(agents.__file__)), "")


class Replaying(Recovering):
    """What `IntentusRuntime` can do to records. Not made by itself."""

    _environments: Environments

    def replay(
        self,
        record: ExecutionRecord | str,
        *,
        strictness: Strictness | str = Strictness.RESULT,
        ignore: Ignore | Mapping[str, Sequence[str]] | None = None,
        depth: Depth | str = Depth.AGENTS,
        nested: bool = False,
        allow_acting: bool = False,
    ) -> ReplayReport:
        """Runs a record again from its own answers, with the agents and policy of now, and compares.

        Args:
            record: a record, or a reference into the store: an id, a unique prefix or suffix, ``@last``.
            strictness: "effects", "args", "result" or "strict"; see `Strictness`.
            ignore: places that are not compared, by intent: ``{"ticket.*": ["response:/payload/at"]}``.
            depth: "routing", "agents" or "live"; see `Depth`.
            nested: replays the executions that it asked for too, as far as they are in the store.
            allow_acting: a live replay also runs and asks what is not read-only.

        Raises:
            RecordNotFound: the store has no such execution.
            IntegrityBroken: the record's bytes are not what was written.
            InvalidInput: an option makes no sense.
            ConfigurationError: an asynchronous agent would have to run: see `replay_async`.
        """
        options, record = self._chosen(record, strictness, ignore, depth, allow_acting)
        now = (self._router, self._world, options, self._environments.tree)
        if not nested or self.store is None:
            return replay_record(record, *now)
        return replay_nested(record, self.store.get, lambda one: replay_record(one, *now))

    async def replay_async(
        self,
        record: ExecutionRecord | str,
        *,
        strictness: Strictness | str = Strictness.RESULT,
        ignore: Ignore | Mapping[str, Sequence[str]] | None = None,
        depth: Depth | str = Depth.AGENTS,
        nested: bool = False,
        allow_acting: bool = False,
    ) -> ReplayReport:
        """Runs a record again as `replay` does, where asynchronous agents are awaited.

        Raises:
            Exception: as `replay`.
        """
        from intentusnet.routing.awaiting import running_loop

        running_loop()
        options, record = self._chosen(record, strictness, ignore, depth, allow_acting)

        async def replayed(one: ExecutionRecord) -> ReplayReport:
            return await replay_record_async(one, self._router, self._world, options, self._environments.tree)

        if not nested or self.store is None:
            return await replayed(record)
        family = family_of(record, self.store.get)
        try:
            due = next(family)
            while True:
                due = family.send(await replayed(due))
        except StopIteration as stop:
            report: ReplayReport = stop.value
            return report

    def _chosen(
        self,
        record: ExecutionRecord | str,
        strictness: Strictness | str,
        ignore: Ignore | Mapping[str, Sequence[str]] | None,
        depth: Depth | str,
        allow_acting: bool,
    ) -> tuple[ReplayOptions, ExecutionRecord]:
        options = replay_options(strictness, ignore, depth, allow_acting=allow_acting)
        if isinstance(record, str):
            store = self._store(record)
            record = store.get(store.resolve(record))
        return options, record

    def _verify_replay(self, execution_id: str) -> None:
        """Replays an execution that has just been recorded, and warns if it does not match.

        Raises:
            ReplayWarning: it does not, and warnings are errors.
        """
        _warn(self.replay(execution_id))

    async def _verify_replay_async(self, execution_id: str) -> None:
        """The same, where asynchronous agents are awaited."""
        _warn(await self.replay_async(execution_id))


def replay_here(runtime: Replaying, record: ExecutionRecord | str, **options: Any) -> ReplayReport:
    """Replays for a program of our own, which may make the event loop that asynchronous agents need.

    Args:
        runtime: whose agents run.
        record, options: as of `Replaying.replay`.
    """
    return waited_for(runtime, runtime.replay, runtime.replay_async)(record, **options)


def _warn(report: ReplayReport) -> None:
    if report.verdict is not Verdict.MATCH:
        warnings.warn(_told(report), ReplayWarning, stacklevel=_callers_level())


def _told(report: ReplayReport) -> str:
    text = f"execution {report.execution_id} does not replay as it was recorded"
    if not report.divergences:
        return f"{text}: {report.reason}"
    first = report.divergences[0]
    where = [first.scope, first.question, first.pointer, first.source and f"at {first.source}"]
    more = len(report.divergences) - 1
    return (
        f"{text}: {first.kind.value}, {', '.join(part for part in where if part)}"
        + (f" (and {more} more)" if more else "")
        + f". `intentusnet replay {report.execution_id}` shows it; `intentusnet doctor` finds the cause."
    )


def _callers_level() -> int:
    """How many frames above its caller the first one is that is not this package's."""
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level
