"""What a query finds and which execution a reference means: the rules that all stores share.

Pure functions of entries and ids; every one of them reads checked lines, never an index's word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import orjson

from intentusnet.errors import AmbiguousReference, IntegrityBroken, InvalidInput, RecordNotFound
from intentusnet.idempotency import digest_of_opened
from intentusnet.log.entry import Entry
from intentusnet.references import BlobRef, references
from intentusnet.stores.base import STATUSES, Page, Query, Row

#: Gives the bytes of a value that is kept apart.
Load = Callable[[BlobRef], bytes]

#: A reference shorter than this fits too much to be meant.
SHORTEST_REFERENCE: Final = 4
MOST_CANDIDATES: Final = 5

_LAST: Final = re.compile(r"@last(?:~([0-9]{1,18}))?")


@dataclass(frozen=True, slots=True)
class Ending:
    """How an execution ended."""

    status: str
    agent: str | None
    error_code: str | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What a query can ask of one execution, its text aside: its row, and what else its first entry says.

    ``key`` is the digest of its idempotency key, if it may hold one.
    """

    row: Row
    caller: str
    tags: tuple[str, ...]
    tenant: str | None
    key: str | None


def summarise(opened: Entry, closed: Entry | None) -> Summary:
    """What an execution's first and last entries say about it; without a last one it was interrupted.

    Raises:
        IntegrityBroken: a body is not of the recorded format.
    """
    ending = Ending("interrupted", None, None) if closed is None else ending_of(closed)
    try:
        body = orjson.loads(opened.body)
        envelope = body["envelope"]
        row = Row(
            execution_id=opened.execution,
            ts=opened.ts,
            intent=_text(envelope["intent"]["name"]),
            version=_text(envelope["intent"]["version"]),
            strategy=_text(body["plan"]["strategy"]),
            status=ending.status,
            agent=ending.agent,
            duration_us=None if closed is None else closed.ts - opened.ts,
            error_code=ending.error_code,
        )
        caller, tags = envelope["caller"], tuple(_text(tag) for tag in envelope["tags"])
        tenant = None if caller["tenant"] is None else _text(caller["tenant"])
        return Summary(row, _text(caller["name"]), tags, tenant, digest_of_opened(body))
    except (KeyError, TypeError, ValueError) as fault:
        raise _unreadable(opened, fault) from fault


def ending_of(closed: Entry) -> Ending:
    """What an execution's last entry says about how it ended.

    Raises:
        IntegrityBroken: its body is not of the recorded format.
    """
    try:
        body = orjson.loads(closed.body)
        status, agent, error = _text(body["status"]), body["agent"], body["error"]
        if status not in STATUSES[:2]:
            raise ValueError(f"no execution ends with status {status!r}")
        return Ending(
            status,
            None if agent is None else _text(agent),
            None if error is None else _text(error["code"]),
        )
    except (KeyError, TypeError, ValueError) as fault:
        raise _unreadable(closed, fault) from fault


