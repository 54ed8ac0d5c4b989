"""What the pages show is what happens: their files are written, their commands typed, their output compared.

Only what differs from run to run is left out of the comparison: ids, hashes, points in time, durations, and
the width of columns.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
COLUMNS = 90

VARYING = (
    (re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]"), ""),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b(?=\w*\d)[0-9a-f]{8,64}\b"), "HEX"),
    (re.compile(r"\b[0-9a-f]{8}\b"), "HEX"),
    (re.compile(r"\b(\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\dZ?"), "TIME"),
    (re.compile(r"\d+(\.\d+)? (µs|ms|s)\b|\b\d+\.\d+s\b"), "TOOK"),
    (re.compile(r"\bbyte \d+"), "byte N"),
    (re.compile(r"─+"), "─"),
    (re.compile(r"[ \t]+"), " "),
)

#: CI itself types the second, and a test of the example runs the first.
ELSEWHERE = ("make demo", "make test")


@dataclass(frozen=True)
class Block:
    language: str
    title: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*match.groups()) for match in BLOCK.finditer(page.read_text("utf-8"))]


def steady(text: str) -> list[str]:
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text)
    return [line.strip() for line in text.replace("\r", "").split("\n") if line.strip()]


def typed(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a console block, with the output that the page shows for it."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


class Shell:
    """A shell that keeps its directory, with a terminal as its stdout."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / ".venv").symlink_to(Path(sys.executable).parents[1])

    def type(self, command: str) -> str:
        here = self.directory / ".here"
        script = f"cd {here.read_text() if here.exists() else self.directory}\n{command}\n"
        terminal, stdout = pty.openpty()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("INTENTUSNET_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": str(COLUMNS),
            "TERM": "xterm",
        }
        chunks: list[bytes] = []

        def read() -> None:
            while True:
                try:
                    chunk = os.read(terminal, 65536)
                except OSError:  # what a terminal says when its last writer is gone
                    return
                if not chunk:
                    return
                chunks.append(chunk)

        reader = threading.Thread(target=read)
        process = subprocess.Popen(
            ["bash", "-c", f"{script}\nstatus=$?\npwd > {here}\nexit $status"],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=environment,
        )
        os.close(stdout)
        reader.start()
        assert process.stderr is not None
        with process.stderr:
            told = process.stderr.read()
        process.wait()
        reader.join()
        os.close(terminal)
        assert b"Traceback" not in told, told.decode()
        return b"".join(chunks).decode() + told.decode()


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md", "docs/ci.md", "docs/doctor.md"])
def test_a_page_shows_what_happens(name: str, tmp_path: Path) -> None:
    """Every command of the page, typed in order, prints what the page says."""
    shell = Shell(tmp_path)
    if name == "README.md":
        for needed in ("records", "examples", "pyproject.toml"):
            (tmp_path / needed).symlink_to(ROOT / needed)
    compared = 0
    for block in blocks(ROOT / name):
        if block.title is not None:
            (tmp_path / block.title).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.title).write_text(block.text, "utf-8")
        if block.language != "console":
            continue
        for command, shown in typed(block):
            if command in ELSEWHERE and name == "README.md":
                continue
            printed = shell.type(command)
            if shown:
                assert steady(printed)[: len(steady(shown))] == steady(shown), f"{command}\n{printed}"
                compared += 1
    assert compared >= 5


@pytest.mark.parametrize("name", ["README.md", "docs/idempotency.md"])
def test_the_python_of_a_page_prints_what_it_says(name: str, tmp_path: Path) -> None:
    """The page's program runs as it stands and prints the text below it."""
    page = blocks(ROOT / name)
    at = next(index for index, block in enumerate(page) if block.language == "python")
    done = subprocess.run(
        [sys.executable, "-c", page[at].text], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == page[at + 1].text


def test_the_commands_for_newcomers_are_targets_of_make() -> None:
    """What the README tells a newcomer to type first exists."""
    make = shutil.which("make")
    assert make is not None
    for target in ("demo", "test"):
        subprocess.run([make, "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_every_link_of_a_page_leads_somewhere() -> None:
    """Relative links in the README and the docs name files that are there."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
