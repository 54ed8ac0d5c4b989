"""Content encodings are undone as far as clients undo them: whole, cut off, broken, one behind another."""

import gzip
import sys
import zlib

import brotli
import pytest
from backports import zstd

from intentusnet.capture.coding import decoded

TEXT = b"a secret body, " * 100
PACKED = {
    "br": brotli.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "gzip": gzip.compress(TEXT),
    "zstd": zstd.compress(TEXT),
}


@pytest.mark.parametrize("coding", PACKED)
def test_a_body_is_undone_whole_and_cut_off(coding):
    """The whole is the text; of a part at least nothing else is made."""
    assert decoded(PACKED[coding], coding) == decoded(PACKED[coding], coding.upper()) == TEXT
    part = decoded(PACKED[coding][:-3], coding)
    assert part is not None and TEXT.startswith(part)


@pytest.mark.parametrize("coding", PACKED)
def test_what_can_be_read_of_a_broken_body_is(coding):
    """What comes before the fault may be a secret; what comes behind it nobody can read."""
    noise = bytes(range(256)) * 40
    compress = {"br": brotli.compress, "deflate": zlib.compress, "gzip": gzip.compress, "zstd": zstd.compress}
    packed = compress[coding](noise)
    found = decoded(packed[:-8] + bytes(byte ^ 0xFF for byte in packed[-8:]), coding)
    assert found is None or found[:100] == noise[:100]


def test_bodies_in_several_pieces_and_several_encodings():
    """Members that follow each other, encodings in their order, the bare format that calls itself deflate."""
    assert decoded(gzip.compress(b"one ") + gzip.compress(b"two"), "gzip") == b"one two"
    assert decoded(zstd.compress(b"one ") + zstd.compress(b"two"), "zstd") == b"one two"
    assert decoded(brotli.compress(PACKED["gzip"]), "gzip, br") == TEXT
    assert decoded(zlib.compress(TEXT, wbits=-15), "deflate") == TEXT
    assert decoded(gzip.compress(b""), "x-gzip") == b""
    assert decoded(TEXT, "identity") == decoded(TEXT, "") == TEXT


@pytest.mark.parametrize(("body", "coding"), [(TEXT, "gzip"), (TEXT, "zstd"), (TEXT, "aws-chunked")])
def test_what_is_not_encoded_like_that_is_told_apart(body, coding):
    """None is no body: the caller decides what becomes of it."""
    assert decoded(body, coding) is None


def test_brotli_needs_its_library(monkeypatch):
    """Without one, clients do not ask for it, and what comes all the same cannot be read."""
    for name in ("brotli", "brotlicffi"):
        monkeypatch.setitem(sys.modules, name, None)
    assert decoded(PACKED["br"], "br") is None
