"""What a disk may hold after a crash: a model of a POSIX file system that promises no more than POSIX does.

A :class:`Disk` is told every call that changes files. It knows what a reader sees now, and everything that
may be on disk instead, should the machine stop:

- A sector of 512 bytes holds any of the contents that it has had since the last sync of its file; one that
  has never been on disk may also hold zeros or something else. Sectors are independent of each other.
- A file has any of the sizes that it has had since then, or one between two of them.
- Each creation, removal or renaming in a directory has reached the disk or not, each by itself, until the
  directory is synced. Syncing a file does nothing for its name, nor does the name of a directory follow from
  what lies in it.
- A sync that fails may have dropped what it should have written: a later one does not bring that to disk,
  though readers go on seeing it, unless the page (8 sectors) is written again.

Times are places in a trace. A sync covers what had been done when it *began*.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from random import Random

SECTOR = 512
PAGE = 8
#: Paths, and the bytes of a file, or None for a directory.
Tree = dict[str, bytes | None]
BEFORE = -1
_GARBAGE = bytes(range(0x80, 0x100)) * (SECTOR // 0x80)


class File:
    """One file, under whatever names; mutable.

    Attributes:
        data: what readers see.
        sectors: of those sectors that may differ on disk, every content with its time, oldest first.
        sizes: every size with its time; more than one if they may differ on disk.
    """

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.sectors: dict[int, list[tuple[int, bytes]]] = {}
        self.sizes = [(BEFORE, len(data))]
        self._dropped: set[int] = set()

    def write(self, time: int, offset: int, data: bytes) -> None:
        """Puts the bytes there, behind a hole if there was nothing before."""
        self._change(offset, offset + len(data))
        self.data.extend(bytes(max(0, offset - len(self.data))))
        self.data[offset : offset + len(data)] = data
        self._changed(time, offset, offset + len(data))

    def truncate(self, time: int, size: int) -> None:
        """Cuts, or extends by zeros."""
        end = max(size, len(self.data))
        self._change(size, end)
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))
        self._changed(time, size, end)

    def sync(self, began: int) -> None:
        """Everything up to that time is on disk, except for what an earlier sync has dropped."""
        for number, versions in list(self.sectors.items()):
            if number not in self._dropped:
                left = _since(versions, began)
                if len(left) > 1:
                    self.sectors[number] = left
                else:
                    del self.sectors[number]
        self.sizes = _since(self.sizes, began)

    def drop(self) -> None:
        """A sync has failed: what was waiting for it is waiting no more."""
        self._dropped |= self.sectors.keys()

    def _change(self, start: int, end: int) -> None:
        for number in range(start // SECTOR, -(-end // SECTOR)):
            self.sectors.setdefault(number, [(BEFORE, self._sector(number))])

    def _changed(self, time: int, start: int, end: int) -> None:
        for number in range(start // SECTOR, -(-end // SECTOR)):
            self.sectors[number].append((time, self._sector(number)))
            page = number - number % PAGE
            self._dropped -= set(range(page, page + PAGE))
        if len(self.data) != self.sizes[-1][1]:
            self.sizes.append((time, len(self.data)))

    def _sector(self, number: int) -> bytes:
        return bytes(self.data[number * SECTOR : (number + 1) * SECTOR]).ljust(SECTOR, b"\0")


def _since(versions: list[tuple[int, bytes]], began: int) -> list[tuple[int, bytes]]:
    """What may be on disk when the last of these until then is."""
    last = max(at for at, (time, _) in enumerate(versions) if time <= began)
    return [(BEFORE, versions[last][1]), *versions[last + 1 :]]


@dataclass
class Directory:
    """One directory; mutable.

    Attributes:
        now: what readers see: names, and the numbers of what they stand for.
        durable: what is on disk for sure.
        changes: what may be, with its time: names that go, and names that come for a number.
    """

    now: dict[str, int] = field(default_factory=dict)
    durable: dict[str, int] = field(default_factory=dict)
    changes: list[tuple[int, str | None, str | None, int]] = field(default_factory=list)

    def change(self, time: int, gone: str | None, come: str | None, number: int) -> None:
        """One atomic change of names."""
        self.changes.append((time, gone, come, number))
        _apply(self.now, self.changes[-1])

    def sync(self, began: int) -> None:
        """Every change up to that time is on disk."""
        for change in self.changes:
            if change[0] <= began:
                _apply(self.durable, change)
        self.changes = [change for change in self.changes if change[0] > began]


def _apply(names: dict[str, int], change: tuple[int, str | None, str | None, int]) -> None:
    _, gone, come, number = change
    if gone is not None and names.get(gone) == number:
        del names[gone]
    if come is not None:
        names[come] = number


@dataclass(frozen=True)
class Choice:
    """One thing that may be on disk in several ways, from the oldest to the newest, each with its time.

    Args:
        what: ``("sector", file, number)``, ``("size", file)`` or ``("name", directory, which change)``.
        options: bytes, sizes, or whether the change has happened.
    """

    what: tuple[object, ...]
    options: tuple[tuple[float, object], ...]


class Disk:
    """Files and directories by number; mutable. Directory 0 is the root, which is on disk.

    Args:
        tree: what is on disk at the beginning.
    """

    def __init__(self, tree: Tree | None = None) -> None:
        self.files: dict[int, File] = {}
        self.directories = {0: Directory()}
        self.made = 0
        for path, data in sorted((tree or {}).items()):
            above, name = self.parent(path)
            number = self.add(data)
            above.now[name] = above.durable[name] = number

    def add(self, data: bytes | None) -> int:
        """A new file with those bytes on disk, or a directory, without a name."""
        self.made += 1
        if data is None:
            self.directories[self.made] = Directory()
        else:
            self.files[self.made] = File(data)
        return self.made

    def parent(self, path: str) -> tuple[Directory, str]:
        """The directory that a path lies in, as readers see it, and the name there."""
        *above, name = path.split("/")
        directory = self.directories[0]
        for part in above:
            directory = self.directories[directory.now[part]]
        return directory, name

    def find(self, path: str) -> int | None:
        """The number of what a path stands for, as readers see it; the root's path is empty."""
        if not path:
            return 0
        directory, name = self.parent(path)
        return directory.now.get(name)

    def choices(self, rng: Random, inside: int) -> list[Choice]:
        """Everything that a crash leaves open.

        Args:
            rng: picks sizes.
            inside: how many sizes inside the last sector are looked at for each growth of a file.
        """
        found = [
            Choice(("name", number, at), ((BEFORE, False), (change[0], True)))
            for number, directory in self.directories.items()
            for at, change in enumerate(directory.changes)
        ]
        for number, file in self.files.items():
            for sector, versions in sorted(file.sectors.items()):
                fresh = sector * SECTOR >= file.sizes[0][1]
                options = [(BEFORE, _GARBAGE), *versions] if fresh else versions
                found.append(Choice(("sector", number, sector), tuple(options)))
            if len(file.sizes) > 1:
                found.append(Choice(("size", number), tuple(_sizes(file.sizes, rng, inside))))
        return found

    def tree(self, chosen: dict[tuple[object, ...], object]) -> Tree:
        """What is on disk when each choice has fallen like that."""
        found: Tree = {}
        self._walk(0, "", chosen, found)
        return found

    def now(self) -> Tree:
        """What readers see."""
        newest = {c.what: c.options[-1][1] for c in self.choices(Random(0), 0)}
        return self.tree(newest)

    def _walk(self, number: int, path: str, chosen: dict[tuple[object, ...], object], found: Tree) -> None:
        directory = self.directories[number]
        names = dict(directory.durable)
        for at, change in enumerate(directory.changes):
            if chosen["name", number, at]:
                _apply(names, change)
        for name, child in names.items():
            if child in self.files:
                found[path + name] = self._content(child, chosen)
            else:
                found[path + name] = None
                self._walk(child, f"{path}{name}/", chosen, found)

    def _content(self, number: int, chosen: dict[tuple[object, ...], object]) -> bytes:
        file = self.files[number]
        if not file.sectors and len(file.sizes) == 1:
            return bytes(file.data)
        size = chosen["size", number] if len(file.sizes) > 1 else file.sizes[0][1]
        data = bytearray(file.data)
        data.extend(bytes(max(0, size - len(data))))
        for sector in file.sectors:
            if sector * SECTOR < size:
                data.extend(bytes(max(0, (sector + 1) * SECTOR - len(data))))
                data[sector * SECTOR : (sector + 1) * SECTOR] = chosen["sector", number, sector]
        return bytes(data[:size])


