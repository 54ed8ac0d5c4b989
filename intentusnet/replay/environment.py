"""The environment of an execution: versions and digests of what decides, limits and runs it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from typing import Any, Final

from intentusnet import values
from intentusnet.agents import Agent
from intentusnet.limits import Limits
from intentusnet.policy.engine import Policy
from intentusnet.routing.plan import Plan

#: Environments are remembered for that many lists of candidates.
_REMEMBERED: Final = 1024


class Environments:
    """The environments of a runtime's plans; mutable: they are remembered.

    Args:
        policy: the policy in force.
        limits: the runtime's.
    """

    def __init__(self, policy: Policy, limits: Limits | None = None) -> None:
        self._policy = policy
        self._limits = limits
        self._encoded: dict[tuple[Agent, ...], bytes] = {}

    def encoded(self, plan: Plan) -> bytes:
        """Versions and digests of package, candidates, policy and Python, as bytes of ``values``."""
        agents = tuple(candidate.agent for candidate in plan.candidates)
        encoded = self._encoded.get(agents)
        if encoded is None:
            encoded = values.dumps(
                {
                    "agents": {agent.name: agent.digest for agent in agents},
                    "intentusnet": package_version(),
                    **self._limited(agents),
                    "policy": self._policy.digest,
                    "python": platform.python_version(),
                }
            )
            if len(self._encoded) >= _REMEMBERED:
                self._encoded.clear()
            self._encoded[agents] = encoded
        return encoded

    def _limited(self, agents: tuple[Agent, ...]) -> dict[str, str]:
        """A digest of the limits, the runtime's and the agents'; nothing where there are none."""
        settings = {"": self._limits, **{agent.name: agent.definition.limits for agent in agents}}
        told = {name: limits.model_dump_json() for name, limits in settings.items() if limits is not None}
        return {"limits": values.digest(values.dumps(told))} if told else {}

    def tree(self, plan: Plan) -> Mapping[str, Any]:
        """The same as a raw tree."""
        tree: Mapping[str, Any] = values.parse(self.encoded(plan))
        return tree


@lru_cache(maxsize=1)
def package_version() -> str:
    """The installed version of this package."""
    return metadata.version("intentusnet")
