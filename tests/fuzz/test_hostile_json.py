"""Whatever bytes are handed to the command line as JSON: a documented exit code, and one clear message."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.hostile import json_trees
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intentusnet.cli import jsontext
from intentusnet.cli.payload import parse_json
from intentusnet.errors import InvalidInput

#: What `json.loads` takes or changes without a word, or stumbles over: text, and what is said of it.
REFUSED: list[tuple[bytes, str, str]] = [
    (b'{"a": 1, "b": {"c": 2, "c": 3}}', "twice", "line 1, column 24 (/b/c)"),
    (b'[0, {"x": 1, "\\u0078": 2}]', "twice", "line 1, column 14 (/1/x)"),
    (b'{"a": [1,\n NaN]}', "NaN is no JSON", "line 2, column 2 (/a/1)"),
    (b"-Infinity", "-Infinity is no JSON", "line 1, column 1"),
    (b'["NaN", Infinity]', "Infinity is no JSON", "line 1, column 9 (/1)"),
    (b'{"a~b/c": 1e400}', "too large", "column 11 (/a~0b~1c)"),
    (b"[-1.5e999]", "too large", "column 2 (/0)"),
    (b'{"n": ' + b"9" * 5000 + b"}", "too many digits", "column 7 (/n)"),
    (b'{"a": "\\ud800"}', "half of a surrogate pair", "column 7 (/a)"),
    (b'["\\ud83d\\ude00", "\\ude00"]', "half of a surrogate pair", "column 18 (/1)"),
    (b'{"\\uDFFF": 1}', "half of a surrogate pair", "column 2"),
    (b'"\xed\xa0\x80"', "not UTF-8", "byte 1"),
    (b'\xff\xfe"\x00a\x00"\x00', "not UTF-8", "byte 0"),
    (b'{"a": 1} trailing', "extra data", "line 1, column 10"),
    (b'{"a": 1}\x00', "extra data", "line 1, column 9"),
    (b'"\x01"', "control character", "column 2"),
    (b"", "no JSON", "line 1, column 1"),
    (b"[1,]", "no JSON", "column 4"),
    (b"[" * 100_000 + b"]" * 100_000, "nested too deep", ""),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep", ""),
    (b"'a'", "no JSON", "column 1"),
    (b"01", "extra data", "column 2"),
]
EXIT_CODES = {0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 130}

APP = """
from intentusnet import IntentusRuntime

runtime = IntentusRuntime()


@runtime.agent("echo", handles="echo.say", side_effect="read_only")
def echo(payload):
    return payload


@runtime.agent("typed", handles="typed.say", side_effect="read_only")
def typed(payload: dict[str, list[int]]) -> int:
    return len(payload)
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "hostile_app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("INTENTUSNET_APP", "hostile_app:runtime")
    return tmp_path


def run(*args: str, input: bytes = b"") -> tuple[int, str, str]:
    from click.testing import CliRunner

    from intentusnet.cli.app import cli

    result = CliRunner().invoke(cli, args, input=input)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    assert result.exit_code in EXIT_CODES
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(("data", "message", "place"), REFUSED, ids=[ascii(row[0][:20]) for row in REFUSED])
def test_json_of_which_something_would_be_lost_is_refused_in_its_place(
    data: bytes, message: str, place: str
) -> None:
    """What is wrong with the text is said with line and column, and with the pointer where there is one."""
    with pytest.raises(InvalidInput) as refusal:
        parse_json(data, "here")
    assert message in refusal.value.message and place in refusal.value.where


@pytest.mark.parametrize(("data", "message", "place"), REFUSED, ids=[ascii(row[0][:20]) for row in REFUSED])
def test_payloads_and_files_are_refused_alike(app: Path, data: bytes, message: str, place: str) -> None:
    """As a file, on stdin and as an envelope's file: exit code 2, one message, nothing recorded."""
    (app / "p.json").write_bytes(data)
    (app / "e.json").write_bytes(b'{"intent": "echo.say", "payload": ' + data + b"}")
    for args in (("route", "echo.say", "@p.json"), ("route", "echo.say", "-")):
        code, stdout, stderr = run(*args, input=data)
        assert (code, stdout) == (2, "") and stderr.count("Error:") == 1
        assert message in stderr and place in stderr
    assert run("validate", "p.json")[0] == 2
    code, stdout, _ = run("validate", "e.json", "--format", "json")
    assert code == 2 and len(json.loads(stdout)[0]["faults"]) == 1
    assert run("policy", "explain", "e.json")[0] in (2, 12)
    assert not (app / ".intentusnet").exists()


