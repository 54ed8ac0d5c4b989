"""Clock and ids: the only places where the package itself meets time and chance.

Both are small protocols so that tests and deterministic runs inject their own; ``SYSTEM_CLOCK`` and
``SYSTEM_IDS`` are what a runtime uses when it is given none.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
import uuid
from typing import Protocol

import uuid_utils


class Clock(Protocol):
    """Time as the runtime sees it."""

    def time_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back; only differences mean anything."""
        ...

    def sleep(self, seconds: float) -> None:
        """Returns after that many seconds."""
        ...


class Ids(Protocol):
    """Where ids and seeds come from."""

    def execution_id(self) -> str:
        """A UUIDv7 as text: ids sort by the time of their making."""
        ...

    def uuid(self) -> uuid.UUID:
        """A random UUID (version 4), for agents that ask for one."""
        ...

    def seed(self) -> int:
        """128 random bits, the seed of an agent's random stream."""
        ...


class SystemClock:
    """The machine's clock."""

    def time_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SystemIds:
    """Ids from the operating system's randomness."""

    def execution_id(self) -> str:
        return str(uuid_utils.uuid7())

    def uuid(self) -> uuid.UUID:
        return uuid.uuid4()

    def seed(self) -> int:
        return secrets.randbits(128)


class ManualClock:
    """A clock that moves only when it is told to, for tests and for runs that must be equal.

    Args:
        start_us: the first reading, in microseconds since 1970-01-01 UTC.
        step_us: how far each reading moves the clock on.
    """

    def __init__(self, start_us: int = 1_700_000_000_000_000, step_us: int = 0) -> None:
        self._now_us = start_us
        self._start_us = start_us
        self._step_us = step_us
        self._lock = threading.Lock()

    def time_us(self) -> int:
        with self._lock:
            now = self._now_us
            self._now_us += self._step_us
            return now

    def monotonic(self) -> float:
        return (self.time_us() - self._start_us) / 1_000_000

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Moves the clock on by that many seconds."""
        with self._lock:
            self._now_us += round(seconds * 1_000_000)


class SeededIds:
    """Ids that are the same in every run that asks for them in the same order."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def execution_id(self) -> str:
        with self._lock:
            return _as_uuid(self._random.getrandbits(128), version=7)

    def uuid(self) -> uuid.UUID:
        with self._lock:
            return uuid.UUID(_as_uuid(self._random.getrandbits(128), version=4))

    def seed(self) -> int:
        with self._lock:
            return self._random.getrandbits(128)


def _as_uuid(bits: int, version: int) -> str:
    """The bits with RFC 9562's version and variant; ``uuid.UUID(version=7)`` needs Python 3.14."""
    bits &= ~(0xF << 76) & ~(0x3 << 62)
    return str(uuid.UUID(int=bits | version << 76 | 0x2 << 62))


SYSTEM_CLOCK: Clock = SystemClock()
SYSTEM_IDS: Ids = SystemIds()
