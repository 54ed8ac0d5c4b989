"""What every store knows of executions without an end: who has them in hand."""

import pytest

from intentusnet.errors import StillRunning
from intentusnet.stores.base import ExecutionStore
from intentusnet.stores.custody import Custody

ONE, OTHER = "0197a3c4-5b60-7e21-9d3f-2c1b0a998877", "0197a3c4-5b60-7e21-9d3f-2c1b0a998878"


@pytest.fixture
def custody(store: ExecutionStore) -> Custody:
    return store.custody


def test_what_was_begun_runs_until_it_ends(custody: Custody) -> None:
    """Each execution for itself, however many are in hand."""
    runner = custody.begin(ONE)
    assert custody.begin(OTHER) == runner
    assert custody.is_running(ONE, runner)
    custody.end(ONE)
    assert not custody.is_running(ONE, runner)
    assert custody.is_running(OTHER, runner)


def test_what_nobody_has_begun_does_not_run(custody: Custody) -> None:
    """Neither of a runner that is gone, nor of none at all, as in a log from elsewhere."""
    assert not custody.is_running(ONE, "0" * 32)
    assert not custody.is_running(ONE, None)
    custody.end(ONE)


@pytest.mark.parametrize("name", [ONE, "ab" * 32], ids=["an execution", "an idempotency key"])
def test_one_has_a_claim_at_a_time(custody: Custody, name: str) -> None:
    """While it lasts the execution runs, whoever had opened it; then it can be claimed again."""
    for _ in range(2):
        with custody.claim(name):
            assert custody.is_running(name, None)
            assert custody.is_running(name, "0" * 32)
            with pytest.raises(StillRunning), custody.claim(name):
                pytest.fail("claimed twice")
            with custody.claim(OTHER):
                pass
        assert not custody.is_running(name, None)


def test_nothing_is_cut_without_a_repair(custody: Custody) -> None:
    """A whole log has no such executions."""
    assert custody.cut() == frozenset()
