"""HTTP as question and answer: what every HTTP client's hook shares.

A question of kind ``http`` is named ``METHOD scheme://host[:port]/path``. Its arguments are the query, those
request headers that tell requests apart (`MATCHED_HEADERS`) and the body: JSON as JSON, a form as its pairs,
other text as text, the rest as bytes. An answer holds ``status``, ``reason``, ``version``, ``headers`` (pairs
in order) and ``body``: the pieces in which the body came, before or after its content encoding was undone as
the client's hook says. ``end`` tells how it ended: ``complete``, ``closed`` before its end, or ``error``, and
then ``error`` is what was raised. An error before any response is the answer itself.

One exchange is one request and its response: each hop of a redirect and each retry is an exchange of its own,
and the client's own logic, which sends them, runs again on replay.
"""

from __future__ import annotations

import json
import re
import threading
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlsplit

from intentusnet import raised, values
from intentusnet.capture.hooks import Capture, settings_of
from intentusnet.capture.redaction import told_by_header, worth_looking_for
from intentusnet.context import Context
from intentusnet.errors import ControlSignal, UnrecordableValue
from intentusnet.transcript import Answer

KIND: Final = "http"

#: Headers by which requests are told apart. What else there is names the sender, the moment or the key.
MATCHED_HEADERS: Final = frozenset(
    {
        "accept", "accept-language", "anthropic-beta", "anthropic-version", "content-encoding",
        "content-language", "content-type", "depth", "destination", "if-match", "if-modified-since",
        "if-none-match", "if-unmodified-since", "openai-beta", "prefer", "range", "soapaction",
        "x-amz-target", "x-http-method-override",
    }
)  # fmt: skip
#: These unwind the agent, and are never what the world answered.
SIGNALS: Final = (ControlSignal, KeyboardInterrupt)

_READ_ONLY: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_IDEMPOTENT: Final = _READ_ONLY | {"PUT", "DELETE"}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_BOUNDARY: Final = re.compile(r'boundary="?([^";,\s]+)')

