"""What one process saw: readings behind the record, executions, replays; sent as JSON to whoever asks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self


class Key(NamedTuple):
    """What was read, and where.

    Args:
        source: ``file:line`` of the agent's code.
        kind: what sort of thing: a key of ``judging.FIXES``.
        what: told to people: a function, a variable's name, a file's name.
    """

    source: str
    kind: str
    what: str


class Reading(NamedTuple):
    """The readings of one line in one execution.

    Args:
        key: what, and where.
        values: a hash of each value, in order.
    """

    key: Key
    values: tuple[str, ...]

    def differs_from(self, other: Reading) -> bool:
        """Whether the same readings gave other values; what only one of them has tells nothing."""
        return any(a != b for a, b in zip(self.values, other.values, strict=False))


@dataclass(frozen=True, slots=True)
class Kept:
    """An execution that the program recorded.

    Attributes:
        execution_id, intent: which.
        runtime: which of the program's runtimes recorded it, in the order of their first executions.
        agents: the names of that runtime's agents, sorted; None if any runtime is the one.
        record: the portable record.
    """

    execution_id: str
    intent: str
    runtime: int
    agents: tuple[str, ...] | None
    record: str

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> Self:
        """What was told as JSON."""
        agents = tree["agents"]
        return cls(**{**tree, "agents": None if agents is None else tuple(agents)})


@dataclass(frozen=True, slots=True)
class Replayed:
    """A replay with the witness on.

    Attributes:
        execution_id, intent: of what.
        verdict, reason, divergences: as of `ReplayReport`; divergences as dicts.
        zone: only in another time zone does it diverge: these are the divergences there.
        readings: what was read meanwhile.
    """

    execution_id: str
    intent: str
    verdict: str
    reason: str
    divergences: tuple[Mapping[str, Any], ...]
    zone: bool
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that one process saw.

    Attributes:
        exit_code: how the program ended; None if there was none.
        kept: what it recorded.
        live: what was read meanwhile, by execution.
        replays: in the order of the records.
    """

    exit_code: int | None = None
    kept: tuple[Kept, ...] = ()
    live: Mapping[str, Sequence[Reading]] = field(default_factory=dict)
    replays: tuple[Replayed, ...] = ()

    def save(self, path: Path) -> None:
        """Writes it down."""
        path.write_text(json.dumps(asdict(self), default=repr))

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote."""
        tree = json.loads(path.read_text())
        return cls(
            tree["exit_code"],
            tuple(map(Kept.of, tree["kept"])),
            {execution: _readings(found) for execution, found in tree["live"].items()},
            tuple(
                Replayed(
                    **{
                        **replayed,
                        "readings": _readings(replayed["readings"]),
                        "divergences": tuple(replayed["divergences"]),
                    }
                )
                for replayed in tree["replays"]
            ),
        )


def _readings(trees: Sequence[Sequence[Any]]) -> tuple[Reading, ...]:
    return tuple(Reading(Key(*key), tuple(values)) for key, values in trees)
