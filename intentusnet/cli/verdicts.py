"""How `replay` tells what became of records, in each of its formats, and sums it up."""

from __future__ import annotations

from collections import Counter
from typing import Final

from intentusnet.cli.output import Output, fields, styled, text, value_at
from intentusnet.errors import IntegrityBroken, NotReplayable
from intentusnet.replay.corpus import CorpusItem, with_those_below
from intentusnet.replay.divergence import Divergence, ReplayReport, Verdict
from intentusnet.replay.reports import (
    BROKEN,
    MEANING,
    MOST_TOLD,
    JUnit,
    advice,
    annotation,
    at_fault,
    file_of,
    first_divergence,
    head_of,
    place_of,
    told_of,
    verdict_of,
)

#: Of more records than that, only those are told on a terminal that do not match, unless -v is given.
_EACH_TOLD: Final = 20
#: So many intents, and so many first divergences, are named in the summary.
_MOST_NAMED: Final = 10


class Verdicts:
    """Tells what became of each record, and what became of all; mutable.

    Args:
        out: where to.
        few: whether the records were named.
        total: how many there are, if that is known.
    """

    def __init__(self, out: Output, *, few: bool, total: int) -> None:
        self._out = out
        self._each = bool(out.verbosity) or (few and total <= _EACH_TOLD)
        self._verdicts: Counter[str] = Counter()
        self._intents: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._first: Counter[str] = Counter()
        self._guards: set[str] = set()
        self._below = 0
        self._missing = 0
        self._not_replayable = False
        self._junit = JUnit() if out.format == "junit" else None

    @property
    def total(self) -> int:
        """How many records were taken."""
        return self._verdicts.total()

    @property
    def all_match(self) -> bool:
        """Whether every one of them matches."""
        return self._verdicts[Verdict.MATCH.value] == self.total

    def take(self, item: CorpusItem) -> None:
        """Tells what became of a record."""
        self._count(item)
        if item.fault is not None:
            self._out.error(item.fault)
        if self._junit is not None:
            self._junit.take(item)
        elif self._out.format == "github":
            if verdict_of(item) != Verdict.MATCH:
                self._out.line(annotation(item))
        elif item.report is not None:
            if self._out.table:
                self._print(item, item.report)
            else:
                self._out.json(item.report.as_dict())

    def close(self) -> None:
        """Tells what became of all."""
        out = self._out
        if self._junit is not None:
            properties = {"guards": ", ".join(sorted(self._guards))} if self._guards else {}
            for line in self._junit.lines(properties):
                out.line(line.removesuffix("\n"))
        order = (*(verdict.value for verdict in Verdict), BROKEN)
        told = [
            f"{self._verdicts[word]:,} {word.replace('_', ' ')}" for word in order if self._verdicts[word]
        ]
        below = f", with {self._below:,} below them" if self._below else ""
        out.note(f"{self.total:,} replayed{below}: {', '.join(told)}")
        if self._missing:
            out.warn(f"  {self._missing:,} that they asked for are not on record here, and were not replayed")
        if self.total == 1:
            return
        for intent, count in self._failed.most_common(_MOST_NAMED):
            out.note(f"  {intent}: {count:,} of {self._intents[intent]:,} do not match")
        for place, count in self._first.most_common(_MOST_NAMED):
            out.note(f"  first divergence {place}: {count:,}")

    def exit_code(self, forgiven: int = 0) -> int:
        """How the command ends; executions below count like those above.

        Args:
            forgiven: how many of those that diverged do not count.
        """
        if self._verdicts[BROKEN]:
            return IntegrityBroken.exit_code
        if self._not_replayable:
            return NotReplayable.exit_code
        return 1 if self._verdicts[Verdict.DIVERGED.value] > forgiven else 0

    def _count(self, item: CorpusItem) -> None:
        verdict = verdict_of(item)
        self._verdicts[verdict] += 1
        if item.intent:
            self._intents[item.intent] += 1
        if item.intent and verdict != Verdict.MATCH:
            self._failed[item.intent] += 1
        self._missing += item.missing
        if item.report is None:
            return
        for report in with_those_below(item.report):
            self._guards.update(report.guards)
            self._not_replayable |= bool(report.reason)
            self._below += report is not item.report
        first = first_divergence(item)
        if first is not None:
            self._first[place_of(first)] += 1

    def _print(self, item: CorpusItem, report: ReplayReport) -> None:
        out = self._out
        if report.verdict is Verdict.MATCH and not self._each:
            return
        head = styled(report.verdict.value)
        head.append(f"  {report.execution_id}  ")
        head.append(text(item.intent), style="bold")
        out.print(head)
        if file_of(item) and report.verdict is not Verdict.MATCH:
            out.print(f"  in {text(file_of(item))}")
        if report.taken:
            names = ", ".join(dict.fromkeys(report.taken))
            out.print(f"  taken from the record, not run again: {text(names)}")
        blamed = at_fault(report)
        told = blamed if out.verbosity else blamed[:MOST_TOLD]
        for one in told:
            self._print_report(item, one)
        if len(told) < len(blamed):
            out.print(f"  … and {len(blamed) - len(told)} more executions: -v tells them all")
        for when, what in advice(item):
            line = styled(f"  {when}: ", "dim")
            line.append(text(what))
            out.print(line)
        if out.verbosity and report.guards:
            out.print(f"  guarded by {', '.join(report.guards)}")

    def _print_report(self, item: CorpusItem, report: ReplayReport) -> None:
        """What is wrong with an execution: the item's own, or one below."""
        out, first = self._out, first_divergence(item)
        if report is not item.report:
            out.print(f"  {text(head_of(item, report))}")
        if report.reason:
            out.print(f"  {text(report.reason)}")
        told = report.divergences if out.verbosity else report.divergences[:MOST_TOLD]
        for number, divergence in enumerate(told, 1):
            self._print_divergence(number, divergence, item.before if divergence is first else ())
        if len(told) < len(report.divergences):
            out.print(f"  … and {len(report.divergences) - len(told)} more: -v tells them all")

    def _print_divergence(self, number: int, divergence: Divergence, before: tuple[str, ...]) -> None:
        title = styled(f"  {number}. {divergence.kind.value}", "bold")
        title.append(f": {MEANING[divergence.kind]}")
        pairs: list[tuple[str, object]] = [("before", text(line)) for line in before]
        pairs += [(name, text(value)) for name, value in told_of(divergence)]
        pairs += [("expected", value_at(divergence.expected)), ("actual", value_at(divergence.actual))]
        self._out.print(title, fields((f"   {name}", value) for name, value in pairs))
