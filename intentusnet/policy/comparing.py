"""One comparison as a function: what it finds in a payload, and what it comes to.

The answer is true, false or *unknown*: the operand is missing, or of a type that the operator cannot compare.
What is asked of the elements of a list (``[*]``) is asked of each: a deny rule needs one of which it is true,
an allow rule needs it to be true of all. An empty list leaves nothing to look at, as a missing field does.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias, cast

from intentusnet.policy.rules import ARTICLES, KINDS, Comparison, Elements, glob_matcher

# An answer that is a string is the cause of "unknown".
Answer: TypeAlias = bool | str
Getter: TypeAlias = Callable[[Any, tuple[str, ...]], Any]
Relation: TypeAlias = Callable[[Any, Any], bool]

MISSING: Final = object()
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")


def comparison_test(condition: Comparison | Elements) -> Callable[[Any], Answer]:
    """The comparison as a function of the payload, or of the budgets: of `EnvelopeFacts.compared`."""
    return _test(condition, find)


def element_test(condition: Elements) -> Callable[[Any], Answer]:
    """What the condition asks of one element, as a function of it."""
    tests = [_test(test, _walk) for test in condition.tests]

    def together(element: Any) -> Answer:
        answer: Answer = True
        for test in tests:
            one = test(element)
            if one is False:
                return False
            if answer is True:
                answer = one
        return answer

    return together


def find(payload: Any, path: tuple[str, ...]) -> Any:
    """The value of a field of a payload; `MISSING` if it is not there, or the payload is no object."""
    return _walk(payload, path) if type(payload) is dict or isinstance(payload, Mapping) else MISSING


def _walk(node: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        if type(node) is dict or isinstance(node, Mapping):
            node = node.get(step, MISSING)
        elif isinstance(node, list | tuple) and _INDEX.fullmatch(step) and int(step) < len(node):
            node = node[int(step)]
        else:
            return MISSING
    return node


def _test(condition: Comparison | Elements, get: Getter) -> Callable[[Any], Answer]:
    path = condition.path
    if isinstance(condition, Elements):
        return _elements_test(condition, get)
    if condition.operator == "exists":
        return lambda payload: (get(payload, path) is not MISSING) is condition.operand
    judge = _judge(condition)
    missing = f"operand missing: {condition.place}"
    if len(path) == 1:
        [key] = path

        def at_root(payload: Any) -> Answer:
            value = payload.get(key, MISSING) if type(payload) is dict else get(payload, path)
            return missing if value is MISSING else judge(value)

        return at_root

    def anywhere(payload: Any) -> Answer:
        value = get(payload, path)
        return missing if value is MISSING else judge(value)

    return anywhere


def _elements_test(condition: Elements, get: Getter) -> Callable[[Any], Answer]:
    """Each element by itself; then one that settles it, or else the first of which it is unknown."""
    path, test, settles = condition.path, element_test(condition), not condition.every
    missing = f"operand missing: {condition.place}"
    needs = f"operand has the wrong type: {condition.place} needs a list, not "

    def over(payload: Any) -> Answer:
        elements = get(payload, path)
        if elements is MISSING:
            return missing
        if not isinstance(elements, list | tuple):
            return needs + _type_name(elements)
        if not elements:
            return missing
        answer: Answer = not settles
        for element in elements:
            one = test(element)
            if one is settles:
                return settles
            if isinstance(one, str) and not isinstance(answer, str):
                answer = one
        return answer

    return over


def _judge(condition: Comparison) -> Callable[[Any], Answer]:
    operand, kind = condition.operand, condition.kind
    complaint = _Complaint(condition)
    relation: Relation
    if condition.operator in ("glob", "not_glob"):
        tests = [glob_matcher(glob) for glob in cast(tuple[str, ...], operand)]
        relation = _is_matched if condition.operator == "glob" else _is_not_matched
        return _same_type(str, relation, tests, complaint)
    if condition.operator in ("in", "not_in"):
        members = cast(tuple[Any, ...], operand)
        relation = _is_member if condition.operator == "in" else _is_no_member
        operand_set = frozenset(members)
        if kind == "number":
            return _number(relation, operand_set, frozenset(map(_as_float, members)), complaint)
        return _same_type(type(members[0]), relation, operand_set, complaint)
    relation = getattr(operator, condition.operator)
    if kind == "number":
        return _number(relation, operand, _as_float(operand), complaint)
    return _same_type(type(operand), relation, operand, complaint)


def _same_type(
    kind: type, relation: Relation, operand: Any, complaint: _Complaint
) -> Callable[[Any], Answer]:
    def judge(value: Any) -> Answer:
        return relation(value, operand) if type(value) is kind else complaint(value)

    return judge


def _number(relation: Relation, exact: Any, as_float: Any, complaint: _Complaint) -> Callable[[Any], Answer]:
    # A rule's 0.1 means the Decimal 0.1 to a Decimal, and the float that is written so to a float.
    def judge(value: Any) -> Answer:
        kind = type(value)
        if kind is int:
            return relation(value, exact)
        if (kind is not float and kind is not Decimal) or _is_nan(value):
            return complaint(value)
        return relation(value, as_float if kind is float else exact)

    return judge


def _is_nan(value: float | Decimal) -> bool:
    # A signalling Decimal NaN raises when it is compared.
    return value.is_nan() if isinstance(value, Decimal) else value != value


def _as_float(operand: Any) -> Any:
    return float(operand) if type(operand) is Decimal else operand


def _is_member(value: Any, members: Collection[Any]) -> bool:
    return value in members


def _is_no_member(value: Any, members: Collection[Any]) -> bool:
    return value not in members


def _is_matched(value: str, tests: list[Callable[[str], bool]]) -> bool:
    return any(test(value) for test in tests)


def _is_not_matched(value: str, tests: list[Callable[[str], bool]]) -> bool:
    return not any(test(value) for test in tests)


class _Complaint:
    """The cause that names a wrongly typed operand, written only when there is one."""

    __slots__ = ("_needs", "_place")

    def __init__(self, condition: Comparison) -> None:
        self._place = condition.place
        self._needs = f"{condition.operator} needs {ARTICLES[condition.kind]}"

    def __call__(self, value: Any) -> str:
        return f"operand has the wrong type: {self._place} is {_type_name(value)}, {self._needs}"


def _type_name(value: Any) -> str:
    kind = KINDS.get(type(value))
    if kind == "number" and _is_nan(value):
        return "NaN"
    if kind is not None:
        return ARTICLES[kind]
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return f"of type {type(value).__name__}"
