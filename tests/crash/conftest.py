"""The crash tests come in two lengths, and say in the end how many crash states were opened and checked."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import coverage
import pytest

pytest.register_assert_rewrite("crash")

_STATES = "crash states"


# Known to the command line when this directory is named on it; elsewhere the short form runs.
def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torture", action="store_true", help="the long form of the crash tests")
    parser.addoption("--seed", type=int, default=1, help="of the crash tests: what they pick at random")


@pytest.fixture(autouse=True)
def _not_counted() -> Iterator[None]:
    """Coverage has to come from other tests: counting what these do thousands of times takes too long."""
    counting = coverage.Coverage.current()
    if counting is not None:
        counting.stop()
    yield
    if counting is not None:
        counting.start()


@pytest.fixture
def torture(request: pytest.FixtureRequest) -> bool:
    """Whether the long form is asked for."""
    return bool(request.config.getoption("--torture", False))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What random choices start from."""
    return int(request.config.getoption("--seed", 1))


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """An empty directory, in memory where there is one: nothing in it has to survive a crash."""
    shm = Path("/dev/shm")
    with TemporaryDirectory(dir=shm if shm.is_dir() else tmp_path) as found:
        yield Path(found)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each scene, and the sum."""
    counts = {
        report.nodeid.partition("[")[2].rstrip("]"): states
        for report in terminalreporter.getreports("passed")
        for name, states in report.user_properties
        if name == _STATES
    }
    if counts:
        terminalreporter.section(_STATES)
        for scene, states in counts.items():
            terminalreporter.write_line(f"{states:>9,}  {scene}")
        terminalreporter.write_line(f"{sum(counts.values()):>9,}  in all, opened and checked")
