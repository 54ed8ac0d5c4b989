"""Values of a declared type: they come back as they were, or are refused with what would be lost."""

import collections
import enum
import ipaddress
import re
import typing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from helpers.models import NOON, Cat, Colour, Dog, Failing, Node, Opaque, Order, Partial, Sealed, Strict
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
)
from pydantic.dataclasses import dataclass as checked_dataclass

from intentusnet import values
from intentusnet.codecs import codec_for
from intentusnet.errors import UnrecordableValue
from intentusnet.sameness import difference


class Size(enum.IntEnum):
    SMALL = 1


class Word(enum.StrEnum):
    YES = "yes"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    colour: Colour = Colour.RED


@checked_dataclass
class Checked:
    n: int
    items: tuple[int, ...] = ()


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Aliased(BaseModel):
    a: int = Field(alias="A")
    b: int = Field(validation_alias="B")
    c: int = Field(serialization_alias="C")
    d: bytes = Field(default=b"", validation_alias="D")

    @computed_field
    @property
    def total(self) -> int:
        return self.a + self.b + self.c


class Numbers(RootModel[list[float]]):
    pass


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: Any = None
    _hidden: int = PrivateAttr(0)

    def hiding(self, value: int) -> "Open":
        self._hidden = value
        return self


class Forgetful(BaseModel):
    kept: int = 0
    dropped: int = Field(default=0, exclude=True)


class Shifting(BaseModel):
    n: int

    @field_serializer("n")
    def shift(self, n: int) -> int:
        return n + 1


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    opaque: Opaque


@pytest.mark.parametrize(
    ("annotation", "value", "data"),
    [
        (Colour, Colour.RED, '"red"'),
        (Colour, Colour.GREEN, '{"$tuple":["g",1]}'),
        (Size, Size.SMALL, "1"),
        (Word, Word.YES, '"yes"'),
        (Access, Access.READ | Access.WRITE, "3"),
        (Point, Point(1), '{"$tuple":[1,"red"]}'),
        (Order, Order(1.5), '{"colour":"red","count":0,"price":1.5}'),
        (list[Order], [Order(float("nan"))], '[{"colour":"red","count":0,"price":{"$float":"nan"}}]'),
        (Sealed, Sealed((1,)), '{"at":{"$datetime":"2024-02-29T12:00:00+00:00"},"x":{"$tuple":[1]}}'),
        (Checked, Checked(1, (2,)), '{"items":{"$tuple":[2]},"n":1}'),
        (Pet, Cat(), '{"kind":"cat","lives":9}'),
        (Cat | Dog, Dog(), '{"born":{"$datetime":"2024-02-29T12:00:00+00:00"},"kind":"dog"}'),
        (dict[str, Pet], {"a": Cat()}, '{"a":{"kind":"cat","lives":9}}'),
        (Aliased, Aliased(A=1, B=2, c=3), '{"a":1,"b":2,"c":3,"d":{"$bytes":""}}'),
        (Node, Node(value=1, children=[Node(value=2)]), '{"children":[{"children":[],"value":2}],"value":1}'),
        (Numbers, Numbers([1.0]), "[1.0]"),
        (Open, Open(x=[Decimal("1.0")], more=None), '{"more":null,"x":[{"$decimal":"1.0"}]}'),
        (Partial, {"n": 1}, '{"n":1}'),
        (Partial, {"n": 1, "colour": Colour.RED}, '{"colour":"red","n":1}'),
        (Colour | None, None, "null"),
        (dict[Colour, int], {Colour.RED: 1}, '{"red":1}'),
        (dict[float, int], {float("nan"): 1}, '{"$dict":[[{"$float":"nan"},1]]}'),
        (set[Colour], {Colour.RED}, '{"$set":["red"]}'),
        (frozenset[Point], frozenset({Point(1)}), '{"$frozenset":[{"$tuple":[1,"red"]}]}'),
        (tuple[int, Colour], (1, Colour.RED), '{"$tuple":[1,"red"]}'),
        (Literal["a", 1], 1, "1"),
        (int | float, 1, "1"),
        (int | float, 1.0, "1.0"),
        (int | bool, True, "true"),
        (str | datetime, "2024-02-29T12:00:00", '"2024-02-29T12:00:00"'),
        (Annotated[int, Field(gt=0)], 2**70, '{"$int":"1180591620717411303424"}'),
        (bytes, b"\xff", '{"$bytes":"/w=="}'),
        (UUID, UUID(int=1), '{"$uuid":"00000000-0000-0000-0000-000000000001"}'),
        (Decimal, Decimal("1E+2"), '{"$decimal":"1E+2"}'),
        (Path, Path("a/b"), '"a/b"'),
        (AnyUrl, AnyUrl("http://x/"), '"http://x/"'),
        (ipaddress.IPv4Address, ipaddress.IPv4Address("1.2.3.4"), '"1.2.3.4"'),
        (re.Pattern, re.compile("a+"), '"a+"'),
        (complex, 1 + 2j, '"1+2j"'),
        (collections.deque[Colour], collections.deque([Colour.RED]), '["red"]'),
        (collections.Counter[str], collections.Counter("aab"), '{"a":2,"b":1}'),
        (dict[str, collections.deque[datetime]], {"a": collections.deque()}, '{"a":[]}'),
        (typing.Sequence[int], (1, 2), '{"$tuple":[1,2]}'),
        (str, "a", '"a"'),
        (int, 2**60, '{"$int":"1152921504606846976"}'),
        (float, -0.0, "-0.0"),
        (float, 1, "1"),
        (bool, True, "true"),
        (None, None, "null"),
        (list, [(1,)], '[{"$tuple":[1]}]'),
        (list[Any], [1], "[1]"),
        (dict, {1: 2}, '{"$dict":[[1,2]]}'),
        (dict[str, Any], {"$": 1}, '{"$dict":[["$",1]]}'),
        (typing.Dict[str, Any], {"a": 1}, '{"a":1}'),  # noqa: UP006 - old code declares it so
        (Any, (1, NOON), '{"$tuple":[1,{"$datetime":"2024-02-29T12:00:00+00:00"}]}'),
    ],
)  # fmt: skip
def test_a_value_of_the_declared_type_comes_back(annotation: Any, value: Any, data: str) -> None:
    """It is written as plain data, enums by value, and read back as an equal value of the same type."""
    codec = codec_for(annotation)
    assert codec.encode(value) == data.encode()
    assert difference(codec.decode(data.encode()), value, ()) is None
    assert isinstance(codec.schema(), dict)


