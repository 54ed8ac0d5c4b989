"""The ledger of usage: its sums against those of a naive list, its bounds, and what it does when full."""

import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.ledger import STEPS, Ledger, Whose, step_of
from intentusnet.policy.rules import Budget, budget_of
from intentusnet.sums import as_number

ADA = Whose("ada", "acme", "x")
SECOND = 1_000_000


def budget(name: str) -> Budget:
    found = budget_of(name)
    assert found is not None
    return found


BUDGETS = [budget(name) for name in ("caller.tokens.1m", "tenant.tokens.1h", "intent.cost.7s")]
COUNTS = st.integers(-5, 10**20) | st.floats(-1e300, 1e300)
WHOSE = st.builds(Whose, st.sampled_from("ab"), st.none() | st.sampled_from("tu"), st.sampled_from("xy"))
TOLD = st.tuples(
    st.integers(0, 20 * SECOND) | st.integers(0, 3 * 3600 * SECOND),
    WHOSE,
    st.dictionaries(st.sampled_from(["tokens", "cost", "other"]), COUNTS),
)


def naive(told: list[Any], one: Budget, key: str, now_us: int) -> int | float:
    """The sum over everything that lies in the window, or in the steps in which it begins and ends."""
    inside = (
        Fraction(usage[one.usage])
        for at_us, whose, usage in told
        if whose.of(one.scope) == key
        and one.usage in usage
        and step_of(one, at_us) >= step_of(one, now_us) - STEPS
    )
    return as_number(sum(inside, Fraction()))


@given(st.lists(TOLD, max_size=30), WHOSE, st.randoms(use_true_random=False), st.integers(0, 4 * 3600))
def test_the_sums_are_those_of_a_list(
    told: list[Any], whose: Whose, shuffler: random.Random, later_s: int
) -> None:
    """In whatever order usage is told, and however often sums are asked for meanwhile, none of it matters."""
    ledger = Ledger(BUDGETS)
    now_us = max([at_us for at_us, _, _ in told], default=0) + later_s * SECOND
    shuffler.shuffle(told)
    for position, (at_us, of_whom, usage) in enumerate(told):
        ledger.add(at_us, of_whom, usage)
        if position % 3 == 0:
            ledger.sums(at_us, whose)

    sums = ledger.sums(now_us, whose)

    for one in BUDGETS:
        key = whose.of(one.scope)
        expected = None if key is None else naive(told, one, key, now_us)
        assert sums[one.name] == expected
        assert type(sums[one.name]) is type(expected)


@given(st.lists(st.integers(0, 10 * 60 * SECOND), max_size=20), st.integers(0, 20 * 60 * SECOND))
def test_a_window_has_all_that_lies_in_it_and_hardly_more(times: list[int], later_us: int) -> None:
    """Nothing of the last minute is missing, and nothing counts that is two steps older than that."""
    one, now_us = budget("caller.tokens.1m"), max(times, default=0) + later_us
    ledger = Ledger([one])
    for at_us in times:
        ledger.add(at_us, ADA, {"tokens": 1})

    found = ledger.sums(now_us, ADA)[one.name]

    assert found is not None
    since = now_us - one.window_us
    assert sum(at_us >= since for at_us in times) <= found
    assert found <= sum(at_us >= since - 2 * (one.window_us // STEPS + 1) for at_us in times)


@pytest.mark.parametrize("size", [1, 100])
def test_a_window_that_has_passed_leaves_no_trace(size: int) -> None:
    """Floats of any size are taken off as exactly as they were added."""
    one = budget("caller.cost.1m")
    ledger = Ledger([one])
    for number in range(size):
        ledger.add(number, ADA, {"cost": 0.1 * 10.0 ** (number % 300)})
    ledger.add(90 * SECOND, ADA, {"cost": 0.25})

    assert ledger.sums(90 * SECOND, ADA) == {one.name: 0.25}
    assert ledger.sums(200 * SECOND, ADA) == {one.name: 0}


def test_a_sum_has_no_more_than_its_steps() -> None:
    """However much is told, what is kept of a window is bounded."""
    one = budget("caller.tokens.1m")
    ledger = Ledger([one])
    for at_us in range(0, 300 * SECOND, SECOND // 10):
        ledger.add(at_us, ADA, {"tokens": 1})

    [kept] = ledger._sums.values()
    assert len(kept.steps) <= STEPS + 1


def test_of_whom_there_was_no_room_nothing_is_known() -> None:
    """A full ledger goes on with those it knows; others are unknown, not zero, until the window passed."""
    one = budget("caller.tokens.1m")
    ledger = Ledger([one], most=2)
    whose = {name: ADA._replace(caller=name) for name in ("a", "b", "c", "d")}
    for name in ("a", "b", "c"):
        ledger.add(0, whose[name], {"tokens": 5})
    ledger.add(10 * SECOND, whose["a"], {"tokens": 5})

    def sums(at_s: int) -> list[Any]:
        return [ledger.sums(at_s * SECOND, whose[name])[one.name] for name in "abcd"]

    assert sums(10) == [10, 5, None, None]
    assert len(ledger._sums) == 2
    assert sums(65) == [5, 0, 0, 0]


def test_room_that_is_found_does_not_hide_what_was_lost() -> None:
    """Who gets a sum after some of his usage was lost is unknown until that has left the window."""
    short, long = budget("caller.tokens.1s"), budget("caller.tokens.1h")
    ledger = Ledger([short, long], most=2)
    bob = ADA._replace(caller="bob")
    ledger.add(0, ADA, {"tokens": 5})
    ledger.add(0, bob, {"tokens": 5})
    ledger.add(10 * SECOND, bob, {"tokens": 7})  # the sum of ADA's second has run out

    assert ledger.sums(10 * SECOND, bob) == {short.name: 7, long.name: None}
    assert ledger.sums(10 * SECOND, ADA) == {short.name: 0, long.name: 5}

    ledger = Ledger([budget("caller.tokens.1m")], most=1)
    for at_s, whose in ((0, ADA), (50, bob), (70, bob)):
        ledger.add(at_s * SECOND, whose, {"tokens": 5})
    assert [*ledger.sums(70 * SECOND, bob).values()] == [None]
    assert [*ledger.sums(115 * SECOND, bob).values()] == [5]


def test_the_last_moment_of_a_window_is_in_it() -> None:
    """What was told at the end of a step counts for the whole window from then on."""
    one = budget("caller.tokens.1m")
    at_us = -(-one.window_us // STEPS) - 1
    assert (step_of(one, at_us), step_of(one, at_us + one.window_us)) == (0, STEPS)
    ledger = Ledger([one])
    ledger.add(at_us, ADA, {"tokens": 5})

    assert ledger.sums(at_us + one.window_us, ADA) == {one.name: 5}
    assert ledger.sums(2 * at_us + one.window_us, ADA) == {one.name: 0}


@pytest.mark.parametrize(
    ("total", "number"),
    [
        (Fraction(3), 3),
        (Fraction(1, 2), 0.5),
        (Fraction(0.1) + Fraction(0.2), 0.1 + 0.2),
        (Fraction(2**80 + 1), 2**80 + 1),
        (Fraction(1.7e308) * 4 + Fraction(1, 2), int(1.7e308) * 4),
    ],
)
def test_a_sum_is_an_int_if_it_is_whole(total: Fraction, number: int | float) -> None:
    """Else it is the closest float, and never too large to be told."""
    assert as_number(total) == number
    assert type(as_number(total)) is type(number)
