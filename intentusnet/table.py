"""`Table`: a mapping that never changes. To set or drop a key makes another one, which shares the rest.

A hash trie: a leaf is a dict of a few keys, a branch a tuple of nodes, of which five bits of a key's hash
choose one. A change copies the nodes on one short path, however much there is beside it, so that n changes
cost about n times as much as one; and who reads needs no lock, because what is there stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias, TypeVar, cast

K = TypeVar("K")
V = TypeVar("V")

_Leaf: TypeAlias = dict[K, V]
_Node: TypeAlias = "_Leaf[K, V] | tuple[_Node[K, V], ...]"

_BITS: Final = 5
_WIDTH: Final = 1 << _BITS
#: A leaf of more keys than that becomes a branch, as long as their hashes have bits to tell them apart by.
_FULL: Final = 16
_HASH_BITS: Final = 64


class Table(Mapping[K, V]):
    """See the module. The order of its keys means nothing."""

    __slots__ = ("_length", "_root")

    def __init__(self) -> None:
        self._root: _Node[K, V] = {}
        self._length = 0

    def __getitem__(self, key: K) -> V:
        node, bits = self._root, hash(key)
        while type(node) is tuple:
            node = node[bits & (_WIDTH - 1)]
            bits >>= _BITS
        return cast("_Leaf[K, V]", node)[key]

    def __iter__(self) -> Iterator[K]:
        nodes = [self._root]
        while nodes:
            node = nodes.pop()
            if type(node) is tuple:
                nodes += node
            else:
                yield from cast("_Leaf[K, V]", node)

    def __len__(self) -> int:
        return self._length

    def having(self, key: K, value: V) -> Table[K, V]:
        """A table with that value under the key, and all else as in this one."""
        return self._changed(_put(self._root, key, value, hash(key), 0), self._length + (key not in self))

    def lacking(self, key: K) -> Table[K, V]:
        """A table without the key, and all else as in this one.

        Raises:
            KeyError: it is not there.
        """
        return self._changed(_drop(self._root, key, hash(key)), self._length - 1)

    def _changed(self, root: _Node[K, V], length: int) -> Table[K, V]:
        table = Table[K, V].__new__(type(self))
        table._root, table._length = root, length
        return table


def _put(node: _Node[K, V], key: K, value: V, bits: int, used: int) -> _Node[K, V]:
    """The node with the key; `bits` are those of its hash that have not been used on the way to it."""
    if type(node) is tuple:
        at = bits & (_WIDTH - 1)
        return _replaced(node, at, _put(node[at], key, value, bits >> _BITS, used + _BITS))
    leaf = {**cast("_Leaf[K, V]", node), key: value}
    return leaf if len(leaf) <= _FULL or used >= _HASH_BITS else _split(leaf, used)


def _drop(node: _Node[K, V], key: K, bits: int) -> _Node[K, V]:
    if type(node) is tuple:
        at = bits & (_WIDTH - 1)
        rest = _replaced(node, at, _drop(node[at], key, bits >> _BITS))
        return rest if any(rest) else {}
    leaf = dict(cast("_Leaf[K, V]", node))
    del leaf[key]
    return leaf


def _replaced(nodes: tuple[_Node[K, V], ...], at: int, node: _Node[K, V]) -> tuple[_Node[K, V], ...]:
    return (*nodes[:at], node, *nodes[at + 1 :])


def _split(leaf: _Leaf[K, V], used: int) -> tuple[_Node[K, V], ...]:
    children: list[_Leaf[K, V]] = [{} for _ in range(_WIDTH)]
    for key, value in leaf.items():
        children[hash(key) >> used & (_WIDTH - 1)][key] = value
    return tuple(children)
