"""The policy file's parser: it refuses everything that it does not understand.

A misspelt condition in a deny rule is a hole, so every unknown key, wrong type, missing or repeated id is a
fault with its path into the file, and all faults are reported at once (:class:`PolicyFaults`). What comes out
is canonical: globs and lists sorted, conditions in a fixed order, numbers exact.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, cast, get_args

from intentusnet.errors import InvalidPolicy
from intentusnet.policy.rules import (
    ARTICLES,
    EFFECTS,
    KINDS,
    LARGEST_BITS,
    MATCHERS,
    OPERATORS,
    SIDE_EFFECTS,
    Comparison,
    Effect,
    Kind,
    Matcher,
    Operator,
    PolicySource,
    Rule,
    Scalar,
    exact,
    glob_matcher,
    show,
)

_TOP_KEYS = ("default", "version", "rules")
_RULE_KEYS = ("id", "effect", "reason", *MATCHERS, "payload")
_ALIASES = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "gte": "ge", "lte": "le"}
_ID_LENGTH = 200
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class PolicyFaults(InvalidPolicy):
    """Everything that is wrong with a policy: the first fault in its own fields, all of them in ``faults``.

    Args:
        faults: at least one, in the order of the file.
    """

    def __init__(self, faults: Iterable[InvalidPolicy]) -> None:
        self.faults = tuple(faults)
        first, more = self.faults[0], len(self.faults) - 1
        message = first.message
        if more:
            message += f" (and {more} more {'fault' if more == 1 else 'faults'})"
        super().__init__(message, where=first.where, expected=first.expected, got=first.got, hint=first.hint)


def load_policy(path: str | os.PathLike[str]) -> PolicySource:
    """Reads a policy file: JSON if its name ends in ``.json`` or its text begins with ``{``, else TOML.

    Raises:
        PolicyFaults: the file cannot be read or is malformed; ``where`` begins with its name.
    """
    name = os.fspath(path)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fault(
            name, "the policy file is not UTF-8", got=f"a stray byte at offset {error.start}"
        ) from error
    except (OSError, ValueError) as error:
        message = f"the policy file cannot be read: {getattr(error, 'strerror', None) or error}"
        raise _fault(name, message, hint="Check the path and the permissions.") from error
    as_json = name.lower().endswith(".json") or (
        not name.lower().endswith(".toml") and text.lstrip().startswith("{")
    )
    return parse_policy(_read_json(text, name) if as_json else _read_toml(text, name), name)


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


def _fault(where: str, message: str, **parts: str) -> PolicyFaults:
    return PolicyFaults([InvalidPolicy(message, where=where, **parts)])


def _read_toml(text: str, name: str) -> object:
    try:
        return tomllib.loads(text, parse_float=_decimal)
    except (ValueError, RecursionError) as error:
        message = str(error)
        place = _TOML_PLACE.search(message)
        if place is None:
            raise _fault(name, f"not valid TOML: {message}") from error
        lines = text.split("\n")
        line, column = place.groups() if place[1] else (len(lines), len(lines[-1]) + 1)
        message = message[: place.start()]
        raise _fault(f"{name}:{line}:{column}", f"not valid TOML: {message}") from error


def _read_json(text: str, name: str) -> object:
    try:
        return json.loads(
            text, parse_float=_decimal, parse_constant=_no_constant, object_pairs_hook=_no_repetition
        )
    except json.JSONDecodeError as error:
        raise _fault(f"{name}:{error.lineno}:{error.colno}", f"not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise _fault(name, f"not valid JSON: {error}") from error


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"the number {text} is out of range") from error


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _no_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {show(twice)} appears twice in one object")
    return table


class _Reader:
    """Walks the data and keeps every fault; what it returns is only used when there is none."""

    def __init__(self, where: str) -> None:
        self._prefix = where
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
        comparisons = self._payload(entry["payload"], f"{at}.payload") if "payload" in entry else []
        return Rule(name, effect, str(reason), (*matchers, *comparisons))

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

    def _payload(self, value: object, at: str) -> list[Comparison]:
        if not isinstance(value, Mapping) or not value:
            expected = "a table of fields, each with a table of operators"
            self._add(at, "payload conditions are a table", expected=expected, got=_describe(value))
            return []
        found: dict[str, Comparison] = {}
        for name, operators in value.items():
            place = _join(at, name)
            path = self._path(name, place)
            if not isinstance(operators, Mapping) or not operators:
                hint = (
                    f"Write {{ eq = {show(operators)} }}."
                    if isinstance(operators, str | int | Decimal)
                    else ""
                )
                expected = "a table of operators"
                self._add(
                    place, "no operator is given", expected=expected, got=_describe(operators), hint=hint
                )
                continue
            self._unknown_keys(operators, OPERATORS, place, field_name=str(name))
            for operator in OPERATORS:
                if operator in operators:
                    operand = self._operand(operator, operators[operator], _join(place, operator))
                    condition = Comparison(path, operator, operand)
                    # By text, because 1 == True: the two spellings of a path may ask for both.
                    found[str(condition)] = condition
        return sorted(found.values(), key=lambda c: (c.path, c.operator, show(c.operand)))

    def _path(self, name: object, at: str) -> tuple[str, ...]:
        if type(name) is not str:
            self._add(at, "a field is named by a string", expected="a path", got=_describe(name))
            return ()
        if name.startswith("/"):
            if re.search(r"~(?![01])", name):
                self._add(at, "not a JSON pointer", expected="~0 for ~ and ~1 for /", got=_describe(name))
            return tuple(step.replace("~1", "/").replace("~0", "~") for step in name[1:].split("/"))
        path = tuple(name.split("."))
        if "" in path:
            hint = 'Write a JSON pointer, as in "/order/total", for a key that is empty or has a dot in it.'
            self._add(at, "the path has an empty step", expected="a.b.c", got=_describe(name), hint=hint)
        return path

    def _operand(self, operator: Operator, value: object, at: str) -> Scalar | tuple[Scalar, ...]:
        if operator == "glob":
            return self._globs(value, at)
        if operator == "in":
            return self._members(value, at)
        if operator == "exists":
            if type(value) is not bool:
                self._add(at, "exists is true or false", expected="true or false", got=_describe(value))
            return value is True
        kinds: tuple[Kind, ...] = get_args(Kind) if operator in ("eq", "ne") else ("string", "number")
        return self._scalar(value, at, kinds)

    def _members(self, value: object, at: str) -> tuple[Scalar, ...]:
        if not isinstance(value, list | tuple) or not value:
            self._add(
                at, "in needs values to choose from", expected="a list of scalars", got=_describe(value)
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
        self, table: Mapping[Any, Any], known: tuple[str, ...], at: str, field_name: str = ""
    ) -> None:
        for key, value in table.items():
            if key in known:
                continue
            noun = "operator" if field_name else "key"
            hint = _did_you_mean(str(key), known)
            if field_name and not hint and isinstance(value, Mapping):
                hint = f'Quote a path with dots: "{field_name}.{key}".'
            expected = "one of " + ", ".join(known)
            self._add(_join(at, key), f"unknown {noun} {show(str(key))}", expected=expected, hint=hint)

    def _add(self, at: str, message: str, *, expected: str = "", got: str = "", hint: str = "") -> None:
        where = ": ".join(part for part in (self._prefix, at) if part)
        self.faults.append(InvalidPolicy(message, where=where, expected=expected, got=got, hint=hint))


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
