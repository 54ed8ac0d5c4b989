"""Stores of short segments, and what watches or breaks their compression at any step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.logs import STORE, Unsynced, drafts, writer

from intentusnet.log.files import Files
from intentusnet.log.identity import Identity, create_identity
from intentusnet.log.segment import LOG_DIR, Segment, iter_lines, segment_name

CHANGING = ("open", "write", "fsync", "rename", "fsync_dir", "unlink")


class Watched(Files):
    """Calls back before each call that changes something, and after it."""

    def __init__(self, before: Callable[[str], Any] = str, after: Callable[[str], Any] = str) -> None:
        self._before = before
        self._after = after

    def __getattribute__(self, name: str) -> Any:
        real = super().__getattribute__(name)
        if name not in CHANGING:
            return real

        def call(*args: Any) -> Any:
            self._before(name)
            done = real(*args)
            self._after(name)
            return done

        return call


class Died(BaseException):
    """The process is gone: nothing that it would still have done is done."""


class Kth:
    """Raises at the k-th call; and, if it is a death, at every later one."""

    def __init__(self, k: int, error: BaseException) -> None:
        self.left = k
        self.error = error

    def __call__(self, name: str) -> None:
        self.left -= 1
        if self.left == 0 or (self.left < 0 and isinstance(self.error, Died)):
            raise self.error


def store_of(directory: Path, count: int) -> Path:
    """A store of that many lines in segments of five."""
    directory.mkdir(exist_ok=True)
    create_identity(directory, Identity(STORE, 0, {}), Unsynced())
    with_lines(directory, count)
    return directory


def with_lines(directory: Path, count: int) -> None:
    log = writer(directory, Unsynced(), max_entries=5)
    for draft in drafts(count, "text " * 20):
        log.append([draft], durability="os")
    log.close()


def names(store: Path) -> list[str]:
    return sorted(path.name for path in (store / LOG_DIR).iterdir())


def compressed_names(*last: int) -> list[str]:
    return [*(segment_name(first) + ".zst" for first in (0, 5, 10)), *(segment_name(first) for first in last)]


def read_all(segments: tuple[Segment, ...]) -> list[bytes]:
    return [line for segment in segments for _, line in iter_lines(segment)]
