"""What every store promises about its lines, whatever it keeps them in."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from helpers import executions as made
from helpers.stores import ids

from intentusnet.errors import IntegrityBroken, RecordNotFound, StoreWriteFailed
from intentusnet.ids import ManualClock
from intentusnet.log.durability import DURABILITIES, Durability
from intentusnet.log.entry import Draft
from intentusnet.log.portable import verify_portable
from intentusnet.stores.base import ExecutionStore


def test_what_was_appended_is_read_back(store: ExecutionStore) -> None:
    """Entries come back in the order of the log with seq, kind, body and commit as they were."""
    one, two = made.execution(1, questions=2), made.execution(2, questions=1)
    mixed = [one[0], two[0], one[1], two[1], one[2], one[3], two[2], one[4], two[3], one[5]]
    seqs = [*store.append(mixed[:3]), *store.append(mixed[3:])]
    assert seqs == list(range(10))
    for drafts in (one, two):
        entries = store.entries(drafts[0].execution)
        assert [(e.kind, e.body, e.commit) for e in entries] == [(d.kind, d.body, d.commit) for d in drafts]
        assert [e.seq for e in entries] == [mixed.index(draft) for draft in drafts]


def test_many_are_what_each_one_is(store: ExecutionStore) -> None:
    """`get_many` gives the records in the order asked for, and raises what `get` raises for any."""
    for number in range(1, 8):
        store.append(made.execution(number, questions=number % 3))
    wanted = [made.id_of(number) for number in (5, 1, 7, 5)]
    assert store.get_many(wanted) == [store.get(one) for one in wanted]
    assert store.get_many([]) == []
    with pytest.raises(RecordNotFound, match=made.id_of(9)):
        store.get_many([*wanted, made.id_of(9)])


def test_appending_nothing_appends_nothing(store: ExecutionStore) -> None:
    """An empty append gives no seqs and leaves no trace."""
    assert list(store.append([])) == []
    assert store.list().rows == ()


@pytest.mark.parametrize("durability", [None, *DURABILITIES])
def test_the_durability_changes_nothing_that_is_read(
    store: ExecutionStore, durability: Durability | None
) -> None:
    """Appended in whatever durability, an execution reads the same, at once."""
    store.append(made.execution(1), durability=durability)
    assert store.get(made.id_of(1)).status == "success"
    assert [entry.seq for entry in store.entries(made.id_of(1))] == [0, 1]


def test_everything_can_be_synced_at_once(store: ExecutionStore) -> None:
    """`sync` serves all appends before it, and does nothing where there is nothing."""
    store.sync()
    store.append(made.execution(1), durability="os")
    store.sync()
    store.sync()
    assert store.verify().entries == 2


def test_a_record_tells_how_the_execution_went(store: ExecutionStore) -> None:
    """`get` folds the entries: status, questions, outcome, times by the store's clock."""
    store.append(made.execution(1, questions=2)[:-1])
    store.append(made.execution(2, error_code="AGENT_ERROR"))
    record = store.get(made.id_of(1))
    assert (record.status, record.duration_us) == ("interrupted", None)
    effects = [question for question in record.questions if question.kind == "effect"]
    assert [question.answer is not None for question in effects] == [True, True]
    assert store.get(made.id_of(2)).outcome.error["code"] == "AGENT_ERROR"


def test_a_record_s_lines_prove_themselves_elsewhere(store: ExecutionStore) -> None:
    """The lines of a closed execution, taken out of the store, verify as a portable record."""
    one, two = made.execution(1, questions=1), made.execution(2)
    store.append([one[0], two[0], *one[1:], two[1]])
    for number, count in ((1, 4), (2, 2)):
        report = verify_portable(store.get(made.id_of(number)).to_jsonl(), "record.jsonl")
        assert (report.ok, report.entries, report.executions) == (True, count, 1)


def test_an_unknown_id_is_not_found(store: ExecutionStore) -> None:
    """Asking for an execution that is not there says so, in an empty store and in one with others."""
    for _ in range(2):
        for ask in (store.get, store.entries, store.resolve):
            with pytest.raises(RecordNotFound) as caught:
                ask(made.id_of(9))
            assert caught.value.hint and caught.value.where
        store.append(made.execution(1))


def test_an_empty_store_is_empty(store: ExecutionStore) -> None:
    """A store without entries lists nothing, and has no last execution."""
    assert (store.list().rows, store.list().cursor) == ((), None)
    with pytest.raises(RecordNotFound):
        store.resolve("@last")


def test_entries_of_the_store_itself_are_no_execution(store: ExecutionStore) -> None:
    """A recovery entry is verified with the rest, and listed nowhere."""
    store.append([Draft.make("recovery", "", b'{"after":-1,"bytes":0,"file":"","sha256":""}')])
    store.append(made.execution(1))
    assert ids(store) == [made.id_of(1)]
    assert store.verify().entries == 3
    with pytest.raises(RecordNotFound):
        store.entries("")


