"""docs/cli-json.md says what the command line does: no more, no less, and its examples run."""

import json
import re
import shutil
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click
import pytest
from helpers.shells import shell

from intentusnet import errors
from intentusnet.cli.app import cli
from intentusnet.response import ErrorCode

PAGE = (Path(__file__).parents[2] / "docs" / "cli-json.md").read_text("utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
MORE = "…"
#: Strings of these keys are the same in every run, and are compared.
WORDS = {
    *(
        "status",
        "verdict",
        "kind",
        "intent",
        "agent",
        "strategy",
        "error_code",
        "code",
        "effect",
        "rule",
        "cause",
    ),
    *(
        "section",
        "pointer",
        "question",
        "scope",
        "name",
        "side_effect",
        "file",
        "source",
        "message",
        "head_of",
    ),
}
SHARED = ("store", "app", "policy", "format", "color", "quiet", "verbosity", "help", "version")


def leaves(command: click.Command, path: str = "intentusnet") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by what is typed for it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    ctx = click.Context(command)
    for name in command.list_commands(ctx):
        below = command.get_command(ctx, name)
        assert below is not None
        yield from leaves(below, f"{path} {name}")


COMMANDS = dict(leaves(cli))
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def section_of(path: str) -> tuple[str, str]:
    """Heading and text of a command's section."""
    found = [item for item in SECTIONS.items() if re.match(rf"`{re.escape(path)}( [\[A-Z].*)?`$", item[0])]
    assert len(found) == 1, f"{path} has {len(found)} sections"
    return found[0]


def table_rows(text: str, head: str) -> list[list[str]]:
    """The rows of the first table whose first column has that head."""
    table = re.search(rf"^\| {head} \|.*\n\|---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    if table is None:
        return []
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[1].splitlines()]


def options_told(rows: list[list[str]]) -> set[str]:
    return {name for row in rows for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row[0])}


def steps_of(block: str) -> list[tuple[str, int, str]]:
    """The commands of an example, each with its exit code and what stands below it."""
    steps = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, printed = part.partition("\n")
        command, _, code = line.partition("  # exit ")
        steps.append((command, int(code or 0), printed))
    return steps


def documents(text: str) -> list[Any]:
    """The JSON texts that stand one after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        tree, at = decoder.raw_decode(text, at)
        found.append(tree)
        at += len(text[at:]) - len(text[at:].lstrip())
    return found


def mismatch(told: Any, real: Any, at: str = "") -> str:
    """Where what is printed is not of the shape that the page tells; empty if nowhere."""
    if isinstance(told, dict) and isinstance(real, dict):
        keys = told.keys() - {MORE}
        if not (keys <= real.keys() if MORE in told else keys == real.keys()):
            return f"{at}: {sorted(told)} is told, {sorted(real)} is printed"
        return next(filter(None, (mismatch(told[key], real[key], f"{at}/{key}") for key in sorted(keys))), "")
    if isinstance(told, list) and isinstance(real, list):
        if told[-1:] == [MORE]:
            told, real = told[:-1], real[: len(told) - 1]
        if len(told) != len(real):
            return f"{at}: {len(told)} items are told, {len(real)} are printed"
        return next(
            filter(
                None, (mismatch(a, b, f"{at}/{n}") for n, (a, b) in enumerate(zip(told, real, strict=True)))
            ),
            "",
        )
    if type(told) is not type(real):
        return f"{at}: {told!r} is told, {real!r} is printed"
    is_word = isinstance(told, bool) or (isinstance(told, str) and at.rpartition("/")[2] in WORDS)
    if is_word and told != real and not str(told).startswith("/"):
        return f"{at}: {told!r} is told, {real!r} is printed"
    return ""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that the demo made."""
    place = tmp_path_factory.mktemp("docs") / "demo"
    assert shell(f"intentusnet demo {place}", place.parent).returncode == 0
    return place


@pytest.mark.parametrize("block", BLOCKS, ids=[steps_of(block)[-1][0] for block in BLOCKS])
def test_an_example_runs_as_it_is_told(block: str, made: Path, tmp_path: Path) -> None:
    """Each example, typed in the demo's directory, has the exit code and the keys that stand there."""
    place = tmp_path / "demo"
    shutil.copytree(made, place)
    for command, code, told in steps_of(block):
        done = shell(command, place)
        assert done.returncode == code, done.stderr
        printed = [json.loads(line) for line in done.stdout.splitlines()]
        for expected, actual in zip_longest(documents(told), printed):
            assert mismatch(expected, actual) == ""


