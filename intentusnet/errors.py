"""Every error that this package raises on purpose: one tree, drawn here.

An error says what happened, where (a path into the value, a file, a seq), what was expected, what was found
and what to do about it. Each class has a ``code`` (stable, for programs) and an ``exit_code`` (section
"Exit codes" of docs/cli-json.md)::

    IntentusError
    ├── InvalidInput              2   something handed to us is malformed
    │   ├── UnrecordableValue     2   a value that cannot be written down without changing it
    │   │   └── PayloadTooLarge   2   it is larger, or nested deeper, than the runtime allows
    │   ├── InvalidEnvelope       2
    │   ├── InvalidPolicy         2
    │   └── AmbiguousReference    2   an id prefix or suffix that fits several executions
    ├── ConfigurationError       12   the set-up cannot be used
    │   ├── InvalidAgent         12   a registration that makes no sense
    │   ├── DuplicateAgent       12
    │   ├── AppNotLoaded         12
    │   └── StoreRefused         12   foreign directory, other format version, no permission
    ├── RecordNotFound           10
    ├── NotReplayable            11
    ├── InDoubt                  14   nothing is repeated until a person says what happened
    ├── StillRunning              1   not interrupted: somebody runs the execution
    ├── ContinuationDiverged      1   the code asks other questions than those on record
    ├── IntegrityBroken          13   bytes on disk are not what was written
    └── StoreWriteFailed         12   an append was cut back; nothing of it is in the log
        └── StorePoisoned        12   a failed fsync: the outcome of earlier appends is unknown

    AgentFailure                      raised *by agents* to fail with a code of their choice
    Refused                           raised *by guards* (`Hook.before`), which then let nobody be called

    ControlSignal (BaseException)     unwinds an agent that must not go on; never seen by callers
    ├── ReplayHalted                  the agent asked something that is not on record
    └── BranchCancelled               a race was won by another branch

    DeadlineExceeded (BaseException)  raised in agents by `Context.check`; becomes their answer
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self


class IntentusError(Exception):
    """Base of every error of this package.

    Args:
        message: what happened, one sentence without a full stop.
        where: the place: a path into the value, a file, a seq.
        expected: what would have been right.
        got: what was found.
        hint: what to do now.
    """

    code: ClassVar[str] = "INTENTUS_ERROR"
    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, where: str = "", expected: str = "", got: str = "", hint: str = ""
    ) -> None:
        self.message = message
        self.where = where
        self.expected = expected
        self.got = got
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        parts = [self.message]
        if self.where:
            parts.append(f"at {self.where}")
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.got:
            parts.append(f"got {self.got}")
        text = "; ".join(parts)
        return f"{text}. {self.hint}" if self.hint else text

    def as_dict(self) -> dict[str, str]:
        """The error as the command line prints it: code, message and whichever of the other parts are set."""
        parts = {
            "code": self.code,
            "message": self.message,
            "where": self.where,
            "expected": self.expected,
            "got": self.got,
            "hint": self.hint,
        }
        return {name: text for name, text in parts.items() if text}


class InvalidInput(IntentusError):
    """Something that the caller handed over is malformed.

    Attributes:
        misfits: where a value does not fit a type, each place of it, 20 at most: ``path`` (a JSON pointer),
            ``expected`` and ``got``, as text.
        total: how many such places there are; 0 where no value was checked against a type.
    """

    code = "INVALID_INPUT"
    exit_code = 2
    misfits: tuple[Mapping[str, str], ...] = ()
    total: int = 0

    def places(self) -> dict[str, Any]:
        """Every place that is told, and how many there are: ``{"faults": […], "total": …}``."""
        one = {"path": self.where, "expected": self.expected, "got": self.got}
        return {"faults": [dict(misfit) for misfit in self.misfits or (one,)], "total": self.total or 1}

    def told_of(self, other: InvalidInput) -> Self:
        """This error, about the same places as another one."""
        if other.misfits:
            self.misfits, self.total = other.misfits, other.total
        return self


class UnrecordableValue(InvalidInput):
    """A value that cannot be written down and read back as an equal value of the same type."""

    code = "UNRECORDABLE_VALUE"


class PayloadTooLarge(UnrecordableValue):
    """A value that is larger, or nested deeper, than the runtime, or any record, allows."""

    code = "PAYLOAD_TOO_LARGE"


class InvalidEnvelope(InvalidInput):
    """An intent envelope, or one of its fields, is malformed."""

    code = "INVALID_ENVELOPE"


class InvalidPolicy(InvalidInput):
    """A policy file is malformed; ``where`` is the path into it."""

    code = "INVALID_POLICY"


class AmbiguousReference(InvalidInput):
    """An id prefix or suffix fits several executions."""

    code = "AMBIGUOUS_REFERENCE"


class ConfigurationError(IntentusError):
    """The set-up cannot be used: settings, app, agents or store."""

    code = "CONFIGURATION_ERROR"
    exit_code = 12


class InvalidAgent(ConfigurationError):
    """An agent's registration makes no sense."""

    code = "INVALID_AGENT"


