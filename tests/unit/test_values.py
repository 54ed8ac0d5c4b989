"""Plain values: written without loss and in one way only, or refused where they stand."""

import collections
import enum
import math
import os
import struct
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import TzInfo

from intentusnet import values
from intentusnet.errors import InvalidInput, UnrecordableValue
from intentusnet.refusals import pointer


def same(one: Any, other: Any) -> bool:
    """Equality that tells types, zeros and time zones apart, and finds NaN equal to itself."""
    if type(one) is not type(other):
        return False
    match one:
        case float():
            return (math.isnan(one) and math.isnan(other)) or struct.pack("d", one) == struct.pack("d", other)
        case Decimal():
            return one.as_tuple() == other.as_tuple()
        case datetime() | time():
            return (
                one.replace(tzinfo=None) == other.replace(tzinfo=None)
                and one.fold == other.fold
                and type(one.tzinfo) is type(other.tzinfo)
                and repr(one.tzinfo) == repr(other.tzinfo)
            )
        case list() | tuple():
            return len(one) == len(other) and all(map(same, one, other))
        case set() | frozenset() | dict():
            rest = list(other.items() if isinstance(other, dict) else other)
            for item in one.items() if isinstance(one, dict) else one:
                found = next((index for index, twin in enumerate(rest) if same(item, twin)), None)
                if found is None:
                    return False
                del rest[found]
            return not rest
    return bool(one == other)


ZONES = st.one_of(
    st.none(),
    st.just(UTC),
    st.sampled_from(["Europe/Paris", "America/St_Johns", "UTC"]).map(ZoneInfo),
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
    st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), st.text(max_size=4)),
    st.integers(-80_000, 80_000).map(TzInfo),
)
TEXT = st.text(st.characters(exclude_categories=()), max_size=8) | st.text("$~/\ud800é", max_size=3)
FOLDS = st.integers(0, 1)
HASHABLE_ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-1, 1).map(lambda n: n * 2**53 + n),
    st.integers(0, 40).map(lambda n: -(3**n) * 2**1000),
    st.floats(),
    TEXT,
    st.binary(max_size=8),
    st.decimals(allow_nan=False)
    | st.sampled_from(["1E+2", "100", "-0.00", "NaN7", "-Infinity"]).map(Decimal),
    st.uuids(),
    st.dates(),
    st.timedeltas(),
    st.builds(lambda moment, fold: moment.replace(fold=fold), st.datetimes(timezones=ZONES), FOLDS),
    st.builds(lambda moment, fold: moment.replace(fold=fold), st.times(timezones=ZONES), FOLDS),
)
HASHABLE = st.recursive(
    HASHABLE_ATOMS,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
VALUES = st.recursive(
    HASHABLE | st.just(Decimal("sNaN")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=4), inner, max_size=4),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.sets(HASHABLE, max_size=4),
    ),
    max_leaves=10,
)


NOON = datetime(2024, 2, 29, 12)


def nested(levels: int, inner: Any = None) -> Any:
    value = [] if inner is None else inner
    for _ in range(levels if inner is not None else levels - 1):
        value = [value]
    return value


@given(VALUES)
def test_a_value_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    """Decoding undoes encoding, type by type all the way down."""
    assert same(values.decode(values.encode(value)), value)


@given(VALUES)
def test_bytes_tree_and_value_are_three_forms_of_one_thing(value: Any) -> None:
    """Whichever way one goes between bytes, raw tree and value, one arrives at the same."""
    data = values.encode(value)
    assert values.dumps(values.tree(value)) == data
    assert values.dumps(values.parse(data)) == data
    assert values.dumps({"b": values.Fragment(data), "a": 1}) == b'{"a":1,"b":' + data + b"}"
    assert same(values.untag(values.parse(data)), values.decode(data))


@given(st.dictionaries(HASHABLE, VALUES, max_size=6), st.randoms())
def test_the_order_of_insertion_leaves_no_trace(value: dict[Any, Any], random: Any) -> None:
    """Equal dicts have equal bytes, in whatever order their keys came."""
    pairs = list(value.items())
    random.shuffle(pairs)
    assert values.encode(dict(pairs)) == values.encode(value)


@given(VALUES, VALUES)
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    """Two digests are equal exactly if value and types are."""
    digests = values.digest(values.encode(one)), values.digest(values.encode(other))
    assert (digests[0] == digests[1]) is same(one, other)


