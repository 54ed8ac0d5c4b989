"""Declared types of many kinds, for the tests of codecs."""

import dataclasses
import enum
import typing
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import TypedDict

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


class Colour(enum.Enum):
    RED = "red"
    GREEN = ("g", 1)


@dataclasses.dataclass
class Order:
    price: float
    colour: Colour = Colour.RED
    count: int = dataclasses.field(init=False, default=0)


@dataclasses.dataclass(eq=False, slots=True, frozen=True)
class Sealed:
    x: Any
    at: datetime = NOON


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: Annotated[int, Field(gt=0)] = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    born: datetime = NOON


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    colour: Colour
    pair: tuple[int, ...] = ()
    at: datetime = NOON
    x: float = 0.0


class Node(BaseModel):
    value: int
    children: list["Node"] = []


class Partial(TypedDict, total=False):
    n: typing.Required[int]
    colour: Colour


class Failing(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def check(cls, n: int) -> int:
        return {1: n}[n]


class Opaque:
    pass
