"""Following a log: its lines from a place on, each checked against the one before, and those that come later.

No index stands between: what is read here is what the chain covers, whatever has become of files that are
derived from the log.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from intentusnet.errors import IntegrityBroken
from intentusnet.log.entry import check_line, genesis, parse_line
from intentusnet.log.head import Tail
from intentusnet.log.identity import Identity
from intentusnet.log.segment import (
    Segment,
    iter_lines,
    line_ending_at,
    list_segments,
    segment_at,
    segment_name,
)

#: What `check_line` tells of a line.
Checked: TypeAlias = tuple[bytes, bytes, int, bytes, bytes, bytes]


class Line(NamedTuple):
    """A line that has been checked.

    Attributes:
        kind, execution, body: as they stand in it.
        ts: microseconds since 1970-01-01 UTC.
    """

    kind: bytes
    execution: bytes
    ts: int
    body: bytes


class Follower(Protocol):
    """Reads what has come to a log since the last time; mutable, for one thread at a time."""

    def has_more(self) -> bool:
        """Whether there may be something that has not been read; for any thread, and cheap."""
        ...

    def lines(self) -> Iterator[Line]:
        """What has not been read, in the order of the log.

        Raises:
            IntegrityBroken: a line is not what was written, or what was read is there no longer.
        """
        ...


def ts_of(line: bytes) -> int:
    """When a line that has been checked was written, in microseconds since 1970-01-01 UTC."""
    return int(line[line.index(b'"ts":') + 5 : line.index(b',"kind"')])


def checked_lines(
    segments: Sequence[Segment], tail: Tail
) -> Iterator[tuple[Segment, int, bytes, Checked, Tail]]:
    """The complete lines behind a place, each checked.

    Args:
        segments: the log, from the place's segment on.
        tail: the place.

    Yields:
        The line's segment and offset, the line without its newline, what it says, and the place behind it.

    Raises:
        IntegrityBroken: what comes next is not what was written.
    """
    at = segments[0] if segments else None
    try:
        for at in segments:
            if at.first not in (tail.first, tail.seq):
                raise IntegrityBroken(
                    "lines between two segments are missing, or there twice",
                    expected=f"a segment that begins with seq {tail.seq}",
                    got=at.path.name,
                )
            end = tail.offset if at.first == tail.first else 0
            for offset, line in iter_lines(at, end):
                told = check_line(line, tail.seq, tail.chain)
                end = offset + len(line) + 1
                tail = Tail(at.first, end, tail.seq + 1, told[4])
                yield at, offset, line, told, tail
            # Behind the last segment's last line, another writer may be in the middle of the next one.
            if at is not segments[-1] and at.size() > end:
                raise IntegrityBroken("a line has no end", expected="a newline", got="the end of the segment")
    except IntegrityBroken as fault:
        raise located(fault, at, tail) from None


def located(fault: IntegrityBroken, segment: Segment | None, tail: Tail) -> IntegrityBroken:
    """The fault, with the place in the log behind which it is, and what to do about it."""
    fault.where = f"{segment and segment.path}, seq {tail.seq}, offset {tail.offset}"
    fault.hint = "`intentusnet verify` says more; `intentusnet repair` keeps what is good."
    return fault


class LogFollower:
    """Follows the log in a directory.

    Args:
        log: the directory of its segments.
        identity: the store's; None as long as it has not come into being.
        flush: has what this process has handed over written down.
        since_us: older lines are not wanted: it begins with the segment that has the first younger one.
    """

    def __init__(
        self, log: Path, identity: Callable[[], Identity | None], flush: Callable[[], None], since_us: int
    ) -> None:
        self._log = log
        self._identity = identity
        self._flush = flush
        self._since_us = since_us
        self._tail: Tail | None = None

    def has_more(self) -> bool:
        """See `Follower.has_more`."""
        self._flush()
        tail = self._tail
        if tail is None:
            return self._identity() is not None
        size = self._size_at(tail)
        if size is None:
            return tail.seq > 0 or segment_at(self._log, 0).path.exists()
        return size != tail.offset or self._has_next(tail)

    def _size_at(self, tail: Tail) -> int | None:
        """How long the segment of a place is; None if it is not there as it was."""
        # As text: this is done before each plan, and a Path takes several times as long.
        try:
            return os.stat(f"{self._log}/{segment_name(tail.first)}").st_size
        except FileNotFoundError:
            return None

    def _has_next(self, tail: Tail) -> bool:
        """Whether the segment that may come behind a place has been begun."""
        return tail.seq > tail.first and os.path.exists(f"{self._log}/{segment_name(tail.seq)}")

    def lines(self) -> Iterator[Line]:
        """See `Follower.lines`."""
        self._flush()
        identity = self._identity()
        if identity is None:
            return
        tail = self._tail
        size = None if tail is None else self._size_at(tail)
        if tail is not None and size is not None and size >= tail.offset:
            # Mostly there is no other one: to list the directory takes longer than to read a few lines.
            yield from self._behind((segment_at(self._log, tail.first),), tail)
            tail = self._tail or tail
            if not self._has_next(tail):
                return
        segments = list_segments(self._log)
        if tail is None:
            tail = self._tail = _first_wanted(segments, identity.store_id, self._since_us)
        rest = [segment for segment in segments if segment.first >= tail.first]
        if tail.offset > 0 and (not rest or rest[0].first != tail.first or rest[0].size() < tail.offset):
            fault = IntegrityBroken("lines that were read are there no longer")
            raise located(fault, segment_at(self._log, tail.first), tail)
        yield from self._behind(rest, tail)

    def _behind(self, segments: Sequence[Segment], tail: Tail) -> Iterator[Line]:
        for _, _, line, told, behind in checked_lines(segments, tail):
            yield Line(told[0], told[1], ts_of(line), told[5])
            self._tail = behind  # when it has been taken note of: nobody is to miss it


def _first_wanted(segments: Sequence[Segment], store_id: str, since_us: int) -> Tail:
    """Where the segment begins that has the first line of that time or later, or all there is."""
    for segment, before in zip(reversed(segments), (*reversed(segments[:-1]), None), strict=True):
        first = next(iter_lines(segment), None)
        if before is None:
            break
        # Its time is covered by the chain, which is checked from here on.
        if first is not None and parse_line(first[1]).ts < since_us:
            last = line_ending_at(before, before.size())
            if last is None:
                raise IntegrityBroken("a line has no end", where=str(before.path))
            told = parse_line(last[1])
            return Tail(segment.first, 0, told.seq + 1, told.chain)
    first_seq = segments[0].first if segments else 0
    return Tail(first_seq, 0, 0, genesis(store_id))
