"""The examples are imported as people run them: from the root of the repository."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def originals() -> Mapping[str, Any]:
    """The wheel's own classes, imported as the wheel has them, without anything of the example's."""
    from examples.tool_sessions.wheel import MODULES

    package = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
    return {
        tool: getattr(importlib.import_module(f"{package}.{name}"), tool) for tool, name in MODULES.items()
    }


@pytest.fixture
def untouchable() -> Any:
    """A world that knows nothing: whatever is asked of it raises."""
    from examples.tool_sessions.world import World

    class Untouchable(World):
        def __init__(self) -> None:
            pass

    return Untouchable()
