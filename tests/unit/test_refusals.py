"""What errors say about a value: pointers and descriptions that hold for any object."""

import enum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from intentusnet import values
from intentusnet.errors import UnrecordableValue
from intentusnet.refusals import describe, pointer


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ((), ""),
        (("a", 0, "b"), "/a/0/b"),
        (("",), "/"),
        (("a/b", "m~n"), "/a~1b/m~0n"),
        (("~1",), "/~01"),
        (((1, "x"),), "/(1, 'x')"),
        (("\ud800",), "/\\ud800"),
    ],
)
def test_a_pointer_is_one_of_rfc_6901(keys: tuple[object, ...], text: str) -> None:
    """Keys are escaped as the RFC says, and the result is always printable."""
    assert pointer(*keys).encode() == text.encode()


class HostileError(Exception):
    pass


class Hostile:
    def __repr__(self) -> str:
        raise HostileError

    def __eq__(self, other: object) -> bool:
        raise HostileError

    __hash__ = None

    @property
    def __class__(self) -> Any:
        raise HostileError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "int 1"),
        (True, "bool True"),
        ("a\nb", "str 'a\\nb'"),
        (b"x" * 51, "bytes of length 51"),
        ([0] * 1000, "list of length 1000"),
        ({"a", "b"}, "set of length 2"),
        (object(), "object <object object>"),
        ([7**100_000], "list whose repr fails"),
        (
            type("Loud", (), {"__repr__": lambda self: "two\nlines  \ud800"})(),
            f"{__name__}.Loud two lines \\ud800",
        ),
        (type("L" * 200, (), {})(), f"{__name__}.LLL"),
    ],
)
def test_a_description_is_one_short_line(value: object, text: str) -> None:
    """Type and repr, in one line of at most 80 characters, without the address of the object."""
    assert describe(value).startswith(text)
    assert len(describe(value)) <= 80
    assert "\n" not in describe(value)
    assert " at 0x" not in describe(value)


@given(st.text() | st.binary() | st.lists(st.floats()) | st.dictionaries(st.text(), st.integers()))
def test_descriptions_stay_short_for_any_value(value: object) -> None:
    """However large the value, the description has a bound and can be encoded."""
    assert len(describe(value)) <= 80
    assert describe(value).encode()


def test_a_hostile_object_is_refused_like_any_other() -> None:
    """An object whose repr, equality and class raise cannot turn a refusal into something else."""
    for write in (values.encode, lambda value: values.encode_arguments((value,), {})):
        with pytest.raises(UnrecordableValue) as refusal:
            write([Hostile()])
        assert refusal.value.got.endswith("Hostile whose repr fails")


class Model(BaseModel):
    x: int = 1


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Model(), "dict of its fields"),
        (enum.Flag("Flag", "A").A, ".value"),
        (PurePosixPath("x"), "os.fspath"),
        (MappingProxyType({}), "dict("),
        (range(3), "list("),
        ({}.keys(), "list("),
        (print, "plain data"),
        (1j, "plain data"),
    ],
)
def test_the_hint_says_what_to_do(value: object, hint: str) -> None:
    """Each kind of refused object comes with the way out that fits it."""
    with pytest.raises(UnrecordableValue) as refusal:
        values.encode(value)
    assert hint in refusal.value.hint
