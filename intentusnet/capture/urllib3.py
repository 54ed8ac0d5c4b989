"""The hook for urllib3, and so for requests and whatever else sends through it.

Patched is `HTTPConnectionPool._make_request`, which sends one request over one connection. What stands above
it runs on replay as it ran live: pools, retries, redirects, the sessions and adapters of requests; errors are
raised below the code that wraps them, so that it wraps them again.

The response that the caller gets is one of ours in both cases: its body is a `_Body`, whose pieces come from
the connection or from the record.
"""

from __future__ import annotations

import functools
import http.client
import importlib
import io
from typing import Any, Final

from intentusnet.capture.hooks import Hook, active
from intentusnet.capture.http import SIGNALS, Exchange, Reply, replayed
from intentusnet.capture.http_request import Request, header_of
from intentusnet.context import covered

_NAMES: Final = ("urllib3", "requests")
_MINOR: Final = {9: "HTTP/0.9", 10: "HTTP/1.0", 11: "HTTP/1.1", 20: "HTTP/2"}


def _install(module: Any) -> None:
    original = module.HTTPConnectionPool._make_request
    response_class = _response_class(importlib.import_module("urllib3.response"))

    @functools.wraps(original)
    def _make_request(
        self: Any,
        conn: Any,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        retries: Any = None,
        *,
        response_conn: Any = None,
        preload_content: bool = True,
        decode_content: bool = True,
        enforce_content_length: bool = True,
        **rest: Any,
    ) -> Any:
        context = active(*_NAMES)
        asked = {"body": body, "headers": headers, "retries": retries, "response_conn": response_conn}
        options = {
            "decode_content": decode_content,
            "enforce_content_length": enforce_content_length,
            "preload_content": preload_content,
        }
        if context is None:
            return original(self, conn, method, url, **asked, **options, **rest)
        content = _content(body)
        exchange = Exchange(context, _request(self, method, url, headers, content))
        if exchange.fault is not None:
            raise exchange.fault
        if exchange.recorded is not None:
            reply, live = exchange.recorded, None
        else:
            live = _sent(exchange, original, self, conn, method, url, asked, content, {**options, **rest})
            reply = _reply(live)
            exchange.replied(reply)
        source = None if live is None else live._fp
        if live is not None:
            # It is not used any more, and would close the connection when it is collected.
            live._fp = live._connection = None
        tape = _Body(exchange, source)
        return response_class(
            body=tape,
            headers=_headers(module, reply),
            status=reply.status,
            version=next((number for number, name in _MINOR.items() if name == reply.version), 0),
            version_string=reply.version,
            reason=reply.reason,
            original_response=_Original(reply, tape) if live is None else live._original_response,
            pool=self,
            connection=response_conn,
            retries=retries,
            request_method=method,
            request_url=url,
            sock_shutdown=None if live is None else live._sock_shutdown,
            **options,
        )

    module.HTTPConnectionPool._make_request = _make_request


def _sent(
    exchange: Exchange,
    original: Any,
    pool: Any,
    conn: Any,
    method: str,
    url: str,
    asked: dict[str, Any],
    content: bytes,
    options: dict[str, Any],
) -> Any:
    if content:
        asked = {**asked, "body": content}
    with covered(exchange.question):
        try:
            return original(pool, conn, method, url, **asked, **{**options, "preload_content": False})
        except SIGNALS:
            raise
        except BaseException as fault:
            exchange.failed(fault)
            raise


def _response_class(module: Any) -> Any:
    protocol_error = module.ProtocolError

    class CapturedResponse(module.HTTPResponse):  # type: ignore[misc]  # loaded only when urllib3 is
        """A response whose body is read from a `_Body`, which knows no chunks of the transfer encoding."""

        def supports_chunked_reads(self) -> bool:
            return True

        def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Any:
            size = amt if amt is not None and amt > 0 else None
            while amt != 0:
                try:
                    data = self.read1(size, decode_content)
                except protocol_error as fault:
                    # urllib3, which reads chunks by itself, has another word for an end between two of them.
                    cause = fault.args[-1]
                    if isinstance(cause, http.client.IncompleteRead) and not (
                        cause.partial or cause.expected
                    ):
                        raise protocol_error("Response ended prematurely") from None
                    raise
                if not data:
                    return
                yield data

    return CapturedResponse


