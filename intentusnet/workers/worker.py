"""What runs in a worker process: calls of agents, one at a time, whose questions the parent answers.

The main thread runs the agents; another one reads what the parent says. Whatever an agent asks goes to the
session in the parent; clock, ids and environment are the parent's, too. When the parent has ended, however it
ended, so does the worker: it reads the end of its connection, and where native code keeps it from reading,
the kernel kills it (Linux), because the last writer of its lifeline is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import signal
import sys
import threading
import typing
import uuid
from collections.abc import Iterator, Mapping
from itertools import count
from multiprocessing.connection import Connection
from socket import socket
from typing import Any

from intentusnet import raised, values
from intentusnet.agents import Agent, AgentDefinition, define_agent
from intentusnet.asker import World
from intentusnet.capture import Capture, Redaction, capture
from intentusnet.capture.arguments import redacted
from intentusnet.context import call_agent
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import BranchCancelled, ConfigurationError, ControlSignal
from intentusnet.ids import SYSTEM_CLOCK, SYSTEM_IDS
from intentusnet.importable import Importable
from intentusnet.response import AgentResponse
from intentusnet.routing.router import Request
from intentusnet.transcript import ACTING_KINDS, Answer, Question, Ticket
from intentusnet.workers.wire import (
    CHUNK,
    Frames,
    Message,
    answer_head,
    answer_of,
    encode,
    question_head,
)

#: Whether this process is a worker that imports an agent's module: no place to call agents from.
_importing = False


def is_importing() -> bool:
    """Whether a worker imports an agent's module at this moment."""
    return _importing


def serve(connection: socket, lifeline: Connection, *streams: Connection) -> None:
    """Runs what the parent asks for until it asks for nothing more: the main function of a worker.

    Args:
        connection: to the parent.
        lifeline: nothing ever comes from it; its other end is the parent's alone.
        streams: the parent's stdout and stderr, which need not be those that the fork server has.
    """
    for number, given in zip((1, 2), streams, strict=False):
        os.dup2(given.fileno(), number)
        given.close()
    # A session of its own: the terminal's Ctrl-C is the parent's affair, and processes that agents start can
    # be killed with it, all at once.
    with contextlib.suppress(PermissionError):  # it leads one already
        os.setsid()
    for end in (connection, lifeline):
        os.set_inheritable(end.fileno(), False)  # what is handed over is not by itself
    _end_with(lifeline.fileno())
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)  # what was printed before a kill is seen
    line = _Line(connection)
    threading.Thread(target=line.read, name="intentusnet-line", daemon=True).start()
    agents: dict[str, Agent] = {}
    with contextlib.suppress(OSError):  # nobody is left who reads
        line.say({"what": "ready"})
        while (task := line.tasks.get()) is not None:
            if task.head["what"] == "define":
                line.say({"what": "defined", "fault": _define(task.head, agents)})
            else:
                line.say(*_called(task, agents[task.head["agent"]], line))


def _end_with(lifeline: int) -> None:
    """Has the kernel kill this process, and those that it starts, when the other end of a pipe is gone."""
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgid(0))
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


