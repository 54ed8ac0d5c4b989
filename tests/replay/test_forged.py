"""Records that somebody forged, with hashes and fingerprint that fit: what a replay makes of them."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from helpers.forging import Bodies, bodies_of, forged, lines_of
from helpers.programs import settle
from helpers.runtimes import runtime_of

from intentusnet import Context, ExecutionRecord, IntentusRuntime, Verdict
from intentusnet.errors import IntegrityBroken, RecordNotFound
from intentusnet.log.entry import parse_line
from intentusnet.record import fold
from intentusnet.replay.nesting import replay_nested

#: What a forger puts where something else stood.
ODD = (
    *(None, True, 0, -1, 1.5, "", "x", "attempt:²", "attempt:0/..", "agent", "race", [], [1], {}, {"a": 1}),
    *({"$int": "99999999999999999999"}, {"$bytes": "!"}, {"$unknown": 1}, 2**53 - 1, "attempt:" + "9" * 5000),
)

CALLS: list[Any] = []


def touched(value: Any) -> Any:
    CALLS.append(value)
    return value


def fails() -> None:
    CALLS.append("fails")
    raise OSError(2, "there is none", "file")


def make() -> IntentusRuntime:
    """Agents that ask in every way, two of them for each intent."""
    runtime = runtime_of()

    def child(payload: Any, ctx: Context) -> Any:
        return ctx.effect("touched", touched, payload)

    def first(payload: Any, ctx: Context) -> Any:
        told = [ctx.effect("touched", touched, 1), ctx.random.random(), str(ctx.now()), ctx.patched("p")]
        ctx.usage(tokens=2)
        ctx.check()
        try:
            ctx.effect("fails", fails)
        except OSError as fault:
            told.append(fault.filename)
        told += ctx.gather(lambda: ctx.effect("touched", touched, 2), lambda: ctx.route("child", 3).payload)
        if payload == "fail":
            raise ValueError("no")
        return told

    runtime.agent("child", handles="child", side_effect="read_only")(child)
    runtime.agent("first", handles="x", side_effect="read_only")(first)
    runtime.agent("second", handles="x", rank=1, side_effect="read_only")(child)
    return runtime


def record_of(runtime: IntentusRuntime, payload: Any = "ok", **options: Any) -> ExecutionRecord:
    assert runtime.store is not None
    return runtime.store.get(runtime.route("x", payload, **options).execution_id)


def read(data: bytes) -> ExecutionRecord:
    return fold([parse_line(line) for line in data.splitlines()])


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Each place in a body."""
    if path:
        yield path
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from places(tree[key], (*path, key))


def changed(bodies: Bodies, number: int, path: tuple[Any, ...], value: Any) -> None:
    *outer, last = path
    inner = bodies[number][1]
    for key in outer:
        inner = inner[key]
    inner[last] = copy.deepcopy(value)


@pytest.mark.parametrize(
    ("payload", "options"),
    [
        ("ok", {}),
        ("fail", {"strategy": "fallback"}),
        ("ok", {"strategy": "parallel", "prefer": "first"}),
        ("ok", {"strategy": "broadcast"}),
        ("other", {"idempotency_key": "k"}),
    ],
    ids=["direct", "fallback", "race", "broadcast", "refused for its key"],
)
def test_whatever_stands_anywhere_a_replay_ends_in_a_verdict(payload: str, options: dict[str, Any]) -> None:
    """Each place of each body takes an odd value: it is no record, or replays; the world is never asked."""
    runtime = make()
    if "idempotency_key" in options:
        record_of(runtime, **options)
    record = record_of(runtime, payload, **options)
    spots = [(number, path) for number, (_, body) in enumerate(bodies_of(record)) for path in places(body)]
    settle()  # the loser of a race may still ask
    CALLS.clear()
    verdicts = []
    # Each place takes some of the values in turn, so that each value comes to many places.
    for turn, (number, path) in enumerate(spots):
        for value in (ODD[(turn + step) % len(ODD)] for step in (0, 3, 7)):
            try:
                data = forged(record, lambda bodies: changed(bodies, number, path, value))  # noqa: B023 - called at once
            except IntegrityBroken:
                continue
            made = read(data)
            report = runtime.replay(made)
            report.as_dict()
            verdicts.append(report.verdict)
            if report.verdict is Verdict.MATCH and not report.taken:
                assert made.outcome == record.outcome
    assert CALLS == []
    assert {Verdict.DIVERGED, Verdict.MATCH} <= set(verdicts)


