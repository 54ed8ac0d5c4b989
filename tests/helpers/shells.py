"""Commands, typed in a shell that has the installed console script on its path."""

import os
import subprocess
import sys
from pathlib import Path


def shell(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Runs what a person would type."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("INTENTUSNET_")}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd=directory, env=environ, capture_output=True, text=True, check=False
    )