def test_there_are_examples_for_every_command() -> None:
    """No section is without an example that runs its command and shows what it prints."""
    for path in COMMANDS:
        blocks = re.findall(r"^```console\n(.*?)^```$", section_of(path)[1], re.MULTILINE | re.DOTALL)
        steps = [step for block in blocks for step in steps_of(block)]
        assert any(command.startswith(path) and documents(told) for command, _, told in steps), path


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_and_its_arguments_are_told(path: str) -> None:
    """The heading of a command's section is what is typed for it, with the names of its arguments."""
    command = COMMANDS[path]
    ctx = click.Context(command, info_name=path)
    pieces = [piece for piece in command.collect_usage_pieces(ctx) if piece != "[OPTIONS]"]
    assert section_of(path)[0] == "`" + " ".join([path, *pieces]) + "`"


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_is_told(path: str) -> None:
    """The table of options in a command's section names exactly the options that are the command's own."""
    options = (param for param in COMMANDS[path].params if isinstance(param, click.Option))
    own = {name for option in options if option.name not in SHARED for name in option.opts}
    assert options_told(table_rows(section_of(path)[1], "option")) == own


def test_every_shared_option_is_told() -> None:
    """The table of shared options names exactly those that go before the command."""
    ctx = click.Context(cli, **cli.context_settings)
    everywhere = {name for param in cli.get_params(ctx) for name in param.opts}
    assert options_told(table_rows(SECTIONS["Shared options"], "option")) == everywhere
    for command in COMMANDS.values():
        shared = (param for param in command.params if param.name in SHARED)
        assert {name for param in shared for name in param.opts} <= everywhere


def test_a_command_that_is_gone_is_not_told() -> None:
    """Each section about a command is about one that there is."""
    told = {heading for heading in SECTIONS if heading.startswith("`intentusnet")}
    assert told == {section_of(path)[0] for path in COMMANDS}


TYPES: dict[str, type] = {
    "string": str, "integer": int, "boolean": bool, "array": list, "object": dict, "null": type(None),
}  # fmt: skip


@pytest.mark.parametrize("path", COMMANDS)
def test_the_tables_of_keys_tell_what_the_examples_show(path: str) -> None:
    """Keys and types in a section's table are those of the section's first example."""
    text = section_of(path)[1]
    rows = table_rows(text, "key")
    if not rows:
        assert "The keys are those of `route`" in " ".join(text.split())
        return
    block = re.search(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    shown = documents(steps_of(block[1])[0][2])[0]
    shown = shown[0] if isinstance(shown, list) else shown
    types = {name: row[1] for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert types.keys() == shown.keys()
    for name, value in shown.items():
        allowed = {TYPES[word] for word in re.findall("|".join(TYPES), types[name])}
        assert types[name] == "any" or type(value) in allowed, name


def test_the_exit_codes_are_those_of_the_errors() -> None:
    """Each error's code stands in the row of its exit code only; responses' codes are real ones."""
    rows = table_rows(SECTIONS["Exit codes"], "code")
    told = {code: int(row[0]) for row in rows for code in re.findall(r"`([A-Z_]+)`", row[2])}
    classes = [errors.IntentusError]
    for known in classes:
        classes += known.__subclasses__()
    real = {known.code: known.exit_code for known in classes if known.__module__ == errors.__name__}
    assert told == real
    assert {code for row in rows for code in re.findall(r"`([A-Z_]{4,})`", row[1])} <= set(ErrorCode)


def test_every_exit_code_of_help_is_told() -> None:
    """The exit codes that `intentusnet --help` lists stand in the table."""
    help_text = cli.get_help(click.Context(cli))
    listed = set(re.findall(r"(\d+) [a-z]", help_text.partition("Exit codes")[2]))
    rows = table_rows(SECTIONS["Exit codes"], "code")
    assert listed
    assert listed <= {row[0] for row in rows}


@pytest.mark.parametrize(
    ("told", "real"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": 1}, {"a": "1"}),
        ({"a": None}, {"a": 1}),
        ({"status": "success"}, {"status": "error"}),
        ({"ok": True}, {"ok": False}),
        ([1], [1, 2]),
        ([1, 2, MORE], [1]),
        ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}),
        ({"a": 1, MORE: MORE}, {"b": 1}),
        ({"a": 1}, None),
    ],
)
def test_a_difference_from_the_page_is_seen(told: Any, real: Any) -> None:
    """The comparison of examples fails for keys too many, too few, of another type or word."""
    assert mismatch(told, real)


@pytest.mark.parametrize(
    ("told", "real"),
    [
        ({"text": "a"}, {"text": "b"}),
        ([{"a": 1}, MORE], [{"a": 2}, {"x": 1}]),
        ({"a": 1, MORE: MORE}, {"a": 2, "b": 1}),
        ({"a": [], "n": None}, {"a": [], "n": None}),
    ],
)
def test_what_differs_from_run_to_run_is_no_difference(told: Any, real: Any) -> None:
    """Other text and numbers, and what is left out on purpose, are as good as told."""
    assert mismatch(told, real) == ""
