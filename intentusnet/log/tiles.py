"""The Merkle tree of a log on disk, and the cache of leaf hashes that spares reading all lines for it.

A line of some hundred bytes has a leaf hash of 32, and the lines of a segment never change once the next
segment is begun. So ``<store>/tiles/<first seq, 20 digits>.leaves`` keeps the leaf hashes of such a segment,
end to end. A tile is derived: it may be deleted at any time, is not synced, and is never believed. Before it
is used, the log's own chain is folded over its hashes, from the last line of the segment before to the last
line of its own segment; only the right hashes, in the right order, lead from one chain value to the other. A
tile that does not is made again from the lines, and each line is checked for it.

A segment has as many lines as it has, so a subtree may lie across several: the tree is over the leaf hashes
of the whole log, which are held in memory, 32 bytes each.
"""

from __future__ import annotations

import contextlib
import os
from itertools import zip_longest
from pathlib import Path
from typing import Final

from intentusnet.errors import IntegrityBroken, InvalidInput
from intentusnet.log.entry import chain_next, check_line, genesis, leaf, leaf_hash, parse_line
from intentusnet.log.files import FILES, Files, write_all
from intentusnet.log.merkle import (
    HASH_BYTES,
    ConsistencyProof,
    InclusionProof,
    consistency_proof,
    inclusion_proof,
    node_hash,
    root_of,
    tree_root,
)
from intentusnet.log.segment import LOG_DIR, Segment, iter_lines, line_ending_at, list_segments

TILES_DIR: Final = "tiles"

# Subtrees below this level are hashed anew whenever they are asked for, at most 2 * 2**8 hashes for a proof;
# from it on, they are kept, one for 2**7 leaves.
_KEPT_LEVEL: Final = 8


class LogTree:
    """The Merkle tree over the lines that a log had when it was opened; make one with :meth:`open`.

    It is of what the chain commits to: a sealed segment whose tile folds is not read again, so whether all
    lines still are what they were is for ``verify`` to say, not for this. Of a log that is being written, the
    last lines may not be known to be on disk yet.

    The first root, or proof, hashes all nodes (some 0.7 µs for each line); later ones, a few hundred.

    Args:
        leaf_hashes: of all lines, 32 bytes each, end to end.
    """

    def __init__(self, leaf_hashes: bytes | bytearray) -> None:
        self._leaf_hashes = leaf_hashes
        self._kept: dict[tuple[int, int], bytes] = {}

    @classmethod
    def open(cls, directory: Path, store_id: str, files: Files = FILES) -> LogTree:
        """The tree of the log in a store directory, up to its last complete line.

        Makes the tiles that are missing or wrong, where the directory lets it.

        Args:
            directory: the store.
            store_id: 32 lowercase hex digits.
            files: the calls that change the store.

        Raises:
            IntegrityBroken: what was read of the log is damaged.
            InvalidInput: the store id is malformed.
            OSError: the log could not be read.
        """
        leaf_hashes, chain = bytearray(), genesis(store_id)
        segments = list_segments(directory / LOG_DIR)
        if segments and segments[0].first != 0:
            what = "the first lines of the log are missing"
            raise _damaged(
                segments[0].path, what, "a segment that begins with seq 0", "this one as the first"
            )
        for segment, following in zip_longest(segments, segments[1:]):
            if following is None:
                leaf_hashes += _read_lines(segment, chain)[0]
            else:
                hashes, chain = _sealed(directory / TILES_DIR, segment, following.first, chain, files)
                leaf_hashes += hashes
        return cls(leaf_hashes)

    @property
    def size(self) -> int:
        """How many lines the log had."""
        return len(self._leaf_hashes) // HASH_BYTES

    def root(self, size: int | None = None) -> bytes:
        """The root over the first so many lines; over all, if None.

        Raises:
            InvalidInput: the log does not have so many.
        """
        return tree_root(self._subtree, self._size(size))

    def inclusion_proof(self, seq: int, size: int | None = None) -> InclusionProof:
        """Proves that a line is at its place among the first so many.

        Args:
            seq: the line's number.
            size: how many lines; all, if None.

        Raises:
            InvalidInput: the log does not have so many, or the line is not among them.
        """
        return inclusion_proof(self._subtree, seq, self._size(size))

    def consistency_proof(self, old: int, new: int | None = None) -> ConsistencyProof:
        """Proves that the log of so many lines begins with the log of fewer.

        Args:
            old: how many lines the log had, from 1.
            new: how many lines it had later; all, if None.

        Raises:
            InvalidInput: the log does not have so many, or the sizes are not in that order.
        """
        return consistency_proof(self._subtree, old, self._size(new))

    def _size(self, size: int | None) -> int:
        if size is None:
            return self.size
        if size > self.size:
            raise InvalidInput(
                "the log does not have so many lines", expected=f"at most {self.size}", got=str(size)
            )
        return size

    def _subtree(self, level: int, index: int) -> bytes:
        if level < _KEPT_LEVEL:
            start, end = (at * HASH_BYTES << level for at in (index, index + 1))
            return root_of(self._leaf_hashes[start:end])
        kept = self._kept.get((level, index))
        if kept is None:
            left, right = (self._subtree(level - 1, child) for child in (2 * index, 2 * index + 1))
            kept = self._kept[level, index] = node_hash(left, right)
        return kept


