"""What an execution comes to whose agent fails: each strategy, isolation, failure and side effect."""

from pathlib import Path
from typing import Any

import pytest
from helpers import outcomes
from helpers.outcomes import FAILURES, ISOLATIONS, PAYLOAD, SIDE_EFFECTS, STRATEGIES, Case
from hypothesis import given, settings
from hypothesis import strategies as st

from intentusnet import AgentResponse, FileExecutionStore, MemoryExecutionStore

#: What the attempt of the failing agent comes to: if it only reads, and otherwise.
EXPECTED = {
    "raises": dict.fromkeys(ISOLATIONS, ("AGENT_ERROR", "AGENT_ERROR")),
    # Python cannot stop a function that asks nothing.
    "hangs": {
        "inline": ("success", "success"),
        "thread": ("AGENT_TIMEOUT", "IN_DOUBT"),
        "async": ("AGENT_TIMEOUT", "IN_DOUBT"),
    },
    "dies": dict.fromkeys(ISOLATIONS, ("AGENT_ERROR", "AGENT_ERROR")),
    "lies about its type": dict.fromkeys(ISOLATIONS, ("INTERNAL_AGENT_ERROR", "INTERNAL_AGENT_ERROR")),
    "mutates its payload": dict.fromkeys(ISOLATIONS, ("success", "success")),
    "floods with questions": dict.fromkeys(ISOLATIONS, ("AGENT_TIMEOUT", "IN_DOUBT")),
}


def expected(case: Case) -> tuple[str, list[str]]:
    """What the caller is told, and what each agent that was called came to."""
    first = EXPECTED[case.failure][case.isolation][case.side_effect != "read_only"]
    match case.strategy:
        case "direct":
            return first, [first]
        case "fallback":
            ends = first in ("success", "IN_DOUBT")
            return (first, [first]) if ends else ("next", [first, "success"])
        case "parallel":
            return "success" if first == "success" else "next", [first, "success"]
        case _:
            return "both", [first, "success"]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("side_effect", SIDE_EFFECTS)
@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("failure", FAILURES)
def test_each_failure_has_its_outcome(failure: str, isolation: str, side_effect: str, strategy: str) -> None:
    """The caller is told what the table says, other agents are not disturbed, and the replay matches."""
    case = Case(failure, isolation, side_effect, strategy)
    response, report = outcomes.replayed(case)
    assert (outcomes.told(response), outcomes.codes(response)) == expected(case)
    assert report.verdict == "match", (report.reason, report.divergences)
    if response.agent == "next":
        assert response.payload == ["own"]
    assert PAYLOAD == {"items": ["own"]}


def test_the_page_has_the_table() -> None:
    """docs/routing.md has what the executions come to; tests/helpers/outcomes.py brings it up to date."""
    assert outcomes.on_page() == outcomes.table()


def seen(response: AgentResponse) -> Any:
    """All that a caller sees, but for names.

    An error is its code alone: when a timeout ends, who waits and the agent itself may both say so,
    each in words of its own.
    """
    payload = response.payload
    if response.agent is None and response.status == "success":  # of a broadcast: all the outcomes
        payload = [{**each, "error": each["error"] and each["error"]["code"]} for each in payload]
    return response.status, response.agent, payload, outcomes.told(response), outcomes.codes(response)


@given(
    st.builds(
        Case,
        st.sampled_from([*FAILURES, "is cancelled"]),
        st.sampled_from(ISOLATIONS),
        st.sampled_from(SIDE_EFFECTS),
        st.sampled_from(STRATEGIES),
    )
)
@settings(max_examples=60)
def test_a_store_makes_no_difference_to_the_caller(tmp_path_factory: Any, case: Case) -> None:
    """Without a store, with one in memory and with one on disk: the same response."""
    if case.failure == "is cancelled" and case.strategy in ("parallel", "broadcast"):
        return  # whether the others had ended by then is a matter of timing
    path: Path = tmp_path_factory.mktemp("store")
    with FileExecutionStore(path / "store") as on_disk:
        responses = [outcomes.run(case, store)[1] for store in (None, MemoryExecutionStore(), on_disk)]
    assert seen(responses[0]) == seen(responses[1]) == seen(responses[2])
    if case.failure == "is cancelled":
        code = "CANCELLED" if case.side_effect == "read_only" else "IN_DOUBT"
        assert outcomes.codes(responses[0]) == [code]
