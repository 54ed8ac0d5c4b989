"""The data set: two hundred sessions, each a few turns of what was asked and the right calls that answer it.

The calls are source text, such as ``cd(folder='document')``, whose arguments are all literals: they are
parsed, never evaluated. Arguments without a name get theirs from the method's signature.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from examples.tool_sessions.wheel import read_answers, read_questions, tool_classes

#: One session in so many is run by a guest.
GUEST_SHARE: Final = 4


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool: the intent ``Tool.method`` and the payload, its arguments."""

    intent: str
    arguments: dict[str, Any]

    @property
    def tool(self) -> str:
        return self.intent.partition(".")[0]

    @property
    def method(self) -> str:
        return self.intent.partition(".")[2]


@dataclass(frozen=True, slots=True)
class Turn:
    """What was asked, and the calls that answer it."""

    asked: str
    calls: list[Call]


@dataclass(frozen=True, slots=True)
class Order:
    """What ``session.run`` takes: a session's id, and what is to be done in it."""

    session: str
    turns: list[Turn]


@dataclass(frozen=True, slots=True)
class Session:
    """One session.

    Attributes:
        id: the data set's own, such as ``multi_turn_base_0``.
        turns: in their order.
        tools: which tool classes it has.
        scenario: what each tool knows at the beginning, as the tool itself reads it.
    """

    id: str
    turns: tuple[Turn, ...]
    tools: tuple[str, ...]
    scenario: Mapping[str, Any]

    @property
    def role(self) -> str:
        """The role of its caller: by a hash of the id, so that it never changes."""
        digest = hashlib.sha256(self.id.encode()).digest()
        return "guest" if digest[0] % GUEST_SHARE == 0 else "operator"

    @property
    def tag(self) -> str:
        """The tag by which a tool finds the session's state."""
        return f"session:{self.id}"

    @property
    def order(self) -> Order:
        """What ``session.run`` takes."""
        return Order(self.id, list(self.turns))


@cache
def sessions() -> Mapping[str, Session]:
    """All sessions by id, in the order of the data set.

    Raises:
        WheelMissing: the wheel is not installed.
    """
    answers = {row["id"]: row["ground_truth"] for row in read_answers()}
    return {row["id"]: _session(row, answers[row["id"]]) for row in read_questions()}


def _session(row: Mapping[str, Any], answers: Sequence[Sequence[str]]) -> Session:
    tools = tuple(row["involved_classes"])
    turns = [
        Turn(" ".join(message["content"] for message in asked), [read_call(text, tools) for text in calls])
        for asked, calls in zip(row["question"], answers, strict=True)
    ]
    return Session(row["id"], tuple(turns), tools, row["initial_config"])


def read_call(text: str, tools: Sequence[str]) -> Call:
    """Reads a call such as ``grep('notes.txt', pattern='budget')``.

    Args:
        text: the call.
        tools: the classes of which one has the method.

    Raises:
        ValueError: it is no call of a method of these with literals.
    """
    tree = ast.parse(text, mode="eval").body
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise ValueError(f"not a call: {text}")
    method = tree.func.id
    owner = next((tool for tool in tools if hasattr(tool_classes()[tool], method)), None)
    if owner is None:
        raise ValueError(f"none of {', '.join(tools)} has a method {method!r}: {text}")
    if any(keyword.arg is None for keyword in tree.keywords):
        raise ValueError(f"arguments must be written out: {text}")
    positional = [ast.literal_eval(value) for value in tree.args]
    named = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in tree.keywords}
    _self, *names = inspect.signature(getattr(tool_classes()[owner], method)).parameters
    return Call(f"{owner}.{method}", {**dict(zip(names, positional, strict=False)), **named})
