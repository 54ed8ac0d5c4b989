"""The tree of a log on disk: right whatever lies in tiles/, and refused where damage to the log is seen."""

import errno
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.logs import STORE, Faulty, drafts, files_of, full, writer
from helpers.trees import OTHER_STORE, TILES, compress, leaves_of, make_log, segment, tiles
from hypothesis import given, settings
from hypothesis import strategies as st

from intentusnet.errors import IntegrityBroken, InvalidInput
from intentusnet.log.merkle import (
    EMPTY_ROOT,
    TreeHead,
    consistency_proof,
    inclusion_proof,
    root_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from intentusnet.log.tiles import TILES_DIR, LogTree


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_log(tmp_path / "store")


def check_whole(directory: Path, leaves: list[bytes]) -> None:
    """Every root and every proof is that of the tree over all leaves, wherever segments begin."""

    def subtree(level: int, index: int) -> bytes:
        return root_of(b"".join(leaves[index << level : (index + 1) << level]))

    tree = LogTree.open(directory, STORE)
    assert tree.size == len(leaves)
    assert tree.root() == tree.root(tree.size)
    for size in range(tree.size + 1):
        assert tree.root(size) == tree_root(subtree, size)
        for seq in range(size):
            assert tree.inclusion_proof(seq, size) == inclusion_proof(subtree, seq, size)
            assert tree.consistency_proof(seq + 1, size) == consistency_proof(subtree, seq + 1, size)
    if tree.size:
        assert tree.inclusion_proof(0) == tree.inclusion_proof(0, tree.size)
        assert tree.consistency_proof(1) == tree.consistency_proof(1, tree.size)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 9), max_size=5), st.booleans(), st.booleans())
def test_the_tree_does_not_depend_on_where_segments_begin(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], begun: bool, packed: bool
) -> None:
    """Segments of any lengths, compressed or not, an empty last one or none: from lines, then from tiles."""
    directory = make_log(tmp_path_factory.mktemp("logs") / "store", (*sizes, *([0] if begun else [])))
    leaves, sealed = leaves_of(directory), max(0, len(sizes) - (not begun))
    for number in range(sealed if packed else 0):
        compress(segment(directory, number))
    check_whole(directory, leaves)
    assert len(tiles(directory)) == sealed
    check_whole(directory, leaves)


def test_no_log_is_an_empty_tree(tmp_path: Path) -> None:
    """Before the first line there is a root, and nothing to prove."""
    tree = LogTree.open(tmp_path, STORE)
    assert (tree.size, tree.root()) == (0, EMPTY_ROOT)
    with pytest.raises(InvalidInput):
        tree.inclusion_proof(0)
    with pytest.raises(InvalidInput):
        tree.consistency_proof(1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ask", ["root", "inclusion_proof", "consistency_proof"])
def test_what_the_log_does_not_have_cannot_be_asked(store: Path, ask: str) -> None:
    """Sizes above the log's, and seqs at or above the size, are refused."""
    tree = LogTree.open(store, STORE)
    for arguments in [(11,), (-1,)] if ask == "root" else [(1, 11), (1, -1), (11,), (-1,)]:
        with pytest.raises(InvalidInput):
            getattr(tree, ask)(*arguments)


def test_a_tile_is_the_leaf_hashes_of_a_segment_with_a_successor(store: Path) -> None:
    """One file for each segment but the last, named by its first seq, and nothing else."""
    LogTree.open(store, STORE)
    leaves = leaves_of(store)
    assert tiles(store) == {f"{first:020d}.leaves": b"".join(leaves[first:end]) for first, end in TILES}


def test_a_tile_outlives_the_compression_of_its_segment(store: Path) -> None:
    """Compressing changes no line, so it changes no tile and no root."""
    root, good = LogTree.open(store, STORE).root(), tiles(store)
    for number in range(len(TILES)):
        compress(segment(store, number))
    assert (LogTree.open(store, STORE).root(), tiles(store)) == (root, good)


def test_lines_behind_a_good_tile_are_not_read(store: Path) -> None:
    """The tree stays that of what the chain commits to, when a line within a sealed segment is damaged."""
    root = LogTree.open(store, STORE).root()
    path = segment(store, 0)
    path.write_bytes(path.read_bytes().replace(b'{"n":1}', b'{"n":7}'))
    assert LogTree.open(store, STORE).root() == root
    shutil.rmtree(store / TILES_DIR)
    with pytest.raises(IntegrityBroken, match="body"):
        LogTree.open(store, STORE)


def changes(good: bytes) -> Iterator[bytes]:
    """Every byte changed, every shorter length, some longer ones, the hashes turned round or doubled."""
    for at in range(len(good)):
        yield good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :]
        yield good[:at]
    hashes = [good[at : at + 32] for at in range(0, len(good), 32)]
    yield from (good + b"\x00", good + good[-32:], good * 2, b"".join(hashes[::-1]), hashes[0] * len(hashes))


