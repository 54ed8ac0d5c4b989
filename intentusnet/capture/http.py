"""HTTP as question and answer: what every HTTP client's hook shares.

A question of kind ``http`` is what `http_request` makes of a request. An answer holds ``status``, ``reason``,
``version``, ``headers`` (pairs in order) and ``body``: the pieces in which the body came, before or after its
content encoding was undone as the client's hook says. ``end`` tells how it ended: ``complete``, ``closed``
before its end, or ``error``, and then ``error`` is what was raised. An error before any response is the
answer itself.

One exchange is one request and its response: each hop of a redirect and each retry is an exchange of its own,
and the client's own logic, which sends them, runs again on replay.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final, Literal

from intentusnet import raised, values
from intentusnet.base_context import BaseContext
from intentusnet.capture.coding import decoded
from intentusnet.capture.hooks import Capture, settings_of
from intentusnet.capture.http_request import Headers, Request, header_of, question_of, readable, secrets_of
from intentusnet.capture.known import known_to, remember
from intentusnet.capture.redaction import PLACEHOLDER, told_by_header
from intentusnet.errors import ControlSignal
from intentusnet.transcript import Answer

KIND: Final = "http"

#: These unwind the agent, and are never what the world answered.
SIGNALS: Final = (ControlSignal, KeyboardInterrupt)

_READ_ONLY: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_IDEMPOTENT: Final = _READ_ONLY | {"PUT", "DELETE"}
End = Literal["complete", "closed", "error"]


@dataclass(slots=True)
class Reply:
    """A response, as it is recorded.

    Attributes:
        status: the code.
        reason: the phrase; "" where the protocol has none.
        version: as ``HTTP/1.1``.
        headers: as pairs, in order.
        pieces: the body as it was read.
        end: how the body ended.
        fault: what was raised while the body was read.
        is_encoded: the pieces are as the content encoding has them.
    """

    status: int
    reason: str
    version: str
    headers: Headers
    pieces: list[bytes] = field(default_factory=list)
    end: End = "complete"
    fault: bytes = b"null"
    is_encoded: bool = True


class Exchange:
    """One request and its response: on record before it is sent, answered when the body has ended.

    Args:
        context: of the agent that sends it.
        request: what is sent.
    """

    def __init__(self, context: BaseContext, request: Request) -> None:
        self._context = context
        self._capture = settings_of(context) or Capture(frozenset())
        own = secrets_of(request, self._capture.redaction)
        remember(context, own)
        self._secrets = [*own, *known_to(context)]
        self._lock = threading.Lock()
        self._live: Reply | None = None
        name, arguments = question_of(request, self._capture, self._secrets)
        self._ticket = context.begin(
            KIND,
            name,
            arguments,
            "read_only" if request.method in _READ_ONLY else "reversible",
            request.method in _IDEMPOTENT,
        )
        self.question = self._ticket.question
        answer = self._ticket.answer
        self.recorded = None if answer is None or not answer.ok else _read(answer.data)
        self.fault = None if answer is None or answer.ok else raised.revive(answer.data)

    def failed(self, fault: BaseException) -> None:
        """Takes note that no response came."""
        self._context.end(self._ticket, Answer(ok=False, data=self._told(fault)))

    def replied(self, reply: Reply) -> None:
        """Takes note of a response whose body has yet to be read."""
        self._live = reply
        self._context.at_end(id(self), self.closed)

    def took(self, piece: bytes) -> None:
        """Takes note of a piece of the body."""
        if self._live is not None and piece:
            self._live.pieces.append(bytes(piece))

    def ended(self, end: End = "complete", fault: BaseException | None = None) -> None:
        """Takes note of how the body ended; what comes after the first time tells nothing."""
        with self._lock:
            reply, self._live = self._live, None
        if reply is None:
            return
        self._context.at_end(id(self), None)
        reply.end = end
        if fault is not None:
            reply.end = "error"
            reply.fault = self._told(fault)
        self._context.end(self._ticket, Answer(ok=True, data=self._written(reply)))

    def closed(self) -> None:
        """Takes note that no more of the body will be read."""
        self.ended("closed")

    def beyond(self) -> None:
        """Halts a replay that reads on where the recorded run had stopped to.

        Raises:
            ReplayHalted: always.
        """
        self._context.begin(KIND, f"{self.question.name} (more of the body than is on record)")

    def _written(self, reply: Reply) -> bytes:
        redaction, secrets = self._capture.redaction, self._secrets
        headers = [(name, redaction.header(name, value, secrets)) for name, value in reply.headers]
        pieces, is_clear = self._clear(reply)
        if is_clear:
            headers = [pair for pair in headers if pair[0].lower() != "content-encoding"]
        if pieces != reply.pieces and reply.end == "complete":
            length = str(sum(map(len, pieces)))
            headers = [
                (name, length if name.lower() == "content-length" else value) for name, value in headers
            ]
        for name, value in reply.headers:
            if redaction.is_secret_header(name):
                remember(self._context, told_by_header(value.partition(";")[0]))
        return values.encode(
            {
                "body": [readable(piece) for piece in pieces if piece],
                "end": reply.end,
                "error": values.decode(reply.fault),
                "headers": [list(pair) for pair in headers],
                "reason": redaction.text(reply.reason, secrets),
                "status": reply.status,
                "version": reply.version,
            }
        )

    def _clear(self, reply: Reply) -> tuple[list[bytes], bool]:
        """The pieces of the body without secrets, and whether they are the body as it reads.

        Otherwise they are as they were sent. What cannot be read is not kept: nobody knows what is in it.
        """
        redaction, whole = self._capture.redaction, b"".join(reply.pieces)
        coding = header_of(reply.headers, "content-encoding") if reply.is_encoded else ""
        clear = decoded(whole, coding) if coding and whole else None
        if clear is not None:
            redacted = redaction.data(clear, self._secrets)
            if redacted == clear:
                return reply.pieces, False
            remember(self._context, redaction.secrets_in(clear.decode("utf-8", "replace")))
            return [redacted], True
        if coding and whole and isinstance(readable(whole), bytes):
            return [PLACEHOLDER.encode()], True
        pieces = redaction.pieces(reply.pieces, self._secrets)
        if pieces != reply.pieces:
            remember(self._context, redaction.secrets_in(whole.decode("utf-8", "replace")))
        return pieces, False

    def _told(self, fault: BaseException) -> bytes:
        told = values.decode(raised.capture(fault).data)
        return values.encode(self._capture.redaction.value(told, self._secrets))


def replayed(reply: Reply, exchange: Exchange, position: int) -> bytes | None:
    """The piece of a recorded body at a position, None at its end.

    Raises:
        BaseException: what was raised there.
    """
    if position < len(reply.pieces):
        return reply.pieces[position]
    if reply.end == "error":
        raise raised.revive(reply.fault)
    if reply.end == "closed":
        exchange.beyond()
    return None


def _read(data: bytes) -> Reply:
    told = values.decode(data)
    return Reply(
        told["status"],
        told["reason"],
        told["version"],
        [(name, value) for name, value in told["headers"]],
        [piece.encode() if isinstance(piece, str) else piece for piece in told["body"]],
        told["end"],
        values.encode(told["error"]),
    )
