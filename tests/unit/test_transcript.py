"""Question, answer and scope."""

from intentusnet.transcript import NO_ARGUMENTS, Answer, Question, Ticket, ask, attempt_scope, branch_scope
from intentusnet.values import encode_arguments


class Told:
    """A session that has an answer, or none."""

    execution_id = "id"

    def __init__(self, answer: Answer | None) -> None:
        self.answer = answer
        self.ended: list[Answer] = []

    def begin(self, question: Question) -> Ticket:
        return Ticket(question, self.answer)

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        self.ended.append(answer)
        return Answer(ok=True, data=b'"what counts"')

    def cancel(self, attempt: int, name: str, answer: Answer) -> Answer:
        return answer

    def fail(self, failure: Exception) -> None: ...

    def misfit(self, ticket: Ticket, fault: Exception) -> BaseException:
        return fault


def test_the_world_is_asked_only_if_the_session_has_no_answer() -> None:
    """With an answer the world is left alone; without, what the session makes of the world's counts."""
    question, known = Question("", 0, "effect", "f"), Answer(ok=True, data=b"1")
    asked: list[int] = []

    def world() -> Answer:
        asked.append(1)
        return Answer(ok=True, data=b"2")

    assert ask(Told(known), question, world) is known and asked == []
    session = Told(None)
    assert ask(session, question, world).data == b'"what counts"'
    assert asked == [1] and [answer.data for answer in session.ended] == [b"2"]


def test_scopes_are_paths() -> None:
    """An attempt's, and that of a branch in it."""
    assert branch_scope(branch_scope(attempt_scope(1), 0, 2), 3, 4) == "attempt:1/gather:0.2/gather:3.4"


def test_no_arguments_are_the_bytes_of_none() -> None:
    """The constant is what encoding would give."""
    assert encode_arguments((), {}) == NO_ARGUMENTS
