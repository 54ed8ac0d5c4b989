"""Whatever payloads, answers and effects are: a clear end, a record that holds, a replay that matches."""

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import pytest
from helpers.hostile import SECRET, VALUES, Account, json_trees
from helpers.hostile_faults import FAULTS
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from intentusnet import (
    AgentResponse,
    AsyncContext,
    Context,
    ErrorCode,
    FileExecutionStore,
    IntentEnvelope,
    IntentusRuntime,
    MemoryExecutionStore,
    Verdict,
    diff_records,
    load_record,
)
from intentusnet.errors import UnrecordableValue
from intentusnet.stores.base import ExecutionStore
from intentusnet.stores.portable import save_record

#: Pydantic cannot but tell Python of properties that raise where it asks for none of their errors.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    born: list[int]


@dataclasses.dataclass
class Order:
    price: float
    lines: list[dict[str, int]] = dataclasses.field(default_factory=list)


class Partial(TypedDict, total=False):
    n: int
    name: str | None


Animal = Annotated[Cat | Dog, Field(discriminator="kind")]
TYPES: list[Any] = [
    *(Any, str, int, float, bool, None, dict, list, dict[str, Any]),
    *(list[int], dict[str, list[int]], tuple[int, str], set[int], bytes),
    *(Cat, Order, Partial, Animal, list[Animal], int | str | Cat, Account, Literal["a", 1]),
]


def kinds(store: ExecutionStore) -> list[Any]:
    """All types where nothing is written to a disk; there, which is all the same to types, every sixth."""
    return TYPES if isinstance(store, MemoryExecutionStore) else TYPES[::6]


def answering(kind: Any, make: Callable[[Any], Any]) -> Callable[..., Any]:
    """An agent that takes and gives values of a type."""

    def agent(payload: Any, ctx: Context) -> Any:
        return make(payload)

    agent.__annotations__ |= {"payload": kind, "return": kind}
    return agent


def answering_async(kind: Any, make: Callable[[Any], Any]) -> Callable[..., Any]:
    async def agent(payload: Any, ctx: AsyncContext) -> Any:
        await ctx.sleep(0)
        return make(payload)

    agent.__annotations__ |= {"payload": kind, "return": kind}
    return agent


def holds(runtime: IntentusRuntime, response: AgentResponse, directory: Path) -> None:
    """The record is one elsewhere, too, differs in nothing from itself, and replays to a match."""
    store = runtime.store
    assert store is not None
    record = store.get(response.execution_id)
    assert record.outcome is not None and record.envelope is not None
    file = directory / f"{record.execution_id}.jsonl"
    save_record(record, file)
    loaded = load_record(file)
    assert loaded.fingerprint == record.fingerprint == response.fingerprint
    assert diff_records(record, loaded) == ()
    report = asyncio.run(runtime.replay_async(loaded)) if runtime.registry.awaits else runtime.replay(loaded)
    assert report.verdict is Verdict.MATCH, report


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made: ExecutionStore = (
        MemoryExecutionStore()
        if request.param == "memory"
        else FileExecutionStore(tmp_path / "store", durability="os")
    )
    with made:
        yield made
        assert not made.list().rows or made.verify().ok


@pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")
@pytest.mark.parametrize("name", VALUES)
def test_whatever_the_payload_is_it_is_answered_or_no_data(
    store: ExecutionStore, tmp_path: Path, name: str
) -> None:
    """Routing any object at all ends with a response, or with UnrecordableValue and nothing on record."""
    runtime = IntentusRuntime(store=store)
    for number, kind in enumerate(kinds(store)):
        runtime.agent(f"a{number}", handles=f"x{number}")(answering(kind, lambda payload: payload))
    for number in range(len(kinds(store))):
        before = len(store.list().rows)
        try:
            response = runtime.route(f"x{number}", VALUES[name]())
        except UnrecordableValue:
            assert len(store.list().rows) == before
            continue
        assert response.error is None or response.error.message
        holds(runtime, response, tmp_path)
    try:
        response = runtime.router.route_intent(IntentEnvelope(intent="x0", payload=VALUES[name]()))
    except UnrecordableValue:
        return
    holds(runtime, response, tmp_path)


@pytest.mark.parametrize("name", VALUES)
def test_whatever_an_agent_answers_is_an_answer_or_its_error(
    store: ExecutionStore, tmp_path: Path, name: str
) -> None:
    """Any object at all that an agent returns is its answer, or an error that says what it may not be."""
    runtime = IntentusRuntime(store=store)
    for number, kind in enumerate(kinds(store)):
        agent = answering(Any, lambda _: VALUES[name]())
        agent.__annotations__["return"] = kind
        runtime.agent(f"a{number}", handles=f"x{number}")(agent)
    for number in range(len(kinds(store))):
        response = runtime.route(f"x{number}")
        if response.error is not None:
            assert response.error.code in (
                ErrorCode.INTERNAL_AGENT_ERROR, ErrorCode.PAYLOAD_TOO_LARGE, ErrorCode.AGENT_ERROR,
            )  # fmt: skip
            assert SECRET not in str(response.error)
        holds(runtime, response, tmp_path)


@pytest.mark.parametrize("name", VALUES)
def test_whatever_an_effect_answers_the_agent_is_told(
    store: ExecutionStore, tmp_path: Path, name: str
) -> None:
    """What an effect returns is recorded, or the agent is told why not, live and on replay alike."""
    runtime = IntentusRuntime(store=store)

    def agent_of(kind: Any) -> Callable[..., Any]:
        def effect() -> Any:
            return VALUES[name]()

        effect.__annotations__["return"] = kind

        def agent(payload: Any, ctx: Context) -> Any:
            told = []
            for call in (lambda: ctx.effect("e", effect), lambda: ctx.effect("f", len, VALUES[name]())):
                try:
                    told.append(type(call()).__name__)
                except Exception as fault:  # noqa: BLE001 - whatever it is, replays must say the same
                    told.append(f"{type(fault).__name__}: {str(fault)[:200]}")
            return told

        return agent

    for number, kind in enumerate(kinds(store)):
        runtime.agent(f"a{number}", handles=f"x{number}")(agent_of(kind))
    for number in range(len(kinds(store))):
        response = runtime.route(f"x{number}")
        assert response.ok, response.error
        holds(runtime, response, tmp_path)


