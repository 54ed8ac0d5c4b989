"""Races: the first success wins, the others are unwound, and a replay knows who won."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from helpers.runtimes import fails, gives, replays, runtime_of, three

from intentusnet import (
    AgentResponse,
    Context,
    IntentusRuntime,
    MemoryExecutionStore,
    Verdict,
)
from intentusnet.errors import BranchCancelled
from intentusnet.routing.request import Request
from intentusnet.routing.strategies import Outcome
from intentusnet.transcript import Answer, Question, Ticket


class Race:
    """Agents 0, 1 and 2: one wins, and the others wait until the race is over and then try to go on."""

    def __init__(
        self, winner: int, side_effect: str = "read_only", store: Any = MemoryExecutionStore
    ) -> None:
        self.runtime = IntentusRuntime(store=store())
        self.over = threading.Event()
        self.acted: list[int] = []
        self.unwound: list[int] = []
        self.left = threading.Semaphore(0)
        self.started = threading.Barrier(3)
        for number in range(3):
            self.runtime.agent(f"agent{number}", handles="x", rank=number, side_effect=side_effect)(
                self._agent(number, winner)
            )

    def _agent(self, number: int, winner: int) -> Callable[[Context], Any]:
        def agent(ctx: Context) -> Any:
            ctx.effect("early", lambda: number)
            if self.started.n_waiting or not self.over.is_set():
                self.started.wait(10)
            if number == winner:
                return number
            assert self.over.wait(10)
            try:
                ctx.effect("late", self.acted.append, number)
            except BranchCancelled:
                self.unwound.append(number)
                raise
            finally:
                self.left.release()

        return agent

    def route(self) -> AgentResponse:
        response = self.runtime.route("x", strategy="parallel", prefer="first")
        self.over.set()
        for _ in range(2):
            assert self.left.acquire(timeout=10)
        return response


@pytest.mark.parametrize(("side_effect", "code"), [("read_only", "CANCELLED"), ("reversible", "IN_DOUBT")])
@pytest.mark.parametrize("winner", range(3))
def test_the_first_success_wins_a_race(winner: int, side_effect: str, code: str) -> None:
    """Losers are cancelled, or in doubt if they act; what they do next unwinds them and leaves no entry."""
    race = Race(winner, side_effect)
    response = race.route()
    assert response.agent == f"agent{winner}" and response.payload == winner
    assert [a.error.code if a.error else None for a in response.attempts] == [
        None if number == winner else code for number in range(3)
    ]
    assert race.acted == [] and len(race.unwound) == 2
    store = race.runtime.store
    assert store is not None and store.verify().ok
    entries = store.entries(response.execution_id)
    assert [entry.kind for entry in entries].index("closed") == len(entries) - 1


@pytest.mark.parametrize("winner", range(3))
def test_a_race_is_replayed_to_its_recorded_winner(winner: int) -> None:
    """The replay runs no loser, waits for nobody, and ends as the race did."""
    race = Race(winner)
    response = race.route()
    race.started = threading.Barrier(1)
    replays(race.runtime, response)
    assert race.acted == []


def test_a_race_without_a_store_is_one_too() -> None:
    """Losers are unwound where nothing is recorded."""
    race = Race(1, store=lambda: None)
    response = race.route()
    assert response.agent == "agent1" and response.fingerprint is None
    assert race.acted == [] and sorted(race.unwound) == [0, 2]


def test_a_race_that_nobody_wins_fails_by_rank() -> None:
    """If all fail, the best-ranked failure is the answer, recorded and replayed."""
    runtime, _ = three((2, 1, 0), (0, 1, 2))
    response = runtime.route("x", strategy="parallel", prefer="first")
    assert response.error is not None and response.error.message == "no 0"
    again, _ = three(failing=(0, 1, 2))
    assert again.replay(runtime.store.get(response.execution_id)).verdict is Verdict.MATCH


def test_a_failure_does_not_win_a_race() -> None:
    """Whoever fails first is out, and its failure is on record."""
    runtime = runtime_of()
    runtime.agent("early", handles="x", rank=0)(fails("no 0"))

    @runtime.agent("late", handles="x", rank=1)
    def late() -> int:
        # Its thread ends when the router has been told of the failure, and not before.
        for thread in threading.enumerate():
            if thread.name == "intentusnet-branch-0":
                thread.join(10)
        return 1

    response = runtime.route("x", strategy="parallel", prefer="first")
    assert response.agent == "late" and response.attempts[0].error is not None
    assert response.attempts[0].error.message == "no 0"


@pytest.mark.parametrize("store", [MemoryExecutionStore, lambda: None])
def test_a_loser_that_came_to_its_end_in_time_keeps_its_answer(store: Any) -> None:
    """Cancelling what has ended changes nothing: the attempt's own answer counts, whoever is told first."""
    runtime = IntentusRuntime(store=store())
    runtime.agent("a", handles="x")(gives(1))
    envelope = runtime.envelope("x")
    session = runtime._engine.open_session(Request(envelope, b"null"), runtime.plan(envelope))
    own, other = Answer(ok=True, data=b"1"), Answer(ok=False, data=b"{}", refused=True)
    question = Question("", 0, "agent", "a")
    assert session.end(session.begin(question), own) is own
    assert session.cancel(0, "a", other) is own
    assert session.end(Ticket(question), other) is own
    session.fail(ValueError("the store"))
    with pytest.raises(ValueError, match="the store") if runtime.store is not None else nullcontext():
        session.close(Outcome(ok=True, data=b"1", agent="a", attempt=0))


@pytest.mark.parametrize("prefer", ["rank", "first"])
def test_ctrl_c_reaches_the_caller_of_a_race(prefer: Any) -> None:
    """KeyboardInterrupt in a branch is raised to the caller."""

    def stops() -> None:
        raise KeyboardInterrupt

    runtime = runtime_of()
    runtime.agent("a", handles="x")(stops)
    runtime.agent("b", handles="x")(fails())
    with pytest.raises(KeyboardInterrupt):
        runtime.route("x", strategy="parallel", prefer=prefer)
