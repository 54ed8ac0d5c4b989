"""Which lines behind the first bad one belong to this log, and how well each of them is proven.

The commit proves a line's body. Its seq, ts, kind and execution are proven by the chain alone, which takes
the line before. So lines are gathered into *runs*, pieces of a file in which each line's chain value follows
from the line before. Runs that continue each other, wherever they lie, are a *strand*. One is *anchored*,
known to be of this log, if it continues the good lines, or goes through the line that the head note tells of.
Where two strands claim the same numbers, the anchored one is believed, then the longer one.

Memory grows with the number of bad places, not with that of lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, NamedTuple

from intentusnet.errors import IntegrityBroken
from intentusnet.log.damage import Damage, Source
from intentusnet.log.entry import Entry, chain_next, commit_of, leaf, leaf_hash, parse_line

#: How well an entry is known, apart from its body, which its commit proves.
PROVEN: Final = 2
#: It is of this log, but the line before is lost, and with it the proof of its ts, kind and execution.
BARE: Final = 1
#: It may be of another log.
FOREIGN: Final = 0

_START: Final = re.compile(rb'\{"seq":')


class Gap(NamedTuple):
    """Entries are lost here: one of this execution, or if it is "", nobody knows of which and how many."""

    execution: str


class Found(NamedTuple):
    """An entry, and how well it is known: `PROVEN`, `BARE` or `FOREIGN`."""

    entry: Entry
    known: int


@dataclass(slots=True, eq=False)
class _Run:
    """Lines in one piece, each of which follows from the one before; mutable while they are read.

    Attributes:
        source: which file, by its place among all; -1 stands for lines that are known and not in this piece.
        start, end: where it begins and ends in it.
        first, last: the numbers of its lines.
        leaf, chain: leaf hash and chain value of the first line.
        values: what the chain value of the last line may be: what it states, or what follows from the line
            before, in case that the statement is what is damaged.
        noted: it has the line that the head note tells of.
        before: the run that its first line would continue, if that one did not state another chain value.
        joined: it has turned out that it does.
    """

    source: int
    start: int
    end: int
    first: int
    last: int
    leaf: bytes
    chain: bytes
    values: tuple[bytes, ...]
    noted: bool = False
    before: _Run | None = None
    joined: bool = False

    def value_before(self, seq: int, leaf_digest: bytes, chain: bytes) -> bytes | None:
        """The chain value of the last line, if a line of this seq, leaf hash and chain value follows it."""
        if seq != self.last + 1:
            return None
        return next((value for value in self.values if chain_next(value, leaf_digest) == chain), None)

    def is_continued_by(self, run: _Run) -> bool:
        follows = self.value_before(run.first, run.leaf, run.chain) is not None
        return follows or (run.joined and run.before is self)


@dataclass(slots=True, eq=False)
class Strand:
    """Runs that continue each other; mutable while it grows.

    Attributes:
        runs: the first may stand for a line that is known from elsewhere.
        anchored: it is of this log.
    """

    runs: list[_Run]
    anchored: bool

    @property
    def own(self) -> list[_Run]:
        """The runs that can be read."""
        return [run for run in self.runs if run.source >= 0]

    @property
    def follows(self) -> bool:
        """Whether the line before its first is known, so that this one is proven, too."""
        return self.runs[0].source < 0

    @property
    def first(self) -> int:
        """The number of its first line that can be read."""
        return self.own[0].first

    @property
    def last(self) -> int:
        """The number of its last line."""
        return self.runs[-1].last

    @property
    def worth(self) -> tuple[bool, int]:
        """The more, the sooner it is believed."""
        return self.anchored, self.last - self.runs[0].first

    @property
    def place(self) -> tuple[int, int]:
        """Where most of it lies: which file, and the offset there."""
        longest = max(self.own, key=lambda run: run.last - run.first)
        return longest.source, longest.start


class Rest:
    """What stands behind the first bad place of a log; reads it once, and again for each `stream`.

    Args:
        damage: where that is.

    Attributes:
        strands: those that are believed, in order.
        size: how many bytes of lines there are, good and bad.
    """

    def __init__(self, damage: Damage) -> None:
        self._damage = damage
        self._sources: list[Source] = []
        if damage.at[0] < len(damage.sources):
            self._sources = [*damage.sources[damage.at[0] :], *damage.twins]
        self._twins = len(damage.twins) if self._sources else 0
        self.size = 0
        self._ends_badly = False
        runs = self._gathered()
        self.strands = self._believed(self._woven(runs))

    @property
    def end(self) -> int:
        """A seq below which lines are known to have been there."""
        noted = self._damage.note.seq + 1 if self._damage.note is not None else 0
        return max(self._damage.seq, noted, self.strands[-1].last + 1 if self.strands else 0)

    def stream(self) -> Iterator[Found | Gap]:
        """Every entry of the strands that its commit proves, and what is lost, in order."""
        position, sure = self._damage.seq, True
        for strand in self.strands:
            entries = (entry for run in strand.own for _, entry in self._lines(run))
            if strand.first > position:
                yield Gap("")
            elif not strand.follows and sure:
                # The line before it is there and states another chain value: it is not as it was written.
                next(entries, None)
                yield Gap("")
            for entry in entries:
                bare = entry.seq == strand.first and not strand.follows
                if not _is_proven_by_commit(entry):
                    yield Gap(entry.execution if strand.anchored and not bare else "")
                else:
                    yield Found(entry, FOREIGN if not strand.anchored else BARE if bare else PROVEN)
            position, sure = strand.last + 1, strand.follows or strand.last > strand.first
        # Without a note nobody knows whether lines are missing at the end, too.
        if self._ends_badly or position < self.end or self._damage.note is None:
            yield Gap("")

    def _gathered(self) -> list[_Run]:
        """The runs, in the order in which they lie there."""
        damage, note = self._damage, self._damage.note
        noted_seq, noted = (-1, b"") if note is None else (note.seq, bytes.fromhex(note.chain))
        run = _known(damage.seq - 1, damage.chain)
        runs = [run]
        for number, source in enumerate(self._sources):
            is_twin = number >= len(self._sources) - self._twins
            for at, raw in source.lines(damage.at[1] if number == 0 else 0):
                if not is_twin:
                    self.size += len(raw)
                readable = False
                for entry in _readable(raw):
                    readable = True
                    if entry.seq < damage.seq:
                        continue
                    digest, end = leaf_hash(leaf(entry.line)), at + len(raw)
                    value = run.value_before(entry.seq, digest, entry.chain)
                    if value is not None:
                        # What follows proves the line, even if not the chain value that it states.
                        run.joined |= value != run.values[0]
                        run.noted |= (run.last, value) == (noted_seq, noted)
                    if value is not None and run.source == number:
                        run.last, run.end, run.values = entry.seq, end, (entry.chain,)
                    else:
                        before = run if entry.seq == run.last + 1 else None
                        values = [entry.chain]
                        if value is None and before is not None:
                            values += [chain_next(known, digest) for known in before.values]
                        # The note proves the line as well as one that follows it.
                        joined = entry.seq == noted_seq and noted in values[1:]
                        if entry.seq == noted_seq:
                            values.append(noted)
                        run = _Run(
                            number, at, end, entry.seq, entry.seq, digest, entry.chain, tuple(values),
                            noted=joined, before=before, joined=joined,
                        )  # fmt: skip
                        runs.append(run)
                    run.noted |= (entry.seq, entry.chain) == (noted_seq, noted)
                if not is_twin:
                    self._ends_badly = not readable
        return runs

    def _woven(self, runs: list[_Run]) -> list[Strand]:
        """The strands that the runs are; those of lines known from elsewhere, without any run, left out."""
        damage = self._damage
        strands = [Strand([runs[0]], True)]
        ending: dict[int, list[Strand]] = {damage.seq - 1: [strands[0]]}
        if damage.note is not None and damage.note.seq >= damage.seq:
            by_note = Strand([_known(damage.note.seq, bytes.fromhex(damage.note.chain))], True)
            strands.append(by_note)
            ending[damage.note.seq] = [by_note]
        for run in sorted(runs[1:], key=lambda run: (run.first, -run.last)):
            before = [one for one in ending.get(run.first - 1, []) if one.runs[-1].is_continued_by(run)]
            strand = max(before, key=lambda one: one.worth, default=None)
            if strand is None:
                strand, rest = self._overlapping(run, strands) or (None, run)
            else:
                rest = run
            if strand is None:
                strand = Strand([], False)
                strands.append(strand)
            else:
                ending[strand.runs[-1].last].remove(strand)
            strand.runs.append(rest)
            strand.anchored |= rest.noted
            ending.setdefault(run.last, []).append(strand)
        return [strand for strand in strands if strand.own]

    def _overlapping(self, run: _Run, strands: list[Strand]) -> tuple[Strand, _Run] | None:
        """The strand whose last line the run repeats, and the rest of the run; None if there is none."""
        for strand in strands:
            tail = strand.runs[-1]
            if tail.source >= 0 and run.first <= tail.last < run.last:
                entries = (found for found in self._lines(run) if found[1].seq >= tail.last)
                (_, same), (at, entry) = next(entries), next(entries)
                if same.chain in tail.values:
                    digest = leaf_hash(leaf(entry.line))
                    return strand, replace(run, start=at, first=entry.seq, leaf=digest, chain=entry.chain)
        return None

    def _believed(self, strands: list[Strand]) -> list[Strand]:
        """Those that do not contradict the note, nor a better one."""
        note = self._damage.note
        believed: list[Strand] = []
        for strand in sorted(strands, key=lambda one: one.worth, reverse=True):
            noted = note is not None and strand.first <= note.seq <= strand.last
            overlaps = any(one.first <= strand.last and strand.first <= one.last for one in believed)
            # What was put somewhere else does not lie where its numbers belong.
            astray = not strand.anchored and any(
                (one.place < strand.place) is not (one.first < strand.first) for one in believed
            )
            if not ((noted and not strand.anchored) or overlaps or astray):
                believed.append(strand)
            elif not any(one.first <= strand.first and strand.last <= one.last for one in believed):
                # It is no mere repetition, so there may have been lines with numbers as high as its own.
                self._ends_badly = True
        return [
            strand
            for strand in sorted(believed, key=lambda one: one.first)
            if not self._is_exchanged(strand, believed)
        ]

    def _is_exchanged(self, strand: Strand, believed: list[Strand]) -> bool:
        """Whether nothing is missing before it and behind it, and it fits neither."""
        begins = strand.first == self._damage.seq or any(one.last + 1 == strand.first for one in believed)
        return not strand.anchored and begins and any(strand.last + 1 == one.first for one in believed)

    def _lines(self, run: _Run) -> Iterator[tuple[int, Entry]]:
        """The lines of a run, each with the offset of what it was found in."""
        seq = run.first
        for at, raw in self._sources[run.source].lines(run.start):
            if at >= run.end:
                break
            for entry in _readable(raw):
                if entry.seq == seq and (seq > run.first or entry.chain == run.chain):
                    yield at, entry
                    seq += 1


def _known(seq: int, chain: bytes) -> _Run:
    """A line that is known from elsewhere."""
    return _Run(-1, 0, 0, seq, seq, b"", chain, (chain,))


def _readable(raw: bytes) -> list[Entry]:
    """The lines in what stands between two newlines, by their template; several if newlines are lost."""
    line = raw.removesuffix(b"\n")
    whole = _parsed(line)
    if whole is not None and _is_proven_by_commit(whole):
        return [whole]
    starts = [match.start() for match in _START.finditer(line)]
    # A byte that stands where the newline was may seem to belong to the line, or the next line to the body.
    pieces = ((line[start:end], line[start : end - 1]) for start, end in pairwise([*starts, len(line)]))
    found = [_parsed(longer) or _parsed(shorter) for longer, shorter in pieces]
    return [entry for entry in found if entry is not None] or ([whole] if whole is not None else [])


def _parsed(line: bytes) -> Entry | None:
    try:
        return parse_line(line)
    except IntegrityBroken:
        return None


def _is_proven_by_commit(entry: Entry) -> bool:
    return commit_of(entry.salt, entry.body) == entry.commit