Headers = list[tuple[str, str]]
End = Literal["complete", "closed", "error"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it is about to be sent.

    Attributes:
        method: in capitals.
        url: absolute.
        headers: as pairs, in order.
        body: all of it.
    """

    method: str
    url: str
    headers: Headers
    body: bytes = b""


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
    """

    status: int
    reason: str
    version: str
    headers: Headers
    pieces: list[bytes] = field(default_factory=list)
    end: End = "complete"
    fault: bytes = b"null"


class Exchange:
    """One request and its response: on record before it is sent, answered when the body has ended.

    Args:
        context: of the agent that sends it.
        request: what is sent.
        encoded: whether the body's pieces are seen as the content encoding has them.
    """

    def __init__(self, context: Context, request: Request, *, encoded: bool = True) -> None:
        self._context = context
        self._capture = settings_of(context) or Capture(frozenset())
        self._secrets = _secrets(request, self._capture)
        self._encoded = encoded
        self._lock = threading.Lock()
        self._live: Reply | None = None
        name, arguments = _question(request, self._capture)
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
        captured = raised.capture(fault)
        data = values.dumps(self._redacted(values.parse(captured.data)))
        self._context.end(self._ticket, Answer(ok=False, data=data))

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
            reply.fault = values.dumps(self._redacted(values.parse(raised.capture(fault).data)))
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
        redaction = self._capture.redaction
        headers = [
            (name, redaction.text(redaction.header(name, value), self._secrets))
            for name, value in reply.headers
        ]
        pieces = redaction.pieces(reply.pieces, self._secrets)
        if self._encoded and (body := _decoded(reply)) is not None:
            clear = redaction.pieces([body], self._secrets)
            if clear != [body]:
                # With a secret inside, the body is kept as it reads, not as it was sent.
                pieces = clear
                headers = [pair for pair in headers if pair[0].lower() != "content-encoding"]
        if pieces != reply.pieces and reply.end == "complete":
            length = str(sum(map(len, pieces)))
            headers = [
                (name, length if name.lower() == "content-length" else value) for name, value in headers
            ]
        return values.encode(
            {
                "body": [_readable(piece) for piece in pieces if piece],
                "end": reply.end,
                "error": values.decode(reply.fault),
                "headers": [list(pair) for pair in headers],
                "reason": reply.reason,
                "status": reply.status,
                "version": reply.version,
            }
        )

    def _redacted(self, tree: Any) -> Any:
        if isinstance(tree, str):
            return self._capture.redaction.text(tree, self._secrets)
        if isinstance(tree, list):
            return [self._redacted(item) for item in tree]
        if isinstance(tree, dict):
            return {key: self._redacted(item) for key, item in tree.items()}
        return tree


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


def _readable(piece: bytes) -> str | bytes:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return piece


def _question(request: Request, capture: Capture) -> tuple[str, bytes]:
    url = urlsplit(request.url)
    redaction = capture.redaction
    host = url.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if url.port is not None and url.port != _DEFAULT_PORTS.get(url.scheme):
        host = f"{host}:{url.port}"
    name = f"{request.method} {url.scheme}://{host}{redaction.text(url.path or '/')}"
    boundary = _boundary(request.headers)
    headers = sorted(
        [lowered, redaction.header(lowered, value).replace(boundary, "boundary") if boundary else
         redaction.header(lowered, value)]
        for lowered, value in ((name.lower(), value) for name, value in request.headers)
        if lowered in MATCHED_HEADERS or lowered in capture.headers
    )  # fmt: skip
    query = redaction.pairs(_pairs(url.query))
    body = request.body.replace(boundary.encode(), b"boundary") if boundary else request.body
    asked = {"headers": headers, "query": query}
    try:
        return name, values.encode_arguments((), {**asked, "body": _body(body, request.headers, capture)})
    except UnrecordableValue:
        return name, values.encode_arguments((), {**asked, "body": _text(body, capture)})


def _boundary(headers: Headers) -> str:
    """The boundary of a multipart body, which is drawn anew for each request; "" if there is none."""
    found = _BOUNDARY.search(_header(headers, "content-type"))
    return found[1] if found is not None else ""


def _body(body: bytes, headers: Headers, capture: Capture) -> Any:
    if not body:
        return None
    kind = _header(headers, "content-type").partition(";")[0].strip().lower()
    if not _header(headers, "content-encoding"):
        if kind == "application/json" or kind.endswith("+json"):
            try:
                return capture.redaction.value(json.loads(body, object_pairs_hook=_object))
            except (ValueError, RecursionError):
                return _text(body, capture)
        if kind == "application/x-www-form-urlencoded":
            return capture.redaction.pairs(_pairs(body.decode("latin-1")))
    return _text(body, capture)


def _pairs(query: str) -> list[tuple[str, str]]:
    # Bytes that are no UTF-8 stay apart from each other.
    return parse_qsl(query, keep_blank_values=True, errors="surrogateescape")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object, and only as text is that kept")
    return found


def _text(body: bytes, capture: Capture) -> str | bytes:
    return _readable(capture.redaction.pieces([body])[0])


def _header(headers: Headers, name: str) -> str:
    return next((value for key, value in headers if key.lower() == name), "")


def _secrets(request: Request, capture: Capture) -> list[str]:
    """The secrets that go out with a request: where a server echoes them, they are left out, too."""
    redaction = capture.redaction
    found: list[str] = []
    for name, value in request.headers:
        if redaction.is_secret_header(name):
            found += told_by_header(value)
    url = urlsplit(request.url)
    pairs = _pairs(url.query)
    if _header(request.headers, "content-type").startswith("application/x-www-form-urlencoded"):
        pairs += _pairs(request.body.decode("latin-1"))
    found += [value for key, value in pairs if redaction.is_secret_key(key, query=True)]
    if url.password:
        found.append(url.password)
    if "json" in _header(request.headers, "content-type"):
        try:
            _collect(json.loads(request.body), redaction.is_secret_key, found)
        except (ValueError, RecursionError):
            return worth_looking_for(found)
    return worth_looking_for(found)


def _collect(value: Any, is_secret: Callable[[str], bool], found: list[str]) -> None:
    items: Iterable[Any] = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict):
        found += [item for key, item in value.items() if isinstance(item, str) and is_secret(key)]
    for item in items if isinstance(value, dict | list) else ():
        if isinstance(item, dict | list):
            _collect(item, is_secret, found)


def _decoded(reply: Reply) -> bytes | None:
    """The body without its content encoding; None if there is none, or one that cannot be undone here."""
    coding = _header(reply.headers, "content-encoding").strip().lower()
    if coding not in ("gzip", "x-gzip", "deflate"):
        return None
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(b"".join(reply.pieces))
    except zlib.error:
        return None