def test_verify_covers_every_entry(store: ExecutionStore) -> None:
    """The report counts entries and executions, names the head, and lists what has no end."""
    store.append(made.execution(1, questions=3))
    store.append(made.execution(2, questions=1)[:2])
    last = made.execution(3)
    store.append(last)
    told: list[tuple[int, int]] = []
    report = store.verify(lambda done, total: told.append((done, total)))
    assert (report.ok, report.entries, report.executions, report.first_bad) == (True, 12, 3, None)
    assert report.head == store.entries(made.id_of(3))[-1].chain.hex()
    assert report.interrupted == (made.id_of(2),)
    assert told and told == sorted(told) and told[-1][0] == told[-1][1]


BROKEN_EXECUTIONS = {
    "an entry before it is opened": lambda: made.execution(1, questions=1)[1:],
    "opened twice": lambda: [*made.execution(1)[:1], *made.execution(1)],
    "a wrong count": lambda: [(d := made.execution(1))[0], made.closed(d[:1], count=2)],
    "a wrong digest": lambda: [(d := made.execution(1))[0], made.closed(d[:1], digest="0" * 64)],
    "an entry left out": lambda: [(d := made.execution(1, questions=1))[0], *d[2:]],
    "an unknown kind": lambda: [made.opened(made.id_of(1)), Draft.make("note", made.id_of(1), b"{}")],
    "a recovery of an execution": lambda: [
        made.opened(made.id_of(1)),
        Draft.make("recovery", made.id_of(1), b"{}"),
    ],
    "a body that is not JSON": lambda: [
        made.opened(made.id_of(1)),
        Draft.make("asked", made.id_of(1), b"{x}"),
    ],
}


@pytest.mark.parametrize("drafts", BROKEN_EXECUTIONS.values(), ids=BROKEN_EXECUTIONS)
def test_an_execution_that_is_not_whole_is_refused(store: ExecutionStore, drafts: Any) -> None:
    """Lines that are as they were written, but make no whole execution, neither verify nor are returned."""
    store.append(drafts())
    report = store.verify()
    assert not report.ok and report.first_bad is not None
    for ask in (store.entries, store.get, lambda one: store.get_many([one])):
        with pytest.raises(IntegrityBroken) as caught:
            ask(made.id_of(1))
        assert caught.value.where


def test_an_execution_cannot_be_opened_again_after_its_end(store: ExecutionStore) -> None:
    """A second life of a closed execution is found, at the place where it begins."""
    for number in (1, 2, 1, 2):
        store.append(made.execution(number))
    report = store.verify()
    assert (report.ok, report.entries, report.executions) == (False, 4, 2)
    assert report.first_bad is not None
    assert (report.first_bad.seq, "opened again" in report.first_bad.reason) == (4, True)


def test_nothing_comes_after_the_end_of_an_execution(store: ExecutionStore) -> None:
    """An entry of an execution that is closed is found, at its place."""
    store.append([*made.execution(1), made.asked(made.id_of(1), 0)])
    report = store.verify()
    assert report.first_bad is not None
    assert (report.ok, report.first_bad.seq, report.executions) == (False, 2, 1)


def test_threads_append_side_by_side(store: ExecutionStore) -> None:
    """What many threads append at once is all there, each batch in one piece, in one unbroken chain."""
    with ThreadPoolExecutor(8) as pool:
        ranges = list(
            pool.map(lambda number: list(store.append(made.execution(number, questions=1))), range(40))
        )
    assert all(seqs == list(range(seqs[0], seqs[0] + 4)) for seqs in ranges)
    assert sorted(seq for seqs in ranges for seq in seqs) == list(range(160))
    assert store.verify().ok
    assert sorted(ids(store)) == sorted(made.id_of(number) for number in range(40))


def test_a_closed_store_takes_nothing_more(store: ExecutionStore) -> None:
    """After `close`, however often, appends are refused and what was appended is still read."""
    store.append(made.execution(1))
    store.close()
    store.close()
    with pytest.raises(StoreWriteFailed, match="closed"):
        store.append(made.execution(2))
    assert ids(store) == [made.id_of(1)]
    assert store.get(made.id_of(1)).status == "success"
    assert store.verify().ok


def test_a_store_has_an_id_of_its_own(store: ExecutionStore, fresh: Any) -> None:
    """Two stores never share an id, so that the lines of one do not fit into the other."""
    store.append(made.execution(1))
    with fresh(ManualClock()) as other:
        other.append(made.execution(1))
        assert len(store.store_id) == 32
        assert store.store_id != other.store_id
        assert store.verify().head != other.verify().head
