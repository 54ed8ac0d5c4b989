"""The agents of ``outcomes`` that run in processes of their own, which have to find them in a module.

Time is the parent's there, so each question for a uuid makes something happen: `outcomes.World` says what.
"""

import multiprocessing
import os
import signal
import threading
from typing import Any

from intentusnet import Context


def raises(payload: Any, ctx: Context) -> Any:
    raise LookupError("no such customer")


def hangs(payload: Any, ctx: Context) -> Any:
    ctx.uuid()
    threading.Event().wait()


def dies(payload: Any, ctx: Context) -> Any:
    assert multiprocessing.parent_process() is not None, "only a worker may be killed"
    os.kill(os.getpid(), signal.SIGKILL)


def lies(payload: Any, ctx: Context) -> int:
    told: Any = "not a number"
    return told  # type: ignore[no-any-return]  # that is the point


def mutates(payload: Any, ctx: Context) -> Any:
    payload["items"].append("mutated")
    ctx.envelope.payload["items"].append("mutated")
    return payload["items"]


def floods(payload: Any, ctx: Context) -> Any:
    while True:
        ctx.uuid()
        ctx.check()


def is_cancelled(payload: Any, ctx: Context) -> Any:
    ctx.uuid()
    ctx.now()
    return "went on"
