"""IntentusNet: a deterministic router and flight recorder for systems of agents and tools.

Start with `IntentusRuntime`; everything that is promised to stay is exported here. Names are imported when
they are first used, so that the command line answers `--help` without the runtime.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from intentusnet.agents import AgentDefinition, Capability
    from intentusnet.async_context import AsyncContext
    from intentusnet.capture import Redaction, capture
    from intentusnet.context import Context
    from intentusnet.effects import effect
    from intentusnet.envelope import Caller, IntentEnvelope, IntentRef, RoutingOptions, RoutingStrategy
    from intentusnet.errors import AgentFailure, IntentusError, ReplayWarning
    from intentusnet.ids import ManualClock, SeededIds
    from intentusnet.limits import Breaker, Concurrency, Limits, Rate, Retry, RetryBudget
    from intentusnet.log.backlog import AsyncBound
    from intentusnet.record import ExecutionRecord
    from intentusnet.replay.diff import Difference, diff_records
    from intentusnet.replay.divergence import Divergence, DivergenceKind, ReplayReport, Verdict
    from intentusnet.replay.interrupted import Interrupted, RecoveryRule
    from intentusnet.replay.strictness import Depth, Strictness
    from intentusnet.response import AgentResponse, AttemptSummary, ErrorCode, ErrorInfo
    from intentusnet.runtime import IntentusRuntime
    from intentusnet.stores.base import ExecutionStore, Page, Query, Row, StoreSettings
    from intentusnet.stores.file import FileExecutionStore
    from intentusnet.stores.memory import MemoryExecutionStore
    from intentusnet.stores.portable import load_record

__all__ = [
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

_HOMES: Final = {
    "agents": ("AgentDefinition", "Capability"),
    "async_context": ("AsyncContext",),
    "capture": ("Redaction", "capture"),
    "context": ("Context",),
    "effects": ("effect",),
    "envelope": ("Caller", "IntentEnvelope", "IntentRef", "RoutingOptions", "RoutingStrategy"),
    "errors": ("AgentFailure", "IntentusError", "ReplayWarning"),
    "limits": ("Breaker", "Concurrency", "Limits", "Rate", "Retry", "RetryBudget"),
    "log.backlog": ("AsyncBound",),
    "ids": ("ManualClock", "SeededIds"),
    "record": ("ExecutionRecord",),
    "replay.diff": ("Difference", "diff_records"),
    "replay.divergence": ("Divergence", "DivergenceKind", "ReplayReport", "Verdict"),
    "replay.strictness": ("Depth", "Strictness"),
    "replay.interrupted": ("Interrupted", "RecoveryRule"),
    "response": ("AgentResponse", "AttemptSummary", "ErrorCode", "ErrorInfo"),
    "runtime": ("IntentusRuntime",),
    "stores.base": ("ExecutionStore", "Page", "Query", "Row", "StoreSettings"),
    "stores.file": ("FileExecutionStore",),
    "stores.memory": ("MemoryExecutionStore",),
    "stores.portable": ("load_record",),
}
_HOME: Final = {name: f"intentusnet.{home}" for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # `capture` is a package, too, and importing it has bound the name to that: it can be called as well.
    return globals().setdefault(name, getattr(import_module(_HOME[name]), name))


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
