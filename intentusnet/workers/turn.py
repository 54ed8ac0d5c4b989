"""`Turn`: one call of an agent in a worker, served by its parent until it ends, one way or another."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from intentusnet import raised, values
from intentusnet.asker import World
from intentusnet.base_context import child_answer
from intentusnet.capture.hooks import effective
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import BranchCancelled, ControlSignal, InvalidInput
from intentusnet.ids import SYSTEM_CLOCK, SYSTEM_IDS
from intentusnet.record import ParentLink
from intentusnet.routing.control import LOOK_EVERY, Control
from intentusnet.routing.isolation import Call, deadline_us, pause, until_us
from intentusnet.routing.router import Request
from intentusnet.transcript import ACTING_KINDS, Answer, Ticket
from intentusnet.workers.pool import Worker
from intentusnet.workers.wire import Message, answer_head, answer_of, encode, question_of

#: Seconds that a worker may take to start, and to import an agent.
STARTS_WITHIN: Final = 60.0

_calls = itertools.count(1)


class Defined(NamedTuple):
    """What a worker is told of an agent.

    Attributes:
        key: names it.
        message: the whole of it, encoded.
    """

    key: str
    message: bytes


class Unfit(Exception):
    """The worker cannot call this agent; nothing was called."""


class Ended(Exception):
    """The worker has ended, or what it says makes no sense."""


class Late(Exception):
    """The call is not waited for any longer: cancelled, or its time is up."""


class Turn:
    """One call; mutable. Its own thread serves it, and children are routed in others.

    Args:
        worker: runs it.
        call: which one.
        world: of the runtime.

    Attributes:
        has_begun: whether the worker may have begun with it.
        has_unwound: whether it was unwound there, so that the worker is free again.
        exit_code: what the worker has ended with, if it has, and that is known.
    """

    def __init__(self, worker: Worker, call: Call, world: World) -> None:
        self.has_begun = False
        self.has_unwound = False
        self.exit_code: int | None = None
        self._worker = worker
        self._call = call
        self._world = world
        self._number = next(_calls)
        self._until = deadline_us(call.request)
        self._patience: float | None = time.monotonic() + STARTS_WITHIN
        self._tickets: dict[int, Ticket] = {}
        self._failure: BaseException | None = None
        self._children = Control(call.request.control)
        self._thread = threading.current_thread()

    def run(self, defined: Defined) -> Answer:
        """Has the worker call the agent, and serves what that asks.

        Raises:
            Unfit: it cannot call it.
            Ended: it has ended.
            Late: the call is not waited for any longer.
            BaseException: what unwound the agent.
        """
        self._prepare(defined)
        self._patience = None
        call = self._call
        self._until = until_us(call.agent, call.request, self._world.clock)
        # A message that is cut off is never acted upon.
        self._send(encode(self._head(defined.key), call.request.payload))
        self.has_begun = True
        return self._serve()

    def cut_off(self) -> Answer | None:
        """Kills the worker, and the children that it waits for; returns the answer that was there already."""
        self._worker.kill()
        self.exit_code = self._worker.exit_code()
        answer = self._drained()
        if answer is None:
            self._children.cancel(f"agent {self._call.agent.name!r}, which asked for it, was cut off")
        return answer

    @property
    def is_late(self) -> bool:
        """Whether the call's time is up."""
        return self._until is not None and self._world.clock.time_us() >= self._until

    def _look(self) -> None:
        if self._call.control.check() is not None or self.is_late:
            raise Late
        if self._patience is not None and time.monotonic() > self._patience:
            raise Unfit(f"it was not ready within {STARTS_WITHIN:.0f} seconds")

    def _next(self) -> list[Message]:
        """The next messages."""
        while True:
            self._look()
            if self._worker.wait(pause(self._until, self._world.clock)):
                try:
                    messages = self._worker.read()
                except (EOFError, ValueError) as fault:
                    raise Ended from fault
                if messages:
                    return messages

    def _send(self, message: bytes) -> None:
        # What other threads have to say is said to its end: the next call may be under way by then.
        look = self._look if threading.current_thread() is self._thread else _no_limit
        try:
            self._worker.send(message, look)
        except OSError as fault:
            raise Ended from fault

    def _prepare(self, defined: Defined) -> None:
        """Waits until the worker is ready, and knows the agent."""
        worker = self._worker
        if not worker.is_ready:
            self._next()
            worker.is_ready = True
        if defined.key in worker.defined:
            return
        self._send(defined.message)
        while defined.key not in worker.defined:
            for message in self._next():
                if message.head["what"] == "defined":
                    if message.head["fault"] is not None:
                        raise Unfit(message.head["fault"])
                    worker.defined[defined.key] = defined.message
                else:
                    self._serve_one(message)  # of a thread that an earlier call has left

    def _head(self, key: str) -> dict[str, Any]:
        call, world = self._call, self._world
        captured = effective(world.capture)
        redaction = captured and captured.redaction
        return {
            "what": "call",
            "call": self._number,
            "agent": key,
            "attempt": call.attempt,
            "execution_id": call.session.execution_id,
            "envelope": orjson.Fragment(call.request.envelope.encode(b"null")),
            "system_clock": world.clock is SYSTEM_CLOCK,
            "system_ids": world.ids is SYSTEM_IDS,
            "capture": captured
            and redaction
            and {
                "names": sorted(captured.names),
                "headers": sorted(captured.headers),
                "redaction": [sorted(redaction.headers), sorted(redaction.keys), redaction.patterns],
            },
        }

    def _serve(self) -> Answer:
        while True:
            for message in self._next():
                head = message.head
                if head.get("call") == self._number:
                    match head["what"]:
                        case "done":
                            return answer_of(head["answer"], message.data)
                        case "unwound":
                            self.has_unwound = True
                            raise self._failure or BranchCancelled(self._call.agent.name)
                        case "interrupted":
                            self.has_unwound = True
                            raise KeyboardInterrupt
                self._serve_one(message)

    def _serve_one(self, message: Message) -> None:
        """Answers a request."""
        head = message.head
        number = head["number"]
        try:
            if head["call"] != self._number:
                raise BranchCancelled("the agent's call has ended")
            match head["what"]:
                case "begin":
                    self._reply(number, *self._begin(message))
                case "end":
                    self._reply(number, *self._end(message))
                case "misfit":
                    self._misfit(message)
                    self._reply(number, {})
                case "route":
                    self._in_thread(number, lambda: self._route(message))
                case "world" if head["name"] == "sleep":
                    self._in_thread(number, lambda: self._ask_world(message))
                case "world":
                    self._reply(number, *self._ask_world(message))
        except (Exception, ControlSignal) as failure:  # whatever it is, it unwinds the agent first
            if isinstance(failure, Late | Ended | Unfit):
                raise
            self._unwind(number, failure)

    def _begin(self, message: Message) -> tuple[dict[str, Any], bytes]:
        ticket = self._call.session.begin(question_of(message.head["question"], message.data))
        question, answer = ticket.question, ticket.answer
        placed = {"ordinal": question.ordinal, "unordered": question.unordered}
        if answer is not None:
            return {**placed, "answer": answer_head(answer)}, answer.data
        if question.kind in ACTING_KINDS:
            self._tickets[message.head["number"]] = ticket
        return {**placed, "answer": None}, b""

    def _end(self, message: Message) -> tuple[dict[str, Any], bytes]:
        head, data = message.head, message.data
        if "question" in head:
            cut = head["arguments"]
            ticket, data = Ticket(question_of(head["question"], data[:cut])), data[cut:]
        else:
            ticket = self._tickets.pop(head["number"])
        told = answer_of(head["answer"], data)
        answer = self._call.session.end(ticket, told)
        return {"answer": answer_head(answer)}, b"" if answer is told else answer.data

    def _misfit(self, message: Message) -> None:
        head, data = message.head, message.data
        cut = head["arguments"]
        answer = answer_of(head["answer"], data[cut:])
        ticket = Ticket(question_of(head["question"], data[:cut]), answer)
        fault = self._call.session.misfit(ticket, InvalidInput(head["fault"]))
        if isinstance(fault, ControlSignal):
            raise fault

    def _route(self, message: Message) -> tuple[dict[str, Any], bytes]:
        head, payload, own = message.head, message.data, self._call.request
        session = self._call.session
        envelope = IntentEnvelope.from_tree(head["envelope"])
        request = Request(
            envelope.model_copy(update={"payload": values.decode(payload)}),
            payload,
            ParentLink(session.execution_id, head["scope"], head["ordinal"]),
            own.depth + 1,
            own.durability,
            self._children,
            own.holding,
        )
        try:
            answer = child_answer(self._world.route(request))
        except Exception as failure:
            session.fail(failure)  # see `Context.route`
            raise
        return {"child": answer.child}, answer.data

    def _ask_world(self, message: Message) -> tuple[dict[str, Any], bytes]:
        world = self._world
        known: dict[str, Callable[..., Any]] = {
            "time_us": world.clock.time_us,
            "monotonic": world.clock.monotonic,
            "sleep": world.clock.sleep,
            "execution_id": world.ids.execution_id,
            "uuid": world.ids.uuid,
            "seed": world.ids.seed,
            "environ": lambda: dict(world.environ),
        }
        try:
            told = known[message.head["name"]](*values.decode(message.data))
            return {"ok": True}, values.encode(told)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the agent is told
            return {"ok": False}, raised.capture(fault).data

    def _in_thread(self, number: int, serve: Callable[[], tuple[dict[str, Any], bytes]]) -> None:
        def run() -> None:
            # If the worker has ended meanwhile, whoever serves it notices.
            with contextlib.suppress(Ended, Late):
                try:
                    head, data = serve()
                except BaseException as failure:  # noqa: BLE001 - raised by whoever serves the call
                    self._unwind(number, failure)
                else:
                    self._reply(number, head, data)

        threading.Thread(
            target=contextvars.copy_context().run, args=(run,), name="intentusnet-child", daemon=True
        ).start()

    def _reply(self, number: int, head: dict[str, Any], data: bytes = b"") -> None:
        self._send(encode({"what": "reply", "number": number, "unwind": False, **head}, data))

    def _unwind(self, number: int, failure: BaseException) -> None:
        self._failure = failure
        self._send(encode({"what": "reply", "number": number, "unwind": True}))

    def _drained(self) -> Answer | None:
        """Takes note of what the worker had said before it ended; returns its answer if it had one."""
        with contextlib.suppress(EOFError, ValueError):
            while messages := self._worker.read():
                for message in messages:
                    head = message.head
                    if head.get("call") != self._number:
                        continue
                    if head["what"] == "done":
                        return answer_of(head["answer"], message.data)
                    if head["what"] == "end":
                        with contextlib.suppress(Exception, ControlSignal):  # it is given up anyway
                            self._end(message)
        return None


def warm(worker: Worker, defined: Mapping[str, bytes]) -> bool:
    """Waits until a worker is ready that takes the place of another, and has it import what that knew.

    Args:
        worker: a new one, in whose call nobody is yet.
        defined: see `Worker.defined`.

    Returns:
        Whether it is ready.
    """
    end = time.monotonic() + STARTS_WITHIN

    def look() -> None:
        if time.monotonic() > end:
            raise Late

    def told() -> Message:
        while True:
            look()
            if worker.wait(LOOK_EVERY) and (messages := worker.read()):
                return messages[0]  # one is said at a time

    with contextlib.suppress(Late, EOFError, ValueError, OSError):
        told()
        worker.is_ready = True
        for key, message in defined.items():
            worker.send(message, look)
            if told().head["fault"] is None:
                worker.defined[key] = message
        return True
    return False


def _no_limit() -> None:
    """For those who wait as long as it takes."""
