"""First entries by the thousand: the same executions as in a list, in every store, and checked like them."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.executions import execution

from intentusnet import ExecutionStore, FileExecutionStore, Query
from intentusnet.errors import IntegrityBroken
from intentusnet.log.segment import LOG_DIR, list_segments

QUERIES = [
    {},
    {"caller": "ada"},
    {"intent": "ticket.*"},
    {"tag": "vip"},
    {"status": "interrupted"},
    {"status": "success"},
    {"agent": "triage"},
    {"text": "needle"},
]


def fill(store: Any) -> None:
    for number in range(12):
        options: dict[str, Any] = {
            "caller": "ada" if number % 3 else "bob",
            "intent": "ticket.classify" if number % 2 else "mail.send",
            "tags": ["vip"] if number % 4 == 0 else [],
            "payload": "needle" if number % 5 == 0 else "hay",
        }
        store.append(execution(number, close=number % 6 != 0, **options))


@pytest.mark.parametrize("asked", QUERIES)
@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 4, 12, 1000])
def test_openings_are_those_of_the_list(
    store: ExecutionStore, asked: dict[str, str], oldest_first: bool, limit: int
) -> None:
    """Every page put together, they are the first entries of what `list` has, in its order."""
    fill(store)
    query = Query(**asked, oldest_first=oldest_first)  # type: ignore[arg-type]  # of words to a filter
    expected = [store.entries(row.execution_id)[0] for row in store.list(query).rows]

    found, page = [], store.openings(replace(query, limit=limit))
    found += page.entries
    while page.cursor is not None:
        page = store.openings(replace(query, limit=limit, cursor=page.cursor))
        assert len(page.entries) <= limit
        found += page.entries

    assert found == expected
    assert found


def test_an_empty_store_has_none(store: ExecutionStore) -> None:
    """No entries, and no further page."""
    page = store.openings()
    assert (page.entries, page.cursor) == ((), None)


@pytest.mark.parametrize("asked", QUERIES)
def test_a_damaged_line_is_an_error(tmp_path: Path, asked: dict[str, str]) -> None:
    """Whatever is asked for, an entry that is not what was written is never given."""
    with FileExecutionStore(tmp_path, "os") as store:
        fill(store)
        assert store.openings().entries
        [segment] = list_segments(tmp_path / LOG_DIR)
        data = segment.path.read_bytes()
        segment.path.write_bytes(data.replace(b'"name":"ada"', b'"name":"eve"').replace(b"bob", b"eve"))
        with pytest.raises(IntegrityBroken):
            store.openings(Query(**asked))  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("asked", [{"caller": "ada"}, {"status": "success"}])
def test_an_index_that_names_the_wrong_ones_is_found_out(tmp_path: Path, asked: dict[str, str]) -> None:
    """What the index says is only where to look: it is made anew if the lines say otherwise."""
    query = Query(**asked)  # type: ignore[arg-type]  # as above
    with FileExecutionStore(tmp_path, "os") as store:
        fill(store)
        expected = store.openings(query)
    with sqlite3.connect(tmp_path / "index.sqlite") as index:
        index.execute("UPDATE executions SET caller = (SELECT id FROM names WHERE name = 'ada'), status = 0")
    index.close()
    with FileExecutionStore(tmp_path) as store:
        assert store.openings(query) == expected
