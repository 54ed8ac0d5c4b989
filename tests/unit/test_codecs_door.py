"""Declared types at the door: what payloads may look like, what is refused, and which types there are."""

import inspect
import re
import typing
from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from helpers.models import NOON, Cat, Colour, Dog, Failing, Node, Opaque, Order, Partial, Sealed, Strict
from pydantic import BaseModel, ConfigDict, Field, InstanceOf, computed_field, with_config
from pydantic_core import TzInfo

from intentusnet.codecs import PLAIN, codec_for
from intentusnet.errors import InvalidAgent, InvalidInput
from intentusnet.sameness import difference

PARSED_NOON = NOON.replace(tzinfo=TzInfo(0))


class Aliased(BaseModel):
    a: int = Field(alias="A")
    b: int = Field(validation_alias="B")
    c: int = Field(serialization_alias="C")

    @computed_field
    @property
    def total(self) -> int:
        return self.a + self.b + self.c


@pytest.mark.parametrize(
    ("annotation", "data", "value"),
    [
        (Order, '{"price":1}', Order(1.0)),
        (datetime, '"2024-02-29T12:00:00Z"', PARSED_NOON),
        (tuple[int, Colour], '[1,"red"]', (1, Colour.RED)),
        (set[int], "[1,2]", {1, 2}),
        (dict[int, str], '{"1":"a"}', {1: "a"}),
        (Aliased, '{"A":1,"B":2,"c":3}', Aliased(A=1, B=2, c=3)),
        (
            Strict,
            '{"colour":"red","pair":[1],"at":"2024-02-29T12:00:00Z"}',
            Strict(colour=Colour.RED, pair=(1,), at=PARSED_NOON),
        ),
        (list[Order], '[{"price":1,"colour":{"$tuple":["g",1]}}]', [Order(1.0, Colour.GREEN)]),
        (float, "5", 5),
        (Cat, '{"lives":"7"}', Cat(lives=7)),
        (Annotated[Cat, Field(title="A cat")], '{"lives":"7"}', Cat(lives=7)),
        (Any, "[1]", [1]),
    ],
)  # fmt: skip
def test_payloads_may_be_said_in_json(annotation: Any, data: str, value: Any) -> None:
    """At the door JSON stands for what it has no type for, aliases are known and defaults may be left out."""
    taken = codec_for(annotation).decode(data.encode())
    assert difference(taken, value, ()) is None
    assert difference(codec_for(annotation).decode(codec_for(annotation).encode(taken)), value, ()) is None


@pytest.mark.parametrize(
    ("annotation", "data", "where", "expected", "got"),
    [
        (int, "true", "", "int", "bool True"),
        (int, '"5"', "", "int", "str '5'"),
        (str, "5", "", "str", "int 5"),
        (dict[str, Any], '{"$dict":[[1,1]]}', "", "dict[str", "dict {1: 1}"),
        (list[int], "[1,true]", "/1", "a valid integer", "bool True"),
        (Order, '{"price":true}', "/price", "a valid number", "bool True"),
        (Annotated[Order, "of pens"], '{"price":true}', "/price", "a valid number", "bool True"),
        (Sealed, '{"x":1,"at":"noon"}', "/at", "valid datetime", "str 'noon'"),
        (list[Order], '[{"price":true,"colour":{"$tuple":["g",1]}}]', "/0/price", "float 1.0", "bool True"),
        (Strict, '{"colour":"red","x":"1"}', "/x", "a valid number", "str '1'"),
        (Cat, '{"lives":0}', "/lives", "greater than 0", "int 0"),
        (Dog, '{"born":[]}', "/born", "valid datetime", "list []"),
        (Node, "{}", "/value", "required", "nothing"),
        (Node, '{"value":1,"children":[{"value":"x"}]}', "/children/0/value", "valid integer", "str 'x'"),
        (dict[str, Cat | int], '{"a/b":{"lives":[1]}}', "/a~1b/lives", "valid integer", "list [1]"),
        (tuple[int, int], '{"$tuple":[1,"x"]}', "/1", "valid integer", "str 'x'"),
        (Failing, '{"n":2}', "", "", "dict {'n': 2}"),
        (with_config(ConfigDict(strict=True))(Partial), '{"n":1.0}', "/n", "valid integer", "float 1.0"),
        (list[int], "[", "", "", "bytes"),
        (list[int], '{"$nope":1}', "", "$tuple", "dict"),
    ],
)  # fmt: skip
def test_a_misfit_is_refused_in_its_place(
    annotation: Any, data: str, where: str, expected: str, got: str
) -> None:
    """What does not fit the declared type is invalid input: where, what was expected, what was found."""
    with pytest.raises(InvalidInput) as refusal:
        codec_for(annotation).decode(data.encode())
    assert type(refusal.value) is InvalidInput
    assert refusal.value.where == where
    assert expected in refusal.value.expected
    assert refusal.value.got.startswith(got)


@pytest.mark.parametrize(
    "annotation",
    [
        *(Opaque, list[Opaque], Annotated[Opaque, 1], 5, lambda x: x, print),
        *("Cat", typing.ForwardRef("Cat"), list["Nowhere"]),  # noqa: F821 - a name that means nothing
    ],
)
def test_types_that_cannot_be_handled_are_no_agents(annotation: Any) -> None:
    """Registration fails for a type that pydantic does not know, with its name and a way out."""
    with pytest.raises(InvalidAgent, match=re.escape(repr(annotation))) as refusal:
        codec_for(annotation)
    assert refusal.value.hint
    assert refusal.value.got


def test_the_same_declaration_has_the_same_codec() -> None:
    """Codecs are made once, no annotation means plain values, and order and type of members count."""
    assert codec_for(list[int]) is codec_for(list[int])
    assert codec_for(Any) is codec_for(object) is codec_for(inspect.Parameter.empty) is PLAIN
    assert codec_for(int | str) is not codec_for(str | int)
    assert codec_for(Literal[1]) is not codec_for(Literal[True])
    unhashable = Annotated[int, Field(json_schema_extra={"a": []}), []]
    assert codec_for(unhashable).decode(b"1") == 1
    assert (repr(codec_for(Cat)), codec_for(list[int]).name) == ("codec_for(Cat)", "list[int]")


def test_the_schema_is_that_of_the_payload() -> None:
    """Schemas say what is taken, by alias; what JSON Schema cannot say allows anything."""
    assert codec_for(int).schema() == {"type": "integer"}
    assert set(codec_for(Aliased).schema()["properties"]) == {"A", "B", "c"}
    assert codec_for(Order).schema()["title"] == "Order"
    assert PLAIN.schema() == codec_for(InstanceOf[Opaque]).schema() == {}
