"""The model of a disk: small cases whose crash states can be listed by hand."""

import os
from pathlib import Path
from random import Random

from crash.simdisk import Disk, crash_states
from crash.trace import Recording, Trace, tree_of


def states(disk: Disk) -> set[tuple[tuple[str, bytes | None], ...]]:
    """Every tree that a crash may leave, sizes inside a sector apart."""
    choices = disk.choices(Random(0), 0)
    found = (disk.tree(chosen) for chosen in crash_states(choices, Random(0), exhaust=1 << 16, samples=0))
    return {tuple(sorted(tree.items())) for tree in found}


def contents(disk: Disk, path: str = "a") -> set[bytes | None]:
    return {dict(state).get(path) for state in states(disk)}


def test_sectors_get_there_in_any_order() -> None:
    """Of two sectors that were overwritten, each may be old or new, until the file is synced."""
    disk = Disk({"a": b"o" * 1024})
    file = disk.files[1]
    file.write(0, 0, b"n" * 1024)
    assert contents(disk) == {x * 512 + y * 512 for x in (b"o", b"n") for y in (b"o", b"n")}
    file.sync(1)
    assert contents(disk) == {b"n" * 1024}


def test_a_sector_may_be_any_of_those_it_was() -> None:
    """A sector that was written twice may be each of the three, and a sync in between leaves two."""
    disk = Disk({"a": b"1"})
    file = disk.files[1]
    file.write(0, 0, b"2")
    file.write(1, 0, b"3")
    assert contents(disk) == {b"1", b"2", b"3"}
    file.sync(0)
    assert contents(disk) == {b"2", b"3"}


def test_a_sync_speaks_for_what_came_before_it_began() -> None:
    """What is written while a sync is under way is not synced by it."""
    disk = Disk({"a": b""})
    file = disk.files[1]
    file.write(0, 0, b"x")
    file.write(2, 1, b"y")
    file.sync(1)
    assert contents(disk) == {b"x", b"xy", b"x\0"}


def test_a_size_may_get_there_before_the_bytes() -> None:
    """A file that grew may have its old size, or the new one over zeros or leftovers, or a size between."""
    disk = Disk({"a": b"x" * 512})
    disk.files[1].write(0, 512, b"yy")
    found = {data[512:] for data in contents(disk) if data is not None}
    assert found == {b"", b"yy", b"y", b"\0\0", b"\0", bytes([0x80, 0x81]), bytes([0x80])}


def test_a_truncation_may_not_have_happened() -> None:
    """A file that was cut may be as long as before; its last sector may have been zeroed by then."""
    disk = Disk({"a": b"abcd"})
    disk.files[1].truncate(0, 2)
    assert contents(disk) == {b"ab", b"abcd", b"ab\0\0", b"abc", b"ab\0"}


def test_names_get_there_independently() -> None:
    """Of two files that were created, each may be there without the other, until the directory is synced."""
    disk = Disk()
    root = disk.directories[0]
    for time, name in enumerate("ab"):
        root.change(time, None, name, disk.add(b""))
    assert states(disk) == {(), (("a", b""),), (("b", b""),), (("a", b""), ("b", b""))}
    root.sync(0)
    assert states(disk) == {(("a", b""),), (("a", b""), ("b", b""))}


def test_a_name_is_no_part_of_what_it_names() -> None:
    """A file that is synced, in a directory that is not, may be gone; so may a whole directory."""
    disk = Disk()
    disk.directories[0].change(0, None, "d", disk.add(None))
    disk.directories[1].change(1, None, "a", disk.add(b""))
    disk.files[2].write(2, 0, b"x")
    disk.files[2].sync(3)
    disk.directories[1].sync(4)
    assert states(disk) == {(), (("d", None), ("d/a", b"x"))}


def test_a_renaming_is_one_step() -> None:
    """A file that takes another's place is there under one of its names, and that name is never free."""
    disk = Disk({"a": b"old", "new": b"new"})
    disk.directories[0].change(0, "new", "a", 2)
    assert states(disk) == {(("a", b"old"), ("new", b"new")), (("a", b"new"),)}


def test_a_failed_sync_drops_what_it_was_for() -> None:
    """After it a sync that succeeds does not bring the sector to disk, unless its page is written again."""
    disk = Disk({"a": b"o" * 512})
    file = disk.files[1]
    file.write(0, 0, b"n" * 512)
    file.drop()
    file.sync(1)
    assert contents(disk) == {b"o" * 512, b"n" * 512}
    file.write(2, 0, b"n")
    file.sync(3)
    assert contents(disk) == {b"n" * 512}


def test_the_model_sees_what_the_file_system_shows(tmp_path: Path) -> None:
    """After every kind of call, what readers see in the model is what lies in the directory."""
    trace = Trace(tmp_path)
    files = Recording(trace)
    files.mkdir(tmp_path / "d")
    appended = files.open(tmp_path / "d" / "a", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    files.write(appended, b"0123456789" * 100)
    files.truncate(appended, 700)
    files.write(appended, b"end")
    placed = files.open(tmp_path / "b", os.O_RDWR | os.O_CREAT)
    files.write(placed, b"one")
    files.write(placed, b"two")
    files.pwrite(placed, b"x" * 600, 1000)
    files.rename(tmp_path / "b", tmp_path / "c")
    files.rename(tmp_path / "c", tmp_path / "d" / "c")
    files.open(tmp_path / "gone", os.O_RDWR | os.O_CREAT)
    files.unlink(tmp_path / "gone")
    assert trace.disk.now() == tree_of(tmp_path)
    files.end()
    assert not files.open_now
