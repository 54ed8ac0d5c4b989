"""`Keys`: requests with an idempotency key, each of which is executed once.

The record says all: an execution holds its key because it is on record with it. So all that is needed beside
the log is that two requests do not look for the holder at once, and both find none: whoever finds none looks
again under the lock of the key, and keeps that until his own execution is on record. The lock is the one by
which an execution is claimed (see ``stores.custody``): the kernel gives it back when its process ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from enum import Enum
from typing import Any, Final, Generic, Literal, TypeVar

from intentusnet import values
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import IntegrityBroken, InvalidInput, StillRunning
from intentusnet.idempotency import differing, digest_of_opened, has_done_something, key_digest
from intentusnet.ids import Clock
from intentusnet.record import ExecutionRecord
from intentusnet.refusals import describe
from intentusnet.response import AgentResponse, ErrorCode, ErrorInfo
from intentusnet.routing.control import TASK_CANCELLED, Control
from intentusnet.routing.drivers import OffLoop
from intentusnet.stores.base import ExecutionStore

T = TypeVar("T")

#: What becomes of a request whose key is held by an execution that is under way.
InFlight = Literal["wait", "refuse"]

#: Seconds between the first two looks at an execution that is under way. Each pause is twice the one before,
#: so that nobody waits for twice as long as needed, up to the longest.
_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.1


class _Key(Enum):
    """What a key is that has nothing to say to a request yet."""

    FREE = "free"
    BUSY = "busy"


def check_in_flight(choice: object) -> None:
    """Raises InvalidInput if there is no such choice; None is "as the runtime was told"."""
    if choice is not None and (type(choice) is not str or choice not in ("wait", "refuse")):
        raise InvalidInput(
            "there is no such choice", where="in_flight", expected="'wait' or 'refuse'", got=describe(choice)
        )


class Keys:
    """Finds out what becomes of requests with an idempotency key.

    Args:
        store: where executions are.
        clock: for deadlines.
        in_flight: what becomes of requests that do not say it themselves.
    """

    def __init__(self, store: ExecutionStore, clock: Clock, in_flight: InFlight) -> None:
        self._in_flight: InFlight = in_flight
        self._store = store
        self._clock = clock

    def asked(
        self,
        envelope: IntentEnvelope,
        payload: bytes,
        in_flight: InFlight | None,
        begin: Callable[[ErrorInfo | None], T],
    ) -> Keyed[T]:
        """A request with a key.

        Args:
            envelope: of the request.
            payload: encoded.
            in_flight: see `InFlight`; None as the runtime was told.
            begin: begins its execution, or that of its refusal. When it returns, the first one is on record.
        """
        return Keyed(self._store, self._clock, envelope, payload, in_flight or self._in_flight, begin)


class Keyed(Generic[T]):
    """A request with an idempotency key; see `Keys.asked`."""

    def __init__(
        self,
        store: ExecutionStore,
        clock: Clock,
        envelope: IntentEnvelope,
        payload: bytes,
        in_flight: InFlight,
        begin: Callable[[ErrorInfo | None], T],
    ) -> None:
        assert envelope.idempotency_key is not None
        self._store = store
        self._clock = clock
        self._key = envelope.idempotency_key
        self._digest = key_digest(envelope.caller.tenant, envelope.caller.name, self._key)
        self._asked = values.parse(envelope.encode(payload))
        deadline = envelope.deadline
        self._until_us = None if deadline is None else round(deadline.timestamp() * 1_000_000)
        self._waits = in_flight == "wait"
        self._begin = begin

    def once(self) -> T | AgentResponse:
        """Begins the execution, unless there is one.

        Returns:
            What has begun, to be driven to its end; or the response that is on record.

        Raises:
            IntegrityBroken: the log is damaged; nothing has begun.
            StoreWriteFailed: the key's lock cannot be taken; nothing has begun.
            Exception: as `begin`.
        """
        pauses = self._pauses()
        while (found := self._look()) is None:
            threading.Event().wait(next(pauses))
        return found

    async def once_async(self, off_loop: OffLoop, control: Control) -> T | AgentResponse:
        """The same for asynchronous callers, whose loop goes on meanwhile.

        Args:
            off_loop: calls what may wait for a disk.
            control: of what would begin.

        Raises:
            CancelledError: the task was cancelled, and nothing has begun.
            Exception: as `once`.
        """
        from asyncio import CancelledError, sleep

        from intentusnet.routing.awaiting import finished

        pauses = self._pauses()
        while True:
            found = await finished(off_loop(self._look), control)
            if control.is_task_cancelled and (found is None or isinstance(found, AgentResponse)):
                raise CancelledError(TASK_CANCELLED)
            if found is not None:
                return found
            await sleep(next(pauses))

    def _look(self) -> T | AgentResponse | None:
        """What becomes of the request; None if it has to look again after a pause. May wait for a disk."""
        found = self._find()
        if found is _Key.FREE:
            with ExitStack() as claimed:
                try:
                    claimed.enter_context(self._store.custody.claim(self._digest))
                except StillRunning:
                    found = self._busy("")  # somebody else has found it free, and is about to begin
                else:
                    found = self._find()
                    if found is _Key.FREE:
                        return self._begin(None)
        if isinstance(found, _Key):
            return None
        return found if isinstance(found, AgentResponse) else self._begin(found)

    def _pauses(self) -> Iterator[float]:
        """Seconds to wait between looks."""
        pause = _FIRST_PAUSE
        while True:
            yield pause if self._until_us is None else min(pause, self._left_us() / 1_000_000)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _find(self) -> AgentResponse | ErrorInfo | _Key:
        store = self._store
        name = store.holder(self._digest)
        if name is None:
            return _Key.FREE
        record = store.get(name)
        running = record.outcome is None and store.custody.is_running(name, record.runner)
        if record.outcome is None and not running:
            # Looked at in this order, one that has ended meanwhile is not taken for interrupted.
            record = store.get(name)
        self._check(record)
        if record.outcome is not None and not has_done_something(record):
            return _Key.FREE
        differs = differing(record.envelope_tree, self._asked)
        if differs:
            return self._conflict(name, differs)
        if record.outcome is not None:
            return record.response.model_copy(update={"from_record": True})
        return self._busy(name) if running else self._in_doubt(name)

    def _check(self, record: ExecutionRecord) -> None:
        """Checks that the record itself says what the store says of it, whatever that has looked up."""
        opened = {"envelope": record.envelope_tree, "parent": record.parent, "plan": record.plan_tree}
        if digest_of_opened(opened) != self._digest:
            raise IntegrityBroken(
                "the store names an execution as the holder of an idempotency key that it does not have",
                where=f"execution {record.execution_id}",
                expected=repr(self._key),
                got=repr(record.envelope_tree["idempotency_key"]),
            )

    def _busy(self, name: str) -> ErrorInfo | _Key:
        """What becomes of the request while that execution is under way; its name may not be known yet."""
        if name and not self._waits:
            message = (
                f"no agent was called: execution {name} has idempotency key {self._key!r}, and still runs"
            )
            return self._refusal(ErrorCode.AGENT_UNAVAILABLE, message, name)
        if self._until_us is not None and self._left_us() == 0:
            message = (
                "no agent was called: the envelope's deadline passed while another execution with"
                f" idempotency key {self._key!r} was under way"
            )
            return self._refusal(ErrorCode.AGENT_TIMEOUT, message, name)
        return _Key.BUSY

    def _conflict(self, name: str, differs: list[str]) -> ErrorInfo:
        message = (
            f"idempotency key {self._key!r} belongs to another request, that of execution {name}:"
            f" {', '.join(differs)} {'differs' if len(differs) == 1 else 'differ'}"
        )
        return self._refusal(ErrorCode.VALIDATION_ERROR, message, name, differs=differs)

    def _in_doubt(self, name: str) -> ErrorInfo:
        message = (
            f"execution {name}, which has idempotency key {self._key!r}, was interrupted: what it has done is"
            " unknown until it is resumed, and `intentusnet recover` says whether it can be"
        )
        return self._refusal(ErrorCode.IN_DOUBT, message, name)

    def _refusal(self, code: ErrorCode, message: str, name: str, **more: Any) -> ErrorInfo:
        details = {"execution_id": name or None, "idempotency_key": self._key, **more}
        return ErrorInfo(code=code, message=message, details=details)

    def _left_us(self) -> int:
        """Microseconds until the deadline, which there must be."""
        assert self._until_us is not None
        return max(0, self._until_us - self._clock.time_us())
