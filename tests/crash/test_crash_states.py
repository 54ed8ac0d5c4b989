"""Nothing that was acknowledged is lost in a crash, nothing is invented, and the log goes on.

Each scene (``workloads``) is run once on real files. Then the states that a crash may leave on disk at any of
its moments (``simdisk``) are written out, opened by the store itself and checked (``promises``). `make test`
looks at a few of them, picked by a seed, `make torture` at as many as time allows.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from crash.explore import LONG, MIDDLE, SHORT, Explorer
from crash.workloads import SCENES

_KILLS = 3


@pytest.mark.parametrize("scene", SCENES)
def test_a_crash_loses_nothing_that_was_acknowledged(
    scene: str, memory: Path, torture: bool, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """Every acknowledged entry is there, no other is, the chain is whole, and the next entry gets in."""
    work, scratch = memory / "work", memory / "scratch"
    work.mkdir()
    scratch.mkdir()
    killed = "killed" in scene
    depth = (MIDDLE if killed else LONG) if torture else SHORT
    explorer = Explorer(scratch, seed, depth)
    for trace in SCENES[scene](work, None if torture else _KILLS, None):
        explorer.explore(trace)
    assert explorer.states > 30
    record_property("crash states", explorer.states)
