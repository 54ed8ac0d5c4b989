"""The layers of the package, as pyproject.toml draws them, hold, and a breach of them is seen."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint_imports(project: Path) -> subprocess.CompletedProcess[str]:
    """Runs the contracts on the project in that directory, which comes before any installed one."""
    command = [sys.executable, "-c", LINT, "--no-cache"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the package and its contracts, to be spoiled."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "intentusnet", tmp_path / "intentusnet")
    return tmp_path


def test_every_module_imports_only_from_the_layers_below_it() -> None:
    """The import contracts of pyproject.toml hold for the package as it is."""
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        pytest.param("errors.py", "import intentusnet.ids", "layers below it BROKEN", id="upwards"),
        pytest.param("ids.py", "def late():\n    import click", "out of the core BROKEN", id="late click"),
        pytest.param("ids.py", "from rich import print", "out of the core BROKEN", id="rich"),
        pytest.param("log/entry.py", "import intentusnet.log.writer", "each other BROKEN", id="circle"),
        pytest.param("novelty.py", "", "layers below it BROKEN", id="module that has no layer"),
    ],
)
def test_a_breach_is_seen(project: Path, module: str, statement: str, contract: str) -> None:
    """An import in the wrong direction, a circle, or a module that no layer names breaks its contract."""
    with (project / "intentusnet" / module).open("a") as file:
        file.write(f"\n{statement}\n")
    result = lint_imports(project)
    assert result.returncode == 1
    assert contract in result.stdout
