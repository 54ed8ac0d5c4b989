"""`Registry`: which agents there are, and which of them handle an intent.

State lives in immutable snapshots (copy on write), so looking up takes no lock, and agents come and go while
others route. A capability is found by what is literal in its pattern: an exact name by itself, a glob by the
text before its first sign or after its last one. So what does not match costs nothing, however much there is
of it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import translate
from typing import Final, NamedTuple

from intentusnet.agents import Agent, Capability, version_matcher
from intentusnet.errors import DuplicateAgent, InvalidAgent

_SIGNS: Final = re.compile(r"[*?[]")
#: Candidates are remembered for that many (intent, version) pairs; beyond it, the memory starts afresh.
_REMEMBERED: Final = 4096


class _Handles(NamedTuple):
    """One capability of an agent, ready to be asked."""

    agent: Agent
    fits: Callable[[str], object]
    takes: Callable[[str], bool]


_Bucket = tuple[_Handles, ...]


@dataclass(frozen=True, slots=True)
class _State:
    """One immutable state of a registry; what changes it makes the next one.

    Attributes:
        agents: the versions of each name, newest first.
        exact: capabilities by the one intent that they name.
        prefixed, suffixed: globs by the literal text that they begin, or end, with.
        open: globs that begin and end with a sign.
        lengths: of the literal texts, without repetition.
        found: what was looked up; the one part that changes, and only by adding what is true.
    """

    agents: Mapping[str, tuple[Agent, ...]] = field(default_factory=dict)
    exact: Mapping[str, _Bucket] = field(default_factory=dict)
    prefixed: Mapping[str, _Bucket] = field(default_factory=dict)
    suffixed: Mapping[str, _Bucket] = field(default_factory=dict)
    open: _Bucket = ()
    lengths: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())
    found: dict[tuple[str, str], tuple[Agent, ...]] = field(default_factory=dict)

    def handling(self, intent: str) -> Iterator[_Handles]:
        """The capabilities whose patterns may fit the intent, and some that do not."""
        yield from self.exact.get(intent, ())
        for length in self.lengths[0]:
            yield from self.prefixed.get(intent[:length], ())
        for length in self.lengths[1]:
            yield from self.suffixed.get(intent[-length:], ())
        yield from self.open


class Registry:
    """The agents of a runtime; safe to change and to ask from many threads."""

    def __init__(self, agents: Iterable[Agent] = ()) -> None:
        self._lock = threading.Lock()
        self._state = _State()
        for agent in agents:
            self.add(agent)

    def add(self, agent: Agent) -> None:
        """Registers an agent, or another version of one.

        Raises:
            DuplicateAgent: that version of it is registered already.
            InvalidAgent: the version cannot be compared with the other one's.
        """
        with self._lock:
            state = self._state
            versions = _newest_first((agent, *_others(state, agent)))
            self._state = _changed(_reindexed(state, agent, _with), agent.name, versions)

    def copy(self, other: Registry) -> None:
        """Takes the agents that another registry has now, in place of its own."""
        self._state = replace(other._state, found={})

    def remove(self, name: str, version: str | None = None) -> bool:
        """Takes an agent out: one version of it, or all. Executions that are under way go on with it.

        Returns:
            Whether there was one.
        """
        with self._lock:
            state = self._state
            versions = state.agents.get(name, ())
            gone = [agent for agent in versions if version in (None, agent.definition.version)]
            for agent in gone:
                state = _reindexed(state, agent, _without)
            if gone:
                kept = tuple(agent for agent in versions if agent not in gone)
                self._state = _changed(state, name, kept)
            return bool(gone)

    def get(self, name: str) -> Agent | None:
        """The newest agent of that name."""
        return next(iter(self._state.agents.get(name, ())), None)

    def agents(self) -> tuple[Agent, ...]:
        """All agents: by name, the newest version of each first."""
        return tuple(agent for _, versions in sorted(self._state.agents.items()) for agent in versions)

    @property
    def awaits(self) -> bool:
        """Whether there is an asynchronous agent among them."""
        return any(agent.is_async for versions in self._state.agents.values() for agent in versions)

    def candidates(self, intent: str, version: str) -> tuple[Agent, ...]:
        """The agents that handle the intent, ordered by (remote, rank, name); of each name the newest one."""
        found = self._state.found
        known = found.get((intent, version))
        if known is None:
            newest: dict[str, Agent] = {}
            for agent in self.handling(intent, version):
                newest.setdefault(agent.name, agent)
            known = tuple(sorted(newest.values(), key=lambda agent: agent.order))
            if len(found) >= _REMEMBERED:
                found.clear()
            found[intent, version] = known
        return known

    def find(self, reference: str, intent: str, version: str) -> Agent | None:
        """The newest agent that handles the intent and is meant by ``name`` or ``name@versions``.

        Raises:
            InvalidAgent: the range of versions cannot be read.
        """
        able = self.handling(intent, version)
        found = next((agent for agent in able if agent.name == reference), None)
        if found is None and "@" in reference:
            name, _, versions = reference.rpartition("@")
            fits = version_matcher(versions)
            return next((a for a in able if a.name == name and fits(a.definition.version)), None)
        return found

    def handling(self, intent: str, version: str) -> tuple[Agent, ...]:
        """All versions of all agents that handle the intent; of each name the newest first."""
        state = self._state
        able = {h.agent for h in state.handling(intent) if h.fits(intent) and h.takes(version)}
        return tuple(
            agent
            for name in sorted({agent.name for agent in able})
            for agent in state.agents[name]
            if agent in able
        )


def _others(state: _State, agent: Agent) -> tuple[Agent, ...]:
    """The versions of an agent's name that are there beside it."""
    others = state.agents.get(agent.name, ())
    if any(other.definition.version == agent.definition.version for other in others):
        raise DuplicateAgent(
            f"an agent named {agent.name!r} is registered already in version {agent.definition.version}",
            got=", ".join(c.intent for c in agent.definition.capabilities),
            hint="rename one of the two, or give it a version of its own",
        )
    return others


