"""The tests that pages name as proof are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = re.compile(r"`(tests/[\w/]+\.py)?(?:::)?(test_\w+)?`")


@cache
def defined(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.FunctionDef)}


@cache
def all_defined() -> set[str]:
    return {name for path in (ROOT / "tests").rglob("test_*.py") for name in defined(path)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_tests_exist(page: Path) -> None:
    """A test that was renamed or removed must not go on standing in a page."""
    for file, name in NAMED.findall(page.read_text("utf-8")):
        if file:
            assert (ROOT / file).is_file()
        assert not name or name in (defined(ROOT / file) if file else all_defined())


def test_the_durability_page_names_tests() -> None:
    """Each line of its first table says how it is tested."""
    page = (ROOT / "docs" / "durability.md").read_text("utf-8")
    rows = page.partition("## What each level survives")[2].partition("\n## ")[0].splitlines()
    lines = [row for row in rows if row.startswith("|")][2:]
    assert len(lines) > 5
    for line in lines:
        assert NAMED.search(line.rpartition("| ")[2]), line


def test_the_page_on_timeouts_names_tests() -> None:
    """Each promise of its tables says how it is tested; the first table only compares."""
    page = (ROOT / "docs" / "timeouts.md").read_text("utf-8").partition("## How long")[2]
    promises = [row for row in page.splitlines() if row.startswith("|") and not row.startswith("|---")]
    rows = [row for row in promises if not row.startswith(("| promise |", "| rule |", "| the agent |"))]
    assert len(rows) > 30
    for row in rows:
        assert NAMED.search(row.rstrip(" |").rpartition(" | ")[2]), row
