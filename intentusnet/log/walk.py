"""The walk along a log, line by line: it says that everything checks, or names the first place that does not.

What can be known of a segment by itself, given the chain value before it, comes as a :class:`Checked` from
whoever has walked along it (``verify_worker``). The walk takes that in place of the lines if all of it fits
to what came before; if anything does not, it goes along the lines itself. So whatever is found to be bad has
been found, counted and named here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from intentusnet.errors import IntegrityBroken
from intentusnet.log.blobs import BlobRef, read_blob, references
from intentusnet.log.entry import check_leaf, parse_line
from intentusnet.log.executions import Executions, Portion
from intentusnet.log.head import HeadNote
from intentusnet.log.merkle import HASH_BYTES, Frontier, root_of
from intentusnet.log.report import FirstBad, Progress, VerifyReport
from intentusnet.log.segment import Segment, segment_name

_LINES_PER_PROGRESS: Final = 4096
_NEWLINE: Final = 10
# A byte that a reference to a blob has, and few other bodies have: as a number, it is found fastest.
_MAY_NAME_A_BLOB: Final = ord("$")
# A blob is read once, as long as they are not more than so many.
_BLOBS_REMEMBERED: Final = 65_536
# A line that a writer is in the middle of writing is whole within microseconds; one that is still not whole
# after the last of these pauses (seconds) is not being written.
_SETTLING_S: Final = (0.0, 0.002, 0.02)


def no_blobs(body: bytes) -> None:
    """Checks nothing: of a log that keeps all values in its lines."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file's worth of lines.

    Attributes:
        name: names the file in reports.
        first: the seq that its first line has, going by the name.
        lines: yields what it holds, newlines included; can be called again.
        check: raises IntegrityBroken if the file has damage that its lines do not show.
        followed: whether there must be another part after it.
    """

    name: str
    first: int
    lines: Callable[[], Iterable[bytes]]
    check: Callable[[], None] = lambda: None
    followed: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """A part of which each line checks, if the chain value before it is right.

    Attributes:
        first: the seq of its first line.
        before: the chain value before that line.
        entries: how many lines.
        size: how many bytes they are.
        chain: the chain value of the last line.
        subtrees: the complete subtrees (level, hash) of the Merkle tree that its leaves are, left to right.
        executions: what it has of them.
    """

    first: int
    before: bytes
    entries: int
    size: int
    chain: bytes
    subtrees: Sequence[tuple[int, bytes]]
    executions: Portion


class Walk:
    """One pass over a log, or over a part of it; mutable: what it carries from line to line, and where it is.

    Args:
        parts: what it goes along, in order.
        first: the seq of the first line.
        chain: the chain value before it.
        executions: follows them.
        note: what is claimed to be on disk.
        blobs: is given each body that may name blobs, and raises IntegrityBroken if one of them is damaged.
        progress: called with the bytes checked and ``total``.
        total: the size of all parts in bytes.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        first: int,
        chain: bytes,
        executions: Executions,
        *,
        note: HeadNote | None = None,
        blobs: Callable[[bytes], None] = no_blobs,
        progress: Progress | None = None,
        total: int = 0,
    ) -> None:
        self.parts = parts
        self.seq = first
        self.chain = chain
        self.executions = executions
        self.size = 0
        self._done = 0
        self.subtrees: list[tuple[int, bytes]] = []
        self._note = note
        self._blobs = blobs
        self._progress = progress
        self._total = total

    def first_bad(self, ahead: Callable[[int], Checked | None] = lambda at: None) -> FirstBad | None:
        """Goes along all parts, up to the first place that does not check, and returns that.

        Args:
            ahead: gives what is known of the part with that index, or None.
        """
        for at, part in enumerate(self.parts):
            checked = ahead(at)
            bad = None if checked is not None and self._joins(part, checked) else self.part(part)
            if bad is not None:
                return bad
            if self._progress is not None:
                self._progress(self._done, self._total)
        return self._end()

    def report(self, bad: FirstBad | None) -> VerifyReport:
        """What there is to be told at this point, which is where something is bad, or the end."""
        frontier = Frontier()
        for level, node in self.subtrees:
            frontier.append(node, level)
        return VerifyReport(
            ok=bad is None,
            entries=self.seq,
            executions=self.executions.opened,
            head=self.chain.hex() if self.seq else None,
            first_bad=bad,
            interrupted=self.executions.interrupted(),
            root=frontier.root().hex() if self.seq else None,
        )

    def _joins(self, part: Part, checked: Checked) -> bool:
        """Takes a part as checked, if it fits to what came before."""
        if (part.first, checked.first, checked.before) != (self.seq, self.seq, self.chain):
            return False
        if not self.executions.join(checked.executions):
            return False
        self.seq += checked.entries
        self.chain = checked.chain
        self.size = checked.size
        self._done += checked.size
        self.subtrees += checked.subtrees
        return True

    def part(self, part: Part) -> FirstBad | None:
        """Goes along the lines of one part, up to the first that does not check, and returns that."""
        if part.first != self.seq:
            gap = IntegrityBroken(
                "lines between two segments are missing, or there twice",
                expected=f"a segment that begins with seq {self.seq}",
                got=f"one that begins with seq {part.first}",
            )
            return _bad(self.seq, part.name, 1, 0, gap)
        leaf_hashes, more = bytearray(), ""
        take, noted = self.executions.take, -1 if self._note is None else self._note.seq
        self.size = 0
        try:
            part.check()
            for raw in part.lines():
                try:
                    checked = check_leaf(raw, self.seq, self.chain)
                except IntegrityBroken as fault:
                    more = self._whether_torn(part)
                    raise (fault if raw[-1] == _NEWLINE else _cut(raw)) from None
                kind, execution, _, commit, chain, body, leaf_hash = checked
                take(kind, execution, commit, body)
                if _MAY_NAME_A_BLOB in body:
                    self._blobs(body)
                size = self.size + len(raw)
                if self.seq == noted:
                    self._compare_note(part, size, chain)
                leaf_hashes += leaf_hash
                self.size = size
                self.chain = chain
                self.seq = seq = self.seq + 1
                if not seq % _LINES_PER_PROGRESS and self._progress is not None:
                    self._progress(self._done + size, self._total)
        except IntegrityBroken as fault:
            return _bad(self.seq, part.name, self.seq - part.first + 1, self.size, fault, more)
        finally:
            self.subtrees += _complete_subtrees(part.first, leaf_hashes)
            self._done += self.size
            self.executions.fold()
        return None

    def _compare_note(self, part: Part, end: int, chain: bytes) -> None:
        """Checks that the line that ends there is the one that the note tells of."""
        assert self._note is not None
        expected = (self._note.segment, self._note.offset, self._note.chain)
        found = (segment_name(part.first), end, chain.hex())
        if found != expected:
            raise IntegrityBroken(
                "acknowledged entries were replaced: the head note tells of another line with this seq",
                expected="{} up to byte {}, chain {}".format(*expected),
                got="{} up to byte {}, chain {}".format(*found),
            )

    def _end(self) -> FirstBad | None:
        """What is missing at the end of the log."""
        last = self.parts[-1] if self.parts else None
        if self._note is not None and self._note.seq >= self.seq:
            gone = IntegrityBroken(
                "acknowledged entries are gone",
                expected=f"entries up to seq {self._note.seq}, which were on disk",
                got=f"{self.seq} entries",
            )
        elif last is not None and last.followed:
            gone = IntegrityBroken(
                "the last segment is gone",
                expected=f"one that begins with seq {self.seq}, since the one before it is compressed",
                got="none",
            )
        else:
            return None
        if last is None:
            last = Part(segment_name(0), 0, tuple)
        return _bad(self.seq, last.name, self.seq - last.first + 1, self.size, gone)

    def _whether_torn(self, part: Part) -> str:
        """What is to be said about a bad line that a crash may have left."""
        # A segment is begun only when the one before is on disk, and every later line tells what was when it
        # was written: only what lies behind all of that can be something that nobody was told is on disk.
        noted = -1 if self._note is None else self._note.seq
        durable, at = max(self.parts[-1].first - 1, noted), 0
        for raw in part.lines():
            at += len(raw)
            if at > self.size:
                with suppress(IntegrityBroken):
                    durable = max(durable, parse_line(raw[:-1]).durable)
        if durable >= self.seq:
            return f"; it was on disk: entries up to seq {durable} were acknowledged"
        return (
            "; it may be the torn end of a write that nobody was told is on disk:"
            " opening the store for writing puts such bytes into quarantine"
        )


