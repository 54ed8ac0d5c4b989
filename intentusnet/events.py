"""What happens in an execution while it runs, as hooks are told of it (`Hook.on_event`): frozen data.

In one execution, `ExecutionOpened` comes first. Of an attempt, `AttemptBegan` is told, then `AttemptEnded` or
`AttemptCutOff`; one that was not called has no beginning. Last comes `ExecutionClosed`, or
`ExecutionInterrupted`; only `AttemptLeftBehind` may follow that.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from intentusnet.record import ParentLink

#: Why an execution is run.
Origin = Literal["route", "resume", "fork"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that has just happened in an execution.

    Attributes:
        execution_id: of the execution.
        number: its place among the events of the execution in this run, from 0. Concurrent attempts are told
            of by threads of their own, so that a hook may be called in another order.
        ts: when it happened, in microseconds since 1970-01-01 UTC.
        intent: the name of the execution's intent.
        kind: the kind of event in one word, the same for each of its class.
    """

    kind: ClassVar[str] = ""

    execution_id: str
    number: int
    ts: int
    intent: str

    def tree(self) -> dict[str, Any]:
        """The event as JSON can have it: its fields, and its kind as ``event``."""
        return {"event": self.kind, **dataclasses.asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOpened(Event):
    """An execution has begun, or goes on.

    Attributes:
        version: of the intent.
        caller, tenant: who asks, and for whom.
        strategy: how agents are called.
        steps: the agents that may be called, in the order of the plan.
        depth: how many executions it is nested in.
        parent: the question of another execution that it is to answer.
        origin: "route", "resume" (its beginning is on record already) or "fork".
    """

    kind: ClassVar[str] = "opened"

    version: str
    caller: str
    tenant: str | None
    strategy: str
    steps: tuple[str, ...]
    depth: int
    parent: ParentLink | None
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBegan(Event):
    """An agent is about to be called.

    Attributes:
        attempt: the number of the attempt: the agent's place in the plan.
        agent: its name.
    """

    kind: ClassVar[str] = "began"

    attempt: int
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(Event):
    """An attempt has its answer.

    Attributes:
        attempt, agent: as of `AttemptBegan`.
        ok: whether the agent succeeded.
        code, message: why it did not; None if it did.
        called: whether the agent was called now. Otherwise its answer is on record from an earlier run, or is
            the router's own, as when the deadline had passed.
        took_us: microseconds from its beginning; None if it was not called.
    """

    kind: ClassVar[str] = "ended"

    attempt: int
    agent: str
    ok: bool
    code: str | None
    message: str | None
    called: bool
    took_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptCutOff(Event):
    """An attempt is not waited for any longer: late, cancelled, lost, or another one has won the race.

    Attributes:
        attempt, agent: as of `AttemptBegan`.
        code, message: IN_DOUBT if it may have acted, and why it was cut off.
        took_us: microseconds from its beginning; None if it had none.
    """

    kind: ClassVar[str] = "cut_off"

    attempt: int
    agent: str
    code: str
    message: str
    took_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRetried(Event):
    """A call has failed, and is repeated after a while. That is an attempt of its own.

    Attributes:
        attempt, agent: as of `AttemptBegan`; of the call that has failed.
        again: the number of the attempt that repeats it.
        delay_us: microseconds until then.
    """

    kind: ClassVar[str] = "retried"

    attempt: int
    agent: str
    again: int
    delay_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptQueued(Event):
    """A call, or the execution as a whole, has to wait for a place; see docs/limits.md.

    Attributes:
        agent: who is to be called; None for the execution.
        place: in the queue, from 1.
        estimate_us: how long it may take, in microseconds.
    """

    kind: ClassVar[str] = "queued"

    agent: str | None
    place: int
    estimate_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLeftBehind(Event):
    """A thread or task that was cut off still runs; see `IntentusRuntime.abandoned`.

    Attributes:
        attempt, agent: as of `AttemptBegan`.
    """

    kind: ClassVar[str] = "left_behind"

    attempt: int
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionClosed(Event):
    """An execution has its end, and that is on record if anything is.

    Attributes:
        status: "success" or "error".
        agent: whose answer it is, if it is a single one's.
        code, message: why it failed; None if it did not.
        fingerprint: see `AgentResponse`.
        took_us: microseconds from `ExecutionOpened`.
    """

    kind: ClassVar[str] = "closed"

    status: Literal["success", "error"]
    agent: str | None
    code: str | None
    message: str | None
    fingerprint: str | None
    took_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionInterrupted(Event):
    """An execution ends without an outcome, and may be resumed: the store has failed, or Ctrl-C came.

    Attributes:
        type: the class of what `route` raises.
        message: its message.
        took_us: microseconds from `ExecutionOpened`.
    """

    kind: ClassVar[str] = "interrupted"

    type: str
    message: str
    took_us: int