def second_answer(bodies: Bodies) -> None:
    number = next(n for n, (kind, body) in enumerate(bodies) if kind == "answered" and "kind" not in body)
    bodies.insert(number + 1, ("answered", {**bodies[number][1], "value": "another"}))


def answer_alone(bodies: Bodies) -> None:
    bodies.insert(1, ("answered", {"question": 77, "scope": "attempt:0", "value": 1}))


def told_again(bodies: Bodies) -> None:
    number = next(n for n, (kind, body) in enumerate(bodies) if kind == "answered" and "kind" in body)
    bodies.insert(number + 1, bodies[number])


def asked_as_another(bodies: Bodies) -> None:
    number = next(n for n, (kind, _) in enumerate(bodies) if kind == "asked")
    bodies.insert(number + 1, ("asked", {**bodies[number][1], "name": "another"}))


def effect_at_the_root(bodies: Bodies) -> None:
    body = {
        "arguments": {"args": [], "kwargs": {}},
        "kind": "effect",
        "name": "f",
        "question": 9,
        "scope": "",
    }
    bodies.insert(1, ("answered", {**body, "value": 1}))


def agent_beyond_the_plan(bodies: Bodies) -> None:
    body = {"arguments": {"args": [], "kwargs": {}}, "kind": "agent", "name": "first", "question": 1}
    bodies.insert(1, ("answered", {**body, "scope": "", "value": 1}))


@pytest.mark.parametrize(
    "change",
    [second_answer, answer_alone, told_again, asked_as_another, effect_at_the_root, agent_beyond_the_plan],
)
def test_entries_that_contradict_each_other_are_no_record(change: Callable[[Bodies], None]) -> None:
    """Nothing is chosen among them."""
    with pytest.raises(IntegrityBroken, match="not of the recorded format"):
        forged(record_of(make()), change)


def test_a_question_that_is_asked_again_alike_is_a_record() -> None:
    """Whoever resumes an execution writes it down once more."""

    def again(bodies: Bodies) -> None:
        number = next(n for n, (kind, _) in enumerate(bodies) if kind == "asked")
        bodies.insert(number + 1, bodies[number])

    runtime = make()
    assert runtime.replay(read(forged(record_of(runtime), again))).verdict is Verdict.MATCH


@pytest.mark.parametrize(
    "scope", ["attempt:", "attempt:²", "attempt:0/", "attempt:0/gather:1", "else", "attempt:" + "9" * 10]
)
def test_a_scope_that_no_run_gives_out_is_no_record(scope: str) -> None:
    """Nothing is looked for in it, and no number in it is read."""

    def change(bodies: Bodies) -> None:
        next(body for kind, body in bodies if kind == "answered" and "kind" in body)["scope"] = scope

    with pytest.raises(IntegrityBroken, match="is no scope"):
        forged(record_of(make()), change)


@pytest.mark.parametrize("winner", [-1, 2, "first", [0]])
def test_nobody_wins_a_race_who_did_not_run_in_it(winner: Any) -> None:
    """The winner of a race is an agent of the plan."""

    def change(bodies: Bodies) -> None:
        next(body for _, body in bodies if body.get("kind") == "race")["value"] = winner

    with pytest.raises(IntegrityBroken, match="winner of the race"):
        forged(record_of(make(), strategy="parallel", prefer="first"), change)


def test_an_answer_that_claims_not_to_be_the_agents_own_is_named() -> None:
    """The agent is not run for it, and the report says that its outcome was taken."""

    def change(bodies: Bodies) -> None:
        bodies[-1][1]["payload"] = "anything"
        bodies.insert(-1, ("answered", {"question": 0, "refused": True, "scope": "", "value": "anything"}))

    runtime = make()
    report = runtime.replay(read(forged(record_of(runtime), change)))
    assert (report.verdict, report.taken) == (Verdict.MATCH, ("first",))


