"""`Spending`: the numbers of the budgets that a policy compares, as they are when a request is planned.

A runtime knows what its own executions have used up, and what was on record when it planned its first one.
What other processes do on the same store after that is not looked for: the log is not ordered by when
executions end, so that every look would cost a search.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final

from intentusnet.envelope import IntentEnvelope
from intentusnet.ids import Clock
from intentusnet.ledger import Ledger, Whose
from intentusnet.policy.rules import Budget
from intentusnet.record import ExecutionRecord
from intentusnet.stores.base import MAX_LIMIT, ExecutionStore, Query
from intentusnet.sums import Number

#: An execution is found that ended in a window if it was opened no longer than that before it.
_LONGEST_US: Final = 3_600_000_000
#: Records that are in memory at once.
_AT_ONCE: Final = 100


class Spending:
    """What has been used up by whom; mutable, for any number of threads.

    Args:
        budgets: those that the policy compares.
        store: where earlier executions are; None for nowhere.
        clock: says when windows end.
    """

    def __init__(self, budgets: Iterable[Budget], store: ExecutionStore | None, clock: Clock) -> None:
        self._budgets = tuple(budgets)
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._ledger: Ledger | None = None

    @property
    def is_ready(self) -> bool:
        """Whether what is on record has been read."""
        return self._ledger is not None

    def get_ready(self) -> Ledger:
        """Reads what is on record, the first time. An execution begins after that, or it would count twice.

        Raises:
            IntegrityBroken: the log is damaged.
        """
        ledger = self._ledger
        if ledger is not None:
            return ledger
        with self._lock:
            if self._ledger is None:
                ledger = Ledger(self._budgets)
                for record in () if self._store is None else self._records(self._store):
                    assert record.closed_us is not None
                    ledger.add(record.closed_us, _whose_record(record), record.usage)
                self._ledger = ledger
            return self._ledger

    def of(self, envelope: IntentEnvelope) -> dict[str, Number | None]:
        """The numbers that a request is planned with, by the names of their budgets; see `Ledger.sums`.

        Raises:
            IntegrityBroken: as `get_ready`.
        """
        return self.get_ready().sums(self._clock.time_us(), _whose(envelope))

    def add(self, envelope: IntentEnvelope, usage: Mapping[str, Number]) -> None:
        """Takes note of what an execution has used up that has just ended."""
        if usage:
            self.get_ready().add(self._clock.time_us(), _whose(envelope), usage)

    def _records(self, store: ExecutionStore) -> Iterator[ExecutionRecord]:
        """Those that ended in the longest window, newest first, and others."""
        longest = max(budget.window_us for budget in self._budgets)
        since = max(0, self._clock.time_us() - longest - longest // 32 - _LONGEST_US)
        # Who has told of usage has the word in an entry, and to look for it costs less than to read all.
        query = Query(since_us=since, text="usage", limit=MAX_LIMIT)
        while True:
            page = store.list(query)
            ended = (row.execution_id for row in page.rows if row.duration_us is not None)
            while ids := list(islice(ended, _AT_ONCE)):
                yield from store.get_many(ids)
            if page.cursor is None:
                return
            query = replace(query, cursor=page.cursor)


def _whose(envelope: IntentEnvelope) -> Whose:
    return Whose(envelope.caller.name, envelope.caller.tenant, envelope.intent.name)


def _whose_record(record: ExecutionRecord) -> Whose:
    caller = record.envelope_tree["caller"]
    return Whose(caller["name"], caller["tenant"], record.intent)