def _sizes(sizes: list[tuple[int, int]], rng: Random, inside: int) -> Iterator[tuple[float, int]]:
    """The sizes that a file has had, and those between two of them: whole sectors, and parts of the last."""
    seen = {sizes[0][1]}
    yield sizes[0]
    for (_, before), (time, after) in pairwise(sizes):
        low, high = sorted((before, after))
        border = (high - 1) // SECTOR * SECTOR
        between = {*range(low - low % SECTOR + SECTOR, high, SECTOR)}
        part = range(max(low, border) + 1, high)
        between |= {*part[:1], *part[-1:], *rng.sample(part, min(inside, len(part)))}
        for size in sorted(between - seen):
            seen.add(size)
            yield time - 0.5, size
        seen.add(after)
        yield time, after


def crash_states(
    choices: list[Choice], rng: Random, *, exhaust: int, samples: int
) -> Iterator[dict[tuple[object, ...], object]]:
    """What a crash may leave of these choices: all of it if that is not too much, else a cut through it.

    The cut: everything old or new but one; everything as it was at some time, and everything old that was
    older than that; every other sector; and random ones, some mostly old, some mostly new.

    Args:
        choices: what is open.
        rng: picks the random ones.
        exhaust: up to so many states all are given.
        samples: how many random ones there are otherwise.
    """
    whats = [choice.what for choice in choices]
    counts = [len(choice.options) for choice in choices]
    if prod(counts) <= exhaust:
        picks = _all(counts)
    else:
        picks = _cut(choices, counts, rng, samples)
    for pick in picks:
        yield {what: choice.options[at][1] for what, choice, at in zip(whats, choices, pick, strict=True)}


