"""Zstandard, as this package uses it: one frame at a time, whose size is known before it is decompressed.

The library is the standard one of Python 3.14, and its backport before; it is imported when the first frame
is made or read, because most commands need neither. Whatever it finds wrong with a frame ends as an
`IntegrityBroken`, and no frame, whatever it claims, takes more memory than what is expected of it.
"""

from __future__ import annotations

import sys

from intentusnet.errors import IntegrityBroken

_LEVEL = 3
# A frame that names no size for its window gets none that is larger than this (bytes, as a power of two).
_LEAST_WINDOW_LOG = 10
# `_LEVEL` makes no larger windows than 2 MiB; more than this no decompressor of zstd takes unasked.
_MOST_WINDOW_LOG = 27


def compress(data: bytes) -> bytes:
    """One frame with these bytes, which says how many they are and has a checksum of them."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    parameter = zstd.CompressionParameter
    return zstd.compress(data, options={parameter.compression_level: _LEVEL, parameter.checksum_flag: 1})


def decompress(frame: bytes, size: int) -> bytes:
    """The bytes of one frame.

    Args:
        frame: the frame, and nothing before or after it.
        size: how many bytes there are in it.

    Raises:
        IntegrityBroken: it is no such frame; the caller sets ``where``.
    """
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    window = min(max(_LEAST_WINDOW_LOG, size.bit_length()), _MOST_WINDOW_LOG)
    decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: window})
    try:
        # One byte more than there may be: else the end of the frame would not be looked at.
        data = decompressor.decompress(frame, max_length=size + 1)
    except zstd.ZstdError as error:
        raise _broken(size, str(error)) from error
    if len(data) != size or not decompressor.eof or decompressor.unused_data:
        got = f"{len(data)} bytes" if decompressor.eof else f"a frame that goes on after {len(data)} bytes"
        more = len(decompressor.unused_data)
        raise _broken(size, f"{got}, and {more} bytes behind the frame" if more else got)
    return data


def _broken(size: int, got: str) -> IntegrityBroken:
    return IntegrityBroken("compressed bytes are damaged", expected=f"a frame of {size} bytes", got=got)
