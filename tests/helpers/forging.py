"""Portable records as a forger makes them: whatever their bodies say, every hash is right."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from intentusnet import ExecutionRecord, values
from intentusnet.fingerprint import fingerprint_of
from intentusnet.log.entry import Draft, format_line, parse_line
from intentusnet.record import fold

Bodies = list[tuple[str, Any]]


def bodies_of(record: ExecutionRecord) -> Bodies:
    """The kind and the body of each of a record's entries, to be changed."""
    return [(entry.kind, values.parse(entry.body)) for entry in record.entries]


def lines_of(bodies: Iterable[tuple[str, Any]], execution: str, fingerprint: str | None = None) -> bytes:
    """The lines of a portable record with these bodies: chain, commits, count and digest fit."""
    lines, chain, commits = [], bytes(32), hashlib.sha256()
    for seq, (kind, body) in enumerate(bodies, 1):
        fits: dict[str, Any] = {}
        if kind == "closed":
            fits = {"count": seq - 1, "digest": commits.hexdigest()}
            if fingerprint is not None:
                fits["fingerprint"] = fingerprint
        draft = Draft.make(kind, execution, values.dumps({**body, **fits}), ts=seq)
        line, chain = format_line(draft, seq, None, 0, chain)
        commits.update(draft.commit)
        lines.append(line)
    return b"".join(lines)


def forged(record: ExecutionRecord, change: Callable[[Bodies], Any]) -> bytes:
    """A record with changed bodies, in which everything fits, the fingerprint too.

    Raises:
        IntegrityBroken: what was made of it is no record.
    """
    bodies = bodies_of(record)
    change(bodies)
    made = fold([parse_line(line) for line in lines_of(bodies, record.execution_id).splitlines()])
    assert made.outcome is not None
    content = made.envelope_tree, made.plan_tree, made.questions, made.outcome.tree()
    return lines_of(bodies, record.execution_id, fingerprint_of(*content))
