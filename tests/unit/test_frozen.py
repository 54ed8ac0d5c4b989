"""`frozen`: models that are made without being checked are those that pydantic makes."""

from __future__ import annotations

import copy

import pytest
from pydantic import BaseModel, ValidationError

from intentusnet import AgentFailure, IntentEnvelope, IntentusRuntime
from intentusnet.envelope import Caller, IntentRef, RoutingStrategy, envelope_of, routing_of


def runtime() -> IntentusRuntime:
    """A runtime with an agent that answers, and one that fails."""
    made = IntentusRuntime()
    made.agent("echo", handles="x")(lambda payload: payload)

    @made.agent("broken", handles="y")
    def broken(payload: object) -> None:
        raise AgentFailure("it is broken", details={"a": [1]})

    return made


def models() -> list[BaseModel]:
    """What a runtime makes for every execution."""
    made = runtime()
    return [
        made.envelope("x@2", {"a": [1]}, strategy="fallback", target="t", caller="ann", timeout=5),
        made.route("x", {"a": [1]}),
        made.route("y"),
        made.route("nobody"),
    ]


@pytest.mark.parametrize("which", range(4))
def test_made_models_are_those_that_pydantic_makes(which: int) -> None:
    """All that pydantic knows of a model is there: fields, which of them were given, and how it is shown."""
    model = models()[which]
    checked = type(model).model_validate(dict(model))
    assert model == checked
    assert repr(model) == repr(checked)
    assert model.model_dump_json() == checked.model_dump_json()
    assert model.__getstate__() == checked.__getstate__()
    assert list(vars(model)) == list(type(model).model_fields)


@pytest.mark.parametrize("which", range(4))
def test_made_models_are_frozen_and_can_be_copied(which: int) -> None:
    """They are copied, and refuse to be changed, as those that were checked."""
    model = models()[which]
    assert copy.copy(model) == copy.deepcopy(model) == model
    other = model.model_copy(update={next(iter(vars(model))): "other"})
    assert other != model
    assert other.model_fields_set == model.model_fields_set
    with pytest.raises(ValidationError, match="frozen"):
        model.payload = None  # type: ignore[attr-defined]  # that is what is tested


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": 5},
        {"intent": ""},
        {"intent": 5},
        {"caller": 5},
        {"tags": ("",)},
        {"priority": 1.5},
        {"priority": 2**53},
        {"traceparent": 5},
        {"idempotency_key": ""},
    ],
)
def test_fields_that_are_not_known_to_be_right_are_checked(wrong: dict[str, object]) -> None:
    """Each of them goes through pydantic, which tells its place."""
    fields = {
        "id": "i",
        "intent": IntentRef(name="x"),
        "payload": None,
        "caller": Caller(),
        "tags": (),
        "priority": 0,
        "deadline": None,
        "routing": routing_of(RoutingStrategy.DIRECT, None, (), "rank"),
        "traceparent": None,
        "idempotency_key": None,
    }
    assert envelope_of(**fields) == IntentEnvelope(**fields)  # type: ignore[arg-type]  # a dict of them
    with pytest.raises(ValidationError) as caught:
        envelope_of(**(fields | wrong))  # type: ignore[arg-type]  # that is what is tested
    assert caught.value.errors()[0]["loc"][0] in wrong
