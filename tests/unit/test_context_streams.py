"""Random streams: each scope has one of its own, and others by name; none shifts another."""

import threading
from collections import Counter
from random import Random
from typing import Any

import pytest
from helpers.recordings import recorded, value
from helpers.turns import short_turns
from hypothesis import given
from hypothesis import strategies as st

from intentusnet import Context, SeededIds
from intentusnet.errors import InvalidInput

DRAWS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(1, 3)), max_size=8)


def test_a_named_stream_is_one_object_for_each_scope() -> None:
    """The same name is the same stream within a scope, and another one in a branch; so is no name."""

    def agent(ctx: Context) -> Any:
        (branch,) = ctx.gather(lambda: ctx.random_stream("a"))
        return [
            ctx.random_stream("a") is ctx.random_stream("a"),
            ctx.random_stream("a") is ctx.random_stream("b"),
            ctx.random_stream("a") is branch,
            ctx.random_stream("") is ctx.random,
            type(branch) is Random,
        ]

    assert value(agent) == [True, False, False, False, True]


def test_only_the_seed_of_a_stream_is_recorded() -> None:
    """A thousand draws are one question, which names its stream."""

    def agent(ctx: Context) -> Any:
        return [ctx.random_stream("noise").random() for _ in range(1000)]

    _, record = recorded(agent)
    (seed,) = (question for question in record.questions if question.kind == "random")
    assert (seed.name, seed.arguments) == ("stream", b'{"args":["noise"],"kwargs":{}}')


class ByName(SeededIds):
    """Seeds that a test knows: the n-th that is asked for is n."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    def seed(self) -> int:
        self.given += 1
        return self.given


@given(DRAWS)
def test_no_stream_shifts_another(draws: list[tuple[str | None, int]]) -> None:
    """However draws of several streams take turns, each gives what its seed alone would give."""

    def agent(ctx: Context) -> Any:
        told: list[Any] = []
        for name, number in draws:
            stream = ctx.random if name is None else ctx.random_stream(name)
            told.append([stream.random() for _ in range(number)])
        return told

    seeds = {name: Random(seed) for seed, name in enumerate(dict(draws), 1)}
    assert value(agent, ids=ByName()) == [[seeds[name].random() for _ in range(n)] for name, n in draws]


@given(st.integers(0, 3), st.integers(0, 3))
def test_no_scope_shifts_another(early: int, late: int) -> None:
    """What branches draw, and how much, changes nothing of what their parent draws before and after."""

    def agent(ctx: Context) -> Any:
        def branch() -> list[float]:
            return [ctx.random_stream("s").random() for _ in range(early)]

        first = [ctx.random_stream("s").random() for _ in range(2)]
        ctx.gather(*[branch] * late)
        return [*first, ctx.random_stream("s").random()]

    own = Random(1)
    assert value(agent, ids=ByName()) == [own.random() for _ in range(3)]


def test_threads_share_a_stream_that_is_asked_for_once() -> None:
    """Threads that ask for the same stream at the same moment get the same object, and ask one question."""
    names = [str(number) for number in range(100)]

    def agent(ctx: Context) -> Any:
        start, got = threading.Barrier(4), {name: list[Random]() for name in names}

        def ask() -> None:
            for name in names:
                start.wait(10)
                got[name].append(ctx.random_stream(name))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [len({id(stream) for stream in streams}) for streams in got.values()]

    with short_turns():  # so that a thread is as likely as can be to be overtaken while it asks
        response, record = recorded(agent)
    assert response.payload == [1] * 100
    assert Counter(question.kind for question in record.questions)["random"] == 100


@pytest.mark.parametrize("name", [None, 5, "\ud800"])
def test_a_stream_needs_a_name_of_text(name: Any) -> None:
    """A name that cannot be written is refused, and nothing is asked."""

    def agent(ctx: Context) -> None:
        with pytest.raises(InvalidInput, match="must be text"):
            ctx.random_stream(name)

    assert len(recorded(agent)[1].questions) == 1


def test_inside_an_effect_a_stream_is_part_of_its_answer() -> None:
    """What an effect draws is neither recorded nor remembered for the scope."""

    def agent(ctx: Context) -> Any:
        inside = ctx.effect("f", lambda: ctx.random_stream("s").random())
        return [inside, ctx.random_stream("s").random()]

    _, record = recorded(agent)
    assert [question.kind for question in record.questions] == ["agent", "effect", "random"]