def _unreadable(entry: Entry, fault: Exception) -> IntegrityBroken:
    return IntegrityBroken(
        "an entry's body is not of the recorded format",
        where=f"seq {entry.seq}, execution {entry.execution}",
        got=f"{type(fault).__name__}: {fault}",
        hint="The line is as it was written: whatever wrote it does not keep to the format.",
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {value!r}")
    return value


def matches(query: Query, summary: Summary) -> bool:
    """Whether the execution is one that the query asks for, its text aside."""
    row = summary.row
    return (
        query.status in (None, row.status)
        and query.wants_intent(row.intent)
        and query.agent in (None, row.agent)
        and query.caller in (None, summary.caller)
        and (query.tag is None or query.tag in summary.tags)
        and query.error_code in (None, row.error_code)
        and (query.since_us is None or query.since_us <= row.ts)
        and (query.until_us is None or row.ts < query.until_us)
    )


def spelled(text: str) -> bytes | None:
    """A text as bodies spell it, with quotes, backslashes and control characters escaped.

    None if no body can have it: a lone surrogate is never written as it is.
    """
    try:
        return orjson.dumps(text)[1:-1]
    except orjson.JSONEncodeError:
        return None


def has_text(query: Query, entries: Iterable[Entry], load: Load) -> bool:
    """Whether the text that the query asks for, if any, stands in one of the execution's entries."""
    if not query.text:
        return True
    text = spelled(query.text)
    return text is not None and any(holds(text, entry.body, load) for entry in entries)


def holds(text: bytes, body: bytes, load: Load) -> bool:
    """Whether a text, as bodies spell it, stands in a body or in a value that it refers to.

    Args:
        text: from `spelled`.
        body: an entry's.
        load: gives the bytes of a value that is kept apart; what it raises goes through.
    """
    return text in body or any(text in load(ref) for ref in references(body))


def page_of(query: Query, found: Iterable[tuple[int, Row]]) -> Page:
    """Cuts a page off what was found.

    Args:
        query: says how many rows.
        found: what fits, in the order asked for: the seq at which the execution was opened, and its row.
    """
    rows: list[Row] = []
    last = 0
    for seq, row in found:
        if len(rows) == query.limit:
            return Page(tuple(rows), query.cursor_after(last))
        rows.append(row)
        last = seq
    return Page(tuple(rows), None)


class Identified(Protocol):
    """What has to be known of a store's executions to resolve a reference."""

    def has(self, execution_id: str) -> bool:
        """Whether there is an execution of exactly that id."""
        ...

    def fitting(self, fragment: str, limit: int) -> Sequence[str]:
        """The ids that begin or end with the fragment, newest first, at most so many."""
        ...

    def nth_last(self, back: int) -> str | None:
        """The id of the execution opened last (0), of the one before it (1), and so on."""
        ...


def resolve(reference: str, known: Identified, *, where: str) -> str:
    """The full id that a reference means.

    Args:
        reference: a full id, a unique prefix or suffix of at least 4 characters, ``@last`` or ``@last~N``.
        known: the executions that there are.
        where: names the store in errors.

    Raises:
        InvalidInput: it begins with ``@`` and means nothing.
        RecordNotFound: it fits none.
        AmbiguousReference: it fits several.
    """
    if reference.startswith("@"):
        return _resolve_last(reference, known, where)
    # Spares the search through all ids; a full id fits nothing but itself.
    if known.has(reference):
        return reference
    if len(reference) < SHORTEST_REFERENCE:
        hint = f"Give at least {SHORTEST_REFERENCE} characters of the beginning or the end of the id."
        raise not_found(reference, where, hint)
    fitting = known.fitting(reference, MOST_CANDIDATES + 1)
    if not fitting:
        raise not_found(reference, where)
    if len(fitting) > 1:
        more = ", …" if len(fitting) > MOST_CANDIDATES else ""
        raise AmbiguousReference(
            "the reference fits several executions",
            where=where,
            expected="the beginning or the end of one id",
            got=f"{reference!r}, which fits {', '.join(fitting[:MOST_CANDIDATES])}{more}",
            hint="Give more characters of the id.",
        )
    return fitting[0]


def _resolve_last(reference: str, known: Identified, where: str) -> str:
    match = _LAST.fullmatch(reference)
    if match is None:
        raise InvalidInput(
            "not a reference to an execution",
            expected="an id, its beginning or end, @last or @last~N",
            got=repr(reference),
        )
    found = known.nth_last(int(match[1] or 0))
    if found is None:
        raise not_found(reference, where)
    return found


def not_found(
    reference: str, where: str, hint: str = "`intentusnet list` shows what there is."
) -> RecordNotFound:
    """The error that says that no execution fits."""
    return RecordNotFound("no execution fits the reference", where=where, got=repr(reference), hint=hint)
