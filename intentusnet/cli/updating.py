"""`replay --update`: files whose executions diverge are recorded anew, live, after asking."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from intentusnet import values
from intentusnet.cli.app import Invocation
from intentusnet.cli.output import Output
from intentusnet.record import ExecutionRecord
from intentusnet.replay.corpus import CorpusItem
from intentusnet.replay.divergence import Verdict
from intentusnet.replay.loads import RecordFile
from intentusnet.replay.recovering import waited_for
from intentusnet.replay.replaying import replay_here
from intentusnet.response import ErrorCode
from intentusnet.routing.plan import recorded_refusal
from intentusnet.routing.request import Request
from intentusnet.runtime import IntentusRuntime
from intentusnet.stores.memory import MemoryExecutionStore
from intentusnet.stores.portable import load_record, save_record


class Update:
    """Which files are to be recorded anew, and which were; mutable.

    Args:
        invocation: the call of the command line.
        options: of the replay, as far as they say what is compared.
        yes: whether nobody is asked.

    Raises:
        UsageError: nobody is there to be asked, or this is CI.
    """

    def __init__(self, invocation: Invocation, options: Mapping[str, Any], *, yes: bool) -> None:
        self._invocation = invocation
        self._options = options
        self._yes = yes
        self._files: list[Path] = []
        #: How many of the files that diverged were recorded anew.
        self.forgiven = 0
        if yes:
            return
        if os.environ.get("CI"):
            raise click.UsageError(
                "Nothing is recorded in CI (the variable CI is set): record anew where somebody looks at "
                "what has changed. --yes does it all the same."
            )
        if not somebody_is_there(invocation.output):
            raise click.UsageError("Nobody is there to be asked whether to record anew. --yes does it.")

    def take(self, item: CorpusItem) -> None:
        """Takes note of what became of a record."""
        diverged = item.report is not None and item.report.verdict is Verdict.DIVERGED
        if diverged and isinstance(item.load, RecordFile):
            self._files.append(Path(item.load.name))

    def record_anew(self, runtime: IntentusRuntime) -> None:
        """Runs the envelopes of the files that diverged, live, and puts the new records in their place."""
        out, count = self._invocation.output, len(self._files)
        if not count:
            return
        if not self._yes:
            out.warn("To record anew, agents run live: their effects meet the world.")
            if not click.confirm(f"Record {count} file{'s' if count > 1 else ''} anew?", err=True):
                return
        for path in self._files:
            old = load_record(path)
            with self._invocation.foreign_code():
                new = recorded_anew(old, runtime)
                matches = replay_here(runtime, new, **self._options).verdict is Verdict.MATCH
            if not matches:
                out.warn(f"{path} stays as it is: what was recorded anew does not replay either.")
            elif has_failed(old, new):
                out.warn(f"{path} stays as it is: recorded anew, it ended with {code_of(new)}.")
            else:
                save_record(new, path)
                self.forgiven += 1
                out.note(f"{path} was recorded anew: {new.status}, {new.execution_id}")


def somebody_is_there(out: Output) -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and out.stderr.isatty()


def has_failed(old: ExecutionRecord, new: ExecutionRecord) -> bool:
    """Whether a new record is one of a failure that the old one was not, as when the world is out of reach.

    What the policy denies it denies wherever it is asked.
    """
    return code_of(new) not in (None, code_of(old), ErrorCode.POLICY_DENIAL)


def code_of(record: ExecutionRecord) -> str | None:
    """The code of the error that an execution ended with."""
    error = None if record.outcome is None else record.outcome.error
    return None if error is None else str(error["code"])


def recorded_anew(record: ExecutionRecord, runtime: IntentusRuntime) -> ExecutionRecord:
    """What is recorded when an execution's request is routed again, live.

    Its place among other executions and the time that it has are the same.

    Args:
        record: the execution.
        runtime: agents and policy; its store is not written to.
    """
    store = MemoryExecutionStore(clock=runtime.clock)
    envelope = record.envelope
    if envelope.deadline is not None:
        since_us = runtime.clock.time_us() - record.opened_us
        envelope = envelope.model_copy(
            update={"deadline": envelope.deadline + timedelta(microseconds=since_us)}
        )
    request = Request(
        envelope,
        values.encode(envelope.payload),
        record.parent,
        record.depth,
        refusal=recorded_refusal(record.plan_tree),
    )
    router = runtime.configure(store=store).router
    response = waited_for(runtime, router.route_request, router.route_request_async)(request)
    return store.get(response.execution_id)
