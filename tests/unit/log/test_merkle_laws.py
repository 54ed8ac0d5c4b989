"""What holds for every tree: proofs are short, show one thing only, and fail when anything is changed."""

from itertools import product

import pytest
from helpers.trees import LEAVES, MOST, cached, head, subtree
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.errors import IntegrityBroken, InvalidInput
from intentusnet.log.merkle import (
    EMPTY_ROOT,
    ConsistencyProof,
    Frontier,
    InclusionProof,
    TreeHead,
    consistency_proof,
    inclusion_proof,
    node_hash,
    root_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

#: A number from 1, and a size up to 300 that is not below it.
numbers = st.integers(1, MOST).flatmap(lambda size: st.tuples(st.integers(1, size), st.just(size)))


@given(st.integers(1, 2**62), st.data())
def test_the_work_for_a_proof_grows_with_the_number_of_digits(size: int, data: st.DataObject) -> None:
    """A proof, and the root, of a tree of any size ask for no more than two subtrees for each doubling."""
    digits, asked = size.bit_length(), []
    levels = [LEAVES[0]]
    for _ in range(digits):
        levels.append(node_hash(levels[-1], levels[-1]))

    def all_alike(level: int, index: int) -> bytes:
        assert (index + 1) << level <= size
        asked.append(level)
        return levels[level]

    number = data.draw(st.integers(1, size))
    whole = TreeHead(size, tree_root(all_alike, size))
    inclusion = inclusion_proof(all_alike, number - 1, size)
    verify_inclusion(inclusion, LEAVES[0], whole)
    consistency = consistency_proof(all_alike, number, size)
    verify_consistency(consistency, TreeHead(number, tree_root(all_alike, number)), whole)
    assert len(inclusion.hashes) <= digits and len(consistency.hashes) <= digits + 1
    # Two roots, and two proofs on whose way each split leaves one side that may be no complete subtree.
    assert len(asked) <= 6 * digits


@given(numbers, st.data())
def test_a_proof_of_inclusion_with_one_bit_changed_fails(
    number_size: tuple[int, int], data: st.DataObject
) -> None:
    """A bit of the leaf, of the root or of any hash of the proof."""
    number, size = number_size
    proof = inclusion_proof(cached, number - 1, size)
    parts = [LEAVES[number - 1], head(size).root, *proof.hashes]
    leaf_hash_bytes, root, *hashes = flipped(parts, data)
    with pytest.raises(IntegrityBroken, match="does not lead to the root"):
        verify_inclusion(
            InclusionProof(number - 1, size, tuple(hashes)), leaf_hash_bytes, TreeHead(size, root)
        )


@given(numbers, st.data())
def test_a_proof_of_consistency_with_one_bit_changed_fails(
    old_new: tuple[int, int], data: st.DataObject
) -> None:
    """A bit of either root or of any hash of the proof."""
    old, new = old_new
    parts = [head(old).root, head(new).root, *consistency_proof(cached, old, new).hashes]
    old_root, new_root, *hashes = flipped(parts, data)
    with pytest.raises(IntegrityBroken, match="does not lead to the"):
        verify_consistency(
            ConsistencyProof(old, new, tuple(hashes)), TreeHead(old, old_root), TreeHead(new, new_root)
        )


def flipped(parts: list[bytes], data: st.DataObject) -> list[bytes]:
    at = data.draw(st.integers(0, len(parts) - 1))
    bit = 1 << data.draw(st.integers(0, 255))
    changed = (int.from_bytes(parts[at]) ^ bit).to_bytes(32)
    return [*parts[:at], changed, *parts[at + 1 :]]


@given(numbers, st.data())
def test_a_proof_with_a_hash_more_or_fewer_fails(number_size: tuple[int, int], data: st.DataObject) -> None:
    """Hashes put in, taken out or swapped, anywhere."""
    number, size = number_size
    inclusion = inclusion_proof(cached, number - 1, size)
    consistency = consistency_proof(cached, number, size)
    for hashes, check in (
        (
            inclusion.hashes,
            lambda h: verify_inclusion(InclusionProof(number - 1, size, h), LEAVES[number - 1], head(size)),
        ),
        (
            consistency.hashes,
            lambda h: verify_consistency(ConsistencyProof(number, size, h), head(number), head(size)),
        ),
    ):
        at = data.draw(st.integers(0, len(hashes)))
        extra = data.draw(st.sampled_from([*hashes, head(size).root, LEAVES[0], bytes(32)]))
        with pytest.raises(IntegrityBroken):
            check((*hashes[:at], extra, *hashes[at:]))
        if at < len(hashes):
            with pytest.raises(IntegrityBroken):
                check((*hashes[:at], *hashes[at + 1 :]))
        if at + 1 < len(hashes):
            with pytest.raises(IntegrityBroken):
                check((*hashes[:at], hashes[at + 1], hashes[at], *hashes[at + 2 :]))


def turns(index: int, size: int) -> str:
    """The way down to a leaf; two leaves of different trees may have the same."""
    if size == 1:
        return ""
    half = 1 << (size - 1).bit_length() - 1
    return "l" + turns(index, half) if index < half else "r" + turns(index - half, size - half)


def old_turns(old: int, new: int, left: str = "=") -> str:
    """The way down to where an old tree ends, and whether that is the whole old tree."""
    if old == new:
        return left
    half = 1 << (new - 1).bit_length() - 1
    if old <= half:
        return "l" + old_turns(old, half, left)
    return "r" + old_turns(old - half, new - half, "+")


def holds(check: object, *arguments: object) -> bool:
    assert callable(check)
    try:
        check(*arguments)
    except IntegrityBroken:
        return False
    return True


def test_a_proof_of_inclusion_shows_one_place_only() -> None:
    """Said to be of another leaf or size, a proof fails, unless the way to that leaf is the very same.

    Then only the size is wrong, which no root tells; hence heads, which bind the two, and are compared.
    """
    places = [(index, size) for size in range(1, 13) for index in range(size)]
    for (index, size), (claimed, claimed_size) in product(places, repeat=2):
        hashes = inclusion_proof(cached, index, size).hashes
        proof = InclusionProof(claimed, claimed_size, hashes)
        said = TreeHead(claimed_size, head(size).root)
        assert holds(verify_inclusion, proof, LEAVES[index], said) == (
            turns(index, size) == turns(claimed, claimed_size)
        )
        assert size == claimed_size or not holds(verify_inclusion, proof, LEAVES[index], head(size))
        assert claimed == index or not holds(verify_inclusion, proof, LEAVES[claimed], head(claimed_size))


def test_a_proof_of_consistency_shows_two_sizes_only() -> None:
    """Said to be of other sizes, a proof fails, unless the way to the old end is the very same."""
    pairs = [(old, new) for new in range(1, 13) for old in range(1, new + 1)]
    for (old, new), (claimed_old, claimed_new) in product(pairs, repeat=2):
        proof = ConsistencyProof(claimed_old, claimed_new, consistency_proof(cached, old, new).hashes)
        said = TreeHead(claimed_old, head(old).root), TreeHead(claimed_new, head(new).root)
        assert holds(verify_consistency, proof, *said) == (
            old_turns(old, new) == old_turns(claimed_old, claimed_new)
        )
        assert (old, new) == (claimed_old, claimed_new) or not holds(
            verify_consistency, proof, head(old), head(new)
        )


@given(numbers, st.data())
def test_a_log_whose_past_was_changed_is_not_consistent(
    old_new: tuple[int, int], data: st.DataObject
) -> None:
    """Where any old leaf differs, the proof of the changed log does not fit the old head."""
    old, new = old_new
    at = data.draw(st.integers(0, old - 1))
    leaves = [*LEAVES[:at], bytes(32), *LEAVES[at + 1 : new]]

    def changed(level: int, index: int) -> bytes:
        return subtree(level, index, leaves)

    now = TreeHead(new, tree_root(changed, new))
    with pytest.raises(IntegrityBroken):
        verify_consistency(consistency_proof(changed, old, new), head(old), now)


@given(st.integers(1, MOST), st.data())
def test_a_frontier_takes_subtrees_in_the_place_of_their_leaves(size: int, data: st.DataObject) -> None:
    """Whichever complete subtrees a log is handed over in, the root is the same; others are refused."""
    frontier = Frontier()
    while (at := frontier.size) < size:
        fitting = [level for level in range(10) if at % (1 << level) == 0 and at + (1 << level) <= size]
        if at % 2:
            with pytest.raises(InvalidInput, match="begins here"):
                frontier.append(LEAVES[0], 1)
        level = data.draw(st.sampled_from(fitting))
        frontier.append(cached(level, at >> level), level)
    assert frontier.root() == head(size).root


BAD_NUMBERS = [-1, True, 1.0, "1", None]
BAD_HASHES = [b"", bytes(31), bytes(33), "0" * 32, bytearray(32), None, 7]


@pytest.mark.parametrize(
    ("index", "size"),
    [
        *((bad, 2) for bad in BAD_NUMBERS),
        *((0, bad) for bad in BAD_NUMBERS),
        (0, 0),
        (2, 2),
    ],
)
def test_a_proof_of_a_leaf_that_cannot_be_is_refused(index: int, size: int) -> None:
    """Neither made nor taken: the size is at least 1, and the leaf's number below it."""
    with pytest.raises(InvalidInput):
        inclusion_proof(cached, index, size)
    with pytest.raises(InvalidInput):
        InclusionProof(index, size, ())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *((bad, 2) for bad in BAD_NUMBERS),
        *((1, bad) for bad in BAD_NUMBERS),
        (0, 0),
        (0, 2),
        (3, 2),
    ],
)
def test_a_proof_of_sizes_that_cannot_be_is_refused(old: int, new: int) -> None:
    """Neither made nor taken: the old size is at least 1, and not above the new one."""
    with pytest.raises(InvalidInput):
        consistency_proof(cached, old, new)
    with pytest.raises(InvalidInput):
        ConsistencyProof(old, new, ())


