"""Whatever happens to a log, no wrong tree comes of it: where damage is seen, the log is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.logs import STORE
from helpers.trees import OTHER_STORE, compress, leaves_of, make_log, segment

from intentusnet.errors import IntegrityBroken, InvalidInput
from intentusnet.log.merkle import (
    root_of,
)
from intentusnet.log.segment import COMPRESSED, LOG_DIR
from intentusnet.log.tiles import TILES_DIR, LogTree


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_log(tmp_path / "store")


def opened(directory: Path) -> LogTree | IntegrityBroken:
    try:
        return LogTree.open(directory, STORE)
    except IntegrityBroken as refused:
        return refused


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("cached", [False, True], ids=["no tiles", "tiles"])
def test_no_changed_byte_of_the_log_leads_to_a_wrong_tree(tmp_path: Path, cached: bool, packed: bool) -> None:
    """Every byte of every segment: the log is refused, and the place named, or the tree is as it was.

    As it was: where a tile makes reading the line unnecessary, where the byte is of a checksum that the lines
    do without, and without the last line if that has lost its newline, as a line has that is being written.
    """
    store = make_log(tmp_path / "store", (2, 1, 2))
    leaves = leaves_of(store)
    for number in range(2 if packed else 0):
        compress(segment(store, number))
    for path in sorted((store / LOG_DIR).iterdir()):
        good = path.read_bytes()
        for at in range(len(good)):
            path.write_bytes(good)
            if cached:
                LogTree.open(store, STORE)
            else:
                shutil.rmtree(store / TILES_DIR, ignore_errors=True)
            path.write_bytes(good[:at] + bytes([good[at] ^ 0x20]) + good[at + 1 :])
            tree = opened(store)
            if isinstance(tree, IntegrityBroken):
                assert str(path) in tree.where and (packed or "verify" in tree.hint)
            else:
                last = at == len(good) - 1 and path == segment(store, -1)
                assert cached or last or path.suffix == COMPRESSED, (path.name, at)
                assert tree.root() == root_of(b"".join(leaves[: 4 if last else 5]))
        path.write_bytes(good)


def without_its_last_line(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (Path.unlink, "does not end where|first lines of the log are missing"),
    "empty": (lambda path: path.write_bytes(b""), "does not end where"),
    "a byte short": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "does not end where"),
    "half a line short": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "does not end where"),
    "a line short": (without_its_last_line, "does not end where"),
    "with more at its end": (lambda path: path.write_bytes(path.read_bytes() + b"{"), "does not end where"),
    "with other lines at its end": (
        lambda path: path.write_bytes(path.read_bytes() + path.read_bytes().replace(b'"seq":', b'"seq":1')),
        "not at its place",
    ),
}


@pytest.mark.parametrize("cached", [False, True], ids=["no tiles", "tiles"])
@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("damage", DAMAGES)
def test_lines_that_are_missing_or_too_many_are_told(
    store: Path, damage: str, number: int, cached: bool
) -> None:
    """A segment with a successor that is not as long as it was is told, tile or no tile."""
    if cached:
        LogTree.open(store, STORE)
    how, words = DAMAGES[damage]
    how(segment(store, number))
    with pytest.raises(IntegrityBroken, match=words) as refused:
        LogTree.open(store, STORE)
    assert str(store / LOG_DIR) in refused.value.where
    assert refused.value.expected and refused.value.got


@pytest.mark.parametrize("number", range(4))
def test_a_segment_of_another_store_is_told(store: Path, tmp_path: Path, number: int) -> None:
    """Lines with the same numbers and leaves, chained from another store's id, with that store's tile."""
    foreign = make_log(tmp_path / "foreign", store=OTHER_STORE)
    LogTree.open(foreign, OTHER_STORE)
    LogTree.open(store, STORE)
    shutil.copy(segment(foreign, number), segment(store, number))
    shutil.copytree(foreign / TILES_DIR, store / TILES_DIR, dirs_exist_ok=True)
    with pytest.raises(IntegrityBroken, match="the chain does not continue"):
        LogTree.open(store, STORE)


def test_a_stray_file_and_a_malformed_id_are_told(store: Path) -> None:
    """What is no segment has no place in a log, and what is no id no chain."""
    with pytest.raises(InvalidInput, match="store id"):
        LogTree.open(store, "no id")
    (store / LOG_DIR / "notes.txt").touch()
    with pytest.raises(IntegrityBroken, match="not a segment"):
        LogTree.open(store, STORE)
