"""Totals: counted like a naive reader of all records would, in every store."""

from collections import Counter
from fractions import Fraction
from typing import Any

import pytest

from intentusnet import Context, ExecutionRecord, ExecutionStore, IntentusRuntime, ManualClock, Query
from intentusnet.errors import AgentFailure
from intentusnet.stores import totals as module
from intentusnet.stores.totals import BYS, totals
from intentusnet.sums import as_number

COUNTS: list[dict[str, Any]] = [
    {},
    {"tokens": 3},
    {"tokens": 2**60, "cost": 0.1},
    {"cost": 1e16},
    {"cost": 0.1, "tokens": -1},
]


@pytest.fixture
def filled(store: ExecutionStore, clock: ManualClock) -> ExecutionStore:
    """A store with executions of all kinds: nested, failed, denied to all, broken off."""
    runtime = IntentusRuntime(store=store, clock=clock)

    @runtime.agent("model", handles="ask.*", side_effect="read_only")
    def model(number: int, ctx: Context) -> None:
        ctx.usage(**COUNTS[number % len(COUNTS)])
        ctx.usage(**COUNTS[number % 3])
        if number % 7 == 3:
            raise AgentFailure("no")
        if number % 7 == 5:
            raise KeyboardInterrupt

    @runtime.agent("desk", handles="desk")
    def desk(number: int, ctx: Context) -> None:
        ctx.usage(calls=1)
        ctx.route("ask.inner", number)

    intents = ["ask.a", "ask.b", "desk", "nobody"]
    for number in range(24):
        tenant = [None, "acme", "umbrella"][number % 3]
        try:
            runtime.route(intents[number % 4], number, caller=f"c{number % 5}", tenant=tenant)
        except KeyboardInterrupt:
            continue
    return store


def names(record: ExecutionRecord) -> dict[str, str | None]:
    caller = record.envelope_tree["caller"]
    return {
        "intent": record.intent,
        "agent": None if record.outcome is None else record.outcome.agent,
        "caller": caller["name"],
        "tenant": caller["tenant"],
        "status": record.status,
    }


def usage_of(records: list[ExecutionRecord]) -> dict[str, int | float]:
    sums: dict[str, Fraction] = {}
    for record in records:
        for name, count in record.usage.items():
            sums[name] = sums.get(name, Fraction()) + Fraction(count)
    return {name: as_number(total) for name, total in sorted(sums.items())}


@pytest.mark.parametrize(
    "asked", [{}, {"status": "success"}, {"intent": "ask.*"}, {"caller": "c1"}, {"agent": "model"}]
)
@pytest.mark.parametrize("page", [1000, 4])
def test_totals_are_those_of_all_records(
    filled: ExecutionStore, asked: dict[str, Any], page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every name, however many pages it takes, each execution counts once, and its usage exactly."""
    monkeypatch.setattr(module, "MAX_LIMIT", page)
    monkeypatch.setattr(module, "_AT_ONCE", 3)
    rows = filled.list(Query(**asked, limit=1000)).rows
    records = filled.get_many([row.execution_id for row in rows])
    assert len(records) > 2

    found = totals(filled, Query(**asked, limit=1), usage=True)

    assert found.all.executions == len(records)
    assert found.all.usage == usage_of(records)
    for by in BYS:
        groups = dict(found.by[by])
        assert len(groups) == len(found.by[by])
        assert {name: total.executions for name, total in groups.items()} == Counter(
            names(record)[by] for record in records
        )
        for name, total in groups.items():
            own = [record for record in records if names(record)[by] == name]
            assert {k: n for k, n in total.statuses.items() if n} == Counter(one.status for one in own)
            assert total.usage == usage_of(own)
        sizes = [total.executions for _, total in found.by[by]]
        assert sizes == sorted(sizes, reverse=True)


def test_without_usage_no_records_are_read(filled: ExecutionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """First and last entries are enough to count; then nothing is said of usage."""
    counted = totals(filled, usage=True)

    def get_many(ids: Any) -> Any:
        raise AssertionError(ids)

    monkeypatch.setattr(filled, "get_many", get_many)
    found = totals(filled)

    assert found.all.usage is None
    assert (found.all.executions, found.all.statuses) == (counted.all.executions, counted.all.statuses)
    for by in BYS:
        assert [(name, total.statuses) for name, total in found.by[by]] == [
            (name, total.statuses) for name, total in counted.by[by]
        ]


def test_an_empty_store_has_none(store: ExecutionStore) -> None:
    """Nothing is counted, and there are no names."""
    found = totals(store, usage=True)

    assert (found.all.executions, found.all.usage) == (0, {})
    assert set(found.by.values()) == {()}
