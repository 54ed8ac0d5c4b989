"""Replay of an execution together with those that it asked for, as far as their records are there.

It walks the records and replays none itself: who drives the walk does, waiting or awaiting.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Final

from intentusnet import values
from intentusnet.errors import InvalidInput, RecordNotFound
from intentusnet.fingerprint import compared_envelope
from intentusnet.record import ExecutionRecord, RecordedQuestion
from intentusnet.replay.divergence import ReplayReport, Verdict
from intentusnet.replay.replayer import ReplayOptions, not_replayable
from intentusnet.replay.strictness import Reach

#: Live, each nested execution lies on its parent's stack, so that none is deeper than this.
_DEEPEST: Final = 100
_BY_SEVERITY: Final = (Verdict.DIVERGED, Verdict.NOT_REPLAYABLE, Verdict.MATCH)

#: Yields records to be replayed and is sent their reports, so that it can be awaited, too.
Family = Generator[ExecutionRecord, ReplayReport, ReplayReport]


def nested(record: ExecutionRecord, load: Callable[[str], ExecutionRecord]) -> Family:
    """Replays a record and, below it, the executions that it asked for, as far as they can be found.

    Args:
        record: the outermost one.
        load: the record of an id, or raises RecordNotFound.
    """
    return _nested(record, load, {record.execution_id}, 0)


def replay_nested(
    record: ExecutionRecord,
    load: Callable[[str], ExecutionRecord],
    replay: Callable[[ExecutionRecord], ReplayReport],
) -> ReplayReport:
    """The same, all in one.

    Args:
        record: the outermost one.
        load: the record of an id, or raises RecordNotFound.
        replay: replays one record.
    """
    family = nested(record, load)
    try:
        due = next(family)
        while True:
            due = family.send(replay(due))
    except StopIteration as stop:
        report: ReplayReport = stop.value
        return report


def _nested(
    record: ExecutionRecord, load: Callable[[str], ExecutionRecord], seen: set[str], depth: int
) -> Family:
    report = yield record
    children = []
    for question in record.questions:
        answer = question.answer
        # An execution has one parent. Only a forged record has one child twice, or is its own descendant.
        if answer is None or answer.child is None or answer.child in seen:
            continue
        seen.add(answer.child)
        try:
            child = load(answer.child)
        except RecordNotFound:
            continue
        if depth == _DEEPEST:
            reason = f"it is nested in more than {_DEEPEST} executions"
        elif not _is_answered_by(question, child):
            reason = f"request or response are not those on record of {record.execution_id}"
        else:
            children.append((yield from _nested(child, load, seen, depth + 1)))
            continue
        options = ReplayOptions(report.strictness, reach=Reach(report.depth))
        children.append(not_replayable(child, options, reason))
    verdicts = {report.verdict, *(child.verdict for child in children)}
    worst = next(verdict for verdict in _BY_SEVERITY if verdict in verdicts)
    return replace(report, verdict=worst, children=tuple(children))


def _is_answered_by(question: RecordedQuestion, child: ExecutionRecord) -> bool:
    """Whether an execution is the one that its parent's record tells of."""
    assert question.answer is not None
    if child.outcome is None:  # then its own report says so
        return True
    try:
        answer = values.dumps(child.response.tree())
    except InvalidInput:
        return False
    asked = values.dumps(compared_envelope(child.envelope_tree))
    return (asked, answer) == (question.arguments, question.answer.data)
