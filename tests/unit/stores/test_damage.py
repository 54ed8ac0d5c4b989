"""What `FileExecutionStore` returns of a damaged log: what checks, and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import executions as made
from helpers.stores import change, ids, segments

from intentusnet.errors import IntegrityBroken, StoreRefused
from intentusnet.log.blobs import blob_path
from intentusnet.log.entry import Draft
from intentusnet.references import Blob
from intentusnet.stores.base import Query
from intentusnet.stores.file import FileExecutionStore


def lines(segment: Path) -> list[bytes]:
    return segment.read_bytes().splitlines(keepends=True)


def test_damage_is_never_returned(store: FileExecutionStore, path: Path) -> None:
    """With one byte of the third execution changed, nothing from there on is shown, and lists are refused."""
    assert len(ids(store)) == 5
    change(segments(path)[1], b'"label":"bug"', b'"label":"hug"')
    for _ in range(2):
        assert store.get(made.id_of(1)).status == "success"
        for refuse in (
            lambda: store.get(made.id_of(3)),
            lambda: store.get(made.id_of(5)),
            lambda: store.get(made.id_of(99)),
            lambda: store.resolve("@last"),
            lambda: store.resolve("0005"),
            store.list,
        ):
            with pytest.raises(IntegrityBroken) as caught:
                refuse()
            assert "seq 5" in caught.value.where
        assert store.resolve(made.id_of(1)) == made.id_of(1)


def test_what_ended_before_the_damage_can_be_listed(store: FileExecutionStore, path: Path) -> None:
    """Asked for despite the damage, what is certain is listed, and each page names the damage."""
    assert len(ids(store)) == 5
    change(segments(path)[2], b'"label":"bug"', b'"label":"hug"')
    for query, expected in (
        ({}, [3, 2, 1]),
        ({"oldest_first": True}, [1, 2, 3]),
        ({"status": "interrupted"}, []),
        ({"text": "bug"}, [3, 2, 1]),
        ({"text": "bug", "oldest_first": True}, [1, 2, 3]),
    ):
        found, cursor = [], None
        while True:
            page = store.list(Query(**query, limit=1, cursor=cursor, despite_damage=True))
            assert page.damage is not None
            assert "seq 9" in page.damage.where
            found += [row.execution_id for row in page.rows]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == [made.id_of(number) for number in expected]
        with pytest.raises(IntegrityBroken):
            store.list(Query(**query))


def test_a_page_of_a_good_log_names_no_damage(store: FileExecutionStore) -> None:
    """Being ready for damage takes nothing away from a list where there is none."""
    page = store.list(Query(despite_damage=True))
    assert (len(page.rows), page.damage) == (5, None)


def test_a_blob_that_cannot_be_searched_is_named(path: Path) -> None:
    """A text may stand in a value that is gone: that is an error, or is said on the page."""
    blob = Blob.of(b'"' + b"x" * 40_000 + b'"')
    drafts = [made.opened(made.id_of(1), payload="here")]
    body = b'{"question":0,"scope":"attempt:0","value":%b}' % blob.ref.node()
    drafts.append(Draft.make("answered", made.id_of(1), body, blobs=[blob]))
    with FileExecutionStore(path) as store:
        store.append(drafts)
        blob_path(path, blob.ref.digest).unlink()
        assert len(ids(store)) == 1
        with pytest.raises(IntegrityBroken, match="missing"):
            store.list(Query(text="xx"))
        page = store.list(Query(text="xx", despite_damage=True))
        assert page.rows == ()
        assert page.damage is not None
        assert blob.ref.digest in page.damage.where
        assert store.list(Query(text="here", despite_damage=True)).rows != ()


def test_an_open_execution_before_the_damage_is_not_called_interrupted(
    store: FileExecutionStore, path: Path
) -> None:
    """The end of an execution may lie behind the damage, so that its record would tell a half."""
    change(segments(path)[2], b'"label":"bug"', b'"label":"hug"')
    with pytest.raises(IntegrityBroken):
        store.get(made.id_of(4))
    assert store.get(made.id_of(3)).status == "success"


HARM: dict[str, Callable[[Path], object]] = {
    "a segment gone": lambda path: segments(path)[1].unlink(),
    "the end gone": lambda path: segments(path)[2].unlink(),
    "a stray file": lambda path: (path / "log" / "notes.txt").write_text(""),
    "an emptied end": lambda path: segments(path)[2].write_bytes(b""),
    "a lost line": lambda path: segments(path)[2].write_bytes(lines(segments(path)[2])[0]),
    "a line too many": lambda path: segments(path)[0].write_bytes(b"\n" + segments(path)[0].read_bytes()),
    "other lines": lambda path: segments(path)[2].write_bytes(b"".join(lines(segments(path)[2])[::-1])),
    "a cut segment": lambda path: segments(path)[1].write_bytes(segments(path)[1].read_bytes()[:-1]),
}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("harm", HARM)
def test_whatever_happens_to_the_log_is_noticed(
    store: FileExecutionStore, path: Path, harm: str, known: bool
) -> None:
    """Whether the index was made before it or after, damage gives no list, unless no line shown is hurt."""
    if known:
        assert len(ids(store)) == 5
    store.close()
    HARM[harm](path)
    with FileExecutionStore(path) as again:
        assert not again.verify().ok
        if known and harm == "a cut segment":
            assert len(ids(again)) == 5
            return
        with pytest.raises(IntegrityBroken):
            again.list()


def test_a_log_that_is_no_directory_is_refused(store: FileExecutionStore, path: Path) -> None:
    """What cannot be read at all is not empty."""
    store.close()
    for segment in segments(path):
        segment.unlink()
    (path / "log").rmdir()
    (path / "log").write_text("")
    with FileExecutionStore(path) as again, pytest.raises(StoreRefused, match="cannot be read"):
        again.list()


def test_a_line_that_is_being_written_is_not_there_yet(store: FileExecutionStore, path: Path) -> None:
    """Half a line at the end is neither damage nor an entry; when it is whole, it is one."""
    store.append(made.execution(6), durability="os")
    last = segments(path)[-1]
    whole = last.read_bytes()
    (path / "head.json").unlink()
    last.write_bytes(whole[:-100])
    with FileExecutionStore(path) as reader:
        assert reader.get(made.id_of(6)).status == "interrupted"
        last.write_bytes(whole)
        assert reader.get(made.id_of(6)).status == "success"


def test_a_body_of_no_known_format_is_refused(path: Path) -> None:
    """A line that is as it was written but says nothing that can be understood is named."""
    with FileExecutionStore(path) as store:
        store.append([Draft.make("opened", "00000001-0000-7000-8000-000000000001", b'{"envelope":{}}')])
        with pytest.raises(IntegrityBroken, match="recorded format"):
            store.list()
        assert store.verify().ok


@pytest.mark.parametrize(
    "changes",
    [{"status": "interrupted"}, {"status": None}, {"agent": 5}, {"error": {}}, {"error": "no"}],
)
def test_an_end_of_no_known_format_is_refused(path: Path, changes: dict[str, Any]) -> None:
    """An end that does not say how it ended is named, with its seq."""
    opened = made.execution(1)[:1]
    with FileExecutionStore(path) as store:
        store.append([*opened, made.closed(opened, **changes)])
        with pytest.raises(IntegrityBroken, match="recorded format") as caught:
            store.list()
        assert "seq 1" in caught.value.where
