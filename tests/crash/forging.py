"""Forgeries of a log: what somebody makes who knows the format and has no copy of the head note's chain.

Each is a list of lines with the seq of the line that must be named, or None if nothing can be noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import orjson
from crash.victims import ACKNOWLEDGED, PER_SEGMENT, Victim
from helpers import executions as made

from intentusnet.log.entry import Draft, Entry, chain_next, format_line, genesis, leaf, leaf_hash, parse_line
from intentusnet.log.head import HeadNote
from intentusnet.log.segment import segment_name

NOTED = ACKNOWLEDGED - 1


def formatted(draft: Draft, seq: int, like: Entry, before: bytes) -> bytes:
    """The line of a draft at that place, in all else like another line, and validly chained."""
    return format_line(draft, seq, like.ts, like.durable, before)[0]


def forgeries(victim: Victim) -> Iterator[tuple[str, list[bytes], int | None]]:
    """Every line forged in every way, one line at a time."""
    lines = victim.lines
    end = len(lines)
    for seq, line in enumerate(lines):
        entry = parse_line(line[:-1])
        before = parse_line(lines[seq - 1][:-1]).chain if seq else genesis(victim.store_id)
        draft = Draft.make(entry.kind, entry.execution, entry.body, salt=entry.salt)
        other = Draft.make(entry.kind, entry.execution, _changed(entry.body), salt=entry.salt)

        def put(new: bytes, at: int = seq) -> list[bytes]:
            return [*lines[:at], new, *lines[at + 1 :]]

        # A line that fits where it stands is given away by the line after it, or by the head note.
        fits = None if seq == end - 1 else seq if seq == NOTED else seq + 1
        yield f"body of {seq}", put(line.replace(entry.body, other.body)), seq
        committed = line.replace(entry.body, other.body)
        committed = committed.replace(entry.commit.hex().encode(), other.commit.hex().encode())
        yield f"body and commit of {seq}", put(committed), seq
        yield f"body, commit and chain of {seq}", put(formatted(other, seq, entry, before)), fits
        for durable in {-1, entry.durable - 1, entry.durable + 1, seq - 1, seq} - {-2, entry.durable}:
            raised = formatted(draft, seq, replace(entry, durable=durable), before)
            yield f"durable {durable} in {seq}", put(raised), seq if durable >= seq else fits
        for number in {0, seq - 1, seq + 1, end} - {-1, seq}:
            yield f"seq {number} in {seq}", put(formatted(draft, number, entry, before)), seq
        later = formatted(draft, seq, replace(entry, ts=entry.ts + 1), before)
        yield f"ts of {seq}", put(later), fits
        stranger = formatted(made.opened(made.id_of(99)), seq, entry, before)
        yield f"a stranger in the place of {seq}", put(stranger), fits
        yield f"a stranger before {seq}", [*lines[:seq], stranger, *lines[seq:]], fits or seq + 1
        yield f"the chain of {seq} of another line", put(_with_chain(line, entry.execution.encode())), seq


def _changed(body: bytes) -> bytes:
    return body[:-1] + b',"zzz":1}'


def _with_chain(line: bytes, seed: bytes) -> bytes:
    entry = parse_line(line[:-1])
    return line.replace(entry.chain.hex().encode(), hashlib.sha256(seed).hexdigest().encode())


def rewritten(victim: Victim, at: int) -> tuple[list[bytes], HeadNote]:
    """The whole log from a line on with another body in it, every hash made anew, and a note that fits."""
    lines = victim.lines[:at]
    chain = parse_line(lines[-1][:-1]).chain if lines else genesis(victim.store_id)
    commits: dict[str, list[bytes]] = {}
    for seq, line in enumerate(victim.lines):
        entry = parse_line(line[:-1])
        body = _changed(entry.body) if seq == at else entry.body
        before = commits.setdefault(entry.execution, [])
        if entry.kind == "closed":
            digest = hashlib.sha256(b"".join(before)).hexdigest()
            body = orjson.dumps(orjson.loads(body) | {"digest": digest})
        draft = Draft.make(entry.kind, entry.execution, body, salt=entry.salt)
        before.append(draft.commit)
        if seq >= at:
            new, chain = format_line(draft, seq, entry.ts, entry.durable, chain)
            lines.append(new)
    return lines, note_of(lines, NOTED)


def note_of(lines: Sequence[bytes], seq: int) -> HeadNote:
    """The note that says that the lines up to that seq are on disk."""
    first = seq // PER_SEGMENT * PER_SEGMENT
    chain = parse_line(lines[seq][:-1]).chain.hex()
    return HeadNote(chain, sum(map(len, lines[first : seq + 1])), segment_name(first), seq)


def chain_is_valid(victim: Victim, lines: Sequence[bytes]) -> bool:
    """Whether each line has the chain value that follows from the line before."""
    chain = genesis(victim.store_id)
    for line in lines:
        chain = chain_next(chain, leaf_hash(leaf(line)))
        if parse_line(line[:-1]).chain != chain:
            return False
    return True
