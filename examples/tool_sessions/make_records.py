"""Makes the golden records in ``records/``: ``python -m examples.tool_sessions.make_records`` from the root.

Each record is made in a world of its own, with a clock and ids that are the same in every run. A file is
written only if what it tells has changed, which its fingerprint says: salts are new in every run, so that the
bytes would differ without need.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from examples.tool_sessions.app import make_runtime
from examples.tool_sessions.sessions import sessions
from examples.tool_sessions.tools import SESSION_TAG, STATE_INTENT, cache_key
from examples.tool_sessions.world import World
from intentusnet import Caller, ExecutionRecord, ManualClock, MemoryExecutionStore, SeededIds

RECORDS: Final = Path(__file__).resolve().parents[2] / "records"

OPERATOR: Final = Caller(name="assistant", roles=("operator",))
GUEST: Final = Caller(name="assistant", roles=("guest",))
PRICE: Final = "TradingBot.get_stock_info"
NOON_US: Final = 1_788_264_000_000_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a record is made.

    Attributes:
        tells: what it shows.
        intent, payload: what is routed.
        number: of the session that it belongs to.
        caller: by whom.
        options: how.
        known: what the atlas knows already: an answer to this very question.
        step_us: how far each reading moves the clock on.
    """

    tells: str
    intent: str
    payload: Any = None
    number: int | None = None
    caller: Caller = OPERATOR
    options: Mapping[str, Any] = field(default_factory=dict)
    known: Any = None
    step_us: int = 0


FALLBACK: Final = {"strategy": "fallback", "fallback": ("Atlas", "VehicleControlAPI")}
PARALLEL: Final = {"strategy": "parallel"}
BROADCAST: Final = {"strategy": "broadcast"}


def recipes() -> Mapping[str, Recipe]:
    """All recipes, by the name of the record."""
    return {**_successes(), **_denials(), **_errors(), **_several_agents(), **_nested()}


def _successes() -> dict[str, Recipe]:
    return {
        "success-list-files": Recipe(
            "a tool reads what it knows, and changes nothing", "GorillaFileSystem.ls", {"a": True}, 1
        ),
        "success-make-file": Recipe(
            "a tool asks for the time and saves what it knows",
            "GorillaFileSystem.touch",
            {"file_name": "notes.txt"},
            1,
        ),
        "success-fill-tank": _call(
            "the one record here on which the changed app diverges", 65, "fillFuelTank"
        ),
        "success-book-flight": _call("two random numbers are asked of the world", 152, "book_flight"),
        "success-send-message": _call(
            "one more random number, and a set among what is saved", 101, "send_message"
        ),
        "success-check-age": _call(
            "an answer that depends on the time on record", 183, "verify_traveler_information"
        ),
        "success-exact-number": _call("a Decimal comes back as a Decimal", 49, "logarithm"),
        "success-other-words": Recipe(
            "text from everywhere, and a file that is written",
            "TwitterAPI.post_tweet",
            {"content": "Grüße, 世界 🌍 \u2028 “quoted” \\ back", "tags": ["#ünïcode"], "mentions": []},
            11,
        ),
        "success-full-envelope": Recipe(
            "every field of an envelope is set",
            "TicketAPI.ticket_get_login_status",
            {},
            23,
            caller=Caller(name="desk", roles=("operator", "night-shift"), tenant="north"),
            options={
                "target": "TicketAPI",
                "tags": ("urgent",),
                "priority": 7,
                "timeout": 60.0,
                "idempotency_key": "login-status-1",
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            },
        ),
    }


def _denials() -> dict[str, Recipe]:
    order = {"order_type": "Buy", "symbol": "AAPL", "price": 20.5}
    return {
        "denied-order-too-large": Recipe(
            "a rule on a field of the payload", "TradingBot.place_order", {**order, "amount": 121}, 106
        ),
        "denied-order-without-amount": Recipe(
            "what cannot be checked is not let through", "TradingBot.place_order", order, 106
        ),
        "denied-order-amount-as-text": Recipe(
            "an operand of the wrong type, likewise", "TradingBot.place_order", {**order, "amount": "10"}, 106
        ),
        "denied-removal": _call("a rule on the intent alone", 38, "rm"),
        "denied-guest": _call("a rule on the caller's role", 33, "send_message"),
        "denied-one-of-two": Recipe(
            "one candidate is denied, the other goes on alone",
            PRICE,
            {"symbol": "AAPL"},
            106,
            GUEST,
            PARALLEL,
        ),
    }


def _errors() -> dict[str, Recipe]:
    return {
        "error-of-tool": Recipe("a tool that says no", "TradingBot.cancel_order", {"order_id": 1}, 106),
        "error-exception": Recipe(
            "a tool that raises",
            "TravelAPI.get_flight_cost",
            {"travel_from": "XXX", "travel_to": "LAX", "travel_date": "2026-11-15", "travel_class": "first"},
            152,
        ),
        "error-wrong-arguments": Recipe(
            "arguments that the method does not take", "GorillaFileSystem.cd", {"directory": "docs"}, 1
        ),
        "error-no-session": Recipe("no tag says whose state is meant", "GorillaFileSystem.ls", {}),
        "error-no-agent": Recipe("an intent that nobody handles", "Printer.print", {"pages": 3}),
        "error-deadline": Recipe(
            "the deadline has passed before the agent is called",
            "MathAPI.add",
            {"a": 1, "b": 2},
            options={"timeout": 1e-6},
            step_us=1000,
        ),
    }