class Blobs:
    """Checks the blobs of a store that bodies name; mutable: it remembers which are good.

    Args:
        directory: the store.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._good: set[BlobRef] = set()

    def check(self, body: bytes) -> None:
        """Checks the blobs that a body names.

        Raises:
            IntegrityBroken: one of them is missing, or not what was written.
            OSError: one of them cannot be read.
        """
        for ref in references(body):
            if ref not in self._good:
                read_blob(self._directory, ref)
                if len(self._good) >= _BLOBS_REMEMBERED:
                    self._good.clear()
                self._good.add(ref)


def segment_part(segment: Segment) -> Part:
    """A segment as a part of a log."""
    lines = partial(_raw_lines, segment)
    return Part(segment.path.name, segment.first, lines, segment.check, segment.compressed)


def _raw_lines(segment: Segment) -> Iterator[bytes]:
    with segment.open() as file:
        for raw in file:
            yield raw if raw[-1] == _NEWLINE else _settled(file, raw)


def _settled(file: BinaryIO, raw: bytes) -> bytes:
    """The file's last line, which a writer may be in the middle of writing."""
    for pause in _SETTLING_S:
        time.sleep(pause)
        raw += file.readline()
        if raw.endswith(b"\n"):
            break
    return raw


def _complete_subtrees(first: int, leaf_hashes: bytearray) -> Iterator[tuple[int, bytes]]:
    """The largest complete subtrees of leaves that stand side by side, from left to right: level and hash.

    Args:
        first: the number of the first leaf.
        leaf_hashes: end to end.
    """
    at, end = first, first + len(leaf_hashes) // HASH_BYTES
    while at < end:
        # The subtree must be within what there is, and begin at a multiple of its size.
        level = (end - at).bit_length() - 1
        if at:
            level = min(level, (at & -at).bit_length() - 1)
        here, after = ((place - first) * HASH_BYTES for place in (at, at + (1 << level)))
        yield level, root_of(leaf_hashes[here:after])
        at += 1 << level


def _bad(seq: int, name: str, line: int, offset: int, fault: IntegrityBroken, more: str = "") -> FirstBad:
    return FirstBad(seq, name, line, offset, fault.message + more, fault.expected, fault.got)


def _cut(raw: bytes) -> IntegrityBroken:
    return IntegrityBroken("a line has no end", expected="a newline", got=f"{len(raw)} bytes without one")
