"""What an execution comes to whose agent fails: each strategy, isolation, failure and side effect."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import outcomes
from helpers.outcomes import FAILURES, ISOLATIONS, PAYLOAD, SIDE_EFFECTS, STRATEGIES, Bench, Case
from hypothesis import given, settings
from hypothesis import strategies as st

from intentusnet import AgentResponse, FileExecutionStore, MemoryExecutionStore, ReplayReport

#: What the attempt of the failing agent comes to: if it only reads, and otherwise.
EXPECTED = {
    "raises": dict.fromkeys(ISOLATIONS, ("AGENT_ERROR", "AGENT_ERROR")),
    # Python cannot stop a function that asks nothing.
    "hangs": {
        "inline": ("success", "success"),
        "thread": ("AGENT_TIMEOUT", "IN_DOUBT"),
        "process": ("AGENT_TIMEOUT", "IN_DOUBT"),
        "async": ("AGENT_TIMEOUT", "IN_DOUBT"),
    },
    # What leaves by an exception has ended; of a process that is killed nobody knows what it has done.
    "dies": {
        **dict.fromkeys(ISOLATIONS, ("AGENT_ERROR", "AGENT_ERROR")),
        "process": ("AGENT_UNAVAILABLE", "IN_DOUBT"),
    },
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


@pytest.fixture(scope="module")
def benches(tmp_path_factory: Any) -> Iterator[list[Bench]]:
    """Without a store, with one in memory and with one on disk."""
    with FileExecutionStore(tmp_path_factory.mktemp("outcomes") / "store") as on_disk:
        made = [Bench(store) for store in (None, MemoryExecutionStore(), on_disk)]
        yield made
        for bench in made:
            bench.close()


@pytest.fixture(scope="module")
def replayed(benches: list[Bench]) -> Callable[[Case], tuple[AgentResponse, ReplayReport]]:
    """How an execution of a case ends, and what its replay says; each case is run once."""
    return functools.cache(lambda case: outcomes.replayed(case, benches[1]))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("side_effect", SIDE_EFFECTS)
@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("failure", FAILURES)
def test_each_failure_has_its_outcome(
    replayed: Any, failure: str, isolation: str, side_effect: str, strategy: str
) -> None:
    """The caller is told what the table says, other agents are not disturbed, and the replay matches."""
    case = Case(failure, isolation, side_effect, strategy)
    response, report = replayed(case)
    assert (outcomes.told(response), outcomes.codes(response)) == expected(case)
    assert report.verdict == "match", (report.reason, report.divergences)
    if response.agent == "next":
        assert response.payload == ["own"]
    assert PAYLOAD == {"items": ["own"]}


def test_the_page_has_the_table(replayed: Any) -> None:
    """docs/routing.md has what the executions come to; tests/helpers/outcomes.py brings it up to date."""
    assert outcomes.on_page() == outcomes.table(lambda case: replayed(case)[0])


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
def test_a_store_makes_no_difference_to_the_caller(benches: list[Bench], case: Case) -> None:
    """Without a store, with one in memory and with one on disk: the same response."""
    if case.failure == "is cancelled" and case.strategy in ("parallel", "broadcast"):
        return  # whether the others had ended by then is a matter of timing
    responses = [outcomes.run(case, bench)[1] for bench in benches]
    assert seen(responses[0]) == seen(responses[1]) == seen(responses[2])
    if case.failure == "is cancelled":
        code = "CANCELLED" if case.side_effect == "read_only" else "IN_DOUBT"
        assert outcomes.codes(responses[0]) == [code]
