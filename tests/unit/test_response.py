"""How an execution ended, as bytes and back, and what becomes of exceptions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet import AgentFailure, AgentResponse, AttemptSummary, ErrorCode, ErrorInfo, values
from intentusnet.response import message_of

errors = st.builds(
    ErrorInfo,
    code=st.sampled_from(list(ErrorCode)),
    message=st.text(max_size=5),
    type=st.none() | st.just("ValueError"),
    details=st.dictionaries(
        st.text(max_size=3), st.integers() | st.tuples(st.binary(max_size=2)), max_size=2
    ),
)
attempts = st.builds(AttemptSummary, agent=st.just("a"), status=st.just("error"), error=errors) | st.just(
    AttemptSummary(agent="b", status="success")
)
responses = st.builds(
    AgentResponse,
    execution_id=st.just("id"),
    status=st.sampled_from(["success", "error"]),
    agent=st.none() | st.just("a"),
    payload=st.none() | st.tuples(st.integers(), st.sets(st.integers(), max_size=2)),
    error=st.none() | errors,
    attempts=st.lists(attempts, max_size=2).map(tuple),
    fingerprint=st.none() | st.just("f" * 64),
)


@given(responses)
def test_a_record_gives_the_response_back(response: AgentResponse) -> None:
    """`from_tree` undoes `tree`, details and payload of any recordable type included."""
    tree = values.parse(values.dumps(response.tree()))
    assert AgentResponse.from_tree(tree, "id") == response
    assert response.ok is (response.status == "success")


@given(errors)
def test_an_error_is_an_attempt(error: ErrorInfo) -> None:
    """An attempt is read from an agent's answer: an error's bytes, or a value."""
    assert AttemptSummary.of("a", False, error.encode()).error == error
    assert AttemptSummary.of("a", True, b"1") == AttemptSummary(agent="a", status="success")


class Loose(AgentFailure):
    def __init__(self, code: Any, details: Any) -> None:
        self.code, self.details = code, details


@pytest.mark.parametrize(
    ("code", "details", "told"),
    [
        ("RATE_LIMIT", {"a": (1,)}, ("RATE_LIMIT", {"a": (1,)})),
        (ErrorCode.CANCELLED, {}, ("CANCELLED", {})),
        ("rate_limit", {}, ("AGENT_ERROR", {})),
        (None, {}, ("AGENT_ERROR", {})),
        (["x"], {}, ("AGENT_ERROR", {})),
    ],
)
def test_an_agent_chooses_its_code(code: Any, details: Any, told: Any) -> None:
    """A known code counts; anything else is AGENT_ERROR."""
    error = ErrorInfo.from_exception(Loose(code, details))
    assert (error.code, error.details) == told


@pytest.mark.parametrize("details", [{1: 2}, {"a": object()}, 5, [], None])
def test_details_that_cannot_be_recorded_are_no_second_failure(details: Any) -> None:
    """What is wrong with them stands in their place."""
    assert "unrecordable" in ErrorInfo.from_exception(Loose("CANCELLED", details)).details


def test_a_failure_that_was_never_initialised_is_an_agents_error() -> None:
    """A subclass that forgets its parent's constructor still fails as itself."""

    class Bare(AgentFailure):
        def __init__(self) -> None:
            pass

    error = ErrorInfo.from_exception(Bare())
    assert (error.code, error.details) == ("AGENT_ERROR", {}) and error.type is not None


class Broken(Exception):
    def __init__(self, fault: BaseException) -> None:
        self.fault = fault

    def __str__(self) -> str:
        raise self.fault


def test_messages_hold_no_addresses_and_never_fail() -> None:
    """A message is the same in every run; one that cannot be made says so; Ctrl-C passes."""
    assert message_of(ValueError(object())) == "<object object at 0x…>"
    for fault in (ValueError(), SystemExit()):
        assert message_of(Broken(fault)) == f"<the message cannot be shown: {type(fault).__name__}>"
    with pytest.raises(KeyboardInterrupt):
        message_of(Broken(KeyboardInterrupt()))


def test_the_codes_are_those_that_were_promised() -> None:
    """Codes are public: none may go."""
    assert {code.value for code in ErrorCode} >= {
        "VALIDATION_ERROR",
        "AGENT_ERROR",
        "ROUTING_ERROR",
        "CAPABILITY_NOT_FOUND",
        "AGENT_TIMEOUT",
        "AGENT_UNAVAILABLE",
        "PROTOCOL_ERROR",
        "TRANSPORT_ERROR",
        "UNAUTHORIZED",
        "POLICY_DENIAL",
        "RATE_LIMIT",
        "INTERNAL_AGENT_ERROR",
        "PAYLOAD_TOO_LARGE",
        "WORKFLOW_ABORTED",
        "CANCELLED",
        "IN_DOUBT",
    }
    assert all(code.name == code.value for code in ErrorCode)