@pytest.mark.parametrize(
    "alike",
    [
        [1, 1.0, True, "1", Decimal(1), Decimal("1.0"), b"1"],
        [0.0, -0.0, 0, False],
        [[1], (1,), {1}, frozenset({1}), {1: 1}, {"1": 1}, {1.0: 1}, {True: 1}],
        [[], (), set(), frozenset(), {}, "", b"", None],
        [{1}, {1.0}, {True}],
        [{"$int": "1"}, {"$set": []}, {"$nope": 1}, {"$": 1}],
        [NOON, NOON.date(), NOON.replace(fold=1), NOON.replace(tzinfo=UTC)],
        [
            NOON.timetz().replace(tzinfo=zone)
            for zone in (None, ZoneInfo("UTC"), UTC, timezone(timedelta(), "Z"), TzInfo(0))
        ],
    ],
    ids=repr,
)
def test_look_alikes_stay_apart(alike: list[Any]) -> None:
    """What Python or JSON may take for the same has different bytes, and each comes back as itself."""
    encoded = [values.encode(value) for value in alike]
    assert len(set(encoded)) == len(alike)
    assert all(same(values.decode(data), value) for data, value in zip(encoded, alike, strict=True))


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({"b": [1, 2.5, None, True], "a": "é"}, '{"a":"é","b":[1,2.5,null,true]}'),
        (float("nan"), '{"$float":"nan"}'),
        (-math.inf, '{"$float":"-inf"}'),
        (2**53 - 1, "9007199254740991"),
        (2**53, '{"$int":"9007199254740992"}'),
        (-(2**1024) + 1, f'{{"$int":"{-(2**1024) + 1}"}}'),
        (-(2**1024), f'{{"$int":"-0x1{"0" * 256}"}}'),
        ("a\ud800", '{"$str":"Ye2ggA=="}'),
        ("$5", '"$5"'),
        (b"\xff", '{"$bytes":"/w=="}'),
        ((1, (2,)), '{"$tuple":[1,{"$tuple":[2]}]}'),
        ({10, 9}, '{"$set":[10,9]}'),
        (frozenset("ba"), '{"$frozenset":["a","b"]}'),
        ({2: "b", True: "a"}, '{"$dict":[[2,"b"],[true,"a"]]}'),
        ({"$int": 1}, '{"$dict":[["$int",1]]}'),
        (Decimal("1E+2"), '{"$decimal":"1E+2"}'),
        (UUID(int=1), '{"$uuid":"00000000-0000-0000-0000-000000000001"}'),
        (date(2024, 2, 29), '{"$date":"2024-02-29"}'),
        (timedelta(-1, 2, 3), '{"$timedelta":[-1,2,3]}'),
        (time(12, 0, 0, 1), '{"$time":"12:00:00.000001"}'),
        (NOON.replace(tzinfo=UTC), '{"$datetime":"2024-02-29T12:00:00+00:00"}'),
        (
            NOON.replace(fold=1, tzinfo=ZoneInfo("Europe/Paris")),
            '{"$datetime":{"at":"2024-02-29T12:00:00","fold":1,"zone":"Europe/Paris"}}',
        ),
        (
            NOON.replace(tzinfo=timezone(timedelta(microseconds=1))),
            '{"$datetime":{"at":"2024-02-29T12:00:00","offset":[0,0,1]}}',
        ),
        (
            NOON.replace(tzinfo=timezone(timedelta(hours=1), "CET")),
            '{"$datetime":{"at":"2024-02-29T12:00:00","name":"CET","offset":[0,3600,0]}}',
        ),
    ],
)
def test_the_spelling_is_the_documented_one(value: Any, data: str) -> None:
    """The format as the module's docstring gives it: other programs read these bytes."""
    assert values.encode(value) == data.encode()
    assert same(values.decode(data.encode()), value)


def test_an_integer_of_any_length_is_kept() -> None:
    """Python's limit on the digits of a decimal integer is no limit here."""
    number = -(7**100_000)
    assert values.decode(values.encode([number])) == [number]


def test_several_nans_stay_several() -> None:
    """A set or dict with two NaNs has two NaNs afterwards, in bytes that do not depend on their order."""
    one, other = float("nan"), float("nan")
    assert len(values.decode(values.encode({one, other}))) == 2
    assert values.encode({one: 1, other: 2}) == values.encode({other: 2, one: 1})
    assert sorted(values.decode(values.encode({one: 1, other: 2})).values()) == [1, 2]


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    """Processes with different PYTHONHASHSEED write the same bytes."""
    script = """if True:
        from intentusnet import values
        words = ["alpha", "beta", "gamma", b"delta", 5, 5.5, None, ("a", "b")]
        value = {"s": set(words), "f": frozenset(words), "d": {word: set(words) for word in words}}
        print(values.digest(values.encode(value)))
    """
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


