"""What stands in an entry's body where a large value is kept apart from the log, in a *blob*.

A value of more than ``BOUND`` bytes would bloat the log and everything that reads it. In its place stands a
reference, one more tag in the style of ``values``::

    {"$blob":["<SHA-256 of the value's bytes, 64 hex digits>",<how many bytes it has>]}

So an entry commits to a value that lies elsewhere as it does to one that it holds. No value can be mistaken
for a reference: a key that begins with ``$`` is always written in a ``$dict`` pair, and quotes in a string
are escaped, so that the bytes of a reference occur in no body where there is none. That is why references
are found, and replaced by what they stand for, without parsing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple

#: The largest value, in encoded bytes, that stands in a body itself.
BOUND: Final = 32_768

#: The line of a value in a portable record: digest and bytes.
BLOB_LINE: Final = re.compile(rb'\{"blob":"([0-9a-f]{64})","value":(.*)\}\n')

#: What every reference begins with.
MARK: Final = b'{"$blob":'
_REFERENCE: Final = re.compile(rb'\{"\$blob":\["([0-9a-f]{64})",([1-9][0-9]{0,17})\]\}')


class BlobRef(NamedTuple):
    """Which value it is that is kept apart.

    Attributes:
        digest: the SHA-256 of its bytes, as 64 lowercase hex digits.
        size: how many bytes they are.
    """

    digest: str
    size: int

    def node(self) -> bytes:
        """What stands in a body in place of the value."""
        return b'{"$blob":["%b",%d]}' % (self.digest.encode(), self.size)


class Blob(NamedTuple):
    """A value to be kept apart: its encoded bytes, and what refers to them. Make one with :meth:`of`."""

    ref: BlobRef
    data: bytes

    @classmethod
    def of(cls, data: bytes) -> Blob:
        """The blob of these bytes."""
        return cls(BlobRef(sha256(data).hexdigest(), len(data)), data)

    def line(self) -> bytes:
        """Its line in a portable record, with the newline; `BLOB_LINE` matches it."""
        return b'{"blob":"%b","value":%b}\n' % (self.ref.digest.encode(), self.data)


def references(body: bytes) -> tuple[BlobRef, ...]:
    """What a body refers to, in order, as often as it does; a whole line will do as well."""
    if MARK not in body:
        return ()
    return tuple(BlobRef(digest.decode(), int(size)) for digest, size in _REFERENCE.findall(body))


def resolved(body: bytes, load: Callable[[BlobRef], bytes]) -> bytes:
    """The body as it would be if all its values stood in it.

    Args:
        body: an entry's body.
        load: gives the bytes of a value; what it raises goes through.
    """
    if MARK not in body:
        return body
    return _REFERENCE.sub(lambda match: load(BlobRef(match[1].decode(), int(match[2]))), body)