@pytest.mark.parametrize("bad", BAD_HASHES)
def test_what_is_not_32_bytes_is_no_hash(bad: bytes) -> None:
    """In heads, in proofs, as a leaf hash: refused, with what was wrong."""
    proof = inclusion_proof(cached, 0, 2)
    for use in (
        lambda: TreeHead(2, bad),
        lambda: InclusionProof(0, 2, (bad,)),
        lambda: ConsistencyProof(1, 2, (bad,)),
        lambda: verify_inclusion(proof, bad, head(2)),
        lambda: Frontier().append(bad),
    ):
        with pytest.raises(InvalidInput, match="32 bytes"):
            use()


@pytest.mark.parametrize("bad", BAD_NUMBERS)
def test_a_size_is_a_whole_number_from_0(bad: int) -> None:
    """In heads, and where a root is asked for."""
    with pytest.raises(InvalidInput, match="whole number"):
        TreeHead(bad, EMPTY_ROOT)
    with pytest.raises(InvalidInput, match="whole number"):
        tree_root(cached, bad)


def test_a_proof_s_hashes_are_a_tuple() -> None:
    """A list, which could change after it was checked, is refused; so are leaf hashes with a part missing."""
    hashes: object = [LEAVES[1]]
    for kind in (InclusionProof, ConsistencyProof):
        with pytest.raises(InvalidInput, match="tuple"):
            kind(1, 2, hashes)
    with pytest.raises(InvalidInput, match="multiple of 32"):
        root_of(bytes(33))
