"""The world that the tools meet: what they know between calls, and what is decided outside of them.

It lives in memory and is never seen by a replay: each of its methods is called as an effect, so that the
record has what it answered.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from examples.tool_sessions.sessions import sessions
from examples.tool_sessions.state import State, dehydrate
from examples.tool_sessions.wheel import tool_classes, tool_modules
from intentusnet import effect


class World:
    """What tools know in each session, random generators, remembered answers, the exchange's price board."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], State] = {}
        self._generators: dict[tuple[str, str], random.Random] = {}
        self._answers: dict[tuple[str, str], Any] = {}
        self._board: Mapping[str, Any] = tool_modules()["TradingBot"].DEFAULT_STATE["stocks"]

    @effect(side_effect="read_only")
    def load_state(self, session: str, tool: str) -> Any:
        """What a tool knows in a session; None if the session has no such tool."""
        if (session, tool) not in self._states and not self._begin(session, tool):
            return None
        return self._states[session, tool]

    @effect(side_effect="reversible", idempotent=True)
    def save_state(self, session: str, tool: str, state: Any) -> None:
        """Keeps what a tool knows now."""
        self._states[session, tool] = state

    # A number that a crash has swallowed is missed by nobody, so drawing needs no more care than reading.
    @effect(side_effect="read_only")
    def draw(self, session: str, tool: str, kind: str, low: float, high: float) -> Any:
        """The next number of a tool's generator, which the session's scenario has seeded."""
        return getattr(self._generators[session, tool], kind)(low, high)

    @effect(side_effect="read_only")
    def look_up(self, intent: str, key: str) -> Any:
        """An answer that was remembered; None if there is none."""
        return self._answers.get((intent, key))

    @effect(side_effect="reversible", idempotent=True)
    def remember(self, intent: str, key: str, answer: Any) -> None:
        """Keeps an answer for later sessions."""
        self._answers[intent, key] = answer

    @effect(side_effect="read_only")
    def quote(self, symbol: str) -> Any:
        """What the exchange's board says of a stock; None if it is not listed."""
        return self._board.get(symbol)

    def _begin(self, session: str, tool: str) -> bool:
        told = sessions().get(session)
        if told is None or tool not in told.tools:
            return False
        made = tool_classes()[tool]()
        made._load_scenario(told.scenario.get(tool, {}))
        self._states[session, tool] = dehydrate(made)
        self._generators[session, tool] = getattr(made, "_random", None) or random.Random(0)
        return True
