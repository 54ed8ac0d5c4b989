"""The files of blobs: every byte of them is covered, and what is missing or swapped is named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from intentusnet.errors import IntegrityBroken
from intentusnet.log.blobs import blob_path, is_blob_name, pack, read_blob
from intentusnet.log.zstd import compress, decompress
from intentusnet.references import Blob, BlobRef

VALUE = b'"' + b"a value, a value and another value; " * 20 + b'"'
BLOB = Blob.of(VALUE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of the blob in a store's directory."""
    path = blob_path(tmp_path, BLOB.ref.digest)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(pack(VALUE)))
    return path


def refused(directory: Path, ref: BlobRef = BLOB.ref) -> IntegrityBroken:
    with pytest.raises(IntegrityBroken) as caught:
        read_blob(directory, ref)
    assert caught.value.where == str(blob_path(directory, ref.digest))
    return caught.value


def test_a_blob_lies_where_its_digest_says(file: Path, tmp_path: Path) -> None:
    """The name is the SHA-256 of the value, in a directory of its first two digits, and reads back."""
    digest = hashlib.sha256(VALUE).hexdigest()
    assert file.relative_to(tmp_path) == Path("blobs") / digest[:2] / f"{digest}.zst"
    assert read_blob(tmp_path, BLOB.ref) == VALUE


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_every_changed_byte_of_a_blob_is_found(file: Path, tmp_path: Path, mask: int) -> None:
    """No bit can be changed unseen, not even one that a decoder does not mind."""
    data = file.read_bytes()
    for at in range(len(data)):
        file.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
        refused(tmp_path)


def test_a_blob_of_another_length_is_found(file: Path, tmp_path: Path) -> None:
    """Cut anywhere, or with anything behind it, even a frame that tools skip, it is refused."""
    data = file.read_bytes()
    skipped = b"\x50\x2a\x4d\x18\x01\x00\x00\x00x"
    for changed in (*(data[:end] for end in range(len(data))), data + b"\0", data + skipped, data + data):
        file.write_bytes(changed)
        refused(tmp_path)


def test_a_well_made_file_of_another_value_is_found(file: Path, tmp_path: Path) -> None:
    """Swapped blobs, and one whose reference has another size, are refused by the digest and the size."""
    file.write_bytes(b"".join(pack(VALUE.replace(b"another", b"AnOtHeR"))))
    assert "another value" in refused(tmp_path).message
    file.write_bytes(b"".join(pack(VALUE)))
    for size in (1, len(VALUE) - 1, len(VALUE) + 1, 10**17):
        refused(tmp_path, BlobRef(BLOB.ref.digest, size))


def test_a_frame_that_holds_more_than_it_should_takes_no_memory(file: Path, tmp_path: Path) -> None:
    """A small file that would become a large value is refused at the size that the reference says."""
    frame = compress(bytes(64 << 20))
    file.write_bytes(frame + b"".join(pack(VALUE))[-40:-32] + hashlib.sha256(frame).digest())
    assert len(frame) < 10_000
    refused(tmp_path)


def test_a_missing_blob_is_named(file: Path, tmp_path: Path) -> None:
    """Gone, or a directory in its place: the error names digest and file."""
    file.unlink()
    fault = refused(tmp_path)
    assert BLOB.ref.digest in fault.expected and "missing" in fault.message
    file.mkdir()
    refused(tmp_path)


def test_the_frame_is_plain_zstd(file: Path) -> None:
    """The first frame alone is the value, so that any tool for zstd prints it."""
    frame, seal = pack(VALUE)
    assert decompress(frame, len(VALUE)) == VALUE
    assert len(seal) == 40 and file.read_bytes() == frame + seal


def test_what_cannot_be_compressed_is_kept(tmp_path: Path) -> None:
    """A value that grows when it is compressed is still within what is read."""
    data = b"".join(hashlib.sha256(b"%d" % n).hexdigest().encode() for n in range(2000))
    noise = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(4000))
    for value in (data, noise):
        blob = Blob.of(value)
        path = blob_path(tmp_path, blob.ref.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(pack(value)))
        assert read_blob(tmp_path, blob.ref) == value


def test_only_blobs_have_the_names_of_blobs() -> None:
    """Another directory, ending, length or alphabet is no blob."""
    digest = BLOB.ref.digest
    assert is_blob_name(digest[:2], f"{digest}.zst")
    for shard, name in (
        ("zz", f"{digest}.zst"),
        ("", f"{digest}.zst"),
        (digest[:3], f"{digest}.zst"),
        (digest[:2], digest),
        (digest[:2], f"{digest}.zst.new"),
        (digest[:2], f"{digest.upper()}.zst"),
    ):
        assert not is_blob_name(shard, name)
