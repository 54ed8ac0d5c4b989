"""What a policy says: rules, their conditions and their globs, as frozen data.

The data is canonical (globs and lists sorted, conditions in a fixed order, numbers exact), so that two files
that mean the same give the same rules, digest and decisions. ``parse`` makes it from a file.
"""

from __future__ import annotations

import fnmatch
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias, get_args

Effect: TypeAlias = Literal["allow", "deny"]
MatcherName: TypeAlias = Literal["intent", "agent", "caller", "role", "tenant", "tag", "side_effect"]
Operator: TypeAlias = Literal[
    "eq", "ne", "lt", "le", "gt", "ge", "in", "not_in", "glob", "not_glob", "exists"
]
Scalar: TypeAlias = str | int | Decimal | bool | None
Kind: TypeAlias = Literal["string", "number", "boolean", "null"]
Compared: TypeAlias = Literal["payload", "budget"]

EFFECTS: tuple[Effect, ...] = get_args(Effect)
MATCHERS: tuple[MatcherName, ...] = get_args(MatcherName)
OPERATORS: tuple[Operator, ...] = get_args(Operator)
BUDGET_OPERATORS: tuple[Operator, ...] = ("eq", "ne", "lt", "le", "gt", "ge")
BUDGET_SCOPES = ("caller", "tenant", "intent")
SIDE_EFFECTS = ("read_only", "reversible", "irreversible")

# Exact types only: a subclass may redefine equality, and then a rule would believe whatever the value says.
KINDS: Mapping[type, Kind] = {
    str: "string",
    int: "number",
    float: "number",
    Decimal: "number",
    bool: "boolean",
    type(None): "null",
}

ARTICLES: Mapping[Kind, str] = {
    "string": "a string",
    "number": "a number",
    "boolean": "a boolean",
    "null": "null",
}

# What a double can hold: larger numbers in a file are slips, and their decimal digits cost quadratic time.
LARGEST_BITS = 1024

_MAGIC = re.compile(r"[*?[]")
_BUDGET = re.compile(r"([a-z]+)\.([A-Za-z_][A-Za-z0-9_]*)\.([1-9][0-9]{0,8})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Matcher:
    """Globs on one fact about the envelope or the agent; any of them may match.

    Args:
        name: the fact.
        globs: case-sensitive fnmatch patterns, sorted, without repetition.
    """

    name: MatcherName
    globs: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} matches {' or '.join(self.globs)}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One operator on one field of the payload or of an element of a list in it, or on one budget.

    Args:
        path: the steps to the field, from the payload's root or from the element on: keys, or list indexes as
            text; of a budget, its name.
        operator: what is asked of the field.
        operand: one scalar; for ``in``, ``glob`` and their negations a sorted tuple of them; for ``exists`` a
            bool.
        of: where the field is looked for.
        within: the `place` of the elements; empty unless the field is one of them, or in one.
    """

    path: tuple[str, ...]
    operator: Operator
    operand: Scalar | tuple[Scalar, ...]
    of: Compared = "payload"
    within: str = ""

    @property
    def pointer(self) -> str:
        """The field as an RFC 6901 JSON pointer."""
        return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in self.path)

    @property
    def place(self) -> str:
        """The field as causes and explanations name it."""
        if self.within:
            return ".".join((self.within, *self.path))
        return self.pointer if self.of == "payload" else f"budget {self.path[0]}"

    @property
    def kind(self) -> Kind:
        """The kind of value that the operand can be compared with."""
        sample = self.operand[0] if isinstance(self.operand, tuple) else self.operand
        return KINDS[type(sample)]

    def __str__(self) -> str:
        return f"{self.place} {self.operator} {show(self.operand)}"


@dataclass(frozen=True, slots=True)
class Elements:
    """What is asked of the elements of a list in the payload, all of it of the same element.

    Args:
        path: the steps to the list.
        tests: what is asked of an element, in canonical order.
        every: whether all elements have to pass, as in an allow rule, or one suffices, as in a deny rule.
        within: the `place` of the elements that the list is in; empty if it is in none.
    """

    path: tuple[str, ...]
    tests: tuple[Comparison | Elements, ...]
    every: bool
    within: str = ""

    @property
    def of(self) -> Compared:
        """Where the list is looked for."""
        return "payload"

    @property
    def place(self) -> str:
        """The elements as the file spells them."""
        return ".".join((self.within, *self.path) if self.within else self.path) + "[*]"

    def __str__(self) -> str:
        tests = " and ".join(map(str, self.tests))
        return f"{'every' if self.every else 'some'} {self.place}: {tests}"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a budget is the sum of: usage that was told (`Context.usage`) by executions that have ended.

    Args:
        name: how policies and facts name it: ``SCOPE.USAGE.WINDOW``, as in ``tenant.tokens.1d``.
        scope: whose: of all executions with the same ``caller``, ``tenant`` or ``intent`` as the request.
        usage: the name under which it was told.
        window_us: how long before the request an execution may have ended, in microseconds.
    """

    name: str
    scope: str
    usage: str
    window_us: int


