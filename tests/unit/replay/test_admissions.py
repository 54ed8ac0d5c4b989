"""Admissions in a session: what goes into the log when, and that who was given up asks no more."""

from typing import Any

import pytest
from helpers.limited import limited
from helpers.runtimes import gives

from intentusnet import Limits, Retry, values
from intentusnet.errors import BranchCancelled
from intentusnet.routing.attempts import agent_question
from intentusnet.routing.control import Control
from intentusnet.routing.router import Request
from intentusnet.transcript import LIMITS, RETRY, Answer, admission_question

FAILED = Answer(
    ok=False, data=values.dumps({"code": "AGENT_ERROR", "details": {}, "message": "", "type": None})
)
CANCELLED = FAILED._replace(refused=True, data=FAILED.data.replace(b"AGENT_ERROR", b"IN_DOUBT"))
AGAIN = Answer(ok=True, data=b'{"again":true,"delay":1,"reason":null}')
ADMITTED = Answer(ok=True, data=b'{"admitted":true}')


def opened(recorded: bool, side_effect: str = "irreversible") -> tuple[Any, Any, Any]:
    """A session of an execution with limits, its plan, and its store."""
    runtime = limited() if recorded else limited(store=None)
    runtime.agent("a", handles="x", side_effect=side_effect, limits=Limits(retry=Retry()))(gives(1))
    envelope = runtime.envelope("x")
    plan = runtime.plan(envelope)
    session = runtime._engine.open_session(Request(envelope, b"null", control=Control()), plan)
    return session, plan, runtime.store


def kinds(session: Any, store: Any) -> list[str]:
    return [entry.kind for entry in store.get(session.execution_id).entries]


def test_a_verdict_waits_for_the_next_write_and_one_on_a_retry_does_not() -> None:
    """What a call is let in by is on record before it; what failed, before its repetition is waited for."""
    session, plan, store = opened(recorded=True)
    session.end(session.begin(admission_question(LIMITS, 0)), ADMITTED)
    assert kinds(session, store) == ["opened"]
    ticket = session.begin(agent_question(plan, 0))
    assert kinds(session, store) == ["opened", "answered", "asked"]
    session.end(ticket, FAILED)
    session.end(session.begin(admission_question(RETRY, 0)), AGAIN)
    assert kinds(session, store)[3:] == ["answered", "answered"]


@pytest.mark.parametrize("recorded", [True, False])
def test_who_was_given_up_after_its_answer_is_not_repeated(recorded: bool) -> None:
    """The answer that came first counts, and no retry is decided any more."""
    session, plan, _ = opened(recorded)
    session.end(session.begin(agent_question(plan, 0)), FAILED)
    assert session.cancel(0, "a", CANCELLED) == FAILED
    with pytest.raises(BranchCancelled):
        session.begin(admission_question(RETRY, 0))


@pytest.mark.parametrize("recorded", [True, False])
def test_who_was_to_be_repeated_is_given_up_there(recorded: bool) -> None:
    """The next call stands for it; it was not made, so it is not in doubt; and it cannot be made any more."""
    session, plan, _ = opened(recorded)
    session.end(session.begin(agent_question(plan, 0)), FAILED)
    session.end(session.begin(admission_question(RETRY, 0)), AGAIN)
    assert b"CANCELLED" in session.cancel(0, "a", CANCELLED).data
    for question in (admission_question(LIMITS, 2), agent_question(plan, 2)):
        with pytest.raises(BranchCancelled):
            session.begin(question)
    assert [answer.refused for _, answer in session.attempts] == [False, True]


@pytest.mark.parametrize("recorded", [True, False])
def test_who_is_given_up_during_a_call_is_in_doubt(recorded: bool) -> None:
    """It may have acted; also when that is a retry."""
    session, plan, _ = opened(recorded)
    session.end(session.begin(agent_question(plan, 0)), FAILED)
    session.end(session.begin(admission_question(RETRY, 0)), AGAIN)
    session.begin(agent_question(plan, 2))
    assert b"IN_DOUBT" in session.cancel(0, "a", CANCELLED).data
