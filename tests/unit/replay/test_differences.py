"""Where two raw trees differ, and what of it is told."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet import values
from intentusnet.replay.differences import ABSENT, MOST_PLACES, differences, encoded_differences

texts = st.text("a/~", max_size=2)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


def at(tree: Any, pointer: str) -> Any:
    """The part of a tree that a pointer (RFC 6901) means."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(tree, list):
            tree = tree[int(key)] if int(key) < len(tree) else ABSENT
        else:
            tree = tree.get(key, ABSENT)
    return tree


@given(trees, trees)
def test_there_are_differences_iff_the_bytes_differ(one: Any, other: Any) -> None:
    """Equal bytes have none; of others each place is told with what stands there on either side."""
    found = differences(one, other)
    assert (found == ()) is (values.dumps(one) == values.dumps(other))
    assert found == encoded_differences(values.dumps(one), values.dumps(other))
    for pointer, left, right in found:
        assert repr((left, right)) == repr((at(one, pointer), at(other, pointer)))


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (1, 1.0, [("", 1, 1.0)]),
        (True, 1, [("", True, 1)]),
        (0.0, -0.0, [("", 0.0, -0.0)]),
        ({"a": {"b": 1}}, {}, [("/a", {"b": 1}, ABSENT)]),
        ([], [{"b": 1}], [("/0", ABSENT, {"b": 1})]),
        ({"a/b~c": 1}, {"a/b~c": 2}, [("/a~1b~0c", 1, 2)]),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, [("/a", 1, 2), ("/b", 1, 2)]),
        ({}, [], [("", {}, [])]),
        (ABSENT, ABSENT, []),
    ],
)
def test_places(one: Any, other: Any, found: Any) -> None:
    """Types, signs of zero, absences and escapes, in the order of keys."""
    assert repr(differences(one, other)) == repr(tuple(found))


def test_not_every_place_of_a_huge_difference_is_told() -> None:
    """Of two trees that differ everywhere, the first hundred places are enough."""
    one = list(range(1000))
    other = [number + 1 for number in copy.copy(one)]
    assert len(differences(one, other)) == MOST_PLACES
