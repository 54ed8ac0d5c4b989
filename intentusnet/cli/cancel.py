"""`cancel`: stops an execution that another process runs."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.output import styled, text
from intentusnet.record import ExecutionRecord
from intentusnet.response import ErrorCode
from intentusnet.runtime import IntentusRuntime
from intentusnet.stores.base import ExecutionStore

#: Seconds between two looks at the record, while its end is waited for.
_LOOK_EVERY: Final = 0.05


@click.command("cancel")
@click.argument("reference", metavar="ID")
@click.option("--reason", default="cancelled from the command line", help="For people; it is recorded.")
@click.option(
    "--wait",
    "seconds",
    type=click.FloatRange(0),
    default=10.0,
    help="Seconds to wait for the end.  [default: 10]",
)
@shared_options("store")
@pass_invocation
def command(invocation: Invocation, reference: str, reason: str, seconds: float) -> int:
    """Cancel an execution that is under way, and those that it asks for.

    Its agents are cut off as their isolation allows, and its end is on record. Exit code 0: it ends for this
    reason, or will; 1: it has ended otherwise, or nobody runs it.
    """
    store = invocation.open_store()
    execution_id = store.resolve(reference)
    with IntentusRuntime(store=store) as runtime:
        asked = runtime.cancel(execution_id, reason)
        record = _waited_for(store, execution_id, seconds) if asked else store.get(execution_id)
        # Whoever runs it may have ended before he took note.
        cancelled = asked and (record.outcome is None or _ended_by(record, reason))
    error = None if record.outcome is None else record.outcome.error
    told: dict[str, Any] = {
        "execution_id": execution_id,
        "cancelled": cancelled,
        "status": "running" if asked and record.outcome is None else record.status,
        "error_code": None if error is None else error["code"],
    }
    if invocation.output.table:
        invocation.output.print(text(execution_id), styled(told["error_code"] or told["status"]))
        if not cancelled:
            invocation.output.warn("It was not cancelled: it had ended, or nobody runs it.")
        elif record.outcome is None:
            invocation.output.warn("It has not ended yet: it will when its agent asks for something.")
    else:
        invocation.output.json(told)
    return 0 if cancelled else 1


def _waited_for(store: ExecutionStore, execution_id: str, seconds: float) -> ExecutionRecord:
    end = time.monotonic() + seconds
    while True:
        record = store.get(execution_id)
        if record.outcome is not None or time.monotonic() >= end:
            return record
        time.sleep(_LOOK_EVERY)


def _ended_by(record: ExecutionRecord, reason: str) -> bool:
    error = None if record.outcome is None else record.response.error
    codes = (ErrorCode.CANCELLED, ErrorCode.IN_DOUBT)
    return error is not None and error.code in codes and error.message.endswith(reason)
