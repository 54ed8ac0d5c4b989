"""What is promised to stay: the exported names and the signatures of the two classes that users meet."""

import inspect
import subprocess
import sys

import pytest

import intentusnet
from intentusnet import AsyncContext, Context, IntentusRuntime
from intentusnet.base_context import BaseContext
from intentusnet.registering import Registering
from intentusnet.replay.recovering import Recovering
from intentusnet.replay.replaying import Replaying

NAMES = [
    "AgentDefinition",
    "AgentFailure",
    "AgentResponse",
    "AsyncBound",
    "AsyncContext",
    "AttemptSummary",
    "Breaker",
    "Caller",
    "Capability",
    "Concurrency",
    "Context",
    "Depth",
    "Difference",
    "Divergence",
    "DivergenceKind",
    "ErrorCode",
    "ErrorInfo",
    "ExecutionRecord",
    "ExecutionStore",
    "FileExecutionStore",
    "IntentEnvelope",
    "IntentRef",
    "IntentusError",
    "IntentusRuntime",
    "Interrupted",
    "Limits",
    "ManualClock",
    "MemoryExecutionStore",
    "Page",
    "Query",
    "Rate",
    "RecoveryRule",
    "Redaction",
    "ReplayReport",
    "ReplayWarning",
    "Retry",
    "RetryBudget",
    "RoutingOptions",
    "RoutingStrategy",
    "Row",
    "SeededIds",
    "StoreSettings",
    "Strictness",
    "Verdict",
    "capture",
    "diff_records",
    "effect",
    "load_record",
]

#: Methods of the runtime that have a file of their own.
RECOVERING = {
    "fork": "self, execution_id, at, answer",
    "recover": "self",
    "resolve": "self, execution_id, happened, *, by, question, answer",
    "resume": "self, execution_id",
}

REPLAYING = {
    "replay": "self, record, *, strictness, ignore, depth, nested, allow_acting",
    "replay_async": "self, record, *, strictness, ignore, depth, nested, allow_acting",
}

REGISTERING = {
    "agent": (
        "self, name, *, handles, version, rank, remote, side_effect, idempotent, timeout, isolation, "
        "limits, description"
    ),
    "remove": "self, name, version",
}

RUNTIME = {
    "__init__": (
        "self, *, store, policy, clock, ids, environ, write_ahead, max_depth, capture, verify_replay, "
        "max_abandoned, max_workers, limits"
    ),
    "abandoned": None,
    "cancel": "self, execution_id, reason",
    "close": "self",
    "configure": "self, *, store, policy",
    "envelope": (
        "self, intent, payload, *, strategy, target, fallback, prefer, caller, roles, tenant, tags, "
        "priority, timeout, idempotency_key, traceparent"
    ),
    "plan": "self, envelope",
    "policy": None,
    "route": (
        "self, intent, payload, *, strategy, target, fallback, prefer, caller, roles, tenant, tags, "
        "priority, timeout, idempotency_key, traceparent, durability"
    ),
    "route_async": (
        "self, intent, payload, *, strategy, target, fallback, prefer, caller, roles, tenant, tags, "
        "priority, timeout, idempotency_key, traceparent, durability"
    ),
    "router": None,
}
#: Of both kinds of context: what waits, and what does not.
WAITING = {
    "effect": "self, name, function, /, *args, **kwargs",
    "gather": "self, *calls",
    "map": "self, function, items, *, limit",
    "route": (
        "self, intent, payload, *, strategy, target, fallback, prefer, caller, "
        "tags, priority, idempotency_key"
    ),
    "sleep": "self, seconds",
}
TELLING = {
    "deadline": None,
    "env": "self, name, default",
    "envelope": None,
    "execution_id": None,
    "idempotency_key": None,
    "log": "self, message, /, **fields",
    "monotonic": "self",
    "now": "self",
    "patched": "self, patch",
    "random": None,
    "random_stream": "self, name",
    "usage": "self, **counts",
    "uuid": "self",
}


def signature(member: object) -> str | None:
    """The parameters' names, without types and defaults."""
    if not inspect.isfunction(member):
        return None
    parameters = [
        p.replace(annotation=p.empty, default=p.empty) for p in inspect.signature(member).parameters.values()
    ]
    return str(inspect.Signature(parameters)).strip("()")


def test_the_exported_names_are_those_that_were_promised() -> None:
    """No more and no fewer, and each is there."""
    assert intentusnet.__all__ == NAMES
    assert all(getattr(intentusnet, name) is not None for name in NAMES)
    assert set(NAMES) <= set(dir(intentusnet))
    with pytest.raises(AttributeError, match="nothing"):
        _ = intentusnet.nothing


def test_each_exported_name_can_be_imported_first() -> None:
    """In a fresh process, alone, and by a star."""
    script = "import intentusnet\nintentusnet.effect.__name__\nfrom intentusnet import *\nContext"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("kind", "promised"),
    [
        (IntentusRuntime, RUNTIME),
        (Recovering, RECOVERING),
        (Replaying, REPLAYING),
        (Registering, REGISTERING),
        (BaseContext, TELLING),
        (Context, WAITING),
        (AsyncContext, WAITING),
    ],
)
def test_the_signatures_are_those_that_were_promised(kind: type, promised: dict[str, str | None]) -> None:
    """Each public method has these parameters, in this order, and there is no other."""
    public = {name: signature(member) for name, member in vars(kind).items() if not name.startswith("_")}
    if "__init__" in promised:
        public["__init__"] = signature(vars(kind)["__init__"])
    assert public == promised
