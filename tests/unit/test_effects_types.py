"""Typed answers: whatever a function says that it returns comes back as that, live and on replay."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, NoReturn, Optional, Self, TypeVar, Union
from unittest.mock import MagicMock

import pytest
from helpers.recordings import run
from pydantic import BaseModel

from intentusnet import Context
from intentusnet.errors import UnrecordableValue

if TYPE_CHECKING:
    from nowhere import OnlyForTypes

T = TypeVar("T")


class Model(BaseModel):
    a: int = 1

    def itself(self) -> Self:
        return self

    @classmethod
    def made(cls) -> Self:
        return cls(a=2)


class Narrower(Model):
    b: int = 2


class Box(BaseModel, Generic[T]):
    content: T


@dataclass
class Point:
    x: int = 0


class Client:
    limit: int = 3

    def method(self) -> Model:
        return Model(a=self.limit)

    @classmethod
    def of_class(cls) -> Model:
        return Model(a=cls.limit)

    @staticmethod
    def of_nobody() -> Model:
        return Model(a=4)

    def __call__(self, a: int = 5) -> Model:
        return Model(a=a)


def model(a: int = 6) -> Model:
    return Model(a=a)


def given(unknown: OnlyForTypes | None = None) -> Model:
    return Model(a=7)


def optional(there: bool) -> Optional[Model]:  # noqa: UP045 - the old spelling is what is tested
    return Model() if there else None


def either(first: bool) -> Union[Later, Point]:  # noqa: UP007 - the old spelling is what is tested
    return Later(deep=[]) if first else Point(1)


def models() -> list[Model]:
    return [Model(a=1), Model(a=2)]


def alias() -> Models:
    return [Model(a=3)]


def by_name() -> dict[str, tuple[Point, Model | None]]:
    return {"a": (Point(1), None), "b": (Point(2), Model())}


def boxed() -> Box[Point]:
    return Box[Point](content=Point(3))


def annotated() -> Annotated[Model, "of some use"]:
    return Model(a=8)


def later() -> Later:
    return Later(deep=[Point(4)])


def quoted() -> list["Later"]:  # noqa: UP037 - quotes within an annotation are what is tested
    return [Later(deep=[])]


class Later(BaseModel):
    deep: list[Point]


Models = list[Model]


@functools.wraps(model)
def wrapping(*args: Any) -> Any:
    return model(*args)


CASES: dict[str, Any] = {
    "function": model,
    "method": Client().method,
    "class method": Client.of_class,
    "static method": Client.of_nobody,
    "method of a model": Model(a=9).itself,
    "constructor that says Self": Narrower.made,
    "callable object": Client(),
    "partial": functools.partial(model, 10),
    "partial of a partial": functools.partial(functools.partial(model), a=11),
    "partial of a method": functools.partial(Client().method),
    "partial of a callable object": functools.partial(Client(), 12),
    "wrapped": wrapping,
    "cached": functools.cache(model),
    "model class": functools.partial(Model, a=13),
    "dataclass": functools.partial(Point, 14),
    "parameter of a type that only checkers see": given,
    "optional, there": functools.partial(optional, True),
    "optional, not there": functools.partial(optional, False),
    "union, first": functools.partial(either, True),
    "union, second": functools.partial(either, False),
    "list": models,
    "alias": alias,
    "nested": by_name,
    "generic": boxed,
    "annotated": annotated,
    "forward reference": later,
    "quoted reference": quoted,
}


@pytest.mark.parametrize("case", CASES)
def test_typed_answers_come_back_typed(case: str) -> None:
    """The answer is an equal value of the same type as the function returned, live and on replay."""
    seen: list[Any] = []
    run(lambda ctx: seen.append(ctx.effect("f", CASES[case])))
    live, replayed = seen
    expected = CASES[case]()
    assert live == replayed == expected
    assert type(live) is type(replayed) is type(expected)
    assert live is not expected or expected is None


UNTYPED: dict[str, Any] = {
    "lambda": functools.partial(lambda value: value, Model()),
    "mock": MagicMock(return_value=Model()),
}


def same(value: T) -> T:
    return value


def wider() -> Model:
    return Narrower()


@pytest.mark.parametrize(
    "function", [*UNTYPED.values(), functools.partial(same, Model()), wider], ids=[*UNTYPED, "T", "subclass"]
)
def test_what_no_annotation_tells_is_refused(function: Any) -> None:
    """A model that nothing says will be one is never silently something else: the effect raises."""

    def agent(ctx: Context) -> str:
        with pytest.raises(UnrecordableValue) as fault:
            ctx.effect("f", function)
        return fault.value.hint

    assert run(agent).payload


def test_plain_values_need_no_annotation() -> None:
    """A lambda, a builtin and a function of any type give back what is plain."""
    calls = [lambda: (1, {2}), functools.partial(same, "x"), functools.partial(max, 1, 2), dict]
    seen: list[Any] = []
    run(lambda ctx: seen.append([ctx.effect("f", call) for call in calls]))
    assert seen == [[(1, {2}), "x", 2, {}]] * 2


def test_what_never_returns_can_be_asked() -> None:
    """A function that says it only raises is an effect like any other: its exception is its answer."""

    def never() -> NoReturn:
        raise ValueError("no")

    def agent(ctx: Context) -> NoReturn:
        with pytest.raises(ValueError, match="no"):
            ctx.effect("f", never)
        raise LookupError("neither")

    assert run(agent).error is not None
