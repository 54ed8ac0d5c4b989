"""Salts: random bytes that keep a commit from telling what it commits to.

They are fetched from the system for many entries at once. One by one, each fetch would let go of the
interpreter, and with many threads whoever lets go waits for a turn to go on.
"""

from __future__ import annotations

import os
from os import urandom
from typing import Final

SALT_BYTES: Final = 16
_AT_ONCE: Final = 64

_ready: Final[list[bytes]] = []


def fresh_salt() -> bytes:
    """Bytes (16) from the system's randomness that no other entry gets."""
    try:
        return _ready.pop()
    except IndexError:
        fetched = urandom(SALT_BYTES * _AT_ONCE)
        salts = [fetched[at : at + SALT_BYTES] for at in range(0, len(fetched), SALT_BYTES)]
        _ready.extend(salts[1:])
        return salts[0]


if hasattr(os, "register_at_fork"):
    # The parent gives out what it has fetched; the child must not give out the same.
    os.register_at_fork(after_in_child=_ready.clear)