@pytest.mark.parametrize("colour", [{"colour": Colour.RED}, {"colour": Colour.GREEN, "x": float("inf")}])
def test_strict_types_come_back_too(colour: dict[str, Any]) -> None:
    """A type that takes enums, tuples and datetimes as such only is read from what was written of it."""
    for value in (Strict(**colour), Strict(pair=(1,), **colour)):
        assert codec_for(Strict).decode(codec_for(Strict).encode(value)) == value


@pytest.mark.parametrize(
    ("annotation", "value", "where", "had"),
    [
        (int, True, "", "int"),
        (int, 1.0, "", "int"),
        (float, True, "", "float"),
        (str, Word.YES, "", "plain"),
        (str, b"a", "", "str"),
        (list, (1,), "", "list"),
        (dict[str, Any], {1: 1}, "", "dict[str"),
        (list, [Colour.RED], "/0", "plain"),
        (list[int], [1, True], "/1", "integer"),
        (list[float], [1.5, 2**53 + 1], "/1", "int 9007199254740993"),
        (int | None, True, "", "integer"),
        (Literal[1], True, "", "bool True"),
        (Order, Cat(), "", "Order"),
        (Cat, Dog(), "/kind", "'cat'"),
        (date, NOON, "", "date"),
        (Forgetful, Forgetful(dropped=1), "/dropped", "int 1"),
        (Shifting, Shifting(n=1), "/n", "int 1"),
        (Open, Open(x=Colour.RED), "/x", "Colour"),
        (Open, Open(x={"a": [Opaque()]}), "/x/a/0", "plain"),
        (Open, Open().hiding(1), "/_hidden", "int 1"),
        (Any, Colour.RED, "", "plain"),
        (SecretStr, SecretStr("x"), "", "SecretStr"),
        (Holder, Holder(opaque=Opaque()), "/opaque", "plain"),
        (collections.OrderedDict[str, int], collections.OrderedDict(b=1, a=1), "", "OrderedDict"),
        (Failing, Failing.model_construct(n=2), "", ""),
        (dict[str, Sealed], {"a": Sealed(NOON, at=NOON.date())}, "", "dict[str"),
    ],
)  # fmt: skip
def test_what_would_be_lost_is_refused(annotation: Any, value: Any, where: str, had: str) -> None:
    """A value that reading would change, or that is not of its declared type, is refused where it stands."""
    with pytest.raises(UnrecordableValue) as refusal:
        codec_for(annotation).encode(value)
    assert refusal.value.where == where
    assert had in refusal.value.expected
    assert refusal.value.hint


def test_refusing_an_iterator_does_not_use_it_up() -> None:
    """What can be walked only once is left for its owner."""
    numbers = iter([1, 2])
    with pytest.raises(UnrecordableValue):
        codec_for(typing.Iterable[int]).encode(numbers)
    assert list(numbers) == [1, 2]


def test_a_value_that_contains_itself_is_refused() -> None:
    """A cycle in a declared type is refused, not followed."""
    loop: list[Any] = [Colour.RED]
    loop.append(loop)
    node = Node(value=1)
    node.children.append(node)
    for annotation, value in ((Open, Open(x=loop)), (Node, node)):
        with pytest.raises(UnrecordableValue):
            codec_for(annotation).encode(value)


class Everything(BaseModel):
    colour: Colour
    pet: Pet
    order: Order
    number: float
    text: str
    moments: dict[str, datetime | date | None]
    data: bytes
    pairs: list[tuple[int, str]]


@given(st.builds(Everything, order=st.builds(Order, price=st.floats())))
def test_any_value_of_a_declared_type_comes_back(value: Everything) -> None:
    """Whatever the fields hold, what is read is the same, and writing it again gives the same bytes."""
    codec = codec_for(Everything)
    try:
        data = codec.encode(value)
    except UnrecordableValue as refusal:
        pytest.fail(str(refusal))
    assert difference(codec.decode(data), value, ()) is None
    assert codec.encode(codec.decode(data)) == data == values.dumps(values.parse(data))


@pytest.mark.parametrize(
    ("annotation", "value", "back"),
    [
        (list[float], [1.5, 1], [1.5, 1.0]),
        (dict[str, float], {"a": 0}, {"a": 0.0}),
        (tuple[float, str], (-3, "a"), (-3.0, "a")),
        (float | None, 7, 7.0),
    ],
)
def test_an_int_will_do_where_a_float_is_declared(annotation: Any, value: Any, back: Any) -> None:
    """An int inside of a declared type is read back as the equal float, as PEP 484 has it."""
    codec = codec_for(annotation)
    read = codec.decode(codec.encode(value))
    assert read == back
    assert repr(read) == repr(back)
