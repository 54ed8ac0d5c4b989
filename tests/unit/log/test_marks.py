"""The marks of executions that were closed: few are kept exactly, many in a filter of fixed size."""

from __future__ import annotations

from intentusnet.log.marks import Marks

MEMBERS = [b"execution %d" % number for number in range(3 * Marks._FEW)]


def test_marks_never_forget_a_member_and_hardly_invent_one() -> None:
    """Whatever was put in seems to be in, before and after the change to the filter."""
    marks = Marks()
    steps = (MEMBERS[:100], MEMBERS[100 : Marks._FEW], MEMBERS[Marks._FEW :])
    invented = [known for step in steps for known in marks.add(step)]
    assert len(invented) <= 1
    for step in steps:
        assert marks.add(step) == step


def test_few_marks_are_exact() -> None:
    """As long as there are few members, none is invented and none forgotten."""
    marks = Marks()
    few = MEMBERS[: Marks._FEW]
    assert marks.add(few) == []
    assert marks.add(few[::2]) == few[::2]
    assert marks.add(MEMBERS[: Marks._FEW + 1])[: Marks._FEW] == few
