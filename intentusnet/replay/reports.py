"""What a replay found, in words: plain text, JUnit XML, and annotations of GitHub.

Whatever comes from a record may hold anything, so it is spelt out where a terminal, an XML parser or a log
reader would take it for something else.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from intentusnet import values
from intentusnet.replay.corpus import CorpusItem, with_those_below
from intentusnet.replay.differences import ABSENT
from intentusnet.replay.divergence import Divergence, DivergenceKind, ReplayReport, Verdict
from intentusnet.replay.ignoring import POINTED_KINDS
from intentusnet.replay.loads import RecordFile

#: What each kind of divergence means.
MEANING: Final[Mapping[DivergenceKind, str]] = {
    DivergenceKind.MISSING: "on record, and not asked",
    DivergenceKind.UNEXPECTED: "asked, and not on record",
    DivergenceKind.REORDERED: "asked at another place",
    DivergenceKind.ARGUMENTS: "asked with other arguments",
    DivergenceKind.OUTCOME: "the agent answered differently",
    DivergenceKind.PLAN: "other candidates, or in another order",
    DivergenceKind.POLICY: "the policy decides differently",
    DivergenceKind.ENVIRONMENT: "something else decides or runs",
    DivergenceKind.RESPONSE: "it ends differently",
}
#: The code asks otherwise than on record: `Context.patched` can keep the old way for old records.
_ASKED: Final = frozenset(
    {
        DivergenceKind.MISSING,
        DivergenceKind.UNEXPECTED,
        DivergenceKind.REORDERED,
        DivergenceKind.ARGUMENTS,
    }
)
#: Verdict of a record whose bytes are not what was written, or that is not there.
BROKEN: Final = "broken"

#: So many divergences of an execution are told, and so many executions: most follow from the first.
MOST_TOLD: Final = 5
#: That much of a JUnit report is held in memory; what is more waits in a file for its head.
_HELD: Final = 1 << 20
_LONGEST_VALUE: Final = 200
# Control characters, line separators, marks that turn the direction of text, lone surrogates, and what no XML
# may have.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def printable(value: object) -> str:
    """Somebody's text as one line: what is not printable is spelt out as in Python."""
    return _UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], str(value))


def verdict_of(item: CorpusItem) -> str:
    """`match`, `diverged`, `not_replayable`, or `broken`."""
    return BROKEN if item.report is None else item.report.verdict.value


def at_fault(report: ReplayReport) -> list[ReplayReport]:
    """The reports of those, of an execution and what is below it, that do not match by themselves."""
    return [one for one in with_those_below(report) if one.divergences or one.reason]


def first_divergence(item: CorpusItem) -> Divergence | None:
    """The first one, of the execution or of one below; None if there is none."""
    below = () if item.report is None else with_those_below(item.report)
    return next((one.divergences[0] for one in below if one.divergences), None)


def head_of(item: CorpusItem, report: ReplayReport) -> str:
    """Which execution it is that a report is of: the item's own, or one below."""
    if report is item.report:
        return f"{report.execution_id}  {item.intent}"
    return f"{report.execution_id}  {item.intents.get(report.execution_id, '')}, which it asked for"


def place_of(divergence: Divergence) -> str:
    """Kind, question and pointer of a divergence: what those of the same cause have in common."""
    question = re.sub(r" \[[0-9]+\]$", "", divergence.question)
    return " ".join(filter(None, (divergence.kind.value, question, divergence.pointer)))


def advice(item: CorpusItem) -> list[tuple[str, str]]:
    """What can be done about the first divergence of a record: when, and what."""
    divergence = first_divergence(item)
    if divergence is None:
        return []
    told = [("not meant", f"see {divergence.source}" if divergence.source else "mend the code")]
    if divergence.kind in _ASKED:
        told.append(("meant from now on", 'ctx.patched("…") keeps the old way for old records'))
    # An execution below has a file of its own, if it has one.
    if file_of(item) and item.report is not None and item.report.divergences:
        told.append(("meant", f"intentusnet replay {shlex.quote(file_of(item))} --update"))
    if divergence.pointer and divergence.kind.value in POINTED_KINDS:
        told.append(("does not matter", f"--ignore {divergence.pointer}"))
    return told


def told_of(divergence: Divergence) -> list[tuple[str, str]]:
    """Where a divergence is, as names and values; what it has nothing of is left out."""
    pairs = [("scope", divergence.scope or "the execution itself")]
    pairs += [
        (name, value)
        for name, value in (
            ("question", divergence.question),
            ("nearest", divergence.nearest),
            ("source", divergence.source),
        )
        if value
    ]
    return [*pairs, ("pointer", divergence.pointer or "the whole value")]


def text_of(item: CorpusItem, most: int = MOST_TOLD) -> str:
    """What became of a record, in lines of plain text.

    Args:
        item: what became of it.
        most: tell so many divergences.
    """
    return "\n".join(map(printable, _lines(item, most)))


