"""How executions are named on the command line: by an id of the store, or by a portable record's file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from intentusnet.record import ExecutionRecord
from intentusnet.replay.recordfiles import SUFFIX
from intentusnet.stores import portable

if TYPE_CHECKING:
    from intentusnet.cli.app import Invocation


def load_record(reference: str, invocation: Invocation) -> ExecutionRecord:
    """The execution that a reference means; its bytes are checked. The store is opened only if it is needed.

    Args:
        reference: a file with a portable record, or whatever the store resolves.
        invocation: says which store.

    Raises:
        RecordNotFound: there is no such file or execution.
        AmbiguousReference: several executions fit.
        IntegrityBroken: the bytes are not what was written.
    """
    if is_path(reference):
        return portable.load_record(reference)
    with invocation.open_store() as store:
        return store.get(store.resolve(reference))


def is_path(reference: str) -> bool:
    """Whether a reference means something in the file system, rather than an execution of the store."""
    separators = os.sep + (os.altsep or "")
    named = reference.endswith(SUFFIX) or any(separator in reference for separator in separators)
    return named or os.path.exists(reference)