class _Line:
    """The worker's end of the connection to its parent; mutable, for many threads.

    Attributes:
        tasks: what the parent wants done; None when it wants nothing more.
        call: the number of the call that runs; 0 for none.
    """

    def __init__(self, connection: socket) -> None:
        self.tasks: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.call = 0
        self._connection = connection
        self._sending = threading.Lock()
        self._numbers = count(1)
        self._waiting: dict[int, queue.SimpleQueue[Message]] = {}

    def say(self, head: dict[str, Any], data: bytes = b"") -> None:
        """Tells the parent something.

        Raises:
            OSError: it is gone.
        """
        with self._sending:
            self._connection.sendall(encode(head, data))

    def ask(self, call: int, head: dict[str, Any], data: bytes = b"", number: int | None = None) -> Message:
        """Asks the parent something within a call, and waits for its reply.

        Raises:
            BranchCancelled: the agent must not go on; the parent knows why.
        """
        if call != self.call:
            raise BranchCancelled("the agent's call has ended")
        number = self.number() if number is None else number
        replied = self._waiting[number] = queue.SimpleQueue()
        try:
            self.say({**head, "number": number, "call": call}, data)
        except OSError:
            self._end()
        reply = replied.get()
        if reply.head["unwind"]:
            raise BranchCancelled("the agent must not go on")
        return reply

    def number(self) -> int:
        """A number for a request."""
        return next(self._numbers)

    def read(self) -> None:
        """Hands out what the parent says, until it says nothing more."""
        frames = Frames()
        with contextlib.suppress(OSError):
            while data := self._connection.recv(CHUNK):
                for message in frames.feed(data):
                    if message.head["what"] == "reply":
                        self._waiting.pop(message.head["number"]).put(message)
                    else:
                        self.tasks.put(message)
        if self.call:
            self._end()
        self.tasks.put(None)

    def _end(self) -> None:
        """Ends this process, and those that its agents have started: nobody waits for an answer."""
        os.killpg(0, signal.SIGKILL)


def _define(head: dict[str, Any], agents: dict[str, Agent]) -> str | None:
    """Imports an agent; returns what keeps it from being called here."""
    global _importing  # noqa: PLW0603 - modules are imported by the process, one at a time
    _importing = True
    try:
        agents[head["agent"]] = _defined(head)
    except BaseException as fault:  # noqa: BLE001 - whatever the module raises, the parent is to be told
        return f"{type(fault).__name__}: {fault}"
    finally:
        _importing = False
    return None


def _defined(head: dict[str, Any]) -> Agent:
    told = AgentDefinition.model_validate_json(head["definition"])
    agent = define_agent(
        told.name,
        Importable(head["module"], head["qualname"]).found(),
        handles=told.capabilities,
        version=told.version,
        rank=told.rank,
        remote=told.remote,
        side_effect=told.side_effect,
        idempotent=told.idempotent,
        timeout=told.timeout,
        isolation=told.isolation,
        limits=told.limits,
        description=told.description,
    )
    if agent.digest != head["digest"] or agent.definition.model_dump_json() != head["definition"]:
        raise ConfigurationError(
            "its code, or a type in its signature, is another one there",
            hint="has the file changed since the program began?",
        )
    return agent


def _called(task: Message, agent: Agent, line: _Line) -> tuple[dict[str, Any], bytes]:
    """Runs the call of an agent; returns how it ended, as a message."""
    head = task.head
    call = line.call = head["call"]
    session = _ParentsSession(line, call, head["execution_id"])
    request = Request(IntentEnvelope.from_tree(head["envelope"]), task.data)
    try:
        answer = call_agent(agent, head["attempt"], request, session, _world(line, call, head))
        ended: dict[str, Any] = {"what": "done", "answer": answer_head(answer)}
        data = answer.data
    except ControlSignal:
        ended, data = {"what": "unwound"}, b""
    except KeyboardInterrupt:
        ended, data = {"what": "interrupted"}, b""
    line.call = 0
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, or none at all
            stream.flush()
    return {**ended, "call": call}, data


class _Numbered(Ticket):
    """A ticket whose question the parent has kept, under a number."""

    number: int


