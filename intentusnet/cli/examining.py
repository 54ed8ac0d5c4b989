"""What `doctor` starts: ``python -m intentusnet.cli.examining JOB``, a process that is looked at.

A job is a directory with ``job.json``; what was seen is left there in ``seen.json``. The process ends with 0,
however the program has ended.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

from intentusnet.doctor.programs import Program
from intentusnet.doctor.sightings import Kept

JOB: Final = "job.json"
SEEN: Final = "seen.json"


@dataclass(frozen=True, slots=True)
class Job:
    """What a process is to do.

    Attributes:
        program: what to run, and keep the executions of; None to replay with the app.
        earlier: executions to replay; None for those of the program.
        zone: whether what matches is replayed in another time zone too.
        app, policy: the settings, where there is no program.
    """

    program: Program | None
    earlier: tuple[Kept, ...] | None
    zone: bool
    app: str | None = None
    policy: str | None = None

    def save(self, directory: Path) -> None:
        """Writes it into its directory."""
        (directory / JOB).write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote."""
        tree = json.loads((directory / JOB).read_text())
        program, earlier = tree.pop("program"), tree.pop("earlier")
        if program is not None:
            pairs = {name: tuple(program[name]) for name in ("interpreter", "arguments")}
            program = Program(**{**program, **pairs})
        if earlier is not None:
            earlier = tuple(map(Kept.of, earlier))
        return cls(program, earlier, **tree)


def main(directory: Path) -> None:
    """Does the job of a directory.

    Raises:
        IntentusError: the app cannot be loaded.
    """
    job = Job.load(directory)
    if job.program is None:
        from intentusnet.replay.isolation import without_network

        # First thing, while there is one thread.
        without_network()
    from intentusnet.doctor.observed import Examined, examine

    make_runtime = None
    if job.program is None:
        from intentusnet.cli.settings import configured_runtime, resolve_settings

        settings = resolve_settings(store=str(directory / "store"), app=job.app, policy=job.policy)
        make_runtime = partial(configured_runtime, settings)
    examine(Examined(directory, job.program, job.earlier, job.zone), make_runtime).save(directory / SEEN)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
