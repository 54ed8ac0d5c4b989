"""The real input: tool classes and data of the wheel ``bfcl-eval``, taken out without its model clients.

The classes are foreign code and stay as they are. Three of them use the machine's clock or time zone, so each
module is loaded as a private copy in which the name ``datetime`` means a clock of ours (`telling`): what asks
for the time is told it by whoever calls the tool. Nothing outside of these copies changes.
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime as dates
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final, Self

WHEEL: Final = "bfcl-eval"
INSTALL: Final = "python -m pip install --no-deps 'bfcl-eval==2026.3.23' 'mpmath>=1.3,<2'"

#: Each tool class, and the module of the wheel that it stands in.
MODULES: Final[Mapping[str, str]] = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "TwitterAPI": "posting_api",
    "VehicleControlAPI": "vehicle_control",
}

_SOURCES: Final = Path("eval_checker", "multi_turn_eval", "func_source_code")
_QUESTIONS: Final = Path("data", "BFCL_v4_multi_turn_base.json")
_ANSWERS: Final = Path("data", "possible_answer", "BFCL_v4_multi_turn_base.json")

#: When a scenario is loaded: the day on which the trading tool's own clock stands.
SCENARIO_TIME: Final = dates.datetime(2024, 9, 1, 10, 30)


class WheelMissing(ImportError):
    """The wheel with the tools and the data is not installed."""


_clock: contextvars.ContextVar[Callable[[], dates.datetime]] = contextvars.ContextVar(
    "tool_sessions_clock", default=lambda: SCENARIO_TIME
)


@contextlib.contextmanager
def telling(clock: Callable[[], dates.datetime]) -> Iterator[None]:
    """While it lasts, tools that ask for the time are told what the clock says."""
    token = _clock.set(clock)
    try:
        yield
    finally:
        _clock.reset(token)


class _ToolTime(dates.datetime):
    """What the tools take for ``datetime``: it tells the caller's time, and knows no zone but UTC.

    A tool that went by the machine's zone would draw between other timestamps in Tokyo than in Lima, and a
    record made in one could not be replayed in the other.
    """

    @classmethod
    def now(cls, tz: dates.tzinfo | None = None) -> Any:
        return _clock.get()()

    @classmethod
    def today(cls) -> Any:
        return cls.now()

    @classmethod
    def fromtimestamp(cls, timestamp: float, tz: dates.tzinfo | None = None) -> Self:
        return super().fromtimestamp(timestamp, tz or dates.UTC).replace(tzinfo=tz)

    def timestamp(self) -> float:
        plain = dates.datetime.combine(self.date(), self.time(), self.tzinfo or dates.UTC)
        return plain.timestamp()


def _installed() -> Path:
    try:
        found = importlib.util.find_spec("bfcl_eval")
        needed = importlib.util.find_spec("mpmath")
    except ImportError:
        found = needed = None
    if needed is None or found is None or not found.submodule_search_locations:
        raise WheelMissing(
            f"this example takes its tools and sessions from the wheels {WHEEL} (without its dependencies) "
            f"and mpmath, and at least one of the two is not installed. Run\n\n    {INSTALL}\n"
        )
    return Path(next(iter(found.submodule_search_locations)))


@cache
def version() -> str:
    """The wheel's version."""
    _installed()
    return metadata.version(WHEEL)


def _private_copy(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tool_sessions_copy_of_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for known, value in list(vars(module).items()):
        if value is dates:
            setattr(module, known, SimpleNamespace(datetime=_ToolTime))
        elif value is dates.datetime:
            setattr(module, known, _ToolTime)
        elif type(value) is dates.datetime:
            setattr(module, known, _ToolTime.combine(value.date(), value.time()))
    return module


@cache
def tool_modules() -> Mapping[str, ModuleType]:
    """The module of each tool class, by the class's name.

    Raises:
        WheelMissing: the wheel is not installed.
    """
    sources = _installed() / _SOURCES
    return {tool: _private_copy(name, sources / f"{name}.py") for tool, name in MODULES.items()}


@cache
def tool_classes() -> Mapping[str, type]:
    """The tool classes by name.

    Raises:
        WheelMissing: the wheel is not installed.
    """
    return {tool: getattr(module, tool) for tool, module in tool_modules().items()}


def read_questions() -> list[dict[str, Any]]:
    """The sessions as the data set has them: id, what is asked in each turn, initial state of the tools."""
    return _read_lines(_installed() / _QUESTIONS)


def read_answers() -> list[dict[str, Any]]:
    """The right calls of each session's turns, as source text."""
    return _read_lines(_installed() / _ANSWERS)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