def _lines(item: CorpusItem, most: int) -> Iterator[str]:
    report = item.report
    if report is None:
        yield f"{BROKEN}  {item.load.name}"
        yield f"  {item.fault}"
        return
    yield f"{report.verdict.value}  {head_of(item, report)}"
    if file_of(item):
        yield f"  in {file_of(item)}"
    if report.taken:
        yield f"  taken from the record, not run again: {', '.join(dict.fromkeys(report.taken))}"
    first, blamed = first_divergence(item), at_fault(report)
    for one in blamed[:most]:
        if one is not report:
            yield f"  {head_of(item, one)}"
        if one.reason:
            yield f"  {one.reason}"
        for number, divergence in enumerate(one.divergences[:most], 1):
            yield f"  {number}. {divergence.kind.value}: {MEANING[divergence.kind]}"
            pairs = [("before", line) for line in item.before] if divergence is first else []
            pairs += told_of(divergence)
            pairs += [("expected", shown(divergence.expected)), ("actual", shown(divergence.actual))]
            yield from (f"     {name:<8}  {value}" for name, value in pairs)
        if len(one.divergences) > most:
            yield f"  … and {len(one.divergences) - most} more"
    if len(blamed) > most:
        yield f"  … and {len(blamed) - most} more executions"
    for when, what in advice(item):
        yield f"  {when}: {what}"


def shown(tree: Any) -> str:
    """A raw tree as one line of JSON, cut where it is long; or that there is nothing."""
    if tree == ABSENT:
        return "(nothing)"
    text = values.dumps(tree)[: 4 * _LONGEST_VALUE + 4].decode(errors="ignore")
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


class JUnit:
    """A JUnit report: one test suite, a test case for each record; mutable.

    Failures are records that diverged; errors are those that cannot be replayed or are broken. Their numbers
    stand at the beginning, so the cases wait for the end, in a file if they are many.
    """

    def __init__(self) -> None:
        self._verdicts: Counter[str] = Counter()
        self._cases = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - closed when the document is read
            _HELD, "w+", encoding="utf-8", newline=""
        )

    def take(self, item: CorpusItem) -> None:
        """Takes note of what became of a record."""
        verdict = verdict_of(item)
        self._verdicts[verdict] += 1
        self._cases.write(_case(item, verdict))

    def lines(self, properties: Mapping[str, str]) -> Iterator[str]:
        """The document, of all that was taken, line by line; once.

        Args:
            properties: of the suite.
        """
        count = self._verdicts
        errors = count[BROKEN] + count[Verdict.NOT_REPLAYABLE.value]
        counts = f'tests="{count.total()}" failures="{count[Verdict.DIVERGED.value]}" errors="{errors}"'
        yield '<?xml version="1.0" encoding="utf-8"?>\n'
        yield f'<testsuites name="intentusnet replay" {counts}>\n'
        yield f'<testsuite name="intentusnet replay" {counts} skipped="0">\n'
        if properties:
            told = (
                f"<property name={_quoted(name)} value={_quoted(value)}/>"
                for name, value in properties.items()
            )
            yield f"<properties>{''.join(told)}</properties>\n"
        with self._cases as cases:
            cases.seek(0)
            yield from cases
        yield "</testsuite>\n</testsuites>\n"


def _case(item: CorpusItem, verdict: str) -> str:
    head = f"<testcase classname={_quoted(item.intent or 'unknown')} name={_quoted(item.load.name)}"
    if verdict == Verdict.MATCH:
        return f"{head}/>\n"
    tag = "failure" if verdict == Verdict.DIVERGED else "error"
    told = f"<{tag} type={_quoted(verdict)} message={_quoted(headline(item))}>{escape(text_of(item))}</{tag}>"
    return f"{head}>{told}</testcase>\n"


def _quoted(value: str) -> str:
    return quoteattr(printable(value))


def headline(item: CorpusItem) -> str:
    """What became of a record that does not match, in one line."""
    if item.report is None:
        return printable(item.fault)
    first = first_divergence(item)
    if first is None:
        return printable("; ".join(dict.fromkeys(one.reason for one in at_fault(item.report))))
    where = " at ".join(filter(None, (first.question, first.pointer)))
    return printable(f"{first.kind.value}: {MEANING[first.kind]}" + (f" ({where})" if where else ""))


def annotation(item: CorpusItem) -> str:
    """The workflow command with which GitHub shows a record that does not match beside the code that asked.

    Where that is not known, it stands at the record's file, if it lies in one. Source: "Workflow commands for
    GitHub Actions".
    """
    at: dict[str, str] = {}
    first = first_divergence(item)
    path, _, line = ("" if first is None else first.source).rpartition(":")
    if path and line.isdecimal():
        at = {"file": _relative(path), "line": line}
    elif file_of(item):
        at = {"file": _relative(file_of(item))}
    at["title"] = f"{verdict_of(item).replace('_', ' ')}: {item.intent or item.load.name}"
    # Lines stay lines: they are escaped below, and GitHub shows them as such.
    told = ",".join(f"{name}={_escaped(printable(value), ':,')}" for name, value in at.items())
    return f"::error {told}::{_escaped(text_of(item), chr(10))}"


def _escaped(text: str, more: str) -> str:
    return "".join(f"%{ord(sign):02X}" if sign in "%" + more else sign for sign in text)


def file_of(item: CorpusItem) -> str:
    """The record's file; "" if it lies in a store."""
    return item.load.name if isinstance(item.load, RecordFile) else ""


def _relative(path: str) -> str:
    """A path as it is from the root of the checkout, from where GitHub reads it; else from here."""
    root = os.environ.get("GITHUB_WORKSPACE") or Path.cwd()
    try:
        return Path(os.path.abspath(path)).relative_to(root).as_posix()
    except ValueError:
        return path
