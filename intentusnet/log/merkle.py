"""The Merkle tree of RFC 6962, section 2.1, over leaf hashes: roots, proofs, and what checks proofs.

A tree head (size and root) stands for a log up to that size. An *inclusion proof* shows, to somebody who has
a tree head and one line, that this line has that place in that log. A *consistency proof* shows, to somebody
who has two tree heads, that the log of the second begins with the log of the first. Either is at most two
hashes per doubling of the log.

Everything here is a function of its arguments, and knows neither lines nor files. With n leaf hashes D[0:n],
and ``‖`` for one after the other::

    root of D[0:0] = SHA256()
    root of D[0:1] = D[0]
    root of D[0:n] = SHA256(0x01 ‖ root of D[0:k] ‖ root of D[k:n]), k the largest power of two below n

The proofs are those of RFC 6962, sections 2.1.1 and 2.1.2, and are checked as in RFC 9162, sections 2.1.3.2
and 2.1.4.2. A check that fails raises: there is no result that a caller could forget to look at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from intentusnet.errors import IntegrityBroken, InvalidInput

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256().digest()

#: Gives the root of the 2**level leaf hashes that begin with number index * 2**level (level, index -> hash).
#: Level 0 is the leaf hashes themselves. It is only asked for subtrees that lie wholly in the tree.
Subtrees = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What a log is compared with: how many lines, and the root over them.

    A root alone does not say of how many leaves it is, so the two belong together: take both from one place
    that you trust.

    Args:
        size: how many leaves.
        root: 32 bytes.

    Raises:
        InvalidInput: an argument is something else.
    """

    size: int
    root: bytes

    def __post_init__(self) -> None:
        _check_number("the size of a tree", self.size, 0)
        _check_hash("the root of a tree", self.root)


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """Shows which leaf a tree has at a place; see :func:`verify_inclusion`.

    Args:
        index: the leaf's number, from 0; in a log, the line's seq.
        size: how many leaves the tree has.
        hashes: 32 bytes each, from the leaf's neighbour up (``PATH`` of RFC 6962, section 2.1.1).

    Raises:
        InvalidInput: an argument is something else.
    """

    index: int
    size: int
    hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _check_number("the size of a tree", self.size, 1)
        _check_number("the number of a leaf", self.index, 0, self.size - 1)
        _check_path(self.hashes)


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """Shows that a tree begins with all leaves of a smaller one; see :func:`verify_consistency`.

    Args:
        old: how many leaves the smaller tree has. Not 0: every log begins with the empty one, which nothing
            has to show.
        new: how many leaves the larger tree has.
        hashes: 32 bytes each, from the bottom up (``PROOF`` of RFC 6962, section 2.1.2).

    Raises:
        InvalidInput: an argument is something else.
    """

    old: int
    new: int
    hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _check_number("the size of the later tree", self.new, 1)
        _check_number("the size of the earlier tree", self.old, 1, self.new)
        _check_path(self.hashes)


