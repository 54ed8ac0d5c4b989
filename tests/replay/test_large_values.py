"""A record does not depend on where its values are kept: random values around the bound, both ways."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intentusnet import Context, IntentusRuntime, MemoryExecutionStore, Verdict, values
from intentusnet.ids import ManualClock
from intentusnet.record import ExecutionRecord
from intentusnet.references import BOUND
from intentusnet.replay import bodies, live

LETTERS = st.sampled_from(["x", "ä", "€", "😀", '"', "\\", "\n", "\x7f", '{"$blob":["'])


@st.composite
def around_the_bound(draw: st.DrawFn) -> Any:
    """A value whose encoding has about as many bytes as still stand in an entry."""
    letter = draw(LETTERS)
    wrap = draw(
        st.sampled_from([lambda text: text, lambda text: {"$blob": text}, lambda text: (text, b"\0")])
    )
    width = len(values.encode(letter)) - 2
    size = BOUND + draw(st.integers(-2, 2)) - len(values.encode(wrap("")))
    return wrap(letter * (size // width) + "." * (size % width))


def recorded(payload: Any, told: Any, answer: Any) -> tuple[IntentusRuntime, ExecutionRecord]:
    store = MemoryExecutionStore(clock=ManualClock(step_us=1), store_id="0" * 32)
    runtime = IntentusRuntime(store=store)

    @runtime.agent("agent", handles="x", side_effect="read_only")
    def agent(payload: Any, ctx: Context) -> Any:
        ctx.effect("tell", lambda value: told, payload)
        return answer

    return runtime, store.get(runtime.route("x", payload).execution_id)


SMALL = st.just("small")


@settings(max_examples=60, deadline=None)
@given(*[around_the_bound() | SMALL] * 3)
def test_a_record_is_the_same_with_values_in_blobs(payload: Any, told: Any, answer: Any) -> None:
    """Fingerprint, questions, answers and outcome equal those of a record that holds all values itself."""
    runtime, apart = recorded(payload, told, answer)
    with patch.object(bodies, "BOUND", 2**60), patch.object(live, "BOUND", 2**60):
        _, inline = recorded(payload, told, answer)
    assert inline.blobs == ()
    large = {values.encode(value) for value in (payload, told, answer)}
    large.add(values.encode_arguments((payload,), {}))
    assert {blob.data for blob in apart.blobs} == {data for data in large if len(data) > BOUND}
    assert apart.fingerprint == inline.fingerprint
    assert (apart.questions, apart.outcome, apart.plan_tree) == (
        inline.questions,
        inline.outcome,
        inline.plan_tree,
    )
    assert apart.envelope.payload == inline.envelope.payload == payload
    assert runtime.replay(apart).verdict is runtime.replay(inline).verdict is Verdict.MATCH


@pytest.mark.parametrize("size", [BOUND - 1, BOUND, BOUND + 1])
def test_the_values_around_the_bound_are_as_large_as_they_should_be(size: int) -> None:
    """The sizes that matter occur: one byte less, the bound itself, one byte more."""
    _, record = recorded("x" * (size - 2), None, None)
    assert bool(record.entries[0].body.count(b'{"$blob":[')) is (size > BOUND)
