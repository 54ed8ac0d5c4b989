"""A set of fixed size that never forgets a member, and now and then seems to hold what it does not."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable
from hashlib import sha256
from typing import Final

# These and the shifts below share out 61 bits of a hash.
_EXPONENT: Final = 21
_LAST: Final = (1 << _EXPONENT) - 1
_CHOICES: Final = 4096


def _choices(seed: bytes) -> tuple[int, ...]:
    """So many choices of up to four of 64 bits."""
    digests = (sha256(seed + at.to_bytes(2, "big")).digest() for at in range(_CHOICES))
    return tuple(1 << d[0] % 64 | 1 << d[1] % 64 | 1 << d[2] % 64 | 1 << d[3] % 64 for d in digests)


class Marks:
    """A Bloom filter that sets up to eight bits in one word for each member; mutable.

    A word holds more than one number: one look-up and one store for each member, which is what matters here.
    With 2**21 words of 64 bits, some five answers in a million are wrong at a million members, and seven in a
    thousand at ten million.
    """

    #: Up to so many members, a plain set is smaller, and exact.
    _FEW: Final = 4096

    def __init__(self) -> None:
        self._few: set[bytes] | None = set()
        self._words = array("Q")
        self._left: tuple[int, ...] = ()
        self._right: tuple[int, ...] = ()

    def add(self, members: Collection[bytes]) -> list[bytes]:
        """Puts members in, which are all different; those that seem to have been in already."""
        few = self._few
        if few is None:
            return self._mark(members)
        if len(few) + len(members) <= self._FEW:
            known = [member for member in members if member in few]
            few.update(members)
            return known
        self._few, self._words = None, array("Q", [0]) * (1 << _EXPONENT)
        self._left, self._right = _choices(b"left"), _choices(b"right")
        self._mark(few)
        return self._mark(members)

    def _mark(self, members: Iterable[bytes]) -> list[bytes]:
        words, left, right = self._words, self._left, self._right
        known = []
        for member in members:
            mixed = hash(member)
            at = mixed & _LAST
            bits = left[mixed >> 21 & 4095] | right[mixed >> 33 & 4095]
            word = words[at]
            if word | bits == word:
                known.append(member)
            words[at] = word | bits
        return known
