"""Question, answer, scope: the words in which an execution talks to the world.

An execution is a pure function of its envelope, its plan and the answers it was given, so everything that it
wants from outside is a `Question`, put to a `Session`. Sessions differ only in where the answer comes from:
from the world (and then into the log), or from a record.

A *scope* is the path of a question inside its execution: ``""`` for the execution itself, ``attempt:1`` for
its second agent, ``attempt:1/gather:0.2`` for the third branch of that agent's first gather. Scopes are given
out before their threads start, so they never depend on timing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

ROOT_SCOPE: Final = ""
#: The scope of notes about an execution that no code of its own has written: who resumed it, who said what.
RECOVERY_SCOPE: Final = "recovery"
NO_ARGUMENTS: Final = b'{"args":[],"kwargs":{}}'

#: Kinds that may act on the world: what is asked is in the log before it is done.
ACTING_KINDS: Final = frozenset({"agent", "effect", "http", "process", "route"})
#: Kinds that tell something and ask nothing: recorded, never compared, not part of the fingerprint.
TELLING_KINDS: Final = frozenset({"log", "usage"})

#: Kinds that a record need not have: what a replay answers then, and no divergence. A change that is younger
#: than the record is not there; a check that is not on record has passed.
ABSENT_ANSWERS: Final = {"check": b"null", "patched": b"false"}

_SHORT: Final = 100
_OF_ATTEMPT: Final = re.compile(r"attempt:([0-9]{1,9})(/gather:[0-9]{1,9}\.[0-9]{1,9})*")


def attempt_scope(attempt: int) -> str:
    """The scope in which the agent of that attempt asks its questions."""
    return f"attempt:{attempt}"


def attempt_of(scope: str) -> int | None:
    """The attempt that a scope belongs to; None where it is none of an agent's."""
    match = _OF_ATTEMPT.fullmatch(scope)
    return None if match is None else int(match[1])


def is_scope(text: str) -> bool:
    """Whether a record can have a scope of that name."""
    # The same few come again and again; what is long is not kept.
    return _is_scope(text) if len(text) <= _SHORT else _is_scope.__wrapped__(text)


@lru_cache(maxsize=4096)
def _is_scope(text: str) -> bool:
    return text in (ROOT_SCOPE, RECOVERY_SCOPE) or _OF_ATTEMPT.fullmatch(text) is not None


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


class Ticket(NamedTuple):
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


def ask(session: Session, question: Question, world: Callable[[], Answer]) -> Answer:
    """Puts a question to a session, and to the world if the session has no answer; not for child intents."""
    ticket = session.begin(question)
    if ticket.answer is not None:
        return ticket.answer
    return session.end(ticket, world())
