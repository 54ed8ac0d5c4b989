"""References to large values: found in every body, and in no value of a user's."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet import values
from intentusnet.errors import InvalidInput
from intentusnet.references import BLOB_LINE, Blob, BlobRef, references, resolved

BLOB = Blob.of(b'"a value"')
NODE = BLOB.ref.node()

#: Strings and keys that come as close to a reference as they can.
HOSTILE = st.sampled_from(
    [
        "$blob",
        NODE.decode(),
        NODE.decode()[1:-1],
        '{"$blob":["',
        '"$blob":',
        '\\{"$blob":["' + "0" * 64 + '",1]}',
        "{",
        '{"',
        "0" * 64,
    ]
)
TREES = st.recursive(
    HOSTILE | st.integers(1, 99) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(HOSTILE | st.text(max_size=3), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=8,
)


def test_a_reference_is_digest_and_size() -> None:
    """The node names the SHA-256 of the value's bytes and how many they are, and is read back."""
    digest = hashlib.sha256(BLOB.data).hexdigest()
    assert NODE.decode() == f'{{"$blob":["{digest}",9]}}'
    assert references(b'{"value":%b,"x":[%b]}' % (NODE, NODE)) == (BLOB.ref, BLOB.ref)
    assert values.parse(NODE) == {"$blob": [BLOB.ref.digest, 9]}


@given(TREES)
def test_no_value_can_be_taken_for_a_reference(value: Any) -> None:
    """Whatever keys and strings a value has, nothing in its bytes is found as a reference, or replaced."""
    for body in (values.encode(value), values.encode_arguments((value,), {"k": value})):
        assert references(body) == ()
        assert resolved(body, lambda ref: b"?") == body


@given(TREES, TREES)
def test_a_body_is_resolved_to_what_it_would_be(one: Any, other: Any) -> None:
    """With each reference replaced by its value, however hostile that is, the body holds the values."""
    first, second = (Blob.of(values.encode(value)) for value in (one, other))
    blobs = {first.ref: first.data, second.ref: second.data}
    apart = values.dumps({"a": values.Fragment(first.ref.node()), "b": [values.Fragment(second.ref.node())]})
    assert references(apart) == (first.ref, second.ref)
    assert resolved(apart, blobs.__getitem__) == values.dumps(
        {"a": values.Fragment(first.data), "b": [values.Fragment(second.data)]}
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"$blob":["%b",01]}' % (b"0" * 64),
        b'{"$blob":["%b",0]}' % (b"0" * 64),
        b'{"$blob":["%b",1]}' % (b"A" * 64),
        b'{"$blob":["%b",1]}' % (b"0" * 63),
        b'{"$blob":["%b", 1]}' % (b"0" * 64),
        b'{"$blob":["%b",1],"x":1}' % (b"0" * 64),
    ],
)
def test_a_reference_has_one_spelling(body: bytes) -> None:
    """Another spelling is none, and no value either: it cannot be read as one."""
    assert references(body) == ()
    with pytest.raises(InvalidInput):
        values.decode(body)


def test_what_was_not_resolved_is_no_value() -> None:
    """A reference that is read where a value is expected is refused rather than handed out."""
    with pytest.raises(InvalidInput):
        values.decode(NODE)


def test_the_line_of_a_value_is_matched_by_its_template() -> None:
    """A portable record's line of a value has its digest and its bytes, and nothing else."""
    match = BLOB_LINE.fullmatch(BLOB.line())
    assert match is not None
    assert BlobRef(match[1].decode(), len(match[2])) == BLOB.ref
    assert match[2] == BLOB.data
