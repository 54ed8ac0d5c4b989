"""`AgentResponse` and `ErrorInfo`: how an execution ended, as its caller sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict

from intentusnet import values
from intentusnet.errors import AgentFailure, UnrecordableValue

#: Addresses in default reprs differ from run to run; a recorded message must not.
_ADDRESS: Final = re.compile(r" at 0x[0-9A-Fa-f]+")


class ErrorCode(StrEnum):
    """What kind of failure it was."""

    VALIDATION_ERROR = "VALIDATION_ERROR"
    AGENT_ERROR = "AGENT_ERROR"
    ROUTING_ERROR = "ROUTING_ERROR"
    CAPABILITY_NOT_FOUND = "CAPABILITY_NOT_FOUND"
    AGENT_TIMEOUT = "AGENT_TIMEOUT"
    AGENT_UNAVAILABLE = "AGENT_UNAVAILABLE"
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    TRANSPORT_ERROR = "TRANSPORT_ERROR"
    UNAUTHORIZED = "UNAUTHORIZED"
    POLICY_DENIAL = "POLICY_DENIAL"
    RATE_LIMIT = "RATE_LIMIT"
    INTERNAL_AGENT_ERROR = "INTERNAL_AGENT_ERROR"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    WORKFLOW_ABORTED = "WORKFLOW_ABORTED"
    CANCELLED = "CANCELLED"
    IN_DOUBT = "IN_DOUBT"


class ErrorInfo(BaseModel):
    """Why an execution, or one attempt of it, failed.

    Args:
        code: what kind of failure it was.
        message: what happened, for a person.
        type: the exception's class name, where an exception was the cause.
        details: whatever else helps, recordable.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: ErrorCode
    message: str
    type: str | None = None
    details: dict[str, Any] = {}

    @classmethod
    def from_exception(cls, fault: BaseException) -> Self:
        """What an agent's exception says; an `AgentFailure` brings its own code, alone in a group too."""
        fault = _only_failure(fault)
        message, kind = message_of(fault), _printable(type(fault).__qualname__)
        if not isinstance(fault, AgentFailure):
            return cls(code=ErrorCode.AGENT_ERROR, message=message, type=kind)
        code = ErrorCode.AGENT_ERROR
        try:
            # A subclass that does not call its parent's constructor has neither of the two.
            said, details = getattr(fault, "code", None), getattr(fault, "details", {})
            code = next((known for known in ErrorCode if isinstance(said, str) and known == said), code)
            copied = recordable_details(details)
        except Exception as broken:  # noqa: BLE001 - a foreign property may raise anything
            copied = {"unrecordable": f"they cannot be read: {_printable(type(broken).__qualname__)}"}
        return cls(code=code, message=message, type=kind, details=copied)

    def tree(self) -> dict[str, Any]:
        """The error as a raw tree."""
        return {
            "code": self.code.value,
            "details": values.tree(self.details),
            "message": values.tree(self.message),
            "type": self.type,
        }

    def encode(self) -> bytes:
        """The error as bytes."""
        return values.dumps(self.tree())

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The error that `tree` wrote."""
        return cls(
            code=ErrorCode(tree["code"]),
            message=values.untag(tree["message"]),
            type=tree["type"],
            details=values.untag(tree["details"]),
        )


def recordable_details(details: object) -> dict[str, Any]:
    """A copy of an error's details; if they cannot be recorded, why not."""
    try:
        copied = values.decode(values.encode(details))
        if type(copied) is not dict or not all(type(key) is str for key in copied):
            raise UnrecordableValue("the details are no dict with names as keys")
    except UnrecordableValue as why:
        return unrecordable(why)
    return copied


def unrecordable(why: UnrecordableValue) -> dict[str, Any]:
    """What stands for the details of an `AgentFailure` that cannot be recorded."""
    return {"unrecordable": str(why)}


def _only_failure(fault: BaseException) -> BaseException:
    """The `AgentFailure` that is all there is in a group, such as of `asyncio.TaskGroup`; else the fault."""
    inner = fault
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner if isinstance(inner, AgentFailure) else fault


def message_of(fault: BaseException) -> str:
    """The exception's message, the same in every run: memory addresses are left out."""
    try:
        text = str.__str__(str(fault))
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # noqa: BLE001 - a foreign __str__ may raise anything
        text = f"<the message cannot be shown: {_printable(type(broken).__name__)}>"
    return _ADDRESS.sub(" at 0x…", text)


def _printable(name: str) -> str:
    # A class can be made with any name.
    return name.encode("utf-8", "backslashreplace").decode()


class AttemptSummary(BaseModel):
    """One agent that was called, and how it ended."""

    model_config = ConfigDict(frozen=True)

    agent: str
    status: Literal["success", "error"]
    error: ErrorInfo | None = None

    @staticmethod
    def of(agent: str, ok: bool, data: bytes) -> AttemptSummary:
        """From an agent's answer on record."""
        if ok:
            return _succeeded(agent)
        return AttemptSummary(agent=agent, status="error", error=ErrorInfo.from_tree(values.parse(data)))

    def tree(self) -> dict[str, Any]:
        """The attempt as a raw tree."""
        return {
            "agent": self.agent,
            "error": None if self.error is None else self.error.tree(),
            "status": self.status,
        }

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The attempt that `tree` wrote."""
        error = tree["error"]
        return cls(
            agent=tree["agent"],
            status=tree["status"],
            error=None if error is None else ErrorInfo.from_tree(error),
        )


# Agents are few and succeed again and again; the summary is frozen, so one serves all.
@lru_cache(maxsize=1024)
def _succeeded(agent: str) -> AttemptSummary:
    return AttemptSummary(agent=agent, status="success")


class AgentResponse(BaseModel):
    """How an execution ended.

    Args:
        execution_id: names its record.
        status: "success" or "error".
        agent: the agent whose answer it is; None where no single agent's is.
        payload: the answer: recordable plain values; a list of outcomes for broadcast.
        error: why it failed.
        attempts: every agent that was called, in the order of the plan.
        fingerprint: SHA-256 (hex) of what the execution asked, was told and answered; None if not recorded.
        from_record: an earlier execution had answered the same request with the same idempotency key: this is
            its response, and nobody was called.
    """

    model_config = ConfigDict(frozen=True)

    execution_id: str
    status: Literal["success", "error"]
    agent: str | None = None
    payload: Any = None
    error: ErrorInfo | None = None
    attempts: tuple[AttemptSummary, ...] = ()
    fingerprint: str | None = None
    from_record: bool = False

    @property
    def ok(self) -> bool:
        """Whether the execution succeeded."""
        return self.status == "success"

    def tree(self) -> dict[str, Any]:
        """The response as a raw tree.

        Its execution's id is a name, not content, and where it was found is none either: both are left out.
        """
        return {
            "agent": self.agent,
            "attempts": [attempt.tree() for attempt in self.attempts],
            "error": None if self.error is None else self.error.tree(),
            "fingerprint": self.fingerprint,
            "payload": values.tree(self.payload),
            "status": self.status,
        }

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], execution_id: str) -> Self:
        """The response that `tree` wrote."""
        error = tree["error"]
        return cls(
            execution_id=execution_id,
            status=tree["status"],
            agent=tree["agent"],
            payload=values.untag(tree["payload"]),
            error=None if error is None else ErrorInfo.from_tree(error),
            attempts=tuple(AttemptSummary.from_tree(attempt) for attempt in tree["attempts"]),
            fingerprint=tree["fingerprint"],
        )
