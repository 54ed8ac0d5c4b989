"""What two processes saw is judged: who is blamed, who is cleared, and what it must be where nobody read."""

from typing import Any

import pytest

from intentusnet.doctor.judging import Certainty, Finding, judge
from intentusnet.doctor.sightings import Key, Reading, Replayed, Seen

TIME = Key("app.py:1", "time", "the time")
TIMER = Key("app.py:2", "timer", "time.perf_counter()")
VARIABLE = Key("app.py:3", "environment", "the variable HOME")
DRAWN = Key("app.py:4", "uuid", "uuid.uuid4()")


def divergence(actual: object = 2, **more: Any) -> dict[str, Any]:
    return {
        "kind": "outcome",
        "scope": "attempt:0",
        "question": "agent a [0]",
        "pointer": "/payload",
        "expected": 1,
        "actual": actual,
        "source": "app.py:9",
        "nearest": "",
        **more,
    }


def replay(*divergences: dict[str, Any], zone: bool = False, **read: str) -> Replayed:
    """A replay of one execution; `read` gives the values of readings by the name of their key."""
    readings = tuple(Reading(globals()[name], (value,)) for name, value in read.items())
    verdict = "diverged" if divergences else "match"
    return Replayed("e1", "a.do", verdict, "", divergences, zone, readings)


def of_program(first: Replayed, second: Replayed | None, **live: str) -> list[Finding]:
    """What is found of a program whose one execution was replayed so in both processes."""
    readings = [Reading(globals()[name], (value,)) for name, value in live.items()]
    seconds = () if second is None else (second,)
    return judge(Seen(0, (), {"e1": readings}, (first,)), Seen(0, (), {}, seconds))


def of_app(first: Replayed, second: Replayed) -> list[Finding]:
    """What is found of a record that was replayed so in both processes."""
    return judge(Seen(replays=(first,)), Seen(replays=(second,)))


def told(findings: list[Finding]) -> list[tuple[str, str, Certainty]]:
    return [(finding.source, finding.cause, finding.certainty) for finding in findings]


def test_nothing_read_and_nothing_different_is_nothing() -> None:
    """Replays that match and read nothing give no finding."""
    assert of_program(replay(), replay()) == []


def test_what_was_read_differed_and_mattered_is_blamed() -> None:
    """A reading that differed in an execution that diverged is the cause, with the divergence as example."""
    findings = of_program(replay(divergence(), TIME="b"), replay(divergence(3), TIME="c"), TIME="a")
    assert told(findings) == [(TIME.source, "time", Certainty.DIFFERS)]
    assert findings[0].example == divergence()
    assert findings[0].executions == ["e1"]


def test_what_was_read_and_did_not_matter_is_told_as_that() -> None:
    """A reading that differed in an execution that matched is no cause."""
    findings = of_program(replay(TIME="b"), replay(TIME="c"), TIME="a")
    assert told(findings) == [(TIME.source, "time", Certainty.READ)]


def test_what_was_the_same_is_told_as_that() -> None:
    """A variable that had the same value each time is told last, and is no cause of what differs."""
    findings = of_program(
        replay(divergence(), TIME="b", VARIABLE="x"),
        replay(divergence(), TIME="c", VARIABLE="x"),
        VARIABLE="x",
    )
    assert told(findings) == [
        (TIME.source, "time", Certainty.DIFFERS),
        (VARIABLE.source, "environment", Certainty.SAME),
    ]


@pytest.mark.parametrize("name", ["TIMER", "DRAWN"])
def test_a_fresh_value_that_came_to_the_same_is_cleared(name: str) -> None:
    """What was drawn anew and led to a match is not the cause of a divergence elsewhere: that is order."""
    key = globals()[name]
    findings = of_program(replay(**{name: "b"}), replay(divergence(), **{name: "c"}), **{name: "a"})
    assert told(findings) == [
        ("app.py:9", "order", Certainty.DIFFERS),
        (key.source, key.kind, Certainty.READ),
    ]


def test_the_time_is_not_cleared_by_a_match_in_the_same_second() -> None:
    """A time may be rounded: a match soon after recording does not clear it of a divergence later."""
    findings = of_program(replay(TIME="b"), replay(divergence(), TIME="c"), TIME="a")
    assert told(findings) == [(TIME.source, "time", Certainty.DIFFERS)]


