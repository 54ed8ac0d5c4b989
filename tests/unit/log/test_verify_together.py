"""One process and several come to the same report, whatever is wrong with a log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import orjson
import pytest
from helpers.drafts import ONE, closed, draft
from helpers.segmented import DRAFTS, PER_SEGMENT, both, make_store, name, write_log
from helpers.stores import segments
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intentusnet.log import marks, verify, verify_worker, walk
from intentusnet.log.blobs import BlobRef, blob_path, pack
from intentusnet.log.executions import Portion
from intentusnet.log.head import HeadNote, read_note
from intentusnet.log.sealing import compress_sealed
from intentusnet.log.segment import segment_name
from intentusnet.log.verify import verify_store
from intentusnet.log.walk import Checked


class InProcess:
    """Stands for the workers: the same requests and the same messages, without the processes."""

    answered: int

    def __init__(self, requests: list[dict[str, Any]], _count: int, progress: Callable[[int], None]) -> None:
        self._requests = requests
        self._progress = progress

    def __enter__(self) -> Self:
        InProcess.answered = 0
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def answer(self, index: int) -> Checked | None:
        sent = orjson.loads(orjson.dumps(self._requests[index]))
        message = orjson.loads(orjson.dumps(verify_worker.answer(sent, self._progress)))
        if message["checked"] is None:
            return None
        InProcess.answered += 1
        return verify_worker.decode(message["checked"])


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> type[InProcess]:
    monkeypatch.setattr(verify, "Workers", InProcess)
    monkeypatch.setattr(walk, "_SETTLING_S", (0.0,))
    return InProcess


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of many small segments, with executions that lie across several of them."""
    return make_store(tmp_path / "store", DRAFTS)


def test_every_segment_of_a_good_log_is_answered_for(store: Path, in_process: type[InProcess]) -> None:
    """Nothing of a good log is left for the verifier to go through itself."""
    alone, together = both(store)
    assert alone == together
    assert in_process.answered == len(segments(store)) > 8


