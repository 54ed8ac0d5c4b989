"""Exceptions as values; how they look to agents is shown in test_context.py."""

import types
from typing import Any

import pytest

from intentusnet import raised, values


def tree_of(**changes: Any) -> bytes:
    return values.dumps({"args": ["x"], "message": "x", "type": "builtins.ValueError", **changes})


@pytest.mark.parametrize(
    "name",
    [
        "builtins.KeyboardInterrupt",
        "intentusnet.errors.ReplayHalted",
        "intentusnet.errors.ControlSignal",
        "builtins.int",
        "builtins.print",
        "os.system",
        "os.path.join",
        "nothing.Here",
        "builtins.Nothing",
        "ValueError",
        "builtins..",
        "",
        "sys.modules.os",
    ],
)
def test_only_exceptions_that_are_loaded_are_raised_again(name: str) -> None:
    """Signals, other objects and what is not there become an EffectError that names them."""
    fault = raised.revive(tree_of(type=name))
    assert type(fault) is raised.EffectError and str(fault) == f"{name}: x"


class Counting(Exception):
    made = 0

    def __init__(self, *args: object) -> None:
        type(self).made += 1
        super().__init__(*args)


class Stubborn(Exception):
    def __new__(cls, *args: object) -> "Stubborn":
        if not args:
            raise RuntimeError("not without")
        return super().__new__(cls)


class Group(ExceptionGroup[Exception]):
    def __new__(cls, message: str, faults: Any, needed: int) -> "Group":
        return super().__new__(cls, message, faults)


def test_no_constructor_of_anybody_else_runs() -> None:
    """The instance is made without it, and is complete all the same."""
    data = raised.capture(Counting("a", 1)).data
    made = Counting.made
    fault = raised.revive(data)
    assert Counting.made == made and type(fault) is Counting and fault.args == ("a", 1)


def test_a_class_that_cannot_be_made_is_named() -> None:
    """A group that lost its members' shape becomes an EffectError; a stubborn __new__ is passed by."""
    assert type(raised.revive(raised.capture(Stubborn("x")).data)) is Stubborn
    stubborn = values.parse(raised.capture(Stubborn("x")).data) | {"args": []}
    assert isinstance(raised.revive(values.dumps(stubborn)), Stubborn)
    assert type(raised.revive(tree_of(type="builtins.ExceptionGroup"))) is raised.EffectError
    group = raised.revive(raised.capture(Group("g", [ValueError(1)], 1)).data)
    assert type(group) is Group and [str(inner) for inner in group.exceptions] == ["1"]


def test_attributes_that_are_no_data_or_no_names_are_left_out() -> None:
    """What cannot be recorded is not, and does not hinder the rest."""
    fault = ValueError("x")
    fault.handle, fault.number, fault.nothing = object(), 7, None  # type: ignore[attr-defined]  # agents do that
    vars(fault)["$odd"] = 1
    assert values.parse(raised.capture(fault).data)["attributes"] == {"number": 7, "nothing": None}


def test_the_module_of_a_script_is_the_one_it_would_be_imported_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its spec, by its file, or __main__ where there is neither."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(__import__("sys").modules, "__main__", main)
    fault = type("Mine", (Exception,), {"__module__": "__main__"})
    main.Mine = fault  # type: ignore[attr-defined]  # a module made for this test

    def named() -> str:
        data = raised.capture(fault("x")).data
        assert type(raised.revive(data)) is fault
        return str(values.parse(data)["type"])

    assert named() == "__main__.Mine"
    main.__file__ = "/somewhere/app.py"
    assert named() == "app.Mine"
    main.__spec__ = types.SimpleNamespace(name="package.__main__")  # type: ignore[assignment]  # all that is asked of it
    assert named() == "package.Mine"
