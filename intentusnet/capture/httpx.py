"""The hooks for httpx, and for httpx2, which has the same classes under another name.

Patched is what sends: `HTTPTransport.handle_request` and its async sister. What stands above them runs on
replay as it ran live: auth flows, redirects, cookies, decoding, the clients' own error messages. A transport
of the user's own that does not end in one of these is not caught.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

from intentusnet.capture.hooks import Hook, active
from intentusnet.capture.http import SIGNALS, Exchange, Reply, replayed
from intentusnet.capture.http_request import Request
from intentusnet.context import covered


def _install(module: ModuleType) -> None:
    _install_sync(module)
    _install_async(module)


def _install_sync(module: Any) -> None:
    name = module.__name__
    original = module.HTTPTransport.handle_request
    stream = _sync_stream(module)

    @functools.wraps(original)
    def handle_request(self: Any, request: Any) -> Any:
        context = active(name)
        if context is None:
            return original(self, request)
        exchange = Exchange(context, _request(request, request.read()))
        if exchange.fault is not None:
            raise exchange.fault
        if exchange.recorded is not None:
            return _response(module, exchange.recorded, stream(exchange, None))
        with covered(exchange.question):
            try:
                response = original(self, request)
            except SIGNALS:
                raise
            except BaseException as fault:
                exchange.failed(fault)
                raise
        exchange.replied(_reply(response))
        response.stream = stream(exchange, response.stream)
        return response

    module.HTTPTransport.handle_request = handle_request


def _install_async(module: Any) -> None:
    name = module.__name__
    original = module.AsyncHTTPTransport.handle_async_request
    stream = _async_stream(module)

    @functools.wraps(original)
    async def handle_async_request(self: Any, request: Any) -> Any:
        context = active(name)
        if context is None:
            return await original(self, request)
        exchange = Exchange(context, _request(request, await request.aread()))
        if exchange.fault is not None:
            await never_if_cancelled(exchange.fault)
            raise exchange.fault
        if exchange.recorded is not None:
            return _response(module, exchange.recorded, stream(exchange, None))
        with covered(exchange.question):
            try:
                response = await original(self, request)
            except SIGNALS:
                raise
            except BaseException as fault:
                exchange.failed(fault)
                raise
        exchange.replied(_reply(response))
        response.stream = stream(exchange, response.stream)
        return response

    module.AsyncHTTPTransport.handle_async_request = handle_async_request


async def never_if_cancelled(fault: BaseException) -> None:
    """Waits where the recorded run was cancelled while it waited: whoever cancelled it does so again."""
    if isinstance(fault, asyncio.CancelledError):
        await asyncio.get_running_loop().create_future()


def _sync_stream(library: Any) -> Any:
    class CapturedStream(library.SyncByteStream):  # type: ignore[misc]  # the base is one of two libraries'
        """A body, live or recorded: its pieces are handed on one by one."""

        def __init__(self, exchange: Exchange, live: Any) -> None:
            self._exchange = exchange
            self._live = live

        def __iter__(self) -> Iterator[bytes]:
            exchange, reply = self._exchange, self._exchange.recorded
            if reply is not None:
                position = 0
                while (piece := replayed(reply, exchange, position)) is not None:
                    yield piece
                    position += 1
                return
            source = iter(self._live)
            while (piece := _next(exchange, source)) is not None:
                yield piece

        def close(self) -> None:
            if self._live is not None:
                with covered(self._exchange.question):
                    self._live.close()
                self._exchange.closed()

    return CapturedStream


def _next(exchange: Exchange, source: Iterator[bytes]) -> bytes | None:
    try:
        with covered(exchange.question):
            piece = next(source, None)
    except SIGNALS:
        raise
    except BaseException as fault:
        exchange.ended(fault=fault)
        raise
    if piece is None:
        exchange.ended()
    else:
        exchange.took(piece)
    return piece


def _async_stream(library: Any) -> Any:
    class CapturedAsyncStream(library.AsyncByteStream):  # type: ignore[misc]  # the base is one of two libraries'
        """A body, live or recorded: its pieces are handed on one by one."""

        def __init__(self, exchange: Exchange, live: Any) -> None:
            self._exchange = exchange
            self._live = live

        async def __aiter__(self) -> AsyncIterator[bytes]:
            exchange, reply = self._exchange, self._exchange.recorded
            if reply is not None:
                position = 0
                while (piece := await _replayed(reply, exchange, position)) is not None:
                    yield piece
                    position += 1
                return
            source = aiter(self._live)
            while (piece := await _anext(exchange, source)) is not None:
                yield piece

        async def aclose(self) -> None:
            if self._live is not None:
                with covered(self._exchange.question):
                    await self._live.aclose()
                self._exchange.closed()

    return CapturedAsyncStream


async def _replayed(reply: Reply, exchange: Exchange, position: int) -> bytes | None:
    try:
        return replayed(reply, exchange, position)
    except asyncio.CancelledError as fault:
        await never_if_cancelled(fault)
        raise


async def _anext(exchange: Exchange, source: AsyncIterator[bytes]) -> bytes | None:
    try:
        with covered(exchange.question):
            piece = await anext(source, None)
    except SIGNALS:
        raise
    except BaseException as fault:
        exchange.ended(fault=fault)
        raise
    if piece is None:
        exchange.ended()
    else:
        exchange.took(piece)
    return piece


def _request(request: Any, body: bytes) -> Request:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
    return Request(request.method.upper(), str(request.url), headers, body)


def _reply(response: Any) -> Reply:
    extensions = response.extensions
    return Reply(
        response.status_code,
        extensions.get("reason_phrase", b"").decode("latin-1"),
        extensions.get("http_version", b"HTTP/1.1").decode("latin-1"),
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw],
    )


def _response(module: Any, reply: Reply, stream: Any) -> Any:
    return module.Response(
        status_code=reply.status,
        headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers],
        stream=stream,
        extensions={
            "http_version": reply.version.encode("latin-1"),
            "reason_phrase": reply.reason.encode("latin-1"),
        },
    )


HOOKS = (
    Hook("httpx", "httpx", _install, extra="httpx"),
    Hook("httpx2", "httpx2", _install, extra="httpx2"),
)
