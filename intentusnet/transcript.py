"""Question, answer, scope: the words in which an execution talks to the world.

An execution is a pure function of its envelope, its plan and the answers it was given, so everything that it
wants from outside is a `Question`, put to a `Session`. Sessions differ only in where the answer comes from:
from the world (and then into the log), or from a record.

A *scope* is the path of a question inside its execution: ``""`` for the execution itself, ``attempt:1`` for
its second agent, ``attempt:1/gather:0.2`` for the third branch of that agent's first gather. Scopes are given
out before their threads start, so they never depend on timing.

The router asks, too: whether the execution may go on (scope ``admission``), whether the call of attempt 1 may
be made, and made again (``admission:1``). Such an *admission* is answered once, and its answer, the verdict,
holds for every replay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

ROOT_SCOPE: Final = ""
#: The scope of notes about an execution that no code of its own has written: who resumed it, who said what.
RECOVERY_SCOPE: Final = "recovery"
NO_ARGUMENTS: Final = b'{"args":[],"kwargs":{}}'

#: The kind of the router's own questions, and the scope of those about an execution as a whole.
ADMISSION: Final = "admission"
#: What an admission is about, by its place in its scope: may the call be made; and when it has failed, again?
LIMITS: Final = "limits"
RETRY: Final = "retry"
_ADMISSIONS: Final = {LIMITS: 0, RETRY: 1}
#: What the names of admissions begin with that guards decide, and the first of their places.
GUARD: Final = "guard:"
FIRST_GUARD: Final = len(_ADMISSIONS)

#: Kinds that may act on the world: what is asked is in the log before it is done.
ACTING_KINDS: Final = frozenset({"agent", "effect", "http", "process", "route"})
#: Kinds that tell something and ask nothing: recorded, never compared, not part of the fingerprint.
TELLING_KINDS: Final = frozenset({"log", "usage"})

#: Kinds that a record need not have: what a replay answers then, and no divergence. A change that is younger
#: than the record is not there; a check that is not on record has passed.
ABSENT_ANSWERS: Final = {"check": b"null", "patched": b"false"}

_SHORT: Final = 100
_OF_ATTEMPT: Final = re.compile(
    r"(?:attempt:([0-9]{1,9})(?:/gather:[0-9]{1,9}\.[0-9]{1,9})*|admission:([0-9]{1,9}))"
)


def attempt_scope(attempt: int) -> str:
    """The scope in which the agent of that attempt asks its questions."""
    return f"attempt:{attempt}"


def attempt_of(scope: str) -> int | None:
    """The attempt that a scope belongs to; None where it is none of an agent's."""
    match = _OF_ATTEMPT.fullmatch(scope)
    return None if match is None else int(match[1] or match[2])


def admission_scope(attempt: int | None) -> str:
    """The scope of admissions to an attempt; None for those to the execution."""
    return ADMISSION if attempt is None else f"{ADMISSION}:{attempt}"


def turn_of(attempt: int, steps: int) -> tuple[int, int]:
    """Which step of a plan an attempt calls, and how many calls of that step came before it.

    Attempt k calls step k; a retry has the number of the call that it repeats, and one more than there are
    steps: one number between is that of who won a race. In this order, attempts are told.

    Args:
        attempt: its number.
        steps: how many steps the plan has.
    """
    before, step = divmod(attempt, steps + 1)
    return step, before


def retry_of(attempt: int, steps: int) -> int:
    """The number of the attempt that repeats one; see `turn_of`."""
    return attempt + steps + 1


def is_scope(text: str) -> bool:
    """Whether a record can have a scope of that name."""
    # The same few come again and again; what is long is not kept.
    return _is_scope(text) if len(text) <= _SHORT else _is_scope.__wrapped__(text)


@lru_cache(maxsize=4096)
def _is_scope(text: str) -> bool:
    return text in (ROOT_SCOPE, RECOVERY_SCOPE, ADMISSION) or _OF_ATTEMPT.fullmatch(text) is not None


def is_admission_scope(scope: str) -> bool:
    """Whether it is a scope of the router's own questions."""
    return scope.startswith(ADMISSION)


def branch_scope(parent: str, gather: int, branch: int) -> str:
    """The scope of one branch of a scope's n-th gather."""
    return f"{parent}/gather:{gather}.{branch}"


