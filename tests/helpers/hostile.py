"""Values that nobody should hand over, and JSON that nobody should send."""

import asyncio
import collections
import dataclasses
import decimal
import enum
import functools
import itertools
import math
import sys
import types
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any, NamedTuple

from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, computed_field

HALF = "\ud800"
SECRET = "hunter2-hunter2"


class Zone(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        raise RuntimeError("no offset")

    def dst(self, _: datetime | None) -> timedelta:
        raise RuntimeError("no saving")

    def tzname(self, _: datetime | None) -> str:
        raise RuntimeError("no name")


class Raising:
    """Every special method that somebody else may call raises."""

    def __eq__(self, _: object) -> bool:
        raise RuntimeError("__eq__")

    def __hash__(self) -> int:
        raise RuntimeError("__hash__")

    def __repr__(self) -> str:
        raise RuntimeError("__repr__")

    def __str__(self) -> str:
        raise RuntimeError("__str__")

    def __reduce__(self) -> Any:
        raise RuntimeError("__reduce__")

    def __bool__(self) -> bool:
        raise RuntimeError("__bool__")

    def __len__(self) -> int:
        raise RuntimeError("__len__")

    def __iter__(self) -> Any:
        raise RuntimeError("__iter__")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class Masked:
    @property
    def __class__(self) -> Any:  # type: ignore[override]  # that is what is hostile
        raise RuntimeError("__class__")


class Leaving:
    def __repr__(self) -> str:
        raise SystemExit(3)

    __str__ = __repr__


class Liar(str):
    def __str__(self) -> str:
        return self

    def __format__(self, _: str) -> str:
        raise RuntimeError("__format__")


class Spoken:
    """Its repr is no plain str."""

    def __repr__(self) -> str:
        return Liar("spoken")

    __str__ = __repr__


class MetaRaising(type):
    def __getattr__(cls, name: str) -> Any:
        raise RuntimeError(name)

    def __instancecheck__(cls, _: object) -> bool:
        raise RuntimeError("__instancecheck__")

    def __subclasscheck__(cls, _: type) -> bool:
        raise RuntimeError("__subclasscheck__")


class OfMeta(metaclass=MetaRaising):
    pass


class Text(str):
    pass


class Number(int):
    def __index__(self) -> int:
        raise RuntimeError("__index__")


class Table(dict[Any, Any]):
    def values(self) -> Any:
        raise RuntimeError("values")


class Row(list[Any]):
    def __iter__(self) -> Any:
        raise RuntimeError("__iter__")


class Shade(enum.Enum):
    DARK = object()
    LIGHT = "light"


class Bits(enum.IntFlag):
    ONE = 1
    TWO = 2


class Pair(NamedTuple):
    left: Any
    right: Any = None


@dataclasses.dataclass
class Knot:
    inner: Any = None


class Account(BaseModel):
    name: str = "a"
    pin: SecretStr = SecretStr(SECRET)

    @computed_field
    @property
    def loud(self) -> str:
        return self.name.upper()


class Computing(BaseModel):
    @computed_field
    @property
    def broken(self) -> int:
        raise RuntimeError("computed")


class Loop(BaseModel):
    inner: Any = None


def _list(inner: Any) -> Any:
    return [inner]


def _odd_dict(inner: Any) -> Any:
    return {"$x": inner}


def _dict(inner: Any) -> Any:
    return {"password": inner}


def _tuple(inner: Any) -> Any:
    return (inner,)


def _model(inner: Any) -> Any:
    return Loop.model_construct(inner=inner)


@functools.lru_cache(maxsize=64)
def nested(depth: int, box: Callable[[Any], Any] = _list) -> Any:
    """Something in so many boxes, made without recursion; the same one again, as nobody changes it."""
    value: Any = 1
    for _ in range(depth):
        value = box(value)
    return value


def cyclic_list() -> Any:
    value: list[Any] = [1]
    value.append(value)
    return value


def cyclic_dict() -> Any:
    value: dict[str, Any] = {}
    value["self"] = [value]
    return value


def cyclic_knot() -> Any:
    knot = Knot()
    knot.inner = [knot]
    return knot


def cyclic_model() -> Any:
    loop = Loop()
    loop.inner = {"a": loop}
    return loop


def coroutine() -> Any:
    async def never() -> None: ...

    made = never()
    made.close()
    return made


def future() -> Any:
    loop = asyncio.new_event_loop()
    made = loop.create_future()
    loop.close()
    return made


#: What makes a value, by a name of it: each is made anew, as some cannot be used twice.
VALUES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "bools": lambda: [True, 1, 1.0, False, 0, -0.0],
    "nan": lambda: [math.nan, math.inf, -math.inf],
    "huge int": lambda: 10**400,
    "huger int": lambda: -(10**6000),
    "long text": lambda: "x" * 100_000,
    "half": lambda: {"a": HALF, HALF: 1},
    "half alone": lambda: HALF,
    "odd text": lambda: "\x00\u202e\ufffe\U0010ffff",
    "dollar": lambda: {"$ref": {"$int": "x"}, "$dict": []},
    "binary": lambda: b"\xff\x00",
    "bytearray": lambda: bytearray(b"a"),
    "memoryview": lambda: memoryview(b"a"),
    "set": lambda: {1, "a", (2, frozenset({3}))},
    "nan set": lambda: {math.nan, float("nan")},
    "nan keys": lambda: {math.nan: 1, float("nan"): 2},
    "keys": lambda: {"a": 1, None: 2, (1, 2): 3, b"": 4, True: 5, 1.5: 6, Shade.LIGHT: 7},
    "plain keys": lambda: {1: "a", None: 2, (1, 2): 3, b"": 4, 1.5: 6, date(1, 1, 1): 7},
    "cyclic list": cyclic_list,
    "cyclic dict": cyclic_dict,
    "cyclic dataclass": cyclic_knot,
    "cyclic model": cyclic_model,
    "raising": Raising,
    "raising inside": lambda: {"a": [Raising()]},
    "raising in a dataclass": lambda: Knot(Raising()),
    "raising in a model": lambda: Loop(inner=Raising()),
    "masked": Masked,
    "leaving": Leaving,
    "leaving inside": lambda: [Leaving()],
    "spoken": Spoken,
    "of a hostile class": OfMeta,
    "hostile class": lambda: OfMeta,
    "text subclass": lambda: Text("a"),
    "text subclass as key": lambda: {Text("a"): 1},
    "liar": lambda: Liar("a"),
    "int subclass": lambda: Number(1),
    "dict subclass": lambda: Table(a=1),
    "list subclass": lambda: Row([1]),
    "default dict": lambda: collections.defaultdict(list, a=1),
    "ordered dict": lambda: collections.OrderedDict(a=1),
    "counter": lambda: collections.Counter("ab"),
    "deque": lambda: collections.deque([1]),
    "mapping": lambda: types.MappingProxyType({"a": 1}),
    "namespace": lambda: types.SimpleNamespace(a=1),
    "enum": lambda: Shade.LIGHT,
    "odd enum": lambda: Shade.DARK,
    "flags": lambda: Bits.ONE | Bits.TWO,
    "odd flags": lambda: Bits(8),
    "named tuple": lambda: Pair(1, [2]),
    "tuple": lambda: (1, (2, ())),
    "generator": lambda: (n for n in range(3)),
    "endless": itertools.count,
    "iterator": lambda: iter([1]),
    "range": lambda: range(3),
    "slice": lambda: slice(1),
    "ellipsis": lambda: ...,
    "not implemented": lambda: NotImplemented,
    "complex": lambda: 1j,
    "class": lambda: dict,
    "module": lambda: sys,
    "function": lambda: print,
    "lambda": lambda: lambda: 1,
    "coroutine": coroutine,
    "future": future,
    "exception": lambda: ValueError("x"),
    "model": Account,
    "model with a wrong field": lambda: Account.model_construct(name=5, pin=SECRET),
    "model with a broken field": Computing,
    "secret": lambda: SecretStr(SECRET),
    "models": lambda: [Account(), {"a": Account()}],
    "fold": lambda: datetime(2024, 10, 27, 2, 30, tzinfo=timezone(timedelta(hours=1), "\ud800"), fold=1),
    "odd zone": lambda: datetime(2024, 1, 1, tzinfo=Zone()),
    "odd time": lambda: time(1, tzinfo=Zone()),
    "moments": lambda: [datetime.max, datetime.min, datetime(2024, 1, 1, tzinfo=UTC), date.max],
    "times": lambda: [time.max, timedelta.max, timedelta.min],
    "decimals": lambda: [decimal.Decimal(x) for x in ("sNaN123", "-0", "1E+999999", "NaN", "Infinity")],
    "uuid": lambda: uuid.UUID(int=0),
    "deep": lambda: nested(60),
    "too deep": lambda: nested(65),
    "deeper": lambda: nested(199),
    "deeper than a record": lambda: nested(300),
    "deeper than the stack": lambda: nested(100_000),
    "deep dicts": lambda: nested(100_000, _dict),
    "deep odd dicts": lambda: nested(64, _odd_dict),
    "deep tuples": lambda: nested(99, _tuple),
    "deep dataclasses": lambda: nested(5_000, Knot),
    "deep models": lambda: nested(500, _model),
    "wide": lambda: list(range(50_000)),
    "secrets": lambda: {"password": SECRET, "n": [{"api_key": SECRET}]},
}

atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=8)
    | st.sampled_from([HALF, "", "$int", "password", 2**63, -(10**30), 1e308, SECRET])
)
#: What `json.loads` may make of what strangers send, NaN and halves of pairs included.
json_trees = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=()), max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)
