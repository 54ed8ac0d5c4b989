"""Who handles an intent, found by a walk through a plain list of agents."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from intentusnet.agents import Agent, define_agent


def agent_of(name: str, *handles: str, version: str = "1.0", rank: int = 0) -> Agent:
    return define_agent(name, lambda: (name, version), handles=handles or "x", version=version, rank=rank)


def lies_in(version: str, versions: str) -> bool:
    try:
        return versions == "*" or SpecifierSet(versions).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def handling(agents: Iterable[Agent], intent: str, version: str) -> list[Agent]:
    """All that handle the intent: by name, the newest first."""
    able = [
        agent
        for agent in agents
        if any(
            fnmatchcase(intent, capability.intent) and lies_in(version, capability.versions)
            for capability in agent.definition.capabilities
        )
    ]
    newest = sorted(able, key=lambda agent: Version(agent.definition.version), reverse=True)
    return sorted(newest, key=lambda agent: agent.name)


def candidates(agents: Iterable[Agent], intent: str, version: str) -> tuple[Agent, ...]:
    """Of each name the newest one that handles the intent, by rank and name."""
    newest: dict[str, Agent] = {}
    for agent in handling(agents, intent, version):
        newest.setdefault(agent.name, agent)
    return tuple(sorted(newest.values(), key=lambda agent: agent.order))


def named(agents: Iterable[Agent], references: Iterable[str], intent: str) -> tuple[Agent, ...]:
    """The agents of a fallback list of ``name`` and ``name@versions``; none if one of them is not there."""
    able, found = handling(agents, intent, "1.0"), []
    for reference in references:
        name, _, versions = reference.partition("@")
        of_it = [a for a in able if a.name == name and lies_in(a.definition.version, versions or "*")]
        if not of_it:
            return ()
        found.append(of_it[0])
    return tuple(dict.fromkeys(found))
