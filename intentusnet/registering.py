"""`Registering`: the part of a runtime that knows its agents."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from intentusnet.agents import Capability, Isolation, SideEffect, define_agent
from intentusnet.limits import Limits
from intentusnet.registry import Registry

Handler = TypeVar("Handler")


class Registering:
    """How agents come to `IntentusRuntime`, and leave it. Not made by itself."""

    registry: Registry

    def agent(
        self,
        name: str,
        *,
        handles: str | Capability | Iterable[str | Capability],
        version: str = "1.0",
        rank: int = 0,
        remote: bool = False,
        side_effect: SideEffect = "reversible",
        idempotent: bool = False,
        timeout: float | None = None,
        isolation: Isolation = "inline",
        limits: Limits | None = None,
        description: str | None = None,
    ) -> Callable[[Handler], Handler]:
        """Registers the decorated function, or class with a ``handle`` method, as an agent.

        The function takes the payload, a context (a parameter called ``ctx`` or annotated with `Context`), or
        both. Its type hints say what the payload must be and what the answer is.

        Args:
            name: names it in plans, policies and records.
            handles: intent patterns such as ``ticket.*``, each with ``@versions`` if need be:
                ``ticket.*@>=2``.
            version: the agent's own. Versions of a name may stand side by side: the newest that handles an
                intent is its candidate, unless target or fallback ask for others (``name@<2``).
            rank: candidates of lower rank are called first.
            remote: it runs elsewhere; called after all local ones, and never run again by a replay.
            side_effect: what the body does to the world outside of recorded effects: "read_only",
                "reversible" or "irreversible".
            idempotent: running the body twice does no more than running it once.
            timeout: seconds that one call may take.
            isolation: what stops a call whose time is up: "inline" (nothing but its own questions), "thread"
                (it is left behind) or "process" (it is killed). See docs/timeouts.md.
            limits: how often, how many at once, and how soon again it is called; what is left out is as the
                runtime's limits say. See docs/limits.md.
            description: one line for people; the docstring's first line unless given.

        Raises:
            DuplicateAgent: there is an agent of that name and version.
            InvalidAgent: anything about it makes no sense.
        """
        scope = dict(sys._getframe(1).f_locals)

        def registered(handler: Handler) -> Handler:
            self.registry.add(
                define_agent(
                    name,
                    handler,
                    handles=handles,
                    version=version,
                    rank=rank,
                    remote=remote,
                    side_effect=side_effect,
                    idempotent=idempotent,
                    timeout=timeout,
                    isolation=isolation,
                    limits=limits,
                    description=description,
                    scope=scope,
                )
            )
            return handler

        return registered

    def remove(self, name: str, version: str | None = None) -> bool:
        """Takes an agent out, in one version or in all. Executions that are under way go on with it.

        Returns:
            Whether there was one.
        """
        return self.registry.remove(name, version)
