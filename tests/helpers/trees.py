"""Leaf hashes, logs, and the trees over them, for the tests of the Merkle tree."""

from functools import cache
from pathlib import Path

from helpers.logs import EXECUTION, STORE, files_of, log_of

from intentusnet.log.compressed import encode
from intentusnet.log.entry import Draft, format_line, genesis, leaf, leaf_hash
from intentusnet.log.merkle import TreeHead, root_of, tree_root
from intentusnet.log.segment import COMPRESSED, LOG_DIR, segment_name
from intentusnet.log.tiles import TILES_DIR

MOST = 300
DATA = [b"leaf %d" % number for number in range(MOST)]
LEAVES = [leaf_hash(data) for data in DATA]


def subtree(level: int, index: int, leaves: list[bytes] = LEAVES) -> bytes:
    """A complete subtree; asked for one that goes beyond the leaves, it says so."""
    start, end = index << level, (index + 1) << level
    assert end <= len(leaves)
    return root_of(b"".join(leaves[start:end]))


cached = cache(subtree)


@cache
def head(size: int) -> TreeHead:
    return TreeHead(size, tree_root(cached, size))


SIZES = (3, 1, 4, 2)
#: First seq and end of the segments that have a successor.
TILES = ((0, 3), (3, 4), (4, 8))
OTHER_STORE = STORE[::-1]


def make_log(directory: Path, sizes: tuple[int, ...] = SIZES, store: str = STORE, key: bytes = b"n") -> Path:
    """A log whose segments have so many lines."""
    (directory / LOG_DIR).mkdir(parents=True)
    seq, chain = 0, genesis(store)
    for size in sizes:
        lines = []
        for at in range(seq, seq + size):
            draft = Draft.make("opened", EXECUTION, b'{"%b":%d}' % (key, at), salt=at.to_bytes(16))
            line, chain = format_line(draft, at, at, -1, chain)
            lines.append(line)
        (directory / LOG_DIR / segment_name(seq)).write_bytes(b"".join(lines))
        seq += size
    return directory


def leaves_of(directory: Path) -> list[bytes]:
    """The leaf hashes of a good log, line by line."""
    return [leaf_hash(leaf(entry.line)) for entry in log_of(directory, None)]


def tiles(directory: Path) -> dict[str, bytes]:
    return files_of(directory / TILES_DIR)


def segment(directory: Path, number: int) -> Path:
    return sorted((directory / LOG_DIR).iterdir())[number]


def compress(path: Path) -> Path:
    """Puts the compressed form of a segment into its place."""
    packed = path.with_name(path.name + COMPRESSED)
    packed.write_bytes(b"".join(encode(path.read_bytes().splitlines(keepends=True))))
    path.unlink()
    return packed
