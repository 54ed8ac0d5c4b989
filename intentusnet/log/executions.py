"""Whether the entries of an execution are all there: opened once, closed once at the end, none lost between.

The chain proves that a log is what was written; this proves that what was written is whole, also where only
one execution's lines are at hand, as in a portable record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import sha256
from typing import Any, Final

import orjson

from intentusnet.errors import IntegrityBroken
from intentusnet.log.entry import Entry, chain_next, commit_of, leaf, leaf_hash, parse_line


class Executions:
    """Follows the executions of a log, entry by entry; mutable.

    Holds what is open. Of what was closed it keeps a mark in a filter of fixed size, so that an execution
    that may have been opened again becomes a suspect. A second pass that watches the suspects is exact.

    Args:
        watched: executions of which it remembers that they were opened.
    """

    def __init__(self, watched: Collection[bytes] = ()) -> None:
        self.opened = 0
        self._watched = dict.fromkeys(watched, False)
        self.suspects: set[bytes] = set()
        self._open: dict[bytes, _Open] = {}
        self._marks = _Marks()

    def interrupted(self) -> tuple[str, ...]:
        """The executions that are open, in the order in which they were opened."""
        return tuple(execution.decode() for execution in self._open)

    def take(self, kind: bytes, execution: bytes, commit: bytes, body: bytes) -> None:
        """Takes the next entry.

        Raises:
            IntegrityBroken: it does not belong here; the caller sets ``where``.
        """
        try:
            tree = orjson.loads(body)
        except orjson.JSONDecodeError as fault:
            raise IntegrityBroken("a body is not JSON", expected="a JSON object", got=str(fault)) from None
        if kind == b"opened" and execution:
            self._take_opened(execution, commit)
        elif kind in _LATER and execution:
            state = self._open.get(execution)
            if state is None:
                raise IntegrityBroken(
                    "an entry stands outside of its execution",
                    expected="an entry after the execution's `opened` and before its `closed`",
                    got=f"`{kind.decode()}` of {execution.decode()}",
                )
            if kind == b"closed":
                self._take_closed(execution, state, tree)
            else:
                state.count += 1
                state.commits.update(commit)
        elif kind != b"recovery" or execution:
            raise IntegrityBroken(
                "there is no such kind of entry",
                expected="opened, asked, answered or closed of an execution, or recovery of the store",
                got=f"`{kind.decode()}` of {execution.decode() or 'the store'}",
            )

    def _take_opened(self, execution: bytes, commit: bytes) -> None:
        if execution in self._open or self._watched.get(execution):
            raise IntegrityBroken(
                "an execution is opened again",
                expected="one `opened` entry for each execution",
                got=f"a second one of {execution.decode()}",
            )
        self.opened += 1
        if execution in self._watched:
            self._watched[execution] = True
        elif self._marks.add(execution):
            self.suspects.add(execution)
        self._open[execution] = _Open(sha256(commit))

    def _take_closed(self, execution: bytes, state: _Open, tree: dict[str, Any]) -> None:
        digest = state.commits.hexdigest()
        if tree.get("count") != state.count or tree.get("digest") != digest:
            raise IntegrityBroken(
                "entries of an execution are missing, added or others than its `closed` entry says",
                expected=f"count {tree.get('count')!r}, digest {tree.get('digest')!r}",
                got=f"count {state.count}, digest {digest!r}",
            )
        del self._open[execution]


_LATER: Final = frozenset({b"asked", b"answered", b"closed"})


class _Open:
    """The running hash of an open execution's commits, and how many they are; mutable."""

    __slots__ = ("commits", "count")

    def __init__(self, commits: Any) -> None:
        self.commits = commits
        self.count = 1


class _Marks:
    """A set of fixed size that may seem to hold more than was put into it (a Bloom filter).

    With 2**27 bits, four for each member, one answer in a million is wrong at a million members, and one in
    two hundred at ten million. A wrong one costs a place among the suspects, never a wrong verdict.
    """

    _EXPONENT: Final = 27
    #: Up to so many members, a plain set is smaller, and exact.
    _FEW: Final = 4096

    def __init__(self) -> None:
        self._few: set[bytes] | None = set()
        self._bits = bytearray()

    def add(self, member: bytes) -> bool:
        """Puts a member in; whether it seems to have been in already."""
        few = self._few
        if few is None:
            return self._mark(member)
        if member in few:
            return True
        few.add(member)
        if len(few) > self._FEW:
            self._few, self._bits = None, bytearray(1 << (self._EXPONENT - 3))
            for known in few:
                self._mark(known)
        return False

    def _mark(self, member: bytes) -> bool:
        bits = self._bits
        mask = (1 << self._EXPONENT) - 1
        mixed = hash(member)
        step = mixed >> self._EXPONENT | 1
        missed = 0
        for place in (mixed & mask, mixed + step & mask, mixed + 2 * step & mask, mixed + 3 * step & mask):
            bit = 1 << (place & 7)
            if not bits[place >> 3] & bit:
                bits[place >> 3] |= bit
                missed += 1
        return not missed


def read_entry(line: bytes) -> Entry:
    """One line, checked for itself: its template, and that its body is the one it commits to.

    Args:
        line: without its newline.

    Raises:
        IntegrityBroken: the line is not as it was written.
    """
    entry = parse_line(line)
    if commit_of(entry.salt, entry.body) != entry.commit:
        raise IntegrityBroken(
            "the body is not the one that was committed to",
            where=f"seq {entry.seq}",
            expected=entry.commit.hex(),
            got=commit_of(entry.salt, entry.body).hex(),
            hint="`intentusnet verify` names the first bad place.",
        )
    if entry.durable >= entry.seq:
        raise IntegrityBroken(
            "a line claims that lines after it were on disk before it",
            where=f"seq {entry.seq}",
            expected=f"durable below {entry.seq}",
            got=f"durable {entry.durable}",
        )
    return entry


def check_follows(before: Entry | None, entry: Entry) -> None:
    """Checks that an entry can come after another one among those of one execution.

    Args:
        before: None for the first.
        entry: what comes after it.

    Raises:
        IntegrityBroken: it cannot; the caller sets ``where``.
    """
    if entry.execution != (before or entry).execution or not entry.execution:
        raise IntegrityBroken(
            "an entry belongs to another execution",
            expected=(before or entry).execution or "the id of an execution",
            got=entry.execution or "the store",
        )
    if before is None:
        return
    if entry.seq <= before.seq:
        raise IntegrityBroken(
            "entries are out of order", expected=f"a seq over {before.seq}", got=f"{entry.seq}"
        )
    chain = chain_next(before.chain, leaf_hash(leaf(entry.line)))
    if entry.seq == before.seq + 1 and entry.chain != chain:
        raise IntegrityBroken(
            "the chain does not continue from the line before", expected=chain.hex(), got=entry.chain.hex()
        )


def check_execution(entries: Iterable[Entry]) -> None:
    """Checks that these are the entries of one execution, as far as it went.

    Args:
        entries: in the order of the log, each one from `read_entry`.

    Raises:
        IntegrityBroken: entries are missing, added, or in another order.
    """
    executions = Executions()
    before: Entry | None = None
    for entry in entries:
        try:
            check_follows(before, entry)
            executions.take(entry.kind.encode(), entry.execution.encode(), entry.commit, entry.body)
        except IntegrityBroken as fault:
            fault.where = f"seq {entry.seq} of execution {entry.execution}"
            raise
        before = entry
