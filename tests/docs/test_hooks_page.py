"""The page on hooks: its program prints what it says, and each promise of its tables names a test."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text("utf-8")


def test_the_program_prints_what_the_page_says(tmp_path: Path) -> None:
    """A guard, a counter and a stream of events, as they stand there."""
    program, printed = re.findall(r"^```(?:python|text)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[:2]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (printed, "")


def test_each_promise_names_a_test() -> None:
    """In the second column of every table of promises."""
    tables = re.findall(r"^\| promise \| shown by \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > 15
    for row in rows:
        assert re.search(r"`test_\w+`", row.rstrip(" |").rpartition(" | ")[2]), row
