"""The search for a text in everything that executions have recorded.

Nothing is kept for it: the log itself is read, in the order asked for, a few megabytes at once, and only the
lines that hold the text are taken apart. So it costs about what reading the log's files costs, its memory
does not grow with the log, the first page of a text that is frequent is there at once, and a later page
begins where its cursor says.

An execution is found where it was opened, so a stretch of the log decides about the executions that were
opened in it. Those of their lines that lie behind it are few, and are looked up by the index.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from intentusnet.errors import IntegrityBroken
from intentusnet.references import MARK
from intentusnet.stores.finding import Load, holds, spelled
from intentusnet.stores.index import Index
from intentusnet.stores.intake import Place
from intentusnet.stores.reading import Doubt, Lines, checked
from intentusnet.stores.selecting import Found, Wanted

#: Bytes that are read at once: few at first, because a page may be full soon.
_FEWEST: Final = 1 << 18
_MOST: Final = 1 << 22

_HEAD: Final = re.compile(
    rb'\{"seq":([0-9]{1,19}),"ts":-?[0-9]{1,19},"kind":"[a-z]+","execution":"([0-9a-f-]*)"'
)
_BODY: Final = b',"body":{'


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Lines of one segment: first seq, the seq behind the last one, and where they lie in the bytes."""

    first: int
    end: int
    data: bytes
    start: int
    stop: int


def search(wanted: Wanted, index: Index, lines: Lines, load: Load) -> Iterator[Found]:
    """The executions that are wanted and have the text in one of their entries, in the order asked for.

    Args:
        wanted: which; its query has a text.
        index: where to look.
        lines: what to look at.
        load: gives the bytes of a value that is kept apart; what it raises goes through.

    Raises:
        Doubt: a line is not what the index says.
    """
    query = wanted.query
    text = None if query.text is None else spelled(query.text)
    if text is None:
        return
    position, size = query.position, _FEWEST
    while (candidate := index.first(wanted, position)) is not None:
        stretch = _stretch(candidate.opened, size, index, lines, oldest_first=query.oldest_first)
        hits = _hits(stretch, text, index, load)
        late = [seq for seq in index.open_at(stretch.first, stretch.end) if seq not in hits]
        if late:
            hits |= _hits_behind(stretch, text, replace(wanted, among=late), index, lines, load)
        if hits:
            yield from index.find(replace(wanted, among=sorted(hits)), position)
        position = stretch.end - 1 if query.oldest_first else stretch.first
        size = min(2 * size, _MOST)


def _stretch(place: Place, size: int, index: Index, lines: Lines, *, oldest_first: bool) -> _Stretch:
    """The lines that end with the one at a place, or begin with it: about so many bytes, whole lines only."""
    size = max(size, place.length)
    if oldest_first:
        # What is appended meanwhile is not in the index.
        size = min(size, index.known_bytes(place))
        data = lines.bytes_at(place.segment, place.offset, size)
        start, stop = 0, data.rfind(b"\n") + 1
        last = _seq(data, data.rfind(b"\n", 0, max(0, stop - 1)) + 1, place.segment, place.offset, index)
        return _Stretch(place.seq, last + 1, data, start, stop)
    # With the newline before the first line that may be whole.
    begin = max(0, place.offset + place.length - size - 1)
    data = lines.bytes_at(place.segment, begin, place.offset + place.length - begin)
    if begin + len(data) != place.offset + place.length:
        where = f"segment {place.segment}, offset {place.offset}"
        raise Doubt(IntegrityBroken("a line is gone", where=where))
    start = data.find(b"\n") + 1 if begin > 0 else 0
    first = _seq(data, start, place.segment, begin, index)
    return _Stretch(first, place.seq + 1, data, start, len(data))


def _seq(data: bytes, at: int, segment: int, begin: int, index: Index) -> int:
    """The seq of the line that begins there in these bytes, which begin there in that segment."""
    head = _HEAD.match(data, at)
    seq = -1 if head is None else int(head[1])
    # The line says so itself; it is believed if the index says the same.
    if head is None or not index.lies(head[2].decode(), seq, segment, begin + at):
        raise Doubt(
            IntegrityBroken(
                "another line lies there than the index says",
                where=f"segment {segment}, offset {begin + at}",
                got=repr(data[at : at + 60]),
            )
        )
    return seq


def _hits(stretch: _Stretch, text: bytes, index: Index, load: Load) -> set[int]:
    """Where those executions were opened, in this stretch, that have the text in a line of it."""
    found: set[int] = set()
    known: dict[bytes, int | None] = {}
    for line in chain(_lines_with(text, stretch), _lines_with(MARK, stretch)):
        head = _HEAD.match(line)
        if head is None:
            raise Doubt(IntegrityBroken("a line does not match the template", got=repr(line[:60])))
        name = head[2]
        if name not in known:
            known[name] = index.opened(name.decode())
        opened = known[name]
        if (
            opened is not None
            and stretch.first <= opened < stretch.end
            and opened not in found
            and holds(text, checked(line).body, load)
        ):
            found.add(opened)
    return found


def _hits_behind(
    stretch: _Stretch, text: bytes, wanted: Wanted, index: Index, lines: Lines, load: Load
) -> set[int]:
    """The same, of executions that went on behind the stretch and have the text there."""
    found = set()
    for late in index.find(wanted, None):
        bodies = (lines.read(place).body for place in index.entries(late.opened.seq, stretch.end))
        if any(holds(text, body, load) for body in bodies):
            found.add(late.opened.seq)
    return found


def _lines_with(text: bytes, stretch: _Stretch) -> Iterator[bytes]:
    """The lines that have the text behind the beginning of their body, each without its newline."""
    data, stop = stretch.data, stretch.stop
    at = data.find(text, stretch.start, stop)
    while at >= 0:
        start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        # What comes before, such as hashes, may spell the text, too.
        body = data.find(_BODY, start, end)
        if at < body:
            at = data.find(text, body, stop)
            if not at < end:
                continue
        if at >= 0:
            yield data[start:end]
            at = data.find(text, end, stop)