def budget_of(name: str) -> Budget | None:
    """The budget of that name; None if it names none."""
    match = _BUDGET.fullmatch(name)
    if match is None or match[1] not in BUDGET_SCOPES:
        return None
    return Budget(name, match[1], match[2], int(match[3]) * _SECONDS[match[4]] * 1_000_000)


Condition: TypeAlias = Matcher | Comparison | Elements


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: an effect that its conditions, all together, call for.

    Args:
        id: unique in its policy; it is recorded with every decision of the rule.
        effect: what applies when the rule does.
        reason: a sentence for callers, or empty.
        conditions: a conjunction in canonical order; none at all means always.
    """

    id: str
    effect: Effect
    reason: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A parsed policy.

    Args:
        default: what holds when no rule decides.
        rules: in file order.
        where: the file that it came from; not part of its identity.
    """

    default: Effect
    rules: tuple[Rule, ...] = ()
    where: str = field(default="", compare=False)

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets that the rules compare, by name: whoever decides has to bring their numbers."""
        names = {
            condition.path[0]
            for rule in self.rules
            for condition in rule.conditions
            if isinstance(condition, Comparison) and condition.of == "budget"
        }
        found = (budget_of(name) for name in sorted(names))
        return tuple(budget for budget in found if budget is not None)


def show(operand: Scalar | tuple[Scalar, ...]) -> str:
    """An operand as the policy file would spell it."""
    if isinstance(operand, tuple):
        return f"[{', '.join(show(item) for item in operand)}]"
    if isinstance(operand, Decimal):
        return str(operand)
    return json.dumps(operand, ensure_ascii=False)


def exact(value: int | float | Decimal) -> int | Decimal | None:
    """The number as it was written, in its shortest form; None for what no double can hold."""
    if isinstance(value, int):
        return value if value.bit_length() <= LARGEST_BITS else None
    number = Decimal(repr(value)) if isinstance(value, float) else value
    if not number.is_finite() or math.isinf(float(number)):
        return None
    # Decimal.normalize would round to the precision of the thread's context.
    sign, digits, exponent = number.as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    exponent = int(exponent) + len(digits) - len(text)
    number = Decimal((sign, tuple(map(int, text)), exponent if text else 0))
    return int(number) if exponent >= 0 or not text else number


def glob_matcher(glob: str) -> Callable[[str], bool]:
    """A test for one case-sensitive fnmatch pattern; only what needs a regular expression gets one."""
    if glob == "*":
        return lambda text: True
    if not _MAGIC.search(glob):
        return glob.__eq__
    if glob.endswith("*") and not _MAGIC.search(glob[:-1]):
        prefix = glob[:-1]
        return lambda text: text.startswith(prefix)
    match = re.compile(fnmatch.translate(glob)).match
    return lambda text: match(text) is not None


def is_literal(glob: str) -> bool:
    """Whether the pattern matches itself and nothing else."""
    return not _MAGIC.search(glob)