class Frontier:
    """The root of leaf hashes, or complete subtrees of them, that come one by one; mutable.

    Holds one hash for each complete subtree that no other one contains: at most one per doubling of the size.
    """

    def __init__(self) -> None:
        self._size = 0
        self._peaks: list[bytes] = []

    @property
    def size(self) -> int:
        """How many leaf hashes have come."""
        return self._size

    def append(self, node: bytes, level: int = 0) -> None:
        """Takes the next leaf hash, or the root of the next 2**level leaf hashes.

        Raises:
            InvalidInput: it is not 32 bytes, or no such subtree begins where what has come so far ends.
        """
        _check_hash("a node", node)
        size = self._size >> level
        if size << level != self._size:
            raise InvalidInput(
                "no such subtree begins here", expected=f"a multiple of {1 << level}", got=str(self._size)
            )
        # A one at the end of the size is a complete subtree as large as the node: together they are the next.
        while size & 1:
            node = node_hash(self._peaks.pop(), node)
            size >>= 1
        self._peaks.append(node)
        self._size += 1 << level

    def root(self) -> bytes:
        """The root of what has come so far."""
        return _fold(self._peaks)


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node over those of its two children: SHA-256 of a one byte and the two."""
    return sha256(b"\x01" + left + right).digest()


def root_of(leaf_hashes: bytes | bytearray) -> bytes:
    """The root of a tree whose leaf hashes lie end to end.

    Raises:
        InvalidInput: the bytes are not a whole number of hashes.
    """
    if len(leaf_hashes) % HASH_BYTES:
        raise InvalidInput(
            "leaf hashes are cut",
            expected=f"a multiple of {HASH_BYTES} bytes",
            got=f"{len(leaf_hashes)} bytes",
        )
    if not leaf_hashes:
        return EMPTY_ROOT
    level, pair = bytes(leaf_hashes), 2 * HASH_BYTES
    while len(level) > HASH_BYTES:
        paired = len(level) - len(level) % pair
        nodes = [sha256(b"\x01" + level[at : at + pair]).digest() for at in range(0, paired, pair)]
        # A node without a neighbour is the whole right side of its parent, and goes up as it is.
        level = b"".join(nodes) + level[paired:]
    return level


def tree_root(subtrees: Subtrees, size: int) -> bytes:
    """The root of the first so many leaves.

    Args:
        subtrees: the hashes of complete subtrees.
        size: how many leaves.

    Raises:
        InvalidInput: the size is negative, or no number.
    """
    _check_number("the size of a tree", size, 0)
    return _root_between(subtrees, 0, size)


def inclusion_proof(subtrees: Subtrees, index: int, size: int) -> InclusionProof:
    """Proves which leaf a tree has at a place, with O(log size) subtrees.

    Args:
        subtrees: the hashes of complete subtrees.
        index: the leaf's number, from 0.
        size: how many leaves the tree has.

    Raises:
        InvalidInput: the tree has no such leaf.
    """
    InclusionProof(index, size, ())  # refuses what cannot be proved
    hashes = []
    start, end = 0, size
    while end - start > 1:
        middle = _middle(start, end)
        if index < middle:
            hashes.append(_root_between(subtrees, middle, end))
            end = middle
        else:
            hashes.append(_root_between(subtrees, start, middle))
            start = middle
    return InclusionProof(index, size, tuple(reversed(hashes)))


def consistency_proof(subtrees: Subtrees, old: int, new: int) -> ConsistencyProof:
    """Proves that a tree begins with all leaves of a smaller one, with O(log new) subtrees.

    Args:
        subtrees: the hashes of complete subtrees.
        old: how many leaves the smaller tree has, from 1.
        new: how many leaves the larger tree has.

    Raises:
        InvalidInput: the sizes are not in that order.
    """
    ConsistencyProof(old, new, ())  # refuses what cannot be proved
    hashes = []
    start, end = 0, new
    while end != old:
        middle = _middle(start, end)
        if old <= middle:
            hashes.append(_root_between(subtrees, middle, end))
            end = middle
        else:
            hashes.append(_root_between(subtrees, start, middle))
            start = middle
    # What lies between start and the old end is the whole old tree, or has to be told.
    if start > 0:
        hashes.append(_root_between(subtrees, start, end))
    return ConsistencyProof(old, new, tuple(reversed(hashes)))


def verify_inclusion(proof: InclusionProof, leaf_hash: bytes, head: TreeHead) -> None:
    """Returns if the tree of that head has that leaf at the place that the proof names, else raises.

    Args:
        proof: from anybody.
        leaf_hash: of the leaf that is asked about, 32 bytes.
        head: of the tree, from somebody who is trusted.

    Raises:
        IntegrityBroken: the proof does not show it.
        InvalidInput: an argument is malformed.
    """
    _check_hash("a leaf hash", leaf_hash)
    if proof.size != head.size:
        raise _other_size(f"size {head.size}", f"size {proof.size}")
    # Where the node and the tree's last node are on their level; RFC 9162, section 2.1.3.2.
    at, last, node = proof.index, proof.size - 1, leaf_hash
    for sibling in proof.hashes:
        if last == 0:
            raise _wrong_length(proof.hashes)
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            at, last = _up_to_right_child(at, last)
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise _wrong_length(proof.hashes)
    if node != head.root:
        raise _other_root("the root", head.root, node)


def verify_consistency(proof: ConsistencyProof, old: TreeHead, new: TreeHead) -> None:
    """Returns if the tree of the new head begins with all leaves of the tree of the old one, else raises.

    Args:
        proof: from anybody.
        old: the earlier head, from somebody who is trusted.
        new: the later head.

    Raises:
        IntegrityBroken: the proof does not show it.
        InvalidInput: an argument is malformed.
    """
    if (proof.old, proof.new) != (old.size, new.size):
        sizes = (f"sizes {old.size} and {new.size}", f"sizes {proof.old} and {proof.new}")
        raise _other_size(*sizes)
    if proof.old == proof.new:
        if proof.hashes:
            raise _wrong_length(proof.hashes)
        if old.root != new.root:
            raise _other_root("the root of a tree of the same size", old.root, new.root)
        return
    # As in RFC 9162, section 2.1.4.2: both roots are computed upwards from the largest complete subtree at
    # the end of the old tree. It is the whole old tree if the old size is a power of two.
    path = proof.hashes if proof.old & (proof.old - 1) else (old.root, *proof.hashes)
    at, last = proof.old - 1, proof.new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    if not path:
        raise _wrong_length(proof.hashes)
    old_node = new_node = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _wrong_length(proof.hashes)
        if at & 1 or at == last:
            old_node = node_hash(sibling, old_node)
            new_node = node_hash(sibling, new_node)
            at, last = _up_to_right_child(at, last)
        else:
            new_node = node_hash(new_node, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise _wrong_length(proof.hashes)
    if old_node != old.root:
        raise _other_root("the earlier root", old.root, old_node)
    if new_node != new.root:
        raise _other_root("the later root", new.root, new_node)


def _middle(start: int, end: int) -> int:
    """Where a tree of at least two leaves is split: after the largest power of two below their number."""
    return start + (1 << (end - start - 1).bit_length() - 1)


def _root_between(subtrees: Subtrees, start: int, end: int) -> bytes:
    """The root of the leaves from a start, where a split of the tree lies, up to an end."""
    peaks = []
    while start < end:
        level = (end - start).bit_length() - 1
        peaks.append(subtrees(level, start >> level))
        start += 1 << level
    return _fold(peaks)


def _fold(peaks: list[bytes]) -> bytes:
    """The root over complete subtrees that lie side by side, each larger than the next."""
    if not peaks:
        return EMPTY_ROOT
    node = peaks[-1]
    for peak in reversed(peaks[:-1]):
        node = node_hash(peak, node)
    return node


def _up_to_right_child(at: int, last: int) -> tuple[int, int]:
    """Passes the levels on which a node at the right edge has no neighbour."""
    while at and not at & 1:
        at, last = at >> 1, last >> 1
    return at, last


def _check_number(what: str, number: object, least: int, most: int | None = None) -> None:
    # True is a number to Python.
    if type(number) is not int or number < least or (most is not None and number > most):
        expected = f"a whole number from {least}" + ("" if most is None else f" to {most}")
        raise InvalidInput(f"{what} is not one", expected=expected, got=repr(number))


def _check_hash(what: str, value: object) -> None:
    if type(value) is not bytes or len(value) != HASH_BYTES:
        got = f"{len(value)} bytes" if isinstance(value, bytes) else type(value).__name__
        raise InvalidInput(f"{what} is not a hash", expected=f"{HASH_BYTES} bytes", got=got)


def _check_path(hashes: object) -> None:
    if type(hashes) is not tuple:
        raise InvalidInput("a proof has no hashes", expected="a tuple of bytes", got=type(hashes).__name__)
    for value in hashes:
        _check_hash("a part of a proof", value)


def _other_size(expected: str, got: str) -> IntegrityBroken:
    return IntegrityBroken("the proof is about a tree of another size", expected=expected, got=got)


def _wrong_length(hashes: tuple[bytes, ...]) -> IntegrityBroken:
    return IntegrityBroken("the proof is too short or too long for its tree", got=f"{len(hashes)} hashes")


def _other_root(what: str, expected: bytes, got: bytes) -> IntegrityBroken:
    return IntegrityBroken(f"the proof does not lead to {what}", expected=expected.hex(), got=got.hex())
