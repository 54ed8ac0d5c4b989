"""The environment of an execution: versions and digests of what decides, limits and runs it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from typing import Any, Final

from intentusnet import values
from intentusnet.agents import Agent
from intentusnet.policy.engine import Policy
from intentusnet.record import ExecutionRecord
from intentusnet.routing.plan import Plan

#: Environments are remembered for that many lists of candidates.
_REMEMBERED: Final = 1024


class Environments:
    """The environments of a runtime's plans; mutable: they are remembered.

    Args:
        policy: the policy in force.
        settings: those of the runtime that can change what an execution comes to, as a raw tree; they and
            those of its candidates are the configuration of an execution.
    """

    def __init__(self, policy: Policy, settings: Mapping[str, Any]) -> None:
        self._policy = policy
        self._settings = settings
        self._encoded: dict[tuple[Agent, ...], bytes] = {}

    def encoded(self, plan: Plan) -> bytes:
        """Versions of package and Python, digests of candidates, configuration and policy: encoded."""
        agents = tuple([candidate.agent for candidate in plan.candidates])
        encoded = self._encoded.get(agents)
        if encoded is None:
            encoded = values.dumps(
                {
                    "agents": _digests(agents),
                    "config": self._config(agents),
                    "intentusnet": package_version(),
                    "policy": self._policy.digest,
                    "python": platform.python_version(),
                }
            )
            if len(self._encoded) >= _REMEMBERED:
                self._encoded.clear()
            self._encoded[agents] = encoded
        return encoded

    def tree(self, plan: Plan) -> Mapping[str, Any]:
        """The same as a raw tree."""
        tree: Mapping[str, Any] = values.parse(self.encoded(plan))
        return tree

    def _config(self, agents: Sequence[Agent]) -> str:
        # Sources have digests of their own, of which the schemas are a consequence.
        told = {"description", "input_schema", "output_schema"}
        definitions = [agent.definition.model_dump(mode="json", exclude=told) for agent in agents]
        tree = {"agents": definitions, "runtime": self._settings}
        return hashlib.sha256(values.dumps(tree)).hexdigest()


def _digests(agents: Sequence[Agent]) -> dict[str, str]:
    """The digests of the agents by name; the second version of one by ``name@version``, and so on."""
    found: dict[str, str] = {}
    for agent in agents:
        key = agent.name if agent.name not in found else f"{agent.name}@{agent.definition.version}"
        found[key] = agent.digest
    return found


def comparable(record: ExecutionRecord, now: Mapping[str, Any]) -> dict[str, Any]:
    """The environment of now as far as a record can be held against it: older ones have no `config`."""
    return {key: value for key, value in now.items() if key != "config" or key in record.environment}


@lru_cache(maxsize=1)
def package_version() -> str:
    """The installed version of this package."""
    return metadata.version("intentusnet")
