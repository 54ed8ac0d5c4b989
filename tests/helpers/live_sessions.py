"""Sessions and tools that this repository does not ship, with the tools as they are: objects that live.

The sessions are those categories of the wheel's data that no example uses. Each tool is an object of the
wheel's own class, made when a session first calls it, and its calls are effects. So nothing of a tool is in
the agent's code, and a replay that made one, or called it, would be seen here.
"""

import importlib
import importlib.util
import itertools
import json
import os
from pathlib import Path
from typing import Any

from examples.tool_sessions.sessions import read_call
from examples.tool_sessions.tools import plain_result
from examples.tool_sessions.wheel import MODULES
from intentusnet import Context, IntentusRuntime, effect

CATEGORIES = ("multi_turn_miss_param", "multi_turn_long_context")
#: Where whoever makes or calls a tool in a worker process says so.
NOTES = "INTENTUSNET_TEST_NOTES"


def sessions(count: int) -> list[dict[str, Any]]:
    """That many sessions, of each category as many: id, scenario, and the calls of each turn."""
    (place,) = importlib.util.find_spec("bfcl_eval").submodule_search_locations
    found: list[dict[str, Any]] = []
    each = count // len(CATEGORIES)
    for category in CATEGORIES:
        questions = Path(place, "data", f"BFCL_v4_{category}.json")
        answers = Path(place, "data", "possible_answer", questions.name)
        with questions.open(encoding="utf-8") as asked, answers.open(encoding="utf-8") as right:
            for question, answer in itertools.islice(zip(asked, right, strict=True), each):
                row, told = json.loads(question), json.loads(answer)
                assert row["id"] == told["id"]
                calls = [
                    [_call(text, row["involved_classes"]) for text in turn] for turn in told["ground_truth"]
                ]
                found.append({"id": row["id"], "scenario": row["initial_config"], "turns": calls})
    return found


def _call(text: str, tools: list[str]) -> dict[str, Any]:
    read = read_call(text, tools)
    return {"tool": read.tool, "method": read.method, "arguments": read.arguments}


class Tools:
    """The tools of all sessions; counts how many were made, and how often one was called."""

    def __init__(self, scenarios: dict[str, dict[str, Any]]) -> None:
        self.made = self.called = 0
        self._scenarios = scenarios
        self._tools: dict[tuple[str, str], Any] = {}

    @effect(side_effect="read_only")
    def call(self, session: str, tool: str, method: str, arguments: dict[str, Any]) -> Any:
        self.called += 1
        result = getattr(self._tool(session, tool), method)(**arguments)
        return plain_result(result)

    def _tool(self, session: str, name: str) -> Any:
        if (session, name) not in self._tools:
            self.made += 1
            package = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
            tool = getattr(importlib.import_module(f"{package}.{MODULES[name]}"), name)()
            if hasattr(tool, "_load_scenario"):
                tool._load_scenario(self._scenarios[session].get(name, {}), long_context="long" in session)
            self._tools[session, name] = tool
        return self._tools[session, name]


class NoTools:
    """Stands where the tools stood: whoever calls one is counted, noted and refused."""

    def __init__(self) -> None:
        self.called = 0

    @effect(side_effect="read_only")
    def call(self, *args: Any) -> Any:
        self.called += 1
        if NOTES in os.environ:
            with Path(os.environ[NOTES]).open("a") as file:
                file.write(f"{args}\n")
        raise AssertionError(f"a live call: {args}")


def make_runtime(tools: Any, *, turned: bool = False, **options: Any) -> IntentusRuntime:
    """A runtime that runs sessions: one execution each, and below it one for each turn.

    Args:
        tools: who is called.
        turned: the calls of a turn are made in reverse order.
        options: for the runtime.
    """
    runtime = IntentusRuntime(**options)

    @runtime.agent("session", handles="session.run", side_effect="read_only")
    def session(order: dict[str, Any], ctx: Context) -> list[Any]:
        turns = [{"session": order["id"], "calls": turn} for turn in order["turns"]]
        return [ctx.route("turn.run", turn).payload for turn in turns]

    @runtime.agent("turn", handles="turn.run", side_effect="read_only")
    def turn(order: dict[str, Any], ctx: Context) -> list[Any]:
        told = []
        for one in order["calls"][:: -1 if turned else 1]:
            try:
                result = ctx.effect(
                    one["tool"], tools.call, order["session"], one["tool"], one["method"], one["arguments"]
                )
            except Exception as fault:  # noqa: BLE001 - a tool raises whatever it likes, and the session goes on
                result = f"{type(fault).__name__}: {fault}"
            told.append([ctx.now().isoformat(), result])
        return told

    return runtime


def replaying() -> IntentusRuntime:
    """What worker processes make: the agents, and no tools."""
    return make_runtime(NoTools())
