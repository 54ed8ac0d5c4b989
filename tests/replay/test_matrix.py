"""Every change of code or policy that alters behaviour is found at its place; every other one is a match."""

import pytest
from replay import matrix

from intentusnet import Verdict


@pytest.mark.parametrize("sort", matrix.SORTS)
@pytest.mark.parametrize("strategy", matrix.STRATEGIES)
@pytest.mark.parametrize("name", matrix.CHANGES)
def test_a_change_is_found_at_its_place(name: str, strategy: str, sort: str) -> None:
    """The verdict, and kind, scope, question and pointer of the first divergence, are those of the change."""
    change = matrix.CHANGES[name]
    report = matrix.replayed(change, strategy, sort)
    wanted = matrix.expected(change, strategy)
    ordered = wanted is None or wanted[2].endswith("]")
    assert matrix.first_of(report, ordered=ordered) == wanted, report
    assert report.verdict is (Verdict.MATCH if wanted is None else Verdict.DIVERGED)


@pytest.mark.parametrize("strategy", matrix.STRATEGIES)
def test_all_agents_are_of_their_sort(strategy: str) -> None:
    """No plain agent stands in for an asynchronous one, in a thread, or the other way round."""
    for name, sort in matrix.SORTS.items():
        agents = matrix.runtime_of(sort, strategy, matrix.BASE, None, ()).registry.agents()
        assert {agent.is_async for agent in agents} == {name == "async"}


@pytest.mark.parametrize("strategy", matrix.STRATEGIES)
@pytest.mark.parametrize("name", [name for name in matrix.CHANGES if "threads" not in name])
def test_asynchronous_agents_are_told_what_plain_ones_are(name: str, strategy: str) -> None:
    """Not only the first divergence: all that follow from it are the same, too."""
    plain, awaited = (matrix.replayed(matrix.CHANGES[name], strategy, sort) for sort in matrix.SORTS)
    told = [[(d.kind, d.scope, d.question, d.pointer) for d in one.divergences] for one in (plain, awaited)]
    assert told[0] == told[1]
    assert plain.taken == awaited.taken


def test_the_page_prints_the_matrix() -> None:
    """docs/replay.md has the table that the replays give; tests/replay/matrix.py brings it up to date."""
    assert matrix.on_page() == matrix.table()


@pytest.mark.parametrize("sort", matrix.SORTS)
@pytest.mark.parametrize("name", [name for name in matrix.CHANGES if "threads" in name])
def test_threads_are_compared_the_same_in_every_repetition(name: str, sort: str) -> None:
    """However the threads, or tasks, of an agent take turns, verdict and first divergence are the same."""
    change = matrix.CHANGES[name]
    firsts = {matrix.first_of(matrix.replayed(change, "parallel", sort), ordered=False) for _ in range(30)}
    assert firsts == {matrix.expected(change, "parallel")}
