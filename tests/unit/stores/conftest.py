"""What the tests of stores share: executions to put into them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """tests/helpers/executions.py."""
    path = Path(__file__).parents[2] / "helpers" / "executions.py"
    spec = importlib.util.spec_from_file_location("helpers_executions", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
