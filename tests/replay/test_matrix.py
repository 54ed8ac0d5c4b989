"""Every change of code or policy that alters behaviour is found at its place; every other one is a match."""

import pytest
from replay import matrix

from intentusnet import Verdict


@pytest.mark.parametrize("strategy", matrix.STRATEGIES)
@pytest.mark.parametrize("name", matrix.CHANGES)
def test_a_change_is_found_at_its_place(name: str, strategy: str) -> None:
    """The verdict, and kind, scope, question and pointer of the first divergence, are those of the change."""
    change = matrix.CHANGES[name]
    report = matrix.replayed(change, strategy)
    wanted = matrix.expected(change, strategy)
    ordered = wanted is None or wanted[2].endswith("]")
    assert matrix.first_of(report, ordered=ordered) == wanted, report
    assert report.verdict is (Verdict.MATCH if wanted is None else Verdict.DIVERGED)


def test_the_page_prints_the_matrix() -> None:
    """docs/replay.md has the table that the replays give; tests/replay/matrix.py brings it up to date."""
    assert matrix.on_page() == matrix.table()


@pytest.mark.parametrize("name", [name for name in matrix.CHANGES if "threads" in name])
def test_threads_are_compared_the_same_in_every_repetition(name: str) -> None:
    """However the threads of an agent take turns, the verdict and the first divergence are the same."""
    change = matrix.CHANGES[name]
    firsts = {matrix.first_of(matrix.replayed(change, "parallel"), ordered=False) for _ in range(30)}
    assert firsts == {matrix.expected(change, "parallel")}
