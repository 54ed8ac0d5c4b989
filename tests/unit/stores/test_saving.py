"""Portable records are written whole, or not at all."""

import errno
import os

import pytest

from intentusnet import IntentusRuntime, MemoryExecutionStore, load_record
from intentusnet.errors import StoreWriteFailed
from intentusnet.log.files import Files
from intentusnet.stores.portable import save_record


class Failing(Files):
    """The call of that name fails; all calls are noted."""

    def __init__(self, name=""):
        self.name, self.calls = name, []

    def __getattribute__(self, name):
        if name in ("name", "calls") or name.startswith("_"):
            return super().__getattribute__(name)
        self.calls.append(name)
        if name == self.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().__getattribute__(name)


@pytest.fixture
def records():
    """Two records that differ."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("echo", handles="echo", side_effect="read_only")(lambda payload: payload)
    return [runtime.store.get(runtime.route("echo", text).execution_id) for text in ("old", "new" * 50)]


def test_a_saved_record_is_the_record(records, tmp_path):
    """What is read back is what was written, in place of what was there, and there is no other file."""
    path = tmp_path / "a.jsonl"
    for record in records:
        save_record(record, path)
        assert path.read_bytes() == record.to_jsonl()
        assert load_record(path).fingerprint == record.fingerprint
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_a_failure_leaves_the_old_file(records, tmp_path, call):
    """Whichever call fails, the old record is whole, nothing lies beside it, and it is told."""
    path = tmp_path / "a.jsonl"
    save_record(records[0], path)
    with pytest.raises(StoreWriteFailed, match="cannot be written"):
        save_record(records[1], path, files=Failing(call))
    assert path.read_bytes() == records[0].to_jsonl()
    assert list(tmp_path.iterdir()) == [path]


def test_the_bytes_are_on_disk_before_the_name(records, tmp_path):
    """Neither a crash before nor one after the renaming leaves a file that is cut off."""
    files = Failing()
    save_record(records[0], tmp_path / "a.jsonl", files=files)
    assert files.calls == ["open", "write", "fsync", "close", "rename", "fsync_dir"]


def test_a_link_stays_a_link(records, tmp_path):
    """A record that is linked to is replaced where it lies."""
    (tmp_path / "real").mkdir()
    path = tmp_path / "a.jsonl"
    path.symlink_to(tmp_path / "real" / "a.jsonl")
    save_record(records[0], path)
    save_record(records[1], path)
    assert path.is_symlink() and (tmp_path / "real" / "a.jsonl").read_bytes() == records[1].to_jsonl()
