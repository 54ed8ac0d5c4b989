"""Whether the entries of an execution are all there: opened once, closed once at the end, none lost between.

The chain proves that a log is what was written; this proves that what was written is whole, also where only
one execution's lines are at hand, as in a portable record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from orjson import JSONDecodeError, loads

from intentusnet.errors import IntegrityBroken
from intentusnet.log.entry import Entry, chain_next, commit_of, leaf, leaf_hash, parse_line
from intentusnet.log.marks import Marks

#: What a `closed` entry says of the entries before it: how many, and the hex digest of their commits.
Claim = tuple[Any, Any]

_LATER: Final = frozenset({b"asked", b"answered", b"closed"})
# So many commits of an open execution are kept as they are; more are folded into a running hash.
_FOLDED_FROM: Final = 64


class Executions:
    """Follows the executions of a log, entry by entry; mutable.

    Holds what is open, and what was opened since the last `fold`. Of the rest it keeps a mark in a filter of
    fixed size, so that an execution that may have been opened again becomes a suspect. A second look at the
    suspects is exact.

    Args:
        watched: executions of which it remembers that they were opened.
    """

    def __init__(self, watched: Collection[bytes] = ()) -> None:
        self.opened = 0
        self.suspects: set[bytes] = set()
        self._watched = dict.fromkeys(watched, False)
        # Those that were opened since the last `fold`.
        self._here: dict[bytes, None] = {}
        # The commits of each open execution; those before them are in `_folded`.
        self._open: dict[bytes, list[bytes]] = {}
        self._folded: dict[bytes, tuple[int, Any]] = {}
        self._marks = Marks()

    def interrupted(self) -> tuple[str, ...]:
        """The executions that are open, in the order in which they were opened."""
        return tuple(execution.decode() for execution in self._open)

    def take(self, kind: bytes, execution: bytes, commit: bytes, body: bytes) -> None:
        """Takes the next entry.

        Raises:
            IntegrityBroken: it does not belong here; the caller sets ``where``.
        """
        # All bodies are parsed, though the commit covers their bytes: that every line is JSON, whoever wrote
        # it, is what other readers rely on.
        try:
            tree = loads(body)
        except JSONDecodeError as fault:
            raise IntegrityBroken("a body is not JSON", expected="a JSON object", got=str(fault)) from None
        # Only executions are opened, so that "", for the store itself, is never found.
        commits = self._open.get(execution)
        if commits is not None and kind in _LATER:
            if kind != b"closed":
                commits.append(commit)
                return
            count, digest = self._claim(execution, commits)
            if tree.get("count") != count or tree.get("digest") != digest:
                raise IntegrityBroken(
                    "entries of an execution are missing, added or others than its `closed` entry says",
                    expected=f"count {tree.get('count')!r}, digest {tree.get('digest')!r}",
                    got=f"count {count}, digest {digest!r}",
                )
            self._forget(execution)
        elif kind == b"opened" and execution:
            if commits is not None or execution in self._here or self._watched.get(execution):
                raise IntegrityBroken(
                    "an execution is opened again",
                    expected="one `opened` entry for each execution",
                    got=f"a second one of {execution.decode()}",
                )
            self.opened += 1
            self._here[execution] = None
            self._open[execution] = [commit]
        elif kind in _LATER and execution:
            claim = (tree.get("count"), tree.get("digest")) if kind == b"closed" else None
            self._take_foreign(kind, execution, commit, claim)
        elif kind != b"recovery" or execution:
            raise IntegrityBroken(
                "there is no such kind of entry",
                expected="opened, asked, answered or closed of an execution, or recovery of the store",
                got=f"`{kind.decode()}` of {execution.decode() or 'the store'}",
            )

    def fold(self) -> None:
        """Gives back the memory that what was taken needs; to be called now and then."""
        self.suspects.update(self._marks.add(self._here))
        if self._watched:
            self._watched.update((execution, True) for execution in self._here if execution in self._watched)
        self._here.clear()
        for execution, commits in self._open.items():
            if len(commits) >= _FOLDED_FROM:
                self._folded[execution] = self._sum(execution, commits)
                commits.clear()

    def join(self, portion: Portion) -> bool:
        """Takes all entries of a stretch of the log at once, or none of them.

        Returns:
            Whether they all fit in here. What it is that does not, `take` says.
        """
        for execution, (commits, claim) in portion.earlier.items():
            before = self._open.get(execution)
            if before is None or (claim is not None and claim != self._claim(execution, before + commits)):
                return False
        for execution, (commits, claim) in portion.earlier.items():
            if claim is None:
                self._open[execution].extend(commits)
            else:
                self._forget(execution)
        # What was opened before becomes a suspect now.
        self.opened += len(portion.opened)
        self._here.update(dict.fromkeys(portion.opened))
        self._open.update(portion.unclosed)
        self.fold()
        return True

    def _take_foreign(self, kind: bytes, execution: bytes, commit: bytes, claim: Claim | None) -> None:
        """Takes an entry of an execution that is not open here."""
        raise IntegrityBroken(
            "an entry stands outside of its execution",
            expected="an entry after the execution's `opened` and before its `closed`",
            got=f"`{kind.decode()}` of {execution.decode()}",
        )

    def _claim(self, execution: bytes, commits: list[bytes]) -> Claim:
        """What is to be claimed of an execution, going by what is known of it, with these commits last."""
        if execution in self._folded:
            count, running = self._sum(execution, commits)
            return count, running.hexdigest()
        return len(commits), sha256(b"".join(commits)).hexdigest()

    def _sum(self, execution: bytes, commits: list[bytes]) -> tuple[int, Any]:
        count, folded = self._folded.get(execution, (0, sha256()))
        running = folded.copy()
        running.update(b"".join(commits))
        return count + len(commits), running

    def _forget(self, execution: bytes) -> None:
        del self._open[execution]
        if self._folded:
            self._folded.pop(execution, None)


class SegmentExecutions(Executions):
    """Follows the executions of a stretch of the log of which it does not know what comes before it; mutable.

    What is told of an execution that was opened earlier is kept, to be held against what is known of it then.
    """

    def __init__(self) -> None:
        super().__init__()
        self._earlier: dict[bytes, tuple[list[bytes], Claim | None]] = {}

    def portion(self) -> Portion:
        """What there is to know about the executions of all that was taken."""
        return Portion(tuple(self._here), self._open, self._earlier)

    def fold(self) -> None:
        """Does nothing: whoever knows more needs the commits as they are."""

    def _take_foreign(self, kind: bytes, execution: bytes, commit: bytes, claim: Claim | None) -> None:
        commits, claimed = self._earlier.get(execution, ([], None))
        if execution in self._here or claimed is not None:
            super()._take_foreign(kind, execution, commit, claim)
        if claim is None:
            commits.append(commit)
        self._earlier[execution] = commits, claim


@dataclass(frozen=True, slots=True)
class Portion:
    """What a stretch of the log, whose entries fit together, has of executions.

    Attributes:
        opened: those that it opens, in order.
        unclosed: those of them that it does not close, in order, and all their commits.
        earlier: those opened before it: their commits in it, and what is claimed where one is closed.
    """

    opened: Sequence[bytes]
    unclosed: Mapping[bytes, list[bytes]]
    earlier: Mapping[bytes, tuple[list[bytes], Claim | None]]


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
    if entry.seq != before.seq + 1:
        return
    chain = chain_next(before.chain, leaf_hash(leaf(entry.line)))
    if entry.chain != chain:
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