@pytest.mark.parametrize(
    "other",
    [
        {"before": bytes(32)},
        {"first": 0},
        {"executions": Portion((), {}, {name(77).encode(): ([bytes(32)], None)})},
        {"executions": Portion((), {}, {name(0).encode(): ([bytes(32)], (1, "0"))})},
    ],
    ids=["chain before it", "place", "unknown execution", "end of an execution"],
)
def test_an_answer_that_does_not_fit_is_not_taken(
    store: Path, in_process: type[InProcess], monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    """If a worker saw another log, as when a file has changed since, its answer counts for nothing."""
    alone = verify_store(store, workers=1)
    right = in_process.answer

    def answer(self: InProcess, index: int) -> Checked | None:
        checked = right(self, index)
        assert checked is not None
        last = index == len(segments(store)) - 1
        return replace(checked, chain=bytes(32), **other) if last else checked

    monkeypatch.setattr(in_process, "answer", answer)
    assert verify_store(store, workers=2) == alone


def test_progress_never_goes_back(
    store: Path, in_process: type[InProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker has told of a segment stays told when the verifier has to go through it again."""
    monkeypatch.setattr(walk, "_LINES_PER_PROGRESS", 1)
    right = in_process.answer

    def answer(self: InProcess, index: int) -> Checked | None:
        checked = right(self, index)
        return checked if index % 2 else None

    monkeypatch.setattr(in_process, "answer", answer)
    told: list[tuple[int, int]] = []
    assert verify_store(store, lambda *done: told.append(done), workers=2).ok
    size = sum(path.stat().st_size for path in segments(store))
    assert told == sorted(set(told))
    assert len(told) == len(DRAFTS)
    assert told[-1] == (size, size)


@st.composite
def harms(draw: st.DrawFn, store: Path) -> list[tuple[Path, bytes | None]]:
    """New contents for one to three segments; None for one that is gone."""
    paths = draw(st.lists(st.sampled_from(segments(store)), min_size=1, max_size=3, unique=True))
    return [(path, draw(harmed(path))) for path in paths]


@st.composite
def harmed(draw: st.DrawFn, path: Path) -> bytes | None:
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    at = draw(st.integers(0, len(lines) - 1))
    match draw(st.sampled_from(["byte", "cut", "drop", "twice", "swap", "gone", "empty", "noise"])):
        case "byte":
            place = draw(st.integers(0, len(data) - 1))
            return data[:place] + bytes([data[place] ^ draw(st.integers(1, 255))]) + data[place + 1 :]
        case "cut":
            return data[: draw(st.integers(0, len(data) - 1))]
        case "drop":
            return b"".join(lines[:at] + lines[at + 1 :])
        case "twice":
            return b"".join(lines[: at + 1] + lines[at:])
        case "swap":
            return b"".join(reversed(lines))
        case "empty":
            return b""
        case "noise":
            return data + draw(st.binary(min_size=1, max_size=20))
    return None


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_of_a_damaged_log_the_report_is_the_same(
    store: Path, in_process: type[InProcess], data: st.DataObject
) -> None:
    """Whatever is done to its files, all that is told is what one process tells."""
    before = {path: path.read_bytes() for path in segments(store)}
    try:
        for path, content in data.draw(harms(store)):
            path.unlink() if content is None else path.write_bytes(content)
        alone, together = both(store)
        assert alone == together
    finally:
        for path, content in before.items():
            path.write_bytes(content)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_of_a_log_that_tells_nonsense_the_report_is_the_same(
    store: Path, in_process: type[InProcess], data: st.DataObject
) -> None:
    """Lines that all check, about executions that make no sense, are seen through by both in the same way."""
    drafts = list(DRAFTS)
    for _ in range(data.draw(st.integers(1, 3))):
        at, other = (data.draw(st.integers(0, len(drafts) - 1)) for _ in range(2))
        match data.draw(st.sampled_from(["drop", "copy", "swap", "claim"])):
            case "drop":
                del drafts[at]
            case "copy":
                drafts.insert(other, drafts[at])
            case "swap":
                drafts[at], drafts[other] = drafts[other], drafts[at]
            case _:
                body = data.draw(
                    st.sampled_from([b"{}", b'{"count":1,"digest":[1]}', b"{x}", b'{"count":1e9}'])
                )
                drafts[at] = draft(data.draw(st.sampled_from(["closed", "opened", "strange"])), ONE, body)
    write_log(store, drafts, data.draw(st.sampled_from([1, 3, 7])))
    alone, together = both(store)
    assert alone == together


def test_an_execution_that_is_opened_again_much_later_is_found(
    tmp_path: Path, in_process: type[InProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filter only suspects, and the second look tells the line; with a filter of one bit, too."""
    first = draft("opened", ONE)
    others = [
        one for at in range(2, 9) for one in (draft("opened", name(at)), closed(draft("opened", name(at))))
    ]
    store = make_store(tmp_path / "again", [first, closed(first), *others, first], 4)
    for add in (marks.Marks.add, lambda self, members: list(members)):
        monkeypatch.setattr(marks.Marks, "add", add)
        alone, together = both(store)
        assert alone == together
        assert alone.first_bad is not None
        assert "opened again" in alone.first_bad.reason
        assert (alone.first_bad.seq, alone.entries, alone.executions) == (16, 16, 8)


def test_a_note_of_another_line_is_found_in_whichever_segment(
    store: Path, in_process: type[InProcess]
) -> None:
    """The line that the head note names is compared with it, be it in the last segment or before it."""
    assert read_note(store) is not None
    for seq in (7, 12, len(DRAFTS) - 1):
        first = seq - seq % PER_SEGMENT
        (store / "head.json").write_bytes(HeadNote("0" * 64, 999, segment_name(first), seq).encode())
        alone, together = both(store)
        assert alone == together
        assert alone.first_bad is not None
        assert (alone.first_bad.seq, "replaced" in alone.first_bad.reason) == (seq, True)


def test_a_compressed_segment_is_checked_as_a_file_too(store: Path, in_process: type[InProcess]) -> None:
    """Compressed segments give the same report, and a byte of such a file that no line shows is found."""
    before = verify_store(store, workers=1)
    compress_sealed(store)
    assert both(store) == (before, before)
    path = segments(store)[2]
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        alone, together = both(store)
        assert alone == together
        assert alone.first_bad is not None, at
        assert (alone.first_bad.segment, alone.first_bad.line, alone.entries) == (path.name, 1, 10)
    path.write_bytes(good)
    segments(store)[-1].unlink()
    (store / "head.json").unlink()
    alone, together = both(store)
    assert alone == together
    assert alone.first_bad is not None and alone.first_bad.reason == "the last segment is gone"


def test_a_blob_that_is_damaged_is_named_at_its_entry(store: Path, in_process: type[InProcess]) -> None:
    """A blob that is missing, or has other bytes, is found at the line that names it; a good one passes."""
    value = b'"' + b"x" * 40_000 + b'"'
    good = b"".join(pack(value))
    ref = BlobRef(sha256(value).hexdigest(), len(value))
    drafts = [*DRAFTS[:7], draft("recovery", "", b'{"value":%b}' % ref.node()), *DRAFTS[7:]]
    write_log(store, drafts)
    path = blob_path(store, ref.digest)
    path.parent.mkdir(parents=True)
    for content in (None, good[:-1], b"".join(pack(b"other")), good):
        if content is not None:
            path.write_bytes(content)
        alone, together = both(store)
        assert alone == together
        bad = alone.first_bad
        assert (bad is None) is (content == good)
        assert bad is None or (bad.seq, bad.line, alone.entries) == (7, 3, 7)
        assert bad is None or "value that an entry refers to" in bad.reason