def _newest_first(agents: tuple[Agent, ...]) -> tuple[Agent, ...]:
    if len(agents) == 1:
        return agents
    from packaging.version import InvalidVersion, Version

    try:
        ordered = sorted(agents, key=lambda agent: Version(agent.definition.version), reverse=True)
    except InvalidVersion as fault:
        raise InvalidAgent(
            f"versions of agent {agents[0].name!r} cannot be told apart",
            expected="versions of PEP 440, such as 1.0 or 2.1.3, where there are several",
            got=str(fault),
        ) from fault
    return tuple(ordered)


#: What becomes of a bucket by an agent: with its capability, or without.
_Edit = Callable[[_Bucket, _Handles], _Bucket]


def _with(bucket: _Bucket, handles: _Handles) -> _Bucket:
    return (*bucket, handles)


def _without(bucket: _Bucket, handles: _Handles) -> _Bucket:
    return tuple(other for other in bucket if other.agent is not handles.agent)


def _reindexed(state: _State, agent: Agent, edit: _Edit) -> _State:
    """The state with the buckets of an agent's capabilities edited; only what changes is copied."""
    for capability in agent.definition.capabilities:
        handles = _Handles(agent, _fits(capability), version_matcher(capability.versions))
        prefix, suffix = _literals(capability.intent)
        if capability.is_exact:
            state = replace(state, exact=_edited(state.exact, capability.intent, edit, handles))
        elif not prefix and not suffix:
            state = replace(state, open=edit(state.open, handles))
        elif len(prefix) >= len(suffix):
            prefixed = _edited(state.prefixed, prefix, edit, handles)
            lengths = frozenset(map(len, prefixed)), state.lengths[1]
            state = replace(state, prefixed=prefixed, lengths=lengths)
        else:
            suffixed = _edited(state.suffixed, suffix, edit, handles)
            lengths = state.lengths[0], frozenset(map(len, suffixed))
            state = replace(state, suffixed=suffixed, lengths=lengths)
    return state


def _edited(
    buckets: Mapping[str, _Bucket], key: str, edit: _Edit, handles: _Handles
) -> Mapping[str, _Bucket]:
    bucket = edit(buckets.get(key, ()), handles)
    edited = {**buckets, key: bucket}
    if not bucket:
        del edited[key]
    return edited


def _fits(capability: Capability) -> Callable[[str], object]:
    if capability.is_exact:
        return capability.intent.__eq__
    return re.compile(translate(capability.intent)).match


def _literals(pattern: str) -> tuple[str, str]:
    """The text before the first sign of a glob, and that after its last one."""
    prefix = _SIGNS.split(pattern, maxsplit=1)[0]
    last = max(pattern.rfind(sign) for sign in "*?]")
    # Without a bracket that closes, an opening one is text like any other: nothing is known then.
    return prefix, "" if "[" in pattern[last + 1 :] else pattern[last + 1 :]


def _changed(state: _State, name: str, versions: tuple[Agent, ...]) -> _State:
    """The state with these versions of a name, and nothing looked up yet."""
    agents = {**state.agents, name: versions}
    if not versions:
        del agents[name]
    return replace(state, agents=agents, found={})
