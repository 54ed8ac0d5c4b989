"""What agents draw by chance without their context is recorded, and drawn again on replay."""

# ruff: noqa: PLW0108 - functions are looked up when they are called, which is what is tested

import os
import random
import secrets
import tempfile
import uuid
from collections.abc import Callable
from os import urandom
from pathlib import Path
from random import choice, randint, shuffle
from secrets import randbits, token_hex
from typing import Any
from uuid import uuid1, uuid4

import pytest
from helpers.captures import Captured

from intentusnet import Context

Drawn = Callable[[], Any]


class Derived(random.Random):
    """A stream of someone's own."""


def shuffled() -> list[int]:
    numbers = list(range(50))
    shuffle(numbers)
    return numbers


def bound_as_default(draw: Drawn = uuid.uuid4) -> uuid.UUID:
    return draw()


DRAWS: list[Drawn] = [
    lambda: os.getrandom(8),
    lambda: os.urandom(8),
    lambda: urandom(8),
    lambda: uuid.uuid1(),
    lambda: uuid1(),
    lambda: uuid.uuid4(),
    lambda: uuid4(),
    lambda: bound_as_default(),
    lambda: secrets.token_bytes(8),
    lambda: secrets.token_hex(),
    lambda: token_hex(8),
    lambda: secrets.token_urlsafe(),
    lambda: secrets.randbelow(10**9),
    lambda: secrets.randbits(70),
    lambda: randbits(70),
    lambda: secrets.choice(range(10**9)),
    lambda: random.SystemRandom().random(),
    lambda: secrets.SystemRandom().sample(range(10**9), 3),
    lambda: random.random(),
    lambda: random.getrandbits(70),
    lambda: random.gauss(0, 1),
    lambda: choice(range(10**9)),
    lambda: randint(0, 10**9),
    lambda: shuffled(),
    lambda: random.Random().random(),
    lambda: Derived().random(),
]


@pytest.mark.parametrize("draw", DRAWS)
def test_draws_are_the_same_on_replay(draw: Drawn) -> None:
    """However the function was bound: two runs differ, and a replay of either is the same."""
    one, other = (Captured(lambda: [draw(), draw()], "chance") for _ in range(2))
    assert one.value != other.value
    assert one.asked
    one.matches()
    other.matches()


def test_values_are_of_their_own_type() -> None:
    """What an agent is handed is what the function returns, live and on replay."""
    Captured(
        lambda: [type(value).__name__ for value in (os.urandom(1), uuid.uuid1(), random.random())], "chance"
    ).matches()


@pytest.mark.parametrize(
    ("before", "after", "first"),
    [
        (lambda: os.urandom(8), lambda: os.urandom(9), ("arguments", "random urandom [0]", "/args/0")),
        (lambda: uuid.uuid1(), lambda: uuid.uuid4(), ("unexpected", "random urandom [0]", "")),
        (lambda: uuid.uuid1(), lambda: None, ("missing", "uuid uuid1 [0]", "")),
        (lambda: None, lambda: secrets.token_hex(), ("unexpected", "random system.randbytes [0]", "")),
        (lambda: random.random(), lambda: random.random() + 1, ("outcome", "agent agent [0]", "/payload")),
        (lambda: random.random(), lambda: random.Random().random(), ("unexpected", "random seed [0]", "")),
    ],
)
def test_a_changed_agent_is_found(before: Drawn, after: Drawn, first: tuple[str, str, str]) -> None:
    """Another draw, one more or one less is the first divergence."""
    assert Captured(before, "chance").first(after) == first


def test_a_stream_costs_one_question() -> None:
    """Of the module's stream, and of each of an agent's own, the seed is recorded and nothing else."""

    def agent() -> list[Any]:
        own = random.Random()
        return [[random.random() for _ in range(100)], [own.random() for _ in range(100)], uuid4()]

    captured = Captured(agent, "chance")
    assert captured.asked == ["random seed", "random stream", "random urandom"]
    captured.matches()


def test_seeds_of_the_agents_own_stand() -> None:
    """A stream that an agent has given a seed is not asked for one, and draws as ever."""

    def agent() -> list[float]:
        random.seed(7)
        return [random.Random(7).random(), random.random()]

    captured = Captured(agent, "chance")
    assert captured.value == [random.Random(7).random()] * 2
    assert captured.asked == ["random stream"]


def test_a_branch_draws_from_a_stream_of_its_own() -> None:
    """What one branch draws shifts nothing in another, whichever comes first."""

    def agent(ctx: Context) -> Any:
        return ctx.gather(
            lambda: [random.random() for _ in range(3)], lambda: [random.random() for _ in range(3)]
        )

    Captured(agent, "chance").matches()


def test_outside_of_agents_all_is_as_it_was() -> None:
    """A seed outside is kept and is not drawn from inside, and nothing is asked."""
    Captured(lambda: None, "chance")
    random.seed(7)
    before = random.getstate()
    Captured(lambda: [random.random(), uuid4()], "chance")
    assert random.getstate() == before
    assert random.random() == random.Random(7).random()
    assert len(os.urandom(3)) == 3 and uuid.uuid4() != uuid.uuid4() and len(token_hex(2)) == 4
    assert uuid1().version == 1 and 0 <= secrets.randbelow(2) < 2


def test_nothing_is_recorded_that_was_not_asked_for() -> None:
    """With other hooks on, or none, draws are no questions."""
    assert Captured(lambda: bool([uuid4(), random.random()]), "process").asked == []


def test_nothing_is_recorded_inside_an_effect() -> None:
    """The effect's answer covers what it draws."""
    captured = Captured(lambda ctx: ctx.effect("draw", lambda: str(uuid4()) + str(random.random())), "chance")
    assert captured.asked == ["effect draw"]
    captured.matches()


def test_the_recorder_draws_for_itself() -> None:
    """Salts, and what a context asks, are no draws of the agent's."""
    captured = Captured(lambda ctx: [str(ctx.uuid()), ctx.random.random()], "chance")
    assert captured.asked == ["uuid uuid4", "random seed"]
    captured.matches()


def test_names_of_temporary_files_are_nobodys_business(tmp_path: Path) -> None:
    """What the standard library draws for its own purposes is not recorded."""
    assert Captured(lambda: tempfile.mkdtemp(dir=tmp_path) and None, "chance").asked == []


def test_a_module_that_is_loaded_draws_for_everyone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a module draws when an agent first imports it is not the agent's, or no other run would match."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "draws_when_loaded.py").write_text("import uuid\nTHIS = uuid.uuid4()\n")

    def agent() -> None:
        import draws_when_loaded  # noqa: F401 - loading it is all  # type: ignore[import-not-found]

    captured = Captured(agent, "chance")
    assert captured.asked == []
    captured.matches()


def test_what_a_draw_raises_is_raised_again() -> None:
    """A wrong argument is refused the same on replay."""

    def agent() -> str:
        try:
            return str(os.urandom(-1))
        except ValueError as fault:
            return str(fault)

    captured = Captured(agent, "chance")
    assert captured.value == "negative argument not allowed"
    captured.matches()
