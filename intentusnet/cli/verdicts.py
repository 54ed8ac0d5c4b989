"""How `replay` tells what became of records, in each of its formats, and sums it up."""

from __future__ import annotations

from collections import Counter
from typing import Final

from intentusnet.cli.output import Output, fields, styled, text, value_at
from intentusnet.errors import IntegrityBroken, NotReplayable
from intentusnet.replay.corpus import CorpusItem, RecordFile
from intentusnet.replay.divergence import Divergence, ReplayReport, Verdict
from intentusnet.replay.reports import (
    BROKEN,
    MEANING,
    MOST_TOLD,
    advice,
    annotation,
    junit,
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
        self._held: list[CorpusItem] = []

    @property
    def total(self) -> int:
        """How many records were taken."""
        return self._verdicts.total()

    @property
    def all_match(self) -> bool:
        """Whether every one of them matches."""
        return self._verdicts[Verdict.MATCH.value] == self.total

    def take(self, item: CorpusItem) -> None:
        """Tells what became of a record.

        Raises:
            IntentusError: it could not be read, and not because its bytes are not what was written.
        """
        if item.fault is not None:
            if not isinstance(item.fault, IntegrityBroken):
                raise item.fault
            self._out.error(item.fault)
        self._count(item)
        if self._out.format == "junit":
            self._held.append(item)
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
        if out.format == "junit":
            properties = {"guards": ", ".join(sorted(self._guards))} if self._guards else {}
            for piece in junit(self._held, properties):
                out.line(piece.removesuffix("\n"))
        order = (*(verdict.value for verdict in Verdict), BROKEN)
        told = [
            f"{self._verdicts[word]:,} {word.replace('_', ' ')}" for word in order if self._verdicts[word]
        ]
        out.note(f"{self.total:,} replayed: {', '.join(told)}")
        if self.total == 1:
            return
        for intent, count in self._failed.most_common(_MOST_NAMED):
            out.note(f"  {intent}: {count:,} of {self._intents[intent]:,} do not match")
        for place, count in self._first.most_common(_MOST_NAMED):
            out.note(f"  first divergence {place}: {count:,}")

    def exit_code(self, forgiven: int = 0) -> int:
        """How the command ends.

        Args:
            forgiven: how many of those that diverged do not count.
        """
        if self._verdicts[BROKEN]:
            return IntegrityBroken.exit_code
        if self._verdicts[Verdict.NOT_REPLAYABLE.value]:
            return NotReplayable.exit_code
        return 1 if self._verdicts[Verdict.DIVERGED.value] > forgiven else 0

    def _count(self, item: CorpusItem) -> None:
        verdict = verdict_of(item)
        self._verdicts[verdict] += 1
        intent = item.intent or item.load.name
        self._intents[intent] += 1
        if verdict != Verdict.MATCH:
            self._failed[intent] += 1
        if item.report is not None:
            self._guards.update(item.report.guards)
            if item.report.divergences:
                self._first[place_of(item.report.divergences[0])] += 1

    def _print(self, item: CorpusItem, report: ReplayReport) -> None:
        out = self._out
        if report.verdict is Verdict.MATCH and not self._each:
            return
        head = styled(report.verdict.value)
        head.append(f"  {report.execution_id}  ")
        head.append(text(item.intent), style="bold")
        out.print(head)
        if report.reason:
            out.print(f"  {text(report.reason)}")
        if report.taken:
            names = ", ".join(dict.fromkeys(report.taken))
            out.print(f"  taken from the record, not run again: {text(names)}")
        told = report.divergences if out.verbosity else report.divergences[:MOST_TOLD]
        for number, divergence in enumerate(told, 1):
            self._print_divergence(number, divergence, item.before if number == 1 else ())
        if len(told) < len(report.divergences):
            out.print(f"  … and {len(report.divergences) - len(told)} more: -v tells them all")
        if told:
            file = item.load.name if isinstance(item.load, RecordFile) else ""
            for when, what in advice(told[0], file=file):
                line = styled(f"  {when}: ", "dim")
                line.append(text(what))
                out.print(line)
        if out.verbosity and report.guards:
            out.print(f"  guarded by {', '.join(report.guards)}")

    def _print_divergence(self, number: int, divergence: Divergence, before: tuple[str, ...]) -> None:
        title = styled(f"  {number}. {divergence.kind.value}", "bold")
        title.append(f": {MEANING[divergence.kind]}")
        pairs: list[tuple[str, object]] = [("before", text(line)) for line in before]
        pairs += [(name, text(value)) for name, value in told_of(divergence)]
        pairs += [("expected", value_at(divergence.expected)), ("actual", value_at(divergence.actual))]
        self._out.print(title, fields((f"   {name}", value) for name, value in pairs))