def test_where_nobody_read_the_processes_tell_what_it_is() -> None:
    """In the recording process: state. With another hash seed only: order. In another zone only: the zone."""
    assert told(of_program(replay(divergence()), replay(divergence()))) == [
        ("app.py:9", "state", Certainty.DIFFERS)
    ]
    assert told(of_program(replay(), replay(divergence()))) == [("app.py:9", "order", Certainty.DIFFERS)]
    assert told(of_program(replay(), replay(divergence(), zone=True))) == [
        ("app.py:9", "zone", Certainty.DIFFERS)
    ]


def test_records_that_differ_alike_in_both_processes_are_of_other_code() -> None:
    """Two fresh processes that agree with each other and not with the record: something has changed since."""
    assert told(of_app(replay(divergence()), replay(divergence()))) == [
        ("app.py:9", "changed", Certainty.DIFFERS)
    ]
    assert told(of_app(replay(divergence(3)), replay(divergence(4)))) == [
        ("app.py:9", "order", Certainty.DIFFERS)
    ]


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        ("socket.connect", "network"),
        ("socket.getaddrinfo", "network"),
        ("socket.sethostname", "write"),
        ("subprocess.Popen", "process"),
        ("_posixsubprocess.fork_exec", "process"),
        ("os.system", "process"),
        ("os.kill", "process"),
        ("open", "write"),
        ("os.remove", "write"),
        ("os.putenv", "write"),
        ("shutil.rmtree", "write"),
        ("sqlite3.connect", "write"),
    ],
)
def test_what_a_replay_stops_is_the_cause(event: str, cause: str) -> None:
    """An act that the tripwire stopped is told by its kind, and what was read before it is not blamed."""
    touch = divergence(kind="unexpected", question=event, expected={"$absent": True}, source="app.py:7")
    findings = of_program(replay(touch, VARIABLE="x"), None, VARIABLE="x")
    assert told(findings) == [
        ("app.py:7", cause, Certainty.DIFFERS),
        (VARIABLE.source, "environment", Certainty.SAME),
    ]


def test_what_is_not_read_again_because_a_replay_stops_is_not_called_the_same() -> None:
    """A random value that only the recording run drew says nothing of being the same each time."""
    touch = divergence(kind="unexpected", question="open", source="app.py:7")
    findings = of_program(replay(touch), replay(touch), DRAWN="a")
    assert told(findings)[1] == (DRAWN.source, "uuid", Certainty.READ)


def test_findings_of_one_line_are_one() -> None:
    """Executions that meet at a line are counted there, and the surest of what is known of it is told."""

    def of(execution: str, *divergences: dict[str, Any], value: str) -> Replayed:
        readings = (Reading(TIME, (value,)),)
        verdict = "diverged" if divergences else "match"
        return Replayed(execution, "a.do", verdict, "", divergences, False, readings)

    first = Seen(
        0, (), {}, (of("e1", value="a"), of("e2", divergence(), value="a"), of("e3", divergence(), value="a"))
    )
    second = Seen(
        0, (), {}, (of("e1", value="b"), of("e2", divergence(), value="b"), of("e3", divergence(), value="b"))
    )
    (finding,) = judge(first, second)
    assert finding.certainty is Certainty.DIFFERS
    assert finding.executions == ["e2", "e3"]
    assert finding.what == ["the time"]


def test_more_readings_in_one_run_are_no_difference() -> None:
    """Readings are compared one by one as far as both runs have them."""
    one, more = Reading(TIME, ("a",)), Reading(TIME, ("a", "b"))
    assert not one.differs_from(more)
    assert more.differs_from(Reading(TIME, ("a", "c")))


def test_what_was_seen_survives_being_written_down(tmp_path: Any) -> None:
    """A process's report is read back as it was written."""
    from intentusnet.doctor.sightings import Kept

    kept = Kept("e1", "a.do", 0, ("a", "b"), "x.jsonl")
    seen = Seen(3, (kept,), {"e1": (Reading(TIME, ("a",)),)}, (replay(divergence(), TIME="b"),))
    seen.save(tmp_path / "seen.json")
    assert Seen.load(tmp_path / "seen.json") == seen
