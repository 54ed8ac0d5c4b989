"""Runs that are killed at every point, and resumed in a fresh process."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from helpers.interruptions import ACTS, EFFECTS, Processes, acts

#: Acts that can be under way at once: the branches of the gather.
AT_ONCE = 2


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes.started() as started:
        yield started


def killed_everywhere(
    processes: Processes, place: Path, kind: str, **how: Any
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each point at which a run can be killed: what a resumption made of it."""
    for at in count():
        here = place / str(at)
        here.mkdir()
        ended = processes.run("route", place=str(here), kind=kind, intent="outer", at=at, **how)
        yield here, processes.run("resume", place=str(here), kind=kind, intent="outer", **how)
        if ended is not None:
            return


def uninterrupted(processes: Processes, place: Path, kind: str) -> str:
    """The fingerprint of a run of plain agents that nobody kills."""
    (place / "whole").mkdir()
    fingerprint = processes.run("route", place=str(place / "whole"), kind=kind, intent="outer", at=None)
    assert isinstance(fingerprint, str)
    return fingerprint


@pytest.mark.parametrize(
    ("kind", "awaiting"),
    [("read_only", "none"), ("idempotent", "none"), ("read_only", "all"), ("idempotent", "outer")],
)
def test_what_may_be_asked_twice_goes_on_by_itself(
    processes: Processes, tmp_path: Path, kind: str, awaiting: str
) -> None:
    """Killed anywhere, such a run ends as if nothing had happened, and asks again only what had no answer."""
    fingerprints, points, resumed = {uninterrupted(processes, tmp_path, kind)}, 0, 0
    for place, told in killed_everywhere(processes, tmp_path, kind, awaiting=awaiting):
        points += 1
        resumed += told["interrupted"] > 0
        assert told["doubts"] == []
        assert told["verified"] and set(told["verdicts"]) <= {"match"}
        if not told["verdicts"]:
            assert told["before"] == []
            continue
        fingerprints.add(told["fingerprint"])
        done = Counter(acts(place))
        assert set(done) == set(ACTS)
        twice = [name for name, times in done.items() if times > 1]
        assert max(done.values()) <= 2 and len(twice) <= AT_ONCE and set(twice) <= set(told["before"])
    assert len(fingerprints) == 1
    assert resumed > points // 2 > len(ACTS)


@pytest.mark.parametrize(
    ("kind", "awaiting"),
    [("reversible", "none"), ("irreversible", "none"), ("reversible", "all"), ("irreversible", "inner")],
)
def test_what_must_not_be_asked_twice_waits_for_a_person(
    processes: Processes, tmp_path: Path, kind: str, awaiting: str
) -> None:
    """Killed anywhere, such a run does everything exactly once, if the person tells the truth."""
    fingerprints, doubted, points = {uninterrupted(processes, tmp_path, kind)}, set(), 0
    for place, told in killed_everywhere(processes, tmp_path, kind, awaiting=awaiting):
        points += 1
        doubted |= set(told["doubts"])
        assert told["verified"] and set(told["verdicts"]) <= {"match"}
        if not told["verdicts"]:
            assert told["before"] == []
            continue
        fingerprints.add(told["fingerprint"])
        assert sorted(acts(place)) == sorted(ACTS)
    assert len(fingerprints) == 1
    assert doubted == set(ACTS)
    assert points > 4 * len(ACTS)


@pytest.mark.parametrize("kind", EFFECTS)
def test_the_first_twelve_are_not_repeated(processes: Processes, tmp_path: Path, kind: str) -> None:
    """An agent that calls 20 effects and dies within the 13th has called none of the first twelve twice."""
    names = [f"act{number}" for number in range(20)]

    def done_when_killed(at: int) -> int:
        place = tmp_path / str(at)
        place.mkdir()
        processes.run("route", place=str(place), kind=kind, intent="many", at=at)
        return len(acts(place))

    # The later the point, the more is done; found is the first one after the thirteenth act.
    place = tmp_path / str(bisect_left(range(150), 13, key=done_when_killed))
    assert acts(place) == names[:13]
    told = processes.run("resume", place=str(place), kind=kind, intent="many")
    assert (told["interrupted"], told["verdicts"], told["verified"]) == (1, ["match"], True)
    again = names[12:13] if kind in ("read_only", "idempotent") else []
    assert sorted(acts(place)) == sorted(names + again)
    assert told["doubts"] == ([] if again else names[12:13])
