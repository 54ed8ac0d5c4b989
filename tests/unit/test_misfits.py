"""What does not fit a declared type: every place of it, with what was expected and what is there."""

import asyncio
import dataclasses
import json
from typing import Annotated, Any, Literal, TypedDict

import pytest
from helpers.runtimes import replays, runtime_of
from pydantic import BaseModel, Field, SecretStr

from intentusnet import AsyncContext, Context, ErrorCode, ErrorInfo, FileExecutionStore, Redaction, capture
from intentusnet.codecs import codec_for
from intentusnet.errors import InvalidInput, UnrecordableValue


class Address(BaseModel):
    street: str
    number: int


@dataclasses.dataclass
class Person:
    name: str
    age: int
    homes: list[Address] = dataclasses.field(default_factory=list)


class Order(TypedDict):
    lines: list[dict[str, int]]
    note: str


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    legs: int


class Login(BaseModel):
    pin: SecretStr
    tries: int


Animal = Annotated[Cat | Dog, Field(discriminator="kind")]

NOTHING = ("a value, which is required", "nothing")

#: A declared type, what JSON says, and each wrong place: path, part of what was expected, what was got.
MISFITS: list[tuple[Any, Any, list[tuple[str, str, str]]]] = [
    (int, "5", [("", "int", "str '5'")]),
    (
        Person,
        {"name": 1, "homes": [{"street": 2}, {"street": "s", "number": []}]},
        [
            ("/name", "valid string", "int 1"),
            ("/age", *NOTHING),
            ("/homes/0/street", "valid string", "int 2"),
            ("/homes/0/number", *NOTHING),
            ("/homes/1/number", "valid integer", "list []"),
        ],
    ),
    (
        Order,
        {"lines": [{"a": "x"}, 5], "more": 1},
        [
            ("/lines/0/a", "valid integer", "str 'x'"),
            ("/lines/1", "", "int 5"),  # a dictionary, or an object: that is as pydantic read it
            ("/note", *NOTHING),
        ],
    ),
    (list[Animal], [{"kind": "cat"}, {"kind": "cow"}, {}, 7], [
        ("/0/lives", *NOTHING),
        ("/1/kind", "'cat', 'dog'", "str 'cow'"),
        ("/2/kind", *NOTHING),
        ("/3", "", "int 7"),
    ]),
    (dict[str, int | list[str]], {"a/b": None, "c": 1}, [
        ("/a~1b", "valid integer or a valid", "NoneType None"),
    ]),
    (dict[str, Literal[1, 2]], {"a": 3, "b": 2, "c": 4}, [
        ("/a", "1 or 2", "int 3"), ("/c", "1 or 2", "int 4"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "payload", "places"), MISFITS, ids=[repr(kind) for kind, _, _ in MISFITS])
def test_every_place_is_told_at_once(kind: Any, payload: Any, places: list[tuple[str, str, str]]) -> None:
    """A payload's faults come together, each with its pointer, the expectation and the value; and replay."""
    runtime = runtime_of()

    def agent(value: Any) -> None: ...

    agent.__annotations__["value"] = kind
    runtime.agent("a", handles="x")(agent)
    response = runtime.route("x", payload)
    error = response.error
    assert error is not None and error.code is ErrorCode.VALIDATION_ERROR
    faults = error.details["faults"]
    assert [fault["path"] for fault in faults] == [path for path, _, _ in places]
    for fault, (_, expected, got) in zip(faults, places, strict=True):
        assert expected in fault["expected"] and fault["got"] == got
    assert error.details["total"] == len(places) and error.details["agent"] == "a"
    assert places[0][0] in error.message and places[0][1] in error.message
    assert (f"in {len(places)} places" in error.message) is (len(places) > 1)
    replays(runtime, response)


@pytest.mark.parametrize(("kind", "payload", "places"), MISFITS[1:], ids=[repr(k) for k, _, _ in MISFITS[1:]])
@pytest.mark.parametrize("is_async", [False, True])
def test_what_an_agent_answers_is_told_in_the_same_way(
    kind: Any, payload: Any, places: list[tuple[str, str, str]], is_async: bool
) -> None:
    """A plain answer that does not fit the output type is the agent's error, with as many places."""
    runtime = runtime_of()

    def agent() -> Any:
        return payload

    async def waiting(ctx: AsyncContext) -> Any:
        await ctx.sleep(0)
        return payload

    answering: Any = waiting if is_async else agent
    answering.__annotations__["return"] = kind
    runtime.agent("a", handles="x")(answering)
    response = asyncio.run(runtime.route_async("x"))
    error = response.error
    assert error is not None and error.code is ErrorCode.INTERNAL_AGENT_ERROR
    told = [fault["path"] for fault in error.details["faults"]]
    if kind is not Person:  # where a dataclass is declared, no dict will do, whatever is in it
        assert told == [path for path, _, _ in places]
        assert error.details["total"] == len(places)
    assert asyncio.run(runtime.replay_async(response.execution_id)).verdict == "match"


def test_objects_are_looked_into() -> None:
    """The fields of a dataclass, or of a model, that an agent returns are told by their places."""
    wrong = Person("Ann", "old", [Address.model_construct(street=1, number=2)])  # type: ignore[arg-type]  # that is what is tested
    with pytest.raises(UnrecordableValue) as refusal:
        codec_for(Person).encode(wrong)
    assert [misfit["path"] for misfit in refusal.value.misfits] == ["/age", "/homes/0/street"]
    with pytest.raises(UnrecordableValue) as other:
        codec_for(list[Person]).encode([Address(street="s", number=1)])
    assert other.value.where == "/0" and "Person" in other.value.expected


def test_an_effect_tells_its_agent_every_place(tmp_path: Any) -> None:
    """What an effect returns against its annotation: the agent can read each place, live and on replay."""

    def lookup() -> list[int]:
        return [1, "two", None]  # type: ignore[list-item]  # that is what is tested

    with FileExecutionStore(tmp_path / "store", durability="os") as store:
        runtime = runtime_of(store=store)

        @runtime.agent("a", handles="x")
        def agent(ctx: Context) -> list[Any]:
            try:
                ctx.effect("lookup", lookup)
            except UnrecordableValue as fault:
                return [fault.where, fault.total, [dict(misfit) for misfit in fault.misfits]]
            return []

        response = runtime.route("x")
        assert response.payload[:2] == ["/1", 2]
        assert [misfit["path"] for misfit in response.payload[2]] == ["/1", "/2"]
        replays(runtime, response)


def test_a_childs_faults_come_to_the_agent_that_asked() -> None:
    """The response of a child intent has all faults, too."""
    runtime = runtime_of()

    @runtime.agent("inner", handles="inner")
    def inner(person: Person) -> None: ...

    @runtime.agent("outer", handles="outer")
    def outer(ctx: Context) -> Any:
        error = ctx.route("inner", {"name": 1}).error
        assert error is not None
        return error.details

    response = runtime.route("outer")
    assert [fault["path"] for fault in response.payload["faults"]] == ["/name", "/age"]
    replays(runtime, response)


@pytest.mark.parametrize("count", [19, 20, 21, 5_000, 50_000])
def test_no_more_than_twenty_places_are_told(count: int) -> None:
    """Of many faults the first twenty are told, and how many there are."""
    with pytest.raises(InvalidInput) as refusal:
        codec_for(list[int]).decode(json.dumps(["x"] * count).encode())
    fault = refusal.value
    assert [misfit["path"] for misfit in fault.misfits] == [f"/{index}" for index in range(min(count, 20))]
    assert fault.total == count and f"in {count} places" in fault.message


def test_faults_far_from_the_beginning_are_counted_at_least() -> None:
    """Where the beginning of a long list is right, the type and the count are told."""
    with pytest.raises(InvalidInput) as refusal:
        codec_for(list[int]).decode(json.dumps([1] * 2_000 + ["x"] * 20_000).encode())
    assert (refusal.value.total, refusal.value.where) == (20_000, "")
    assert refusal.value.expected == "list[int]"


def test_what_was_got_is_short() -> None:
    """However large a value is, what is told of it is not."""
    payload = {"lines": ["x" * 100_000, ["y" * 60] * 40], "note": {"a": "z" * 100_000}}
    with pytest.raises(InvalidInput) as refusal:
        codec_for(Order).decode(json.dumps(payload).encode())
    assert refusal.value.total == 3
    assert all(len(misfit["got"]) <= 80 for misfit in refusal.value.misfits)


def told_of(payload: Any, kind: Any, **options: Any) -> ErrorInfo:
    runtime = runtime_of(**options)

    def agent(value: Any) -> None: ...

    agent.__annotations__["value"] = kind
    runtime.agent("a", handles="x")(agent)
    response = runtime.route("x", payload)
    replays(runtime, response)
    assert response.error is not None
    return response.error


def test_no_error_tells_a_secret() -> None:
    """What stands under the name of a secret, or in a type with secrets, is not shown in the error."""
    wrong = {"password": "hunter2-hunter2", "inner": {"api_key": "hunter2-hunter2"}, "plain": "seen"}
    error = told_of(wrong, dict[str, int])
    faults = {fault["path"]: fault["got"] for fault in error.details["faults"]}
    assert faults["/password"] == "[redacted]" and faults["/plain"] == "str 'seen'"
    assert "hunter2" not in str(error)
    error = told_of({"pin": 4711, "tries": "x4711"}, Login)
    assert [fault["got"] for fault in error.details["faults"]] == ["int, not shown", "str, not shown"]
    assert "4711" not in str(error)
    own = capture("httpx", redaction=Redaction(keys=["badge"]))
    error = told_of({"badge": "B-4711"}, dict[str, int], capture=own)
    assert error.details["faults"][0]["got"] == "[redacted]" and "4711" not in str(error)
