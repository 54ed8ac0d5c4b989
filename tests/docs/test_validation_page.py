"""The page on validation shows what happens."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "validation.md").read_text("utf-8")
NAMED = re.compile(r"`test_\w+`")


def test_the_program_of_the_page_prints_what_it_says(tmp_path: Path) -> None:
    """The first program runs as it stands, and prints the text below it."""
    program, printed = re.findall(r"^```(?:python|text)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[:2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == printed


def test_each_promise_of_the_page_names_a_test() -> None:
    """Every row about what is checked, and what is too large, says how it is tested."""
    rows = [
        row for row in PAGE.splitlines() if row.startswith(("| a payload", "| an agent's", "| an effect"))
    ]
    assert len(rows) == 7
    assert all(NAMED.search(row.rpartition(" | ")[2]) for row in rows)
