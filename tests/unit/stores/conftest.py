"""What the tests of stores in files share: one with executions in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import executions as made

from intentusnet.stores.base import StoreSettings
from intentusnet.stores.file import FileExecutionStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(path: Path) -> Iterator[FileExecutionStore]:
    """Five executions: 1 to 3 closed, 4 open, 5 closed; ten entries in segments of four."""
    with FileExecutionStore(path, settings=StoreSettings(segment_entries=4)) as store:
        for number in (1, 2, 3):
            store.append(made.execution(number))
        store.append(made.execution(4, questions=1)[:2])
        store.append(made.execution(5))
        yield store
