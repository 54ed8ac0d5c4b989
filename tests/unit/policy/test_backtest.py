"""Backtests: what changes between the decisions on record and a policy, or between two policies."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intentusnet import (
    FileExecutionStore,
    IntentusRuntime,
    MemoryExecutionStore,
    Query,
    RoutingStrategy,
    values,
)
from intentusnet.errors import IntegrityBroken
from intentusnet.log.entry import Draft
from intentusnet.log.segment import LOG_DIR, list_segments
from intentusnet.policy import CompiledPolicy, compile_policy, parse_policy
from intentusnet.policy import backtest as module
from intentusnet.policy.backtest import backtest
from intentusnet.policy.trial import BacktestReport
from intentusnet.references import BOUND

Data = dict[str, Any]

LARGE = {"id": "large", "effect": "deny", "intent": "pay", "payload": {"amount": {"gt": 1000}}}
GUESTS = {"id": "guests", "effect": "deny", "role": "guest", "side_effect": "irreversible"}


def policy(*rules: Data, default: str = "allow") -> CompiledPolicy:
    return compile_policy(parse_policy({"default": default, "rules": list(rules)}))


def runtime_on(store: Any, rules: CompiledPolicy | None = None) -> IntentusRuntime:
    runtime = IntentusRuntime(store=store, policy=rules)
    for rank, (name, side_effect) in enumerate([("bank", "irreversible"), ("dry", "read_only")]):
        runtime.agent(name, handles="pay", rank=rank, side_effect=side_effect)(lambda payload: "done")
    runtime.agent("reader", handles="read.*", side_effect="read_only")(lambda payload: "read")
    return runtime


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = MemoryExecutionStore() if request.param == "memory" else FileExecutionStore(tmp_path / "s", "os")
    with made:
        yield made


def told(report: BacktestReport) -> list[tuple[Any, ...]]:
    return [
        (g.change.kind, g.change.intent, g.change.agent, g.change.rule, g.change.old_rule, g.count)
        for g in report.groups
    ]


def counts(found: Any) -> dict[str, int]:
    return {name: count for name, count in found.items() if count}


def test_what_is_newly_denied_is_grouped_by_rule_intent_and_agent(store: Any) -> None:
    """Each group has its count, its cause, and the oldest executions as examples; outcomes are told apart."""
    runtime = runtime_on(store)
    ids = [runtime.route("pay", {"amount": amount}).execution_id for amount in (5, 2000, 3000, 4000)]
    runtime.route("read.mail", {"amount": 9999})
    runtime.route("nobody.there")

    report = backtest(store, policy(LARGE), examples=2)

    assert (report.executions, report.decisions) == (6, 9)
    assert counts(report.changes) == {"newly_denied": 6, "redecided": 3}
    assert counts(report.outcomes) == {"now_denied": 3}
    assert told(report)[:2] == [
        ("newly_denied", "pay", "bank", "large", None, 3),
        ("newly_denied", "pay", "dry", "large", None, 3),
    ]
    assert report.groups[0].examples == tuple(ids[1:3])
    assert report.groups[0].change.cause == "matched"
    assert (report.narrows, report.widens) == (True, False)


def test_what_is_newly_allowed_names_the_rule_that_is_gone(store: Any) -> None:
    """Denials on record are executions, too: they would be answered now."""
    runtime = runtime_on(store, policy(LARGE))
    denied = runtime.route("pay", {"amount": 2000})
    assert denied.error is not None

    report = backtest(store, policy())

    assert told(report) == [
        ("newly_allowed", "pay", "bank", None, "large", 1),
        ("newly_allowed", "pay", "dry", None, "large", 1),
    ]
    assert report.groups[0].examples == (denied.execution_id,)
    assert counts(report.outcomes) == {"now_answered": 1}
    assert (report.narrows, report.widens) == (False, True)


@pytest.mark.parametrize("strategy", list(RoutingStrategy))
def test_a_candidate_less_is_no_denial(store: Any, strategy: RoutingStrategy) -> None:
    """Where others are left, the execution is routed to them: that is said, too."""
    runtime_on(store, policy()).route("pay", {}, roles=("guest",), strategy=strategy)

    report = backtest(store, policy(GUESTS))

    assert counts(report.changes) == {"newly_denied": 1}
    assert counts(report.outcomes) == {"rerouted": 1}


def test_an_agent_that_was_not_called_changes_no_outcome(store: Any) -> None:
    """To lose the second candidate of a direct execution is narrower, and routes it the same way."""
    runtime_on(store, policy()).route("pay", {})
    rule = {"id": "not-dry", "effect": "deny", "agent": "dry"}

    report = backtest(store, policy(rule))

    assert (counts(report.changes), counts(report.outcomes)) == ({"newly_denied": 1}, {})


def test_two_policies_are_compared_on_recorded_requests(store: Any) -> None:
    """With an old policy the decisions on record do not matter."""
    runtime = runtime_on(store, policy(LARGE))
    runtime.route("pay", {"amount": 2000})
    runtime.route("pay", {"amount": 5}, roles=("guest",))
    old, new = policy(LARGE), policy(LARGE, GUESTS)

    assert counts(backtest(store, new, against=old).changes) == {"newly_denied": 1}
    assert counts(backtest(store, old, against=new).changes) == {"newly_allowed": 1}
    assert backtest(store, new, against=old).against == old.digest
    assert backtest(store, new).against is None


def test_the_unknown_counts_as_decided_and_names_its_cause(store: Any) -> None:
    """A payload without the field is denied by the rule that asks for it, as it would be when routed."""
    runtime_on(store, policy()).route("pay", {})

    [bank, _] = backtest(store, policy(LARGE)).groups

    assert (bank.change.kind, bank.change.rule) == ("newly_denied", "large")
    assert bank.change.cause == "operand missing: /amount"


def test_a_budget_that_is_not_on_record_cannot_be_decided(store: Any) -> None:
    """Nobody knows what had been spent: neither denied nor allowed, but named with what is lacking."""
    runtime = runtime_on(store, policy())
    runtime.route("pay", {})
    runtime.route("read.mail", {})
    spent = {"id": "spent", "effect": "deny", "intent": "pay", "budget": {"caller.tokens.1d": {"gt": 5}}}

    report = backtest(store, policy(spent))

    assert counts(report.changes) == {"undecided": 2}
    assert counts(report.outcomes) == {"undecided": 1}
    assert report.groups[0].change.cause == "operand missing: budget caller.tokens.1d"
    assert (report.narrows, report.widens) == (False, False)
    assert not backtest(store, policy(spent), against=policy(spent)).groups


@pytest.mark.parametrize("amount", [5, 5000])
def test_a_large_payload_is_read_if_a_rule_looks_at_it(store: Any, amount: int) -> None:
    """A payload that is kept apart from the log decides like any other."""
    runtime_on(store, policy()).route("pay", {"amount": amount, "text": "x" * (BOUND + 1)})

    report = backtest(store, policy(LARGE))

    assert counts(report.changes) == ({"newly_denied": 2} if amount > 1000 else {})


def test_a_payload_that_is_gone_cannot_be_decided(tmp_path: Path) -> None:
    """What no rule looks at is not missed; what one does is told as the cause."""
    with FileExecutionStore(tmp_path, "os") as store:
        runtime_on(store, policy()).route("pay", {"amount": 5, "text": "x" * (BOUND + 1)})
        [blob] = (tmp_path / "blobs").rglob("*.zst")
        blob.unlink()

        report = backtest(store, policy(LARGE))
        assert counts(report.changes) == {"undecided": 2}
        assert "the payload cannot be read" in report.groups[0].change.cause
        assert not backtest(store, policy(GUESTS)).groups
        assert not backtest(store, policy(LARGE), against=policy(LARGE)).groups


def test_only_what_the_query_chooses_is_looked_at(store: Any) -> None:
    """Filters are those of a list; how a page is cut does not matter."""
    runtime = runtime_on(store, policy())
    for _ in range(3):
        runtime.route("pay", {"amount": 2000}, caller="ada")
        runtime.route("pay", {"amount": 3000}, caller="bob", tags=("x",))
        runtime.route("read.mail", {})
    new = policy({"id": "none", "effect": "deny"})

    def executions(**asked: Any) -> int:
        return backtest(store, new, query=Query(**asked)).executions

    assert executions() == 9
    assert (executions(caller="ada"), executions(tag="x"), executions(intent="read.*")) == (3, 3, 3)
    assert (executions(agent="reader"), executions(status="error"), executions(text="3000")) == (3, 0, 3)
    assert executions(limit=1, caller="ada", oldest_first=False) == 3


ONE_FACT: list[tuple[Data, Data, Data]] = [
    ({"caller": "eve"}, {"caller": "eve"}, {"caller": "ada"}),
    ({"role": "guest"}, {"roles": ("x", "guest")}, {"roles": ("x",)}),
    ({"tenant": "acme"}, {"tenant": "acme", "caller": "a"}, {"tenant": "other", "caller": "a"}),
    ({"tag": "new"}, {"tags": ("x", "new")}, {"tags": ("x",)}),
    ({"payload": {"amount": {"gt": 5}}}, {"payload": {"amount": 6}}, {"payload": {"amount": 5}}),
    ({"intent": "read.news"}, {"intent": "read.news"}, {"intent": "read.mail"}),
    ({"agent": "dry"}, {"target": "dry"}, {"target": "bank"}),
]


@pytest.mark.parametrize(("condition", "denied", "allowed"), ONE_FACT)
@pytest.mark.parametrize("first", [True, False])
def test_executions_that_differ_in_one_fact_are_told_apart(
    store: Any, condition: Data, denied: Data, allowed: Data, first: bool
) -> None:
    """What is remembered of one execution is never taken for one that a rule decides otherwise."""
    runtime = runtime_on(store, policy())
    plain: Data = {"intent": "pay", "payload": {"amount": 1}}
    made = [
        runtime.route(**{**plain, **one}) for one in ((denied, allowed) if first else (allowed, denied)) * 2
    ]
    expected = {one.execution_id for one in (made[::2] if first else made[1::2])}
    rule = {"id": "r", "effect": "deny", **condition}

    for against in (None, policy()):
        report = backtest(store, policy(rule), against=against)
        assert {one for group in report.groups for one in group.examples} == expected


def test_records_will_do_as_well(store: Any) -> None:
    """Records, one after the other, give the report that their store gives; progress is told."""
    runtime = runtime_on(store, policy())
    ids = [runtime.route("pay", {"amount": amount}).execution_id for amount in (5, 2000)]
    done: list[int] = []

    report = backtest(map(store.get, ids), policy(LARGE), progress=done.append)

    assert report == backtest(store, policy(LARGE))
    assert done == [1, 2]


def test_an_empty_store_has_nothing_to_tell(store: Any) -> None:
    """No execution, no change."""
    report = backtest(store, policy(LARGE))
    assert (report.executions, report.groups) == (0, ())


def test_interrupted_executions_were_decided_as_well(store: Any) -> None:
    """The plan is on record before anything runs, so the decision of an execution that has no end counts."""
    runtime = runtime_on(MemoryExecutionStore())
    ended = runtime.store.get(runtime.route("pay", {"amount": 2000}).execution_id)
    store.append([Draft.make("opened", ended.execution_id, ended.entries[0].body)])

    assert store.list().rows[0].status == "interrupted"
    assert counts(backtest(store, policy(LARGE)).changes) == {"newly_denied": 2}


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_line_that_is_not_what_was_written_is_an_error(
    tmp_path: Path, filtered: bool, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decision on record that was changed behind the store's back is found before it is counted."""
    monkeypatch.setattr(module, "_WORTH_WORKERS", 0)
    with FileExecutionStore(tmp_path, "os") as store:
        runtime = runtime_on(store, policy(LARGE))
        for amount in (2000, 5, 5, 5):
            runtime.route("pay", {"amount": amount})
        store.list()
        [segment] = list_segments(tmp_path / LOG_DIR)
        segment.path.write_bytes(segment.path.read_bytes().replace(b'"allowed":false', b'"allowed":true ', 1))

        query = Query(caller="anonymous") if filtered else Query()
        with pytest.raises(IntegrityBroken, match=segment.path.name):
            backtest(store, policy(), query=query, jobs=jobs)


