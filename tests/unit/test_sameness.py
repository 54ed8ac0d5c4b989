"""Whether something came back as it was: stricter than Python's equality, and aware of NaN."""

import collections
import dataclasses
import enum
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PrivateAttr

from intentusnet import values
from intentusnet.sameness import conversion, difference

NAN, OTHER_NAN = float("nan"), float("nan")
NOON = datetime(2024, 2, 29, 12)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.sampled_from("ab") | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from("ab") | st.integers(0, 1) | st.floats(0, 1), inner, max_size=3)
        | st.frozensets(st.integers(0, 1) | st.floats(0, 1) | st.booleans())
    ),
    max_leaves=6,
)


class Colour(enum.IntEnum):
    RED = 1


class Point(NamedTuple):
    x: Any


@dataclasses.dataclass(eq=False)
class Box:
    x: Any
    unset: int = dataclasses.field(init=False)


class Model(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: Any
    _hidden: Any = PrivateAttr(None)

    def hiding(self, value: Any) -> "Model":
        self._hidden = value
        return self


class Unsure:
    def __eq__(self, other: object) -> bool:
        raise ArithmeticError

    __hash__ = None


@given(PLAIN, PLAIN)
def test_plain_values_are_the_same_if_their_bytes_are(one: Any, other: Any) -> None:
    """For values that need no type there is one measure: what is written down."""
    assert (difference(one, other, ()) is None) is (values.encode(one) == values.encode(other))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Box(NAN),
        lambda: Model(x=[(NAN, -0.0)], more={"a": {1.0}}),
        lambda: Model(x=1).hiding([2]),
        lambda: Point({Point(1): Colour.RED}),
        lambda: collections.deque([Box(1), Box("1")]),
        lambda: collections.OrderedDict(b=1, a=2),
        lambda: {float("nan"): 1, 2: float("nan")},
        lambda: {Colour.RED: Colour.RED},
        lambda: 1 + 2j,
    ],
)
def test_what_was_made_alike_is_the_same(make: Any) -> None:
    """Objects are compared by class and parts, whatever their own equality says."""
    assert difference(make(), make(), ()) is None


@pytest.mark.parametrize(
    ("one", "other", "keys"),
    [
        (1, True, ()),
        (0.0, -0.0, ()),
        (Colour.RED, 1, ()),
        (Point(1), (1,), ()),
        ([1, [2, 3]], [1, [2, 3.0]], (1, 1)),
        ([1], [1, 2], ()),
        ({"a": 1}, {"b": 1}, ()),
        ({"a": {1: 0}}, {"a": {1.0: 0}}, ("a",)),
        ({1, 2}, {1.0, 2}, ()),
        ({NAN: 1}, {OTHER_NAN: 2}, ()),
        ({NAN: Box(1)}, {OTHER_NAN: Box(1)}, ()),
        (Box(Box(1)), Box(Box(2)), ("x", "x")),
        (Model(x=1), Model(x=1, y=2), ()),
        (Model(x=1).hiding(1), Model(x=1).hiding(2), ("_hidden",)),
        (Decimal("1.0"), Decimal("1.00"), ()),
        (NOON, NOON.replace(fold=1), ()),
        (NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=timezone(timedelta(), "Z")), ()),
        (collections.OrderedDict(b=1, a=2), collections.OrderedDict(a=2, b=1), ()),
        (collections.deque([1]), collections.deque([2]), (0,)),
        (1 + 2j, 1 - 2j, ()),
        (Unsure(), Unsure(), ()),
        (False, True, ()),
    ],
)
def test_a_difference_is_found_in_its_place(one: Any, other: Any, keys: tuple[Any, ...]) -> None:
    """The first difference in type or value is told with the keys that lead to it."""
    lost = difference(one, other, ())
    assert lost is not None
    assert lost[0] == keys


@pytest.mark.parametrize(
    ("given_tree", "made", "expected"),
    [
        ({"a": 1, "alias": 2}, {"a": 1, "default": 3}, None),
        ([1, {"x": None}], [1.0, {"x": None}], None),
        ({"a": [True]}, {"a": [1]}, (("a", 0), True, 1)),
        ({"a": "1"}, {"a": 1}, (("a",), "1", 1)),
        ([1], [1, 1], ((), [1], [1, 1])),
        (1.0, 1, ((), 1.0, 1)),
    ],
)
def test_a_conversion_is_what_a_tree_no_longer_says(given_tree: Any, made: Any, expected: Any) -> None:
    """Left out or added keys and integers for floats are no conversion; everything else that changed is."""
    assert conversion(given_tree, made, ()) == expected
