"""Content encodings of HTTP bodies (RFC 9110, 8.4), undone to look for secrets in what they hold.

Brotli is undone where a library for it is installed, as clients ask for it only then.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

_BROTLI: Final = ("brotli", "brotlicffi")

#: Undoes what it is handed, after what it was handed before.
Step = Callable[[bytes], bytes]
#: Undoes a whole body; None if it cannot.
Way = Callable[[bytes], bytes | None]


def decoded(body: bytes, coding: str) -> bytes | None:
    """A body without its content encodings, as far as it can be read: it may be cut off, or broken.

    Args:
        body: as it was sent.
        coding: the value of ``Content-Encoding``.

    Returns:
        None if it has an encoding that cannot be undone here, or is not encoded like that.
    """
    for name in reversed([part.strip().lower() for part in coding.split(",")]):
        if name in ("", "identity") or not body:
            continue
        way = _WAYS.get(name)
        undone = None if way is None else way(body)
        if undone is None:
            return None
        body = undone
    return body


def _read(start: Callable[[], Any], data: bytes, errors: type[Exception]) -> bytes | None:
    """Reads streams that follow each other, each with a decompressor of its own."""
    found: list[bytes] = []
    while data:
        stream = start()
        try:
            found.append(stream.decompress(data))
        except errors:
            found.append(_prefix(start().decompress, data, errors))
            return b"".join(found) or None
        data = stream.unused_data if stream.eof else b""
    return b"".join(found)


def _prefix(step: Step, data: bytes, errors: type[Exception]) -> bytes:
    """What can be read of a broken stream: to the byte, because clients read that far, too."""
    found = []
    with contextlib.suppress(errors):
        for position in range(len(data)):
            found.append(step(data[position : position + 1]))
    return b"".join(found)


def _inflated(window: int) -> Way:
    return lambda data: _read(lambda: zlib.decompressobj(window), data, zlib.error)


def _deflated(data: bytes) -> bytes | None:
    # What HTTP calls deflate is the format of zlib, and often enough the bare one inside it.
    whole = _inflated(zlib.MAX_WBITS)(data)
    return _inflated(-zlib.MAX_WBITS)(data) if whole is None else whole


def _zstd(data: bytes) -> bytes | None:
    # As in log/zstd.py: the standard library's from Python 3.14 on, its backport before.
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return _read(zstd.ZstdDecompressor, data, zstd.ZstdError)


def _brotli(data: bytes) -> bytes | None:
    for name in _BROTLI:
        try:
            library: Any = importlib.import_module(name)
        except ImportError:
            continue
        try:
            return bytes(library.Decompressor().process(data))
        except library.error:
            return _prefix(library.Decompressor().process, data, library.error) or None
    return None


_WAYS: Final[Mapping[str, Way]] = MappingProxyType(
    {
        "br": _brotli,
        "deflate": _deflated,
        "gzip": _inflated(zlib.MAX_WBITS | 16),
        "x-gzip": _inflated(zlib.MAX_WBITS | 16),
        "zstd": _zstd,
    }
)
