"""Idempotency keys: whose a key is, what the same request is, and which executions hold their key.

Pure functions of envelopes and records. A key belongs to a caller of a tenant, so that nobody meets the
response of somebody else. Only an execution that nobody's agent has asked for can hold one: children answer
a question of their parent's, whose record has to lead to an execution of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from intentusnet import values
from intentusnet.record import ExecutionRecord, RecordedQuestion
from intentusnet.response import ErrorCode
from intentusnet.transcript import ROOT_SCOPE, attempt_of

#: What a digest is made for, so that no other digest is one of a key.
_DOMAIN: Final = b"intentusnet-idempotency-key-v1\n"


def key_digest(tenant: str | None, caller: str, key: str) -> str:
    """What stands for a caller's key: 64 hex digits."""
    return values.digest(_DOMAIN + values.dumps([tenant, caller, key]))


def digest_of_opened(opened: Mapping[str, Any]) -> str | None:
    """The digest of the key that an execution may hold; None if it has none, or can hold none.

    Args:
        opened: the body of its first entry, raw.

    Raises:
        KeyError, TypeError: it is not of the recorded format.
    """
    envelope = opened["envelope"]
    key = envelope["idempotency_key"]
    # Without steps nobody is called, whatever comes.
    if key is None or opened["parent"] is not None or not opened["plan"]["steps"]:
        return None
    return key_digest(envelope["caller"]["tenant"], envelope["caller"]["name"], key)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The parts in which two requests of the same caller are not the same; empty if they are.

    Ids, trace, deadline and priority say nothing of what is wanted. Tags and roles do: policies decide by
    them, and who has lost a role must not be told what he was told when he had it.

    Args:
        one, other: raw trees of envelopes.
    """
    mine, theirs = _parts(one), _parts(other)
    return [name for name in mine if mine[name] != theirs[name]]


def _parts(envelope: Mapping[str, Any]) -> dict[str, bytes]:
    # As bytes: to Python, 1 and 1.0 and True are equal.
    return {
        "intent": values.dumps(envelope["intent"]),
        "payload": values.dumps(envelope["payload"]),
        "routing": values.dumps(envelope["routing"]),
        "roles": values.dumps(sorted(set(envelope["caller"]["roles"]))),
        "tags": values.dumps(sorted(set(envelope["tags"]))),
    }


def has_done_something(record: ExecutionRecord) -> bool:
    """Whether an agent has answered, or something may have been done: then the execution holds its key.

    Where every agent was refused, or was cut off before it could act, its caller may try again.
    """
    return any(_acted(question) for question in record.questions)


def _acted(question: RecordedQuestion) -> bool:
    if question.scope != ROOT_SCOPE:
        acts = question.kind == "route" or question.side_effect != "read_only"
        return acts and attempt_of(question.scope) is not None
    answer = question.answer
    if question.kind != "agent" or answer is None:
        return False
    return answer.ok or not answer.refused or values.parse(answer.data)["code"] == ErrorCode.IN_DOUBT