class Colour(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: int


CULPRITS: dict[str, tuple[Any, str, str]] = {
    "object": (object(), "a plain value", "declare its class"),
    "enum": (Colour.RED, "a plain value", ".value"),
    "str enum": (enum.StrEnum("Word", "A").A, "a plain value", ".value"),
    "named tuple": (Point(1), "exactly tuple", "tuple(...)"),
    "str subclass": (type("Text", (str,), {})("x"), "exactly str", "str(...)"),
    "int subclass": (type("Number", (int,), {})(1), "exactly int", "int(...)"),
    "ordered dict": (collections.OrderedDict(a=1), "exactly dict", "dict(...)"),
    "datetime subclass": (type("Moment", (datetime,), {})(1, 1, 1), "datetime.datetime", "to datetime"),
    "bytearray": (bytearray(b"x"), "a plain value", "bytes(...)"),
    "memoryview": (memoryview(b"x"), "a plain value", "bytes(...)"),
    "other uuid": (uuid_utils.uuid7(), "exactly uuid.UUID", "uuid.UUID(str(...))"),
    "generator": ((n for n in [1]), "a plain value", "list(...)"),
    "fragment": (values.Fragment(b"1"), "a plain value", "plain data"),
    "zone past the cache": (NOON.replace(tzinfo=ZoneInfo.no_cache("UTC")), "ZoneInfo(key)", "datetime.UTC"),
}

# Wrapping, and the key that leads back to what was wrapped.
WRAPPINGS = st.one_of(
    st.lists(st.integers(), max_size=2).map(lambda before: (lambda value: [*before, value], len(before))),
    st.lists(st.integers(), max_size=2).map(lambda before: (lambda value: (*before, value), len(before))),
    (TEXT | st.integers() | st.tuples(st.booleans())).map(lambda key: (lambda value: {key: value}, key)),
)


@given(st.sampled_from(sorted(CULPRITS)), st.lists(WRAPPINGS, max_size=4))
def test_a_refusal_points_at_the_culprit(name: str, wrappings: list[Any]) -> None:
    """What cannot be recorded is refused with its place, what was expected, what it is and what to do."""
    culprit, expected, hint = CULPRITS[name]
    value = culprit
    for wrap, _ in reversed(wrappings):
        value = wrap(value)
    with pytest.raises(UnrecordableValue) as refusal:
        values.encode(value)
    error = refusal.value
    assert error.where == pointer(*(key for _, key in wrappings))
    assert expected in error.expected
    assert hint in error.hint
    assert 0 < len(error.got) <= 80
    assert ("the value itself" in str(error)) is (not wrappings)


@pytest.mark.parametrize(
    ("value", "where", "what"),
    [
        ({"a": {Colour.RED: 1}}, "/a", "a key of the dict"),
        ({"a": {(1, Colour.RED): 1}}, "/a", "a key of the dict"),
        ({"a": [{("x", Colour.RED)}]}, "/a/0", "an element of the set"),
        ({1: {"a/b~": Colour.RED}}, "/1/a~1b~0", "the value"),
    ],
)
def test_keys_and_elements_are_named_by_their_container(value: Any, where: str, what: str) -> None:
    """Where no pointer leads, to a key or into a set, the refusal names the container and says what in it."""
    with pytest.raises(UnrecordableValue, match=f"^{what} cannot") as refusal:
        values.encode(value)
    assert refusal.value.where == where


def test_nesting_has_one_limit_for_writing_and_reading() -> None:
    """200 levels of JSON are written and read, 201 are neither, and no number exhausts the stack."""
    assert values.decode(values.encode(nested(200))) == nested(200)
    assert same(values.decode(values.encode(nested(199, float("nan")))), nested(199, float("nan")))
    assert values.decode(values.encode(nested(198, (1,)))) == nested(198, (1,))
    for value in (nested(201), nested(200, math.inf), nested(199, (1,)), nested(198, {1: 1}), nested(50_000)):
        with pytest.raises(UnrecordableValue, match="nested too deep") as refusal:
            values.encode(value)
        assert len(refusal.value.got) <= 80
    empty = b'{"$tuple":[]}'
    for levels, inner in ((201, b""), (199, empty), (1000, b""), (1000, empty), (10**5, b"")):
        with pytest.raises(InvalidInput, match=r"nested too deep|depth limit"):
            values.decode(b"[" * levels + inner + b"]" * levels)
    with pytest.raises(InvalidInput, match="nested too deep"):
        values.untag(nested(5000, {"$tuple": []}))
    assert values.parse(b"[" * 250 + b"]" * 250) == nested(250)
    assert values.decode(b'"' + b"[" * 1000 + b'"') == "[" * 1000
    assert values.decode(values.encode([[{}]] * 300)) == [[{}]] * 300


@pytest.mark.parametrize(
    "wrap", [lambda box: [box], lambda box: {"b": box}, lambda box: (box,), lambda box: {1: box}]
)
def test_a_cycle_is_refused_where_it_closes(wrap: Any) -> None:
    """A value that contains itself is refused as just that, with a pointer to its first recurrence."""
    box: list[Any] = [0]
    box.append(wrap(box))
    with pytest.raises(UnrecordableValue, match="contains itself") as refusal:
        values.encode({"top": box})
    assert refusal.value.where.startswith("/top/1/")
    assert refusal.value.where.count("/") == 3


def test_a_value_that_cannot_be_walked_to_its_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a dict changes under the walk, or the stack is full, nothing half written comes out."""

    def descend() -> None:
        try:
            descend()
        except RecursionError:
            values.encode(nested(150, ()))

    with pytest.raises(UnrecordableValue, match="cannot be walked to its end"):
        descend()

    def changed(*_: object, **__: object) -> Any:
        raise RuntimeError("dictionary changed size during iteration")

    monkeypatch.setattr(values, "_is_plain", changed)
    monkeypatch.setattr(values, "_tree", changed)
    for write in (values.encode, values.tree, lambda value: values.encode_arguments((value,), {})):
        with pytest.raises(UnrecordableValue, match="dictionary changed size"):
            write({})
