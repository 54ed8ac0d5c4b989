"""Every store that the contract is held against, and its clock."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from intentusnet.ids import ManualClock
from intentusnet.stores.base import ExecutionStore, StoreSettings
from intentusnet.stores.file import FileExecutionStore
from intentusnet.stores.memory import MemoryExecutionStore

Fresh = Callable[[ManualClock], AbstractContextManager[ExecutionStore]]


@contextmanager
def _memory(clock: ManualClock) -> Iterator[ExecutionStore]:
    with MemoryExecutionStore(clock=clock) as store:
        yield store


def _file(durability: str) -> Fresh:
    @contextmanager
    def fresh(clock: ManualClock) -> Iterator[ExecutionStore]:
        # Segments of a few entries, so that most executions lie in two of them.
        with (
            TemporaryDirectory() as directory,
            FileExecutionStore(
                Path(directory) / "store", durability, clock=clock, settings=StoreSettings(segment_entries=5)
            ) as store,
        ):
            yield store

    return fresh


@pytest.fixture(
    params=[_memory, _file("disk"), _file("os")], ids=["memory", "file-disk", "file-os"], scope="session"
)
def fresh(request: pytest.FixtureRequest) -> Fresh:
    """Makes empty stores, all of one kind."""
    return request.param


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start_us=1_000, step_us=10)


@pytest.fixture
def store(fresh: Fresh, clock: ManualClock) -> Iterator[ExecutionStore]:
    with fresh(clock) as store:
        yield store
