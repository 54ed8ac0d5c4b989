"""A store of many executions, made fast: what finding and verifying are measured on.

The executions are as a router records them, two lines each, but the lines are made directly and appended in
large batches. Everything follows from an execution's number, so that two stores of one size differ in ids,
salts and times only, and whoever measures knows what is rare.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from intentusnet import FileExecutionStore
from intentusnet.ids import SYSTEM_IDS
from intentusnet.log.entry import Draft

#: Drafts that are appended at once.
BATCH = 8_000
#: One execution in so many has no end.
INTERRUPTED_EVERY = 100_000
#: One in so many ends with an error.
ERROR_EVERY = 20
#: One in so many has the tag `vip`.
TAGGED_EVERY = 1_000
#: Caller, agent, tag and payload text of the third execution, and of no other.
RARE = "the-only-one"
_RARE_NUMBER = 3
_INTENTS, _CALLERS, _AGENTS = 20, 50, 12


def drafts_of(number: int) -> list[Draft]:
    """The entries of the execution of that number, from 0."""
    name = SYSTEM_IDS.execution_id()
    rare = number == _RARE_NUMBER
    agent = RARE if rare else f"agent-{number % _AGENTS}"
    payload = {"text": RARE if rare else "the printer is on fire", "ticket": str(number), "urgent": True}
    envelope: dict[str, object] = {
        "caller": {"name": RARE if rare else f"caller-{number % _CALLERS}", "roles": [], "tenant": None},
        "deadline": None,
        "id": name,
        "idempotency_key": None,
        "intent": {"name": f"ticket.kind-{number % _INTENTS}", "version": "1.0"},
        "payload": payload,
        "priority": 0,
        "routing": {"fallback": [], "prefer": "rank", "strategy": "direct", "target": None},
        "tags": [RARE] if rare else ["vip"] if number % TAGGED_EVERY == 0 else [],
        "traceparent": None,
    }
    candidate = {
        "agent": agent,
        "allowed": True,
        "cause": "no policy",
        "idempotent": False,
        "remote": False,
        "rule": None,
        "side_effect": "read_only",
        "version": "1.0",
    }
    opened = {
        "depth": 0,
        "envelope": envelope,
        "environment": {"agents": {agent: "0" * 64}, "intentusnet": "0.1.0", "policy": None, "python": "3"},
        "parent": None,
        "plan": {"candidates": [candidate], "steps": [agent], "strategy": "direct"},
    }
    first = Draft.make("opened", name, orjson.dumps(opened))
    if number % INTERRUPTED_EVERY == INTERRUPTED_EVERY // 2:
        return [first]
    error = {"code": "AGENT_ERROR", "details": {}, "message": "no", "type": "ValueError"}
    failed = number % ERROR_EVERY == 0
    closed = {
        "agent": agent,
        "attempt": 0,
        "count": 1,
        "digest": sha256(first.commit).hexdigest(),
        "error": error if failed else None,
        "fingerprint": "0" * 64,
        "payload": None if failed else payload,
        "status": "error" if failed else "success",
    }
    return [first, Draft.make("closed", name, orjson.dumps(closed))]


def batches(executions: int) -> Iterator[list[Draft]]:
    """The entries of that many executions, in batches."""
    batch: list[Draft] = []
    for number in range(executions):
        batch += drafts_of(number)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def make_store(directory: Path, executions: int, **options: Any) -> None:
    """Makes a store of that many executions; returns when it is on disk.

    Args:
        directory: of the store; nothing lies there yet.
        executions: how many; about 1,350 bytes of log each.
        options: of the :class:`FileExecutionStore`.
    """
    with FileExecutionStore(directory, "os", **options) as store:
        for batch in batches(executions):
            store.append(batch)


def main() -> None:
    """Makes one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, help="where the store is made")
    parser.add_argument("--executions", type=int, default=1_000_000)
    arguments = parser.parse_args()
    make_store(arguments.directory, arguments.executions)


if __name__ == "__main__":
    main()
