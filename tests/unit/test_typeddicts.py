"""Typed dicts of the standard library are types like any other."""

from __future__ import annotations

from typing import Annotated, NotRequired, Required, TypedDict

import pytest
from pydantic import Field

from intentusnet.codecs import codec_for
from intentusnet.errors import InvalidInput


class Place(TypedDict):
    city: str
    code: NotRequired[int]


class Trip(TypedDict, total=False):
    to: Required[Place]
    via: list[Place]
    note: str | None


WHOLE = {"note": None, "to": {"city": "Oslo"}, "via": [{"city": "Bergen", "code": 5}]}


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Place, {"city": "Oslo", "code": 1}),
        (Trip, WHOLE),
        (list[Trip], [WHOLE]),
        (dict[str, Place], {"a": {"city": "Oslo"}}),
        (Place | None, None),
        (Place | int, 5),
        (Annotated[list[Place], Field(min_length=1)], [{"city": "Oslo"}]),
        (tuple[Place, ...], ({"city": "Oslo"},)),
    ],
)
def test_a_typed_dict_is_written_and_read(annotation: object, value: object) -> None:
    """Wherever a typed dict of `typing` stands in an annotation, its values round-trip."""
    codec = codec_for(annotation)
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize(
    ("annotation", "data", "where"),
    [
        (Place, b'{"code":1}', "/city"),
        (Place, b'{"city":"Oslo","code":"x"}', "/code"),
        (Trip, b'{"via":[]}', "/to"),
        (Trip, b'{"to":{"city":"Oslo"},"via":[{"city":7}]}', "/via/0/city"),
        (Annotated[list[Place], Field(min_length=1)], b"[]", ""),
    ],
)
def test_what_does_not_fit_a_typed_dict_is_refused(annotation: object, data: bytes, where: str) -> None:
    """Required keys, types and constraints hold, at any depth, and the error says where."""
    with pytest.raises(InvalidInput) as caught:
        codec_for(annotation).decode(data)
    assert caught.value.where == where


def test_the_schema_of_a_typed_dict_is_its_own() -> None:
    """JSON Schema names the typed dict and tells its required keys."""
    schema = codec_for(Trip).schema()
    assert schema["title"] == "Trip"
    assert schema["required"] == ["to"]
