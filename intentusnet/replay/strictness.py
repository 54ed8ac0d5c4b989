"""How closely a replay compares, and how deep it goes: what the caller of a replay may choose."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from intentusnet.agents import AgentDefinition
from intentusnet.errors import InvalidInput
from intentusnet.transcript import Question

#: Kinds that the world is asked again in a live replay, if asking is harmless. Time, chance and sleep would
#: differ by their nature, and a child is an execution of its own: these are answered from the record.
_ASKED_AGAIN: Final = frozenset({"effect", "env", "http", "process"})

Choice = TypeVar("Choice", bound=StrEnum)


class Strictness(StrEnum):
    """What is compared; each includes the ones before it.

    ``effects``: which questions are asked, and which agents are called. ``args``: with which arguments.
    ``result``: plan and decisions, order within a scope, each attempt's outcome, the response. ``strict``:
    the environment: versions and digests of package, agents, configuration, policy and Python.
    """

    EFFECTS = "effects"
    ARGS = "args"
    RESULT = "result"
    STRICT = "strict"


class Depth(StrEnum):
    """What is run again.

    ``routing``: plan and policy are decided anew, and attempts are taken from the record. ``agents``: agents
    run again with the answers on record. ``live``: they run again, and the world is asked again.
    """

    ROUTING = "routing"
    AGENTS = "agents"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Reach:
    """What a depth comes to.

    Args:
        depth: how deep a replay goes.
        allow_acting: a live replay also runs agents and asks questions that may act on the world.
    """

    depth: Depth = Depth.AGENTS
    allow_acting: bool = False

    def takes(self, agent: AgentDefinition) -> bool:
        """Whether the outcome of an agent's attempt is taken from the record, without running it."""
        if self.depth is Depth.AGENTS:
            return agent.remote or agent.side_effect == "irreversible"
        if self.depth is Depth.ROUTING:
            return True
        return not self.allow_acting and (agent.remote or agent.side_effect != "read_only")

    def asks(self, question: Question) -> bool:
        """Whether the world is asked again."""
        return (
            self.depth is Depth.LIVE
            and question.kind in _ASKED_AGAIN
            and (self.allow_acting or question.side_effect == "read_only")
        )


#: What a replay does unless told otherwise.
AGENTS_AGAIN: Final = Reach()


def strictness_of(value: str) -> Strictness:
    """The strictness of that name.

    Raises:
        InvalidInput: there is none.
    """
    return _chosen("strictness", Strictness, value)


def depth_of(value: str) -> Depth:
    """The depth of that name.

    Raises:
        InvalidInput: there is none.
    """
    return _chosen("depth", Depth, value)


def _chosen(what: str, choices: type[Choice], value: str) -> Choice:
    if type(value) is choices:
        return value
    try:
        return choices(value)
    except ValueError as fault:
        raise InvalidInput(
            f"there is no such {what}", where=what, expected=", ".join(choices), got=repr(value)
        ) from fault
