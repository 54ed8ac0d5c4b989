"""Portable records with large values: one file, of which every byte of a value is covered."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import blobs as made
from helpers import executions

from intentusnet.log.entry import Draft, format_line
from intentusnet.log.portable import read_portable, verify_portable

ONE, TWO = made.large("one "), made.large("two ")
DRAFTS = made.execution(1, ONE, TWO, ONE, TWO)
LINES = [made.blob_of(ONE).line(), made.blob_of(TWO).line()]


def entries() -> list[bytes]:
    # Far apart in the log, so that the chain has nothing to say.
    return [format_line(draft, 7 * seq, 1, -1, bytes(32))[0] for seq, draft in enumerate(DRAFTS)]


def page_verify(data: bytes) -> None:
    """Runs the verifier that docs/record-format.md shows for portable records."""
    page = (Path(__file__).parents[3] / "docs/record-format.md").read_text("utf-8")
    log = re.search(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    record = re.search(r"^## Portable records.*?^```py\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert log is not None and record is not None
    names: dict[str, Callable[[bytes], None]] = {}
    exec(log[1] + record[1], names)  # noqa: S102 - the page promises that this program works
    names["verify_record"](data)


def test_values_stand_behind_the_entries() -> None:
    """Each value stands there once, in the order in which it is first referred to."""
    data = b"".join([*entries(), *LINES])
    found = read_portable(data, "one.jsonl")
    assert (found.report.ok, found.report.entries, found.report.executions) == (True, len(DRAFTS), 1)
    assert found.blobs == {blob.ref: blob.data for blob in map(made.blob_of, (ONE, TWO))}
    page_verify(data)


CHANGES: dict[str, tuple[Callable[[], list[bytes]], str]] = {
    "no values": (entries, "missing"),
    "the first left out": (lambda: [*entries(), LINES[1]], "missing"),
    "the last left out": (lambda: [*entries(), LINES[0]], "missing"),
    "swapped": (lambda: [*entries(), *LINES[::-1]], "missing"),
    "one of them twice": (lambda: [*entries(), LINES[0], *LINES], "missing"),
    "the last one twice": (lambda: [*entries(), *LINES, LINES[1]], "no entry refers"),
    "one that nobody named": (lambda: [*entries(), *LINES, made.blob_of("x").line()], "no entry refers"),
    "an entry behind them": (lambda: [*entries(), *LINES, entries()[0]], "template"),
    "an entry between them": (lambda: [*entries(), LINES[0], entries()[0], LINES[1]], "template"),
    "before the end": (lambda: [*entries()[:-1], *LINES, entries()[-1]], "no end"),
    "values alone": (lambda: LINES, "no end"),
    "no newline": (lambda: [*entries(), LINES[0], LINES[1][:-1]], "no end"),
    "another digest's bytes": (
        lambda: [*entries(), LINES[0].replace(b"one", b"two"), LINES[1]],
        "not the one that an entry refers to",
    ),
    "a space in the template": (
        lambda: [*entries(), LINES[0].replace(b'"value":', b'"value": '), LINES[1]],
        "not the one that an entry refers to",
    ),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_values_that_are_not_as_they_should_be_are_refused(
    change: Callable[[], list[bytes]], reason: str
) -> None:
    """Missing, swapped, doubled, added, moved or changed: found at its line, with its reason."""
    lines = change()
    report = verify_portable(b"".join(lines), "one.jsonl")
    bad = report.first_bad
    assert not report.ok and bad is not None
    assert reason in bad.reason
    assert bad.offset == sum(map(len, lines[: bad.line - 1]))
    with pytest.raises(ValueError, match=r"value|execution|end|digest|template"):
        page_verify(b"".join(lines))


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_every_changed_byte_of_a_value_s_line_is_found(mask: int) -> None:
    """Template, digest, value and newline: none can be changed unseen."""
    draft = made.execution(1, "small")
    line = made.blob_of("small").line()
    before = b"".join(format_line(one, 7 * seq, 1, -1, bytes(32))[0] for seq, one in enumerate(draft))
    assert verify_portable(before + line, "one.jsonl").ok
    for at in range(len(line)):
        changed = line[:at] + bytes([line[at] ^ mask]) + line[at + 1 :]
        assert not verify_portable(before + changed, "one.jsonl").ok, at


def test_one_value_with_two_sizes_is_refused() -> None:
    """A reference whose size is not that of its value is found, though another one is right."""
    drafts = made.execution(1, "small", "small")
    digest = made.blob_of("small").ref.digest.encode()
    wrong = drafts[4].body.replace(b'%b",7]' % digest, b'%b",8]' % digest)
    assert wrong != drafts[4].body
    drafts[4] = Draft.make("answered", drafts[4].execution, wrong)
    drafts[5] = executions.closed(drafts[:5])
    data = b"".join(format_line(one, 7 * seq, 1, -1, bytes(32))[0] for seq, one in enumerate(drafts))
    line = made.blob_of("small").line()
    for values in ([line], [line, line]):
        assert not verify_portable(data + b"".join(values), "one.jsonl").ok