@pytest.mark.parametrize("payload", ["\ufeff[1]", '["\\\\ud800", "\\ud83d\\ude00"]', "9" * 4000, "[1e308]"])
def test_what_only_looks_odd_is_taken(payload: str) -> None:
    """A byte order mark, a backslash before what looks like half a pair, whole pairs, long numbers."""
    assert parse_json(payload.encode(), "here") == json.loads(payload.removeprefix("\ufeff"))


@given(tree=json_trees, indent=st.none() | st.integers(0, 2), plain=st.booleans())
def test_nothing_is_found_in_sound_json_and_all_else_is_refused(
    tree: Any, indent: int | None, plain: bool
) -> None:
    """The walk finds something if, and only if, the text would not come back as it was."""
    text = json.dumps(tree, indent=indent, ensure_ascii=not plain)
    loss = jsontext.first_loss(text)
    try:
        text.encode()
        json.loads(text, parse_constant=_refused)
        sound = not re.search("[\ud800-\udfff]", _all_text(tree))
    except ValueError:
        sound = False
    assert (loss is None) is sound
    if sound:
        assert parse_json(text.encode(), "here") == json.loads(text)


def _refused(name: str) -> None:
    raise ValueError(name)


def _all_text(tree: Any) -> str:
    if isinstance(tree, dict):
        return "".join(key + _all_text(item) for key, item in tree.items())
    if isinstance(tree, list):
        return "".join(map(_all_text, tree))
    return tree if isinstance(tree, str) else ""


def mutated(data: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, put in cuts:
        at = place % (len(data) + 1)
        data = data[:at] + put + data[at + length :]
    return data


PIECES = st.sampled_from(
    [
        b"",
        b'"',
        b"\\",
        b"\\ud800",
        b"[" * 70,
        b"NaN",
        b"1e999",
        b"\xff",
        b"\x00",
        b'{"a":1,"a":2}',
        b"$int",
        b",",
    ]
)
hostile_bytes = st.binary(max_size=60) | st.builds(
    mutated,
    json_trees.map(lambda tree: json.dumps(tree).encode()),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), PIECES | st.binary(max_size=3)), max_size=3),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=hostile_bytes, intent=st.sampled_from(["echo.say", "typed.say", "nobody.there"]))
def test_whatever_bytes_come_the_end_is_a_documented_one(app: Path, data: bytes, intent: str) -> None:
    """Random bytes and mutated JSON, as a file, on stdin, as an argument, and as an envelope."""
    (app / "p.json").write_bytes(data)
    (app / "e.json").write_bytes(b'{"intent": "%b", "payload": %b}' % (intent.encode(), data))
    ends = {
        run("route", intent, "@p.json", "--durability", "os")[0],
        run("route", intent, "-", "--durability", "os", input=data)[0],
    }
    assert len(ends) == 1
    for args in (("validate", "p.json"), ("validate", "e.json"), ("route", intent, "@p.json", "--dry-run")):
        _, stdout, stderr = run(*args)
        assert stderr.count("Error:") <= 1 and (stdout or stderr)
    run("policy", "explain", "e.json")
    with contextlib.suppress(InvalidInput):
        json.dumps(parse_json(data, "here"))


def test_a_few_real_processes_end_as_they_should(app: Path) -> None:
    """The installed command, with bytes that no shell would pass: exit code 2, one message, no traceback."""
    import subprocess
    import sysconfig

    script = Path(sysconfig.get_path("scripts")) / "intentusnet"
    for data in (b"[" * 100_000, b'{"a":1,"a":2}', b"\xff\xfe", b'"\\ud800"'):
        done = subprocess.run(
            [script, "route", "echo.say", "-"], input=data, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"Error: ") and b"Traceback" not in done.stderr
    deep = b"[" * 100 + b"]" * 100
    done = subprocess.run([script, "route", "echo.say", "-"], input=deep, capture_output=True, check=False)
    assert done.returncode == 2 and json.loads(done.stdout)["error"]["code"] == "PAYLOAD_TOO_LARGE"
    for command in (["show", "@last"], ["verify"], ["replay", "@last"], ["diff", "@last", "@last"], ["list"]):
        done = subprocess.run([script, *command], capture_output=True, check=False)
        assert done.returncode == 0 and b"Error" not in done.stderr, command