def test_a_changed_tile_is_made_again(store: Path) -> None:
    """Whatever is done to a tile's bytes: the root is the same, and the tile is as it was."""
    root = LogTree.open(store, STORE).root()
    good = tiles(store)
    path = store / TILES_DIR / sorted(good)[2]
    for bad in changes(good[path.name]):
        path.write_bytes(bad)
        assert LogTree.open(store, STORE).root() == root
        assert tiles(store) == good


def test_a_missing_tile_is_made_again(store: Path) -> None:
    """One file, or the whole directory."""
    root = LogTree.open(store, STORE).root()
    good = tiles(store)
    for name in good:
        (store / TILES_DIR / name).unlink()
        assert (LogTree.open(store, STORE).root(), tiles(store)) == (root, good)
    shutil.rmtree(store / TILES_DIR)
    assert (LogTree.open(store, STORE).root(), tiles(store)) == (root, good)


def test_a_tile_of_another_log_or_segment_is_made_again(tmp_path: Path) -> None:
    """Tiles of a foreign store with segments of the same lengths; tiles in each other's place."""
    sizes = (2, 2, 2, 1)
    store = make_log(tmp_path / "mine", sizes)
    foreign = make_log(tmp_path / "foreign", sizes, store=OTHER_STORE, key=b"other")
    root = LogTree.open(store, STORE).root()
    good = tiles(store)
    assert LogTree.open(foreign, OTHER_STORE).root() != root
    names = sorted(good)
    for others in (tiles(foreign), dict(zip(names, [good[name] for name in names[::-1]], strict=True))):
        for name, data in others.items():
            (store / TILES_DIR / name).write_bytes(data)
        assert LogTree.open(store, STORE).root() == root
        assert tiles(store) == good


class Refusing(Faulty):
    """Lets the calls for names fail as well."""

    def mkdir(self, path: Path) -> None:
        self._call("mkdir")
        super().mkdir(path)

    def rename(self, old: Path, new: Path) -> None:
        self._call("rename")
        super().rename(old, new)


def read_only() -> OSError:
    return OSError(errno.EROFS, "Read-only file system")


@pytest.mark.parametrize(
    ("call", "faults"),
    [
        ("mkdir", [read_only()] * 3),
        ("open", [read_only()] * 3),
        ("write", [full()] * 3),
        ("write", [7, full()] * 3),
        ("rename", [read_only()] * 3),
    ],
)
def test_where_no_tile_can_be_written_the_tree_is_the_same(
    store: Path, call: str, faults: list[BaseException | int | None]
) -> None:
    """A read-only or full file system: nothing is cached, nothing left behind or held open."""
    files = Refusing()
    files.faults[call] = list(faults)
    root = LogTree.open(store, STORE, files).root()
    assert root == root_of(b"".join(leaves_of(store)))
    assert files.faults[call] == [] and files.open_now == set()
    assert not (store / TILES_DIR).exists() or tiles(store) == {}
    assert LogTree.open(store, STORE).root() == root
    assert len(tiles(store)) == len(TILES)


