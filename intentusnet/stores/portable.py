"""Portable records: one execution's lines and values in a file, as kept in git."""

from __future__ import annotations

import os
from pathlib import Path

from intentusnet.errors import IntegrityBroken, RecordNotFound
from intentusnet.log.portable import read_portable
from intentusnet.record import ExecutionRecord, fold


def load_record(path: Path | str | os.PathLike[str]) -> ExecutionRecord:
    """The execution of a portable record, after verifying its bytes.

    Args:
        path: the file, as `ExecutionRecord.to_jsonl` wrote it.

    Raises:
        RecordNotFound: the file cannot be read.
        IntegrityBroken: it does not verify.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as fault:
        raise RecordNotFound(
            "the record cannot be read", where=str(path), got=getattr(fault, "strerror", None) or str(fault)
        ) from fault
    portable = read_portable(data, str(path))
    bad = portable.first_bad
    if bad is not None:
        raise IntegrityBroken(
            bad.reason, where=f"{path}, line {bad.line}", expected=bad.expected, got=bad.actual
        )
    return fold(portable.entries, portable.blobs.__getitem__)
