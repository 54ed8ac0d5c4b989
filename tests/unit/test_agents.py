"""Who can handle what: registrations that make sense, those that do not, and how functions are called."""

import functools
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from intentusnet import Context, IntentusRuntime
from intentusnet.agents import AgentDefinition, define_agent, version_matcher
from intentusnet.errors import InvalidAgent


class Ticket(BaseModel):
    text: str


def call(handler: Any, payload: Any = None) -> Any:
    runtime = IntentusRuntime()
    runtime.agent("a", handles="x")(handler)
    response = runtime.route("x", payload)
    assert response.ok, response.error
    return response.payload


# --- what may handle an intent ---


class Handler:
    def handle(self, payload: Any, ctx: Context) -> Any:
        return [payload, isinstance(ctx, Context)]


class Callable:
    def __call__(self, payload: Any) -> Any:
        return payload


def only_keyword(*, ctx: Context) -> bool:
    return isinstance(ctx, Context)


def no_hints(payload, context):  # type: ignore[no-untyped-def]  # that is what is tested
    return [payload, isinstance(context, Context)]


def optional_context(payload: Any, ctx: Context | None = None) -> Any:
    return [payload, isinstance(ctx, Context)]


def any_context(payload: Any, ctx: Any) -> Any:
    return [payload, isinstance(ctx, Context)]


def annotated_context(payload: Any, c: Annotated[Context, "mine"]) -> Any:
    return [payload, isinstance(c, Context)]


def context_by_hint(payload: Any, asking: "Context") -> Any:
    return [payload, isinstance(asking, Context)]


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (lambda: "nothing", "nothing"),
        (lambda payload: payload, 1),
        (lambda payload, ctx: [payload, isinstance(ctx, Context)], [1, True]),
        (lambda ctx: isinstance(ctx, Context), True),
        (lambda payload=5: payload, 1),
        (lambda *args: list(args), [1]),
        (lambda payload, **more: [payload, more], [1, {}]),
        (lambda payload, other=2: [payload, other], [1, 2]),
        (Handler, [1, True]),
        (Handler(), [1, True]),
        (Handler().handle, [1, True]),
        (Callable(), 1),
        (max, 1),
        (only_keyword, True),
        (no_hints, [1, True]),
        (optional_context, [1, True]),
        (any_context, [1, True]),
        (annotated_context, [1, True]),
        (context_by_hint, [1, True]),
        (functools.partial(lambda first, payload: [first, payload], 0), [0, 1]),
        (len, 1),
    ],
)
def test_a_function_gets_what_it_asks_for(handler: Any, told: Any) -> None:
    """Payload, context, both or neither: by name, by hint, in functions, methods, objects and classes."""
    assert call(handler, [1] if handler in (len, max) else 1) == told


def test_payload_and_answer_are_of_the_declared_types() -> None:
    """Models and dataclasses go in and out; types of a local scope are known."""

    @dataclass
    class Local:
        text: str

    runtime = IntentusRuntime()

    @runtime.agent("a", handles="x")
    def a(ticket: Ticket) -> "Local":
        assert type(ticket) is Ticket
        return Local(ticket.text)

    assert (
        runtime.route("x", Ticket(text="t")).payload
        == {"text": "t"}
        == runtime.route("x", {"text": "t"}).payload
    )
    (agent,) = runtime.registry.agents()
    assert agent.definition.input_schema["required"] == ["text"]


class Wanting:
    def __init__(self, needed: int) -> None:
        self.needed = needed


def yielding() -> Any:
    yield 1


async def generating() -> Any:
    yield 1


def keyword_payload(*, payload: Any) -> None: ...


def two_payloads(one: Any, two: Any) -> None: ...


def two_contexts(payload: Any, ctx: Context, other: Context) -> None: ...


def context_first(ctx: Context, payload: Any) -> None: ...


def positional_context(ctx: Context, /) -> None: ...


def unknown_hint(payload: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821 - that is tested


def wrong_hint(payload: "1()") -> None: ...  # type: ignore[valid-type]  # that is what is tested


def odd_hint(payload: len) -> None: ...  # type: ignore[valid-type]  # that is what is tested


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (5, "cannot be called"),
        (Wanting, "cannot be instantiated"),
        (yielding, "generator"),
        (generating, "generator"),
        (keyword_payload, "parameters"),
        (two_payloads, "parameters"),
        (two_contexts, "parameters"),
        (context_first, "before the payload"),
        (positional_context, "can be named"),
        (unknown_hint, "names something"),
        (odd_hint, "cannot be written and read"),
        (wrong_hint, "cannot be read"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_when_it_is_registered(handler: Any, why: str) -> None:
    """The error says what is wrong, before anything is routed."""
    with pytest.raises(InvalidAgent, match=why):
        IntentusRuntime().agent("a", handles="x")(handler)


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"handles": ""},
        {"handles": []},
        {"handles": "x@not a range"},
        {"version": ""},
        {"rank": "high"},
        {"side_effect": "harmless"},
        {"name": "\ud800"},
        {"handles": "@1"},
    ],
)
def test_a_definition_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    """Empty names, no capability, unknown side effects, versions that are none."""
    with pytest.raises(InvalidAgent):
        define_agent(**{"name": "a", "handler": lambda: 1, "handles": "x", **options})


def test_other_faults_of_a_definition_are_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only pydantic's own errors become ours."""

    def broken(**_: Any) -> None:
        raise ValueError("broken")

    monkeypatch.setattr("intentusnet.agents.AgentDefinition", broken)
    with pytest.raises(InvalidAgent, match="broken"):
        define_agent("a", lambda: 1, handles="x")


def test_the_description_is_the_docstrings_first_line() -> None:
    """Unless one is given."""

    def agent() -> None:
        """Says one thing.

        And another.
        """

    assert define_agent("a", agent, handles="x").definition.description == "Says one thing."
    assert define_agent("a", agent, handles="x", description="other").definition.description == "other"
    assert define_agent("a", lambda: 1, handles="x").definition.description == ""


def test_version_ranges_that_cannot_be_read_are_refused() -> None:
    """With what would have been right."""
    with pytest.raises(InvalidAgent, match="PEP 440"):
        version_matcher("one or two")


def test_a_digest_tells_handlers_apart() -> None:
    """By their source, or by their byte code where there is none; a built-in has its name."""
    texts = (
        "lambda: abs(1)",
        "lambda: abs(2)",
        "lambda: len([1])",
        "lambda: (lambda: 1)",
        "lambda: (lambda: 2)",
    )
    made = [eval(compile(text, "<made>", "eval")) for text in texts]  # noqa: S307 - functions without source
    handlers = (only_keyword, optional_context, *made, len, Handler)
    digests = [define_agent("a", handler, handles="x").digest for handler in handlers]
    assert len(set(digests)) == len(handlers)
    assert digests[0] == define_agent("b", functools.wraps(only_keyword)(lambda ctx: 1), handles="y").digest


def test_a_definition_is_data() -> None:
    """It is frozen, and can be written and read."""
    definition = define_agent("a", lambda: 1, handles="x@>=1").definition
    assert AgentDefinition.model_validate_json(definition.model_dump_json()) == definition
