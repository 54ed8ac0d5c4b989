"""The error tree: what an error tells, and what programs and shells can rely on."""

import inspect
import re

import pytest

from intentusnet import errors
from intentusnet.errors import AgentFailure, ControlSignal, IntentusError, StoreWriteFailed

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
OURS = [kind for kind in TREE if issubclass(kind, IntentusError)]


def test_an_error_says_what_where_expected_got_and_what_to_do() -> None:
    """All parts that are set stand in the text, in that order, and in the dict."""
    fault = IntentusError("it broke", where="/a", expected="b", got="c", hint="Do d.")
    assert str(fault) == "it broke; at /a; expected b; got c. Do d."
    assert fault.as_dict() == {
        "code": "INTENTUS_ERROR",
        "message": "it broke",
        "where": "/a",
        "expected": "b",
        "got": "c",
        "hint": "Do d.",
    }
    assert str(IntentusError("it broke")) == "it broke"
    assert IntentusError("it broke").as_dict() == {"code": "INTENTUS_ERROR", "message": "it broke"}


def test_codes_are_unique_and_spelt_alike() -> None:
    """Each class has a code of its own, in capitals."""
    codes = [kind.code for kind in OURS]
    assert len(set(codes)) == len(codes) and all(re.fullmatch("[A-Z_]+", code) for code in codes)


@pytest.mark.parametrize("kind", OURS)
def test_the_drawing_shows_every_error_with_its_exit_code(kind: type[IntentusError]) -> None:
    """The tree in the module's docstring names each class, and its exit code where it gives one."""
    assert errors.__doc__ is not None
    (line,) = (text for text in errors.__doc__.splitlines() if re.search(rf"\b{kind.__name__}\b", text))
    number = re.search(rf"{kind.__name__} +(\d+)", line)
    assert number is None or int(number[1]) == kind.exit_code
    assert kind.__doc__


def test_agents_failures_and_signals_are_no_errors_of_ours() -> None:
    """An agent can catch its own failures without the store's, and no Exception is a signal."""
    assert not issubclass(AgentFailure, IntentusError) and not issubclass(ControlSignal, Exception)
    assert issubclass(errors.StorePoisoned, StoreWriteFailed)
    fault = AgentFailure("m", code="RATE_LIMIT", details={"a": 1})
    assert (str(fault), fault.code, fault.details) == ("m", "RATE_LIMIT", {"a": 1})
    assert AgentFailure("m").details == {}
