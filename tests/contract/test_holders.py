"""Which execution every store says holds an idempotency key."""

from collections.abc import Sequence
from typing import Any

import pytest
from helpers import executions as made
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.idempotency import key_digest
from intentusnet.ids import ManualClock
from intentusnet.stores.base import ExecutionStore

KEY = key_digest(None, "anonymous", "k")


def test_a_key_has_no_holder_before_an_execution_has_it(store: ExecutionStore) -> None:
    """Not in a store that is not there yet, nor in one where nobody has that key."""
    assert store.holder(KEY) is None
    store.append(made.execution(1))
    store.append(made.execution(2, key="other"))
    assert store.holder(KEY) is None


@pytest.mark.parametrize("close", [True, False])
def test_the_holder_is_found_as_soon_as_it_is_opened(store: ExecutionStore, close: bool) -> None:
    """Whether it has ended or not; and others of its caller's come after it."""
    store.append(made.execution(1, key="k", close=close))
    store.append(made.execution(2, key="other"))
    store.append(made.execution(3))
    assert store.holder(KEY) == made.id_of(1)


def test_of_several_the_last_is_the_holder(store: ExecutionStore) -> None:
    """In the order in which they were opened, whatever order they end in."""
    one, two = made.execution(2, key="k"), made.execution(1, key="k")
    store.append(one[:1])
    store.append(two)
    store.append(one[1:])
    assert store.holder(KEY) == made.id_of(1)


def test_a_key_is_its_callers(store: ExecutionStore) -> None:
    """Caller and tenant are part of it, and cannot be mistaken for each other."""
    whose: list[dict[str, Any]] = [
        {"caller": "a", "tenant": None},
        {"caller": "b", "tenant": None},
        {"caller": "a", "tenant": "b"},
        {"caller": "b", "tenant": "a"},
    ]
    for number, one in enumerate(whose):
        store.append(made.execution(number, key="k", **one))
    for number, one in enumerate(whose):
        assert store.holder(key_digest(one["tenant"], one["caller"], "k")) == made.id_of(number)
    assert store.holder(KEY) is None


@pytest.mark.parametrize("first", [{"parent": made.id_of(9)}, {"steps": ()}], ids=["a child", "a refusal"])
def test_some_hold_no_key(store: ExecutionStore, first: dict[str, Any]) -> None:
    """What an agent has asked for, and what calls nobody, do not take a key over from anybody."""
    store.append(made.execution(1, key="k", **first))
    assert store.holder(KEY) is None
    store.append(made.execution(2, key="k"))
    store.append(made.execution(3, key="k", **first))
    assert store.holder(KEY) == made.id_of(2)


def test_a_closed_store_still_knows(store: ExecutionStore) -> None:
    """As it can still be read."""
    store.append(made.execution(1, key="k"))
    store.close()
    assert store.holder(KEY) == made.id_of(1)


WORDS = st.text(max_size=3) | st.sampled_from(["a", "b"])


@given(st.lists(st.tuples(st.none() | WORDS, WORDS, st.none() | WORDS), max_size=8))
def test_holders_are_those_of_a_dict(fresh: Any, asked: Sequence[tuple[Any, str, Any]]) -> None:
    """Any keys of any callers: the last one with the very same three, asked for in between and at the end."""
    model: dict[tuple[Any, str, str], str] = {}
    with fresh(ManualClock()) as store:
        for number, (tenant, caller, key) in enumerate(asked):
            if key is not None:
                assert store.holder(key_digest(tenant, caller, key)) == model.get((tenant, caller, key))
                model[tenant, caller, key] = made.id_of(number)
            store.append(made.execution(number, tenant=tenant, caller=caller, key=key))
        for whose, execution in model.items():
            assert store.holder(key_digest(*whose)) == execution
