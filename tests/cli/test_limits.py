"""What the command line tells of limits: verdicts in `show`, settings in `agents`, exit codes."""

import pytest

from intentusnet.cli.admissions import told_of

LIMITED = """
from intentusnet import AgentFailure, Breaker, Context, Concurrency, IntentusRuntime, Limits, Rate, Retry

runtime = IntentusRuntime()
limits = Limits(
    retry=Retry(on=("TRANSPORT_ERROR",), base=0.001, cap=0.001, attempts=2),
    rate=(Rate(per="agent", count=1, seconds=3600),),
    concurrency=Concurrency(limit=1),
    breaker=Breaker(),
)


@runtime.agent("flaky", handles="ask", side_effect="read_only", limits=limits)
def flaky(ctx: Context):
    raise AgentFailure("the line is dead", code="TRANSPORT_ERROR")
"""


@pytest.fixture
def limited(shop, monkeypatch):
    (shop / "limited.py").write_text(LIMITED)
    monkeypatch.setenv("INTENTUSNET_APP", "limited:runtime")
    return shop


def test_show_tells_the_verdicts(limited, run):
    """In words on a terminal, whole in JSON; and a refused call ends like any agent that failed."""
    ran = run("route", "ask")
    assert ran.code == 4 and ran.json["error"]["code"] == "RATE_LIMIT"
    assert 3590 < ran.json["error"]["details"]["retry_after"] <= 3600
    assert [attempt["error"]["code"] for attempt in ran.json["attempts"]] == ["TRANSPORT_ERROR", "RATE_LIMIT"]
    told = {
        (question["scope"], question["name"]): question["answer"]
        for question in run("show", "@last").json["questions"]
        if question["kind"] == "admission"
    }
    assert told["admission:0", "retry"]["again"] is True
    assert told["admission:2", "limits"]["error"]["code"] == "RATE_LIMIT"
    shown = " ".join(run("show", "@last", "--format", "table").stdout.split())
    for words in (
        "limits admitted",
        "retry again after",
        "limits refused: RATE_LIMIT, rate per agent, retry after",
    ):
        assert words in shown
    assert "retry not again: code" in shown
    assert run("replay", "--all").code == 0


def test_agents_tells_the_settings(limited, run):
    """As they were written; what is left out is null."""
    told = run("agents", "flaky").json["limits"]
    assert told["concurrency"] == {"limit": 1, "queue": 0, "typical": 1.0}
    assert "retry" in run("agents", "flaky", "--format", "table").stdout


def refused(code, **said):
    return {"admitted": False, "error": {"code": code}, **said}


def placed(decision, **said):
    return {"concurrency": {"decision": decision, **said}}


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ({"admitted": True}, "admitted"),
        ({"again": True, "delay": 1_500_000_000}, "again after 1.50 s"),
        ({"again": True, "delay": {"$int": "9007199254740993000"}}, "again after 9007199255 s"),
        ({"again": False, "delay": 0, "reason": "budget"}, "not again: budget"),
        (
            refused("RATE_LIMIT", rate={"admitted": False, "per": "tenant", "retry_after": 2_000_000_000}),
            "refused: RATE_LIMIT, rate per tenant, retry after 2.00 s",
        ),
        (
            {"admitted": True, **placed("queued", place=3, estimate=4_000_000, waited=5_000_000)},
            "admitted, queued at place 3, estimate 4.00 ms, waited 5.00 ms",
        ),
        ({"admitted": True, **placed("nested")}, "admitted, nested in a call that has a place"),
        (
            refused("RATE_LIMIT", **placed("refused", retry_after=1000)),
            "refused: RATE_LIMIT, no place, retry after 1 µs",
        ),
        (
            {"admitted": True, "breaker": {"admitted": True, "probe": True}},
            "admitted, as the breaker's probe",
        ),
        (
            refused("AGENT_UNAVAILABLE", breaker={"admitted": False, "retry_after": 0}),
            "refused: AGENT_UNAVAILABLE, the breaker is open",
        ),
        (
            {"admitted": True, "other": 1, "rate": 7, "concurrency": [], "breaker": None},
            'admitted, {"other":1}',
        ),
    ],
)
def test_a_verdict_in_words(verdict, words):
    """Each part says its own, and a part that nobody knows is shown as it is."""
    assert told_of(verdict, 100) == words
