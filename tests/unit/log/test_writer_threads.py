"""Appending from many threads: shared writes and syncs, and who is told when they fail."""

from pathlib import Path

import pytest
from helpers.logs import Faulty, broken, drafts, full, in_threads, log_of, until, writer

from intentusnet.errors import StorePoisoned, StoreWriteFailed


def test_threads_share_syncs(tmp_path: Path) -> None:
    """What comes in while one append is synced is written and synced together, for all of them."""
    files = Faulty()
    log = writer(tmp_path, files)
    log.append(drafts(1), durability="disk")
    files.calls.clear()
    reached, go_on = files.stop_at("fdatasync")
    seqs: list[range] = []
    threads = in_threads(1, lambda _: seqs.append(log.append(drafts(1), durability="disk")))
    assert reached.wait(30)
    threads += in_threads(6, lambda _: seqs.append(log.append(drafts(2), durability="disk")))
    until(lambda: len(log._head.synced._waiting) == 6)
    assert log.append(drafts(1), durability="os") == range(2, 3)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert sorted(seqs, key=lambda r: r.start) == [range(1, 2), *(range(n, n + 2) for n in range(3, 15, 2))]
    assert files.calls.count("fdatasync") == 2 and files.calls.count("write") == 3
    log.close()
    assert len(log_of(tmp_path)) == 15


@pytest.mark.parametrize(
    ("call", "error", "kind"),
    [("fdatasync", broken(), StorePoisoned), ("write", full(), StoreWriteFailed)],
    ids=["failed sync", "failed write"],
)
def test_everyone_in_a_failed_group_is_told(
    tmp_path: Path, call: str, error: OSError, kind: type[StoreWriteFailed]
) -> None:
    """Each thread of a group that failed gets an error of its own."""
    files = Faulty()
    log = writer(tmp_path, files)
    reached, go_on = files.stop_at("fdatasync")
    errors: list[BaseException] = []

    def append(_: int) -> None:
        try:
            log.append(drafts(1), durability="disk")
        except StoreWriteFailed as caught:
            errors.append(caught)

    threads = in_threads(1, append)
    assert reached.wait(30)
    threads += in_threads(5, append)
    until(lambda: len(log._head.synced._waiting) == 5)
    files.faults[call] = [error]
    go_on.set()
    for thread in threads:
        thread.join(30)
    told = 6 if call == "fdatasync" else 5
    assert [type(caught) for caught in errors] == [kind] * told
    assert len({id(caught) for caught in errors}) == told


def test_an_interrupted_leader_takes_its_group_with_it(tmp_path: Path) -> None:
    """An interrupt in the middle of a write leaves nothing of the group in the log, and all are told so."""
    files = Faulty()
    log = writer(tmp_path, files)
    reached, go_on = files.stop_at("fdatasync")
    ends: list[type[BaseException] | None] = []

    def append(_: int) -> None:
        try:
            log.append(drafts(1), durability="disk")
        except (KeyboardInterrupt, StoreWriteFailed) as caught:
            ends.append(type(caught))
        else:
            ends.append(None)

    threads = in_threads(1, append)
    assert reached.wait(30)
    threads += in_threads(3, append)
    until(lambda: len(log._head.synced._waiting) == 3)
    files.faults["write"] = [7, KeyboardInterrupt()]
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert sorted(map(str, ends)) == sorted(map(str, [None, KeyboardInterrupt, *[StoreWriteFailed] * 2]))
    assert log.append(drafts(1), durability="disk") == range(1, 2)
    log.close()
    assert len(log_of(tmp_path)) == 2


def test_an_interrupt_that_comes_too_late_undoes_nothing(tmp_path: Path) -> None:
    """What is written when the interrupt comes stays written, and whoever waited for it gets its seqs."""
    files = Faulty()
    log = writer(tmp_path, files)
    log.append(drafts(1), durability="disk")
    publish = log._head.publish

    def interrupted(*args: object, **kwargs: object) -> None:
        log._head.publish = publish
        publish(*args, **kwargs)
        raise KeyboardInterrupt

    reached, go_on = files.stop_at("fdatasync")
    ends: list[object] = []

    def append(_: int) -> None:
        try:
            ends.append(log.append(drafts(1), durability="disk"))
        except KeyboardInterrupt as caught:
            ends.append(type(caught))

    threads = in_threads(1, append)
    assert reached.wait(30)
    threads += in_threads(1, append)
    until(lambda: len(log._head.synced._waiting) == 1)
    threads += in_threads(1, append)
    until(lambda: len(log._head.synced._waiting) == 2)
    log._head.publish = interrupted
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert sorted(map(str, ends)) == sorted(map(str, [range(1, 2), KeyboardInterrupt, range(3, 4)]))
    log.close()
    assert len(log_of(tmp_path)) == 4


@pytest.mark.parametrize("fails", [False, True], ids=["it works", "it fails"])
def test_a_sync_waits_for_the_one_under_way(tmp_path: Path, fails: bool) -> None:
    """A sync that finds another under way takes over its outcome, and asks the disk for nothing more."""
    files = Faulty()
    log = writer(tmp_path, files)
    log.append(drafts(1), durability="os")
    reached, go_on = files.stop_at("fdatasync")
    files.faults["fdatasync"] = [broken()] if fails else []
    outcomes: list[str] = []

    def sync(_: int) -> None:
        try:
            log.sync()
        except StorePoisoned:
            outcomes.append("unknown")
        else:
            outcomes.append("on disk")

    threads = in_threads(1, sync)
    assert reached.wait(30)
    threads += in_threads(3, sync)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert outcomes == ["unknown" if fails else "on disk"] * 4
    assert files.calls.count("fdatasync") == 1


def test_many_threads_write_one_chain(tmp_path: Path) -> None:
    """Eight threads, waiting for the disk or not, over many segments: no gap, no double, no lost line."""
    log = writer(tmp_path, max_entries=16)
    seqs: list[int] = []

    def work(number: int) -> None:
        for turn in range(30):
            seqs.extend(
                log.append(
                    drafts(1 + turn % 3, f"{number}-{turn}-"),
                    durability="disk" if turn % 4 == number % 4 else "os",
                )
            )

    for thread in in_threads(8, work):
        thread.join(60)
    log.close()
    entries = log_of(tmp_path, 16)
    assert sorted(seqs) == list(range(8 * 60)) == [entry.seq for entry in entries]
    assert len({entry.body for entry in entries}) == len(entries)