# Tuples, because several are made for every execution, and frozen dataclasses take thrice as long.
class Question(NamedTuple):
    """One thing asked of the world.

    Args:
        scope: where it was asked.
        ordinal: its place among the questions of its scope, from 0.
        kind: what sort of thing is asked.
        name: which one: the effect's, agent's, intent's or variable's name.
        arguments: the arguments as bytes of ``values``.
        side_effect: what asking may do to the world.
        idempotent: whether asking twice does no more than asking once.
        unordered: it came from a thread that the agent started itself, so its place tells nothing.
    """

    scope: str
    ordinal: int
    kind: str
    name: str
    arguments: bytes = NO_ARGUMENTS
    side_effect: str = "read_only"
    idempotent: bool = False
    unordered: bool = False


def admission_question(name: str, attempt: int | None = None) -> Question:
    """The question whether something may go on.

    Args:
        name: what about, such as `LIMITS`.
        attempt: the attempt; None for the execution as a whole.
    """
    return Question(admission_scope(attempt), _ADMISSIONS[name], ADMISSION, name)


def guard_question(guard: str, place: int) -> Question:
    """The question whether a guard lets an execution call anybody.

    Args:
        guard: its name.
        place: its place, from `FIRST_GUARD`.
    """
    return Question(ADMISSION, place, ADMISSION, f"{GUARD}{guard}")


class Answer(NamedTuple):
    """What came back, a value or an error, as bytes of ``values``.

    Args:
        ok: whether ``data`` is a value; otherwise it is an error.
        data: the encoded value, or the encoded error object.
        child: the execution that answered, for a child intent. It is a name, not content.
        refused: the call was never made: the answer is the router's own.
    """

    ok: bool
    data: bytes
    child: str | None = None
    refused: bool = False


# A plain class, because one is made for every question: a tuple takes longer.
@dataclass(slots=True)
class Ticket:
    """A question that a session has taken note of; without an answer, the asker has to ask the world.

    Attributes:
        question, answer: what is asked, and told.
        resumes: the execution that was begun to answer it, and has to come to its end for that.
    """

    question: Question
    answer: Answer | None = None
    resumes: str | None = None


class Session(Protocol):
    """Where answers come from. Nothing else decides whether the world is touched."""

    @property
    def execution_id(self) -> str:
        """The id of the execution whose questions these are."""
        ...

    def begin(self, question: Question) -> Ticket:
        """Takes note of a question, before anything is done about it.

        Returns:
            A ticket with the answer, or one without: then the caller asks the world and hands the result to
                `end`.

        Raises:
            ControlSignal: the asker must not go on.
        """
        ...

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        """Takes note of what the world answered, and returns the answer that counts."""
        ...

    @property
    def waits(self) -> bool:
        """Whether `begin`, of what may act, may wait for a disk: not for whoever must not wait."""
        ...

    def is_acting(self, attempt: int) -> bool:
        """Whether an attempt has asked something that may act, or a child, and has no answer yet."""
        ...

    def cancel(self, attempt: int, name: str, answer: Answer) -> Answer:
        """Ends an attempt that is still running: `answer` stands for it, and what it asks now unwinds it.

        One that has ended, and is to be repeated, stands for the attempt that repeats it.

        Returns:
            The answer that counts: the attempt's own, if it came first; in doubt, if it has begun to act.
        """
        ...

    def misfit(self, ticket: Ticket, fault: Exception) -> BaseException:
        """Takes note that the answer of a ticket is not of the type that the asker declares now.

        Returns:
            What the asker has to raise.
        """
        ...

    def fail(self, failure: Exception) -> None:
        """Ends the execution without an outcome: whoever asks or answers from now on gets `failure`."""
        ...


class Door(NamedTuple):
    """What is on record of the guards of an execution.

    Args:
        verdicts: what guards were asked, and have said, in that order.
        is_passed: agents have been called, so that all guards have let it in.
    """

    verdicts: Sequence[tuple[Question, Answer]] = ()
    is_passed: bool = False


class RoutedSession(Session, Protocol):
    """A session that the router itself asks, too: whether calls may be made."""

    def recalls(self, question: Question) -> Answer | None:
        """The answer on record to an admission, or to the call of an agent; None if there is none.

        Whoever has a verdict from here needs no other: it holds whatever the limits are now.
        """
        ...

    def door(self) -> Door:
        """What is on record of the guards."""
        ...

    def refuse(self, question: Question, answer: Answer) -> Answer:
        """Takes note that a call is not made, and how that is answered; returns the answer that counts."""
        ...


def ask(session: Session, question: Question, world: Callable[[], Answer]) -> Answer:
    """Puts a question to a session, and to the world if the session has no answer; not for child intents."""
    ticket = session.begin(question)
    if ticket.answer is not None:
        return ticket.answer
    return session.end(ticket, world())
