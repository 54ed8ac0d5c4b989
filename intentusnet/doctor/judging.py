"""What two processes saw, compared: which lines read behind the record, and what came of it.

A replay answers everything that is on record, so whatever differs in it was not asked through the record.
In the first process executions are replayed where they were recorded; in the second with another hash seed,
other directories and another time zone. A line that read other values each time, in an execution that then
differs, is the likely cause. Where none did, the way in which the processes agree or not tells what it is.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from intentusnet.doctor.sightings import Key, Reading, Replayed, Seen

#: What helps, by what was read, or happened.
FIXES: Final[Mapping[str, str]] = {
    "time": 'ctx.now(), or capture=("clock",)',
    "timer": 'ctx.monotonic(), or capture=("clock",)',
    "chance": 'ctx.random, or capture=("chance",)',
    "uuid": 'ctx.uuid(), or capture=("chance",)',
    "environment": "ctx.env(NAME)",
    "file": 'ctx.effect("read", function, ...)',
    "directory": 'sorted(...), inside ctx.effect("list", function, ...)',
    "network": 'ctx.effect("call", function, ...), or capture=True for HTTP clients',
    "process": 'capture=("process",), or ctx.effect("run", function, ...)',
    "write": 'ctx.effect("write", function, ...)',
    "order": "sorted(...) where a set is gone through; no hash() or id() of anything",
    "zone": "times with a zone: datetime.now(UTC), datetime.fromtimestamp(seconds, UTC)",
    "state": "ctx.effect, or the payload, for what changes from call to call",
    "changed": "if that was meant: intentusnet replay --update; else undo it",
}
_SAID: Final[Mapping[str, str]] = {
    "network": "reaches for the network",
    "process": "starts or signals a process",
    "write": "writes, outside of effects",
    "order": "depends on the hash seed: the order of a set",
    "zone": "depends on the time zone of the machine",
    "state": "depends on what the process did before, on timing, or on native code",
    "changed": "is not what was recorded: code, or something that it reads, has changed",
}
#: What these read is another value at each reading, so whoever read it and came to the same does not use it.
_FRESH: Final = frozenset({"timer", "chance", "uuid"})
#: The label of a question ends so; what the tripwire stopped has none.
_ORDINAL: Final = re.compile(r"\[[0-9]+\]$")
_PROCESS: Final = re.compile(
    r"(subprocess\.|_posixsubprocess\.|pty\.|_winapi\.|signal\.)|os\.(exec|fork|kill|posix_spawn|spawn|startfile|system)"
)


class Certainty(IntEnum):
    """How sure a finding is; the surest first."""

    DIFFERS = 0
    """What is recorded depends on it."""
    READ = 1
    """It is another value each time, and nothing that is recorded was seen to depend on it."""
    SAME = 2
    """It was the same each time."""


@dataclass(slots=True)
class Finding:
    """One line of the agents' code, and what it does behind the record; mutable while it is made.

    Attributes:
        source: ``file:line``; "" where it is not known.
        cause: a key of `FIXES`.
        certainty: what came of it.
        what: what was read.
        executions: those that it concerns: of `certainty`, where it has several.
        example: a divergence that came of it.
    """

    source: str
    cause: str
    certainty: Certainty
    what: list[str] = field(default_factory=list)
    executions: list[str] = field(default_factory=list)
    example: Mapping[str, Any] | None = None

    @property
    def fix(self) -> str:
        """What helps."""
        return FIXES[self.cause]

    @property
    def code(self) -> str:
        """The line itself; "" if it cannot be read."""
        file, _, line = self.source.rpartition(":")
        return linecache.getline(file, int(line)).strip() if line.isdigit() else ""

    @property
    def said(self) -> str:
        """What the line does, for people."""
        return _SAID.get(self.cause) or f"reads {_listed(self.what)} outside of the record"

    def as_dict(self) -> dict[str, Any]:
        """The finding as the command line prints it."""
        return {
            "source": self.source,
            "code": self.code,
            "cause": self.cause,
            "certainty": self.certainty.name.lower(),
            "what": self.what,
            "fix": self.fix,
            "executions": self.executions,
            "example": None if self.example is None else dict(self.example),
        }


def judge(first: Seen, second: Seen) -> list[Finding]:
    """Compares what two processes saw of the same executions.

    Args:
        first: of the process that recorded them, or of the first of two that only replayed them.
        second: of the other one.

    Returns:
        One finding for each line and cause, the surest first.
    """
    found: dict[tuple[str, str], Finding] = {}
    others = {replayed.execution_id: replayed for replayed in second.replays}
    recorded_here = first.exit_code is not None
    for one in first.replays:
        other = others.get(one.execution_id)
        case = _Case(first.live.get(one.execution_id, ()), one, other, recorded_here)
        for key, certainty, example in case.findings():
            _add(found, key, certainty, one.execution_id, example)
    return sorted(found.values(), key=lambda finding: (finding.certainty, -len(finding.executions)))


def _add(
    found: dict[tuple[str, str], Finding],
    key: Key,
    certainty: Certainty,
    execution_id: str,
    example: Mapping[str, Any] | None,
) -> None:
    finding = found.get((key.source, key.kind))
    if finding is None or certainty < finding.certainty:
        what = [] if finding is None else finding.what
        finding = found[key.source, key.kind] = Finding(key.source, key.kind, certainty, what)
    if key.what and key.what not in finding.what:
        finding.what.append(key.what)
    if certainty == finding.certainty:
        finding.example = finding.example or example
        if execution_id not in finding.executions:
            finding.executions.append(execution_id)


@dataclass(frozen=True, slots=True)
class _Case:
    """One execution: what was read when it was recorded, if that was seen, and its replays."""

    live: Sequence[Reading]
    one: Replayed
    other: Replayed | None
    recorded_here: bool

    def findings(self) -> Iterator[tuple[Key, Certainty, Mapping[str, Any] | None]]:
        """What it shows."""
        diverged = [replay for replay in self._replays() if replay.verdict == "diverged"]
        divergences = [divergence for replay in diverged for divergence in replay.divergences]
        touches = [divergence for divergence in divergences if is_touch(divergence)]
        for touch in touches:
            yield Key(touch["source"], _touched(touch["question"]), ""), Certainty.DIFFERS, touch
        example = next((found for found in divergences if found not in touches), None)
        readings = self._readings()
        suspects = {key for key, differs in readings.items() if differs and not self._is_cleared(key)}
        blamed = suspects if diverged and example is not None else set()
        for key, differs in readings.items():
            if key in blamed:
                yield key, Certainty.DIFFERS, example
            else:
                yield key, Certainty.READ if differs else Certainty.SAME, None
        if diverged and not touches and not blamed:
            yield Key((example or {}).get("source", ""), self._unread(), ""), Certainty.DIFFERS, example

    def _replays(self) -> Iterator[Replayed]:
        yield self.one
        if self.other is not None:
            yield self.other

    def _readings(self) -> dict[Key, bool]:
        """What was read, and whether it was another value in one of the runs."""
        runs = [self.live, *(replay.readings for replay in self._replays())]
        by_key: dict[Key, list[Reading]] = {}
        for reading in (reading for run in runs for reading in run):
            by_key.setdefault(reading.key, []).append(reading)
        return {
            # A replay that is stopped does not come to it again: then what is fresh by nature counts.
            key: any(reading.differs_from(readings[0]) for reading in readings[1:])
            or (len(readings) == 1 and key.kind in _FRESH | {"time"})
            for key, readings in by_key.items()
        }

    def _is_cleared(self, key: Key) -> bool:
        """Whether a replay read it too, another value than on record, and came to the same."""
        if key.kind not in _FRESH:
            return False
        return any(
            replay.verdict == "match" or replay.zone
            for replay in self._replays()
            if any(reading.key == key for reading in replay.readings)
        )

    def _unread(self) -> str:
        """What it must be where no reading explains it."""
        one, other = self.one, self.other
        if other is not None and other.zone and one.verdict == "match":
            return "zone"
        if one.verdict == "match":
            return "order"
        if other is not None and other.verdict == "diverged" and not self.recorded_here:
            return "changed" if one.divergences == other.divergences else "order"
        return "state"


def is_touch(divergence: Mapping[str, Any]) -> bool:
    """Whether a replay has stopped code there, because it was about to act."""
    return divergence["kind"] == "unexpected" and not _ORDINAL.search(divergence["question"])


def _touched(event: str) -> str:
    if event.startswith("socket.") and event != "socket.sethostname":
        return "network"
    return "process" if _PROCESS.match(event) else "write"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
