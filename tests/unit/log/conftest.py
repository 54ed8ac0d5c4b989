"""Makes tests/helpers/logs.py importable, as ``log_helpers``, by the tests of the log."""

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).parents[2] / "helpers" / "logs.py"
_SPEC = importlib.util.spec_from_file_location("log_helpers", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
sys.modules["log_helpers"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(sys.modules["log_helpers"])
