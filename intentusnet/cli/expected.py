"""Expected decisions: a file of cases that a policy is tested with, read with every fault named.

A case is a request as `policy explain` takes it, or its parts; what is supposed of the agent; and what is to
be decided::

    [[cases]]
    name = "a large order needs a person"
    intent = "TradingBot.place_order"
    payload = { amount = 1500 }
    expect = "deny"
    rule = "orders-above-1000"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from intentusnet.cli.app import did_you_mean
from intentusnet.errors import InvalidPolicy
from intentusnet.policy import PolicyFaults
from intentusnet.policy.files import read_document
from intentusnet.policy.rules import EFFECTS, SIDE_EFFECTS, budget_of
from intentusnet.refusals import describe

if TYPE_CHECKING:
    from intentusnet.envelope import IntentEnvelope

#: Parts of an envelope that may stand in a case itself.
_PARTS: Final = ("intent", "payload", "caller", "tags")
_SUPPOSED: Final = ("budget", "agent", "side_effect")
_EXPECTED: Final = ("expect", "rule", "cause")
_KEYS: Final = ("name", "envelope", *_PARTS, *_SUPPOSED, *_EXPECTED)
#: What a case expects by `rule` if no rule is to decide.
BY_DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Case:
    """One expected decision.

    Attributes:
        file: where it stands.
        number: which of the file's cases it is, from 1.
        name: what it is called; may be empty.
        envelope: the request.
        budget: sums of usage by the names of their budgets, as far as they are supposed.
        agent: the candidate's name; None for whoever handles the intent.
        side_effect: the candidate's; None if nothing is supposed.
        allowed: what is to be decided.
        rule: the id of the rule that is to decide, `BY_DEFAULT` for none; None if that does not matter.
        cause: with which cause; None if that does not matter.
    """

    file: str
    number: int
    name: str
    envelope: IntentEnvelope
    budget: Mapping[str, int | float] | None
    agent: str | None
    side_effect: str | None
    allowed: bool
    rule: str | None
    cause: str | None


def load_cases(path: Path) -> list[Case]:
    """The cases of a file.

    Raises:
        PolicyFaults: it cannot be read, or is malformed; all faults at once.
    """
    reader = _Reader(str(path))
    cases = reader.cases(read_document(path, "file of expected decisions"))
    if reader.faults:
        raise PolicyFaults(reader.faults)
    return cases


class _Reader:
    """Walks the data and keeps every fault; what it returns is only used when there is none."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.faults: list[InvalidPolicy] = []

    def cases(self, data: object) -> list[Case]:
        table = data if isinstance(data, Mapping) else {}
        entries = table.get("cases")
        if not isinstance(entries, list) or not entries:
            self._add("cases", "there are no cases", expected="a list of tables", got=describe(entries))
            entries = []
        self._unknown(table, ("cases",), "")
        found = [self._case(entry, number) for number, entry in enumerate(entries, 1)]
        return [case for case in found if case is not None]

    def _case(self, entry: object, number: int) -> Case | None:
        at = f"cases[{number - 1}]"
        if not isinstance(entry, Mapping):
            self._add(at, "a case is a table", expected="a table", got=describe(entry))
            return None
        self._unknown(entry, _KEYS, at)
        envelope = self._envelope(entry, at)
        expect = self._one_of(entry, "expect", EFFECTS, at, required=True)
        side_effect = self._one_of(entry, "side_effect", SIDE_EFFECTS, at)
        budget = self._budget(entry, at)
        agent, rule, cause = (self._text(entry, key, at) for key in ("agent", "rule", "cause"))
        name = self._text(entry, "name", at) or ""
        if envelope is None:
            return None
        return Case(
            self._file,
            number,
            name,
            envelope,
            budget,
            agent,
            side_effect,
            expect == "allow",
            rule,
            cause,
        )

    def _envelope(self, entry: Mapping[str, Any], at: str) -> IntentEnvelope | None:
        from intentusnet.cli.envelopes import EnvelopeFaults, envelope_of

        parts = {key: entry[key] for key in _PARTS if key in entry}
        whole = entry.get("envelope")
        if "envelope" in entry and parts:
            self._add(
                at, "the case has an envelope and parts of one", expected="one of them", got=", ".join(parts)
            )
            return None
        try:
            return envelope_of(_plain(parts if "envelope" not in entry else whole))
        except EnvelopeFaults as faults:
            within = f"{at}.envelope" if "envelope" in entry else at
            for fault in faults.faults:
                told = {"expected": fault.expected, "got": fault.got, "hint": fault.hint}
                self._add(within + fault.where.replace("/", "."), fault.message, **told)
            return None

    def _budget(self, entry: Mapping[str, Any], at: str) -> Mapping[str, int | float] | None:
        if "budget" not in entry:
            return None
        budget = _plain(entry["budget"])
        if not isinstance(budget, dict):
            self._add(
                f"{at}.budget", "budgets are a table", expected="a table of numbers", got=describe(budget)
            )
            return None
        for name, number in budget.items():
            if budget_of(name) is None:
                self._add(f"{at}.budget.{name}", "no budget has such a name", expected="SCOPE.USAGE.WINDOW")
            if type(number) not in (int, float):
                self._add(f"{at}.budget.{name}", "not a number", expected="a number", got=describe(number))
        return budget

    def _one_of(
        self, entry: Mapping[str, Any], key: str, known: tuple[str, ...], at: str, *, required: bool = False
    ) -> str | None:
        value = entry.get(key)
        if key not in entry and not required:
            return None
        if value in known:
            return str(value)
        got = describe(value) if key in entry else ""
        hint = did_you_mean(value, known).strip() if isinstance(value, str) else ""
        self._add(
            f"{at}.{key}", f"the case needs to say {key}", expected=" or ".join(known), got=got, hint=hint
        )
        return None

    def _text(self, entry: Mapping[str, Any], key: str, at: str) -> str | None:
        value = entry.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            self._add(f"{at}.{key}", f"{key} is a string", expected="a string", got=describe(value))
            return None
        return value

    def _unknown(self, table: Mapping[Any, Any], known: tuple[str, ...], at: str) -> None:
        for key in table:
            if key not in known:
                place = f"{at}.{key}" if at else str(key)
                hint = did_you_mean(str(key), known).strip()
                self._add(place, f"unknown key {str(key)!r}", expected=", ".join(known), hint=hint)

    def _add(self, at: str, message: str, *, expected: str = "", got: str = "", hint: str = "") -> None:
        where = f"{self._file}: {at}"
        self.faults.append(InvalidPolicy(message, where=where, expected=expected, got=got, hint=hint))


def _plain(node: Any) -> Any:
    """The same with floats where the file has exact numbers: what JSON would have brought."""
    if isinstance(node, Decimal):
        return float(node)
    if isinstance(node, Mapping):
        return {key: _plain(item) for key, item in node.items()}
    return [_plain(item) for item in node] if isinstance(node, list) else node
