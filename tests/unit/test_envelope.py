"""The immutable request: what it takes, what it refuses, and that a record gives it back."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from intentusnet import (
    Caller,
    IntentEnvelope,
    IntentRef,
    IntentusRuntime,
    ManualClock,
    RoutingOptions,
    RoutingStrategy,
    values,
)
from intentusnet.errors import InvalidEnvelope
from intentusnet.fingerprint import compared_envelope

names = st.text(min_size=1, max_size=5).filter(lambda text: "@" not in text and text.isprintable())


@given(
    names,
    names,
    names,
    st.lists(names, max_size=2),
    st.none() | names,
    st.integers(-5, 5),
    st.none() | st.datetimes(min_value=datetime(1980, 1, 1)),
    st.sampled_from(list(RoutingStrategy)),
    st.lists(names, max_size=2),
)
def test_a_record_gives_the_envelope_back(
    intent: str,
    version: str,
    caller: str,
    several: list[str],
    one: str | None,
    number: int,
    at: datetime | None,
    strategy: RoutingStrategy,
    fallback: list[str],
) -> None:
    """`from_tree` undoes `tree`, whatever is in the envelope; a deadline is kept as the same moment."""
    envelope = IntentEnvelope(
        intent=IntentRef(name=intent, version=version),
        payload={"n": (number,)},
        caller=Caller(name=caller, roles=several, tenant=one),
        tags=several,
        priority=number,
        deadline=None if at is None else at.replace(tzinfo=timezone(timedelta(hours=2))),
        routing=RoutingOptions(strategy=strategy, target=one, fallback=fallback, prefer="first"),
        traceparent=one,
        idempotency_key=one,
    )
    payload = values.encode(envelope.payload)
    tree = values.parse(envelope.encode(payload))
    assert IntentEnvelope.from_tree(tree) == envelope
    assert tree["deadline"] is None or tree["deadline"].endswith("+00:00")
    # Sorted keys, no spaces: the bytes that every writer of this content would make.
    assert values.dumps(tree) == envelope.encode(payload)
    assert values.dumps(compared_envelope(tree)) == envelope.encode_compared(payload)


def test_text_stands_for_intent_and_caller() -> None:
    """`name`, `name@version`, and a caller's name."""
    envelope = IntentEnvelope(intent="a.b@2", caller="ann")
    assert envelope.intent == IntentRef(name="a.b", version="2") and envelope.caller == Caller(name="ann")
    assert IntentRef.parse("a").version == "1.0" == IntentRef.parse("a@").version
    assert IntentEnvelope(intent="a").id != IntentEnvelope(intent="a").id


@pytest.mark.parametrize(
    "fields",
    [
        {"intent": ""},
        {"intent": "@1"},
        {"intent": 5},
        {"caller": ""},
        {"priority": "high"},
        {"unknown": 1},
        {"id": ""},
        {"deadline": datetime(2026, 1, 1)},
        {"routing": {"strategy": "best"}},
        {"tags": [""]},
        {"intent": "\ud800"},
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    """Empty names, unknown fields, moments without a zone."""
    with pytest.raises(ValidationError):
        IntentEnvelope(**{"intent": "x", **fields})


def test_an_envelope_is_frozen() -> None:
    """Nothing of it can be set."""
    with pytest.raises(ValidationError):
        IntentEnvelope(intent="x").priority = 1  # type: ignore[misc]  # that is what is tested


# --- as a runtime makes them ---


def test_route_arguments_become_an_envelope() -> None:
    """Each argument has its place; a timeout is a deadline by the runtime's clock."""
    runtime = IntentusRuntime(clock=ManualClock(1_000_000_000_000_000))
    envelope = runtime.envelope(
        "x@2",
        {"a": 1},
        strategy="fallback",
        target="t",
        fallback=iter(["f", "g"]),
        prefer="first",
        caller="ann",
        roles=["r"],
        tenant="acme",
        tags=iter(["t"]),
        priority=2,
        timeout=5,
        idempotency_key="k",
        traceparent="00",
    )
    assert envelope.routing == RoutingOptions(
        strategy=RoutingStrategy.FALLBACK, target="t", fallback=("f", "g"), prefer="first"
    )
    assert envelope.caller == Caller(name="ann", roles=("r",), tenant="acme")
    assert (envelope.intent.version, envelope.tags, envelope.priority) == ("2", ("t",), 2)
    assert envelope.deadline == datetime.fromtimestamp(1_000_000_005, UTC)
    assert runtime.envelope("x", roles=["r"]).caller == Caller(roles=("r",))
    assert runtime.envelope(IntentRef(name="x"), caller=Caller(name="bob")).caller == Caller(name="bob")


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"intent": 5}, "/intent"),
        ({"strategy": "best"}, "/strategy"),
        ({"strategy": ["direct"]}, "/strategy"),
        ({"prefer": "last"}, "/prefer"),
        ({"fallback": [[1]]}, "/fallback/0"),
        ({"fallback": "name"}, "/fallback"),
        ({"roles": "admin"}, "/roles"),
        ({"tags": "one"}, "/tags"),
        ({"tags": 5}, "/tags"),
        ({"tags": [""]}, "/tags/0"),
        ({"caller": ""}, "/name"),
        ({"caller": 5}, "/name"),
        ({"caller": Caller(name="ann"), "roles": ["admin"]}, "/caller"),
        ({"caller": Caller(name="ann"), "tenant": "acme"}, "/caller"),
        ({"priority": "x"}, "/priority"),
        ({"target": 1}, "/target"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": "5"}, "timeout"),
    ],
)
def test_a_wrong_argument_is_an_invalid_envelope(arguments: dict[str, Any], where: str) -> None:
    """Whatever is wrong, it is one kind of error, with its place; nothing is called and nothing recorded."""
    with pytest.raises(InvalidEnvelope) as caught:
        IntentusRuntime().route(**{"intent": "x", **arguments})
    assert caught.value.where == where


def test_several_faults_are_counted() -> None:
    """The first is told, and how many there are beside it."""
    with pytest.raises(InvalidEnvelope, match=r"\(and 1 more\)"):
        IntentusRuntime().envelope("x", priority="a", traceparent=5)  # type: ignore[arg-type]  # that is tested
