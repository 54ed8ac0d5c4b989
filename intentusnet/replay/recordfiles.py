"""Files with portable records: which there are below a directory, and which of them holds an execution."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from intentusnet.errors import InvalidInput, RecordNotFound
from intentusnet.log.identity import STORE_FILE

SUFFIX: Final = ".jsonl"
#: How the first line of a record begins; see log/entry.py.
_BEGINNING: Final = re.compile(rb'\{"seq":[0-9]+,"ts":[0-9]+,"kind":"opened","execution":"([^"\\]+)"')
_LONGEST_BEGINNING: Final = 256


def portable_files(path: Path) -> list[Path]:
    """The portable records that a path names: a file, or all below a directory, outside of stores.

    Links to files are followed, links to directories are not, so that none leads in a circle.

    Raises:
        RecordNotFound: there is nothing, or a directory without records.
        InvalidInput: it is a store.
        OSError: a directory cannot be read.
    """
    if not path.is_dir():
        if path.exists():
            return [path]
        raise RecordNotFound("there is no such file or directory", where=str(path))
    if (path / STORE_FILE).exists():
        raise InvalidInput(
            "this directory is a store, not a directory of records",
            where=str(path),
            hint=f"Name its executions by id, or use --all --store {path}.",
        )
    found = sorted(_below(path))
    if not found:
        raise RecordNotFound(f"no portable record (*{SUFFIX}) lies in the directory", where=str(path))
    return found


def _below(path: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(path, onerror=_refuse):
        if STORE_FILE in names:
            folders.clear()
            continue
        for name in names:
            file = Path(folder, name)
            # A link that leads nowhere is kept, because somebody misses what it led to; a pipe never ends.
            if name.endswith(SUFFIX) and (file.is_file() or not file.exists()):
                yield file


def _refuse(fault: OSError) -> None:
    # Records that nobody replays must not look like records that match. What is gone was just removed.
    if not isinstance(fault, FileNotFoundError):
        raise fault


@lru_cache(maxsize=1)
def files_by_id(roots: tuple[str, ...]) -> Mapping[str, Path]:
    """The portable records below some directories, by the id of their execution; remembered.

    Only how a file begins is looked at: whether it is what was written is seen when it is loaded.
    """
    found: dict[str, Path] = {}
    for root in roots:
        for path in _below(Path(root)):
            with path.open("rb") as file:
                begins = _BEGINNING.match(file.read(_LONGEST_BEGINNING))
            if begins is not None:
                found.setdefault(begins[1].decode(errors="replace"), path)
    return found