class _Body(io.RawIOBase):
    """A body, live or recorded, as a file. What one read returned is one piece.

    Args:
        exchange: what it belongs to.
        source: the live body; None on replay.
    """

    def __init__(self, exchange: Exchange, source: Any) -> None:
        self._exchange = exchange
        self._source = source
        self._position = 0
        self._rest = b""
        self._ended = False

    def read(self, amt: int | None = None) -> bytes:
        if self._source is not None:
            return self._live("read", amt)
        if amt is not None and amt >= 0:
            return self._recorded(amt)
        pieces = []
        while piece := self._recorded(None):
            pieces.append(piece)
        return b"".join(pieces)

    def read1(self, amt: int | None = None) -> bytes:
        if self._source is not None:
            return self._live("read1", amt)
        return self._recorded(amt if amt is not None and amt >= 0 else None)

    def isclosed(self) -> bool:
        return self.closed or self._ended

    def close(self) -> None:
        if not self.closed and self._source is not None:
            with covered(self._exchange.question):
                self._source.close()
            self._exchange.closed()
        super().close()

    def _live(self, method: str, amt: int | None) -> bytes:
        try:
            with covered(self._exchange.question):
                read = getattr(self._source, method)
                piece: bytes = read() if amt is None else read(amt)
        except SIGNALS:
            raise
        except BaseException as fault:
            left = getattr(self._source, "chunk_left", None)
            if isinstance(fault, http.client.IncompleteRead) and left:
                # Reads that take what is there do not tell how much of a chunk is missing.
                fault.expected = left
            self._exchange.ended(fault=fault)
            raise
        self._exchange.took(piece)
        if (amt is None and method == "read") or self._source.isclosed() or (amt != 0 and not piece):
            self._ended = True
            self._exchange.ended()
        return piece

    def _recorded(self, amt: int | None) -> bytes:
        reply = self._exchange.recorded
        assert reply is not None
        if not self._rest:
            piece = replayed(reply, self._exchange, self._position)
            self._position += 1
            self._rest = piece or b""
            self._ended = piece is None
        taken = self._rest if amt is None else self._rest[:amt]
        self._rest = self._rest[len(taken) :]
        if not self._rest and self._position == len(reply.pieces) and reply.end == "complete":
            # Where the length was known, the last byte was the end; otherwise one more read was.
            self._ended = self._ended or bool(header_of(reply.headers, "content-length"))
        return taken


class _Original:
    """What urllib3 and requests want of http.client's response, beside its body."""

    def __init__(self, reply: Reply, body: _Body) -> None:
        self.msg = http.client.HTTPMessage()
        for name, value in reply.headers:
            self.msg[name] = value
        self._body = body

    def isclosed(self) -> bool:
        return self._body.isclosed()

    def close(self) -> None:
        self._body.close()


def _content(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if hasattr(body, "read"):
        body = body.read()
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes):
        return body
    return b"".join(part.encode() if isinstance(part, str) else bytes(part) for part in body)


def _request(pool: Any, method: str, url: str, headers: Any, content: bytes) -> Request:
    if "://" not in url:
        host = f"[{pool.host}]" if ":" in pool.host else pool.host
        url = f"{pool.scheme}://{host}{'' if pool.port is None else f':{pool.port}'}{url}"
    pairs = [(_decoded(name), _decoded(value)) for name, value in (headers or {}).items()]
    return Request(method.upper(), url, pairs, content)


def _decoded(text: Any) -> str:
    return text.decode("latin-1") if isinstance(text, bytes) else str(text)


def _headers(module: Any, reply: Reply) -> Any:
    headers = module.HTTPHeaderDict()
    for name, value in reply.headers:
        headers.add(name, value)
    return headers


def _reply(response: Any) -> Reply:
    return Reply(
        response.status,
        response.reason or "",
        _MINOR.get(response.version, "HTTP/1.1"),
        # Of headers that are given several times each is listed.
        [(name, value) for name in response.headers for value in response.headers.getlist(name)],
    )


HOOKS = (
    Hook("urllib3", "urllib3.connectionpool", _install, extra="requests"),
    Hook("requests", "urllib3.connectionpool", _install, library="requests", extra="requests"),
)
