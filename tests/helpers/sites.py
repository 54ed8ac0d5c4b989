"""A real HTTP server on loopback, and what tests do with it: record against it, and replay without it."""

import gzip
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from intentusnet import IntentusRuntime, MemoryExecutionStore

PIECES = (b"data: one\n\n", b"data: two\n\n", b"data: three\n\n")


class Site:
    """A server that can be told what to answer, counts what it is asked, and can go away.

    Args:
        handlers: what it does for a path; what is not listed is echoed as JSON.
    """

    def __init__(self, handlers: dict[str, Callable[["Handler"], None]] | None = None) -> None:
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        #: Handlers that are not to answer wait for this.
        self.leaving = threading.Event()
        self.handlers = {**_HANDLERS, **(handlers or {})}
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.site = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Ends the server; nobody listens at its port any more."""
        self.leaving.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    # Connections that clients keep open would be waited for.
    daemon_threads = True
    block_on_close = False
    site: Site

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    server: _Server
    body: bytes

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def __getattr__(self, name: str) -> Any:
        """Every method is served: the base class looks for `do_GET` and the like."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        self.body = self._read()
        path = self.path.partition("?")[0]
        self.server.site.requests.append((self.command, self.path))
        self.server.site.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.site.handlers.get(path, _echo)(self)

    def answer(self, body: bytes, *headers: tuple[str, str], status: int = 200) -> None:
        """Answers with a whole body."""
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def stream(self, pieces: tuple[bytes, ...], kind: str = "text/event-stream") -> None:
        """Answers with chunks, each sent by itself."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


def _echo(handler: Handler) -> None:
    told = {"method": handler.command, "path": handler.path, "body": handler.body.decode("latin-1")}
    handler.answer(json.dumps(told).encode(), ("Content-Type", "application/json"))


def _drop(handler: Handler) -> None:
    handler.close_connection = True


def _broken(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"the beginning")
    handler.close_connection = True


def _slow(handler: Handler) -> None:
    handler.server.site.leaving.wait()
    handler.close_connection = True


def _stall(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"the beginning")
    handler.wfile.flush()
    _slow(handler)


_HANDLERS: dict[str, Callable[[Handler], None]] = {
    "/broken": _broken,
    "/drop": _drop,
    "/gzip": lambda handler: handler.answer(
        gzip.compress(b'{"packed": true}'), ("Content-Encoding", "gzip"), ("Content-Type", "application/json")
    ),
    "/many": lambda handler: handler.answer(
        b"", ("X-Many", "one"), ("X-Many", "two"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), status=418
    ),
    "/redirect": lambda handler: handler.answer(
        b"moved", ("Location", "/there?from=redirect"), ("Set-Cookie", "seen=yes; Path=/"), status=302
    ),
    "/slow": _slow,
    "/stall": _stall,
    "/stream": lambda handler: handler.stream(PIECES),
}


def runtime_of(body: Callable[[str], Any], capture: Any = True, store: Any = None, **options: Any) -> Any:
    """A runtime whose one agent, for the intent ``go``, is the body; its payload is the site's URL."""
    runtime = IntentusRuntime(store=store or MemoryExecutionStore(), capture=capture)

    @runtime.agent("body", handles="go", **options)
    def agent(payload: str) -> Any:
        return body(payload)

    return runtime


def recorded(body: Callable[[str], Any], capture: Any = True, site: Site | None = None) -> Any:
    """Runs a body against a site, replays it when the site has gone, and returns what it answered live.

    The replay must be a match, and whatever it answers is compared by it.
    """
    payload, _ = recorded_with(body, capture, site)
    return payload


def recorded_with(
    body: Callable[[str], Any], capture: Any = True, site: Site | None = None
) -> tuple[Any, list[Any]]:
    """As `recorded`, with the questions of kind http that are on record."""
    runtime = runtime_of(body, capture)
    with site or Site() as site:
        response = runtime.route("go", site.url)
    assert response.error is None, response.error
    asked = len(site.requests)
    report = runtime.replay(response.execution_id)
    assert report.divergences == (), "\n".join(map(str, report.divergences))
    assert report.verdict.value == "match"
    assert len(site.requests) == asked
    questions = runtime.store.get(response.execution_id).questions
    return response.payload, [question for question in questions if question.kind == "http"]


def told(fault: BaseException) -> list[str]:
    """What an agent can tell of an error: its class and message."""
    return [f"{type(fault).__module__}.{type(fault).__qualname__}", str(fault)]
