"""The example with real input: 200 sessions of stateful tools, the same as without a router between."""

import copy
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from intentusnet import ExecutionRecord, MemoryExecutionStore, Query, Verdict


@dataclass(frozen=True)
class Recorded:
    """All sessions run once, and their records."""

    store: MemoryExecutionStore
    parents: Mapping[str, ExecutionRecord]

    def children(self, session: str) -> Iterator[ExecutionRecord]:
        return (self.store.get(child) for child in self.parents[session].children)

    @property
    def calls(self) -> Iterator[ExecutionRecord]:
        return (child for session in self.parents for child in self.children(session))


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    from examples.tool_sessions.app import make_runtime, run
    from examples.tool_sessions.sessions import sessions

    store = MemoryExecutionStore()
    runtime = make_runtime(store=store)
    parents = {name: store.get(run(runtime, session).execution_id) for name, session in sessions().items()}
    return Recorded(store, parents)


def all_records(store: Any) -> Iterator[ExecutionRecord]:
    cursor = None
    while True:
        page = store.list(Query(limit=1000, cursor=cursor, oldest_first=True))
        yield from (store.get(row.execution_id) for row in page.rows)
        cursor = page.cursor
        if cursor is None:
            return


def direct_answer(tool: Any, method: str, arguments: dict[str, Any]) -> tuple[str, Any]:
    """What the tool itself answers, in the router's words: a payload, or an error's message."""
    from examples.tool_sessions.tools import plain_result

    try:
        result = plain_result(getattr(tool, method)(**arguments))
    except Exception as fault:  # noqa: BLE001 - whatever the tool raises is its answer
        return "error", str(fault)
    if isinstance(result, dict) and "error" in result:
        return "error", str(result["error"])
    return "success", result


def test_every_call_of_the_data_set_is_read() -> None:
    """200 sessions with 1,142 calls are read, each with named arguments that its method takes."""
    from examples.tool_sessions.sessions import sessions

    calls = [call for session in sessions().values() for turn in session.turns for call in turn.calls]
    assert (len(sessions()), len(calls)) == (200, 1142)
    assert all("" not in call.arguments for call in calls)


def test_a_call_without_names_gets_them_from_the_method() -> None:
    """Positional arguments become named ones, because a payload has names."""
    from examples.tool_sessions.sessions import Call, read_call

    read = read_call("grep('notes.txt', pattern='budget')", ["MathAPI", "GorillaFileSystem"])
    assert read == Call("GorillaFileSystem.grep", {"file_name": "notes.txt", "pattern": "budget"})


@pytest.mark.parametrize(
    "text",
    ["grep(open('x'))", "grep(**{})", "unheard_of()", "grep", "MathAPI.mean([1])", "mean(", "mean(*[1])"],
)
def test_what_is_no_plain_call_is_refused(text: str) -> None:
    """Nothing of the data set is evaluated: what is not a call of a known method with literals is refused."""
    from examples.tool_sessions.sessions import read_call

    with pytest.raises((ValueError, SyntaxError)):
        read_call(text, ["MathAPI", "GorillaFileSystem"])


def test_results_are_those_of_the_tools_themselves(recorded: Recorded, originals: Mapping[str, Any]) -> None:
    """Whatever the policy let through has the result that the wheel's own object gives in the same place."""
    from examples.tool_sessions.sessions import sessions

    seen = 0
    for name, session in sessions().items():
        tools = {}
        for tool in session.tools:
            tools[tool] = originals[tool]()
            if tool != "MathAPI":
                tools[tool]._load_scenario(copy.deepcopy(session.scenario.get(tool, {})))
        for child in recorded.children(name):
            response = child.response
            if response.error is not None and response.error.code == "POLICY_DENIAL":
                continue
            tool, _, method = child.intent.partition(".")
            told = direct_answer(tools[tool], method, child.envelope.payload)
            answered = ("success", response.payload) if response.ok else ("error", response.error.message)
            assert answered == told, (name, child.intent)
            seen += 1
    assert seen == 1142 - 21


def test_every_session_ends_whatever_its_calls_do(recorded: Recorded) -> None:
    """A denial or an error is one call's end, not the session's."""
    ended: Counter[str] = Counter()
    for record in recorded.parents.values():
        assert record.status == "success"
        ended.update(record.response.payload["ended"])
    assert ended == {"success": 1110, "POLICY_DENIAL": 21, "AGENT_ERROR": 11}