class DuplicateAgent(ConfigurationError):
    """An agent of that name is registered already."""

    code = "DUPLICATE_AGENT"


class AppNotLoaded(ConfigurationError):
    """``--app module:attr`` names nothing that can be used."""

    code = "APP_NOT_LOADED"


class StoreRefused(ConfigurationError):
    """The directory is no store of this format version, or cannot be used; it was left as it is."""

    code = "STORE_REFUSED"


class RecordNotFound(IntentusError):
    """No execution in the store fits the reference."""

    code = "RECORD_NOT_FOUND"
    exit_code = 10


class NotReplayable(IntentusError):
    """The record has no end, or is not complete enough to be run again."""

    code = "NOT_REPLAYABLE"
    exit_code = 11


class InDoubt(IntentusError):
    """Whether something happened is unknown, and repeating it could make it happen twice."""

    code = "IN_DOUBT"
    exit_code = 14


class StillRunning(IntentusError):
    """Another process, or another thread, has the execution in hand."""

    code = "STILL_RUNNING"


class ContinuationDiverged(IntentusError):
    """An execution cannot go on from its record, because code or policy are others than they were."""

    code = "CONTINUATION_DIVERGED"

    #: Each place that differs, as `Divergence`.
    divergences: tuple[Any, ...] = ()


class IntegrityBroken(IntentusError):
    """The bytes on disk are not what was written; ``where`` names the first bad place."""

    code = "INTEGRITY_BROKEN"
    exit_code = 13


class StoreWriteFailed(IntentusError):
    """An append failed and was cut back: nothing of it is in the log."""

    code = "STORE_WRITE_FAILED"
    exit_code = 12


class StorePoisoned(StoreWriteFailed):
    """A sync failed: whether earlier appends reached the disk is unknown until the store is opened again."""

    code = "STORE_POISONED"


class AgentFailure(Exception):
    """Raised by an agent that fails on purpose: "it did not happen, and this is why".

    Args:
        message: what went wrong.
        code: one of :class:`intentusnet.ErrorCode`.
        details: anything recordable that helps the caller.
    """

    def __init__(
        self, message: str, *, code: str = "AGENT_ERROR", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = dict(details or {})


class Refused(Exception):
    """Raised by a guard that lets an execution call nobody.

    Args:
        message: why, for the caller; it is on record.
        code: one of :class:`intentusnet.ErrorCode`, but not IN_DOUBT: nothing happened.
        details: anything recordable that helps the caller.
    """

    def __init__(
        self, message: str, *, code: str = "POLICY_DENIAL", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = dict(details or {})


class ControlSignal(BaseException):
    """Unwinds an agent that must not go on.

    A BaseException, so that an agent's ``except Exception`` cannot swallow it.
    """


class ReplayHalted(ControlSignal):
    """The agent asked something that is not on record, so no answer can be given."""


class BranchCancelled(ControlSignal):
    """This attempt is over (another one has won, or its time was up): what it would do next is not wanted."""


class ExecutionCancelled(ControlSignal):
    """Somebody has cancelled the execution."""


class DeadlineExceeded(BaseException):
    """The envelope's deadline has passed, and the agent has asked whether it may go on.

    A BaseException, so that an agent's ``except Exception`` cannot swallow it; but no signal: it becomes the
    attempt's answer, or an effect's.
    """


class ReplayWarning(UserWarning):
    """An execution that was just recorded does not replay: its agent meets the world without its context."""


class HookWarning(UserWarning):
    """A hook has raised. An execution goes on without an observer, and not at all without a guard."""
