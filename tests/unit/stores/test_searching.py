"""The search for a text: in every entry, in the order asked for, wherever a stretch of the log ends."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from helpers import executions as made
from helpers.stores import change, ids, segments
from hypothesis import given, settings
from hypothesis import strategies as st

from intentusnet.errors import IntegrityBroken
from intentusnet.log.entry import Draft
from intentusnet.references import Blob
from intentusnet.stores import searching
from intentusnet.stores.base import Query, StoreSettings
from intentusnet.stores.file import FileExecutionStore
from intentusnet.stores.reading import Lines

TEXTS = ["apple", "pear", "plum"]


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few lines are read at once, so that these small logs take many readings."""
    monkeypatch.setattr(searching, "_FEWEST", 1000)
    monkeypatch.setattr(searching, "_MOST", 3000)


def numbers(store: FileExecutionStore, **query: Any) -> list[int]:
    return [int(name[:8], 16) for name in ids(store, **query)]


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[Draft], dict[int, set[str]]]:
    """Executions that overlap in any way, with texts in their answers; and which has which."""
    open_now: dict[int, list[Draft]] = {}
    texts: dict[int, set[str]] = {}
    log: list[Draft] = []
    for _ in range(draw(st.integers(1, 25))):
        number = draw(st.sampled_from([*open_now, len(texts)]))
        if number not in open_now:
            drafts = [made.opened(made.id_of(number), caller=draw(st.sampled_from(["ann", "bob"])))]
            open_now[number], texts[number] = drafts, set()
        else:
            drafts = open_now[number]
            text = draw(st.sampled_from([*TEXTS, None]))
            if text is None:
                drafts.append(made.closed(drafts))
                del open_now[number]
            else:
                drafts.append(made.answered(made.id_of(number), 0, text))
                texts[number].add(text)
        log.append(drafts[-1])
    return log, texts


@settings(max_examples=60, deadline=None)
@given(
    log=logs(),
    text=st.sampled_from(TEXTS),
    limit=st.integers(1, 4),
    oldest_first=st.booleans(),
    caller=st.sampled_from([None, "ann"]),
    compress=st.booleans(),
)
def test_all_pages_together_are_what_has_the_text(
    log: tuple[list[Draft], dict[int, set[str]]],
    text: str,
    limit: int,
    oldest_first: bool,
    caller: str | None,
    compress: bool,
) -> None:
    """However executions overlap and segments end, each that has the text is on one page, in order."""
    drafts, texts = log
    asked = [draft for draft in drafts if draft.kind == "opened" and (caller or "").encode() in draft.body]
    wanted = {draft.execution for draft in asked}
    expected = [n for n in texts if text in texts[n] and made.id_of(n) in wanted]
    with (
        TemporaryDirectory() as directory,
        FileExecutionStore(Path(directory) / "s", "os", settings=StoreSettings(segment_entries=7)) as store,
    ):
        store.append(drafts)
        if compress:
            store.seal(compress=True)
        found: list[int] = []
        cursor = None
        while True:
            page = store.list(
                Query(text=text, limit=limit, oldest_first=oldest_first, caller=caller, cursor=cursor)
            )
            assert len(page.rows) <= limit
            assert len(found) <= len(texts)
            found += [int(row.execution_id[:8], 16) for row in page.rows]
            cursor = page.cursor
            if cursor is None:
                break
    assert found == (expected if oldest_first else expected[::-1])


def test_what_frames_a_body_is_not_searched(store: FileExecutionStore) -> None:
    """Hashes, salts and the names of a line's own fields hold no text of anybody's."""
    entry = store.entries(made.id_of(1))[0]
    for text in ("salt", "durable", entry.commit.hex(), entry.salt.hex(), entry.chain.hex()):
        assert ids(store, text=text) == []


def test_a_line_longer_than_a_stretch_is_searched(store: FileExecutionStore) -> None:
    """The text is found at the end of a line that is longer than what is read at once."""
    store.append(made.execution(6, payload="x" * 20_000 + "needle"))
    store.append(made.execution(7))
    for oldest_first in (False, True):
        assert numbers(store, text="needle", oldest_first=oldest_first) == [6]


def test_a_later_page_does_not_read_what_earlier_ones_have(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pages together read about the log once, and the first one only its part."""
    read: list[int] = []
    bytes_at = Lines.bytes_at

    def noted(self: Lines, segment: int, offset: int, size: int) -> bytes:
        data = bytes_at(self, segment, offset, size)
        if size != 1 << 14:
            read.append(len(data))
        return data

    monkeypatch.setattr(Lines, "bytes_at", noted)
    with FileExecutionStore(path, "os") as store:
        for number in range(200):
            store.append(made.execution(number, payload="rare" if number % 10 == 0 else None))
        whole = sum(file.stat().st_size for file in segments(path))
        cursor, first = None, 0
        for page_number in range(20):
            page = store.list(Query(text="rare", limit=1, cursor=cursor))
            assert numbers(store, text="rare", limit=1, cursor=cursor) == [190 - 10 * page_number]
            cursor = page.cursor
            first = first or sum(read) // 2
    assert first < whole / 5
    assert sum(read) / 2 < 3 * whole


def test_a_line_that_holds_the_text_is_checked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that was changed after it was indexed is damage, not a find."""
    monkeypatch.setattr(searching, "_FEWEST", 1 << 18)
    with FileExecutionStore(path, "os") as store:
        store.append([*made.execution(6, questions=1), *made.execution(7)])
        assert len(ids(store)) == 2
        change(segments(path)[0], b'"value":"yes"', b'"value":"yea"')
        with pytest.raises(IntegrityBroken, match="committed"):
            store.list(Query(text="yea"))


def test_what_is_kept_apart_is_searched(path: Path) -> None:
    """A value in a blob is found, wherever in a stretch the line lies that refers to it."""
    blob = Blob.of(b'"' + b"x" * 40_000 + b'needle"')
    body = b'{"question":0,"scope":"attempt:0","value":%b}' % blob.ref.node()
    with FileExecutionStore(path, "os") as store:
        for number in range(6):
            drafts = [made.opened(made.id_of(number))]
            if number in (0, 3, 5):
                drafts.append(Draft.make("answered", made.id_of(number), body, blobs=[blob]))
            store.append([*drafts, made.closed(drafts)])
        assert numbers(store, text="needle") == [5, 3, 0]
        assert numbers(store, text="needle", oldest_first=True) == [0, 3, 5]


def test_what_is_appended_during_a_search_does_no_harm(
    store: FileExecutionStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that come behind what the index knows are not read, and the index is not made anew for them."""
    assert len(ids(store)) == 5
    inode = (path / "index.sqlite").stat().st_ino
    assert store._index is not None
    refresh = store._index.refresh

    def refresh_then_append() -> IntegrityBroken | None:
        damage = refresh()
        monkeypatch.setattr(store._index, "refresh", refresh)
        store.append(made.execution(6))
        return damage

    monkeypatch.setattr(store._index, "refresh", refresh_then_append)
    assert numbers(store, text="bug", oldest_first=True) == [1, 2, 3, 5]
    assert numbers(store, text="bug", oldest_first=True) == [1, 2, 3, 5, 6]
    assert (path / "index.sqlite").stat().st_ino == inode
