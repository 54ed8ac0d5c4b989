"""What the bodies of an execution's entries are made of: checked before a record is folded from them.

Hashes prove that a record was not changed since it was written. They do not prove who wrote it: a portable
record comes from anywhere, and anybody can compute hashes. So whatever reads records relies on what is
checked here, and on nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from intentusnet import values
from intentusnet.response import ErrorInfo
from intentusnet.transcript import (
    ADMISSION,
    RETRY,
    ROOT_SCOPE,
    is_admission_scope,
    is_scope,
    turn_of,
)

_Kinds = tuple[type, ...]
_Shape = Mapping[str, _Kinds]

_TEXT: Final = (str,)
_TEXT_OR_NOTHING: Final = (str, type(None))
_NUMBER: Final = (int,)
_FLAG: Final = (bool,)
_OBJECT: Final = (dict,)
_LIST: Final = (list,)
_SIDE_EFFECTS: Final = ("read_only", "reversible", "irreversible")

_OPENED: Final[_Shape] = {"depth": _NUMBER, "envelope": _OBJECT, "environment": _OBJECT, "plan": _OBJECT}
_ENVELOPE: Final[_Shape] = {
    "caller": _OBJECT,
    "intent": _OBJECT,
    "priority": _NUMBER,
    "routing": _OBJECT,
    "tags": _LIST,
}
_INTENT: Final[_Shape] = {"name": _TEXT, "version": _TEXT}
_PLAN: Final[_Shape] = {"candidates": _LIST, "steps": _LIST, "strategy": _TEXT}
_CANDIDATE: Final[_Shape] = {
    "agent": _TEXT,
    "allowed": _FLAG,
    "cause": _TEXT,
    "idempotent": _FLAG,
    "rule": _TEXT_OR_NOTHING,
    "side_effect": _TEXT,
    "version": _TEXT,
}
_LINK: Final[_Shape] = {"execution": _TEXT, "question": _NUMBER, "scope": _TEXT}
_PLACE: Final[_Shape] = {"question": _NUMBER, "scope": _TEXT}
_QUESTION: Final[_Shape] = {"arguments": _OBJECT, "kind": _TEXT, "name": _TEXT}
_ASKED: Final[_Shape] = {**_QUESTION, "idempotent": _FLAG, "side_effect": _TEXT}
_ADMITTED: Final[_Shape] = {"admitted": _FLAG}
_AGAIN: Final[_Shape] = {"again": _FLAG}
#: In nanoseconds: two years. What is written by a runtime is less, and nobody waits for longer.
_LONGEST_DELAY: Final = 2 * 366 * 86_400 * 1_000_000_000
_RUNNER: Final = re.compile("[0-9a-z]*")
_CLOSED: Final[_Shape] = {
    "agent": _TEXT_OR_NOTHING,
    "attempt": (int, type(None)),
    "fingerprint": _TEXT,
    "status": _TEXT,
}


def check_opened(body: Any) -> None:
    """Checks the body of an `opened` entry.

    Raises:
        KeyError, TypeError, ValueError, InvalidInput: it is not of the recorded format.
    """
    _check(body, _OPENED)
    _check_number(body["depth"])
    values.dumps(body)  # JSON can hold numbers that no body has
    envelope, plan = body["envelope"], body["plan"]
    _check(envelope, _ENVELOPE)
    _check(envelope["intent"], _INTENT)
    envelope["payload"]
    _check(plan, _PLAN)
    for candidate in plan["candidates"]:
        _check(candidate, _CANDIDATE)
    for name, amount in plan.get("budget", {}).items():
        _check_kind(values.untag(amount), (int, float, type(None)), f"the budget {name}")
    for step in plan["steps"]:
        _check_kind(step, _TEXT, "a step")
    _check_kind(plan.get("gated", False), _FLAG, "gated")
    for link in (body["parent"], body.get("forked_from")):
        if link is not None:
            _check(link, _LINK)
    runner = body.get("runner")
    if runner is not None and not _RUNNER.fullmatch(runner):  # it becomes the name of a file
        raise ValueError(f"runner is {runner[:80]!r}")


def check_asked(body: Any) -> None:
    """Checks the body of an `asked` entry; raises as `check_opened`."""
    _check_place(body)
    _check(body, _ASKED)
    _check_kind(body.get("unordered", False), _FLAG, "unordered")
    if body["side_effect"] not in _SIDE_EFFECTS:
        raise ValueError(f"side_effect is {body['side_effect']!r}")
    if body["kind"] == ADMISSION:
        raise ValueError("an admission is told with its answer")
    _check_scope_of(body)


def check_answered(body: Any) -> None:
    """Checks the body of an `answered` entry; raises as `check_opened`."""
    _check_place(body)
    if "kind" in body:
        _check(body, _QUESTION)
        _check_kind(body.get("unordered", False), _FLAG, "unordered")
        _check_scope_of(body)
        if body["kind"] == ADMISSION:
            _check_verdict(body["name"], body["value"])
        if body["kind"] == "usage":
            for name, count in body["arguments"]["kwargs"].items():
                _check_kind(values.untag(count), (int, float), f"the usage {name}")
    if ("value" in body) is ("error" in body):
        raise ValueError("an answer is either a value or an error")
    _check_kind(body.get("child"), _TEXT_OR_NOTHING, "child")
    _check_kind(body.get("refused", False), _FLAG, "refused")


def check_closed(body: Any) -> None:
    """Checks the body of a `closed` entry; raises as `check_opened`."""
    _check(body, _CLOSED)
    values.dumps(body)
    body["payload"]
    if body["status"] not in ("success", "error"):
        raise ValueError(f"status is {body['status']!r}")
    if (body["error"] is None) is (body["status"] == "error"):
        raise ValueError(f"status is {body['status']!r}, and the error {body['error']!r}")
    if body["error"] is not None:
        ErrorInfo.from_tree(body["error"])


def check_root(ordinal: int, asked: Mapping[str, Any], answer: Any, steps: Sequence[str]) -> None:
    """Checks a question of the execution itself: a call of an agent of the plan, or who won a race.

    Args:
        ordinal: its place.
        asked: kind and name of the question.
        answer: the body of its `answered` entry; None if there is none.
        steps: the agents of the plan.

    Raises:
        As `check_opened`.
    """
    kind, name = asked["kind"], asked["name"]
    if kind == "agent":
        step, _ = turn_of(ordinal, len(steps))
        if step >= len(steps) or steps[step] != name:
            raise ValueError(f"agent {name!r} is called at {ordinal}, where the plan has another one")
        if answer is not None and "error" in answer:
            ErrorInfo.from_tree(answer["error"])
    elif kind == "race":
        winner = None if answer is None else answer["value"]
        if winner is not None and (type(winner) is not int or not 0 <= winner < len(steps)):
            raise ValueError(f"the winner of the race is {winner!r}")
    else:
        raise ValueError(f"a question of kind {kind!r} stands in scope {ROOT_SCOPE!r}")


def check_same(before: Mapping[str, Any], again: Mapping[str, Any]) -> None:
    """Checks that a question that is asked again is the same one; raises ValueError if it is not."""
    for name in ("kind", "name", "arguments"):
        if name in before and before[name] != again[name]:
            raise ValueError(f"question {again['question']} of {again['scope']!r} is asked again as another")


def _check_scope_of(question: Mapping[str, Any]) -> None:
    if is_admission_scope(question["scope"]) is not (question["kind"] == ADMISSION):
        raise ValueError(f"a question of kind {question['kind']!r} stands in scope {question['scope']!r}")


def _check_verdict(name: str, verdict: Any) -> None:
    if name == RETRY:
        _check(verdict, _AGAIN)
        delay = values.untag(verdict["delay"])
        _check_kind(delay, _NUMBER, "delay")
        if not 0 <= delay <= _LONGEST_DELAY:
            raise ValueError(f"the delay of a retry is {delay}")
        return
    _check(verdict, _ADMITTED)
    if not verdict["admitted"]:
        ErrorInfo.from_tree(verdict["error"])


def _check_place(body: Any) -> None:
    _check(body, _PLACE)
    _check_number(body["question"])
    if not is_scope(body["scope"]):
        raise ValueError(f"{body['scope'][:80]!r} is no scope")


def _check(tree: Any, shape: _Shape) -> None:
    for name, kinds in shape.items():
        if type(tree[name]) not in kinds:
            _check_kind(tree[name], kinds, name)


def _check_kind(value: Any, kinds: _Kinds, name: str) -> None:
    if type(value) not in kinds:
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} is of type {type(value).__name__}, not {expected}")


def _check_number(value: int) -> None:
    if value < 0:
        raise ValueError(f"a number is {value}")
