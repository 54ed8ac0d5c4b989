"""How executions are named on the command line: by an id of the store, or by a portable record's file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from intentusnet.errors import InvalidInput, RecordNotFound
from intentusnet.log.identity import STORE_FILE
from intentusnet.record import ExecutionRecord
from intentusnet.stores import portable

if TYPE_CHECKING:
    from intentusnet.cli.app import Invocation

SUFFIX = ".jsonl"


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


def portable_files(path: Path) -> list[Path]:
    """The portable records that a path names: a file, or all below a directory, outside of stores.

    Raises:
        RecordNotFound: there is nothing, or a directory without records.
        InvalidInput: it is a store.
    """
    if not path.is_dir():
        if path.exists():
            return [path]
        raise RecordNotFound("there is no such file or directory", where=str(path))
    if (path / STORE_FILE).exists():
        raise InvalidInput(
            "this directory is a store, not a directory of records",
            where=str(path),
            hint=f"Name its executions by id, or use --all --store {path}.",
        )
    stores = {note.parent for note in path.rglob(STORE_FILE)}
    found = sorted(file for file in path.rglob(f"*{SUFFIX}") if stores.isdisjoint(file.parents))
    if not found:
        raise RecordNotFound(f"no portable record (*{SUFFIX}) lies in the directory", where=str(path))
    return found
