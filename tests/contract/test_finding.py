"""What every store promises about finding executions: lists, filters, pages, references."""

from collections.abc import Iterator
from typing import Any

import pytest
from helpers import executions as made
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intentusnet import values
from intentusnet.errors import (
    AmbiguousReference,
    InvalidInput,
    RecordNotFound,
)
from intentusnet.ids import ManualClock
from intentusnet.log.entry import Draft
from intentusnet.references import Blob
from intentusnet.stores.base import ExecutionStore, Query


def ids(store: ExecutionStore, query: Query) -> list[str]:
    return [row.execution_id for row in store.list(query).rows]


def pages(store: ExecutionStore, **query: Any) -> Iterator[list[str]]:
    """The ids of page after page."""
    cursor = None
    while True:
        page = store.list(Query(**query, cursor=cursor))
        yield [row.execution_id for row in page.rows]
        cursor = page.cursor
        if cursor is None:
            return


def test_a_row_says_what_a_list_shows(store: ExecutionStore) -> None:
    """A row has id, time, intent, version, strategy, status, agent, duration and error code."""
    store.append([made.opened(made.id_of(1), intent="a.b", version="2", strategy="fallback", ts=1_000)])
    opened = made.opened(made.id_of(2), ts=2_000)
    store.append([opened, made.closed([opened], agent=None, error_code="POLICY_DENIAL", ts=2_010)])
    (two, one) = store.list().rows
    assert one.as_dict() == {
        "execution_id": made.id_of(1),
        "ts": 1_000,
        "intent": "a.b",
        "version": "2",
        "strategy": "fallback",
        "status": "interrupted",
        "agent": None,
        "duration_us": None,
        "error_code": None,
    }
    assert (two.ts, two.status, two.duration_us) == (2_000, "error", 10)
    assert (two.agent, two.error_code) == (None, "POLICY_DENIAL")


def test_the_newest_come_first_unless_asked_otherwise(store: ExecutionStore) -> None:
    """The order is that of opening: not of ids, and not of closing."""
    three, one, two = made.execution(3), made.execution(1), made.execution(2)
    store.append([three[0], one[0], two[0], two[1], one[1], three[1]])
    opened = [made.id_of(number) for number in (3, 1, 2)]
    assert ids(store, Query()) == opened[::-1]
    assert ids(store, Query(oldest_first=True)) == opened


QUOTED = 'say "hi"\n'
FILTERS = [
    ({"status": "success"}, [1, 2]),
    ({"status": "error"}, [3]),
    ({"status": "interrupted"}, [4]),
    ({"intent": "ticket.classify"}, [1, 3]),
    ({"intent": "ticket.*"}, [1, 2, 3]),
    ({"intent": "*.[!c]*"}, [2, 4]),
    ({"intent": "TICKET.*"}, []),
    ({"agent": "triage"}, [1]),
    ({"agent": "tria*"}, []),
    ({"caller": "ann"}, [1, 2]),
    ({"caller": "nobody"}, []),
    ({"tag": "vip"}, [1, 3]),
    ({"tag": "vi"}, []),
    ({"error_code": "POLICY_DENIAL"}, [3]),
    ({"error_code": "AGENT_ERROR"}, []),
    ({"since_us": 1_010}, [2, 3, 4]),
    ({"until_us": 1_020}, [1, 2]),
    ({"since_us": 1_010, "until_us": 1_020}, [2]),
    ({"text": "Zürich"}, [1]),
    ({"text": QUOTED}, [2]),
    ({"text": "POLICY_DENIAL"}, [3]),
    ({"text": "zürich"}, []),
    ({"text": "\ud800"}, []),
    ({"tag": "vip", "status": "success", "intent": "ticket.?lassify", "caller": "ann", "text": "rich"}, [1]),
    ({"tag": "vip", "status": "interrupted"}, []),
]


@pytest.mark.parametrize(("query", "numbers"), FILTERS)
def test_filters(store: ExecutionStore, query: dict[str, Any], numbers: list[int]) -> None:
    """Each filter finds what it says, and together they find what all of them say."""
    store.append(made.execution(1, caller="ann", tags=["vip", "eu"], payload="Zürich", ts=1_000))
    store.append(made.execution(2, caller="ann", intent="ticket.open", agent="x", payload=QUOTED, ts=1_010))
    denied = {"agent": "y", "error_code": "POLICY_DENIAL"}
    store.append(made.execution(3, caller="bob", tags=["vip", "vip"], ts=1_020, **denied))
    store.append(made.execution(4, intent="money.move", close=False, ts=1_030))
    assert ids(store, Query(**query, oldest_first=True)) == [made.id_of(number) for number in numbers]


