"""Libraries that are loaded after they were asked for, and those that are not there: in fresh processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import intentusnet

LATE = """
import sys
from helpers.sites import Site, runtime_of
import intentusnet
assert "{library}" not in sys.modules
def body(url):
    import {library}
    return {ask}
runtime = runtime_of(body, {setting})
assert "{library}" not in sys.modules
with Site() as site:
    response = runtime.route("go", site.url)
assert response.error is None, response.error
import {library}
assert type({library}.__spec__.loader).__name__ == "SourceFileLoader"
assert type({library}.__loader__).__name__ == "SourceFileLoader"
report = runtime.replay(response.execution_id)
assert report.divergences == (), report.divergences
assert [q.kind for q in runtime.store.get(response.execution_id).questions] == ["agent", "http"]
"""


def run(script):
    path = os.pathsep.join([str(Path(intentusnet.__file__).parents[1]), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("library", "ask"),
    [
        ("httpx", "httpx.get(url).json()['path']"),
        ("httpx2", "httpx2.get(url).json()['path']"),
        ("requests", "requests.get(url).json()['path']"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_library_that_is_loaded_later_is_patched_then(library, ask, named):
    """What an agent imports is caught, and keeps its own loader."""
    setting = f"['{library}']" if named else "['httpx', 'httpx2', 'requests', 'aiohttp']"
    run(LATE.format(library=library, ask=ask, setting=setting))


def test_a_library_that_is_not_installed_is_an_error_only_if_it_was_named():
    """The error says which extra brings it; capturing everything does without."""
    run(
        "import sys\n"
        "sys.modules['aiohttp'] = None\n"
        "import intentusnet\n"
        "intentusnet.IntentusRuntime(capture=True)\n"
        "try:\n"
        "    intentusnet.IntentusRuntime(capture=['aiohttp'])\n"
        "except intentusnet.IntentusError as fault:\n"
        "    assert fault.code == 'CONFIGURATION_ERROR' and 'intentusnet[aiohttp]' in fault.hint\n"
        "else:\n"
        "    raise AssertionError\n"
    )
