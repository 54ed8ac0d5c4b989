"""The crash tests find what they are there for: a sync left out, or a false word about what is on disk.

Every place of the package that syncs is found twice: in its source, and in the traces of the scenes. A new
one that no scene reaches fails here; so does one without which no promise is broken, for then either the sync
or a scene is missing its point.
"""

import sys
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from crash.explore import FIND, Explorer
from crash.losses import check_refused, losses
from crash.promises import Violation
from crash.sites import in_source
from crash.workloads import SCENES

from intentusnet.log import entry
from intentusnet.log.head import Head

#: The syncs of a repair, and of portable records, have tests of their own.
_ELSEWHERE = ("log/mending.py:", "stores/portable.py:")

#: The scenes that find these soonest; if they do not, the others are looked at. They take the longest all the
#: same, so the short form has one of them, which the seed picks.
_SOONEST = {
    "log/appender.py:Appender._open_segment fsync_dir": "creation, killed",
    "log/files.py:sync_name fsync_dir": "creation, killed",
    "stores/blobs.py:Blobs._make fsync_dir #1": "creation with large values, killed",
}


@cache
def scenes_by_sync() -> dict[str, tuple[str, ...]]:
    """Each sync that the scenes make, and the scenes that make it, those first that take the least time."""
    found = defaultdict(list)
    for scene in sorted(SCENES, key=lambda scene: ("killed" in scene, "creation" not in scene, scene)):
        with TemporaryDirectory() as work:
            for name in {name for trace in SCENES[scene](Path(work), 2, None) for name in trace.syncs}:
                found[name].append(scene)
    return {name: tuple(scenes) for name, scenes in sorted(found.items())}


def explored(scene: str, memory: Path, seed: int, skip: str | None = None) -> str | None:
    """The first broken promise of a scene; None if all are kept."""
    with TemporaryDirectory(dir=memory) as work, TemporaryDirectory(dir=memory) as scratch:
        explorer = Explorer(Path(scratch), seed, FIND)
        try:
            for trace in SCENES[scene](Path(work), None, skip):
                explorer.explore(trace)
        except Violation as fault:
            return str(fault).partition("\n")[0]
    return None


@cache
def broken_anyway(scene: str, memory: Path, seed: int) -> str | None:
    """The first promise that a scene breaks with nothing left out, which would count as a find each time."""
    return explored(scene, memory, seed)


def test_every_sync_of_the_package_is_in_a_scene() -> None:
    """What syncs in the source syncs in a trace."""
    here = {name for name in in_source() if not name.startswith(_ELSEWHERE)}
    assert {name.partition(" < ")[0] for name in scenes_by_sync()} == here


@pytest.mark.parametrize("sync", [sync for sync in in_source() if not sync.startswith(_ELSEWHERE)])
def test_a_sync_that_is_left_out_is_found(sync: str, memory: Path, seed: int, torture: bool) -> None:
    """Without it some crash breaks a promise, for each of those that it is done for."""
    if not torture and sync in _SOONEST and sync != list(_SOONEST)[seed % len(_SOONEST)]:
        pytest.skip("the seed picks another one of those that take long: make torture has them all")
    for name, scenes in scenes_by_sync().items():
        if name.partition(" < ")[0] == sync:
            soonest = sorted(scenes, key=lambda scene: scene != _SOONEST.get(sync))
            found = next((scene for scene in soonest if explored(scene, memory, seed, name)), None)
            assert found is not None, name
            assert broken_anyway(found, memory.parent, seed) is None


def change_lines(monkeypatch: pytest.MonkeyPatch, durable: Callable[[int, int], int]) -> None:
    """Lets every line say something else about what is on disk, given its seq and what it should say."""
    right = entry.format_line

    def wrong(draft: entry.Draft, seq: int, ts: int, said: int, previous: bytes) -> tuple[bytes, bytes]:
        return right(draft, seq, ts, durable(seq, said), previous)

    for name, module in list(sys.modules.items()):
        if name.startswith("intentusnet.") and getattr(module, "format_line", None) is right:
            monkeypatch.setattr(module, "format_line", wrong)


def unnoticed(scene: str, memory: Path) -> str | None:
    """The first loss of acknowledged lines that is not refused; None if all are."""
    with TemporaryDirectory(dir=memory) as work, TemporaryDirectory(dir=memory) as scratch:
        for trace in SCENES[scene](Path(work), None, None):
            found = list(losses(trace))
            assert len(found) > 10
            for number, loss in enumerate(found):
                try:
                    check_refused(Path(scratch) / str(number), loss)
                except Violation as fault:
                    return str(fault)
    return None


@pytest.mark.parametrize("scene", ["mixed", "synced", "threads"])
def test_what_was_acknowledged_is_missed(scene: str, memory: Path) -> None:
    """Damage to acknowledged lines is refused, with the note, and without it as far as later lines tell."""
    assert unnoticed(scene, memory) is None


def test_lines_that_say_too_much_are_found(memory: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where lines call durable what may be torn, a mere crash is taken for damage."""
    change_lines(monkeypatch, lambda seq, _: seq - 1)
    assert "takes a crash for damage" in (explored("mixed", memory, seed) or "")


def test_lines_that_say_nothing_are_found(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where lines do not say what is on disk, and the note is gone, lost lines are not missed."""
    change_lines(monkeypatch, lambda *_: -1)
    assert "note gone" in (unnoticed("mixed", memory) or "")


def test_a_note_that_is_not_written_is_found(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no note, nobody misses the last lines of a log."""
    monkeypatch.setattr(Head, "_write_note", lambda *_: None)
    assert "cut off" in (unnoticed("mixed", memory) or "")
