"""`Request`: one execution to be made, on its way to the router, and in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from intentusnet.envelope import IntentEnvelope
from intentusnet.log.durability import Durability
from intentusnet.record import ParentLink
from intentusnet.response import ErrorInfo
from intentusnet.routing.control import Control
from intentusnet.routing.keys import InFlight
from intentusnet.routing.limits.gates import Holding

#: A point in time that never comes; see `Request.until_us`.
NO_LIMIT: Final = -1


# A plain class, because one is made at the door and one in the router for every execution: frozen ones, and
# tuples, take longer.
@dataclass(slots=True)
class Request:
    """One execution to be made. Nobody changes one that has been handed over.

    Attributes:
        envelope: what is asked for.
        payload: its payload, encoded.
        parent: which question of which execution asks for it.
        depth: how many executions it is nested in.
        durability: "disk", "os" or "async" for this execution; None for the store's own.
        control: whether it may go on: its own once it is under way, before that the one of who asks for it.
            None where nobody can stop it, as in a replay.
        holding: the limits in which it, or who asks for it, has a place.
        refusal: why its payload is refused at the door; then `payload` is what stands for it in the record.
        in_flight: whether it waits, or is refused, while an execution with its idempotency key is under way;
            None for the runtime's own choice.
        resumes: the interrupted execution that is to be brought to its end instead of making another one.
        until_us: of an execution that is resumed for the one that had asked for it, when the time is up that
            this one has now, in microseconds since 1970-01-01 UTC, or `NO_LIMIT`: it stands for the deadline
            on record. None for the envelope's deadline.
    """

    envelope: IntentEnvelope
    payload: bytes
    parent: ParentLink | None = None
    depth: int = 0
    durability: Durability | None = None
    control: Control | None = None
    holding: Holding = ()
    refusal: ErrorInfo | None = None
    in_flight: InFlight | None = None
    resumes: str | None = None
    until_us: int | None = None

    @property
    def is_keyed(self) -> bool:
        """Whether it has an idempotency key that counts: that of a child is only handed to its agents.

        Nor does that of a request which is refused at the door, so that nobody is called for it.
        """
        return self.parent is None and self.refusal is None and self.envelope.idempotency_key is not None

    @property
    def deadline_us(self) -> int | None:
        """When its time is up, in microseconds since 1970-01-01 UTC; None if it has no limit."""
        if self.until_us is not None:
            return None if self.until_us == NO_LIMIT else self.until_us
        deadline = self.envelope.deadline
        return None if deadline is None else round(deadline.timestamp() * 1_000_000)

    def under(self, control: Control, taken: Holding = ()) -> Request:
        """The same request with that control, and with places in limits beside those that it has."""
        if control is self.control and not taken:
            return self
        return Request(
            self.envelope,
            self.payload,
            self.parent,
            self.depth,
            self.durability,
            control,
            (*self.holding, *taken) if taken else self.holding,
            self.refusal,
            self.in_flight,
            self.resumes,
            self.until_us,
        )
