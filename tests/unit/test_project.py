"""House rules that a reader relies on and no linter knows (CONTRIBUTING.md gives the reasons)."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = sorted((ROOT / "intentusnet").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
SOURCES = [
    *PACKAGE,
    *(path for folder in ("tests", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")),
]

LONGEST = 400
REASON_FOR_LENGTH = re.compile(rf"^# Over {LONGEST} lines: \S+ \S+", re.MULTILINE)
FACES = {"click", "rich"}
EXEMPTION = re.compile(
    r"# *(type: *ignore(\[[\w, -]*\])?|noqa(: *[A-Z]+\d+([, ]+[A-Z]+\d+)*)?|pragma: *no \w+)(?P<rest>.*)"
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported_packages(tree: ast.AST) -> Iterator[str]:
    """The top-level packages that a module imports, wherever in it the import stands."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]


def comments(source: str) -> Iterator[tuple[int, str, str]]:
    """Line number, the comment, and the comment that has the line above to itself (or nothing)."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line = token.start[0]
            above = lines[line - 2].strip() if line > 1 else ""
            yield line, token.string, above if above.startswith("#") else ""


def unexplained_exemptions(source: str) -> list[int]:
    """The lines that switch a check off without saying why, beside it or in the line above."""
    return [
        line
        for line, comment, above in comments(source)
        if (found := EXEMPTION.search(comment)) and not re.search(r"\w{3}", found["rest"] + above)
    ]


def length_problem(source: str) -> str:
    """What is wrong with a file's length, or nothing."""
    count, explained = len(source.splitlines()), REASON_FOR_LENGTH.search(source)
    if count > LONGEST and not explained:
        return f"{count} lines and no line '# Over {LONGEST} lines: <why it is one idea>'"
    if count <= LONGEST and explained:
        return f"says that it is over {LONGEST} lines and has {count}"
    return ""


@pytest.mark.parametrize("path", PACKAGE, ids=name_of)
def test_every_module_says_what_lives_there(path: Path) -> None:
    """Each module of the package opens with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_bytes())), f"{name_of(path)} has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_read_in_one_sitting(path: Path) -> None:
    """No file is over 400 lines, unless it gives its reason."""
    assert not length_problem(path.read_text("utf-8"))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_check_is_switched_off_without_a_reason(path: Path) -> None:
    """Each noqa, type: ignore and pragma has its reason beside it or above it."""
    assert unexplained_exemptions(path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", [path for path in PACKAGE if "cli" not in path.parts], ids=name_of)
def test_the_core_knows_no_terminal(path: Path) -> None:
    """Nothing outside cli/ imports click or rich, not even late."""
    assert FACES.isdisjoint(imported_packages(ast.parse(path.read_bytes())))


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_every_test_states_its_promise(path: Path) -> None:
    """Each test has a docstring whose first line is a sentence."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            first_line = (ast.get_docstring(node) or "").partition("\n")[0]
            assert first_line.endswith((".", "?", "!")), f"{name_of(path)}:{node.lineno} {node.name}"


@pytest.mark.parametrize(
    ("source", "packages"),
    [
        ("import rich.table as t, os", {"rich", "os"}),
        ("def f():\n    from click.testing import CliRunner", {"click"}),
        ("if TYPE_CHECKING:\n    import rich", {"rich"}),
        ("from . import click", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(source: str, packages: set[str]) -> None:
    """Late, aliased and type-checking imports count; relative ones are the package's own."""
    assert set(imported_packages(ast.parse(source))) == packages


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("x = 1  # noqa: E501\n", [1]),
        ("x = 1  # noqa: E501 - the address is one word\n", []),
        ("x = 1  # type: ignore[attr-defined]\n", [1]),
        ("x = 1  # type: ignore[attr-defined]  # the stubs lack it\n", []),
        ("# The platform has no such call.\nx = 1  # pragma: no cover\n", []),
        ("x = 1\ny = 2  # pragma: no cover\n", [2]),
        ("x = '# noqa'\n", []),
    ],
)
def test_a_reason_stands_beside_or_above_an_exemption(source: str, lines: list[int]) -> None:
    """An exemption alone is found; one with words beside it or above it is not; strings are not comments."""
    assert unexplained_exemptions(source) == lines


@pytest.mark.parametrize(
    ("count", "first_line", "fine"),
    [
        (400, "", True),
        (401, "", False),
        (401, "# Over 400 lines: one table, one idea", True),
        (401, "# Over 400 lines:", False),
        (400, "# Over 400 lines: one table, one idea", False),
    ],
)
def test_a_long_file_needs_a_reason_and_a_short_one_has_none(count: int, first_line: str, fine: bool) -> None:
    """The limit is 400 lines, and a reason that is no longer needed must go."""
    assert (length_problem(first_line + "\n" * count) == "") is fine