@pytest.mark.parametrize(
    "change", [{"plan": {"candidates": [{}]}}, {"plan": {}}, {"envelope": {"caller": 5}}]
)
def test_an_entry_of_another_format_is_an_error(store: Any, change: Data) -> None:
    """A line that checks and makes no sense is an error that says so, never one of Python's."""
    runtime = runtime_on(MemoryExecutionStore())
    ended = runtime.store.get(runtime.route("pay", {"amount": 2000}).execution_id)
    body = values.parse(ended.entries[0].body)
    name = next(iter(change))
    changed = {**body, name: {**body[name], **change[name]}}
    if not change[name]:
        changed["plan"] = {"steps": [], "strategy": "direct"}
    store.append([Draft.make("opened", ended.execution_id, values.dumps(changed))])

    with pytest.raises(IntegrityBroken, match="not of the recorded format"):
        backtest(store, policy(LARGE))


def test_several_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches of the log are put together in order, with filters and without."""
    monkeypatch.setattr(module, "_WORTH_WORKERS", 0)
    with FileExecutionStore(tmp_path, "os") as store:
        runtime = runtime_on(store, policy(GUESTS))
        for number in range(40):
            runtime.route("pay", {"amount": number * 100}, roles=("guest",) if number % 3 else ())
            runtime.route("read.mail", {"amount": number})
        for query in (Query(), Query(intent="pay", text="00")):
            for against in (None, policy()):
                options: Data = {"against": against, "query": query, "examples": 7}
                report = backtest(store, policy(LARGE), jobs=2, **options)
                assert report == backtest(store, policy(LARGE), **options)
                assert report.executions > 30
                assert report.narrows


def test_a_worker_that_is_killed_only_spared_less_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no process answers for is looked at by this one."""
    monkeypatch.setattr(module, "_WORTH_WORKERS", 0)
    with FileExecutionStore(tmp_path, "os") as store:
        runtime = runtime_on(store, policy())
        for number in range(10):
            runtime.route("pay", {"amount": number * 1000})
        expected = backtest(store, policy(LARGE))
        with_mine = _Deadly(policy(LARGE))
        assert backtest(store, with_mine, jobs=2) == expected


class _Deadly:
    """A policy whose copy ends the process that it is sent to."""

    def __init__(self, inner: CompiledPolicy) -> None:
        self._inner = inner
        self.digest, self.facts, self.budgets = inner.digest, inner.facts, inner.budgets
        self.looks_at, self.stage = inner.looks_at, inner.stage

    def __reduce__(self) -> Any:
        return signal.raise_signal, (signal.SIGKILL,)
