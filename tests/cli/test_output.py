"""Output: formats, colours, what reaches a terminal, and what it is laid out like."""

import io
import json
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.cli.output import (
    Output,
    encoded,
    fields,
    inline,
    lines,
    moment,
    pretty,
    span,
    text,
    value_at,
)


class Terminal(io.TextIOWrapper):
    """A file that says that it is a terminal."""

    def __init__(self, encoding="utf-8"):
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    def isatty(self):
        return True

    @property
    def written(self):
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture
def terminal(monkeypatch):
    """Puts terminals in the place of stdout and stderr when it is called, and returns them."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")

    # Only when it is called: between set-up and test pytest puts its own files there.
    def put():
        out, err = Terminal(), Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    return put


def output(format=None, color=None, *, quiet=False, verbosity=0):
    return Output(format, color, quiet=quiet, verbosity=verbosity)


def test_people_get_tables_and_programs_json(terminal, monkeypatch):
    """The default format is table on a terminal and json elsewhere; --format wins."""
    terminal()
    assert output().table
    assert output("json").format == "json"
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert output().format == "json"


@pytest.mark.parametrize(
    ("color", "environ", "colorful"),
    [
        (None, {}, True),
        ("auto", {"NO_COLOR": "1"}, False),
        ("auto", {"NO_COLOR": ""}, True),
        ("auto", {"TERM": "dumb"}, False),
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {}, False),
    ],
)
def test_colour_on_a_terminal(terminal, monkeypatch, color, environ, colorful):
    """--color wins over NO_COLOR and a dumb terminal, and those over the default."""
    out_file, _ = terminal()
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    output(color=color).print(fields([("name", "value")]))
    assert ("\x1b[" in out_file.written) is colorful


def test_no_colour_in_a_file(monkeypatch):
    """Off a terminal there is colour only where it is asked for."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    output("table").print(fields([("name", "value")]))
    assert sys.stdout.getvalue() == "  name  value\n"
    output("table", "always").print(fields([("name", "value")]))
    assert "\x1b[" in sys.stdout.getvalue()


def test_quiet_leaves_only_errors(terminal):
    """-q silences notes, warnings and progress, but no error; -v adds details."""
    _, err_file = terminal()
    out = output(quiet=True)
    out.note("note")
    out.warn("warning")
    with out.progress("title") as advance:
        advance(1, 2)
    assert err_file.written == ""
    out.fault("what happened", {"where": "there", "got": ""})
    assert re.sub(r"\x1b\[[0-9;]*m", "", err_file.written) == "Error: what happened\n  where  there\n"
    output().warn("look here")
    assert "look here" in err_file.written
    output(verbosity=1).detail("more")
    output().detail("nothing")
    assert "more" in err_file.written and "nothing" not in err_file.written


def test_the_bar_makes_room_for_what_is_printed(terminal):
    """A line of data clears the bar first, goes to stdout alone, and the bar is gone at the end."""
    out_file, err_file = terminal()
    out = output("json")
    with out.progress("replay") as advance:
        advance(1, 2)
        assert "replay" in err_file.written
        out.json({"a": 1})
        assert err_file.written.endswith("\r\x1b[2K")
        advance(2, 2)
    assert out_file.written == '{"a":1}\n'
    assert err_file.written.endswith("\x1b[2K")


def test_data_survives_a_narrow_locale(monkeypatch):
    """JSON is UTF-8 whatever the locale; in tables what it lacks is spelt out."""
    narrow = Terminal("ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    out = output("json")
    out.json("ü")
    assert narrow.buffer.getvalue() == '"ü"\n'.encode()
    out.print("ü…")
    assert narrow.buffer.getvalue().endswith(b"\\xfc\\u2026\n")


def test_rows_are_an_array_or_lines(monkeypatch):
    """Format json prints one array, also of nothing; jsonl a line each."""
    for form, expected in (("json", "[1,2]\n[]\n"), ("jsonl", "1\n2\n")):
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        out = output(form)
        out.rows([1, 2])
        out.rows([])
        assert sys.stdout.getvalue() == expected


@given(st.text())
def test_text_of_users_is_one_harmless_line(value):
    """No control character, line break, direction mark or lone surrogate gets through; the rest stays."""
    shown = text(value)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    if value.isascii() and value.isprintable():
        assert shown == value
    assert lines(value).count("\n") == max(len(value.splitlines()) - 1, 0)


TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(TREES)
def test_json_reads_back(tree):
    """What is printed as JSON means the tree again, apart from what UTF-8 cannot hold; inline is bounded."""
    try:
        json.dumps(tree, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        json.loads(encoded(tree))
    else:
        assert json.loads(encoded(tree)) == tree
    assert len(inline(tree, 20)) <= 20


@given(
    st.recursive(
        st.integers(0, 99) | st.text("abc ü", max_size=30),
        lambda i: st.lists(i) | st.dictionaries(st.text("abc"), i),
    )
)
def test_indented_json_is_still_json(tree):
    """The layout for people changes only white space."""
    assert json.loads(pretty(tree).plain) == tree


def test_indented_json_is_laid_out_for_reading():
    """Short parts stay on one line, long ones are indented, numbers of a list share lines."""
    assert pretty({"a": [1, 2], "b": {"c": None}}).plain == '{"a":[1,2],"b":{"c":null}}'
    tree = {
        "id": "x" * 50,
        "list": list(range(40)),
        "small": {"k": 1},
        "rows": [{"k": "v" * 40}, {"k": "w" * 40}],
    }
    assert pretty(tree).plain.splitlines() == [
        "{",
        f'  "id": "{"x" * 50}",',
        '  "list": [',
        "    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,",
        "    17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,",
        "    31, 32, 33, 34, 35, 36, 37, 38, 39",
        "  ],",
        '  "small": {"k":1},',
        '  "rows": [',
        f'    {{"k":"{"v" * 40}"}},',
        f'    {{"k":"{"w" * 40}"}}',
        "  ]",
        "}",
    ]
    assert value_at({"$absent": True}).plain == "(nothing)"


@pytest.mark.parametrize(
    ("duration", "told"),
    [
        (None, "-"),
        (0, "0 µs"),
        (999, "999 µs"),
        (1500, "1.50 ms"),
        (999_999, "1000 ms"),
        (61_000_000, "61.0 s"),
    ],
)
def test_durations_for_people(duration, told):
    """Three digits and a unit."""
    assert span(duration) == told


def test_moments_are_utc():
    """A point in time is told in UTC to the second."""
    assert moment(1_795_232_294_957_672) == "2026-11-21 03:38:14Z"
