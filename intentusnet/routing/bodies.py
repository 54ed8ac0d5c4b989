"""How an agent's body is called: the one seam through which all of them are.

Whatever the agent does, an `Answer` comes out: a value of its output type, or an `ErrorInfo`. Only signals
of the router itself, and the user's Ctrl-C, pass through.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from intentusnet import values
from intentusnet.agents import Agent
from intentusnet.errors import (
    ControlSignal,
    DeadlineExceeded,
    InvalidInput,
    PayloadTooLarge,
    UnrecordableValue,
)
from intentusnet.response import ErrorCode, ErrorInfo, message_of
from intentusnet.sizes import Sizes, refusal_of
from intentusnet.transcript import Answer

#: Of an error that is too large, so much of its message is kept.
_MOST_OF_A_MESSAGE: Final = 1000


def call_inline(agent: Agent, payload: bytes, context: Any, sizes: Sizes) -> Answer:
    """Calls an agent in the caller's thread, with a payload that is its own copy.

    Args:
        agent: whom to call.
        payload: the encoded payload; decoded, and validated against the agent's type, for this call alone.
        context: handed to the agent if it asks for one.
        sizes: how large its answer may be.
    """
    try:
        argument = agent.input.decode(payload)
    except InvalidInput as fault:
        return _failed(_misfit(agent, fault))
    try:
        result = agent.call(argument, context)
    except BaseException as fault:  # noqa: BLE001 - exceptions of agents never escape the router
        return _within_sizes(agent, _raised(agent, fault), sizes)
    return _within_sizes(agent, _returned(agent, result), sizes)


async def call_awaiting(agent: Agent, payload: bytes, context: Any, sizes: Sizes) -> Answer:
    """The same for an asynchronous agent, in the caller's task."""
    try:
        argument = agent.input.decode(payload)
    except InvalidInput as fault:
        return _failed(_misfit(agent, fault))
    try:
        result = agent.call(argument, context)
        if isinstance(result, Awaitable):
            result = await result
    except BaseException as fault:
        if is_cancellation(fault):
            raise
        return _within_sizes(agent, _raised(agent, fault), sizes)
    return _within_sizes(agent, _returned(agent, result), sizes)


def is_cancellation(fault: BaseException) -> bool:
    """Whether it is the cancellation of the task that runs, which is nobody's answer; else it is its own."""
    from asyncio import CancelledError, current_task

    task = current_task()
    return isinstance(fault, CancelledError) and task is not None and task.cancelling() > 0


def _raised(agent: Agent, fault: BaseException) -> Answer:
    # asyncio.TaskGroup makes a group of whatever unwinds it, or one of its tasks.
    signal = _within(fault, (ControlSignal, KeyboardInterrupt))
    if signal is not None:
        raise signal
    late = _within(fault, (DeadlineExceeded,))
    return _failed(ErrorInfo.from_exception(fault) if late is None else _late(agent, late))


def _within(fault: BaseException, kinds: tuple[type[BaseException], ...]) -> BaseException | None:
    """The fault, or the first of a group, nested however deep, that is of these kinds."""
    faults = [fault]
    while faults:
        one = faults.pop()
        if isinstance(one, kinds):
            return one
        if isinstance(one, BaseExceptionGroup):
            faults += reversed(one.exceptions)
    return None


def _returned(agent: Agent, result: Any) -> Answer:
    try:
        return Answer(True, agent.output.encode(result))
    except UnrecordableValue as fault:
        too_large = isinstance(fault, PayloadTooLarge)
        return _failed(
            ErrorInfo(
                code=ErrorCode.PAYLOAD_TOO_LARGE if too_large else ErrorCode.INTERNAL_AGENT_ERROR,
                message=f"agent {agent.name!r} returned what it may not: {_told(fault)}",
                type=type(fault).__name__,
                details={"agent": agent.name, **fault.places()},
            )
        )
    except BaseException as fault:  # noqa: BLE001 - what an agent returns can bring code of its own
        return _raised(agent, fault)


def _within_sizes(agent: Agent, answer: Answer, sizes: Sizes) -> Answer:
    if answer.ok:
        excess = sizes.excess(answer.data)
        if excess is None:
            return answer
        error = refusal_of(f"the answer of agent {agent.name!r}", excess)
    elif len(answer.data) > sizes.max_bytes:
        excess = {"bytes": len(answer.data), "limit": sizes.max_bytes}
        told = ErrorInfo.from_tree(values.parse(answer.data))
        error = told.model_copy(update={"message": f"{told.message[:_MOST_OF_A_MESSAGE]}…"})
    else:
        return answer
    return _failed(error.model_copy(update={"details": {"agent": agent.name, **excess}}))


def _failed(error: ErrorInfo) -> Answer:
    return Answer(ok=False, data=error.encode())


def _late(agent: Agent, fault: BaseException) -> ErrorInfo:
    # It stopped where it was, which says nothing of what its body had done by then.
    harmless = agent.definition.side_effect == "read_only"
    return ErrorInfo(
        code=ErrorCode.AGENT_TIMEOUT if harmless else ErrorCode.IN_DOUBT,
        message=f"agent {agent.name!r} stopped in its work: {message_of(fault)}",
        type=type(fault).__name__,
    )


def _told(fault: InvalidInput) -> str:
    """An error in words, without what was found: in the details, its place tells whether it is a secret."""
    parts = [fault.message]
    parts += [f"at {fault.where}"] if fault.where else []
    parts += [f"expected {fault.expected}"] if fault.expected else []
    return "; ".join(parts) + (f". {fault.hint}" if fault.hint else "")


def _misfit(agent: Agent, fault: InvalidInput) -> ErrorInfo:
    return ErrorInfo(
        code=ErrorCode.VALIDATION_ERROR,
        message=f"the payload does not fit agent {agent.name!r}: {_told(fault)}",
        details={"agent": agent.name, **fault.places()},
    )