def _several_agents() -> dict[str, Recipe]:
    zip_code = "VehicleControlAPI.get_zipcode_based_on_city"
    distance = "VehicleControlAPI.estimate_distance"
    known = {"distance": 750.0}
    there = {"cityA": "83214", "cityB": "74532"}
    return {
        "fallback-second-answers": Recipe(
            "the atlas does not know, the car does", zip_code, {"city": "Rivermist"}, 62, options=FALLBACK
        ),
        "fallback-first-answers": Recipe(
            "the atlas knows, the car is not asked", distance, there, 62, options=FALLBACK, known=known
        ),
        "fallback-nobody-answers": Recipe(
            "the last error is the outcome", distance, {"cityA": "0", "cityB": "1"}, 62, options=FALLBACK
        ),
        "parallel-two-answer": Recipe(
            "the better-ranked of two answers", PRICE, {"symbol": "AAPL"}, 106, options=PARALLEL
        ),
        "parallel-second-answers": Recipe(
            "the account does not list the stock, the board does",
            PRICE,
            {"symbol": "ZETA"},
            106,
            options=PARALLEL,
        ),
        "parallel-nobody-answers": Recipe(
            "the better-ranked error is the outcome", "MathAPI.mean", {"numbers": []}, options=PARALLEL
        ),
        "parallel-two-compute": _call("two ways to compute the same", 47, "mean", PARALLEL),
        "target-second": _call(
            "the lower-ranked agent is asked for by name", 47, "mean", {"target": "PocketCalculator"}
        ),
        "broadcast-some-answer": Recipe(
            "each tool says what it knows, or that it has no part in the session",
            STATE_INTENT,
            None,
            14,
            options=BROADCAST,
        ),
        "broadcast-nobody-answers": Recipe(
            "nobody has a part in a session that is none",
            STATE_INTENT,
            options={**BROADCAST, "tags": ("session:none",)},
        ),
    }


def _nested() -> dict[str, Recipe]:
    return {
        "nested-session": _session("a session: each call is an execution of its own", 5),
        "nested-session-denied": _session("a session that goes on after a denial and two errors", 123),
        "nested-session-cached": _session("a session whose answers are remembered for later ones", 62),
    }


def _call(tells: str, number: int, method: str, options: Mapping[str, Any] | None = None) -> Recipe:
    session = sessions()[session_id(number)]
    calls = (call for turn in session.turns for call in turn.calls)
    call = next(call for call in calls if call.method == method)
    caller = Caller(name="assistant", roles=(session.role,))
    return Recipe(tells, call.intent, call.arguments, number, caller, options or {})


def _session(tells: str, number: int) -> Recipe:
    session = sessions()[session_id(number)]
    return Recipe(
        tells, "session.run", session.order, number, Caller(name="assistant", roles=(session.role,))
    )


def session_id(number: int) -> str:
    """The data set's id of a session."""
    return f"multi_turn_base_{number}"


def make(name: str, recipe: Recipe) -> ExecutionRecord:
    """Makes a record, in a world of its own."""
    world = World()
    if recipe.known is not None:
        world.remember(recipe.intent, cache_key(recipe.payload), recipe.known)
    # The store has a clock of its own: what agents are told must not depend on how many lines are written.
    store = MemoryExecutionStore(clock=ManualClock(NOON_US, step_us=1000))
    clock, ids = ManualClock(NOON_US, step_us=recipe.step_us), SeededIds(zlib.crc32(name.encode()))
    runtime = make_runtime(store=store, world=world, clock=clock, ids=ids)
    options = dict(recipe.options)
    own = () if recipe.number is None else (f"{SESSION_TAG}{session_id(recipe.number)}",)
    tags = (*own, *options.pop("tags", ()))
    response = runtime.route(recipe.intent, recipe.payload, caller=recipe.caller, tags=tags, **options)
    return store.get(response.execution_id)


def fingerprint_in(path: Path) -> str | None:
    """The fingerprint of the record that lies there; None if there is none."""
    if not path.exists():
        return None
    fingerprint: str = json.loads(path.read_bytes().splitlines()[-1])["body"]["fingerprint"]
    return fingerprint


def readme(told: Mapping[str, Recipe]) -> str:
    """The text of records/README.md."""
    rows = "\n".join(
        f"| `{name}.jsonl` | `{recipe.intent}` | {recipe.tells} |" for name, recipe in told.items()
    )
    return f"""\
# Golden records

Portable records of executions of [the tool sessions](../examples/tool_sessions/README.md): each file has the
lines of one execution as a store has written them, byte for byte. The tests verify every one, and replay it
with the app as it is now, in a world that breaks when it is touched.

```
intentusnet verify records
intentusnet replay records --app examples.tool_sessions.app:runtime
```

A replay that no longer matches means that the router, the policy or a tool does something else than it did.
If that is intended, `python -m examples.tool_sessions.make_records` writes anew the records that have
changed, and the difference is reviewed like any other.

| record | intent | shows |
|---|---|---|
{rows}
"""


def main(folder: Path = RECORDS) -> int:
    """Writes the records that are missing or have changed, and removes those that have no recipe."""
    folder.mkdir(exist_ok=True)
    told = recipes()
    for name, recipe in told.items():
        record, path = make(name, recipe), folder / f"{name}.jsonl"
        if fingerprint_in(path) != record.fingerprint:
            path.write_bytes(record.to_jsonl())
            print(f"wrote {path.name}")
    for path in folder.glob("*.jsonl"):
        if path.stem not in told:
            path.unlink()
            print(f"removed {path.name}")
    (folder / "README.md").write_text(readme(told), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