class _ParentsSession:
    """The session of a call, which is in the parent; see `Session`. For many threads."""

    def __init__(self, line: _Line, call: int, execution_id: str) -> None:
        self.execution_id = execution_id
        self._line = line
        self._call = call

    def begin(self, question: Question) -> Ticket:
        number = self._line.number()
        head = {"what": "begin", "question": question_head(question)}
        reply = self._line.ask(self._call, head, question.arguments, number)
        # Where an execution goes on from its record, a question may have another place.
        placed = question._replace(ordinal=reply.head["ordinal"], unordered=reply.head["unordered"])
        told = reply.head["answer"]
        ticket = _Numbered(placed, None if told is None else answer_of(told, reply.data))
        ticket.number = number
        return ticket

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        head: dict[str, Any] = {"what": "end", "answer": answer_head(answer)}
        question, number, data = ticket.question, None, answer.data
        if isinstance(ticket, _Numbered) and question.kind in ACTING_KINDS:
            number = ticket.number
        else:
            head |= {"question": question_head(question), "arguments": len(question.arguments)}
            data = question.arguments + data
        reply = self._line.ask(self._call, head, data, number)
        return answer_of(reply.head["answer"], reply.data or answer.data)

    def misfit(self, ticket: Ticket, fault: Exception) -> BaseException:
        answer = ticket.answer
        if answer is None:
            return fault
        question = ticket.question
        head = {
            "what": "misfit",
            "question": question_head(question),
            "arguments": len(question.arguments),
            "answer": answer_head(answer),
            "fault": str(fault),
        }
        try:
            self._line.ask(self._call, head, question.arguments + answer.data)
        except BranchCancelled as unwinds:
            return unwinds
        return fault

    @property
    def waits(self) -> bool:
        return True

    def is_acting(self, attempt: int) -> bool:
        raise NotImplementedError("the parent knows")

    def cancel(self, attempt: int, name: str, answer: Answer) -> Answer:
        raise NotImplementedError("the parent does")

    def fail(self, failure: Exception) -> None:
        """Nothing to do: what fails here is the parent's, which knows of it."""


def _world(line: _Line, call: int, head: dict[str, Any]) -> World:
    parent, nobody = _ParentsWorld(line, call), typing.cast("Any", _nobody_awaits)
    return World(
        SYSTEM_CLOCK if head["system_clock"] else parent,
        SYSTEM_IDS if head["system_ids"] else parent,
        _ParentsEnviron(parent),
        parent.route,
        nobody,
        nobody,
        _captured(head["capture"]),
        redacted,
    )


def _nobody_awaits(_: object) -> Any:
    raise NotImplementedError("agents that are coroutine functions do not run in workers")


def _captured(told: dict[str, Any] | None) -> Capture | None:
    if told is None:
        return None
    return capture(*told["names"], headers=told["headers"], redaction=Redaction(*told["redaction"]))


class _ParentsWorld:
    """The parent's clock and ids, as far as they are not the machine's own, and its router."""

    def __init__(self, line: _Line, call: int) -> None:
        self._line = line
        self._call = call

    def ask(self, name: str, *arguments: Any) -> Any:
        """Asks the parent's world something; `turn` has the names."""
        head = {"what": "world", "name": name}
        reply = self._line.ask(self._call, head, values.encode(list(arguments)))
        if not reply.head["ok"]:
            raise raised.revive(reply.data)
        return values.decode(reply.data)

    def time_us(self) -> int:
        return int(self.ask("time_us"))

    def monotonic(self) -> float:
        return float(self.ask("monotonic"))

    def sleep(self, seconds: float) -> None:
        self.ask("sleep", seconds)

    def execution_id(self) -> str:
        return str(self.ask("execution_id"))

    def uuid(self) -> uuid.UUID:
        told: uuid.UUID = self.ask("uuid")
        return told

    def seed(self) -> int:
        return int(self.ask("seed"))

    def route(self, request: Request) -> AgentResponse:
        parent = request.parent
        assert parent is not None  # children alone are routed from here
        head = {
            "what": "route",
            "envelope": values.parse(request.envelope.encode(b"null")),
            "scope": parent.scope,
            "ordinal": parent.question,
        }
        reply = self._line.ask(self._call, head, request.payload)
        return AgentResponse.from_tree(values.parse(reply.data), reply.head["child"])


class _ParentsEnviron(Mapping[str, str]):
    """The parent's environment variables, as they are when they are asked for."""

    def __init__(self, parent: _ParentsWorld) -> None:
        self._parent = parent

    def _all(self) -> dict[str, str]:
        told: dict[str, str] = self._parent.ask("environ")
        return told

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())