def _all(counts: list[int]) -> Iterator[list[int]]:
    for number in range(prod(counts)):
        pick, rest = [], number
        for count in counts:
            rest, at = divmod(rest, count)
            pick.append(at)
        yield pick


def _cut(choices: list[Choice], counts: list[int], rng: Random, samples: int) -> Iterator[list[int]]:
    oldest, newest = [0] * len(counts), [count - 1 for count in counts]
    yield newest
    yield oldest
    for base in (newest, oldest):
        for at, count in enumerate(counts):
            for option in range(count):
                if option != base[at]:
                    yield [*base[:at], option, *base[at + 1 :]]
    times = sorted({time for choice in choices for time, _ in choice.options})
    for now in times:
        then = [max(at for at, (time, _) in enumerate(c.options) if time <= now) for c in choices]
        yield then
        yield [last if at == last else 0 for at, last in zip(then, newest, strict=True)]
        yield [0 if at == last else last for at, last in zip(then, newest, strict=True)]
    for odd in (0, 1):
        yield [0 if at % 2 == odd else last for at, last in enumerate(newest)]
    for number in range(samples):
        if number % 3 == 0:
            yield [rng.randrange(count) for count in counts]
            continue
        base, share = (oldest, newest)[number % 3 - 1], rng.choice((0.1, 0.3))
        yield [
            rng.randrange(count) if rng.random() < share else at
            for at, count in zip(base, counts, strict=True)
        ]
