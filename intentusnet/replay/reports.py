"""What a replay found, in words: plain text, JUnit XML, and annotations of GitHub.

Whatever comes from a record may hold anything, so it is spelt out where a terminal, an XML parser or a log
reader would take it for something else.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from intentusnet import values
from intentusnet.replay.corpus import CorpusItem, RecordFile
from intentusnet.replay.differences import ABSENT
from intentusnet.replay.divergence import Divergence, DivergenceKind, Verdict
from intentusnet.replay.ignoring import POINTED_KINDS

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

#: So many divergences of a record are told: most follow from the first.
MOST_TOLD: Final = 5
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


def place_of(divergence: Divergence) -> str:
    """Kind, question and pointer of a divergence: what those of the same cause have in common."""
    question = re.sub(r" \[[0-9]+\]$", "", divergence.question)
    return " ".join(filter(None, (divergence.kind.value, question, divergence.pointer)))


def advice(divergence: Divergence, *, file: str = "") -> list[tuple[str, str]]:
    """What can be done about a divergence: when, and what.

    Args:
        divergence: the first one of a record.
        file: the record's, if it lies in one.
    """
    told = [("not meant", f"see {divergence.source}" if divergence.source else "mend the code")]
    if divergence.kind in _ASKED:
        told.append(("meant from now on", 'ctx.patched("…") keeps the old way for old records'))
    if file:
        told.append(("meant", f"intentusnet replay {shlex.quote(file)} --update"))
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
    yield f"{report.verdict.value}  {report.execution_id}  {item.intent}"
    if report.reason:
        yield f"  {report.reason}"
    if report.taken:
        yield f"  taken from the record, not run again: {', '.join(dict.fromkeys(report.taken))}"
    for number, divergence in enumerate(report.divergences[:most], 1):
        yield f"  {number}. {divergence.kind.value}: {MEANING[divergence.kind]}"
        pairs = [("before", line) for line in item.before] if number == 1 else []
        pairs += told_of(divergence)
        pairs += [("expected", shown(divergence.expected)), ("actual", shown(divergence.actual))]
        yield from (f"     {name:<8}  {value}" for name, value in pairs)
    if len(report.divergences) > most:
        yield f"  … and {len(report.divergences) - most} more"
    if report.divergences:
        for when, what in advice(report.divergences[0], file=_file(item)):
            yield f"  {when}: {what}"


def shown(tree: Any) -> str:
    """A raw tree as one line of JSON, cut where it is long; or that there is nothing."""
    if tree == ABSENT:
        return "(nothing)"
    text = values.dumps(tree)[: 4 * _LONGEST_VALUE + 4].decode(errors="ignore")
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def junit(items: Iterable[CorpusItem], properties: Mapping[str, str]) -> Iterator[str]:
    """A JUnit report in pieces of XML: one test suite, a test case for each record.

    Failures are records that diverged; errors are those that cannot be replayed or are broken.

    Args:
        items: what became of the records; all of them are held, because their number stands at the beginning.
        properties: of the suite.
    """
    cases, failures, errors = [], 0, 0
    for item in items:
        verdict = verdict_of(item)
        failures += verdict == Verdict.DIVERGED
        errors += verdict in (BROKEN, Verdict.NOT_REPLAYABLE)
        cases.append(_case(item, verdict))
    counts = f'tests="{len(cases)}" failures="{failures}" errors="{errors}"'
    yield '<?xml version="1.0" encoding="utf-8"?>\n'
    yield f'<testsuites name="intentusnet replay" {counts}>\n'
    yield f'<testsuite name="intentusnet replay" {counts} skipped="0">\n'
    if properties:
        told = (f"<property name={_quoted(name)} value={_quoted(properties[name])}/>" for name in properties)
        yield f"<properties>{''.join(told)}</properties>\n"
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
    report = item.report
    if report is None:
        return printable(item.fault)
    if not report.divergences:
        return printable(report.reason)
    first = report.divergences[0]
    where = " at ".join(filter(None, (first.question, first.pointer)))
    return printable(f"{first.kind.value}: {MEANING[first.kind]}" + (f" ({where})" if where else ""))


def annotation(item: CorpusItem) -> str:
    """The workflow command with which GitHub shows a record that does not match beside the code that asked.

    Where that is not known, it stands at the record's file, if it lies in one. Source: "Workflow commands for
    GitHub Actions".
    """
    at: dict[str, str] = {}
    report = item.report
    source = report.divergences[0].source if report is not None and report.divergences else ""
    path, _, line = source.rpartition(":")
    if path and line.isdecimal():
        at = {"file": _relative(path), "line": line}
    elif _file(item):
        at = {"file": _relative(_file(item))}
    at["title"] = f"{verdict_of(item).replace('_', ' ')}: {item.intent or item.load.name}"
    # Lines stay lines: they are escaped below, and GitHub shows them as such.
    told = ",".join(f"{name}={_escaped(printable(value), ':,')}" for name, value in at.items())
    return f"::error {told}::{_escaped(text_of(item), chr(10))}"


def _escaped(text: str, more: str) -> str:
    return "".join(f"%{ord(sign):02X}" if sign in "%" + more else sign for sign in text)


def _file(item: CorpusItem) -> str:
    return item.load.name if isinstance(item.load, RecordFile) else ""


def _relative(path: str) -> str:
    """A path as it is from here, if it lies below."""
    try:
        return Path(os.path.abspath(path)).relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path
