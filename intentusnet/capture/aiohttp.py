"""The hook for aiohttp's client.

Patched is `ClientSession._request`, and only to add a middleware of aiohttp's own kind behind those of the
session: it sees each request that is sent, redirects and retries one by one, with what stands above it
running on replay as it ran live. Upgrades to WebSocket are no exchanges: they pass through, with a note of
it in the record.

How a body is cut into reads depends on how fast it came. Ours is handed out by a reader that fetches the
next piece when a read needs it and not before, so that what a read returns depends on the pieces alone.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
from types import SimpleNamespace
from typing import Any, Final

from intentusnet import values
from intentusnet.base_context import BaseContext
from intentusnet.capture.hooks import Capture, Hook, active, settings_of
from intentusnet.capture.http import SIGNALS, Exchange, Reply, replayed
from intentusnet.capture.http_request import Request, question_of
from intentusnet.capture.known import known_to
from intentusnet.scopes import covered
from intentusnet.transcript import Answer

_CAUSE: Final = "_intentus_cause"
#: Content encodings that a session undoes; others, and several at once, it hands on.
_DECOMPRESSED: Final = frozenset({"br", "deflate", "gzip", "zstd"})


def _install(module: Any) -> None:
    original = module.ClientSession._request
    reader_class = _reader_class(module)

    @functools.wraps(original)
    async def _request(self: Any, method: str, url: Any, *, middlewares: Any = None, **options: Any) -> Any:
        context = active("aiohttp")
        if context is not None and _is_upgrade(options.get("headers")):
            _note_unrecorded(context, url)
            context = None
        if context is None:
            return await original(self, method, url, middlewares=middlewares, **options)
        given = self._middlewares if middlewares is None else middlewares
        ours = functools.partial(_exchanged, module, reader_class, self)
        return await original(self, method, url, middlewares=(*given, ours), **options)

    module.ClientSession._request = _request


async def _exchanged(module: Any, reader_class: Any, session: Any, request: Any, handler: Any) -> Any:
    context = active("aiohttp")
    if context is None:
        return await handler(request)
    body = request.body
    content = body if isinstance(body, bytes) else await body.as_bytes()
    exchange = Exchange(context, _asked(request, content))
    if exchange.fault is not None:
        if isinstance(exchange.fault, asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        raise _completed(exchange.fault, request)
    limit = session._read_bufsize
    if exchange.recorded is not None:
        return _response(request, session, exchange.recorded, reader_class(exchange, None, limit))
    with covered(exchange.question):
        try:
            response = await handler(request)
        except SIGNALS:
            raise
        except asyncio.CancelledError as fault:
            # aiohttp's own timer cancels, too, and makes a timeout of it further up.
            timed_out = getattr(request._timer, "_cancelled", False)
            exchange.failed(TimeoutError() if timed_out else fault)
            raise
        except BaseException as fault:
            if hasattr(type(fault), "os_error"):
                # Its arguments cannot be recorded, so that the error behind it would be lost with them.
                vars(fault)[_CAUSE] = [getattr(fault, "errno", None), getattr(fault, "strerror", None)]
            exchange.failed(fault)
            raise
    exchange.replied(_reply(response, session))
    response.content = reader_class(exchange, response.content, limit)
    return response


def _reader_class(module: Any) -> Any:
    class CapturedReader(module.StreamReader):  # type: ignore[misc]  # loaded only when aiohttp is
        """A body, live or recorded: the next piece is fetched when a read needs it."""

        def __init__(self, exchange: Exchange, live: Any, limit: int) -> None:
            super().__init__(_PROTOCOL, limit, loop=asyncio.get_running_loop())
            self._exchange = exchange
            self._live = live
            self._place = 0

        async def _wait(self, func_name: str) -> None:
            piece = await (self._recorded() if self._live is None else self._fetched())
            if piece is None:
                self.feed_eof()
            else:
                self.feed_data(piece)

        def set_exception(self, exc: BaseException, *cause: Any) -> None:
            self._exchange.closed()
            super().set_exception(exc, *cause)

        async def _fetched(self) -> bytes | None:
            try:
                with covered(self._exchange.question):
                    piece: bytes = await self._live.readany()
            except SIGNALS:
                raise
            except BaseException as fault:
                self._exchange.ended(fault=fault)
                raise
            if not piece:
                self._exchange.ended()
                return None
            self._exchange.took(piece)
            return piece

        async def _recorded(self) -> bytes | None:
            reply = self._exchange.recorded
            assert reply is not None
            try:
                piece = replayed(reply, self._exchange, self._place)
            except asyncio.CancelledError:
                await asyncio.get_running_loop().create_future()
                raise
            self._place += 1
            return piece

    return CapturedReader


class _Protocol:
    """What a reader holds back when it is full. Ours never has more than the piece that was asked for."""

    connected = True

    def pause_reading(self) -> None:
        """Nothing is on its way."""

    def resume_reading(self, **_: Any) -> None:
        """Nothing is on its way."""


_PROTOCOL = _Protocol()


def _is_upgrade(headers: Any) -> bool:
    return any(str(name).lower() == "upgrade" for name in headers or ())


def _note_unrecorded(context: BaseContext, url: Any) -> None:
    """Says in the record that what the agent does next is not on it."""
    told = Request("GET", str(url), [])
    name, _ = question_of(told, settings_of(context) or Capture(frozenset()), known_to(context))
    message = f"{name} is a WebSocket, which is not recorded: a replay stops here"
    ticket = context.begin("log", "unrecorded", values.encode_arguments((message,), {}))
    if ticket.answer is None:
        context.end(ticket, Answer(ok=True, data=b"null"))


def _asked(request: Any, content: bytes) -> Request:
    return Request(
        request.method,
        str(request.url),
        [(str(name), str(value)) for name, value in request.headers.items()],
        content,
    )


def _completed(fault: BaseException, request: Any) -> BaseException:
    """An error of aiohttp's with what of it cannot be recorded: whom it was about."""
    known = vars(fault)
    if isinstance(fault, OSError) and hasattr(type(fault), "os_error"):
        fault.errno, fault.strerror = known.pop(_CAUSE, (None, None))
        known.update(_conn_key=request.connection_key, _os_error=OSError(fault.errno, fault.strerror))
    if hasattr(type(fault), "status") or "status" in known:
        known.setdefault("request_info", request.request_info)
        known.setdefault("history", ())
    return fault