@pytest.mark.parametrize("in_the_way", ["a file for the directory", "directories for the tiles"])
def test_what_lies_in_the_way_of_tiles_stays_there(store: Path, in_the_way: str) -> None:
    """Something else under the name of the directory, or of a tile, costs only the cache."""
    root = root_of(b"".join(leaves_of(store)))
    if in_the_way.startswith("a file"):
        (store / TILES_DIR).write_bytes(b"mine")
    else:
        for first, _ in TILES:
            (store / TILES_DIR / f"{first:020d}.leaves").mkdir(parents=True)
    before = files_of(store)
    assert LogTree.open(store, STORE).root() == root
    assert files_of(store) == before


def test_a_tile_that_somebody_left_half_written_is_no_hindrance(store: Path) -> None:
    """A longer file from a killed process under the name that tiles are written to."""
    (store / TILES_DIR).mkdir()
    for first, end in TILES:
        (store / TILES_DIR / f"{first:020d}.new").write_bytes(bytes(32 * end + 7))
    check_whole(store, leaves_of(store))
    assert {name: len(data) for name, data in tiles(store).items()} == {
        f"{first:020d}.leaves": 32 * (end - first) for first, end in TILES
    }


def test_a_line_that_is_being_written_does_not_count_yet(store: Path) -> None:
    """Up to any length of the last line, the tree is that of the lines before it."""
    leaves = leaves_of(store)
    path = segment(store, -1)
    good = path.read_bytes()
    for size in range(good.index(b"\n") + 1, len(good)):
        path.write_bytes(good[:size])
        tree = LogTree.open(store, STORE)
        assert (tree.size, tree.root()) == (9, root_of(b"".join(leaves[:9])))


def test_a_log_that_grows_stays_consistent_with_every_earlier_head(tmp_path: Path) -> None:
    """Appends through the writer, in segments of changing lengths; each line provably keeps its place."""
    heads: list[TreeHead] = []
    for number in range(1, 8):
        with_segments_of = writer(tmp_path, max_entries=number)
        with_segments_of.append(drafts(number, "run"), durability="os")
        with_segments_of.close()
        tree = LogTree.open(tmp_path, STORE)
        heads.append(TreeHead(tree.size, tree.root()))
        for head in heads:
            verify_consistency(tree.consistency_proof(head.size), head, heads[-1])
        for seq, leaf_hash_bytes in enumerate(leaves_of(tmp_path)):
            verify_inclusion(tree.inclusion_proof(seq), leaf_hash_bytes, heads[-1])
    assert len(heads) == 7 and heads[-1].size == 28
    assert tiles(tmp_path)


def hashes_made(work: Callable[[], object]) -> int:
    """How often SHA-256 is called meanwhile."""
    calls = 0

    def note(_frame: object, event: str, called: object) -> None:
        nonlocal calls
        calls += event == "c_call" and "sha256" in getattr(called, "__name__", "")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def test_a_second_proof_does_not_hash_the_log_again(tmp_path: Path) -> None:
    """In a log of 5,000 lines, only the first root or proof hashes them all."""
    store = make_log(tmp_path / "store", (1700, 1700, 1600))
    leaves = leaves_of(store)
    tree = LogTree.open(store, STORE)
    assert hashes_made(tree.root) >= 4999
    root = tree.root()
    assert root == root_of(b"".join(leaves))
    for seq in (0, 255, 256, 1700, 4095, 4096, 4999):
        proofs = []
        assert hashes_made(lambda seq=seq, proofs=proofs: proofs.append(tree.inclusion_proof(seq))) < 1100
        verify_inclusion(proofs[0], leaves[seq], TreeHead(5000, root))
        assert hashes_made(lambda seq=seq: tree.consistency_proof(seq + 1)) < 1100
        assert hashes_made(lambda seq=seq: tree.root(seq)) < 1100