def test_a_text_is_looked_for_in_every_entry(store: ExecutionStore) -> None:
    """Arguments, answers, errors and what is kept apart as a blob are searched; the empty text is in all."""
    kept_apart = Blob.of(values.dumps("x" * 40_000 + "in a blob"))
    for number in range(4):
        drafts = [
            made.opened(made.id_of(number), payload="first"),
            made.asked(made.id_of(number), 7 + number),
        ]
        if number == 1:
            drafts.append(made.answered(made.id_of(number), 8, "Grüße \t 🦀"))
        if number == 2:
            body = values.dumps({"question": 9, "scope": "attempt:0", "value": 0})
            body = body.replace(b'"value":0', b'"value":' + kept_apart.ref.node())
            drafts.append(Draft.make("answered", made.id_of(number), body, blobs=[kept_apart]))
        store.append([*drafts, made.closed(drafts, error_code="AGENT_ERROR" if number == 3 else None)])
    for text, found in {
        "first": [3, 2, 1, 0],
        "": [3, 2, 1, 0],
        "llm": [3, 2, 1, 0],
        "Grüße \t": [1],
        "🦀": [1],
        "in a blob": [2],
        "AGENT_ERROR": [3],
        "salt": [],
        "second": [],
    }.items():
        assert ids(store, Query(text=text)) == [made.id_of(number) for number in found], text


def test_names_of_every_sort_are_found_again(store: ExecutionStore) -> None:
    """Names with quotes, zeros, percent signs and every script are matched as they are."""
    names = ["o'hara", 'a"b', "50%", "a_b", "nul\0nul", "日本", "🦀", " "]
    for number, name in enumerate(names):
        store.append(made.execution(number, caller=name, tags=[name], intent=name, agent=name))
    for number, name in enumerate(names):
        for query in (Query(caller=name), Query(tag=name), Query(intent=name), Query(agent=name)):
            assert ids(store, query) == [made.id_of(number)]


def test_an_execution_changes_its_status_when_it_ends(store: ExecutionStore) -> None:
    """What is interrupted now and closed later is found by its new status, and only by it."""
    drafts = made.execution(1, questions=1)
    store.append(drafts[:2])
    assert ids(store, Query(status="interrupted")) == [made.id_of(1)]
    store.append(drafts[2:])
    assert ids(store, Query(status="interrupted")) == []
    assert ids(store, Query(status="success", agent="triage")) == [made.id_of(1)]


