"""The marks of executions that were closed: few are kept exactly, many in a filter of fixed size."""

from __future__ import annotations

from intentusnet.log.executions import _Marks


def test_marks_never_forget_a_member_and_hardly_invent_one() -> None:
    """Whatever was put in seems to be in, before and after the change to the filter."""
    marks = _Marks()
    members = [b"execution %d" % number for number in range(3 * _Marks._FEW)]
    invented = sum(marks.add(member) for member in members)
    assert invented <= 1
    assert all(marks.add(member) for member in members)


def test_few_marks_are_exact() -> None:
    """As long as there are few members, none is invented."""
    marks = _Marks()
    members = [b"execution %d" % number for number in range(_Marks._FEW)]
    assert not any(marks.add(member) for member in members)
    assert all(marks.add(member) for member in members)
