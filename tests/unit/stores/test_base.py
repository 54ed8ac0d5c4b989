"""Queries and settings are checked when they are made."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.errors import InvalidInput, StoreRefused
from intentusnet.stores.base import Query, StoreSettings


@pytest.mark.parametrize(
    "arguments",
    [
        {"status": "failed"},
        {"limit": 0},
        {"limit": 1001},
        {"limit": True},
        {"limit": "5"},
        {"since_us": -1},
        {"since_us": 1.5},
        {"until_us": 2**63},
        {"since_us": 2, "until_us": 1},
        {"cursor": ""},
        {"cursor": "no cursor"},
        {"cursor": "ü"},
        {"cursor": base64.urlsafe_b64encode(b"n-1").decode()},
        {"cursor": base64.urlsafe_b64encode(b"n1\n").decode()},
        {"cursor": base64.urlsafe_b64encode(b"n01").decode()},
        {"cursor": base64.urlsafe_b64encode(b"x1").decode()},
        {"cursor": base64.urlsafe_b64encode(b"o1").decode()},
        {"cursor": base64.urlsafe_b64encode(b"n" + b"9" * 19).decode()},
    ],
)
def test_a_query_out_of_range_is_refused(arguments: dict[str, Any]) -> None:
    """What cannot be asked for is refused when the query is made, and the argument is named."""
    with pytest.raises(InvalidInput) as caught:
        Query(**arguments)
    assert caught.value.where in arguments


@pytest.mark.parametrize("limit", [1, 1000])
def test_the_ends_of_the_range_are_in_it(limit: int) -> None:
    """A page may have one row, or a thousand; times may be equal."""
    assert Query(limit=limit, since_us=5, until_us=5).limit == limit


@given(seq=st.integers(0, 10**18 - 1), oldest_first=st.booleans())
def test_a_cursor_leads_back_to_its_place(seq: int, oldest_first: bool) -> None:
    """The cursor that a query makes for a place is the one that a query of that direction goes on from."""
    cursor = Query(oldest_first=oldest_first).cursor_after(seq)
    assert Query(cursor=cursor, oldest_first=oldest_first).position == seq


def test_settings_are_written_and_read() -> None:
    """Settings come back from store.json as they went in."""
    assert StoreSettings.from_tree(StoreSettings(segment_entries=7).tree(), where="") == StoreSettings(
        segment_entries=7
    )


@pytest.mark.parametrize("entries", [0, -1, True, "5", 1.5])
def test_a_segment_has_at_least_one_entry(entries: Any) -> None:
    """A segment size that makes no sense is refused."""
    with pytest.raises(InvalidInput):
        StoreSettings(segment_entries=entries)


@pytest.mark.parametrize("tree", [{"segment_entries": 0}, {"novelty": 1}, {"segment_entries": "many"}])
def test_settings_of_another_sort_are_refused(tree: dict[str, Any]) -> None:
    """A setting that this version does not know could change what the log means."""
    with pytest.raises(StoreRefused, match="settings") as caught:
        StoreSettings.from_tree(tree, where="store.json")
    assert caught.value.where == "store.json"
