"""`route`: what it prints, and which exit code tells what."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intentusnet.cli.route import exit_code_of
from intentusnet.response import ErrorCode, ErrorInfo

KEYS = ["execution_id", "status", "agent", "payload", "error", "attempts"]


def test_a_response_is_one_line_of_json_with_fixed_keys(app, run):
    """Off a terminal, route prints exactly the six keys, and what agents print stays off stdout."""
    ran = run("route", "ticket.classify", '{"text": "it crashes"}')
    assert ran.code == 0
    assert list(ran.json) == KEYS
    assert ran.json["payload"] == {"label": "bug"}
    assert ran.json["attempts"] == [{"agent": "triage", "status": "success", "error": None}]
    assert "noise on stdout" in ran.stderr


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (["echo.say", "1"], 0, None),
        (["nobody.there"], 3, "CAPABILITY_NOT_FOUND"),
        (["ticket.lost", "{}"], 4, "AGENT_UNAVAILABLE"),
        (["money.transfer", '{"amount": 5000}', "--policy", "policy.toml"], 5, "POLICY_DENIAL"),
        (["money.transfer", '"a lot"'], 2, "VALIDATION_ERROR"),
    ],
)
def test_the_exit_code_tells_how_it_ended(app, run, args, code, error):
    """No agent, a failed agent, a denial and an invalid payload are answers with exit codes of their own."""
    ran = run("route", *args)
    assert ran.code == code
    assert (ran.json["error"] or {"code": None})["code"] == error


def test_options_make_the_envelope(app, run):
    """Caller, roles, tenant, tags, priority and idempotency key reach the record."""
    options = "--caller ann --role a --role b --tenant t --tag x --tag y --priority 3 --idempotency-key k"
    ran = run("route", "echo.say@1.0", "null", *options.split(), "--timeout", "60", "--durability", "os")
    envelope = run("show", ran.json["execution_id"]).json["envelope"]
    assert envelope["caller"] == {"name": "ann", "roles": ["a", "b"], "tenant": "t"}
    assert (envelope["tags"], envelope["priority"], envelope["idempotency_key"]) == (["x", "y"], 3, "k")
    assert envelope["deadline"] is not None


def test_the_same_key_prints_the_response_on_record(app, run):
    """One key more in JSON, a line more in the table; another request with the key is invalid."""
    keyed = ["route", "echo.say", "--idempotency-key", "k"]
    first, again = run(*keyed, "1"), run(*keyed, "1", "--in-flight", "refuse")
    assert list(first.json) == KEYS
    assert again.json == {**first.json, "from_record": True}
    assert "nobody was called" in run("--format", "table", *keyed, "1").stdout
    other = run(*keyed, "2")
    assert (other.code, other.json["error"]["details"]["differs"]) == (2, ["payload"])
    assert run("replay", "--all").code == 0
    assert run("route", "echo.say", "1", "--in-flight", "refuse").code == 2


def test_a_fallback_list_is_tried_in_its_order(app, run):
    """--fallback alone means the strategy of that name, and every attempt is told."""
    ran = run("route", "ticket.classify", '{"text": "?"}', "--fallback", "backup, triage")
    assert [attempt["agent"] for attempt in ran.json["attempts"]] == ["backup", "triage"]
    assert (ran.code, ran.json["agent"]) == (0, "triage")


@pytest.mark.parametrize("payload", ["-", "@payload.json"])
def test_a_payload_comes_from_stdin_or_a_file(app, run, payload):
    """``-`` reads stdin, ``@file`` the file; a byte order mark is no part of it."""
    data = b"\xef\xbb\xbf" + '{"text": "ü"}'.encode()
    Path("payload.json").write_bytes(data)
    assert run("route", "echo.say", payload, input=data).json["payload"] == {"text": "ü"}


def test_what_is_printed_can_be_handed_in_again(app, run):
    """Tags of the record format mean the same in a payload argument as in a printed payload."""
    for payload in (
        "1.5",
        '{"$decimal":"1.50"}',
        '{"$int":"123456789012345678901"}',
        '{"$dict":[["$ref","#/x"]]}',
    ):
        assert json.dumps(run("route", "echo.say", payload).json["payload"], separators=(",", ":")) == payload


def test_a_dry_run_calls_and_records_nothing(app, run):
    """--dry-run prints candidates, decisions and steps, and leaves no store behind."""
    ran = run("route", "ticket.classify", '{"text": "x"}', "--dry-run")
    assert ran.code == 0
    assert ran.json["steps"] == ["triage"]
    assert [candidate["agent"] for candidate in ran.json["candidates"]] == ["triage", "backup"]
    assert ran.json["refusal"] is None
    assert not Path(".intentusnet").exists()
    denied = run("route", "money.transfer", '{"amount": 1001}', "--dry-run", "--policy", "policy.toml")
    assert (denied.code, denied.json["refusal"]["code"]) == (5, "POLICY_DENIAL")
    assert run("route", "nobody.there", "--dry-run", "--format", "table").code == 3


BAD_PAYLOADS = [
    ('{"a":}', "line 1, column 6"),
    ('{\n "a": 1,\n oops}', "line 3, column 2"),
    ("", "got       nothing"),
    ("NaN", "NaN is no JSON"),
    ('{"NaN": [1, -Infinity]}', "line 1, column 13"),
    ("1e999", "too large"),
    ("9" * 5000, "too many digits"),
    ('{"a": 1, "b": 2, "a": 3}', 'got       "a"'),
    ("[" * 5000 + "]" * 5000, "nested too deep"),
    ("[" * 210 + "]" * 210, "nested too deep"),
    ('{"$ref": "#"}', 'write {"$dict"'),
    ("@missing.json", "No such file"),
    ("@", "file's name"),
    ("@bad.json", "not UTF-8"),
]


@pytest.mark.parametrize(("payload", "told"), BAD_PAYLOADS, ids=[payload[:20] for payload, _ in BAD_PAYLOADS])
def test_a_payload_that_is_no_json_is_refused_with_its_place(app, run, payload, told):
    """What json.loads would take or change without a word is refused too; nothing is called or recorded."""
    Path("bad.json").write_bytes(b'"\xff"')
    ran = run("route", "echo.say", payload)
    assert ran.code == 2
    assert ran.stdout == ""
    assert told in ran.stderr
    assert ran.stderr.count("Error:") == 1
    assert not Path(".intentusnet").exists()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["x", "--strategy", "fallbak"], "Did you mean 'fallback'?"),
        (["x", "--strategy", "DIRECT"], "Did you mean 'direct'?"),
        (["x", "--startegy", "direct"], "--strategy"),
        (["x", "--target", "a", "--fallback", "b"], "exclude each other"),
        (["x", "--prefer", "first"], "parallel only"),
        (["x", "--fallback", "a,,b"], "commas between"),
        (["x", "-q", "-v"], "exclude each other"),
        (["x", "--timeout", "-1"], "seconds > 0"),
        (["x", "--timeout", "nan"], "seconds > 0"),
        (["x", "--priority", "high"], "--priority"),
        (["x", "1", "2"], "unexpected extra argument"),
        ([""], "/intent/name"),
        ([], "INTENT"),
    ],
)
def test_options_that_make_no_sense_are_refused(app, run, args, told):
    """Each is one message with exit code 2, which names the option or what may have been meant."""
    ran = run("route", *args)
    assert ran.code == 2, ran.stderr
    assert told in ran.stderr
    assert ran.stdout == ""


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    payload=st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace"))
)
def test_whatever_the_payload_is_the_end_is_a_documented_one(app, run, payload):
    """Any bytes that an argument can have end with a documented exit code, one message, and no traceback."""
    argument = payload.replace(b"\0", b"").decode("utf-8", "surrogateescape")
    # What begins with a dash is an option, and @ would read whatever file there is.
    ran = run("route", "echo.say", "--durability", "os", "--", argument, input=b"")
    assert ran.code in {0, 2}
    assert (ran.stdout == "") == (ran.code == 2)
    assert ran.stderr.count("Error:") == (1 if ran.code else 0)


def test_on_a_terminal_a_failure_is_laid_out(app, run):
    """In a table, status, error, message and attempts are told, and no control character gets through."""
    ran = run("route", "ticket.classify", '{"text": 1}', "--fallback", "backup,triage", "--format", "table")
    assert ran.code == 4
    assert re.search(r"^error  ticket.classify  by triage$", ran.stdout, re.M)
    assert "AGENT_UNAVAILABLE: the queue is full" in ran.stdout
    assert run("show", "@last").json["status"] == "error"
    assert all(line == line.rstrip() for line in ran.stdout.splitlines())
    loud = run("route", "echo.say", r'"\u001b[31m[red]\u202e"', "--format", "table")
    assert "\x1b" not in loud.stdout
    assert r"\u001b[31m[red]\u202e" in loud.stdout


def test_an_interrupt_ends_with_130(app, run):
    """Ctrl-C in the middle of an agent ends with 130, one word, and a record without an end."""
    ran = run("route", "cut.short")
    assert (ran.code, ran.stdout) == (130, "")
    assert "interrupted" in ran.stderr
    assert run("list").json[0]["status"] == "interrupted"


def test_asynchronous_agents_are_awaited(shop, run):
    """The command line makes the event loop that they need, for them and for what they ask for."""
    (shop / "waiting.py").write_text(
        "import asyncio\n"
        "from intentusnet import AsyncContext, IntentusRuntime\n"
        "runtime = IntentusRuntime()\n"
        "@runtime.agent('waiting', handles='wait')\n"
        "async def waiting(payload, ctx: AsyncContext):\n"
        "    await ctx.sleep(0)\n"
        "    return [payload, (await ctx.route('plain')).payload]\n"
        "@runtime.agent('plain', handles='plain')\n"
        "def plain():\n"
        "    return 'plain'\n"
    )
    ran = run("--app", "waiting:runtime", "route", "wait", "1")
    assert (ran.code, ran.json["payload"]) == (0, [1, "plain"])
    ran = run("--app", "waiting:runtime", "route", "plain")
    assert (ran.code, ran.json["payload"]) == (0, "plain")


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_error_code_has_an_exit_code(code):
    """Codes without an exit code of their own end with 4, and none ends with 0."""
    own = {"CAPABILITY_NOT_FOUND": 3, "POLICY_DENIAL": 5, "IN_DOUBT": 14, "VALIDATION_ERROR": 2}
    agents = ErrorInfo(code=code, message="", details={"agent": "a"})
    assert exit_code_of(agents) == own.get(code.value, 4)
    callers = own | {"PAYLOAD_TOO_LARGE": 2}  # of an agent it is its answer; else it is what was handed over
    assert exit_code_of(ErrorInfo(code=code, message="")) == callers.get(code.value, 4)


HOOKED = """
from intentusnet import IntentusRuntime, Refused


