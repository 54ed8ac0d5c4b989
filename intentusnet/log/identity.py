"""``store.json``: whose log a directory holds, in which format, and with which settings.

It is written once, when the store is made, and read by everyone who opens or verifies the store.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from intentusnet.errors import StoreRefused
from intentusnet.log.files import (
    FILES,
    LOCK_FILE,
    Files,
    lock_file,
    make_dir,
    must_sync,
    sync_name,
    unlock_file,
    write_all,
)

STORE_FILE: Final = "store.json"
FORMAT: Final = 1

_NEW_FILE: Final = STORE_FILE + ".new"
_STORE_ID: Final = re.compile(r"[0-9a-f]{32}")
_KEYS: Final = {"created", "format", "settings", "store"}


@dataclass(frozen=True, slots=True)
class Identity:
    """What ``store.json`` says.

    Args:
        store_id: 32 lowercase hex digits; the log's chain starts from them.
        created: when the store was made, in microseconds since 1970-01-01 UTC.
        settings: what the store was told once and keeps.
    """

    store_id: str
    created: int
    settings: Mapping[str, Any]

    def encode(self) -> bytes:
        """The bytes of ``store.json``."""
        tree = {
            "created": self.created,
            "format": FORMAT,
            "settings": dict(self.settings),
            "store": self.store_id,
        }
        return orjson.dumps(tree, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def read_identity(directory: Path) -> Identity:
    """Reads the ``store.json`` of a directory.

    Raises:
        StoreRefused: there is none, it cannot be read, or it is of another format version.
    """
    path = directory / STORE_FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise StoreRefused(
            "the directory is not a store" if directory.exists() else "there is no store",
            where=str(directory),
            expected=f"a directory with a {STORE_FILE}",
        ) from None
    except OSError as fault:
        raise StoreRefused(
            "the store cannot be read",
            where=str(path),
            got=fault.strerror or str(fault),
            hint="Check the path, its owner and its mode.",
        ) from fault
    return _decode(data, path)


def _decode(data: bytes, path: Path) -> Identity:
    try:
        tree = orjson.loads(data)
    except orjson.JSONDecodeError as fault:
        raise _malformed(path, str(fault)) from None
    if not isinstance(tree, dict):
        raise _malformed(path, f"a JSON {type(tree).__name__}")
    # The version comes first: what else stands in a store of another version is not for this one to judge.
    if type(tree.get("format")) is int and tree["format"] != FORMAT:
        raise StoreRefused(
            "the store is of another format version",
            where=str(path),
            expected=f"format {FORMAT}",
            got=f"format {tree['format']}",
            hint="Use the version of intentusnet that made it, or a newer one.",
        )
    # By type, because True is a number to Python.
    fits = tree.keys() == _KEYS and [type(tree[key]) for key in sorted(_KEYS)] == [int, int, dict, str]
    if fits and _STORE_ID.fullmatch(tree["store"]):
        return Identity(tree["store"], tree["created"], tree["settings"])
    raise _malformed(path, repr(data[:200]))


def _malformed(path: Path, got: str) -> StoreRefused:
    return StoreRefused(
        f"the {STORE_FILE} is malformed",
        where=str(path),
        expected='{"created":<microseconds>,"format":1,"settings":{…},"store":"<32 hex digits>"}',
        got=got,
        hint="Restore it from a copy; the log beside it is untouched.",
    )


def find_identity(directory: Path) -> Identity | None:
    """The identity of the store in a directory; None if there is no directory yet, or an empty one.

    Raises:
        StoreRefused: something else lies there, or it cannot be read.
    """
    try:
        names = set(os.listdir(directory))
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise StoreRefused(
            "there can be no store",
            where=str(directory),
            expected="a directory, or nothing",
            got=fault.strerror or str(fault),
            hint="Check the path, its owner and its mode.",
        ) from fault
    if STORE_FILE in names:
        return read_identity(directory)
    # A crash while the store was made leaves these behind.
    others = sorted(names - {_NEW_FILE, LOCK_FILE})
    if others:
        raise StoreRefused(
            "the directory is not a store, and not empty",
            where=str(directory),
            expected=f"a {STORE_FILE}, or nothing",
            got=", ".join(others[:3]) + (", …" if len(others) > 3 else ""),
            hint="Nothing was written into it. Name another directory.",
        )
    return None


def create_identity(directory: Path, identity: Identity, files: Files = FILES) -> Identity:
    """Makes a directory a store, in such a way that a crash leaves a whole store or none.

    Args:
        directory: need not exist.
        identity: what it is to be.
        files: the calls that change the store.

    Returns:
        What it is: another identity, if another process was faster.

    Raises:
        StoreRefused: what lies there is not to be touched, or it cannot be written.
        StorePoisoned: a sync failed.
    """
    try:
        missing = [path for path in (directory, *directory.parents) if not path.exists()]
        if missing:
            # Whoever made that one may have been killed before he synced its name.
            sync_name(missing[-1].parent, files)
        for path in reversed(missing):
            make_dir(path, files)
        lock = files.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT)
        try:
            lock_file(lock)
            found = find_identity(directory)
            if found is None:
                _write(directory, identity, files)
            return found or identity
        finally:
            unlock_file(lock)
            files.close(lock)
    except OSError as fault:
        raise StoreRefused(
            "the store cannot be made",
            where=str(fault.filename or directory),
            got=fault.strerror or str(fault),
            hint="Check the path, its owner and its mode, and the space on the device.",
        ) from fault


def _write(directory: Path, identity: Identity, files: Files) -> None:
    new = directory / _NEW_FILE
    fd = files.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(files, fd, identity.encode())
        must_sync(lambda: files.fsync(fd), new)
    finally:
        files.close(fd)
    files.rename(new, directory / STORE_FILE)
