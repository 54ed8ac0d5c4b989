"""The Merkle tree is that of RFC 6962: against published vectors, and against another implementation."""

import re
from itertools import product
from pathlib import Path

import pymerkle
import pytest
from helpers.trees import DATA, LEAVES, MOST, cached, head, subtree

from intentusnet.log.entry import leaf, leaf_hash
from intentusnet.log.merkle import (
    Frontier,
    TreeHead,
    consistency_proof,
    inclusion_proof,
    node_hash,
    root_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

DOC = (Path(__file__).parents[3] / "docs/record-format.md").read_text("utf-8")

# The tree of eight leaves that the tests of Certificate Transparency are about.
CT_DATA = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_LEAVES = [leaf_hash(bytes.fromhex(data)) for data in CT_DATA]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.fixture(scope="module")
def other() -> pymerkle.InmemoryTree:
    """The same leaves in the other implementation."""
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for data in DATA:
        tree.append_entry(data)
    return tree


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    """The published roots, by each of the three ways to a root."""
    frontier = Frontier()
    for leaf_hash_bytes in CT_LEAVES[:size]:
        frontier.append(leaf_hash_bytes)
    ways = [
        root_of(b"".join(CT_LEAVES[:size])),
        tree_root(lambda level, index: subtree(level, index, CT_LEAVES), size),
        frontier.root(),
    ]
    assert [root.hex() for root in ways] == [CT_ROOTS[size]] * 3
    assert frontier.size == size


@pytest.mark.parametrize(
    ("index", "size", "proof"),
    [
        (0, 1, []),
        (
            0,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    ],
)
def test_inclusion_proofs_are_those_of_certificate_transparency(
    index: int, size: int, proof: list[str]
) -> None:
    """The published proofs are made, and they check."""
    made = inclusion_proof(lambda level, at: subtree(level, at, CT_LEAVES), index, size)
    assert [part.hex() for part in made.hashes] == proof
    verify_inclusion(made, CT_LEAVES[index], TreeHead(size, bytes.fromhex(CT_ROOTS[size])))


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [
        (1, 1, []),
        (
            1,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ],
)
def test_consistency_proofs_are_those_of_certificate_transparency(
    old: int, new: int, proof: list[str]
) -> None:
    """The published proofs are made, and they check."""
    made = consistency_proof(lambda level, at: subtree(level, at, CT_LEAVES), old, new)
    assert [part.hex() for part in made.hashes] == proof
    heads = (TreeHead(size, bytes.fromhex(CT_ROOTS[size])) for size in (old, new))
    verify_consistency(made, *heads)


def test_every_root_is_the_other_implementation_s(other: pymerkle.InmemoryTree) -> None:
    """All sizes up to 300, by each of the three ways to a root."""
    frontier = Frontier()
    for size, leaf_hash_bytes in enumerate(LEAVES, 1):
        frontier.append(leaf_hash_bytes)
        root = other.get_state(size)
        assert root == root_of(b"".join(LEAVES[:size])) == head(size).root == frontier.root(), size


def test_every_inclusion_proof_checks_and_is_the_other_implementation_s(
    other: pymerkle.InmemoryTree,
) -> None:
    """All leaves of all sizes up to 300 check; a quarter of them, of each size, is compared hash for hash."""
    for size in range(1, MOST + 1):
        for index in range(size):
            proof = inclusion_proof(cached, index, size)
            verify_inclusion(proof, LEAVES[index], head(size))
            if (size - index) % 4 == 1:
                # Theirs counts from 1, and begins with the leaf itself.
                assert [LEAVES[index], *proof.hashes] == other.prove_inclusion(index + 1, size).path


def as_in_the_rfc(proof: pymerkle.MerkleProof) -> list[bytes]:
    """A consistency proof of the other implementation in the form of RFC 6962.

    Theirs takes apart the subtree behind the old tree, down to its first leaf (the parts that belong to no
    old subtree, in front), and tells the root of an old tree that is one complete subtree.
    """
    first_old = proof.subset.index(1)
    behind, rest = proof.path[:first_old], proof.path[first_old + 1 :]
    hashes = [] if proof.subset.count(1) == 1 else [proof.path[first_old]]
    if behind:
        node = behind[0]
        for part in behind[1:]:
            node = node_hash(node, part)
        hashes.append(node)
    return hashes + rest


def test_every_consistency_proof_checks_and_is_the_other_implementation_s(
    other: pymerkle.InmemoryTree,
) -> None:
    """All pairs of sizes up to 300 check, and are the other implementation's hash for hash."""
    for old, new in product(range(1, MOST + 1), repeat=2):
        if old <= new:
            proof = consistency_proof(cached, old, new)
            verify_consistency(proof, head(old), head(new))
            assert list(proof.hashes) == as_in_the_rfc(other.prove_consistency(old, new)), (old, new)


def test_the_page_s_tree_is_the_tree_of_the_page_s_sample() -> None:
    """The roots, and the proof, that docs/record-format.md gives for its sample log."""
    (sample,) = re.findall(r"^```jsonl\n(.*?)^```$", DOC, re.DOTALL | re.MULTILINE)
    leaves = [leaf_hash(leaf(line)) for line in sample.encode().splitlines()]
    section = DOC.split("## The Merkle tree\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `D\[0:(\d)\]` \| `([0-9a-f]{64})` \|$", section, re.MULTILINE)
    assert [(int(size), root) for size, root in rows] == [
        (size, root_of(b"".join(leaves[:size])).hex()) for size in range(len(leaves) + 1)
    ]
    proof = inclusion_proof(lambda level, index: subtree(level, index, leaves), 1, 3)
    assert re.findall(r"^[0-9a-f]{64}$", section, re.MULTILINE) == [part.hex() for part in proof.hashes]
