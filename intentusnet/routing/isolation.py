"""How an agent's body is run: the one seam through which agents are called.

Whatever the agent does, an `Answer` comes out: a value of its output type, or an `ErrorInfo`. Only signals
of the router itself, and the user's Ctrl-C, pass through.
"""

from __future__ import annotations

from typing import Any

from intentusnet.agents import Agent
from intentusnet.errors import ControlSignal, InvalidInput, UnrecordableValue
from intentusnet.response import ErrorCode, ErrorInfo
from intentusnet.transcript import Answer


def call_inline(agent: Agent, payload: bytes, context: Any) -> Answer:
    """Calls an agent in the caller's thread, with a payload that is its own copy.

    Args:
        agent: whom to call.
        payload: the encoded payload; decoded, and validated against the agent's type, for this call alone.
        context: handed to the agent if it asks for one.
    """
    try:
        argument = agent.input.decode(payload)
    except InvalidInput as fault:
        return _failed(_misfit(agent, fault))
    try:
        result = agent.call(argument, context)
    except (ControlSignal, KeyboardInterrupt):
        raise
    except BaseException as fault:  # noqa: BLE001 - exceptions of agents never escape the router
        return _failed(ErrorInfo.from_exception(fault))
    try:
        return Answer(ok=True, data=agent.output.encode(result))
    except UnrecordableValue as fault:
        return _failed(
            ErrorInfo(
                code=ErrorCode.INTERNAL_AGENT_ERROR,
                message=f"agent {agent.name!r} returned what it may not: {fault}",
                type=type(fault).__name__,
                details=dict(fault.as_dict()),
            )
        )


def _failed(error: ErrorInfo) -> Answer:
    return Answer(ok=False, data=error.encode())


def _misfit(agent: Agent, fault: InvalidInput) -> ErrorInfo:
    return ErrorInfo(
        code=ErrorCode.VALIDATION_ERROR,
        message=f"the payload does not fit agent {agent.name!r}: {fault}",
        details={"agent": agent.name, "faults": getattr(fault, "faults", [fault.as_dict()])},
    )
