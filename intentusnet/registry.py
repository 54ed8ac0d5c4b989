"""`Registry`: which agents there are now.

Agents come and go while others route: whoever changes something puts another catalog in place of the one that
is there, and whoever looks something up has one that never changes, and takes no lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from intentusnet.agents import Agent
from intentusnet.catalog import Catalog


class Registry:
    """The agents of a runtime; safe to change and to ask from many threads."""

    def __init__(self, agents: Iterable[Agent] = ()) -> None:
        self._lock = threading.Lock()
        self._catalog = Catalog()
        for agent in agents:
            self.add(agent)

    @property
    def catalog(self) -> Catalog:
        """The agents of this moment. Whoever asks more than once, and wants answers that fit, asks it."""
        return self._catalog

    def add(self, agent: Agent) -> None:
        """Registers an agent, or another version of one.

        Raises:
            DuplicateAgent: that version of it is registered already.
            InvalidAgent: the version cannot be compared with the other one's.
        """
        with self._lock:
            self._catalog = self._catalog.having(agent)

    def copy(self, other: Registry) -> None:
        """Takes the agents that another registry has now, in place of its own."""
        with self._lock:
            self._catalog = other.catalog

    def remove(self, name: str, version: str | None = None) -> bool:
        """Takes an agent out: one version of it, or all. Executions that are under way go on with it.

        Returns:
            Whether there was one.
        """
        with self._lock:
            catalog = self._catalog
            versions = catalog.versions.get(name, ())
            gone = [agent for agent in versions if version in (None, agent.definition.version)]
            for agent in gone:
                catalog = catalog.lacking(agent)
            self._catalog = catalog
            return bool(gone)

    def get(self, name: str) -> Agent | None:
        """The newest agent of that name."""
        return self._catalog.get(name)

    def agents(self) -> tuple[Agent, ...]:
        """All agents: by name, the newest version of each first."""
        return self._catalog.agents()

    @property
    def awaits(self) -> bool:
        """Whether there is an asynchronous agent among them."""
        return any(agent.is_async for versions in self._catalog.versions.values() for agent in versions)

    def candidates(self, intent: str, version: str) -> tuple[Agent, ...]:
        """See `Catalog.candidates`."""
        return self._catalog.candidates(intent, version)
