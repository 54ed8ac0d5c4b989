"""Plans that are kept: the same again for the same decisions, and for nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from intentusnet import IntentusRuntime
from intentusnet.routing.plan import Plan

RULED: dict[str, Any] = {
    "default": "deny",
    "rules": [
        {"id": "all", "effect": "allow", "intent": "x", "role": "admin"},
        {"id": "one", "effect": "allow", "intent": "x", "agent": "a0", "role": "user"},
    ],
}


def runtime_of(agents: int, policy: dict[str, Any] | None = RULED) -> IntentusRuntime:
    """A runtime with so many agents for one intent."""
    runtime = IntentusRuntime(policy=policy)
    for number in range(agents):
        runtime.agent(f"a{number}", handles="x", side_effect="read_only")(lambda payload: payload)
    return runtime


def plan_of(runtime: IntentusRuntime, role: str) -> Plan:
    """The plan of a request of now."""
    envelope = runtime.envelope("x", 1, caller="ada", roles=[role], strategy="fallback")
    return runtime.router.plan_of(runtime.router.request(envelope))


def test_equal_decisions_about_the_same_agents_are_one_plan() -> None:
    """What a plan is asked for is worked out once; other decisions, and other agents, are other plans."""
    runtime = runtime_of(3)
    plan = plan_of(runtime, "admin")
    assert plan_of(runtime, "admin") is plan and [agent.name for agent in plan.steps] == ["a0", "a1", "a2"]
    assert [agent.name for agent in plan_of(runtime, "user").steps] == ["a0"]
    runtime.registry.remove("a0")
    assert [agent.name for agent in plan_of(runtime, "admin").steps] == ["a1", "a2"]


def test_a_refusal_is_made_anew() -> None:
    """An error can be changed by whoever has it, and must not be for whoever comes next."""
    runtime = runtime_of(1)
    denied = plan_of(runtime, "nobody")
    assert denied.refusal is not None
    denied.refusal.details.clear()
    again = plan_of(runtime, "nobody").refusal
    assert again is not None and again.details["denied"][0]["agent"] == "a0"


@pytest.mark.parametrize(("agents", "kept"), [(64, True), (65, False)])
def test_long_lists_that_a_policy_has_decided_about_are_not_kept(agents: int, kept: bool) -> None:
    """They may differ from request to request, and would take up room."""
    runtime = runtime_of(agents)
    assert (plan_of(runtime, "admin") is plan_of(runtime, "admin")) is kept


def test_a_gated_plan_is_kept_with_the_other() -> None:
    """It is made once, and the plan itself stays as it is."""
    plan = plan_of(runtime_of(1, None), "admin")
    assert plan.behind_gates is plan.behind_gates and plan.behind_gates.gated and not plan.gated
