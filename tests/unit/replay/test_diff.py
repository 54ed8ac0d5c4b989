"""What differs between two records, by the part in which it does."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from intentusnet import (
    Context,
    Difference,
    ExecutionRecord,
    IntentusRuntime,
    MemoryExecutionStore,
    diff_records,
)

PAYLOAD = {"n": 1}


def agent(payload: Any, ctx: Context) -> Any:
    ctx.log("note")
    return [ctx.effect("f", lambda n: n, 1), ctx.effect("g", lambda n: n, 2)]


def record(
    handler: Callable[..., Any] = agent,
    payload: Any = PAYLOAD,
    *,
    policy: Any = None,
    more: Any = (),
    **options: Any,
) -> ExecutionRecord:
    runtime = IntentusRuntime(store=MemoryExecutionStore(), policy=policy)
    for name, other in (("a", handler), *more):
        runtime.agent(name, handles="x")(other)
    return runtime.store.get(runtime.route("x", payload, **options).execution_id)


def shown(differences: tuple[Difference, ...]) -> list[tuple[str, str, str, str]]:
    return [(d.section.value, d.scope, d.question, d.pointer) for d in differences]


def test_equal_executions_have_no_difference() -> None:
    """Two runs of the same have other ids, times and salts, and no difference."""
    assert diff_records(record(), record()) == ()


OK = {"default": "allow"}
RULED = {"default": "allow", "rules": [{"id": "r", "effect": "allow", "agent": "a"}]}
CHANGES: list[tuple[dict[str, Any], list[tuple[str, str, str, str]]]] = [
    ({"payload": {"n": 2}}, [("envelope", "", "", "/payload/n")]),
    ({"caller": "ann"}, [("envelope", "", "", "/caller/name")]),
    ({"tags": ["t"]}, [("envelope", "", "", "/tags/0")]),
    ({"strategy": "fallback"}, [("envelope", "", "", "/routing/strategy"), ("plan", "", "", "/strategy")]),
    ({"more": [("b", agent)]}, [("plan", "", "", "/candidates/1")]),
    ({"policy": OK}, [("decisions", "", "", "/candidates/0/cause")]),
    (
        {"policy": RULED},
        [("decisions", "", "", "/candidates/0/cause"), ("decisions", "", "", "/candidates/0/rule")],
    ),
    (
        {"handler": lambda ctx: [ctx.effect("f", lambda n: 1, 5), ctx.effect("g", lambda n: n, 2)]},
        [("questions", "attempt:0", "effect f [1]", "/args/0")],
    ),
    (
        {"handler": lambda ctx: [ctx.effect("f", lambda n: 7, 1) and 1, ctx.effect("g", lambda n: n, 2)]},
        [("answers", "attempt:0", "effect f [1]", "/value")],
    ),
    (
        {"handler": lambda ctx: [1, ctx.effect("g", lambda n: n, 2)]},
        [("questions", "attempt:0", "effect f [1]", "")],
    ),
    (
        {
            "handler": lambda ctx: [
                ctx.effect("f", lambda n: n, 1),
                ctx.effect("g", lambda n: n, 2),
                ctx.effect("h", int),
            ][:2]
        },
        [("questions", "attempt:0", "effect h [2]", "")],
    ),
    (
        {"handler": lambda ctx: [*agent(None, ctx), 3]},
        [("answers", "attempt:0", "agent a [0]", "/value/2"), ("outcome", "", "", "/payload/2")],
    ),
]


@pytest.mark.parametrize(("change", "found"), CHANGES)
def test_a_change_shows_in_its_section(
    change: dict[str, Any], found: list[tuple[str, str, str, str]]
) -> None:
    """Request, plan, decisions, questions, answers, outcome: each change is told once, at its place."""
    differences = diff_records(record(), record(**change))
    assert shown(differences) == found
    assert {(d.a, d.b) for d in map(repr_of, diff_records(record(**change), record()))} == {
        (d.b, d.a) for d in map(repr_of, differences)
    }


def repr_of(difference: Difference) -> Difference:
    return replace(difference, a=repr(difference.a), b=repr(difference.b))


def test_threads_of_an_agents_own_have_no_order() -> None:
    """What came from them is compared as a bag: turns are no difference, another answer is one."""

    def asking(order: list[int], extra: int = 0) -> Callable[[Context], None]:
        def handler(ctx: Context) -> None:
            for number in order:
                thread = threading.Thread(
                    target=lambda n=number: ctx.effect("f", lambda n: n + extra * (n == 1), n)
                )
                thread.start()
                thread.join()

        return handler

    one, other = record(asking([0, 1, 1, 2])), record(asking([2, 1, 0, 1]))
    assert diff_records(one, other) == () and one.fingerprint == other.fingerprint
    changed = record(asking([2, 0, 1, 1], extra=1))
    assert [d.section for d in diff_records(one, changed)] == ["answers", "answers"]
    fewer = record(asking([2, 0, 1]))
    assert [(d.section, d.a) for d in diff_records(fewer, one)] == [("questions", {"$absent": True})]


def test_an_interrupted_execution_differs_in_what_it_lacks() -> None:
    """No outcome, and a question without an answer, are differences from the whole."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())

    def stops() -> None:
        raise KeyboardInterrupt

    runtime.agent("a", handles="x")(lambda ctx: ctx.effect("f", stops))
    with pytest.raises(KeyboardInterrupt):
        runtime.route("x")
    cut = runtime.store.get(runtime.store.resolve("@last"))
    whole = record(lambda ctx: ctx.effect("f", lambda: None), None)
    assert shown(diff_records(cut, whole)) == [
        ("answers", "attempt:0", "agent a [0]", ""),
        ("answers", "attempt:0", "effect f [0]", ""),
        ("outcome", "", "", ""),
    ]
    assert diff_records(cut, cut) == ()


def test_a_difference_is_printed_by_its_parts() -> None:
    """The keys that the command line prints."""
    (difference,) = diff_records(record(), record(payload={"n": 2}))
    assert difference.as_dict() == {
        "section": "envelope",
        "scope": "",
        "question": "",
        "pointer": "/payload/n",
        "a": 1,
        "b": 2,
    }
