"""Portable records: one execution's lines in a file of its own, and whether they are what was written.

First come the execution's lines, byte for byte, then a line for each value that they refer to
(``references``), so that the file needs nothing beside it::

    {"blob":"<SHA-256 of the value's bytes in hex>","value":<the value's bytes>}

in the order in which the values are first referred to, each of them once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from intentusnet.errors import IntegrityBroken
from intentusnet.log.entry import Entry
from intentusnet.log.executions import Executions, check_follows, read_entry
from intentusnet.log.report import FirstBad, Progress, VerifyReport
from intentusnet.references import BLOB_LINE, Blob, BlobRef, references


@dataclass(slots=True)
class Portable:
    """What can be read of a portable record, up to its end or to the first bad place; mutable.

    Attributes:
        name: names the file.
        entries: the execution's entries, each of them checked.
        blobs: the bytes of the values that they refer to.
        first_bad: the first place that does not check.
    """

    name: str
    entries: list[Entry] = field(default_factory=list)
    blobs: dict[BlobRef, bytes] = field(default_factory=dict)
    first_bad: FirstBad | None = None
    _executions: Executions = field(default_factory=Executions)
    _awaited: dict[BlobRef, None] = field(default_factory=dict)

    @property
    def report(self) -> VerifyReport:
        """Whether everything checks."""
        opened, interrupted = self._executions.opened, self._executions.interrupted()
        return VerifyReport(
            self.first_bad is None, len(self.entries), opened, None, self.first_bad, interrupted
        )

    def read(self, data: bytes) -> None:
        """Reads and checks all lines, or those before the first bad place."""
        offset, number = 0, 1
        try:
            for raw in BytesIO(data) if data else [b""]:
                if not raw.endswith(b"\n"):
                    raise IntegrityBroken(
                        "a line has no end", expected="a newline", got=f"{len(raw)} bytes without one"
                    )
                if self.blobs or raw.startswith(b'{"blob"'):
                    self._take_blob(raw)
                else:
                    self._take_entry(raw)
                offset += len(raw)
                number += 1
            self._check_closed()
            if self._awaited:
                raise _no_blob(next(iter(self._awaited)), "the end of the file")
        except IntegrityBroken as fault:
            seq = self.entries[-1].seq if self.entries else None
            self.first_bad = FirstBad(
                seq, self.name, number, offset, fault.message, fault.expected, fault.got
            )

    def _take_entry(self, raw: bytes) -> None:
        entry = read_entry(raw[:-1])
        check_follows(self.entries[-1] if self.entries else None, entry)
        self._executions.take(entry.kind.encode(), entry.execution.encode(), entry.commit, entry.body)
        self.entries.append(entry)
        self._awaited.update(dict.fromkeys(references(entry.body)))

    def _take_blob(self, raw: bytes) -> None:
        self._check_closed()
        match = BLOB_LINE.fullmatch(raw)
        if match is None:
            raise IntegrityBroken(
                "a line does not match the template",
                expected='{"blob":…,"value":…}',
                got=f"{raw[:60]!r}… ({len(raw)} bytes)",
            )
        ref = next(iter(self._awaited), None)
        if ref is None or ref.digest != match[1].decode():
            raise _no_blob(ref, f"the value {match[1].decode()}")
        blob = Blob.of(match[2])
        if blob.ref != ref:
            raise IntegrityBroken(
                "a value is not the one that an entry refers to",
                expected=f"{ref.size} bytes with the SHA-256 {ref.digest}",
                got=f"{blob.ref.size} bytes with the SHA-256 {blob.ref.digest}",
            )
        self.blobs[ref] = blob.data
        del self._awaited[ref]

    def _check_closed(self) -> None:
        if self._executions.interrupted() or not self.entries:
            raise IntegrityBroken(
                "the record has no end", expected="a `closed` entry", got="the end of its entries"
            )


def _no_blob(ref: BlobRef | None, got: str) -> IntegrityBroken:
    if ref is None:
        return IntegrityBroken("no entry refers to a value", expected="the end of the file", got=got)
    return IntegrityBroken(
        "a value that an entry refers to is missing", expected=f"the value {ref.digest}", got=got
    )


def read_portable(data: bytes, name: str) -> Portable:
    """Reads a portable record and verifies it.

    Template, commits, order, completeness and the closing digest are checked, and the chain from a line to
    the next where both are neighbours in the log; and that every value referred to is there, and nothing
    else. Where in a log the lines stand is for the store to prove.

    Args:
        data: the lines, each with its newline.
        name: names them in the report.
    """
    portable = Portable(name)
    portable.read(data)
    return portable


def verify_portable(data: bytes, name: str) -> VerifyReport:
    """What `read_portable` finds out about a portable record."""
    return read_portable(data, name).report


def verify_records(records: Sequence[Path], progress: Progress | None = None) -> VerifyReport:
    """The reports of several portable records as one.

    Args:
        records: the files.
        progress: called now and then with the number of bytes checked and the number of all.

    Raises:
        OSError: one of them cannot be read.
    """
    sizes = [path.stat().st_size for path in records]
    reports: list[VerifyReport] = []
    for at, path in enumerate(records, 1):
        reports.append(verify_portable(path.read_bytes(), str(path)))
        if progress is not None:
            progress(sum(sizes[:at]), sum(sizes))
    return VerifyReport(
        ok=all(report.ok for report in reports),
        entries=sum(report.entries for report in reports),
        executions=sum(report.executions for report in reports),
        head=None,
        first_bad=next((report.first_bad for report in reports if not report.ok), None),
        interrupted=tuple(name for report in reports for name in report.interrupted),
    )
