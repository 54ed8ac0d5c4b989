"""Logs put back, swapped and made anew as a whole: what the directory can show of it, and what it cannot.

The last test pins what nobody can find who has nothing but the directory; docs/durability.md tells of it.
"""

from pathlib import Path

import pytest
from crash.forging import NOTED, note_of, rewritten
from crash.victims import PER_SEGMENT, Finding, Victim, opened, put_lines, what_is_read

from intentusnet.errors import IntegrityBroken
from intentusnet.log.head import HEAD_FILE
from intentusnet.log.identity import STORE_FILE
from intentusnet.log.verify import verify_store
from intentusnet.stores.file import FileExecutionStore


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return Victim.make(tmp_path_factory.mktemp("victim") / "store")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """Another store with the same workload."""
    return Victim.make(tmp_path_factory.mktemp("other") / "store")


def test_a_log_rolled_back_is_found_by_its_head_note(victim: Victim, tmp_path: Path) -> None:
    """An earlier log with the head note of now does not verify, is not listed, and not written to."""
    for seq in (5, PER_SEGMENT - 1, PER_SEGMENT, 20, NOTED - 1):
        store = put_lines(victim, tmp_path / str(seq), victim.lines[: seq + 1])
        report = verify_store(store)
        assert report.first_bad is not None and report.entries == seq + 1
        assert "acknowledged" in report.first_bad.reason
        with FileExecutionStore(store) as reader, pytest.raises(IntegrityBroken):
            reader.list()
        assert opened(store) is None


def test_a_head_note_rolled_back_is_harmless(victim: Victim, tmp_path: Path) -> None:
    """The note of an earlier time, which a crash may leave, takes nothing away."""
    for seq in (0, PER_SEGMENT - 1, NOTED - 1):
        store = victim.put(tmp_path / str(seq), victim.data)
        (store / HEAD_FILE).write_bytes(note_of(victim.lines, seq).encode())
        assert verify_store(store).ok
        assert what_is_read(store, victim).keys() == victim.rows.keys()
        assert opened(store) == range(26, 27)
        assert verify_store(store).entries == 27


def test_another_store_s_log_is_found(victim: Victim, other: Victim, tmp_path: Path) -> None:
    """The chain starts from the store's id: another store's log, be it whole, is not taken for its own."""
    store = victim.put(tmp_path, other.data)
    for note in (victim.files[HEAD_FILE], other.files[HEAD_FILE]):
        (store / HEAD_FILE).write_bytes(note)
        assert victim.finding(verify_store(store)) == Finding("broken", 0, 1)
        with FileExecutionStore(store) as reader, pytest.raises(IntegrityBroken):
            reader.list()
        assert opened(store) is None
    store = victim.put(tmp_path, victim.data)
    (store / STORE_FILE).write_bytes(other.files[STORE_FILE])
    assert victim.finding(verify_store(store)) == Finding("broken", 0, 1)


def test_what_the_directory_alone_cannot_show(victim: Victim, tmp_path: Path) -> None:
    """Nothing in it is secret: whoever can write there can make it all anew, or put back an earlier state.

    Against these only something kept elsewhere helps: the head that an earlier verification printed.
    """
    heads = [verify_store(victim.put(tmp_path / "own", victim.data)).head]
    # The whole directory as it was earlier, a backup put back among others.
    for seq in (PER_SEGMENT - 1, NOTED - 1):
        lines = victim.lines[: seq + 1]
        store = put_lines(victim, tmp_path / f"earlier {seq}", lines)
        (store / HEAD_FILE).write_bytes(note_of(lines, seq).encode())
        heads.append(verify_store(store).head)
    # The log cut at a line, with the head note gone.
    store = put_lines(victim, tmp_path / "cut", victim.lines[:-8])
    (store / HEAD_FILE).unlink()
    heads.append(verify_store(store).head)
    # A body changed, and every hash from there on made anew.
    for at in (0, 12, NOTED):
        lines, note = rewritten(victim, at)
        store = put_lines(victim, tmp_path / f"rewritten {at}", lines)
        report = verify_store(store)
        assert report.first_bad is not None and report.first_bad.seq == NOTED
        (store / HEAD_FILE).write_bytes(note.encode())
        heads.append(verify_store(store).head)
    assert None not in heads and len(set(heads)) == len(heads)
    for store in tmp_path.iterdir():
        assert verify_store(store).ok
        assert opened(store) is not None