def _reply(response: Any, session: Any) -> Reply:
    coding = response.headers.get("Content-Encoding", "").lower()
    return Reply(
        response.status,
        response.reason or "",
        f"HTTP/{response.version.major}.{response.version.minor}",
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers],
        is_encoded=not session.auto_decompress or coding not in _DECOMPRESSED,
    )


def _response(request: Any, session: Any, reply: Reply, reader: Any) -> Any:
    loop = asyncio.get_running_loop()
    # Versions of aiohttp differ in what a response is made of; none of it is looked at once it is answered.
    parts = {
        "continue100": None,
        "loop": loop,
        "request_info": request.request_info,
        "session": session,
        "stream_writer": SimpleNamespace(output_size=0),
        "timer": None,
        "traces": getattr(request, "_traces", []),
        "writer": None,
    }
    known = inspect.signature(request.response_class.__init__).parameters
    response = request.response_class(
        request.method, request.url, **{name: part for name, part in parts.items() if name in known}
    )
    raw = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers)
    multidict = importlib.import_module("multidict")
    headers = multidict.CIMultiDict(
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
        for name, value in raw
    )
    major, _, minor = reply.version.removeprefix("HTTP/").partition(".")
    response._closed = False
    response.version = importlib.import_module("aiohttp").HttpVersion(int(major), int(minor or 0))
    response.status = reply.status
    response.reason = reply.reason
    response._headers = multidict.CIMultiDictProxy(headers)
    response._raw_headers = raw
    response.content = reader
    if cookies := tuple(headers.getall("Set-Cookie", ())):
        response._raw_cookie_headers = cookies
    reader.on_eof(response._response_eof)
    return response


HOOKS = (Hook("aiohttp", "aiohttp", _install, extra="aiohttp"),)