def _sealed(tiles: Path, segment: Segment, end: int, before: bytes, files: Files) -> tuple[bytes, bytes]:
    """The leaf hashes of a segment that no line will be added to, and the chain value of its last line.

    Args:
        tiles: the directory of the tiles.
        segment: whose lines.
        end: the seq of the first line after it.
        before: the chain value of the line before it.
        files: the calls that change the store.
    """
    path = tiles / f"{segment.first:020d}.leaves"
    cached = _read_tile(path, end - segment.first)
    if cached is not None:
        chain = _fold(before, cached)
        if chain == _last_chain(segment, end - 1):
            return cached, chain
    hashes, chain, offset = _read_lines(segment, before)
    found = segment.first + len(hashes) // HASH_BYTES
    if found != end or offset != segment.size():
        raise _damaged(
            segment.path,
            "a segment does not end where the next one begins",
            f"seq {end - 1} as its last line",
            f"lines up to seq {found - 1}, and {segment.size() - offset} more bytes",
        )
    _write_tile(path, hashes, files)
    return hashes, chain


def _read_lines(segment: Segment, chain: bytes) -> tuple[bytes, bytes, int]:
    """The leaf hashes of a segment's complete lines, each checked; the last one's chain value and end."""
    hashes, seq, end = bytearray(), segment.first, 0
    for offset, line in iter_lines(segment):
        try:
            chain = check_line(line, seq, chain)[4]
        except IntegrityBroken as fault:
            where = f"{segment.path}, line {seq - segment.first + 1} (seq {seq}, offset {offset})"
            raise _damaged(where, fault.message, fault.expected, fault.got) from None
        hashes += leaf_hash(leaf(line))
        seq, end = seq + 1, offset + len(line) + 1
    return bytes(hashes), chain, end


def _last_chain(segment: Segment, seq: int) -> bytes | None:
    """The chain value that the last line of a segment states; None if it does not have that number."""
    found = line_ending_at(segment, segment.size())
    with contextlib.suppress(IntegrityBroken):
        if found is not None and (entry := parse_line(found[1])).seq == seq:
            return entry.chain
    return None


def _fold(chain: bytes, leaf_hashes: bytes) -> bytes:
    """The chain value after lines with these leaf hashes."""
    for at in range(0, len(leaf_hashes), HASH_BYTES):
        chain = chain_next(chain, leaf_hashes[at : at + HASH_BYTES])
    return chain


def _read_tile(path: Path, count: int) -> bytes | None:
    """The bytes of a tile; None if there is none, or it is not for so many lines."""
    try:
        with path.open("rb") as file:
            data = file.read(count * HASH_BYTES + 1)
    except OSError:
        return None
    return data if len(data) == count * HASH_BYTES else None


def _write_tile(path: Path, leaf_hashes: bytes, files: Files) -> None:
    """Puts a tile there, if that can be done; without it, the next reader has more to do, that is all."""
    new = path.with_suffix(".new")
    try:
        with contextlib.suppress(FileExistsError):
            files.mkdir(path.parent)
        # Whoever else makes this tile at the same moment writes the same bytes, and a mixture would not fold.
        fd = files.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(files, fd, leaf_hashes)
        finally:
            files.close(fd)
        files.rename(new, path)
    except OSError:
        with contextlib.suppress(OSError):
            files.unlink(new)


def _damaged(where: Path | str, message: str, expected: str, got: str) -> IntegrityBroken:
    return IntegrityBroken(
        message, where=str(where), expected=expected, got=got, hint="Run `intentusnet verify` on the store."
    )
