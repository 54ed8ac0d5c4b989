"""A mapping that never changes: what it has, and that whoever holds an older one keeps it."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.table import Table
from tests.helpers.sharing import slots_added

#: Whole numbers are their own hash: these differ in their lowest bits, only in others, and in none of 64.
KEYS = st.one_of(
    st.integers(0, 40),
    st.builds(lambda n, place: n << 5 * place, st.integers(0, 3), st.integers(0, 11)),
    st.integers(0, 40).map(lambda n: n * (2**61 - 1)),
    st.integers(-40, -1),
)


@given(st.lists(st.tuples(KEYS, st.integers())), st.lists(KEYS))
def test_a_table_is_a_dict_that_is_copied_before_it_is_changed(
    put: list[tuple[int, int]], dropped: list[int]
) -> None:
    """Whatever is set and dropped, in whatever order: every table on the way has what a dict would have."""
    table, plain = Table[int, int](), dict[int, int]()
    history = [(table, dict(plain))]
    for key, value in put:
        table, plain = table.having(key, value), {**plain, key: value}
        history.append((table, plain))
    for key in dropped:
        if key in plain:
            table, plain = table.lacking(key), {k: v for k, v in plain.items() if k != key}
            history.append((table, plain))
        else:
            with pytest.raises(KeyError):
                table.lacking(key)
    for then, content in history:
        assert len(then) == len(content)
        assert dict(then.items()) == content
        assert sorted(then) == sorted(content)
        assert all(then[key] == content[key] for key in content)
        assert then.get(77) is content.get(77)


class Same:
    """A key whose hash is that of all others."""

    def __hash__(self) -> int:
        return 7


def test_keys_that_no_bit_of_their_hash_tells_apart_are_keys_all_the_same() -> None:
    """There are no bits left to divide them by, so that they stay in one leaf."""
    keys = [Same() for _ in range(100)]
    table = Table[Same, int]()
    for number, key in enumerate(keys):
        table = table.having(key, number)
    assert [table[key] for key in keys] == list(range(100))
    assert slots_added(table, table.having(Same(), 100)) < 700
    assert Same() not in table
    for key in keys[1:]:
        table = table.lacking(key)
    assert list(table.items()) == [(keys[0], 0)]


def test_an_empty_table_keeps_nothing_of_what_was_in_it() -> None:
    """Who adds and removes for years does not carry the nodes of all that there has been."""
    table = Table[str, int]()
    for number in range(2000):
        table = table.having(f"key{number}", number)
    for number in range(2000):
        table = table.lacking(f"key{number}")
    assert slots_added(Table[str, int](), table) == 0


def tables(sizes: list[int]) -> Iterator[Table[str, int]]:
    table = Table[str, int]()
    for number in range(max(sizes) + 1):
        if number in sizes:
            yield table
        table = table.having(f"key{number}", number)


def test_a_change_copies_a_path_and_shares_the_rest() -> None:
    """What is copied is bounded by the depth, which grows by one when there is 32 times as much."""
    for table in tables([100, 1000, 10_000]):
        more, less = table.having("another", 1), table.lacking("key50")
        assert slots_added(table, more) < 300
        assert slots_added(table, less) < 300
