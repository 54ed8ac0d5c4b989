"""Looking into stores, and into the files of those that have files."""

from pathlib import Path
from typing import Any

from intentusnet.stores.base import ExecutionStore, Query


def ids(store: ExecutionStore, **query: Any) -> list[str]:
    return [row.execution_id for row in store.list(Query(**query)).rows]


def segments(path: Path) -> list[Path]:
    return sorted((path / "log").iterdir())


def change(file: Path, old: bytes, new: bytes) -> None:
    data = file.read_bytes()
    assert old in data
    file.write_bytes(data.replace(old, new, 1))