def test_the_policy_denies_what_it_says(recorded: Recorded) -> None:
    """Denied are exactly the orders above 120 shares, the removals, and messages sent by guests."""
    for record in recorded.calls:
        envelope = record.envelope
        expected = None
        if record.intent == "TradingBot.place_order" and envelope.payload["amount"] > 120:
            expected = "orders-above-120"
        if record.intent in ("GorillaFileSystem.rm", "GorillaFileSystem.rmdir"):
            expected = "no-removals"
        if record.intent == "MessageAPI.send_message" and "guest" in envelope.caller.roles:
            expected = "guests-send-nothing"
        assert record.plan_tree["candidates"][0]["rule"] == expected
        assert (record.status == "error" and record.response.error.code == "POLICY_DENIAL") == (
            expected is not None
        )


def test_each_rule_denies_something(recorded: Recorded) -> None:
    """The sessions meet every rule of the policy."""
    plans = [record.plan_tree["candidates"] for record in recorded.calls]
    rules = Counter(candidate["rule"] for plan in plans for candidate in plan if not candidate["allowed"])
    assert rules == {
        "orders-above-120": 8,
        "no-removals": 4,
        "guests-send-nothing": 9,
        "no-board-for-guests": 13,
    }


def test_the_atlas_answers_what_was_asked_before(recorded: Recorded) -> None:
    """Distances and zip codes fall back to the car once; from then on the atlas has them."""
    from examples.tool_sessions.app import CACHED

    asked: set[str] = set()
    answered: Counter[str] = Counter()
    for record in recorded.calls:
        if record.intent not in CACHED:
            continue
        question = json.dumps([record.intent, record.envelope.payload], sort_keys=True)
        agents = [attempt.agent for attempt in record.attempts]
        assert agents == (["Atlas"] if question in asked else ["Atlas", "VehicleControlAPI"])
        asked.add(question)
        answered[record.response.agent] += 1
    assert answered["Atlas"] > answered["VehicleControlAPI"] > 0


def test_the_better_ranked_of_two_sources_wins(recorded: Recorded) -> None:
    """Prices and statistics are asked of two agents at once, and the better-ranked one counts."""
    winners = Counter(record.response.agent for record in recorded.calls if record.strategy == "parallel")
    assert winners == {"TradingBot": 43, "MathAPI": 14}


def test_a_denied_candidate_leaves_the_other_alone(recorded: Recorded) -> None:
    """The price board is asked for operators only; guests get the price from the one source that is left."""
    for record in recorded.calls:
        if record.intent == "TradingBot.get_stock_info":
            asked = [attempt.agent for attempt in record.attempts]
            guest = "guest" in record.envelope.caller.roles
            assert asked == (["TradingBot"] if guest else ["TradingBot", "PriceBoard"])


def test_the_log_of_all_sessions_verifies(recorded: Recorded) -> None:
    """Every line of the log checks, and every execution has its end."""
    report = recorded.store.verify()
    assert (report.ok, report.executions, report.interrupted) == (True, 1342, ())


def test_all_records_replay_without_touching_the_world(recorded: Recorded, untouchable: Any) -> None:
    """Each of the 1,342 records replays and matches, with a world that breaks when it is touched."""
    from examples.tool_sessions.app import make_runtime

    runtime = make_runtime(world=untouchable)
    verdicts = Counter(runtime.replay(record).verdict for record in all_records(recorded.store))
    assert verdicts == {Verdict.MATCH: 1342}


def test_a_changed_tool_is_found_where_it_answers_differently(recorded: Recorded, untouchable: Any) -> None:
    """A gauge that rounds shows in the six fillings that are no whole tenth of a gallon, and nowhere else."""
    from examples.tool_sessions.app import make_runtime
    from examples.tool_sessions.changed import CHANGED_INTENT, CHANGED_TOOLS

    runtime = make_runtime(tools=CHANGED_TOOLS, world=untouchable)
    hit = 0
    for record in all_records(recorded.store):
        rounds = record.intent == CHANGED_INTENT and record.status == "success"
        level = record.response.payload["fuelLevel"] if rounds else 0.0
        report = runtime.replay(record)
        assert report.verdict == (Verdict.DIVERGED if level != round(level, 1) else Verdict.MATCH)
        if report.divergences:
            hit += 1
            first = report.divergences[0]
            assert (first.pointer, first.expected) == ("/args/2/fields/fuelLevel", level)
    assert hit == 6