@pytest.mark.parametrize("name", VALUES)
def test_whatever_a_child_is_asked_for_the_agent_is_told(
    store: ExecutionStore, tmp_path: Path, name: str
) -> None:
    """A child intent with any object at all as its payload is answered, or the agent is told why not."""
    runtime = IntentusRuntime(store=store)
    runtime.agent("inner", handles="inner")(answering(Any, lambda payload: payload))

    @runtime.agent("outer", handles="outer")
    def outer(ctx: Context) -> list[Any]:
        try:
            child = ctx.route("inner", VALUES[name]())
        except UnrecordableValue as fault:
            return [str(fault)]
        return [child.status, None if child.error is None else child.error.code.value]

    response = runtime.route("outer")
    assert response.ok, response.error
    holds(runtime, response, tmp_path)


@pytest.mark.parametrize("name", VALUES)
def test_asynchronous_callers_meet_the_same(store: ExecutionStore, tmp_path: Path, name: str) -> None:
    """Asynchronous agents and callers: payload and answer may be any object, too."""
    runtime = IntentusRuntime(store=store)
    for number, kind in enumerate((Any, Order, Animal, list[int])):
        runtime.agent(f"a{number}", handles=f"x{number}")(answering_async(kind, lambda payload: payload))
        giving = answering_async(Any, lambda _: VALUES[name]())
        giving.__annotations__["return"] = kind
        runtime.agent(f"b{number}", handles=f"y{number}")(giving)

    async def routed(intent: str, payload: Any) -> AgentResponse | None:
        try:
            return await runtime.route_async(intent, payload)
        except UnrecordableValue:
            return None

    for number in range(4):
        for intent, payload in ((f"x{number}", VALUES[name]()), (f"y{number}", None)):
            response = asyncio.run(routed(intent, payload))
            if response is not None:
                holds(runtime, response, tmp_path)


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_is_raised_becomes_an_error(store: ExecutionStore, tmp_path: Path, name: str) -> None:
    """What an agent raises, or an effect of it, ends as a recorded error; nothing escapes the router."""
    runtime = IntentusRuntime(store=store)

    @runtime.agent("raising", handles="agent")
    def raising() -> None:
        raise FAULTS[name]()

    def effect() -> None:
        raise FAULTS[name]()

    @runtime.agent("asking", handles="effect")
    def asking(ctx: Context) -> str:
        try:
            ctx.effect("e", effect)
        except BaseException as fault:  # noqa: BLE001 - replays must raise the same
            return type(fault).__qualname__.encode("utf-8", "replace").decode()
        return "nothing"

    @runtime.agent("passing", handles="passing")
    def passing(ctx: Context) -> None:
        ctx.effect("e", effect)

    for intent in ("agent", "effect", "passing"):
        response = runtime.route(intent)
        assert response.ok is (intent == "effect")
        holds(runtime, response, tmp_path)


@given(payload=json_trees, kind=st.sampled_from(TYPES))
def test_no_json_makes_the_router_raise(payload: Any, kind: Any) -> None:
    """Whatever JSON says, for whatever type an agent declares: a response, and a record that replays."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("a", handles="x")(answering(kind, lambda value: value))
    response = runtime.router.route_intent(IntentEnvelope(intent="x", payload=payload))
    assert response.ok or response.error is not None
    assert runtime.store is not None and runtime.store.verify().ok
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH
    if response.error is not None:
        faults = response.error.details["faults"]
        assert 1 <= len(faults) <= 20 and response.error.details["total"] >= len(faults)
        assert all(fault.keys() == {"path", "expected", "got"} for fault in faults)
        assert all(len(fault["got"]) <= 80 for fault in faults)


OPERANDS = {"eq": 1, "ne": "a", "lt": 2**60, "ge": "a", "in": [1, 2], "glob": "*a*", "exists": False}
RULES = [
    {"id": f"{name}-{number}", "effect": "deny", "payload": {path: {name: operand}}}
    for number, path in enumerate(("/a", "/0/password", "/password"))
    for name, operand in OPERANDS.items()
]


@given(payload=json_trees | st.fixed_dictionaries({"a": json_trees}), number=st.integers(0, 20))
def test_no_json_makes_a_policy_raise(payload: Any, number: int) -> None:
    """A policy that compares payloads decides about whatever JSON says, and again on replay."""
    policy = {"default": "allow", "rules": RULES[number:]}
    runtime = IntentusRuntime(store=MemoryExecutionStore(), policy=policy)
    runtime.agent("a", handles="x")(lambda value: value)
    response = runtime.router.route_intent(IntentEnvelope(intent="x", payload=payload))
    assert response.error is None or response.error.code is ErrorCode.POLICY_DENIAL
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH


@pytest.mark.parametrize("name", VALUES)
def test_a_policy_meets_whatever_a_payload_is(name: str) -> None:
    """The same for any object that can be recorded, and for what is too large, which is not compared."""
    runtime = IntentusRuntime(store=MemoryExecutionStore(), policy={"default": "allow", "rules": RULES})
    runtime.agent("a", handles="x")(lambda value: value)
    try:
        response = runtime.route("x", VALUES[name]())
    except UnrecordableValue:
        return
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH
