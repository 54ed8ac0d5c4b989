"""Who is called, in which order, and whose answer counts: whatever the timing."""

import threading
from typing import Any

import pytest
from helpers.runtimes import ORDERS, fails, gives, replays, runtime_of, three
from hypothesis import given
from hypothesis import strategies as st

from intentusnet import (
    RoutingStrategy,
)

# --- direct and fallback ---


def test_direct_calls_the_first_alone() -> None:
    """The first allowed candidate decides, failing or not."""
    for failing in ((), (0,)):
        runtime, ended = three(failing=failing)
        response = runtime.route("x")
        assert (ended, response.ok, response.agent) == ([0], not failing, "agent0")


def test_a_target_is_called_alone() -> None:
    """Only the target may handle it, under every strategy."""
    for strategy in RoutingStrategy:
        runtime, ended = three()
        response = runtime.route("x", strategy=strategy, target="agent2")
        assert ended == [2] and [a.agent for a in response.attempts] == ["agent2"]


@pytest.mark.parametrize("failing", [(), (0,), (0, 1), (0, 1, 2)])
def test_fallback_calls_one_after_another_until_one_succeeds(failing: tuple[int, ...]) -> None:
    """Each failure leads to the next candidate; the last one's failure is the answer."""
    runtime, ended = three(failing=failing)
    response = runtime.route("x", strategy="fallback")
    last = min(len(failing), 2)
    assert ended == list(range(last + 1))
    assert (response.agent, response.ok) == (f"agent{last}", len(failing) < 3)
    assert [a.status for a in response.attempts] == ["error"] * len(failing) + ["success"] * response.ok
    replays(runtime, response)


def test_an_explicit_list_is_honoured() -> None:
    """The listed agents, in the order of the list, each once, and no other."""
    runtime, ended = three(failing=(0, 1, 2))
    runtime.route("x", strategy="fallback", fallback=["agent2", "agent0", "agent2"])
    assert ended == [2, 0]


def test_a_listed_agent_that_cannot_is_an_error() -> None:
    """A name that is unknown, or handles something else, is told; nobody is called."""
    runtime, ended = three()
    runtime.agent("other", handles="y")(gives(1))
    for name, why in (("agent9", "not registered"), ("other", "does not handle")):
        response = runtime.route("x", strategy="fallback", fallback=["agent0", name])
        assert response.error is not None
        assert response.error.code == "CAPABILITY_NOT_FOUND" and why in response.error.message
    assert ended == []


def test_nothing_follows_what_is_in_doubt() -> None:
    """After IN_DOUBT there is no fallback: doing it again might do it twice."""
    runtime = runtime_of()
    runtime.agent("a", handles="x", rank=0)(fails("?", code="IN_DOUBT"))
    runtime.agent("b", handles="x", rank=1)(gives(1))
    response = runtime.route("x", strategy="fallback")
    assert response.error is not None and response.error.code == "IN_DOUBT" and len(response.attempts) == 1
    replays(runtime, response)


def test_denied_candidates_are_removed_and_the_rest_go_on() -> None:
    """A denied agent is not called under any strategy, and the decision is on record."""
    policy = {"default": "allow", "rules": [{"id": "no-0", "effect": "deny", "agent": "agent0"}]}
    for strategy, called in (("direct", [1]), ("fallback", [1]), ("parallel", [1, 2]), ("broadcast", [1, 2])):
        runtime, ended = three()
        response = runtime.configure(policy=policy).route("x", strategy=strategy)
        assert sorted(ended) == called
        record = runtime.store.get(response.execution_id)
        assert [(c["allowed"], c["rule"]) for c in record.plan_tree["candidates"]] == [
            (False, "no-0"), (True, None), (True, None),
        ]  # fmt: skip


@pytest.mark.parametrize("strategy", list(RoutingStrategy))
def test_when_all_are_denied_the_answer_is_policy_denial(strategy: RoutingStrategy) -> None:
    """Nobody is called, and the refusal is recorded and replayed like any answer."""
    runtime, ended = three()
    closed = runtime.configure(policy={"default": "deny"})
    response = closed.route("x", strategy=strategy)
    assert response.error is not None and response.error.code == "POLICY_DENIAL" and not ended
    assert [d["agent"] for d in response.error.details["denied"]] == ["agent0", "agent1", "agent2"]
    replays(closed, response)


@pytest.mark.parametrize("strategy", list(RoutingStrategy))
def test_an_intent_that_nobody_handles(strategy: RoutingStrategy) -> None:
    """CAPABILITY_NOT_FOUND, recorded."""
    runtime, _ = three()
    response = runtime.route("nothing", strategy=strategy)
    assert response.error is not None and response.error.code == "CAPABILITY_NOT_FOUND"
    replays(runtime, response)


# --- order ---


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.integers(-2, 2), st.booleans()),
        min_size=1,
        unique_by=lambda agent: agent[0],
    ),
    st.randoms(use_true_random=False),
)
def test_candidates_are_ordered_by_remote_rank_and_name(
    agents: list[tuple[str, int, bool]], rnd: Any
) -> None:
    """Never by the order of registration."""
    rnd.shuffle(agents)
    runtime = runtime_of(store=None)
    for name, rank, remote in agents:
        runtime.agent(name, handles=rnd.choice(["x", "*", "[x]"]), rank=rank, remote=remote)(fails())
    plan = runtime.plan(runtime.envelope("x", strategy="fallback"))
    wanted = [name for name, _, _ in sorted(agents, key=lambda a: (a[2], a[1], a[0]))]
    assert [agent.name for agent in plan.steps] == wanted
    response = runtime.route("x", strategy="broadcast")
    assert [a.agent for a in response.attempts] == wanted


# --- parallel and broadcast ---


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("failing", [(), (0,), (1,), (0, 1), (0, 1, 2)])
def test_the_winner_is_the_best_ranked_success(order: tuple[int, ...], failing: tuple[int, ...]) -> None:
    """In every order of ending, and with every set of failures, timing does not choose."""
    runtime, ended = three(order, failing)
    response = runtime.route("x", strategy="parallel")
    assert tuple(ended) == order
    best = next((n for n in range(3) if n not in failing), 0)
    assert (response.agent, response.ok) == (f"agent{best}", len(failing) < 3)
    assert [a.agent for a in response.attempts] == ["agent0", "agent1", "agent2"]


@pytest.mark.parametrize("order", ORDERS)
def test_broadcast_tells_every_outcome_in_the_order_of_rank(order: tuple[int, ...]) -> None:
    """Whoever ends first, the list is in the order of the plan, failures included."""
    runtime, _ = three(order, (1,))
    response = runtime.route("x", strategy="broadcast")
    assert (response.ok, response.agent) == (True, None)
    assert [(o["agent"], o["status"], o["payload"]) for o in response.payload] == [
        ("agent0", "success", 0), ("agent1", "error", None), ("agent2", "success", 2),
    ]  # fmt: skip
    assert response.payload[1]["error"]["message"] == "no 1"


def test_a_broadcast_that_fails_everywhere_fails() -> None:
    """If nobody succeeds, the first failure is the answer, and no single agent's."""
    runtime, _ = three(failing=(0, 1, 2))
    response = runtime.route("x", strategy="broadcast")
    assert response.error is not None and response.error.message == "no 0" and response.agent is None
    replays(runtime, response)


@pytest.mark.parametrize("strategy", ["parallel", "broadcast"])
def test_one_candidate_needs_no_thread_of_its_own(strategy: str) -> None:
    """A parallel execution of one agent is an ordinary one, and still answers in its strategy's way."""
    runtime = runtime_of()
    runtime.agent("a", handles="x")(lambda: threading.current_thread() is threading.main_thread())
    response = runtime.route("x", strategy=strategy, prefer="first")
    assert (response.payload if strategy == "parallel" else response.payload[0]["payload"]) is True
    replays(runtime, response)
