"""What was asked beside what is on record: which question is which, once one was not the one that was due.

Sequences are compared as a whole, so that one call more or less among calls of the same name is that, and
does not make all that follow it differ.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

#: Kind, name and arguments of a question: as much of them as is compared.
Key = tuple[str, str, bytes]
#: The places of a question on record and of the one that was asked.
Pair = tuple[int, int]


class Alignment(NamedTuple):
    """Which question on record is which that was asked, by their places.

    Attributes:
        pairs: the same question, perhaps with other arguments, in the order of the record.
        moved: the same question at another place.
        missing: on record, and not asked.
        unexpected: asked, and not on record.
    """

    pairs: Sequence[Pair]
    moved: Sequence[Pair]
    missing: Sequence[int]
    unexpected: Sequence[int]


def align(recorded: Sequence[Key], asked: Sequence[Key]) -> Alignment:
    """Aligns what was asked with what is on record, in time n log n.

    What both begin and end with is the same. In between the n-th of equal questions is the n-th; the longest
    series of them that kept its order stays where it is, and the others have moved. Of what is left between
    two that stay, questions of the same kind and name are the same with other arguments.
    """
    begin, end = _common(recorded, asked)
    middle_recorded = range(begin, len(recorded) - end)
    middle_asked = range(begin, len(asked) - end)
    equal = _nth_such([(recorded[r], r) for r in middle_recorded], [(asked[a], a) for a in middle_asked])
    kept = _increasing(equal)
    moved = sorted(set(equal) - set(kept))
    left_recorded = sorted(set(middle_recorded) - {r for r, _ in equal})
    left_asked = sorted(set(middle_asked) - {a for _, a in equal})
    changed = _nth_such(
        [((bisect_left(kept, (r, 0)), *recorded[r][:2]), r) for r in left_recorded],
        [((bisect_left(kept, a, key=_asked), *asked[a][:2]), a) for a in left_asked],
    )
    pairs = [(place, place) for place in range(begin)]
    pairs += sorted([*kept, *changed])
    pairs += [(len(recorded) - back, len(asked) - back) for back in range(end, 0, -1)]
    return Alignment(
        pairs,
        moved,
        sorted(set(left_recorded) - {r for r, _ in changed}),
        sorted(set(left_asked) - {a for _, a in changed}),
    )


def _asked(pair: Pair) -> int:
    return pair[1]


def _common(ones: Sequence[Key], others: Sequence[Key]) -> tuple[int, int]:
    """How many items both begin with, and how many both end with behind those."""
    shorter = min(len(ones), len(others))
    begin = 0
    while begin < shorter and ones[begin] == others[begin]:
        begin += 1
    end = 0
    while end < shorter - begin and ones[-1 - end] == others[-1 - end]:
        end += 1
    return begin, end


def _nth_such(recorded: Iterable[tuple[object, int]], asked: Iterable[tuple[object, int]]) -> list[Pair]:
    """The n-th with a key on record is the n-th that was asked with it; in the order of asking."""
    places: defaultdict[object, deque[int]] = defaultdict(deque)
    for key, place in recorded:
        places[key].append(place)
    return [(places[key].popleft(), place) for key, place in asked if places[key]]


def _increasing(pairs: Sequence[Pair]) -> list[Pair]:
    """The longest series of pairs, given by the second place, that also increases in the first.

    Of several that are as long, the one that keeps what was asked first. By patience sorting, from the end.
    """
    tails: list[int] = []
    ends: list[int] = []
    before: dict[int, int | None] = {}
    for number in range(len(pairs) - 1, -1, -1):
        falling = -pairs[number][0]
        at = bisect_left(tails, falling)
        before[number] = ends[at - 1] if at else None
        tails[at : at + 1] = [falling]
        ends[at : at + 1] = [number]
    series: list[Pair] = []
    last = ends[-1] if ends else None
    while last is not None:
        series.append(pairs[last])
        last = before[last]
    return series
