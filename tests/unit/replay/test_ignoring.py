"""The vocabulary of places that a replay does not compare."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet import values
from intentusnet.errors import InvalidInput
from intentusnet.replay.differences import places
from intentusnet.replay.ignoring import POINTED_KINDS, parse_ignore


@pytest.mark.parametrize(
    ("place", "kind", "pointer", "covered"),
    [
        ("/payload/at", "response", "/payload/at", True),
        ("/payload/at", "outcome", "/payload/at", True),
        ("/payload/at", "outcome", "/payload/at/below", True),
        ("/payload/at", "outcome", "/payload", False),
        ("/payload/at", "outcome", "/payload/attention", False),
        ("/payload/at", "outcome", "/payload/other/at", False),
        ("outcome:/payload/at", "outcome", "/payload/at", True),
        ("outcome:/payload/at", "response", "/payload/at", False),
        ("/payload/*/id", "response", "/payload/3/id", True),
        ("/payload/*/id", "response", "/payload/id", False),
        ("/*", "arguments", "/kwargs/now", True),
        ("/a~1b/~0", "response", "/a~1b/~0", True),
        ("/a~1b", "response", "/a/b", False),
        ("/answer", "missing", "/answer", False),
        ("/*", "unexpected", "/x", False),
        ("/ x:/y", "response", "/ x:/y", True),
    ],
)
def test_a_place_covers_what_lies_at_it_or_below(place: str, kind: str, pointer: str, covered: bool) -> None:
    """For its kind, or for every kind with pointers; a * is any one part; questions are never covered."""
    ignored = parse_ignore({"*": [place]}).of("x")
    assert ignored.covers(kind, pointer) is covered


def test_rules_hold_for_the_intents_that_their_globs_fit() -> None:
    """All rules that fit add up; names are matched whole and with their case."""
    ignore = parse_ignore({"ticket.*": ["/a"], "ticket.close": ["/b"], "Ticket.*": ["/c"]})
    assert len(ignore.of("ticket.close").places) == 2
    assert len(ignore.of("ticket.open").places) == 1
    assert ignore.of("a.ticket.open").places == ()
    assert not ignore.of("other").covers("response", "/a")


@pytest.mark.parametrize(
    ("rules", "where"),
    [
        (["/a"], "ignore"),
        ({"": ["/a"]}, "ignore['']"),
        ({1: ["/a"]}, "ignore[1]"),
        ({"x": "/a"}, "ignore['x']"),
        ({"x": {"/a": 1}}, "ignore['x']"),
        ({"x": ["/a", "b"]}, "ignore['x'][1]"),
        ({"x": [""]}, "ignore['x'][0]"),
        ({"x": ["/"]}, "ignore['x'][0]"),
        ({"x": [None]}, "ignore['x'][0]"),
        ({"x": ["missing:/a"]}, "ignore['x'][0]"),
        ({"x": ["response:"]}, "ignore['x'][0]"),
        ({"x": ["response:a"]}, "ignore['x'][0]"),
        ({"x": [":/a"]}, "ignore['x'][0]"),
        ({"x": ["/a~2"]}, "ignore['x'][0]"),
        ({"x": ["/a~"]}, "ignore['x'][0]"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_its_place(rules: Any, where: str) -> None:
    """What is wrong, where it stands, and what would be right."""
    with pytest.raises(InvalidInput) as fault:
        parse_ignore(rules)
    assert fault.value.where == where
    assert fault.value.expected


def test_every_kind_that_may_stand_before_a_place_is_one_of_a_divergence() -> None:
    """The vocabulary names kinds as reports do."""
    from intentusnet import DivergenceKind

    questions = {DivergenceKind.MISSING, DivergenceKind.UNEXPECTED, DivergenceKind.REORDERED}
    assert set(POINTED_KINDS) == set(DivergenceKind) - questions


TREES = st.recursive(
    st.integers(0, 2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
PLACES = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "0", "1", "*"]), min_size=1, max_size=3), max_size=3
)


@given(TREES, TREES, PLACES)
def test_masked_arguments_are_equal_if_all_that_differs_is_ignored(one: Any, other: Any, told: Any) -> None:
    """Questions that are the same but for ignored places are found as equal ones, and no others."""
    ignored = parse_ignore({"*": ["/" + "/".join(parts) for parts in told]}).of("x")
    left = [pointer for pointer, _, _ in places(one, other) if not ignored.covers("arguments", pointer)]
    equal = ignored.masked(values.dumps(one)) == ignored.masked(values.dumps(other))
    assert equal is (left == [])


def test_keys_with_slashes_and_tildes_are_masked_too() -> None:
    """A place names the key itself, however it is written in the pointer."""
    ignored = parse_ignore({"*": ["/a~1b/~0"]}).of("x")
    assert ignored.masked(b'{"a/b":{"c":1,"~":2}}') == b'{"a/b":{"c":1}}'
