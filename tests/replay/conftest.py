"""What the replay tests share: agents that are random programs."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def programs() -> ModuleType:
    """tests/helpers/programs.py; loaded under a name, so that its exceptions are found again."""
    path = Path(__file__).parents[1] / "helpers" / "programs.py"
    spec = importlib.util.spec_from_file_location("helpers_programs", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
