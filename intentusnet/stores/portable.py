"""Portable records: one execution's lines and values in a file, as kept in git."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from intentusnet.errors import IntegrityBroken, RecordNotFound, StoreWriteFailed
from intentusnet.log.files import FILES, Files, write_all
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


def save_record(
    record: ExecutionRecord, path: Path | str | os.PathLike[str], *, files: Files = FILES
) -> None:
    """Writes a portable record, in place of the file of that name: it is the old one or the new one, whole.

    Args:
        record: an execution that has ended.
        path: the file; its directory must be there.
        files: the calls that change the disk.

    Raises:
        StoreWriteFailed: it cannot be written, or not to the disk; a file of that name may be the old one.
    """
    path = Path(path)
    path = path.resolve() if path.is_symlink() else path
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            fd = files.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                write_all(files, fd, record.to_jsonl())
                files.fsync(fd)
            finally:
                files.close(fd)
            files.rename(unfinished, path)
        except BaseException:
            with suppress(OSError):
                files.unlink(unfinished)
            raise
        files.fsync_dir(path.parent)
    except OSError as fault:
        raise StoreWriteFailed(
            "the record cannot be written", where=str(path), got=fault.strerror or str(fault)
        ) from fault