class Door:
    def before(self, envelope):
        if envelope.payload == "broken":
            raise ValueError("the guard is broken")
        if envelope.payload != "friend":
            raise Refused("not you", code=envelope.payload)

    {asynchronous}def after(self, envelope, response):
        raise ValueError("the observer is broken")


runtime = IntentusRuntime(hooks=[Door()])
runtime.agent("echo", handles="say", side_effect="read_only")(lambda payload: payload)
"""


@pytest.mark.parametrize("asynchronous", ["", "async "])
@pytest.mark.parametrize(
    ("payload", "code", "error", "warned"),
    [
        ("friend", 0, None, "`after` of hook 'Door' has raised ValueError: the observer is broken"),
        ("POLICY_DENIAL", 5, "POLICY_DENIAL", ""),
        ("UNAUTHORIZED", 4, "UNAUTHORIZED", ""),
        ("broken", 5, "POLICY_DENIAL", "`before` of hook 'Door' has raised ValueError: the guard is broken"),
    ],
)
def test_hooks_of_the_app_are_called(app, run_process, asynchronous, payload, code, error, warned):
    """Refusals have the exit code of their error, and what raises is a warning on stderr, without a trace."""
    Path("hooked.py").write_text(HOOKED.format(asynchronous=asynchronous))
    ran = run_process("route", "say", json.dumps(payload), "--app", "hooked:runtime")
    assert (ran.code, (ran.json["error"] or {"code": None})["code"]) == (code, error)
    assert "Traceback" not in ran.stderr
    assert warned in ran.stderr and ("HookWarning" in ran.stderr) is bool(warned)
    shown = run_process("show", ran.json["execution_id"]).json
    assert shown["questions"][0]["name"] == "guard:Door"


def test_each_place_that_is_wrong_has_a_line(app, run):
    """In a table, faults of a payload stand below each other; so do those of the arguments, on stderr."""
    with open("shop.py", "a") as file:
        file.write("@runtime.agent('typed', handles='typed')\ndef typed(x: dict[str, int]) -> None: ...\n")
    ran = run("route", "typed", '{"a": 1, "b": "x", "c": []}', "--format", "table")
    assert ran.code == 2 and "in 2 places" in ran.stdout
    for line in (
        r"/b: expected a valid integer, got str 'x'",
        r"/c: expected a valid integer, got list \[\]",
    ):
        assert re.search(rf"^  (faults)? +{line}$", ran.stdout, re.M), ran.stdout
    faults = run("show", "@last").json["outcome"]["error"]["details"]["faults"]
    assert [fault["path"] for fault in faults] == ["/b", "/c"]
    ran = run("route", "x", "--tag", "", "--tag", "y", "--tag", "9" * 600)
    assert ran.code == 2 and ran.stderr.count("Error:") == 1
    assert "at /tags/0" in ran.stderr or "/tags/0" in ran.stderr
    assert re.search(r"also +/tags/2: expected .*512 characters, got str of length 600", ran.stderr)
