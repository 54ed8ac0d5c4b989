"""`Catalog`: the agents that there are at one moment, and which of them handle an intent.

It never changes; with an agent more or less it is another one, which shares the rest. Agents lie under the
patterns of their capabilities, and those under what is literal in them: an exact name, or the text before
the first sign of a glob or after its last one. So who does not match is not looked at, however many there
are. What is looked at in vain are globs that share their literal text with the intent; one that begins and
ends with a sign shares it with all. Each is tried once, whatever number of agents has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import translate
from typing import Final, Literal, NamedTuple, TypeAlias

from intentusnet.agents import Agent, Capability, version_matcher
from intentusnet.errors import DuplicateAgent, InvalidAgent
from intentusnet.table import Table

_SIGNS: Final = re.compile(r"[*?[]")
#: Candidates are remembered for that many (intent, version) pairs; beyond it, the memory starts afresh.
_REMEMBERED: Final = 4096

#: Which part of an intent the literal text of a pattern is.
_Part: TypeAlias = Literal["all", "beginning", "end"]
_Literal: TypeAlias = tuple[_Part, str]


class _Pattern(NamedTuple):
    """A pattern with a range of versions, ready to be asked, and the agents that have it."""

    fits: Callable[[str], object]
    takes: Callable[[str], bool]
    agents: Table[Agent, None]


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """See the module.

    Attributes:
        versions: the agents of each name, newest first.
        patterns: what there is under each literal text, by pattern and range of versions.
        lengths: how many literal texts there are of each part and length; all of an intent has no entry.
        found: what was looked up; the one thing that changes, and only by adding what is true.
    """

    versions: Table[str, tuple[Agent, ...]] = field(default_factory=Table)
    patterns: Table[_Literal, Table[tuple[str, str], _Pattern]] = field(default_factory=Table)
    lengths: Mapping[tuple[_Part, int], int] = field(default_factory=dict)
    found: dict[tuple[str, str], tuple[Agent, ...]] = field(default_factory=dict)

    def having(self, agent: Agent) -> Catalog:
        """The catalog with one more agent, or version of one.

        Raises:
            DuplicateAgent: that version of it is there.
            InvalidAgent: the version cannot be compared with the other one's.
        """
        versions = _newest_first((agent, *_others(self, agent)))
        catalog = self
        for capability in dict.fromkeys(agent.definition.capabilities):
            catalog = _with(catalog, capability, agent)
        return replace(catalog, versions=self.versions.having(agent.name, versions), found={})

    def lacking(self, agent: Agent) -> Catalog:
        """The catalog without an agent that it has."""
        catalog = self
        for capability in dict.fromkeys(agent.definition.capabilities):
            catalog = _without(catalog, capability, agent)
        rest = tuple(other for other in self.versions[agent.name] if other is not agent)
        name = agent.name
        versions = self.versions.having(name, rest) if rest else self.versions.lacking(name)
        return replace(catalog, versions=versions, found={})

    def get(self, name: str) -> Agent | None:
        """The newest agent of that name."""
        versions = self.versions.get(name)
        return None if versions is None else versions[0]

    def agents(self) -> tuple[Agent, ...]:
        """All agents: by name, the newest version of each first."""
        return tuple(agent for _, versions in sorted(self.versions.items()) for agent in versions)

    def candidates(self, intent: str, version: str) -> tuple[Agent, ...]:
        """The agents that handle the intent, ordered by (remote, rank, name); of each name the newest one."""
        known = self.found.get((intent, version))
        if known is None:
            newest: dict[str, Agent] = {}
            for agent in self.handling(intent, version):
                newest.setdefault(agent.name, agent)
            known = tuple(sorted(newest.values(), key=lambda agent: agent.order))
            if len(self.found) >= _REMEMBERED:
                self.found.clear()
            self.found[intent, version] = known
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
        able = {
            agent
            for pattern in self._near(intent)
            if pattern.fits(intent) and pattern.takes(version)
            for agent in pattern.agents
        }
        names = sorted({agent.name for agent in able})
        return tuple(agent for name in names for agent in self.versions[name] if agent in able)

    def _near(self, intent: str) -> Iterator[_Pattern]:
        """The patterns whose literal text is in the intent where they have it."""
        yield from self._under("all", intent)
        for part, length in self.lengths:
            if length <= len(intent):
                text = intent[:length] if part == "beginning" else intent[len(intent) - length :]
                yield from self._under(part, text)

    def _under(self, part: _Part, text: str) -> tuple[_Pattern, ...]:
        patterns = self.patterns.get((part, text))
        return () if patterns is None else tuple(patterns.values())


def _others(catalog: Catalog, agent: Agent) -> tuple[Agent, ...]:
    """The versions of an agent's name that are there beside it."""
    others = catalog.versions.get(agent.name, ())
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


def _with(catalog: Catalog, capability: Capability, agent: Agent) -> Catalog:
    """The catalog with the agent under the pattern of one of its capabilities."""
    literal, key = _literal(capability), (capability.intent, capability.versions)
    under = catalog.patterns.get(literal)
    if under is None:
        under = Table()
        catalog = _counted(catalog, literal, 1)
    pattern = under.get(key)
    if pattern is None:
        pattern = _Pattern(_fits(capability), version_matcher(capability.versions), Table())
    pattern = pattern._replace(agents=pattern.agents.having(agent, None))
    return replace(catalog, patterns=catalog.patterns.having(literal, under.having(key, pattern)))


def _without(catalog: Catalog, capability: Capability, agent: Agent) -> Catalog:
    literal, key = _literal(capability), (capability.intent, capability.versions)
    under = catalog.patterns[literal]
    agents = under[key].agents.lacking(agent)
    under = under.having(key, under[key]._replace(agents=agents)) if agents else under.lacking(key)
    if under:
        return replace(catalog, patterns=catalog.patterns.having(literal, under))
    return replace(_counted(catalog, literal, -1), patterns=catalog.patterns.lacking(literal))


def _counted(catalog: Catalog, literal: _Literal, more: int) -> Catalog:
    """The catalog with so many more literal texts of that part and length."""
    part, text = literal
    if part == "all":
        return catalog
    lengths = {**catalog.lengths, (part, len(text)): catalog.lengths.get((part, len(text)), 0) + more}
    return replace(catalog, lengths={length: count for length, count in lengths.items() if count})


def _fits(capability: Capability) -> Callable[[str], object]:
    if capability.is_exact:
        return capability.intent.__eq__
    return re.compile(translate(capability.intent)).match


def _literal(capability: Capability) -> _Literal:
    """The longest text that any intent has to have which fits the pattern."""
    pattern = capability.intent
    if capability.is_exact:
        return "all", pattern
    prefix = _SIGNS.split(pattern, maxsplit=1)[0]
    # An opening bracket that none closes is text like any other.
    suffix = pattern[max(pattern.rfind(sign) for sign in "*?]") + 1 :]
    return ("beginning", prefix) if len(prefix) >= len(suffix) else ("end", suffix)
