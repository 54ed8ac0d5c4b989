"""The policy file's parser: it refuses everything that it does not understand.

A misspelt condition in a deny rule is a hole, so every unknown key, wrong type, missing or repeated id is a
fault with its path into the file, and all faults are reported at once (:class:`PolicyFaults`). What comes out
is canonical: globs and lists sorted, conditions in a fixed order, numbers exact.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeAlias, cast, get_args

from intentusnet.errors import InvalidPolicy
from intentusnet.policy.files import PolicyFaults, read_document
from intentusnet.policy.rules import (
    ARTICLES,
    BUDGET_OPERATORS,
    BUDGET_SCOPES,
    EFFECTS,
    KINDS,
    LARGEST_BITS,
    MATCHERS,
    OPERATORS,
    SIDE_EFFECTS,
    Comparison,
    Effect,
    Elements,
    Kind,
    Matcher,
    Operator,
    PolicySource,
    Rule,
    Scalar,
    budget_of,
    exact,
    glob_matcher,
    show,
)

#: In place of a faulty list: wherever a list may stand, it is no second fault.
_ANYTHING = ("*",)
#: What is asked of a field: the steps to it, once more behind each ``[*]``; the operator; the operand.
_Asked: TypeAlias = tuple[list[tuple[str, ...]], Operator, Scalar | tuple[Scalar, ...]]

_TOP_KEYS = ("default", "version", "lists", "rules")
_RULE_KEYS = ("id", "effect", "reason", *MATCHERS, "payload", "budget")
_ALIASES = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "gte": "ge", "lte": "le"}
_ID_LENGTH = 200
_DOTTED = re.compile(r"[^\[\].]+(\.[^\[\].]+|\[\*\])*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def load_policy(path: str | os.PathLike[str]) -> PolicySource:
    """Reads a policy file: JSON if its name ends in ``.json`` or its text begins with ``{``, else TOML.

    Raises:
        PolicyFaults: the file cannot be read or is malformed; ``where`` begins with its name.
    """
    return parse_policy(read_document(path), os.fspath(path))


def parse_policy(data: object, where: str = "") -> PolicySource:
    """Turns the content of a policy file into rules.

    Args:
        data: what TOML or JSON parsing gave, or the same shape built by hand.
        where: the name of the file, put before each path.

    Raises:
        PolicyFaults: anything in it is unknown, missing or of the wrong type.
    """
    reader = _Reader(where)
    source = reader.policy(data)
    if reader.faults:
        raise PolicyFaults(reader.faults)
    return source


class _Reader:
    """Walks the data and keeps every fault; what it returns is only used when there is none."""

    def __init__(self, where: str) -> None:
        self._prefix = where
        self._lists: dict[str, tuple[Scalar, ...]] = {}
        self.faults: list[InvalidPolicy] = []

    def policy(self, data: object) -> PolicySource:
        if not isinstance(data, Mapping):
            self._add(
                "", "a policy is a table", expected="a table with default and rules", got=_describe(data)
            )
            return PolicySource("deny")
        self._unknown_keys(data, _TOP_KEYS, "")
        version = data.get("version", 1)
        if type(version) is not int or version != 1:
            self._add(
                "version", "this version of policy files is not known", expected="1", got=_describe(version)
            )
        default = self._choice(data, "default", "")
        self._read_lists(data.get("lists", {}))
        entries = data.get("rules", [])
        if not isinstance(entries, list | tuple):
            hint = (
                "Begin each rule with [[rules]], in double brackets." if isinstance(entries, Mapping) else ""
            )
            self._add(
                "rules", "rules is a list of tables", expected="a list", got=_describe(entries), hint=hint
            )
            entries = []
        places: dict[str, str] = {}
        rules = tuple(self._rule(entry, f"rules[{n}]", places) for n, entry in enumerate(entries))
        return PolicySource(default, rules, self._prefix)

    def _read_lists(self, lists: object) -> None:
        if not isinstance(lists, Mapping):
            self._add("lists", "lists is a table", expected="a table of lists by name", got=_describe(lists))
            return
        for name, members in lists.items():
            before = len(self.faults)
            found = self._members(members, _join("lists", name))
            self._lists[str(name)] = found if len(self.faults) == before else _ANYTHING

    def _named(self, value: object, at: str) -> object:
        """The list that ``{ list = "NAME" }`` stands for; any other value as it is."""
        if not isinstance(value, Mapping):
            return value
        self._unknown_keys(value, ("list",), at)
        name = value.get("list")
        if type(name) is str and name in self._lists:
            return self._lists[name]
        expected = ", ".join(self._lists) or "a list of the table lists"
        hint = _did_you_mean(name, tuple(self._lists)) if type(name) is str else ""
        self._add(
            _join(at, "list"), "there is no such list", expected=expected, got=_describe(name), hint=hint
        )
        return _ANYTHING

    def _rule(self, entry: object, at: str, places: dict[str, str]) -> Rule:
        if not isinstance(entry, Mapping):
            self._add(at, "a rule is a table", expected="a table", got=_describe(entry))
            return Rule("", "deny", "", ())
        self._unknown_keys(entry, _RULE_KEYS, at)
        name = self._id(entry, at, places)
        effect = self._choice(entry, "effect", at)
        reason = entry.get("reason", "")
        if type(reason) is not str:
            self._add(f"{at}.reason", "a reason is a string", expected="a string", got=_describe(reason))
        matchers = [
            Matcher(key, self._globs(entry[key], f"{at}.{key}", side_effect=key == "side_effect"))
            for key in MATCHERS
            if key in entry
        ]
        every = effect == "allow"
        payload = self._payload(entry["payload"], f"{at}.payload", every) if "payload" in entry else ()
        budget = self._budget(entry["budget"], f"{at}.budget") if "budget" in entry else []
        return Rule(name, effect, str(reason), (*matchers, *payload, *budget))

    def _id(self, entry: Mapping[str, Any], at: str, places: dict[str, str]) -> str:
        expected = f"a printable string of 1 to {_ID_LENGTH} characters"
        name = entry.get("id")
        if "id" not in entry:
            hint = "Decisions are recorded by rule id: give it one."
            self._add(f"{at}.id", "the rule has no id", expected=expected, hint=hint)
        elif type(name) is not str or not name.strip() or not name.isprintable() or len(name) > _ID_LENGTH:
            self._add(f"{at}.id", "the id cannot be used", expected=expected, got=_describe(name))
        elif name in places:
            self._add(
                f"{at}.id", f"the id is taken by {places[name]}", expected="a unique id", got=_describe(name)
            )
        else:
            places[name] = at
            return name
        return ""

    def _choice(self, table: Mapping[str, Any], key: str, at: str) -> Effect:
        place, expected = _join(at, key), "allow or deny"
        if key not in table:
            self._add(place, f"the {'rule' if at else 'policy'} has no {key}", expected=expected)
        elif table[key] not in EFFECTS:
            value = table[key]
            hint = _did_you_mean(value, EFFECTS) if isinstance(value, str) else ""
            message = f"the {key} is neither allow nor deny"
            self._add(place, message, expected=expected, got=_describe(value), hint=hint)
        else:
            return cast(Effect, table[key])
        return "deny"

    def _globs(self, value: object, at: str, *, side_effect: bool = False) -> tuple[str, ...]:
        value = self._named(value, at)
        items = value if isinstance(value, list | tuple) else [value]
        if not items:
            self._add(
                at,
                "the list is empty, so nothing could match",
                expected="at least one glob",
                got="an empty list",
            )
        for n, item in enumerate(items):
            place = f"{at}[{n}]" if items is value else at
            if type(item) is not str or not item:
                expected = "a glob or a list of globs" if items is not value else "a glob"
                self._add(place, "not a glob", expected=expected, got=_describe(item))
            elif side_effect and not any(glob_matcher(item)(name) for name in SIDE_EFFECTS):
                expected = ", ".join(SIDE_EFFECTS)
                hint = _did_you_mean(item, SIDE_EFFECTS)
                self._add(
                    place, "there is no such side effect", expected=expected, got=_describe(item), hint=hint
                )
        return tuple(sorted({item for item in items if type(item) is str}))

    def _payload(self, value: object, at: str, every: bool) -> tuple[Comparison | Elements, ...]:
        asked: list[_Asked] = []
        for name, operators, place in self._fields(value, at, "payload", "fields"):
            path = self._path(name, place)
            # An element is there, if there is one at all: that is asked of the list.
            known = tuple(one for one in OPERATORS if path[-1] or one != "exists")
            for operator, operand in self._operators(operators, place, known, name):
                asked.append((path, operator, self._operand(operator, operand, _join(place, operator))))
        return _conditions(asked, every, "")

    def _budget(self, value: object, at: str) -> list[Comparison]:
        found = []
        for name, operators, place in self._fields(value, at, "budget", "budgets"):
            if type(name) is not str or budget_of(name) is None:
                expected = "SCOPE.USAGE.WINDOW, as in tenant.tokens.1d or caller.cost.12h"
                hint = f"Scopes are {', '.join(BUDGET_SCOPES)}; windows are a number and s, m, h or d."
                self._add(place, "no budget has such a name", expected=expected, hint=hint)
            for operator, operand in self._operators(operators, place, BUDGET_OPERATORS):
                number = self._scalar(operand, _join(place, operator), ("number",))
                found.append(Comparison((str(name),), operator, number, "budget"))
        return sorted(found, key=lambda c: (c.path, c.operator))

    def _fields(self, value: object, at: str, what: str, names: str) -> Iterator[tuple[Any, Any, str]]:
        """Each field of a table of conditions: its name, its operators, and where it stands."""
        if not isinstance(value, Mapping) or not value:
            expected = f"a table of {names}, each with a table of operators"
            self._add(at, f"{what} conditions are a table", expected=expected, got=_describe(value))
            return
        for name, operators in value.items():
            yield name, operators, _join(at, name)

    def _operators(
        self, operators: object, at: str, known: tuple[Operator, ...], field_name: object = ""
    ) -> Iterator[tuple[Operator, Any]]:
        """The operators of a field that there are, each with its operand, in a fixed order."""
        if isinstance(operators, Mapping) and operators:
            self._unknown_keys(operators, known, at, "operator", str(field_name))
            yield from ((operator, operators[operator]) for operator in known if operator in operators)
            return
        hint = f"Write {{ eq = {show(operators)} }}." if isinstance(operators, str | int | Decimal) else ""
        expected = "a table of operators"
        self._add(at, "no operator is given", expected=expected, got=_describe(operators), hint=hint)

    def _path(self, name: object, at: str) -> list[tuple[str, ...]]:
        """The steps to the field; with ``[*]`` those to the list, then those from an element on."""
        if type(name) is not str:
            self._add(at, "a field is named by a string", expected="a path", got=_describe(name))
            return [()]
        if name.startswith("/"):
            if re.search(r"~(?![01])", name):
                self._add(at, "not a JSON pointer", expected="~0 for ~ and ~1 for /", got=_describe(name))
            return [tuple(step.replace("~1", "/").replace("~0", "~") for step in name[1:].split("/"))]
        if not _DOTTED.fullmatch(name):
            if "[" in name or "]" in name:
                message, expected = "brackets can only be [*], behind a step", "items[*].price"
                hint = 'One element is items.0.price. For a key with brackets write a JSON pointer: "/a[b]".'
            else:
                message, expected = "the path has an empty step", "a.b.c"
                hint = 'For a key that is empty or has a dot in it write a JSON pointer: "/order/total".'
            self._add(at, message, expected=expected, got=_describe(name), hint=hint)
            return [("",)]
        first, *rest = name.split("[*]")
        return [tuple(first.split(".")), *(tuple(part.split(".")[1:]) for part in rest)]

    def _operand(self, operator: Operator, value: object, at: str) -> Scalar | tuple[Scalar, ...]:
        if operator in ("glob", "not_glob"):
            return self._globs(value, at)
        if operator in ("in", "not_in"):
            return self._members(self._named(value, at), at)
        if operator == "exists":
            if type(value) is not bool:
                self._add(at, "exists is true or false", expected="true or false", got=_describe(value))
            return value is True
        kinds: tuple[Kind, ...] = get_args(Kind) if operator in ("eq", "ne") else ("string", "number")
        return self._scalar(value, at, kinds)

    def _members(self, value: object, at: str) -> tuple[Scalar, ...]:
        if not isinstance(value, list | tuple) or not value:
            self._add(
                at, "there are no values to choose from", expected="a list of scalars", got=_describe(value)
            )
            return (None,)
        before = len(self.faults)
        members = [self._scalar(item, f"{at}[{n}]", get_args(Kind)) for n, item in enumerate(value)]
        if len(self.faults) > before:
            return (None,)
        first = KINDS[type(members[0])]
        for n, member in enumerate(members):
            if KINDS[type(member)] != first:
                expected = f"{ARTICLES[first]}, like the first"
                self._add(f"{at}[{n}]", "the list mixes types", expected=expected, got=_describe(value[n]))
                return (None,)
        return tuple(sorted(set(members), key=lambda member: () if member is None else (member,)))

    def _scalar(self, value: object, at: str, kinds: tuple[Kind, ...]) -> Scalar:
        kind = KINDS.get(type(value))
        if kind == "number" and kind in kinds:
            number = exact(cast(int | float | Decimal, value))
            if number is not None:
                return number
            self._add(
                at,
                "the number is too large for a double, or none",
                expected="a finite number",
                got=_describe(value),
            )
        elif kind in kinds:
            return cast(Scalar, value)
        else:
            expected = " or ".join(ARTICLES[kind] for kind in kinds)
            hint = "Write dates and times as strings." if kind is None and hasattr(value, "isoformat") else ""
            self._add(
                at, "the operand has the wrong type", expected=expected, got=_describe(value), hint=hint
            )
        return 0

    def _unknown_keys(
        self,
        table: Mapping[Any, Any],
        known: tuple[str, ...],
        at: str,
        noun: str = "key",
        field_name: str = "",
    ) -> None:
        for key, value in table.items():
            if key in known:
                continue
            hint = _did_you_mean(str(key), known)
            if field_name and not hint and isinstance(value, Mapping):
                hint = f'Quote a path with dots: "{field_name}.{key}".'
            expected = "one of " + ", ".join(known)
            self._add(_join(at, key), f"unknown {noun} {show(str(key))}", expected=expected, hint=hint)

    def _add(self, at: str, message: str, *, expected: str = "", got: str = "", hint: str = "") -> None:
        where = ": ".join(part for part in (self._prefix, at) if part)
        self.faults.append(InvalidPolicy(message, where=where, expected=expected, got=got, hint=hint))


def _conditions(asked: list[_Asked], every: bool, within: str) -> tuple[Comparison | Elements, ...]:
    """In canonical order, and what is asked of the elements of one list as one condition."""
    # By text, because 1 == True: the two spellings of a path may ask for both.
    found = {
        str(one): one
        for [path, *rest], operator, operand in asked
        if not rest
        for one in [Comparison(path, operator, operand, "payload", within)]
    }
    single = sorted(found.values(), key=lambda c: (c.path, c.operator, show(c.operand)))
    lists: dict[tuple[str, ...], list[_Asked]] = {}
    for [path, *rest], operator, operand in asked:
        if rest:
            lists.setdefault(path, []).append((rest, operator, operand))
    several = []
    for path, tests in sorted(lists.items()):
        place = Elements(path, (), every, within).place
        several.append(Elements(path, _conditions(tests, every, place), every, within))
    return (*single, *several)


def _join(at: str, key: object) -> str:
    text = str(key)
    step = text if _BARE_KEY.fullmatch(text) else f"[{show(text)}]"
    return f"{at}.{step}" if at and step is text else at + step


def _did_you_mean(word: str, known: tuple[str, ...]) -> str:
    alias = _ALIASES.get(word)
    close = [alias] if alias in known else difflib.get_close_matches(word.lower(), known, n=1)
    return f"Did you mean {close[0]}?" if close else ""


def _describe(value: object) -> str:
    """What was found, for an error: its type, and the value itself where that is short."""
    kind = KINDS.get(type(value))
    if kind in ("boolean", "null"):
        return show(cast(Scalar, value))
    if kind is not None:
        if isinstance(value, int) and value.bit_length() > LARGEST_BITS:
            return f"an integer of {value.bit_length()} bits"
        text = show(value) if isinstance(value, str) else str(value)
        return f"the {kind} {text if len(text) <= 60 else text[:59] + '…'}"
    if isinstance(value, Mapping):
        return "a table" if value else "an empty table"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return f"a {type(value).__name__}"