SPECS = st.lists(
    st.tuples(
        st.sampled_from(["a.x", "a.y", "b"]),
        st.sampled_from(["ann", "bob"]),
        st.sets(st.sampled_from(["red", "green"])),
        st.sampled_from([None, "AGENT_ERROR"]),
        st.booleans(),
    ),
    max_size=12,
)
QUERIES = st.fixed_dictionaries(
    {"limit": st.integers(1, 4), "oldest_first": st.booleans()},
    optional={
        "intent": st.sampled_from(["a.*", "b", "?.x", "none"]),
        "caller": st.sampled_from(["ann", "bob", "eve"]),
        "tag": st.sampled_from(["red", "green", "blue"]),
        "status": st.sampled_from(["success", "error", "interrupted"]),
        "error_code": st.sampled_from(["AGENT_ERROR", "TIMEOUT"]),
        "since_us": st.integers(990, 1_130),
        "until_us": st.integers(1_131, 1_200),
        "text": st.sampled_from(["ann", "red", "bug"]),
    },
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(specs=SPECS, query=QUERIES)
def test_pages_together_are_what_a_plain_list_gives(
    fresh: Any, specs: list[Any], query: dict[str, Any]
) -> None:
    """Whatever the filters and the size of a page, all pages together are the filtered list, in order."""
    expected = []
    with fresh(ManualClock(start_us=1_000, step_us=10)) as store:
        for number, (intent, caller, tags, error_code, close) in enumerate(specs):
            first = {"intent": intent, "caller": caller, "tags": sorted(tags), "ts": 1_000 + 10 * number}
            store.append(made.execution(number, close=close, error_code=error_code, **first))
            status = "interrupted" if not close else "error" if error_code else "success"
            code = error_code if close else None
            texts = {caller, *tags, *(["bug"] if status == "success" else [])}
            wanted = {"a.*": {"a.x", "a.y"}, "b": {"b"}, "?.x": {"a.x"}, "none": set()}
            if (
                ("intent" not in query or intent in wanted[query["intent"]])
                and query.get("caller", caller) == caller
                and ("tag" not in query or query["tag"] in tags)
                and query.get("status", status) == status
                and ("error_code" not in query or query["error_code"] == code)
                and query.get("since_us", 0) <= 1_000 + 10 * number < query.get("until_us", 10_000)
                and ("text" not in query or query["text"] in texts)
            ):
                expected.append(made.id_of(number))
        found = list(pages(store, **query))
    assert [name for page in found for name in page] == (
        expected if query["oldest_first"] else expected[::-1]
    )
    assert all(len(page) == query["limit"] for page in found[:-1])


@pytest.mark.parametrize("oldest_first", [False, True])
def test_paging_is_stable_while_others_append(store: ExecutionStore, oldest_first: bool) -> None:
    """With appends between the pages, none is shown twice and none that was there is left out."""
    start = [made.id_of(number) for number in range(7)]
    for number in range(7):
        store.append(made.execution(number))
    shown: list[str] = []
    for number, page in enumerate(pages(store, limit=2, oldest_first=oldest_first), 100):
        shown += page
        if number < 104:
            store.append(made.execution(number))
    assert len(shown) == len(set(shown))
    assert [name for name in shown if name in start] == (start if oldest_first else start[::-1])


def test_a_cursor_belongs_to_its_direction(store: ExecutionStore) -> None:
    """A cursor of one direction is refused by the other, instead of showing the wrong rows."""
    store.append([*made.execution(1), *made.execution(2)])
    cursor = store.list(Query(limit=1)).cursor
    with pytest.raises(InvalidInput, match="direction"):
        store.list(Query(limit=1, cursor=cursor, oldest_first=True))


@pytest.mark.parametrize(
    ("reference", "number"),
    [
        ("00000002-0000-7000-8000-000000000002", 2),
        ("0000000a", 10),
        ("0000000a-0000-7", 10),
        ("000b", 11),
        ("000000000002", 2),
        ("@last", 2),
        ("@last~0", 2),
        ("@last~1", 11),
        ("@last~2", 10),
    ],
)
def test_a_reference_means_one_execution(store: ExecutionStore, reference: str, number: int) -> None:
    """A full id, its beginning or end, and `@last~N` in the order of opening name an execution."""
    for there in (10, 11, 2):
        store.append(made.execution(there))
    assert store.resolve(reference) == made.id_of(number)


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        ("ffff", RecordNotFound),
        ("0-70", RecordNotFound),
        ("00b", RecordNotFound),
        ("", RecordNotFound),
        ("%%%%", RecordNotFound),
        ("@last~3", RecordNotFound),
        ("@last~999999999999999999", RecordNotFound),
        ("@first", InvalidInput),
        ("@last~", InvalidInput),
        ("@last~-1", InvalidInput),
        ("@last~" + "9" * 19, InvalidInput),
    ],
)
def test_a_reference_that_means_nothing_is_refused(
    store: ExecutionStore, reference: str, error: type[Exception]
) -> None:
    """What fits no execution is not found, what is no reference at all is malformed."""
    for there in (10, 11, 2):
        store.append(made.execution(there))
    with pytest.raises(error):
        store.resolve(reference)


@pytest.mark.parametrize(("count", "more"), [(2, False), (5, False), (6, True), (9, True)])
def test_an_ambiguous_reference_names_what_it_fits(store: ExecutionStore, count: int, more: bool) -> None:
    """The error names the newest five at most, and says whether there are more."""
    for number in range(count):
        store.append(made.execution(number))
    with pytest.raises(AmbiguousReference) as caught:
        store.resolve("0000000")
    named = [number for number in range(count) if made.id_of(number) in caught.value.got]
    assert named == list(range(count))[-5:]
    assert caught.value.got.endswith("…") is more


def test_a_full_id_is_never_ambiguous(store: ExecutionStore) -> None:
    """The beginning of one id and the end of another is ambiguous; the id itself is not."""
    store.append(made.execution(0x12345678))
    store.append([made.opened("aaaaaaaa-0000-7000-8000-000012345678")])
    with pytest.raises(AmbiguousReference):
        store.resolve("12345678")
    assert store.resolve(made.id_of(0x12345678)) == made.id_of(0x12345678)
