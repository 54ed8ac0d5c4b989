"""Which question on record is which that was asked, and what it costs to find out."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.record import RecordedQuestion
from intentusnet.replay.aligning import Alignment, Key, align
from intentusnet.replay.tapes import Tape
from intentusnet.transcript import Answer, Question

KEYS = st.tuples(st.just("effect"), st.sampled_from("fg"), st.sampled_from([b"1", b"2", b"3"]))
SEQUENCES = st.lists(KEYS, max_size=12)


def keys(text: str) -> list[Key]:
    """Keys from words such as f1: the name and the arguments."""
    return [("effect", word[0], word[1:].encode()) for word in text.split()]


def told(recorded: str, asked: str) -> tuple[list[str], list[str], list[str], list[str]]:
    """The words that changed (on record and asked), moved, are missing, and are unexpected."""
    found = align(keys(recorded), keys(asked))
    then, now = recorded.split(), asked.split()
    return (
        [f"{then[r]}-{now[a]}" for r, a in found.pairs if then[r] != now[a]],
        [then[r] for r, _ in found.moved],
        [then[r] for r in found.missing],
        [now[a] for a in found.unexpected],
    )


@pytest.mark.parametrize(
    ("recorded", "asked", "changed", "moved", "missing", "unexpected"),
    [
        ("f1 f2 f3", "f1 f9 f2 f3", "", "", "", "f9"),
        ("f1 f2 f3", "f9 f1 f2 f3", "", "", "", "f9"),
        ("f1 f2 f3", "f1 f2 f3 f9", "", "", "", "f9"),
        ("f1 f2 f3 f4", "f1 f9 f2 f3 f8", "f4-f8", "", "", "f9"),
        ("f1 f2 f3", "f1 f3", "", "", "f2", ""),
        ("f1 f2 f3", "f2 f3", "", "", "f1", ""),
        ("f1 f2 f3 f1", "f1 f1 f3 f1", "f2-f1", "", "", ""),
        ("f1 f1 f2", "f1 f1 f1 f2", "", "", "", "f1"),
        ("f1 f2", "f2 f9", "", "", "f1", "f9"),
        ("f1 f2", "f2 f1", "", "f1", "", ""),
        ("f1 f2 f3 f4", "f4 f1 f2 f3", "", "f4", "", ""),
        ("f1 g1 f2", "f1 g2 f2", "g1-g2", "", "", ""),
        ("f1 g1 f2", "f1 h1 f2", "", "", "g1", "h1"),
        ("f1 f2 f3", "f7 f8 f9", "f1-f7 f2-f8 f3-f9", "", "", ""),
        ("", "f1", "", "", "", "f1"),
        ("f1", "", "", "", "f1", ""),
    ],
)
def test_an_alignment_names_what_was_done(
    recorded: str, asked: str, changed: str, moved: str, missing: str, unexpected: str
) -> None:
    """One call more, less, moved or with other arguments is that, also among calls of its name."""
    assert told(recorded, asked) == (changed.split(), moved.split(), missing.split(), unexpected.split())


def checked(recorded: Sequence[Key], asked: Sequence[Key]) -> Alignment:
    found = align(recorded, asked)
    assert sorted([*(r for r, _ in (*found.pairs, *found.moved)), *found.missing]) == [*range(len(recorded))]
    assert sorted([*(a for _, a in (*found.pairs, *found.moved)), *found.unexpected]) == [*range(len(asked))]
    assert [r for r, _ in found.pairs] == sorted(r for r, _ in found.pairs)
    assert all(recorded[r][:2] == asked[a][:2] for r, a in found.pairs)
    assert all(recorded[r] == asked[a] for r, a in found.moved)
    return found


@given(SEQUENCES, SEQUENCES)
def test_every_question_is_accounted_for_once(recorded: list[Key], asked: list[Key]) -> None:
    """Each is paired, moved, missing or unexpected; in equal sequences all are paired."""
    found = checked(recorded, asked)
    clean = not found.moved and not found.missing and not found.unexpected
    assert (recorded == asked) is (clean and all(recorded[r] == asked[a] for r, a in found.pairs))


@given(SEQUENCES, st.integers(0, 12), KEYS)
def test_one_question_more_or_less_is_all_that_is_told(recorded: list[Key], at: int, key: Key) -> None:
    """Wherever a call is put in, it alone is unexpected; taken out again, it alone is missing."""
    longer = [*recorded[:at], key, *recorded[at:]]
    more, less = checked(recorded, longer), checked(longer, recorded)
    assert [longer[a] for a in more.unexpected] == [longer[r] for r in less.missing] == [key]
    assert not (more.moved or more.missing or less.moved or less.unexpected)
    assert all(recorded[r] == longer[a] for r, a in more.pairs)


class Counted(str):
    """Text that counts how often it is looked at."""

    looks = 0

    def __eq__(self, other: object) -> bool:
        Counted.looks += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        Counted.looks += 1
        return str.__hash__(self)


def asked_in_order(order: Sequence[int]) -> tuple[int, Tape]:
    """How often names are looked at when questions are asked in that order and aligned."""
    tape = Tape(lambda arguments: arguments)
    for number in range(len(order)):
        answer = Answer(ok=True, data=b"%d" % number)
        told = ("a", number, "effect", Counted("f"), b"%d" % number, "read_only", False, False, answer)
        tape.add(RecordedQuestion(*told))
    Counted.looks = 0
    for number, wanted in enumerate(order):
        question = Question("a", number, "effect", Counted("f"), b"%d" % wanted)
        recorded = tape.due(question) or tape.stray(question, number, "")
        assert recorded is not None and recorded.answer is not None
        assert recorded.answer.data == b"%d" % (wanted if wanted >= 0 else number)
    keys = [(q.kind, q.name, q.arguments) for q in tape.questions[tape.cursor :]]
    align(keys, [(a.question.kind, a.question.name, a.question.arguments) for a in tape.asked])
    return Counted.looks, tape


@pytest.mark.parametrize("name", ["reversed", "shifted", "all with other arguments", "every other first"])
def test_the_cost_of_a_scope_grows_with_its_length(name: str) -> None:
    """Ten times as many questions, asked in another order than on record, cost ten times as much."""
    orders = {
        "reversed": lambda n: [*reversed(range(n))],
        "shifted": lambda n: [*range(1, n), 0],
        "all with other arguments": lambda n: [-1 - number for number in range(n)],
        "every other first": lambda n: [*range(0, n, 2), *range(1, n, 2)],
    }
    small, _ = asked_in_order(orders[name](1_000))
    large, _ = asked_in_order(orders[name](10_000))
    assert large < 12 * small


def test_an_answer_that_was_lent_goes_to_the_question_that_it_is_for() -> None:
    """A call with other arguments gets an answer of its name, until the call that it was given to comes."""
    tape = Tape(lambda arguments: arguments)
    for number in range(3):
        answer = Answer(ok=True, data=b"%d" % number)
        tape.add(
            RecordedQuestion("a", number, "effect", "f", b"%d" % number, "read_only", False, False, answer)
        )
    asked = [
        Question("a", n, "effect", "f", argument) for n, argument in enumerate((b"9", b"0", b"1", b"2", b"8"))
    ]
    got = [tape.due(question) or tape.stray(question, 0, "") for question in asked]
    assert [None if one is None else one.arguments for one in got] == [b"0", b"0", b"1", b"2", None]
    assert [one.index for one in tape.asked] == [None, 0, 1, 2, None]