def test_a_routing_replay_of_candidates_that_make_no_sense_has_a_verdict() -> None:
    """Two candidates of one name, decided about by a runtime without agents."""

    def change(bodies: Bodies) -> None:
        plan = bodies[0][1]["plan"]
        plan["candidates"][1]["agent"] = plan["candidates"][0]["agent"]

    made = read(forged(record_of(make()), change))
    report = IntentusRuntime().replay(made, depth="routing")
    assert report.verdict is Verdict.NOT_REPLAYABLE and "candidates" in report.reason


def test_an_integer_that_no_writer_writes_is_no_record() -> None:
    """Beyond 53 bits integers have a tag; without one they are no value."""
    record = record_of(make(), payload=1234567)
    bodies = bodies_of(record)
    data = lines_of(bodies, record.execution_id)
    entries = [parse_line(line) for line in data.splitlines()]
    entries[0] = replace(entries[0], body=entries[0].body.replace(b"1234567", b"9007199254740993"))
    with pytest.raises(IntegrityBroken, match="53-bit"):
        fold(entries)


@pytest.mark.parametrize("of", ["effects", "exceptions"])
def test_names_of_any_length_are_read_in_no_time(of: str) -> None:
    """A class with a million modules before it is not looked for, and no name resembles one as long."""
    runtime, long = make(), "x." * 500_000

    def change(bodies: Bodies) -> None:
        for _, body in bodies:
            if of == "effects" and body.get("name") == "touched" and body["scope"] == "attempt:0":
                body["name"] = long
            elif of == "exceptions" and "error" in body and body.get("scope") == "attempt:0":
                body["error"]["type"] = f"{long}Error"

    report = runtime.replay(read(forged(record_of(runtime), change)))
    assert report.divergences[0].kind == ("unexpected" if of == "effects" else "missing")


# Nested executions


def family(runtime: IntentusRuntime) -> tuple[ExecutionRecord, ExecutionRecord]:
    assert runtime.store is not None
    record = record_of(runtime)
    return record, runtime.store.get(record.children[0])


def renamed(record: ExecutionRecord, name: str, *children: str) -> ExecutionRecord:
    """The record as that of another execution, which asked for those once for each."""
    asked = next(q for q in record.questions if q.answer is not None and q.answer.child is not None)
    assert asked.answer is not None
    questions = [asked._replace(answer=asked.answer._replace(child=child)) for child in children]
    return replace(record, execution_id=name, questions=tuple(questions))


def test_a_child_that_is_not_what_its_parent_was_told_is_not_replayable() -> None:
    """Neither request nor response of a child can be exchanged beneath its parent."""
    runtime = make()
    record, child = family(runtime)

    def other_answer(bodies: Bodies) -> None:
        bodies[-1][1]["payload"] = 4
        bodies[-2][1]["value"] = 4

    exchanged = read(forged(child, other_answer))
    assert runtime.replay(exchanged).verdict is Verdict.MATCH
    report = replay_nested(record, lambda _: exchanged, runtime.replay)
    assert report.verdict is Verdict.NOT_REPLAYABLE
    assert [(c.verdict, record.execution_id in c.reason) for c in report.children] == [
        (Verdict.NOT_REPLAYABLE, True)
    ]
    assert replay_nested(record, lambda _: child, runtime.replay).verdict is Verdict.MATCH


def test_a_family_without_end_ends() -> None:
    """Each execution is replayed once, however many name it, and none that is nested too deep."""
    runtime = make()
    record, _ = family(runtime)
    report = runtime.replay(record)
    replayed: list[str] = []

    def replay(one: ExecutionRecord) -> Any:
        replayed.append(one.execution_id)
        return replace(report, execution_id=one.execution_id)

    def both(name: str) -> ExecutionRecord:
        number = int(name)
        if number > 400:
            raise RecordNotFound("no more")
        # Not ended, so that nothing is compared with what the parent was told.
        return replace(renamed(record, name, str(number + 1), str(number + 2)), outcome=None)

    found = replay_nested(both("0"), both, replay)
    assert len(replayed) == len(set(replayed)) <= 401
    assert found.verdict is Verdict.NOT_REPLAYABLE
    deepest = found
    while deepest.children:
        deepest = deepest.children[0]
    assert "nested in more than" in deepest.reason
