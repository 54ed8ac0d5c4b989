"""What the router needs of a policy, whatever engine decides: the seam between them.

An engine is a function that compiles a source, once, to a `Policy`; `compile_policy` is this package's own,
`compile_cedar` another one. The router stages a policy with what it knows of a request, and asks the stage
about each candidate. Deciding is a pure function of policy and facts: it calls nothing outside and does not
raise. An engine that fails at it denies, with the failure as the cause.
"""

from __future__ import annotations

from typing import Protocol

from intentusnet.policy.decide import AgentFacts, Decision, EnvelopeFacts
from intentusnet.policy.rules import Budget, Compared


class Staged(Protocol):
    """What a policy has left to decide about one request."""

    def decide(self, agent: AgentFacts) -> Decision:
        """The decision for one candidate: with the rule that decided, and the cause."""
        ...

    def lacks(self, agent: AgentFacts) -> str | None:
        """The cause if a candidate is denied only because nobody asked for a budget; else None."""
        ...


class Policy(Protocol):
    """A policy that decides; safe to share between threads, and can be sent to another process."""

    @property
    def digest(self) -> str | None:
        """SHA-256 hex of what it means, recorded with each execution; None where there is no policy."""
        ...

    @property
    def facts(self) -> frozenset[str]:
        """What it looks at: of ``intent agent caller role tenant tag side_effect payload budget``."""
        ...

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets that it compares: whoever decides has to bring their numbers."""
        ...

    def looks_at(self, of: Compared, envelope: EnvelopeFacts) -> bool:
        """Whether it may look at payload or budget of that request; neither need be known yet."""
        ...

    def stage(self, envelope: EnvelopeFacts) -> Staged:
        """Decides everything that does not depend on the candidate."""
        ...
