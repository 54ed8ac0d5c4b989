"""The files of blobs: values that entries refer to (``references``), each in a file named by its digest.

A value whose SHA-256 is ``abcd…`` lies in ``blobs/ab/abcd….zst`` of the store: its bytes as one zstd frame,
behind which a skippable frame (RFC 8878, section 3.1.2) holds the SHA-256 of the first. Tools skip it, so
``zstd -dc`` prints the value. With it every byte of the file is covered: those of the second frame by itself,
those of the first by the second, even where a decoder would not mind, and the value by the file's name.
"""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import Path
from typing import Final

from intentusnet.errors import IntegrityBroken
from intentusnet.log.zstd import compress, decompress
from intentusnet.references import BlobRef, references

__all__ = ["BLOBS_DIR", "BlobRef", "blob_path", "is_blob_name", "pack", "read_blob", "references"]

BLOBS_DIR: Final = "blobs"

_NAME: Final = re.compile(r"[0-9a-f]{64}\.zst")
# Magic number and size (32) of the skippable frame, both little-endian; `compressed` uses the same.
_SEAL: Final = b"\x5d\x2a\x4d\x18\x20\x00\x00\x00"
_SEAL_BYTES: Final = len(_SEAL) + 32


def blob_path(directory: Path, digest: str) -> Path:
    """Where the blob of that digest lies.

    Args:
        directory: the store's.
        digest: 64 lowercase hex digits.
    """
    return directory / BLOBS_DIR / digest[:2] / f"{digest}.zst"


def is_blob_name(shard: str, name: str) -> bool:
    """Whether a file of that name, in a directory of that name, is a blob."""
    return _NAME.fullmatch(name) is not None and name.startswith(shard) and len(shard) == 2


def pack(data: bytes) -> tuple[bytes, bytes]:
    """The content of the file of a value, in two pieces."""
    frame = compress(data)
    return frame, _SEAL + sha256(frame).digest()


def read_blob(directory: Path, ref: BlobRef) -> bytes:
    """A value, after checking every byte of its file.

    Args:
        directory: the store's.
        ref: which value; it says how large it is, so that no more memory is taken.

    Raises:
        IntegrityBroken: its file is missing, or not what was written; ``where`` is the file.
        OSError: the file cannot be read.
    """
    path = blob_path(directory, ref.digest)
    # What zstd cannot compress grows by less than that.
    most = ref.size + (ref.size >> 8) + 1024
    try:
        with path.open("rb") as file:
            packed = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise IntegrityBroken(
            "a value that an entry refers to is missing",
            where=str(path),
            expected=f"{ref.size} bytes with the SHA-256 {ref.digest}",
            got="no file",
        ) from None
    try:
        return _unpack(packed, ref)
    except IntegrityBroken as fault:
        raise IntegrityBroken(
            f"a value that an entry refers to is damaged: {fault.message}",
            where=str(path),
            expected=fault.expected,
            got=fault.got,
        ) from None


def _unpack(packed: bytes, ref: BlobRef) -> bytes:
    frame, seal = packed[:-_SEAL_BYTES], packed[-_SEAL_BYTES:]
    digest = sha256(frame).digest()
    if seal != _SEAL + digest:
        raise IntegrityBroken(
            "the file is not the one that was written",
            expected=f"{digest.hex()} of all before at the file's end",
            got=seal[len(_SEAL) :].hex() or "a shorter file",
        )
    data = decompress(frame, ref.size)
    if sha256(data).hexdigest() != ref.digest:
        raise IntegrityBroken(
            "the file holds another value", expected=ref.digest, got=sha256(data).hexdigest()
        )
    return data
