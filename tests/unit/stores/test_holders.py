"""The index says where to look for the holder of a key; what is answered is what the log says."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import executions as made
from helpers.shops import Shop
from helpers.stores import change, segments

from intentusnet import FileExecutionStore, IntentusRuntime
from intentusnet.errors import IntegrityBroken
from intentusnet.idempotency import key_digest
from intentusnet.record import ExecutionRecord
from intentusnet.stores.memory import MemoryExecutionStore


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Requests of three callers, the second with another key, too."""
    with IntentusRuntime(store=FileExecutionStore(tmp_path / "store", "os")) as runtime:
        shop = Shop(runtime)
        for caller, key in (("ann", "k"), ("bob", "k"), ("bob", "l"), ("eve", "k")):
            runtime.route("pay", f"{caller}'s {key}", caller=caller, idempotency_key=key)
        yield shop


def sql(shop: Shop, *statements: str) -> None:
    store = shop.runtime.store
    assert isinstance(store, FileExecutionStore)
    store.holder("00" * 32)  # all is in the index
    db = sqlite3.connect(store.path / "index.sqlite", isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


SWAPS = {
    "every key leads to the last execution": "UPDATE keys SET seq = (SELECT max(seq) FROM keys)",
    "every key leads to the first execution": "UPDATE OR REPLACE keys SET seq = (SELECT min(seq) FROM keys)",
    "keys are exchanged": "UPDATE keys SET seq = (SELECT max(seq) + min(seq) FROM keys) - seq",
    "keys lead to other lines": "UPDATE keys SET seq = seq + 1",
    "ids are exchanged": "UPDATE OR REPLACE ids SET seq = (SELECT max(seq) + min(seq) FROM ids) - seq",
}


@pytest.mark.parametrize("statement", SWAPS.values(), ids=SWAPS)
def test_who_edits_the_index_gets_nobodys_response(shop: Shop, statement: str) -> None:
    """Everybody gets his own response, or is executed; nobody gets that of another caller, key or request."""
    sql(shop, statement)
    for caller, key in (("ann", "k"), ("bob", "k"), ("bob", "l"), ("eve", "k")):
        wanted = f"{caller}'s {key}"
        response = shop.runtime.route("pay", wanted, caller=caller, idempotency_key=key)
        assert response.payload["paid"] == wanted


def test_a_wrong_index_is_made_anew(shop: Shop) -> None:
    """It is found out by the line that it leads to, and then the right one is found."""
    sql(shop, SWAPS["every key leads to the last execution"])
    assert shop.runtime.route("pay", "ann's k", caller="ann", idempotency_key="k").from_record
    assert len(shop.calls) == 4


@pytest.mark.parametrize("how", ["lost", "of an older version"])
def test_an_index_is_made_again_with_its_keys(shop: Shop, how: str) -> None:
    """Without one, or with one that knows no keys, nothing is executed twice."""
    store = shop.runtime.store
    assert isinstance(store, FileExecutionStore)
    if how == "lost":
        store.close()
        os.unlink(store.path / "index.sqlite")
    else:
        sql(shop, "DROP TABLE keys", "PRAGMA user_version = 3")
        store.close()
    with IntentusRuntime(store=FileExecutionStore(store.path)) as runtime:
        assert Shop(runtime).runtime.route("pay", "bob's l", caller="bob", idempotency_key="l").from_record


def test_in_a_damaged_log_no_key_is_free(shop: Shop) -> None:
    """Its holder may stand behind the damage: nobody is called, and no response is given."""
    store = shop.runtime.store
    assert isinstance(store, FileExecutionStore)
    store.close()
    os.unlink(store.path / "index.sqlite")
    change(segments(store.path)[0], b"bob's k", b"bob's K")
    with IntentusRuntime(store=FileExecutionStore(store.path)) as runtime:
        new = Shop(runtime)
        for caller in ("ann", "bob", "eve", "zoe"):
            with pytest.raises(IntegrityBroken):
                runtime.route("pay", f"{caller}'s k", caller=caller, idempotency_key="k")
        assert new.calls == []


def test_a_store_that_lies_is_not_believed() -> None:
    """Whatever execution a store names, its record has to have key, caller and tenant."""

    class Lying(MemoryExecutionStore):
        def holder(self, key: str) -> str | None:
            return next(iter(self._seqs), None)

    shop = Shop(IntentusRuntime(store=Lying()))
    first = shop.runtime.route("pay", 5, idempotency_key="k", caller="ann")
    assert shop.runtime.route("pay", 5, idempotency_key="k", caller="ann").execution_id == first.execution_id
    others = [{"caller": "bob"}, {"caller": "ann", "tenant": "t"}, {"caller": "ann", "idempotency_key": "l"}]
    for other in others:
        with pytest.raises(IntegrityBroken, match="idempotency key"):
            shop.runtime.route("pay", 5, **{"idempotency_key": "k", **other})
    assert shop.calls == [5]


def test_no_two_keys_have_one_digest() -> None:
    """However tenant, caller and key are cut out of the same letters."""
    words = [None, "", "a", "b", "ab", '","', "null"]
    cut = [(t, c, k) for t in words for c in words for k in words if c is not None and k is not None]
    assert len({key_digest(*one) for one in cut}) == len(cut)


def test_a_record_without_an_end_is_read_from_its_lines(tmp_path: Path) -> None:
    """Lines appended by another object, as by another process, are seen at once."""
    with FileExecutionStore(tmp_path) as one, FileExecutionStore(tmp_path) as other:
        assert other.holder(key_digest(None, "anonymous", "k")) is None
        one.append(made.execution(1, key="k", close=False), durability="os")
        assert other.holder(key_digest(None, "anonymous", "k")) == made.id_of(1)
        record: ExecutionRecord = other.get(made.id_of(1))
        assert record.outcome is None
