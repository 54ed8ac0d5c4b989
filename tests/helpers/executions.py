"""Executions as drafts, in the format of the log, for tests that need a log and no router."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from intentusnet import values
from intentusnet.log.entry import Draft


def id_of(number: int) -> str:
    """An execution id; neither the beginning nor the end of it is that of another number."""
    return f"{number:08x}-0000-7000-8000-{number:012x}"


def opened(
    execution: str,
    *,
    intent: str = "ticket.classify",
    version: str = "1.0",
    caller: str = "anonymous",
    tags: Iterable[str] = (),
    payload: Any = None,
    strategy: str = "direct",
    tenant: str | None = None,
    key: str | None = None,
    parent: str | None = None,
    steps: Sequence[str] = ("triage",),
    ts: int | None = None,
) -> Draft:
    envelope = {
        "caller": {"name": caller, "roles": [], "tenant": tenant},
        "deadline": None,
        "id": execution,
        "idempotency_key": key,
        "intent": {"name": intent, "version": version},
        "payload": payload,
        "priority": 0,
        "routing": {"fallback": [], "prefer": "rank", "strategy": strategy, "target": None},
        "tags": list(tags),
        "traceparent": None,
    }
    plan = {"candidates": [], "steps": list(steps), "strategy": strategy}
    link = None if parent is None else {"execution": parent, "question": 0, "scope": "attempt:0"}
    body = {
        "depth": 0 if parent is None else 1,
        "environment": {},
        "envelope": envelope,
        "parent": link,
        "plan": plan,
    }
    return Draft.make("opened", execution, values.dumps(body), ts=ts)


def asked(execution: str, question: int) -> Draft:
    body = {
        "arguments": {"args": [question], "kwargs": {}},
        "idempotent": False,
        "kind": "effect",
        "name": "llm",
        "question": question,
        "scope": "attempt:0",
        "side_effect": "reversible",
    }
    return Draft.make("asked", execution, values.dumps(body))


def answered(execution: str, question: int, value: Any = "yes") -> Draft:
    body = {"question": question, "scope": "attempt:0", "value": value}
    return Draft.make("answered", execution, values.dumps(body))


def closed(
    before: Sequence[Draft],
    *,
    agent: str | None = "triage",
    error_code: str | None = None,
    ts: int | None = None,
    **changes: Any,
) -> Draft:
    """The last entry of the execution that these drafts are; `changes` replace parts of its body."""
    error = None if error_code is None else {"code": error_code, "details": {}, "message": "no", "type": None}
    body = {
        "agent": agent,
        "attempt": 0,
        "count": len(before),
        "digest": hashlib.sha256(b"".join(draft.commit for draft in before)).hexdigest(),
        "error": error,
        "fingerprint": "0" * 64,
        "payload": None if error else {"label": "bug"},
        "status": "error" if error else "success",
        **changes,
    }
    return Draft.make("closed", before[0].execution, values.dumps(body), ts=ts)


def execution(
    number: int,
    *,
    questions: int = 0,
    close: bool = True,
    agent: str | None = "triage",
    error_code: str | None = None,
    **first: Any,
) -> list[Draft]:
    """All entries of one execution; `first` goes to `opened`."""
    name = id_of(number)
    drafts = [opened(name, **first)]
    for question in range(questions):
        drafts += [asked(name, question), answered(name, question)]
    return [*drafts, closed(drafts, agent=agent, error_code=error_code)] if close else drafts
