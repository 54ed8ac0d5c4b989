"""`Spending`: the numbers of the budgets that a policy compares, as they are when a request is planned.

What executions on record have used up is read from the log, whoever has recorded them: first what lies in the
longest window, then, before each plan, what has come since. The log alone is believed, each line of it
checked against the one before: the index, which anyone who can write files could make forget something, is
not asked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from intentusnet import values
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import IntegrityBroken
from intentusnet.ids import Clock
from intentusnet.ledger import Ledger, Whose
from intentusnet.log.following import Follower, Line
from intentusnet.policy.rules import Budget
from intentusnet.record import usage_of
from intentusnet.references import MARK
from intentusnet.stores.base import ExecutionStore
from intentusnet.sums import Number

#: What every entry has that tells of usage, and few others.
_TELLS: Final = b'"kind":"usage"'
#: Executions that have not ended, of which what they have told is kept.
_MOST_OPEN: Final = 65_536


class _Told(NamedTuple):
    """An entry about usage, as `usage_of` wants it."""

    kind: str
    arguments: bytes


class Spending:
    """What has been used up by whom; mutable, for any number of threads.

    Args:
        budgets: those that the policy compares.
        store: where executions are recorded; None for nowhere.
        clock: says when windows end.
    """

    def __init__(self, budgets: Iterable[Budget], store: ExecutionStore | None, clock: Clock) -> None:
        self._budgets = tuple(budgets)
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._begin()

    @property
    def is_ready(self) -> bool:
        """Whether all that is on record has been read."""
        return self._store is None or (self._follower is not None and not self._follower.has_more())

    def get_ready(self) -> Ledger:
        """Reads what has come to the log since the last time; the first time, what may lie in a window.

        Raises:
            IntegrityBroken: the log is damaged.
        """
        with self._lock:
            if self._store is not None:
                began = self._follower is not None
                try:
                    self._read(self._store)
                except IntegrityBroken:
                    self._begin()
                    if not began:
                        raise
                    self._read(self._store)  # somebody may have repaired it
            return self._ledger

    def of(self, envelope: IntentEnvelope) -> dict[str, Number | None]:
        """The numbers that a request is planned with, by the names of their budgets; see `Ledger.sums`.

        Raises:
            IntegrityBroken: as `get_ready`.
        """
        ledger = self._ledger
        if not self.is_ready:
            ledger = self.get_ready()
        whose = Whose(envelope.caller.name, envelope.caller.tenant, envelope.intent.name)
        return ledger.sums(self._clock.time_us(), whose)

    def add(self, envelope: IntentEnvelope, usage: Mapping[str, Number]) -> None:
        """Takes note of what an execution has used up that has just ended, if that is nowhere on record."""
        if usage and self._store is None:
            whose = Whose(envelope.caller.name, envelope.caller.tenant, envelope.intent.name)
            self._ledger.add(self._clock.time_us(), whose, usage)

    def _begin(self) -> None:
        self._ledger = Ledger(self._budgets)
        self._follower: Follower | None = None
        # What has been read of executions that have not ended: the opening, and what it has told of usage.
        self._open: dict[bytes, list[bytes]] = {}

    def _read(self, store: ExecutionStore) -> None:
        if self._follower is None:
            longest = max(budget.window_us for budget in self._budgets)
            since_us = self._clock.time_us() - longest - longest // 32
            follower = store.follow(since_us)
        else:
            follower = self._follower
        for line in follower.lines():
            self._take(line, store)
        self._follower = follower

    def _take(self, line: Line, store: ExecutionStore) -> None:
        execution = line.execution
        if line.kind == b"opened":
            if len(self._open) >= _MOST_OPEN:
                del self._open[next(iter(self._open))]
            self._open[execution] = [line.body]
        elif line.kind == b"closed":
            told = self._open.pop(execution, None)
            if told is None or any(MARK in body for body in told[1:]):
                # Opened before the window, or too long ago; or it has told more than fits into an entry.
                record = store.get(execution.decode())
                self._add(line.ts, record.envelope_tree, record.usage)
            elif len(told) > 1:
                self._add(line.ts, values.parse(told[0])["envelope"], _usage(told[1:]))
        elif line.kind == b"answered" and _TELLS in line.body:
            told = self._open.get(execution)
            if told is not None:
                told.append(line.body)

    def _add(self, at_us: int, envelope: Mapping[str, Any], usage: Mapping[str, Number]) -> None:
        caller = envelope["caller"]
        self._ledger.add(at_us, Whose(caller["name"], caller["tenant"], envelope["intent"]["name"]), usage)


def _usage(bodies: Iterable[bytes]) -> Mapping[str, Number]:
    trees = [values.parse(body) for body in bodies]
    return usage_of(
        _Told("usage", values.dumps(tree["arguments"])) for tree in trees if tree.get("kind") == "usage"
    )
