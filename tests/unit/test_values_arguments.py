"""Arguments of a call: compared and never handed back, so objects that are data may stand among them."""

import collections
import dataclasses
import enum
import functools
import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from pydantic.dataclasses import dataclass as checked_dataclass

from intentusnet import values
from intentusnet.errors import InvalidInput, UnrecordableValue

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


class Colour(enum.Enum):
    RED = object()


class Access(enum.Flag, boundary=enum.KEEP):
    READ = 1
    WRITE = 2


class Word(enum.StrEnum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: float


@dataclasses.dataclass
class Order:
    item: str
    price: Any
    unset: int = dataclasses.field(init=False)


@checked_dataclass
class Checked:
    n: int


class Ticket(BaseModel):
    model_config = ConfigDict(extra="allow")
    text: str
    order: Order | None = None


@dataclasses.dataclass
class Sizes(list[int]):
    unit: str


def arguments(*args: Any, **kwargs: Any) -> Any:
    return values.parse(values.encode_arguments(args, kwargs))


@given(st.lists(PLAIN, max_size=3), st.dictionaries(st.text(), PLAIN, max_size=3))
def test_plain_arguments_are_written_as_plain_values(args: list[Any], kwargs: dict[str, Any]) -> None:
    """Without objects among them, arguments have the bytes of an ordinary value."""
    data = values.encode_arguments(tuple(args), kwargs)
    assert data == values.encode({"args": args, "kwargs": kwargs})


@pytest.mark.parametrize(
    ("value", "name", "fields"),
    [
        (Colour.RED, "Colour", {"name": "RED"}),
        (Access.READ | Access.WRITE, "Access", {"name": "READ|WRITE"}),
        (Access(0), "Access", {"value": 0}),
        (Word.YES, "Word", {"name": "YES"}),
        (Point(1, 2.0), "Point", {"x": 1, "y": 2.0}),
        (Order("pen", (1,)), "Order", {"item": "pen", "price": {"$tuple": [1]}}),
        (Checked(3), "Checked", {"n": 3}),
        (Ticket(text="hi", more=None), "Ticket", {"more": None, "order": None, "text": "hi"}),
        (Ticket.model_construct(text="hi"), "Ticket", {"order": None, "text": "hi"}),
        (Ticket(text="hi", **{"$x": 1}), "Ticket", {"$dict": [["$x", 1], ["order", None], ["text", "hi"]]}),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_objects_that_are_data_are_written_by_class_and_fields(value: Any, name: str, fields: Any) -> None:
    """Enums by member name, everything else with all its fields; as a value they stay refused."""
    expected = {"$object": [f"{__name__}.{name}", fields]}
    assert arguments([value], key={value: 1} if isinstance(value, enum.Enum) else value)["args"] == [
        [expected]
    ]
    with pytest.raises(UnrecordableValue):
        values.encode([value])


def test_objects_nest_and_differ_by_class() -> None:
    """A field may hold an object again, and equal fields of another class are other arguments."""
    ticket = Ticket(text="hi", order=Order("pen", Point(1, 2)))
    inner = arguments(ticket)["args"][0]["$object"][1]["order"]["$object"][1]["price"]
    assert inner == {"$object": [f"{__name__}.Point", {"x": 1, "y": 2}]}
    other = dataclasses.make_dataclass("Other", ["n"])
    assert values.encode_arguments((Checked(3),), {}) != values.encode_arguments((other(3),), {})


def client() -> None:
    """Stands for anything that is not data."""


@pytest.mark.parametrize(
    ("args", "kwargs", "where"),
    [
        ((client,), {}, "/args/0"),
        ((1, [client]), {}, "/args/1/0"),
        ((), {"via": client}, "/kwargs/via"),
        ((Order("pen", client),), {}, "/args/0/price"),
        ((Ticket(text="hi", order=Order("pen", [object()])),), {}, "/args/0/order/price/0"),
        ((Order,), {}, "/args/0"),
        ((functools.partial(client),), {}, "/args/0"),
        (((n for n in [1]),), {}, "/args/0"),
    ],
)
def test_what_is_no_data_is_to_be_bound_to_the_function(
    args: tuple[Any, ...], kwargs: dict[str, Any], where: str
) -> None:
    """A client, a class or a function among the arguments is refused where it stands, with the way out."""
    with pytest.raises(UnrecordableValue, match=r"functools\.partial") as refusal:
        values.encode_arguments(args, kwargs)
    assert refusal.value.where == where


@pytest.mark.parametrize(
    ("value", "hint"),
    [(collections.OrderedDict(a=1), "dict("), (bytearray(), "bytes("), (Sizes("cm"), "dict of its fields")],
)
def test_near_data_is_to_be_converted(value: Any, hint: str) -> None:
    """Subclasses of plain types hold more than their fields; they are refused with the conversion to make."""
    with pytest.raises(UnrecordableValue) as refusal:
        values.encode_arguments((value,), {})
    assert hint in refusal.value.hint


def test_arguments_with_objects_are_never_handed_back() -> None:
    """What a record calls an object is not made into one."""
    with pytest.raises(InvalidInput, match="cannot be read back"):
        values.decode(values.encode_arguments((Point(1, 2),), {}))


def test_objects_that_contain_themselves_are_refused() -> None:
    """A cycle through the fields of objects is found like any other."""
    order = Order("pen", [])
    order.price.append(order)
    with pytest.raises(UnrecordableValue, match="contains itself") as refusal:
        values.encode_arguments((order,), {})
    assert refusal.value.where == "/args/0/price/0"


def test_raw_trees_hold_json_only() -> None:
    """Anything else in a tree is refused, and so is an integer that readers of JSON would differ on."""
    for tree in (object(), {1: 2}, 2**53, "\ud800", collections.OrderedDict()):
        with pytest.raises(InvalidInput, match="raw tree"):
            values.dumps(tree)
    assert json.loads(values.dumps({"b": [1], "a": None})) == {"a": None, "b": [1]}
