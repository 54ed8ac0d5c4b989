"""The page on capture: its example of local capture is run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "capture.md"


def test_the_local_example_replays(tmp_path: Path) -> None:
    """The agent of the page is recorded and its replay matches."""
    (example,) = [
        block
        for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
        if "runtime.replay(" in block
    ]
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, check=True)
    assert (tmp_path / "records" / "log").is_dir()
