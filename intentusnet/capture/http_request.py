"""HTTP requests as questions: what of a request is recorded and compared, and which secrets it holds.

The name is ``METHOD scheme://host[:port]/path``; arguments are the query, the headers that tell requests
apart (`MATCHED_HEADERS`) and the body: JSON as JSON, a form as its pairs, other text as text, the rest as
bytes. A content encoding is undone: it may differ with the moment, and hide what must not be written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from intentusnet import values
from intentusnet.capture.coding import decoded
from intentusnet.capture.hooks import Capture
from intentusnet.capture.redaction import PLACEHOLDER, Redaction, told_by_header, worth_looking_for
from intentusnet.errors import UnrecordableValue

#: Headers by which requests are told apart. What else there is names the sender, the moment or the key.
MATCHED_HEADERS: Final = frozenset(
    {
        "accept", "accept-language", "anthropic-beta", "anthropic-version", "content-encoding",
        "content-language", "content-type", "depth", "destination", "if-match", "if-modified-since",
        "if-none-match", "if-unmodified-since", "openai-beta", "prefer", "range", "soapaction",
        "x-amz-target", "x-http-method-override",
    }
)  # fmt: skip

_DEFAULT_PORTS: Final = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
_FORM: Final = "application/x-www-form-urlencoded"
_UNREADABLE: Final = PLACEHOLDER.encode()
_BOUNDARY: Final = re.compile(r'boundary="?([^";,\s]+)')

Headers = list[tuple[str, str]]


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


def question_of(request: Request, capture: Capture, secrets: Sequence[str]) -> tuple[str, bytes]:
    """Name and arguments of the question.

    Args:
        request: what is to be sent.
        capture: what else is compared, and what is not written down.
        secrets: that are known.
    """
    redaction = capture.redaction
    boundary = _boundary(request.headers)
    headers = []
    for lowered, value in ((name.lower(), value) for name, value in request.headers):
        if lowered in MATCHED_HEADERS or lowered in capture.headers:
            written = redaction.header(lowered, value, secrets)
            headers.append([lowered, written.replace(boundary, "boundary") if boundary else written])
    query = redaction.pairs(_pairs(urlsplit(request.url).query), secrets)
    asked = {"headers": sorted(headers), "query": query}
    name = _name(request, redaction, secrets)
    try:
        return name, values.encode_arguments((), {**asked, "body": _body(request, redaction, secrets)})
    except UnrecordableValue:
        text = readable(redaction.data(_clear(request)[0], secrets))
        return name, values.encode_arguments((), {**asked, "body": text})


def _name(request: Request, redaction: Redaction, secrets: Sequence[str]) -> str:
    """The name of the question."""
    url = urlsplit(request.url)
    host = url.netloc.rpartition("@")[2].lower()
    # By hand, because a port that is none is the client's to complain of.
    bare, colon, port = host.rpartition(":")
    if colon and port == _DEFAULT_PORTS.get(url.scheme):
        host = bare
    return f"{request.method} {url.scheme}://{host}{redaction.text(url.path or '/', secrets)}"


def secrets_of(request: Request, redaction: Redaction) -> list[str]:
    """The secrets that go out with a request: where a server echoes them, they are left out, too."""
    found: list[str] = []
    for name, value in request.headers:
        if redaction.is_secret_header(name):
            found += told_by_header(value)
    url = urlsplit(request.url)
    body, kind = _clear(request)
    pairs = _pairs(url.query)
    if kind == _FORM:
        pairs += _pairs(body.decode("latin-1"))
    found += [value for key, value in pairs if redaction.is_secret_key(key, query=True)]
    found += [unquote(part) for part in (url.username, url.password) if part]
    if _is_json(kind):
        try:
            _collect(json.loads(body), redaction, found)
        except (ValueError, RecursionError):
            found += redaction.secrets_in(body.decode("latin-1"))
    elif kind != _FORM:
        found += redaction.secrets_in(body.decode("utf-8", "replace"))
    return worth_looking_for(found)


def header_of(headers: Headers, name: str) -> str:
    """The first value of a header, whose name is in small letters; "" if there is none."""
    return next((value for key, value in headers if key.lower() == name), "")


def readable(piece: bytes) -> str | bytes:
    """Bytes as text, if they are UTF-8."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return piece


def _clear(request: Request) -> tuple[bytes, str]:
    """The body without its content encoding and the boundary, and its media type.

    A body that cannot be read is the placeholder: it may hold a secret, and compresses to other bytes with
    another one.
    """
    kind = header_of(request.headers, "content-type")
    body, coding = request.body, header_of(request.headers, "content-encoding")
    if body and coding:
        clear = decoded(body, coding)
        # Some clients are caught before they encode.
        body = clear if clear is not None else body if isinstance(readable(body), str) else _UNREADABLE
    if boundary := _boundary(request.headers):
        body = body.replace(boundary.encode(), b"boundary")
    return body, kind.partition(";")[0].strip().lower()


def _boundary(headers: Headers) -> str:
    """The boundary of a multipart body, which is drawn anew for each request; "" if there is none."""
    found = _BOUNDARY.search(header_of(headers, "content-type"))
    return found[1] if found is not None else ""


def _body(request: Request, redaction: Redaction, secrets: Sequence[str]) -> Any:
    body, kind = _clear(request)
    if not body:
        return None
    if _is_json(kind):
        try:
            return redaction.value(json.loads(body, object_pairs_hook=_object), secrets)
        except (ValueError, RecursionError):
            return readable(redaction.data(body, secrets))
    if kind == _FORM:
        return redaction.pairs(_pairs(body.decode("latin-1")), secrets)
    return readable(redaction.data(body, secrets))


def _is_json(kind: str) -> bool:
    return kind == "application/json" or kind.endswith("+json")


def _pairs(query: str) -> list[tuple[str, str]]:
    # Bytes that are no UTF-8 stay apart from each other.
    return parse_qsl(query, keep_blank_values=True, errors="surrogateescape")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object, and only as text is that kept")
    return found


def _collect(value: Any, redaction: Redaction, found: list[str]) -> None:
    if isinstance(value, str):
        found += redaction.secrets_in(value)
    elif isinstance(value, list):
        for item in value:
            _collect(item, redaction, found)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and redaction.is_secret_key(key):
                found.append(item)
            else:
                _collect(item, redaction, found)