def test_what_a_tool_draws_and_is_told_is_on_record(recorded: Recorded) -> None:
    """Random numbers are the world's answers, and the time is asked of the context: both are on record."""
    kinds = Counter(
        (question.kind, question.name) for record in recorded.calls for question in record.questions
    )
    assert kinds["effect", "draw"] > 0
    assert kinds["clock", "now"] > 0


def test_records_replay_in_another_place(recorded: Recorded, root: Path, tmp_path: Path) -> None:
    """Another process with another time zone, locale and hash seed comes to the same answers."""
    lines = tmp_path / "records.jsonl"
    lines.write_bytes(b"".join(record.to_jsonl() for record in all_records(recorded.store)))
    program = """
import sys
from itertools import groupby
from examples.tool_sessions.app import runtime
from intentusnet.log.entry import parse_line
from intentusnet.record import fold

entries = map(parse_line, open(sys.argv[1], 'rb').read().splitlines())
by_execution = groupby(sorted(entries, key=lambda e: (e.execution, e.seq)), key=lambda e: e.execution)
print({str(runtime.replay(fold(record)).verdict) for _, record in by_execution})
"""
    elsewhere = {"TZ": "Pacific/Chatham", "LC_ALL": "C", "PYTHONHASHSEED": "7", "PYTHONPATH": str(root)}
    ran = subprocess.run(
        [sys.executable, "-c", program, lines],
        env=elsewhere,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("{'match'}\n", "")


@pytest.mark.parametrize(
    ("intent", "payload", "tags", "code", "words"),
    [
        ("GorillaFileSystem.ls", {}, (), "VALIDATION_ERROR", "no tag session:"),
        (
            "GorillaFileSystem.ls",
            {},
            ("session:nowhere",),
            "AGENT_UNAVAILABLE",
            "'nowhere' has no GorillaFileSystem",
        ),
        (
            "TradingBot.get_watchlist",
            {},
            ("session:multi_turn_base_0",),
            "AGENT_UNAVAILABLE",
            "has no TradingBot",
        ),
        ("GorillaFileSystem.format", {}, (), "CAPABILITY_NOT_FOUND", "no method 'format'"),
        ("GorillaFileSystem._load_scenario", {}, (), "CAPABILITY_NOT_FOUND", "no method '_load_scenario'"),
        ("GorillaFileSystem.cd", {"to": "x"}, (), "VALIDATION_ERROR", "argument"),
        ("MathAPI.mean", {"numbers": []}, (), "AGENT_ERROR", "empty list"),
    ],
)
def test_a_call_that_cannot_be_made_says_why(
    intent: str, payload: Any, tags: tuple[str, ...], code: str, words: str
) -> None:
    """A call without a session, of a foreign tool, or with wrong arguments says what is wrong."""
    from examples.tool_sessions.app import make_runtime

    error = make_runtime().route(intent, payload, tags=tags).error
    assert error is not None
    assert (error.code, words in error.message) == (code, True), error


def test_every_tool_of_a_session_can_be_asked_at_once() -> None:
    """A broadcast of `session.state` is answered by the session's tools and declined by all others."""
    from examples.tool_sessions.app import make_runtime

    response = make_runtime().route(
        "session.state", strategy="broadcast", tags=("session:multi_turn_base_0",)
    )
    answered = {told["agent"]: told["status"] for told in response.payload}
    assert {agent for agent, status in answered.items() if status == "success"} == {
        "GorillaFileSystem",
        "TwitterAPI",
    }
    assert len(answered) == 7


def test_a_precision_stays_in_its_call() -> None:
    """MathAPI sets the precision of the thread's decimals; the caller's own is not touched."""
    import decimal

    from examples.tool_sessions.app import make_runtime

    before = decimal.getcontext().prec
    response = make_runtime().route("MathAPI.square_root", {"number": 2, "precision": 5})
    assert (response.payload, decimal.getcontext().prec) == ({"result": decimal.Decimal("1.4142")}, before)


def test_a_missing_wheel_is_named_with_the_command_that_installs_it(root: Path) -> None:
    """Without the wheel the app cannot be loaded, and says in one message what to run."""
    program = (
        "import sys; sys.modules['bfcl_eval'] = None\n"
        "try:\n    import examples.tool_sessions.app\n"
        "except ImportError as fault:\n    print(fault)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert "pip install --no-deps 'bfcl-eval==2026.3.23' 'mpmath>=1.3,<2'" in ran.stdout
