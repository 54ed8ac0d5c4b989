"""`ExecutionStore`, the protocol that every store keeps, and the words in which it is asked and answers.

What a query finds, and which execution a reference means, is decided by the pure functions of ``finding``, so
that no store has rules of its own: a store only knows where its lines lie.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any, Final, Protocol, Self

from intentusnet.errors import IntegrityBroken, InvalidInput, StoreRefused
from intentusnet.log.durability import Durability
from intentusnet.log.entry import Draft, Entry
from intentusnet.log.following import Follower
from intentusnet.log.segment import MAX_BYTES, MAX_ENTRIES
from intentusnet.log.verify import Progress, VerifyReport
from intentusnet.record import ExecutionRecord
from intentusnet.stores.custody import Custody

STATUSES: Final = ("success", "error", "interrupted")
MAX_LIMIT: Final = 1000

_POSITION: Final = re.compile(rb"([no])(0|[1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What a store is told once, when it is made, and keeps.

    Args:
        segment_entries: a segment of the log is sealed at that many entries,
        segment_bytes: or when it holds that many bytes.
        compress: whether a segment is compressed when it is sealed.

    Raises:
        InvalidInput: an argument is out of its range.
    """

    segment_entries: int = MAX_ENTRIES
    segment_bytes: int = MAX_BYTES
    compress: bool = False

    def __post_init__(self) -> None:
        for name, count in (("segment_entries", self.segment_entries), ("segment_bytes", self.segment_bytes)):
            if type(count) is not int or count < 1:
                raise InvalidInput("a segment holds at least one entry", where=name, got=repr(count))
        if type(self.compress) is not bool:
            raise InvalidInput(
                "segments are compressed or not",
                where="compress",
                expected="true or false",
                got=repr(self.compress),
            )

    def tree(self) -> dict[str, Any]:
        """The settings as they stand in store.json."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], *, where: str) -> Self:
        """The settings that `tree` wrote.

        Raises:
            StoreRefused: a setting is malformed, or one that this version does not know.
        """
        try:
            return cls(**tree)
        except (TypeError, InvalidInput) as fault:
            raise StoreRefused(
                "the store's settings cannot be used",
                where=where,
                expected=f"{', '.join(sorted(cls.__slots__))}, or some of them",
                got=repr(dict(tree)),
                hint="A newer version of intentusnet may have made the store.",
            ) from fault


@dataclass(frozen=True, slots=True)
class Query:
    """Which executions are wanted; what is None does not matter.

    Args:
        status: "success", "error" or "interrupted".
        intent: a glob over intent names, case-sensitive.
        agent: the agent whose answer it was, by its exact name.
        caller: the caller's exact name.
        tag: one of the envelope's tags.
        error_code: the code of the error it ended with.
        since_us: opened at that time or later, in microseconds since 1970-01-01 UTC.
        until_us: opened before that time.
        text: stands in a string, or in a field's name, of one of the execution's entries, case-sensitive. The
            search reads the log.
        limit: rows on a page, 1 to 1000.
        cursor: goes on where the page that gave it ended.
        oldest_first: in the order of opening, instead of against it.
        despite_damage: of a damaged log, list what ended before the damage, and name the damage on the page.

    Raises:
        InvalidInput: an argument is out of its range.
    """

    status: str | None = None
    intent: str | None = None
    agent: str | None = None
    caller: str | None = None
    tag: str | None = None
    error_code: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    text: str | None = None
    limit: int = 50
    cursor: str | None = None
    oldest_first: bool = False
    despite_damage: bool = False

    def __post_init__(self) -> None:
        if self.status is not None and self.status not in STATUSES:
            raise InvalidInput(
                "no execution has such a status",
                where="status",
                expected=" or ".join(STATUSES),
                got=repr(self.status),
            )
        if type(self.limit) is not int or not 1 <= self.limit <= MAX_LIMIT:
            raise InvalidInput(
                "a page cannot have that many rows",
                where="limit",
                expected=f"1 to {MAX_LIMIT}",
                got=repr(self.limit),
                hint="Go on with the page's cursor.",
            )
        for name, time_us in (("since_us", self.since_us), ("until_us", self.until_us)):
            if time_us is not None and (type(time_us) is not int or not 0 <= time_us < 2**63):
                raise InvalidInput(
                    "not a point in time",
                    where=name,
                    expected="microseconds since 1970-01-01 UTC",
                    got=repr(time_us),
                )
        if self.since_us is not None and self.until_us is not None and self.since_us > self.until_us:
            raise InvalidInput(
                "the time ends before it begins",
                where="since_us",
                expected="not after until_us",
                got=f"{self.since_us} > {self.until_us}",
            )
        _ = self.position

    @property
    def chooses(self) -> bool:
        """Whether there can be executions that are not asked for."""
        chosen = (self.status, self.intent, self.agent, self.caller, self.tag, self.error_code, self.text)
        return any(value is not None for value in (*chosen, self.since_us, self.until_us))

    @property
    def position(self) -> int | None:
        """The seq behind which the list goes on; None at its beginning.

        Raises:
            InvalidInput: the cursor is none that a list of this direction gave.
        """
        if self.cursor is None:
            return None
        try:
            match = _POSITION.fullmatch(base64.b64decode(self.cursor, altchars=b"-_", validate=True))
        except ValueError:
            match = None
        if match is None:
            raise InvalidInput(
                "not a cursor",
                where="cursor",
                expected="the cursor of an earlier page",
                got=repr(self.cursor),
            )
        if match[1] != _direction(self.oldest_first):
            raise InvalidInput(
                "the cursor belongs to a list of the other direction",
                where="cursor",
                got=repr(self.cursor),
                hint="Ask for all pages in the same order.",
            )
        return int(match[2])

    def cursor_after(self, seq: int) -> str:
        """The cursor of a page that goes on behind the execution opened at that seq."""
        return base64.urlsafe_b64encode(b"%b%d" % (_direction(self.oldest_first), seq)).decode()

    def wants_intent(self, name: str) -> bool:
        """Whether the intent of that name is asked for."""
        return self.intent is None or fnmatchcase(name, self.intent)


#: What `list` is asked for when it is asked for nothing in particular.
EVERYTHING: Final = Query()


def _direction(oldest_first: bool) -> bytes:
    return b"o" if oldest_first else b"n"


@dataclass(frozen=True, slots=True)
class Row:
    """One execution in a list.

    Attributes:
        execution_id: its full id.
        ts: when it was opened, in microseconds since 1970-01-01 UTC.
        intent: the intent's name.
        version: the intent's version.
        strategy: the routing strategy.
        status: "success", "error" or "interrupted".
        agent: the agent whose answer it was; None if no single one's.
        duration_us: microseconds from the first entry to the last; None if it was interrupted.
        error_code: the code of the error it ended with; None if with none.
    """

    execution_id: str
    ts: int
    intent: str
    version: str
    strategy: str
    status: str
    agent: str | None
    duration_us: int | None
    error_code: str | None

    def as_dict(self) -> dict[str, Any]:
        """The row as the command line prints it."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in the order asked for, and the cursor of the next page; None on the last.

    With a damage, which is only there if it was asked for, there may be more that would fit: behind it, of
    what had not ended before it, and with a text in a value that is damaged.
    """

    rows: tuple[Row, ...]
    cursor: str | None
    damage: IntegrityBroken | None = None


@dataclass(frozen=True, slots=True)
class Openings:
    """First entries of executions, in the order asked for, and the cursor of the next page.

    A page that is full has one, though the next may be empty.
    """

    entries: tuple[Entry, ...] = ()
    cursor: str | None = None


class ExecutionStore(Protocol):
    """A log of executions, and what it takes to find them in it again."""

    @property
    def store_id(self) -> str:
        """32 hex digits that no other store has; the log's chain starts from them."""
        ...

    @property
    def durability(self) -> Durability:
        """How durable an entry is when an append returns that is not told otherwise."""
        ...

    @property
    def custody(self) -> Custody:
        """Who has an execution in hand."""
        ...

    def append(self, drafts: Sequence[Draft], *, durability: Durability | None = None) -> Sequence[int]:
        """Appends entries, all or none, one directly after the other.

        Args:
            drafts: what to append.
            durability: how durable they are when this returns; None as the store was told.

        Returns:
            Their seqs; with "async" nothing, because they are not known yet.

        Raises:
            StoreWriteFailed: nothing of it is in the log.
            StorePoisoned: whether it is in the log is unknown.
            IntegrityBroken: the end of the log is damaged; nothing was changed.
        """
        ...

    def sync(self) -> None:
        """Returns when everything that was appended is on disk.

        Raises:
            StorePoisoned: whether it is there is unknown.
        """
        ...

    def get(self, execution_id: str) -> ExecutionRecord:
        """One execution by its full id.

        Raises:
            RecordNotFound: there is none.
            IntegrityBroken: its lines, or lines that may be its own, are not what was written.
        """
        ...

    def get_many(self, execution_ids: Sequence[str]) -> list[ExecutionRecord]:
        """Several executions by their full ids, in that order: for less than as many times `get`.

        All of them are in memory at once, so ask for some hundreds at a time.

        Raises:
            RecordNotFound: there is no execution of one of them.
            IntegrityBroken: as `get`, for any of them.
        """
        ...

    def resolve(self, reference: str) -> str:
        """The full id that a reference means: an id, a unique prefix or suffix, ``@last`` or ``@last~N``.

        Raises:
            InvalidInput: it begins with ``@`` and means nothing.
            RecordNotFound: it fits none.
            AmbiguousReference: it fits several.
            IntegrityBroken: it may fit lines that are not what was written.
        """
        ...

    def list(self, query: Query = EVERYTHING) -> Page:
        """The executions that a query asks for, newest first unless it says otherwise.

        Raises:
            IntegrityBroken: lines that would be shown, or may have to be, are not what was written; with
                `despite_damage`, only if not even the lines before those can be told.
        """
        ...

    def holder(self, key: str) -> str | None:
        """The execution opened last of those that may hold an idempotency key, whatever became of it.

        Those are executions without a parent whose plan calls somebody; see `idempotency.digest_of_opened`.

        Args:
            key: from `idempotency.key_digest`.

        Returns:
            Its id; None if there is none.

        Raises:
            IntegrityBroken: the log is damaged, so that nobody knows.
        """
        ...

    def openings(self, query: Query = EVERYTHING) -> Openings:
        """The first entries of the executions that a query asks for: envelopes and plans, by the thousand.

        Raises:
            IntegrityBroken: as `list`; whatever the query says, damage is an error.
        """
        ...

    def entries(self, execution_id: str) -> tuple[Entry, ...]:
        """One execution's entries in the order of the log; raises what `get` raises."""
        ...

    def follow(self, since_us: int) -> Follower:
        """Reads the log as it grows, each line checked, without what is derived from it.

        Args:
            since_us: lines before that time, in microseconds since 1970-01-01 UTC, may be left out.
        """
        ...

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """Checks the whole log and changes nothing.

        Args:
            progress: called now and then with the number of bytes checked and the number of all.
        """
        ...

    def close(self) -> None:
        """Gives back files and locks; what was appended stays. Later calls do nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None: ...
